-- runs.lua - bk.runs: what runs left in folders, as rows.
local bk = ...
local refuse, misread = bk._options.refuse, bk._options.misread

local FIELDS = { "name", "dir", "status", "message", "step", "total", "started", "updated", "seconds", "seed", "tags",
    "config", "metrics", "loss", "env", "history" }
local IS_FIELD = {}
for _, name in ipairs(FIELDS) do IS_FIELD[name] = true end

-- A field that a run lacks is nil; a name that is no field is a mistake.
local ROW = { __index = function(row, name)
    if IS_FIELD[name] or type(name) ~= "string" then return nil end
    local place
    for _, at in ipairs{ { "config", row.config }, { "config.arguments", row.config.arguments },
        { "metrics", row.metrics } } do
        if type(at[2]) == "table" and at[2][name] ~= nil then place = at[1] end
    end
    refuse("bk.runs: a row has no field %s%s; it has %s", name,
        place and (" (it is in %s)"):format(place) or bk.internal.hint(name, FIELDS), table.concat(FIELDS, ", "))
end }

return bk.define{
    name = "bk.runs",
    arguments = { "dir" },
    returns = "rows",
    doc = [[
The runs in a folder (or the run that it is), in the order of their names, a row each: name, dir, status, message, step,
total, started, updated, seconds, seed, tags, config (what was asked for), metrics (final numbers), loss (the last one
recorded), env (what it ran on), and history(), the recorded columns by name. A job of a sweep that ended before its run
began has a row too. where and sort know recorded columns too, by their last row. `bracket runs list` shows the same.]],
    options = {
        { "where", "string|callable", says = "all",
            doc = "which ones: a text as 'lr < 0.1 and status == \"finished\"', or a function of the row" },
        { "sort", "string", says = "by name",
            doc = "a name, -name for the greatest first, several with commas between" },
    },
    errors = "a folder that is none, files of a run that are broken, a name in where or sort that no run has",
    call = function(dir, options)
        if type(dir) ~= "string" then
            refuse("bk.runs: dir: expected the name of a folder, got %s", bk._options.show(dir))
        end
        bk._options.needs_files("bk.runs")
        bk.internal.check_path(dir, "bk.runs")
        local run_list, run_query = bk._run_list, bk._run_query
        local runs, problems = run_list.read("bk.runs", { dir }, { config = true, recorded = true, inner = true })
        if #problems > 0 then misread("%s", table.concat(problems, "\n")) end
        local where = options.where
        if type(where) == "string" then
            local which, why = run_query.where(where)
            if not which then refuse("bk.runs: where: %s", why) end
            runs, where = which("bk.runs", runs), nil
        end
        if options.sort then run_query.sort("bk.runs", runs, options.sort) end
        local rows = {}
        for _, run in ipairs(runs) do
            local row = run_list.row(run)
            row.env, row.history = run.env, function() return (bk._run_folder.metrics(run.dir)) end
            setmetatable(row, ROW)
            if not where or where(row) then rows[#rows + 1] = row end
        end
        return rows
    end,
}

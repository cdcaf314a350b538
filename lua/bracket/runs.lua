-- runs.lua - bk.runs: what runs left in folders, as rows.
local bk = ...

return bk.define{
    name = "bk.runs",
    arguments = { "dir" },
    returns = "rows",
    doc = [[
The runs in a folder (or the run that it is), in the order of their names, a row each: name, dir, status, message, step,
total, started, updated, seconds, seed, tags, config (what was asked for), metrics (final numbers), loss (the last one
recorded), env (what it ran on), and history(), the recorded columns by name. A job of a sweep that ended before its run
began has a row too. `bracket runs list` shows the same.]],
    options = {
        { "where", "string|callable", says = "all",
            doc = "which ones: a text as 'lr < 0.1 and status == \"finished\"', or a function of the row" },
        { "sort", "string", says = "by name",
            doc = "a name, -name for the greatest first, several with commas between" },
    },
    errors = "a folder that is none, files of a run that are broken, a name in where or sort that no run has",
    call = function(dir, options)
        if type(dir) ~= "string" then
            error("bk.runs: dir: expected the name of a folder, got " .. type(dir), 3)
        end
        bk.internal.check_path(dir)
        local run_list, run_query = bk.command._run_list, bk.command._run_query
        local runs, problems = run_list.read("bk.runs", { dir }, { config = true, inner = true })
        if #problems > 0 then error(table.concat(problems, "\n"), 3) end
        local where = options.where
        if type(where) == "string" then
            local which, why = run_query.where(where)
            if not which then error("bk.runs: where: " .. why, 3) end
            runs, where = which("bk.runs", runs), nil
        end
        if options.sort then run_query.sort("bk.runs", runs, options.sort) end
        local rows = {}
        for _, run in ipairs(runs) do
            local row = run_list.row(run)
            row.env, row.history = run.env, function() return (bk._run_folder.metrics(run.dir)) end
            if not where or where(row) then rows[#rows + 1] = row end
        end
        return rows
    end,
}

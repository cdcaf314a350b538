-- The runs in folders as objects whose parts are read when they are asked for: from the folder, or from its index.
--   dir                the run's folder        name     what it is called in the folder that was looked at
--   status             status.json or what job.json says in its place; from an index without matrices and lists
--   config, env        config.json, env.json   metrics  its final numbers      loss   the last recorded one
--   recorded           the last row of what it recorded
--   seed, lr, tags, entries (_run_groups.lua), told: whether its script had arguments, job_only: a job that ended
--   before its run began
local bk = ...
local internal, run_folder, run_groups, index = bk.internal, bk._run_folder, bk._run_groups,
    bk._run_index
local text, number = bk._table_text.text, bk._table_text.number
local misread = bk._options.misread
local list = {}

-- The last whole row, from the end of the file alone: the file may be long.
local function last_row(dir)
    local f <close> = io.open(run_folder.metrics_path(dir), "rb")
    if not f then return {} end
    f:seek("set", math.max(0, f:seek("end") - 65536))
    local lines = {}
    for line in (f:read("a") or ""):gmatch("[^\n]+") do lines[#lines + 1] = line end
    for k = #lines, math.max(1, #lines - 1), -1 do
        local row = internal.from_json(lines[k])
        if type(row) == "table" then return row end
    end
    return {}
end

-- ---- one run ----

-- What a table of runs says of one, but for its folder: CELLS are their names.
list.CELLS = { "status", "step", "seed", "lr", "started", "accuracy", "forgetting", "loss", "tags" }
function list.cells(run)
    if rawget(run, "texts") then return run.cells end
    local status = run.status
    return { text(status.status), text(status.step) .. "/" .. text(status.total), text(run.seed), text(run.lr),
        text(status.started), number(run.metrics.average_accuracy), number(run.metrics.forgetting), number(run.loss),
        #run.tags > 0 and text(run.tags) or "-" }
end

local IN_HEAD = { status = true, metrics = true, loss = true, seed = true, tags = true, job_only = true, lr = true,
    told = true }
local SHORT = { "status", "message", "step", "total", "started", "updated", "seconds" }

-- What the folder says of its run: its parts are tables, whatever the files hold.
function list.load(command, dir, name)
    local ok, run, tags = pcall(function() return run_folder.read(dir), run_folder.tags(dir) end)
    if not ok then error(string.format("%s: %s", command, run), 0) end
    for _, part in ipairs{ "status", "config", "env" } do
        if type(run[part]) ~= "table" or #run[part] > 0 then
            error(string.format("%s: %s/%s.json: expected an object, got %s", command, dir, part,
                type(run[part]) == "table" and "a list" or tostring(run[part])), 0)
        end
    end
    run.metrics, run.tags, run.name = {}, tags, name or dir
    for key, value in pairs(type(run.status.metrics) == "table" and run.status.metrics or {}) do
        if type(value) == "number" then run.metrics[tostring(key)] = value end
    end
    run.recorded = last_row(dir)
    run.loss = tonumber(run.recorded.loss)
    local arguments = run.config.arguments
    run.seed, run.lr = run_groups.seed(run), run.config.lr
    run.told = type(arguments) == "table" and next(arguments) ~= nil
    return run
end

-- What the index keeps of it: the cells of a table of runs, then the rest. One whose status may change without its
-- files is not kept.
local function texts_of(run)
    local status = {}
    for _, name in ipairs(SHORT) do status[name] = run.status[name] end
    local head = internal.to_json{ status = status, metrics = run.metrics, loss = run.loss, seed = run.seed,
        tags = run.tags, job_only = run.job_only, lr = run.lr, told = run.told }
    return { head = table.concat(list.cells(run), "\t") .. "\n" .. head, config = internal.to_json(run.config),
        entries = internal.to_json(run_groups.entries(run)), recorded = internal.to_json(run.recorded),
        settled = run.settled }
end

local of_index = {}
function of_index.__index(run, key)
    local texts, value = rawget(run, "texts"), nil
    if key == "config" or key == "entries" or key == "recorded" then
        value = texts[key] and internal.from_json(texts[key])
        if not value and key == "config" then value = run_folder.read(run.dir).config end
        if not value and key == "recorded" then value = last_row(run.dir) end
    elseif key == "env" then
        value = run_folder.object(run.dir, "env")
    elseif key == "cells" then
        value = {}
        for cell in texts.head:match("^[^\n]*"):gmatch("[^\t]*") do value[#value + 1] = cell end
    elseif IN_HEAD[key] and not rawget(run, "head") then
        rawset(run, "head", true)
        for name, part in pairs(internal.from_json(texts.head:match("\n(.*)$"))) do rawset(run, name, part) end
        return rawget(run, key)
    end
    rawset(run, key, value)
    return value
end

local function from_texts(at, name, texts)
    return setmetatable({ dir = at.dir, name = name, texts = texts }, of_index)
end

-- What users see of a run: bk.runs and `runs list --json`.
function list.row(run)
    local s = run.status
    return { name = run.name, dir = run.dir, status = s.status, message = s.message, step = s.step, total = s.total,
        started = s.started, updated = s.updated, seconds = s.seconds, tags = run.tags, config = run.config,
        metrics = run.metrics, loss = run.loss, seed = tonumber(run.seed) or run.seed ~= "-" and run.seed or nil }
end

-- ---- folders ----

-- The folders among dirs that are runs, and the runs in the others, as { dir, stamp, age } by the folder they were
-- found in; `inner`: also runs within runs.
local function find(command, dirs, inner)
    local roots, seen, place = {}, {}, command:find("^bk%.") and "dir" or "DIR" -- in Lua, on a command line
    for _, dir in ipairs(dirs) do
        dir = dir:gsub("(.)/+$", "%1")
        local f, why = io.open(dir, "rb")
        if not f then misread("%s: %s: expected a folder, got %s", command, place, why) end
        local byte, problem = f:read(0) -- a folder opens, but does not read
        f:close()
        if byte or not problem then
            misread("%s: %s: expected a folder, got the file %s", command, place, dir)
        end
        local found = run_folder.find(dir, not inner)
        if #found == 0 and not inner then
            misread("%s: %s: expected a run folder or a folder of runs, got one with no run in it", command, dir)
        end
        local new = {}
        for _, at in ipairs(found) do
            if not seen[at.id] then new[#new + 1] = at end
            seen[at.id] = true
        end
        roots[#roots + 1] = { dir = dir, found = new }
    end
    return roots
end

-- The runs' folders, without a look at what is in them.
function list.folders(command, dirs, inner)
    local folders = {}
    for _, root in ipairs(find(command, dirs, inner)) do
        for _, at in ipairs(root.found) do folders[#folders + 1] = at.dir end
    end
    return folders
end

-- list.read(command, dirs [, { inner =, config =, entries =, recorded = }]) -> runs, problems: those that can be read,
-- and what is wrong with the others: one does not hide the rest. config, entries, recorded: all of these will be asked
-- for.
function list.read(command, dirs, want)
    local runs, problems = {}, {}
    want = want or {}
    for _, root in ipairs(find(command, dirs, want.inner)) do
        local loaded, failed, folder = {}, {}, root.dir
        local function name_of(at)
            return at.dir ~= folder and at.dir:sub(folder == "/" and 2 or #folder + 2) or at.dir
        end
        local function load(at)
            local ok, run = pcall(list.load, command, at.dir, name_of(at))
            if not ok then
                failed[at] = run
                return nil
            end
            loaded[at] = run
            return texts_of(run)
        end
        local texts = index.read(folder, root.found, want, load)
        for k, at in ipairs(root.found) do
            if texts[k] and not loaded[at] then
                runs[#runs + 1] = from_texts(at, name_of(at), texts[k])
            else
                if not loaded[at] and not failed[at] then load(at) end
                table.insert(loaded[at] and runs or problems, loaded[at] or failed[at])
            end
        end
    end
    return runs, problems
end

return list

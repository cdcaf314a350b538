-- Run folders as they lie on disk: what a run left, and where runs are.
--   config.json    what was asked for          env.json   on what it ran
--   metrics.jsonl  a recorded row a line       status.json   how far it is, and its results
--   checkpoint-STEP.safetensors   everything at a step but the rows, of which it has the digest: the run goes on from
--                  there      run.lock   while a process writes here: whose it is
-- A job of a sweep has its run here, and job.json, output.txt and job.lock beside it, whether or not the run began.
local bk = ...
local internal = bk.internal
local run_folder = {}

local text_of = bk._text_file.read

-- What bracket writes in a run's folder; true where the run's process does, under its claim.
local OURS = { ["config.json"] = true, ["env.json"] = true, ["status.json"] = true, ["metrics.jsonl"] = true,
    ["script-as-run.lua"] = true, ["job.json"] = false, ["output.txt"] = false, ["tags.json"] = false,
    ["report.html"] = false }

-- The text of a file; nil and why where there is none, an error where it cannot be read.
local function text_if_there(path)
    local text, why, absent = text_of(path)
    if not text and not absent then error(why, 0) end
    return text, why
end

-- The object in a file; nil where there is no file, an error where it is no object.
local function read_object(path)
    local text, why = text_if_there(path)
    if not text then return nil, why end
    local value, wrong = internal.from_json(text)
    if type(value) ~= "table" or #value > 0 then
        error(("%s: %s"):format(path, wrong or "expected an object, got " .. (type(value) == "table" and "a list"
            or value ~= value and "null" or tostring(value))), 0)
    end
    return value
end

-- What dir/NAME.json holds, {} where there is none.
function run_folder.object(dir, name) return read_object(dir .. "/" .. name .. ".json") or {} end

-- The steps of the checkpoints in dir, rising.
function run_folder.checkpoints(dir)
    local steps = {}
    for _, name in ipairs(internal.folder(dir)) do
        local step = name:match("^checkpoint%-(%d+)%.safetensors$")
        if step then steps[#steps + 1] = math.tointeger(tonumber(step)) end
    end
    table.sort(steps)
    return steps
end

function run_folder.metrics_path(dir) return dir .. "/metrics.jsonl" end
function run_folder.script_path(dir) return dir .. "/script-as-run.lua" end
function run_folder.checkpoint_path(dir, step) return string.format("%s/checkpoint-%d.safetensors", dir, step) end

-- The files of claims: on the run, and on the job whose run it is.
function run_folder.lock_path(dir) return dir .. "/run.lock" end
function run_folder.job_lock_path(dir) return dir .. "/job.lock" end

-- What a run's user calls it: tags.json holds { "tags": [...] }.
function run_folder.tags(dir)
    local tags, words = run_folder.object(dir, "tags").tags, {}
    for _, tag in ipairs(type(tags) == "table" and tags or {}) do
        words[#words + 1] = type(tag) == "string" and tag or nil
    end
    return words
end

-- True, or false and why not.
function run_folder.set_tags(dir, tags)
    if #tags == 0 then return os.remove(dir .. "/tags.json") end
    return pcall(internal.write_file, dir .. "/tags.json", internal.to_json({ tags = tags }, 2) .. "\n")
end

-- What a file says of a run or job. One that says "running" and has no process any more was stopped; it is read again,
-- since it may have ended by itself meanwhile. The third result: whether the file alone says so.
local function read_status(path, lock_path)
    local status, why = read_object(path)
    if not status or status.status ~= "running" then return status, why, true end
    if bk._claim.holder(lock_path) then return status end
    status = read_object(path)
    if status and status.status == "running" then
        status.status, status.message = "stopped", "its process ended without a word"
    end
    return status
end

-- { script, arguments by name } of what a job was called with.
local function job_config(job)
    local config, name = { arguments = {} }, nil
    for k, text in ipairs(type(job.arguments) == "table" and job.arguments or {}) do
        local option, value = tostring(text):match("^%-%-([^=]+)=?(.*)$")
        if k == 1 then
            config.script = text
        elseif option then
            name = option:gsub("-", "_")
            config.arguments[name] = text:find("=", 1, true) and value or true
        elseif name then
            config.arguments[name], name = tonumber(text) or text, nil
        end
    end
    config.lr, config.seed = config.arguments.lr, config.arguments.seed
    return config
end

-- { dir, status, config, env, job_only, settled }; an error where dir holds no run. A job that ended before its run
-- began stands for it, with what it was called with; of one that failed when its run had finished the message tells.
-- settled: its files alone say how it ended.
function run_folder.read(dir)
    local status, why, settled = read_status(dir .. "/status.json", run_folder.lock_path(dir))
    local config, job, _ = run_folder.object(dir, "config"), nil, nil
    if not status then
        job, _, settled = read_status(dir .. "/job.json", run_folder.job_lock_path(dir))
        if not job then error(string.format("%s: not a run folder: %s", dir, why), 0) end
        status = { status = job.status, message = job.message, started = job.started, updated = job.ended,
            seconds = job.seconds }
    elseif status.status == "finished" then
        local after = read_object(dir .. "/job.json")
        if after and after.status == "failed" then
            status.message = "its script failed afterwards: " .. tostring(after.message or "see output.txt")
        end
    end
    local job_only = job ~= nil and next(config) == nil
    return { dir = dir, status = status, config = job_only and job_config(job) or config, job_only = job_only,
        env = run_folder.object(dir, "env"), settled = settled }
end

-- The digest of the rows up to a line, by that of those before it.
function run_folder.row_digest(before, line) return internal.digest(before .. line) end

-- The text of the first n rows, where that is their digest; nil and why where it is not.
function run_folder.first_rows(dir, n, digest)
    local path = run_folder.metrics_path(dir)
    local text, why = text_of(path)
    if not text then return nil, why end
    local at, found = 1, ""
    for r = 1, n do
        local stop = text:find("\n", at, true)
        if not stop then return nil, ("%s: expected %d rows, got %d"):format(path, n, r - 1) end
        found, at = run_folder.row_digest(found, text:sub(at, stop)), stop + 1
    end
    if found ~= digest then return nil, ("%s: damaged in the first %d rows"):format(path, n) end
    return text:sub(1, at - 1)
end

-- Rows as columns by name, and their number; nan where a row lacks a column. A last line that was cut off while it was
-- written is left out.
function run_folder.columns(text, path)
    local columns, rows = {}, 0
    for line, ending in text:gmatch("([^\n]+)(\n?)") do
        local row, wrong = internal.from_json(line)
        if row == nil and ending ~= "" then error(string.format("%s: row %d: %s", path, rows + 1, wrong), 0) end
        if row ~= nil and not line:find("^%s*{") then
            error(string.format("%s: row %d: expected an object, got %s", path, rows + 1, line), 0)
        end
        if row ~= nil then
            rows = rows + 1
            for name, value in pairs(row) do
                if not columns[name] then
                    columns[name] = {}
                    for r = 1, rows - 1 do columns[name][r] = 0 / 0 end
                end
                columns[name][rows] = value
            end
            for _, column in pairs(columns) do
                if column[rows] == nil then column[rows] = 0 / 0 end
            end
        end
    end
    return columns, rows
end

function run_folder.metrics(dir)
    local path = run_folder.metrics_path(dir)
    return run_folder.columns(text_if_there(path) or "", path)
end

-- A file's name, without what stands behind it while it is written, and whether that was there.
local function whole_name(name)
    local whole = name:match("^(.+)%.tmp%-%d+%-%d+$")
    return whole or name, whole ~= nil
end

-- True or false as in OURS, nil where the file is none of bracket's.
local function written_by_run(name)
    if name:find("^checkpoint%-%d+%.safetensors$") or name:find("^checkpoint%-%d+%.damaged$") then return true end
    return OURS[name]
end

-- Removes what the run's process left half written when it was killed. The caller has the claim on the run; what others
-- write beside it they may be writing now.
function run_folder.sweep_up(dir)
    for _, name in ipairs(internal.folder(dir)) do
        local whole, temporary = whole_name(name)
        if temporary and written_by_run(whole) then os.remove(dir .. "/" .. name) end
    end
end

-- Removes what bracket wrote in a run's folder, and the folder where that is all. True and, where the folder stays,
-- what else is in it; or false and why not.
function run_folder.remove(dir)
    local claims = {}
    for _, path in ipairs{ run_folder.job_lock_path(dir), run_folder.lock_path(dir) } do
        local ok, mine, holder = pcall(bk._claim.take, path)
        if ok and mine then
            claims[#claims + 1] = mine
        else
            for _, taken in ipairs(claims) do taken:release() end
            return false, ok and "it is being written by " .. holder or mine
        end
    end
    local problem
    for _, name in ipairs(internal.folder(dir)) do
        if written_by_run((whole_name(name))) ~= nil then
            local ok, why = os.remove(dir .. "/" .. name)
            problem = problem or not ok and why
        end
    end
    for _, taken in ipairs(claims) do taken:release() end
    if problem then return false, problem end
    if os.remove(dir) then return true end
    local left = {}
    for _, name in ipairs(internal.folder(dir)) do
        if name ~= "./" and name ~= "../" then left[#left + 1] = name end
    end
    table.sort(left)
    return true, table.concat(left, ", ", 1, math.min(#left, 5))
end

-- The files that say what a run is, the first two that it is one. env.json is written with config.json.
local TELLING = { "status.json", "job.json", "config.json", "metrics.jsonl", "tags.json" }

-- The run folders in dir, itself among them, in the order of their names as numbers, each once, whatever links name it:
-- { dir, stamp, age, id } each. The stamp is another when one of the files is; age is for how many seconds none was; id
-- is the folder's, by whatever path. outer: none within dir's own run.
function run_folder.find(dir, outer)
    local found, seen = {}, {}
    local function look(at, depth)
        local folders, stamp, age, id, links = internal.look(at, TELLING)
        if seen[id or at] then return end
        seen[id or at] = true
        local is_run = stamp:find("^[01] ") ~= nil
        if is_run then found[#found + 1] = { dir = at, stamp = stamp, age = age, id = id or at } end
        if depth == 0 or outer and is_run and #found == 1 and at == dir then return end
        if #folders > 1 then bk._table_text.sort(folders, function(name) return name end) end
        for _, linked in ipairs{ false, true } do -- by its own name first
            for _, name in ipairs(folders) do
                if (links[name] or false) == linked then look((at == "/" and "" or at) .. "/" .. name, depth - 1) end
            end
        end
    end
    dir = dir:gsub("(.)/+$", "%1")
    look(dir, 6)
    return found
end

return run_folder

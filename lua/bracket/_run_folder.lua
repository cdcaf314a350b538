-- Run folders as they lie on disk: what a run left, and where runs are.
--   config.json    what was asked for          env.json   on what it ran
--   metrics.jsonl  a recorded row a line       status.json   how far it is, and its results
--   checkpoint-STEP.safetensors   everything at a step: the run goes on from there
local bk = ...
local internal = bk.internal
local run_folder = {}

local text_of = bk._text_file.read

local function read_json(path)
    local text, why = text_of(path)
    if not text then return nil, why end
    local value, wrong = internal.from_json(text)
    if value == nil then error(path .. ": " .. wrong, 0) end
    return value
end

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

function run_folder.checkpoint_path(dir, step) return string.format("%s/checkpoint-%d.safetensors", dir, step) end

function run_folder.is_run(dir) return text_of(dir .. "/status.json") ~= nil end

-- { dir, status, config, env }; an error where dir holds no run.
function run_folder.read(dir)
    local status, why = read_json(dir .. "/status.json")
    if not status then error(string.format("%s: not a run folder: %s", dir, why), 0) end
    return { dir = dir, status = status, config = read_json(dir .. "/config.json") or {},
        env = read_json(dir .. "/env.json") or {} }
end

-- The recorded rows as columns by name, and their number; nan where a row lacks a column. A last line that was cut off
-- while it was written is left out.
function run_folder.metrics(dir)
    local path = dir .. "/metrics.jsonl"
    local text = text_of(path) or ""
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

-- The run folders in dir, itself among them, in the order of their names.
function run_folder.find(dir)
    local found = {}
    local function look(at, depth)
        if run_folder.is_run(at) then found[#found + 1] = at end
        if depth == 0 then return end
        local entries = internal.folder(at)
        table.sort(entries)
        for _, name in ipairs(entries) do
            if name:sub(-1) == "/" and name:sub(1, 1) ~= "." then look((at == "/" and "" or at) .. "/"
                .. name:sub(1, -2), depth - 1) end
        end
    end
    look((dir:gsub("(.)/+$", "%1")), 6)
    return found
end

return run_folder

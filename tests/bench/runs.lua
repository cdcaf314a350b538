-- runs.lua - processor time of `bracket runs` on many runs: build/bracket tests/bench/runs.lua [--runs 10000]
-- [--folder DIR]. Makes the runs (a sweep of four rates, each with config, environment, status and ten recorded rows)
-- and prints the least of three calls of each command, user and system seconds, started from the shell.
local bk = require "bracket"
local o = bk.arguments({ runs = 10000, folder = "" }, { "processor time of `bracket runs` on many runs",
    folder = "where they are made, and stay" })
local program = (os.getenv("BRACKET_BUILD") or "build") .. "/bracket"
local to_json = bk.internal.to_json

local root = o.folder ~= "" and o.folder or os.tmpname()
if o.folder == "" then os.remove(root) end
bk.internal.make_folder(root)

local function write(path, text)
    local f <close> = assert(io.open(path, "wb"))
    assert(f:write(text))
end

local tasks = {}
for i = 1, 3 do
    tasks[i] = { name = "task " .. i, train = 480, test = 120, digest = { train = { x = "a" .. i, y = "b" } } }
end
for k = 0, o.runs - 1 do
    local lr, seed = ({ 0.01, 0.02, 0.05, 0.1 })[k % 4 + 1], k // 4 + 1
    local dir = ("%s/runs/lr=%g,seed=%d"):format(root, lr, seed)
    bk.internal.make_folder(dir)
    write(dir .. "/config.json", to_json{ lr = lr, seed = seed, batch = 16, steps = 60, dtype = "float32",
        order = "sequential", model = "model(linear 784-32 > tanh > linear 32-10; 25450 parameters)",
        optimizer = "sgd{weight_decay = 0.0}", script = "train.lua", tasks = tasks,
        arguments = { lr = lr, seed = seed, steps = 60, out = dir } })
    write(dir .. "/env.json", to_json{ threads = 1, bracket = bk.version })
    write(dir .. "/status.json", to_json{ status = "finished", step = 180, total = 180, seconds = 1.5,
        started = "2025-01-02T03:04:05Z", accuracy = { { 0.1, 0.2, 0.1 }, { 0.9, 0.3, 0.2 } }, learned = { 1 },
        metrics = { average_accuracy = 0.5 + seed / 4 / o.runs, forgetting = 0.1 } })
    local rows = {}
    for step = 0, 180, 20 do
        rows[#rows + 1] = to_json{ step = step, task = 1, lr = lr, loss = 1 / (1 + step), accuracy = 0.5,
            bracket = 3.5 } .. "\n"
    end
    write(dir .. "/metrics.jsonl", table.concat(rows))
end
os.execute(("find '%s' -type f -exec touch -d '1 hour ago' {} +"):format(root)) -- what was just written is read again

-- The seconds of processor time of a command: what sh's `times` says of its children.
local function seconds(command)
    local p = io.popen(("sh -c '%s %s >/dev/null && times'"):format(program, command))
    local sum = 0
    for minutes, s in (p:read("a"):match("\n(.*)") or ""):gmatch("(%d+)m([%d.,]+)s") do
        sum = sum + 60 * minutes + tonumber((s:gsub(",", ".")))
    end
    assert(p:close(), command)
    return sum
end

local runs = root .. "/runs"
print(("%d runs, seconds of processor time"):format(o.runs))
print(("  %-44s %.2f"):format("runs list, the first time: makes the index", seconds("runs list " .. runs)))
for _, command in ipairs{ "runs list %s", "runs list %s --where lr\\<0.05 --sort -bracket", "runs compare %s" } do
    local least = math.huge
    for _ = 1, 3 do least = math.min(least, seconds(command:format(runs))) end
    print(("  %-44s %.2f"):format((command:gsub(" %%s", ""):gsub("\\", "")), least))
end
if o.folder == "" then os.execute(("rm -rf '%s'"):format(root)) end

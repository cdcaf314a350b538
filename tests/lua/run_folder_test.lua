-- Runs that leave a folder: what is in it, and that a run which was stopped, killed or failed goes on bit for bit.
local lu = require "luaunit"
local files = require "files"
local bk = require "bracket"
local internal = bk.internal
local run_folder, checkpoint = bk._run_folder, bk._checkpoint
local build = os.getenv("BRACKET_BUILD") or "build"
TestRunFolder = {}

local root
function TestRunFolder:setUp()
    root = files.folder()
end
function TestRunFolder:tearDown() files.remove(root) end

local function read(name) return files.read(root .. "/" .. name) end
local function write(name, text) files.write(root .. "/" .. name, text) end
local function exists(name)
    local f = io.open(root .. "/" .. name, "rb")
    if f then f:close() end
    return f ~= nil
end

local function protocol(change)
    local r = bk.rng(1)
    local tasks = {}
    for i = 1, 3 do tasks[i] = { x = r:normal{ 30, 4 }, y = r:integers({ 30 }, 3), name = "task <" .. i .. ">" } end
    local options = { model = bk.nn.mlp{ 4, 5, 3, activation = "tanh" }, tasks = tasks, lr = 0.1, steps = 20, batch = 7,
        optimizer = bk.optim.adam{}, interventions = { bk.intervention.ewc{ weight = 2, samples = 5 },
            bk.intervention.replay{ memory = 6 } },
        record = { every = 3, "loss", "accuracy", own = function(state) return state.step < 8 and 0 / 0
            or state.step end },
        seed = 5 }
    for name, value in pairs(change or {}) do options[name] = value end
    return bk.protocol(options)
end

local function same(a, b) return lu.prettystr(a:totable()) == lu.prettystr(b:totable()) end
local function columns_same(a, b)
    local n = 0
    for name, column in pairs(a) do
        for k, v in ipairs(column) do
            n = n + 1
            if not (b[name][k] == v or (v ~= v and b[name][k] ~= b[name][k])) then return false end
        end
    end
    return n > 0
end
local function fails(message, f, ...)
    local ok, e = pcall(f, ...)
    lu.assertFalse(ok)
    lu.assertStrContains(tostring(e), message)
end

-- A finished run goes on with more steps, where the steps so far are those of the longer run.
function TestRunFolder:test_a_finished_run_goes_on_with_more_steps()
    local function run(name, steps, change)
        local all = { order = "cyclic", steps = steps, interventions = {},
            record = { every = 5, "loss" } }
        for key, value in pairs(change or {}) do all[key] = value end
        return protocol(all):run{ out = root .. "/" .. name, checkpoint_every = 5, resume = true, progress = false }
    end
    local rates = bk.schedule.cosine{ lr = 0.1, steps = 40 } -- its own length, not the run's
    for name, change in pairs{ fixed = {}, float32 = { dtype = "float32" }, schedule = { lr = rates },
        random = { order = "random", interventions = { bk.intervention.replay{ memory = 6 } } },
        joint = { order = "joint" } } do
        local whole = run(name .. "-whole", 30, change)
        lu.assertEquals(run(name, 20, change).steps, 20)
        local r = run(name, 30, change)
        lu.assertEquals({ r.steps, r.total, r.finished }, { 30, 30, true })
        lu.assertTrue(same(r.theta, whole.theta), name)
        lu.assertTrue(columns_same(whole.history, r.history))
        lu.assertEquals(r.accuracy, whole.accuracy)
        lu.assertEquals(read(name .. "/metrics.jsonl"), read(name .. "-whole/metrics.jsonl"))
        local status = run_folder.read(root .. "/" .. name).status
        lu.assertEquals({ status.status, status.step, status.total }, { "finished", 30, 30 })
    end
    fails("was run with steps = 30, this protocol has 25", run, "fixed", 25)
    run("blocks", 4, { order = "sequential" })
    fails("was run with steps = 4, this protocol has 6", run, "blocks", 6, { order = "sequential" })
    local asks = { lr = bk.schedule.cosine{ lr = 0.1 } } -- the run's length
    run("asks", 20, asks)
    fails("was run with steps = 20, this protocol has 30", run, "asks", 30, asks)
    local late = { lr = bk.schedule.warmup{ steps = 3, lr = 0.1, after = bk.schedule.cosine{ lr = 0.1 } } }
    run("late", 20, late)
    fails("was run with steps = 20, this protocol has 30", run, "late", 30, late)
    local stops = { interventions = { { name = "stops", after_step = function(state)
        if state.step == 8 then state:stop() end
    end } } }
    lu.assertEquals(run("stopped", 20, stops).steps, 8)
    lu.assertEquals(run("stopped", 30, stops).steps, 8) -- it was asked to end there
end

function TestRunFolder:test_the_files_say_what_was_run()
    local r = protocol():run{ out = root .. "/a/b", checkpoint_every = 6, progress = false }
    local run = run_folder.read(root .. "/a/b")
    lu.assertEquals(run.status.status, "finished")
    lu.assertEquals({ run.status.step, run.status.total }, { 60, 60 })
    lu.assertStrMatches(run.status.started, "%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ")
    lu.assertTrue(run.status.seconds >= 0)
    lu.assertEquals(run.status.learned, { 1, 2, 3 })
    lu.assertAlmostEquals(run.status.metrics.average_accuracy, r.metrics.average_accuracy, 1e-14)
    lu.assertEquals(#run.status.accuracy, 4)
    lu.assertAlmostEquals(run.status.accuracy[1][2], r.accuracy[0][2], 1e-14)
    lu.assertAlmostEquals(run.status.accuracy[4][3], r.accuracy[3][3], 1e-14)
    local c = run.config
    lu.assertEquals({ c.lr, c.steps, c.batch, c.seed, c.dtype, c.order, c.n_params, c.checkpoint_every },
        { 0.1, 20, 7, 5, "float64", "sequential", 43, 6 })
    lu.assertEquals({ c.tasks[2].name, c.tasks[2].train, c.tasks[2].test, c.tasks[2].loss },
        { "task <2>", 30, 30, "cross_entropy" })
    lu.assertEquals(c.tasks[2].digest.train, c.tasks[2].digest.test)
    lu.assertNotEquals(c.tasks[2].digest.train.x, c.tasks[1].digest.train.x)
    lu.assertEquals({ c.interventions[1].name, c.interventions[1].weight, c.interventions[2].name },
        { "ewc", 2, "replay" })
    lu.assertStrContains(c.optimizer, "adam{")
    lu.assertEquals(c.record, { every = 3, names = { "loss", "accuracy", "own" } })
    lu.assertEquals({ run.env.bracket, run.env.threads, run.env.seed }, { bk.version, 1, 5 })
    lu.assertStrContains(run.env.openblas, "OpenBLAS")
    local columns, rows = run_folder.metrics(root .. "/a/b")
    lu.assertEquals(rows, #r.history.step)
    lu.assertTrue(columns_same(r.history, columns)) -- every bit, nan too
    lu.assertEquals(run_folder.checkpoints(root .. "/a/b"), { 54, 60 })
    local tensors = bk.load_safetensors(root .. "/a/b/checkpoint-60.safetensors")
    lu.assertTrue(same(tensors.theta, r.theta))
    lu.assertEquals(run_folder.find(root)[1].dir, root .. "/a/b")
    lu.assertEquals(#run_folder.find(root), 1)
    lu.assertFalse(exists("a/b/status.json.tmp"))
end

-- Stopped after every step in turn, the run goes on in a new protocol as if it had not been.
function TestRunFolder:test_a_stopped_run_goes_on_bit_for_bit()
    local whole = protocol():run{ progress = false }
    for stop = 1, 59, 4 do
        local dir = string.format("%s/stop-%d", root, stop)
        local first = protocol()
        first:run{ out = dir, stop = stop, checkpoint_every = 1000, progress = false }
        lu.assertEquals(run_folder.read(dir).status.status, "paused")
        lu.assertEquals(run_folder.checkpoints(dir), { stop })
        local r = protocol():run{ out = dir, resume = true, progress = false }
        lu.assertTrue(same(r.theta, whole.theta))
        lu.assertTrue(columns_same(whole.history, r.history))
        lu.assertTrue(columns_same(whole.history, (run_folder.metrics(dir))))
        lu.assertEquals(r.metrics, whole.metrics)
        lu.assertEquals(run_folder.read(dir).status.status, "finished")
        if stop == 5 then -- the first goes on too, in its folder
            local again = first:run{ out = dir, progress = false }
            lu.assertTrue(same(again.theta, whole.theta))
            lu.assertTrue(columns_same(whole.history, (run_folder.metrics(dir))))
        end
    end
end

function TestRunFolder:test_a_finished_run_is_read_not_repeated()
    local whole = protocol():run{ out = root .. "/a", progress = false }
    local steps = 0
    local r = protocol{ interventions = { bk.intervention.ewc{ weight = 2, samples = 5 },
        bk.intervention.replay{ memory = 6 } } }
    r.spec.optimizer = setmetatable({}, { __index = function(_, name) -- any step would show
        local optimizer = bk.optim.adam{}
        return function(_, ...)
            if name == "step" then steps = steps + 1 end
            return optimizer[name](optimizer, ...)
        end
    end, __tostring = function() return tostring(bk.optim.adam{}) end })
    local again = r:run{ out = root .. "/a", resume = true, progress = false }
    lu.assertEquals(steps, 0)
    lu.assertTrue(same(again.theta, whole.theta))
    lu.assertEquals(again.metrics, whole.metrics)
end

-- An optimizer that is a table of functions is the same one in another process, where it lies elsewhere.
function TestRunFolder:test_goes_on_with_an_optimizer_of_ones_own()
    local function own(scale)
        return { step = function(_, theta, g, lr) return theta - g * (lr * scale) end,
            state = function() return {} end, restore = function() end, reset = function() end }
    end
    local whole = protocol{ optimizer = own(1) }:run{ progress = false }
    protocol{ optimizer = own(1) }:run{ out = root .. "/a", stop = 10, progress = false }
    local r = protocol{ optimizer = own(1) }:run{ out = root .. "/a", resume = true, progress = false }
    lu.assertTrue(same(r.theta, whole.theta))
    fails("was run with optimizer", function()
        protocol{ optimizer = own(2) }:run{ out = root .. "/a", resume = true, progress = false }
    end)
end

function TestRunFolder:test_a_run_in_the_folder_is_not_written_over()
    protocol():run{ out = root .. "/a", stop = 10, progress = false }
    fails("a holds a run: resume = true goes on with it", function() protocol():run{ out = root .. "/a" } end)
    fails("resume: " .. root .. "/a was run with lr = 0.1, this protocol has 0.2", function()
        protocol{ lr = 0.2 }:run{ out = root .. "/a", resume = true }
    end)
    fails("was run with seed = 5, this protocol has 6", function()
        protocol():run{ out = root .. "/a", resume = true, seed = 6 }
    end)
    fails("was run with interventions", function() protocol{ interventions = {} }:run{ out = root .. "/a",
        resume = true } end)
    lu.assertEquals(run_folder.checkpoints(root .. "/a"), { 6, 10 })
    lu.assertEquals(run_folder.read(root .. "/a").status.status, "paused")
    fails("checkpoint_every, keep and resume need out", function() protocol():run{ resume = true } end)
    fails("out: expected", function() protocol():run{ out = 3 } end)
    write("file", "x")
    fails("protocol:run: out: " .. root .. "/file: is not a folder", function()
        protocol():run{ out = root .. "/file" }
    end)
    fails("protocol:run: out: " .. root .. "/file/inside: cannot be made: Not a directory", function()
        protocol():run{ out = root .. "/file/inside" }
    end)
end

function TestRunFolder:test_a_failed_run_keeps_what_it_had_and_says_why()
    local p = protocol{ interventions = { { name = "bad", after_step = function(state)
        if state.step == 27 then error("it broke", 0) end
    end } } }
    fails("it broke", function() p:run{ out = root .. "/a", checkpoint_every = 10, progress = false } end)
    local status = run_folder.read(root .. "/a").status
    lu.assertEquals({ status.status, status.step, status.message }, { "failed", 27, "it broke" })
    lu.assertEquals(run_folder.checkpoints(root .. "/a"), { 10, 20 })
    local columns = run_folder.metrics(root .. "/a")
    lu.assertEquals(columns.step[#columns.step], 24)
    fails("state.memory.1.f (of intervention odd): a function cannot be saved; expected numbers", function() -- said as soon as a checkpoint is due
        protocol{ interventions = { { name = "odd", begin_run = function(_, memory) memory.f = print end } } }:run{
            out = root .. "/b", progress = false }
    end)
    lu.assertEquals(run_folder.read(root .. "/b").status.status, "failed")
end

-- A mistake that shows as a run begins does not hold its folder: mended, the script runs there.
function TestRunFolder:test_a_run_that_failed_before_its_first_step_is_begun_anew()
    local dir = root .. "/a"
    local function run(record, options)
        options.out, options.progress = dir, false
        return protocol{ interventions = {}, record = { every = 5, record } }:run(options)
    end
    fails("the conflict is stated for gradient steps", function() run("conflict", {}) end)
    lu.assertEquals(run_folder.read(dir).status.status, "failed")
    fails("the flatness is stated for gradient steps", function() run("flatness", { resume = true }) end)
    local r = run("loss", {})
    lu.assertEquals(run_folder.read(dir).status.status, "finished")
    lu.assertEquals(run_folder.metrics(dir).step, r.history.step)
    fails("holds a run", function() run("loss", {}) end)
    -- one that took a step stays
    pcall(function()
        local bad = { name = "bad", after_step = function(s) if s.step == 2 then error("no") end end }
        protocol{ interventions = { bad } }:run{ out = root .. "/b", progress = false }
    end)
    fails("was run with", function() protocol():run{ out = root .. "/b", resume = true, progress = false } end)
end

-- What a run looks at of its last step is there when it goes on.
function TestRunFolder:test_rates_that_follow_the_gradient_go_on_bit_for_bit()
    local function follow(step, state)
        local norm = state.gradient and state.gradient:norm():item() or 1
        return (state.gradients[1] and 0.01 or 0.05) / (1 + norm) + (state.x and 1 or 0)
    end
    for _, order in ipairs{ "sequential", "joint" } do
        local change = { lr = follow, order = order, interventions = {}, steps = 20 }
        local whole, dir = protocol(change):run{ progress = false }, root .. "/" .. order
        protocol(change):run{ out = dir, stop = 7, progress = false }
        lu.assertTrue(same(protocol(change):run{ out = dir, resume = true, progress = false }.theta, whole.theta))
        local first = protocol(change)
        first:run{ stop = 7, progress = false }
        lu.assertTrue(same(protocol(change):restore(first:state()):run{ progress = false }.theta, whole.theta))
    end
end

function TestRunFolder:test_the_folder_of_another_protocol_is_refused()
    local r = bk.rng(9)
    local tasks = {}
    for i = 1, 3 do tasks[i] = { x = r:normal{ 30, 4 }, y = r:integers({ 30 }, 3), name = "task <" .. i .. ">" } end
    local constant = 0.5
    local others = {
        { "other data of task 1 (digest ", {}, { tasks = tasks } },
        { "another order (digest ", { order = bk.order.blocks{ size = 2 }, steps = 30 },
            { order = bk.order.blocks{ size = 3 }, steps = 30 } },
        { "another order (digest ", { order = bk.order.word{ 1, 2, 3 }, interventions = {} },
            { order = bk.order.word{ 3, 2, 1 }, interventions = {} } },
        { "lr = \"cosine{final = 0, lr = 0.1}\", this protocol has \"cosine{final = 0, lr = 0.2}\"; name",
            { lr = bk.schedule.cosine{ lr = 0.1 } }, { lr = bk.schedule.cosine{ lr = 0.2 } } },
        { "lr", { lr = function(step) return 0.1 / step end }, { lr = function(step) return 0.2 / step end } },
        { "lr", { lr = function() return constant end }, { lr = function() return constant end },
            function() constant = 0.6 end },
        { "interventions.1.weight = 2, this protocol has 1", { interventions = { bk.intervention.ewc{ weight = 2 } } },
            { interventions = { bk.intervention.ewc{ weight = 1 } } } },
        { "optimizer = \"adam{", { optimizer = bk.optim.adam{ eps = 0.1 } },
            { optimizer = bk.optim.adam{ eps = 0.1 + 2 ^ -54 } } },
        { "another intervention 1 (digest ", { interventions = { bk.intervention.ewc{ weight = 1, samples = 3 } } },
            { interventions = { bk.intervention.ewc{ weight = 1, samples = 4 } } } },
    }
    for k, case in ipairs(others) do
        local dir = root .. "/" .. k
        protocol(case[2]):run{ out = dir, stop = 3, progress = false }
        if not case[4] then protocol(case[2]):run{ out = dir, resume = true, stop = 4, progress = false } end
        if case[4] then case[4]() end
        fails("was run with " .. case[1], function() protocol(case[3]):run{ out = dir, resume = true,
            progress = false } end)
    end
    local path = "some/where" -- the same function, though a path it knows has changed; and 1 is 1.0
    local function rate() return path and 1 end
    protocol{ lr = rate }:run{ out = root .. "/path", stop = 3, progress = false }
    path = "else/where"
    protocol{ lr = rate }:run{ out = root .. "/path", resume = true, stop = 4, progress = false }
    protocol{ lr = 1 }:run{ out = root .. "/one", stop = 3, progress = false }
    protocol{ lr = 1.0 }:run{ out = root .. "/one", resume = true, stop = 4, progress = false }
    fails("began at another theta", function()
        protocol{ lr = 1 }:run{ out = root .. "/one", resume = true, theta = bk.zeros{ 43 } }
    end)
end

-- A history as long as this was once more than a file's header may hold.
function TestRunFolder:test_long_histories_are_saved_as_tensors()
    local column, whole, mixed = {}, {}, {}
    for k = 1, 200000 do
        column[k], whole[k] = k % 7 == 0 and 0 / 0 or k / 3, k
        mixed[k] = k % 5 == 0 and k or k * 0.5
    end
    checkpoint.save(root .. "/c", { step = 1, history = { column = column, whole = whole, mixed = mixed },
        big = { math.maxinteger, 0.5 } })
    local back = checkpoint.load(root .. "/c").history
    for k = 1, 200000 do
        if not (back.column[k] == column[k] or column[k] ~= column[k]) or math.type(back.whole[k]) ~= "integer"
            or back.whole[k] ~= k or back.mixed[k] ~= mixed[k] or math.type(back.mixed[k]) ~= math.type(mixed[k]) then
            lu.fail("entry " .. k)
        end
    end
    local text = read("c")
    lu.assertTrue(string.unpack("<I8", text) < 4000)
end

function TestRunFolder:test_errors_reach_the_status_whatever_they_say()
    for message, status in pairs{ ["bad \xff byte"] = "failed", ["uninterrupted power failed"] = "failed",
        ["place:1: interrupted"] = "stopped" } do
        local dir = root .. "/" .. status .. #message
        pcall(function()
            protocol{ interventions = { { name = "bad", after_step = function() error(message,
                0) end } } }:run{ out = dir, progress = false }
        end)
        lu.assertEquals(run_folder.read(dir).status.status, status)
    end
    local dir = root .. "/odd names" -- what is not UTF-8 is written so that it can be read
    local r = bk.rng(1)
    protocol{ interventions = {}, tasks = { { x = r:normal{ 30, 4 }, y = r:integers({ 30 }, 3),
        name = "caf\xe9" } } }:run{ out = dir,
        progress = false }
    lu.assertEquals(run_folder.read(dir).config.tasks[1].name, "caf\\xe9")
end

-- A disk that is full, or here a file that cannot be written: the run ends with an error, not with rows that are
-- missing.
function TestRunFolder:test_rows_that_cannot_be_written_are_an_error()
    local dir = root .. "/a"
    fails("a/metrics.jsonl: cannot be written", function()
        protocol{ interventions = { { name = "breaks", after_step = function(state)
            if state.step == 4 then os.execute(("rm %s/metrics.jsonl; mkdir %s/metrics.jsonl"):format(dir, dir)) end
        end } } }:run{ out = dir, progress = false }
    end)
    lu.assertEquals(run_folder.read(dir).status.status, "failed")
end

-- Ctrl-C while rows are being written is raised when they stand in the file.
function TestRunFolder:test_an_interrupt_of_the_writing_doubles_no_row()
    local append = bk.internal.append_file
    bk.internal.append_file = function(...)
        append(...)
        bk.internal.append_file = append
        error("interrupted", 0)
    end
    fails("interrupted", function() protocol():run{ out = root .. "/a", checkpoint_every = 10, progress = false } end)
    bk.internal.append_file = append
    local columns, rows = run_folder.metrics(root .. "/a")
    lu.assertTrue(rows > 1)
    for k = 2, rows do lu.assertTrue(columns.step[k] > columns.step[k - 1]) end
    lu.assertEquals(run_folder.read(root .. "/a").status.status, "stopped")
end

-- What it ran on is for people to read: a run goes on without it.
function TestRunFolder:test_goes_on_where_env_json_is_cut_short()
    local whole = protocol():run{ progress = false }
    protocol():run{ out = root .. "/a", stop = 10, progress = false }
    write("a/env.json", "")
    local r = protocol():run{ out = root .. "/a", resume = true, progress = false }
    lu.assertTrue(same(r.theta, whole.theta))
    lu.assertEquals(run_folder.read(root .. "/a").env.seed, 5)
end

function TestRunFolder:test_what_is_finished_is_not_touched()
    protocol():run{ out = root .. "/a", progress = false }
    local before = {}
    for _, name in ipairs{ "config.json", "env.json", "metrics.jsonl", "status.json" } do before[name] = read("a/"
        .. name) end
    write("a/status.json.tmp-1-0", "left")
    protocol():run{ out = root .. "/a", resume = true, progress = false }
    for name, text in pairs(before) do lu.assertEquals(read("a/" .. name), text) end
    protocol():run{ out = root .. "/b", stop = 5, progress = false }
    write("b/checkpoint-2.safetensors.tmp-1-0", "left by a killed process")
    protocol():run{ out = root .. "/b", resume = true, progress = false }
    lu.assertFalse(exists("b/checkpoint-2.safetensors.tmp-1-0"))
    local columns = run_folder.metrics(root .. "/b") -- every row once
    for k = 2, #columns.step do lu.assertTrue(columns.step[k] > columns.step[k - 1]) end
end

local SCRIPT = [[
local bk = require "bracket"
local r = bk.rng(1)
local tasks = {}
for i = 1, 2 do tasks[i] = { x = r:normal{ 30, 4 }, y = r:integers({ 30 }, 3) } end
local p = bk.protocol{ model = bk.nn.mlp{ 4, 5, 3 }, tasks = tasks, lr = 0.1, steps = 40, batch = 7,
    optimizer = bk.optim.adam{},
    record = { every = 1, "loss" }, interventions = { { name = "slow", after_step = function()
        local t = os.clock() while os.clock() - t < tonumber(arg[2]) do end end } } }
local result = p:run{ out = arg[1], checkpoint_every = 5, resume = true, progress = false }
result.theta:save(arg[1] .. "/theta.npy")
]]

-- Killed (SIGKILL) and interrupted (SIGINT) somewhere after each of its checkpoints, so that it ends on any machine.
function TestRunFolder:test_a_killed_run_goes_on_bit_for_bit()
    write("script.lua", SCRIPT)
    local command = string.format("%s/bracket %s/script.lua %s/", build, root, root)
    lu.assertTrue((os.execute(command .. "whole 0")))
    for _, signal in ipairs{ "KILL", "INT" } do
        local dir, kills = root .. "/" .. signal, 0
        local function saved()
            local steps = run_folder.checkpoints(dir)
            return steps[#steps] or 0
        end
        repeat
            local before = saved()
            local p = io.popen(string.format("echo $$; exec %s%s 0.002 2>/dev/null", command, signal))
            local id = p:read("n")
            while internal.process(id) and saved() == before do internal.sleep(0.001) end
            internal.sleep(0.002 * kills)
            if internal.process(id) and os.execute(string.format("kill -%s %d", signal, id)) then kills = kills + 1 end
            local done = p:close()
            local status = run_folder.read(dir).status.status
            lu.assertTrue(status == (done and "finished" or "stopped") or status == "finished", status)
            lu.assertTrue(done or saved() > before)
        until done
        lu.assertTrue(kills > 0)
        lu.assertEquals(run_folder.read(dir).status.status, "finished")
        lu.assertEquals(read(signal .. "/theta.npy"), read("whole/theta.npy"))
        lu.assertEquals(read(signal .. "/metrics.jsonl"), read("whole/metrics.jsonl"))
    end
end

function TestRunFolder:test_broken_files_are_named()
    protocol():run{ out = root .. "/a", stop = 10, progress = false }
    local whole = read("a/checkpoint-10.safetensors")
    bk.save_safetensors(root .. "/a/checkpoint-10.safetensors", {}, { format = "bracket checkpoint 9" })
    fails("expected a bracket checkpoint 3, got bracket checkpoint 9", checkpoint.load, root
        .. "/a/checkpoint-10.safetensors")
    fails("expected a bracket checkpoint 3", function() protocol():run{ out = root .. "/a", resume = true } end)
    write("a/checkpoint-10.safetensors", whole)
    write("a/config.json", "{ \"lr\": 0.1,\n oops }")
    fails("config.json: line 2: ", function() protocol():run{ out = root .. "/a", resume = true } end)
    write("a/config.json", "{}")
    fails("a/config.json, which says what was run, is missing or empty", function() protocol():run{ out = root .. "/a", resume = true } end)
    fails("not a run folder", run_folder.read, root)
    write("a/metrics.jsonl", "{\"step\": 1, \"loss\": 2.5}\n{\"step\": 2, \"lo")
    local columns, rows = run_folder.metrics(root .. "/a") -- the last line was cut off
    lu.assertEquals({ rows, columns.step, columns.loss }, { 1, { 1 }, { 2.5 } })
    write("a/metrics.jsonl", "{\"step\": 1}\noops\n")
    fails("metrics.jsonl: row 2: ", run_folder.metrics, root .. "/a")
end

function TestRunFolder:test_a_checkpoint_keeps_every_value()
    local t = bk.arange(6):reshape{ 2, 3 }:transpose()
    local state = { step = 3, [0] = "zero", [2] = { 1, 2.0, -0.0, 0.1 + 0.2, math.maxinteger, math.mininteger, 5e-324 },
        odd = { 0 / 0, math.huge, -math.huge }, [math.huge] = "key", [1.5] = true, [true] = false, deep = { { {} } },
            text = "ü\n\"\0x",
        ["a.b"] = bk.ones{ 1 }, a = { b = bk.zeros{ 2 } }, t = t, i = bk.tensor({ 7 }, { dtype = "int64" }),
        f = bk.tensor({ 0.1 }, { dtype = "float32" }), empty = bk.zeros{ 0, 3 }, point = bk.tensor(2.5) }
    checkpoint.save(root .. "/c", state)
    local back = checkpoint.load(root .. "/c")
    local function check(a, b)
        if bk.is_tensor(a) then
            lu.assertEquals({ b:dtype(), b:shape(), b:totable() }, { a:dtype(), a:shape(), a:totable() })
        elseif type(a) == "table" then
            for k, v in pairs(a) do check(v, b[k]) end
            for k in pairs(b) do lu.assertNotNil(a[k]) end
        else
            lu.assertEquals(math.type(b), math.type(a))
            lu.assertTrue(a == b and (a ~= 0 or 1 / a == 1 / b) or (a ~= a and b ~= b))
        end
    end
    check(state, back)
end

-- Every schedule has a text, by which config.json names it; one with a function of the user's in it, and none has it, a
-- digest.
function TestRunFolder:test_schedules_are_named()
    local text, required = bk.schedule._described.text, dofile "tests/lua/required.lua"
    for name, make in pairs(bk.schedule) do
        if not name:find("^_") and name ~= "per_task" then -- as a list of rates, whose own have theirs
            local said = text(make(required(make, 5, { lr = 0.1 })))
            lu.assertEquals(said and said:match("^[%w_]*{"), name .. "{", name .. ": bk.schedule._described names it")
        end
    end
    lu.assertEquals(text(bk.schedule.cosine{ lr = 0.1, final = 0.01 }), "cosine{final = 0.01, lr = 0.1}")
    lu.assertEquals(text(bk.schedule.warmup{ steps = 3, after = bk.schedule.constant{ lr = 1 / 3 } }),
        "warmup{after = constant{lr = 0.33333333333333331}, steps = 3}")
    local function handing_over_to(f) return bk.schedule.warmup{ steps = 3, after = f } end
    local function tenth() return 0.1 end
    lu.assertNil(text(handing_over_to(tenth)))
    local digest = bk._fingerprint -- what names such a one: it sees the function's code
    lu.assertEquals(digest(handing_over_to(tenth)), digest(handing_over_to(tenth)))
    lu.assertNotEquals(digest(handing_over_to(tenth)), digest(handing_over_to(function() return 0.2 end)))
    protocol{ lr = bk.schedule.linear{ lr = 0.1 } }:run{ out = root .. "/a", stop = 3, progress = false }
    lu.assertEquals(run_folder.read(root .. "/a").config.lr, "linear{final = 0, lr = 0.1}")
end

-- Two hooks that differ in a captured setting are two; that write elsewhere, one.
function TestRunFolder.test_a_word_that_a_hook_captured_tells_runs_apart()
    local function hook(mode, path) return { before_step = function() return mode, path end } end
    local digest = bk._fingerprint
    lu.assertNotEquals(digest(hook("signed", "out/a")), digest(hook("absolute", "out/a")))
    lu.assertEquals(digest(hook("signed", "out/a")), digest(hook("signed", "/elsewhere/a b.csv")))
    lu.assertNotEquals(digest(hook(1 << 53)), digest(hook((1 << 53) + 1)))
end

function TestRunFolder.test_what_is_in_a_module_tells_no_runs_apart()
    local module = { count = 1 }
    package.loaded["run_folder_test.module"] = module
    local function hook() return module.count end
    local before = bk._fingerprint(hook)
    module.count = 2
    lu.assertEquals(bk._fingerprint(hook), before)
    package.loaded["run_folder_test.module"] = nil
    lu.assertNotEquals(bk._fingerprint(hook), before)
end

-- A model is told from another of its printed line: by every option, and by its functions; one made again is the same.
function TestRunFolder:test_the_folder_of_another_model_is_refused()
    local nn = bk.nn
    local x, y = bk.rng(1):normal{ 12, 4 }, bk.rng(2):integers({ 12 }, 2)
    local images = bk.rng(1):normal{ 12, 1, 4, 4 }
    local tokens, classes = bk.rng(3):integers({ 12, 6 }, 5), bk.rng(4):integers({ 12, 6 }, 2)
    local function around(layer) return nn.sequential{ nn.linear{ 4, 4 }, layer, nn.linear{ 4, 2 } } end
    local function of_tokens(options)
        options.causal = true
        return nn.sequential{ nn.embedding{ 5, 8 }, nn.transformer(options), nn.linear{ 8, 2 } }
    end
    local function own(k) return nn.layer{ name = "own", forward = function(_, t) return t * k end } end
    local function starting(init)
        return nn.layer{ params = { { "w", shape = { 4 }, init = init } },
            forward = function(p, t) return t * p.w end }
    end
    local made = { -- each of 1 and of 2
        dropout = function(k) return around(nn.dropout{ k / 4 }) end,
        noise = function(k) return around(nn.noise{ k / 4 }) end,
        batch_norm = function(k) return around(nn.batch_norm{ 4, eps = k / 4 }) end,
        layer_norm = function(k) return around(nn.layer_norm{ 4, eps = k / 4 }) end,
        captured = function(k) return around(own(k)) end,
        code = function(k)
            return around(nn.layer{ forward = k == 1 and function(_, t) return t:sin() end
                or function(_, t) return t:cos() end })
        end,
        init = function(k) return around(starting(k)) end,
        scheme = function(k) return around(starting(k == 1 and "ones" or "normal")) end,
        inside = function(k) return around(nn.residual{ k == 1 and nn.tanh() or nn.relu() }) end,
        nested = function(k) return around(nn.residual{ nn.residual{ nn.linear{ 4, 4 }, nn.dropout{ k / 4 } } }) end,
        convolution = function(k)
            return nn.sequential{ nn.conv2d{ 1, 2, kernel = 2, stride = k }, nn.flatten(),
                nn.linear{ k == 1 and 18 or 8, 2 } }, images
        end,
        activation = function(k) return of_tokens{ width = 8, heads = 2,
            activation = k == 1 and "gelu" or "relu" }, tokens end,
        heads = function(k) return of_tokens{ width = 8, heads = 2 * k }, tokens end,
        gru = function(k) return nn.sequential{ nn.embedding{ 5, 4 }, nn.gru{ 4, 4, sequence = false },
            nn.dropout{ k / 4 }, nn.linear{ 4, 2 } }, tokens end,
    }
    for name, make in pairs(made) do
        local dir = root .. "/" .. name
        local function run(k, stop)
            local model, data = make(k)
            local labels = data == tokens and name ~= "gru" and classes or y
            bk.protocol{ model = model, tasks = { { x = data or x, y = labels } }, lr = 0.1, steps = 6, batch = 4 }:run{
                out = dir, resume = true, stop = stop, progress = false }
        end
        run(1, 2)
        run(1, 4)
        lu.assertErrorMsgMatches(".*was run with .*model.*; name another folder.*", run, 2)
    end
end

function TestRunFolder:test_files_of_others_are_not_written_over()
    for name, text in pairs{ ["config.json"] = '{"precious":1}', ["env.json"] = "hi", ["metrics.jsonl"] = "{}\n" } do
        for _, resume in ipairs{ false, true } do
            local dir = root .. "/" .. name
            os.execute("mkdir -p " .. dir)
            bk.internal.write_file(dir .. "/" .. name, text)
            fails(dir .. " has a " .. name .. " that is no run's, and would be written over", function()
                protocol():run{ out = dir, resume = resume, progress = false }
            end)
            lu.assertEquals(io.open(dir .. "/" .. name):read("a"), text)
        end
    end
end

-- config.json has every bit of a rate, in as few digits as that takes.
function TestRunFolder:test_numbers_are_exact_in_the_folder()
    protocol{ lr = 0.1 + 0.2 }:run{ out = root .. "/a", stop = 3, progress = false }
    local text = io.open(root .. "/a/config.json"):read("a")
    lu.assertStrContains(text, '"lr": 0.30000000000000004')
    lu.assertEquals(run_folder.read(root .. "/a").config.lr, 0.1 + 0.2)
    fails("was run with lr = 0.30000000000000004, this protocol has 0.3", function()
        protocol{ lr = 0.3 }:run{ out = root .. "/a", resume = true, progress = false }
    end)
    local odd = { 0.05, 1 / 3, 1.0, 1e300, "0.10000000000000001 \" true", true, 0 / 0 }
    lu.assertEquals(bk.internal.to_json(odd, 0, true),
        '[0.05, 0.33333333333333331, 1.0, 1e300, "0.10000000000000001 \\" true", true, null]')
end

function TestRunFolder:test_a_run_is_found_once_whatever_links_name_it()
    for _, name in ipairs{ "1", "2" } do protocol():run{ out = root .. "/r/" .. name, stop = 2, progress = false } end
    os.execute(("cd %s/r && ln -s 2 0latest && ln -s . loop && ln -s ../r/1 x"):format(root))
    local found = run_folder.find(root .. "/r")
    lu.assertEquals({ #found, found[1].dir, found[2].dir }, { 2, root .. "/r/1", root .. "/r/2" })
    lu.assertEquals(#bk.runs(root .. "/r"), 2)
    lu.assertEquals(#bk._run_list.read("list", { root .. "/r", root .. "/r/../r/", root .. "/r/x" }), 2)
end

-- Functions that a text does not name: an optimizer's update, a record's, a task's accuracy; and how a task is drawn.
function TestRunFolder:test_the_folder_of_other_functions_is_refused()
    local x, y = bk.rng(1):normal{ 12, 4 }, bk.rng(2):integers({ 12 }, 2)
    local function run(dir, stop, task, more)
        local spec = { model = bk.nn.mlp{ 4, 2 }, tasks = { { x = x, y = y } }, lr = 0.1, steps = 6, batch = 4 }
        for k, v in pairs(task or {}) do spec.tasks[1][k] = v end
        for k, v in pairs(more or {}) do spec[k] = v end
        bk.protocol(spec):run{ out = root .. "/" .. dir, stop = stop, resume = true, progress = false }
    end
    local function update(k) return bk.optim.custom{ update = function(g, s) return g * k, s end } end
    local function constant(k) return function() return k end end
    local function rate(k) return setmetatable({}, { __call = function() return k end }) end
    for text, list in pairs{
        ["another optimizer"] = { "a", {}, {}, { optimizer = update(1) }, { optimizer = update(2) } },
        ["another record"] = { "b", {}, {}, { record = { own = constant(1) } }, { record = { own = constant(2) } } },
        ["tasks.1.accuracy = "] = { "c", { accuracy = constant(1) }, { accuracy = constant(2) } },
        ["tasks.1.shuffle = "] = { "d", {}, { shuffle = false } },
        ["lr = "] = { "e", {}, {}, { lr = rate(0.1) }, { lr = rate(0.2) } },
    } do
        run(list[1], 2, list[2], list[4])
        run(list[1], 4, list[2], list[4])
        fails("was run with " .. text, function() run(list[1], nil, list[3], list[5]) end)
    end
end

-- How runs with a folder end, and what they leave: claims, signals, kills, damaged files. tests/lua/run_folder_test.lua
-- has what the folder holds when all goes well.
local lu = require "luaunit"
local files = require "files"
local bk = require "bracket"
local run_folder, checkpoint, claim, internal = bk._run_folder, bk._checkpoint, bk._claim, bk.internal
local build = os.getenv("BRACKET_BUILD") or "build"
TestRunEnds = {}

local root
function TestRunEnds:setUp()
    root = files.folder()
end
function TestRunEnds:tearDown() files.remove(root) end

local function read(name) return files.read(root .. "/" .. name) end
local function write(name, text) files.write(root .. "/" .. name, text) end
local function exists(name)
    local f <close> = io.open(root .. "/" .. name, "rb")
    return f ~= nil
end

local function protocol(change)
    local r, tasks = bk.rng(1), {}
    for i = 1, 2 do tasks[i] = { x = r:normal{ 30, 4 }, y = r:integers({ 30 }, 3) } end
    local options = { model = bk.nn.mlp{ 4, 5, 3 }, tasks = tasks, lr = 0.1, steps = 20, batch = 7,
        optimizer = bk.optim.adam{}, record = { every = 3, "loss" }, seed = 5 }
    for name, value in pairs(change or {}) do options[name] = value end
    return bk.protocol(options)
end

local function run(name, options, change)
    local all = { out = root .. "/" .. name, checkpoint_every = 5, resume = true, progress = false }
    for key, value in pairs(options or {}) do all[key] = value end
    return protocol(change):run(all)
end

-- The warnings that f gives, as one text.
local function warnings_of(f)
    local before, texts = internal.message, {}
    internal.message = function(text) texts[#texts + 1] = text end
    local ok, problem = pcall(f)
    internal.message = before
    if not ok then error(problem, 0) end
    return table.concat(texts, "\n")
end

local function status(name) return run_folder.read(root .. "/" .. name).status end

local function same_as_whole(name)
    if not exists("whole/status.json") then run("whole") end
    local a = bk.load_safetensors(root .. "/whole/checkpoint-40.safetensors").theta
    local b = bk.load_safetensors(root .. "/" .. name .. "/checkpoint-40.safetensors").theta
    lu.assertEquals(internal.digest(b), internal.digest(a))
    lu.assertEquals(read(name .. "/metrics.jsonl"), read("whole/metrics.jsonl"))
    lu.assertEquals(status(name).status, "finished")
end

-- ---- interrupts ----

-- A disk that is full when a run begins, and is not when it is called again.
function TestRunEnds:test_a_run_that_could_not_write_its_files_does_not_hold_the_folder()
    local write_file = internal.write_file
    for _, last in ipairs{ "none", "script-as-run.lua", "config.json", "env.json" } do -- what is still written
        local name, full = "full " .. last, last == "none"
        internal.write_file = function(path, ...)
            if full then error(path .. ": cannot be written: No space left on device", 0) end
            full = path:find("/" .. last, 1, true) ~= nil
            return write_file(path, ...)
        end
        local ok, message = pcall(run, name)
        internal.write_file = write_file
        lu.assertFalse(ok)
        lu.assertStrContains(message, "No space left on device")
        lu.assertFalse(exists(name .. "/status.json"))
        run(name)
        same_as_whole(name)
    end
end

-- What a run that paused returned is not what it returns when it went on.
function TestRunEnds:test_a_result_stays_as_it_is()
    local p = protocol{ steps = 2, record = { every = 1, "loss" } }
    local first = p:run{ stop = 1 }
    local said = { tostring(first.history), tostring(first.accuracy), first.order_matrix[1][2] }
    lu.assertEquals({ #first.history.step, first.learned }, { 2, {} })
    local last = p:run{}
    lu.assertEquals({ #last.history.step, last.learned }, { 5, { 1, 2 } })
    lu.assertEquals({ #first.history.step, #first.history.loss, #first.accuracy, first.learned }, { 2, 2, 0, {} })
    lu.assertEquals({ tostring(first.history), tostring(first.accuracy), first.order_matrix[1][2] }, said)
    lu.assertEquals(#last.history.loss, #p.history.loss)
end

-- Where nothing holds signals, an interrupt is raised between two steps: before the first, in the middle, after the
-- last and at the end.
-- At the line that called it, where the interrupt is raised.
function TestRunEnds:test_an_interrupted_run_says_how_far_it_is()
    local hold, signals = internal.hold, internal.signals
    local p, ends = protocol(), 0
    internal.signals = nil
    internal.hold = function(begins)
        hold(begins)
        ends = ends + (begins and 0 or 1)
        if ends == 8 then error("train.lua:9: interrupted", 0) end
    end
    local ok, problem = pcall(p.run, p, { progress = false })
    internal.hold, internal.signals = hold, signals
    lu.assertFalse(ok)
    lu.assertEquals(problem, "train.lua:9: interrupted after step 7 of 40")
end

function TestRunEnds:test_an_interrupted_run_goes_on_in_its_process()
    local hold, signals = internal.hold, internal.signals
    local whole = protocol():run{ progress = false }
    for _, at in ipairs{ 0, 1, 17, 40, 41 } do
        for _, out in ipairs{ false, root .. "/at-" .. at } do
            local p, ends = protocol(), { n = 0 }
            internal.signals = nil
            internal.hold = function(begins)
                hold(begins)
                if begins then return end
                ends.n = ends.n + 1
                if ends.n == at + 1 then error("interrupted", 0) end
            end
            local options = { out = out or nil, checkpoint_every = out and 1000 or nil, progress = false }
            local ok, problem = pcall(p.run, p, options)
            internal.hold, internal.signals = hold, signals
            lu.assertFalse(ok)
            local step = math.min(at, 40)
            lu.assertEquals(problem, ("interrupted after step %d of 40"):format(step))
            lu.assertEquals(p.result.steps, step)
            if out then
                lu.assertEquals(status("at-" .. at).status, "stopped")
                lu.assertEquals(run_folder.checkpoints(out), { step })
                local other = protocol():run{ out = out, stop = step, resume = true, progress = false }
                lu.assertEquals(internal.digest(other.theta), internal.digest(p.result.theta))
            end
            local r = p:run{ progress = false }
            lu.assertEquals(internal.digest(r.theta), internal.digest(whole.theta))
            lu.assertEquals(r.history, whole.history)
            lu.assertEquals(r.accuracy, whole.accuracy)
            if out then same_as_whole("at-" .. at) end
        end
    end
end

-- In the middle of a step it cannot go on: it begins again.
function TestRunEnds:test_a_run_that_failed_in_a_step_begins_again()
    local p, fails = nil, true
    p = protocol{ interventions = { { name = "bad", before_step = function(state)
        if state.step == 7 and fails then error("broke") end
    end } } }
    lu.assertFalse(pcall(p.run, p, { progress = false }))
    fails = false
    local r = p:run{ progress = false }
    lu.assertEquals(internal.digest(r.theta), internal.digest(protocol():run{ progress = false }.theta))
end

-- ---- what a checkpoint does not have ----

function TestRunEnds:test_hooks_that_keep_state_of_their_own_are_named_once()
    local function none() end
    local count, seen, draw, fixed = 0, {}, bk.rng(3), bk.ones{ 3 }
    local function counted() count = count + 1 end
    local hooks = {
        { true, function() count = count + 1 end },
        { true, function(state) seen[#seen + 1] = state.lr end },
        { true, function(state) state.gradient = state.gradient + draw:normal(state.gradient:shape()) * 0.01 end },
        { true, function() counted() end },
        { false, function(_, memory) memory.n = (memory.n or 0) + #fixed + count end },
        { false, none },
    }
    for k, case in ipairs(hooks) do
        local changes = { interventions = { { name = "own", begin_run = none, before_step = case[2] } } }
        local text = warnings_of(function() run("hook-" .. k, {}, changes) end)
        local told, times = text:gsub("checkpoint at step 5: intervention 1 %(own%): before_step changed", "")
        lu.assertEquals(times, case[1] and 1 or 0, text)
        lu.assertNil(told:find("checkpoint"))
    end
    local text = warnings_of(function() run("record", {}, { record = { every = 3, own = function()
        count = count + 1
        return count
    end } }) end)
    lu.assertStrContains(text, "checkpoint at step 5: record own: value changed what it captured")
    local p -- captures its own protocol: a run's state is no state of the hook
    p = protocol{ interventions = { { name = "looks", before_step = function() local _ = p.seed end } } }
    lu.assertEquals(warnings_of(function()
        p:run{ out = root .. "/looks", checkpoint_every = 5, progress = false }
    end), "")
end

-- ---- claims ----

function TestRunEnds:test_a_second_writer_is_refused_by_name()
    local message
    local hook = { name = "other", after_step = function(state)
        if state.step == 7 then
            local ok
            ok, message = pcall(run, "a", { resume = true })
            lu.assertFalse(ok)
            lu.assertEquals(status("a").status, "running")
        end
    end }
    warnings_of(function() run("a", {}, { interventions = { hook } }) end)
    lu.assertStrContains(message, ("protocol:run: out: %s/a is being written by process %d on %s, since "):format(root,
        internal.process(), internal.system().host))
    lu.assertEquals(status("a").status, "finished")
    lu.assertFalse(exists("a/run.lock"))
    local columns = run_folder.metrics(root .. "/a")
    for k = 2, #columns.step do lu.assertTrue(columns.step[k] > columns.step[k - 1]) end
end

function TestRunEnds:test_a_claim_is_let_go_of_however_the_run_ends()
    run("paused", { stop = 3 })
    pcall(run, "failed", {}, { interventions = { { name = "bad", after_step = function() error("broke") end } } })
    lu.assertFalse(pcall(run, "refused", { theta = bk.zeros{ 3 } }))
    for _, name in ipairs{ "paused", "failed", "refused" } do
        local mine = claim.take(root .. "/" .. name .. "/run.lock")
        lu.assertNotNil(mine, name)
        mine:release()
    end
    local p = protocol()
    p:run{ out = root .. "/b", stop = 3, progress = false }
    local other = claim.take(root .. "/b/run.lock") -- goes on elsewhere
    lu.assertStrContains(select(2, pcall(p.run, p, { progress = false })), "is being written by process")
    lu.assertEquals(status("b").status, "paused")
    other:release()
    p:run{ progress = false }
    lu.assertEquals(status("b").status, "finished")
end

-- A file system without locks: processes and heartbeats tell; a lock that only this machine sees: a heartbeat does.
-- Who looks whether a lock is held has it for an instant.
function TestRunEnds:test_a_look_at_a_lock_is_no_claim()
    local lock, looks = internal.lock, 2
    internal.lock = function(path)
        looks = looks - 1
        if looks < 0 then return lock(path) end
    end
    local mine, holder = claim.take(root .. "/lock")
    internal.lock = lock
    lu.assertNil(holder)
    mine:release()
end

function TestRunEnds:test_claims_without_locks()
    local path, lock, lock_held, sleep = root .. "/lock", internal.lock, internal.lock_held, internal.sleep
    local function holder(host, pid) write("lock", ('{"host": %q, "pid": %d, "since": "then"}'):format(host, pid)) end
    local function taken()
        local mine, who = claim.take(path)
        if mine then mine:release() end
        return mine ~= nil, who
    end
    local here = internal.system().host
    local p = io.popen("echo $$")
    local dead = p:read("n")
    p:close()
    local parent = io.popen("true & echo $! $$; exec sleep 60") -- it never asks how its child ended
    local ended, sleeps = parent:read("n", "n")
    internal.lock = function(p) return (lock(p)), false end
    internal.lock_held = function() return nil end
    local ok, problem = pcall(function()
        holder(here, internal.process())
        lu.assertEquals({ taken() }, { false, ("process %d on %s, since then"):format(internal.process(), here) })
        lu.assertStrContains(claim.holder(path), "process")
        holder(here, dead)
        lu.assertNil(claim.holder(path))
        lu.assertTrue(taken())
        holder(here, ended)
        for _ = 1, 1000 do
            if not internal.process(ended) then break end
            internal.sleep(0.01)
        end
        lu.assertTrue(taken())
        holder("elsewhere", 1)
        lu.assertStrContains(claim.holder(path), "process 1 on elsewhere")
        os.execute(("touch -d '100 seconds ago' %s"):format(path))
        internal.sleep = function() os.execute("touch " .. path) end -- its heart beats
        lu.assertEquals({ taken() }, { false, "process 1 on elsewhere, since then" })
        internal.sleep = sleep
        os.execute(("touch -d '1 hour ago' %s"):format(path))
        lu.assertNil(claim.holder(path))
        lu.assertTrue(taken())
    end)
    internal.lock, internal.lock_held, internal.sleep = lock, lock_held, sleep
    os.execute("kill " .. sleeps)
    parent:close()
    if not ok then error(problem, 0) end
    holder(here, internal.process()) -- with locks, the lock says that its holder is dead
    lu.assertNil(claim.holder(path))
    lu.assertTrue(taken())
end

-- ---- signals and kills, in a process of its own ----

local SCRIPT = [[
local bk = require "bracket"
local o = bk.arguments{ out = "", signal = "", at = 0, twice = false }
at, signal = o.at, o.signal -- globals: what a hook captures tells its run from others
local r, tasks = bk.rng(1), {}
for i = 1, 2 do tasks[i] = { x = r:normal{ 30, 4 }, y = r:integers({ 30 }, 3) } end
local p = bk.protocol{ model = bk.nn.mlp{ 4, 5, 3 }, tasks = tasks, lr = 0.1, steps = 20, batch = 7,
    optimizer = bk.optim.adam{}, record = { every = 3, "loss" }, seed = 5, interventions = { { name = "signal",
        after_step = function(state)
            if state.step == at then io.popen("kill -" .. signal .. " $PPID"):close() end
        end } } }
local ok, message = pcall(p.run, p, { out = o.out, checkpoint_every = 5, resume = true, progress = false })
if not ok and o.twice then p:run{ out = o.out .. "-second", progress = false } end
if not ok then error(message) end
print("the script's end")
]]

local function script(name, arguments)
    write("script.lua", SCRIPT)
    local p = io.popen(("%s/bracket %s/script.lua --out %s/%s %s 2>&1; echo status $?"):format(build, root, root, name,
        arguments or ""))
    local output, code = p:read("a"):match("^(.*)status (%d+)\n$")
    p:close()
    return output, tonumber(code)
end

-- Without waiting for the disk before the first step, and then with it; the script is the one that began.
function TestRunEnds:test_what_a_run_is_is_on_the_disk_before_its_first_checkpoint()
    local write_file, waited, began = internal.write_file, {}, arg[0]
    local log = root .. "/described"
    write("began.lua", "-- as it began")
    internal.write_file = function(path, text, haste)
        local name = path:match("[^/]+$")
        if haste then write("began.lua", "-- edited since") end
        if not haste and not waited[name] then waited[name] = #run_folder.checkpoints(log) end
        return write_file(path, text, haste)
    end
    arg[0] = root .. "/began.lua"
    local ok, message = pcall(function() protocol():run{ out = log, checkpoint_every = 3, progress = false } end)
    internal.write_file, arg[0] = write_file, began
    if not ok then error(message, 0) end
    lu.assertEquals(waited["config.json"], 0)
    lu.assertEquals(waited["env.json"], 0)
    lu.assertEquals(waited["script-as-run.lua"], 0)
    local f <close> = io.open(run_folder.script_path(log))
    lu.assertEquals(f:read("a"), "-- as it began")
end

-- Under nohup SIGHUP is ignored, by this program too.
local function hangs_up()
    local ignored = io.open("/proc/self/status"):read("a"):match("SigIgn:%s*(%x+)")
    return tonumber(ignored, 16) & 1 == 0
end

function TestRunEnds:test_a_signal_ends_the_run_after_its_step_with_a_checkpoint()
    script("whole")
    for signal, expected in pairs{ TERM = 75, HUP = hangs_up() and 75 or nil, USR1 = 75, INT = 130 } do
        local output, code = script(signal, "--at 7 --signal " .. signal)
        lu.assertEquals(code, expected, output)
        lu.assertStrMatches(output, ("bracket: [^\n]*stopped by SIG%s after step 7 of 40, whose checkpoint is in %s\n")
            :format(signal, root:gsub("%p", "%%%0") .. "/" .. signal))
        local s = status(signal)
        lu.assertEquals({ s.status, s.step, s.total }, { "stopped", 7, 40 })
        lu.assertEquals(run_folder.checkpoints(root .. "/" .. signal), { 5, 7 })
        lu.assertFalse(exists(signal .. "/run.lock"))
        lu.assertEquals({ script(signal) }, { "the script's end\n", 0 })
        same_as_whole(signal)
    end
    local _, code = script("caught", "--at 7 --signal TERM --twice") -- nothing more is run
    lu.assertEquals(code, 75)
    lu.assertEquals({ status("caught-second").status, status("caught-second").step }, { "stopped", 1 })
end

function TestRunEnds:test_a_signal_in_the_last_step_ends_what_comes_after_the_run()
    local output, code = script("a", "--at 40 --signal TERM")
    lu.assertEquals(code, 128 + 15)
    lu.assertNotStrContains(output, "the script's end")
    same_as_whole("a")
    output, code = script("b", "--at 40 --signal INT")
    lu.assertEquals(code, 130)
    lu.assertStrContains(output, "interrupted")
end

function TestRunEnds:test_a_killed_run_is_seen_as_stopped_and_goes_on()
    script("whole")
    for _, at in ipairs{ 1, 5, 17, 40 } do
        local name = "at" .. at
        local _, code = script(name, "--signal KILL --at " .. at)
        lu.assertEquals(code, 137)
        lu.assertStrContains(read(name .. "/status.json"), '"running"')
        lu.assertEquals(status(name).status, "stopped")
        lu.assertStrContains(io.popen(("%s/bracket runs list %s/%s"):format(build, root, name)):read("a"), " stopped ")
        lu.assertEquals({ script(name) }, { "the script's end\n", 0 })
        same_as_whole(name)
    end
end

-- ---- what a resume repairs ----

function TestRunEnds:test_a_finished_run_that_does_not_say_so_is_repaired()
    for _, left in ipairs{ '{"status": "running", "step": 35}', "3", "", "[1]" } do
        run("a")
        write("a/status.json", left)
        write("a/metrics.jsonl", read("a/metrics.jsonl") .. '{"step": 41}\n{"st')
        run("a")
        same_as_whole("a")
        os.execute(("rm -r %s/a"):format(root))
    end
end

function TestRunEnds:test_only_temporaries_of_the_run_are_removed()
    run("a", { stop = 3 })
    local others = { "notes.txt", "my.json", "job.json", "tags.json" }
    local runs = { "config.json", "env.json", "status.json", "script-as-run.lua", "checkpoint-5.safetensors" }
    for _, names in ipairs{ others, runs } do
        for _, name in ipairs(names) do write("a/" .. name .. ".tmp-1-0", "x") end
    end
    run("a")
    for _, name in ipairs(others) do lu.assertTrue(exists("a/" .. name .. ".tmp-1-0"), name) end
    for _, name in ipairs(runs) do lu.assertFalse(exists("a/" .. name .. ".tmp-1-0"), name) end
end

function TestRunEnds:test_a_damaged_checkpoint_falls_back_to_the_one_before()
    local function flipped(text, at)
        return text:sub(1, at - 1) .. string.char(text:byte(at) ~ 16) .. text:sub(at + 1)
    end
    local function cut(text) return text:sub(1, -6) end
    local function in_a_tensor(text) return flipped(text, #text - 3) end
    local function in_the_header(text) return flipped(text, 300) end
    for k, damage in ipairs{ cut, in_a_tensor, in_the_header, function() return "" end } do
        local name = "a" .. k
        run(name, { stop = 12 })
        lu.assertEquals(run_folder.checkpoints(root .. "/" .. name), { 10, 12 })
        local newest = name .. "/checkpoint-12.safetensors"
        write(newest, damage(read(newest)))
        local text = warnings_of(function() run(name) end)
        lu.assertStrContains(text, "warning: protocol:run: resume: " .. root .. "/" .. newest .. ": ")
        lu.assertEquals(select(2, text:gsub("checkpoint%-12%.safetensors", "")), 1) -- named once
        lu.assertStrContains(text, ("; the checkpoint of step 12 is set aside as %s/%s/checkpoint-12.damaged, the run")
            :format(root, name))
        lu.assertStrContains(text, ("the run goes on from %s/%s/checkpoint-10.safetensors"):format(root, name))
        lu.assertTrue(exists(name .. "/checkpoint-12.damaged"))
        same_as_whole(name)
    end
    run("none", { stop = 12 })
    for _, step in ipairs{ 10, 12 } do write(("none/checkpoint-%d.safetensors"):format(step), "?") end
    lu.assertStrContains(warnings_of(function() run("none") end), "the run goes on from the start")
    same_as_whole("none")
end

function TestRunEnds:test_rows_are_those_of_the_checkpoint()
    local n = 0
    for _, change in ipairs{ function(text) return text:gsub('"step": 9', '"step": 8') end,
        function(text) return (text:gsub("[^\n]*\n$", "")) end, function() return "" end } do
        n = n + 1
        local name = "a" .. n
        run(name, { stop = 12 }) -- rows 0, 3, 6, 9, 12; checkpoints 10 and 12
        write(name .. "/metrics.jsonl", (change(read(name .. "/metrics.jsonl"))))
        local text = warnings_of(function() run(name) end)
        lu.assertStrContains(text, name .. "/metrics.jsonl: ")
        lu.assertStrContains(text, "; the checkpoint of step 12 is set aside as " .. root .. "/" .. name
            .. "/checkpoint-12.damaged, the run goes on") -- not the rows
        lu.assertTrue(exists(name .. "/checkpoint-12.damaged"))
        lu.assertStrContains(text, "goes on from " .. (n == 2 and root .. "/a2/checkpoint-10" or "the start"))
        same_as_whole(name)
    end
end

-- What the run was cannot be told: it is left as it is.
function TestRunEnds:test_a_run_goes_on_only_where_its_files_are_read()
    run("a", { stop = 12 })
    local config = read("a/config.json")
    for text, problem in pairs{ [""] = "line 1: ", ["[1]"] = "expected an object, got a list",
        ["null"] = "expected an object, got null" } do
        write("a/config.json", text)
        lu.assertErrorMsgContains("protocol:run: resume: " .. root .. "/a/config.json: " .. problem, run, "a")
    end
    write("a/config.json", config)
    local newest = root .. "/a/checkpoint-12.safetensors"
    os.remove(newest)
    os.execute(("ln -s nowhere '%s'"):format(newest))
    local ok, message = pcall(run, "a")
    lu.assertFalse(ok)
    lu.assertStrContains(message, newest .. ": No such file or directory")
    lu.assertNotStrContains(message, "_checkpoint.lua")
    os.remove(newest)
    run("a")
    same_as_whole("a")
end

-- Every byte of the file, one of its bits: none goes unnoticed.
function TestRunEnds:test_a_flipped_bit_is_noticed()
    local path, bytes = root .. "/c", {}
    checkpoint.save(path, { step = 3, theta = bk.rng(1):normal{ 40 }, m = bk.rng(2):normal{ 40 }:to("float32"),
        i = bk.arange(5), memory = { { name = "x", flag = true, list = { 1, 2.5 } } }, rows_digest = "0123456789abc" })
    local whole = read("c")
    for k = 1, #whole do bytes[k] = whole:sub(k, k) end
    for k = 1, #whole do
        local byte = bytes[k]
        bytes[k] = string.char(whole:byte(k) ~ (1 << (k * 7 % 8)))
        write("c", table.concat(bytes))
        local ok, state = pcall(checkpoint.load, path)
        if ok and state then lu.fail("byte " .. k) end
        bytes[k] = byte
    end
    write("c", whole)
    lu.assertEquals(checkpoint.load(path).step, 3)
end

function TestRunEnds:test_checkpoints_that_are_kept_and_what_they_hold()
    run("a", { checkpoint_every = 5, keep = 3 })
    lu.assertEquals(run_folder.checkpoints(root .. "/a"), { 30, 35, 40 })
    run("b", { checkpoint_every = 5, keep = 1, stop = 20 })
    lu.assertEquals(run_folder.checkpoints(root .. "/b"), { 20 })
    run("b", { keep = 100 })
    lu.assertEquals(run_folder.checkpoints(root .. "/b"), { 20, 25, 30, 35, 40 })
    protocol():run{ out = root .. "/e", progress = false } -- at a tenth of the run, and seldom where steps are short
    lu.assertEquals(run_folder.object(root .. "/e", "config").checkpoint_every, 4)
    local steps = run_folder.checkpoints(root .. "/e")
    lu.assertTrue(#steps == 2 and steps[1] % 4 == 0 and steps[2] == 40)
    for _, bad in ipairs{ 0, "2", 1.5 } do
        local ok, message = pcall(run, "c", { keep = bad })
        lu.assertFalse(ok)
        lu.assertStrContains(message, "keep: expected a whole number >= 1")
    end
    local sizes = {} -- the history is in metrics.jsonl, not in each of them
    for _, every in ipairs{ 1, 40 } do
        run("d" .. every, {}, { steps = 2000, record = { every = every, "loss" } })
        sizes[#sizes + 1] = #read("d" .. every .. "/checkpoint-4000.safetensors")
    end
    lu.assertTrue(math.abs(sizes[1] - sizes[2]) < 200, sizes[1] .. " " .. sizes[2])
end

-- What JSON has no word for comes back all the same: infinite numbers, late columns, strings that are no text.
function TestRunEnds:test_odd_rows_and_memories_come_back()
    local function own(state)
        local row = { own = state.step % 2 == 0 and math.huge or -math.huge, nothing = 0 / 0, whole = state.step }
        if state.step > 10 then row.late = 0.1 * state.step end
        return row
    end
    local raw = "\xff\0\x80 caf\xe9"
    local seen
    local change = { record = { every = 1, own = own }, interventions = { { name = "m",
        begin_run = function(_, memory) memory.raw, memory[raw] = raw, 1 end,
        after_step = function(_, memory) seen = memory end } } }
    local whole
    warnings_of(function() whole = run("w", {}, change) end)
    for _, stop in ipairs{ 4, 23 } do
        warnings_of(function() run("a" .. stop, { stop = stop }, change) end)
        local r = run("a" .. stop, {}, change)
        lu.assertEquals({ seen.raw, seen[raw] }, { raw, 1 })
        for name, column in pairs(whole.history) do
            lu.assertEquals(#r.history[name], #column)
            for k, value in ipairs(column) do
                local back = r.history[name][k]
                lu.assertTrue(back == value or back ~= back and value ~= value, name)
                lu.assertEquals(math.type(back), math.type(value))
            end
        end
        lu.assertEquals(read("a" .. stop .. "/metrics.jsonl"), read("w/metrics.jsonl"))
    end
end

function TestRunEnds:test_a_status_that_cannot_be_written_is_told()
    local ok, message = pcall(run, "a", {}, { interventions = { { name = "bad", after_step = function(state)
        if state.step == 4 then
            os.execute(("rm %s/a/status.json; mkdir %s/a/status.json"):format(root, root))
            error("it broke", 0)
        end
    end } } })
    lu.assertFalse(ok)
    lu.assertStrContains(message, "it broke\n")
    lu.assertStrContains(message, "a/status.json: ")
end

-- Rows as many as would take longer to write again than an interrupt leaves time for.
function TestRunEnds:test_an_interrupt_after_many_rows()
    local ok = pcall(run, "a", { checkpoint_every = 1000000 }, { steps = 3000,
        record = { every = 1, one = function() return 1 end }, interventions = { { name = "break",
            after_step = function(state) if state.step == 5500 then error("interrupted", 0) end end } } })
    lu.assertFalse(ok)
    lu.assertEquals({ status("a").status, status("a").step }, { "stopped", 5500 })
    local columns, rows = run_folder.metrics(root .. "/a")
    lu.assertEquals({ rows, columns.step[rows] }, { 5500, 5499 })
end

-- bracket tests/endurance/run.lua [--kills N] [--sweeps N] [--bits N] [--seed N]: runs and sweeps killed at random
-- moments, half of them while writing, syncing and renaming wait; and checkpoints with flipped bits. What is killed is
-- called again until it is done, and must then have the bits of what was not. Prints what it counted; exit status 1
-- after a failure, whose folder stays. The defaults take a quarter of an hour; --seed lets several share the work.
local bk = require "bracket"
local o = bk.arguments{ kills = 500, sweeps = 200, bits = 10000, seed = 1 }
local files = dofile "tests/lua/files.lua"
local read, write = files.read, files.write
local internal, run_folder = bk.internal, bk._run_folder
local program = internal.program
local draw = bk.stream.new(o.seed)
local function random() return bk.stream.below(draw, 1 << 30) / (1 << 30) end
local function pick(list) return list[1 + bk.stream.below(draw, #list)] end

local root = files.folder()
local failures = 0
local function fail(...)
    failures = failures + 1
    io.stderr:write("FAILED: ", string.format(...), "\n")
end

local function output_of(command)
    local p <close> = io.popen(command)
    return p:read("a")
end

-- ---- runs ----

local RUN = [[
local bk = require "bracket"
local o = bk.arguments{ out = "", optimizer = "adam", order = "random", replay = false, dropout = false, batch = 7 }
local r, tasks = bk.rng(1), {}
for i = 1, 2 do tasks[i] = { x = r:normal{ 30, 4 }, y = r:integers({ 30 }, 3) } end
local optimizers = { adam = bk.optim.adam{}, momentum = bk.optim.heavy_ball{ momentum = 0.9 } }
local layers = { bk.nn.linear{ 4, 5 }, bk.nn.tanh(), bk.nn.linear{ 5, 3 } }
if o.dropout then table.insert(layers, 3, bk.nn.dropout{ 0.3 }) end
local p = bk.protocol{ model = bk.nn.sequential(layers), tasks = tasks, lr = 0.05, steps = 300, batch = o.batch,
    order = o.order, optimizer = optimizers[o.optimizer], record = { every = 5, "loss" }, seed = 3,
    interventions = o.replay and { bk.intervention.replay{ memory = 20 } } or {} }
p:run{ out = o.out, checkpoint_every = 20, resume = true, progress = false }
]]

-- Starts a command in the background; its process.
local function start(command)
    local p = io.popen(command .. " > /dev/null 2>&1 & echo $!")
    local id = p:read("n")
    p:close()
    return id
end

-- Kills it after so many seconds, unless it ended before; whether it was killed.
local function kill_after(id, seconds, signal)
    local stop = bk.clock() + seconds
    while bk.clock() < stop and internal.process(id) do internal.sleep(math.min(0.02, stop - bk.clock() + 1e-4)) end
    return internal.process(id) and os.execute(("kill -%s %d 2>/dev/null"):format(signal, id)) == true
end
local function wait_for(id)
    while internal.process(id) do internal.sleep(0.01) end
end

local function variants()
    local list = {}
    for _, optimizer in ipairs{ "adam", "momentum" } do
        for _, rest in ipairs{ "--order random", "--order sequential --replay", "--order cyclic --dropout",
            "--order random --dropout --batch 30", "--order cyclic --replay --dropout" } do
            list[#list + 1] = ("--optimizer %s %s"):format(optimizer, rest)
        end
    end
    return list
end

local function kill_runs()
    write(root .. "/run.lua", RUN)
    local delays = root .. "/delays.so"
    local source = arg[0]:gsub("[^/]*$", "") .. "delays.c"
    assert(os.execute(("cc -D_GNU_SOURCE -shared -fPIC -O1 %s -o %s -ldl"):format(source, delays)))
    local whole, lasts, kills, resumes, stale = {}, {}, 0, 0, 0
    local list = variants()
    local k = 0
    while kills < o.kills do
        k = k + 1
        local which = 1 + k % #list
        local function command(dir, threads, before)
            return ("%s exec %s --threads %d %s/run.lua %s --out %s"):format(before, program, threads, root,
                list[which], dir)
        end
        local slow = k // #list % 2 == 0 and ("LD_PRELOAD=%s DELAY_US=2000"):format(delays) or ""
        local function seconds_of(dir) -- of a run that nobody kills
            local from = bk.clock()
            assert(os.execute(command(dir, 1, slow) .. " > /dev/null"))
            return bk.clock() - from
        end
        if not whole[which] then
            whole[which] = ("%s/whole%d"):format(root, which)
            seconds_of(whole[which])
        end
        lasts[slow] = lasts[slow] or seconds_of(root .. "/timed" .. #slow)
        local dir, done = ("%s/k%d"):format(root, k), false
        repeat
            local id = start(command(dir, pick{ 1, 2 }, slow))
            if kill_after(id, random() * lasts[slow], "KILL") then kills = kills + 1 end
            wait_for(id)
            if read(dir .. "/status.json") then
                local status = run_folder.read(dir).status.status
                done = status == "finished"
                if status ~= "finished" and status ~= "stopped" then
                    stale = stale + 1
                    fail("%s: status %s", dir, status)
                end
            end
        until done
        assert(os.execute(command(dir, 2, "") .. " > /dev/null")) -- called once more, it changes nothing
        resumes = resumes + 1
        local last = "/" .. run_folder.checkpoint_path("", run_folder.checkpoints(whole[which])[2])
        local a, b = bk._checkpoint.load(whole[which] .. last), bk._checkpoint.load(dir .. last)
        if not b or a.theta ~= b.theta then fail("%s: another theta (%s)", dir, list[which]) end
        if read(whole[which] .. "/metrics.jsonl") ~= read(dir .. "/metrics.jsonl") then fail("%s: other rows", dir) end
        if failures == 0 then os.execute("rm -rf " .. dir) end
    end
    print(("%d kills of %d runs, half of them with delayed writing: %d stale, %d failures"):format(kills, resumes, stale,
        failures))
end

-- ---- sweeps ----

local SWEPT = [[
local bk = require "bracket"
local o = bk.arguments{ out = "", seed = 0 }
do
    local begun <close> = assert(io.open(o.out:match("^(.*)/") .. ".begun", "a"))
    begun:write(o.seed, "\n")
end
bk.protocol{ model = bk.nn.mlp{ 4, 8, 1 }, tasks = bk.tasks.regression{ n = 2, seed = 1 }, steps = 60, lr = 0.05,
    seed = o.seed, record = { every = 5, "loss" } }:run{ out = o.out, checkpoint_every = 10, resume = true }
]]
local SEEDS = 5
local AT_ONCE = 3

-- How often a sweep's jobs were begun, by seed, and which of them it holds for done.
local function jobs_of(dir)
    local begun, done = {}, {}
    for seed in (read(dir .. ".begun") or ""):gmatch("%d+") do
        begun[tonumber(seed)] = (begun[tonumber(seed)] or 0) + 1
    end
    for seed = 1, SEEDS do
        local job = read(("%s/seed=%d/job.json"):format(dir, seed))
        done[seed] = job and internal.from_json(job).exit == 0
    end
    return begun, done
end

local function interrupt_sweeps()
    write(root .. "/swept.lua", SWEPT)
    local function command(dir)
        return ("exec %s sweep %s/swept.lua --seeds 1..%d --jobs 2 --out %s"):format(program, root, SEEDS, dir)
    end
    local from = bk.clock()
    assert(os.execute(command(root .. "/sweep") .. " > /dev/null"))
    local lasts = bk.clock() - from
    local interrupted, before, together = { TERM = 0, INT = 0, HUP = 0, KILL = 0 }, failures, 0
    local k, all = 0, 0
    while all < o.sweeps do -- those that ended before their signal are not counted
        k = k + 1
        local dir, signal = ("%s/s%d"):format(root, k), ({ "TERM", "INT", "HUP", "KILL" })[1 + k % 4]
        -- a shell gives what it starts in the background no Ctrl-C: a sweep of its own session has it
        local id = start("exec setsid " .. (signal == "INT" and "env --default-signal=INT " or "")
            .. command(dir):gsub("^exec ", ""))
        if kill_after(id, random() * lasts, signal) then
            interrupted[signal], all = interrupted[signal] + 1, all + 1
        end
        wait_for(id)
        local left = bk.clock() + 5
        local function orphans() return output_of("ps -eo args | grep -F -e '--out " .. dir .. "/' | grep -v grep") end
        while orphans() ~= "" and bk.clock() < left do internal.sleep(0.05) end
        if orphans() ~= "" then fail("%s: after SIG%s there are still %s", dir, signal, orphans()) end

        local begun, done = jobs_of(dir)
        local ends = {}
        for j = 1, pick{ 1, AT_ONCE } do ends[j] = start(command(dir)) end
        together = together + (#ends == AT_ONCE and 1 or 0)
        for _, one in ipairs(ends) do wait_for(one) end
        local now = jobs_of(dir)
        for seed = 1, SEEDS do
            local at, same = ("%s/seed=%d"):format(dir, seed), ("%s/sweep/seed=%d"):format(root, seed)
            local ok, run = pcall(run_folder.read, at)
            if not ok or run.status.status ~= "finished" then
                fail("%s: %s", at, ok and run.status.status or run)
            elseif read(at .. "/metrics.jsonl") ~= read(same .. "/metrics.jsonl") then
                fail("%s: other rows after SIG%s", at, signal)
            end
            local again = (now[seed] or 0) - (begun[seed] or 0)
            if again ~= (done[seed] and 0 or 1) then
                fail("%s: begun %d times by %d sweeps, done before: %s", at, again, #ends, done[seed])
            end
        end
        if failures == before then os.execute(("rm -rf %s %s.begun"):format(dir, dir)) end
    end
    print(("%d sweeps interrupted (%d TERM, %d INT, %d HUP, %d KILL) of %d, then ended, %d by %d at once: %d failures")
        :format(all, interrupted.TERM, interrupted.INT, interrupted.HUP, interrupted.KILL, k, together, AT_ONCE,
        failures - before))
end

-- ---- flipped bits ----

local function flip_bits()
    local path, unnoticed = root .. "/c", 0
    bk._checkpoint.save(path, { step = 3, theta = bk.rng(1):normal{ 400 }, m = bk.rng(2):normal{ 400 }:to("float32"),
        i = bk.arange(50), memory = { { name = "x", flag = true, list = { 1, 2.5 } } }, rows_digest = "0123456789abc" })
    local whole = read(path)
    for _ = 1, o.bits do
        local at, bit = 1 + bk.stream.below(draw, #whole), bk.stream.below(draw, 8)
        write(path, whole:sub(1, at - 1) .. string.char(whole:byte(at) ~ (1 << bit)) .. whole:sub(at + 1))
        local ok, state = pcall(bk._checkpoint.load, path)
        if ok and state then
            unnoticed = unnoticed + 1
            fail("byte %d, bit %d of %d bytes", at, bit, #whole)
        end
    end
    print(("%d flipped bits in a checkpoint of %d bytes: %d unnoticed"):format(o.bits, #whole, unnoticed))
end

if o.bits > 0 then flip_bits() end
if o.kills > 0 then kill_runs() end
if o.sweeps > 0 then interrupt_sweeps() end
if failures > 0 then
    print(failures .. " failures, in " .. root)
    os.exit(1, true)
end
os.execute("rm -rf " .. root)

-- training.lua - a training run beside PyTorch's: 784-256-256-10 relu, float32, one epoch of 8,000 digits on each of
-- two tasks, no test passes, by optimizer and batch; a step, and its parts each by itself (in a step theta moves as its
-- gradient is made); and what recording and checkpoints add.
--   bracket tests/bench/training.lua [--data DIR] [--batches 10,128] [--optimizers sgd,..] [--rounds 3] [--threads 1]
--   [--python PATH] [--examples 8000] [--reps N]
-- The peer is training_torch.py beside this file, run by a python that can import torch: every variant of the
-- optimizer, on the same numbers in the same order, interleaved with ours. Times are the least of the rounds.
local bk = require "bracket"
local o = bk.arguments({ data = "", batches = { 10, 128 }, optimizers = { "sgd", "heavy_ball", "adam", "adamw" },
    rounds = 3, reps = 3, threads = 1, python = "python3", examples = 8000 }, arg)
bk.threads(o.threads)
local RATES = { sgd = 0.05, heavy_ball = 0.01, adam = 0.001, adamw = 0.001 }
local here = arg[0]:match("^(.*/)") or ""
local scratch = os.tmpname()
os.remove(scratch)
local function quote(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

local digits = o.data ~= "" and bk.data.mnist(o.data, { split = "test", limit = o.examples, dtype = "float32" })
    or bk.data.glyphs { n = o.examples, seed = 1 }
local tasks = bk.tasks.permuted { data = digits, n = 2, seed = 1, test_fraction = 0 } -- all of them are trained on
local model = bk.nn.mlp { digits.x:shape()[2], 256, 256, 10, activation = "relu" }
local theta = model:init { seed = 1, dtype = "float32" }

local function protocol(name, batch, more)
    local options = { model = model, tasks = tasks, optimizer = bk.optim[name] {}, lr = RATES[name], batch = batch,
        epochs = 1, dtype = "float32", evaluate = false }
    for k, v in pairs(more or {}) do options[k] = v end
    return bk.protocol(options)
end

local function seconds_of(p, options)
    local given = { theta = theta, progress = false }
    for k, v in pairs(options or {}) do given[k] = v end
    local began = bk.clock()
    p:run(given)
    return bk.clock() - began
end

-- ---- the peer ----

local peer
if os.execute(("%s -c 'import torch' >/dev/null 2>&1"):format(o.python)) then
    function peer(name, batch) -- -> variant -> { seconds, loss }
        local command = ("env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE %s %s %s %s %g %d %d %d 2>/dev/null"):format(
            o.python, quote(here .. "training_torch.py"), quote(scratch), name, RATES[name], batch, o.reps, o.threads)
        local found, pipe = {}, io.popen(command)
        for line in pipe:lines() do
            local variant, seconds, loss = line:match("^(%S+) (%S+) (%S+)$")
            if variant then found[variant] = { seconds = tonumber(seconds), loss = tonumber(loss) } end
        end
        if not pipe:close() then error("the peer failed: " .. command) end
        return found
    end
else
    print(o.python .. " cannot import torch: no peer")
end

-- The tasks' examples in the order in which a run takes them, for the peer.
local function hand_over(batch)
    local order = { {}, {} }
    protocol("sgd", batch, { interventions = { { before_step = function(s)
        for _, id in ipairs(s.problem:ids(s.task, s.batch_epoch, s.batch_first)) do table.insert(order[s.task], id) end
    end } } }):run { theta = theta, progress = false }
    local list = { theta = theta }
    for k, t in ipairs(tasks) do
        local rows = bk.tensor(order[k], { dtype = "int64" })
        list["x" .. k], list["y" .. k] = bk.gather(t.train.x, rows):to("float32"), bk.gather(t.train.y, rows)
    end
    bk.save_safetensors(scratch, list)
end

-- The loss of the second task at the end, on all its examples.
local loss_at = bk.loss.cross_entropy(model, tasks[2].train.x:to("float32"), tasks[2].train.y)

-- ---- a step's parts, each by itself: what it works on is near ----

local function best_of(f, count)
    local best = math.huge
    for _ = 1, 7 do
        local began = bk.clock()
        for _ = 1, count do f() end
        best = math.min(best, (bk.clock() - began) / count)
    end
    return best
end

local function parts(name, batch)
    local count = math.max(20, 4000 // batch)
    local x, y = tasks[1].train.x:to("float32"), tasks[1].train.y
    local order, at = bk.rng(1):permutation(#y), 1
    local bx, by = x:narrow(1, 1, batch):clone(), y:narrow(1, 1, batch):clone()
    local function gather()
        at = at + batch <= #y - batch and at + batch or 1
        bk.internal.gather(bx, 1, x, order, at, batch)
        bk.internal.gather(by, 1, y, order, at, batch)
    end
    local f, kept, own = bk.value_and_grad(bk.loss.cross_entropy(model)), {}, theta:clone()
    local optimizer = bk.optim[name] {}
    local function gradient() bk.internal.call_over(f, kept, own, bx, by) end
    gradient()
    local function update() own = bk.internal.step_over(optimizer, own, kept[2], 1e-9) end
    return best_of(gather, count), best_of(gradient, count), best_of(update, count)
end

-- ---- the tables ----

print(("%d digits a task, %d parameters, %d thread(s), %s"):format(o.examples, model.n_params, o.threads,
    digits.name or "generated glyphs"))
print(("%-10s %5s %9s %9s | %8s %8s %8s %6s | %9s %-22s %6s"):format("optimizer", "batch", "run, s", "step, us",
    "gather", "gradient", "update", "ratio", "PyTorch", "variant", "ratio"))
local wrong = 0
for _, batch in ipairs(o.batches) do
    if peer then hand_over(batch) end
    for _, name in ipairs(o.optimizers) do
        local p, ours, theirs, variant, loss = protocol(name, batch), math.huge, math.huge, "-", nil
        for _ = 1, o.rounds do
            for _ = 1, o.reps do ours = math.min(ours, seconds_of(p)) end
            for v, r in pairs(peer and peer(name, batch) or {}) do
                if r.seconds < theirs then theirs, variant = r.seconds, v end
                loss = r.loss
            end
        end
        local steps = 2 * (o.examples // batch)
        local gather, gradient, update = parts(name, batch)
        local step = ours / steps
        print(("%-10s %5d %9.4f %9.1f | %8.1f %8.1f %8.1f %6.2f | %9.4f %-22s %6.2f"):format(name, batch, ours,
            1e6 * step, 1e6 * gather, 1e6 * gradient, 1e6 * update, step / gradient, theirs, variant, theirs / ours))
        local mine = loss_at(p.result.theta):item()
        if loss and math.abs(mine - loss) > 0.15 * mine then -- roundings grow along a run, by momentum most
            wrong = wrong + 1
            print(("losses differ: %.6g, PyTorch %.6g"):format(mine, loss))
        end
    end
end
os.remove(scratch)

-- What is added to a run of Adam, batch 128: losses of every task, of 1,000 examples, ten times a task; checkpoints.
local BATCH = 128
local every = math.max(1, o.examples // BATCH // 10)
local record = { every = every, samples = 1000, "loss" }
local plain, recorded, saved, both = math.huge, math.huge, math.huge, math.huge
local a, b = protocol("adam", BATCH), protocol("adam", BATCH, { record = record })
for k = 1, o.rounds * o.reps do
    plain = math.min(plain, seconds_of(a))
    recorded = math.min(recorded, seconds_of(b))
    local out = ("%s-%d"):format(scratch, k)
    saved = math.min(saved, seconds_of(a, { out = out, checkpoint_every = every }))
    both = math.min(both, seconds_of(b, { out = out .. "b", checkpoint_every = every }))
    os.execute("rm -r " .. quote(out) .. " " .. quote(out .. "b"))
end
local value = bk.compile(bk.loss.cross_entropy(model))
local x, y = tasks[1].train.x:to("float32"):narrow(1, 1, 1000), tasks[1].train.y:narrow(1, 1, 1000)
local rows = #b.history.step
local forward = best_of(function() return value(theta, x, y) end, 3)
print(("\nadam, batch %d, %d records of both tasks' loss (%d passes over 1,000 examples of %.2f ms), %d checkpoints"):format(
    BATCH, rows, 2 * rows, 1e3 * forward, 10))
print(("plain %.4f s, recording +%.4f s (its passes alone %.4f), checkpoints +%.4f s, both +%.4f s"):format(plain,
    recorded - plain, 2 * rows * forward, saved - plain, both - plain))

-- What a folder with a row every 10 steps adds where nothing has to be computed for the row, by the clock within the
-- run: the difference of two runs is lost in what others do to the machine. The last checkpoint is apart.
local spent = {}
for _, part in ipairs{ { bk._run, "record" }, { bk._run_log, "open" }, { bk._run_log, "begin" },
    { bk._run_log, "step" }, { bk._run_log, "write_rows" }, { bk._run_log, "save" } } do
    local room, name = part[1], part[2]
    local f = room[name]
    room[name] = function(...)
        local began = bk.internal.seconds()
        local first, second = f(...)
        spent[name] = (spent[name] or 0) + bk.internal.seconds() - began
        return first, second
    end
end
print()
for _, batch in ipairs(o.batches) do
    local p, least = protocol("adam", batch, { record = { every = 10,
        batch_loss = function(state) return state.loss or 0 / 0 end } }), {}
    for k = 1, o.rounds * o.reps do
        local out = ("%s-%dr"):format(scratch, k)
        spent = {}
        spent.run = seconds_of(p, { out = out, checkpoint_every = 1000000000 })
        spent.save = spent.save - (spent.write_rows or 0) -- it writes the last of them
        os.execute("rm -r " .. quote(out))
        for name, seconds in pairs(spent) do least[name] = math.min(least[name] or math.huge, seconds) end
    end
    local function percent(seconds) return 100 * seconds / least.run end
    print(("adam, batch %d, a row every 10 of %d steps: rows %.2f %%, claim and signals %.2f %%, opening with the data's "
        .. "digests %.2f %%, the checkpoint at the end %.2f %%"):format(batch, 2 * (o.examples // batch),
        percent(least.record + least.write_rows), percent(least.step), percent(least.open + least.begin),
        percent(least.save)))
end
os.exit(wrong == 0, true)

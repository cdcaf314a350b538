-- fit_test.lua - bk.bea.fit and `bracket fit`: trajectories whose terms are known (theory: h/4, h/2, (1 + b)/(1 - b)).
local bk = require "bracket"
local lu = require "luaunit"
local program = (os.getenv("BRACKET_BUILD") or "build") .. "/bracket"
local here = io.popen("pwd"):read("l")
if program:sub(1, 1) ~= "/" then program = here .. "/" .. program end

TestFit = {}

local model = bk.nn.mlp{ 3, 5, 2, activation = "tanh" }
local function loss(seed)
    local rng = bk.rng(seed)
    return bk.loss.mse(model, rng:normal{ 8, 3 }, rng:normal{ 8, 2 })
end
local L = { loss(11), loss(12) }
local g = { bk.grad(L[1]), bk.grad(L[2]) }
local function sum(t) return g[1](t) + g[2](t) end
local start = model:init{ seed = 2 }

-- n + 1 rows of theta <- step(theta, k)
local function trajectory(n, step)
    local rows = { start }
    for k = 1, n do rows[k + 1] = step(rows[k], k) end
    return rows
end
local function steps(h, n) return trajectory(n, function(t) return t - sum(t) * h end) end
local function rounds(h, n, first, second)
    return trajectory(n, function(t)
        t = t - g[first](t) * h
        return t - g[second](t) * h
    end)
end

-- v's interval holds what is expected, and v is within a share of it.
local function holds(v, expected, share, what)
    lu.assertTrue(v.low <= expected and expected <= v.high,
        ("%s: %g is not in [%g, %g]"):format(what, expected, v.low, v.high))
    lu.assertAlmostEquals(v.value, expected, math.abs(share * expected), what)
end

function TestFit.test_gradient_steps()
    local rates, flatness, conflict = { 0.08, 0.04, 0.02 }, {}, {}
    for k, h in ipairs(rates) do
        local r = bk.bea.fit{ losses = L, trajectory = steps(h, 80) }
        holds(r.rate, h, 1e-3, "rate")
        holds(r.flatness, h / 4, 0.02, "flatness")
        holds(r.conflict, h / 2, 0.02, "conflict")
        holds(r.momentum, 1, 0.02, "momentum")
        lu.assertAlmostEquals(r.flatness.expected, r.rate.value / 4, 1e-15)
        lu.assertTrue(r.residual < 1e-6)
        lu.assertEquals(r.intervals, 76)
        flatness[k], conflict[k] = r.flatness.value, r.conflict.value
    end
    lu.assertAlmostEquals(bk.statistics.slope(rates, flatness), 1, 0.02)
    lu.assertAlmostEquals(bk.statistics.slope(rates, conflict), 1, 0.02)
end

-- Points of the exact flow have no flatness and no conflict: the control.
function TestFit.test_the_exact_flow_has_no_terms()
    local h = 0.05
    local rows = trajectory(60, function(t) return bk.flow(function(x) return -sum(x) end, t, { time = h }) end)
    local r = bk.bea.fit{ losses = L, trajectory = rows }
    holds(r.rate, h, 1e-3, "rate")
    for _, v in ipairs{ r.flatness, r.conflict } do
        lu.assertTrue(v.low <= 0 and v.high >= 0)
        lu.assertTrue(math.abs(v.value) < 0.01 * h / 4)
    end
end

function TestFit.test_one_task_a_step()
    local h = 0.02
    local r = bk.bea.fit{ losses = L, trajectory = rounds(h, 80, 1, 2), order = "cyclic" }
    holds(r.rate, h, 1e-3, "rate")
    holds(r.flatness, h / 4, 0.05, "flatness")
    holds(r.conflict, h / 2, 0.05, "conflict")
    -- the same field with the other sign
    local other = bk.bea.fit{ losses = L, trajectory = rounds(h, 80, 2, 1), order = { 1, 2 } }
    lu.assertAlmostEquals(other.conflict.value, -h / 2, 0.05 * h)
    local palindromic = bk.bea.fit{ losses = L, order = "palindromic", trajectory = trajectory(60, function(t)
        for _, i in ipairs{ 1, 2, 2, 1 } do t = t - g[i](t) * h end
        return t
    end) }
    lu.assertNil(palindromic.conflict)
    holds(palindromic.flatness, h / 4, 0.05, "flatness")
end

function TestFit.test_momentum()
    local function run(optimizer, h)
        local m = optimizer
        return trajectory(160, function(t) return m:step(t, sum(t), h) end)
    end
    local h = 0.01
    local r = bk.bea.fit{ losses = L, trajectory = run(bk.optim.heavy_ball{ momentum = 0.6 }, h), skip = 40 }
    holds(r.rate, h / 0.4, 1e-2, "heavy ball: rate")
    holds(r.momentum, 4, 0.05, "heavy ball: factor")
    holds(r.conflict, 4 * h / 0.4 / 2, 0.05, "heavy ball: conflict")
    r = bk.bea.fit{ losses = L, trajectory = run(bk.optim.momentum_ema{ beta = 0.6 }, 2 * h), skip = 40 }
    holds(r.rate, 2 * h, 1e-2, "EMA: rate")
    holds(r.momentum, 4, 0.05, "EMA: factor")
end

-- Epochs in random order: noise of second order, so the interval is wide; it holds h/4 and not 0, and there is no
-- conflict. Runs from several points are fitted together.
function TestFit.test_random_order()
    local h, runs, s = 0.05, {}, bk.stream.new(5)
    for k = 1, 4 do
        start = model:init{ seed = k }
        runs[k] = trajectory(150, function(t)
            local first = bk.stream.below(s, 2) + 1
            t = t - g[first](t) * h
            return t - g[3 - first](t) * h
        end)
    end
    start = model:init{ seed = 2 }
    local r = bk.bea.fit{ losses = L, trajectory = runs, order = "random", degree = 3 }
    lu.assertNil(r.conflict)
    lu.assertTrue(r.flatness.low <= h / 4 and r.flatness.high >= h / 4, ("[%g, %g]"):format(r.flatness.low,
        r.flatness.high))
    lu.assertTrue(r.flatness.low > 0)
    lu.assertEquals(r.intervals, 4 * 146)
end

function TestFit.test_rows_apart_and_rates_that_change()
    local every = {}
    for k, row in ipairs(steps(0.02, 200)) do
        if k % 4 == 1 then every[#every + 1] = row end
    end
    local r = bk.bea.fit{ losses = L, trajectory = bk.stack(every), every = 4 }
    holds(r.rate, 0.02, 1e-3, "rate")
    holds(r.flatness, 0.005, 0.05, "flatness")
    local lr = {}
    for k = 1, 100 do lr[k] = 0.04 * math.cos(k * math.pi / 200) end -- the last is 0
    local rows = trajectory(100, function(t, k) return t - sum(t) * lr[k] end)
    r = bk.bea.fit{ losses = L, trajectory = rows, lr = lr }
    local mean = bk.statistics.mean(lr)
    holds(r.rate, mean, 1e-3, "rate")
    holds(r.flatness, mean / 4, 0.05, "flatness")
end

function TestFit.test_errors()
    local function fails(text, o) lu.assertErrorMsgContains(text, bk.bea.fit, o) end
    local rows = steps(0.02, 20)
    fails("trajectory: expected a tensor (rows, parameters) or a list of vectors, got 3",
        { losses = L, trajectory = 3 })
    fails("expected 6 rows or more after the 18 skipped, got 3", { losses = L, trajectory = rows, skip = 18 })
    fails("expected 6 rows or more after the 1000 skipped, got 0", { losses = L, trajectory = rows, skip = 1000 })
    fails("expected 13 rows or more after those skipped, got 11", { losses = L, trajectory = rows, skip = 10 })
    fails("order: expected tasks 1..2, got 3", { losses = L, trajectory = rows, order = { 1, 3 } })
    fails("expected whole rounds of 2 steps between rows, got 3",
        { losses = L, trajectory = rows, order = "cyclic", every = 3 })
    fails("lr: expected 20 rates, one a step, got 2", { losses = L, trajectory = rows, lr = { 1, 2 } })
    fails("losses: expected a list of losses", { losses = {}, trajectory = rows })
    fails('losses: 2: expected a function of theta, got "x"', { losses = { L[1], "x" }, trajectory = rows })
    local at, steps_at = {}, {}
    for k = 1, 21 do at[k], steps_at[k] = rows[k], k end
    at[9], steps_at[4] = 7, "x"
    fails("trajectory: row 9: expected a vector, got 7", { losses = L, trajectory = at })
    fails('steps: row 4: expected a whole number, got "x"', { losses = L, trajectory = rows, steps = steps_at })
    fails("lr: step 2: expected a finite number, got a table", { losses = L, trajectory = rows, lr = { 1, {} } })
    -- H = I: grad |g|^2 = 2 g everywhere
    local bowl = function(t) return t:dot(t) * 0.5 end
    local t, list = bk.tensor{ 1, 2 }, {}
    for k = 1, 20 do list[k], t = t, t * 0.9 end
    fails("multiples of one another", { losses = { bowl }, trajectory = list })
end

-- ---- the command ----

local function sh(folder, command)
    local p = io.popen(("cd %s && %s 2>&1; echo \"status $?\""):format(folder, command))
    local output, status = p:read("a"):match("^(.*)status (%d+)\n$")
    p:close()
    return output, tonumber(status)
end
local function numbers(output, name)
    local value, low, high = output:match("\n" .. name .. " +(%S+) +%[(%S+), (%S+)%]")
    lu.assertNotNil(value, output)
    return { value = tonumber(value), low = tonumber(low), high = tonumber(high) }
end
local PROBLEM = [==[
local bk = require "bracket"
local function part(seed)
    local rng = bk.rng(seed)
    return { x = rng:normal{8, 3}, y = rng:normal{8, 2}, loss = "mse" }
end
return { model = bk.nn.mlp{3, 5, 2, activation = "tanh"}, tasks = { part(SEED), part(12) } }
]==]

local function folder()
    local name = os.tmpname()
    os.remove(name)
    assert(os.execute("mkdir -p " .. name))
    bk.internal.write_file(name .. "/problem.lua", (PROBLEM:gsub("SEED", "11")))
    bk.internal.write_file(name .. "/other.lua", (PROBLEM:gsub("SEED", "13")))
    bk.internal.write_file(name .. "/losses.lua", PROBLEM:gsub("SEED", "11"):gsub("return { model.*", [==[
local m, a, b = bk.nn.mlp{3, 5, 2, activation = "tanh"}, part(11), part(12)
return { bk.loss.mse(m, a.x, a.y), bk.loss.mse(m, b.x, b.y) }
]==]))
    return name
end

function TestFit.test_command_fits_a_run()
    local dir = folder()
    bk.internal.write_file(dir .. "/run.lua", [==[
local bk = require "bracket"
local p = dofile "problem.lua"
local function run(out, order, lr)
    bk.protocol{ model = p.model, tasks = p.tasks, order = order, lr = lr, steps = 80, batch = "full" }:run{ out = out,
        checkpoint_every = 1, keep = 1000 }
end
run("joint", "joint", 0.04)
run("cyclic", "cyclic", 0.02)
run("cosine", "joint", bk.schedule.cosine{ lr = 0.04 })
]==])
    local output, status = sh(dir, program .. " run.lua")
    lu.assertEquals(status, 0, output)
    output = sh(dir, program .. " fit joint --loss problem.lua")
    holds(numbers(output, "rate"), 0.04, 1e-2, "rate")
    holds(numbers(output, "flatness"), 0.01, 0.05, "flatness")
    holds(numbers(output, "conflict"), 0.02, 0.05, "conflict")
    output = sh(dir, program .. " fit cyclic --loss problem.lua")
    lu.assertStrContains(output, "1 run, 35 intervals; a round is tasks 1,2")
    lu.assertAlmostEquals(numbers(output, "conflict").value, 0.01, 0.001)
    output = sh(dir, program .. " fit cosine --loss problem.lua --resamples 200 --seed 3")
    lu.assertAlmostEquals(numbers(output, "momentum").value, 1, 0.05)
    output, status = sh(dir, program .. " fit joint --loss other.lua")
    lu.assertEquals(status, 1)
    lu.assertStrContains(output, "other.lua: task 1: its training data are not those of the run")
    os.execute("rm -rf " .. dir)
end

function TestFit.test_command_fits_logs_of_others()
    local dir = folder()
    local rows = bk.stack(steps(0.04, 60))
    rows:save(dir .. "/a.npy")
    bk.internal.write_file(dir .. "/trajectory.csv", (function()
        local lines = {}
        for k, row in ipairs(rows:totable()) do
            for j, v in ipairs(row) do row[j] = ("%.17g"):format(v) end
            lines[k] = table.concat(row, ",")
        end
        return table.concat(lines, "\n") .. "\n"
    end)())
    local half, step = {}, {}
    for k = 1, 61, 2 do half[#half + 1], step[#step + 1] = rows[k], 100 + k end
    assert(os.execute("mkdir " .. dir .. "/b"))
    bk.save_safetensors(dir .. "/b/trajectory.safetensors", { theta = bk.stack(half),
        step = bk.tensor(step, { dtype = "int64" }) })
    sh(dir, "gzip -c trajectory.csv > a.csv.gz; head -c 500 a.npy > cut.npy")
    for name, text in pairs{ empty = "return 3", numbers = "return {1, 2}", wrong = "return { model = 1, tasks = 2 }",
        raises = 'error "no data here"' } do
        bk.internal.write_file(dir .. "/" .. name .. ".lua", text)
    end
    for _, path in ipairs{ "a.npy", ".", "b", "b/trajectory.safetensors", "a.csv.gz" } do
        local output = sh(dir, program .. " fit " .. path .. " --loss losses.lua")
        holds(numbers(output, "rate"), 0.04, 1e-2, path)
        holds(numbers(output, "flatness"), 0.01, 0.05, path)
        holds(numbers(output, "conflict"), 0.02, 0.05, path)
    end
    lu.assertStrContains(sh(dir, program .. " fit a.npy a.npy --loss losses.lua"), "2 runs, 112 intervals")
    -- a file that asks what its script was called with gets its defaults
    bk.internal.write_file(dir .. "/asks.lua", 'local o = require "bracket".arguments{ file = "losses.lua" }\n'
        .. "return dofile(o.file)\n")
    holds(numbers(sh(dir, program .. " fit a.npy --loss asks.lua --seed -1"), "rate"), 0.04, 1e-2, "asks")
    for _, case in ipairs{ { 2, "expected DIR..., got nothing", "" }, { 2, "--loss: missing; expected FILE", "a.npy" },
        { 2, '--degree: expected 2, 3 or 4, got "5"', "a.npy --loss losses.lua --degree 5" },
        { 2, '--skip: expected a whole number >= 0, got "x"', "a.npy --loss losses.lua --skip x" },
        { 2, '--order: expected a name or tasks 1,2,2,1, got "1,a"', "a.npy --loss losses.lua --order 1,a" },
        { 1, "bracket: fit: DIR: expected a folder, or a file that ends in .npy, .csv or .safetensors, got nowhere: "
            .. "No such file or directory\n", "nowhere --loss losses.lua" },
        { 1, "bracket: fit: DIR: expected a folder, or a file that ends in .npy, .csv or .safetensors, got empty.lua: "
            .. "Not a directory\n", "empty.lua --loss losses.lua" },
        { 1, "bracket: fit: DIR: expected 6 rows or more after the 99 skipped, got 0\n",
            "a.npy --loss losses.lua --skip 99" },
        { 1, "bracket: fit: --order: expected tasks 1..2, got 3\n", "a.npy --loss losses.lua --order 1,3" },
        { 1, "bracket: fit: --loss: 1: expected a function of theta, got 1\n", "a.npy --loss numbers.lua" },
        { 1, "bracket: wrong.lua: expected model = a model and tasks = a list of tasks, got 1 and 2\n",
            "a.npy --loss wrong.lua" },
        { 1, "bracket: bk.load_npy: cut.npy: ", "cut.npy --loss losses.lua" },
        { 1, "bracket: raises.lua:1: no data here\n", "a.npy --loss raises.lua" },
        { 1, "expected it to return a loss", "a.npy --loss empty.lua" },
        { 1, "expected 13 rows or more", "a.npy --loss losses.lua --skip 50" } } do
        local output, status = sh(dir, program .. " fit " .. case[3])
        lu.assertEquals(status, case[1], output)
        lu.assertStrContains(output, case[2])
        lu.assertNotStrContains(output, "traceback")
    end
    os.execute("rm -rf " .. dir)
end

-- Rows as PyTorch has them: parameters in the order of registration, linear weights (out, in).
function TestFit.test_command_fits_pytorchs_layout()
    local dir = folder()
    local rows = {}
    for k, theta in ipairs(steps(0.04, 60)) do
        local t, row = theta:totable(), {} -- linear 3-5: weight (3, 5) at 1, bias at 16; linear 5-2 at 21, bias at 31
        for out = 1, 5 do
            for i = 1, 3 do row[#row + 1] = t[(i - 1) * 5 + out] end
        end
        table.move(t, 16, 20, #row + 1, row)
        for out = 1, 2 do
            for i = 1, 5 do row[#row + 1] = t[20 + (i - 1) * 2 + out] end
        end
        rows[k] = table.move(t, 31, 32, #row + 1, row)
    end
    bk.tensor(rows):save(dir .. "/torch.npy")
    bk.tensor(rows):narrow(2, 1, 31):save(dir .. "/short.npy")
    bk.stack(steps(0.04, 60)):save(dir .. "/own.npy")
    local output = sh(dir, program .. " fit torch.npy --loss problem.lua --layout torch")
    holds(numbers(output, "rate"), 0.04, 1e-2, "rate")
    holds(numbers(output, "flatness"), 0.01, 0.05, "flatness")
    holds(numbers(output, "conflict"), 0.02, 0.05, "conflict")
    lu.assertNotStrContains(output, "bracket fit: residual")
    lu.assertNotStrContains(sh(dir, program .. " fit own.npy --loss problem.lua"), "bracket fit: residual")
    for _, command in ipairs{ "torch.npy --loss problem.lua", "own.npy --loss problem.lua --layout torch" } do
        lu.assertStrContains(sh(dir, program .. " fit " .. command), "these losses do not explain the steps")
    end
    bk.internal.write_file(dir .. "/run.lua", [==[
local bk = require "bracket"
local p = dofile "problem.lua"
bk.protocol{ model = p.model, tasks = p.tasks, order = "joint", lr = 0.04, steps = 2, batch = "full" }:run{ out = "run",
    checkpoint_every = 1 }
]==])
    sh(dir, program .. " run.lua")
    for _, case in ipairs{ { 2, '--layout: expected torch, got "jax"', "torch.npy --loss problem.lua --layout jax" },
        { 1, "losses.lua: --layout torch: expected it to return { model =, tasks = }",
            "torch.npy --loss losses.lua --layout torch" },
        { 1, "run: --layout torch: a run's checkpoints are in bracket's layout",
            "run --loss problem.lua --layout torch" },
        { 1, "short.npy: expected (rows, 32), the model's parameters as PyTorch has them, got (61,31)",
            "short.npy --loss problem.lua --layout torch" } } do
        local text, status = sh(dir, program .. " fit " .. case[3])
        lu.assertEquals(status, case[1], text)
        lu.assertStrContains(text, case[2])
        lu.assertNotStrContains(text, "traceback")
    end
    os.execute("rm -rf " .. dir)
end

-- What the vector holds in which order: PyTorch's modules register a transformer's norms last and biases twice.
function TestFit.test_vectors_of_pytorchs_parameters()
    local function check(layer, names)
        local m = bk.nn.sequential{ layer, bk.nn.batch_norm{ 2 } }
        names[#names + 1], names[#names + 2] = "1.weight", "1.bias"
        local s, parts = m:state_dict(bk.rng(1):normal{ m.n_params }, { layout = "torch" }), {}
        for k, name in ipairs(names) do parts[k] = s[name]:reshape{ -1 } end
        local vector = bk.concat(parts, 1)
        local convert, size = bk.nn._weights.from_torch_vector("test", m)
        lu.assertEquals(size, #vector)
        lu.assertTrue(convert(vector) == m:load_state_dict(s, { layout = "torch" }))
    end
    check(bk.nn.transformer{ 2, hidden = 3 }, { "0.self_attn.in_proj_weight", "0.self_attn.in_proj_bias",
        "0.self_attn.out_proj.weight", "0.self_attn.out_proj.bias", "0.linear1.weight", "0.linear1.bias",
        "0.linear2.weight", "0.linear2.bias", "0.norm1.weight", "0.norm1.bias", "0.norm2.weight", "0.norm2.bias" })
    check(bk.nn.gru{ 3, 2 }, { "0.weight_ih_l0", "0.weight_hh_l0", "0.bias_ih_l0", "0.bias_hh_l0" })
end

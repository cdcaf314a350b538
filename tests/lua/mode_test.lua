-- mode_test.lua - models that train otherwise than they evaluate: dropout, noise, batch norm, own layers that draw;
-- and what is made of layers: residual, nested sequential, group_norm, whether sizes fit. Values are the formulas'.
local bk = require "bracket"
local lu = require "luaunit"
local nn = bk.nn
TestMode = {}

local function near(a, b, tolerance)
    lu.assertEquals(a:shape(), b:shape())
    lu.assertTrue((a - b):norm():item() <= (tolerance or 1e-12) * (1 + b:norm():item()))
end
local x = bk.rng(1):normal { 6, 5 }
local training = { train = true, seed = 3 }

local function mixed()
    return nn.sequential { nn.linear { 5, 8 }, nn.batch_norm { 8 }, nn.tanh(),
        nn.residual { nn.sequential { nn.linear { 8, 8 }, nn.tanh() }, nn.dropout { 0.3 } }, nn.noise { 0.1 },
        nn.layer { name = "own", input = { "batch", 8 }, forward = function(p, t)
            return p.train and t * (1 + p.random { 8 }) + p.random { shape = t:shape(), kind = "normal" } or t
        end }, nn.linear { 8, 3 } }
end

function TestMode.test_dropout_keeps_and_scales()
    local m = nn.sequential { nn.dropout { 0.25 } }
    local theta, ones = m:init(), bk.ones { 400, 50 }
    local y = m:forward(theta, ones, training)
    lu.assertTrue((y * (y - 1 / 0.75)):abs():max():item() < 1e-15)
    local kept = y:gt(0):mean():item() -- 20000 draws: 5 standard errors
    lu.assertTrue(math.abs(kept - 0.75) < 5 * math.sqrt(0.25 * 0.75 / 20000))
    lu.assertTrue(m:forward(theta, ones) == ones)
    lu.assertTrue(nn.sequential { nn.dropout { 0 } }:forward(theta, x, { train = true }) == x)
    lu.assertTrue(nn.sequential { nn.dropout { 1 } }:forward(theta, x, { train = true }) == x * 0)
    lu.assertTrue(y == m:forward(theta:to "float32", ones, training):to "float64":gt(0) / 0.75)
    lu.assertErrorMsgContains("dropout draws in training: expected a seed", m.forward, m, theta, x, { train = true })
    lu.assertErrorMsgContains("bk.nn.dropout: p", nn.dropout, { 1.5 })
end

function TestMode.test_noise_is_normal_and_each_layer_has_its_own()
    local m = nn.sequential { nn.noise { 0.5 }, nn.noise { 2 } }
    local zeros = bk.zeros { 300, 100 }
    local sum = m:forward(m:init(), zeros, training)
    local one = nn.sequential { nn.noise { 0.5 } }:forward(m:init(), zeros, training)
    local two = (sum - one) / 2 -- 5 standard errors, as below
    lu.assertTrue(math.abs(one:square():mean():item() / 0.25 - 1) < 5 * math.sqrt(2 / 30000))
    lu.assertTrue(math.abs((one * two):mean():item() / 0.5) < 5 / math.sqrt(30000))
    lu.assertTrue(m:forward(m:init(), zeros) == zeros)
end

function TestMode.test_batch_norm_is_its_formula()
    local m = nn.sequential { nn.batch_norm { 5, momentum = 0.2, eps = 1e-3 } }
    local theta = bk.rng(2):normal { 10 }
    local weight, bias = theta:narrow(1, 1, 5), theta:narrow(1, 6, 5)
    local mean = x:sum(1) / 6
    local var = (x - mean):square():sum(1) / 6
    local b = bk.concat { bk.rng(3):normal { 5 }, bk.rng(4):uniform { 5 } + 0.5 }
    local y, new = m:forward(theta, x, { train = true, buffers = b })
    near(y, (x - mean) / (var + 1e-3):sqrt() * weight + bias)
    near(new, bk.concat { b:narrow(1, 1, 5) * 0.8 + mean * 0.2, b:narrow(1, 6, 5) * 0.8 + var * (0.2 * 6 / 5) })
    near(m:forward(theta, x, { buffers = b }),
        (x - b:narrow(1, 1, 5)) / (b:narrow(1, 6, 5) + 1e-3):sqrt() * weight + bias)
    near(m:forward(theta, x), x / math.sqrt(1 + 1e-3) * weight + bias)
    lu.assertTrue(m:init_buffers() == bk.concat { bk.zeros { 5 }, bk.ones { 5 } })
    local images = bk.rng(5):normal { 4, 5, 3, 2 } -- a channel's values: rows of the images turned
    local rows = images:permute { 1, 3, 4, 2 }:reshape { 24, 5 }
    near(m:forward(theta, images, { train = true }):permute { 1, 3, 4, 2 }:reshape { 24, 5 },
        m:forward(theta, rows, { train = true }))
    lu.assertErrorMsgContains("at least two values", m.forward, m, theta, x:narrow(1, 1, 1), { train = true })
    lu.assertErrorMsgContains("buffers: expected (10), got (3)", m.forward, m, theta, x, { buffers = bk.ones { 3 } })
    lu.assertEquals(m.buffers[2].name, "1.batch_norm.running_var")
    lu.assertEquals({ m.buffers[2].first, m.buffers[2].size, m.n_buffers }, { 6, 5, 10 })
end

function TestMode.test_group_norm_is_its_formula()
    local m, images = nn.sequential { nn.group_norm { 2, 6, eps = 1e-2 } }, bk.rng(1):normal { 2, 6, 3, 4 }
    local theta = bk.rng(2):normal { 12 }
    local y = m:forward(theta, images)
    for n = 1, 2 do
        for group = 0, 1 do
            local part = images:narrow(1, n, 1):narrow(2, 3 * group + 1, 3)
            local mean = part:mean()
            local normal = (part - mean) / ((part - mean):square():mean() + 1e-2):sqrt()
            local weight = theta:narrow(1, 3 * group + 1, 3):reshape { 1, 3, 1, 1 }
            local bias = theta:narrow(1, 3 * group + 7, 3):reshape { 1, 3, 1, 1 }
            near(y:narrow(1, n, 1):narrow(2, 3 * group + 1, 3), normal * weight + bias)
        end
    end
    lu.assertErrorMsgContains("groups: expected a number that divides the 6 channels, got 4", nn.group_norm, { 4, 6 })
end

function TestMode.test_residual_and_nesting_are_sums_and_lists()
    local a, b, c = nn.linear { 5, 4 }, nn.linear { 4, 4 }, nn.linear { 5, 4, bias = false }
    local theta = bk.rng(1):normal { 24 + 20 + 20 }
    local part = function(model, first) return model:forward(theta:narrow(1, first, model.n_params), x) end
    local list = nn.sequential { a, nn.tanh(), b }
    near(nn.sequential { nn.sequential { a, nn.tanh() }, nn.sequential { b } }:forward(theta:narrow(1, 1, 44), x),
        part(list, 1))
    near(nn.sequential { nn.residual { list, shortcut = c } }:forward(theta, x),
        part(list, 1) + part(nn.sequential { c }, 45))
    local square = nn.sequential { nn.linear { 5, 5 }, nn.tanh() }
    near(nn.sequential { nn.residual { square } }:forward(theta:narrow(1, 1, 30), x), x + part(square, 1))
    local names = {}
    local nested = nn.sequential { nn.tanh(), nn.residual { list, shortcut = c } }
    for i, block in ipairs(nested.layers) do names[i] = block.name end
    lu.assertEquals(names, { "2.1.1.linear.weight", "2.1.1.linear.bias", "2.1.3.linear.weight", "2.1.3.linear.bias",
        "2.shortcut.1.linear.weight" })
end

function TestMode.test_sizes_are_found_when_the_model_is_made()
    for _, case in ipairs {
        { { nn.linear { 3, 4 }, nn.dropout { 0.1 }, nn.linear { 5, 2 } }, "layer 3 (linear): expected an input" },
        { { nn.conv2d { 1, 8, kernel = 3 }, nn.batch_norm { 4 } }, "layer 2 (batch_norm)" },
        { { nn.conv2d { 1, 8, kernel = 3 }, nn.flatten(), nn.linear { 10, 2 }, input = { 1, 5, 5 } }, "got (?, 72)" },
        { { nn.conv2d { 1, 8, kernel = 7 }, input = { 1, 5, 5 } }, "layer 1 (conv2d)" },
        { { nn.linear { 3, 8 }, nn.residual { nn.linear { 8, 4 }, shortcut = nn.tanh() } },
            "its layers make (..., 4), to be added to (..., 8)" },
        { { nn.linear { 3, 4 }, nn.sequential { nn.linear { 5, 2 } } }, "layer 2 (sequential): layer 1 (linear)" },
        { { nn.linear { 3, 4 }, nn.gru { 5, 2 } }, "layer 2 (gru)" },
    } do
        lu.assertErrorMsgContains(case[2], nn.sequential, case[1])
    end
    lu.assertErrorMsgContains("bk.nn.residual", nn.residual, { nn.linear { 5, 4 } })
    nn.sequential { nn.conv2d { 1, 8, kernel = 3 }, nn.avgpool2d { 2 }, nn.flatten(), nn.linear { 8, 2 },
        input = { 1, 5, 5 } }
    nn.sequential { nn.embedding { 9, 4 }, nn.layer_norm { 4 }, nn.linear { 4, 2 } }
end

function TestMode.test_a_pass_is_a_function_of_its_seed()
    local m = mixed()
    local theta = m:init { seed = 1 }
    local y = m:forward(theta, x, training)
    lu.assertTrue(y == m:forward(theta, x, training))
    lu.assertTrue(y == m:forward(theta, x, { train = true, seed = bk.tensor(3, { dtype = "int64" }) }))
    lu.assertTrue(y ~= m:forward(theta, x, { train = true, seed = 4 }))
    lu.assertTrue(m:forward(theta, x) == m:forward(theta, x, { train = false }))
    local before = bk.threads()
    bk.threads(1)
    lu.assertTrue(y == m:forward(theta, x, training))
    bk.threads(before)
    lu.assertTrue((m:forward(theta:to "float32", x, training):to "float64" - y):norm():item() < 1e-4)
    lu.assertEquals(m:forward(theta, bk.zeros { 4, 5 }, training):shape(), { 4, 3 })
    local inside = bk.compile(function(t, s) return m:forward(t, x, { train = true, seed = s }) end)
    near(inside(theta, bk.tensor(3, { dtype = "int64" })), y, 1e-14)
end

function TestMode.test_derivatives_are_at_fixed_draws()
    local m, y = mixed(), bk.tensor({ 0, 1, 2, 0, 1, 1 }, { dtype = "int64" })
    local theta = m:init { seed = 1 }
    local f = function(t) return m:forward(t, x, training):square():mean() end
    lu.assertTrue(bk.check_grad(f, theta) < 1e-6)
    local loss = bk.loss.cross_entropy(m, x, y, training)
    lu.assertTrue(bk.check_grad(loss, theta) < 1e-6)
    lu.assertTrue(loss(theta) == loss(theta))
    local other = bk.loss.cross_entropy(m, x, y, { train = true, seed = 4 })
    lu.assertTrue(loss(theta) ~= other(theta))
    local bracket = bk.hvp(other)(theta, bk.grad(loss)(theta)) - bk.hvp(loss)(theta, bk.grad(other)(theta))
    near(bk.lie(loss, other)(theta), bracket)
    local w = bk.bea.word { { loss, 0.05 }, { other, 0.05 } } -- slopes of the modified flow, at fixed draws
    for _, row in ipairs(w:verify { theta = theta }) do lu.assertTrue(math.abs(row.slope - row.order - 1) < 0.25) end
end

local function protocol(loss, more)
    local labels = bk.tensor({ 0, 1, 2, 0, 1, 1 }, { dtype = "int64" })
    local options = { model = TestMode.model, lr = 0.1, steps = 9, batch = 2, order = "cyclic", seed = 5,
        tasks = { { x = x, y = labels, loss = loss }, { x = -x, y = labels, loss = loss } },
        record = { every = 3, "loss" } }
    for name, value in pairs(more or {}) do options[name] = value end
    return bk.protocol(options)
end
TestMode.model = mixed()

function TestMode.test_training_goes_by_the_steps_seed_and_goes_on()
    local m = TestMode.model
    for _, more in ipairs { {}, { order = "joint" }, { dtype = "float32" }, { order = "sequential", steps = 4 },
        { order = "joint", interventions = { bk.intervention.conflict { strength = 0 } } },
        { interventions = { bk.intervention.bracket_penalty { weight = 0.1 } } } } do
        local whole, first = protocol(nil, more):run {}, protocol(nil, more)
        lu.assertTrue(whole.theta == protocol(nil, more):run {}.theta)
        first:run { stop = 4 }
        local second = protocol(nil, more)
        local on = second:restore(first:state()):run {}
        lu.assertTrue(on.theta == whole.theta and on.buffers == whole.buffers)
        lu.assertEquals(whole.buffers:shape(), { m.n_buffers })
        local other = protocol(nil, more)
        lu.assertTrue(other:run { seed = 6 }.theta ~= whole.theta)
    end
end

function TestMode.test_own_losses_train_in_the_same_mode()
    local built = protocol():run {}
    local function own(model, theta, batch, y)
        local z = model:forward(theta, batch)
        return (z:logsumexp() - z:take(y)):mean()
    end
    near(protocol(own):run {}.theta, built.theta)
    local function named(model, theta, batch, y) return bk.loss.cross_entropy(model)(theta, batch, y) end
    near(protocol(named):run {}.theta, built.theta)
    local plain = protocol(function(model, theta, batch, y)
        local z = model:forward(theta, batch, { train = false })
        return (z:logsumexp() - z:take(y)):mean()
    end):run {}
    lu.assertTrue(plain.buffers == TestMode.model:init_buffers())
    local twice -- two passes draw for themselves
    protocol(function(model, theta, batch, y)
        local a, b = model:forward(theta, batch), model:forward(theta, batch)
        return (a - b):square():mean()
    end, { steps = 1, interventions = { { before_step = function(state) twice = state.loss end } } }):run {}
    lu.assertTrue(twice > 1e-3)
end

function TestMode.test_steps_move_the_running_statistics_in_order()
    local m = nn.sequential { nn.batch_norm { 5, momentum = 0.5 }, nn.linear { 5, 3 } }
    local b = m:init_buffers()
    local r = protocol(nil, { model = m, lr = 0, steps = 3, batch = "full" }):run {}
    for _, sign in ipairs { 1, -1, 1 } do
        local mean = x:sum(1) / 6 * sign
        b = b * 0.5 + bk.concat { mean, (x * sign - mean):square():sum(1) / 5 } * 0.5
    end
    near(r.buffers, b)
    local loss = bk.loss.cross_entropy(m, x, bk.tensor({ 0, 1, 2, 0, 1, 1 }, { dtype = "int64" }), { buffers = b })
    lu.assertAlmostEquals(r.test_loss[1][1], loss(r.theta):item(), 1e-12)
    local again = protocol(nil, { model = m, lr = 0, steps = 1, batch = "full" }):run { theta = r.theta, buffers = b }
    near(again.buffers, b * 0.5 + bk.concat { x:sum(1) / 6, (x - x:sum(1) / 6):square():sum(1) / 5 } * 0.5)
    lu.assertErrorMsgContains("buffers: expected (10)", function() protocol(nil, { model = m }):run { buffers = x } end)
end

function TestMode.test_a_run_in_a_folder_keeps_the_buffers()
    local folder = os.tmpname()
    os.remove(folder)
    local whole = protocol():run {}
    protocol():run { out = folder, stop = 4, checkpoint_every = 4 }
    local on = protocol():run { out = folder, resume = true }
    lu.assertTrue(on.theta == whole.theta and on.buffers == whole.buffers)
    os.execute("rm -rf " .. folder)
end

function TestMode.test_an_own_layer_asks_for_what_there_is()
    local m = nn.sequential { nn.layer { name = "mine", forward = function(p, t) return t + p.random { 5 } end } }
    lu.assertErrorMsgContains("p.random: there is no seed", m.forward, m, m:init(), x)
    local y = m:forward(m:init(), bk.zeros { 2, 5 }, { seed = 1 })
    lu.assertTrue(y[1] == y[2] and y:max():item() < 1 and y:max():item() > 0)
    lu.assertErrorMsgContains("train and random are taken", nn.layer,
        { params = { { "train", shape = { 2 } } }, forward = function(_, t) return t end })
    lu.assertErrorMsgContains("unknown option sed", m.forward, m, m:init(), x, { sed = 1 })
end

-- A hook sees the statistics that training has left, and nothing where the model has none.
function TestMode.test_a_hook_reads_the_runs_buffers()
    local x, y = bk.rng(1):normal { 40, 3 }, bk.rng(2):integers({ 40 }, 2)
    local function run(model, look)
        return bk.protocol { model = model, tasks = { { x = x, y = y } }, lr = 0.1, steps = 5, batch = 8,
            interventions = { { after_step = look } } }:run {}
    end
    local seen
    local r = run(bk.nn.sequential { bk.nn.linear { 3, 5 }, bk.nn.batch_norm { 5 }, bk.nn.linear { 5, 2 } },
        function(state) seen = state.buffers end)
    lu.assertTrue(seen == r.buffers and seen ~= bk.concat { bk.zeros { 5 }, bk.ones { 5 } })
    run(bk.nn.mlp { 3, 2 }, function(state) seen = state.buffers end)
    lu.assertNil(seen)
end

-- With one task and its whole batch the joint bound is plain training, at the step's draws.
function TestMode.test_joint_training_is_in_training()
    local x, y = bk.rng(1):normal { 30, 4 }, bk.rng(2):integers({ 30 }, 3)
    local model = bk.nn.sequential { bk.nn.linear { 4, 16 }, bk.nn.tanh(), bk.nn.dropout { 0.5 },
        bk.nn.linear { 16, 3 } }
    local function run(list)
        return bk.protocol { model = model, tasks = { { x = x, y = y } }, lr = 0.3, steps = 5, batch = "full", seed = 3,
            interventions = list }:run {}.theta
    end
    lu.assertTrue((run { bk.intervention.joint_training {} } - run {}):norm():item() < 1e-12)
end

-- The conflict's Hessians are at the draws, and on the batch, of the steps whose gradients they meet.
function TestMode.test_the_conflict_is_at_each_steps_own_draws_and_batch()
    local tasks = {}
    for i = 1, 2 do tasks[i] = { x = bk.rng(i):normal { 24, 4 }, y = bk.rng(10 + i):integers({ 24 }, 3) } end
    local model = bk.nn.sequential { bk.nn.linear { 4, 8 }, bk.nn.tanh(), bk.nn.dropout { 0.5 }, bk.nn.linear { 8, 3 } }
    for _, batch in ipairs { "full", 8 } do
        local g, hvp, before, after = {}, {}, nil, nil
        bk.protocol { model = model, tasks = tasks, order = { 1, 2 }, lr = 0.1, batch = batch, seed = 3,
            interventions = {
                { before_batch = function(state) state.x = state.x * (3 - state.task) end,
                    before_step = function(state)
                        local x, y, k = state.x:clone(), state.y:clone(), state.step
                        local seed = bk.stream.key(state.seed, 4, k)
                        local function f(t)
                            local z = model:forward(t, x, { train = true, seed = bk.tensor(seed, { dtype = "int64" }) })
                            return (z:logsumexp() - z:take(y)):mean()
                        end
                        near(bk.grad(f)(state.theta), state.task_gradient)
                        g[k], hvp[k] = state.gradient, bk.hvp(f)
                    end,
                    after_step = function(state) before = state.theta end },
                bk.intervention.conflict { strength = 0 },
                { after_step = function(state) after = state.theta end } } }:run {}
        local bracket = hvp[2](before, g[1]) - hvp[1](before, g[2])
        near(after - before, bracket * (-0.1 ^ 2 / 2))
    end
end

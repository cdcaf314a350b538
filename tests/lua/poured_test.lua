-- poured_test.lua - steps in which theta moves as its gradient is made: the bits of the gradient as a whole and then
-- the step, for every optimizer and kind of model, at one thread and two; and what such a step leaves when it fails.
-- (That a piece is given once, when its place is read no more: tests/fuzz/graph.c.)
local bk = require "bracket"
local lu = require "luaunit"
local nn = bk.nn
TestPoured = {}

local rng = bk.rng(3)
local function class_ids(shape, classes)
    return (bk.rng(4):uniform(shape) * classes):floor():to "int64"
end
local flat = { x = rng:normal { 40, 300 }, y = class_ids({ 40 }, 5) }
-- The first layer's gradient is a product large enough to be made some rows at a time.
local wide = nn.mlp { 300, 400, 150, 5, activation = "relu" }

local function optimizers()
    local all = { own = bk.optim.custom { state = { "m" }, options = { beta = 0.9 }, update = function(g, s, theta, o)
        local m = o.beta * s.m + (1 - o.beta) * g
        return m:sign() * o.t + 0.01 * theta, { m = m }
    end } }
    for name, make in pairs(bk.optim) do
        if name ~= "custom" then all[name] = make {} end
    end
    return all
end

-- Three steps poured, and three of the whole gradient.
local function step_both_ways(optimizer, f, theta, ...)
    local other, kept, poured, whole = optimizer:with {}, {}, theta:clone(), theta:clone()
    for step = 1, 3 do
        local moved, loss = bk.internal.step_poured(optimizer, kept, 0.01, {}, f, poured, ...)
        local expected, g = f(whole, ...)
        whole = other:step(whole, g, 0.01)
        lu.assertEquals({ step, moved, loss:item() }, { step, true, expected:item() })
    end
    return poured, whole
end

local function check_same(a, b, what)
    lu.assertTrue(a:norm():item() > 0 and a:norm():item() < math.huge, what)
    lu.assertTrue(a == b, what)
end

function TestPoured.test_every_optimizer_gets_the_bits_of_the_whole_gradient()
    for _, dtype in ipairs { "float32", "float64" } do
        local theta = wide:init { seed = 1, dtype = dtype }
        local f = bk.value_and_grad(bk.loss.cross_entropy(wide))
        for name, optimizer in pairs(optimizers()) do
            local a, b = step_both_ways(optimizer, f, theta, flat.x:to(dtype), flat.y)
            check_same(a, b, name .. " " .. dtype)
            lu.assertTrue((a - theta):abs():max():item() > 0)
        end
    end
end

function TestPoured.test_a_weight_that_the_gradient_reads_in_other_ways_too()
    local function weight(theta) return theta:narrow(1, 1, 300 * 400):reshape { 300, 400 } end
    local cross_entropy = bk.loss.cross_entropy(wide)
    local losses = {
        decay = function(theta, x, y) return cross_entropy(theta, x, y) + 0.01 * theta:square():sum() end,
        product = function(theta, x, y)
            local w = weight(theta)
            return cross_entropy(theta, x, y) + w:transpose():matmul(w):square():mean()
        end,
        twice = function(theta, x, y)
            return cross_entropy(theta, x, y) + (2 * x):matmul(weight(theta)):sin():mean()
        end,
        sum = function(theta, x, y) return cross_entropy(theta, x, y) + theta:sum():square() end,
        a_part = function(theta, x) return x:matmul(weight(theta)):square():mean() end,
        none = function(theta) return (0 * theta):sum() end,
    }
    for name, loss in pairs(losses) do
        local a, b = step_both_ways(bk.optim.adam {}, bk.value_and_grad(loss), wide:init { seed = 1 }, flat.x, flat.y)
        check_same(a, b, name)
    end
end

function TestPoured.test_an_optimizer_that_needs_all_of_the_gradient_gets_it()
    local normed = bk.optim.custom { update = function(g) return g / g:norm(), {} end }
    local f, theta = bk.value_and_grad(bk.loss.cross_entropy(wide)), wide:init { seed = 1 }
    lu.assertNil(bk.internal.step_poured(normed, {}, 0.1, {}, f, theta, flat.x, flat.y))
    lu.assertEquals(normed:state().step, 0)
    local other = bk.optim.custom { update = function(g) return g * g:narrow(1, 7, 1), {} end }
    lu.assertNil(bk.internal.step_poured(other, {}, 0.1, {}, f, theta, flat.x, flat.y))
    local part = theta:narrow(1, 1, 3) -- somebody else looks at theta
    local moved, _, g = bk.internal.step_poured(bk.optim.sgd {}, {}, 0.1, {}, f, theta, flat.x, flat.y)
    lu.assertFalse(moved)
    lu.assertTrue(theta == wide:init { seed = 1 } and #part == 3 and g == select(2, f(theta, flat.x, flat.y)))
    local own = wide:init { seed = 1 }
    lu.assertFalse((bk.internal.step_poured(bk.optim.sgd {}, {}, 0.1, { theta = true }, f, own, flat.x, flat.y)))
    lu.assertTrue(own == theta)
end

function TestPoured.test_a_loss_is_traced_once_whatever_the_optimizer_needs()
    local normed = bk.optim.custom { update = function(g) return g / g:norm(), {} end }
    for _, optimizer in ipairs { normed, bk.optim.adam {} } do
        for _, record in ipairs { {}, { at = { 1, 3 }, own = function() return 0 end } } do
            local traced = 0
            local task = { x = flat.x, y = flat.y, loss = function(model, theta, x, y)
                traced = traced + (x:shape()[1] == 8 and 1 or 0)
                return bk.loss.cross_entropy(model)(theta, x, y)
            end }
            bk.protocol { model = wide, tasks = { task }, lr = 0.01, steps = 4, batch = 8, evaluate = false,
                optimizer = optimizer, record = record }:run {}
            lu.assertEquals(traced, 1)
        end
    end
end

function TestPoured.test_an_optimizer_whose_first_step_fails_is_as_new()
    local f, optimizer = bk.value_and_grad(bk.loss.cross_entropy(wide)), bk.optim.adam {}
    local theta = wide:init { seed = 1 } * (0 / 0)
    local moved, loss = bk.internal.step_poured(optimizer, {}, 0.1, {}, f, theta, flat.x, flat.y)
    lu.assertFalse(moved)
    lu.assertTrue(loss:item() ~= loss:item())
    lu.assertEquals(optimizer:state(), { step = 0 })
    lu.assertEquals(#optimizer:step(bk.zeros { 7 }, bk.ones { 7 }, 0.1), 7)
end

function TestPoured.test_where_theta_is_lent_the_gradient_is_whole()
    local f, theta = bk.value_and_grad(bk.loss.cross_entropy(wide)), wide:init { seed = 1 }
    local moved, loss, g = bk.internal.step_poured(bk.optim.sgd {}, {}, 0.1, { theta = true }, f, theta, flat.x, flat.y)
    local expected, gradient = f(theta, flat.x, flat.y)
    lu.assertEquals({ moved, loss:item() }, { false, expected:item() })
    lu.assertTrue(g == gradient and theta == wide:init { seed = 1 })
end

-- ---- runs: a hook sees every gradient, so that none is poured ----
local seen = { { after_step = function() end } }

local function run(options, interventions)
    local all = { lr = 0.01, batch = 16, steps = 5, evaluate = false, interventions = interventions }
    for k, v in pairs(options) do all[k] = v end
    return bk.protocol(all):run { theta = options.model:init { seed = 2, dtype = options.dtype } }
end

function TestPoured.test_runs_of_every_kind_of_model()
    local images = { x = rng:normal { 40, 3, 12, 12 }, y = class_ids({ 40 }, 5) }
    local tokens = { x = class_ids({ 40, 8 }, 11), y = class_ids({ 40, 8 }, 11) }
    local signals = { x = rng:normal { 40, 6, 4 }, y = class_ids({ 40, 6 }, 3) }
    local kinds = {
        { wide, flat },
        { nn.sequential { nn.linear { 300, 400 }, nn.relu {}, nn.dropout { 0.3 }, nn.linear { 400, 5 } }, flat },
        { nn.sequential { nn.conv2d { 3, 8, kernel = 3, padding = 1 }, nn.batch_norm { 8 }, nn.relu {},
            nn.conv2d { 8, 16, kernel = 3, stride = 2 }, nn.flatten {}, nn.linear { 400, 5 } }, images },
        { nn.sequential { nn.embedding { 11, 16 }, nn.position_embedding { 8, 16 },
            nn.transformer { 16, heads = 2, causal = true }, nn.linear { 16, 11 } }, tokens },
        { nn.sequential { nn.gru { 4, 12 }, nn.linear { 12, 3 } }, signals },
    }
    for k, kind in ipairs(kinds) do
        for _, optimizer in ipairs { bk.optim.sgd {}, bk.optim.adamw {} } do
            local options = { model = kind[1], tasks = { kind[2], kind[2] }, optimizer = optimizer,
                dtype = k % 2 == 0 and "float32" or nil }
            local a, b = run(options), run(options, seen)
            check_same(a.theta, b.theta, "model " .. k)
            lu.assertTrue(a.buffers == nil and b.buffers == nil or a.buffers == b.buffers)
            lu.assertEquals(a.order_matrix, b.order_matrix)
        end
    end
end

function TestPoured.test_two_threads_and_records_and_rates_change_no_bit()
    local options = { model = wide, tasks = { flat, flat }, optimizer = bk.optim.adam {}, batch = 32,
        lr = bk.schedule.cosine { lr = 0.1 } }
    local once = run(options)
    options.record = { every = 2, "gradient_norm", of_step = function(s)
        return s.gradient and s.gradient:norm():item() or 0
    end }
    local a, b = run(options), run(options, seen)
    bk.threads(2)
    local c = run(options)
    bk.threads(1)
    for _, r in ipairs { b, c, once } do check_same(a.theta, r.theta) end
    lu.assertEquals(a.history, b.history)
    lu.assertTrue(a.history.of_step[2] > 0)
end

-- A list of rates is what it was when the protocol was made: also to whether one of them may look at gradients.
function TestPoured.test_a_list_of_rates_that_its_owner_changes_later()
    local rates = { 0.1, function(_, s) return s.gradient and 0.05 or 0.3 end }
    local function protocol()
        return bk.protocol { model = wide, tasks = { flat, flat }, lr = rates, order = "cyclic", steps = 6, batch = 16,
            evaluate = false }
    end
    local p, q = protocol(), protocol()
    local before = p:run {}.theta
    rates[2] = 0.1
    check_same(before, q:run {}.theta)
end

function TestPoured.test_a_run_that_stops_between_tells_its_gradient_and_goes_on()
    local options = { model = wide, tasks = { flat }, lr = 0.1, steps = 6, batch = 16, evaluate = false }
    local p, q = bk.protocol(options), bk.protocol(options)
    p:run { stop = 3 }
    lu.assertEquals(#p:state().gradient, wide.n_params)
    q:restore(p:state())
    p:run {}
    q:run {}
    check_same(p.result.theta, q.result.theta)
    check_same(p.result.theta, bk.protocol(options):run {}.theta)
end

-- What a loss does while it is traced comes before the step looks at theta and the optimizer.
function TestPoured.test_losses_that_take_theta_or_change_the_optimizer()
    local optimizer, p, taken = bk.optim.adam {}, nil, nil
    local kinds = {
        reset = function() optimizer:reset() end,
        restore = function() optimizer:restore(optimizer:state()) end,
        take = function() taken = taken or p:state().theta end,
        anchor = function(theta) taken = taken or p:state().theta return (theta - taken):square():sum() end,
    }
    for name, extra in pairs(kinds) do
        local task = { x = flat.x, y = flat.y, loss = function(model, theta, x, y)
            local more = extra(theta)
            local loss = bk.loss.cross_entropy(model)(theta, x, y)
            return more and loss + more or loss
        end }
        local results, start = {}, wide:init { seed = 1 }
        for k, interventions in ipairs { {}, seen } do
            taken = nil
            p = bk.protocol { model = wide, tasks = { task }, lr = 0.01, steps = 4, batch = 8, evaluate = false,
                optimizer = optimizer, interventions = interventions }
            results[k] = p:run { theta = start }.theta
            lu.assertTrue(not taken or taken == start, name)
        end
        check_same(results[1], results[2], name)
    end
end

function TestPoured.test_a_record_that_begins_a_task_sees_the_gradient_before()
    local norms = {}
    local last = { value = function() return 0 end, begin_task = function(s)
        if s.step > 1 then norms[#norms + 1] = s.gradient:norm():item() end
    end }
    run { model = wide, tasks = { flat, flat }, record = { at = { 10 }, last = last } }
    lu.assertEquals(#norms, 1)
end

-- A loss that is no number leaves theta where it was, as where the gradient is looked at.
function TestPoured.test_a_loss_that_is_not_finite_moves_nothing()
    local x = flat.x:totable()
    for k = 33, 40 do x[k][1] = 1e300 end
    local task = { x = bk.tensor(x), y = flat.y, shuffle = false, loss = function(model, theta, a, y)
        return bk.loss.cross_entropy(model)(theta, a, y) + (a * a):sum()
    end }
    local thetas = {}
    for k, interventions in ipairs { {}, seen } do
        local p = bk.protocol { model = wide, tasks = { task }, lr = 0.1, steps = 5, batch = 8, evaluate = false,
            optimizer = bk.optim.adam {}, interventions = interventions }
        lu.assertErrorMsgContains("step 5, task 1: the loss is", p.run, p, { theta = wide:init { seed = 1 } })
        lu.assertEquals(p:state().optimizer.step, 4)
        thetas[k] = p.result.theta
    end
    check_same(thetas[1], thetas[2])
end

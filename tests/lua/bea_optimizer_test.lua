-- bea_optimizer_test.lua - modified equations of optimizers with memory, and order effects under them: closed forms,
-- slopes with their controls, an independent autodiff's values where the shared folder is there, and what is refused.
local bk = require "bracket"
local lu = require "luaunit"
local optim, custom = bk.optim, bk.optim.custom

local function problem()
    local model = bk.nn.mlp { 4, 5, 3, activation = "tanh" }
    local function data(seed) return bk.rng(seed):normal { 8, 4 }, bk.rng(seed + 1):normal { 8, 3 } end
    return bk.loss.mse(model, data(1)), model:init { seed = 3 }, bk.loss.mse(model, data(5))
end

local function apart(got, want) return ((got - want):norm() / want:norm()):item() end
local function equation(loss, optimizer, lr)
    return bk.bea.optimizer { loss = loss, optimizer = optimizer, lr = lr or 0.01 }
end

-- A user's: a bounded step; and Adam's relative with the root smooth, one average feeding another, listed before it.
local function bounded()
    return custom { state = { "m" }, options = { b = 0.8 }, update = function(g, s, _, o)
        local m = o.b * s.m + (1 - o.b) * g
        return (5 * m):tanh(), { m = m }
    end }
end
local function chained()
    return custom { name = "chained", state = { "m", "v" }, options = { b = 0.6, c = 0.7, weight_decay = 0.2 },
        update = function(g, s, theta, o)
            local v = o.c * s.v + (1 - o.c) * g * g
            local m = o.b * s.m + g / (v + 0.2):sqrt()
            return m + o.weight_decay * theta, { m = m, v = v }
        end }
end

TestOptimizerEquation = {}

function TestOptimizerEquation.test_momentum_on_a_quadratic_is_the_logarithm_of_its_root()
    local lambda, theta = bk.tensor { 0.3, 1, 2.5, -0.7 }, bk.tensor { 1, -2, 0.5, 3 }
    local function quadratic(t) return (lambda * t * t):sum() * 0.5 end
    for _, beta in ipairs { 0, 0.5, 0.9 } do
        -- r = 1 + a1 h + a2 h^2 + a3 h^3 + ... of r^2 - (1 + beta - h lambda) r + beta = 0
        local a1 = -lambda / (1 - beta)
        local a2 = -(a1 ^ 2 + lambda * a1) / (1 - beta)
        local a3 = -(2 * a1 * a2 + lambda * a2) / (1 - beta)
        local m = equation(quadratic, optim.heavy_ball { momentum = beta })
        for k, want in ipairs { a1, a2 - a1 ^ 2 / 2, a3 - a1 * a2 + a1 ^ 3 / 3 } do
            lu.assertTrue(apart(m:term(k)(theta), want * theta) < 1e-13, k)
        end
    end
end

function TestOptimizerEquation.test_second_orders_in_closed_form()
    local loss, theta = problem()
    local g = bk.grad(loss)(theta)
    local Hg = bk.hvp(loss)(theta, g)
    for _, b in ipairs { 0.5, 0.9, 0.99 } do
        local m = equation(loss, optim.heavy_ball { momentum = b })
        lu.assertTrue(apart(m:term(2)(theta), Hg * (-(1 + b) / (2 * (1 - b) ^ 3))) < 1e-12)
        lu.assertTrue(apart(m:start(theta), theta + g * (0.01 * b / (1 - b) ^ 2)) < 1e-11)
        -- a moving average: u = m, M1 = -b/(1 - b) H F1
        local ema = equation(loss, optim.momentum_ema { beta = b })
        lu.assertTrue(apart(ema:term(2)(theta), Hg * (-b / (1 - b) - 0.5)) < 1e-12)
    end
    local w = bk.bea.word { { loss, 1 } }
    local sgd = equation(loss, optim.sgd {})
    for k = 1, 3 do lu.assertTrue(apart(sgd:term(k)(theta), w:term(k)(theta)) < 1e-12) end
    lu.assertTrue(apart(sgd:field()(theta), sgd:term(1)(theta) + sgd:term(2)(theta) * 0.01) < 1e-14)

    -- Adam, corrections at their limit: u = m/(sqrt v + e), M1 = -E_k q' F1
    local b1, b2, e = 0.9, 0.99, 0.1
    local F1 = -g / (g:abs() + e)
    local w1 = bk.hvp(loss)(theta, F1)
    local m1, v1 = w1 * (-b1 / (1 - b1)), g * w1 * (-2 * b2 / (1 - b2))
    local function du(m, v) return m / (g:abs() + e) - g * v / (2 * g:abs() * (g:abs() + e) ^ 2) end
    local want = -du(m1, v1) + du(w1, 2 * g * w1) * 0.5
    local adam = equation(loss, optim.adam { beta1 = b1, beta2 = b2, eps = e })
    lu.assertTrue(apart(adam:term(1)(theta), F1) < 1e-13)
    lu.assertTrue(apart(adam:term(2)(theta), want) < 1e-12)
end

-- Where the update has no derivative: a sign is followed by its first order, wherever no component crosses 0.
function TestOptimizerEquation.test_a_sign_has_a_first_order()
    local loss, theta = function(t) return (t ^ 4):sum() end, bk.tensor { 1, -2, 3 }
    local m = equation(loss, custom { state = { "m" }, update = function(g, s)
        local now = 0.8 * s.m + 0.2 * g
        return now:sign(), { m = now }
    end })
    lu.assertEquals(m:term(1)(theta):totable(), { -1, 1, -1 })
    for k = 2, 3 do lu.assertEquals(m:term(k)(theta):norm():item(), 0) end
end

-- Fields are functions like others: they nest, hold in float32 and for any shape of theta.
function TestOptimizerEquation.test_fields_are_functions()
    local loss, theta = problem()
    local m = equation(loss, optim.heavy_ball { momentum = 0.5 })
    local function size(t)
        local v = m:field(2)(t)
        return v:dot(v)
    end
    lu.assertTrue(bk.check_grad(size, theta) < 1e-6)
    local function matrix(t) return (t:matmul(t:transpose()) ^ 2):sum() end
    local function flat(t) return matrix(t:reshape { 3, 2 }) end
    local at = bk.rng(3):normal { 3, 2 }
    for _, o in ipairs { optim.adam { eps = 0.1 }, optim.rmsprop { momentum = 0.5, eps = 0.1 } } do
        local a, b = equation(matrix, o), equation(flat, o)
        lu.assertTrue(apart(a:field(3)(at):reshape { 6 }, b:field(3)(at:reshape { 6 })) < 1e-12)
        local single = b:field(3)(at:reshape { 6 }:to("float32"))
        lu.assertEquals(single:dtype(), "float32")
        lu.assertTrue(apart(single:to("float64"), b:field(3)(at:reshape { 6 })) < 1e-3)
    end
end

local SMOOTH, KINKED = true, false -- sqrt(v) with eps outside is |g|
local CASES = {
    { "sgd", function() return optim.sgd { weight_decay = 0.3 } end, 0.02, SMOOTH },
    { "heavy_ball", function() return optim.heavy_ball { momentum = 0.7, weight_decay = 0.1 } end, 0.004, SMOOTH },
    { "momentum_ema", function() return optim.momentum_ema { beta = 0.8 } end, 0.01, SMOOTH },
    { "nesterov", function() return optim.nesterov { momentum = 0.7 } end, 0.004, SMOOTH },
    { "rmsprop", function() return optim.rmsprop { alpha = 0.8, eps = 0.1 } end, 0.004, KINKED },
    { "rmsprop with momentum", function() return optim.rmsprop { alpha = 0.8, eps = 0.1, momentum = 0.5 } end, 0.004,
        KINKED },
    { "adam", function() return optim.adam { beta1 = 0.7, beta2 = 0.8, eps = 0.1 } end, 0.004, KINKED },
    { "adamw", function() return optim.adamw { beta1 = 0.7, beta2 = 0.8, eps = 0.1, weight_decay = 0.3 } end, 0.004,
        KINKED },
    { "bounded", bounded, 0.004, SMOOTH },
    { "chained", chained, 0.002, SMOOTH },
}

for _, case in ipairs(CASES) do
    local name, make, lr, smooth = table.unpack(case)
    TestOptimizerEquation["test_the_flow_follows_" .. name:gsub(" ", "_")] = function()
        local loss, theta = problem()
        local optimizer = make()
        local m = equation(loss, optimizer, lr)
        local function slopes(options)
            options.theta, options.time = theta, 0.5
            for _, row in ipairs(m:verify(options)) do
                lu.assertEquals(row.expected, row.order)
                local want = options.expected or row.order
                lu.assertTrue(math.abs(row.slope - want) < 0.3, ("%s order %d: slope %g, expected %g"):format(
                    name, row.order, row.slope, want))
            end
            options.expected = nil
        end
        slopes { orders = smooth and { 1, 2, 3 } or { 1, 2 } }
        slopes { orders = { 1, 2 }, from = "rest" }
        if name == "sgd" then return end -- it has no memory to leave out
        for _, control in ipairs { "no_memory", "flipped" } do
            local row = m:verify { theta = theta, time = 0.5, orders = { 2 }, control = control }[1]
            lu.assertTrue(math.abs(row.slope - 1) < 0.3, ("%s %s: slope %g"):format(name, control, row.slope))
        end
        local start = m:start(theta)
        if name:find("adam") then
            lu.assertTrue(start == theta)
        else
            local row = m:verify { theta = theta, time = 0.5, orders = { 2 }, from = "rest", control = "no_start" }[1]
            lu.assertTrue(math.abs(row.slope - 1) < 0.3, ("%s no_start: slope %g"):format(name, row.slope))
        end
        lu.assertEquals(optimizer:state().step, 0)
    end
end

-- The optimizer itself, by its own steps, against the flow: nothing of verify's own.
function TestOptimizerEquation.test_an_adam_run_is_followed()
    local loss, theta = problem()
    local g, errors, hs = bk.grad(loss), {}, { 0.004, 0.002, 0.001 }
    for i, h in ipairs(hs) do
        local adam = optim.adam { beta1 = 0.8, beta2 = 0.9, eps = 0.1 }
        local m, at = equation(loss, adam, h), theta
        for _ = 1, math.floor(0.4 / h + 0.5) do at = adam:step(at, g(at), h) end
        errors[i] = (bk.flow(m:field(2), m:start(theta), { time = 0.4 }) - at):norm():item()
    end
    lu.assertAlmostEquals(bk.statistics.slope(hs, errors), 2, 0.3)
end

-- The state the steps begin with is one thing, whichever orders are asked for; and a rate too large for it is said.
function TestOptimizerEquation.test_verify_starts_where_an_average_of_squares_is_positive()
    local model = bk.nn.mlp { 5, 7, 4, activation = "softplus" }
    local L = bk.loss.cross_entropy(model, bk.rng(9):normal { 12, 5 }, bk.rng(2):integers({ 12 }, 4))
    local theta = model:init { seed = 5 }
    local function slopes(lr, orders)
        local m, list = bk.bea.optimizer { loss = L, optimizer = bk.optim.adam { eps = 0.1 }, lr = lr }, {}
        for k, row in ipairs(m:verify { theta = theta, time = 20 * lr, orders = orders }) do list[k] = row.slope end
        return list
    end
    local two, three = slopes(2e-5, { 1, 2 }), slopes(2e-5, { 1, 2, 3 })
    lu.assertEquals(two, { three[1], three[2] })
    lu.assertAlmostEquals(two[2], 2, 0.3)
    lu.assertErrorMsgContains("equation:verify: rate 0.002: the steps lead to values that are not finite", slopes, 2e-3, { 1 })
end

function TestOptimizerEquation.test_ones_own_formula_is_the_same_equation()
    local loss, theta = problem()
    local mine = custom { state = { "m", "v" }, options = { b1 = 0.9, b2 = 0.999, eps = 1e-3 },
        update = function(g, s, _, o)
            local m, v = o.b1 * s.m + (1 - o.b1) * g, o.b2 * s.v + (1 - o.b2) * g ^ 2
            return m / (1 - o.b1 ^ o.t) / ((v / (1 - o.b2 ^ o.t)):sqrt() + o.eps), { m = m, v = v }
        end }
    local a, b = equation(loss, mine), equation(loss, optim.adam { eps = 1e-3 })
    for k = 1, 3 do lu.assertTrue(apart(a:term(k)(theta), b:term(k)(theta)) < 1e-11, k) end
    lu.assertTrue(a:start(theta) == theta)
    local function slope(t) return bk.grad(loss)(t) end -- a field where a loss may stand
    lu.assertTrue(apart(equation(slope, optim.adam {}):term(2)(theta), equation(loss, optim.adam {}):term(2)(theta))
        < 1e-12)
end

function TestOptimizerEquation.test_terms_are_the_parts_of_the_field()
    local loss, theta = problem()
    local h = 0.01
    local m = equation(loss, optim.heavy_ball { momentum = 0.8, weight_decay = 0.3 }, h)
    local t = m:terms(theta)
    local g = bk.grad(loss)(theta)
    local Hg = bk.hvp(loss)(theta, g)
    lu.assertAlmostEquals(t.original, loss(theta):item(), 1e-15)
    -- u = m, q = g/(1 - b), F1 = -g/(1 - b), m after the step less what the mean of b^k k adds
    lu.assertAlmostEquals(t.flatness, (Hg * (h / 2 / 0.2 ^ 2)):norm():item(), 1e-12)
    lu.assertAlmostEquals(t.memory, (Hg * (h * 0.8 / 0.2 ^ 3)):norm():item(), 1e-12)
    local plain = equation(loss, optim.heavy_ball { momentum = 0.8 }, h)
    lu.assertAlmostEquals(t.decay, (m:field(2)(theta) - plain:field(2)(theta)):norm():item(), 1e-12)
    lu.assertAlmostEquals(t.total_norm, m:field(2)(theta):norm():item(), 1e-12)
    lu.assertEquals(plain:terms(theta).decay, 0)
    lu.assertNil(equation(bk.grad(loss), optim.sgd {}):terms(theta).original) -- a field has no value
end

-- A weight whose gradient is 0 for every example: sqrt(v) has no derivative there.
function TestOptimizerEquation.test_dead_weights_do_not_move()
    local function loss(t) return (t:narrow(1, 1, 2) ^ 4):sum() + t[1] * t[2] end
    local theta = bk.tensor { 0.7, -1.2, 3, 0 }
    for _, o in ipairs { optim.adam {}, optim.rmsprop { momentum = 0.5 }, optim.adam { eps = 0 } } do
        local m = equation(loss, o)
        for k = 1, 3 do
            local v = m:term(k)(theta):totable()
            lu.assertTrue(math.max(math.abs(v[3]), math.abs(v[4])) < 1e-40)
            lu.assertTrue(v[1] == v[1] and v[1] ~= 0)
        end
    end
    local d = 0.1 -- what AdamW does to them is decay alone: (1 - h d) = e^(h F)
    local m = equation(loss, optim.adamw { weight_decay = d })
    for k, want in ipairs { -d, -d ^ 2 / 2, -d ^ 3 / 3 } do
        lu.assertAlmostEquals(m:term(k)(theta)[3]:item(), 3 * want, 1e-14)
    end
    local live = bk.tensor { 0.7, -1.2 }
    for _, o in ipairs { optim.adam {}, optim.momentum_ema {} } do
        local gap = bk.bea.order_gap(loss, function(t) return loss(t) * 2 + t[1] ^ 3 end, { lr = 0.01, optimizer = o })
        local full, short = gap(theta), gap(live)
        lu.assertEquals(full.predicted:narrow(1, 1, 2):totable(), short.predicted:totable())
        lu.assertTrue(full.predicted:narrow(1, 3, 2):abs():max():item() < 1e-40)
    end
end

function TestOptimizerEquation.test_what_is_no_average_is_refused_by_name()
    local loss = function(t) return (t ^ 4):sum() end
    local function refused(text, state, update)
        lu.assertErrorMsgContains(text, equation, loss, custom { name = "own", state = state, update = update })
    end
    refused("state top of own: expected an average", { "v", "top" }, function(g, s)
        local v = 0.9 * s.v + 0.1 * g * g
        local top = bk.where(v:gt(s.top), v, s.top)
        return g / (top:sqrt() + 1), { v = v, top = top }
    end)
    refused("state sum of own: expected an average, s <- beta s + (1 - beta) q with a fixed beta, -1 < beta < 1, got "
        .. "beta = 1", { "sum" }, function(g, s) return g, { sum = s.sum + g * g } end)
    refused("state m of own", { "m" }, function(g, s) return g, { m = s.m * s.m * 0.1 + g } end)
    refused("state m of own", { "m" }, function(g, s) return g, { m = s.m:mean() + g } end)
    refused("state m of own", { "m" }, function(g, s) return g, { m = s.m * g:tanh() + g } end)
    refused("states a, b of own", { "a", "b" }, function(g, s)
        return g, { a = 0.5 * s.a + s.b, b = 0.5 * s.b + 0.1 * s.a + g }
    end)
    refused("step of own: expected a formula that settles", {}, function(g, _, _, o) return g / o.t:sqrt(), {} end)
    local table_of_functions = { step = print, state = print, restore = print, reset = print }
    lu.assertErrorMsgContains("optimizer: expected one of bk.optim, such as bk.optim.adam{}, or "
        .. "bk.optim.custom, got a table", equation, loss, table_of_functions)
    lu.assertErrorMsgContains('got "adam"', equation, loss, "adam")
    lu.assertErrorMsgContains("got a table", bk.bea.order_gap, loss, loss, { lr = 1, optimizer = table_of_functions })
    lu.assertErrorMsgContains("loss: expected a loss or a field", equation, 3, optim.sgd {})
    local function short(t) return t:narrow(1, 1, 1) end -- it was repeated to theta's shape
    lu.assertErrorMsgContains("loss: expected a loss (a 0-d tensor) or a field of theta's shape (2), got (1)",
        equation(short, optim.sgd {}):term(1), bk.ones { 2 })
    lu.assertErrorMsgContains("order_gap: B: expected a loss (a 0-d tensor) or a field of theta's shape (2), got (1)",
        bk.bea.order_gap(loss, short, { lr = 1 }), bk.ones { 2 })
    lu.assertErrorMsgContains("expected 1, 2 or 3, got 4", function() equation(loss, optim.sgd {}):term(4) end)
    lu.assertErrorMsgContains("theta", function() equation(loss, optim.sgd {}):start(3) end)
    lu.assertErrorMsgContains('"no_start" is for from = "rest"', function()
        equation(loss, optim.sgd {}):verify { theta = bk.ones { 2 }, control = "no_start" }
    end)
    lu.assertErrorMsgContains("step of own: expected theta's shape (5), got (2)", equation, loss,
        custom { name = "own", update = function(g) return g:narrow(1, 1, 2), {} end })
    for _, lr in ipairs { { 1 }, { 1, 2, 3 }, { 1, "x" }, { 0 / 0, 1 } } do
        lu.assertErrorMsgContains("lr: expected a rate, or {rate of A, rate of B}", bk.bea.order_gap, loss, loss,
            { lr = lr })
    end
    lu.assertErrorMsgContains("equation:verify: order 1 at rate 0.01: bk.flow: ", function()
        equation(function(t) return -(t ^ 4):sum() end, optim.sgd {}):verify { theta = bk.ones { 1 }, time = 0.13 }
    end)
    -- a formula of one size
    local scale = bk.tensor { 1, 2, 3 }
    local sized = custom { update = function(g) return g * scale, {} end }
    local m = bk.bea.optimizer { loss = loss, optimizer = sized, lr = 0.1, theta = bk.ones { 3 } }
    lu.assertEquals(m:term(1)(bk.ones { 3 }):totable(), { -4, -8, -12 })
end

function TestOptimizerEquation.test_averages_need_not_be_of_the_gradient_nor_read_after_their_update()
    -- optimistic steps 2 g - g_before, Lion's look ahead without its sign, an average of theta
    local loss, theta = problem()
    local function row(optimizer, lr)
        for _, r in ipairs(equation(loss, optimizer, lr):verify { theta = theta, time = 0.5 }) do
            lu.assertTrue(math.abs(r.slope - r.order) < 0.3, ("order %d: %g"):format(r.order, r.slope))
        end
    end
    row(custom { state = { "before" }, update = function(g, s) return 2 * g - s.before, { before = g } end }, 0.01)
    row(custom { state = { "m" }, update = function(g, s)
        return (0.5 * s.m + 0.5 * g):tanh(), { m = 0.8 * s.m + 0.2 * g }
    end }, 0.004)
    row(custom { state = { "mean" }, update = function(g, s, t)
        local mean = 0.7 * s.mean + 0.3 * t
        return g + 0.5 * (t - mean), { mean = mean }
    end }, 0.01)
end

function TestOptimizerEquation.test_the_second_order_field_of_adam_costs_few_gradients()
    local model = bk.nn.mlp { 64, 32, 32, 10, activation = "tanh" }
    local x, y = bk.rng(1):normal { 16, 64 }, bk.rng(2):integers({ 16 }, 10)
    local loss, theta = bk.loss.cross_entropy(model, x, y), model:init { seed = 1 }
    local one = bk.grad(loss):stats(theta).flops
    lu.assertTrue(equation(loss, optim.adam {}):field(2):stats(theta).flops < 2.6 * one)
    lu.assertTrue(equation(loss, optim.adam {}):term(2):stats(theta).flops < 2.6 * one)
end

-- ---- order effects ----

function TestOptimizerEquation.test_order_gaps_are_predicted_to_second_order()
    local A, theta, B = problem()
    local gA, gB = bk.grad(A)(theta), bk.grad(B)(theta)
    for _, case in ipairs(CASES) do
        local optimizer, hs, errors = case[2](), { 2e-3, 1e-3, 5e-4 }, {}
        for i, h in ipairs(hs) do
            local r = bk.bea.order_gap(A, B, { lr = { h, 2 * h }, optimizer = optimizer })(theta)
            local ends = {}
            for k, word in ipairs { { A, h, B, 2 * h }, { B, 2 * h, A, h } } do -- by the optimizer's own steps
                local fresh, at = optimizer:with {}, theta
                for s = 1, 3, 2 do at = fresh:step(at, bk.grad(word[s])(at), word[s + 1]) end
                ends[k] = at
            end
            lu.assertTrue((ends[1] - ends[2] - r.measured):norm():item() < 1e-13 * theta:norm():item())
            errors[i] = (r.measured - r.predicted):norm():item()
        end
        local slope = bk.statistics.slope(hs, errors)
        lu.assertTrue(math.abs(slope - 3) < 0.3, ("%s: slope %g"):format(case[1], slope))
    end
    local b, h = 0.9, 1e-7
    local r = bk.bea.order_gap(A, B, { lr = h, optimizer = optim.momentum_ema { beta = b } })(theta)
    lu.assertTrue(apart(r.predicted, (gA - gB) * (-h * b * (1 - b))) < 1e-5)
    local sgd = bk.bea.order_gap(A, B, { lr = h })(theta)
    lu.assertTrue(apart(sgd.predicted, bk.lie(A, B)(theta) * h ^ 2) < 1e-13)
end

function TestOptimizerEquation.test_values_of_another_implementation()
    local shared = os.getenv("BRACKET_SHARED") or "../shared"
    local load_facts = loadfile(shared .. "/reference/any_step.lua")
    if not load_facts then return lu.skip("no shared references") end
    local facts, network = load_facts(), nil
    for _, n in ipairs(dofile(shared .. "/reference/derivatives.lua")) do
        if n.name == facts.network then network = n end
    end
    local sizes = { table.unpack(network.model.mlp) }
    sizes.activation = network.model.activation
    local function tensor(t) return bk.tensor(t.data):reshape(t.shape) end
    local loss = bk.loss.mse(bk.nn.mlp(sizes), tensor(network.x[1] or network.x), tensor(network.y[1]))
    local theta, n = bk.tensor(network.theta.data or network.theta), 0
    for name, want in pairs(facts.optimizers) do
        local kind, options, start = name:match("^%S+"), {}, name:find("start")
        for option, value in name:sub(#kind + 1):gmatch("([%a_]+%d?) ([%d.]+)") do options[option] = tonumber(value) end
        if start then
            local m = equation(loss, optim[kind] { momentum = 0.9 }, options.lr)
            lu.assertTrue(apart(m:start(theta) - theta, bk.tensor(want)) < 1e-9)
        else
            local m = equation(loss, optim[kind](options))
            for k = 1, 3 do
                local worst = apart(m:term(k)(theta), bk.tensor(want[tostring(k)]))
                lu.assertTrue(worst < 1e-9, ("%s, order %d: %g"):format(name, k, worst))
            end
        end
        n = n + 1
    end
    lu.assertEquals(n, 7)
end

-- Each is taken, or refused by the state that is no average: what was added to bk.optim as well.
function TestOptimizerEquation.test_every_optimizer_is_taken_or_refused_by_its_state()
    local loss, theta = problem()
    for name, make in pairs(optim) do
        local taken, made = pcall(function() return equation(loss, make {}) end)
        if taken then
            lu.assertTrue(made:term(2)(theta):norm():item() < math.huge, name)
        elseif name ~= "custom" then
            lu.assertStrContains(made, "bk.bea.optimizer: optimizer: state ")
            lu.assertStrContains(made, " of " .. name .. ": expected an average")
        end
    end
end

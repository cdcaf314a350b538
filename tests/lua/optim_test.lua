-- optim_test.lua - each optimizer against its formula written out on numbers, and its state.
local bk = require "bracket"
local lu = require "luaunit"

-- One number's update: (theta, g, lr, t, s) -> theta', s its own state table.
local formulas = {
    sgd = function(o, x, g, lr) return x - lr * (g + o.weight_decay * x) end,
    heavy_ball = function(o, x, g, lr, _, s)
        s.m = o.momentum * (s.m or 0) + g + o.weight_decay * x
        return x - lr * s.m
    end,
    nesterov = function(o, x, g, lr, _, s)
        local d = g + o.weight_decay * x
        s.m = o.momentum * (s.m or 0) + d
        return x - lr * (d + o.momentum * s.m)
    end,
    momentum_ema = function(o, x, g, lr, _, s)
        s.m = o.beta * (s.m or 0) + (1 - o.beta) * (g + o.weight_decay * x)
        return x - lr * s.m
    end,
    rmsprop = function(o, x, g, lr, _, s)
        local d = g + o.weight_decay * x
        s.v = o.alpha * (s.v or 0) + (1 - o.alpha) * d * d
        s.m = o.momentum * (s.m or 0) + d / (math.sqrt(s.v) + o.eps)
        return x - lr * s.m
    end,
    adam = function(o, x, g, lr, t, s)
        local d = g + o.weight_decay * x
        s.m = o.beta1 * (s.m or 0) + (1 - o.beta1) * d
        s.v = o.beta2 * (s.v or 0) + (1 - o.beta2) * d * d
        return x - lr * (s.m / (1 - o.beta1 ^ t)) / (math.sqrt(s.v / (1 - o.beta2 ^ t)) + o.eps)
    end,
    adamw = function(o, x, g, lr, t, s)
        x = x * (1 - lr * o.weight_decay)
        s.m = o.beta1 * (s.m or 0) + (1 - o.beta1) * g
        s.v = o.beta2 * (s.v or 0) + (1 - o.beta2) * g * g
        return x - lr * (s.m / (1 - o.beta1 ^ t)) / (math.sqrt(s.v / (1 - o.beta2 ^ t)) + o.eps)
    end,
}
local defaults = {
    sgd = { weight_decay = 0 }, heavy_ball = { momentum = 0.9, weight_decay = 0 },
    nesterov = { momentum = 0.9, weight_decay = 0 }, momentum_ema = { beta = 0.9, weight_decay = 0 },
    rmsprop = { alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0 },
    adam = { beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0 },
    adamw = { beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01 },
}
local others = { weight_decay = 0.1, momentum = 0.5, beta = 0.7, alpha = 0.8, beta1 = 0.6, beta2 = 0.9, eps = 1e-3 }

local function gradient(k) return { math.sin(k), math.cos(2 * k), -1 / k, 0.25 } end

local function run(name, options, given, dtype)
    local opt = bk.optim[name](given)
    local x, states = { 0.5, -1, 2, 3 }, { {}, {}, {}, {} }
    local theta = bk.tensor(x, { dtype = dtype })
    for t = 1, 6 do
        local g, lr = gradient(t), 0.1 / t
        for i = 1, 4 do x[i] = formulas[name](options, x[i], g[i], lr, t, states[i]) end
        theta = opt:step(theta, bk.tensor(g, { dtype = dtype }), lr)
    end
    local got, worst = theta:totable(), 0
    for i = 1, 4 do worst = math.max(worst, math.abs(got[i] - x[i])) end
    return worst
end

TestOptim = {}

for name, options in pairs(defaults) do
    TestOptim["test_" .. name .. "_is_its_formula"] = function()
        lu.assertTrue(run(name, options, nil, "float64") < 1e-13)
        local given = {}
        for k in pairs(options) do given[k] = others[k] end
        lu.assertTrue(run(name, given, given, "float64") < 1e-13)
        lu.assertTrue(run(name, given, given, "float32") < 1e-5)
    end
    TestOptim["test_" .. name .. "_goes_on_from_a_restored_state"] = function()
        local theta = bk.tensor { 1, 2, 3, 4 }
        local a, b = bk.optim[name] {}, bk.optim[name] {}
        for t = 1, 3 do theta = a:step(theta, bk.tensor(gradient(t)), 0.1) end
        local saved = a:state()
        lu.assertEquals(saved.step, 3)
        local on = a:step(theta, bk.tensor(gradient(4)), 0.1)
        b:restore(saved)
        lu.assertEquals(b:step(theta, bk.tensor(gradient(4)), 0.1):totable(), on:totable())
        a:reset()
        lu.assertEquals(a:state(), { step = 0 })
        lu.assertEquals(a:step(theta, bk.tensor(gradient(1)), 0.1):totable(),
            bk.optim[name] {}:step(theta, bk.tensor(gradient(1)), 0.1):totable())
    end
end

function TestOptim.test_theta_and_gradient_are_left_alone()
    local theta, g = bk.tensor { 1, 2 }, bk.tensor { 3, 4 }
    bk.optim.adamw {}:step(theta, g, 0.1)
    lu.assertEquals(theta:totable(), { 1, 2 })
    lu.assertEquals(g:totable(), { 3, 4 })
end

function TestOptim.test_wrong_use_is_refused()
    lu.assertErrorMsgContains("unknown option nesterov; the options are weight_decay", bk.optim.sgd,
        { nesterov = true })
    lu.assertErrorMsgContains("momentum: expected a finite number >= 0 and < 1, got 1", bk.optim.heavy_ball,
        { momentum = 1 })
    local opt = bk.optim.adam {}
    lu.assertErrorMsgContains("g: expected theta's float64 (2), got float64 (3)", opt.step, opt,
        bk.zeros { 2 }, bk.zeros { 3 }, 1)
    opt:step(bk.zeros { 2 }, bk.zeros { 2 }, 1)
    lu.assertErrorMsgContains("reset it", opt.step, opt, bk.zeros { 3 }, bk.zeros { 3 }, 1)
    lu.assertErrorMsgContains("lr", opt.step, opt, bk.zeros { 2 }, bk.zeros { 2 }, 0 / 0)
    lu.assertErrorMsgContains("some are missing", opt.restore, opt, { step = 1, first = bk.zeros { 2 } })
    lu.assertErrorMsgContains("state: step: missing", opt.restore, opt, {})
end

-- ---- one's own ----

-- Those of the program as a user writes them, in any dtype.
local function adam(d, s, o)
    local m, v = o.beta1 * s.m + (1 - o.beta1) * d, o.beta2 * s.v + (1 - o.beta2) * d ^ 2
    local first, second = 1 / (1 - o.beta1 ^ o.t), 1 / (1 - o.beta2 ^ o.t):sqrt()
    return m * first / (v:sqrt() * second + o.eps), { m = m, v = v }
end
local customs = {
    sgd = { {}, function(g, _, theta, o) return g + o.weight_decay * theta, {} end },
    heavy_ball = { { "m" }, function(g, s, theta, o)
        local m = g + o.weight_decay * theta + o.momentum * s.m
        return m, { m = m }
    end },
    nesterov = { { "m" }, function(g, s, theta, o)
        local d = g + o.weight_decay * theta
        local m = d + o.momentum * s.m
        return d + o.momentum * m, { m = m }
    end },
    momentum_ema = { { "m" }, function(g, s, theta, o)
        local m = o.beta * s.m + (1 - o.beta) * (g + o.weight_decay * theta)
        return m, { m = m }
    end },
    rmsprop = { { "v", "m" }, function(g, s, theta, o)
        local d = g + o.weight_decay * theta
        local v = o.alpha * s.v + (1 - o.alpha) * d ^ 2
        local m = o.momentum * s.m + d / (v:sqrt() + o.eps)
        return m, { v = v, m = m }
    end },
    adam = { { "m", "v" }, function(g, s, theta, o) return adam(g + o.weight_decay * theta, s, o) end },
    adamw = { { "m", "v" }, function(g, s, theta, o)
        local step, state = adam(g, s, o)
        return step + o.weight_decay * theta, state
    end },
}
local function custom(name, options)
    return bk.optim.custom { name = "mine", state = customs[name][1], options = options, update = customs[name][2] }
end

function TestOptim.test_custom_is_the_programs_own_bit_for_bit()
    for _, dtype in ipairs { "float64", "float32" } do
        for name, plain in pairs(defaults) do
            local options = {}
            for k, v in pairs(plain) do options[k] = v end
            options.weight_decay = plain.weight_decay and 0.125
            local pair = { custom(name, options), bk.optim[name](options) }
            local theta = bk.rng(1):normal { 1000 }:to(dtype)
            local a, b = theta, theta
            for k = 1, 5 do
                local g = bk.rng(k):normal { 1000 }:to(dtype)
                a, b = pair[1]:step(a, g, 0.1), pair[2]:step(b, g, 0.1)
            end
            lu.assertEquals(a:dtype(), dtype)
            lu.assertTrue(a == b, name .. " " .. dtype)
            local other = pair[1]:state()
            lu.assertEquals(other.step, 5)
            local g = theta:sin()
            local on = pair[1]:step(a, g, 0.1)
            pair[1]:reset()
            pair[1]:restore(other)
            lu.assertTrue(pair[1]:step(a, g, 0.1) == on)
        end
    end
    lu.assertEquals(tostring(custom("adam", { b1 = 0.9, b2 = 0.999, eps = 1e-8 })),
        "mine{b1 = 0.9, b2 = 0.999, eps = 1e-08}")
    lu.assertEquals(custom("sgd", { weight_decay = 0.5 }).weight_decay, 0.5)
    lu.assertEquals(tostring(bk.optim.sgd{ weight_decay = 0.1 + 2 ^ -54 }), "sgd{weight_decay = 0.10000000000000006}")
    lu.assertEquals(tostring(custom("sgd", { weight_decay = 3, n = 9007199254740993, c = 0 / 0, d = math.huge })),
        "mine{c = nan, d = inf, n = 9007199254740993.0, weight_decay = 3.0}")
    local long = ("n"):rep(31)
    local function named(name) return bk.optim.custom{ name = name, update = function(g) return g end } end
    lu.assertEquals(named(long).name, long)
    lu.assertErrorMsgContains("bk.optim.custom: name: expected at most 31 characters, got " .. long .. "n", named,
        long .. "n")
end

-- What looks like Adam's step is Adam's step or is not: each on numbers, over more than one block of a pass.
function TestOptim.test_what_resembles_adam_is_what_it_says()
    local function moments(g, s) return 0.9 * s.m + (1 - 0.9) * g, 0.99 * s.v + (1 - 0.99) * g ^ 2 end
    local updates = {
        itself = function(g, s, x, root, p, r)
            local m, v = moments(g, s)
            return m * p / (root(v) * r + 0.01), { m = m, v = v }
        end,
        with_decay = function(g, s, x, root, p, r)
            local m, v = moments(g, s)
            return m * p / (root(v) * r + 0.01) + 0.1 * x, { m = m, v = v }
        end,
        with_decay_of_the_moment = function(g, s, x, root, p, r)
            local m, v = moments(g, s)
            return m * p / (root(v) * r + 0.01) + 0.1 * m, { m = m, v = v }
        end,
        of_a_sum = function(g, s, x, root, p, r)
            local m, v = moments(g + 0.1 * x, s)
            return m * p / (root(v) * r + 0.01), { m = m, v = v }
        end,
        by_vectors = function(g, s, x, root, p, r)
            local m, v = moments(g, s)
            return m * s.a / (root(v) * s.b + 0.01), { m = m, v = v, a = s.a + 0.5, b = s.b + 0.25 }
        end,
        that_keeps_its_root = function(g, s, x, root, p, r)
            local m, v = moments(g, s)
            local a = root(v) * r + 0.01
            return m * p / a, { m = m, v = v, a = a }
        end,
        that_adds_up_its_roots = function(g, s, x, root, p, r)
            local m, v = moments(g, s)
            local a = root(v) * r + 0.01
            return m * p / a, { m = m, v = v, a = s.a + a }
        end,
        that_keeps_its_quotient = function(g, s, x, root, p, r)
            local m, v = moments(g, s)
            local a = m * p / (root(v) * r + 0.01)
            return a + 0.1 * x, { m = m, v = v, a = a }
        end,
        whose_square_is_of_the_moment = function(g, s, x, root, p, r)
            local m = 0.9 * s.m + (1 - 0.9) * g
            local v = 0.99 * s.v + (1 - 0.99) * m ^ 2
            return m * p / (root(v) * r + 0.01), { m = m, v = v }
        end,
        times_its_root = function(g, s, x, root, p, r)
            local m, v = moments(g, s)
            local a = root(v) * r + 0.01
            return m * p / a * a, { m = m, v = v }
        end,
    }
    local n, lr, start = 1100, 0.1, bk.rng(1):normal { 1100 }
    local function tensor_root(v) return v:sqrt() end
    for name, update in pairs(updates) do
        local o = bk.optim.custom { state = { "m", "v", "a", "b" }, update = function(g, s, x, o)
            local step, state = update(g, s, x, tensor_root, 1 / (1 - 0.9 ^ o.t), 1 / (1 - 0.99 ^ o.t):sqrt())
            return step, { m = state.m, v = state.v, a = state.a or s.a, b = state.b or s.b }
        end }
        local theta, x, states = start, start:totable(), {}
        for i = 1, n do states[i] = { m = 0, v = 0, a = 0, b = 0 } end
        for k = 1, 3 do
            local g = bk.rng(k + 1):normal { n }
            theta = o:step(theta, g, lr)
            for i, gi in ipairs(g:totable()) do
                local s, step, state = states[i]
                step, state = update(gi, s, x[i], math.sqrt, 1 / (1 - 0.9 ^ k), 1 / (1 - 0.99 ^ k) ^ 0.5)
                x[i] = x[i] - lr * step
                for key, value in pairs(state) do s[key] = value end
            end
        end
        local worst, got, kept = 0, theta:totable(), o:state()
        for i = 1, n do worst = math.max(worst, math.abs(got[i] - x[i])) end
        for _, key in ipairs { "m", "v", "a" } do
            for i, value in ipairs(kept[key]:totable()) do worst = math.max(worst, math.abs(value - states[i][key])) end
        end
        lu.assertTrue(worst < 1e-12, name .. ": " .. worst)
    end
end

-- Quotients by numbers of o.t are products with one reciprocal, nested ones too: the same bits, whichever is written.
function TestOptim.test_a_quotient_by_a_number_costs_what_a_product_does()
    local function thetas(update)
        local o, theta = bk.optim.custom { state = { "m" }, update = update }, bk.rng(1):normal { 50 }
        for k = 1, 3 do theta = o:step(theta, bk.rng(k):normal { 50 }, 0.1) end
        return theta
    end
    local quotient = thetas(function(g, s, _, o)
        local m = s.m / (o.t + 2) + g
        return m / (1 - 0.9 ^ o.t) / (1 + o.t), { m = m }
    end)
    local product = thetas(function(g, s, _, o)
        local m = s.m * (1 / (o.t + 2)) + g
        return m * (1 / (1 - 0.9 ^ o.t)) * (1 / (1 + o.t)), { m = m }
    end)
    lu.assertTrue(quotient == product)
    -- what theta, the gradient or the state make stays a quotient: a norm may have no reciprocal
    local theta = bk.optim.custom { update = function(g) return g / g:abs():max(), {} end }
        :step(bk.zeros { 2 }, bk.tensor { 1e-310, -5e-311 }, 1)
    lu.assertAlmostEquals(theta[1]:item(), -1, 1e-12)
    lu.assertAlmostEquals(theta[2]:item(), 0.5, 1e-12)
end

-- What is made of o.t and numbers is float64, and takes the dtype of what it meets.
function TestOptim.test_the_number_of_the_step_does_not_promote()
    local function dtypes(update)
        local seen
        local o = bk.optim.custom { options = { beta = 0.999 }, update = function(g, s, theta, o)
            seen = update(o.t, g, o.beta)
            return g, s
        end }
        o:step(bk.ones({ 3 }, { dtype = "float32" }), bk.ones({ 3 }, { dtype = "float32" }), 0.1)
        return seen
    end
    local weak = { function(t) return t end, function(t, _, b) return 1 - b ^ t end,
        function(t) return (t + 1):sqrt() end, function(t) return 2 / t end,
        function(t) return t:minimum(10) end, function(t) return t * t end,
        function(t) return bk.where(t:gt(3), t, 1) end, function(t) return -t end }
    for _, f in ipairs(weak) do
        lu.assertEquals(dtypes(function(t, _, b) return f(t, nil, b):dtype() end), "float64")
        for _, meet in ipairs { function(a, b) return a * b end, function(a, b) return b + a end,
            function(a, b) return a / b end, function(a, b) return a:maximum(b) end,
            function(a, b) return bk.where(b:gt(0), a, b) end, function(a, b) return a ^ b end } do
            lu.assertEquals(dtypes(function(t, g, b) return meet(f(t, nil, b), g):dtype() end), "float32")
        end
    end
    lu.assertEquals(dtypes(function(t, g) return (t * g:to("float64")):dtype() end), "float64")
    lu.assertEquals(dtypes(function(t, g) return (t * g:to("int64")):dtype() end), "float64")
    lu.assertEquals(dtypes(function(t, g) return (bk.ones { 1 } * g * t):dtype() end), "float64") -- another's float64
    -- exact in a float32 pass: a sum of step numbers
    local o = bk.optim.custom { state = { "s" }, update = function(_, s, _, o)
        return 0 * s.s + 1 / (1 - 0.9999999 ^ o.t), { s = s.s + o.t }
    end }
    local theta = bk.zeros({ 2 }, { dtype = "float32" })
    for _ = 1, 4 do theta = o:step(bk.zeros({ 2 }, { dtype = "float32" }), theta, 1) end
    lu.assertEquals(o:state().s:totable(), { 10, 10 })
    lu.assertAlmostEquals(theta:totable()[1] * (0.9999999 ^ 4 - 1), 1, 1e-6)
end

function TestOptim.test_custom_says_what_is_wrong()
    local theta = bk.ones { 3 }
    local function fails(text, options)
        lu.assertErrorMsgContains(text, function() bk.optim.custom(options):step(theta, theta, 0.1) end)
    end
    fails("update: expected a function (g, s, theta, o) -> step, s, got nil", {})
    fails("unknown option updat", { updat = print })
    fails("the step: expected a tensor, got 1", { update = function() return 1 end })
    fails("the state: expected a table", { state = { "m" }, update = function(g) return g end })
    fails("m: expected a tensor, got nil", { state = { "m" }, update = function(g) return g, {} end })
    fails("\"k\" is not in state", { state = {}, update = function(g) return g, { k = g } end })
    fails("step: expected theta's shape (3), got (2)", { update = function(g) return g:narrow(1, 1, 2) end })
    fails("options: t is the step count", { options = { t = 1 }, update = print })
    fails("options: expected names and numbers, got \"b\" = \"x\"", { options = { b = "x" }, update = print })
    fails("state: step is the step count", { state = { "step" }, update = print })
    fails("state: \"m\" stands there twice", { state = { "m", "v", "m" }, update = print })
    fails("state: expected a table of names, got 5", { state = { 5 }, update = print })
    fails("not while tracing", { update = function(g) return g * g:sum():item() end })
end

-- The state is one with its step count: both move or neither.
function TestOptim.test_a_step_that_fails_leaves_the_state()
    local opt = bk.optim.custom { state = { "m" }, update = function(g, s)
        local m = 0.5 * s.m + g
        local at = m:abs():max():to("int64"):reshape(1) -- outside of m where the gradient is large
        return m + bk.gather(m, at):sum(), { m = m }
    end }
    local theta = bk.ones { 4 }
    local good, bad = bk.tensor { 1, 0, 0, 0 }, bk.tensor { 50, 0, 0, 0 }
    local on = opt:step(theta, good, 0.1)
    lu.assertErrorMsgContains("out of range", opt.step, opt, on, bad, 0.1)
    lu.assertEquals(opt:state().step, 1)
    lu.assertEquals(opt:state().m:totable(), { 1, 0, 0, 0 })
    local again = opt:step(on, good, 0.1)
    local other = bk.optim.custom { state = { "m" }, update = function(g, s)
        local m = 0.5 * s.m + g
        return m + m:narrow(1, 1, 1):sum(), { m = m }
    end }
    lu.assertEquals(other:step(other:step(theta, good, 0.1), good, 0.1):totable(), again:totable())
end

-- The state is updated where it lies, theta is not; and not a bit depends on the number of threads.
function TestOptim.test_what_is_changed_in_place()
    local n = 300000
    local theta, g = bk.rng(1):normal { n }, bk.rng(2):normal { n }
    local results, threads = {}, bk.threads()
    for _, count in ipairs { 1, 2, 3 } do
        bk.threads(count)
        local adam = bk.optim.adam { weight_decay = 0.1 }
        local first = adam:step(theta, g, 0.1)
        local saved, copy = adam:state(), first:clone()
        local second = adam:step(first, g, 0.1)
        lu.assertTrue(first == copy)
        lu.assertFalse(saved.first == adam:state().first)
        results[#results + 1] = second
    end
    bk.threads(threads)
    lu.assertTrue(results[1] == results[2] and results[1] == results[3])
    for name, plain in pairs(defaults) do
        local opt = bk.optim[name] { weight_decay = plain.weight_decay and 0.1 }
        collectgarbage()
        collectgarbage()
        local before = bk.memory()
        opt:step(theta, g, 0.1)
        collectgarbage()
        collectgarbage()
        local vectors = #customs[name][1] -- of the state, and no spare ones
        lu.assertTrue(bk.memory() - before < (vectors + 0.5) * 8 * n, name)
    end
end

-- ---- one optimizer, several protocols ----

function TestOptim.test_runs_that_take_turns_are_as_each_by_itself()
    local model = bk.nn.mlp{ 4, 6, 3 }
    local data = { x = bk.rng(1):normal{ 20, 4 }, y = bk.rng(2):integers({ 20 }, 3) }
    for _, make in ipairs{ bk.optim.adam, bk.optim.sgd, function()
        return bk.optim.custom{ state = { "m" }, update = function(g, s)
            local m = 0.5 * s.m + g
            return m, { m = m }
        end }
    end } do
        local function protocol(optimizer, seed)
            return bk.protocol{ model = model, tasks = { data }, lr = 0.1, steps = 12, batch = 5, optimizer = optimizer,
                seed = seed }
        end
        local function alone(seed) return protocol(make{}, seed):run{}.theta end
        local shared = make{}
        local a, b = protocol(shared, 3), protocol(shared, 4)
        a:run{ stop = 5 }
        b:run{ stop = 7 }
        local kept = a:state()
        a:run{ stop = 9 }
        lu.assertTrue(b:run{}.theta == alone(4))
        lu.assertTrue(a:run{}.theta == alone(3))
        b:run{ seed = 4, stop = 2 }
        a:restore(kept)
        lu.assertTrue(a:run{}.theta == alone(3))
        lu.assertTrue(b:run{}.theta == alone(4))
        b:run{ seed = 4, stop = 1 } -- of a run that has ended too, and within another
        lu.assertEquals(a:state().optimizer.step, 12)
        local inner = protocol(shared, 5)
        local outer = bk.protocol{ model = model, tasks = { data }, lr = 0.1, steps = 12, batch = 5, optimizer = shared,
            seed = 3, interventions = { { before_step = function(s) if s.step == 4 then inner:run{} end end } } }
        lu.assertTrue(outer:run{}.theta == alone(3))
    end
end

-- reshuffled_test.lua - random orders against all of them written out, brackets by bk.lie, and the slopes of theory;
-- the paired order.
local bk = require "bracket"
local lu = require "luaunit"

local function tasks(m, seed, options)
    options = options or {}
    local sizes = options.sizes or { 3, 5, 2 }
    sizes.activation = options.activation or "tanh"
    local model, rng, L = bk.nn.mlp(sizes), bk.rng(seed or 1), {}
    for i = 1, m do
        local x, out = rng:normal { 7, sizes[1] }, sizes[#sizes]
        if options.classes then
            L[i] = bk.loss.cross_entropy(model, x, x:matmul(rng:normal { sizes[1], out }):argmax(2))
        else
            L[i] = bk.loss.mse(model, x, rng:normal { 7, out })
        end
    end
    return L, model:init { seed = seed or 1 }, model
end

local function each_order(m, visit)
    local order = {}
    local function extend(left)
        if #left == 0 then return visit(order) end
        for k, i in ipairs(left) do
            local rest = table.move(left, 1, #left, 1, {})
            table.remove(rest, k)
            order[#order + 1] = i
            extend(rest)
            order[#order] = nil
        end
    end
    local all = {}
    for i = 1, m do all[i] = i end
    extend(all)
end

local function relative(a, b) return math.abs(a - b) / math.abs(b) end

-- sum_{i<j} |[g_i, g_j]|^2 + sum_i |[g_i, G]|^2, written out
local function scatter_of(L, theta)
    local function total(t)
        local sum = L[1](t)
        for i = 2, #L do sum = sum + L[i](t) end
        return sum
    end
    local sum = 0
    for i = 1, #L do
        for j = i + 1, #L do sum = sum + bk.lie(L[i], L[j])(theta):norm():item() ^ 2 end
        sum = sum + bk.lie(L[i], total)(theta):norm():item() ^ 2
    end
    return sum
end

TestReshuffled = {}

function TestReshuffled.test_loss_is_a_loss_like_any_other()
    local h = 0.3
    local L, theta = tasks(3)
    local loss = bk.bea.reshuffled { losses = L, lr = h }:loss()
    local want = 0
    for _, l in ipairs(L) do want = want + (l(theta):item() + h / 4 * bk.grad(l)(theta):norm():item() ^ 2) / 3 end
    lu.assertTrue(relative(loss(theta):item(), want) < 1e-13)
    lu.assertTrue(bk.check_grad(loss, theta) < 1e-6)
    lu.assertEquals(bk.lie(loss, L[1])(theta):shape(), theta:shape())
end

function TestReshuffled.test_variance_is_that_of_the_brackets()
    for _, case in ipairs { { 2 }, { 4, classes = true, sizes = { 4, 3, 3, 3 }, activation = "softplus" } } do
        local L, theta = tasks(case[1], 3, case)
        local got = bk.bea.reshuffled { losses = L, lr = 0.02 }:variance(theta)
        lu.assertTrue(relative(got, 0.02 ^ 4 / 12 * scatter_of(L, theta)) < 1e-11)
    end
end

function TestReshuffled.test_probes_estimate_it_with_their_error()
    local L, theta = tasks(5, 2)
    local r = bk.bea.reshuffled { losses = L, lr = 0.02 }
    local exact, inside = r:variance(theta), 0
    for seed = 1, 40 do
        local mean, error = r:variance(theta, { probes = 16, seed = seed })
        lu.assertTrue(error > 0)
        if math.abs(mean - exact) < 2 * error then inside = inside + 1 end
    end
    lu.assertTrue(inside >= 32, inside .. " of 40") -- fixed seeds; 95 % would be 38
    local mean, error = r:variance(theta, { probes = 4000 })
    lu.assertTrue(relative(mean, exact) < 0.05)
    lu.assertTrue(error < 0.03 * exact)
    lu.assertEquals(select(2, r:variance(theta, { probes = 1 })), math.huge)
end

function TestReshuffled.test_slopes_and_controls()
    for m = 2, 4 do
        local L, theta = tasks(m, 10 + m, m == 3 and { classes = true, sizes = { 5, 4, 3 } } or nil)
        local r = bk.bea.reshuffled { losses = L, lr = 0.02 }
        local v = r:verify { theta = theta }
        lu.assertAlmostEquals(v.mean, 3, 0.15)
        lu.assertAlmostEquals(v.variance, 4, 0.15)
        lu.assertAlmostEquals(v.ratio, 1, 0.05)
        for _, control in ipairs { "no_flatness", "flipped" } do
            lu.assertAlmostEquals(r:verify { theta = theta, control = control }.mean, 2, 0.15)
        end
    end
end

function TestReshuffled.test_scatter_is_that_of_all_orders()
    local L, theta = tasks(4, 5)
    local r, h, ends, mean = bk.bea.reshuffled { losses = L, lr = 0.1 }, 0.05, {}, nil
    each_order(4, function(order)
        local at = theta
        for _, i in ipairs(order) do at = at - bk.grad(L[i])(at) * h end
        ends[#ends + 1] = at
        mean = mean and mean + at or at
    end)
    mean = mean / #ends
    local variance = 0
    for _, at in ipairs(ends) do variance = variance + (at - mean):norm():item() ^ 2 / #ends end
    local got = r:scatter { theta = theta, scales = { 0.5 } }[1]
    lu.assertEquals(got.orders, 24)
    lu.assertTrue(relative(got.variance, variance) < 1e-9)
    lu.assertTrue((got.mean - mean):norm():item() < 1e-13)
end

function TestReshuffled.test_drawn_orders_come_with_their_reverse()
    local L, theta = tasks(8, 7, { sizes = { 3, 4, 2 } })
    local r = bk.bea.reshuffled { losses = L, lr = 0.005 }
    local v = r:verify { theta = theta, orders = 200 }
    lu.assertEquals(v.orders, 200)
    lu.assertAlmostEquals(v.mean, 3, 0.3)
    lu.assertAlmostEquals(v.variance, 4, 0.15)
    lu.assertAlmostEquals(v.ratio, 1, 0.2)
end

local function slope(list)
    local x, y = {}, {}
    for k, s in ipairs(list) do x[k], y[k] = s.lr, s.variance end
    return bk.statistics.slope(x, y)
end

function TestReshuffled.test_momentum_scatters_at_first_order_and_pairs_at_third()
    local L, theta = tasks(3, 8)
    local r = bk.bea.reshuffled { losses = L, lr = 0.01 }
    local optimizer = bk.optim.momentum_ema { beta = 0.9 }
    optimizer:step(theta, theta, 0.1)
    local before = optimizer:state()
    lu.assertAlmostEquals(slope(r:scatter { theta = theta, optimizer = optimizer }), 2, 0.1)
    lu.assertEquals(optimizer:state(), before)
    lu.assertAlmostEquals(slope(r:scatter { theta = theta, paired = true }), 6, 0.3)
    local plain = r:scatter { theta = theta }[1]
    lu.assertTrue(relative(r:scatter { theta = theta, optimizer = bk.optim.sgd {} }[1].variance, plain.variance) < 1e-9)
end

function TestReshuffled.test_errors()
    local L, theta = tasks(2)
    local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end
    fails("lr", bk.bea.reshuffled, { losses = L })
    fails("two or more, got 1", bk.bea.reshuffled, { losses = { L[1] }, lr = 0.1 })
    fails('entry 2: expected a function of theta, got "x"', bk.bea.reshuffled,
        { losses = { L[1], "x" }, lr = 0.1 })
    local r = bk.bea.reshuffled { losses = L, lr = 0.1 }
    fails("reshuffled:variance: theta: expected a tensor, got nil", r.variance, r)
    fails("scales", r.verify, r, { theta = theta, scales = {} })
    fails("scales: entry 2", r.verify, r, { theta = theta, scales = { 1, -1 } })
    fails("two or more", r.verify, r, { theta = theta, scales = { 1 } })
    fails("control", r.verify, r, { theta = theta, control = "none at all" })
    fails("seed: needs probes", r.variance, r, theta, { seed = 1 })
    fails("optimizer: expected one of bk.optim", r.scatter, r, { theta = theta, optimizer = {} })
    fails("colon", r.loss)
    local field = function(t) return t * 2 end
    fails("entry 2: expected a 0-d tensor, got (", function()
        bk.bea.reshuffled { losses = { L[1], field }, lr = 0.1 }:variance(theta)
    end)
end

TestReversedPairs = {}

function TestReversedPairs.test_every_second_round_is_the_one_before_backwards()
    local order = bk.order.reversed_pairs {}
    local total, at = order.setup({ n_tasks = 5, seed = 3, steps = 40 }, {})
    lu.assertEquals(total, 40)
    local rounds = {}
    for r = 1, 8 do
        rounds[r] = {}
        for k = 1, 5 do rounds[r][k] = at((r - 1) * 5 + k) end
    end
    for r = 1, 7, 2 do
        local sorted = table.move(rounds[r], 1, 5, 1, {})
        table.sort(sorted)
        lu.assertEquals(sorted, { 1, 2, 3, 4, 5 })
        for k = 1, 5 do lu.assertEquals(rounds[r + 1][k], rounds[r][6 - k]) end
    end
    lu.assertNotEquals(rounds[1], rounds[3])
    lu.assertEquals(at(1), rounds[1][1]) -- a function of the step alone
    local W = order:matrix(5, { steps = 10 })
    for i = 1, 5 do for j = 1, 5 do lu.assertAlmostEquals(W[i][j], 0, 1e-15) end end
end

function TestReversedPairs.test_a_protocol_knows_it_by_name()
    local p = bk.protocol { model = bk.nn.mlp { 4, 3, 1 }, tasks = bk.tasks.regression { n = 3, seed = 1 }, lr = 0.1,
        order = "reversed_pairs", steps = 12 }
    local tasks = {}
    for _, row in ipairs(p:order_matrix()) do for _, w in ipairs(row) do lu.assertAlmostEquals(w, 0, 1e-15) end end
    p = bk.protocol { model = bk.nn.mlp { 4, 3, 1 }, tasks = bk.tasks.regression { n = 3, seed = 1 }, lr = 0.1,
        order = "reversed_pairs", steps = 12, record = { every = 1, "gradient_norm" } }
    for s, task in ipairs(p:run {}.history.task) do tasks[s] = math.tointeger(task) end
    table.remove(tasks, 1) -- before the first step
    for k = 1, 3 do
        lu.assertEquals(tasks[k], tasks[7 - k])
        lu.assertEquals(tasks[6 + k], tasks[13 - k])
    end
end

-- Another implementation's values, where the shared folder is there (BRACKET_SHARED, or ../shared).
local shared = (os.getenv("BRACKET_SHARED") or "../shared") .. "/reference/"
local file = io.open(shared .. "any_step.lua")
if file then
    file:close()
    function TestReshuffled.test_reference()
        local r, want = dofile(shared .. "derivatives.lua")[1], dofile(shared .. "any_step.lua").reshuffled
        local sizes, L = r.model.mlp, {}
        sizes.activation = r.model.activation
        local model, theta = bk.nn.mlp(sizes), bk.tensor(r.theta)
        for k, i in ipairs(want.losses) do
            local x, y = r.x[i], r.y[i]
            L[k] = bk.loss[r.loss](model, bk.tensor(x.data):reshape(x.shape), bk.tensor(y.data):reshape(y.shape))
        end
        local reshuffled = bk.bea.reshuffled { losses = L, lr = want.lr }
        lu.assertTrue(relative(reshuffled:loss()(theta):item(), want.loss) < 1e-9)
        lu.assertTrue(relative(reshuffled:variance(theta), want.variance) < 1e-9)
    end
end

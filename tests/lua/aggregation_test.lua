-- aggregation_test.lua - interventions that combine the tasks' gradients: each on the property that defines it, and
-- where the method has a closed form beside TorchJD's values for the same rows.
local bk = require "bracket"
local lu = require "luaunit"
local required = dofile "tests/lua/required.lua"
TestAggregation = {}

-- What the intervention makes of these gradients, reduction = "mean".
local function combined(name, rows, options, more)
    local state = { gradients = {}, n_tasks = #rows, reduction_scale = 1 / #rows, shared = {}, seed = 1, step = 1 }
    for i, row in ipairs(rows) do
        state.gradients[i] = bk.tensor(row)
        state.gradient_sum = i == 1 and state.gradients[1] or state.gradient_sum + state.gradients[i]
    end
    for k, v in pairs(more or {}) do state[k] = v end
    local hooks, memory = bk.intervention[name](options or {}), {}
    if hooks.begin_run then hooks.begin_run(state, memory) end
    hooks.before_step(state, memory)
    return state.gradient, state
end
local function random_rows(seed, n, size)
    local rows, rng = {}, bk.rng(seed)
    for i = 1, n do rows[i] = (rng:normal { size } * 10 ^ (i - 2)):totable() end
    return rows
end
local opposed = { { -4, 1, 1 }, { 6, 1, 1 }, { 1, -2, 0.5 } }
local agreeing = { { 1, 2, 3, 4 }, { -1, 0.5, 2, 1 } }

function TestAggregation:test_values_of_torchjd()
    local values = {
        { "imtl_g", opposed, { 0.03321451691613675, 0.02810704685515608, 0.8380178411425259 } },
        { "imtl_g", agreeing, { -0.3732156684101769, 0.9700882486923672, 2.3133921657949115, 1.9401764973847344 } },
        { "aligned_mtl", opposed, { 0.15818594298020006, -0.08129591814928716, 0.7724062978529298 } },
        { "aligned_mtl", agreeing, { -0.27613825034015566, 0.3009657958663519, 0.8780698420728594,
            0.6019315917327038 } },
        -- as a sum there, as a mean here
        { "conflict_free", opposed, { 0.1035201808367364, 0.08760165263215783, 2.6118627188985872 }, 3 },
        { "conflict_free", agreeing, { -0.8672273827165129, 2.2541580220928052, 5.375543426902123,
            4.5083160441856105 }, 2 },
        { "upgrad", agreeing, { 0, 1.25, 2.5, 2.5 } },
    }
    for _, v in ipairs(values) do
        local error = (combined(v[1], v[2]) * (v[4] or 1) - bk.tensor(v[3])):norm():item()
        lu.assertTrue(error < 1e-8, v[1] .. ": " .. error)
    end
    -- UPGrad's there is regularised; this is quadprog's, without
    local d = combined("upgrad", opposed) - bk.tensor { 0.20802920368229771, 0.06541840099709313, 1.9289485299571096 }
    lu.assertTrue(d:norm():item() < 1e-12)
end

-- Every projection is the nearest point of the cone: in it, and what it moved by is a sum of the walls it touches.
function TestAggregation:test_upgrad_conflicts_with_no_task()
    for seed = 1, 20 do
        local rows = seed == 20 and { { 1, 0 }, { -1, 0 }, { 0, 2 } } or random_rows(seed, 2 + seed % 4, 3 + seed % 5)
        local d, state = combined("upgrad", rows)
        for _, g in ipairs(state.gradients) do
            lu.assertTrue(d:dot(g):item() >= -1e-10 * d:norm():item() * g:norm():item(), seed)
        end
        local M = bk._gram(state.gradients)
        for i = 1, #rows do
            local s = bk.intervention._cone.nonnegative(M, M[i])
            local moved = state.gradients[i] + bk.intervention._aggregation.sum(state.gradients, s)
            for j, g in ipairs(state.gradients) do
                local slack = moved:dot(g):item()
                local scale = state.gradients[i]:norm():item() * g:norm():item()
                lu.assertTrue(s[j] >= 0 and slack >= -1e-10 * scale)
                lu.assertTrue(s[j] == 0 or math.abs(slack) <= 1e-9 * scale, "complementary")
            end
        end
    end
    -- gradients without a conflict are added
    lu.assertEquals(combined("upgrad", { { 1, 0 }, { 1, 1 } }, nil, { reduction_scale = 1 }):totable(), { 2, 1 })
end

function TestAggregation:test_nash_mtl_is_stationary_and_free_of_scale()
    for seed = 1, 10 do
        local rows = random_rows(seed, 2 + seed % 4, 8)
        local d, state = combined("nash_mtl", rows)
        for i, a in ipairs(state.shared.nash_mtl_weights) do
            lu.assertTrue(a > 0)
            lu.assertAlmostEquals(d:dot(state.gradients[i]):item() * a, 1, 1e-9)
        end
        lu.assertAlmostEquals(d:norm():item(), math.sqrt(#rows), 1e-9)
        for k, x in ipairs(rows[1]) do rows[1][k] = 1e6 * x end
        lu.assertTrue((combined("nash_mtl", rows) - d):norm():item() < 1e-7)
    end
    lu.assertEquals(combined("nash_mtl", { { 1, 0 }, { -2, 0 } }):totable(), { 0, 0 }) -- nothing serves both
    lu.assertEquals(combined("nash_mtl", { { 0, 0 }, { 0, 3 } }):totable(), { 0, 1 })
    lu.assertEquals(combined("nash_mtl", { { 0, 0 }, { 0, 0 } }):totable(), { 0, 0 })
end

function TestAggregation:test_equal_projections_and_equal_cosines()
    for seed = 1, 10 do
        local rows = random_rows(seed, 2 + seed % 3, 9)
        for _, name in ipairs { "imtl_g", "conflict_free" } do
            local d, state = combined(name, rows)
            local first = d:dot(state.gradients[1]):item() / state.gradients[1]:norm():item()
            for _, g in ipairs(state.gradients) do
                lu.assertAlmostEquals(d:dot(g):item() / g:norm():item() / first, 1, 1e-9, name)
            end
        end
        local w, sum = select(2, combined("imtl_g", rows)).shared.imtl_g_weights, 0
        for _, a in ipairs(w) do sum = sum + a end
        lu.assertAlmostEquals(sum, 1, 1e-9)
    end
end

-- Of G = U S V^T the nearest matrix with all singular values the smallest is s_R U V^T; d is its rows' mean.
function TestAggregation:test_aligned_mtl_aligns_principal_components()
    for seed = 1, 10 do
        local rows = random_rows(seed, 2 + seed % 3, 9)
        local U, values, Vt = bk.linalg.svd(bk.tensor(rows))
        local aligned = U:matmul(Vt) * values[#rows]:item()
        local want = aligned:mean(1)
        local d = combined("aligned_mtl", rows)
        lu.assertTrue((d - want):norm():item() <= 1e-8 * want:norm():item(), seed)
    end
end

function TestAggregation:test_aligned_mtl_of_orthogonal_gradients()
    local d = combined("aligned_mtl", { { 3, 0, 0 }, { 0, 0, 0.5 } })
    lu.assertAlmostEquals(d[1]:item(), 0.25, 1e-14)
    lu.assertAlmostEquals(d[3]:item(), 0.25, 1e-14)
end

-- Of gradients that are 0 a method makes 0, of one gradient that times `alone`; cagrad adds c of it.
local alone = setmetatable({ nash_mtl = 1 / 3, cagrad = false }, { __index = function() return 1 end })

function TestAggregation:test_every_method_takes_gradients_that_are_zero_or_one()
    local tried = 0
    for name, make in pairs(bk.intervention) do
        local hooks = make(required(make, 1))
        if hooks.needs_joint and hooks.replaces_gradient then
            tried = tried + 1
            local memory = { draw = { key = 1, counter = 0 } }
            local state = { gradients = { bk.zeros { 3 }, bk.zeros { 3 } }, gradient_sum = bk.zeros { 3 }, n_tasks = 2,
                losses = { 1, 1 }, reduction_scale = 0.5, shared = {}, seed = 1, step = 1 }
            hooks.before_step(state, memory)
            lu.assertEquals(state.gradient:totable(), { 0, 0, 0 }, name)
            local one = bk.tensor { 1, -2, 2 }
            hooks, memory = make(required(make, 1)), { draw = { key = 1, counter = 0 } }
            state.gradients, state.gradient_sum, state.n_tasks, state.reduction_scale = { one }, one, 1, 1
            hooks.before_step(state, memory)
            if alone[name] then
                lu.assertTrue((state.gradient - one * alone[name]):norm():item() < 1e-12, name)
            end
        end
    end
    lu.assertTrue(tried >= 9, tried)
end

-- reduction = "sum" makes n times the gradient that "mean" makes; of these it makes the same, as their pages say.
local fixed = { mgda = true, nash_mtl = true }
function TestAggregation:test_every_method_is_scaled_as_the_sum_is()
    local rows = random_rows(3, 3, 6)
    for name, make in pairs(bk.intervention) do
        local hooks = make(required(make, 1))
        if hooks.needs_joint and hooks.replaces_gradient then
            local function made(scale)
                local state = { gradients = {}, losses = { 1, 2, 3 }, n_tasks = 3, reduction_scale = scale, shared = {},
                    seed = 1, step = 1 }
                for i, row in ipairs(rows) do state.gradients[i] = bk.tensor(row) end
                state.gradient_sum = state.gradients[1] + state.gradients[2] + state.gradients[3]
                make(required(make, 1)).before_step(state, { draw = { key = 1, counter = 0 } })
                return state.gradient
            end
            local sum, mean = made(1), made(1 / 3)
            local want = mean * (fixed[name] and 1 or 3)
            lu.assertTrue((sum - want):norm():item() <= 1e-12 * sum:norm():item(), name)
        end
    end
end

-- Each parameter keeps the entries of one sign; how often the positive one is P.
function TestAggregation:test_graddrop_draws_a_sign()
    local n = 20000
    local a, b, c = bk.full({ n }, 3), bk.full({ n }, -1), bk.zeros { n }
    local function run(options, step)
        local state = { gradients = { a, b, c }, n_tasks = 3, reduction_scale = 1, seed = 4, step = step, shared = {} }
        bk.intervention.graddrop(options).before_step(state, {})
        return state.gradient
    end
    local d = run({}, 1)
    local positive = d:eq(3):to("float64"):sum():item()
    lu.assertEquals(positive + d:eq(-1):to("float64"):sum():item(), n)
    lu.assertTrue(math.abs(positive / n - 0.75) < 5 * math.sqrt(0.75 * 0.25 / n)) -- one seed's numbers, always the same
    lu.assertTrue(run({}, 1) == d)
    lu.assertFalse(run({}, 2) == d)
    lu.assertTrue(run({ leak = 1 }, 1) == a + b)
    lu.assertEquals(run({ leak = 0.5 }, 1):max():item(), 2.5)
end

-- A step at a small rate lowers every task's loss, as the mean gradient's does not always.
function TestAggregation:test_they_train()
    local model, tasks, losses = bk.nn.mlp { 4, 6, 3 }, {}, {}
    for i = 1, 3 do
        local rng = bk.rng(50 + i)
        local x = rng:normal { 40, 4 }
        tasks[i] = { x = x, y = x:matmul(rng:normal { 4, 3 }):argmax(2) }
        losses[i] = bk.loss.cross_entropy(model, tasks[i].x, tasks[i].y)
    end
    for _, name in ipairs { "upgrad", "imtl_g", "conflict_free", "nash_mtl", "mgda" } do
        for _, dtype in ipairs { "float64", "float32" } do
            local theta = model:init { seed = 9 }
            local r = bk.protocol { model = model, tasks = tasks, order = "joint", steps = 20, lr = 0.01,
                batch = "full", dtype = dtype, interventions = { bk.intervention[name] {} } }
                :run { theta = theta:to(dtype) }
            lu.assertEquals(r.theta:dtype(), dtype)
            for _, loss in ipairs(losses) do
                lu.assertTrue(loss(r.theta:to("float64")):item() < loss(theta):item(), name)
            end
        end
    end
end

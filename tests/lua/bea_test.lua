-- bea_test.lua - backward error analysis against things computed another way: the logarithm of a word against a
-- Baker-Campbell-Hausdorff fold by brackets, flows against solutions, order effects against training both ways.
local bk = require "bracket"
local lu = require "luaunit"

local function tasks(n, seed, sizes, batch)
    sizes, batch = sizes or { 3, 4, 2 }, batch or 6
    local model = bk.nn.mlp { activation = "tanh", table.unpack(sizes) }
    local rng, L = bk.rng(seed or 1), {}
    for i = 1, n do
        L[i] = bk.loss.mse(model, rng:normal { batch, sizes[1] }, rng:normal { batch, sizes[#sizes] })
    end
    return L, rng:normal { model.n_params } * 0.7, model
end

local function gap(a, b) return (a - b):norm():item() end
local function relative(a, b) return gap(a, b) / math.max(b:norm():item(), 1e-300) end
local function close(a, b, tolerance) lu.assertTrue(relative(a, b) <= (tolerance or 1e-10),
    tostring(relative(a, b))) end

local function combination(...)
    local parts = { ... }
    return function(t)
        local sum
        for _, p in ipairs(parts) do
            local v = p[2](t) * p[1]
            sum = sum and sum + v or v
        end
        return sum
    end
end

-- {Z1, Z2, Z3} of a word by folding BCH over the steps, each step contributing its own three terms.
local function fold(steps)
    local Z
    for _, s in ipairs(steps) do
        local g, h = bk.grad(s[1]), s[2]
        local Hg = function(t) return select(2, bk.jvp(g, { t }, { g(t) })) end
        local HHg = function(t) return select(2, bk.jvp(g, { t }, { Hg(t) })) end
        local Tgg = function(t) return select(2, bk.jvp(Hg, { t }, { g(t) })) - HHg(t) end
        local Y = { combination { -h, g }, combination { -h * h / 2, Hg },
            combination({ -h ^ 3 / 3, HHg }, { -h ^ 3 / 12, Tgg }) }
        if not Z then
            Z = Y
        else
            local zy = bk.lie(Z[1], Y[1])
            Z = { combination({ 1, Z[1] }, { 1, Y[1] }), combination({ 1, Z[2] }, { 1, Y[2] }, { 0.5, zy }),
                combination({ 1, Z[3] }, { 1, Y[3] }, { 0.5, bk.lie(Z[1], Y[2]) }, { 0.5, bk.lie(Z[2], Y[1]) },
                    { 1 / 12, bk.lie(Z[1], zy) }, { -1 / 12, bk.lie(Y[1], zy) }) }
        end
    end
    return Z
end

local function steps_of(L, text, rates)
    local steps = {}
    for digit in text:gmatch("%d") do
        steps[#steps + 1] = { L[tonumber(digit)], rates[#steps % #rates + 1] }
    end
    return steps
end

TestWord = {}

function TestWord.test_the_closed_form_is_the_folded_series()
    local L, theta = tasks(3)
    for _, text in ipairs { "1", "12", "123", "1221", "1122", "12132", "12121", "111" } do
        local steps = steps_of(L, text, { 0.1, 0.07, 0.05, 0.12 })
        local w, Z = bk.bea.word(steps), fold(steps)
        for k = 1, 3 do
            local got, want = w:term(k)(theta), Z[k](theta)
            lu.assertTrue(relative(got, want) <= 1e-10, ("word %s, term %d: %.2g"):format(text, k, relative(got, want)))
        end
        close(w:log(3)(theta), w:term(1)(theta) + w:term(2)(theta) + w:term(3)(theta))
    end
end

function TestWord.test_flatness_and_conflict_make_the_second_term()
    local L, theta = tasks(3)
    local w = bk.bea.word(steps_of(L, "12132", { 0.1, 0.07 }))
    close(w:flatness()(theta) + w:conflict()(theta), w:term(2)(theta))
    local W, sum = w:order_matrix():totable(), nil
    for i = 1, 3 do
        for j = i + 1, 3 do
            local part = bk.lie(L[i], L[j])(theta) * (W[i][j] / 2)
            sum = sum and sum + part or part
        end
    end
    close(w:conflict()(theta), sum)
end

function TestWord.test_order_matrix_is_the_signed_area()
    local L = tasks(2)
    local W = bk.bea.word { { L[1], 0.1 }, { L[2], 0.2 }, { L[1], 0.3 } }:order_matrix():totable()
    lu.assertAlmostEquals(W[1][2], 0.1 * 0.2 - 0.2 * 0.3, 1e-16)
    lu.assertAlmostEquals(W[2][1], -W[1][2], 1e-16)
    lu.assertEquals(W[1][1], 0)
    local P = bk.bea.word(steps_of(L, "1221", { 0.1 })):order_matrix()
    lu.assertTrue(P:norm():item() < 1e-17)
end

function TestWord.test_step_runs_the_steps_and_leaves_theta_alone()
    local L, theta = tasks(2)
    local before = theta:clone()
    local t = bk.bea.word { { L[1], 0.1 }, { L[2], 0.05 } }:step(theta)
    local a = theta - bk.grad(L[1])(theta) * 0.1
    close(t, a - bk.grad(L[2])(a) * 0.05, 1e-14)
    lu.assertEquals(gap(before, theta), 0)
end

local protocols = { "1", "12", "21", "123", "1221", "1122", "12132", "321" }

function TestWord.test_derivatives_flow_through_the_steps()
    local L, theta = tasks(3)
    local steps = steps_of(L, "1213", { 0.1, 0.07 })
    local w = bk.bea.word(steps)
    local function by_hand(t)
        for _, step in ipairs(steps) do t = t - bk.grad(step[1])(t) * step[2] end
        return L[3](t)
    end
    local function through(t) return L[3](w:step(t)) end
    close(bk.grad(through)(theta), bk.grad(by_hand)(theta))
    lu.assertTrue(bk.check_grad(through, theta) < 1e-7)
end

function TestWord.test_the_orders_are_reached_and_the_controls_fail()
    local L, theta = tasks(3)
    local g = bk.grad(L[1])
    local function gradients()
        for _ = 1, 1000 do g(theta) end
    end
    local function words()
        for _, text in ipairs(protocols) do
            for _, r in ipairs(bk.bea.word(steps_of(L, text, { 0.004 })):verify { theta = theta }) do
                lu.assertEquals(r.expected, r.order + 1)
                lu.assertTrue(math.abs(r.slope - r.expected) < 0.15,
                    ("word %s, order %d: slope %.3f"):format(text, r.order, r.slope))
                lu.assertEquals(#r.errors, 3)
            end
        end
    end
    local best = { math.huge, math.huge } -- of five each, in processor time: about 30 times as much
    for _ = 1, 5 do
        for k, f in ipairs{ gradients, words } do
            local _, before = bk.clock()
            f()
            local _, after = bk.clock()
            best[k] = math.min(best[k], after - before)
        end
    end
    lu.assertTrue(best[2] < 150 * best[1], ("8 words x 3 orders x 3 rates took %.2f s, 1000 gradients %.3f s"):format(
        best[2], best[1]))
    for _, control in ipairs { "no_conflict", "flipped" } do
        local r = bk.bea.word(steps_of(L, "12", { 0.004 })):verify { theta = theta, orders = { 2 }, control = control }
        lu.assertAlmostEquals(r[1].slope, 2, 0.15)
    end
end

function TestWord.test_plain_lua_losses_and_fields_of_any_shape()
    local f = function(t) return (t * t * t):sum() end
    local g = function(t) return (t[1] * t[2]):sum() end
    local theta = bk.tensor { { 0.3, -0.2 }, { 0.5, 0.7 } }
    local w = bk.bea.word { { f, 0.1 }, { g, 0.2 }, { f, 0.1 } }
    lu.assertEquals(w:order_matrix():shape(), { 2, 2 })
    local Z = fold { { f, 0.1 }, { g, 0.2 }, { f, 0.1 } }
    lu.assertEquals(w:term(3)(theta):shape(), { 2, 2 })
    close(w:term(3)(theta), Z[3](theta))
    close(bk.lie(w:term(1), w:term(2))(theta), bk.lie(Z[1], Z[2])(theta))
end

function TestWord.test_wrong_words_are_refused()
    local L, theta = tasks(1)
    lu.assertErrorMsgContains("at least one", bk.bea.word, {})
    lu.assertErrorMsgContains("step 1: expected {F, rate}", bk.bea.word, { L[1] })
    lu.assertErrorMsgContains("step 1: rate: expected a number", bk.bea.word, { { L[1], "x" } })
    lu.assertErrorMsgContains("finite", bk.bea.word, { { L[1], 0 / 0 } })
    lu.assertErrorMsgContains("step 1: F: expected", bk.bea.word, { { 3, 0.1 } })
    local w = bk.bea.word { { L[1], 0.1 } }
    lu.assertErrorMsgContains("word:term: order", w.term, w, 0)
    lu.assertErrorMsgContains("theta: missing", w.verify, w, {})
    lu.assertErrorMsgContains("at least two", w.verify, w, { theta = theta, scales = { 1 } })
    lu.assertErrorMsgContains("unknown option", w.verify, w, { theta = theta, scale = 1 })
    lu.assertErrorMsgContains("expected (26)", w.step, w, bk.zeros { 3 })
    local vector = bk.bea.word { { function(t) return t * 2 end, 0.1 } }
    lu.assertTrue((vector:step(theta) - theta * 0.8):abs():max():item() < 1e-15) -- a field steps as a loss does
end

TestModified = {}

function TestModified.test_multitask_terms_are_their_formulas()
    local L, theta = tasks(3)
    local h, g, sum = 0.1, {}, 0
    for i = 1, 3 do
        g[i] = bk.grad(L[i])(theta)
        sum = sum + L[i](theta):item()
    end
    local flat, conflict = 0, 0
    for i = 1, 3 do
        flat = flat + h / 4 * g[i]:dot(g[i]):item()
        for j = i + 1, 3 do conflict = conflict + h / 2 * g[i]:dot(g[j]):item() end
    end
    local t = bk.bea.multitask { losses = L, lr = h }:terms(theta)
    lu.assertAlmostEquals(t.original, sum, 1e-13)
    lu.assertAlmostEquals(t.flatness, flat, 1e-13)
    lu.assertAlmostEquals(t.conflict, conflict, 1e-13)
    lu.assertAlmostEquals(t.total, sum + flat + conflict, 1e-13)
    local m = bk.bea.multitask { losses = L, lr = h, reduction = "mean" }
    t = m:terms(theta)
    lu.assertAlmostEquals(t.original, sum / 3, 1e-13)
    lu.assertAlmostEquals(t.conflict, conflict / 9, 1e-13)
    lu.assertAlmostEquals(m:loss()(theta):item(), t.total, 1e-13)
    close(m:grad(theta), bk.grad(m:loss())(theta))
end

function TestModified.test_one_task_has_no_conflict()
    local L, theta = tasks(1)
    lu.assertEquals(bk.bea.multitask { losses = L, lr = 0.1 }:terms(theta).conflict, 0)
    lu.assertTrue(bk.bea.continual { losses = L, lr = 0.1 }:terms(theta).conflict_norm < 1e-15)
end

function TestModified.test_continual_fields_are_the_words_per_unit_time()
    local L, theta = tasks(3)
    local m = bk.bea.continual { losses = L, lr = 0.05 }
    local w = bk.bea.word { { L[1], 0.05 }, { L[2], 0.05 }, { L[3], 0.05 } }
    for k = 1, 3 do close(m:field(k)(theta), w:log(k)(theta) * 20) end
    local t = m:terms(theta)
    for k = 1, 3 do
        lu.assertAlmostEquals(t.effect[k], bk.grad(L[k])(theta):dot(t.conflict):item(), 1e-12)
    end
    lu.assertAlmostEquals(t.conflict_norm, t.conflict:norm():item(), 1e-14)
    lu.assertAlmostEquals(t.total, t.original + t.flatness, 1e-14)
end

function TestModified.test_continual_with_a_rate_a_task()
    local L, theta = tasks(2)
    local m = bk.bea.continual { losses = L, lr = { 0.04, 0.08 } }
    local t, g1, g2 = m:terms(theta), bk.grad(L[1])(theta), bk.grad(L[2])(theta)
    close(t.conflict, bk.lie(L[1], L[2])(theta) * (0.04 * 0.08 / 2 / 0.06))
    lu.assertAlmostEquals(t.flatness, (0.04 ^ 2 * g1:dot(g1):item() + 0.08 ^ 2 * g2:dot(g2):item()) / (4 * 0.06), 1e-12)
    close(m:field(2)(theta), m:word():log(2)(theta) / 0.06)
    lu.assertErrorMsgContains("expected 2 rates", bk.bea.continual, { losses = L, lr = { 0.1 } })
    lu.assertErrorMsgContains("unknown option", bk.bea.continual, { losses = L, lr = 0.1, rate = 1 })
    lu.assertErrorMsgContains("lr", bk.bea.continual, { losses = L })
    lu.assertErrorMsgContains("losses", bk.bea.multitask, { losses = {}, lr = 0.1 })
end

TestFlow = {}

function TestFlow.test_known_solutions()
    local theta = bk.tensor { 1, -2, 0.5 }
    local stats = {}
    local decay = bk.flow(function(t) return -t end, theta, { time = 2, stats = stats })
    close(decay, theta * math.exp(-2), 1e-11)
    lu.assertTrue(stats.steps > 1 and stats.evaluations >= 6 * stats.steps)
    local turn = bk.flow(function(t) return bk.tensor({ { 0, -1 }, { 1, 0 } }):matmul(t) end, bk.tensor { 1, 0 },
        { time = math.pi / 2 })
    lu.assertTrue(gap(turn, bk.tensor { 0, 1 }) < 1e-10)
    local back = bk.flow(function(t) return t * t end, bk.tensor { 0.5 }, { time = -1 }) -- t' = t^2: 1/(2 + 1)
    lu.assertAlmostEquals(back:item(), 1 / 3, 1e-11)
    lu.assertEquals(gap(bk.flow(function(t) return -t end, theta, { time = 0 }), theta), 0)
end

-- The first step was 1e-6 whatever the time, and refused as less than rounding of a long one.
function TestFlow.test_a_long_time_where_little_moves()
    lu.assertEquals(bk.flow(function(t) return t * 0 end, bk.tensor { 1, 2 }, { time = 1e11 }):totable(), { 1, 2 })
    local slow = bk.flow(function(t) return (1 - t) * 1e-12 end, bk.tensor { 0 }, { time = 1e12 })
    lu.assertAlmostEquals(slow:item(), 1 - math.exp(-1), 1e-11)
    local back = bk.flow(function(t) return (1 - t) * 1e-12 end, bk.tensor { 0 }, { time = -1e12 })
    lu.assertAlmostEquals(back:item(), 1 - math.exp(1), 1e-11)
end

function TestFlow.test_rk4_is_fourth_order()
    local f, theta, errors = function(t) return -t * t end, bk.tensor { 1, 2 }, {}
    local exact = theta / (theta + 1)
    for i, n in ipairs { 8, 16 } do errors[i] = gap(bk.flow(f, theta, { method = "rk4", steps = n }), exact) end
    lu.assertAlmostEquals(math.log(errors[1] / errors[2], 2), 4, 0.3)
end

function TestFlow.test_float32_keeps_its_dtype()
    local t = bk.flow(function(x) return -x end, bk.tensor({ 1, 2 }, { dtype = "float32" }))
    lu.assertEquals(t:dtype(), "float32")
    lu.assertAlmostEquals(t:totable()[1], math.exp(-1), 1e-5)
end

function TestFlow.test_what_cannot_be_flowed_is_an_error()
    local theta = bk.tensor { 1, 2 }
    lu.assertErrorMsgContains("theta's shape", bk.flow, function(t) return t:sum() end, theta)
    lu.assertErrorMsgContains("flow", bk.flow, function(t) return t * t end, theta, { time = 2 }) -- blows up at 1/2
    lu.assertErrorMsgContains("non-finite", bk.flow, function(t) return (t - 2):log() end, theta)
    lu.assertErrorMsgContains("steps: missing", bk.flow, function(t) return t end, theta, { method = "rk4" })
    lu.assertErrorMsgContains("dopri5", bk.flow, function(t) return t end, theta, { method = "euler" })
    lu.assertErrorMsgContains("max_steps", bk.flow, function(t) return -t end, theta, { time = 100, max_steps = 5 })
    lu.assertErrorMsgContains("unknown option", bk.flow, function(t) return t end, theta, { tol = 1 })
    for _, tolerance in ipairs { { rtol = 1 / 0 }, { atol = 1 / 0 }, { rtol = -1 }, { rtol = 0, atol = 0 } } do
        lu.assertErrorMsgContains("expected finite numbers >= 0", bk.flow, function(t) return -t end, theta, tolerance)
    end
end

TestOrderEffects = {}

function TestOrderEffects.test_the_gap_is_predicted_up_to_third_order()
    local L, theta = tasks(2)
    local ratio, hs = {}, { 0.04, 0.02 }
    for i, h in ipairs(hs) do
        local r = bk.bea.order_gap(L[1], L[2], { lr = h })(theta)
        close(r.predicted, bk.lie(L[1], L[2])(theta) * h * h)
        ratio[i] = gap(r.measured, r.predicted)
    end
    lu.assertAlmostEquals(math.log(ratio[1] / ratio[2], 2), 3, 0.2)
    local r = bk.bea.order_gap(L[1], L[2], { lr = { 0.01, 0.03 } })(theta)
    close(r.predicted, bk.lie(L[1], L[2])(theta) * 3e-4)
    lu.assertTrue(relative(r.measured, r.predicted) < 0.3)
    lu.assertErrorMsgContains("lr: missing", bk.bea.order_gap, L[1], L[2], {})
end

function TestOrderEffects.test_the_tournament_is_all_brackets_against_the_target()
    local L, theta = tasks(4)
    local sources, target = { L[1], L[2], L[3] }, L[4]
    local r, dE = bk.bea.tournament { sources = sources, target = target, theta = theta }, bk.grad(target)(theta)
    local A = r.pairs:totable()
    for i = 1, 3 do
        local row = 0
        for j = 1, 3 do
            lu.assertAlmostEquals(A[i][j], dE:dot(bk.lie(L[i], L[j])(theta)):item(), 1e-10)
            row = row + A[i][j]
        end
        lu.assertAlmostEquals(r.scores[i], row, 1e-12)
    end
    for k = 2, 3 do lu.assertTrue(r.scores[r.order[k - 1]] <= r.scores[r.order[k]]) end
    local at = theta - (bk.grad(L[1])(theta) + bk.grad(L[2])(theta)) * 0.1
    local d = bk.bea.tournament { sources = { L[1], L[2] }, target = target, theta = theta, drift = 0.1 }
    lu.assertAlmostEquals(d.pairs:totable()[1][2], bk.grad(target)(at):dot(bk.lie(L[1], L[2])(theta)):item(), 1e-10)
end

-- E(theta_AB) - E(theta_BA) with exact flows of each task for the time kappa, less the path formula.
local function path_errors(kappas, options)
    local L, theta = tasks(3)
    local errors = {}
    for i, kappa in ipairs(kappas) do
        local flow = function(k, t)
            local g = bk.grad(L[k])
            return bk.flow(function(x) return -g(x) end, t, { time = kappa, rtol = 1e-13 })
        end
        local measured = (L[3](flow(2, flow(1, theta))) - L[3](flow(1, flow(2, theta)))):item()
        local o = { L[1], L[2], target = L[3], theta = theta, time = kappa }
        for k, v in pairs(options) do o[k] = v end
        errors[i] = measured - bk.bea.path_bracket(o)
    end
    return errors
end

function TestOrderEffects.test_the_path_formula_is_right_to_fourth_order()
    for _, steps in ipairs { 8, 64 } do
        local e = path_errors({ 0.05, 0.025, 0.0125 }, { steps = steps })
        lu.assertAlmostEquals(math.log(e[1] / e[3], 2) / 2, 4, 0.1)
    end
    for _, weight in ipairs { "uniform", "tent" } do
        local e = path_errors({ 0.01, 0.0025 }, { steps = 8, method = "euler", weight = weight })
        lu.assertAlmostEquals(math.log(e[1] / e[2], 2) / 2, 3, 0.5) -- kappa^2 h, h = kappa/8
    end
end

-- By the Baker-Campbell-Hausdorff series of both orders.
function TestOrderEffects.test_what_the_path_formula_leaves()
    local L, theta = tasks(3)
    local A, B = bk.grad(L[1]), bk.grad(L[2])
    local function X(t) return A(t) - B(t) end
    local bracket, dE = bk.lie(A, B), bk.grad(L[3])(theta)
    for weight, left in pairs { uniform = dE:dot(bk.lie(B, bk.lie(A, bracket))(theta)):item() / -12,
        tent = dE:dot(bk.lie(X, bk.lie(X, bracket))(theta)):item() / 48 } do
        local kappas, c = { 0.02, 0.01, 0.005 }, {}
        for i, e in ipairs(path_errors(kappas, { steps = 201, weight = weight })) do c[i] = e / kappas[i] ^ 4 end
        local limit = (4 * (2 * c[3] - c[2]) - (2 * c[2] - c[1])) / 3 -- of c as kappa falls (Richardson)
        lu.assertAlmostEquals(limit, left, 0.01 * math.abs(left), weight)
    end
end

-- Where both tasks have one Hessian the tent is exact at any time: theta_AB - theta_BA = (1 - e^(-kappa H))^2 (b - a).
function TestOrderEffects.test_the_tent_is_exact_of_one_hessian()
    local h, a, b = bk.tensor { 0.5, 2, 6 }, bk.tensor { 1, -1, 0.5 }, bk.tensor { -0.3, 2, 1 }
    local function task(centre) return function(t) return (h * (t - centre):square()):sum() / 2 end end
    local want = ((1 - (-2 * h):exp()):square() * (b - a)):sum():item()
    local got = bk.bea.path_bracket { task(a), task(b), target = function(t) return t:sum() end, theta = bk.zeros { 3 },
        time = 2, steps = 4000, weight = "tent" }
    lu.assertAlmostEquals(got, want, 1e-4)
    lu.assertErrorMsgContains("weight: expected two losses with \"tent\", got 3", bk.bea.path_bracket,
        { sources = { task(a), task(b), task(a) }, target = task(a), theta = h, time = 1, weight = "tent" })
end

function TestOrderEffects.test_all_pairs_of_one_path()
    local L, theta = tasks(4)
    local sources = { L[1], L[2], L[3] }
    for _, method in ipairs { "heun", "euler" } do
        local A = bk.bea.path_bracket { sources = sources, target = L[4], theta = theta, time = 0.1, method = method,
            steps = 400 }:totable()
        for i = 1, 3 do
            for j = 1, 3 do lu.assertAlmostEquals(A[i][j], -A[j][i], 1e-14) end
        end
        -- for a short time the path is the point theta
        local short = bk.bea.path_bracket { sources = sources, target = L[4], theta = theta, time = 1e-4,
            method = method }
        local now = bk.bea.tournament { sources = sources, target = L[4], theta = theta }.pairs
        close(short * 1e8, now, 1e-2)
        for _, weight in ipairs { "uniform", "tent" } do -- whatever the number of steps
            for steps = 1, 4 do
                local ab = bk.bea.path_bracket { L[1], L[2], target = L[4], theta = theta, time = 1e-4, method = method,
                    weight = weight, steps = steps }
                lu.assertAlmostEquals(ab * 1e8 / now[1][2]:item(), 1, 1e-2)
            end
        end
    end
    local pair = { L[1], L[2], target = L[4], theta = theta, time = 0.3, steps = 200 }
    local heun = bk.bea.path_bracket(pair)
    pair.method, pair.steps = "euler", 4000
    lu.assertAlmostEquals(bk.bea.path_bracket(pair) / heun, 1, 1e-2)
    lu.assertErrorMsgContains("two losses", bk.bea.path_bracket, { L[1], target = L[2], theta = theta, time = 1 })
    lu.assertErrorMsgContains("time", bk.bea.path_bracket, { L[1], L[2], target = L[2], theta = theta })
    for _, time in ipairs { 0, -0.1, 1 / 0 } do
        lu.assertErrorMsgContains("time: expected a finite number", bk.bea.path_bracket,
            { L[1], L[2], target = L[2], theta = theta, time = time })
    end
end

-- Functions of (theta, data...) are traced when they are new, and no more for other data or another theta; what they
-- read from outside is not served from what was compiled before.
function TestOrderEffects.test_the_path_compiles_once()
    local traced, factor = 0, 1
    local function A(t, c)
        traced = traced + 1
        return (t + c):cos():sum() * factor
    end
    local function B(t, c, d) return (t * c):sin():dot(d) end
    local function E(t, _, d) return (t * d):exp():sum() end
    local function given(theta, c, d)
        return { A, B, target = E, theta = theta, time = 0.3, steps = 5, data = { c, d } }
    end
    local function baked(theta, c, d) -- the same, of functions made for this data
        local by = factor
        return bk.bea.path_bracket { function(t) return (t + c):cos():sum() * by end, function(t) return B(t, c, d) end,
            target = function(t) return E(t, c, d) end, theta = theta, time = 0.3, steps = 5 }
    end
    local rng, first = bk.rng(3), nil
    for k = 1, 4 do
        local theta, c, d = rng:normal { 3 }, rng:normal { 3 }, rng:normal { 3 }
        if k == 4 then c = rng:normal { 1, 3 }:transpose():narrow(2, 1, 1):reshape { 3 } end
        lu.assertAlmostEquals(bk.bea.path_bracket(given(theta, c, d)) / baked(theta, c, d), 1, 1e-12)
        first = first or traced
        lu.assertEquals(traced, first)
    end
    local theta, c, d = rng:normal { 3 }, rng:normal { 3 }, rng:normal { 3 }
    factor = 2 -- read from outside
    lu.assertAlmostEquals(bk.bea.path_bracket(given(theta, c, d)) / baked(theta, c, d), 1, 1e-12)
    lu.assertEquals(traced, 2 * first)
    local list = { sources = { A, B, A }, target = E, theta = theta, time = 0.3, steps = 5, data = { c, d } }
    local pairs_of = bk.bea.path_bracket(list)
    lu.assertAlmostEquals(pairs_of[1][2]:item(), -pairs_of[2][3]:item(), 1e-12)
    list = { sources = { A }, target = B, theta = theta, time = 0.3, steps = 5, data = { c, d } }
    lu.assertEquals(bk.bea.path_bracket(list):item(), 0)
    local many = traced
    bk.bea.path_bracket(list)
    bk.bea.path_bracket(given(theta, c, d)) -- the other choice is kept too
    lu.assertEquals(traced, many)
    list.data = c
    lu.assertErrorMsgContains("data: expected a list of tensors, got", bk.bea.path_bracket, list)
    list.data = { c, 3 }
    lu.assertErrorMsgContains("data[2]: expected", bk.bea.path_bracket, list)
    list.data = {}
    for i = 1, 63 do list.data[i] = c end
    lu.assertErrorMsgContains("data: expected at most 62 tensors, got 63", bk.bea.path_bracket, list)
end

function TestOrderEffects.test_the_path_keeps_no_functions_alive()
    local kept, theta = setmetatable({}, { __mode = "k" }), bk.tensor { 0.3, 0.4 }
    for k = 1, 5 do
        local function A(t) return (t * t * t):sum() * k end
        local function B(t) return t:sin():sum() * k end
        kept[A], kept[B] = true, true
        bk.bea.path_bracket { A, B, target = A, theta = theta, time = 0.1, steps = 2 }
    end
    for _ = 1, 3 do collectgarbage() end
    lu.assertNil(next(kept))
end

-- ---- steps of fields that are no gradients: a game of two players in turn ----

TestFieldFunctions = {}

local payoff = bk.tensor{ { 1, 0.3 }, { 0.2, 0.8 } }
local function game(t)
    local x, y = t:narrow(1, 1, 2), t:narrow(1, 3, 2)
    return x:matmul(payoff):dot(y) + 0.1 * x:square():sum() - 0.2 * y:square():sum() + 0.05 * (x:sin() * y):sum()
end
local function X(t) return bk.grad(game)(t) * bk.tensor{ 1, 1, 0, 0 } end
local function Y(t) return bk.grad(game)(t) * bk.tensor{ 0, 0, -1, -1 } end
local theta4 = bk.tensor{ 1, -0.5, 0.3, 0.7 }

function TestFieldFunctions.test_a_word_of_fields_steps_and_verifies()
    local w = bk.bea.word{ { X, 0.05 }, { Y, 0.05 }, { game, 0.02 } }
    local by_hand = theta4 - 0.05 * X(theta4)
    by_hand = by_hand - 0.05 * Y(by_hand)
    by_hand = by_hand - 0.02 * bk.grad(game)(by_hand)
    lu.assertTrue((w:step(theta4) - by_hand):abs():max():item() < 1e-15)
    for _, row in ipairs(w:verify{ theta = theta4, orders = { 1, 2, 3 } }) do
        lu.assertAlmostEquals(row.slope, row.order + 1, 0.15)
    end
    local gap = bk.bea.order_gap(X, Y, { lr = 1e-3 })(theta4)
    lu.assertTrue((gap.measured - gap.predicted):norm():item() < 1e-2 * gap.predicted:norm():item())
end

function TestFieldFunctions.test_a_draw_inside_a_traced_function_is_an_error()
    local rng = bk.rng(3)
    for _, draw in ipairs{ function() return rng:uniform{ 4 } end, function() return rng:normal{ 4 } end,
        function() return rng:permutation(4) end, function() return rng:integers({ 4 }, 3) end } do
        local before = rng:state()
        lu.assertErrorMsgContains("not while tracing", bk.grad(function(t) return (t * draw()):sum() end), theta4)
        lu.assertEquals(rng:state(), before)
        draw()
    end
end

-- Tracing freezes what a function captured; what has changed since is noticed at the next call.
function TestFieldFunctions.test_what_was_captured_and_has_changed_is_noticed()
    local rate, weights, flip, traces = 1, bk.ones{ 4 }, false, 0
    local f = function(t)
        traces = traces + 1
        local s = (t * weights):square():sum() * rate
        return flip and -s or s
    end
    local g, h, l = bk.grad(f), bk.hvp(f), bk.lie(f, game)
    local function check(factor)
        lu.assertEquals(g(theta4):totable(), (theta4 * (2 * factor)):totable())
        lu.assertEquals(h(theta4, theta4):totable(), (theta4 * (2 * factor)):totable())
        local plain = bk.lie(function(t) return t:square():sum() * factor end, game)
        lu.assertTrue((l(theta4) - plain(theta4)):norm():item() < 1e-12)
    end
    check(1)
    local before = traces
    check(1)
    lu.assertEquals(traces, before) -- nothing changed, nothing is traced
    rate = 3
    check(3)
    weights = bk.full({ 4 }, 2)
    check(12)
    flip = true
    check(-12)
    rate, weights, flip = 1, bk.ones{ 4 }, false
    check(1)
end

-- At a 0-d theta a loss and a field have one shape: a plain function is a loss, what was made as a field is one. With
-- A = t^3, B = t^2, C = t^4 at 2: g = 12, 4, 32, H = 12, 2, 48; F = [g_A, g_B] = 2 g_A - 6 t g_B = -6 t^2.
function TestFieldFunctions.test_a_theta_without_dimensions()
    local theta = bk.tensor(2)
    local A, B = function(t) return t ^ 3 end, function(t) return t ^ 2 end
    local C = function(t) return t ^ 4 end
    local F = bk.lie(A, B)
    lu.assertEquals(F(theta):item(), -24)
    for _, f in ipairs { F, bk.compile(F) } do -- [F, g_C] = 48 F - F' g_C, F' = -12 t
        lu.assertEquals(bk.lie(f, C)(theta):item(), 48 * -24 + 24 * 32)
        lu.assertEquals(bk.lie(C, f)(theta):item(), -48 * -24 - 24 * 32)
        lu.assertEquals(bk.bea.swap_effect(function(t) return t end, { f, C }, theta):totable()[1][2], -384)
        lu.assertEquals(bk.bea.tournament { sources = { f, C }, target = B, theta = theta }.pairs:totable()[1][2],
            4 * -384)
        lu.assertEquals(bk.bea.word { { f, 0.5 } }:step(theta):item(), 2 + 12)
        lu.assertEquals(bk.bea.optimizer { loss = f, optimizer = bk.optim.sgd {}, lr = 0.1 }:term(1)(theta):item(), 24)
    end
    lu.assertEquals(bk.bea.word { { bk.grad(A), 0.5 } }:step(theta):item(), 2 - 6)
    local log = bk.bea.word { { A, 0.5 } }:log(1) -- the field -g_A / 2
    lu.assertEquals(bk.bea.word { { log, 1 } }:step(theta):item(), 2 + 6)
    lu.assertNil(bk.bea.continual { losses = { F, C }, lr = 0.1 }:terms(theta).original)
    lu.assertErrorMsgContains("losses[1]", bk.bea.multitask { losses = { F, C }, lr = 0.1 }.terms,
        bk.bea.multitask { losses = { F, C }, lr = 0.1 }, theta)
    lu.assertEquals(bk.bea.optimizer { loss = A, optimizer = bk.optim.sgd {}, lr = 0.1 }:term(1)(theta):item(), -12)
    local gap = bk.bea.order_gap(A, B, { lr = 0.1 })(theta) -- AB: 0.8 - 0.16; BA: 1.6 - 0.3 * 1.6^2
    lu.assertAlmostEquals(gap.measured:item(), 0.64 - (1.6 - 0.3 * 2.56), 1e-15)
    lu.assertAlmostEquals(gap.predicted:item(), 0.01 * -24, 1e-15)
end

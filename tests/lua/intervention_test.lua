-- Interventions: each on the property that defines it.
local lu = require "luaunit"
local bk = require "bracket"

local model = bk.nn.mlp{ 4, 6, 3, activation = "tanh" }
local tasks = {}
for i = 1, 3 do
    local rng = bk.rng(50 + i)
    local x = rng:normal{ 40, 4 }
    tasks[i] = { x = x, y = x:matmul(rng:normal{ 4, 3 }):argmax(2) }
end
local two = { tasks[1], tasks[2] }
local L = {}
for i, t in ipairs(tasks) do L[i] = bk.loss.cross_entropy(model, t.x, t.y) end
local theta0 = model:init{ seed = 9 }
local slope = bk.statistics.slope
local function endpoint(options)
    local o = { model = model, tasks = two, batch = "full", evaluate = false, lr = 0.1 }
    for name, value in pairs(options) do o[name] = value end
    return bk.protocol(o):run{ theta = theta0 }.theta
end
local function distance(a, b) return (a - b):norm():item() end
local function same_bits(a, b)
    local u, v = a:totable(), b:totable()
    for k = 1, #u do
        if u[k] ~= v[k] then return false end
    end
    return #u == #v
end

TestStrength = {}
function TestStrength:test_strength_one_changes_no_bit()
    for _, order in ipairs{ "joint", "cyclic", "sequential" } do
        local options = { order = order, steps = 6, batch = 8, tasks = tasks }
        local plain = endpoint(options)
        for _, name in ipairs{ "conflict", "flatness" } do
            options.interventions = { bk.intervention[name]{ strength = 1 } }
            lu.assertTrue(same_bits(plain, endpoint(options)), order .. " " .. name)
            options.interventions = { bk.intervention[name]{ strength = 0 } }
            lu.assertFalse(same_bits(plain, endpoint(options)), order .. " " .. name)
        end
    end
end
-- theta_AB - theta_BA is O(h^2); with the conflict cancelled O(h^3); flipped it is -1 times the bracket's, O(h^2).
function TestStrength:test_cancelled_conflict_moves_the_order_gap_to_third_order()
    local hs = { 0.04, 0.02, 0.01, 0.005 }
    local bracket = bk.lie(L[1], L[2])(theta0)
    for strength, expected in pairs{ [1] = 2, [0] = 3, [-1] = 2, [2] = 2 } do
        local gaps = {}
        for k, h in ipairs(hs) do
            local ends = {}
            for w, word in ipairs{ { 1, 2 }, { 2, 1 } } do
                ends[w] = endpoint{ order = word, lr = h, interventions = { bk.intervention.conflict{
                    strength = strength } } }
            end
            gaps[k] = distance(ends[1], ends[2])
            if k == #hs and strength ~= 0 then
                lu.assertAlmostEquals((ends[1] - ends[2]):dot(bracket):item() / (h * h * bracket:dot(bracket):item()),
                    strength, 0.05)
            end
        end
        lu.assertAlmostEquals(slope(hs, gaps), expected, 0.15, "strength " .. strength)
    end
end
-- Weight decay is part of the field a step follows, and so of its bracket.
function TestStrength:test_conflict_is_cancelled_under_weight_decay()
    local hs = { 0.04, 0.02, 0.01, 0.005 }
    for strength, expected in pairs{ [1] = 2, [0] = 3 } do
        local gaps = {}
        for k, h in ipairs(hs) do
            local ends = {}
            for w, word in ipairs{ { 1, 2 }, { 2, 1 } } do
                ends[w] = endpoint{ order = word, lr = h, optimizer = bk.optim.sgd{ weight_decay = 2 },
                    interventions = { bk.intervention.conflict{ strength = strength } } }
            end
            gaps[k] = distance(ends[1], ends[2])
        end
        lu.assertAlmostEquals(slope(hs, gaps), expected, 0.15, "strength " .. strength)
    end
end
-- The terms are those of gradient steps: under another optimizer they are refused, never taken in silence.
function TestStrength:test_terms_of_gradient_steps_are_refused_under_other_optimizers()
    local others = { bk.optim.adam{}, bk.optim.momentum_ema{}, bk.optim.heavy_ball{ momentum = 0 },
        bk.optim.custom{ update = function(g) return g:sign(), {} end },
        { step = function(_, theta, g, lr) return theta - g * lr end, state = function() return {} end,
            restore = function() end, reset = function() end } }
    local own = bk.optim.custom{ options = { weight_decay = 0.1 }, update = function(g, _, theta, o)
        return g + o.weight_decay * theta, {}
    end }
    local function run(optimizer, options)
        options.order, options.lr, options.optimizer = options.order or "cyclic", 0.01, optimizer
        return endpoint(options)
    end
    for _, name in ipairs{ "conflict", "flatness" } do
        for _, optimizer in ipairs(others) do
            lu.assertErrorMsgContains("intervention 1 (" .. name .. "): needs gradient steps (bk.optim.sgd), got ",
                run, optimizer, { interventions = { bk.intervention[name]{ strength = 0 } } })
        end
        run(own, { interventions = { bk.intervention[name]{ strength = 0 } } })
    end
    for _, name in ipairs{ "conflict", "order_effect", "flatness" } do
        for _, optimizer in ipairs(others) do
            lu.assertErrorMsgContains('record "' .. name .. '": ', run, optimizer, { record = { name } })
        end
        run(own, { record = { name } })
    end
    lu.assertErrorMsgContains("is stated for gradient steps (bk.optim.sgd), got the optimizer adam{", run, others[1],
        { order = "joint", record = { "conflict" } })
end
function TestStrength:test_order_effect_is_that_of_the_decayed_field()
    local E = function(t) return L[1](t) + L[2](t) end
    local d, h = 2, 0.02
    local r = bk.protocol{ model = model, tasks = { tasks[1], tasks[2] }, order = "cyclic", lr = h, steps = 2,
        batch = "full", record = { at = { 0 }, "order_effect" }, optimizer = bk.optim.sgd{ weight_decay = d } }
        :run{ theta = theta0 }.history
    local fields = {}
    for i = 1, 2 do fields[i] = function(t) return bk.grad(L[i])(t) + t * d end end
    local want = bk.grad(E)(theta0):dot(bk.lie(fields[1], fields[2])(theta0)):item() * h * h
    lu.assertAlmostEquals(r.order_effect_predicted[1] / want, 1, 1e-9)
    lu.assertAlmostEquals(r.order_effect_realised[1] / want, 1, 0.2)
end
function TestStrength:test_cancelled_conflict_with_three_tasks_blocks_and_minibatches()
    local hs = { 0.02, 0.01, 0.005 }
    local function reversed(word)
        local back = {}
        for k = #word, 1, -1 do back[#back + 1] = word[k] end
        return back
    end
    for _, word in ipairs{ { 1, 2, 3 }, { 1, 1, 2, 2, 3, 3 }, { 1, 2, 1, 3, 2 } } do
        for strength, expected in pairs{ [1] = 2, [0] = 3 } do
            local gaps = {}
            for k, h in ipairs(hs) do
                local iv = { bk.intervention.conflict{ strength = strength } }
                gaps[k] = distance(endpoint{ tasks = tasks, order = word, lr = h, interventions = iv },
                    endpoint{ tasks = tasks, order = reversed(word), lr = h, interventions = iv })
            end
            lu.assertAlmostEquals(slope(hs, gaps), expected, 0.2, table.concat(word) .. " strength " .. strength)
        end
    end
    -- one minibatch a task: the batches of the run itself are used, so the gap still falls as h^3
    local gaps = {}
    for k, h in ipairs(hs) do
        local iv = { bk.intervention.conflict{ strength = 0 } }
        gaps[k] = distance(endpoint{ order = { 1, 2 }, batch = 8, lr = h, interventions = iv },
            endpoint{ order = { 2, 1 }, batch = 8, lr = h, interventions = iv })
    end
    lu.assertAlmostEquals(slope(hs, gaps), 3, 0.2)
end
-- One joint step with both terms cancelled is the flow of the plain sum to second order: error O(h^3), not O(h^2).
function TestStrength:test_joint_terms_add_up_to_the_modified_loss()
    local hs = { 0.02, 0.01, 0.005 }
    local function field(theta) return -(bk.grad(L[1])(theta) + bk.grad(L[2])(theta)) end
    local plain, cancelled = {}, {}
    for k, h in ipairs(hs) do
        local exact = bk.flow(field, theta0, { time = h })
        plain[k] = distance(endpoint{ order = "joint", steps = 1, lr = h }, exact)
        cancelled[k] = distance(endpoint{ order = "joint", steps = 1, lr = h, interventions = {
            bk.intervention.conflict{ strength = 0 }, bk.intervention.flatness{ strength = 0 } } }, exact)
    end
    lu.assertAlmostEquals(slope(hs, plain), 2, 0.15)
    lu.assertAlmostEquals(slope(hs, cancelled), 3, 0.15)
end
function TestStrength:test_explicit_terms_are_the_gradients_of_theory()
    local h, c = 0.1, 3
    local g, H1, H2 = {}, bk.hvp(L[1]), bk.hvp(L[2])
    for i = 1, 2 do g[i] = bk.grad(L[i])(theta0) end
    local plain = theta0 - (g[1] + g[2]) * h
    local conflict = (H1(theta0, g[2]) + H2(theta0, g[1])) * ((c - 1) * h / 2)
    local flatness = (H1(theta0, g[1]) + H2(theta0, g[2])) * ((c - 1) * h / 2)
    for name, extra in pairs{ conflict = conflict, flatness = flatness } do
        for reduction, scale in pairs{ sum = 1, mean = 1 / 2 } do
            local got = endpoint{ order = "joint", steps = 1, lr = h, reduction = reduction, interventions = {
                bk.intervention[name]{ strength = c } } }
            local base = theta0 - (g[1] + g[2]) * (h * scale)
            lu.assertAlmostEquals(distance(got, base - extra * (h * scale * scale)), 0, 1e-12, name)
        end
    end
    lu.assertTrue(distance(plain, plain - conflict * h) > 1e-4)
end
function TestStrength:test_bracket_penalty_is_its_gradient()
    local w, h = 0.7, 0.1
    local b = bk.lie(L[1], L[2])
    local penalty = bk.grad(function(theta)
        local v = b(theta)
        return v:dot(v) * 0.5
    end)(theta0)
    local g = bk.grad(L[1])(theta0) + bk.grad(L[2])(theta0)
    local got = endpoint{ order = "joint", steps = 1, lr = h, interventions = { bk.intervention.bracket_penalty{
        weight = w } } }
    lu.assertAlmostEquals(distance(got, theta0 - (g + penalty * w) * h), 0, 1e-11)
    lu.assertTrue(penalty:norm():item() > 1e-6)
end

TestGradientMethods = {}
-- Tasks that contradict one another: the same inputs, shifted labels.
local against = {}
for i = 1, 3 do
    local shifted = {}
    for k, c in ipairs(tasks[1].y:totable()) do shifted[k] = (c + i - 1) % 3 end
    against[i] = { x = tasks[1].x, y = bk.tensor(shifted, { dtype = "int64" }) }
end
local function spy(found) return { name = "spy", before_step = function(state) found(state) end } end
local function joint(intervention, list, found, steps)
    return endpoint{ tasks = list, order = "joint", steps = steps or 4, interventions = { intervention, spy(found) } }
end
function TestGradientMethods:test_pcgrad_leaves_no_conflict_between_two_tasks()
    local conflicts = 0
    joint(bk.intervention.pcgrad{}, { against[1], against[2] }, function(state)
        local g, p = state.gradients, state.shared.projected
        if g[1]:dot(g[2]):item() < 0 then
            conflicts = conflicts + 1
            lu.assertTrue(p[1]:dot(g[2]):item() >= -1e-14)
            lu.assertTrue(p[2]:dot(g[1]):item() >= -1e-14)
        else
            lu.assertAlmostEquals(distance(state.gradient, g[1] + g[2]), 0, 1e-14)
        end
    end)
    lu.assertTrue(conflicts > 0)
end
function TestGradientMethods:test_pcgrad_without_conflict_is_the_sum()
    local a = endpoint{ tasks = { tasks[1], tasks[1] }, order = "joint", steps = 3, interventions = {
        bk.intervention.pcgrad{} } }
    lu.assertAlmostEquals(distance(a, endpoint{ tasks = { tasks[1], tasks[1] }, order = "joint", steps = 3 }), 0, 1e-13)
end
function TestGradientMethods:test_mgda_is_the_minimum_norm_point()
    joint(bk.intervention.mgda{}, against, function(state)
        local d, g = state.gradient, state.gradients
        local square = d:dot(d):item()
        -- the variational inequality <d, g_i> >= |d|^2 characterises it, and makes -d a common descent direction
        for i = 1, 3 do lu.assertTrue(d:dot(g[i]):item() >= square - 1e-9 * (1 + square)) end
        local sum = 0
        for _, w in ipairs(state.shared.mgda_weights) do
            lu.assertTrue(w >= 0)
            sum = sum + w
        end
        lu.assertAlmostEquals(sum, 1, 1e-12)
    end)
end
function TestGradientMethods:test_minimum_norm_of_two_in_closed_form()
    for _, M in ipairs{ { { 1, 0 }, { 0, 4 } }, { { 1, 2 }, { 2, 9 } }, { { 4, -1 }, { -1, 1 } } } do
        local w = bk.intervention._simplex.min_norm(M)
        local t = (M[2][2] - M[1][2]) / (M[1][1] + M[2][2] - 2 * M[1][2])
        lu.assertAlmostEquals(w[1], math.max(0, math.min(1, t)), 1e-9)
    end
end
function TestGradientMethods:test_cagrad_stays_in_its_ball_and_is_worst_case_optimal()
    local c = 0.5
    joint(bk.intervention.cagrad{ c = c }, against, function(state)
        local n, g = 3, state.gradients
        local mean = state.gradient_sum * (1 / n)
        local d = state.gradient * (1 / n)
        local radius = c * mean:norm():item()
        lu.assertAlmostEquals(distance(d, mean), radius, 1e-9)
        local function worst(v)
            local low = math.huge
            for i = 1, n do low = math.min(low, v:dot(g[i]):item()) end
            return low
        end
        local best = worst(d)
        lu.assertTrue(best >= worst(mean) - 1e-12)
        for k = 1, 20 do -- no other point of the ball does better
            local u = bk.rng(k):normal{ model.n_params }
            u = u + g[k % 3 + 1] * (k / (g[k % 3 + 1]:norm():item() + 1e-30))
            lu.assertTrue(worst(mean + u * (radius / u:norm():item())) <= best + 1e-7)
            local near = d + u * (0.01 * radius / u:norm():item()) - mean
            lu.assertTrue(worst(mean + near * (radius / near:norm():item())) <= best + 1e-7)
        end
    end)
end
-- The objective's slope is one number over the weights that are not 0, to rounding: a search by values finds weights to
-- half of the digits, and runs of other numbers of ranks part there.
function TestGradientMethods:test_cagrad_weights_are_found_to_rounding()
    for trial = 1, 60 do
        local n, c, g, r = 2 + trial % 4, ({ 0.1, 0.5, 0.9 })[1 + trial % 3], {}, bk.rng(trial)
        local mean, gw = bk.zeros{ 6 }, bk.zeros{ 6 }
        for i = 1, n do
            g[i] = r:normal{ 6 }
            mean = mean + g[i] * (1 / n)
        end
        local w = bk.intervention._simplex.cagrad(bk._gram(g), c)
        for i = 1, n do gw = gw + g[i] * w[i] end
        local slope_of = mean + gw * (c * mean:norm():item() / gw:norm():item())
        local low, high = math.huge, -math.huge
        for i = 1, n do
            local slope = g[i]:dot(slope_of):item()
            low, high = math.min(low, slope), w[i] > 0 and math.max(high, slope) or high
        end
        lu.assertTrue(high - low <= 1e-12 * mean:norm():item(), trial .. ": " .. high - low)
    end
end
function TestGradientMethods:test_cagrad_at_zero_is_the_mean()
    local a = endpoint{ tasks = against, order = "joint", steps = 3, interventions = { bk.intervention.cagrad{
        c = 0 } } }
    lu.assertAlmostEquals(distance(a, endpoint{ tasks = against, order = "joint", steps = 3 }), 0, 1e-12)
end

TestMemoryMethods = {}
function TestMemoryMethods:test_agem_never_moves_against_the_memory()
    local projected, seen = 0, 0
    endpoint{ tasks = { against[1], against[2] }, order = "sequential", steps = 10, lr = 0.3, interventions = {
        bk.intervention.agem{ memory = 30 },
        spy(function(state)
            if state.task == 1 then
                lu.assertNil(state.shared.reference_gradient)
                return
            end
            seen = seen + 1
            local r = state.shared.reference_gradient
            lu.assertTrue(state.gradient:dot(r):item() >= -1e-12)
            if state.task_gradient:dot(r):item() < 0 then
                projected = projected + 1
                lu.assertAlmostEquals(state.gradient:dot(r):item(), 0, 1e-12)
            end
        end) } }
    lu.assertEquals(seen, 10)
    lu.assertTrue(projected > 0)
end
function TestMemoryMethods:test_reservoir_is_uniform()
    local counts, runs, capacity, n = {}, 400, 5, 20
    local stream = bk.stream
    for k = 1, runs do
        local m = bk.intervention._episodes.new(capacity, stream.key(k))
        local ids = {}
        for id = 0, n - 1 do ids[id + 1] = id end
        bk.intervention._episodes.add(m, { task = 1, problem = { ids = function() return ids end } })
        lu.assertEquals(#m.id, capacity)
        for _, id in ipairs(m.id) do counts[id] = (counts[id] or 0) + 1 end
    end
    local chi, expected = 0, runs * capacity / n
    for id = 0, n - 1 do chi = chi + ((counts[id] or 0) - expected) ^ 2 / expected end
    lu.assertTrue(chi < 45) -- 19 degrees of freedom: 0.1 % point 43.8; the seeds are fixed
end
function TestMemoryMethods:test_ewc_pulls_towards_the_old_point_by_its_fisher()
    local weight, extra, memory = 2.5, nil, nil
    endpoint{ order = "sequential", steps = 3, interventions = { bk.intervention.ewc{ weight = weight,
        samples = 400 }, { name = "spy",
        before_step = function(state)
            if state.task == 2 and not extra then
                extra = distance(state.gradient, state.task_gradient)
            elseif state.task == 2 then
                memory = { state.gradient - state.task_gradient, state.theta, state.shared.anchor }
            end
        end,
        end_task = function(state) state.shared.anchor = state.shared.anchor or state.theta end } } }
    lu.assertAlmostEquals(extra, 0, 1e-12) -- at the old point itself
    local moved = memory[2] - memory[3]
    -- the exact diagonal Fisher, over all examples
    local fisher
    local at = memory[3]
    local single = bk.grad(bk.loss.cross_entropy(model))
    for k = 1, 40 do
        local g = single(at, two[1].x:narrow(1, k, 1), two[1].y:narrow(1, k, 1))
        fisher = fisher and fisher + g * g or g * g
    end
    fisher = fisher * (1 / 40)
    lu.assertTrue((memory[1] - fisher * moved * weight):norm():item() < 1e-12) -- 400 samples are all 40, once
end
function TestMemoryMethods:test_replay_remembers()
    local function forgetting(...)
        local o = { model = model, tasks = { against[1], against[2] }, steps = 60, batch = 20, lr = 0.5,
            interventions = { ... } }
        local r = bk.protocol(o):run{ theta = theta0 }
        return r.test_loss[2][1]
    end
    lu.assertTrue(forgetting(bk.intervention.replay{ memory = 40 }) < 0.7 * forgetting())
end
function TestMemoryMethods:test_they_compose()
    local theta = endpoint{ order = "sequential", steps = 4, batch = 10, interventions = { bk.intervention.replay{
        memory = 10 },
        bk.intervention.ewc{ weight = 1, samples = 5 }, bk.intervention.flatness{ strength = 0 },
            bk.intervention.conflict{ strength = 0.5 } } }
    lu.assertTrue(theta:norm():item() < math.huge)
    lu.assertTrue(distance(theta, endpoint{ order = "sequential", steps = 4, batch = 10 }) > 1e-8)
end

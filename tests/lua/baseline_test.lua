-- baseline_test.lua - continual-learning baselines: each on the property that defines it.
local bk = require "bracket"
local lu = require "luaunit"
TestBaselines = {}

local model, tasks = bk.nn.mlp { 4, 6, 3, activation = "tanh" }, {}
for i = 1, 3 do
    local rng = bk.rng(50 + i)
    local x = rng:normal { 40, 4 }
    tasks[i] = { x = x, y = x:matmul(rng:normal { 4, 3 }):argmax(2) }
end
local theta0 = model:init { seed = 9 }
local function run(interventions, options, theta)
    local o = { model = model, tasks = tasks, order = "sequential", steps = 10, lr = 0.1, batch = 8, evaluate = false,
        interventions = interventions }
    for k, v in pairs(options or {}) do o[k] = v end
    return bk.protocol(o):run { theta = theta or theta0 }
end

-- The path integral tends to the fall of the loss, at first order in the rate.
function TestBaselines:test_si_sums_the_fall_of_the_loss()
    local L, rates, errors = bk.loss.cross_entropy(model, tasks[1].x, tasks[1].y), { 0.2, 0.1, 0.05, 0.025 }, {}
    for k, lr in ipairs(rates) do
        local path
        local r = run({ bk.intervention.si { strength = 1 },
            { name = "spy", end_task = function(s) path = s.shared.si_path end } },
            { tasks = { tasks[1] }, batch = "full", lr = lr, steps = math.floor(2 / lr) })
        errors[k] = math.abs(path - (L(theta0):item() - L(r.theta):item()))
    end
    lu.assertTrue(errors[4] < errors[1])
    lu.assertAlmostEquals(bk.statistics.slope(rates, errors), 1, 0.1)
end

function TestBaselines:test_si_pulls_by_importance()
    local seen
    run({ bk.intervention.si { strength = 0.3, xi = 0.01 }, { name = "spy", before_step = function(s)
        seen = s.step == 11 and s.gradient - s.task_gradient or seen
    end, after_step = function(s) if s.step == 11 then s:stop() end end } })
    lu.assertEquals(seen:norm():item(), 0) -- at the task's end theta is the anchor
    -- by hand: one parameter after another along one task
    local g = {}
    local r = run({ { name = "log", before_step = function(s) g[#g + 1] = s.gradient:clone() end } },
        { tasks = { tasks[1] }, steps = 4 })
    local path = 0
    for k = 1, 4 do path = path + g[k] * g[k] * 0.1 end
    local gone = r.theta - theta0
    local omega = path / (gone * gone + 0.01)
    local pull
    run({ bk.intervention.si { strength = 0.3, xi = 0.01 }, { name = "spy", before_step = function(s)
        if s.step == 6 then pull = { s.gradient - s.task_gradient, s.theta - r.theta } end
    end } }, { tasks = { tasks[1], tasks[2] }, steps = 4 })
    lu.assertTrue((pull[1] - omega * pull[2] * 0.6):norm():item() < 1e-12)
end

-- What is followed disagrees with no task's memory, and is the nearest such vector.
function TestBaselines:test_gem_meets_every_constraint()
    local conflicts = 0
    local found
    run({ { name = "before", before_step = function(s) found = s.gradient:clone() end },
        bk.intervention.gem { memory = 10 }, { name = "spy", before_step = function(s)
            local moved, others = s.gradient - found, s.shared.memory_gradients
            if moved:norm():item() > 0 then conflicts = conflicts + 1 end
            local left = moved
            for _, g in ipairs(others) do
                local slack = s.gradient:dot(g):item()
                lu.assertTrue(slack >= -1e-10 * found:norm():item() * g:norm():item())
                if slack > 1e-9 then lu.assertTrue(moved:dot(g):item() <= moved:norm():item() * g:norm():item()) end
            end
            -- moved = sum v_k g_k with v >= 0, v_k = 0 where there is slack: <moved, z> = sum v_k slack_k = 0
            lu.assertTrue(math.abs(moved:dot(s.gradient):item()) <= 1e-10 * found:dot(found):item())
            lu.assertTrue(left:norm():item() <= found:norm():item() * (1 + 1e-12))
        end } }, { steps = 20 })
    lu.assertTrue(conflicts > 3)
end
function TestBaselines:test_gem_keeps_the_last_examples()
    local p = bk.protocol { model = model, tasks = tasks, steps = 7, lr = 0.1, batch = 8, evaluate = false,
        interventions = { bk.intervention.gem { memory = 20, margin = 0.5 } } }
    p:run { theta = theta0 }
    local ids = p:state().memory[1].ids
    lu.assertEquals({ #ids[1], #ids[2], #ids[3] }, { 20, 20, 20 })
end

-- z = w x + b: its gradient at x = (3, 4) is (3, 4, 1), of squared length 26, whatever theta is.
function TestBaselines:test_ogd_by_hand()
    local line = bk.nn.mlp { 2, 1 }
    local one = { x = bk.tensor { { 3, 4 } }, y = bk.tensor { { 2 } }, loss = "mse" }
    local two = { x = bk.tensor { { 1, 0 } }, y = bk.tensor { { 5 } }, loss = "mse" }
    local kept, seen
    local r = run({ bk.intervention.ogd { memory = 3 }, { name = "spy",
        end_task = function(s) kept = kept or line:forward(s.theta, one.x):item() end,
        before_step = function(s)
            if s.step ~= 3 then return end
            local slope = 2 * (line:forward(s.theta, two.x):item() - 5) -- g = slope (1, 0, 1), <g, v> = slope 4
            local want = bk.tensor { 1 - 12 / 26, -16 / 26, 1 - 4 / 26 } * slope
            lu.assertTrue((s.gradient - want):norm():item() < 1e-13)
            seen = true
        end } }, { model = line, tasks = { one, two }, batch = "full", steps = 2, lr = 0.01 },
        bk.tensor { 0.3, -0.2, 0.1 })
    lu.assertTrue(seen)
    lu.assertAlmostEquals(line:forward(r.theta, one.x):item(), kept, 1e-14)
end

-- g - A' (A A')^-1 A g, the rows of A one output's gradient each, made here one by one.
function TestBaselines:test_ogd_projects_onto_the_complement()
    local few, checked = {}, 0
    for i = 1, 3 do few[i] = { x = tasks[i].x:narrow(1, 1, 4), y = tasks[i].y:narrow(1, 1, 4) } end
    local weights = {
        label = function(y) return { y:one_hot(3):to "float64" } end,
        average = function() return { bk.ones { 1, 3 } } end,
        all = function() return { bk.tensor { { 1, 0, 0 } }, bk.tensor { { 0, 1, 0 } }, bk.tensor { { 0, 0, 1 } } } end,
    }
    for outputs, of in pairs(weights) do
        local rows = {}
        run({ bk.intervention.ogd { memory = 4, outputs = outputs }, { name = "spy",
            before_step = function(s)
                if #rows == 0 then return lu.assertTrue(s.gradient == s.task_gradient) end
                local A, g = bk.stack(rows), s.task_gradient
                local want = g - bk.linalg.solve(A:matmul(A:transpose()), A:matmul(g)):matmul(A)
                lu.assertTrue((s.gradient - want):norm():item() < 1e-9 * g:norm():item(), outputs)
                checked = checked + 1
            end,
            end_task = function(s)
                local t = few[s.task]
                for k = 1, 4 do
                    local x, y = t.x:narrow(1, k, 1), t.y:narrow(1, k, 1)
                    for _, w in ipairs(of(y)) do
                        local function output(theta) return (model:forward(theta, x) * w):sum() end
                        rows[#rows + 1] = bk.grad(output)(s.theta)
                    end
                end
            end } }, { tasks = few, steps = 3, batch = 2 })
    end
    lu.assertEquals(checked, 3 * 6)
end

-- What one step of the second task does to the first one's label outputs: of second order in the rate, not of first.
function TestBaselines:test_ogd_leaves_the_outputs()
    local few = { { x = tasks[1].x:narrow(1, 1, 8), y = tasks[1].y:narrow(1, 1, 8) }, tasks[2] }
    local rates = { 0.04, 0.02, 0.01 }
    for order, list in ipairs { {}, { bk.intervention.ogd { memory = 8 } } } do
        local moved = {}
        for k, lr in ipairs(rates) do
            local function outputs(theta)
                return (model:forward(theta, few[1].x) * few[1].y:one_hot(3):to "float64"):sum(2)
            end
            local before
            local spy = { name = "spy", end_task = function(s) before = before or outputs(s.theta) end }
            local r = run({ list[1] or spy, list[1] and spy or nil }, { tasks = few, steps = 1, batch = "full",
                lr = function(step) return step == 1 and 0.1 or lr end })
            moved[k] = (outputs(r.theta) - before):norm():item()
        end
        lu.assertAlmostEquals(bk.statistics.slope(rates, moved), order, 0.1)
    end
end

function TestBaselines:test_ogd_of_a_wide_network() -- a factorisation's sides end at 30000
    local wide = bk.nn.mlp { 4, 7000, 3 }
    run({ bk.intervention.ogd { memory = 3 }, { name = "spy", before_step = function(s)
        local basis = s.shared.ogd.basis
        lu.assertTrue(not basis or basis:matmul(s.gradient):norm():item() < 1e-12 * s.task_gradient:norm():item())
    end } }, { model = wide, steps = 2 }, wide:init { seed = 1 })
end

-- A task that comes again is not held by its own gradients, and has them anew; a head's task keeps its head's outputs.
function TestBaselines:test_ogd_keeps_by_task()
    local sizes = {}
    local headed = { x = tasks[2].x, y = tasks[2].y:clamp(1, 2), head = { 1, 2 } }
    local p = bk.protocol { model = model, tasks = { tasks[1], headed },
        order = bk.order.blocks { size = 2 }, steps = 8, lr = 0.1, batch = 8, evaluate = false,
        interventions = { bk.intervention.ogd { memory = 2, outputs = "all" }, { name = "spy", before_step = function(s)
            sizes[s.step] = s.shared.ogd.basis and s.shared.ogd.basis:shape()[1] or 0
        end } } }
    p:run { theta = theta0 }
    lu.assertEquals(sizes, { 0, 0, 6, 6, 4, 4, 6, 6 })
    lu.assertErrorMsgContains('outputs: "label" needs class ids, one for every row of outputs, got y float64 (1,1)', function()
        run({ bk.intervention.ogd { memory = 2, outputs = "label" } }, { model = bk.nn.mlp { 4, 1 },
            tasks = bk.tasks.regression { n = 2, seed = 1 } }, bk.zeros { 5 })
    end)
end

function TestBaselines:test_lwf_is_the_gradient_of_distillation()
    local T, w, checked = 3, 0.7, 0
    local teacher
    run({ bk.intervention.lwf { temperature = T, weight = w }, { name = "spy",
        end_task = function(s) teacher = s.theta:clone() end,
        before_step = function(s)
            local added = s.gradient - s.task_gradient
            if not teacher then return lu.assertEquals(added:norm():item(), 0) end
            local x = s.x:clone()
            local p = (model:forward(teacher, x) / T):softmax()
            local function loss(theta) -- up to what does not depend on theta
                return -(p * (model:forward(theta, x) / T):log_softmax()):sum(2):mean() * (T * T * w)
            end
            local want = bk.grad(loss)(s.theta)
            lu.assertTrue((added - want):norm():item() <= 1e-12 * (1 + want:norm():item()))
            checked = checked + 1
        end } })
    lu.assertEquals(checked, 20)
end

-- As T grows, T^2 times the distillation's gradient tends to that of half the mean squared distance of centred outputs
-- (Hinton, Vinyals & Dean 2015, 2.1), at first order in 1/T.
function TestBaselines:test_lwf_at_high_temperature()
    local temperatures, errors = { 30, 100, 300, 1000 }, {}
    for k, T in ipairs(temperatures) do
        local teacher
        run({ bk.intervention.lwf { temperature = T }, { name = "spy",
            end_task = function(s) teacher = s.theta:clone() end,
            before_step = function(s)
                if s.step ~= 15 then return end
                local x = s.x:clone()
                local old = model:forward(teacher, x)
                local want = bk.grad(function(theta)
                    local d = model:forward(theta, x) - old
                    return (d - d:mean(2):reshape { 8, 1 }):square():mean() / 2
                end)(s.theta)
                errors[k] = (s.gradient - s.task_gradient - want):norm():item() / want:norm():item()
            end } }, { tasks = { tasks[1], tasks[2] } })
    end
    lu.assertAlmostEquals(bk.statistics.slope(temperatures, errors), -1, 0.05)
end

-- Outputs are those of the step that met the example; with nothing learned since, the distance's gradient is 0.
function TestBaselines:test_der_keeps_outputs()
    local r = run({ bk.intervention.der { memory = 15, alpha = 3 }, { name = "spy", before_step = function(s)
        lu.assertEquals((s.gradient - s.task_gradient):norm():item(), 0)
    end } }, { lr = 0 })
    lu.assertTrue(r.theta == theta0)
    local at = {}
    local p = bk.protocol { model = model, tasks = tasks, steps = 6, lr = 0.1, batch = 8, evaluate = false,
        interventions = { bk.intervention.der { memory = 15, beta = 0.5 }, { name = "spy", before_step = function(s)
            local ids = s.problem:ids(s.task, s.batch_epoch, s.batch_first)
            local z = model:forward(s.theta, s.x):totable()
            for k, id in ipairs(ids) do
                local key = s.task .. ":" .. id
                at[key] = at[key] or {}
                table.insert(at[key], z[k])
            end
        end } } }
    p:run { theta = theta0 }
    local memory = p:state().memory[1]
    lu.assertEquals(#memory.outputs, 15)
    for slot, z in ipairs(memory.outputs) do
        local met, found = at[memory.reservoir.task[slot] .. ":" .. memory.reservoir.id[slot]], false
        for _, other in ipairs(met) do
            local same = true
            for c = 1, 3 do same = same and z[c] == other[c] end
            found = found or same
        end
        lu.assertTrue(found)
    end
end

-- One example in memory: what is added is known.
-- Probabilities and outputs are of the run's statistics, as gradients are.
function TestBaselines:test_batch_norm_of_the_run()
    local nn, r = bk.nn, bk.rng(5)
    local net = nn.sequential{ nn.linear{ 3, 6 }, nn.batch_norm{ 6 }, nn.linear{ 6, 2 } }
    local x0, y0 = r:normal{ 40, 3 } * 5 + 10, r:integers({ 40 }, 2)
    local seen, change, v
    local done = bk.protocol{ model = net, tasks = { { x = x0, y = y0 } }, lr = 0.05, steps = 20, batch = 10,
        interventions = { bk.intervention.ewc{ weight = 1, fisher = "exact", samples = 40 }, { name = "spy",
            end_task = function(s)
                v = bk.rng(6):normal{ net.n_params }
                seen = bk.intervention._fisher("test", s, bk.stream.new(1), 40, "exact")
                change = bk.measure.output_change(s, 1, v)
            end } } }:run{ theta = net:init{ seed = 1 } }
    local how = { buffers = done.buffers }
    local function z(t, x) return net:forward(t, x, how) end
    local expected
    for k = 1, 40 do
        local x = x0:narrow(1, k, 1)
        local p = z(done.theta, x):softmax():totable()[1]
        for c = 1, 2 do
            local label = bk.tensor({ c - 1 }, { dtype = "int64" })
            local g = bk.grad(function(t)
                local all = z(t, x)
                return (all:logsumexp() - all:take(label)):mean()
            end)(done.theta)
            local part = g * g * (p[c] / 40)
            expected = expected and expected + part or part
        end
    end
    lu.assertTrue((seen - expected):norm():item() <= 1e-10 * expected:norm():item())
    local _, moved = bk.jvp(function(t) return z(t, x0) end, { done.theta }, { v })
    lu.assertTrue((change - moved):norm():item() <= 1e-10 * moved:norm():item())
end

function TestBaselines:test_another_fisher_is_another_run()
    lu.assertNotEquals(bk.intervention.ewc { weight = 1, fisher = "exact" }.doc, bk.intervention.ewc { weight = 1 }.doc)
    lu.assertNotEquals(bk.intervention.online_ewc { weight = 1, fisher = "exact" }.doc,
        bk.intervention.online_ewc { weight = 1 }.doc)
end

function TestBaselines:test_der_needs_the_batch_it_keeps_outputs_of()
    lu.assertErrorMsgContains("bk.intervention.der: step 1: expected the 8 examples of the batch, whose outputs it "
        .. "keeps, got 2", run, { { name = "shorter", before_batch = function(s)
            s.x, s.y = s.x:narrow(1, 1, 2), s.y:narrow(1, 1, 2)
        end }, bk.intervention.der { memory = 15 } })
    lu.assertErrorMsgContains("weight: expected a finite number >= 0, got -1", bk.intervention.replay,
        { memory = 5, weight = -1 })
end

function TestBaselines:test_der_is_the_gradient_of_its_formula()
    for _, beta in ipairs { 0, 0.5 } do
        local der, checked = bk.intervention.der { memory = 1, alpha = 3, beta = beta }, 0
        run({ { name = "start", begin_run = der.begin_run, after_step = der.after_step,
            before_step = function(s, memory)
                der.before_step(s, memory)
                local m = memory.reservoir
                if #m.id == 0 then return end
                local t = tasks[m.task[1]]
                local x, y = t.x:narrow(1, m.id[1], 1), t.y:narrow(1, m.id[1], 1)
                local kept = bk.tensor { memory.outputs[1] }
                local want = bk.grad(function(theta)
                    return (model:forward(theta, x) - kept):square():mean() * 3
                end)(s.theta) + bk.grad(bk.loss.cross_entropy(model, x, y))(s.theta) * beta
                local added = s.gradient - s.task_gradient
                lu.assertTrue((added - want):norm():item() <= 1e-12 * (1 + want:norm():item()))
                checked = checked + 1
            end } })
        lu.assertEquals(checked, 29)
    end
end

function TestBaselines:test_online_ewc_by_hand()
    local checked = 0
    local ways = { empirical = true, sampled = true, exact = true, batched = true }
    for way in pairs(ways) do
        local F, anchor
        local hook = bk.intervention.online_ewc { weight = 2, decay = 0.5, samples = 30, fisher = way }
        local fisher = {}
        run({ hook, { name = "spy", before_step = function(s)
            local added = s.gradient - s.task_gradient
            if not F then return end
            local want = F * (s.theta - anchor) * 2
            lu.assertTrue((added - want):norm():item() <= 1e-12 * (1 + want:norm():item()))
            checked = checked + 1
        end, end_task = function(s)
            local draw = { key = bk.stream.key(s.seed, 3, 6), counter = fisher.counter or 0 }
            local f = bk.intervention._fisher("test", s, draw, 30, way)
            fisher.counter = draw.counter
            F, anchor = F and F * 0.5 + f or f, s.theta:clone()
        end } }, { lr = 0.05 })
    end
    lu.assertEquals(checked, 80)
end

-- The exact one is the mean over labels of their distribution, by the score's square written out; the sampled one's
-- mean tends to it, the empirical one is another thing.
function TestBaselines:test_fisher_information()
    local x = tasks[1].x:narrow(1, 1, 1)
    local one = { { x = x, y = tasks[1].y:narrow(1, 1, 1) } }
    local found = {}
    for way, samples in pairs { exact = 1, sampled = 4000, empirical = 1, batched = 1 } do
        run({ { name = "spy", end_task = function(s)
            found[way] = bk.intervention._fisher("test", s, { key = 7, counter = 0 }, samples, way)
            found.theta = s.theta:clone()
        end } }, { tasks = one, batch = "full", steps = 1, lr = 0 })
    end
    local p = model:forward(theta0, x):softmax():reshape { -1 }
    local want
    for c = 1, 3 do
        local function score(t) return model:forward(t, x):log_softmax():reshape { -1 }:narrow(1, c, 1):sum() end
        local g = bk.grad(score)(theta0)
        local part = g * g * p[c]
        want = want and want + part or part
    end
    lu.assertTrue((found.exact - want):norm():item() < 1e-14)
    lu.assertTrue((found.sampled - want):norm():item() < 0.05 * want:norm():item()) -- one key's draws, always the same
    lu.assertTrue(found.empirical == found.batched)
    lu.assertTrue((found.empirical - want):norm():item() > 0.1 * want:norm():item())
end

-- A label at each of two places: the sampled one's mean is that of the score's square over all nine pairs.
function TestBaselines:test_fisher_information_of_sequences()
    local model = bk.nn.sequential { bk.nn.embedding { 4, 3 }, bk.nn.gru { 3, 3 } }
    local x, y = bk.tensor({ { 2, 0 } }, { dtype = "int64" }), bk.tensor({ { 1, 1 } }, { dtype = "int64" })
    local theta, found = model:init { seed = 4 }
    local function at_end(way)
        run({ { name = "spy", end_task = function(s)
            found = bk.intervention._fisher("test", s, { key = 7, counter = 0 }, 4000, way)
        end } }, { model = model, tasks = { { x = x, y = y } }, batch = "full", steps = 1, lr = 0 }, theta)
    end
    at_end "sampled"
    local p, want = model:forward(theta, x):softmax():reshape { 2, 3 }:totable(), nil
    for a = 1, 3 do
        for b = 1, 3 do
            local function score(t)
                local z = model:forward(t, x):log_softmax():reshape { -1 }
                return (z:narrow(1, a, 1):sum() + z:narrow(1, 3 + b, 1):sum()) / 2
            end
            local g = bk.grad(score)(theta)
            local part = g * g * (p[1][a] * p[2][b])
            want = want and want + part or part
        end
    end
    lu.assertTrue((found - want):norm():item() < 0.05 * want:norm():item())
    lu.assertErrorMsgContains('test: fisher: "exact" needs one label an example, got y (1,2)', at_end, "exact")
end

-- min over s >= 0: the slopes are >= 0, and 0 where s > 0; singular matrices too.
function TestBaselines:test_the_cone()
    for seed = 1, 40 do
        local rng, n = bk.rng(seed), 1 + seed % 6
        local G = rng:normal { n, seed % 3 == 0 and math.max(1, n - 2) or n + 1 }
        local M, b = G:matmul(G:transpose()), G:matmul(rng:normal { G:shape()[2] })
        local s = bk.tensor(bk.intervention._cone.nonnegative(M:totable(), b:totable()))
        local slope = M:matmul(s) + b
        lu.assertTrue((-s):max():item() <= 0)
        lu.assertTrue((-slope):max():item() < 1e-9, seed)
        lu.assertTrue((slope * s):abs():max():item() < 1e-9, seed)
    end
end

function TestBaselines:test_bad_input_is_named()
    lu.assertErrorMsgContains("bk.intervention.si: strength: missing", bk.intervention.si, {})
    local x = tasks[1].x
    local own = { x = x, y = tasks[1].y, loss = function(m, t) return m:forward(t, x):square():mean() end }
    local numbers = { x = x, y = bk.zeros { 40, 3 }, loss = "mse" }
    for got, task in pairs { ["a function"] = own, ["bk.loss.mse"] = numbers } do
        lu.assertErrorMsgContains("of labels not smoothed, got " .. got, run,
            { bk.intervention.ewc { weight = 1, fisher = "exact" } }, { tasks = { task } })
    end
    lu.assertErrorMsgContains("fisher: expected \"empirical\", \"sampled\", \"exact\" or \"batched\"",
        bk.intervention.ewc, { weight = 1, fisher = "true" })
    lu.assertErrorMsgContains("temperature: expected a finite number > 0", bk.intervention.lwf, { temperature = 0 })
    local normed = bk.nn.sequential { bk.nn.linear { 4, 3 }, bk.nn.batch_norm { 3 } }
    for _, one in ipairs { bk.intervention.lwf {}, bk.intervention.der { memory = 3 } } do
        lu.assertErrorMsgContains("needs a model without running statistics", function()
            bk.protocol { model = normed, tasks = tasks, lr = 0.1, steps = 2, interventions = { one } }:run {}
        end)
    end
end

-- The memory holds as many examples of every task seen; a step averages its gradient with that of the memory's batch.
function TestBaselines:test_naive_rehearsal_divides_its_memory()
    local sizes, one = {}, nil
    local rehearsal = bk.intervention.naive_rehearsal { memory = 13 }
    local hooks = {}
    for name, value in pairs(rehearsal) do hooks[name] = value end
    function hooks.end_task(state, memory)
        rehearsal.end_task(state, memory)
        local count, seen = {}, {}
        for k, task in ipairs(memory.examples.task) do
            count[task] = (count[task] or 0) + 1
            local name = task .. "," .. memory.examples.id[k]
            lu.assertNil(seen[name])
            seen[name] = true
        end
        sizes[#sizes + 1] = count
    end
    run({ hooks })
    lu.assertEquals(sizes, { { 13 }, { 6, 6 }, { 4, 4, 4 } })
    -- one example in memory: its gradient is known
    local id
    local small = bk.intervention.naive_rehearsal { memory = 1 }
    run({ { name = "start", doc = "", end_task = small.end_task, begin_run = small.begin_run,
        before_step = function(s, memory)
            small.before_step(s, memory)
            if s.task == 2 and not one then
                id = memory.examples.id[1]
                local g = bk.grad(bk.loss.cross_entropy(model, tasks[1].x:narrow(1, id, 1),
                    tasks[1].y:narrow(1, id, 1)))(s.theta)
                one = (s.gradient - (s.task_gradient + g) * 0.5):norm():item()
            elseif s.task == 1 then
                lu.assertTrue(s.gradient == s.task_gradient)
            end
        end } })
    lu.assertTrue(one < 1e-14)
end

local HEADS = { { 0, 1, 2 }, { 1, 0, 2 }, { 2, 1, 0 } } -- the same classes, functions of their own

-- Full batches: joint steps on the mean of the losses. Minibatches: the same on average, whatever task is told.
function TestBaselines:test_joint_training_is_joint()
    local joint = bk.protocol { model = model, tasks = tasks, order = "joint", steps = 9, lr = 0.1, batch = "full",
        reduction = "mean", evaluate = false }:run { theta = theta0 }
    local r = run({ bk.intervention.joint_training {} }, { steps = 3, batch = "full" })
    lu.assertTrue((r.theta - joint.theta):norm():item() < 1e-14)
    local G = 0
    for i = 1, 3 do G = G + bk.grad(bk.loss.cross_entropy(model, tasks[i].x, tasks[i].y))(theta0) / 3 end
    for _, head in ipairs { false, true } do
        local list, sum, squares, n = {}, 0, 0, 3000
        for i, t in ipairs(tasks) do list[i] = { x = t.x, y = t.y, head = head and HEADS[i] or nil } end
        run({ bk.intervention.joint_training {}, { name = "spy", before_step = function(s)
            sum, squares = sum + s.gradient, squares + s.gradient:square()
        end } }, { tasks = list, steps = n // 3, lr = 0 })
        local mean = sum / n
        local deviation = ((squares / n - mean:square()) / n):sqrt()
        lu.assertTrue(((mean - G):abs() / (deviation + 1e-9)):max():item() < 4.5) -- always the same draws
    end
end

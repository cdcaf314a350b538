-- task_rates_test.lua - what records say of a round whose tasks have rates of their own: as bk.bea.continual has it and
-- as steps by hand come out; and which finished runs go on with more steps.
local bk = require "bracket"
local lu = require "luaunit"

local RATES = { 0.2, 0.02 }
local model = bk.nn.mlp { 3, 4, 1 }
local tasks = bk.tasks.regression { n = 2, examples = 20, inputs = 3, seed = 1 }
local start = model:init { seed = 1 }
local losses, gradients = {}, {}
for k = 1, 2 do
    losses[k] = bk.loss.mse(model, tasks[k].train.x, tasks[k].train.y)
    gradients[k] = bk.grad(losses[k])
end
local function protocol(options)
    local all = { model = model, tasks = tasks, order = "cyclic", batch = "full", steps = 4 }
    for name, value in pairs(options) do all[name] = value end
    return bk.protocol(all)
end
local function near(a, b, tolerance)
    lu.assertTrue(math.abs(a - b) <= (tolerance or 1e-12) * math.abs(b), ("%.17g, not %.17g"):format(a, b))
end

TestTaskRates = {}

function TestTaskRates.test_the_rate_that_is_none_is_named()
    local function fails(text, lr) lu.assertErrorMsgContains("bk.protocol: lr: " .. text, protocol, { lr = lr }) end
    fails("entry 2: expected a finite rate >= 0, got -1", { 0.1, -1 })
    fails("entry 2: expected a number, a function of (step, state) or a schedule, got \"fast\"", { 0.1, "fast" })
    fails("entry 1: expected a number, a function of (step, state) or a schedule, got a ", { { 0.1 }, 0.1 })
    fails("expected a finite rate >= 0, got inf", math.huge)
    for _, nan in ipairs{ 0 / 0, -(0 / 0) } do fails("expected a finite rate >= 0, got nan", nan) end
end

function TestTaskRates.test_records_of_a_round_step_each_task_at_its_rate()
    local function steps(theta, word, h)
        for _, k in ipairs(word) do theta = theta - gradients[k](theta) * h[k] end
        return (losses[1](theta) + losses[2](theta)):item()
    end
    local function by_hand(lr, hook)
        local points = {}
        local r = protocol { lr = lr, interventions = hook and { { before_step = hook } } or {}, record = { every = 1,
            "conflict", "order_effect", "flatness", "swap_effect", own = function(state)
                points[#points + 1] = state.theta
                return 0
            end } }:run { theta = start }.history
        return r, points
    end
    local function check(where, at, k, r, points)
        local theta, h = points[k], at(k)
        local terms = bk.bea.continual { losses = losses, lr = h }:terms(theta)
        near(r.conflict[k], terms.conflict_norm)
        near(r.flatness[k], terms.flatness)
        near(r.order_effect_realised[k], steps(theta, { 1, 2 }, h) - steps(theta, { 2, 1 }, h), 1e-9)
        local x = bk.concat { tasks[1].train.x, tasks[2].train.x }
        local function f(t) return model:forward(t, x) end
        local change = bk.bea.swap_effect(f, losses, theta, { lr = 1 })[1][2] * (h[1] * h[2])
        near(r.swap_effect_1_2[k], change:norm():item() / math.sqrt(#change:reshape { -1 }), 1e-9)
        lu.assertEquals(#points, 5, where)
    end
    local function constant() return RATES end
    local function falling(k) -- row k is of step k - 1; before the first step the rates are the first's
        local s = math.max(k - 1, 1)
        return { 0.2 / s, 0.02 / s }
    end
    for name, case in pairs {
        list = { RATES, constant },
        ["per_task"] = { bk.schedule.per_task(RATES), constant },
        ["of the task"] = { function(_, state) return RATES[state.task] end, constant },
        ["falling"] = { function(step, state) return RATES[state.task] / step end, falling },
        ["one for all"] = { function(step) return 0.1 / step end, function(k)
            return { 0.1 / math.max(k - 1, 1), 0.1 / math.max(k - 1, 1) }
        end },
    } do
        local r, points = by_hand(case[1])
        for k = 1, 5 do check(name, case[2], k, r, points) end
    end
    local r, points = by_hand(0.2, function(state) state.lr = RATES[state.task] end)
    for k = 3, 5 do check("hook", constant, k, r, points) end -- it has set both tasks' rates then
end

-- Finished runs and more steps: bit for bit those of the longer run, or refused.
function TestTaskRates.test_more_steps_are_those_of_the_longer_run_or_refused()
    local p = io.popen("mktemp -d")
    local root = p:read "l"
    p:close()
    local place = 0
    local function run(make, steps, name)
        local options = make()
        options.steps = steps
        return protocol(options):run { theta = start, out = root .. "/" .. name, resume = true, progress = false }
    end
    local function goes_on(make, from, to)
        place = place + 1
        run(make, from, "run" .. place)
        return run(make, to, "run" .. place), run(make, to, "whole" .. place)
    end
    local cosine = bk.schedule.cosine
    local function at_the_end(state) return not state:reaches(state.step + 1) end
    for _, make in pairs {
        ["a schedule of one task"] = function() return { lr = { cosine { lr = 0.1 }, 0.2 } } end,
        ["per_task"] = function() return { lr = bk.schedule.per_task { cosine { lr = 0.1 }, 0.2 } } end,
        ["at one step"] = function()
            return { lr = function(step, state) return step == 2 and 0.1 * step / state.total or 0.1 end }
        end,
        ["fuzzy"] = function() return { lr = 0.1, order = bk.order.fuzzy {} } end,
        ["an order"] = function()
            return { lr = 0.1, order = function(s, state) return s <= state.total / 2 and 1 or 2 end }
        end,
        ["a hook"] = function()
            return { lr = 0.1, interventions = { { before_step = function(s) s.lr = 0.1 / s.total end } } }
        end,
        ["the last step"] = function()
            return { lr = 0.1, interventions = { { before_step = function(s)
                if at_the_end(s) then s.gradient = s.gradient * 0 end
            end } } }
        end,
    } do
        lu.assertErrorMsgContains("was run with steps = 5, this protocol has 12, ", goes_on, make, 5, 12)
    end
    for name, make in pairs {
        ["of one's own length"] = function() return { lr = { cosine { lr = 0.1, steps = 20 }, 0.2 } } end,
        ["a conflict"] = function()
            return { lr = 0.1, interventions = { bk.intervention.conflict { strength = 0.3 } } }
        end,
        ["steps that are reached"] = function()
            return { lr = 0.1, interventions = { { before_step = function(s)
                if s.step < 4 and at_the_end(s) then s.gradient = s.gradient * 0 end
            end } } }
        end,
    } do
        local r, whole = goes_on(make, 5, 12)
        lu.assertTrue(r.theta == whole.theta, name)
    end
    local function conflicts() -- a window of several steps, cut
        return { lr = 0.1, order = { 1, 1, 2, 2 }, interventions = { bk.intervention.conflict { strength = 0.3 } } }
    end
    lu.assertErrorMsgContains("asked how long the run is", goes_on, conflicts, 3, 12)
    local r, whole = goes_on(conflicts, 2, 12)
    lu.assertTrue(r.theta == whole.theta)
    os.execute("rm -rf " .. root)
end

-- A state of a version that did not note all that is noted now: the run goes on, more steps are refused.
function TestTaskRates.test_a_state_of_an_earlier_version_goes_on()
    local options = { lr = RATES, record = { every = 1, "conflict" } }
    local whole = protocol(options):run { theta = start }
    local first, second = protocol(options), protocol(options)
    first:run { theta = start, stop = 2 }
    local saved = first:state()
    saved.rate_factors, saved.word_digest, saved.asked_total, saved.task_steps = nil, nil, nil, nil
    local r = second:restore(saved):run {}
    lu.assertTrue(r.theta == whole.theta)
    lu.assertEquals(r.history.conflict, whole.history.conflict)
    lu.assertTrue(second:state().asked_total)
end

-- A trace is of the run's seed and the step, and its interval holds the exact one about as often as it says.
function TestTaskRates.test_traces_are_drawn_anew()
    local exact, hits, rows = 0, 0, 0
    local H = bk.hessian(function(t) return losses[1](t) + losses[2](t) end)(start)
    for i = 1, #start do exact = exact + H[i][i]:item() end
    local seen = {}
    for seed = 1, 10 do
        local h = protocol { lr = 0, seed = seed, record = { every = 1, "trace" } }:run { theta = start }.history
        for k, value in ipairs(h.trace) do
            seen[value], rows = true, rows + 1
            hits = hits + (math.abs(value - exact) <= h.trace_half[k] and 1 or 0)
        end
    end
    local different = 0
    for _ in pairs(seen) do different = different + 1 end
    lu.assertEquals({ rows, different }, { 50, 50 })
    lu.assertTrue(hits >= 40, hits)
end

function TestTaskRates.test_accuracies_beside_losses_are_not_averaged()
    local x, y = bk.rng(1):normal { 10, 3 }, bk.rng(2):integers({ 10 }, 2)
    local m = bk.nn.mlp { 3, 2 }
    local function focal(own, theta, u, v)
        return -((own:forward(theta, u):log_softmax() * bk.one_hot(v, 2)):sum() / 10)
    end
    local function run(second)
        return bk.protocol { model = m, tasks = { { x = x, y = y }, second }, lr = 0.1, steps = 2 }:run {}
    end
    local mixed = run { x = -x, y = y, loss = focal }
    lu.assertEquals(mixed.metrics, {})
    lu.assertTrue(mixed.accuracy[2][1] >= 0 and mixed.accuracy[2][2] < 0)
    local right = run { x = -x, y = y, loss = focal, accuracy = function(z, v)
        return z:argmax(2):eq(v):to("float64"):mean():item()
    end }
    lu.assertTrue(right.metrics.average_accuracy >= 0)
    lu.assertErrorMsgContains("protocol:seeds: seeds: entry 3: 1 is entry 1 already", function()
        bk.protocol { model = m, tasks = { { x = x, y = y } }, lr = 0.1, steps = 2 }:seeds { seeds = { 1, 2, 1 } }
    end)
end

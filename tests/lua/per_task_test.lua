-- per_task_test.lua - schedules of single tasks: the rates they give, against values worked out by hand.
local bk = require "bracket"
local lu = require "luaunit"

TestPerTask = {}

local model = bk.nn.mlp{ 3, 1 }
local tasks = bk.tasks.regression{ n = 2, examples = 8, inputs = 3, seed = 1 }

local function protocol(options)
    options.model, options.tasks, options.batch, options.evaluate = model, tasks, "full", false
    options.interventions = options.interventions or {}
    return bk.protocol(options)
end

-- The rate of every step, as the run has it.
local function rates(options)
    local list = {}
    options.interventions = { { name = "spy", after_step = function(state) list[state.step] = state.lr end } }
    protocol(options):run{}
    return list
end

local function cosine(lr) return bk.schedule.cosine{ lr = lr } end
local function same(got, expected)
    lu.assertEquals(#got, #expected)
    for k, v in ipairs(expected) do lu.assertAlmostEquals(got[k], v, 1e-15, k) end
end

-- 5 steps of half a cosine from 1: 1, (1 + cos 45°)/2, 1/2, (1 + cos 135°)/2, 0
local HALF = { 1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0 }
local function times(c, list)
    local result = {}
    for k, v in ipairs(list) do result[k] = c * v end
    return result
end
local function joined(...)
    local all = {}
    for _, list in ipairs{ ... } do table.move(list, 1, #list, #all + 1, all) end
    return all
end

function TestPerTask.test_a_schedule_ends_with_its_task()
    for _, lr in ipairs{ { cosine(0.1), cosine(0.2) }, bk.schedule.per_task{ cosine(0.1), cosine(0.2) } } do
        same(rates{ steps = 5, lr = lr }, joined(times(0.1, HALF), times(0.2, HALF)))
        -- the other order: each task has the same rates
        same(rates{ steps = 5, order = bk.order.sequential{ order = { 2, 1 } }, lr = lr },
            joined(times(0.2, HALF), times(0.1, HALF)))
    end
    -- tasks of other lengths: 3 steps are 1, 1/2, 0
    same(rates{ steps = { 3, 5 }, lr = { cosine(0.1), cosine(0.2) } },
        joined(times(0.1, { 1, 0.5, 0 }), times(0.2, HALF)))
end

function TestPerTask.test_a_task_that_comes_back_goes_on()
    -- one step of each in turn: step k of a task is step k of its schedule
    local one, two = times(0.1, HALF), times(0.2, HALF)
    local turns, blocks = {}, {}
    for k = 1, 5 do turns[2 * k - 1], turns[2 * k] = one[k], two[k] end
    same(rates{ order = "cyclic", steps = 10, lr = { cosine(0.1), cosine(0.2) } }, turns)
    for _, k in ipairs{ 1, 3 } do
        blocks = joined(blocks, { one[k], one[k + 1] }, { two[k], two[k + 1] })
    end
    blocks = joined(blocks, { one[5] }) -- 9 steps: task 1 has 5 of them, task 2 has 4: 1, 3/4, 1/4, 0
    for k, v in pairs{ [3] = 1, [4] = 0.75, [7] = 0.25, [8] = 0 } do blocks[k] = 0.2 * v end
    same(rates{ order = bk.order.blocks{ size = 2 }, steps = 9, lr = { cosine(0.1), cosine(0.2) } }, blocks)
    local palindrome = { 0.1, 0.2, 0, 0 } -- 1, 2, 2, 1: two steps each
    same(rates{ order = { 1, 2, 2, 1 }, steps = 4, lr = { cosine(0.1), cosine(0.2) } }, palindrome)
end

function TestPerTask.test_every_schedule_counts_by_its_task()
    local linear, warmup = bk.schedule.linear, bk.schedule.warmup
    same(rates{ steps = 4, lr = { bk.schedule.step{ lr = 1, every = 2, factor = 0.5 }, linear{ lr = 0.3 } } },
        { 1, 1, 0.5, 0.5, 0.3, 0.2, 0.1, 0 })
    same(rates{ steps = 4, lr = { 0.1, warmup{ steps = 2, lr = 0.4, after = linear{ lr = 0.4 } } } },
        { 0.1, 0.1, 0.1, 0.1, 0.2, 0.4, 0.4, 0 })
    local seen = {}
    same(rates{ steps = 2, lr = { 0.1, function(step, state)
        seen[#seen + 1] = { step, state.step, state.total, state.task, state.task_steps[1], state.task_total(1) }
        return step / 10
    end } }, { 0.1, 0.1, 0.1, 0.2 })
    lu.assertEquals(seen, { { 1, 3, 2, 2, 2, 2 }, { 2, 4, 2, 2, 2, 2 } })
    -- outside a list nothing has changed: the run's step and total
    same(rates{ steps = 3, lr = linear{ lr = 0.5 } }, { 0.5, 0.4, 0.3, 0.2, 0.1, 0 })
    -- a warmup around it: tasks count from the run's first step
    same(rates{ steps = 3, lr = warmup{ steps = 2, after = bk.schedule.per_task{ cosine(0.1), cosine(0.2) } } },
        { 0.05, 0.1, 0, 0.2, 0.1, 0 })
end

-- The order matrix from these rates, known before the run and of one without a run, as the run has it.
function TestPerTask.test_order_matrix()
    local lr = { cosine(0.1), cosine(0.2) }
    for _, order in ipairs{ "cyclic", "reversed_pairs", { 1, 2, 2, 1 }, "random" } do
        local p = protocol{ order = order, steps = 8, lr = lr, seed = 3 }
        local W = p:order_matrix()
        lu.assertEquals(p:run{}.order_matrix, W)
        if type(order) == "string" then
            lu.assertEquals(bk.order[order]{}:matrix(2, { steps = 8, lr = lr, seed = 3 }), W)
        end
    end
    -- 1, 2 in turn, two steps each: task 1 has rates 0.1 and 0, task 2 0.2 and 0: W_12 = 0.1 * 0.2
    local W = bk.order.cyclic{}:matrix(2, { steps = 4, lr = lr })
    lu.assertAlmostEquals(W[1][2], 0.02, 1e-16)
end

function TestPerTask.test_an_order_of_ones_own_does_not_tell_the_total()
    local function order(step) return step % 3 == 0 and 2 or 1 end
    lu.assertErrorMsgContains("bk.schedule.cosine: steps: missing; an order that is a function does not tell how many "
        .. "steps task 1 will have", rates, { order = order, steps = 6, lr = { cosine(0.1), cosine(0.2) } })
    local function spanning(lr, steps) return bk.schedule.linear{ lr = lr, steps = steps } end
    same(rates{ order = order, steps = 6, lr = { spanning(0.3, 4), spanning(0.2, 2) } },
        { 0.3, 0.2, 0.2, 0.1, 0, 0 }) -- 1 1 2 1 1 2
end

-- Cut at every step, with and without what an older checkpoint does not have.
function TestPerTask.test_a_run_goes_on()
    local function make(order)
        return protocol{ order = order, steps = 8, seed = 2, lr = { cosine(0.1), bk.schedule.linear{ lr = 0.2 } } }
    end
    for _, order in ipairs{ "cyclic", "random", { 1, 2, 2 } } do
        local whole = make(order):run{}.theta
        for cut = 1, 7 do
            local first = make(order)
            first:run{ stop = cut }
            local saved = first:state()
            lu.assertTrue(make(order):restore(saved):run{}.theta == whole)
            saved.task_steps = nil
            lu.assertTrue(make(order):restore(saved):run{}.theta == whole)
        end
    end
end

-- A rate that asks for its task's total is another in a longer run: the folder's is not gone on with.
function TestPerTask.test_longer_runs()
    local out = os.tmpname()
    os.remove(out)
    local function run(steps, lr)
        return protocol{ order = "cyclic", steps = steps, lr = lr }:run{ out = out, resume = true }
    end
    local constant = { 0.1, bk.schedule.step{ lr = 0.1, every = 2 } }
    run(4, constant)
    lu.assertEquals(run(6, constant).steps, 6)
    os.execute("rm -rf " .. out)
    run(4, { 0.1, cosine(0.2) })
    lu.assertErrorMsgContains("was run with steps = 4, this protocol has 6", run, 6, { 0.1, cosine(0.2) })
    os.execute("rm -rf " .. out)
end

function TestPerTask.test_trials_have_the_runs_rates()
    local seen = {}
    local function spy(step, state)
        seen[#seen + 1] = { state.task, step, state.total }
        return 0.1
    end
    protocol{ order = bk.order.planned{ budget = 1, stride = 1 }, steps = 3, lr = { spy, spy } }:run{}
    for _, s in ipairs(seen) do lu.assertTrue(s[2] >= 1 and s[2] <= 3 and s[3] == 3) end
    lu.assertTrue(#seen > 6)
    -- what a rate sees of a run is not to be set by it
    lu.assertErrorMsgContains("state.lr cannot be set in a schedule", rates, { steps = 1, lr = { 0.1,
        function(_, state) state.lr = 2 return 0.1 end } })
end

-- bk.order.planned: its trials are the run itself, what it finds is the best of what it tried, its options act.
local lu = require "luaunit"
local bk = require "bracket"
local model = bk.nn.mlp{ 6, 8, 4, activation = "tanh" }

-- n tasks by random linear rules; each with test data of its own.
local function make_tasks(n)
    local tasks = {}
    for i = 1, n do
        local rng = bk.rng(300 + i)
        local rule = rng:normal{ 6, 4 }
        local function part(m)
            local x = rng:normal{ m, 6 }
            return { x = x, y = x:matmul(rule):argmax(2) }
        end
        tasks[i] = { train = part(60), test = part(40) }
    end
    return tasks
end
local function protocol(options)
    local o = { model = model, tasks = make_tasks(4), lr = 0.2, steps = 9, batch = 16, seed = 5 }
    for name, value in pairs(options) do o[name] = value end
    return bk.protocol(o)
end

-- Mean over the tasks of loss less accuracy on their training examples, all of them.
local function worth(tasks, theta)
    local loss, sum = bk.loss.cross_entropy(model), 0
    for _, t in ipairs(tasks) do
        local x, y = t.train.x, t.train.y
        sum = sum + loss(theta, x, y):item() - bk.loss.cross_entropy:accuracy(model)(theta, x, y):item()
    end
    return sum / #tasks
end

local function permutations(n)
    local list = {}
    local function go(order, left)
        if #left == 0 then list[#list + 1] = order end
        for k, i in ipairs(left) do
            local rest, longer = table.move(left, 1, #left, 1, {}), table.move(order, 1, #order, 1, {})
            table.remove(rest, k)
            longer[#longer + 1] = i
            go(longer, rest)
        end
    end
    local all = {}
    for i = 1, n do all[i] = i end
    go({}, all)
    return list
end

TestPlanned = {}
-- Trials of stride 1 are the run: with a schedule, an optimizer with memory, steps that differ and batches over several
-- epochs the value found is that of the run's own end.
function TestPlanned:test_the_value_is_the_runs_own()
    for _, optimizer in ipairs{ "sgd", "adam", "heavy_ball" } do
        for _, reset in ipairs{ true, false } do
            local tasks = make_tasks(4)
            local r = protocol{ tasks = tasks, order = bk.order.planned{ budget = 4, samples = 60, stride = 1 },
                optimizer = bk.optim[optimizer]{}, lr = bk.schedule.cosine{ lr = 0.1 }, steps = { 7, 9, 4, 11 },
                reset_optimizer = reset }:run{}
            lu.assertAlmostEquals(r.plan.value, worth(tasks, r.theta), 1e-12, optimizer)
            lu.assertTrue(r.finished)
        end
    end
end
function TestPlanned:test_models_that_draw_and_keep_statistics()
    local drawing = bk.nn.sequential{ bk.nn.linear{ 6, 8 }, bk.nn.batch_norm{ 8 }, bk.nn.tanh(), bk.nn.dropout{ 0.3 },
        bk.nn.linear{ 8, 4 } }
    local tasks = make_tasks(3)
    local function run(order)
        return protocol{ model = drawing, tasks = tasks, order = order }:run{}
    end
    local r = run(bk.order.planned{ budget = 3, stride = 1, samples = 60 })
    local same = run(bk.order.sequential{ order = r.learned })
    lu.assertEquals(r.theta:totable(), same.theta:totable()) -- planning left nothing behind
    lu.assertEquals(r.buffers:totable(), same.buffers:totable())
    local sum = 0
    for _, t in ipairs(tasks) do
        local p = protocol{ model = drawing, tasks = { { train = t.train } }, order = "sequential", steps = 1, lr = 0,
            batch = "full" }
        local now = p:run{ theta = r.theta, buffers = r.buffers }
        sum = sum + now.test_loss[0][1] - now.accuracy[0][1]
    end
    lu.assertAlmostEquals(r.plan.value, sum / 3, 1e-12)
end
-- Given room enough it finds the best of all 24 orders, and with worst the worst.
function TestPlanned:test_against_brute_force()
    local tasks, values = make_tasks(4), {}
    for k, order in ipairs(permutations(4)) do
        values[k] = worth(tasks, protocol{ tasks = tasks, order = bk.order.sequential{ order = order } }:run{}.theta)
    end
    table.sort(values)
    local function planned(options)
        options.budget, options.samples, options.stride = 60, 60, 1
        return protocol{ tasks = tasks, order = bk.order.planned(options) }:run{}.plan
    end
    lu.assertAlmostEquals(planned{}.value, values[1], 1e-12)
    lu.assertAlmostEquals(planned{ worst = true }.value, values[24], 1e-12)
end
function TestPlanned:test_targets()
    local tasks = make_tasks(4)
    local function run(target)
        return protocol{ tasks = tasks, order = bk.order.planned{ target = target, budget = 10, samples = 60,
            stride = 1 } }:run{}
    end
    local r = run(2)
    lu.assertAlmostEquals(r.plan.value, worth({ tasks[2] }, r.theta), 1e-12)
    lu.assertEquals(r.learned[4], 2)
    local own = { x = tasks[3].test.x, y = tasks[3].test.y }
    r = run(own)
    lu.assertAlmostEquals(r.plan.value, worth({ { train = own } }, r.theta), 1e-12)
    -- where a loss has no accuracy the loss alone counts
    local regression = bk.tasks.regression{ n = 3, seed = 1 }
    r = bk.protocol{ model = bk.nn.mlp{ 4, 8, 1 }, tasks = regression, order = "tournament", steps = 5,
        lr = 0.05 }:run{}
    lu.assertEquals(#r.learned, 3)
end
function TestPlanned:test_cost_and_coarse_trials()
    local r = protocol{ order = bk.order.planned{ budget = 12, samples = 10, stride = 3 } }:run{}
    lu.assertTrue(r.plan.cost <= 12)
    lu.assertEquals(r.plan.stride, 3)
    local fine = protocol{ order = bk.order.planned{ budget = 12, samples = 10, stride = 1 } }:run{}
    lu.assertTrue(r.plan.trials > fine.plan.trials)
    for optimizer, stride in pairs{ sgd = 3, adam = 1 } do
        r = protocol{ steps = 40, order = bk.order.planned{ budget = 3 }, optimizer = bk.optim[optimizer]{} }:run{}
        lu.assertEquals(r.plan.stride, stride)
    end
    lu.assertTrue(protocol{ order = bk.order.planned{ budget = 0.1 } }:run{}.finished) -- one trial, the first
end
function TestPlanned:test_few_tasks_and_runs_again()
    for n = 1, 2 do lu.assertEquals(#protocol{ tasks = make_tasks(n), order = "tournament" }:run{}.learned, n) end
    local a = protocol{ order = bk.order.planned{ budget = 5 } }
    local b = a:run{}
    lu.assertEquals(a:run{ seed = 5 }.theta:totable(), b.theta:totable())
end
function TestPlanned:test_training_that_leaves_the_numbers()
    lu.assertErrorMsgContains("loss is", function()
        local relu = bk.nn.mlp{ 6, 8, 4, activation = "relu" }
        protocol{ model = relu, lr = 1e200, order = bk.order.planned{ budget = 5 } }:run{}
    end)
end
function TestPlanned:test_errors()
    lu.assertErrorMsgContains('bk.order.planned: target: expected "average"', function()
        bk.order.planned{ target = "avrage" }
    end)
    lu.assertErrorMsgContains("expected \"average\" or a task 1..4, got 9", function()
        protocol{ order = bk.order.planned{ target = 9 } }:run{}
    end)
    lu.assertErrorMsgContains("bk.order.planned: target: expected a table { x = tensor, y = tensor }", function()
        protocol{ order = bk.order.planned{ target = {} } }:run{}
    end)
    lu.assertErrorMsgContains("known once a run has started", function()
        protocol{ order = bk.order.planned{} }:order_matrix()
    end)
    lu.assertErrorMsgContains("bk.order.tournament: the order is known once a run has started", function()
        protocol{ order = "tournament" }:order_matrix()
    end)
end

TestForecast = {}
-- Three tasks, two orders tried: posterior by the inverse of a 2 x 2 matrix, the expectation by Simpson's rule.
function TestForecast:test_against_a_posterior_written_out()
    local left = { { 0.49, 0.7, 1 }, { 1, 0.49, 0.7 }, { 0.7, 1, 0.49 } } -- u of the orders 1,2,3  2,3,1  3,1,2
    local orders = { { 1, 2, 3 }, { 2, 3, 1 }, { 3, 1, 2 } }
    local unit = 0
    for _, u in ipairs{ 0.49, 0.7, 1 } do unit = unit + (u - 2.19 / 3) ^ 2 end
    local function correlation(a, b)
        local d = 0
        for i = 1, 3 do d = d + (left[a][i] - left[b][i]) ^ 2 / unit end
        return math.exp(-d / 2)
    end
    local v, noise = { 0.3, 0.5 }, 0.01
    local k = correlation(1, 2)
    local mean = 0.4 -- both tried orders weigh the same
    local residual = { v[1] - mean, v[2] - mean }
    local determinant = (1 + noise) ^ 2 - k * k
    local function times(b) -- the inverse of (1 + noise, k; k, 1 + noise)
        return { ((1 + noise) * b[1] - k * b[2]) / determinant, ((1 + noise) * b[2] - k * b[1]) / determinant }
    end
    local function dot(a, b) return a[1] * b[1] + a[2] * b[2] end
    local s2 = dot(residual, times(residual)) / 2
    local f = bk.order._forecast.new(3)
    f:add(orders[1], v[1])
    f:add(orders[2], v[2])
    local got = f:improvement(orders)
    for q = 1, 3 do
        local cross = { correlation(q, 1), correlation(q, 2) }
        local expected, sd = mean + dot(cross, times(residual)), math.sqrt(s2 * (1 + noise - dot(cross, times(cross))))
        local sum, low, steps = 0, expected - 10 * sd, 20000
        local h = (v[1] - low) / steps
        for i = 0, steps do
            local x = low + i * h
            local weight = (i == 0 or i == steps) and 1 or i % 2 == 1 and 4 or 2
            sum = sum + weight * (v[1] - x) * math.exp(-((x - expected) / sd) ^ 2 / 2)
        end
        lu.assertAlmostEquals(got[q], sum * h / 3 / (sd * math.sqrt(2 * math.pi)), 1e-9)
    end
end
-- What counts is what was learned last: from a third of the orders of five tasks the forecast ranks the others.
function TestForecast:test_ranks_orders_it_has_not_seen()
    local worth, all = { 0.3, -1.2, 0.8, 0.1, 2.0 }, permutations(5)
    local function value(order)
        local sum = 0
        for place, i in ipairs(order) do sum = sum + worth[i] * math.exp((place - 5) / 2) end
        return math.sin(sum)
    end
    local f, unseen, real = bk.order._forecast.new(5), {}, {}
    for k, order in ipairs(all) do
        if k % 3 == 0 then f:add(order, value(order))
        else unseen[#unseen + 1], real[#real + 1] = order, -value(order) end
    end
    local best, most = 1, -1
    for k, g in ipairs(f:improvement(unseen)) do
        if g > most then best, most = k, g end
    end
    local better = 0
    for _, r in ipairs(real) do better = better + (r > real[best] + 1e-12 and 1 or 0) end
    lu.assertTrue(better <= 2, better)
end

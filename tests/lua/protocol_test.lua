-- Protocols: orders, schedules, state in and out, records, metrics, errors.
local lu = require "luaunit"
local bk = require "bracket"

-- n small classification tasks with shared inputs and labels by random linear rules.
local function make_tasks(n, examples, inputs, classes)
    local tasks = {}
    for i = 1, n do
        local rng = bk.rng(100 + i)
        local x = rng:normal{ examples, inputs }
        local y = x:matmul(rng:normal{ inputs, classes }):argmax(2)
        tasks[i] = { name = "rule " .. i, train = { x = x, y = y }, loss = "cross_entropy", classes = classes }
    end
    return tasks
end
local model = bk.nn.mlp{ 5, 8, 3, activation = "tanh" }
local tasks = make_tasks(3, 50, 5, 3)
local function same_bits(a, b)
    local u, v = a:totable(), b:totable()
    if #u ~= #v then return false end
    for k = 1, #u do
        if u[k] ~= v[k] then return false end
    end
    return true
end
local function protocol(options)
    local o = { model = model, tasks = tasks, lr = 0.1, steps = 12, batch = 16, seed = 3 }
    if options.epochs then o.steps = nil end
    for name, value in pairs(options) do o[name] = value end
    return bk.protocol(o)
end

TestOrders = {}
local function words(order, n, steps)
    local state = { n_tasks = n, steps = steps, seed = 1, steps_of = function() return steps end }
    local total, at = order.setup(state, {})
    local list = {}
    for s = 1, total do list[s] = (at(s)) end
    return list
end
function TestOrders:test_words()
    lu.assertEquals(words(bk.order.sequential{}, 3, 2), { 1, 1, 2, 2, 3, 3 })
    lu.assertEquals(words(bk.order.sequential{ order = { 3, 1 } }, 3, 2), { 3, 3, 1, 1 })
    lu.assertEquals(words(bk.order.cyclic{}, 3, 7), { 1, 2, 3, 1, 2, 3, 1 })
    lu.assertEquals(words(bk.order.palindromic{}, 3, 8), { 1, 2, 3, 3, 2, 1, 1, 2 })
    lu.assertEquals(words(bk.order.blocks{ size = 2 }, 2, 6), { 1, 1, 2, 2, 1, 1 })
    lu.assertEquals(words(bk.order.word{ 1, 2, 2, 1 }, 2, nil), { 1, 2, 2, 1 })
    lu.assertEquals(words(bk.order.joint{}, 2, 2), { 0, 0 })
end
function TestOrders:test_random_visits_every_task_once_a_round()
    local list = words(bk.order.random{}, 4, 40)
    local differs = false
    for r = 0, 9 do
        local round = { table.unpack(list, 4 * r + 1, 4 * r + 4) }
        differs = differs or table.concat(round) ~= "1234"
        table.sort(round)
        lu.assertEquals(round, { 1, 2, 3, 4 })
    end
    lu.assertTrue(differs)
end
function TestOrders:test_matrices()
    lu.assertEquals(bk.order.cyclic{}:matrix(3), { { 0, 1, 1 }, { -1, 0, 1 }, { -1, -1, 0 } })
    lu.assertEquals(bk.order.palindromic{}:matrix(3), { { 0, 0, 0 }, { 0, 0, 0 }, { 0, 0, 0 } })
    lu.assertEquals(bk.order.sequential{}:matrix(2, { steps = 3, lr = 0.5 }), { { 0, 2.25 }, { -2.25, 0 } })
    lu.assertEquals(bk.order.joint{}:matrix(2, { steps = 3 }), { { 0, 0 }, { 0, 0 } })
    lu.assertEquals(bk.order.cyclic{}:matrix(2, { steps = 2, lr = { 0.1, 0.2 } })[1][2], 0.1 * 0.2)
end
function TestOrders:test_a_run_measures_its_order_matrix()
    local p = protocol{ order = "cyclic", steps = 9, lr = { 0.1, 0.2, 0.3 } }
    local W = p:order_matrix()
    local r = p:run{}
    for i = 1, 3 do
        for j = 1, 3 do lu.assertAlmostEquals(r.order_matrix[i][j], W[i][j], 1e-15) end
    end
    lu.assertTrue(math.abs(W[1][2]) > 0.01)
    local word = bk.bea.word{ { bk.loss.cross_entropy(model, tasks[1].train.x, tasks[1].train.y), 0.1 },
        { bk.loss.cross_entropy(model, tasks[2].train.x, tasks[2].train.y), 0.2 } }
    local V = word:order_matrix()
    if type(V) == "userdata" then V = V:totable() end
    lu.assertAlmostEquals(V[1][2], bk.order.word{ 1, 2 }:matrix(2, { lr = { 0.1, 0.2 } })[1][2], 1e-15)
end
function TestOrders:test_an_order_that_reads_the_state_has_the_matrix_of_its_run()
    local p = protocol{ order = function(_, state) return state.step % 2 + 1 end, steps = 2, lr = { 0.1, 0.2 },
        tasks = { tasks[1], tasks[2] } }
    lu.assertAlmostEquals(p:order_matrix()[2][1], 0.2 * 0.1, 1e-15) -- task 2 first
    lu.assertAlmostEquals(p:run{}.order_matrix[2][1], 0.2 * 0.1, 1e-15)
    local by_rate = protocol{ order = function(_, state) return state.lr > 0.3 and 1 or 2 end, steps = 4,
        lr = function(step, state) return state.task and step / 10 or 0 end }
    lu.assertEquals(by_rate:order_matrix(), by_rate:run{}.order_matrix)
end
function TestOrders:test_function_and_word()
    local seen = {}
    local r = protocol{ order = function(step) return step % 2 + 1 end, steps = 4, interventions = { { name = "spy",
        after_step = function(state) seen[#seen + 1] = state.task end } } }:run{}
    lu.assertEquals(seen, { 2, 1, 2, 1 })
    lu.assertEquals(r.steps, 4)
    lu.assertEquals(protocol{ order = { 1, 2, 2, 1 }, steps = 8 }:run{}.steps, 8)
end
function TestOrders:test_tournament_is_the_order_of_the_scores()
    local theta = model:init{ seed = 5 }
    local p = protocol{ order = bk.order.tournament{ target = 3 }, steps = 2 }
    local r = p:run{ theta = theta }
    local losses = {}
    for i, t in ipairs(tasks) do losses[i] = bk.loss.cross_entropy(model, t.train.x, t.train.y) end
    local expected = bk.bea.tournament{ sources = losses, target = losses[3], theta = theta }
    lu.assertEquals(r.learned, expected.order)
    for i = 1, 3 do lu.assertAlmostEquals(r.scores[i], expected.scores[i],
        1e-12 + 1e-9 * math.abs(expected.scores[i])) end
end

TestSchedules = {}
function TestSchedules:test_values()
    local state = { total = 11, task = 2 }
    lu.assertEquals(bk.schedule.constant{ lr = 0.3 }(5, state), 0.3)
    lu.assertAlmostEquals(bk.schedule.step{ lr = 1, every = 2, factor = 0.5 }(5, state), 0.25, 1e-15)
    lu.assertAlmostEquals(bk.schedule.linear{ lr = 1, final = 0 }(6, state), 0.5, 1e-15)
    lu.assertAlmostEquals(bk.schedule.cosine{ lr = 1, final = 0 }(1, state), 1, 1e-15)
    lu.assertAlmostEquals(bk.schedule.cosine{ lr = 1, final = 0 }(6, state), 0.5, 1e-15)
    lu.assertAlmostEquals(bk.schedule.cosine{ lr = 1, final = 0.1 }(11, state), 0.1, 1e-15)
    lu.assertAlmostEquals(bk.schedule.warmup{ steps = 4, lr = 1 }(1, state), 0.25, 1e-15)
    lu.assertAlmostEquals(bk.schedule.warmup{ steps = 1, lr = 1, after = bk.schedule.cosine{ lr = 1 } }(11, state),
        0, 1e-15)
    local one = bk.schedule.one_cycle{ lr = 1 }
    lu.assertAlmostEquals(one(1, state), 1 / 25, 1e-12)
    lu.assertAlmostEquals(one(4, state), 1, 1e-12)
    lu.assertAlmostEquals(one(11, state), 1 / 250000, 1e-12)
    lu.assertEquals(bk.schedule.per_task{ 0.1, 0.2 }(1, state), 0.2)
end
function TestSchedules:test_a_function_sees_what_was_recorded()
    local seen = {}
    protocol{ order = "cyclic", steps = 4, record = { every = 1, "conflict" }, lr = function(step, state)
        seen[step] = state.recorded.conflict
        return 0.1
    end }:run{}
    for k = 1, 4 do lu.assertTrue(seen[k] > 0) end
end

TestSteps = {}
function TestSteps:test_full_batch_is_plain_gradient_descent()
    local theta = model:init{ seed = 2 }
    local r = protocol{ order = { 1, 2, 3 }, batch = "full", steps = 3, lr = 0.2 }:run{ theta = theta }
    for i = 1, 3 do
        theta = theta - bk.grad(bk.loss.cross_entropy(model, tasks[i].train.x, tasks[i].train.y))(theta) * 0.2
    end
    lu.assertAlmostEquals((theta - r.theta):norm():item(), 0, 1e-13)
end
-- Columns of a table, rows turned into columns, one row for all: what does not lie row after row is taken all the same.
function TestSteps:test_views_train_as_their_copies_do()
    local table_, ids = bk.rng(1):normal{ 12, 12 }, bk.rng(2):integers({ 12, 5 }, 7)
    local words = bk.nn.sequential{ bk.nn.embedding{ 7, 3 }, bk.nn.linear{ 3, 7 } }
    local cases = {
        { bk.nn.mlp{ 3, 2 }, table_:narrow(2, 1, 3), table_:narrow(2, 4, 2), "mse" },
        { bk.nn.mlp{ 3, 2 }, table_:transpose():narrow(2, 1, 3), bk.ones{ 1, 2 }:broadcast_to{ 12, 2 }, "mse" },
        { words, ids:narrow(2, 1, 4), ids:narrow(2, 2, 4), "cross_entropy" },
    }
    for k, case in ipairs(cases) do
        for _, batch in ipairs{ 5, "full" } do
            local function train(x, y)
                local task = { x = x, y = y, loss = case[4] }
                return bk.protocol{ model = case[1], tasks = { task, task }, steps = 4, lr = 0.1, batch = batch,
                    interventions = { bk.intervention.replay{ memory = 6 } } }:run{}.theta
            end
            lu.assertTrue(train(case[2], case[3]) == train(case[2]:clone(), case[3]:clone()), k)
        end
    end
end
function TestSteps:test_joint_is_the_gradient_of_the_sum_or_mean()
    for reduction, scale in pairs{ sum = 1, mean = 1 / 3 } do
        local theta = model:init{ seed = 2 }
        local r = protocol{ order = "joint", batch = "full", steps = 1, lr = 0.2, reduction = reduction }:run{
            theta = theta }
        local g
        for i = 1, 3 do
            local part = bk.grad(bk.loss.cross_entropy(model, tasks[i].train.x, tasks[i].train.y))(theta)
            g = g and g + part or part
        end
        lu.assertAlmostEquals((theta - g * (0.2 * scale) - r.theta):norm():item(), 0, 1e-13)
    end
end
function TestSteps:test_an_epoch_visits_every_example_once()
    local n = 48
    local x = bk.zeros{ n, 5 }
    local y = bk.zeros({ n }, { dtype = "int64" })
    local seen = {}
    protocol{ tasks = { { x = x, y = y } }, epochs = 2, batch = 8, interventions = { { name = "spy",
        after_step = function(state)
        for _, id in ipairs(state.problem:ids(1, state.batch_epoch, state.batch_first)) do seen[id] = (seen[id]
            or 0) + 1 end
    end } } }:run{}
    for id = 1, n do lu.assertEquals(seen[id], 2) end
end
function TestSteps:test_a_batch_holds_the_rows_its_ids_name()
    local count = 0
    protocol{ order = "cyclic", steps = 6, interventions = { { name = "spy", after_step = function(state)
        local ids, rows = state.problem:ids(state.task, state.batch_epoch, state.batch_first), state.x:totable()
        local all = tasks[state.task].train.x:totable()
        local labels, batch = tasks[state.task].train.y:totable(), state.y:totable()
        for k, id in ipairs(ids) do
            lu.assertEquals(rows[k], all[id])
            lu.assertEquals(batch[k], labels[id])
            count = count + 1
        end
        local x, y = state.problem:again(state.task, state.batch_epoch, state.batch_first)
        lu.assertEquals(x:totable(), rows)
        lu.assertEquals(y:totable(), batch)
    end } } }:run{}
    lu.assertEquals(count, 6 * 16)
end
function TestSteps:test_same_seed_same_bits_and_another_seed_other_bits()
    local a, b = protocol{ order = "random" }:run{ theta = model:init{ seed = 1 } }, protocol{
        order = "random" }:run{ theta = model:init{ seed = 1 } }
    lu.assertTrue(same_bits(a.theta, b.theta))
    local c = protocol{ order = "random", seed = 4 }:run{ theta = model:init{ seed = 1 } }
    lu.assertFalse(same_bits(a.theta, c.theta))
end
function TestSteps:test_same_bits_at_any_thread_count()
    local script = [=[
        local bk = require "bracket"
        local model, rng, tasks = bk.nn.mlp{ 300, 128, 64, 10 }, bk.rng(1), {}
        for i = 1, 3 do
            local x = rng:normal{ 200, 300 }
            tasks[i] = { x = x, y = x:matmul(rng:normal{ 300, 10 }):argmax(2) }
        end
        for _, order in ipairs{ "joint", "cyclic" } do
            local r = bk.protocol{ model = model, tasks = tasks, order = order, lr = 0.05, steps = 12, batch = 100,
  dtype = "float32",
                interventions = { bk.intervention.conflict{ strength = 0 } } }:run{}
            for k, v in ipairs(r.theta:totable()) do
                if k % 997 == 0 then io.write(string.format("%a ", v)) end
            end
            io.write(string.format("%a ", r.test_loss[#r.test_loss][1]))
        end]=]
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(script)
    file:close()
    local outputs = {}
    for k, threads in ipairs{ 1, 2, 8 } do
        local pipe = assert(io.popen(string.format("%s/bracket --threads %d %s", os.getenv("BRACKET_BUILD") or "build",
            threads, path)))
        outputs[k] = pipe:read("a")
        pipe:close()
    end
    os.remove(path)
    lu.assertTrue(#outputs[1] > 500)
    lu.assertEquals(outputs[2], outputs[1])
    lu.assertEquals(outputs[3], outputs[1])
end
function TestSteps:test_evaluation_can_be_left_out()
    local a, b = protocol{ evaluate = false }:run{}, protocol{}:run{}
    lu.assertEquals(a.accuracy, {})
    lu.assertEquals(#b.accuracy, 3)
    lu.assertTrue(same_bits(a.theta, b.theta))
end
function TestSteps:test_a_second_run_of_one_protocol_is_the_first_again()
    local p = protocol{ order = "cyclic", optimizer = bk.optim.adam{} }
    local a, b = p:run{}, p:run{}
    lu.assertTrue(same_bits(a.theta, b.theta))
end
function TestSteps:test_float32_runs_in_float32()
    lu.assertEquals(protocol{ dtype = "float32" }:run{}.theta:dtype(), "float32")
end
function TestSteps:test_optimizer_is_reset_at_task_boundaries_on_request()
    local function run(reset)
        return protocol{ steps = 3, optimizer = bk.optim.momentum_ema{ beta = 0.9 },
            reset_optimizer = reset }:run{}.theta
    end
    lu.assertFalse(same_bits(run(true), run(false)))
end
function TestSteps:test_hooks_are_called_in_order()
    local calls = {}
    local iv = { name = "spy" }
    for _, name in ipairs{ "begin_run", "begin_task", "before_step", "after_step", "end_task", "end_run" } do
        iv[name] = function() calls[#calls + 1] = name end
    end
    protocol{ steps = 1, interventions = { iv }, tasks = make_tasks(2, 20, 5, 3) }:run{}
    lu.assertEquals(calls, { "begin_run", "begin_task", "before_step", "after_step", "end_task", "begin_task",
        "before_step",
        "after_step", "end_task", "end_run" })
end
function TestSteps:test_regression_tasks()
    local m = bk.nn.mlp{ 4, 6, 2 }
    local rng, list = bk.rng(1), {}
    for i = 1, 2 do list[i] = { loss = "mse", x = rng:normal{ 30, 4 }, y = rng:normal{ 30, 2 } } end
    local r = bk.protocol{ model = m, tasks = list, lr = 0.1, steps = 40, batch = 10 }:run{}
    lu.assertTrue(r.test_loss[2][2] < r.test_loss[0][2])
    lu.assertEquals(r.accuracy[2][1], -r.test_loss[2][1])
end
function TestSteps:test_a_head_restricts_the_classes()
    local x = bk.rng(1):normal{ 40, 5 }
    local labels = {}
    for k = 1, 40 do labels[k] = k % 2 + 1 end
    local y = bk.tensor(labels, { dtype = "int64" })
    local theta = model:init{ seed = 1 }
    local f = bk._functions.of(model, { head = { 1, 2 } }, 3)
    local logits, expected = model:forward(theta, x):totable(), 0
    for k = 1, 40 do
        local a, b = logits[k][2], logits[k][3]
        expected = expected + (math.log(math.exp(a) + math.exp(b)) - logits[k][labels[k] + 1]) / 40
    end
    lu.assertAlmostEquals(f.value(theta, x, y):item(), expected, 1e-12)
    local r = protocol{ tasks = { { x = x, y = y, head = { 1, 2 } } }, steps = 30, lr = 0.3 }:run{}
    lu.assertTrue(r.test_loss[1][1] < expected)
    lu.assertTrue(r.accuracy[1][1] > 0.5)
end

TestState = {}
-- A run split in two by state and restore, in a new protocol, is bit-equal to one that was not.
local function split(options)
    local full = protocol(options()):run{}
    for _, cut in ipairs{ 1, 5, 12, 13 } do
        local first = protocol(options())
        local part = first:run{ stop = cut }
        lu.assertEquals(part.steps, cut)
        local saved = first:state()
        first:run{} -- going on must not change what was saved
        local second = protocol(options()):restore(saved)
        local r = second:run{}
        lu.assertTrue(same_bits(full.theta, r.theta))
        lu.assertEquals(r.history, full.history)
        lu.assertEquals(r.accuracy, full.accuracy)
        lu.assertEquals(r.order_matrix, full.order_matrix)
        lu.assertEquals(r.learned, full.learned)
    end
    lu.assertTrue(full.finished)
    return full
end
function TestState:test_sequential_with_memory_methods()
    split(function()
        return { optimizer = bk.optim.adam{}, record = { every = 3, "loss", "cosines" }, interventions = {
            bk.intervention.replay{ memory = 20 }, bk.intervention.ewc{ weight = 1, samples = 5 },
                bk.intervention.agem{ memory = 10 } } }
    end)
end
function TestState:test_cyclic_with_conflict()
    split(function()
        return { order = "cyclic", steps = 20, lr = bk.schedule.cosine{ lr = 0.2 }, interventions = {
            bk.intervention.conflict{ strength = 0 }, bk.intervention.bracket_penalty{ weight = 0.1 } } }
    end)
end
function TestState:test_random_order_and_momentum()
    split(function() return { order = "random", steps = 20, optimizer = bk.optim.heavy_ball{ momentum = 0.9 } } end)
end
function TestState:test_joint_with_pcgrad()
    split(function() return { order = "joint", steps = 20, interventions = { bk.intervention.pcgrad{} } } end)
end
function TestState:test_tournament()
    split(function() return { order = "tournament", steps = 6 } end)
end
function TestState:test_planned()
    split(function()
        return { order = bk.order.planned{ budget = 3, samples = 20 }, steps = { 4, 5, 6 }, optimizer = bk.optim.adam{},
            lr = bk.schedule.cosine{ lr = 0.1 }, reset_optimizer = true, record = { every = 3, "loss" } }
    end)
    split(function() return { order = "tournament", steps = 5, record = { every = 4, "conflict", "bracket" } } end)
end
function TestState:test_a_step_that_is_none_is_refused()
    local p = bk.protocol{ model = bk.nn.mlp{ 4, 1 }, tasks = bk.tasks.regression{ n = 1, seed = 1 }, lr = 0.1,
        steps = 3 }
    p:run{}
    for _, step in ipairs{ math.mininteger, -1, 1.5, "2" } do
        local saved = p:state()
        saved.step = step
        lu.assertErrorMsgContains("protocol:restore: step: expected a whole number >= 0, got", p.restore, p, saved)
    end
end
-- Every intervention in every order it takes with every optimizer, the schedules in turn, cut at another step each
-- time. The rooms are listed by the program: what is added is taken with its defaults and what it needs.
function TestState:test_every_combination()
    local take = {
        intervention = { conflict = { strength = 0.5 }, flatness = { strength = 0 }, bracket_penalty = { weight = 0.1 },
            ewc = { weight = 1, samples = 4 }, replay = { memory = 7, batch = 5 }, agem = { memory = 7 },
            si = { strength = 0.5 }, gem = { memory = 5 }, online_ewc = { weight = 1, samples = 4 },
            der = { memory = 7, beta = 0.5 }, naive_rehearsal = { memory = 6 } },
        order = { sequential = { order = { 2, 1, 3 } }, blocks = { size = 2 }, tournament = { target = 2 },
            word = { 1, 2, 2, 1, 3 }, custom = { task = function(step) return step * step % 3 + 1 end, window = 4 } },
        schedule = { step = { lr = 0.1, every = 4 }, warmup = { lr = 0.1, steps = 5 }, per_task = { 0.1, 0.05, 0.2 } },
        optim = { custom = { state = { "m" }, update = function(g, s)
            local m = 0.5 * s.m + g
            return m, { m = m }
        end } },
    }
    local required = dofile "tests/lua/required.lua"
    local function list(room)
        local names = {}
        for name in pairs(bk[room]) do
            take[room][name] = take[room][name] or required(bk[room][name], 1)
            names[#names + 1] = name
        end
        table.sort(names)
        return names
    end
    local schedules, count = list("schedule"), 0
    for _, order in ipairs(list("order")) do
        local object = bk.order[order](take.order[order])
        for _, name in ipairs(list("intervention")) do
            local iv = bk.intervention[name](take.intervention[name])
            local fits = not (iv.needs_joint and not object.joint) and not (iv.needs_one_task and object.joint)
                and not (iv.needs_blocks and not object.blocks)
            local optimizers = iv.needs_gradient_steps and { "sgd" } or list("optim")
            for _, optimizer in ipairs(fits and optimizers or {}) do
                count = count + 1
                local schedule = schedules[count % #schedules + 1]
                if order == "joint" and schedule == "per_task" then schedule = "cosine" end -- no task in a joint step
                local function make()
                    local steps = object.blocks and order ~= "blocks" and 4 or 12
                    return protocol{ order = bk.order[order](take.order[order]), steps = steps, batch = 8,
                        lr = bk.schedule[schedule](take.schedule[schedule]),
                            optimizer = bk.optim[optimizer](take.optim[optimizer]), record = { every = 5, "loss" },
                        reset_optimizer = object.blocks and count % 3 == 0 or nil,
                        interventions = { bk.intervention[name](take.intervention[name]) } }
                end
                local label = table.concat({ order, name, optimizer, schedule }, " ")
                local full, first = make():run{}, make()
                lu.assertEquals(full.total, 12, label)
                first:run{ stop = count % 11 + 1 }
                local second = make():restore(first:state()):run{}
                lu.assertTrue(same_bits(full.theta, second.theta), label)
                lu.assertEquals(second.history, full.history, label)
                lu.assertEquals(second.accuracy, full.accuracy, label)
            end
        end
    end
    lu.assertTrue(count > 200)
end
function TestState:test_restore_refuses_what_does_not_fit()
    local p = protocol{ steps = 2 }
    p:run{ stop = 1 }
    local saved = p:state()
    lu.assertErrorMsgContains("expected what protocol:state() returned", function() p:restore(3) end)
    lu.assertErrorMsgContains("3 tasks", function() protocol{ tasks = make_tasks(2, 20, 5, 3) }:restore(saved) end)
end

TestRecords = {}
function TestRecords:test_columns_against_direct_computation()
    local theta, h = model:init{ seed = 7 }, 0.05
    local p = protocol{ order = "cyclic", steps = 3, lr = h, batch = "full", record = { at = { 0 }, "loss",
        "accuracy", "flatness",
        "conflict", "cosines", "gram", "gradient_norm", "bracket", "order_effect", "sharpness", "trace",
        twice = function(state) return 2 * state.n_tasks end } }
    local history = p:run{ theta = theta }.history
    local L, g = {}, {}
    for i, t in ipairs(tasks) do
        L[i] = bk.loss.cross_entropy(model, t.train.x, t.train.y)
        g[i] = bk.grad(L[i])(theta)
    end
    local continual = bk.bea.continual{ losses = L, lr = h }:terms(theta)
    local function close(a, b, name) lu.assertAlmostEquals(a, b, 1e-9 * (1 + math.abs(b)), name) end
    close(history.flatness[1], continual.flatness, "flatness")
    close(history.conflict[1], continual.conflict_norm, "conflict")
    close(history.loss[1], continual.original, "original")
    close(history.gram_1_2[1], g[1]:dot(g[2]):item())
    close(history.cosine_1_3[1], g[1]:dot(g[3]):item() / (g[1]:norm():item() * g[3]:norm():item()))
    close(history.gradient_norm[1], (g[1] + g[2] + g[3]):norm():item())
    local b = bk.lie(L[1], L[2])(theta)
    close(history.bracket_1_2[1], b:norm():item())
    lu.assertEquals(#bk.measure.layers(model), 2)
    close(history.bracket_1_2_layer_1[1] ^ 2 + history.bracket_1_2_layer_2[1] ^ 2, b:dot(b):item())
    lu.assertEquals(history.twice[1], 6)
    local accuracy = 0
    for _, t in ipairs(tasks) do accuracy = accuracy + model:accuracy(theta, t.train.x, t.train.y) / 3 end
    close(history.accuracy[1], accuracy)
    local H = bk.hessian(L[1])(theta) + bk.hessian(L[2])(theta) + bk.hessian(L[3])(theta)
    local power = bk.rng(1):normal{ model.n_params } -- the largest eigenvalue by power iteration on H + shift
    local eye = bk.eye(model.n_params)
    for _ = 1, 3000 do
        power = (H + eye * 2):matmul(power)
        power = power / power:norm()
    end
    lu.assertAlmostEquals(history.sharpness[1], power:dot(H:matmul(power)):item(), 2e-3)
    local trace = (H * eye):sum():item()
    lu.assertAlmostEquals(history.trace[1], trace, 2 * history.trace_half[1]) -- that is 4.5 standard errors
    -- predicted and realised order effects agree to third order in h
    local ratio = history.order_effect_predicted[1] / history.order_effect_realised[1]
    lu.assertAlmostEquals(ratio, 1, 0.5)
end
function TestRecords:test_order_effect_converges_at_its_order()
    local theta, errors, hs = model:init{ seed = 7 }, {}, { 0.04, 0.02, 0.01 }
    for k, h in ipairs(hs) do
        local history = protocol{ order = "cyclic", steps = 3, lr = h, batch = "full", record = { at = { 0 },
            "order_effect" } }:run{ theta = theta }.history
        errors[k] = math.abs(history.order_effect_predicted[1] - history.order_effect_realised[1])
    end
    lu.assertAlmostEquals(bk.statistics.slope(hs, errors), 3, 0.3)
end
function TestRecords:test_joint_conflict_is_the_multitask_term()
    local theta, h, L = model:init{ seed = 7 }, 0.05, {}
    for i, t in ipairs(tasks) do L[i] = bk.loss.cross_entropy(model, t.train.x, t.train.y) end
    for _, reduction in ipairs{ "sum", "mean" } do
        local history = protocol{ order = "joint", steps = 1, lr = h, batch = "full", reduction = reduction,
            record = { at = { 0 }, "conflict", "flatness" } }:run{ theta = theta }.history
        local terms = bk.bea.multitask{ losses = L, lr = h, reduction = reduction }:terms(theta)
        lu.assertAlmostEquals(history.conflict[1], terms.conflict, 1e-12)
        lu.assertAlmostEquals(history.flatness[1], terms.flatness, 1e-12)
    end
end
function TestRecords:test_palindromes_have_no_conflict()
    local history = protocol{ order = "palindromic", steps = 6, record = { at = { 0, 6 }, "conflict" } }:run{}.history
    lu.assertEquals(history.conflict, { 0, 0 })
end
function TestRecords:test_recording_changes_no_bit_and_every_is_kept()
    local a = protocol{ order = "cyclic", record = { every = 5, "loss", "conflict", "sharpness", "trace" } }:run{}
    local b = protocol{ order = "cyclic" }:run{}
    lu.assertTrue(same_bits(a.theta, b.theta))
    lu.assertEquals(a.history.step, { 0, 5, 10, 12 })
end
function TestRecords:test_a_column_is_of_one_record()
    local function fails(text, record)
        lu.assertErrorMsgContains(text, function() protocol{ record = record }:run{} end)
    end
    fails('record "step": the column step is there already', { step = function() return 5 end })
    fails('record "own": the column loss_1 is there already', { "loss", own = function() return { loss_1 = 5 } end })
    fails("record.loss: is bk.record.loss by name as well", { "loss", loss = function() return 5 end })
    fails('record "own": expected a number or a table of numbers, got "x"',
        { own = function() return { a = 1, b = "x" } end })
    fails('record "own": expected a number or a table of numbers, got a tensor',
        { own = function(state) return state.theta:norm() end })
    fails('record "own": expected a number or a table of numbers, got false', { own = function() return false end })
    fails("record.at: expected a list of steps, from 0, got \"x\"", { at = { "x" }, "loss" })
    local h = protocol{ order = "cyclic", record = { every = 6, "loss", "loss" } }:run{}.history
    lu.assertEquals(h.step, { 0, 6, 12 })
    lu.assertEquals(#h.loss, 3)
end
-- 64 / 2 is 32.0
function TestRecords:test_whole_numbers_may_be_floats()
    local function run(batch, steps, every, samples, seed)
        return protocol{ batch = batch, steps = steps, seed = seed,
            record = { every = every, samples = samples, "loss" } }:run{}
    end
    local a, b = run(8, 3, 2, 5, 4), run(16 / 2, 6 / 2, 4 / 2, 10 / 2, 8 / 2)
    lu.assertTrue(same_bits(a.theta, b.theta))
    lu.assertEquals(b.history, a.history)
    lu.assertEquals(math.type(b.history.step[2]), "integer")
    local whole, float = protocol{ steps = { 2, 3, 4 } }, protocol{ steps = { 2.0, 3.0, 4.0 } }
    lu.assertTrue(same_bits(whole:run{}.theta, float:run{}.theta))
end
function TestRecords:test_lanczos_and_trace_of_a_known_matrix()
    local d = bk.linspace(-3, 10, 40)
    local loss = function(theta) return (theta * theta * d):sum() * 0.5 end
    local theta = bk.zeros{ 40 }
    local values = bk.bea.lanczos{ loss = loss, theta = theta, top = 2, steps = 40 }
    lu.assertAlmostEquals(values[1], 10, 1e-6)
    lu.assertAlmostEquals(values[2], 10 - 13 / 39, 1e-6)
    lu.assertAlmostEquals(values.lowest, -3, 1e-6)
    lu.assertAlmostEquals(bk.bea.trace{ loss = loss, theta = theta, samples = 3 }, 140, 1e-9) -- exact for a diagonal
end

TestMetrics = {}
local A = { [0] = { 0.1, 0.2, 0.3 }, { 0.9, 0.3, 0.2 }, { 0.8, 0.95, 0.4 }, { 0.5, 0.7, 0.9 } }
function TestMetrics:test_definitions()
    lu.assertAlmostEquals(bk.metric.average_accuracy(A), 0.7, 1e-15)
    lu.assertAlmostEquals(bk.metric.backward_transfer(A), ((0.5 - 0.9) + (0.7 - 0.95)) / 2, 1e-15)
    lu.assertAlmostEquals(bk.metric.forgetting(A), ((0.9 - 0.5) + (0.95 - 0.7)) / 2, 1e-15)
    lu.assertAlmostEquals(bk.metric.forward_transfer(A), ((0.3 - 0.2) + (0.4 - 0.3)) / 2, 1e-15)
end
function TestMetrics:test_another_order_permutes_the_columns()
    local B, order = {}, { 2, 3, 1 } -- the k-th learned task is order[k]
    for k = 0, 3 do
        B[k] = {}
        for i = 1, 3 do B[k][order[i]] = A[k][i] end
    end
    for _, name in ipairs{ "backward_transfer", "forgetting", "forward_transfer" } do
        lu.assertAlmostEquals(bk.metric[name](B, order), bk.metric[name](A), 1e-15)
    end
end
function TestMetrics:test_interval()
    local i = bk.metric.interval{ 1, 2, 3, 4 }
    lu.assertAlmostEquals(i.mean, 2.5, 1e-15)
    lu.assertAlmostEquals(i.half, 3.1824463052837078 * math.sqrt(5 / 3) / 2, 1e-12)
    -- scipy.stats.t.ppf(0.975, df)
    for df, t in pairs{ [1] = 12.706204736174694, [2] = 4.302652729749462, [3] = 3.1824463052837078,
        [7] = 2.364624251592784, [30] = 2.0422724563012378, [60] = 2.0002978220142604, [200] = 1.9718962236339088,
        [201] = 1.971836506779859, [1000] = 1.9623390808264083 } do
        lu.assertAlmostEquals(bk.statistics.t95(df) / t, 1, 1e-9, df)
    end
    lu.assertAlmostEquals(bk.statistics.spearman({ 1, 2, 3, 4, 5 }, { 1, 4, 9, 16, 25 }).rho, 1, 1e-12)
end
function TestMetrics:test_grouped_rank_correlation()
    local statistics, stream, rng = bk.statistics, bk.stream, bk.rng(4)
    local u, noise = rng:normal{ 40 }:totable(), rng:normal{ 40 }:totable()
    local x, y, single, x5, y5, groups = {}, {}, {}, {}, {}, {}
    for i = 1, 40 do
        x[i], y[i], single[i] = u[i], u[i] + noise[i], i
        for _ = 1, 5 do
            x5[#x5 + 1], y5[#y5 + 1], groups[#groups + 1] = x[i], y[i], i
        end
    end
    local fisher = statistics.spearman(x, y)
    local alone = statistics.spearman_grouped(x, y, single, 2000, stream.new(1))
    lu.assertEquals(alone.rho, fisher.rho)
    lu.assertAlmostEquals(alone.low, fisher.low, 0.1)
    lu.assertAlmostEquals(alone.high, fisher.high, 0.1)
    -- the same points five times over: Fisher's interval shrinks, the one by groups does not
    local five = statistics.spearman_grouped(x5, y5, groups, 2000, stream.new(2))
    local naive = statistics.spearman(x5, y5)
    lu.assertTrue(naive.high - naive.low < 0.6 * (fisher.high - fisher.low))
    lu.assertAlmostEquals(five.low, alone.low, 0.05)
    lu.assertAlmostEquals(five.high, alone.high, 0.05)
end
function TestMetrics:test_seeds()
    local result = protocol{ steps = 3 }:seeds{ seeds = { 1, 2, 3 } }
    lu.assertEquals(#result.runs, 3)
    lu.assertEquals(result.metrics.average_accuracy.n, 3)
    lu.assertEquals(result.runs[2].seed, 2)
end

TestProgress = {}
-- A run of 1000 steps of 30 ms each by a clock of its own; what was written to stderr.
function TestProgress:test_a_line_with_step_rate_loss_and_time_left()
    local clock, stderr, now, read, lines = bk.clock, io.stderr, 100.0, 0, {}
    bk.clock = function()
        read = read + 1
        return now
    end
    io.stderr = { write = function(_, ...) lines[#lines + 1] = table.concat{ ... } end, flush = function() end }
    local ok, message = pcall(function()
        local update, clear = bk._progress.new()
        for step = 1, 1000 do
            now = now + 0.03
            update{ step = step, total = 1000, lr = 0.05, loss = 1.25 }
        end
        clear()
    end)
    bk.clock, io.stderr = clock, stderr
    lu.assertTrue(ok, message)
    lu.assertTrue(read < 700) -- not at every step
    lu.assertTrue(#lines > 60 and #lines <= 151)
    lu.assertStrMatches(lines[#lines - 1], "\rstep %d+/1000  3[34]/s  rate 0.05  loss 1.2500  0:0%d left\27%[K")
    lu.assertEquals(lines[#lines], "\r\27[K")
end

TestTokens = {}
-- A model of token ids: x stays int64, the steps are those of its gradient.
function TestTokens:test_a_run_on_token_ids()
    local rng = bk.rng(1)
    local model = bk.nn.sequential{ bk.nn.embedding{ 5, 6 }, bk.nn.position_embedding{ 4, 6 },
        bk.nn.transformer{ 6, heads = 2, causal = true }, bk.nn.linear{ 6, 5 } }
    local x, y, theta = rng:integers({ 9, 4 }, 5), rng:integers({ 9, 4 }, 5), model:init{ seed = 1 }
    local function next_token(_, t, tokens, next_ones)
        local z = model:forward(t, tokens):reshape{ -1, 5 }
        return (z:logsumexp() - z:take(next_ones:reshape{ -1 })):mean()
    end
    local r = bk.protocol{ model = model, tasks = { { x = x, y = y, loss = next_token } }, steps = 3, lr = 0.1,
        batch = "full", record = { every = 1, "loss" } }:run{ theta = theta }
    for step = 1, 3 do
        local loss, g = bk.value_and_grad(function(t) return next_token(nil, t, x, y) end)(theta)
        lu.assertAlmostEquals(r.history.loss[step], loss:item(), 1e-12)
        theta = theta - g * 0.1
    end
    lu.assertTrue((r.theta - theta):norm():item() < 1e-12)
end

TestProtocolErrors = {}
local function fails(text, options, run)
    lu.assertErrorMsgContains(text, function()
        local p = protocol(options)
        if run then p:run{} end
    end)
end
function TestProtocolErrors:test_options()
    fails('unknown option speed', { speed = 1 })
    fails('expected named options, got 7 without a name', { 7 })
    lu.assertErrorMsgContains('got 0.5 without a name', bk.intervention.ewc, { 0.5 })
    fails('expected one of', { order = "backwards" })
    fails('expected one of', { record = { "speed" } })
    fails('unknown option record.evry', { record = { evry = 3, "loss" } })
    fails('got "half"', { batch = "half" })
    fails('batch: expected a whole number or a string, got 2.5', { batch = 2.5 })
    fails("record.every: expected a number of steps, got 2.5", { record = { every = 2.5, "loss" } })
    fails("record.every: expected a number of steps, got \"2\"", { record = { every = "2", "loss" } })
    fails('got "float16"', { dtype = "float16" })
    fails('pcgrad', { order = "cyclic", interventions = { bk.intervention.pcgrad{} } })
    fails('ewc', { order = "cyclic", interventions = { bk.intervention.ewc{ weight = 1 } } })
    lu.assertErrorMsgContains("protocol:run: expected a protocol; call it with a colon", protocol{}.run, { seed = 1 })
    lu.assertErrorMsgContains("protocol:state: expected a protocol", protocol{}.state)
    lu.assertErrorMsgContains("metric.forgetting: expected an accuracy matrix", bk.metric.forgetting, { 1, 2 })
    lu.assertErrorMsgContains("row 2, column 2: expected a number, got nil", bk.metric.average_accuracy,
        { { 1, 1 }, { 1 } })
    lu.assertErrorMsgContains("task 3 of 3: the matrix has 2 columns", bk.metric.forward_transfer,
        { { 1, 1 }, { 1, 1 }, { 1, 1 }, [0] = { 0, 0 } })
    lu.assertErrorMsgContains("order: expected a list of the 2 tasks", bk.metric.backward_transfer,
        { { 1, 1 }, { 1, 1 } }, { 1 })
    lu.assertEquals(bk.metric.average_accuracy(bk.tensor{ { 1, 0 }, { 0, 1 } }), 0.5)
    fails('model: expected a model (bk.nn.mlp or bk.nn.sequential), got "mlp"', { model = "mlp" })
    fails("model: expected a model", { model = { n_params = 3 } })
    lu.assertErrorMsgContains("samples: expected a whole number >= 1, got 0", bk.intervention.ewc,
        { weight = 1, samples = 0 })
    lu.assertErrorMsgContains("strength: expected a finite number, got inf", bk.intervention.conflict,
        { strength = 1 / 0 })
    -- drew for ever
    lu.assertErrorMsgContains("n: expected a whole number >= 1, got inf", bk.data.glyphs, { n = 1 / 0 })
    lu.assertErrorMsgContains("schedule.cosine: steps: missing; only inside a run", bk.schedule.cosine{ lr = 1 }, 1)
    lu.assertEquals(bk.schedule.linear{ lr = 1, steps = 3 }(2), 0.5)
    lu.assertEquals(bk.schedule.warmup{ lr = 1, steps = 4 }(6), 1)
    for _, step in ipairs { "x", 0, 1.5, 0 / 0, 1 / 0 } do
        lu.assertErrorMsgContains("step: expected the number of a step, from 1", bk.schedule.constant{ lr = 1 }, step)
    end
    fails('lr: expected 3 rates, one per task, got 2', { lr = { 0.1, 0.2 } })
    fails('needs one task a step, got order = "joint"', { lr = { 0.1, 0.2, 0.3 }, order = "joint" })
    fails('optimizer: expected one of bk.optim, such as bk.optim.sgd{}, got "adam"', { optimizer = "adam" })
    fails("bk.optim.sgd{}, got a table without reset, restore", { optimizer = {
        step = function(_, theta) return theta end, state = function() return {} end } })
    fails('got a function', { optimizer = bk.optim.adam })
    fails('step 1: before_step left state.gradient as a tensor float64 (2); expected a tensor float64 (',
        { interventions = { { name = "x", before_step = function(state) state.gradient = bk.ones{ 2 } end } } }, true)
    fails('step 1: after_step left state.theta as nil',
        { interventions = { { name = "x", after_step = function(state) state.theta = nil end } } }, true)
    fails('unknown option before', { interventions = { { name = "x", before = print } } })
    lu.assertErrorMsgContains('strength: missing', bk.intervention.conflict, {})
    lu.assertErrorMsgContains('expected a finite number, got "a"', bk.intervention.conflict, { strength = "a" })
    lu.assertErrorMsgContains('unknown option rate', bk.schedule.cosine, { rate = 1 })
end
-- Every number an option takes, with values that are none of its kind: each is refused by name.
function TestProtocolErrors:test_numbers_out_of_range()
    local iv, schedule, order, inf = bk.intervention, bk.schedule, bk.order, math.huge
    local counts = {
        memory = { function(v) return iv.agem{ memory = v } end, function(v) return iv.replay{ memory = v } end },
        batch = { function(v) return iv.agem{ memory = 5, batch = v } end,
            function(v) return iv.replay{ memory = 5, batch = v } end },
        samples = { function(v) return iv.ewc{ weight = 1, samples = v } end },
        window = { function(v) return iv.conflict{ strength = 0, window = v } end,
            function(v) return order.custom{ task = print, window = v } end },
        size = { function(v) return order.blocks{ size = v } end },
        every = { function(v) return schedule.step{ lr = 1, every = v } end },
        steps = { function(v) return schedule.warmup{ lr = 1, steps = v } end,
            function(v) return schedule.cosine{ lr = 1, steps = v } end, function(v) return protocol{ steps = v } end },
        epochs = { function(v) return protocol{ epochs = v } end },
    }
    for name, makers in pairs(counts) do
        for _, make in ipairs(makers) do
            for _, value in ipairs{ 0, -1, 1.5, 0 / 0, inf, "x" } do
                lu.assertErrorMsgContains("" .. name .. ": expected a whole number >= 1", make, value)
            end
        end
    end
    for _, value in ipairs{ 0 / 0, inf, -inf, "x", {} } do
        lu.assertErrorMsgContains("weight: expected a finite number", iv.ewc, { weight = value })
        lu.assertErrorMsgContains("strength: expected a finite number", iv.flatness, { strength = value })
    end
    for _, value in ipairs{ 0, 1, -1, 1.5 } do
        lu.assertErrorMsgContains("peak: expected 0 < peak < 1", schedule.one_cycle, { lr = 1, peak = value })
    end
end
function TestProtocolErrors:test_models_optimizers_and_targets()
    for _, wrong in ipairs{ 3, "sgd", {}, bk.zeros{ 2 } } do
        fails("model: expected a model", { model = wrong })
        fails("optimizer: expected one of bk.optim", { optimizer = wrong })
    end
    fails("order.tournament: target: expected a table { x = tensor, y = tensor }", { order = bk.order.tournament{
        target = {} } }, true)
    fails("order.tournament: target: expected a task 1..", { order = bk.order.tournament{ target = 9 } }, true)
end
function TestProtocolErrors:test_tasks()
    local x, y = bk.zeros{ 10, 5 }, bk.zeros({ 10 }, { dtype = "int64" })
    fails("task 1 (short): train.x is (10,4)", { tasks = { { name = "short", x = bk.zeros{ 10, 4 }, y = y } } })
    fails("label 3 is outside the model's classes 0..2", { tasks = { { x = x, y = y + bk.full({ 10 }, 3, {
        dtype = "int64" }) } } })
    fails("differ in their number of examples", { tasks = { { x = x, y = y:narrow(1, 1, 9) } } })
    fails("train.y: expected class ids (10), got (10,1)", { tasks = { { x = x, y = y:reshape{ 10, 1 } } } })
    fails('train.y: expected class ids for loss = "cross_entropy", got fractions (loss = "mse" takes numbers)',
        { tasks = { { x = x, y = y + 0.5 } } })
    protocol{ tasks = { { x = x, y = y:to("float32") } } } -- whole numbers are class ids in any dtype
    fails("holds nan or inf", { tasks = { { x = x + 0 / 0, y = y } } })
    for text, t in pairs{ ['shuffle: expected true or false, got "no"'] = { shuffle = "no" },
        ["shape: expected"] = { shape = "a" }, ["shape: expected {rows, columns}"] = { shape = { 1, 2, 3, 4 } },
        ['accuracy: expected a function (z, y) -> number, got "no"'] = { accuracy = "no" },
        ["accuracy: expected a number, got a tensor float64 (10,3)"] = { accuracy = function(z) return z end },
        ["weight: a task has none"] = { weight = 2 }, ["expected named fields, got 7 at 1"] = { 7 } } do
        t.x, t.y = x, y
        fails("task 1: " .. text, { tasks = { t } }, type(t.accuracy) == "function")
    end
    fails("task 1: unknown field shufle (did you mean shuffle?)", { tasks = { { x = x, y = y, shufle = false } } })
    fails("task 1: lr is an option of bk.protocol, for all tasks; a list, lr = { ... }, is one each",
        { tasks = { { x = x, y = y, lr = 0.1 } } })
    fails("task 1: batch is an option of bk.protocol, for all tasks", { tasks = { { x = x, y = y, batch = 3 } } })
    fails("task 1: label_smoothing is an option of the loss: loss = bk.loss.cross_entropy{ label_smoothing = 0.1 }",
        { tasks = { { x = x, y = y, label_smoothing = 0.1 } } })
    fails("task 1: loss: expected a 0-d tensor, got a tensor float64 (10,3)",
        { tasks = { { x = x, y = y, loss = function(m, t, of) return m:forward(t, of) end } } }, true)
    fails("task 1: loss: expected a 0-d tensor, got 1",
        { tasks = { { x = x, y = y, loss = function() return 1 end } } }, true)
    fails("task 1: expected tensors x and y, or train = { x =, y = }; got a tensor float64 (10,5) and nil",
        { tasks = { { x = x } } })
    fails("got none", { tasks = {} })
end
function TestProtocolErrors:test_what_was_recorded_survives_a_diverging_run()
    local p = protocol{ tasks = { { name = "steep", loss = "mse", x = bk.rng(1):normal{ 20, 5 } * 100,
        y = bk.rng(2):normal{ 20, 3 } } },
        model = bk.nn.mlp{ 5, 3 }, lr = 1e4, steps = 400, record = { every = 1, "loss" } }
    local ok, message = pcall(p.run, p, {})
    lu.assertFalse(ok)
    lu.assertStrContains(message, "task 1 (steep): the loss is")
    lu.assertTrue(#p.history.loss > 2)
    lu.assertTrue(#p.result.history.loss > 2)
end
function TestProtocolErrors:test_theta_and_rate()
    lu.assertErrorMsgContains("theta: expected (", function() protocol{}:run{ theta = bk.zeros{ 3 } } end)
    for _, h in ipairs{ 0 / 0, -1 } do fails("expected a finite rate >= 0", { lr = function() return h end }, true) end
end

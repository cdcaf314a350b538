-- scenario_test.lua - MNIST-360, MultiMNIST, the three forms of a task list, fuzzy boundaries, and the metrics of
-- continual evaluation on matrices computed by hand.
local bk = require "bracket"
local lu = require "luaunit"

TestScenario = {}

local function ids(list) return bk.tensor(list, { dtype = "int64" }) end
local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end
local glyphs = bk.data.glyphs{ n = 600, seed = 3 }

-- ---- metrics ----

-- Two steps on each of three tasks, and the row before. Task 1 is last learned in row 3, task 2 in row 5.
local ROWS = { { 0.1, 0.2, 0.3 }, { 0.5, 0.2, 0.3 }, { 0.9, 0.1, 0.2 }, { 0.4, 0.6, 0.1 }, { 0.7, 0.8, 0.2 },
    { 0.6, 0.5, 0.5 }, { 0.65, 0.55, 0.7 } }
local LEARNING = { 0, 1, 1, 2, 2, 3, 3 }
local function history()
    local h = { step = { 0, 1, 2, 3, 4, 5, 6 }, task = LEARNING }
    for i = 1, 3 do
        h["accuracy_" .. i] = {}
        for r = 1, 7 do h["accuracy_" .. i][r] = ROWS[r][i] end
    end
    return h
end

function TestScenario.test_worst_case_metrics()
    local least = (0.4 + 0.5) / 2
    lu.assertAlmostEquals(bk.metric.min_accuracy(history()), least, 1e-15)
    lu.assertAlmostEquals(bk.metric.worst_case_accuracy(history()), 0.7 / 3 + 2 / 3 * least, 1e-15)
    -- rows at the ends of tasks: what happened between is not seen
    local ends = { { 0.9, 0.1, 0.2 }, { 0.7, 0.8, 0.2 }, { 0.65, 0.55, 0.7 } }
    lu.assertAlmostEquals(bk.metric.min_accuracy(ends), (0.65 + 0.55) / 2, 1e-15)
    -- learned 3, 1, 2: the last is task 2
    lu.assertAlmostEquals(bk.metric.min_accuracy(ends, { 3, 1, 2 }), (0.65 + 0.2) / 2, 1e-15)
    lu.assertAlmostEquals(bk.metric.worst_case_accuracy(ends, { 3, 1, 2 }), 0.55 / 3 + 2 / 3 * 0.425, 1e-15)
    lu.assertNil(bk.metric.min_accuracy{ { 0.5 } })
    lu.assertEquals(bk.metric.worst_case_accuracy{ { 0.5 } }, 0.5)
    fails("expected a history with task and accuracy_1", bk.metric.min_accuracy, { step = { 1 } })
end

function TestScenario.test_learning_curve_area()
    local area = ((0.1 + 0.5) / 2 + (0.1 + 0.6) / 2 + (0.2 + 0.5) / 2) / 3
    lu.assertAlmostEquals(bk.metric.learning_curve_area(history(), { batches = 1 }), area, 1e-15)
    area = ((0.1 + 0.5 + 0.9) + (0.1 + 0.6 + 0.8) + (0.2 + 0.5 + 0.7)) / 9
    lu.assertAlmostEquals(bk.metric.learning_curve_area(history(), { batches = 2 }), area, 1e-15)
    fails("task 1: expected 3 batches or more, got 2", bk.metric.learning_curve_area, history(), { batches = 3 })
    lu.assertAlmostEquals(bk.metric.learning_curve_area(ROWS, { batches = 2, learning = LEARNING }), area, 1e-15)
    local h = history()
    h.step[4] = 7
    fails("row 4: expected step 3, got 7", bk.metric.learning_curve_area, h, { batches = 1 })
end

-- A run's own history has the form that the metrics take.
function TestScenario.test_metrics_of_a_run()
    local tasks = bk.tasks.split{ data = glyphs, classes = { { 0, 1 }, { 2, 3 } }, scenario = "domain" }
    local r = bk.protocol{ model = bk.nn.mlp{ 784, 4, 2 }, tasks = tasks, lr = 0.05, steps = 12, batch = 8,
        record = { every = 1, "accuracy" } }:run{}
    local h, least = r.history, 1
    for s = 13, 25 do least = math.min(least, h.accuracy_1[s]) end
    for s = 1, 13 do lu.assertEquals(h.task[s], s == 1 and 0 or 1) end
    local since = 1
    for s = 14, 25 do since = math.min(since, h.accuracy_1[s]) end
    lu.assertEquals(bk.metric.min_accuracy(h), since)
    lu.assertTrue(least <= since)
    local sum = 0
    for b = 0, 10 do sum = sum + h.accuracy_1[1 + b] + h.accuracy_2[13 + b] end
    lu.assertAlmostEquals(bk.metric.learning_curve_area(h), sum / 22, 1e-14)
end

-- ---- the forms of a task list ----

function TestScenario.test_incremental_forms()
    local x = bk.zeros{ 4, 2 }
    local list = { { name = "a", train = { x = x, y = ids{ 7, 3, 7, 3 } }, test = { x = x, y = ids{ 3, 3, 7, 7 } } },
        { name = "b", x = x, y = ids{ 3, 9, 5, 3 }, shape = { 1, 2 } } }
    local class = bk.tasks.incremental{ tasks = list, scenario = "class" }
    lu.assertEquals(class[1].train.y:totable(), { 1, 0, 1, 0 })
    lu.assertEquals(class[1].test.y:totable(), { 0, 0, 1, 1 })
    lu.assertEquals(class[2].train.y:totable(), { 2, 4, 3, 2 })
    lu.assertEquals({ class[1].classes, class[2].classes, class[1].head }, { 5, 5 })
    lu.assertEquals({ class[2].name, class[2].shape[2], class[2].test }, { "b", 2 })
    local task = bk.tasks.incremental{ tasks = list, scenario = "task" }
    lu.assertEquals(task[2].train.y:totable(), { 2, 4, 3, 2 })
    lu.assertEquals({ task[1].head, task[2].head }, { { 0, 1 }, { 2, 3, 4 } })
    local domain = bk.tasks.incremental{ tasks = list, scenario = "domain" }
    lu.assertEquals(domain[2].train.y:totable(), { 0, 2, 1, 0 })
    lu.assertEquals({ domain[1].classes, domain[2].classes }, { 3, 3 })
    lu.assertEquals(list[2].y:totable(), { 3, 9, 5, 3 }) -- the given list is left as it is
    -- of split tasks it gives what bk.tasks.split gives, and back again
    for _, from in ipairs{ "class", "domain" } do
        local given = bk.tasks.split{ data = glyphs, scenario = from }
        for _, to in ipairs{ "class", "task", "domain" } do
            local want = bk.tasks.split{ data = glyphs, scenario = to }
            for i, t in ipairs(bk.tasks.incremental{ tasks = given, scenario = to }) do
                lu.assertEquals(t.train.y:totable(), want[i].train.y:totable())
                lu.assertEquals(t.head, want[i].head)
                lu.assertEquals(t.classes, want[i].classes)
            end
        end
    end
    local permuted = bk.tasks.incremental{ tasks = bk.tasks.permuted{ data = glyphs, n = 3 }, scenario = "task" }
    lu.assertEquals({ permuted[3].classes, permuted[3].head[1] }, { 30, 20 })
    fails("task 1: test: class 4 is in none", bk.tasks.incremental, { scenario = "class", tasks = {
        { train = { x = x, y = ids{ 1, 1, 2, 2 } }, test = { x = x, y = ids{ 1, 2, 4, 4 } } } } })
    fails("task 1: expected class ids", bk.tasks.incremental, { scenario = "class", tasks = { { x = x, y = x } } })
end

-- ---- MNIST-360 ----

-- The other implementation of turning is bk.tasks.rotated's matrix.
function TestScenario.test_rotation_by_angle()
    local d = { x = glyphs.x:reshape{ 600, 784 }:narrow(1, 1, 3):clone(), y = glyphs.y:narrow(1, 1, 3):clone(),
        shape = { 28, 28 } }
    local angles = { 30, 90, 217.5 }
    local tasks = bk.tasks.rotated{ data = d, angles = angles, test_fraction = 0 }
    for k, angle in ipairs(angles) do
        local t = tasks[k].train
        local plain = bk.tasks.rotated{ data = d, angles = { 0 }, test_fraction = 0 }[1].train.x
        local turned = bk.tasks._rotation(plain, 28, 28, bk.full({ 3 }, angle))
        lu.assertTrue((turned - t.x):abs():max():item() < 1e-6, angle)
    end
end

function TestScenario.test_mnist_360()
    local tasks = bk.tasks.mnist_360{ data = glyphs, rounds = 2, seed = 4 }
    lu.assertEquals(#tasks, 18)
    local shown, seen = 0, {}
    for k, t in ipairs(tasks) do
        local first = (k - 1) % 9
        local pair = { [first] = 0, [(first + 1) % 9] = 0 }
        local y = t.train.y:totable()
        for _, id in ipairs(y) do pair[id] = pair[id] + 1 end -- an id of another digit would be an error
        -- every stretch of 8 has both in their proportion
        for from = 1, #y - 7 do
            local count = 0
            for r = from, from + 7 do count = count + (y[r] == first and 1 or 0) end
            lu.assertTrue(math.abs(count - 8 * pair[first] / #y) <= 1.01)
        end
        shown = shown + #y
        lu.assertFalse(t.shuffle)
        for id in pairs(pair) do seen[id] = (seen[id] or 0) + 1 end
    end
    local expected = 0
    local kept = bk.tasks.rotated{ data = glyphs, angles = { 0 }, seed = 4 }[1].train.y:totable()
    for _, id in ipairs(kept) do expected = expected + (id < 9 and 1 or 0) end
    lu.assertEquals(shown, expected) -- every example once
    for id = 0, 8 do lu.assertEquals(seen[id], 4) end -- each digit in 2 rounds visits
    for message, options in pairs{ ["expected 400 examples or more"] = { data = glyphs, rounds = 200 },
        ["data: expected images"] = { data = { x = bk.ones{ 4, 5 }, y = ids{ 0, 1, 0, 1 } } } } do
        local line = debug.getinfo(1, "l").currentline + 1
        local ok, said = pcall(function() bk.tasks.mnist_360(options) end)
        lu.assertFalse(ok)
        lu.assertStrContains(said, ("scenario_test.lua:%d: bk.tasks.mnist_360: "):format(line))
        lu.assertStrContains(said, message)
    end
end

-- On images of a bright line the angle can be read off: all of a digit differ, and rise along the stream. The start,
-- 60 degrees a digit, is that of the authors' code.
function TestScenario.test_mnist_360_angles_rise()
    local n, side = 90, 41
    local x, y = bk.zeros{ n, side, side }:totable(), {}
    for k = 1, n do
        x[k][21][38], y[k] = 1, (k - 1) % 9 -- to the right of the centre
        x[k][21][37], x[k][21][36], x[k][21][35], x[k][21][34] = 1, 1, 1, 1
    end
    local tasks = bk.tasks.mnist_360{ data = { x = bk.tensor(x), y = ids(y) }, rounds = 2, test_fraction = 0 }
    local angles, tested = {}, {}
    local function read(part, into)
        local images, labels = part.x:reshape{ #part.y, side, side }:totable(), part.y:totable()
        for r, image in ipairs(images) do
            local sx, sy = 0, 0
            for row = 1, side do
                for column = 1, side do
                    sx, sy = sx + image[row][column] * (column - 21), sy + image[row][column] * (21 - row)
                end
            end
            local list = into[labels[r]] or {}
            into[labels[r]] = list
            list[#list + 1] = math.deg(math.atan(sy, sx)) % 360
        end
    end
    for k, t in ipairs(tasks) do
        read(t.train, angles)
        if k <= 9 then read(t.test, tested) end -- each digit in two pairs
    end
    for digit = 0, 8 do
        lu.assertEquals(#angles[digit], 10)
        -- digit 0 is in the last pair of a round with the group after that of its first
        for k, angle in ipairs(angles[digit]) do
            local off = (angle - 60 * (digit - 1) - 36 * (k - 1) + 180) % 360 - 180
            lu.assertTrue(math.abs(off) < 1.5, ("digit %d, example %d: %g degrees"):format(digit, k, angle))
        end
        lu.assertEquals(#tested[digit], 20)
        for k, angle in ipairs(tested[digit]) do
            local off = (angle - 36 * ((k - 1) % 10) + 180) % 360 - 180
            lu.assertTrue(math.abs(off) < 1.5, ("digit %d, tested %d: %g degrees"):format(digit, k, angle))
        end
    end
end

function TestScenario.test_shuffle_false_keeps_the_order()
    local x, y = bk.arange(12):to("float64"):reshape{ 12, 1 }, ids{ 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1 }
    local got, look = {}, { name = "look" }
    function look.before_step(s) got[#got + 1] = s.x[1][1]:item() end
    bk.protocol{ model = bk.nn.mlp{ 1, 2 }, tasks = { { x = x, y = y, shuffle = false } }, lr = 0.1, steps = 7,
        batch = 4, interventions = { look } }:run{}
    lu.assertEquals(got, { 0, 4, 8, 0, 4, 8, 0 })
end

-- ---- MultiMNIST ----

function TestScenario.test_multi_mnist()
    local x = bk.tensor{ { { 1, 2 }, { 3, 4 } }, { { 5, 6 }, { 7, 8 } } }
    local data = { x = x, y = ids{ 0, 1 } }
    local tasks = bk.tasks.multi_mnist{ data = data, shift = 1, size = "canvas", test_fraction = 0, seed = 2 }
    lu.assertEquals({ #tasks, tasks[1].head, tasks[2].head }, { 2, { 0, 1 }, { 2, 3 } })
    lu.assertEquals(tasks[1].shape, { 3, 3 })
    for r = 1, 2 do
        local a, b = tasks[1].train.y[r]:item(), tasks[2].train.y[r]:item() - 2
        local function at(id, k) return 4 * id + k end -- pixel k of the image of that class
        lu.assertEquals(tasks[1].train.x[r]:totable(), { at(a, 1), at(a, 2), 0, at(a, 3), math.max(at(a, 4), at(b, 1)),
            at(b, 2), 0, at(b, 3), at(b, 4) })
    end
    lu.assertTrue(tasks[1].train.x == tasks[2].train.x)
    -- shrunk: means over areas keep the mean, and a constant stays what it is
    local d = { x = bk.ones{ 30, 6, 6 }, y = ids(bk.zeros{ 30 }:to("int64"):totable()) }
    local small = bk.tasks.multi_mnist{ data = d, shift = 2, test_fraction = 0 }[1].train.x
    local large = bk.tasks.multi_mnist{ data = d, shift = 2, test_fraction = 0, size = "canvas" }[1].train.x
    lu.assertEquals(small:shape(), { 30, 36 })
    lu.assertAlmostEquals(small:mean():item(), large:mean():item(), 1e-12)
    lu.assertAlmostEquals(small:max():item(), 1, 1e-12)
end

-- Two heads on one trunk learn both digits.
function TestScenario.test_multi_mnist_is_learned()
    local tasks = bk.tasks.multi_mnist{ data = glyphs, limit = 400, seed = 1 }
    local r = bk.protocol{ model = bk.nn.mlp{ 784, 32, 20, activation = "tanh" }, tasks = tasks, order = "joint",
        lr = 0.05, steps = 150, batch = 32, dtype = "float32" }:run{}
    local a = r.accuracy[#r.accuracy]
    lu.assertTrue(a[1] > 0.4 and a[2] > 0.4, ("%g %g"):format(a[1], a[2])) -- chance is 0.1
end

-- ---- fuzzy boundaries ----

function TestScenario.test_fuzzy_order()
    local model, x, y = bk.nn.mlp{ 1, 2 }, bk.zeros{ 4, 1 }, ids{ 0, 1, 0, 1 }
    local tasks = { { x = x, y = y }, { x = x, y = y }, { x = x, y = y } }
    local function drawn(width, steps)
        local list = {}
        bk.protocol{ model = model, tasks = tasks, order = bk.order.fuzzy{ width = width }, lr = 0.1, steps = steps,
            batch = 2, interventions = { { name = "look", after_step = function(s) list[s.step] = s.task end } } }:run{}
        return list
    end
    lu.assertEquals(drawn(0, 9), { 1, 1, 1, 2, 2, 2, 3, 3, 3 })
    local list = drawn(0.5, 1200) -- boundaries at 400 and 800, mixed within 100 steps of each
    local first, second = 0, 0
    for s, i in ipairs(list) do
        if s <= 300 then lu.assertEquals(i, 1) end
        if s > 500 and s <= 700 then lu.assertEquals(i, 2) end
        if s > 900 then lu.assertEquals(i, 3) end
        if s > 300 and s <= 400 then first = first + (i == 2 and 1 or 0) end
        if s > 400 and s <= 500 then second = second + (i == 2 and 1 or 0) end
    end
    -- the mean probability of the next task is 1/4 before a boundary and 3/4 after it; four standard deviations
    lu.assertTrue(math.abs(first - 25) < 17 and math.abs(second - 75) < 17, first .. " " .. second)
    lu.assertEquals(drawn(0.5, 1200), list)
end

-- ---- heads ----

-- The mean over examples of -sum_c t_c log p_c, p the softmax over the head's classes and t as label smoothing has it.
local function over_head(z, y, head, smoothing)
    local sum = 0
    for i, label in ipairs(y) do
        local total = 0
        for _, c in ipairs(head) do total = total + math.exp(z[i][c + 1]) end
        for _, c in ipairs(head) do
            local target = smoothing / #head + (c == label and 1 - smoothing or 0)
            sum = sum - target * (z[i][c + 1] - math.log(total))
        end
    end
    return sum / #y
end

function TestScenario.test_a_head_takes_the_loss_of_its_task()
    local x, labels, model = bk.rng(3):normal{ 6, 4 }, { 0, 3, 3, 0, 2, 0 }, bk.nn.mlp{ 4, 3, 5 }
    local theta, head, y = model:init{ seed = 2 }, { 0, 2, 3 }, ids(labels)
    local z = model:forward(theta, x):totable()
    local function loss_of(loss)
        return bk.protocol{ model = model, tasks = { { x = x, y = y, head = head, loss = loss } }, steps = 1, lr = 0,
            batch = "full", record = { every = 1, "loss" } }:run{ theta = theta }.history.loss[1]
    end
    lu.assertAlmostEquals(loss_of(nil), over_head(z, labels, head, 0), 1e-14)
    for _, s in ipairs{ 0.3, 0.5 } do
        local smooth = bk.loss.cross_entropy{ label_smoothing = s }
        lu.assertAlmostEquals(loss_of(smooth), over_head(z, labels, head, s), 1e-14)
    end
    lu.assertAlmostEquals(loss_of("cross_entropy"), over_head(z, labels, head, 0), 1e-14)
    -- refused, though the same head has been seen
    fails("head: needs the loss cross_entropy, got hinge", loss_of, "hinge")
    fails("head: needs the loss cross_entropy, got a function", loss_of, function(_, t) return (t * t):sum() end)
    head = { 0, 2, 3, 2 }
    fails("head: entry 4: 2 stands twice", loss_of, nil)
    for _, case in ipairs{ { {}, "head: expected class ids, got an empty list" },
        { 3, "task 1: head: expected a list of numbers, got 3" },
        { { {} }, "head: entry 1: expected a number, got a table" },
        { { 0.5 }, "head: entry 1: expected a class id, 0..4, got 0.5" } } do
        head = case[1]
        fails(case[2], loss_of, nil)
    end
    head = { 0, 2 }
    fails("train.y: label 3 is outside the task's head 0, 2", loss_of, nil)
end

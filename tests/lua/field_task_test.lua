-- field_task_test.lua - tasks that are fields in place of losses: trained by, recorded, saved; what needs a loss says
-- so.
local bk = require "bracket"
local lu = require "luaunit"

local model = bk.nn.mlp { 3, 4, 2, activation = "tanh" }
local loss = bk.loss.mse(model)
local grad = bk.grad(loss)
local turn = bk.rng(9):normal { model.n_params, model.n_params } * 0.1
local function spin(theta, x, y) return grad(theta, x, y) + turn:matmul(theta) end

local function data(seed)
    local rng = bk.rng(seed)
    return { x = rng:normal { 12, 3 }, y = rng:normal { 12, 2 } }
end

local function tasks(...)
    local list, fields = {}, { gradient = function(t, x, y) return grad(t, x, y) end, spin = spin }
    for i, kind in ipairs { ... } do
        local d = data(i)
        list[i] = { name = kind .. " " .. i, x = d.x, y = d.y, loss = kind == "loss" and "mse" or nil,
            field = fields[kind] }
    end
    return list
end

local function run(list, more, theta)
    local o = { model = model, tasks = list, lr = 0.1, steps = 6, batch = 5, seed = 2, order = "cyclic" }
    for name, value in pairs(more or {}) do o[name] = value end
    return bk.protocol(o):run { theta = theta }
end

TestFieldTask = {}

function TestFieldTask.test_a_gradient_as_a_field_trains_as_its_loss()
    for _, order in ipairs { "cyclic", "joint", "sequential", "reversed_pairs" } do
        local a, b = run(tasks("loss", "loss"), { order = order }), run(tasks("gradient", "loss"), { order = order })
        lu.assertTrue((a.theta - b.theta):norm():item() < 1e-13, order)
    end
end

function TestFieldTask.test_steps_of_a_field_that_is_no_gradient()
    local list = tasks("spin")
    local theta = model:init { seed = 4 }
    local r, at = run(list, { batch = "full", steps = 3, optimizer = bk.optim.sgd {} }, theta), theta
    for _ = 1, 3 do at = at - spin(at, list[1].x, list[1].y) * 0.1 end
    lu.assertTrue((r.theta - at):norm():item() < 1e-13)
    lu.assertEquals(#r.accuracy, 0)
    lu.assertEquals(r.metrics, {})
end

function TestFieldTask.test_records_that_have_no_loss_in_them()
    local list, theta = tasks("spin", "loss"), model:init { seed = 5 }
    local r = run(list, { record = { at = { 0 }, "bracket", "conflict", "gram", "gradient_norm", "cosines",
        "swap_effect" } }, theta)
    local a = function(t) return spin(t, list[1].x, list[1].y) end
    local b = function(t) return loss(t, list[2].x, list[2].y) end
    local bracket = bk.lie(a, b)(theta):norm():item()
    lu.assertAlmostEquals(r.history.bracket_1_2[1], bracket, 1e-11)
    lu.assertAlmostEquals(r.history.conflict[1], 0.05 * bracket, 1e-11)
    lu.assertAlmostEquals(r.history.gradient_norm[1], (a(theta) + bk.grad(b)(theta)):norm():item(), 1e-11)
end

-- The terms cancelled exactly: a round then has the next order's distance from the flow of the first order alone.
function TestFieldTask.test_interventions_act_on_fields()
    local list, theta, hs = tasks("spin", "spin"), model:init { seed = 6 }, { 0.02, 0.01, 0.005 }
    local errors = { plain = {}, cancelled = {} }
    for k, h in ipairs(hs) do
        local function sum(t) return -spin(t, list[1].x, list[1].y) - spin(t, list[2].x, list[2].y) end
        local flow = bk.flow(sum, theta, { time = h })
        for name, c in pairs { plain = 1, cancelled = 0 } do
            local r = run(list, { lr = h, steps = 2, batch = "full", interventions = {
                bk.intervention.conflict { strength = c }, bk.intervention.flatness { strength = c } } }, theta)
            errors[name][k] = (r.theta - flow):norm():item()
        end
    end
    lu.assertAlmostEquals(bk.statistics.slope(hs, errors.plain), 2, 0.1)
    lu.assertAlmostEquals(bk.statistics.slope(hs, errors.cancelled), 3, 0.1)
end

function TestFieldTask.test_an_accuracy_of_its_own_is_measured()
    local list = tasks("spin", "loss")
    list[1].accuracy = function(z) return z:gt(0):to("float64"):mean() end
    local r = run(list, { record = { every = 3, "accuracy" } })
    local want = model:forward(r.theta, list[1].x):gt(0):to("float64"):mean():item()
    lu.assertAlmostEquals(r.history.accuracy_1[#r.history.accuracy_1], want, 1e-12)
end

function TestFieldTask.test_an_accuracy_need_be_no_share_of_the_examples()
    local n = 1500 -- two blocks
    local x, y = bk.rng(1):normal { n, 3 }, bk.rng(2):normal { n, 2 }
    local list = { { x = x, y = y, loss = "mse", accuracy = function(_, of) return of:mean():item() end },
        { x = x:narrow(1, 1, 1), y = y:narrow(1, 1, 1), loss = "mse", accuracy = function() return 0.1 end } }
    local r = bk.protocol { model = model, tasks = list, lr = 0.1, steps = 1 }:run {}
    lu.assertAlmostEquals(r.accuracy[2][1], y:mean():item(), 1e-12)
    lu.assertAlmostEquals(r.accuracy[0][2], 0.1, 1e-15)
end

function TestFieldTask.test_a_run_of_fields_goes_on_bit_for_bit()
    local dir = os.tmpname()
    os.remove(dir)
    local o = { model = model, tasks = tasks("spin", "spin"), lr = 0.1, steps = 8, batch = 5, order = "joint",
        record = { every = 2, "gradient_norm" } }
    local whole = bk.protocol(o):run {}
    bk.protocol(o):run { out = dir, stop = 4, checkpoint_every = 2 }
    local r = bk.protocol(o):run { out = dir, resume = true }
    lu.assertEquals(r.theta:totable(), whole.theta:totable())
    lu.assertEquals(r.history.gradient_norm, whole.history.gradient_norm)
    os.execute("rm -r " .. dir)
end

function TestFieldTask.test_errors()
    local function fails(text, list, more) lu.assertErrorMsgContains(text, run, list, more) end
    for _, name in ipairs { "loss", "flatness", "order_effect", "sharpness" } do
        fails(('record "%s": needs the loss of every task; task 1 (spin 1) is a field'):format(name),
            tasks("spin", "loss"), { record = { every = 1, name } })
    end
    fails('record "accuracy": no task has one', tasks("spin"), { record = { every = 1, "accuracy" } })
    fails('order "tournament": needs the loss', tasks("spin", "loss"), { order = "tournament" })
    fails('order "planned": needs the loss', tasks("spin", "loss"), { order = bk.order.planned{} })
    fails("bk.intervention.ewc: needs the loss", tasks("loss", "spin"), { order = "sequential",
        interventions = { bk.intervention.ewc { weight = 1 } } })
    local d = data(1)
    fails("loss: a task with a field has no loss", { { x = d.x, y = d.y, field = spin, loss = "mse" } })
    fails("field: expected a function", { { x = d.x, y = d.y, field = "spin" } })
    fails("field: expected a tensor (" .. model.n_params .. "), as theta, got a tensor float64 (2)",
        { { x = d.x, y = d.y, field = function() return bk.ones { 2 } end } })
    fails("the field's norm is", { { x = d.x, y = d.y, field = function(t) return t / 0 end } })
end

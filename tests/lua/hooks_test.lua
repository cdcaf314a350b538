-- hooks_test.lua - what hooks and records may do to a run: what they may set acts, all else is an error; they can stop
-- it; and their memory goes on where the run does.
local bk = require "bracket"
local lu = require "luaunit"
local required = dofile "tests/lua/required.lua"

local rng = bk.rng(1)
local x, y = rng:normal { 20, 6 }, rng:integers({ 20 }, 3)
local model = bk.nn.mlp { 6, 8, 3 }
local tasks = { { x = x, y = y }, { x = x * 0.5, y = y } }
local function protocol(hooks, options)
    local o = { model = model, tasks = tasks, lr = 0.1, steps = 6, batch = 5, interventions = { hooks } }
    for name, value in pairs(options or {}) do o[name] = value end
    return bk.protocol(o)
end
local start = model:init { seed = 1 }
local function run(hooks, options) return protocol(hooks, options):run { theta = start } end

TestHooks = {}

-- An intervention that does nothing, a step that no run has, an order of nothing.
function TestHooks.test_what_would_do_nothing_is_refused()
    local fails = lu.assertErrorMsgContains
    fails("bk.protocol: intervention 1 (forgot): expected a hook, one of begin_run,", run, { name = "forgot" })
    fails("intervention 1: expected a hook", run, { strength = 0 })
    run(bk.intervention.conflict { strength = 1 })
    local function at(steps) return run(nil, { record = { at = steps, "loss" } }) end
    fails("bk.protocol: record.at: expected a list of steps, from 0, got -3", at, { -3 })
    fails("bk.protocol: record.at: expected a step of the run, which has 12, got none", at, { 1000 })
    lu.assertEquals(at({ 0, 3, 1000 }).history.step, { 0, 3 })
    fails("bk.protocol: order: expected a name, a list of tasks, a function or a bk.order, got an empty table", run, nil,
        { order = {} })
    fails("state:measure: name: expected a record's, got \"conflic\" (did you mean conflict?)", run,
        { after_step = function(s) s:measure "conflic" end })
    fails("optimizer:restore: state: expected what sgd:state() returned, got one with \"first\"", function()
        bk.optim.sgd {}:restore { step = 1, first = start }
    end)
end

-- What another made of state.gradient, at the last step, is in the step of every intervention, or refused.
function TestHooks.test_what_replaces_the_gradient_says_so()
    local push = bk.rng(7):normal(start:shape())
    local pushes = { name = "push", before_step = function(s)
        if s.step == 4 then s.gradient = s.gradient + push end
    end }
    local replacing = 0
    for name, make in pairs(bk.intervention) do
        local function with(before, after)
            local one = make(required(make, 1, { samples = 4, memory = 16 }))
            local list = before and { before, one } or { one, after }
            local joint = one.needs_joint
            return one, pcall(function()
                return run(nil, { steps = joint and 4 or 2, order = joint and "joint" or "sequential",
                    interventions = list }).theta
            end)
        end
        local one, ok, alone = with()
        lu.assertTrue(ok, ok or alone)
        local _, took, pushed = with(pushes)
        if one.replaces_gradient then
            replacing = replacing + 1
            lu.assertFalse(took, name)
            lu.assertStrContains(pushed, "step 4: " .. name .. " starts from the tasks' own gradients")
            lu.assertStrContains(pushed, "what push made of state.gradient would be lost")
        else
            lu.assertTrue(took, took or pushed)
            lu.assertFalse(pushed == alone, name .. ": what stood in state.gradient is lost: replaces_gradient = true")
        end
        local _, taken, later = with(nil, pushes)
        lu.assertTrue(taken, taken or later)
        lu.assertFalse(later == alone, name)
    end
    lu.assertTrue(replacing >= 10, replacing)
end

function TestHooks.test_inputs_whose_sum_overflows_are_finite()
    local large = bk.ones({ 20, 6 }, { dtype = "float32" }) * 3e37
    local options = { tasks = { { x = large, y = y } }, dtype = "float32", evaluate = false, steps = 1, lr = 1e-30 }
    lu.assertEquals(run(nil, options).theta:shape(), start:shape())
end

function TestHooks.test_a_rate_that_is_set_is_stepped_recorded_and_counted()
    local r = run({ before_step = function(s) s.lr = s.task == 1 and 0.05 or s.lr end },
        { order = "cyclic", record = { every = 1, "loss" } })
    local plain = run(nil, { order = "cyclic", lr = { 0.05, 0.1 } })
    lu.assertTrue(r.theta == plain.theta)
    lu.assertAlmostEquals(r.order_matrix[1][2], plain.order_matrix[1][2], 1e-15)
    lu.assertAlmostEquals(r.order_matrix[2][1], plain.order_matrix[2][1], 1e-15)
    lu.assertEquals({ table.unpack(r.history.lr, 2) }, { 0.05, 0.1, 0.05, 0.1, 0.05, 0.1 })
    lu.assertErrorMsgContains("before_step left state.lr as \"x\"", run, { before_step = function(s) s.lr = "x" end })
end

function TestHooks.test_an_order_reads_the_state_and_sets_nothing()
    local seen = {}
    local r = run(nil, { order = function(step, s)
        seen[#seen + 1] = s.step
        return (step + #s.theta) % 2 + 1
    end })
    lu.assertTrue(#seen >= 6 and r.steps == 6)
    for _, name in ipairs{ "theta", "step", "history", "lr", "stop", "foo" } do
        lu.assertErrorMsgContains("state." .. name .. " cannot be set in a schedule, order or record", run, nil,
            { order = function(step, s)
                s[name] = 7
                return step % 2 + 1
            end })
    end
end

-- What is misspelt would be nil; what is nil now and then is no error.
function TestHooks.test_a_field_that_is_none_is_not_read()
    lu.assertErrorMsgContains("bk.protocol: step 1: before_step of push reads state.gradeint, and there is none (did you "
        .. "mean gradient?); there are step, total,", run,
        { name = "push", before_step = function(s) return s.gradeint end })
    lu.assertErrorMsgContains("step 1: after_step of intervention 1 reads state.momentum, and there is none; there are",
        run, { after_step = function(s) return s.momentum end })
    for text, options in pairs{
        ["step 0: a schedule, order or record reads state.los, and there is none (did you mean loss?)"] =
            { record = { own = function(s) return s.los or 0 end } },
        ["step 1: a schedule, order or record reads state.epoch"] = { lr = function(_, s) return s.epoch or 1 end },
    } do
        lu.assertErrorMsgContains(text, run, nil, options)
    end
    local all = {}
    local function read(s)
        for name in ("task loss x y xs ys gradient gradients gradient_sum task_gradient steps buffers"):gmatch "[%w_]+" do
            all[name] = s[name] ~= nil or all[name]
        end
        lu.assertNil(s[1])
    end
    for _, order in ipairs{ "sequential", "joint" } do
        run({ begin_run = read, before_step = read, after_step = read, end_run = read }, { order = order })
    end
    lu.assertTrue(all.task and all.xs and all.gradient_sum)
end

function TestHooks.test_gradients_of_a_joint_step_are_there_to_read()
    for _, change in ipairs{ function(s) s.gradients[1] = s.gradients[1] * 100 end,
        function(s) s.gradients[2] = nil end, function(s) s.gradients[3] = s.gradients[1] end } do
        lu.assertErrorMsgContains("before_step left another state.gradients[", run, { before_step = change },
            { order = "joint" })
    end
    local weighted = run({ before_step = function(s) s.gradient = s.gradients[1] * 3 + s.gradients[2] end },
        { order = "joint" })
    lu.assertFalse(weighted.theta == run(nil, { order = "joint" }).theta)
end

function TestHooks.test_what_a_hook_returns_is_refused()
    for hook, told in pairs{ before_step = "it may set state.gradient and state.lr", end_run = "a hook returns nothing",
        after_step = "it may set state.theta", before_batch = "it may set state.x and state.y" } do
        lu.assertErrorMsgContains(("%s of zero returned a tensor float64 (83), which nothing takes; %s"):format(hook, told),
            run, { name = "zero", [hook] = function(s) return s.theta * 0 end })
    end
    lu.assertErrorMsgContains("step 1: before_step of intervention 1 returned false, which nothing takes", run,
        { before_step = function() return false end })
    lu.assertEquals(run{ after_step = function(s) return s:stop() end }.steps, 1)
end

function TestHooks.test_nan_has_no_sign()
    for _, nan in ipairs{ 0 / 0, -(0 / 0) } do
        local p = bk.protocol{ model = model, lr = 0.1, steps = 1, tasks = { { x = x, y = y,
            loss = function(_, theta) return theta:sum() * nan end } } }
        lu.assertErrorMsgContains("the loss is nan;", p.run, p, {})
        lu.assertEquals(bk.repl.format{ nan }, "{ nan }")
    end
end

-- What the pages say of a joint step's batches is so, and they say it.
function TestHooks.test_batches_of_a_joint_step()
    local asked, steps = {}, 0
    run({ before_batch = function(s)
        asked[#asked + 1] = s.task
        lu.assertEquals({ s.x:shape(), s.y:shape() }, { { 5, 6 }, { 5 } })
    end, before_step = function(s)
        steps = steps + 1
        lu.assertNil(s.x)
        lu.assertNil(s.y)
        lu.assertNil(s.task)
        lu.assertNil(s.task_gradient)
        lu.assertEquals({ #s.xs, #s.ys, #s.gradients, #s.losses }, { 2, 2, 2, 2 })
        lu.assertEquals({ s.xs[2]:shape(), s.ys[1]:shape() }, { { 5, 6 }, { 5 } })
        local loss, g = bk.value_and_grad(bk.loss.cross_entropy(model, s.xs[2], s.ys[2]))(s.theta)
        lu.assertEquals(loss:item(), s.losses[2])
        lu.assertTrue(g == s.gradients[2])
    end }, { order = "joint", steps = 3 })
    lu.assertEquals(asked, { 1, 2, 1, 2, 1, 2 })
    lu.assertEquals(steps, 3)
    for _, page in ipairs{ bk.repl.help.page(bk.protocol), bk.repl.help.page "intervention" } do
        lu.assertStrMatches(page:gsub("%s+", " "), ".*xs.*ys.*gradients and .*losses.*lists.*")
    end
end

-- Records measure on the first examples of each task, which the pages say.
function TestHooks.test_records_measure_on_the_first_examples()
    local r = run(nil, { steps = 1, order = { 1 }, batch = "full", record = { at = { 0 }, samples = 7, "loss" } })
    local first = bk.loss.cross_entropy(model, x:narrow(1, 1, 7), y:narrow(1, 1, 7))(start):item()
    local other = bk.loss.cross_entropy(model, x:narrow(1, 1, 7) * 0.5, y:narrow(1, 1, 7))(start):item()
    lu.assertAlmostEquals(r.history.loss[1], first + other, 1e-14)
    for _, page in ipairs{ bk.repl.help.page(bk.protocol), bk.repl.help.page "record" } do
        lu.assertStrContains(page:gsub("%s+", " "), "first `samples`")
    end
end

-- The largest of outputs that are no numbers is the first: class 0 would be right at times.
function TestHooks.test_a_last_step_to_nan_is_no_end()
    for _, order in ipairs{ "sequential", "cyclic", "joint" } do
        local last = order == "sequential" and 12 or 6 -- steps of each task
        for step = last - 1, last do
            local p = protocol({ after_step = function(s) if s.step == step then s.theta = s.theta * (0 / 0) end end },
                { order = order })
            lu.assertErrorMsgContains("step " .. last, p.run, p, { theta = start })
            lu.assertFalse(p.result.finished)
        end
    end
    lu.assertErrorMsgContains("step 6: theta holds nan or inf after it", run,
        { after_step = function(s) if s.step == 6 then s.theta = s.theta / 0 end end })
end

function TestHooks.test_a_batch_that_is_set_is_trained_on()
    local twice = run { before_batch = function(s) s.x = s.x * 2 end }
    local doubled = { { x = x * 2, y = y, test = tasks[1] }, { x = x, y = y, test = tasks[2] } }
    lu.assertTrue(twice.theta == run(nil, { tasks = doubled }).theta)
    local joint = run({ before_batch = function(s) if s.task == 1 then s.x = s.x * 2 end end }, { order = "joint" })
    lu.assertTrue(joint.theta == run(nil, { order = "joint", tasks = { doubled[1], tasks[2] } }).theta)
    lu.assertErrorMsgContains("before_batch left state.x as nil", run, { before_batch = function(s) s.x = nil end })
end

-- The loss knows of no hook, and the line is that of the call of run.
function TestHooks.test_a_batch_that_does_not_fit_is_of_the_hook_that_set_it()
    for _, order in ipairs{ "sequential", "joint" } do
        local function fails(says, set)
            lu.assertErrorMsgContains(says, run, { name = "halves", before_batch = function(s)
                if s.step == 3 and s.task == 1 then set(s) end
            end }, { order = order })
        end
        local where = " (of the batch that before_batch of halves set at step 3)"
        fails("y: expected (2) class ids, got (5)" .. where, function(s) s.x = s.x:narrow(1, 1, 2) end)
        fails("x: expected (batch, 6), got (5,2)" .. where, function(s) s.x = s.x:narrow(2, 1, 2) end)
        fails("is nan; what was recorded is kept in protocol.result" .. where, function(s) s.x = s.x * (0 / 0) end)
    end
    lu.assertErrorMsgMatches(".*task 1: the loss is nan; what was recorded is kept in protocol.result", run,
        { before_batch = function() end }, { tasks = { { x = x, y = y, loss = function(_, theta)
            return (theta * (0 / 0)):sum()
        end } } })
end

function TestHooks.test_what_is_kept_of_a_batch_stays_as_it_was()
    for _, dtype in ipairs{ "float64", "float32" } do
        for _, hook in ipairs{ "before_batch", "before_step", "after_step" } do
            for _, order in ipairs{ "cyclic", "joint" } do
                local kept, seen = {}, {}
                local function keep(s)
                    if order == "joint" and hook ~= "before_batch" then
                        kept[#kept + 1], kept[#kept + 2], kept[#kept + 3] = s.xs[1], s.xs[2], s.ys[1]
                    else
                        kept[#kept + 1], kept[#kept + 2] = s.x, s.y
                    end
                    for k = #seen + 1, #kept do seen[k] = kept[k]:totable() end
                end
                local r = run({ [hook] = keep }, { order = order, dtype = dtype })
                for k, t in ipairs(kept) do lu.assertEquals(t:totable(), seen[k]) end
                lu.assertTrue(#kept >= 12)
                lu.assertTrue(r.theta == run({ [hook] = function() end }, { order = order, dtype = dtype }).theta)
            end
        end
    end
    local last
    local again = protocol { after_step = function(s) last = s.x end }
    again:run { theta = start }
    local kept, seen = last, last:totable()
    again:run { seed = 9, theta = start }
    lu.assertEquals(kept:totable(), seen)
    local lists = {}
    run({ before_step = function(s) lists[#lists + 1] = s.xs end }, { order = "joint" })
    for k = 2, #lists do lu.assertFalse(lists[k][1] == lists[k - 1][1]) end
end

function TestHooks.test_anything_else_is_an_error_that_says_what_may_be_set()
    local function fails(text, hooks, options) lu.assertErrorMsgContains(text, run, hooks, options) end
    fails("step 1: state.theta cannot be set in before_step; it may set state.gradient and state.lr",
        { before_step = function(s) s.theta = s.theta end })
    fails("state.nonsense cannot be set in end_task; nothing can", { end_task = function(s) s.nonsense = 1 end })
    fails("state.x cannot be set in before_step", { before_step = function(s) s.x = s.x end })
    fails("state.lr cannot be set in a schedule", nil, { lr = function(_, s) s.lr = 1 return 0.1 end })
    fails("state.theta cannot be set", nil, { record = { every = 1, own = function(s) s.theta = 1 return 1 end } })
    fails("unknown option before_stepp (did you mean before_step?)", { before_stepp = print })
end

function TestHooks.test_stop_ends_the_run_after_its_step()
    local ended = 0
    local hooks = { after_step = function(s) if s.step == 8 then s:stop() end end,
        end_run = function() ended = ended + 1 end }
    local p = protocol(hooks, { record = { every = 5, "loss" } })
    local r = p:run { theta = start }
    lu.assertEquals({ r.steps, r.total, r.finished, r.stopped, ended }, { 8, 8, true, true, 1 })
    lu.assertEquals(r.history.step, { 0, 5, 8 })
    lu.assertEquals(#r.learned, 2) -- the second task counts as learned as far as it came
    local again = protocol(hooks, { record = { every = 5, "loss" } }):restore(p:state())
    lu.assertEquals(again:run {}.steps, 8)
end

-- ---- memory: what hooks and records keep, cut in the middle (protocol_test.lua tries every one there is) ----

local RECORDS = {}
for name in pairs(bk.record) do RECORDS[#RECORDS + 1] = name end
table.sort(RECORDS)

function TestHooks.test_records_go_on_where_they_were()
    local function make()
        local record = { every = 1, own = { begin_run = function(_, memory) memory.sum = bk.zeros { 2 } end,
            value = function(state, memory)
                memory.sum = memory.sum + state.theta:narrow(1, 1, 2)
                return memory.sum:norm():item()
            end } }
        for k, name in ipairs(RECORDS) do record[k] = name end
        return protocol({ after_step = function() end }, { record = record, order = "cyclic" })
    end
    local whole = make():run { theta = start }
    for _, at in ipairs { 1, 3, 5 } do
        local p = make()
        p:run { theta = start, stop = at }
        local r = make():restore(p:state()):run {}
        lu.assertTrue(r.theta == whole.theta)
        for name, column in pairs(whole.history) do lu.assertEquals(r.history[name], column, name) end
    end
    lu.assertTrue(whole.history.own[7] > whole.history.own[1])
end

-- The memory of another's hooks, and a place in the steps of another order, were taken as one's own: errors inside of
-- interventions, runs that never finished, a task learned twice.
function TestHooks.test_a_state_goes_back_to_its_own_protocol()
    local ewc, replay = bk.intervention.ewc { weight = 1 }, bk.intervention.replay { memory = 3 }
    local function state(stop, options)
        local p = protocol(ewc, options)
        p:run { theta = start, stop = stop }
        return p:state()
    end
    local function fails(text, stop, options)
        local p = protocol(ewc, options)
        lu.assertErrorMsgContains("protocol:restore: the state" .. text, p.restore, p, state(stop))
    end
    fails(" is of a run with the interventions ewc, the protocol has replay", 8, { interventions = { replay } })
    fails(" is of a run with the interventions ewc, the protocol has none", 8, { interventions = {} })
    fails(" is of a run with the interventions ewc, the protocol has ewc, replay", 8, { interventions = { ewc, replay } })
    fails(" is after step 8, the protocol has 6 steps", 8, { steps = 3 })
    fails("'s 5 steps were on other tasks than the protocol's order says", 5, { steps = 4 })
    fails("'s 8 steps were on other tasks", 8, { steps = 7 })
    fails("'s 8 steps were on other tasks", 8, { order = bk.order.sequential { order = { 2, 1 } } })
    local p = protocol(ewc, { lr = 0.05 }) -- what a step does may change
    lu.assertEquals(p:restore(state(8)):run {}.steps, 12)
    local whole = protocol(ewc):run { theta = start } -- a state that is refused leaves the run as it was
    p = protocol(ewc)
    p:run { theta = start, stop = 5 }
    lu.assertError(p.restore, p, state(8, { steps = 7 }))
    lu.assertTrue(p:run {}.theta == whole.theta)
end

function TestHooks.test_a_records_memory_outlives_the_process()
    local folder = os.tmpname()
    os.remove(folder)
    local function make()
        return protocol({ after_step = function() end }, { record = { every = 1, own = { value = function(state, memory)
            memory.list = memory.list or {}
            table.insert(memory.list, state.theta[1]:item())
            memory.last = state.theta
            return #memory.list
        end } } })
    end
    local whole = make():run { theta = start }
    pcall(function() make():run { theta = start, out = folder, checkpoint_every = 2, stop = 5 } end)
    local r = make():run { theta = start, out = folder, resume = true }
    os.execute("rm -rf " .. folder)
    lu.assertEquals(r.history.own, whole.history.own)
    lu.assertTrue(r.theta == whole.theta)
end

-- ---- what a run lends stays as it was, though its steps write over theta and gradients in place ----

local function keeper(take) -- a hook's list of tensors, and their numbers when they were taken
    local kept, then_ = {}, {}
    local function keep(t)
        kept[#kept + 1], then_[#then_ + 1] = t, t:totable()
    end
    return function(s) take(s, keep) end, function()
        lu.assertTrue(#kept > 0)
        for k, t in ipairs(kept) do lu.assertEquals(t:totable(), then_[k]) end
    end
end

local function unchanged(take, name, options)
    local hook, check = keeper(take)
    local r = run({ [name] = hook }, options)
    check()
    lu.assertTrue(r.theta == run(nil, options).theta)
end

function TestHooks.test_what_a_hook_keeps_is_not_written_over()
    for _, order in ipairs { "cyclic", "joint" } do
        for _, name in ipairs { "before_batch", "before_step", "after_step" } do
            for _, field in ipairs { "theta", "gradient", "task_gradient", "gradient_sum" } do
                local joint = order == "joint"
                if not (joint and field == "task_gradient") and (joint or field ~= "gradient_sum") then
                    unchanged(function(s, keep) if s[field] then keep(s[field]) end end, name, { order = order })
                    unchanged(function(s, keep) -- as a list of all fields shows it
                        for key, value in pairs(s) do if key == field then keep(value) end end
                    end, name, { order = order })
                    unchanged(function(s, keep) -- part of it
                        if s.step == 3 and s[field] then keep(s[field]:narrow(1, 2, 5)) end
                    end, name, { order = order })
                end
            end
        end
    end
    unchanged(function(s, keep) for _, g in ipairs(s.gradients) do keep(g) end end, "before_step", { order = "joint" })
end

function TestHooks.test_what_records_orders_and_schedules_keep_is_not_written_over()
    local function see(s, keep)
        if s.theta then keep(s.theta) end
        if s.gradient then keep(s.gradient) end
    end
    local hook, check = keeper(see)
    run(nil, { record = { every = 2, own = function(s) hook(s) return 1 end } })
    check()
    hook, check = keeper(see)
    run(nil, { lr = function(_, s) hook(s) return 0.1 end })
    check()
    hook, check = keeper(see)
    run(nil, { order = function(step, s) hook(s) return 1 + step % 2 end })
    check()
end

function TestHooks.test_what_a_run_was_given_and_gave_is_not_written_over()
    local before, p = start:totable(), protocol()
    local half = p:run { theta = start, stop = 3 }
    local middle, state = half.theta:totable(), p:state()
    local gradient = state.gradient:totable()
    p:run {}
    lu.assertEquals(start:totable(), before)
    lu.assertEquals(half.theta:totable(), middle)
    lu.assertEquals(state.theta:totable(), middle)
    lu.assertEquals(state.gradient:totable(), gradient)
    local again = protocol():restore(state)
    lu.assertTrue(again:run {}.theta == p.result.theta)
    lu.assertEquals(state.theta:totable(), middle)
end

function TestHooks.test_an_optimizer_of_ones_own_may_keep_what_it_sees()
    local hook, check = keeper(function(s, keep) keep(s.theta) keep(s.g) end)
    local last
    local function nothing() return {} end
    local r = run(nil, { optimizer = { reset = nothing, state = nothing, restore = nothing,
        step = function(_, theta, g, lr)
            hook { theta = theta, g = g }
            if last then lu.assertTrue(theta == last) end
            last = theta - g * lr
            return last
        end } })
    check()
    lu.assertTrue(r.theta == run().theta)
end

function TestHooks.test_a_step_takes_no_new_memory()
    local wide = bk.nn.mlp { 6, 3000, 3 } -- 30,003 parameters
    for _, optimizer in ipairs { bk.optim.sgd {}, bk.optim.adam {} } do
        for _, order in ipairs { "cyclic", "sequential" } do
            local p = bk.protocol { model = wide, tasks = tasks, lr = 0.1, steps = 60, batch = 5, order = order,
                optimizer = optimizer, evaluate = false }
            p:run { stop = 10 }
            p.result = nil
            p:run { stop = 12 }
            collectgarbage()
            collectgarbage("stop")
            local before = bk.memory()
            p:run { stop = 13 } -- result() of the pause before lent theta once
            local lent = bk.memory()
            p:run { stop = 30 }
            collectgarbage("restart")
            lu.assertTrue(lent - before < 1.5 * 8 * wide.n_params)
            lu.assertTrue(bk.memory() - lent < 1.5 * 8 * wide.n_params) -- once more, not 17 times
        end
    end
end

-- What makes the gradient anew would lose what stood before it.
function TestHooks.test_a_method_that_replaces_the_gradient_stands_first()
    local x, y, I = bk.rng(1):normal { 40, 3 }, bk.rng(2):integers({ 40 }, 2), bk.intervention
    local function run(list)
        return bk.protocol { model = bk.nn.mlp { 3, 5, 2 }, tasks = { { x = x, y = y }, { x = -x, y = y } },
            order = "joint", lr = 0.1, steps = 3, interventions = list }:run {}
    end
    local function halved(state) state.gradient = state.gradient * 0.5 end
    for text, list in pairs {
        ["step 1: imtl_g starts from the tasks' own gradients, and what mgda made of"] = { I.mgda {}, I.imtl_g {} },
        ["and what intervention 1 made of state.gradient would be lost: leave one out, or let pcgrad stand first"] =
            { { before_step = halved }, I.pcgrad {} },
        ["graddrop starts from"] = { I.flatness { strength = 3 }, I.graddrop {} },
        ["cagrad starts from"] = { { name = "clip", before_step = halved }, I.cagrad {} },
    } do
        lu.assertErrorMsgContains(text, run, list)
    end
    lu.assertFalse(run { I.pcgrad {}, { before_step = halved } }.theta == run { I.pcgrad {} }.theta)
    lu.assertTrue(run { { before_step = function(state) local _ = state.gradient end }, I.pcgrad {} }.theta
        == run { I.pcgrad {} }.theta)
end

function TestHooks.test_an_error_within_a_hook_of_the_program_names_it()
    local p = bk.protocol { model = bk.nn.mlp { 3, 5, 2 }, steps = 3, lr = 0.1,
        tasks = { { x = bk.ones { 4, 3 }, y = bk.zeros({ 4 }, { dtype = "int64" }) } },
        interventions = { { before_batch = function() end }, bk.intervention.lwf { weight = 1 },
            { before_step = function() bk.ones { 3 }:narrow(1, 2, 9) end } } }
    local ok, text = pcall(p.run, p, {})
    lu.assertFalse(ok)
    lu.assertStrMatches(text, "tests/lua/hooks_test.lua:%d+: bk.narrow: size: expected an integer from 0 to 2, got 9")
end

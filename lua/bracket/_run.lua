-- One run of a protocol: the step loop and everything a running protocol remembers. `state` is what orders, schedules,
-- interventions and records see; its fields are listed in bk.protocol's doc. Nothing random or remembered lives
-- outside what state() returns, but state.shared.
local bk = ...
local refuse, show = bk._options.refuse, bk._options.show
local order_object, step_over = bk.order._object, bk.internal.step_over
local run = {}

-- What a run alone holds, by its state: theta, gradients (nil where the last step had none as a whole) and batches, and
-- the buffers they lie in. A step writes over them unless somebody has read or set them since the last one: what
-- state.theta, state.gradient and state.x lend is never changed.
local owned = setmetatable({}, { __mode = "k" })
local LENT = { theta = "theta", gradient = "gradients", task_gradient = "gradients", gradients = "gradients",
    gradient_sum = "gradients", x = "batch", y = "batch", xs = "batch", ys = "batch" }

function run.__index(self, name)
    local what = LENT[name]
    if not what then return run[name] end
    local own = owned[self]
    own.lent[what] = true
    return own[name]
end

function run.__newindex(self, name, value)
    local what = LENT[name]
    if not what then return rawset(self, name, value) end
    local own = owned[self]
    own.lent[what], own[name] = true, value
end

function run.__pairs(self)
    local fields = {}
    for name, value in next, self do fields[name] = value end
    for name in next, LENT do fields[name] = self[name] end
    return next, fields
end

local HOOKS = { "begin_run", "begin_task", "before_batch", "before_step", "after_step", "end_task", "end_run" }
local MAY_SET = { before_batch = { "x", "y" }, before_step = { "gradient", "lr" }, after_step = { "theta" } }
run.hooks = HOOKS

-- What the pages name of a run's state, and what else may be nil of it; another field that is nil is misspelt.
local TOLD = { "step", "total", "steps", "task", "position", "n_tasks", "tasks", "theta", "lr", "loss", "losses", "x",
    "y", "xs", "ys", "gradient", "gradients", "gradient_sum", "task_gradient", "reduction_scale", "model", "buffers",
    "problem", "f", "optimizer", "recorded", "history", "R", "W", "seed", "shared", "task_steps", "task_total",
    "measure", "reaches", "stop" }
local MAY_LACK = {}
for _, names in ipairs{ TOLD, { "at", "batch_epoch", "batch_first", "batch_set", "finished", "stopped" } } do
    for _, name in ipairs(names) do MAY_LACK[name] = true end
end

-- What hooks, records and schedules see of a run: all of it, to read. What a hook may set acts; anything else is an
-- error, for it would do nothing, and so is reading what is none.
local function view_of(state)
    local view = {}
    local function guard(_, name, value)
        for _, allowed in ipairs(MAY_SET[state.calling] or {}) do
            if name == allowed then
                state[name] = value
                if name == "gradient" then state.gradient_by = state.running.name end
                if name == "x" or name == "y" then state.batch_set = state.running.name end
                return
            end
        end
        local list, place = MAY_SET[state.calling], tostring(state.calling or "a schedule, order or record")
        local meant = bk.internal.hint(name, list or {})
        refuse("bk.protocol: step %d: state.%s cannot be set in %s%s; %s. What a hook remembers goes into its memory, "
            .. "what it tells others into state.shared", state.step, tostring(name), place, meant,
            list and "it may set state." .. table.concat(list, " and state.") or "nothing can")
    end
    local function read(_, name)
        if name == "buffers" then return state.problem.mode.buffers end -- as training has left them
        if name == "total" or name == "steps" then state.asked_total = true end
        local value = state[name]
        if value == nil and type(name) == "string" and not MAY_LACK[name] then
            local reader = state.running and ("%s of %s"):format(state.calling, state.running.name)
            refuse("bk.protocol: step %d: %s reads state.%s, and there is none%s; there are %s", state.step,
                reader or "a schedule, order or record", name, bk.internal.hint(name, TOLD), table.concat(TOLD, ", "))
        end
        return value
    end
    return setmetatable(view, { __index = read, __newindex = guard, __pairs = function() return pairs(state) end,
        __name = "bracket.state" })
end

local DEEPEST = 100 -- of the tables in a state; one that holds itself is deeper

local function copy(value, depth)
    depth = depth or 0
    if type(value) ~= "table" then return value end
    if depth > DEEPEST then
        refuse("bk.protocol: state: expected tables at most %d deep, got one that is deeper or holds itself", DEEPEST)
    end
    local result = {}
    for k, v in pairs(value) do result[k] = copy(v, depth + 1) end
    return result
end
run.copy = copy

-- What the run is asked by name: of its steps and rates, by orders, hooks and records.
local function answers(state)
    local spec, problem, counts = state.spec, state.problem, nil
    function state.steps_of(i)
        local steps, t = spec.steps, problem.tasks[i]
        if type(steps) == "table" then
            local count = type(steps[i]) == "number" and math.tointeger(steps[i])
            if not count or count < 1 then
                refuse("bk.protocol: steps[%d]: expected a number of steps, got %s", i, show(steps[i]))
            end
            return count
        end
        return steps or (spec.epochs or 1) * (t.train.n // t.size)
    end
    function state.task_total(i) -- nil where the order is a user's own function, which is not asked ahead
        if not state.at then return state.steps_of(i) end -- in a trial, which has each task once
        state.asked_total = true
        counts = counts or not spec.order.asks and order_object.counts(problem.n, 1, state.total, state.at) or {}
        return counts[i]
    end
    function state.stop() -- the run ends after this step, as if it were its last
        state.stopped, state.total = true, state.step
    end
    function state.reaches(_, step) -- not to be asked of the total lets a run go on with more steps
        if step > state.total then state.asked_total = true end
        return step <= state.total
    end
    function state.round_word() -- the tasks of the last whole round
        local window, total = state.window, state.total
        local first = (state.step > 0 and state.step - 1 or 0) // window * window
        if first > 0 and first + window > total then first = first - window end
        local word = {}
        for s = first + 1, math.min(first + window, total) do word[#word + 1] = (state.at(s)) end
        return word
    end
    -- The rate a step of each task would have now: as the run's rates say, times what hooks made of that at the task's
    -- last step.
    function state.task_rates()
        local rates, seen = {}, setmetatable({}, { __index = state.view })
        for i = 1, problem.n do
            seen.task = i
            local other = i ~= state.task and not state.joint
            local rate = other and state.rate(math.max(state.step, 1), seen) * (state.rate_factors[i] or 1)
            rates[i] = rate or state.lr
        end
        return rates
    end
end

-- The steps that so many epochs are, where the order has no say.
local function steps_of_epochs(state)
    local sum, most = 0, 0
    for i = 1, state.n_tasks do
        sum, most = sum + state.steps_of(i), math.max(most, state.steps_of(i))
    end
    return state.joint and most or sum
end

-- By name: the interventions that have such a hook, in their order.
local function hooks_of(interventions)
    local hooks = {}
    for _, name in ipairs(HOOKS) do
        local list = {}
        for k, iv in ipairs(interventions) do
            if iv[name] then
                list[#list + 1] = { call = iv[name], index = k, name = iv.name or "intervention " .. k,
                    replaces = iv.replaces_gradient }
            end
        end
        hooks[name] = list
    end
    return hooks
end

function run.new(spec, problem, seed)
    local state = setmetatable({
        protocol = spec.protocol, problem = problem, model = spec.model, optimizer = spec.optimizer, seed = seed,
        n_tasks = problem.n, tasks = {}, f = {}, joint = spec.order.joint or false, steps = spec.total_steps,
        step = 0, position = 0, loss = nil, lr = 0, cache = {}, memory = {}, order_memory = {}, accuracy = {},
        test_loss = {}, learned = {}, history = {}, rows = 0, recorded = {}, shared = {}, record_memory = {},
        losses = {}, rate = spec.rate, rate_factors = {}, word_digest = 0,
        task_steps = order_object.counts(problem.n, 1, 0),
        reduction_scale = spec.reduction == "mean" and 1 / problem.n or 1, spec = spec,
        hooks = hooks_of(spec.interventions),
    }, run)
    owned[state] = { gradients = {}, buffers = {}, lent = {}, xs = {}, ys = {}, set_by = {} }
    for i, t in ipairs(problem.tasks) do
        state.tasks[i], state.f[i] = t.source, t.training
    end
    for k in ipairs(spec.interventions) do state.memory[k] = {} end
    state.W, state.R = order_object.empty(problem.n)
    answers(state)
    if not state.steps and not spec.steps and spec.epochs and not spec.order.blocks then
        state.steps = steps_of_epochs(state)
    end
    state.view = view_of(state)
    return state
end

function run:call(name)
    self.calling, self.gradient_by = name, nil
    if name == "before_batch" then self.batch_set = nil end
    for _, hook in ipairs(self.hooks[name]) do
        if hook.replaces and self.gradient_by then
            self.running = nil
            refuse("bk.protocol: step %d: %s starts from the tasks' own gradients, and what %s made of state.gradient "
                .. "would be lost: leave one out, or let %s stand first", self.step, hook.name, self.gradient_by,
                hook.name)
        end
        self.running = hook
        local returned = hook.call(self.view, self.memory[hook.index])
        if returned ~= nil then
            local may = MAY_SET[name]
            self.running = nil
            refuse("bk.protocol: step %d: %s of %s returned %s, which nothing takes; %s", self.step, name, hook.name,
                show(returned), may and ("it may set state.%s"):format(table.concat(may, " and state."))
                or "a hook returns nothing")
        end
    end
    self.calling, self.running = nil, nil
    if name == "begin_run" or name == "begin_task" then -- records may begin too
        for _, column in ipairs(self.spec.record_names) do
            local r = self.spec.record_functions[column] or bk.record[column]
            if type(r) == "table" and r[name] then r[name](self.view, self:memory_of(column)) end
        end
    end
end

-- The error's message with the hook it came from, where that is one of the program's own, or that set the batch it is
-- of: the line it names is that of the user's call.
function run:name_hook(message)
    local own = owned[self]
    local place, calling, set_by = self.running, self.calling, own.evaluated_by
    self.running, self.calling, own.evaluated_by = nil, nil, nil
    if set_by and type(message) == "string" and not message:find("%f[%a]interrupted$") then
        return ("%s (of the batch that before_batch of %s set at step %d)"):format(message, set_by, self.step)
    end
    local ours = place and debug and type(place.call) == "function"
        and debug.getinfo(place.call, "S").source:find("^@bracket/")
    if not ours or type(message) ~= "string" then return message end
    return ("%s (in %s of %s)"):format(message, calling, place.name)
end

-- A record's own memory, saved with the run.
function run:memory_of(column)
    local memory = self.record_memory[column]
    if not memory then
        memory = {}
        self.record_memory[column] = memory
    end
    return memory
end

-- The order becomes a function of the step (needs theta: the tournament looks at the tasks).
function run:set_order()
    self.lr = 1
    self.window = 1
    self.total, self.at = self.spec.order.setup(self, self.order_memory)
    self.window = math.max(1, self.spec.order.window(self))
    self.lr = 0
    local at, recorded = self.spec.record_at, self.spec.record_every or not self.spec.record_at
    for step in pairs(at or {}) do recorded = recorded or step <= self.total end
    if not recorded then
        refuse("bk.protocol: record.at: expected a step of the run, which has %d, got none", self.total)
    end
end

-- ---- the optimizer, which several protocols may share: its state is one run's at a time ----
local using = setmetatable({}, { __mode = "kv" }) -- by optimizer: that run, while somebody can go on with it

-- The optimizer is for another run: who has it keeps what it needs to go on.
function run.leave_optimizer(optimizer)
    local state = using[optimizer]
    if state then state.optimizer_state = optimizer:state() end
    using[optimizer] = nil
end

function run:take_optimizer()
    local optimizer = self.optimizer
    if using[optimizer] == self then return end
    if self.optimizer_state then
        run.leave_optimizer(optimizer)
        optimizer:restore(self.optimizer_state)
        self.optimizer_state = nil
    end
    using[optimizer] = self
end

-- ---- recording ----
local function append(self, row)
    local history, r = self.history, self.rows + 1
    for name in pairs(row) do
        if not history[name] then
            local column = {}
            for k = 1, r - 1 do column[k] = 0 / 0 end
            history[name] = column
        end
    end
    for name, column in pairs(history) do
        local value = row[name]
        column[r] = value == nil and 0 / 0 or value
    end
    self.recorded = row
    if self.log then self.log:add(r, row) end
    self.rows = r -- last: an interrupt may come anywhere above
end

function run:measure(name)
    local known, f = pcall(function()
        return self.spec.record_functions[name] or not name:find("^_") and bk.record[name]
    end)
    if not known or not f then
        local names = {}
        for _, records in ipairs{ bk.record, self.spec.record_functions } do
            for other in pairs(records) do names[#names + 1] = other end
        end
        refuse("state:measure: name: expected a record's, got %s%s", show(name), bk.internal.hint(name, names))
    end
    local value = (type(f) == "table" and f.value or f)(self.view, self:memory_of(name))
    if type(value) == "number" then return { [name] = value } end
    local unfit, found = value, type(value) ~= "table"
    for _, number in pairs(found and {} or value) do
        if type(number) ~= "number" then unfit, found = number, true end
    end
    if found then
        refuse("bk.protocol: record %q: expected a number or a table of numbers, got %s", name,
            bk.is_tensor(unfit) and "a tensor; t:item() is the number of a 0-d one" or show(unfit))
    end
    return value
end

function run:record()
    local row = { step = self.step, task = self.task or 0, lr = self.lr }
    local rate = self.lr
    if self.step == 0 then -- the terms before the first step are those its rate will have
        self.task = self.at(1)
        if self.task == 0 then self.task = nil end
        self.lr = self.rate(1, self.view)
    end
    for _, name in ipairs(self.spec.record_names) do
        for column, value in pairs(self:measure(name)) do
            if row[column] ~= nil then
                refuse("bk.protocol: record %q: the column %s is there already; expected another name", name, column)
            end
            row[column] = value
        end
    end
    self.lr = rate
    append(self, row)
end

function run:due(step)
    local spec = self.spec
    if #spec.record_names == 0 then return false end
    if spec.record_at and spec.record_at[step] then return true end
    return spec.record_every and (step % spec.record_every == 0 or step == self.total)
end

function run:evaluate(row)
    local accuracy, loss, any = {}, {}, false
    for i = 1, self.n_tasks do
        local l, a = self.problem:evaluate(i, self.theta, "test")
        any = any or l or a
        loss[i] = l or 0 / 0 -- a field has none
        accuracy[i] = a or -loss[i]
    end
    if not any then return end
    self.accuracy[row], self.test_loss[row] = accuracy, loss
end

-- ---- steps ----
local function check_finite(self, what, value, i)
    if value ~= value or value == math.huge or value == -math.huge then
        error(string.format("bk.protocol: step %d, task %d%s: the %s is %s; what was recorded is kept in protocol.result",
            self.step, i, self.tasks[i].name and " (" .. tostring(self.tasks[i].name) .. ")" or "", what,
            show(value)), 0)
    end
    return value
end

-- Whether anybody may look at the gradients of steps at which no record is due.
local function looked_at(spec)
    local described = bk.schedule._described
    local function blind(rate)
        if type(rate) == "number" or described.text(rate) then return true end
        for _, r in ipairs(described.rates(rate) or {}) do
            if not blind(r) then return false end
        end
        return described.rates(rate) ~= nil
    end
    for _, name in ipairs(spec.record_names) do
        local record = spec.record_functions[name] or bk.record[name]
        if type(record) == "table" and record.begin_task then return true end
    end
    return #spec.interventions > 0 or spec.distributed or spec.order.asks or not blind(spec.constant or spec.rate)
end

local function buffers_of(own, number)
    local kept = own.buffers[number] or {}
    own.buffers[number] = kept
    return kept
end

-- The loss as a number; new buffers of the model are its mode's.
local function take_loss(self, i, loss, kept, buffers)
    self.loss = loss:item()
    check_finite(self, "loss", self.loss, i)
    if buffers then self.problem.mode.buffers, kept[3] = buffers, nil end
    return self.loss
end

-- Loss and gradient of task i; of a task with a field nil and the field. The gradient lies in the buffer of that
-- number, unless the last one there is lent.
local function evaluated(self, i, x, y, number)
    local own, f = owned[self], self.f[i]
    local kept = buffers_of(own, number)
    if not f.loss then
        local v = f.field_over(kept, own.theta, x, y)
        check_finite(self, "field's norm", v:norm():item(), i)
        return nil, v
    end
    local loss, g, buffers = f.value_and_grad_over(kept, own.theta, x, y)
    return take_loss(self, i, loss, kept, buffers), g
end

local WHOLE = { theta = true } -- as where theta is lent: no step by pieces

-- A step of task i in which theta moves as its gradient is made: true, and the loss. Theta is still to be moved, as
-- after evaluated: false, loss and gradient, where somebody is going to look at the gradient or has theta too, and for
-- fields and optimizers that need all of it at once.
local function poured(self, i, x, y, seen)
    local own, f = owned[self], self.f[i]
    if f.step_poured and own.can_pour ~= false then
        local kept = buffers_of(own, 1)
        if own.lent.theta then own.theta, own.lent.theta = own.theta:clone(), false end
        local moved, loss, g, buffers = f.step_poured(self.optimizer, kept, self.lr, seen and WHOLE or own.lent,
            own.theta, x, y)
        own.can_pour = moved ~= nil
        if own.can_pour then return moved, take_loss(self, i, loss, kept, buffers), not moved and g or nil end
    end
    return false, evaluated(self, i, x, y, 1)
end

-- The batch as the before_batch hooks leave it.
local function changed_batch(self)
    local own = owned[self]
    self:call("before_batch")
    for _, name in ipairs{ "x", "y" } do
        if not bk.is_tensor(own[name]) then
            refuse("bk.protocol: step %d: before_batch left state.%s as %s; expected a tensor", self.step, name,
                show(own[name]))
        end
    end
    return own.x, own.y
end

local function is_rate(h) return type(h) == "number" and h >= 0 and h < math.huge end

-- A rate that a hook changed: R and W count what is stepped.
local function change_rate(self, h)
    local lr, i = self.lr, self.task
    if not is_rate(lr) then
        refuse("bk.protocol: step %d: before_step left state.lr as %s; expected a finite rate >= 0", self.step, show(lr))
    end
    order_object.accumulate(self.W, self.R, i or 0, lr - h)
end

-- No batch outlives its step: a run that goes on has none either. The buffers are left to who read them.
local function forget_batches(self)
    local own = owned[self]
    if own.lent.batch then
        self.problem:leave_batches()
        own.xs, own.ys = {}, {}
    end
    own.lent.batch, own.x, own.y = false, nil, nil
    for i = 1, #own.xs do own.xs[i], own.ys[i] = nil, nil end
end

-- The gradients of the step before are no more: their buffers are written over, or left to who read them.
local function forget_gradients(own)
    if own.lent.gradients then own.buffers = {} end
    own.lent.gradients = false
    own.gradient, own.task_gradient, own.gradient_sum = nil, nil, nil
    for i = #own.gradients, 1, -1 do own.gradients[i] = nil end
end

-- may_pour: theta may move as its gradient is made; seen: somebody is going to look at that. Returns whether it moved.
local function one_task(self, i, may_pour, seen)
    local own = owned[self]
    local x, y, epoch, first = self.problem:next(i)
    own.x, own.y, self.batch_epoch, self.batch_first = x, y, epoch, first
    if #self.hooks.before_batch > 0 then x, y = changed_batch(self) end
    forget_gradients(own)
    local moved, loss, g
    own.evaluated_by = self.batch_set
    if may_pour then moved, loss, g = poured(self, i, x, y, seen) else loss, g = evaluated(self, i, x, y, 1) end
    self.loss, own.evaluated_by = loss, nil
    own.task_gradient, own.gradient = g, g
    order_object.accumulate(self.W, self.R, i, self.lr)
    return moved
end

local function all_tasks(self)
    local own = owned[self]
    local sum, total, xs, ys = nil, 0, own.xs, own.ys
    for i = 1, self.n_tasks do
        local x, y = self.problem:next(i)
        if #self.hooks.before_batch > 0 then
            self.task, own.x, own.y = i, x, y
            x, y = changed_batch(self)
            self.task, own.x, own.y, own.set_by[i] = nil, nil, nil, self.batch_set
        end
        xs[i], ys[i] = x, y
    end
    forget_gradients(own)
    for i = 1, self.n_tasks do
        own.evaluated_by = own.set_by[i]
        local loss, g = evaluated(self, i, xs[i], ys[i], i)
        self.losses[i], own.gradients[i] = loss, g
        total = total and loss and total + loss
        sum = sum and sum + g or g
    end
    own.evaluated_by = nil
    order_object.accumulate(self.W, self.R, 0, self.lr)
    self.loss = total and total * self.reduction_scale
    own.gradient_sum = sum
    own.gradient = self.reduction_scale == 1 and sum or sum * self.reduction_scale
end

-- What the hooks of interventions leave in state.gradient and state.theta has to fit the model.
local function is_like(value, theta)
    return bk.is_tensor(value) and value:dtype() == theta:dtype() and value:ndim() == 1 and #value == #theta
end
local function check_left(self, hook, field, like)
    local value = self[field]
    if not is_like(value, like) then
        refuse("bk.protocol: step %d: %s left state.%s as %s; expected a tensor %s (%d)", self.step, hook, field,
            show(value), like:dtype(), #like)
    end
end

-- The gradients of a joint step's tasks are there to read: the step is along state.gradient.
local function check_made(self, made)
    local gradients = owned[self].gradients
    for i = 1, math.max(#made, #gradients) do
        if not rawequal(made[i], gradients[i]) then
            refuse("bk.protocol: step %d: before_step left another state.gradients[%d], which no step is along; it may "
                .. "set state.gradient", self.step, i)
        end
    end
end

-- The digest of a word with one more task; an integer wraps around.
local function with_task(digest, task) return digest * 31 + task + 1 end

-- Whether the steps taken so far are on the tasks that this run's order says, where the step alone tells.
function run:took_the_same()
    local digest = 0
    for step = 1, self.spec.order.asks and 0 or self.step do digest = with_task(digest, (self.at(step))) end
    return self.spec.order.asks or digest == self.word_digest
end

-- This run's steps in all, and whether those that a saved state has taken are on the tasks that its order says.
function run:compared(saved)
    self.theta, self.order_memory = saved.theta, copy(saved.order_memory)
    self:set_order()
    self.step, self.word_digest = math.min(saved.step, self.total), saved.word_digest
    return self.total, saved.step <= self.total and self:took_the_same()
end

-- Before anything is said of what was learned: of a theta that is no number any class may be the largest.
local function check_theta(self)
    local size = owned[self].theta:norm():item()
    if size - size ~= 0 then
        error(("bk.protocol: step %d: theta holds nan or inf after it; what was recorded is kept in protocol.result")
            :format(self.step), 0)
    end
end

local function finish_block(self)
    check_theta(self)
    self:call("end_task")
    self.learned[#self.learned + 1] = self.task
    self.cache = {}
    if self.spec.evaluate then self:evaluate(#self.learned) end
end

-- A step's task and rate as order and schedule say, and the beginning of a block. Returns the order's block, if it has
-- any.
local function begin_step(self, step)
    local spec = self.spec
    self.step = step
    forget_batches(self)
    local task, position = self.at(step)
    if position and position ~= self.position then
        self.position, self.task = position, task
        if spec.reset_optimizer and step > 1 then
            self:take_optimizer()
            self.optimizer:reset()
        end
        self:call("begin_task")
    end
    self.task = task > 0 and task or nil
    self.word_digest = with_task(self.word_digest, task)
    if task > 0 then self.task_steps[task] = self.task_steps[task] + 1 end
    local h = spec.rate(step, self.view)
    if not is_rate(h) then refuse("bk.protocol: step %d: lr: expected a finite rate >= 0, got %s", step, show(h)) end
    self.lr = h
    self.problem:begin_step(self.seed, step)
    self:take_optimizer()
    return position
end

-- The gradient and the rate as the before_step hooks leave them.
local function changed_step(self)
    local own, h, task = owned[self], self.lr, self.task
    local made = table.move(own.gradients, 1, #own.gradients, 1, {})
    self:call("before_step")
    check_left(self, "before_step", "gradient", own.theta)
    check_made(self, made)
    if self.lr ~= h then change_rate(self, h) end
    if task then self.rate_factors[task] = h > 0 and self.lr / h or 1 end
    self:take_optimizer() -- a hook may have run another protocol
end

-- theta after the optimizer's step along the gradient.
local function stepped(self, native)
    local own, optimizer = owned[self], self.optimizer
    if native and not own.lent.theta then return step_over(optimizer, own.theta, own.gradient, self.lr) end
    if native then return optimizer:step(own.theta, own.gradient, self.lr) end
    local theta = optimizer:step(self.theta, self.gradient, self.lr) -- may keep these, and what it returns
    if not is_like(theta, own.theta) then
        refuse("bk.protocol: step %d: optimizer: step returned %s; expected theta, a tensor %s (%d)", self.step,
            show(theta), own.theta:dtype(), #own.theta)
    end
    return theta
end

-- native: the optimizer is one of the program's; may_pour: see one_task; last: the step that this call ends with; meet:
-- see run:advance.
local function take_step(self, step, native, may_pour, last, meet)
    local own, moved = owned[self], nil
    local position = begin_step(self, step)
    if self.task then
        moved = one_task(self, self.task, may_pour, step == last or self:due(step))
    else
        all_tasks(self)
    end
    if #self.hooks.before_step > 0 then changed_step(self) end
    local theta = moved and own.theta or stepped(self, native)
    own.theta, own.lent.theta = theta, not native
    self.cache = {}
    if #self.hooks.after_step > 0 then
        self:call("after_step")
        check_left(self, "after_step", "theta", theta)
    end
    if meet then meet(self) end
    if self:due(step) then self:record() end
    if position then
        local _, following = nil, nil
        if step < self.total then _, following = self.at(step + 1) end
        if following ~= position then finish_block(self) end
    end
end

local function begin_run(self)
    self.started = true
    self:call("begin_run")
    if self.spec.evaluate then self:evaluate(0) end
    if self:due(0) then self:record() end
end

local function end_run(self)
    check_theta(self)
    if #self.learned == 0 and self.spec.evaluate then self:evaluate(1) end
    self.whole = nil -- hooks run once
    self:call("end_run")
    self.finished = true
end

-- Runs until `stop` steps are done in all. An interrupt waits for the step's end, where the run can go on: `whole` is
-- the last step that was done to its end. hold is bk.internal.hold, or does nothing where signals are held already.
-- meet, of runs on several ranks, is called once theta is what a step makes of it.
function run:advance(stop, progress, hold, meet)
    local native = getmetatable(self.optimizer) == getmetatable(bk.optim.sgd{})
    local may_pour, last = native and not looked_at(self.spec), math.min(stop, self.total)
    self.whole = self.started and self.step
    if not self.started then
        hold(true)
        begin_run(self)
        self.whole = 0
        hold(false)
    end
    while self.step < math.min(stop, self.total) do -- a hook may end it earlier
        hold(true)
        take_step(self, self.step + 1, native, may_pour, last, meet)
        self.whole = self.step
        hold(false)
        if progress then progress(self) end
    end
    if self.step == self.total and not self.finished then
        hold(true)
        end_run(self)
        self.whole = self.step
        hold(false)
    end
end

-- ---- the whole state as one value ----
local FIELDS = { "seed", "step", "total", "position", "task", "loss", "lr", "W", "R", "memory", "order_memory",
    "record_memory", "accuracy", "test_loss", "learned", "history", "rows", "recorded", "started", "finished",
    "stopped", "theta", "batch_epoch", "batch_first", "gradient", "task_gradient", "gradients", "gradient_sum",
    "losses", "rate_factors", "word_digest", "asked_total", "task_steps" }

-- What the interventions are called, in their order.
function run.names(spec)
    local names = {}
    for k, iv in ipairs(spec.interventions) do names[k] = iv.name or tostring(k) end
    return names
end

function run:save(without) -- without: a field that is kept elsewhere
    local saved = { version = 1, dtype = self.problem.dtype, n_tasks = self.n_tasks, streams = self.problem:position(),
        buffers = self.problem.mode.buffers, optimizer = self.optimizer_state or self.optimizer:state(),
        interventions = run.names(self.spec) }
    for _, name in ipairs(FIELDS) do
        if name ~= without then saved[name] = copy(self[name]) end
    end
    return saved
end

function run:load(saved)
    for _, name in ipairs(FIELDS) do self[name] = copy(saved[name]) end
    self.problem:seek(self.seed, saved.streams, self.step)
    self.problem:set_buffers(saved.buffers)
    run.leave_optimizer(self.optimizer)
    self.optimizer_state = saved.optimizer
    self:take_optimizer()
    local lr = self.lr
    self:set_order()
    self.lr = lr
    if not self.word_digest then -- of a version that did not note it, nor who asked for the total
        self.rate_factors, self.word_digest, self.asked_total = {}, 0, true
    end
    self.task_steps = self.task_steps or order_object.counts(self.n_tasks, 1, self.step, self.at)
    if self.stopped then self.total = self.step end
    self.finished = self.finished and self.step >= self.total -- a protocol of more steps goes on
end

-- What a user gets.
function run:result()
    local result = { theta = self.theta, buffers = self.problem.mode.buffers, history = self.history,
        steps = self.step, total = self.total,
        finished = self.finished or false, stopped = self.stopped or false, accuracy = self.accuracy,
            test_loss = self.test_loss, order_matrix = self.W,
        learned = self.learned, scores = self.order_memory.scores, plan = copy(self.order_memory.plan), metrics = {},
        seed = self.seed }
    local once, seen = #self.learned == self.n_tasks, {}
    for _, i in ipairs(self.learned) do
        once = once and not seen[i]
        seen[i] = true
    end
    if #self.accuracy > 0 and not self.problem:mixes_accuracies() then
        for name, metric in pairs(bk.metric) do
            local kind = bk.metric._kind[metric]
            if kind == "always" or kind == "once" and once then
                local value = metric(self.accuracy, self.learned)
                if type(value) ~= "number" then
                    refuse("bk.metric.%s: expected to return a number, got %s", name, show(value))
                end
                result.metrics[name] = value
            end
        end
    end
    for _, name in ipairs{ "metrics", "history", "accuracy", "test_loss" } do bk._readable(result[name]) end
    return result
end

return run

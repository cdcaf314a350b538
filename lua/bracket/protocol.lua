-- bk.protocol: checks the options, resolves names to orders, schedules and records, and runs (_run.lua).
local bk = ...
local refuse, show, public = bk._options.refuse, bk._options.show, bk.internal.public
local run, check_options, distributed, hint = bk._run, bk._options.check, bk._distributed, bk.internal.hint
local protocol = {}
protocol.__index = protocol
protocol.__name = "bracket.protocol"

local function names_of(room)
    local names = {}
    for name in pairs(bk[room]) do names[#names + 1] = name end
    table.sort(names)
    return names
end

local function known(room, name)
    local ok, value = pcall(function() return bk[room][name] end)
    return ok and not name:find("^_") and value or nil
end

local function resolve_order(order)
    if order == nil then return bk.order.sequential{} end
    if type(order) == "string" then
        local make = known("order", order)
        if not make then
            local names = names_of("order")
            refuse("bk.protocol: order: expected one of %s, got %q%s", table.concat(names, ", "), order,
                hint(order, names))
        end
        return make{}
    end
    if getmetatable(order) == bk.order._object.class then return order end
    if type(order) == "function" then return bk.order.custom{ task = order } end
    if type(order) == "table" and (bk._options.length(order) or 0) > 0 then
        return bk.order.word(bk._options.list("bk.protocol", "order", order, "a list of tasks"))
    end
    refuse("bk.protocol: order: expected a name, a list of tasks, a function or a bk.order, got %s",
        type(order) == "table" and next(order) == nil and "an empty table" or show(order))
end

local HOOKS = { { "name", "string" }, { "doc", "string" }, { "strength", "number" }, { "weight", "number" },
    { "needs_joint", "boolean" }, { "needs_blocks", "boolean" }, { "needs_one_task", "boolean" },
    { "needs_gradient_steps", "boolean" }, { "replaces_gradient", "boolean" } }
for _, name in ipairs(run.hooks) do HOOKS[#HOOKS + 1] = { name, "callable" } end
local RECORD = { { "value", "callable" }, { "begin_run", "callable" }, { "begin_task", "callable" },
    { "doc", "string" } }

local function check_interventions(list, order, optimizer)
    if #list == 0 and next(list) ~= nil then
        refuse("bk.protocol: interventions: expected a list { bk.intervention.NAME{...}, ... }")
    end
    for k, iv in ipairs(list) do
        local where = string.format("bk.protocol: intervention %d%s", k,
            type(iv) == "table" and iv.name and " (" .. tostring(iv.name) .. ")" or "")
        if type(iv) ~= "table" then
            refuse("%s: expected one of bk.intervention, such as bk.intervention.ewc{...}, or a table of hooks, got %s",
                where, show(iv))
        end
        check_options(where, iv, HOOKS)
        local hooked = iv.strength == 1 -- leaves its term as it is
        for _, name in ipairs(run.hooks) do hooked = hooked or iv[name] ~= nil end
        if not hooked then
            refuse("%s: expected a hook, one of %s, got none", where, table.concat(run.hooks, ", "))
        end
        if iv.needs_joint and not order.joint then refuse("%s: needs order = \"joint\", got %s", where, order.name) end
        if iv.needs_one_task and order.joint then refuse("%s: needs one task a step, got order = \"joint\"", where) end
        if iv.needs_gradient_steps and not bk.measure.is_gradient_step(optimizer) then
            refuse("%s: needs gradient steps (bk.optim.sgd), got %s; bk.bea.optimizer has that one's own terms", where,
                tostring(optimizer))
        end
        if iv.needs_blocks and not order.blocks then
            refuse("%s: needs an order with task boundaries (sequential, blocks, planned), got %s", where, order.name)
        end
    end
end

local function whole(value) return type(value) == "number" and math.tointeger(value) or nil end

-- What is recorded, each once however often it is named: names in their order, then functions by theirs.
local function recorded_names(record, functions)
    local names, named, own = {}, {}, {}
    for _, name in ipairs(record) do
        if not named[name] then names[#names + 1], named[name] = name, true end
    end
    for name in pairs(functions) do
        if named[name] then
            refuse("bk.protocol: record.%s: is bk.record.%s by name as well; expected one of them", name, name)
        end
        own[#own + 1] = name
    end
    table.sort(own)
    return table.move(own, 1, #own, #names + 1, names)
end

local function check_record(record)
    local functions, every, at = {}, nil, nil
    for key, value in pairs(record) do
        if key == "every" then
            every = whole(value)
            if not every or every < 1 then
                refuse("bk.protocol: record.every: expected a number of steps, got %s", show(value))
            end
        elseif key == "at" then
            bk._options.list("bk.protocol", "record.at", value, "a list of steps")
            at = {}
            for _, step in ipairs(value) do
                if not whole(step) or step < 0 then
                    refuse("bk.protocol: record.at: expected a list of steps, from 0, got %s", show(step))
                end
                at[step] = true
            end
        elseif key == "samples" then
            local count = whole(value)
            if not count or count < 1 then
                refuse("bk.protocol: record.samples: expected a number of examples, got %s", show(value))
            end
        elseif type(key) == "number" then
            if type(value) ~= "string" or not known("record", value) then
                local all = names_of("record")
                refuse("bk.protocol: record: expected one of %s, got %s%s", table.concat(all, ", "), show(value),
                    hint(value, all))
            end
        elseif type(value) == "function" then
            functions[key] = value
        elseif type(value) == "table" and type(value.value) == "function" then
            check_options("bk.protocol: record." .. tostring(key), value, RECORD)
            functions[key] = value
        else
            refuse("bk.protocol: unknown option record.%s%s; known: every, at, samples, or name = function(state, "
                .. "memory)", tostring(key), hint(key, { "every", "at", "samples" }))
        end
    end
    local names = recorded_names(record, functions)
    if #names == 0 and (every or at) then
        refuse("bk.protocol: record: expected names of what is recorded beside every and at, got none")
    end
    if #names > 0 and not every and not at then every = 1 end
    return names, functions, every, at
end

-- Which of these methods value, whoever made it, does not have.
local function lacking(value, ...)
    local names = {}
    for _, name in ipairs{ ... } do
        local ok, method = pcall(function() return value[name] end)
        if not ok or type(method) ~= "function" then names[#names + 1] = name end
    end
    return names
end

local function new(options)
    local optimizer = options.optimizer or bk.optim.sgd{}
    local missing = lacking(optimizer, "step", "reset", "state", "restore")
    if #missing > 0 then
        refuse("bk.protocol: optimizer: expected one of bk.optim, such as bk.optim.sgd{}, got %s%s", show(optimizer),
            type(optimizer) == "table" and " without " .. table.concat(missing, ", ") or "")
    end
    local self = setmetatable({}, protocol)
    local spec = { protocol = self, model = options.model, order = resolve_order(options.order), steps = options.steps,
        epochs = options.epochs, interventions = options.interventions or {}, reset_optimizer = options.reset_optimizer,
        evaluate = options.evaluate, reduction = options.reduction, distributed = options.distributed }
    local is_model, size = pcall(function() return spec.model.forward and spec.model.init and spec.model.n_params end)
    if not is_model or math.type(size) ~= "integer" then
        refuse("bk.protocol: model: expected a model (bk.nn.mlp or bk.nn.sequential), got %s", show(spec.model))
    end
    spec.rate, spec.constant = bk.schedule._rate(options.lr, "bk.protocol"), tonumber(options.lr)
    if spec.steps and spec.epochs then refuse("bk.protocol: give steps or epochs, not both") end
    if type(spec.steps) == "table" and (not spec.order.blocks or spec.order.rounds) then
        refuse("bk.protocol: steps: a list (steps per task) needs a sequential order, got %s", spec.order.name)
    end
    if spec.reset_optimizer and not spec.order.blocks then
        refuse("bk.protocol: reset_optimizer: needs an order with task boundaries (sequential, blocks, planned), got %s",
            spec.order.name)
    end
    if spec.reduction == "mean" and not spec.order.joint then
        refuse('bk.protocol: reduction: "mean" is of a joint step\'s losses, got order = %q', spec.order.name)
    end
    spec.total_steps = math.type(spec.steps) == "integer" and spec.steps or nil
    local batch, dtype = options.batch, options.dtype
    if batch ~= "full" and (math.type(batch) ~= "integer" or batch < 1) then
        refuse("bk.protocol: batch: expected a number of examples or \"full\", got %s", show(batch))
    end
    check_interventions(spec.interventions, spec.order, optimizer)
    local record = options.record or {}
    spec.record_names, spec.record_functions, spec.record_every, spec.record_at = check_record(record)
    spec.optimizer = optimizer
    self.spec, self.seed, self.dtype = spec, options.seed, dtype
    self.asked = { lr = options.lr, batch = batch,
        record = #spec.record_names > 0 and { names = spec.record_names, every = spec.record_every, at = record.at,
            samples = whole(record.samples) } or nil,
        word = getmetatable(options.order) == nil and type(options.order) == "table" and options.order or nil }
    if spec.distributed and bk.mpi.size > 1 and options.model.modal and options.model.n_buffers > 0 then
        refuse("bk.protocol: distributed: expected a model whose outputs are each of one example, got batch_norm, whose "
            .. "statistics are the whole batch's (bk.nn.group_norm is of one)")
    end
    self.problem = bk._problem.new(options.model, options.tasks, dtype, batch, whole(record.samples) or 1000,
        spec.distributed)
    local n = self.problem.n
    if type(spec.steps) == "table" and #spec.steps > n then
        refuse("bk.protocol: steps: expected %d, one for each task, got %d", n, #spec.steps)
    end
    if type(options.lr) == "table" and #options.lr > 0 and (spec.order.joint or #options.lr ~= n) then
        if spec.order.joint then refuse('bk.protocol: lr: a list of rates needs one task a step, got order = "joint"') end
        refuse("bk.protocol: lr: expected %d rates, one per task, got %d", n, #options.lr)
    end
    return self
end

-- A method called with a dot gets its options for self.
local function check_self(self, name)
    if getmetatable(self) ~= protocol then
        refuse("protocol:%s: expected a protocol; call it with a colon, p:%s(...)", name, name)
    end
end

local function start(self, theta, buffers, seed)
    local spec = self.spec
    theta = theta or spec.model:init{ seed = seed }
    local shape = theta:shape()
    if #shape ~= 1 or shape[1] ~= spec.model.n_params then
        refuse("protocol:run: theta: expected (%d), the model's parameters, got (%s)", spec.model.n_params,
            table.concat(shape, ","))
    end
    run.leave_optimizer(spec.optimizer)
    spec.optimizer:reset()
    local n = spec.model.modal and spec.model.n_buffers or 0
    if buffers and (n == 0 or #buffers:shape() ~= 1 or #buffers ~= n) then
        refuse("protocol:run: buffers: expected (%d), the model's, got %s", n, bk._options.shape_text(buffers))
    end
    self.problem:start(seed)
    self.problem:set_buffers(buffers)
    local state = run.new(spec, self.problem, seed)
    state.theta = theta:to(self.dtype)
    state:take_optimizer()
    state:set_order()
    return state
end

local function check_state(self, saved)
    if type(saved) ~= "table" or saved.version ~= 1 then
        refuse("protocol:restore: expected what protocol:state() returned, got %s", show(saved))
    end
    if saved.n_tasks ~= self.problem.n or saved.dtype ~= self.dtype then
        refuse("protocol:restore: the state is of %s tasks in %s, the protocol of %d in %s", show(saved.n_tasks),
            show(saved.dtype), self.problem.n, self.dtype)
    end
    if not bk.is_tensor(saved.theta) then
        refuse("protocol:restore: theta: expected a tensor, got %s", show(saved.theta))
    end
    if saved.theta:ndim() ~= 1 or #saved.theta ~= self.spec.model.n_params then
        refuse("protocol:restore: the state has %d parameters, the model %d", saved.theta:count(),
            self.spec.model.n_params)
    end
    for i = 1, self.problem.n do
        local at = type(saved.streams) == "table" and saved.streams[i]
        if type(at) ~= "table" or math.type(at.epoch) ~= "integer" or math.type(at.cursor) ~= "integer" then
            refuse("protocol:restore: streams: task %d: expected { epoch, cursor }, got %s", i, show(at or nil))
        end
    end
    if math.type(saved.step) ~= "integer" or saved.step < 0 then
        refuse("protocol:restore: step: expected a whole number >= 0, got %s", show(saved.step))
    end
end

local function put_back(self, saved)
    local state = run.new(self.spec, self.problem, saved.seed)
    state:load(saved)
    self.current = state
end

-- A run from its beginning, or from the last checkpoint in its folder.
local function begin(self, options)
    local seed, log, saved = options.seed or self.seed, nil, nil
    local function open()
        log, saved = bk._run_log.open(self, options.out, seed, options)
        return saved
    end
    if options.out and self.spec.distributed then
        saved = bk.mpi._first(open)
    elseif options.out then
        open()
    end
    local ok, message = pcall(function()
        if not saved then
            self.current = start(self, options.theta, options.buffers, seed)
        else
            check_state(self, saved)
            put_back(self, saved)
            local function check() if log then log:check_longer(self.current) end end
            if self.spec.distributed then bk.mpi._first(check) else check() end
        end
        if self.spec.distributed then distributed.check(self.problem, self.current.theta) end
    end)
    if not ok then
        if log then log:release() end
        error(message, 0)
    end
    self.current.log, self.current.out = log, options.out
    return self.current
end

-- A result stays as it is: the run's own tables change as it goes on.
local function detached(result)
    for name, value in pairs(result) do
        if type(value) == "table" then result[name] = setmetatable(run.copy(value), getmetatable(value)) end
    end
    return result
end

local function run_on(self, options)
    check_self(self, "run")
    local state = self.current
    local goes_on = state and not options.theta and not options.buffers and not options.seed
        and (not state.finished or state.pending) and not state.failed
        and (not options.out or state.out == options.out)
    if options.out == "" then
        refuse('protocol:run: out: expected a folder\'s name, got "" (without a folder leave out away)')
    end
    local has_folder = options.out or goes_on and state.out
    if options.checkpoint_every or options.keep or options.resume and not goes_on then
        if not has_folder then refuse("protocol:run: checkpoint_every, keep and resume need out, the run's folder") end
    end
    if self.spec.distributed then distributed.check_asked(self, options) end
    if not goes_on then state = begin(self, options) end
    local log, shared = state.log, self.spec.distributed
    if log then log.told, log.keep = options.checkpoint_every or log.told, options.keep or log.keep end
    local update, clear
    local shown = options.progress
    if shown == nil then shown = bk.internal.on_terminal end
    if shown and not (shared and bk.mpi.rank > 0) then update, clear = bk._progress.new() end
    local signals = state.out and bk.internal.signals -- what stops a program stops the run after a step
    local agreed
    local function meet(s) agreed = distributed.agree(s, signals and signals.came()) end
    local function each(s)
        if update then update(s) end
        local signal = signals and signals.came()
        if shared then signal, agreed = agreed, nil end
        if log then log:step(s, signal) end
        if not signal or s.step == s.total then return end
        signals.obeyed(signal)
        error(("stopped by %s after step %d of %d%s"):format(signal, s.step, s.total,
            log and ", whose checkpoint is in " .. log.dir or ""), 0)
    end
    if signals then signals.hold() end
    local ok, message = pcall(function()
        if log then log:begin(state) end
        state:advance(math.min(options.stop or state.total, state.total), (update or log or shared) and each,
            signals and function() end or bk.internal.hold, shared and meet)
        if log then log:finish(state) end
    end)
    if clear then clear() end
    if not ok then pcall(bk.internal.hold, false) end
    if not ok then message = state:name_hook(message) end
    state.pending = not ok and state.whole == state.step -- between two steps: it can go on, whatever the error
    local problems = not ok and log and log:fail(state, message) or ""
    if not ok and shared then distributed.failed(message) end
    if problems ~= "" then message = tostring(message) .. problems end
    self.result = detached(state:result())
    self.history = self.result.history
    state.failed = not ok and not state.pending
    if signals then signals.release() end
    if not ok then
        if state.pending and type(message) == "string" and message:find("%f[%a]interrupted$") then
            message = ("%s after step %d of %d"):format(message, state.step, state.total)
        end
        error(message, 0)
    end
    return self.result
end

protocol.run = bk.define{
    name = "protocol:run",
    returns = "r",
    doc = [[
Trains, from the beginning or, called again, from where the last run stopped.
r.theta, r.buffers, r.history (columns by name), r.accuracy (a[k][i], row 0 before training; minus the test loss where
the loss has no accuracy), r.test_loss, r.metrics (those that ask in what order tasks were learned, as forgetting, where
each is learned once; none where some tasks have an accuracy and others a loss in its place), r.order_matrix (W of the
steps taken), r.learned (tasks in the order learned). print shows metrics, history and accuracy as the session does;
bk.save_csv and bk.save_json write them.

The run's folder holds config.json, env.json, metrics.jsonl, status.json (running, paused, finished, failed, stopped)
and checkpoint-STEP.safetensors; `bracket runs show` reads it. The status is the run's: it stays finished where the
script fails afterwards, and of a sweep's job the message says so. One process at a time writes a folder (run.lock):
another is refused. In the program SIGTERM, SIGHUP, SIGUSR1 and Ctrl-C end such a run after its step, with a
checkpoint, and the program with exit status 75 (130 after Ctrl-C); a second Ctrl-C interrupts the step. A run that
failed before its first step does not hold its folder: the next begins there.
Without a folder an interrupt waits for the step's end too, five seconds at most. In the same process p:run{} then goes
on, bit for bit; where the step itself was interrupted or failed, it begins again.
With resume, a protocol of more steps goes on with a finished run: where order has no blocks and says the same tasks,
and no rate, order, hook or record asked for state.total (state:reaches(step) asks nothing until it is false). Its
history keeps the row of the former end, and end_run is called again.
What a hook remembers elsewhere than in its memory is not saved: at a checkpoint one that changed what it captured is
named on stderr, once a run.]],
    errors = [[
a folder of another protocol (other data, options or functions, by their code and what they captured). After an
error p.result and p.history hold what was recorded.]],
    options = {
        { "theta", "tensor", says = "model:init with the seed", doc = "(n_params), where it starts" },
        { "buffers", "tensor", says = "the model's", doc = "where batch_norm's running statistics start" },
        { "seed", "integer", says = "the protocol's", doc = "of what is drawn" },
        { "stop", "integer", low = 0, doc = "pauses after this step; p:run{} goes on" },
        { "progress", "boolean", says = "on a terminal", doc = "a line on stderr" },
        { "out", "string", doc = "the run's folder" },
        { "checkpoint_every", "count", says = "a tenth of the run, more where that takes over 1 % of the time",
            doc = "steps between checkpoints" },
        { "keep", "count", says = "2", doc = "how many checkpoints stay" },
        { "resume", "boolean",
            doc = "goes on, bit for bit, from the folder's last checkpoint that is whole, or begins where there is none" },
    },
    call = run_on,
}

function protocol:state()
    check_self(self, "state")
    if not self.current then refuse("protocol:state: nothing has run yet") end
    return self.current:save()
end

-- The memory in a state is that of its own hooks, and its position that in the steps of its own order.
local function check_fits(self, saved)
    local is = run.names(self.spec)
    if type(saved.interventions) == "table" and table.concat(saved.interventions, "\0") ~= table.concat(is, "\0") then
        local function said(names) return #names > 0 and table.concat(names, ", ") or "none" end
        refuse("protocol:restore: the state is of a run with the interventions %s, the protocol has %s",
            said(saved.interventions), said(is))
    end
    if saved.step == 0 or saved.stopped or not saved.word_digest then return end
    local total, same = run.new(self.spec, self.problem, saved.seed):compared(saved)
    if saved.step > total then
        refuse("protocol:restore: the state is after step %d, the protocol has %d steps", saved.step, total)
    elseif not same then
        refuse("protocol:restore: the state's %d steps were on other tasks than the protocol's order says", saved.step)
    end
end

function protocol:restore(saved)
    check_self(self, "restore")
    check_state(self, saved)
    check_fits(self, saved)
    put_back(self, saved)
    return self
end

-- W of the protocol, known before it runs when order and rates depend on the step alone.
function protocol:order_matrix()
    check_self(self, "order_matrix")
    local state = run.new(self.spec, self.problem, self.seed)
    state:set_order()
    return bk.order._object.of_steps(state, state.total, state.at, self.spec.rate, state.view)
end

local function run_seeds(self, options)
    check_self(self, "seeds")
    local runs, columns, metrics, at = {}, {}, {}, {}
    for k, seed in ipairs(options.seeds) do
        if not whole(seed) then
            refuse("protocol:seeds: seeds: entry %d: expected a whole number, got %s", k, show(seed))
        end
        local before = at[seed] -- the same run again would make the interval narrower
        if before then refuse("protocol:seeds: seeds: entry %d: %d is entry %d already", k, seed, before) end
        at[seed] = k
    end
    for k, seed in ipairs(options.seeds) do
        runs[k] = self:run{ theta = options.theta, seed = seed, progress = options.progress }
        for name, value in pairs(runs[k].metrics) do
            columns[name] = columns[name] or {}
            table.insert(columns[name], value)
        end
    end
    if #runs == 0 then refuse("protocol:seeds: seeds: expected a list of integers, got an empty one") end
    for name, values in pairs(columns) do metrics[name] = bk.metric.interval(values) end
    return { runs = runs, metrics = metrics }
end

protocol.seeds = bk.define{
    name = "protocol:seeds",
    returns = "{ runs, metrics }",
    doc = "One run a seed: their results, and of every metric the mean with its 95 % interval.",
    options = {
        { "seeds", "list", required = true, doc = "a list of integers" },
        { "theta", "tensor", says = "model:init with each seed", doc = "(n_params), where each starts" },
        { "progress", "boolean", says = "on a terminal", doc = "a line on stderr" },
    },
    call = run_seeds,
}
protocol.state = public(protocol.state, [[
protocol:state() -> saved

Everything the run remembers but state.shared, as one value.]])
protocol.restore = public(protocol.restore, [[
protocol:restore(saved) -> protocol

Puts back what protocol:state() gave: the run goes on bit for bit.

Errors: another number of tasks or parameters, another dtype, other interventions by their names, an order that says
other tasks for the steps so far, fewer steps than were taken.]])
protocol.order_matrix = public(protocol.order_matrix, [[
protocol:order_matrix() -> W

W_ij of all steps (theory: the order matrix), a table of rows, known before the run where order and rates depend on the
step alone.]])

return bk.define{
    name = "bk.protocol",
    returns = "p",
    doc = [[
Trains one parameter vector on several tasks by a protocol: which task at which step, at which rate, with what added.
p:run{} runs it; p:seeds, p:state, p:restore, p:order_matrix.

A task: { name, train = {x =, y =}, test = {x =, y =}, loss, accuracy, head = class ids (with cross_entropy) } or { x =,
y =, ... }; loss is a name of bk.loss ("cross_entropy"), one of its values (bk.loss.huber{ delta = 2 }) or a function
(model, theta, x, y) -> 0-d; accuracy a function (z, y) -> number; test defaults to train. Where the model gives classes
at every time, class ids are (examples, time). Images may be flat where shape = {rows, columns} tells their sizes;
shuffle = false keeps the examples' order. field, a function (theta, x, y) -> vector, in place of a loss: a task that is
no gradient, whose steps are theta - lr field; what needs a loss is an error then. own is the user's; any other field is
named on stderr, since nothing reads it.

An intervention: bk.intervention.NAME{} or a table of hooks f(state, memory): begin_run begin_task before_batch
before_step after_step end_task end_run. before_batch may set state.x and state.y (augmentation), before_step
state.gradient and state.lr, after_step state.theta; setting anything else, reading a field that no run has, or
returning something, is an error. state:stop() ends the run after this step. memory is a table of the hook's own that is
saved with the run; state.shared is for telling others.

A record: a name of bk.record, or own = function(state, memory) -> number, or { value = such a function, begin_run =,
begin_task = }.

Loss functions are traced (help "tracing"): they run once a shape, and again when what they read from outside has
changed; hooks, orders, schedules and records are plain Lua and run every time.

Where nobody looks at a step's gradient (no interventions, rates that are numbers or of bk.schedule, no order of one's
own, records not due), theta moves as it is made, if the optimizer does not need all of it: the same bits in less time.

In a training step models are in training: dropout and own layers draw from the step's seed, batch_norm moves r.buffers,
in own losses and state.f[i].value, .grad and .hvp, of (theta, x, y), too. All else is evaluation: bk.measure, and a
hook's or record's own model:forward(theta, x, { buffers = state.buffers }), unless it says train = true and a seed.

state: step total task position n_tasks tasks theta lr loss x y gradient task_gradient model buffers (batch_norm's)
optimizer problem recorded (the last row) history R W seed task_steps (of each task so far, this one included);
state.task_total(i), the steps of task i in the run, nil where the order is a function; state:measure("conflict") ->
columns now; state:reaches(step) -> whether the run has such a step. In joint steps task, x, y and task_gradient are nil
and xs, ys, gradients and losses are lists of one a task; but before_batch is called for every task, with its task, x
and y. tasks is the list as given; state.problem.tasks[i].train has its examples as the run has them, { x, y, n }, and
bk.measure.examples(state, i) the first `samples` of them, which records measure on.]],
    options = {
        { "model", "any", required = true, doc = "of bk.nn" },
        { "tasks", "list", required = true, doc = "a list of tasks" },
        { "lr", "any", required = true,
            doc = "a rate, a bk.schedule, function(step, state) -> rate, or a list of these, one a task, by the task's "
                .. "own steps (bk.schedule.per_task)" },
        { "order", "any", default = "sequential",
            doc = "a name of bk.order, one of its values, function(step, state) -> task, or a list {1, 2, 2, 1}, a task "
                .. "a step, repeated; bk.order.sequential{ order = {2, 1} } learns one after the other" },
        { "steps", "count|list", says = "an epoch; in all, a round",
            doc = "of each task when sequential (or a list of these), in all otherwise" },
        { "epochs", "count",
            doc = "in place of steps: passes over a task's examples in whole batches, less what is left of a pass" },
        { "batch", "integer|string", default = 64,
            doc = "examples a step, all of a task's that has fewer, or \"full\"" },
        { "optimizer", "any", says = "bk.optim.sgd{}", doc = "of bk.optim, or a table of its methods" },
        { "reset_optimizer", "boolean", default = false, doc = "its state is cleared at task boundaries" },
        { "reduction", { "sum", "mean" }, default = "sum", doc = "of the losses in a joint step" },
        { "interventions", "list", says = "{}", doc = "a list of interventions" },
        { "record", "table", says = "{}",
            doc = "{ every = 1, at = {steps}, samples = 1000, \"loss\", ..., own = f }: what is recorded, when; on "
                .. "each task's first `samples` training examples" },
        { "seed", "integer", default = 0, doc = "of what is drawn" },
        { "dtype", { "float64", "float32" }, default = "float64", doc = "of theta and the data" },
        { "distributed", "boolean", default = false,
            doc = "every batch is shared over the ranks of mpirun or srun (help \"cluster\")" },
        { "evaluate", "boolean", default = true, doc = "test passes at task boundaries" },
    },
    call = new,
}

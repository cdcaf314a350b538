-- The folder of a run that is going on: what run_folder describes, written so that the run can be stopped anywhere,
-- killed even, and loses no more than the steps since its last checkpoint.
local bk = ...
local internal = bk.internal
local run_folder, checkpoint = internal.run_folder, internal.checkpoint
local run_log = {}
run_log.__index = run_log

-- Texts for people too: 0.05 is not 0.050000000000000003.
local function text_of(value) return internal.to_json(value, 2, 15) .. "\n" end
local function line_of(value) return internal.to_json(value, 0, 15) end

local function now() return os.date("!%Y-%m-%dT%H:%M:%SZ") end

-- ---- what was asked for ----

local function plain(value) -- what JSON can say of it
    local kind = type(value)
    if kind == "nil" or kind == "number" or kind == "string" or kind == "boolean" then return value end
    if kind == "table" and getmetatable(value) == nil then
        local result = {}
        for k, v in pairs(value) do result[k] = plain(v) end
        return result
    end
    return kind == "userdata" and tostring(value) or kind
end

local function own(t, names) -- some fields of t
    local result = {}
    for _, name in ipairs(names) do result[name] = plain(t[name]) end
    return result
end

function run_log.config(protocol, seed)
    local spec, tasks, interventions = protocol.spec, {}, {}
    for i, t in ipairs(protocol.problem.tasks) do
        tasks[i] = { name = tostring(t.name), train = t.train.n, test = t.test.n, loss = t.source.loss or "cross_entropy" }
    end
    for k, iv in ipairs(spec.interventions) do interventions[k] = own(iv, { "name", "doc", "strength", "weight" }) end
    local config = own(spec, { "steps", "epochs", "reduction", "reset_optimizer", "evaluate" })
    config.model, config.n_params = tostring(spec.model), spec.model.n_params
    config.tasks, config.interventions, config.order = tasks, interventions, spec.order.name
    for name, value in pairs(protocol.asked) do config[name] = plain(value) end
    config.optimizer, config.seed, config.dtype = tostring(spec.optimizer), seed, protocol.dtype
    return config
end

-- An error where the folder's run is not the one that goes on.
local function check_same(dir, old, config)
    for _, name in ipairs{ "model", "tasks", "order", "word", "lr", "steps", "epochs", "batch", "optimizer", "interventions",
        "record", "seed", "dtype", "reduction", "reset_optimizer", "evaluate" } do
        local was = old[name] ~= nil and line_of(old[name]) or "none"
        local is = config[name] ~= nil and line_of(config[name]) or "none"
        if was ~= is then
            error(string.format("protocol:run: resume: %s was run with %s = %s, this protocol has %s", dir, name, was, is), 0)
        end
    end
end

local function environment(seed)
    local core, blas = internal.blas()
    local env = internal.system()
    env.bracket, env.lua, env.seed, env.threads = bk.version, _VERSION, seed, internal.threads()
    env.openblas_core, env.openblas = core, blas
    return env
end

-- ---- opening ----

-- The log of a run in the folder dir, and the state to go on from: nil when it begins.
function run_log.open(protocol, dir, seed, resume, every)
    if not (io and io.open and os and os.date) then
        error("protocol:run: out: needs io and os, which this state does not have", 0)
    end
    local config = run_log.config(protocol, seed)
    local self = setmetatable({ dir = dir, every = every, rows = 0, saved_at = -1, began = internal.clock(), seconds = 0,
        started = now() }, run_log)
    internal.make_folder(dir)
    local saved, earlier
    if run_folder.is_run(dir) or #run_folder.checkpoints(dir) > 0 then
        if not resume then
            error(string.format("protocol:run: out: %s holds a run: resume = true goes on with it, or name another folder",
                dir), 0)
        end
        local old = run_folder.read(dir)
        check_same(dir, old.config, config)
        self.started, self.seconds, earlier = old.status.started, old.status.seconds or 0, old.env
        local steps = run_folder.checkpoints(dir)
        if #steps > 0 then
            saved = checkpoint.load(run_folder.checkpoint_path(dir, steps[#steps]))
            self.saved_at = saved.step
        end
    end
    local env = environment(seed)
    if earlier then -- what it ran on before, where that was something else
        local first = earlier.earlier
        earlier.earlier = nil
        local same = line_of(earlier) == line_of(env)
        earlier.earlier = first
        env.earlier = not same and earlier or first
    end
    if arg and arg[0] then config.script, config.arguments = arg[0], plain(table.move(arg, 1, #arg, 1, {})) end
    config.checkpoint_every = every
    internal.write_file(dir .. "/config.json", text_of(config))
    internal.write_file(dir .. "/env.json", text_of(env))
    internal.write_file(dir .. "/metrics.jsonl", "")
    return self, saved
end

-- ---- while it runs ----

local function row_text(history, r)
    local row = {}
    for name, column in pairs(history) do row[name] = column[r] end
    return internal.to_json(row) .. "\n"
end

function run_log:write_rows(state)
    if state.rows == self.rows then return end
    local f, why = self.file, nil
    if not f then
        f, why = io.open(self.dir .. "/metrics.jsonl", "ab")
        if not f then error("protocol:run: out: " .. why, 0) end
        self.file = f
    end
    for r = self.rows + 1, state.rows do
        local ok, wrong = f:write(row_text(state.history, r))
        if not ok then error(string.format("protocol:run: out: %s/metrics.jsonl: %s", self.dir, wrong), 0) end
    end
    f:flush()
    self.rows = state.rows
end

local function list(rows) -- accuracy[0], accuracy[1], ... as an array
    local result = {}
    for k = 0, #rows do result[#result + 1] = rows[k] end
    return #result > 0 and result or nil
end

function run_log:write_status(state, status, message)
    local result = state:result()
    local seconds = self.seconds + internal.clock() - self.began
    internal.write_file(self.dir .. "/status.json", text_of({ status = status, message = message, step = state.step,
        total = state.total, started = self.started, updated = now(), seconds = seconds,
        metrics = next(result.metrics) and result.metrics or nil, accuracy = list(result.accuracy),
        test_loss = list(result.test_loss), learned = #result.learned > 0 and result.learned or nil,
        order_matrix = result.order_matrix }))
end

function run_log:save(state)
    if self.saved_at == state.step then return end
    checkpoint.save(run_folder.checkpoint_path(self.dir, state.step), state:save())
    self.saved_at = state.step
end

-- Before the first step: the rows of a state that was loaded stand in the file again.
function run_log:begin(state)
    self.every = self.every or math.max(1, math.ceil(state.total / 10))
    self:write_rows(state)
    self:write_status(state, "running")
end

-- After every step.
function run_log:step(state)
    if state.rows > self.rows then self:write_rows(state) end
    if state.step % self.every == 0 and state.step < state.total then
        self:save(state)
        self:write_status(state, "running")
    end
end

-- After the last one, or an error: then what was recorded is kept, and the checkpoints there are.
function run_log:finish(state, message)
    self:write_rows(state)
    if self.file then
        self.file:close()
        self.file = nil
    end
    if not message then self:save(state) end
    self:write_status(state, message and (tostring(message):find("interrupted", 1, true) and "interrupted" or "failed")
        or state.finished and "finished" or "paused", message and tostring(message))
end

return run_log

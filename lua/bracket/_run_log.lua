-- The folder of a run that is going on: what run_folder describes, written so that the run can be stopped anywhere,
-- killed even, and loses no more than the steps since its last checkpoint.
local bk = ...
local internal = bk.internal
local run_folder, checkpoint = bk._run_folder, bk._checkpoint
local readable, now = bk._text_file.readable, bk._text_file.stamp
local run_log = {}
run_log.__index = run_log

-- Texts for people too: 0.05 is not 0.050000000000000003.
local function text_of(value) return internal.to_json(value, 2, 15) .. "\n" end
local function line_of(value) return internal.to_json(value, 0, 15) end

-- ---- what was asked for ----

local function plain(value) -- what JSON can say of it
    local kind = type(value)
    if kind == "nil" or kind == "number" or kind == "boolean" then return value end
    if kind == "table" and getmetatable(value) == nil then
        local result = {}
        for k, v in pairs(value) do result[k] = plain(v) end
        return result
    end
    if kind == "function" then return "function " .. bk._fingerprint(value) end
    return (kind == "string" or kind == "userdata") and readable(tostring(value)) or kind
end

local function own(t, names) -- some fields of t
    local result = {}
    for _, name in ipairs(names) do result[name] = plain(t[name]) end
    return result
end

local function part(data) return { x = internal.digest(data.x), y = internal.digest(data.y) } end

function run_log.config(protocol, seed)
    local spec, tasks, interventions = protocol.spec, {}, {}
    for i, t in ipairs(protocol.problem.tasks) do
        tasks[i] = { name = plain(tostring(t.name)), train = t.train.n, test = t.test.n,
            loss = plain(t.source.loss or "cross_entropy"), head = plain(t.source.head),
                digest = { train = part(t.train),
                test = part(t.test) } }
    end
    for k, iv in ipairs(spec.interventions) do
        interventions[k] = own(iv, { "name", "doc", "strength", "weight" })
        interventions[k].digest = bk._fingerprint(iv)
    end
    local config = own(spec, { "steps", "epochs", "reduction", "reset_optimizer", "evaluate" })
    config.model, config.n_params = plain(tostring(spec.model)), spec.model.n_params
    config.tasks, config.interventions = tasks, #interventions > 0 and interventions or nil
    config.order, config.order_digest = spec.order.name, bk._fingerprint(spec.order)
    for name, value in pairs(protocol.asked) do config[name] = plain(value) end
    config.optimizer, config.seed, config.dtype = plain(tostring(spec.optimizer)), seed, protocol.dtype
    return config
end

-- The first entry, by its path, in which two values differ; nil where they are the same. 1 and 1.0 are.
local function difference(a, b, path)
    if type(a) ~= "table" or type(b) ~= "table" then
        if a ~= b then return path, a, b end
        return nil
    end
    local keys, seen = {}, {}
    for _, t in ipairs{ a, b } do
        for key in pairs(t) do
            if not seen[key] then keys[#keys + 1] = key end
            seen[key] = true
        end
    end
    table.sort(keys, function(x, y) return tostring(x) < tostring(y) end)
    for _, key in ipairs(keys) do
        local at, was, is = difference(a[key], b[key], path .. "." .. tostring(key))
        if at then return at, was, is end
    end
end

-- An error where the folder's run is not the one that goes on.
local function check_same(dir, old, config)
    local function say(value) return value == nil and "none" or line_of(value) end
    for _, name in ipairs{ "model", "tasks", "order", "order_digest", "word", "lr", "steps", "epochs", "batch",
        "optimizer",
        "interventions", "record", "seed", "dtype", "reduction", "reset_optimizer", "evaluate" } do
        local is = config[name] -- as it would be read from the file
        if is ~= nil then is = internal.from_json(line_of(is)) end
        local at, was, now_is = difference(old[name], is, name)
        if at then
            error(string.format("protocol:run: resume: %s was run with %s = %s, this protocol has %s", dir, at,
                say(was),
                say(now_is)), 0)
        end
    end
end

local function environment(seed)
    local core, blas = internal.blas()
    local env = internal.system()
    env.bracket, env.lua, env.seed, env.threads = bk.version, _VERSION, seed, bk.threads()
    env.openblas_core, env.openblas = core, blas
    return env
end

-- ---- opening ----

-- What another process left half written when it was killed.
local function sweep_up(dir)
    for _, name in ipairs(internal.folder(dir)) do
        if name:find("%.tmp%-%d+%-%d+$") then os.remove(dir .. "/" .. name) end
    end
end

-- The log of a run in the folder dir, and the state to go on from: nil when it begins.
function run_log.open(protocol, dir, seed, options)
    if not (io and io.open and os and os.date) then
        error("protocol:run: out: needs io and os, which this state does not have", 0)
    end
    local self = setmetatable({ dir = dir, every = options.checkpoint_every, rows = 0, saved_at = -1, seconds = 0,
        began = bk.clock(), flushed = bk.clock(), started = now(), pending = {} }, run_log)
    self.config = run_log.config(protocol, seed)
    self.config.theta = options.theta and internal.digest(options.theta) or nil
    self.env = environment(seed)
    internal.make_folder(dir)
    if not run_folder.is_run(dir) and #run_folder.checkpoints(dir) == 0 then return self end
    if not options.resume then
        error(string.format("protocol:run: out: %s holds a run: resume = true goes on with it, or name another folder",
            dir), 0)
    end
    local old = run_folder.read(dir)
    check_same(dir, old.config, self.config)
    if options.theta and old.config.theta ~= self.config.theta then
        error(string.format("protocol:run: resume: %s began at another theta", dir), 0)
    end
    self.config.theta = old.config.theta
    self.started, self.seconds = old.status.started, old.status.seconds or 0
    -- what it ran on before, where that was something else
    local first = old.env.earlier
    old.env.earlier = nil
    local same = not difference(old.env, internal.from_json(line_of(self.env)), "env")
    old.env.earlier = first
    self.env.earlier = not same and old.env or first
    local steps = run_folder.checkpoints(dir)
    if #steps == 0 then return self end
    local saved = checkpoint.load(run_folder.checkpoint_path(dir, steps[#steps]))
    self.saved_at = saved.step
    return self, saved
end

-- ---- while it runs ----

local function row_text(history, r)
    local row = {}
    for name, column in pairs(history) do
        local value = column[r]
        row[name] = type(value) == "string" and readable(value) or value
    end
    return internal.to_json(row) .. "\n"
end

-- Rows wait for half a second, and so do not slow the run; a checkpoint has those before it in the file.
function run_log:write_rows(state, at_once)
    for r = self.rows + #self.pending + 1, state.rows do self.pending[#self.pending + 1] = row_text(state.history,
        r) end
    local n = #self.pending
    if n == 0 or not at_once and bk.clock() - self.flushed < 0.5 then return end
    local text = table.concat(self.pending)
    internal.append_file(self.dir .. "/metrics.jsonl", text)
    self.rows, self.pending, self.flushed = self.rows + n, {}, bk.clock()
end

-- The file's rows are the state's, whatever stood in it.
function run_log:rewrite_rows(state)
    local rows = {}
    for r = 1, state.rows do rows[r] = row_text(state.history, r) end
    internal.write_file(self.dir .. "/metrics.jsonl", table.concat(rows))
    self.rows, self.pending = state.rows, {}
end

local function list(rows) -- accuracy[0], accuracy[1], ... as an array
    local result = {}
    for k = 0, #rows do result[#result + 1] = rows[k] end
    return #result > 0 and result or nil
end

function run_log:write_status(state, status, message)
    local result = state:result()
    local seconds = self.seconds + bk.clock() - self.began
    internal.write_file(self.dir .. "/status.json", text_of({ status = status, message = message, step = state.step,
        total = state.total, started = self.started, updated = now(), seconds = seconds,
        metrics = next(result.metrics) and result.metrics or nil, accuracy = list(result.accuracy),
        test_loss = list(result.test_loss), learned = #result.learned > 0 and result.learned or nil,
        order_matrix = result.order_matrix }))
end

function run_log:save(state)
    if self.saved_at == state.step then return end
    self:write_rows(state, true)
    checkpoint.save(run_folder.checkpoint_path(self.dir, state.step), state:save())
    self.saved_at = state.step
end

-- Before the first step: the rows of a state that was loaded are the file's. A finished run stays as it is.
function run_log:begin(state)
    self.finished = state.finished
    if self.finished then return end
    local script = arg and arg[0]
    self.every = self.every or math.max(1, math.ceil(state.total / 10))
    self.config.script = script and plain(script)
    self.config.arguments = script and arg[1] and plain(table.move(arg, 1, #arg, 1, {})) or nil
    self.config.checkpoint_every = self.every
    if not self.opened then
        sweep_up(self.dir)
        self:rewrite_rows(state)
        self.opened = true
    end
    internal.write_file(self.dir .. "/config.json", text_of(self.config))
    internal.write_file(self.dir .. "/env.json", text_of(self.env))
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

-- After the last one.
function run_log:finish(state)
    if self.finished then return end
    self:write_rows(state, true)
    self:save(state)
    self:write_status(state, state.finished and "finished" or "paused")
end

-- After an error, which may have come in the middle of writing: what was recorded is kept, and the checkpoints there
-- are.
function run_log:fail(state, message)
    message = readable(tostring(message))
    pcall(self.rewrite_rows, self, state)
    self:write_status(state, message:find("%f[%a]interrupted$") and "interrupted" or "failed", message)
end

return run_log

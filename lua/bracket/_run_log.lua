-- The folder of a run that is going on: what run_folder describes, written so that the run can be stopped anywhere,
-- killed even, and loses no more than the steps since its last checkpoint. One log at a time writes a folder.
local bk = ...
local internal, refuse = bk.internal, bk._options.refuse
local clock = internal.seconds
local run_folder, checkpoint, claim, warning = bk._run_folder, bk._checkpoint, bk._claim, bk._warning
local readable, now, text_in = bk._text_file.readable, bk._text_file.stamp, bk._text_file.read
local run_log = {}
run_log.__index = run_log

-- Where no checkpoint_every is told, a checkpoint is put off while they would take more than a hundredth of the time.
local SHARE = 100
local LOOK_AGAIN = 0.5 -- seconds for which rows wait, so as not to slow the run; a checkpoint has those before it

-- Texts for people too: 0.05 is not 0.050000000000000003.
local function text_of(value) return internal.to_json(value, 2, true) .. "\n" end
local function line_of(value) return internal.to_json(value, 0, true) end

-- ---- what was asked for ----

local function plain(value) -- what JSON can say of it
    local kind = type(value)
    if kind == "nil" or kind == "number" or kind == "boolean" then return value end
    if kind == "table" and getmetatable(value) == nil then
        local result = {}
        for k, v in pairs(value) do result[k] = plain(v) end
        return result
    end
    if kind == "function" or kind == "table" and bk._options.callable(value) then
        return bk.schedule._described.text(value) or "function " .. bk._fingerprint(value)
    end
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
        local train = part(t.train)
        tasks[i] = { name = plain(tostring(t.name)), train = t.train.n, test = t.test.n,
            loss = not t.source.field and plain(t.source.loss or "cross_entropy") or nil,
            field = plain(t.source.field), head = plain(t.source.head), shape = plain(t.source.shape),
            shuffle = t.source.shuffle, accuracy = plain(t.source.accuracy),
            digest = { train = train, test = t.test == t.train and train or part(t.test) } }
    end
    for k, iv in ipairs(spec.interventions) do
        interventions[k] = own(iv, { "name", "doc", "strength", "weight" })
        interventions[k].digest = bk._fingerprint(iv)
    end
    local config = own(spec, { "steps", "epochs", "reduction", "reset_optimizer", "evaluate" })
    config.model, config.n_params = plain(tostring(spec.model)), spec.model.n_params
    config.model_digest = bk._fingerprint(internal.model_parts(spec.model))
    config.tasks, config.interventions = tasks, #interventions > 0 and interventions or nil
    config.order, config.order_digest = spec.order.name, bk._fingerprint(spec.order)
    for name, value in pairs(protocol.asked) do config[name] = plain(value) end
    local optimizer, meta = spec.optimizer, getmetatable(spec.optimizer)
    local unnamed = type(optimizer) == "table" and not (meta and meta.__tostring) -- its text would be where it lies
    config.optimizer = unnamed and "own " .. bk._fingerprint(optimizer) or plain(tostring(optimizer))
    local custom = internal.custom_parts(optimizer)
    config.optimizer_digest = type(custom) == "table" and bk._fingerprint(custom) or nil
    config.record_digest = next(spec.record_functions) and bk._fingerprint(spec.record_functions) or nil
    config.seed, config.dtype = seed, protocol.dtype
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
    local function rank(key) return key == "digest" and 2 or key == "doc" and 1 or 0 end -- a setting says more
    table.sort(keys, function(x, y)
        if rank(x) ~= rank(y) then return rank(x) < rank(y) end
        return tostring(x) < tostring(y)
    end)
    for _, key in ipairs(keys) do
        local at, was, is = difference(a[key], b[key], path .. "." .. tostring(key))
        if at then return at, was, is end
    end
end

-- What an entry is the digest of: "another order", "other data of task 2"; nil where it is none.
local function in_words(entry)
    if entry:find("_digest$") then return "another " .. entry:match("^%a+") end
    local what, k = entry:match("^(%a+)%.(%d+)%.digest")
    if what == "tasks" then return "other data of task " .. k end
    return what and "another intervention " .. k
end

local function refuse_run(dir, told) refuse("protocol:run: resume: %s was run with %s; name another folder", dir, told) end

-- An error where the folder's run is not the one that goes on. Returns what is said of a run of more steps, which may
-- go on where those so far are those of the longer run: see run_log:check_longer.
local function check_same(dir, old, config, spec)
    local function say(value)
        return value == nil and "none" or bk._table_text.shortened(line_of(value), 120)
    end
    local more
    for _, name in ipairs{ "model", "model_digest", "tasks", "order", "order_digest", "word", "lr", "steps", "epochs",
        "batch", "optimizer", "optimizer_digest", "interventions", "record", "record_digest", "seed", "dtype",
        "reduction", "reset_optimizer", "evaluate" } do
        local is = config[name] -- as it would be read from the file
        if is ~= nil then is = internal.from_json(line_of(is)) end
        local at, was, now_is = difference(old[name], is, name)
        local longer = name == "steps" and not spec.order.blocks and math.type(was) == "integer"
            and math.type(now_is) == "integer" and now_is > was
        if at then
            local what = was ~= nil and now_is ~= nil and in_words(at)
            local told = what and ("%s (digest %s, not %s)"):format(what, was, now_is)
                or ("%s = %s, this protocol has %s"):format(at, say(was), say(now_is))
            if not longer then refuse_run(dir, told) end
            more = told
        end
    end
    return more
end

-- The steps of the state that was loaded have to be those of the longer run: nobody asked how long it is, and the order
-- says the same tasks.
function run_log:check_longer(state)
    if not self.more or state.stopped then return end
    if state.asked_total then
        refuse_run(self.dir, self.more .. ", and a rate, hook or record asked how long the run is")
    elseif not state:took_the_same() then
        refuse_run(self.dir, self.more .. ", whose order says other tasks for the steps so far")
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

function run_log:take_claim()
    if self.claim then return end
    local mine, holder = claim.take(run_folder.lock_path(self.dir), "protocol:run: out: ")
    if not mine then
        refuse("protocol:run: out: %s is being written by %s; wait for it, or name another folder", self.dir, holder)
    end
    self.claim = mine
end

function run_log:release()
    if self.claim then self.claim:release() end
    self.claim = nil
end

-- The state of the last checkpoint that is whole and whose rows are, and their text. Damaged ones are set aside.
local function last_whole(dir)
    local damaged, steps = {}, run_folder.checkpoints(dir)
    local state, rows
    for k = #steps, 1, -1 do
        local path, why = run_folder.checkpoint_path(dir, steps[k]), nil
        state, why = checkpoint.load(path)
        if state then rows, why = run_folder.first_rows(dir, state.rows, state.rows_digest) end
        if rows then break end
        state = nil
        table.insert(damaged, { path = path, why = why, step = steps[k] })
    end
    for _, d in ipairs(damaged) do -- by its own fault, or its rows are
        local aside = d.path:gsub("safetensors$", "damaged")
        local moved, problem = os.rename(d.path, aside)
        warning("protocol:run: resume: %s; the checkpoint of step %d is set aside%s, the run goes on from %s", d.why,
            d.step, moved and " as " .. aside or (" (but stays where it is: %s)"):format(problem), state
            and run_folder.checkpoint_path(dir, state.step) or "the start")
    end
    return state, rows
end

-- A file of a run's name that no run wrote; nil where there is none.
local function foreign(dir)
    for name, field in pairs{ config = "n_params", env = "bracket" } do
        local text = text_in(dir .. "/" .. name .. ".json")
        local value = text and internal.from_json(text)
        if text and (type(value) ~= "table" or value[field] == nil) then return name .. ".json" end
    end
    -- an empty one is what a run leaves whose other files could not be written
    local rows = text_in(dir .. "/metrics.jsonl") or ""
    return rows ~= "" and not text_in(dir .. "/config.json") and "metrics.jsonl" or nil
end

-- What the folder has of a run, where it may go on: the state to go on from and the text of its rows, or nothing.
function run_log:look(options)
    local dir = self.dir
    local text, kept = text_in(dir .. "/status.json"), #run_folder.checkpoints(dir)
    if not text and kept == 0 then
        local other = foreign(dir)
        if not other then return nil end
        refuse("protocol:run: out: %s has a %s that is no run's, and would be written over; name another folder", dir,
            other)
    end
    local old = internal.from_json(text or "") -- one that is broken is written again
    if type(old) ~= "table" then old = {} end
    if old.status == "failed" and old.step == 0 and kept == 0 then return nil end -- it never took a step
    if not options.resume then
        refuse("protocol:run: out: %s holds a run: resume = true goes on with it, or name another folder", dir)
    end
    local whole, config = pcall(run_folder.object, dir, "config")
    if not whole then bk._options.misread("protocol:run: resume: %s; name another folder", config) end
    local known, env = pcall(run_folder.object, dir, "env")
    if not known then -- it only tells people
        warning("protocol:run: resume: %s; it is written anew", env)
        env = {}
    end
    if next(config) == nil then
        refuse("protocol:run: resume: %s/config.json, which says what was run, is missing or empty; name another folder",
            dir)
    end
    self.more = check_same(dir, config, self.config, self.spec)
    if options.theta and config.theta ~= self.config.theta then
        refuse("protocol:run: resume: %s began at another theta", dir)
    end
    self.config.theta = config.theta
    self.started, self.seconds = old.started or self.started, tonumber(old.seconds) or 0
    self.said = old.status
    -- what it ran on before, where that was something else
    local first = env.earlier
    env.earlier = nil
    local same = not difference(env, internal.from_json(line_of(self.env)), "env")
    env.earlier = first
    self.env.earlier = not same and env or first
    return last_whole(dir)
end

-- The log of a run in the folder dir, and the state to go on from: nil when it begins.
function run_log.open(protocol, dir, seed, options)
    bk._options.needs_files("protocol:run: out")
    local self = setmetatable({ dir = dir, not_before = -math.huge, keep = options.keep or 2, saved_at = -1,
        seconds = 0, began = clock(), looked = clock(), started = now(), waiting = {},
        infinite = {}, file = { rows = 0, bytes = 0, digest = "" } }, run_log)
    self.told, self.spec = options.checkpoint_every, protocol.spec
    self.config = run_log.config(protocol, seed)
    self.config.theta = options.theta and internal.digest(options.theta) or nil
    self.env = environment(seed)
    internal.make_folder(dir, "protocol:run: out: ")
    self:take_claim()
    local ok, saved, text = pcall(self.look, self, options)
    if not ok then
        self:release()
        error(saved, 0)
    end
    if not saved then return self end
    saved.history = run_folder.columns(text, run_folder.metrics_path(dir))
    for _, entry in ipairs(saved.infinite) do saved.history[entry[1]][entry[2]] = entry[3] end
    self.infinite = saved.infinite
    self.file = { rows = saved.rows, bytes = #text, digest = saved.rows_digest }
    self.saved_at = saved.step
    return self, saved
end

-- ---- while it runs ----

-- A row as a line of the file, where inf is null as nan is: infinite remembers them.
local function row_text(row, r, infinite)
    local plain_row = {}
    for name, value in pairs(row) do
        plain_row[name] = type(value) == "string" and readable(value) or value
        if value == math.huge or value == -math.huge then infinite[#infinite + 1] = { name, r, value } end
    end
    return internal.to_json(plain_row) .. "\n"
end

-- Row r waits to be written. It may come twice, after an interrupt.
function run_log:add(r, row) self.waiting[r] = row end

-- The rows that are not in the file yet, which then has all of them; synced: on the disk too. An interrupt may come
-- between any two of these statements: what was done is then done again, with the same outcome.
function run_log:write_rows(state, synced)
    local file, lines, infinite = self.file, {}, {}
    local digest = file.digest
    for r = file.rows + 1, state.rows do
        local line = row_text(self.waiting[r], r, infinite)
        lines[#lines + 1] = line
        digest = run_folder.row_digest(digest, line)
    end
    local text = table.concat(lines)
    internal.append_file(run_folder.metrics_path(self.dir), text, file.bytes, synced)
    table.move(infinite, 1, #infinite, #self.infinite + 1, self.infinite)
    self.file = { rows = state.rows, bytes = file.bytes + #text, digest = digest }
    self.waiting = {}
end

local function list(rows) -- accuracy[0], accuracy[1], ... as an array
    local result = {}
    for k = 0, #rows do result[#result + 1] = rows[k] end
    return #result > 0 and result or nil
end

function run_log:write_status(state, status, message)
    local result = state:result()
    local seconds = self.seconds + clock() - self.began
    internal.write_file(self.dir .. "/status.json", text_of({ status = status, message = message, step = state.step,
        total = state.total, started = self.started, updated = now(), seconds = seconds,
        metrics = next(result.metrics) and result.metrics or nil, accuracy = list(result.accuracy),
        test_loss = list(result.test_loss), learned = #result.learned > 0 and result.learned or nil,
        order_matrix = result.order_matrix }), status == "running") -- soon written again
end

-- The functions of one's own among hooks and records, by what they have captured.
local function captured(spec)
    local list = {}
    local function look(name, value)
        for part, f in pairs(type(value) == "table" and value or { value = value }) do
            local about = type(f) == "function" and debug and debug.getinfo(f, "S")
            if about and not about.source:find("^@bracket/") then list[name .. ": " .. part] = bk._fingerprint(f) end
        end
    end
    for k, iv in ipairs(spec.interventions) do look(("intervention %d (%s)"):format(k, iv.name or "own"), iv) end
    for name, record in pairs(spec.record_functions) do look("record " .. name, record) end
    return list
end

-- What they keep elsewhere than in their memory is not saved: said once a run.
function run_log:tell_of_state(state)
    if self.warned or state.finished then return end
    local changed = {}
    for name, is in pairs(captured(self.spec)) do
        if self.captured[name] ~= is then changed[#changed + 1] = name end
    end
    if #changed == 0 then return end
    table.sort(changed)
    self.warned = true
    warning("protocol:run: checkpoint at step %d: %s changed what it captured, which is not saved: a run that goes "
        .. "on from there may have other numbers. What a hook remembers goes into its memory", state.step,
        table.concat(changed, ", "))
end

-- Checkpoints beyond those that are kept.
local function remove_old(dir, step, keep)
    local steps = run_folder.checkpoints(dir)
    for k = 1, #steps - keep do
        if steps[k] < step then os.remove(run_folder.checkpoint_path(dir, steps[k])) end
    end
end

function run_log:save(state)
    self:write_rows(state, true)
    if self.saved_at == state.step then return end
    if not self.described then self:describe(false) end
    self:tell_of_state(state)
    local saved = state:save("history") -- its rows are in metrics.jsonl
    saved.rows_digest, saved.infinite = self.file.digest, self.infinite
    checkpoint.save(run_folder.checkpoint_path(self.dir, state.step), saved, saved.interventions)
    self.saved_at = state.step
    remove_old(self.dir, state.step, self.keep)
end

-- What the script was called with: by name where it asked bk.arguments, else as it stands.
local function script_arguments()
    if internal.arguments then return plain(internal.arguments) end
    return arg and arg[1] and plain(table.move(arg, 1, #arg, 1, {})) or nil
end

-- What the run is: its script, settings and machine. In haste they are not waited for until they are on the disk, which
-- takes as long as ten steps: without a checkpoint there is nothing to go on from.
function run_log:describe(haste)
    if self.script then internal.write_file(run_folder.script_path(self.dir), self.script, haste) end
    internal.write_file(self.dir .. "/config.json", text_of(self.config), haste)
    internal.write_file(self.dir .. "/env.json", text_of(self.env), haste)
    self.described = not haste
end

-- Before the first step. A finished run stays as it is, but for what a kill left unsaid.
function run_log:begin(state)
    self:take_claim() -- a run that was paused let go of it
    run_folder.sweep_up(self.dir)
    local metrics = run_folder.metrics_path(self.dir)
    if #(text_in(metrics) or "") > self.file.bytes then -- rows of steps that are done again
        internal.append_file(metrics, "", self.file.bytes, true)
    end
    self.finished, self.described = state.finished, state.finished
    if self.finished then
        if self.said ~= "finished" then
            self:save(state)
            self:write_status(state, "finished")
        end
        return
    end
    self.captured = self.captured or captured(self.spec)
    self.every = self.told or math.max(1, math.ceil(state.total / 10))
    self.config.script = arg and arg[0] and plain(arg[0]) or nil
    self.config.arguments = script_arguments()
    self.config.checkpoint_every, self.config.keep = self.every, self.keep
    local script = self.config.script and text_in(self.config.script)
    self.script = script and utf8.len(script) and script or nil -- no program
    self:describe(true)
    self:write_status(state, "running")
end

-- The run is let go of: it says how it ended, and another process may go on with it.
function run_log:close(state, status, message)
    self:write_status(state, status, message)
    self.said = status
    self:release()
end

-- After every step. Where a signal came that asks for the end, the run ends after this, with a checkpoint.
function run_log:step(state, signal)
    local at = clock()
    if at - self.looked >= LOOK_AGAIN then -- what need not be done at every step
        self.looked = at
        self.claim:beat()
        if state.rows > self.file.rows then self:write_rows(state) end
    end
    if state.step == state.total then return end
    if signal then
        self:save(state)
        self:close(state, "stopped", ("stopped by %s after step %d of %d, whose checkpoint is in %s"):format(signal,
            state.step, state.total, self.dir))
    elseif state.step % self.every == 0 and (self.told or clock() >= self.not_before) then
        local from = clock()
        self:save(state)
        self:write_status(state, "running")
        local now_is = clock()
        self.not_before = now_is + SHARE * (now_is - from)
    end
end

-- After the last one.
function run_log:finish(state)
    if self.finished then return self:release() end
    self:save(state)
    self:close(state, state.finished and "finished" or "paused")
end

-- After an error, which may have come in the middle of writing: what was recorded is kept, and the checkpoints there
-- are. Returns what of that could not be done, as lines.
function run_log:fail(state, message)
    if not self.claim then return "" end -- it was closed, or is another's
    message = readable(tostring(message))
    local problems = ""
    local function try(...)
        local ok, problem = pcall(...)
        if not ok then problems = problems .. "\n" .. tostring(problem) end
    end
    local status = message:find("%f[%a]interrupted$") and "stopped" or "failed"
    try(self.write_rows, self, state, true)
    if status == "stopped" and state.pending then try(self.save, self, state) end -- no step is lost
    try(self.close, self, state, status, message)
    self:release()
    return problems
end

return run_log

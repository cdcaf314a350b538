-- Runs whose batches are shared over ranks. Every rank takes every step, with the same numbers: it computes the losses
-- and derivatives of its share of a batch, and those are summed. Rank 0 owns the folder. Here is what makes sure that
-- the ranks stay together: where they differ, or one of them stops, all of them hear of it.
local bk = ...
local internal = bk.internal
local distributed = {}

local SIGNALS = internal.signals and internal.signals.names or {} -- of the program: a host has its own
local LOOK = 16 -- steps between looks at theta: a difference stays one

-- An error on every rank where they do not have the same.
local function same(what, text)
    for r, other in ipairs(internal.ranks.gather(internal.digest(text))) do
        if other ~= internal.digest(text) then
            error(("bk.protocol: distributed: rank %d has %s than rank %d; every rank takes all of them, the same"):format(
                r - 1, what, bk.mpi.rank), 0)
        end
    end
end

-- What was given, where its text says that; what functions do may depend on the rank, and is compared step by step.
local function text_of(value)
    if type(value) ~= "table" or getmetatable(value) then
        local text = tostring(value)
        return text:find("0x%x+$") and "one of its own" or text
    end
    local parts = {}
    for key, entry in pairs(value) do parts[#parts + 1] = ("%s = %s"):format(key, text_of(entry)) end
    if #parts == #value then
        for k, entry in ipairs(value) do parts[k] = text_of(entry) end
    else
        table.sort(parts)
    end
    return "{ " .. table.concat(parts, ", ") .. " }"
end

local SPEC = { "steps", "epochs", "reduction", "reset_optimizer", "evaluate" }

-- What a run was asked, by its options' names: a list of { name, text }.
local function asked(protocol, options)
    local spec, hooks, list = protocol.spec, {}, {}
    local function add(name, value) list[#list + 1] = { name, text_of(value) } end
    for _, name in ipairs(SPEC) do add(name, spec[name]) end
    for _, name in ipairs{ "lr", "batch", "record", "word" } do add(name, protocol.asked[name]) end
    for k, hook in ipairs(spec.interventions) do
        hooks[k] = { hook.name or k, strength = hook.strength, weight = hook.weight }
    end
    add("interventions", hooks)
    add("order", spec.order.name)
    add("model", spec.model)
    add("parameters of the model", spec.model.n_params)
    add("number of tasks", protocol.problem.n)
    add("optimizer", type(spec.optimizer) == "userdata" and spec.optimizer or "one of its own")
    add("dtype", protocol.dtype)
    add("seed", options.seed or protocol.seed)
    add("stop", options.stop)
    add("out", options.out and "given" or "not given") -- the others' folder is not looked at
    return list
end

-- Before anything else of a run: an error on every rank where they were asked different things.
function distributed.check_asked(protocol, options)
    if bk.mpi.size == 1 then return end
    local list, digests = asked(protocol, options), {}
    for k, option in ipairs(list) do digests[k] = internal.digest(option[2]) end
    local mine = table.concat(digests)
    for r, other in ipairs(internal.ranks.gather(mine)) do
        for k, option in ipairs(other ~= mine and list or {}) do
            if other:sub(#digests[k] * (k - 1) + 1, #digests[k] * k) ~= digests[k] then
                error(("bk.protocol: distributed: %s: expected the same on every rank, got another on rank %d than on rank "
                    .. "%d, where it is %s"):format(option[1], r - 1, bk.mpi.rank, option[2]), 0)
            end
        end
    end
end

-- Whether loss and gradient of a few examples are those summed over ranks; where they are not, an error.
local function check_task(problem, i, theta)
    local t, ranks = problem.tasks[i], bk.mpi.size
    local n = math.min(t.train.n, 2 * ranks + 1)
    local x, y = t.train.x:narrow(1, 1, n), t.train.y:narrow(1, 1, n)
    local where = ("bk.protocol: distributed: task %d (%s)"):format(i, tostring(t.name))
    local plain = bk._functions.of(problem.model, t.source, problem.outputs, where)
    local _, alone = bk._functions.bound(plain, problem.mode)
    local function values(f)
        if not f.loss then return 0, f.grad(theta, x, y) end
        local loss, g = f.value_and_grad(theta, x, y)
        return loss:item(), g
    end
    local loss, g = values(alone)
    local shared_loss, shared_g = values(t.training)
    local off = (shared_g - g):norm():item() / g:norm():item()
    local limit = problem.dtype == "float32" and 1e-3 or 1e-9
    if loss - loss ~= 0 or math.abs(shared_loss - loss) <= limit * math.abs(loss) and (off ~= off or off <= limit) then
        return
    end
    error(("%s: expected a mean over the examples, got one that differs from that of its shares: of %d examples the %s "
        .. "is off by %.2g of its size. A sum over them, or a layer that mixes or counts examples, cannot be shared")
        :format(where, n, alone.loss and "gradient" or "field", off), 0)
end

-- Before the first step.
function distributed.check(problem, theta)
    if bk.mpi.size == 1 then return end
    same("another theta", theta)
    for i, t in ipairs(problem.tasks) do
        for _, which in ipairs{ "train", "test" } do
            same(("other %s examples of task %d"):format(which, i), t[which].x)
            same(("other %s targets of task %d"):format(which, i), t[which].y)
        end
        if not t.shared.checked then check_task(problem, i, theta) end
        t.shared.checked = true
    end
end

-- The digests of what before_batch hooks left, which may draw.
local function made_batches(state)
    if #state.hooks.before_batch == 0 then return "" end
    local list = {}
    for _, part in ipairs(state.task and { { state.x }, { state.y } } or { state.xs, state.ys }) do
        for _, t in ipairs(part) do list[#list + 1] = internal.digest(t) end
    end
    return table.concat(list)
end

-- After a step, before what is computed of its theta: the name of a signal that came to any rank. An error where the
-- ranks went apart.
function distributed.agree(state, signal)
    if bk.mpi.size == 1 then return signal end
    local number = 0
    for k, name in ipairs(SIGNALS) do number = name == signal and k or number end
    local look = state.step % LOOK == 0 or state.step == state.total
    local mine = string.pack("<dddj", state.lr, state.total, look and state.theta:dot(state.theta):item() or 0,
        state.word_digest)
    if look then mine = mine .. made_batches(state) end
    local agreed
    for r, text in ipairs(internal.ranks.gather(string.pack("<I1", number) .. mine)) do
        local total = text:sub(2) ~= mine and string.unpack("<d", text, 10)
        if total and total ~= state.total then
            error(("bk.protocol: step %d: rank %d is to end with step %d, rank %d with step %d: state:stop() of one rank "
                .. "alone"):format(state.step, r - 1, total // 1, bk.mpi.rank, state.total), 0)
        elseif total then
            error(("bk.protocol: step %d: rank %d is at another point than rank %d: a hook, rate, order or optimizer of its "
                .. "own gave it other numbers, at most %d steps ago"):format(state.step, r - 1, bk.mpi.rank, LOOK), 0)
        end
        agreed = agreed or SIGNALS[text:byte()]
    end
    return agreed
end

-- After an error: the others hear of it, unless all have the same.
function distributed.failed(message)
    if bk.mpi.size > 1 then pcall(internal.ranks.fail, tostring(message)) end
end

return distributed

-- The compiled functions of (theta, x, y) a task needs, made once per model and loss, so that any number of protocols
-- and data sets share their plans. functions(model, task): task.loss is a name of bk.loss, one of its values, or a
-- function (model, theta, x, y) -> 0-d; task.accuracy, a function (z, y) -> number, goes before the loss's own;
-- task.head, a list of class ids, restricts a softmax to these (task-incremental learning: a head per task).
-- task.field, a function (theta, x, y) -> vector, stands where the gradient of a loss would: there is no f.loss then,
-- and f.hvp is the field's derivative along v.
local bk = ...
local refuse, show = bk._options.refuse, bk._options.show
local call_over, step_poured = bk.internal.call_over, bk.internal.step_poured
local function weak() return setmetatable({}, { __mode = "k" }) end
local made = { losses = weak(), fields = weak(), shared_losses = weak(), shared_fields = weak() } -- by model, then key

-- What is added to logits, so that the head's classes alone have a probability.
local function mask_of(head, outputs)
    local row = {}
    for c = 1, outputs do row[c] = -1e9 end
    for _, id in ipairs(head) do row[id + 1] = 0 end
    return bk.tensor(row)
end

-- The loss a task names: a value of bk.loss or a function, and what it is called. Errors begin with `where`.
local function resolve(loss, where)
    if loss == nil then loss = "cross_entropy" end
    if type(loss) == "string" then
        local known = {}
        for name in pairs(bk.loss) do known[#known + 1] = name end
        table.sort(known)
        for _, name in ipairs(known) do
            if name == loss then return bk.loss[name] end
        end
        refuse("%s: loss: expected one of %s, one of bk.loss, or a function (model, theta, x, y), got %q%s", where,
            table.concat(known, ", "), loss, bk.internal.hint(loss, known))
    end
    if type(loss) == "function" or bk.is_loss(loss) then return loss end
    refuse("%s: loss: expected a name, one of bk.loss or a function (model, theta, x, y), got %s", where, show(loss))
end

local function check_head(head, outputs, where)
    bk._options.numbers(where, "head", head)
    if #head == 0 then refuse("%s: head: expected class ids, got an empty list", where) end
    local seen = {}
    for k, id in ipairs(head) do
        if seen[id] then refuse("%s: head: entry %d: %s stands twice", where, k, id) end
        seen[id] = true
        if not math.tointeger(id) or id < 0 or id >= outputs then
            refuse("%s: head: entry %d: expected a class id, 0..%d, got %s", where, k, outputs - 1, id)
        end
    end
end

-- smoothing: the weight of the uniform target over the head's classes.
local function with_head(model, task, outputs, smoothing)
    local mask, count = mask_of(task.head, outputs), #task.head
    local function logits(theta, x) -- masked, and all of them
        local all = model:forward(theta, x)
        return all + mask:to(theta:dtype()), all
    end
    local function loss(theta, x, y)
        local z, all = logits(theta, x)
        local hit = z:take(y)
        if smoothing ~= 0 then
            local inside = mask:eq(0):to(theta:dtype())
            hit = (1 - smoothing) * hit + smoothing / count * (all * inside):sum(-1)
        end
        return (z:logsumexp() - hit):mean()
    end
    local right = bk.compile(function(theta, x, y)
        local z = logits(theta, x)
        return z:argmax(-1):eq(y):to("float64"):mean()
    end)
    return loss, right
end

-- Of a model that draws or keeps statistics: functions that take what its mode is made of besides, (theta, x, y, seed
-- [, buffers]) in training, which leaves new buffers, and (theta, x, y [, buffers]) in evaluation.
local function modal(model, f, right)
    local function set(train)
        local raw = bk.internal.in_mode(model, f.loss, train)
        local function loss(...) return (raw(...)) end
        return { kind = f.kind, loss = loss, value = bk.compile(loss), grad = bk.grad(loss), hvp = bk.hvp(loss),
            value_and_grad = bk.value_and_grad(raw) }
    end
    f.training, f.evaluation = set(true), set(false)
    return right and bk.internal.in_mode(model, right, false)
end

-- What a training step calls: loss and gradient, and the step in one with them (bind/optimizer.c), their results over
-- those in kept. with(): arguments after (theta, x, y).
local function over_buffers(of, value_and_grad, with)
    function of.value_and_grad_over(kept, theta, x, y) return call_over(value_and_grad, kept, theta, x, y, with()) end
    function of.step_poured(optimizer, kept, lr, lent, theta, x, y)
        return step_poured(optimizer, kept, lr, lent, value_and_grad, theta, x, y, with())
    end
end

-- The functions of evaluation and of training, of (theta, x, y) alone, in a mode { seed =, buffers = } that each call
-- looks at. of.mode(): what of.loss takes after (theta, x, y).
local function bound(f, mode)
    if not f.training then return f, f end
    local function close(set, with)
        local of = { kind = f.kind, loss = set.loss, mode = with }
        for _, name in ipairs{ "value", "grad", "value_and_grad" } do
            local g = set[name]
            of[name] = function(theta, x, y) return g(theta, x, y, with()) end
        end
        over_buffers(of, set.value_and_grad, with)
        function of.hvp(theta, v, x, y) return set.hvp(theta, v, x, y, with()) end
        if f.accuracy then function of.accuracy(theta, x, y) return f.accuracy(theta, x, y, mode.buffers) end end
        function of.measure(theta, x, y) return f.measure(theta, x, y, mode.buffers) end
        return of
    end
    return close(f.evaluation, function() return mode.buffers end),
        close(f.training, function() return mode.seed, mode.buffers end)
end

-- What the functions have of a loss, or of the field in its place.
local function of_field(f, field, where)
    f.grad = bk.compile(function(theta, x, y)
        local v = field(theta, x, y)
        local is_vector = bk.is_tensor(v) and v:ndim() == 1 and #v == #theta
        if not is_vector then
            refuse("%s: field: expected a tensor (%d), as theta, got %s", where, #theta, show(v))
        end
        return v
    end)
    function f.field_over(kept, ...) return call_over(f.grad, kept, ...) end
    f.hvp = bk.compile(function(theta, v, x, y)
        return (select(2, bk.jvp(function(t) return field(t, x, y) end, { theta }, { v })))
    end)
end

local function of_loss(f)
    f.value = type(f.loss) == "function" and bk.compile(f.loss) or f.loss
    f.grad = bk.grad(f.loss)
    f.value_and_grad = bk.value_and_grad(f.loss)
    over_buffers(f, f.value_and_grad, function() end)
    f.hvp = bk.hvp(f.loss)
end

-- The task's field, or its loss as resolve finds it.
local function kind_of(task, where)
    if task.field == nil then return resolve(task.loss, where) end
    for _, name in ipairs{ "loss", "head" } do
        if task[name] ~= nil then refuse("%s: %s: a task with a field has no loss", where, name) end
    end
    if type(task.field) ~= "function" then
        refuse("%s: field: expected a function (theta, x, y) -> vector, got %s", where, show(task.field))
    end
    return task.field
end

-- (theta, x, y [, buffers]) -> loss (nil for a field), share of right answers (nil where there is none): numbers, by
-- one forward pass where right, the share's function, is one that compiles.
local function measured(f, right)
    local of = f.evaluation or f
    if right and of.loss then
        local both = bk.compile(function(...) return of.loss(...), right(...) end)
        return function(...)
            local loss, share = both(...)
            return loss:item(), share:item()
        end
    end
    return function(...)
        return of.value and of.value(...):item(), f.accuracy and f.accuracy(...)
    end
end

-- A loss of one's own, of (theta, x, y).
local function own_loss(model, loss, where)
    return function(theta, x, y)
        local value = loss(model, theta, x, y)
        if not bk.is_tensor(value) or value:ndim() > 0 then
            refuse("%s: loss: expected a 0-d tensor, got %s", where, show(value))
        end
        return value
    end
end

-- A task's own share of right answers, of (theta, x, y).
local function own_accuracy(model, accuracy, where)
    return function(theta, x, y, buffers)
        local share = accuracy(model:forward(theta, x, buffers and { buffers = buffers }), y)
        if bk.is_tensor(share) and share:count() == 1 then share = share:item() end
        if type(share) ~= "number" then
            refuse("%s: accuracy: expected a number, got %s", where, show(share))
        end
        return share
    end
end

-- shared: over the ranks, each with its part of the examples (bk.mpi.shard).
local function functions(model, task, outputs, where, shared)
    where = where or "task"
    local kind = kind_of(task, where)
    local cache = made[(shared and "shared_" or "") .. (task.field and "fields" or "losses")]
    local kinds = cache[model]
    if not kinds then
        kinds = {}
        cache[model] = kinds
    end
    kinds[kind] = kinds[kind] or {}
    local own, heads = task.accuracy, kinds[kind]
    if task.head then check_head(task.head, outputs, where) end
    local head = task.head and outputs .. ":" .. table.concat(task.head, ",") or "none"
    local f = not own and heads[head] or nil
    if f then return f end
    f = { kind = kind }
    local right
    if task.field then
        of_field(f, shared and bk.mpi.shard(task.field) or task.field, where)
    elseif task.head then
        if type(kind) == "function" or kind.name ~= "cross_entropy" then
            refuse("%s: head: needs the loss cross_entropy, got %s", where,
                type(kind) == "function" and "a function" or kind.name)
        end
        f.loss, right = with_head(model, task, outputs, kind.label_smoothing)
    elseif type(kind) == "function" then
        f.loss = own_loss(model, kind, where)
    else
        f.loss = kind(model)
        right = kind:accuracy(model)
    end
    if f.loss and shared then f.loss = bk.mpi._shard(f.loss, model.modal and model or nil) end
    if f.loss then of_loss(f) end
    if f.loss and model.modal then right = modal(model, f, right) end
    if right and shared then right = bk.compile(bk.mpi.shard(right)) end
    if own then
        f.accuracy = own_accuracy(model, own, where)
    elseif right then
        f.accuracy = function(theta, x, y, buffers) return right(theta, x, y, buffers):item() end
    end
    f.measure = measured(f, not own and right or nil)
    if not own then heads[head] = f end
    return f
end

return { of = functions, bound = bound, kind_of = kind_of, mask_of = mask_of }

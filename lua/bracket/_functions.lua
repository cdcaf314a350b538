-- The compiled functions of (theta, x, y) a task needs, made once per model and loss, so that any number of protocols
-- and data sets share their plans. functions(model, task): task.loss is a name of bk.loss, one of its values, or a
-- function (model, theta, x, y) -> 0-d; task.accuracy, a function (z, y) -> number, goes before the loss's own;
-- task.head, a list of class ids, restricts a softmax to these (task-incremental learning: a head per task).
local bk = ...
local cache = setmetatable({}, { __mode = "k" }) -- model -> key -> functions

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
        error(("%s: loss: expected one of %s, one of bk.loss, or a function (model, theta, x, y), got %q"):format(where,
            table.concat(known, ", "), loss), 0)
    end
    if type(loss) == "function" or bk.is_loss(loss) then return loss end
    error(("%s: loss: expected a name, one of bk.loss or a function (model, theta, x, y), got a %s"):format(where,
        type(loss)), 0)
end

local function with_head(model, task, outputs)
    local mask = mask_of(task.head, outputs)
    local function logits(theta, x) return model:forward(theta, x) + mask:to(theta:dtype()) end
    local function loss(theta, x, y)
        local z = logits(theta, x)
        return (z:logsumexp() - z:take(y)):mean()
    end
    local right = bk.compile(function(theta, x, y) return logits(theta, x):argmax(2):eq(y):to("float64"):mean() end)
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
        function of.hvp(theta, v, x, y) return set.hvp(theta, v, x, y, with()) end
        if f.accuracy then function of.accuracy(theta, x, y) return f.accuracy(theta, x, y, mode.buffers) end end
        return of
    end
    return close(f.evaluation, function() return mode.buffers end),
        close(f.training, function() return mode.seed, mode.buffers end)
end

local function functions(model, task, outputs, where)
    local kind = resolve(task.loss, where or "task")
    local kinds = cache[model]
    if not kinds then
        kinds = {}
        cache[model] = kinds
    end
    local own = task.accuracy
    local key = task.head and "head:" .. outputs .. ":" .. table.concat(task.head, ",") or kind
    local f = not own and kinds[key] or nil
    if f then return f end
    f = { kind = kind }
    local right
    if task.head then
        if type(kind) == "function" or kind.name ~= "cross_entropy" then
            error((where or "task") .. ": head: needs the loss cross_entropy", 0)
        end
        f.loss, right = with_head(model, task, outputs)
    elseif type(kind) == "function" then
        f.loss = function(theta, x, y) return kind(model, theta, x, y) end
    else
        f.loss = kind(model)
        right = kind:accuracy(model)
    end
    f.value = type(f.loss) == "function" and bk.compile(f.loss) or f.loss
    f.grad = bk.grad(f.loss)
    f.value_and_grad = bk.value_and_grad(f.loss)
    f.hvp = bk.hvp(f.loss)
    if model.modal then right = modal(model, f, right) end
    -- (theta, x, y) -> the share of right answers, a number
    if own then
        f.accuracy = function(theta, x, y, buffers)
            local share = own(model:forward(theta, x, buffers and { buffers = buffers }), y)
            if bk.is_tensor(share) then share = share:item() end
            if type(share) ~= "number" then
                error(("%s: accuracy: expected a number, got a %s"):format(where or "task", type(share)), 0)
            end
            return share
        end
    elseif right then
        f.accuracy = function(theta, x, y, buffers) return right(theta, x, y, buffers):item() end
    end
    if not own then kinds[key] = f end
    return f
end

return { of = functions, bound = bound, resolve = resolve }

-- The compiled functions of (theta, x, y) a task needs, made once per model and kind of loss, so that any number of
-- protocols and data sets share their plans. functions(model, task): task.loss is "cross_entropy" (default) or "mse";
-- task.head, a list of class ids, restricts the softmax to these (task-incremental learning: a head per task).
local bk = ...
local cache = setmetatable({}, { __mode = "k" })

local function masked_loss(model, mask)
    return function(theta, x, y)
        local logits = model:forward(theta, x) + mask:to(theta:dtype())
        return (logits:logsumexp() - logits:take(y)):mean()
    end
end

local function mask_of(head, outputs)
    local row = {}
    for c = 1, outputs do row[c] = -1e9 end
    for _, id in ipairs(head) do row[id + 1] = 0 end
    return bk.tensor(row)
end

return function(model, task, outputs)
    local kinds = cache[model]
    if not kinds then
        kinds = {}
        cache[model] = kinds
    end
    local kind = task.loss or "cross_entropy"
    local key = task.head and kind .. ":" .. outputs .. ":" .. table.concat(task.head, ",") or kind
    local f = kinds[key]
    if f then return f end
    f = { kind = kind }
    if kind == "mse" then
        f.loss = bk.loss.mse(model)
    elseif task.head then
        f.mask = mask_of(task.head, outputs)
        f.loss = masked_loss(model, f.mask)
    else
        f.loss = bk.loss.cross_entropy(model)
    end
    f.value = task.head and bk.compile(f.loss) or f.loss
    f.grad = bk.grad(f.loss)
    f.value_and_grad = bk.value_and_grad(f.loss)
    f.hvp = bk.hvp(f.loss)
    -- (theta, x, y) -> the share of right answers, a number
    if f.mask then
        local right = bk.compile(function(theta, x, y)
            return (model:forward(theta, x) + f.mask:to(theta:dtype())):argmax(2):eq(y):to("float64"):mean()
        end)
        f.accuracy = function(theta, x, y) return right(theta, x, y):item() end
    elseif kind == "cross_entropy" then
        f.accuracy = function(theta, x, y) return model:accuracy(theta, x, y) end
    end
    kinds[key] = f
    return f
end

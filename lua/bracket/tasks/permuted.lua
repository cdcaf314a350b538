local bk = ...
local options_of, dataset = bk._options, bk.tasks._dataset

local function permuted(options)
    options = options_of("tasks.permuted", options, { data = "table!", test = "table", n = "integer", seed = "integer",
        test_fraction = "number", limit = "integer", identity = "boolean" })
    local n = options.n or 5
    if n < 1 then error("tasks.permuted: n: expected 1 or more tasks, got " .. n, 2) end
    local data, o = dataset.open("tasks.permuted", options)
    local train, test = dataset.divide("tasks.permuted", data, o)
    local train_t, test_t = train.x:transpose():clone(), test and test.x:transpose():clone()
    local rng = bk.rng((options.seed or 1) * 2 + 1) -- a stream apart from the division's
    local tasks = {}
    for k = 1, n do
        local task = { name = "permutation " .. k, classes = data.classes, loss = "cross_entropy", shape = data.shape }
        if k == 1 and options.identity ~= false then
            task.train, task.test = train, test
        else
            local order = rng:permutation(data.size)
            task.permutation = order
            task.train = { x = dataset.columns(train_t, order), y = train.y }
            task.test = test and { x = dataset.columns(test_t, order), y = test.y }
        end
        tasks[k] = task
    end
    return tasks
end

return bk.doc(permuted, [[
bk.tasks.permuted{ data = d, n = 5, seed = 1 } -> list of tasks
The same examples with their pixels in another random order for every task; the first task keeps them as they are
(identity = false: it is permuted too). Columns of task k: x[:, permutation], permutation the task's int64 tensor,
from 1.
options: test = d2 (a test set of its own) or test_fraction = 0.2 of d; limit = examples used, train and
test together.]])

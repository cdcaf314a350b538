local bk = ...
local dataset = bk.tasks._dataset

local function permuted(options)
    local n = options.n
    local data, o = dataset.open("bk.tasks.permuted", options)
    local train, test = dataset.divide("bk.tasks.permuted", data, o)
    local train_t, test_t = train.x:transpose():clone(), test and test.x:transpose():clone()
    local rng = bk.rng(options.seed * 2 + 1) -- a stream apart from the division's
    local tasks = {}
    for k = 1, n do
        local task = { name = "permutation " .. k, classes = data.classes, loss = "cross_entropy", shape = data.shape }
        if k == 1 and options.identity then
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

return bk.define{
    name = "bk.tasks.permuted",
    returns = "list of tasks",
    doc = [[
The same examples with their pixels in another random order for every task. Columns of task k: x[:, permutation],
permutation the task's int64 tensor, from 1.]],
    options = dataset.options{
        { "n", "count", default = 5, doc = "how many tasks" },
        { "identity", "boolean", default = true, doc = "the first task keeps the pixels as they are" },
    },
    call = permuted,
}

local bk = ...
local dataset = bk.tasks._dataset

-- What task k's targets are, before noise: a function of x (n, inputs) to (n, outputs). mix(shape) draws weights that
-- have the tasks' common part in the wanted proportion.
local KINDS = {
    linear = function(inputs, outputs, mix)
        local w = mix{ inputs, outputs } / math.sqrt(inputs)
        return function(x) return x:matmul(w) end
    end,
    teacher = function(inputs, outputs, mix)
        local a, b = mix{ inputs, 16 } * (1.5 / math.sqrt(inputs)), mix{ 1, 16 } * 0.5
        local c = mix{ 16, outputs } / 4
        return function(x) return (x:matmul(a) + b):tanh():matmul(c) end
    end,
    sine = function(inputs, outputs, mix)
        local a, phase = mix{ inputs, outputs } * (2 / math.sqrt(inputs)), mix{ 1, outputs } * 1.5
        return function(x) return (x:matmul(a) + phase):sin() end
    end,
}

local function regression(options)
    local where = "bk.tasks.regression"
    local n, examples, inputs, outputs = options.n, options.examples, options.inputs, options.outputs
    local similarity, noise, kind = options.similarity, options.noise, options.kind
    local make = KINDS[kind]
    examples = math.min(examples, options.limit or examples)
    local train_n = dataset.train_count(where, examples, options.test_fraction or 0.2)
    local seed = options.seed
    local s, c = similarity, math.sqrt(1 - similarity * similarity)
    local tasks = {}
    for k = 1, n do
        local common, own = bk.rng(seed):split(), bk.rng(seed * 1000003 + k)
        local target = make(inputs, outputs, function(shape)
            return common:normal(shape) * s + own:normal(shape) * c
        end)
        local x = own:normal{ examples, inputs }
        local y = target(x)
        if noise > 0 then y = y + own:normal{ examples, outputs } * noise end
        local function part(first, count)
            return { x = x:narrow(1, first, count):clone(), y = y:narrow(1, first, count):clone() }
        end
        tasks[k] = { name = kind .. " " .. k, train = part(1, train_n), outputs = outputs, loss = "mse",
            test = train_n < examples and part(train_n + 1, examples - train_n) or nil }
    end
    return tasks
end

return bk.define{
    name = "bk.tasks.regression",
    returns = "list of tasks",
    doc = [[
Functions to learn under the mean squared error: x standard normal (examples, inputs), y = f_k(x) + noise N(0, 1).]],
    options = dataset.division{
        { "n", "count", default = 3, doc = "how many tasks" },
        { "examples", "count", default = 100, doc = "of each task, train and test together" },
        { "inputs", "count", default = 4, doc = "columns of x" },
        { "outputs", "count", default = 1, doc = "columns of y" },
        { "kind", { "linear", "teacher", "sine" }, default = "teacher",
            doc = "x W_k; a random tanh network with 16 hidden units; sin(x W_k + b_k)" },
        { "similarity", "number", default = 0, low = 0, high = 1,
            doc = "s: every task's weights are s (common) + sqrt(1 - s^2) (its own)" },
        { "noise", "number", default = 0, low = 0, doc = "standard deviation of what is added to y" },
    },
    call = regression,
}

local bk = ...
local options_of, dataset = bk._options, bk.tasks._dataset

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
    local where = "tasks.regression"
    options = options_of(where, options, { n = "integer", examples = "integer", inputs = "integer", outputs = "integer",
        kind = "string", similarity = "number", noise = "number", seed = "integer",
        test_fraction = "number", limit = "integer" })
    local n, examples = options.n or 3, options.examples or 100
    local inputs, outputs = options.inputs or 4, options.outputs or 1
    local similarity, noise = options.similarity or 0, options.noise or 0
    for name, value in pairs{ n = n, examples = examples, inputs = inputs, outputs = outputs } do
        if value < 1 then error(string.format("%s: %s: expected 1 or more, got %d", where, name, value), 2) end
    end
    if similarity < 0 or similarity > 1 then
        error(string.format("%s: similarity: expected 0..1, got %g", where, similarity), 2)
    end
    if noise < 0 then error(string.format("%s: noise: expected 0 or more, got %g", where, noise), 2) end
    local kind = options.kind or "teacher"
    local make = KINDS[kind]
    if not make then
        error(string.format("%s: kind: expected \"linear\", \"teacher\" or \"sine\", got %q", where, kind), 2)
    end
    examples = math.min(examples, options.limit or examples)
    local train_n = dataset.train_count(where, examples, dataset.fraction(where, options))
    local seed = options.seed or 1
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

return bk.doc(regression, [[
bk.tasks.regression{ n = 3, examples = 100, inputs = 4, outputs = 1, kind = "teacher", noise = 0, similarity = 0 }
    -> list of tasks
Functions to learn under the mean squared error: x standard normal (examples, inputs), y = f_k(x) + noise * N(0, 1).
kind "linear": x W_k; "teacher": a random tanh network with 16 hidden units; "sine": sin(x W_k + b_k).
similarity s: every task's weights are s (common) + sqrt(1 - s^2) (its own).
options: test_fraction = 0.2, limit, seed.]])

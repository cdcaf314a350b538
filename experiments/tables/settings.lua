-- The settings of published tables of continual learning: what each trains, at full protocol and at a reduced one, and
-- what was published for it. settings(experiment) -> list; a setting is
--     { name, title, source, full, reduced, tasks(o, train, test, seed), model(o), rows }
-- o: full or reduced (reset: Adam's state is cleared at task boundaries, as Avalanche does); a row { label, published
-- or remembered (of the full protocol; remembered where it could not be checked), options(o) of bk.protocol }.
local bk = require "bracket"
local experiment = ...
local intervention = bk.intervention

-- n examples of d for task k, drawn for this seed.
local function drawn(d, n, seed, k)
    return n < d.n and experiment.sample(d, n, bk.stream.new(bk.stream.key(seed, 21, k))) or d
end

-- Every task its own permutation, as in the scripts, and n examples of its own.
local function permuted(o, train, test, seed)
    local tasks = {}
    for k = 1, o.tasks do
        tasks[k] = bk.tasks.permuted{ data = drawn(train, o.train, seed, k), test = test, n = 1, identity = false,
            seed = seed * 1000 + k }[1]
    end
    return tasks
end

local function rotated(o, train, test, seed)
    local tasks, s = {}, bk.stream.new(bk.stream.key(seed, 22))
    for k = 1, o.tasks do
        tasks[k] = bk.tasks.rotated{ data = drawn(train, o.train, seed, k), test = test,
            angles = { 180 * bk.stream.uniform(s) } }[1]
    end
    return tasks
end

local function split(scenario)
    return function(o, train, test, seed)
        return bk.tasks.split{ data = drawn(train, o.train, seed, 1), test = test, scenario = scenario, seed = seed }
    end
end

local function mlp(width, outputs)
    return function() return bk.nn.mlp{ 784, width, width, outputs or 10, activation = "relu" } end
end

-- options of a protocol: an epoch of SGD at a rate, with these interventions.
local function sgd(lr, ...)
    local list = { ... }
    return function(o)
        local made = {}
        for k, make in ipairs(list) do made[k] = make(o) end
        return { epochs = o.epochs, batch = o.batch, lr = lr, interventions = made }
    end
end
local function adam(lr, ...)
    local plain = sgd(lr, ...)
    return function(o)
        local options = plain(o)
        options.optimizer, options.reset_optimizer, options.steps = bk.optim.adam{}, o.reset, o.steps
        return options
    end
end

local function joint() return intervention.joint_training{} end

-- Strengths are those of the authors' code (param_values.py), numbers those of table 2 of the paper.
local function van_de_ven(scenario, outputs, strength, remembered)
    return { name = "split-" .. scenario, title = "Split MNIST, " .. scenario .. "-incremental, 2x400, Adam",
        source = "van de Ven, Tuytelaars & Tolias 2022", tasks = split(scenario), model = mlp(400, outputs),
        full = { train = 60000, test = 10000, batch = 128, steps = 2000, samples = 1000, memory = 1000 },
        reduced = { train = 1500, test = 500, batch = 32, steps = 60, samples = 100, memory = 100 },
        rows = { { "none", remembered = remembered.none, options = adam(1e-3) },
            { "EWC", remembered = remembered.ewc, options = adam(1e-3, function(o)
                return intervention.ewc{ weight = strength.ewc, samples = o.samples, fisher = "exact" }
            end) },
            { "SI", remembered = remembered.si, options = adam(1e-3,
                function() return intervention.si{ strength = strength.si, xi = 0.1 } end) },
            { "LwF", remembered = remembered.lwf, options = adam(1e-3, function() return intervention.lwf{} end) },
            { "naive rehearsal", options = adam(1e-3,
                function(o) return intervention.naive_rehearsal{ memory = o.memory } end) },
            { "joint", remembered = remembered.joint, options = adam(1e-3, joint) } } }
end

-- Buffer 500, one epoch; rates, alpha and beta are those of the authors' code (best_args.py).
local function dark_experience(name, tasks, der, plus, remembered)
    local function row(label, make)
        return { label, remembered = remembered[label], options = function(o) return sgd(o.lr, make)(o) end }
    end
    return { name = "der-" .. name, title = name .. " MNIST, 20 tasks, 2x100, buffer 500",
        source = "Buzzega et al. 2020", tasks = tasks, model = mlp(100),
        full = { tasks = 20, train = 60000, test = 10000, batch = 128, epochs = 1, memory = 500, lr = 0.2 },
        reduced = { tasks = 5, train = 600, test = 300, batch = 16, epochs = 1, memory = 100, lr = 0.1 },
        rows = { row("SGD"),
            row("ER", function(o) return intervention.replay{ memory = o.memory } end),
            row("DER", function(o) return intervention.der{ memory = o.memory, alpha = der } end),
            row("DER++", function(o)
                return intervention.der{ memory = o.memory, alpha = plus.alpha, beta = plus.beta }
            end),
            row("joint", joint) } }
end

return {
    { name = "gem", title = "Permuted MNIST, 20 tasks of 1000, 2x100, one epoch, rate 0.1, batch 10",
        source = "the authors' script, Lopez-Paz & Ranzato 2017", tasks = permuted, model = mlp(100),
        full = { tasks = 20, train = 1000, test = 10000, batch = 10, epochs = 1, memory = 256 },
        reduced = { tasks = 6, train = 300, test = 300, batch = 10, epochs = 1, memory = 64 },
        rows = { { "single", options = sgd(0.03) },
            { "EWC", options = sgd(0.1, function() return intervention.ewc{ weight = 3, samples = 10 } end) },
            { "GEM", options = sgd(0.1,
                function(o) return intervention.gem{ memory = o.memory, margin = 0.5 } end) },
            -- as ContinualAI's script, of which the number is
            { "GEM (all kept)", published = 0.83, options = sgd(0.1,
                function(o) return intervention.gem{ memory = o.train, margin = 0.5 } end) } } },
    { name = "agem", title = "Permuted MNIST, 17 tasks, 2x256, one epoch, batch 10",
        source = "ContinualAI's script for Chaudhry et al. 2019", tasks = permuted, model = mlp(256),
        full = { tasks = 17, train = 60000, test = 10000, batch = 10, epochs = 1, memory = 4250, reference = 256 },
        reduced = { tasks = 5, train = 400, test = 300, batch = 10, epochs = 1, memory = 200, reference = 64 },
        rows = { { "VAN", options = sgd(0.03) },
            { "EWC", options = sgd(0.03, function() return intervention.ewc{ weight = 10 } end) },
            { "A-GEM", published = 0.81, options = sgd(0.1,
                function(o) return intervention.agem{ memory = o.memory, batch = o.reference } end) } } },
    { name = "ewc", title = "Permuted MNIST, 10 tasks, 2x1000, 30 epochs, rate 0.001, batch 256",
        source = "ContinualAI's script for Kirkpatrick et al. 2017", tasks = permuted, model = mlp(1000),
        full = { tasks = 10, train = 60000, test = 10000, batch = 256, epochs = 30, lr = 0.001, samples = 1000 },
        reduced = { tasks = 4, train = 400, test = 300, batch = 40, epochs = 4, lr = 0.03, samples = 50 },
        rows = { { "naive", options = function(o) return sgd(o.lr)(o) end },
            { "EWC", published = 0.83, options = function(o)
                return sgd(o.lr, function() return intervention.ewc{ weight = 1, samples = o.samples } end)(o)
            end } } },
    { name = "si", title = "Split MNIST, a head a task, 2x256, Adam 0.001, 10 epochs",
        source = "ContinualAI's script for Zenke et al. 2017", tasks = split("task"), model = mlp(256),
        full = { train = 60000, test = 10000, batch = 64, epochs = 10, reset = true },
        reduced = { train = 1000, test = 500, batch = 32, epochs = 5, reset = true },
        rows = { { "naive", options = adam(1e-3) },
            { "SI", published = 0.97, options = adam(1e-3,
                function() return intervention.si{ strength = 1, xi = 0.001 } end) } } },
    van_de_ven("task", 10, { ewc = 1e5, si = 10 },
        { none = 0.8432, ewc = 0.9906, si = 0.9920, lwf = 0.9960, joint = 0.9967 }),
    van_de_ven("domain", 2, { ewc = 1e10, si = 5e4 },
        { none = 0.6013, ewc = 0.6303, si = 0.6694, lwf = 0.7118, joint = 0.9859 }),
    van_de_ven("class", 10, { ewc = 1e9, si = 5e3 },
        { none = 0.1989, ewc = 0.2064, si = 0.2120, lwf = 0.2189, joint = 0.9817 }),
    dark_experience("permuted", permuted, 1, { alpha = 1, beta = 0.5 },
        { SGD = 0.4070, ER = 0.8060, DER = 0.8729, ["DER++"] = 0.8821, joint = 0.9433 }),
    dark_experience("rotated", rotated, 0.5, { alpha = 0.5, beta = 1 },
        { SGD = 0.6766, ER = 0.8891, DER = 0.9224, ["DER++"] = 0.9277, joint = 0.9576 }),
}

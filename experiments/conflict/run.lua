-- What does the implicit conflict term do to training? Its strength swept from -1 to 2, in multitask (joint steps) and
-- continual (cyclic) training; palindromic and random order and the field's baselines beside it. See README.md.
local bk = require "bracket"
local experiment = bk.internal.experiment
local say = experiment.say
local o = experiment.options(arg, { tasks = 3, train = 2000, test = 1000, steps = 300, batch = 64, hidden = 64,
    lr = 0.1,
    seeds = 3, strengths = { -1, 0, 1, 2 }, continual_tasks = 5, continual_train = 8000, continual_test = 2000,
        ewc = 100,
    memory = 1000, out = "", part = "all" })
if o.quick then
    o.train, o.test, o.steps, o.seeds, o.continual_train, o.continual_test, o.continual_tasks = 128, 64, 6, 1, 256,
        64, 2
end

local began = os.time()
local train, test, source = experiment.data(o, o.train, o.test)
local inputs = train.x:shape()[2]
local seeds = {}
for k = 1, o.seeds do seeds[k] = o.seed + k - 1 end

local function turned(n)
    local angles = {}
    for i = 1, n do angles[i] = (i - 1) * 180 / n end
    return bk.tasks.rotated{ data = train, test = test, angles = angles }
end

-- Runs a protocol over the seeds; one row of the table: means and 95 % half-widths.
local columns = { "loss", "accuracy", "gradient_norm", "flatness", "sharpness", "forgetting" }
local function study(label, options)
    options.dtype = "float32"
    local p = bk.protocol(options)
    local values = {}
    for _, seed in ipairs(seeds) do
        local r = p:run{ seed = seed }
        local row = { forgetting = r.metrics.forgetting }
        for name, column in pairs(r.history) do row[name] = column[#column] end
        for _, name in ipairs(columns) do
            if row[name] then
                values[name] = values[name] or {}
                table.insert(values[name], row[name])
            end
        end
    end
    local cells = {}
    for _, name in ipairs(columns) do
        if values[name] then
            local i = bk.metric.interval(values[name])
            cells[#cells + 1] = #values[name] > 1 and string.format("%9.4f ± %-8.2g", i.mean, i.half)
                or string.format("%9.4f %10s", i.mean, "")
        else
            cells[#cells + 1] = string.format("%-20s", "        -")
        end
    end
    say("%-26s%s", label, table.concat(cells))
    return values
end
local function header(title)
    say("\n%s", title)
    local cells = {}
    for _, name in ipairs(columns) do cells[#cells + 1] = string.format("%9s%11s", name, "") end
    say("%-26s%s", "", table.concat(cells))
end

if o.part == "all" or o.part == "terms" then
    local tasks = turned(o.tasks)
    local model = bk.nn.mlp{ inputs, o.hidden, 10, activation = "tanh" }
    local function common(order, steps, lr, interventions)
        return { model = model, tasks = tasks, order = order, steps = steps, lr = lr, batch = o.batch,
            interventions = interventions,
            record = { at = { steps }, samples = 500, "loss", "accuracy", "gradient_norm", "flatness", "sharpness" } }
    end
    say("The conflict term's strength  (%s turned, %d tasks, %d-%d-10 tanh, %d examples a task, batch %d, %d seeds)",
        source,
        o.tasks, inputs, o.hidden, o.train, o.batch, o.seeds)
    header(string.format("multitask: %d joint steps on the sum, h = %g", o.steps, o.lr))
    for _, c in ipairs(o.strengths) do
        study(string.format("conflict strength %g", c), common("joint", o.steps, o.lr, { bk.intervention.conflict{
            strength = c } }))
    end
    study("flatness strength 0", common("joint", o.steps, o.lr, { bk.intervention.flatness{ strength = 0 } }))
    for _, name in ipairs{ "pcgrad", "cagrad", "mgda" } do
        study(name, common("joint", o.steps, o.lr, { bk.intervention[name]{} }))
    end
    local rounds = o.steps * o.tasks
    header(string.format("continual: %d rounds of one step a task, h = %g", o.steps, o.lr))
    for _, c in ipairs(o.strengths) do
        study(string.format("cyclic, strength %g", c), common("cyclic", rounds, o.lr, { bk.intervention.conflict{
            strength = c } }))
    end
    study("palindromic", common("palindromic", rounds, o.lr))
    study("random", common("random", rounds, o.lr))
end

if o.part == "all" or o.part == "baselines" then
    local ctrain, ctest = experiment.data(o, o.continual_train, o.continual_test)
    local tasks = bk.tasks.permuted{ data = ctrain, test = ctest, n = o.continual_tasks, seed = 1 }
    local model = bk.nn.mlp{ inputs, 256, 256, 10, activation = "relu" }
    say("\nContinual baselines: permuted digits, %d tasks, one epoch of %d examples each, %d-256-256-10 relu, batch 10, h = 0.05",
        o.continual_tasks, o.continual_train, inputs)
    say("%-26s%22s%22s%22s   time of a run", "", "accuracy", "forgetting", "transfer")
    for _, case in ipairs{
        { "SGD" }, { "A-GEM", bk.intervention.agem{ memory = o.memory } }, { "EWC", bk.intervention.ewc{
            weight = o.ewc } },
        { "replay", bk.intervention.replay{ memory = o.memory } },
    } do
        local start = os.time()
        local m = bk.protocol{ model = model, tasks = tasks, epochs = 1, lr = 0.05, batch = 10, dtype = "float32",
            interventions = { case[2] } }:seeds{ seeds = seeds }.metrics
        local cells = {}
        for k, name in ipairs{ "average_accuracy", "forgetting", "backward_transfer" } do
            cells[k] = string.format("%12.4f ± %-7.2g", m[name].mean, m[name].half)
        end
        say("%-26s%s%6.1f s", case[1], table.concat(cells), (os.time() - start) / #seeds)
    end
end
say("\n%d s", experiment.clock(began))

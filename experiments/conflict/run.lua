-- What does the implicit conflict term do to training? Its strength swept from -1 to 2, in multitask (joint steps) and
-- continual (cyclic) training; palindromic and random order and the field's baselines beside it. See README.md.
local bk = require "bracket"
local experiment = dofile((arg[0]:match("^.*/") or "") .. "../common.lua")
local say = experiment.say
local o = experiment.options(arg, { tasks = 3, train = 2000, test = 1000, steps = 300, batch = 64, hidden = 64,
    lr = 0.1, seeds = 3, strengths = { -1, 0, 1, 2 }, continual_tasks = 5, continual_train = 8000,
    continual_test = 2000, ewc = 10.0, memory = 1000, reference = 256, out = "", part = "all" },
    { train = 128, test = 64, steps = 6, seeds = 1, reference = 20, continual_train = 256, continual_test = 64,
    continual_tasks = 2 })
experiment.one_of("part", o.part, { "all", "terms", "baselines" })

local began = os.time()
local train, test, source = experiment.data(o, o.train, o.test)
local inputs = train.x:shape()[2]
local seeds = {}
for k = 1, o.seeds do seeds[k] = o.seed + k - 1 end

local panels = {}

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
            cells[#cells + 1] = experiment.number("%9.4f ± %-8.2g", i.mean, i.half)
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
        source, o.tasks, inputs, o.hidden, o.train, o.batch, o.seeds)
    local curves = { title = "the conflict term", xlabel = "strength", ylabel = "sharpness", xrange = { -1.3, 2.3 },
        yrange = { 0, 40 } }
    panels[1] = curves
    local function swept(label, order, steps)
        local curve = { x = {}, y = {}, low = {}, high = {}, label = order == "joint" and "multitask" or "continual" }
        for k, c in ipairs(o.strengths) do
            local values = study(string.format("%s strength %g", label, c),
                common(order, steps, o.lr, { bk.intervention.conflict{ strength = c } }))
            local i = bk.metric.interval(values.sharpness)
            curve.x[k], curve.y[k] = c, i.mean
            curve.low[k], curve.high[k] = math.max(i.low, 0), math.min(i.high, 1e6)
        end
        curves[#curves + 1] = curve
    end
    header(string.format("multitask: %d joint steps on the sum, h = %g", o.steps, o.lr))
    swept("conflict", "joint", o.steps)
    study("flatness strength 0", common("joint", o.steps, o.lr, { bk.intervention.flatness{ strength = 0 } }))
    for _, name in ipairs{ "pcgrad", "cagrad", "mgda" } do
        study(name, common("joint", o.steps, o.lr, { bk.intervention[name]{} }))
    end
    local rounds = o.steps * o.tasks
    header(string.format("continual: %d rounds of one step a task, h = %g", o.steps, o.lr))
    swept("cyclic,", "cyclic", rounds)
    study("palindromic", common("palindromic", rounds, o.lr))
    study("random", common("random", rounds, o.lr))
end

if o.part == "all" or o.part == "baselines" then
    local ctrain, ctest = experiment.data(o, o.continual_train, o.continual_test)
    local tasks = bk.tasks.permuted{ data = ctrain, test = ctest, n = o.continual_tasks, seed = 1 }
    local model = bk.nn.mlp{ inputs, 256, 256, 10, activation = "relu" }
    say("\nContinual baselines: permuted digits, %d tasks, one epoch of %d examples each, %d-256-256-10 relu, batch 10",
        o.continual_tasks, o.continual_train, inputs)
    say("%-10s%6s%22s%22s%22s   processor time of a run", "", "h", "accuracy", "forgetting", "transfer")
    local methods = { title = "continual baselines", xlabel = "forgetting", ylabel = "average accuracy", key = "right" }
    -- rates, batches and EWC's weight as in the published runs of Chaudhry et al. 2019 (both papers)
    for k, case in ipairs{
        { "SGD", 0.03 },
        { "EWC", 0.03, bk.intervention.ewc{ weight = o.ewc } },
        { "A-GEM", 0.1, bk.intervention.agem{ memory = o.memory, batch = o.reference } },
        { "replay", 0.1, bk.intervention.replay{ memory = o.memory, batch = 10 } },
    } do
        local start = os.clock()
        local m = bk.protocol{ model = model, tasks = tasks, epochs = 1, lr = case[2], batch = 10, dtype = "float32",
            interventions = { case[3] } }:seeds{ seeds = seeds }.metrics
        local cells = {}
        for c, name in ipairs{ "average_accuracy", "forgetting", "backward_transfer" } do
            cells[c] = experiment.number("%12.4f ± %-7.2g", m[name].mean, m[name].half)
        end
        say("%-10s%6g%s%6.1f s", case[1], case[2], table.concat(cells), (os.clock() - start) / #seeds)
        local a = m.average_accuracy
        methods[k] = { x = { m.forgetting.mean }, y = { a.mean }, low = #seeds > 1 and { a.low } or nil,
            high = #seeds > 1 and { a.high } or nil, label = case[1], style = "points" }
    end
    panels[#panels + 1] = methods
end
say("\n%d s", experiment.clock(began))
if o.out ~= "" then experiment.plot{ panels = panels, out = o.out } end

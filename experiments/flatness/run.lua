-- Implicit gradient regularisation: full-batch descent for the same time at several rates; a larger rate has a larger
-- flatness term (h/4)|g|^2. Control: a small rate with the term made explicit, as large as at the larger one.
local bk = require "bracket"
local experiment = dofile((arg[0]:match("^.*/") or "") .. "../common.lua")
local say = experiment.say
local o = experiment.options(arg, { train = 512, test = 2000, hidden = 64, time = 40.0, rates = { 0.05, 0.1, 0.2, 0.4,
    0.8 }, seeds = 3,
    noise = 0.2, out = "" },
    { train = 64, test = 64, time = 1.0, rates = { 0.1, 0.2 }, seeds = 1 })

local began = os.time()
local train, test, source = experiment.data(o, o.train, o.test)
local inputs = train.x:shape()[2]
local model = bk.nn.mlp{ inputs, o.hidden, 10, activation = "tanh" }
-- A share of wrong labels, so that there is something to over-fit.
local s, labels = bk.stream.new(bk.stream.key(o.seed, 9)), train.y:totable()
for k = 1, #labels do
    if bk.stream.uniform(s) < o.noise then labels[k] = bk.stream.below(s, 10) end
end
local tasks = { { name = "digits", train = { x = train.x, y = bk.tensor(labels, { dtype = "int64" }) }, test = {
    x = test.x, y = test.y } } }

local function study(h, strength)
    local steps = math.floor(o.time / h + 0.5)
    local names, columns = { "loss", "accuracy", "gradient_norm", "sharpness" }, {}
    for seed = 1, o.seeds do
        local r = bk.protocol{ model = model, tasks = tasks, order = "joint", steps = steps, lr = h, batch = "full",
            dtype = "float32",
            seed = o.seed * 10 + seed, evaluate = false,
            interventions = strength and { bk.intervention.flatness{ strength = strength } } or {},
            record = { at = { steps }, samples = o.train, "loss", "accuracy", "gradient_norm", "sharpness" } }:run{}
        for _, name in ipairs(names) do
            columns[name] = columns[name] or {}
            table.insert(columns[name], r.history[name][#r.history[name]])
        end
    end
    local mean = {}
    for _, name in ipairs(names) do mean[name] = bk.metric.interval(columns[name]) end
    say("%-8g%-12s%-8d%10.4f%14.4f ± %s%12.3g%12.3f", h, strength and string.format("%g", strength) or "1", steps,
        mean.loss.mean, 1 - mean.accuracy.mean, experiment.number("%-8.4f", mean.accuracy.half),
        mean.gradient_norm.mean ^ 2, mean.sharpness.mean)
    return { h = h, strength = strength or 1, error = 1 - mean.accuracy.mean, square = mean.gradient_norm.mean ^ 2,
        sharpness = mean.sharpness.mean }
end

say([[
Implicit flatness by learning rate
%s, %d-%d-10 tanh, %d examples, %g %% wrong labels, full batch, time %g = h x steps, %d seeds]],
    source, inputs, o.hidden, o.train, 100 * o.noise, o.time, o.seeds)
say("\n%-8s%-12s%-8s%10s%14s%11s%12s%12s", "h", "strength", "steps", "loss", "test error", "", "|grad|^2", "sharpness")
local implicit, explicit = {}, {}
for k, h in ipairs(o.rates) do implicit[k] = study(h) end
say("control: the smallest rate, the term explicit at the strength of the larger rates")
for k = 2, #o.rates do explicit[#explicit + 1] = study(o.rates[1], o.rates[k] / o.rates[1]) end
say("\n%d s", experiment.clock(began))
if o.out ~= "" then
    local function curve(list, name, label, x)
        local c = { x = {}, y = {}, label = label }
        for i, row in ipairs(list) do c.x[i], c.y[i] = x(row), row[name] end
        return c
    end
    experiment.plot{ curve(implicit, "sharpness", "implicit, by rate", function(r) return r.h end),
        curve(explicit, "sharpness", "explicit at the smallest rate", function(r) return r.h * r.strength end),
        title = "Sharpness", xlabel = "rate, or strength x rate", ylabel = "largest Hessian eigenvalue", logx = true,
        xrange = { 0.8 * o.rates[1], 1.25 * o.rates[#o.rates] }, key = "lower left", out = o.out }
end

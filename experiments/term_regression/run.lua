-- Do the implicit terms show in a training log alone? Runs of known rules, and the terms regressed from theta at their
-- steps. See README.md.
local bk = require "bracket"
local experiment = dofile((arg[0]:match("^.*/") or "") .. "../common.lua")
local say = experiment.say
local o = experiment.options(arg, { train = 100, hidden = 16, minibatches = 10, steps = 200, seeds = 5,
    rates = { 0.04, 0.02, 0.01, 0.005 }, out = "" },
    { train = 20, hidden = 6, minibatches = 4, steps = 60, seeds = 1, rates = { 0.02, 0.01 } })
experiment.rates("rates", o.rates)

local began = os.time()
local data, _, source = experiment.data(o, 2 * o.train)
local inputs = data.x:shape()[2]
local model = bk.nn.mlp{ inputs, o.hidden, 10, activation = "tanh" }
local pair = bk.tasks.rotated{ data = data, angles = { 0, 90 }, limit = 2 * o.train, test_fraction = 0.5 }
local function losses_of(tasks)
    local losses = {}
    for i, t in ipairs(tasks) do losses[i] = bk.loss.cross_entropy(model, t.train.x, t.train.y) end
    return losses
end
-- One task's examples as minibatches, each a loss: what an epoch in random order takes once each.
local minibatches, each = {}, o.train // o.minibatches
for k = 1, o.minibatches do
    minibatches[k] = { train = { x = pair[1].train.x:narrow(1, (k - 1) * each + 1, each),
        y = pair[1].train.y:narrow(1, (k - 1) * each + 1, each) } }
end

-- theta before the first round and after every one
local function log(tasks, rule, lr, rounds, seed, optimizer)
    local theta = model:init{ seed = seed }
    local rows, round = { theta }, rule == "joint" and 1 or #tasks
    bk.protocol{ model = model, tasks = tasks, order = rule, lr = lr, steps = rounds * round, batch = "full",
        optimizer = optimizer, seed = seed, evaluate = false, interventions = { { name = "log", after_step = function(s)
            if s.step % round == 0 then rows[#rows + 1] = s.theta end
        end } } }:run{ theta = theta }
    return rows
end

local function cell(v, expected)
    return ("%10.4f [%.4f, %.4f]%s"):format(v.value / expected, v.low / expected, v.high / expected,
        v.low <= expected and expected <= v.high and " " or "*")
end

-- One row: the fit over all seeds' runs, over what theory says of rate h and momentum b.
local function study(label, tasks, rule, h, options)
    options = options or {}
    local runs, b = {}, options.momentum or 0
    for k = 1, o.seeds do
        runs[k] = log(tasks, rule, h, o.steps, o.seed * 100 + k, options.optimizer)
    end
    local r = bk.bea.fit{ losses = losses_of(tasks), trajectory = runs, order = rule, skip = options.skip,
        degree = options.degree }
    local rate, factor = options.rate or h / (1 - b), (1 + b) / (1 - b)
    say("%-28s%-8g%9.5f%s%s   %s", label, h, r.rate.value / rate, cell(r.flatness, factor * rate / 4),
        r.conflict and cell(r.conflict, factor * rate / 2) or (" "):rep(29), ("%.1e"):format(r.residual))
    return r
end

say([[
Terms regressed from logs  (%s, %d-%d-10 tanh, two tasks of %d examples, turned by 0 and 90 degrees, %d seeds,
%d rounds; the last: one task's examples as %d minibatches)
Values over those of theory, 1 where it holds, with 95 %% intervals; *: 1 is outside.]], source, inputs, o.hidden,
    o.train, o.seeds, o.steps, o.minibatches)
say("\n%-28s%-8s%9s%13s%29s%26s", "", "h", "rate", "flatness", "conflict", "residual")
local found = {}
for _, h in ipairs(o.rates) do
    found[#found + 1] = study("joint steps", pair, "joint", h)
end
for _, h in ipairs(o.rates) do study("one task a step, 1,2", pair, "cyclic", h) end
local h = o.rates[#o.rates]
for _, b in ipairs{ 0.5, 0.8 } do
    study(("heavy ball, b = %g"):format(b), pair, "joint", h * (1 - b), { momentum = b, rate = h,
        optimizer = bk.optim.heavy_ball{ momentum = b }, skip = o.quick and 20 or 60 })
end
study("epochs in random order", minibatches, "random", 2 * h / o.minibatches, { degree = 3 })
local flatness, conflict = {}, {}
for k, r in ipairs(found) do flatness[k], conflict[k] = r.flatness.value, r.conflict.value end
say("\nslope in h, joint steps: flatness %.4f, conflict %.4f (1 expected)", bk.statistics.slope(o.rates, flatness),
    bk.statistics.slope(o.rates, conflict))
say("\n%d s", experiment.clock(began))
if o.out ~= "" then
    local function curve(values, label)
        return { x = o.rates, y = values, label = label, style = "points" }
    end
    local function line(share, label)
        local c = { x = o.rates, y = {}, label = label, style = "lines" }
        for k, rate in ipairs(o.rates) do c.y[k] = share * rate end
        return c
    end
    experiment.plot{ curve(flatness, "flatness, fitted"), line(0.25, "h/4"), curve(conflict, "conflict, fitted"),
        line(0.5, "h/2"), title = "Terms regressed from logs, joint steps", xlabel = "h", ylabel = "coefficient",
        logx = true, logy = true, key = "left", out = o.out }
end

-- How far does the end of an epoch scatter over the orders of its minibatches? Its variance against the step size, by
-- optimizer and with every order followed by its reverse; and what the brackets at the start predict of it, before and
-- in the course of training.
local bk = require "bracket"
local experiment, statistics = dofile((arg[0]:match("^.*/") or "") .. "../common.lua"), bk.statistics
local say = experiment.say
local o = experiment.options(arg, { batch = 64, hidden = 64, few = 5, many = 32, powers = 12, orders = 160, probes = 16,
    train = 300, out = "" },
    { batch = 16, hidden = 8, few = 4, many = 8, powers = 6, orders = 40, probes = 4, train = 40 })

local began = os.time()
local data, _, source = experiment.data(o, o.batch * o.many)
data = experiment.prepared(data, "centred")
local model = bk.nn.mlp{ data.size, o.hidden, 10, activation = "tanh" }

local function minibatches(n)
    local losses = {}
    for k = 1, n do
        local first = (k - 1) * o.batch + 1
        losses[k] = bk.loss.cross_entropy(model, data.x:narrow(1, first, o.batch), data.y:narrow(1, first, o.batch))
    end
    return losses
end

say("The variance of an epoch's end over the orders of its minibatches\n%s, %d-%d-10 tanh, minibatches of %d, float64",
    source, data.size, o.hidden, o.batch)

-- ---- the variance against h ----
local theta = model:init{ seed = o.seed }
local few = bk.bea.reshuffled{ losses = minibatches(o.few), lr = 1 / 4 }
local scales = {}
for p = 1, o.powers do scales[p] = 2.0 ^ (1 - p) end
local kinds = {
    { "SGD", "4" },
    { "SGD, paired", "6", paired = true },
    { "momentum 0.9", "2", optimizer = bk.optim.momentum_ema{ beta = 0.9 } },
    { "Adam", "-", optimizer = bk.optim.adam{} },
    { "AdamW", "1.83", optimizer = bk.optim.adamw{ weight_decay = 0.01 } },
}
say("\n%d minibatches, all %d orders; steps from a fresh state; paired: every order, then its reverse\n", o.few,
    few:scatter{ theta = theta, scales = { 1 } }[1].orders)
local rows, header = {}, { ("%-10s"):format("h") }
for k, kind in ipairs(kinds) do
    header[#header + 1] = ("%-14s"):format(kind[1])
    kind.found = few:scatter{ theta = theta, scales = scales, optimizer = kind.optimizer, paired = kind.paired }
    for p, found in ipairs(kind.found) do
        rows[p] = rows[p] or { ("%-10.3g"):format(found.lr) }
        rows[p][k + 1] = ("%-14.4g"):format(found.variance)
    end
end
say("%s", table.concat(header, " "))
for _, row in ipairs(rows) do say("%s", table.concat(row, " ")) end

local function slope(found, first, last)
    local x, y = {}, {}
    for p = first, last do x[#x + 1], y[#y + 1] = found[p].lr, found[p].variance end
    return statistics.slope(x, y)
end
local half = o.powers // 2
for _, line in ipairs{ { "large h", 1, half }, { "small h", half + 1, o.powers } } do
    local cells = { ("%-10s"):format(line[1]) }
    for k, kind in ipairs(kinds) do cells[k + 1] = ("%-14.3f"):format(slope(kind.found, line[2], line[3])) end
    say("%s", table.concat(cells, " "))
end
local expected = { ("%-10s"):format("expected") }
for k, kind in ipairs(kinds) do expected[k + 1] = ("%-14s"):format(kind[2]) end
say("%s\n(slopes of the variance in h, over the larger and the smaller half of the rates; for AdamW the published one)",
    table.concat(expected, " "))
local rates = {}
for p, found in ipairs(kinds[1].found) do rates[p] = found.lr end
local check = few:verify{ theta = theta, scales = { 1 / 16, 1 / 32, 1 / 64 } }
local without = few:verify{ theta = theta, scales = { 1 / 16, 1 / 32, 1 / 64 }, control = "no_flatness" }
say("mean of the ends against the flow of the modified loss: slope %.3f (3), of the plain loss %.3f (2)", check.mean,
    without.mean)

-- ---- predicted and measured ----
local losses = minibatches(o.many)
say("\n%d minibatches, %d drawn orders, each with its reverse; the prediction from brackets, exact and by %d probes\n",
    o.many, o.orders, o.probes)
say("%-8s %-8s %-10s %-12s %-22s %-12s %-18s %s", "steps", "loss", "h", "predicted", "by probes", "measured", "ratio",
    "spread/step")
local grads = {}
for k, L in ipairs(losses) do grads[k] = bk.grad(L) end
local at, done = theta, 0
for _, steps in ipairs{ 0, o.train // 3, o.train } do
    while done < steps do -- training: SGD at 0.1, the minibatches in turn
        at, done = at - grads[done % #grads + 1](at) * 0.1, done + 1
    end
    local value, total = 0, nil
    for k, L in ipairs(losses) do
        local g = grads[k](at)
        value, total = value + L(at):item() / #losses, total and total + g or g
    end
    for _, h in ipairs{ 0.1, 0.03, 0.01, 0.001 } do
        local r = bk.bea.reshuffled{ losses = losses, lr = h }
        local predicted = r:variance(at)
        local mean, deviation = r:variance(at, { probes = o.probes, seed = o.seed })
        local measured = {} -- four draws of a quarter of the orders each, for an interval
        for k = 1, 4 do
            local drawn = r:scatter{ theta = at, scales = { 1 }, orders = o.orders // 4, seed = 10 * o.seed + k }
            measured[k] = drawn[1].variance
        end
        local found = statistics.interval(measured)
        say("%-8d %-8.4f %-10g %-12.4g %-22s %-12.4g %-18s %.4f", done, value, h, predicted,
            ("%.4g +- %.2g"):format(mean, deviation), found.mean,
            ("%.3f +- %.3f"):format(found.mean / predicted, found.half / predicted),
            math.sqrt(found.mean) / (h * total:norm():item()))
    end
end
say("(by probes: +- standard error; ratio: measured over predicted, 95 %% interval of four draws;\n"
    .. "spread/step: root of the variance over h |sum of the gradients|)\n%d s", experiment.clock(began))

if o.out ~= "" then
    local list = { title = "Variance over the orders of an epoch", xlabel = "h", ylabel = "variance", logx = true,
        logy = true, key = "lower", out = o.out }
    for k, kind in ipairs(kinds) do
        local y = {}
        for p, found in ipairs(kind.found) do y[p] = found.variance end
        list[k] = { x = rates, y = y, label = kind[1] }
    end
    local predicted = few:variance(theta)
    local y = {}
    for p, h in ipairs(rates) do y[p] = predicted * (h / rates[1]) ^ 4 end
    list[#list + 1] = { x = rates, y = y, label = "brackets (SGD)", style = "points" }
    experiment.plot(list)
end

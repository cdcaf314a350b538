-- An epoch in random order: the mean of its ends over all orders against the flow of the modified loss, and what the
-- ends scatter, for gradient steps, for an epoch and its reverse, and with momentum. Called with the setup of run.lua.
local bk = require "bracket"
local setup = ...
local h, L, theta, say, judged = setup.h, setup.losses, setup.theta, setup.say, setup.judged

local rows = { { name = "tasks 1,2,3", losses = L } }
local batches, size = {}, setup.batch // 4
for k = 1, size > 0 and 4 or 0 do
    local d = setup.tasks[1].train
    batches[k] = bk.loss.cross_entropy(setup.model, d.x:narrow(1, (k - 1) * size + 1, size),
        d.y:narrow(1, (k - 1) * size + 1, size))
end
if size > 0 then rows[2] = { name = "4 minibatches", losses = batches } end

say("")
say("An epoch in random order, all orders: the distance of their mean from the flow of (1/m) sum L + (h/4m) sum |g|^2,")
say("with that last term left out or flipped, and the variance over the orders, also with each order's reverse behind")
say("it and with momentum. Last, at the smallest rate: the variance over what the brackets predict.")
say("")
say("  %-15s %7s %10s %9s %10s %9s %10s %8s", "protocol", "mean", "left out", "flipped", "variance", "paired",
    "momentum", "ratio")
say("  %-15s %6s  %9s  %8s  %9s  %8s  %9s  %7s", "expected", "3", "2", "2", "4", "6", "2", "1")
local panels = {}
for k, p in ipairs(rows) do
    local epoch = bk.bea.reshuffled{ losses = p.losses, lr = h }
    local function verify(control)
        local r = epoch:verify{ theta = theta, scales = setup.scales, control = control }
        return { slope = r.mean, errors = r.mean_errors }, r
    end
    local function variance(options)
        options.theta, options.scales = theta, setup.scales
        local errors = {}
        for i, at in ipairs(epoch:scatter(options)) do errors[i] = at.variance end
        return { slope = setup.slope(errors), errors = errors }
    end
    local mean, r = verify()
    local without, flipped = verify("no_flatness"), verify("flipped")
    local paired, momentum = variance{ paired = true }, variance{ optimizer = bk.optim.momentum_ema{} }
    say("  %-15s %7s %10s %9s %10s %9s %10s %8s", p.name, judged(p, "mean", mean, 3, 0.15),
        judged(p, "flatness left out", without, 2, 0.2), judged(p, "flatness flipped", flipped, 2, 0.2),
        judged(p, "variance", { slope = r.variance }, 4, 0.15), judged(p, "paired variance", paired, 6, 0.4),
        judged(p, "variance with momentum", momentum, 2, 0.15),
        judged(p, "ratio", { slope = r.ratio }, 1, 0.05))
    panels[k] = { name = p.name, orders = { mean }, controls = { { "no flatness", without }, { "flipped", flipped } } }
end
return panels

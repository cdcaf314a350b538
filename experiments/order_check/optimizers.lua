-- Optimizers with memory: after a fixed time, the distance of their steps from the flow of the modified field, started
-- on the slow manifold; with the memory's part left out or flipped; and from rest, where the start is displaced. Called
-- with the setup of run.lua.
local bk = require "bracket"
local setup = ...
local L, theta, say, judged = setup.losses[1], setup.theta, setup.say, setup.judged

-- The rate is a tenth of the other protocols': it has to be small against 1 - beta. eps is large against the gradient's
-- components, so that the updates are smooth and the third order is there.
local h, time = setup.h / 10, 10 * setup.h
local rows = {
    { "heavy ball", bk.optim.heavy_ball{ momentum = 0.8 } },
    { "EMA momentum", bk.optim.momentum_ema{ beta = 0.8 } },
    { "Nesterov", bk.optim.nesterov{ momentum = 0.8 } },
    { "RMSProp", bk.optim.rmsprop{ alpha = 0.8, eps = 1 } },
    { "Adam", bk.optim.adam{ beta1 = 0.8, beta2 = 0.9, eps = 1 } },
    { "AdamW", bk.optim.adamw{ beta1 = 0.8, beta2 = 0.9, eps = 1, weight_decay = 0.5 } },
}
say("")
say("Optimizers, h = %g: distance after time %g, started on the slow manifold; from rest, with the start where it is.",
    h, time)
say("")
say("  %-15s %9s %9s %9s %11s %9s %11s", "protocol", "order 1", "order 2", "order 3", "no memory", "flipped",
    "from rest")
say("  %-15s %8s  %8s  %8s  %10s  %8s  %10s", "expected", "1", "2", "3", "1", "1", "2")
local panels = {}
for k, row in ipairs(rows) do
    local p = { name = row[1] }
    local m = bk.bea.optimizer{ loss = L, optimizer = row[2], lr = h }
    local function verify(orders, from, control)
        return m:verify{ theta = theta, time = time, scales = setup.scales, orders = orders, from = from,
            control = control }
    end
    local orders = verify{ 1, 2, 3 }
    local without, flipped = verify({ 2, 3 }, "manifold", "no_memory")[1], verify({ 2, 3 }, "manifold", "flipped")[1]
    local rest = verify({ 2 }, "rest")[1]
    say("  %-15s %9s %9s %9s %11s %9s %11s", p.name, judged(p, "order 1", orders[1], 1, 0.3),
        judged(p, "order 2", orders[2], 2, 0.3), judged(p, "order 3", orders[3], 3, 0.3),
        judged(p, "memory left out", without, 1, 0.3), judged(p, "memory flipped", flipped, 1, 0.3),
        judged(p, "from rest", rest, 2, 0.3))
    panels[k] = { name = p.name, orders = orders, controls = { { "no memory", without }, { "flipped", flipped } } }
end
return panels

-- Through which channels does order act? The gap |theta_AB - theta_BA| against the step size: for gradient steps (the
-- bracket: slope 2), for what hides it (an optimizer's memory, the clock: slope 1), beside its prediction; and in
-- float32, where it drowns.
local bk = require "bracket"
local experiment, statistics = dofile((arg[0]:match("^.*/") or "") .. "../common.lua"), bk.statistics
local say = experiment.say
local o = experiment.options(arg, { batch = 128, hidden = 64, beta = 0.9, powers = 12, out = "" },
    { batch = 32, powers = 8 })
if o.powers < 2 then error("--powers: expected 2 or more, got " .. o.powers, 0) end

local began = os.time()
local data, _, source = experiment.data(o, 2 * o.batch)
local inputs = data.x:shape()[2]
local turned = bk.tasks.rotated{ data = data, angles = { 0, 60 }, test_fraction = 0 }
local model = bk.nn.mlp{ inputs, o.hidden, 10, activation = "tanh" }

local function losses_in(dtype)
    local losses = {}
    for i = 1, 2 do
        local d = turned[i].train
        local n = d.x:shape()[1]
        local first = i == 1 and 1 or math.max(1, n - o.batch + 1)
        local size = math.min(o.batch, n)
        losses[i] = bk.loss.cross_entropy(model, d.x:narrow(1, first, size):to(dtype):reshape{ size, inputs },
            d.y:narrow(1, first, size))
    end
    return losses
end

local theta = { float64 = model:init{ seed = o.seed }:to("float64") }
theta.float32 = theta.float64:to("float32")
local losses = { float64 = losses_in("float64"), float32 = losses_in("float32") }
local A, B = table.unpack(losses.float64)
local apart = bk.grad(A)(theta.float64) - bk.grad(B)(theta.float64)

-- h -> measured, predicted
local function steps_of(optimizer, dtype)
    return function(h)
        local pair = losses[dtype or "float64"]
        local gap = bk.bea.order_gap(pair[1], pair[2], { lr = h, optimizer = optimizer })(theta[dtype or "float64"])
        return gap.measured:to("float64"), gap.predicted:to("float64")
    end
end
local function by_position(h)
    local ab, ba = bk.bea.word{ { A, h }, { B, h / 2 } }, bk.bea.word{ { B, h }, { A, h / 2 } }
    return ab:step(theta.float64) - ba:step(theta.float64), apart * (-h / 2)
end

local channels = {
    { "SGD: the bracket", steps_of(bk.optim.sgd{}) },
    { "rates by position", by_position },
    { "EMA momentum", steps_of(bk.optim.momentum_ema{ beta = o.beta }) },
    { "heavy ball", steps_of(bk.optim.heavy_ball{ momentum = o.beta }) },
    { "Nesterov", steps_of(bk.optim.nesterov{ momentum = o.beta }) },
    { "RMSProp", steps_of(bk.optim.rmsprop{}) },
    { "Adam", steps_of(bk.optim.adam{}) },
    { "AdamW", steps_of(bk.optim.adamw{}) },
    { "SGD in float32", steps_of(bk.optim.sgd{}, "float32") },
}
say("The order effect |theta_AB - theta_BA| of one step on each task from a fresh state, by step size\n%s, %d-%d-10 tanh, "
    .. "%d examples a task", source, inputs, o.hidden, o.batch)
say("|[g_A, g_B]| = %.4f   |g_A - g_B| = %.4f\n", bk.lie(A, B)(theta.float64):norm():item(), apart:norm():item())

local hs, shown = {}, {}
for p = 1, o.powers do hs[p] = 2 ^ (-3 - p) end
for k = 0, 3 do shown[k + 1] = 1 + k * (o.powers - 1) // 3 end
local header = { ("%-18s"):format("h =") }
for _, p in ipairs(shown) do header[#header + 1] = ("%-10.3g"):format(hs[p]) end
say("%s %-7s %-10s %s", table.concat(header, " "), "slope", "to theory", "slope of the rest")

local function slope(values) -- over the smallest six h, without what is rounding
    local x, y = {}, {}
    for p = math.max(1, o.powers - 5), o.powers do
        if values[p] > 1e-14 then x[#x + 1], y[#y + 1] = hs[p], values[p] end
    end
    return #x > 1 and statistics.slope(x, y) or 0 / 0
end
local gaps = {}
for k, c in ipairs(channels) do
    local rests, ratio = {}, nil
    gaps[k] = {}
    for p, h in ipairs(hs) do
        local measured, predicted = c[2](h)
        gaps[k][p], rests[p] = measured:norm():item(), (measured - predicted):norm():item()
        ratio = gaps[k][p] / predicted:norm():item()
    end
    local cells = { ("%-18s"):format(c[1]) }
    for _, p in ipairs(shown) do cells[#cells + 1] = ("%-10.4g"):format(gaps[k][p]) end
    say("%s %-7.3f %-10.4f %.3f", table.concat(cells, " "), slope(gaps[k]), ratio, slope(rests))
end
say("(slopes over the smallest six h; measured over predicted at the smallest; the rest: measured less predicted)\n%d s",
    experiment.clock(began))
if o.out ~= "" then
    local list = { title = "Order effect by channel", xlabel = "h", ylabel = "|theta_AB - theta_BA|", logx = true,
        logy = true, key = "lower", out = o.out }
    for k, c in ipairs(channels) do list[#list + 1] = { x = hs, y = gaps[k], label = c[1] } end
    experiment.plot(list)
end

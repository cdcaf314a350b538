-- Do the modified flows follow a real run? An optimizer is run on images from a fresh state, and beside it the flows of
-- its modified field of order 1 (the plain one), 2 and 3: distance against time, and at which rate it stops holding.
local bk = require "bracket"
local experiment = dofile((arg[0]:match("^.*/") or "") .. "../common.lua")
local say = experiment.say
local o = experiment.options(arg, { examples = 256, hidden = 16, minibatches = 8, time = 1.0, rates = 4,
    flow_steps = 16, out = "" },
    { examples = 32, hidden = 4, minibatches = 4, time = 0.25, rates = 2, flow_steps = 4 })

local began = os.time()
local data, _, source = experiment.data(o, o.examples)
data = experiment.prepared(data, "centred")
local model = bk.nn.mlp{ data.size, o.hidden, 10, activation = "tanh" }
local theta = model:init{ seed = o.seed }
local loss = bk.loss.cross_entropy(model, data.x, data.y)
local CHECKS = 5 -- of a run, at equal times

-- The ends at CHECKS times of the flow of `field`; its steps are far shorter than what the fields change over.
local function flow(field, start, h, steps)
    local ends, at = {}, start
    for k = 1, CHECKS do
        local ok, moved = pcall(bk.flow, field, at, { time = steps * h, method = "rk4", steps = o.flow_steps })
        if not ok and not tostring(moved):find("finite") then error(moved, 0) end
        at = ok and moved or at * (0 / 0) -- it has left for infinity
        ends[k] = at
    end
    return ends
end

local function times(between)
    local list = {}
    for k = 1, CHECKS do list[k] = k * between end
    return list
end

local function run(optimizer, h, steps)
    local grad, at, ends = bk.grad(loss), theta, {}
    optimizer:reset()
    for k = 1, CHECKS do
        for _ = 1, steps do at = optimizer:step(at, grad(at), h) end
        ends[k] = at
    end
    return ends
end

local function with_optimizer(optimizer)
    return function(h, steps)
        local m = bk.bea.optimizer{ loss = loss, optimizer = optimizer, lr = h, theta = theta }
        local start, flows = m:start(theta), {}
        for k = 1, 3 do flows[k] = flow(m:field(k), k == 1 and theta or start, h, steps) end
        return run(optimizer, h, steps), flows, times(h * steps)
    end
end

-- Gradient steps on minibatches, each once an epoch, shuffled. The flows: of the mean loss; of the modified loss of a
-- random order; and of order 2 for the orders that were drawn.
local losses = {}
for k = 1, o.minibatches do
    local size = o.examples // o.minibatches
    local first = (k - 1) * size + 1
    losses[k] = bk.loss.cross_entropy(model, data.x:narrow(1, first, size), data.y:narrow(1, first, size))
end
local function shuffled(h, steps)
    local m, stream = #losses, bk.stream.new(bk.stream.key(o.seed, 9))
    local epochs, at, drawn, ends, flows = math.max(1, steps // m), theta, theta, {}, {}
    local descend = bk.grad(bk.bea.reshuffled{ losses = losses, lr = h }:loss())
    local plain = bk.grad(bk.bea.reshuffled{ losses = losses, lr = 0 }:loss())
    flows[1] = flow(function(t) return -plain(t) end, theta, h, epochs * m)
    flows[2] = flow(function(t) return -descend(t) end, theta, h, epochs * m)
    flows[3] = {}
    for k = 1, CHECKS do
        for _ = 1, epochs do
            local word = {}
            for s, i in ipairs(bk.stream.permutation(stream, m)) do word[s] = { losses[i], h } end
            local w = bk.bea.word(word)
            at = w:step(at)
            drawn = bk.flow(w:log(2), drawn, { method = "rk4", steps = 4 })
        end
        ends[k], flows[3][k] = at, drawn
    end
    return ends, flows, times(epochs * m * h)
end

local ORDERS = { "order 1", "order 2", "order 3" }
local adam = { beta1 = 0.9, beta2 = 0.99 }
local function adam_with(eps) return bk.optim.adam{ beta1 = adam.beta1, beta2 = adam.beta2, eps = eps } end
local runs = { -- name, largest rate, time at --time 1
    { "heavy ball 0.9", 4e-3, 0.2, ORDERS, with_optimizer(bk.optim.heavy_ball{ momentum = 0.9 }) },
    { "Adam, eps 0.01", 4e-4, 0.05, ORDERS, with_optimizer(adam_with(1e-2)) },
    { "Adam, eps 1e-8", 4e-4, 0.05, ORDERS, with_optimizer(adam_with(1e-8)) },
    { "SGD, shuffled", 0.08, 2, { "plain loss", "random order", "drawn order" }, shuffled },
}
local function text(x) return x < 1e4 and ("%.4g"):format(x) or "-" end
say("Distance between a run from a fresh state and the flows of its modified fields\n"
    .. "%s, %d-%d-10 tanh, %d images, float64", source, data.size, o.hidden, o.examples)
local panels = {}
for number, r in ipairs(runs) do
    local name, top, time, names, go = table.unpack(r)
    say("\n%s\n%-10s %-8s %-10s %-12s %-12s %-12s %s", name, "h", "time", "moved", names[1], names[2], names[3],
        "times nearer than " .. names[1])
    for p = 0, o.rates - 1 do
        local h = top / 4 ^ p
        local steps = math.max(1, math.floor(time * o.time / h / CHECKS + 0.5))
        local ends, flows, times = go(h, steps)
        local gaps = { {}, {}, {} }
        for k = 1, CHECKS do
            for i = 1, 3 do gaps[i][k] = (flows[i][k] - ends[k]):norm():item() end
            if k == 1 or k == CHECKS then
                local one, two, three = gaps[1][k], gaps[2][k], gaps[3][k]
                say("%-10.4g %-8.3g %-10.4g %-12s %-12s %-12s %s, %s", h, times[k],
                    (ends[k] - theta):norm():item(), text(one), text(two), text(three), text(one / two),
                    text(one / three))
            end
        end
        if p == 1 then
            local panel = { title = ("%s, h = %g"):format(name, h), xlabel = "time", ylabel = "distance", logy = true,
                key = "lower" }
            for i = 1, 3 do panel[i] = { x = times, y = gaps[i], label = names[i] } end
            panels[number] = panel
        end
    end
end
say("\n(moved: of the run from its start; distances at the first and last of %d equal times)\n%d s", CHECKS,
    experiment.clock(began))
if o.out ~= "" then experiment.plot{ panels = panels, out = o.out } end

-- Through which channels does order act? The gap |theta_AB - theta_BA| against the step size, for plain gradient steps
-- (the bracket: slope 2) and for what hides it (memory, clock: slope 1), and in float32, where it drowns.
local bk = require "bracket"
local experiment, statistics = dofile((arg[0]:match("^.*/") or "") .. "../common.lua"), bk.statistics
local say = experiment.say
local o = experiment.options(arg, { batch = 128, hidden = 64, beta = 0.9, powers = 12, out = "" })
if o.quick then o.batch, o.powers = 32, 8 end

local began = os.time()
local data, _, source = experiment.data(o, 2 * o.batch)
local inputs = data.x:shape()[2]
local turned = bk.tasks.rotated{ data = data, angles = { 0, 60 }, test_fraction = 0 }
local model = bk.nn.mlp{ inputs, o.hidden, 10, activation = "tanh" }
local loss = bk.loss.cross_entropy(model)
local grad_of, hvp_of = bk.grad(loss), bk.hvp(loss)

local function tasks_in(dtype)
    local tasks = {}
    for i = 1, 2 do
        local d = turned[i].train
        local n = d.x:shape()[1]
        local first = i == 1 and 1 or math.max(1, n - o.batch + 1)
        local size = math.min(o.batch, n)
        tasks[i] = { x = d.x:narrow(1, first, size):to(dtype):reshape{ size, inputs }, y = d.y:narrow(1, first, size) }
    end
    return tasks
end

-- Endpoints of A then B and of B then A: one step each; rate(position) times h.
local function gap(theta0, tasks, h, optimizer, clock)
    local ends = {}
    for k, order in ipairs{ { 1, 2 }, { 2, 1 } } do
        optimizer:reset()
        local theta = theta0
        for position, i in ipairs(order) do
            theta = optimizer:step(theta, grad_of(theta, tasks[i].x, tasks[i].y), h * (clock and clock[position] or 1))
        end
        ends[k] = theta
    end
    return (ends[1] - ends[2]):to("float64"):norm():item()
end

local theta64 = model:init{ seed = o.seed }:to("float64")
local tasks64 = tasks_in("float64")
local gA, gB = grad_of(theta64, tasks64[1].x, tasks64[1].y), grad_of(theta64, tasks64[2].x, tasks64[2].y)
local apart = (gA - gB):norm():item()
local bracket = (hvp_of(theta64, gA, tasks64[2].x, tasks64[2].y) - hvp_of(theta64, gB, tasks64[1].x,
    tasks64[1].y)):norm():item()
local clock = { 1, 0.5 }

local channels = {
    { "SGD (the bracket)", "float64", bk.optim.sgd{}, nil, function(h) return h * h * bracket end },
    { "EMA momentum", "float64", bk.optim.momentum_ema{ beta = o.beta }, nil,
        function(h) return h * o.beta * (1 - o.beta) * apart end },
    { "rates by position", "float64", bk.optim.sgd{}, clock,
        function(h) return h * math.abs(clock[2] - clock[1]) * apart end },
    { "Adam", "float64", bk.optim.adam{}, nil, nil },
    { "SGD in float32", "float32", bk.optim.sgd{}, nil, function(h) return h * h * bracket end },
}
say("The order effect |theta_AB - theta_BA| of one step on each task, by step size\n%s, %d-%d-10 tanh, %d examples a task",
    source, inputs, o.hidden, o.batch)
say("|[g_A, g_B]| = %.4f   |g_A - g_B| = %.4f\n", bracket, apart)
local header = { string.format("%-10s", "h") }
for _, c in ipairs(channels) do header[#header + 1] = string.format("%-20s", c[1]) end
say("%s", table.concat(header, " "))
local hs, gaps = {}, {}
local data_of = { float64 = { theta64, tasks64 }, float32 = { theta64:to("float32"), tasks_in("float32") } }
for p = 1, o.powers do
    local h = 2 ^ (-3 - p)
    hs[p] = h
    local cells = { string.format("%-10.3g", h) }
    for k, c in ipairs(channels) do
        gaps[k] = gaps[k] or {}
        local at = data_of[c[2]]
        gaps[k][p] = gap(at[1], at[2], h, c[3], c[4])
        cells[#cells + 1] = string.format("%-20.4g", gaps[k][p])
    end
    say("%s", table.concat(cells, " "))
end
local slopes, ratios = { string.format("%-10s", "slope") }, { string.format("%-10s", "to theory") }
for k, c in ipairs(channels) do
    local x, y = {}, {}
    for p = math.max(1, o.powers - 5), o.powers do -- the smallest six
        if gaps[k][p] > 0 then x[#x + 1], y[#y + 1] = hs[p], gaps[k][p] end
    end
    slopes[#slopes + 1] = string.format("%-20.3f", #x > 1 and statistics.slope(x, y) or 0 / 0)
    ratios[#ratios + 1] = string.format("%-20s", c[5] and string.format("%.4f",
        gaps[k][o.powers] / c[5](hs[o.powers])) or "-")
end
say("%s\n%s\n(slope over the smallest six h; ratio at the smallest)\n%d s", table.concat(slopes, " "),
    table.concat(ratios, " "),
    experiment.clock(began))
if o.out ~= "" then
    local list = { title = "Order effect by channel", xlabel = "h", ylabel = "|theta_AB - theta_BA|", logx = true,
        logy = true, key = "lower", out = o.out }
    for k, c in ipairs(channels) do list[#list + 1] = { x = hs, y = gaps[k], label = c[1] } end
    experiment.plot(list)
end

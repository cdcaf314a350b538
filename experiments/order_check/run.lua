-- The order check: a network's discrete training steps against the flows of their modified fields, protocol by
-- protocol. The distances must shrink as h^2, h^3, h^4; with the conflict left out or flipped, order 2 falls back.
--     bracket experiments/order_check/run.lua [--data DIR] [--quick] [--out DIR] [--seed N] [--batch N]
local bk = require "bracket"

local USAGE = [[
usage: bracket run.lua [--data DIR] [--quick] [--out DIR] [--seed N] [--batch N] [--rate H]
  --data DIR   MNIST's IDX files (or the environment variable BRACKET_DATA); without it: generated digit glyphs
  --quick      a smaller network and batch
  --out DIR    where the figures go (runs/order_check)
  --seed N     of the initial network and the choice of images (1)
  --batch N    images a task (32; quick: 16)
  --rate H     the largest learning rate (0.005)]]

local KNOWN = { data = "string", out = "string", quick = true, seed = "integer", batch = "integer", rate = "number" }

local function parse(arguments)
    local options, k = { out = "runs/order_check", seed = 1, rate = 0.005 }, 1
    local function stop(...)
        io.stderr:write("order_check: ", string.format(...), "\n", USAGE, "\n")
        os.exit(2)
    end
    while arguments[k] do
        local name = arguments[k]:match("^%-%-(%l+)$")
        local kind = KNOWN[name]
        if name == "help" then
            print(USAGE)
            os.exit(0)
        elseif not kind then
            stop("unknown argument %s", arguments[k])
        elseif kind == true then
            options[name] = true
        else
            k = k + 1
            local value = arguments[k]
            if not value then stop("--%s: a value is missing", name) end
            if kind ~= "string" then
                value = tonumber(value)
                if kind == "integer" then value = value and math.tointeger(value) end
                if not value then stop("--%s: expected a number, got %s", name, arguments[k]) end
            end
            options[name] = value
        end
        k = k + 1
    end
    options.batch = options.batch or (options.quick and 16 or 32)
    if options.batch < 1 then stop("--batch: expected 1 or more, got %d", options.batch) end
    return options
end

local options = parse(arg or {})
local h = options.rate
local began = os.clock()

-- ---- the real thing: images, tasks, network ----

local function load_data()
    local dir = options.data or os.getenv("BRACKET_DATA")
    if not dir or dir == "" then
        return bk.data.glyphs{ n = options.batch, seed = options.seed }, "generated digit glyphs"
    end
    local found, d = pcall(bk.data.mnist, dir, { split = "train", limit = 1000 })
    if not found then d = bk.data.mnist(dir, { split = "test", limit = 1000 }) end
    return d, "MNIST digits from " .. dir
end

local data, source = load_data()
local angles = { 0, 40, 80 }
local tasks = bk.tasks.rotated{ data = data, angles = angles, limit = options.batch, test_fraction = 0,
    seed = options.seed }
local hidden = options.quick and 8 or 16
local pixels = data.shape[1] * data.shape[2]
local model = bk.nn.mlp{ pixels, hidden, data.classes, activation = "tanh" }
local theta = model:init{ seed = options.seed }
local L = {}
for i, task in ipairs(tasks) do L[i] = bk.loss.cross_entropy(model, task.train.x, task.train.y) end
local function joint(t)
    local sum = L[1](t)
    for i = 2, #L do sum = sum + L[i](t) end
    return sum
end

-- A word is a list of { task, rate }; the joint protocol is one step on the sum.
local function steps(names, rates)
    local word = {}
    for s, task in ipairs(names) do word[s] = { task, rates and rates[task] or h } end
    return word
end

local PROTOCOLS = {
    { name = "joint 1+2+3", joint = true },
    { name = "1,2", word = steps{ 1, 2 } },
    { name = "1,2 two rates", word = steps({ 1, 2 }, { h, h / 2 }) },
    { name = "1,2,3", word = steps{ 1, 2, 3 } },
    { name = "1,2,2,1", word = steps{ 1, 2, 2, 1 } },
    { name = "1,1,2,2", word = steps{ 1, 1, 2, 2 } },
    { name = "1,2,1,3,2", word = steps{ 1, 2, 1, 3, 2 } },
}
local SCALES = { 1, 1 / 2, 1 / 4 }

-- ---- the three terms ----

local grads, losses = {}, {}
for i = 1, #L do
    local value, g = bk.value_and_grad(L[i])(theta)
    losses[i], grads[i] = value:item(), g
end

local function terms(p)
    if p.joint then
        return bk.bea.multitask{ losses = L, lr = h }:terms(theta)
    end
    -- a round lasts T, the mean rate of its steps: original and flatness are losses, the conflict a velocity
    local T = 0
    for _, step in ipairs(p.word) do T = T + step[2] / #p.word end
    local t = { original = 0, flatness = 0, effect = {} }
    for _, step in ipairs(p.word) do
        local g = grads[step[1]]
        t.original = t.original + step[2] * losses[step[1]] / T
        t.flatness = t.flatness + step[2] ^ 2 * g:dot(g):item() / (4 * T)
    end
    local displacement = p.conflict and p.bea:conflict()(theta) or theta * 0
    t.norm = displacement:norm():item() / T
    for i = 1, #L do t.effect[i] = grads[i]:dot(displacement):item() end
    return t
end

-- ---- the check ----

local function fitted(errors)
    local n, mx, my, sxy, sxx = #errors, 0, 0, 0, 0
    for k = 1, n do mx, my = mx + math.log(SCALES[k]) / n, my + math.log(errors[k]) / n end
    for k = 1, n do
        local dx = math.log(SCALES[k]) - mx
        sxy, sxx = sxy + dx * (math.log(errors[k]) - my), sxx + dx * dx
    end
    return sxy / sxx
end

-- One step on the sum has no order, yet a conflict: the alignment (h/2) sum_{i<j} <g_i, g_j>. Its control flows the
-- modified gradient with that term times c, built here from gradients and products alone.
local function joint_control(c)
    local errors = {}
    for k, scale in ipairs(SCALES) do
        local rate = h * scale
        local function field(t)
            local g, sum = {}, nil
            for i = 1, #L do
                g[i] = bk.grad(L[i])(t)
                sum = sum and sum + g[i] or g[i]
            end
            local second = bk.hvp(joint)(t, sum) * c -- flatness and conflict together: H G = sum_ij H_i g_j
            for i = 1, #L do second = second + bk.hvp(L[i])(t, g[i]) * (1 - c) end
            return (sum + second * (rate / 2)) * -rate
        end
        local stop = bk.bea.word{ { joint, rate } }:step(theta)
        errors[k] = (bk.flow(field, theta, { max_steps = 1000 }) - stop):norm():item()
    end
    return { slope = fitted(errors), errors = errors }
end

local function check(p)
    local list = {}
    for s, step in ipairs(p.word or {}) do list[s] = { L[step[1]], step[2] } end
    if p.joint then list[1] = { joint, h } end
    p.bea = bk.bea.word(list)
    p.conflict = p.joint or p.bea:order_matrix():norm():item() > 0
    p.terms = terms(p)
    p.orders = p.bea:verify{ theta = theta, scales = SCALES, orders = { 1, 2, 3 } }
    if p.joint then
        p.without, p.flipped = joint_control(0), joint_control(-1)
    elseif p.conflict then
        p.without = p.bea:verify{ theta = theta, scales = SCALES, orders = { 2 }, control = "no_conflict" }[1]
        p.flipped = p.bea:verify{ theta = theta, scales = SCALES, orders = { 2 }, control = "flipped" }[1]
    end
end

-- ---- the report ----

local function say(...) io.stdout:write((string.format(...):gsub(" +$", "")), "\n") end

say("order check: %s", source)
say("network     %d-%d-%d tanh, %d parameters, float64", pixels, hidden, data.classes, model.n_params)
say("tasks       %d images each, turned by %s degrees; cross entropy", options.batch, table.concat(angles, ", "))
say("rates       h = %g, and times 1/2 and 1/4", h)
io.stdout:flush()

for _, p in ipairs(PROTOCOLS) do check(p) end

say("")
say("The terms at the start. Joint step: three parts of the modified loss. Words: original and flatness, and the")
say("conflict, now a vector field: its norm, and what it does to each task's loss in one round.")
say("")
say("  %-14s %9s %10s %12s %36s", "protocol", "original", "flatness", "conflict", "effect on the loss of task 1, 2, 3")
for _, p in ipairs(PROTOCOLS) do
    local t = p.terms
    if p.joint then
        say("  %-14s %9.5f %10.6f %12.6f", p.name, t.original, t.flatness, t.conflict)
    else
        say("  %-14s %9.5f %10.6f %12s   %+11.3e %+11.3e %+11.3e", p.name, t.original, t.flatness,
            string.format("|%.6f|", t.norm), table.unpack(t.effect))
    end
end

local failed = {}
local function judged(p, what, result, expected, tolerance)
    if not result then return "-" end
    local good = math.abs(result.slope - expected) <= tolerance -- false for nan
    if not good then
        failed[#failed + 1] = string.format("%s, %s: slope %.3f, expected %d +- %g", p.name, what, result.slope,
            expected, tolerance)
    end
    return string.format("%.3f%s", result.slope, good and " " or "!")
end

say("")
say("Distance between the steps' end and the modified flow's end: fitted slope of its logarithm against log h.")
say("")
say("  %-14s %9s %9s %9s %14s %13s", "protocol", "order 1", "order 2", "order 3", "no conflict", "sign flipped")
say("  %-14s %8s  %8s  %8s  %13s  %12s", "expected", "2", "3", "4", "2", "2")
for _, p in ipairs(PROTOCOLS) do
    say("  %-14s %9s %9s %9s %14s %13s", p.name, judged(p, "order 1", p.orders[1], 2, 0.15),
        judged(p, "order 2", p.orders[2], 3, 0.15), judged(p, "order 3", p.orders[3], 4, 0.15),
        judged(p, "conflict left out", p.without, 2, 0.2), judged(p, "conflict flipped", p.flipped, 2, 0.2))
end
say("  (-: the order matrix W is 0, so there is no conflict to leave out)")

-- ---- the figure ----

local smallest, largest = math.huge, 0
for _, p in ipairs(PROTOCOLS) do
    for _, result in ipairs{ p.orders[1], p.orders[2], p.orders[3], p.flipped } do
        smallest = math.min(smallest, table.unpack(result.errors))
        largest = math.max(largest, table.unpack(result.errors))
    end
end

local function figure(p)
    local rates = {}
    for k, scale in ipairs(SCALES) do rates[k] = h * scale end
    local f = { title = p.name, xlabel = "rate h", ylabel = "distance", logx = true, logy = true, key = "lower",
        xrange = { h / 6, h * 1.5 }, yrange = { smallest / 3000, largest * 3 } } -- the same axes; room for the key
    local function curve(result, name, style)
        name = string.format("%s: %.2f", name, result.slope)
        f[#f + 1] = { x = rates, y = result.errors, style = style, label = name }
    end
    for k = 1, 3 do curve(p.orders[k], "order " .. k) end
    if p.without then
        curve(p.without, "no conflict", "dashed")
        curve(p.flipped, "flipped", "dashed")
    end
    return f
end

local function draw()
    os.execute("mkdir -p '" .. options.out:gsub("'", "'\\''") .. "'")
    local panels = {}
    for k, p in ipairs(PROTOCOLS) do panels[k] = figure(p) end
    for _, kind in ipairs{ "png", "svg" } do
        local path = options.out .. "/order_check." .. kind
        bk.plot{ panels = panels, columns = 4, out = path,
            title = "Distance between the discrete steps and their modified flows" }
        say("figure: %s", path)
    end
    if os.execute("test -t 1") then
        bk.plot(figure(PROTOCOLS[#PROTOCOLS]))
    end
end

say("")
local drawn, why = pcall(draw)
if not drawn then say("no figure: %s", tostring(why)) end

say("%.1f s of processor time", os.clock() - began)
if #failed > 0 then
    say("FAILED: %d slopes out of tolerance", #failed)
    for _, line in ipairs(failed) do say("  %s", line) end
    os.exit(1)
end
say("all slopes within tolerance (orders 0.15, controls 0.2)")

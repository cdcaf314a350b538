-- The order check: a network's discrete training steps against the flows of their modified fields, protocol by
-- protocol. The distances must shrink as h^2, h^3, h^4; with a term left out or flipped, order 2 falls back.
local bk = require "bracket"
local here = arg[0]:match("^.*/") or ""
local experiment = dofile(here .. "../common.lua")

local USAGE = [[
usage: bracket run.lua [--protocol NAME] [--data DIR] [--quick] [--out DIR] [--seed N] [--batch N] [--rate H]
  --protocol NAME  words (the main job), maps, games, optimizers, shuffles, or all
  --data DIR       MNIST's IDX files (or the environment variable BRACKET_DATA); without it: generated digit glyphs
  --quick          a smaller network and batch
  --out DIR        where the figures go (runs/order_check)
  --seed N         of the initial network and the choice of images (1)
  --batch N        images a task (32; quick: 16)
  --rate H         the largest learning rate (0.005)]]
local PROTOCOLS = { "words", "maps", "games", "optimizers", "shuffles" }

local function stop(message)
    io.stderr:write("order_check: ", message, "\n", USAGE, "\n")
    os.exit(2)
end

local read, options = pcall(experiment.options, arg, { protocol = "words", out = "runs/order_check", rate = 0.005,
    batch = 32, help = false }, { batch = 16 })
if not read then stop(options) end
if options.help then
    print(USAGE)
    os.exit(0)
end
if math.type(options.batch) ~= "integer" or options.batch < 1 then
    stop("--batch: expected a whole number from 1 on, got " .. options.batch)
end
if math.type(options.seed) ~= "integer" then stop("--seed: expected a whole number, got " .. options.seed) end
local chosen = {}
for _, name in ipairs(PROTOCOLS) do
    if options.protocol == name or options.protocol == "all" then chosen[#chosen + 1] = name end
end
if #chosen == 0 then
    stop(("--protocol: expected %s or all, got %s"):format(table.concat(PROTOCOLS, ", "), options.protocol))
end

experiment.rates("rate", options.rate)
local h = options.rate
local began = os.clock()

-- ---- the real thing: images, tasks, network ----

local function load_data()
    local dir = options.data ~= "" and options.data or os.getenv("BRACKET_DATA")
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
local setup = { h = h, scales = { 1, 1 / 2, 1 / 4 }, batch = options.batch, tasks = tasks, model = model, losses = {},
    theta = model:init{ seed = options.seed }, first_layer = (pixels + 1) * hidden }
for i, task in ipairs(tasks) do setup.losses[i] = bk.loss.cross_entropy(model, task.train.x, task.train.y) end

-- ---- what the protocols share ----

function setup.say(...) io.stdout:write((string.format(...):gsub(" +$", "")), "\n") end
local say = setup.say

function setup.slope(errors) return bk.statistics.slope(setup.scales, errors) end

-- A slope as text, "!" where it is out of tolerance; p is what it belongs to.
local failed = {}
function setup.judged(p, what, result, expected, tolerance)
    if not result then return "-" end
    local good = math.abs(result.slope - expected) <= tolerance -- false for nan
    if not good then
        failed[#failed + 1] = string.format("%s, %s: slope %.3f, expected %d +- %g", p.name, what, result.slope,
            expected, tolerance)
    end
    return string.format("%.3f%s", result.slope, good and " " or "!")
end

-- Rows { name, word = function(scale) -> word, terms = { { name, field }, ... } }: slopes of orders 1 to 3, and of
-- order 2 with each of the terms of second order (fields at scale 1) left out or flipped. Returns the figure's panels.
function setup.check(rows)
    local function control(p, term, factor)
        local z1, z2, errors = p.word(1):term(1), p.word(1):term(2), {}
        for k, s in ipairs(setup.scales) do
            local function field(t) return z1(t) * s + (z2(t) + term[2](t) * (factor - 1)) * s ^ 2 end
            local stop = p.word(s):step(setup.theta)
            errors[k] = (bk.flow(field, setup.theta, { max_steps = 1000 }) - stop):norm():item()
        end
        return { slope = setup.slope(errors), errors = errors }
    end
    say("  %-20s %9s %9s %9s", "protocol", "order 1", "order 2", "order 3")
    say("  %-20s %8s  %8s  %8s", "expected", "2", "3", "4")
    for _, p in ipairs(rows) do
        p.orders = p.word(1):verify{ theta = setup.theta, scales = setup.scales, orders = { 1, 2, 3 } }
        local cells = {}
        for k, r in ipairs(p.orders) do cells[k] = setup.judged(p, "order " .. k, r, k + 1, 0.15) end
        say("  %-20s %9s %9s %9s", p.name, table.unpack(cells))
    end
    say("")
    say("Order 2 with one of its terms left out, or its sign flipped.")
    say("")
    say("  %-20s %-15s %9s %13s", "protocol", "term", "left out", "sign flipped")
    say("  %-20s %-15s %8s  %12s", "expected", "", "2", "2")
    local panels = {}
    for i, p in ipairs(rows) do
        panels[i] = { name = p.name, orders = p.orders, controls = {} }
        for _, term in ipairs(p.terms) do
            local without, flipped = control(p, term, 0), control(p, term, -1)
            say("  %-20s %-15s %9s %13s", p.name, term[1],
                setup.judged(p, term[1] .. " left out", without, 2, 0.2),
                setup.judged(p, term[1] .. " flipped", flipped, 2, 0.2))
            table.insert(panels[i].controls, { "no " .. term[1], without })
        end
    end
    return panels
end

-- ---- the report ----

say("order check: %s", source)
say("network     %d-%d-%d tanh, %d parameters, float64", pixels, hidden, data.classes, model.n_params)
say("tasks       %d images each, turned by %s degrees; cross entropy", options.batch, table.concat(angles, ", "))
say("rates       h = %g, and times 1/2 and 1/4", h)
io.stdout:flush()

local figures = {}
for k, name in ipairs(chosen) do figures[k] = { name, assert(loadfile(here .. name .. ".lua"))(setup) } end

-- ---- the figures: panels { name, orders, controls = { { label, result }, ... } } with the same axes ----

local function panel(p, smallest, largest)
    local rates = {}
    for k, scale in ipairs(setup.scales) do rates[k] = h * scale end
    local f = { title = p.name, xlabel = "rate h", ylabel = "distance", logx = true, logy = true, key = "lower",
        xrange = { h / 6, h * 1.5 }, yrange = { smallest / 3000, largest * 3 } } -- room for the key
    local function curve(result, name, style)
        name = string.format("%s: %.2f", name, result.slope)
        f[#f + 1] = { x = rates, y = result.errors, style = style, label = name }
    end
    for k, result in ipairs(p.orders) do curve(result, "order " .. k) end
    for _, c in ipairs(p.controls) do curve(c[2], c[1], "dashed") end
    return f
end

local function draw()
    os.execute("mkdir -p '" .. options.out:gsub("'", "'\\''") .. "'")
    for _, figure in ipairs(figures) do
        local name, panels = table.unpack(figure)
        local smallest, largest, drawn = math.huge, 0, {}
        for _, p in ipairs(panels) do
            local results = { table.unpack(p.orders) }
            for _, c in ipairs(p.controls) do results[#results + 1] = c[2] end
            for _, result in ipairs(results) do
                smallest = math.min(smallest, table.unpack(result.errors))
                largest = math.max(largest, table.unpack(result.errors))
            end
        end
        for k, p in ipairs(panels) do drawn[k] = panel(p, smallest, largest) end
        for _, kind in ipairs{ "png", "svg" } do
            local path = ("%s/%s.%s"):format(options.out, name == "words" and "order_check" or name, kind)
            bk.plot{ panels = drawn, columns = 4, out = path,
                title = "Distance between the discrete steps and their modified flows" }
            say("figure: %s", path)
        end
        if os.execute("test -t 1") then bk.plot(drawn[#drawn]) end
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
say("all slopes within tolerance%s", options.protocol == "words" and " (orders 0.15, controls 0.2)" or "")

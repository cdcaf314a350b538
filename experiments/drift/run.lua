-- What predicts, along a gradual change of the data, how much of the first task is forgotten next? Task 1 is trained,
-- the images then change by small stages; at every boundary predictors of the next stage's rise of task 1's test loss.
-- See README.md.
local bk = require "bracket"
local here = arg[0]:match("^.*/") or ""
local experiment, generated = dofile(here .. "../common.lua"), dofile(here .. "../text.lua")
local statistics, stream = bk.statistics, bk.stream
local say = experiment.say
local o = experiment.options(arg, { train = 500, test = 500, windows = 32, stages = 8, steps = 10, before = 200,
    batch = 64, lr = 0.1, adam_lr = 0.002, seeds = 5, path_steps = 2, tries = 4, draws = 1000, dtype = "float32",
    networks = { "tanh", "relu" },
    changes = { "rotated", "inverted", "permuted", "letters", "noise", "mixed" },
    optimizers = { "sgd", "heavy_ball", "adam" } },
    { train = 60, test = 60, windows = 16, stages = 2, steps = 3, before = 6, batch = 16, seeds = 2,
    networks = { "tanh", "cnn", "transformer" }, changes = { "rotated", "letters" }, optimizers = { "sgd", "adam" } })

local began = os.time()
local train, test, source = experiment.data(o, o.train, o.test)
local inputs = train.size
local function picked(kind, of, name)
    local known = {}
    for one in pairs(of) do known[#known + 1] = one end
    table.sort(known)
    return of[name] or error(("--%s: expected one of %s, got %s"):format(kind, table.concat(known, ", "), name), 0)
end

-- ---- changes: stage s of S, 0 for none, of all examples at once; two sizes each ----
local changes = { rotated = { sizes = { 30, 90 } }, inverted = { sizes = { 0.5, 1 } },
    permuted = { sizes = { 0.2, 0.6 } } }
function changes.rotated.at(share, size)
    local t = bk.tasks.rotated{ data = train, test = test, angles = { share * size } }[1]
    return t.train, t.test
end
local function each(f) return { x = f(train.x), y = train.y }, { x = f(test.x), y = test.y } end
function changes.inverted.at(share, size) -- x (1 - c) + (1 - x) c
    return each(function(x) return x * (1 - 2 * share * size) + share * size end)
end
-- From where each of n comes when a part of them has moved, more of them each stage, in a cycle.
local function cycle(n, part, seed)
    local order = stream.permutation(stream.new(stream.key(3, seed)), n)
    local from, moved = {}, math.floor(part * n)
    for k = 1, n do from[order[k]] = order[k <= moved and k % moved + 1 or k] end
    return from
end
function changes.permuted.at(share, size)
    local index = bk.tensor(cycle(inputs, share * size, 1), { dtype = "int64" })
    return each(function(x) return x:transpose():gather(index):transpose():clone() end)
end

-- Of text: sentences of a small grammar, by windows at the same places of every stage.
local TIME = o.quick and 8 or 32
local written = generated.written(generated.families[3], stream.new(stream.key(3, 2)), 2 * o.windows * TIME)
local function of_text(sizes, f) -- f(text, part): the text with this part of it changed
    local function windows(text, seed)
        return generated.windows(stream.new(stream.key(3, seed)), text, o.windows, TIME, generated.class_of)
    end
    return { text = true, sizes = sizes, at = function(share, size)
        local text = f(written, share * size)
        return windows(text:sub(1, #text // 2), 3), windows(text:sub(#text // 2 + 1), 4)
    end }
end
changes.letters = of_text({ 0.3, 1 }, function(text, part) -- a part of the alphabet, in a cycle
    local from, letter = cycle(26, part, 5), {}
    for k = 1, 26 do letter[string.char(96 + k)] = string.char(96 + from[k]) end
    return (text:gsub("%l", letter))
end)
local function replaced(text, part, piece, other) -- this part of its pieces, of so many characters, by another's
    local s = stream.new(stream.key(3, 6))
    return (text:gsub(("."):rep(piece), function()
        local at = stream.below(s, #other - piece)
        return stream.uniform(s) < part and other:sub(at + 1, at + piece) or nil
    end))
end
changes.noise = of_text({ 0.2, 0.6 }, function(text, part) return replaced(text, part, 1, generated.alphabet) end)
local other = generated.written(generated.families[1], stream.new(stream.key(3, 7)), #written)
changes.mixed = of_text({ 0.3, 1 }, function(text, part) return replaced(text, part, TIME, other) end)

-- ---- networks, for images of 28 x 28 and for text ----
local width, vocabulary = o.quick and 8 or 32, #generated.alphabet
local networks = {
    tanh = { model = bk.nn.mlp{ inputs, 64, 10, activation = "tanh" } },
    relu = { model = bk.nn.mlp{ inputs, 48, 48, 10, activation = "relu" } },
    cnn = { images = true, model = bk.nn.sequential{ bk.nn.conv2d{ 1, 6, kernel = 5 }, bk.nn.tanh(),
        bk.nn.avgpool2d{ 2 }, bk.nn.conv2d{ 6, 8, kernel = 3 }, bk.nn.tanh(), bk.nn.avgpool2d{ 2 }, bk.nn.flatten(),
        bk.nn.linear{ 8 * 5 * 5, 10 } } },
    transformer = { text = true, model = bk.nn.sequential{ bk.nn.embedding{ vocabulary, width },
        bk.nn.position_embedding{ TIME, width }, bk.nn.transformer{ width, heads = 2, causal = true },
        bk.nn.transformer{ width, heads = 2, causal = true }, bk.nn.layer_norm{ width },
        bk.nn.linear{ width, vocabulary } } },
}

-- ---- predictors of the rise in a stage of k steps, from theta and the optimizer's state alone ----
local PREDICTORS = { "first", "second", "memory", "both", "norm", "directed", "path", "flow", "tried" }
for _, name in ipairs{ "norm", "directed", "path", "flow", "tried" } do PREDICTORS[name] = true end -- of higher order
local LABEL = { first = "-kappa <g_1, g_s>", second = "to second order, with the step's own term",
    norm = "|[g_1, g_s]|", directed = "<g_1, [g_1, g_s]>", path = "the same along the joint path",
    memory = "what the optimizer remembers", both = "first order and memory",
    flow = "the flow of task s, 4 Heun steps", tried = "the stage tried with other batches" }
-- The mean loss after the stage with other batches, by an optimizer of the same state: what knows all but the batches.
local function tried(f, theta, now, next_, optimizer, h, s)
    local sum, state, n = 0, optimizer:state(), next_.y:shape()[1]
    local copy = bk.optim[optimizer.name]{}
    for _ = 1, o.tries do
        copy:restore(state)
        local at = theta
        for _ = 1, o.steps do
            local order = stream.permutation(s, n)
            local rows = bk.tensor({ table.unpack(order, 1, math.min(o.batch, n)) }, { dtype = "int64" })
            at = copy:step(at, f.grad(at, next_.x:gather(rows), next_.y:gather(rows)), h)
        end
        sum = sum + f.value(at, now.x, now.y):item()
    end
    return sum / o.tries
end
local function predicted(f, theta, now, next_, optimizer, kappa, h, s)
    local x1, y1, xs, ys = now.x, now.y, next_.x, next_.y
    local g1, gs = f.grad(theta, x1, y1), f.grad(theta, xs, ys)
    local state, p = optimizer:state(), {}
    -- a step is h times this: the gradient, or what Adam makes of it
    local scale = state.second and 1 / ((state.second / (1 - 0.999 ^ state.step)):sqrt() + 1e-8)
    local u = scale and gs * scale or state.momentum and gs / (1 - optimizer.momentum) or gs
    local h1u, hsu, h1s, hs1 = f.hvp(theta, u, x1, y1), f.hvp(theta, u, xs, ys), f.hvp(theta, gs, x1, y1),
        f.hvp(theta, g1, xs, ys)
    p.first = -kappa * g1:dot(u):item()
    local bend = scale and hsu * scale or hsu
    p.second = p.first - kappa * h / 2 * g1:dot(bend):item()
        + kappa ^ 2 / 2 * (u:dot(h1u):item() + g1:dot(bend):item())
    local bracket = hs1 - h1s
    p.norm, p.directed = bracket:norm():item(), g1:dot(bracket):item()
    p.path = bk.bea.path_bracket{ f.first, f.next_, target = f.first, data = { x1, y1, xs, ys }, theta = theta,
        time = kappa, steps = o.path_steps, method = "heun" }
    -- what a stored average has more than it will come to: beta^n of that is in the n-th step
    local memory, beta = 0, state.first and 0.9 or optimizer.momentum
    local function left() return h * beta * (1 - beta ^ o.steps) / (1 - beta) end
    if state.momentum then memory = -left() * g1:dot(state.momentum - gs / (1 - beta)):item()
    elseif state.first then memory = -left() * g1:dot((state.first - gs) * scale):item() end
    p.memory, p.both = memory, p.first + memory
    local at, before = theta, f.value(theta, x1, y1):item()
    local dt = kappa / 4
    local function field(t)
        local g = f.grad(t, xs, ys)
        return scale and g * scale or state.momentum and g / (1 - optimizer.momentum) or g
    end
    for _ = 1, 4 do
        local v = field(at)
        at = at - (v + field(at - v * dt)) * (dt / 2)
    end
    p.flow = f.value(at, x1, y1):item() - before
    p.tried = tried(f, theta, now, next_, optimizer, h, s) - before
    return p
end

-- ---- runs ----
local function functions_of(network)
    if not network.loss then
        local loss = bk.loss.cross_entropy(network.model)
        network.loss, network.value, network.grad, network.hvp = loss, bk.compile(loss), bk.grad(loss), bk.hvp(loss)
        network.trained = function(_, theta, x, y) return loss(theta, x, y) end
        network.first = function(theta, x1, y1) return loss(theta, x1, y1) end -- of (theta, x1, y1, xs, ys)
        network.next_ = function(theta, _, _, xs, ys) return loss(theta, xs, ys) end
    end
    return network
end

-- Every boundary of a run: { the rise of task 1's test loss in the stage that follows, predictors }.
local function run(network, change, size, name, seed)
    local f, tasks, steps = functions_of(network), {}, {}
    local function prepared(part)
        local x = network.text and part.x or part.x:to(o.dtype)
        return { x = network.images and x:reshape{ x:shape()[1], 1, 28, 28 } or x, y = part.y }
    end
    for s = 0, o.stages do
        local a, b = change.at(s / o.stages, size)
        tasks[s + 1] = { train = prepared(a), test = prepared(b), loss = f.trained }
        steps[s + 1] = s == 0 and o.before or o.steps
    end
    local rate = name == "adam" and o.adam_lr or name == "heavy_ball" and o.lr / 10 or o.lr
    local rows, first, draw = {}, tasks[1], stream.new(stream.key(seed, 13))
    local function forgotten(theta) return f.value(theta, first.test.x, first.test.y):item() end
    local hook = { name = "boundary", doc = "predictors and what came of them", end_task = function(state)
        local loss, last = forgotten(state.theta), rows[#rows]
        if last then last.rise = loss - last.loss end
        local stage = #rows + 1
        if stage <= o.stages then
            local p = predicted(f, state.theta, first.train, tasks[stage + 1].train, state.optimizer, o.steps * rate,
                rate, draw)
            p.loss, p.stage, p.run = loss, stage, seed
            rows[stage] = p
        end
    end }
    bk.protocol{ model = network.model, tasks = tasks, steps = steps, lr = rate, batch = o.batch, dtype = o.dtype,
        optimizer = bk.optim[name]{}, seed = seed, evaluate = false, interventions = { hook } }:run{}
    return rows
end

say([[
What predicts the rise of the first task's loss along a gradual change?
%s, %d stages of %d steps after %d, h = %g (Adam %g, heavy ball %g), %d seeds, two sizes of each change, %s]], source,
    o.stages, o.steps, o.before, o.lr, o.adam_lr, o.lr / 10, o.seeds, o.dtype)
-- A column of the boundaries, each stage of each size by its own mean over the seeds.
local function within(list, name)
    local sums, counts, x = {}, {}, {}
    for _, row in ipairs(list) do
        local key = row.size .. ":" .. row.stage
        sums[key], counts[key] = (sums[key] or 0) + row[name], (counts[key] or 0) + 1
    end
    for i, row in ipairs(list) do
        local key = row.size .. ":" .. row.stage
        x[i] = row[name] - sums[key] / counts[key]
    end
    return x
end
local function whole(list, name)
    local x = {}
    for i, row in ipairs(list) do x[i] = row[name] end
    return x
end
local function rest(x, z) -- what of x a multiple of z does not explain
    local xz, zz, r = 0, 0, {}
    for i = 1, #x do xz, zz = xz + x[i] * z[i], zz + z[i] * z[i] end
    for i = 1, #x do r[i] = x[i] - xz / zz * z[i] end
    return r
end

local function study(name_of_network, name, change_name)
    local network, change, list, groups = networks[name_of_network], changes[change_name], {}, {}
    for _, size in ipairs(change.sizes) do
        for seed = 1, o.seeds do
            for _, row in ipairs(run(network, change, size, name, o.seed * 100 + seed)) do
                row.size = size
                list[#list + 1], groups[#list + 1] = row, size .. ":" .. seed
            end
        end
    end
    say("\n%s, %s, %s: %d boundaries      rank correlation with the rise [95 %%]", name_of_network, name, change_name,
        #list)
    say("  %-44s %-24s %-24s %s", "", "within a stage", "beyond the first order", "over all")
    local draw = stream.new(stream.key(o.seed, 12))
    local function shown(x, y, of_seeds) -- runs drawn as wholes
        local r = statistics.spearman_grouped(x, y, groups, o.draws, draw)
        local few = o.seeds < 2 and 0 / 0 or 0
        return experiment.number("%5.2f [%5.2f, %5.2f]    ", r.rho + (of_seeds and few or 0), r.low + few, r.high + few)
    end
    local order = within(list, name == "sgd" and "first" or "both")
    local rise = within(list, "rise")
    for _, predictor in ipairs(PREDICTORS) do
        if (predictor ~= "memory" and predictor ~= "both") or name ~= "sgd" then
            local x = within(list, predictor)
            local beyond = PREDICTORS[predictor] and shown(rest(x, order), rest(rise, order), true) or (" "):rep(24)
            say("  %-44s %s %s %s", LABEL[predictor], shown(x, rise, true), beyond,
                shown(whole(list, predictor), whole(list, "rise")))
        end
    end
end
for _, name in ipairs(o.optimizers) do
    if not bk.optim[name] then error("--optimizers: expected sgd, heavy_ball or adam, got " .. name, 0) end
    for _, network in ipairs(name == "sgd" and o.networks or { o.networks[1] }) do
        for _, change in ipairs(o.changes) do
            if picked("networks", networks, network).text == picked("changes", changes, change).text then
                study(network, name, change)
            end
        end
    end
end
say("\n%d s", experiment.clock(began))

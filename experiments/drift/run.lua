-- What predicts, along a gradual change of the data, how much of the first task is forgotten next? Task 1 is trained,
-- the images then change by small stages; at every boundary predictors of the next stage's rise of task 1's test loss.
-- See README.md.
local bk = require "bracket"
local experiment, statistics = dofile((arg[0]:match("^.*/") or "") .. "../common.lua"), bk.statistics
local say = experiment.say
local o = experiment.options(arg, { train = 500, test = 500, stages = 8, steps = 10, before = 200, batch = 64, lr = 0.1,
    adam_lr = 0.002, seeds = 5, path_steps = 4, draws = 2000,
    networks = { "tanh", "relu" }, changes = { "rotated", "inverted", "permuted" },
    optimizers = { "sgd", "heavy_ball", "adam" } })
if o.quick then
    o.train, o.test, o.stages, o.steps, o.before, o.batch, o.seeds = 60, 60, 2, 3, 6, 16, 2
    o.networks, o.changes, o.optimizers = { "tanh", "cnn" }, { "rotated", "inverted" }, { "sgd", "adam" }
end

local began = os.time()
local train, test, source = experiment.data(o, o.train, o.test)
local inputs = train.size
local function picked(kind, of, name)
    local known = {}
    for one in pairs(of) do known[#known + 1] = one end
    table.sort(known)
    return of[name] or error(("--%s: expected one of %s, got %s"):format(kind, table.concat(known, ", "), name), 0)
end

-- ---- changes: stage s of S, 0 for none, of all images at once; two sizes each ----
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
function changes.permuted.at(share, size) -- a part of the pixels, more of them each stage, moved in a cycle
    local order = bk.stream.permutation(bk.stream.new(bk.stream.key(3, 1)), inputs)
    local from, moved = {}, math.floor(share * size * inputs)
    for k = 1, inputs do from[order[k]] = order[k <= moved and k % moved + 1 or k] end
    local index = bk.tensor(from, { dtype = "int64" })
    return each(function(x) return x:transpose():gather(index):transpose():clone() end)
end

-- ---- networks, for images of 28 x 28 ----
local networks = {
    tanh = bk.nn.mlp{ inputs, 64, 10, activation = "tanh" },
    relu = bk.nn.mlp{ inputs, 48, 48, 10, activation = "relu" },
    cnn = bk.nn.sequential{ bk.nn.conv2d{ 1, 6, kernel = 5 }, bk.nn.tanh(),
        bk.nn.avgpool2d{ 2 }, bk.nn.conv2d{ 6, 8, kernel = 3 }, bk.nn.tanh(), bk.nn.avgpool2d{ 2 }, bk.nn.flatten(),
        bk.nn.linear{ 8 * 5 * 5, 10 } },
}

-- ---- predictors of the rise in a stage of k steps, from theta and the optimizer's state alone ----
local PREDICTORS = { "first", "second", "norm", "directed", "path", "memory", "both", "flow" }
local LABEL = { first = "-kappa <g_1, g_s>", second = "to second order, with the step's own term",
    norm = "|[g_1, g_s]|", directed = "<g_1, [g_1, g_s]>", path = "the same along the joint path",
    memory = "what the optimizer remembers", both = "first order and memory",
    flow = "the flow of task s, 4 Heun steps" }
local function predicted(f, theta, now, next_, optimizer, kappa, h)
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
    p.path = bk.bea.path_bracket{ function(t) return f.loss(t, x1, y1) end, function(t) return f.loss(t, xs, ys) end,
        target = function(t) return f.loss(t, x1, y1) end, theta = theta, time = kappa, steps = o.path_steps,
        method = "heun" }
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
    return p
end

-- ---- runs ----
local functions = {}
local function functions_of(name)
    if not functions[name] then
        local loss = bk.loss.cross_entropy(picked("networks", networks, name))
        functions[name] = { loss = loss, value = bk.compile(loss), grad = bk.grad(loss), hvp = bk.hvp(loss) }
    end
    return functions[name]
end

-- Every boundary of a run: { the rise of task 1's test loss in the stage that follows, predictors }.
local function run(network, change, size, name, seed)
    local f, model, tasks, steps = functions_of(network), networks[network], {}, {}
    local function prepared(part)
        local x = part.x:to("float64")
        return { x = network == "cnn" and x:reshape{ x:shape()[1], 1, 28, 28 } or x, y = part.y }
    end
    for s = 0, o.stages do
        local a, b = change.at(s / o.stages, size)
        tasks[s + 1] = { train = prepared(a), test = prepared(b), classes = 10 }
        steps[s + 1] = s == 0 and o.before or o.steps
    end
    local rate = name == "adam" and o.adam_lr or name == "heavy_ball" and o.lr / 10 or o.lr
    local rows, first = {}, tasks[1]
    local function forgotten(theta) return f.value(theta, first.test.x, first.test.y):item() end
    local hook = { name = "boundary", doc = "predictors and what came of them", end_task = function(state)
        local loss, last = forgotten(state.theta), rows[#rows]
        if last then last.rise = loss - last.loss end
        local stage = #rows + 1
        if stage <= o.stages then
            local p = predicted(f, state.theta, first.train, tasks[stage + 1].train, state.optimizer, o.steps * rate,
                rate)
            p.loss, p.stage, p.run = loss, stage, seed
            rows[stage] = p
        end
    end }
    bk.protocol{ model = model, tasks = tasks, steps = steps, lr = rate, batch = o.batch, dtype = "float64",
        optimizer = bk.optim[name]{}, seed = seed, evaluate = false, interventions = { hook } }:run{}
    return rows
end

say([[
What predicts the rise of the first task's loss along a gradual change?
%s, %d stages of %d steps after %d, h = %g (Adam %g, heavy ball %g), %d seeds, two sizes of each change]], source,
    o.stages, o.steps, o.before, o.lr, o.adam_lr, o.lr / 10, o.seeds)
local draw = bk.stream.new(bk.stream.key(o.seed, 12))
-- Rank correlations with the rise, each stage of each size by its own mean over the seeds; runs drawn as wholes.
local function within(list, name)
    local sums, counts, x, y, groups = {}, {}, {}, {}, {}
    for _, row in ipairs(list) do
        local key = row.size .. ":" .. row.stage
        local s = sums[key] or { 0, 0 }
        sums[key], counts[key] = { s[1] + row[name], s[2] + row.rise }, (counts[key] or 0) + 1
    end
    for i, row in ipairs(list) do
        local key = row.size .. ":" .. row.stage
        x[i], y[i] = row[name] - sums[key][1] / counts[key], row.rise - sums[key][2] / counts[key]
        groups[i] = row.size .. ":" .. row.run
    end
    return statistics.spearman_grouped(x, y, groups, o.draws, draw)
end
local function whole(list, name) -- over everything
    local x, y, groups = {}, {}, {}
    for i, row in ipairs(list) do x[i], y[i], groups[i] = row[name], row.rise, row.size .. ":" .. row.run end
    return statistics.spearman_grouped(x, y, groups, o.draws, draw)
end

local function study(network, name, change_name)
    local change, list = picked("changes", changes, change_name), {}
    for _, size in ipairs(change.sizes) do
        for seed = 1, o.seeds do
            for _, row in ipairs(run(network, change, size, name, o.seed * 100 + seed)) do
                row.size = size
                list[#list + 1] = row
            end
        end
    end
    say("\n%s, %s, %s: %d boundaries      rank correlation with the rise [95 %%]", network, name, change_name, #list)
    say("  %-44s %-24s %s", "", "within a stage", "over all")
    for _, predictor in ipairs(PREDICTORS) do
        if (predictor ~= "memory" and predictor ~= "both") or name ~= "sgd" then
            local a, b = within(list, predictor), whole(list, predictor)
            say("  %-44s %6.2f [%5.2f, %5.2f]    %6.2f [%5.2f, %5.2f]", LABEL[predictor], a.rho, a.low, a.high, b.rho,
                b.low, b.high)
        end
    end
end
for _, name in ipairs(o.optimizers) do
    if not bk.optim[name] then error("--optimizers: expected sgd, heavy_ball or adam, got " .. name, 0) end
    for _, network in ipairs(name == "sgd" and o.networks or { o.networks[1] }) do
        for _, change_name in ipairs(o.changes) do study(network, name, change_name) end
    end
end
say("\n%d s", experiment.clock(began))

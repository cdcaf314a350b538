-- Which way of ordering tasks makes the average over all of them best in the end, at what cost? Methods against random
-- orders of the same start and batches, on rotated, permuted and split tasks. See README.md.
local bk = require "bracket"
local experiment, stream, statistics = dofile((arg[0]:match("^.*/") or "") .. "../common.lua"), bk.stream, bk.statistics
local say = experiment.say
local o = experiment.options(arg, { kinds = { "rotated", "permuted", "split" }, n = 8, steps = { 15 }, batch = 64,
    lr = 0.05, hidden = 32, starts = 10, orders = 20, budget = 40, images = 8000, samples = 1024, path_steps = 5,
    forgetting = true, methods = { "all" } },
    { kinds = { "rotated", "split" }, n = 3, steps = { 3 }, batch = 16, hidden = 8, starts = 2, orders = 4,
    budget = 3, images = 240, samples = 40, path_steps = 2 })

local began = os.time()
local digits, _, source = experiment.data(o, math.min(10000, 4 * o.images))
local model = bk.nn.mlp{ digits.size, o.hidden, 10, activation = "tanh" }
local loss = bk.loss.cross_entropy(model)
local grad = bk.grad(loss)

-- ---- tasks of a start: other images, angles, permutations, pairs of classes each time; half of the images test ----
local ANGLES = 24
local make = {}
function make.rotated(d, s)
    local which, angles = stream.permutation(s, ANGLES), {}
    for i = 1, o.n do angles[i] = which[i] * 360 / ANGLES end
    return bk.tasks.rotated{ data = d, angles = angles, test_fraction = 0.5 }
end
function make.permuted(d, _, seed) return bk.tasks.permuted{ data = d, n = o.n, seed = seed, test_fraction = 0.5 } end
function make.split(d, s)
    local class, pairs_of = stream.permutation(s, 10), {}
    for i = 1, 5 do pairs_of[i] = { class[2 * i - 1] - 1, class[2 * i] - 1 } end
    return bk.tasks.split{ data = d, classes = pairs_of, test_fraction = 0.5 }
end

local function start(kind, steps, seed)
    local s = stream.new(stream.key(seed, #kind, steps))
    local d = experiment.sample(digits, o.images, s)
    d.x, d.shape, d.classes = d.x:to("float32"), digits.shape, 10
    local tasks = make[kind](d, s, seed)
    local w = { s = s, n = #tasks, steps = steps, tasks = tasks, loss = {}, judge = {}, cost = 0 }
    w.theta = model:init{ seed = seed }:to("float32")
    for i, t in ipairs(tasks) do -- what methods judge by
        local judge = experiment.sample({ x = t.train.x:to("float32"), y = t.train.y, n = t.train.x:shape()[1] },
            math.min(o.samples, t.train.x:shape()[1]), s)
        w.judge[i] = judge
        w.loss[i] = function(theta) return loss(theta, judge.x, judge.y) end
    end
    w.run = w.n * steps * math.min(o.batch, tasks[1].train.x:shape()[1]) -- gradients of one example in a run
    function w.train(order, all_steps, evaluate) -- all_steps: the number of steps in all
        return bk.protocol{ model = model, tasks = tasks, order = order, steps = all_steps or steps, lr = o.lr,
            batch = o.batch, seed = seed, dtype = "float32", evaluate = evaluate or false }:run{ theta = w.theta }
    end
    return w
end

-- The end of a run in this order: loss, accuracy and forgetting, by test images; without --forgetting by one look at
-- them, in the end.
local accuracy = bk.loss.cross_entropy:accuracy(model)
local function final(w, order)
    local r = w.train(bk.order.sequential{ order = order }, nil, o.forgetting)
    if o.forgetting then
        return { loss = statistics.mean(r.test_loss[w.n]), accuracy = statistics.mean(r.accuracy[w.n]),
            forgetting = r.metrics.forgetting }
    end
    local losses, accuracies = {}, {}
    for i, t in ipairs(w.tasks) do
        local x = t.test.x:to("float32")
        losses[i], accuracies[i] = loss(r.theta, x, t.test.y):item(), accuracy(r.theta, x, t.test.y):item()
    end
    return { loss = statistics.mean(losses), accuracy = statistics.mean(accuracies) }
end

-- An order that is decided at every boundary, where training is: choose(theta, rest, last) -> one of rest.
local function decided(w, choose)
    local order, rest = {}, {}
    for i = 1, w.n do rest[i] = i end
    w.train(function(step, state)
        local k = (step - 1) // w.steps + 1
        if k > #order then
            local i = #rest == 1 and rest[1] or choose(state.theta, rest, order[k - 1])
            for at = #rest, 1, -1 do
                if rest[at] == i then table.remove(rest, at) end
            end
            order[k] = i
        end
        return order[k]
    end, w.n * w.steps)
    return order
end

local function least(list, value)
    local best, lowest
    for _, i in ipairs(list) do
        local v = value(i)
        if not lowest or v < lowest then best, lowest = i, v end
    end
    return best
end

local function directions(w, theta, list) -- unit gradients
    local g = {}
    for _, i in ipairs(list) do
        g[i] = grad(theta, w.judge[i].x, w.judge[i].y)
        g[i] = g[i] / g[i]:norm():item()
        w.cost = w.cost + w.judge[i].n
    end
    return g
end
local function everything(w)
    local all = {}
    for i = 1, w.n do all[i] = i end
    return all
end
local function typicality(w, theta)
    local g, sum = directions(w, theta, everything(w)), nil
    for i = 1, w.n do sum = sum and sum + g[i] or g[i] end
    return function(i) return g[i]:dot(sum):item() end
end
local function joint_path(w, theta, list) -- rows of the path's matrix, the target the mean of all tasks' losses
    local sources, score = {}, {}
    for k, i in ipairs(list) do sources[k] = w.loss[i] end
    local function mean(t)
        local sum = w.loss[1](t)
        for i = 2, w.n do sum = sum + w.loss[i](t) end
        return sum / w.n
    end
    local P = bk.bea.path_bracket{ sources = sources, target = mean, theta = theta, time = w.steps * o.lr,
        steps = o.path_steps, method = "euler" }:totable()
    for k, i in ipairs(list) do
        w.cost = w.cost + o.path_steps * 5 * w.judge[i].n -- a gradient, and two products of two gradients each
        score[i] = 0
        for q = 1, #list do score[i] = score[i] + (q == k and 0 or P[k][q]) end
    end
    return function(i) return score[i] end
end

-- ---- methods: w -> order; what they spend is counted in w.cost ----
local methods, names = {}, {}
local asked = {}
for _, name in ipairs(o.methods) do asked[name] = true end
local function method(name, f)
    if asked.all or asked[name] then names[#names + 1], methods[name] = name, f end
    asked[name] = nil
end
method("planned", function(w)
    local r = w.train(bk.order.planned{ budget = o.budget, samples = o.samples })
    w.cost = r.plan.cost * w.run
    return r.learned
end)
method("random search", function(w)
    local best, lowest, judging = nil, nil, 0
    for i = 1, w.n do judging = judging + w.judge[i].n / 3 end
    while w.cost + w.run + judging <= o.budget * w.run do
        local order, value = stream.permutation(w.s, w.n), 0
        local theta = w.train(bk.order.sequential{ order = order }).theta
        for i = 1, w.n do
            local j = w.judge[i]
            value = value + loss(theta, j.x, j.y):item() - accuracy(theta, j.x, j.y):item()
        end
        if not lowest or value < lowest then best, lowest = order, value end
        w.cost = w.cost + w.run + judging
    end
    return best
end)
method("largest loss next", function(w)
    return decided(w, function(theta, rest)
        return least(rest, function(i)
            w.cost = w.cost + w.judge[i].n / 3
            return -w.loss[i](theta):item()
        end)
    end)
end)
method("dissimilar next", function(w)
    return decided(w, function(theta, rest, last)
        if not last then return rest[1] end
        local list = table.move(rest, 1, #rest, 1, {})
        list[#list + 1] = last
        local g = directions(w, theta, list)
        return least(rest, function(i) return g[i]:dot(g[last]):item() end)
    end)
end)
method("typical last", function(w)
    local all, typical = everything(w), typicality(w, w.theta)
    table.sort(all, function(a, b) return typical(a) < typical(b) end)
    return all
end)
method("path scores", function(w)
    local all, score = everything(w), joint_path(w, w.theta, everything(w))
    table.sort(all, function(a, b) return score(a) < score(b) end)
    return all
end)
method("path scores replanned", function(w)
    return decided(w, function(theta, rest) return least(rest, joint_path(w, theta, rest)) end)
end)

asked.all = nil
if next(asked) then error("--methods: no method " .. next(asked), 0) end

-- ---- one kind at one length ----
local WHAT = { "loss", "accuracy", o.forgetting and "forgetting" or nil }
local function study(kind, steps)
    local share, cost = {}, {}
    for _, name in ipairs(names) do share[name], cost[name] = { loss = {}, accuracy = {}, forgetting = {} }, {} end
    local spread = { loss = {}, accuracy = {}, forgetting = {} }
    for t = 1, o.starts do
        local w, random = start(kind, steps, o.seed * 1000 + t), {}
        local draw = stream.new(stream.key(o.seed, t, 17))
        for k = 1, o.orders do random[k] = final(w, stream.permutation(draw, w.n)) end
        for _, what in ipairs(WHAT) do
            local values = {}
            for k, r in ipairs(random) do values[k] = r[what] end
            table.insert(spread[what], statistics.interval(values).sd)
        end
        for _, name in ipairs(names) do
            w.cost = 0
            local r = final(w, methods[name](w))
            table.insert(cost[name], w.cost / w.run)
            for _, what in ipairs(WHAT) do
                local beaten, sign = 0, what == "accuracy" and -1 or 1
                for _, other in ipairs(random) do
                    local d = sign * (other[what] - r[what])
                    beaten = beaten + (d > 0 and 1 or d == 0 and 0.5 or 0)
                end
                table.insert(share[name][what], 100 * beaten / #random)
            end
        end
    end
    say("\n%s, %d steps a task, %d starts: share of %d random orders that are worse, %%", kind, steps, o.starts, o.orders)
    say("  %-24s %6s   %-14s %-14s %-14s", "", "cost", "loss", "accuracy", WHAT[3] or "")
    for _, name in ipairs(names) do
        local cells = {}
        for k, what in ipairs(WHAT) do
            local p = statistics.interval(share[name][what])
            cells[k] = experiment.number("%5.1f ± %-6.1f", p.mean, p.half)
        end
        say("  %-24s %6.1f   %s", name, statistics.mean(cost[name]), table.concat(cells, " "))
    end
    local scatter = {}
    for k, what in ipairs(WHAT) do scatter[k] = ("%s %.4f"):format(what, statistics.mean(spread[what])) end
    say("  (between random orders: sd of %s)", table.concat(scatter, ", "))
end

say([[
Which order of tasks is best for the average of all? Methods against random orders of the same start and batches.
%s, %d images a start (half of them test); %d-%d-10 tanh, float32; batches of %d, h = %g; cost in runs]], source,
    o.images, digits.size, o.hidden, o.batch, o.lr)
for _, kind in ipairs(o.kinds) do
    if not make[kind] then error("--kinds: expected rotated, permuted or split, got " .. tostring(kind), 0) end
    for _, steps in ipairs(o.steps) do study(kind, steps) end
end
say("\n%d s", experiment.clock(began))

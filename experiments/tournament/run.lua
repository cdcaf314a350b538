-- Which order of N tasks is best for a target? N Hessian-vector products at the start, and one joint path with its
-- adjoint, against all N! orders (or sampled ones): the percentile of the order each proposes. See README.md.
local bk = require "bracket"
local experiment, stream, statistics = dofile((arg[0]:match("^.*/") or "") .. "../common.lua"), bk.stream, bk.statistics
local say = experiment.say
local o = experiment.options(arg, { n = 5, instances = 20, steps = 10, batch = 64, hidden = 64, lr = 0.05, pool = 3000,
    many = 20, many_instances = 6, many_steps = 5, sampled = 200, inputs = "centred",
    init = "lecun", out = "" },
    { n = 3, instances = 2, steps = 2, batch = 16, pool = 400, many = 6, many_instances = 1, sampled = 5 })

local began = os.time()
local data, _, source = experiment.data(o, o.pool)
experiment.prepared(data, o.inputs)
local inputs = data.size
local model = bk.nn.mlp{ inputs, o.hidden, 10, activation = "tanh" }
local loss = bk.loss.cross_entropy(model)
local grad_of = bk.grad(loss)
local function on(t) return function(theta) return loss(theta, t.x, t.y) end end -- the loss on one task

-- N source tasks and a target: the digits turned by angles of a full turn, a batch each.
local ANGLES = 24
local angles = {}
for a = 1, ANGLES do angles[a] = (a - 1) * 360 / ANGLES end
local pool = bk.tasks.rotated{ data = experiment.first(data, 512), angles = angles, test_fraction = 0 }
local function instance(n, s)
    local which, tasks = stream.permutation(s, ANGLES), {}
    for i = 1, n + 1 do
        local d = pool[which[i]].train
        local x = d.x:to("float64")
        tasks[i] = experiment.sample({ x = x:reshape{ x:shape()[1], inputs }, y = d.y, n = x:shape()[1] }, o.batch, s)
    end
    return tasks, table.remove(tasks)
end

local function block(theta, t, steps)
    for _ = 1, steps do theta = theta - grad_of(theta, t.x, t.y) * o.lr end
    return theta
end
local function loss_of(E, theta) return loss(theta, E.x, E.y):item() end

-- The order a matrix A proposes (A[i][j] < 0: i before j is better): by ascending row sums.
local function by_rows(A, n)
    local score, order = {}, {}
    for i = 1, n do
        score[i], order[i] = 0, i
        for j = 1, n do score[i] = score[i] + (i == j and 0 or A[i][j]) end
    end
    table.sort(order, function(a, b) return score[a] < score[b] or (score[a] == score[b] and a < b) end)
    return order
end

local function all_orders(tasks, E, theta0, steps, visit) -- depth first: prefixes are run once
    local n, used, order = #tasks, {}, {}
    local function go(theta, depth)
        if depth > n then return visit(order, loss_of(E, theta)) end
        for i = 1, n do
            if not used[i] then
                used[i], order[depth] = true, i
                go(block(theta, tasks[i], steps), depth + 1)
                used[i] = false
            end
        end
    end
    go(theta0, 1)
end

local function run_order(tasks, E, theta0, steps, order)
    local theta = theta0
    for _, i in ipairs(order) do theta = block(theta, tasks[i], steps) end
    return loss_of(E, theta)
end

local function proposals(tasks, E, theta0, steps)
    local n, losses = #tasks, {}
    for i = 1, n do losses[i] = on(tasks[i]) end
    local target = on(E)
    local start = bk.bea.tournament{ sources = losses, target = target, theta = theta0 }
    local P = bk.bea.path_bracket{ sources = losses, target = target, theta = theta0, time = steps * o.lr,
        steps = steps, method = "euler" } -- the discrete joint run itself
    return { start = start.order, path = by_rows(P:totable(), n) }
end

-- The share of orders that are worse (higher loss), counting ties half.
local function percentile(losses, value)
    local worse = 0
    for _, l in ipairs(losses) do worse = worse + (l > value and 1 or (l == value and 0.5 or 0)) end
    return 100 * worse / #losses
end

local panels = {}
local function study(n, instances, steps, sampled)
    local count = 0
    local share, gain = { start = {}, path = {} }, { start = {}, path = {} }
    for t = 1, instances do
        local s = stream.new(stream.key(o.seed, 7, n, t))
        local tasks, E = instance(n, s)
        local theta0 = model:init{ seed = o.seed * 100 + t, scheme = o.init }
        local losses = {}
        if sampled then
            for k = 1, sampled do losses[k] = run_order(tasks, E, theta0, steps, stream.permutation(s, n)) end
        else
            all_orders(tasks, E, theta0, steps, function(_, l) losses[#losses + 1] = l end)
        end
        count = #losses
        table.sort(losses)
        for name, order in pairs(proposals(tasks, E, theta0, steps)) do
            local l = run_order(tasks, E, theta0, steps, order)
            table.insert(share[name], percentile(losses, l))
            local mean = statistics.mean(losses)
            table.insert(gain[name], (mean - l) / (mean - losses[1]))
        end
    end
    say("\n%d tasks, %d steps each, %d instances, %s", n, steps, instances,
        string.format(sampled and "%d sampled orders" or "all %d orders", count))
    local points = { { x = {}, y = {}, style = "points", label = "N products at the start" },
        { x = {}, y = {}, style = "points", label = "one joint path" }, title = string.format("%d tasks, %s", n,
            sampled and sampled .. " sampled orders" or "all orders"), xlabel = "instance",
        ylabel = "worse orders, %", yrange = { 0, 104 }, xrange = { 0, instances + 1 }, key = "lower" }
    panels[#panels + 1] = points
    for k, name in ipairs{ "start", "path" } do
        for t = 1, instances do points[k].x[t], points[k].y[t] = t, share[name][t] end
        local p, g = statistics.interval(share[name]), statistics.interval(gain[name])
        say("  %-32s better than %5.1f %% of the orders (± %s)   %4.0f %% of the way from the mean to the best",
            name == "start" and "N products at the start" or "one joint path and its adjoint", p.mean,
            experiment.number("%.1f", p.half), 100 * g.mean)
    end
end

say([[
The best order of N tasks for a target, without trying any
%s turned, %s; %d-%d-10 tanh, %s; %d examples a task, h = %g]],
    source, o.inputs, inputs, o.hidden, o.init, o.batch, o.lr)
study(o.n, o.instances, o.steps)
study(o.many, o.many_instances, o.many_steps, o.sampled)
say("\n%d s", experiment.clock(began))
if o.out ~= "" then experiment.plot{ panels = panels, out = o.out } end

-- Does the bracket tell which order of two tasks is better for a third? Sign accuracy of three predictors over many
-- triples (A, B, E): the bracket at the starting point, drift-matched, and along the joint path. See README.md.
local bk = require "bracket"
local experiment, stream, statistics = dofile((arg[0]:match("^.*/") or "") .. "../common.lua"), bk.stream, bk.statistics
local say = experiment.say
local o = experiment.options(arg, { triples = 120, batch = 64, hidden = 64, lr = 0.05, ks = { 1, 2, 5, 10, 20, 50 },
    kinds = { "rotated", "split" }, inputs = "centred", init = "lecun", path_steps = 0, method = "euler", pool = 3000,
    out = "" })
if o.quick then o.triples, o.ks, o.batch, o.pool = 3, { 1, 5 }, 16, 400 end

local began = os.time()
local data, _, source = experiment.data(o, o.pool)
experiment.prepared(data, o.inputs)
local inputs = data.size
local by_class = experiment.by_class(data)
local model = bk.nn.mlp{ inputs, o.hidden, 10, activation = "tanh" }
local loss = bk.loss.cross_entropy(model)
local grad_of, hvp_of = bk.grad(loss), bk.hvp(loss)
local function on(t) return function(theta) return loss(theta, t.x, t.y) end end -- the loss on one task

-- ---- triples of tasks ----
local kinds = {}
local ANGLES = 24
local rotated_pool
function kinds.rotated(s) -- the same classes, three angles of a full turn in steps of 15 degrees
    if not rotated_pool then
        local angles = {}
        for a = 1, ANGLES do angles[a] = (a - 1) * 360 / ANGLES end
        rotated_pool = bk.tasks.rotated{ data = experiment.first(data, 8 * o.batch), angles = angles,
            test_fraction = 0 }
    end
    local which, triple = stream.permutation(s, ANGLES), {}
    for i = 1, 3 do
        local d = rotated_pool[which[i]].train
        local x = d.x:to("float64")
        triple[i] = experiment.sample({ x = x:reshape{ x:shape()[1], inputs }, y = d.y, n = x:shape()[1] }, o.batch, s)
    end
    return triple
end
function kinds.permuted(s)
    local triple = {}
    for i = 1, 3 do
        local d = experiment.sample(data, o.batch, s)
        local order = bk.tensor(stream.permutation(s, inputs), { dtype = "int64" })
        triple[i] = { x = d.x:transpose():gather(order):transpose():clone(), y = d.y }
    end
    return triple
end
function kinds.split(s) -- three disjoint pairs of classes, one head of ten
    local classes, triple = stream.permutation(s, 10), {}
    for i = 1, 3 do
        local ids = {}
        for c = 2 * i - 1, 2 * i do
            for _, id in ipairs(by_class[classes[c] - 1]) do ids[#ids + 1] = id end
        end
        triple[i] = experiment.sample(data, o.batch, s, ids)
    end
    return triple
end

-- ---- one triple: for each k the realised difference and the three predictions ----
local function grad(t, theta) return grad_of(theta, t.x, t.y) end
local function hvp(t, theta, v) return hvp_of(theta, v, t.x, t.y) end
local function value(t, theta) return loss(theta, t.x, t.y):item() end

local function blocks(first, second, theta0) -- endpoints after k steps of first, then k of second, for every k
    local theta, at, ends = theta0, {}, {}
    local wanted, longest = {}, 0
    for _, k in ipairs(o.ks) do
        wanted[k], longest = true, math.max(longest, k)
    end
    for step = 1, longest do
        theta = theta - grad(first, theta) * o.lr
        if wanted[step] then at[step] = theta end
    end
    for _, k in ipairs(o.ks) do
        theta = at[k]
        for _ = 1, k do theta = theta - grad(second, theta) * o.lr end
        ends[k] = theta
    end
    return ends
end

local function study(A, B, E, theta0)
    local ab, ba = blocks(A, B, theta0), blocks(B, A, theta0)
    local gA, gB, gE = grad(A, theta0), grad(B, theta0), grad(E, theta0)
    local bracket = hvp(B, theta0, gA) - hvp(A, theta0, gB)
    local rows = {}
    for _, k in ipairs(o.ks) do
        local kappa = k * o.lr
        local drifted = grad(E, theta0 - (gA + gB) * kappa)
        local path = bk.bea.path_bracket{
            on(A), on(B), target = on(E), theta = theta0,
            time = kappa, steps = o.path_steps > 0 and o.path_steps or k, method = o.method,
        }
        rows[k] = { realised = value(E, ab[k]) - value(E, ba[k]), start = kappa ^ 2 * gE:dot(bracket):item(),
            drift = kappa ^ 2 * drifted:dot(bracket):item(), path = path }
    end
    return rows
end

-- Of the triples at one k: right signs of the path predictor among the quarter with the largest |prediction|, and among
-- those where it does not abstain, because the drift-matched one has its sign.
local function graded(p)
    local order, right, answered, agreed = {}, 0, 0, 0
    for t = 1, #p.path do
        order[t] = t
        local hit = p.path[t] * p.realised[t] > 0 and 1 or 0
        if p.path[t] * p.drift[t] > 0 then answered, agreed = answered + 1, agreed + hit end
    end
    table.sort(order, function(a, b)
        local u, v = math.abs(p.path[a]), math.abs(p.path[b])
        if u ~= v then return u > v end
        return a < b
    end)
    local quarter = math.max(1, #order // 4)
    for t = 1, quarter do right = right + (p.path[order[t]] * p.realised[order[t]] > 0 and 1 or 0) end
    return statistics.proportion(right, quarter), answered, statistics.proportion(agreed, math.max(1, answered))
end

-- ---- all of them ----
local NAMES = { "start", "drift", "path" }
say([[
Does the sign of the bracket tell which order is better for a third task?
%s, %s; %d-%d-10 tanh, %s; %d examples a task, full batch, h = %g]], source, o.inputs,
    inputs, o.hidden, o.init, o.batch, o.lr)
local LABELS = { start = "at start", drift = "drift-matched", path = "along the path" }
local panels = {}
for _, kind in ipairs(o.kinds) do
    local make = kinds[kind] or error("--kinds: expected rotated, permuted or split, got " .. tostring(kind), 0)
    local hits, pairs_of = {}, {}
    for _, k in ipairs(o.ks) do
        hits[k], pairs_of[k] = { start = 0, drift = 0, path = 0 }, { realised = {}, start = {}, drift = {}, path = {} }
    end
    for t = 1, o.triples do
        local s = stream.new(stream.key(o.seed, t, #kind))
        local triple = make(s)
        local theta0 = model:init{ seed = o.seed * 1000 + t, scheme = o.init }
        for k, row in pairs(study(triple[1], triple[2], triple[3], theta0)) do
            for _, name in ipairs(NAMES) do
                if row[name] * row.realised > 0 then hits[k][name] = hits[k][name] + 1 end
                table.insert(pairs_of[k][name], row[name])
            end
            table.insert(pairs_of[k].realised, row.realised)
        end
    end
    say("\n%s, %d triples            share of right signs [95 %%]          rank correlation", kind, o.triples)
    say("   k   at start             drift-matched        along the path        start  drift  path")
    local panel = { title = string.format("%s, %d triples", kind, o.triples), xlabel = "steps a task",
        ylabel = "share of right signs", logx = true, yrange = { 0.3, 1.02 }, key = "lower" }
    for i, name in ipairs(NAMES) do panel[i] = { x = {}, y = {}, low = {}, high = {}, label = LABELS[name] } end
    panels[#panels + 1] = panel
    for _, k in ipairs(o.ks) do
        local cells, rho = {}, {}
        for i, name in ipairs(NAMES) do
            local p = statistics.proportion(hits[k][name], o.triples)
            cells[#cells + 1] = string.format("%.3f [%.2f, %.2f]", p.mean, p.low, p.high)
            rho[#rho + 1] = string.format("%5.2f", statistics.spearman(pairs_of[k][name], pairs_of[k].realised).rho)
            table.insert(panel[i].x, k)
            table.insert(panel[i].y, p.mean)
            table.insert(panel[i].low, p.low)
            table.insert(panel[i].high, p.high)
        end
        say("%4d   %s   %s", k, table.concat(cells, "   "), table.concat(rho, "  "))
    end
    say("   k   along the path: largest quarter of |score|   where drift-matched has its sign")
    for _, k in ipairs(o.ks) do
        local top, answered, agreed = graded(pairs_of[k])
        say("%4d   %.3f [%.2f, %.2f] of %-4d                   %.3f [%.2f, %.2f] of %d", k, top.mean, top.low, top.high,
            top.n, agreed.mean, agreed.low, agreed.high, answered)
    end
end
say("\n%d s", experiment.clock(began))
if o.out ~= "" then experiment.plot{ panels = panels, out = o.out } end

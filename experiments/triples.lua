-- Which of two orders of A and B is better for E? The realised difference and three predictions of it, over many
-- triples of losses; order_prediction and language differ in what the triples are.
local bk = require "bracket"
local experiment = dofile((arg[0]:match("^.*/") or "") .. "../common.lua")
local statistics, say = bk.statistics, experiment.say
local triples = {}
local NAMES = { "start", "drift", "path" }
local LABELS = { start = "at start", drift = "drift-matched", path = "along the path" }

-- Compiled functions of (theta, x, y): a loss; derivatives. Of (theta, what `data` lists): what steps of rate h on A
-- and B descend (the loss and its flatness term), and E. The size of the predicted remainder of the path with this
-- weight.
function triples.functions(loss, weight)
    local f = { value = bk.compile(loss), grad = bk.grad(loss), hvp = bk.hvp(loss) }
    local function stepped(theta, x, y, h)
        local g = f.grad(theta, x, y)
        return loss(theta, x, y) + h * g:dot(g) / 4
    end
    function f.data(A, B, E, h) return { A.x, A.y, B.x, B.y, E.x, E.y, bk.tensor(h) } end
    function f.first(theta, xa, ya, _, _, _, _, h) return stepped(theta, xa, ya, h) end
    function f.second(theta, _, _, xb, yb, _, _, h) return stepped(theta, xb, yb, h) end
    function f.target(theta, _, _, _, _, xe, ye, _) return loss(theta, xe, ye) end
    local function bracket(a, b) -- of two functions of theta: the derivative of b along a less that of a along b
        return function(theta)
            local _, along = bk.jvp(b, { theta }, { a(theta) })
            local _, back = bk.jvp(a, { theta }, { b(theta) })
            return along - back
        end
    end
    -- The order effect on E at theta has kappa² <g_E, [A,B]>, and the path leaves kappa⁴ <g_E, [B,[A,[A,B]]]> / 12, or
    -- <g_E, [X,[X,[A,B]]]> / 48 with X = A - B of the tent: these two factors.
    f.leading = bk.compile(function(theta, xa, ya, xb, yb, xe, ye)
        local function field(x, y) return function(t) return -f.grad(t, x, y) end end
        local A, B, g = field(xa, ya), field(xb, yb), f.grad(theta, xe, ye)
        local ab = bracket(A, B)
        local function X(t) return A(t) - B(t) end
        local left = weight == "tent" and bracket(X, bracket(X, ab))(theta) / 48
            or bracket(B, bracket(A, ab))(theta) / 12
        return g:dot(ab(theta)), g:dot(left)
    end)
    return f
end

-- The ends of k steps of rate h on first and then k on second, by k.
local function blocks(f, first, second, theta0, ks, h)
    local theta, at, ends, wanted, longest = theta0, {}, {}, {}, 0
    local function step(t) theta = theta - f.grad(theta, t.x, t.y) * h end
    for _, k in ipairs(ks) do wanted[k], longest = true, math.max(longest, k) end
    for s = 1, longest do
        step(first)
        if wanted[s] then at[s] = theta end
    end
    for _, k in ipairs(ks) do
        theta = at[k]
        for _ = 1, k do step(second) end
        ends[k] = theta
    end
    return ends
end

-- The order effect is D(1), where D(e) is E after k steps of (h/2) ((1 + e) g_A + (1 - e) g_B) and k with A and B
-- exchanged, less E after the same with -e: odd in e, and 0 on the joint path. Its series there, of 1, 2, ..., terms
-- odd powers, at e = 1, by the polynomial through D at e = 0.1, 0.2, 0.4, ...
function triples.departing(f, A, B, E, theta0, k, h, terms)
    local function ended(e)
        local theta = theta0
        for s = 1, 2 * k do
            local d = s <= k and e or -e
            theta = theta - (f.grad(theta, A.x, A.y) * (1 + d) + f.grad(theta, B.x, B.y) * (1 - d)) * (h / 2)
        end
        return f.value(theta, E.x, E.y):item()
    end
    local at, slope, sums = {}, {}, {}
    for i = 1, terms do
        at[i] = 0.1 * 2 ^ (i - 1)
        slope[i], sums[i] = (ended(at[i]) - ended(-at[i])) / at[i], 0
        for j = 1, i do
            local weight = slope[j]
            for m = 1, i do
                if m ~= j then weight = weight * (1 - at[m] ^ 2) / (at[j] ^ 2 - at[m] ^ 2) end
            end
            sums[i] = sums[i] + weight
        end
    end
    return sums
end

-- rows[k] = { realised, start, drift, path, h, series } at the rate h, the same for all k.
local function compared(f, A, B, E, theta0, ks, h, o, rows)
    local function value(theta) return f.value(theta, E.x, E.y):item() end
    local ab, ba = blocks(f, A, B, theta0, ks, h), blocks(f, B, A, theta0, ks, h)
    local gA, gB = f.grad(theta0, A.x, A.y), f.grad(theta0, B.x, B.y)
    local gE = f.grad(theta0, E.x, E.y)
    local bracket = f.hvp(theta0, gA, B.x, B.y) - f.hvp(theta0, gB, A.x, A.y)
    for _, k in ipairs(ks) do
        local kappa, long = k * h, o.path_steps == 0 and o.long > 0 and k >= o.long
        local drifted = f.grad(theta0 - (gA + gB) * kappa, E.x, E.y)
        local path = bk.bea.path_bracket{
            f.first, f.second, target = f.target, data = f.data(A, B, E, h),
            theta = theta0, time = kappa, steps = o.path_steps > 0 and o.path_steps or long and k or math.ceil(k / 2),
            method = long and "euler" or "heun", weight = o.weight,
        }
        rows[k] = { realised = value(ab[k]) - value(ba[k]), start = kappa ^ 2 * gE:dot(bracket):item(),
            drift = kappa ^ 2 * drifted:dot(bracket):item(), path = path, h = h,
            series = triples.departing(f, A, B, E, theta0, k, h, o.terms) }
    end
    return rows
end

-- With o.remainder = r > 0 each k has a rate of its own, at most o.lr: the one at which the predicted remainder of
-- order kappa⁴ is r of the leading term.
local function study(f, A, B, E, theta0, o)
    local rows = {}
    if o.remainder <= 0 then return compared(f, A, B, E, theta0, o.ks, o.lr, o, rows) end
    local lead, rest = f.leading(theta0, A.x, A.y, B.x, B.y, E.x, E.y)
    local kappa = math.sqrt(o.remainder * math.abs(lead:item() / rest:item()))
    for _, k in ipairs(o.ks) do compared(f, A, B, E, theta0, { k }, math.min(o.lr, kappa / k), o, rows) end
    return rows
end

-- Of the triples at one k: right signs of predictions among the quarter with the largest |prediction|, and among those
-- where one does not abstain, because the drift-matched one has its sign.
local function graded(predicted, p)
    local order, right, answered, agreed = {}, 0, 0, 0
    for t = 1, #predicted do
        order[t] = t
        local hit = predicted[t] * p.realised[t] > 0 and 1 or 0
        if predicted[t] * p.drift[t] > 0 then answered, agreed = answered + 1, agreed + hit end
    end
    table.sort(order, function(a, b)
        local u, v = math.abs(predicted[a]), math.abs(predicted[b])
        if u ~= v then return u > v end
        return a < b
    end)
    local quarter = math.max(1, #order // 4)
    for t = 1, quarter do right = right + (predicted[order[t]] * p.realised[order[t]] > 0 and 1 or 0) end
    return statistics.proportion(right, quarter), answered, statistics.proportion(agreed, math.max(1, answered))
end

-- The series by its number of terms: right signs, of all and of the largest quarter, and how far off it is.
local function print_series(ks, pairs_of, terms)
    say("   k   terms of the series     largest quarter            rank   median error / realised")
    for _, k in ipairs(ks) do
        local p = pairs_of[k]
        for m = 1, terms do
            local predicted, off, right = p.series[m], {}, 0
            for t, real in ipairs(p.realised) do
                off[t] = math.abs(predicted[t] / real - 1)
                right = right + (predicted[t] * real > 0 and 1 or 0)
            end
            table.sort(off)
            local all, top = statistics.proportion(right, #off), graded(predicted, p)
            local rho = statistics.spearman(predicted, p.realised).rho
            say("%4d   %d  %.3f [%.2f, %.2f]   %.3f [%.2f, %.2f] of %-4d  %s   %.2f", k, m, all.mean, all.low, all.high,
                top.mean, top.low, top.high, top.n, experiment.number("%5.2f", rho), off[(#off + 1) // 2])
        end
    end
end

-- Studies o.triples triples, make(t) -> f, A, B, E, theta0, and prints what came out; returns a panel of a figure.
-- o: ks, lr, triples, weight, remainder, terms (of the series, 0: none), and how the joint path is run: from k = long
-- on (0: never) as the k joint steps themselves (Euler's), which go where the training goes however stiff the losses
-- are; else by Heun's method, in as many steps as path_steps says, 0: half of k, which costs as much.
function triples.run(kind, o, make)
    local hits, pairs_of = {}, {}
    for _, k in ipairs(o.ks) do
        hits[k] = { start = 0, drift = 0, path = 0 }
        pairs_of[k] = { realised = {}, start = {}, drift = {}, path = {}, h = {}, series = {} }
        for m = 1, o.terms do pairs_of[k].series[m] = {} end
    end
    for t = 1, o.triples do
        local f, A, B, E, theta0 = make(t)
        for k, row in pairs(study(f, A, B, E, theta0, o)) do
            for _, name in ipairs(NAMES) do
                if row[name] * row.realised > 0 then hits[k][name] = hits[k][name] + 1 end
                table.insert(pairs_of[k][name], row[name])
            end
            table.insert(pairs_of[k].realised, row.realised)
            table.insert(pairs_of[k].h, row.h)
            for m = 1, o.terms do table.insert(pairs_of[k].series[m], row.series[m]) end
        end
    end
    say("\n%s, %d triples            share of right signs [95 %%]          rank correlation%s", kind, o.triples,
        o.remainder > 0 and "      median rate" or "")
    say("   k   at start             drift-matched        along the path        start  drift  path")
    local panel = { title = string.format("%s, %d triples", kind, o.triples), xlabel = "steps a task",
        ylabel = "share of right signs", logx = true, yrange = { 0.3, 1.02 }, key = "lower" }
    for i, name in ipairs(NAMES) do panel[i] = { x = {}, y = {}, low = {}, high = {}, label = LABELS[name] } end
    for _, k in ipairs(o.ks) do
        local cells, rho = {}, {}
        for i, name in ipairs(NAMES) do
            local p = statistics.proportion(hits[k][name], o.triples)
            cells[#cells + 1] = string.format("%.3f [%.2f, %.2f]", p.mean, p.low, p.high)
            rho[#rho + 1] = experiment.number("%5.2f", statistics.spearman(pairs_of[k][name], pairs_of[k].realised).rho)
            table.insert(panel[i].x, k)
            table.insert(panel[i].y, p.mean)
            table.insert(panel[i].low, p.low)
            table.insert(panel[i].high, p.high)
        end
        local h = pairs_of[k].h
        table.sort(h)
        say("%4d   %s   %s%s", k, table.concat(cells, "   "), table.concat(rho, "  "),
            o.remainder > 0 and ("      %.4f"):format(h[(#h + 1) // 2]) or "")
    end
    say("   k   along the path: largest quarter of |score|   where drift-matched has its sign")
    for _, k in ipairs(o.ks) do
        local top, answered, agreed = graded(pairs_of[k].path, pairs_of[k])
        say("%4d   %.3f [%.2f, %.2f] of %-4d                   %.3f [%.2f, %.2f] of %d", k, top.mean, top.low, top.high,
            top.n, agreed.mean, agreed.low, agreed.high, answered)
    end
    if o.terms > 0 then print_series(o.ks, pairs_of, o.terms) end
    return panel
end

return triples

-- bk.bea.fit: the terms of the modified equation recovered from a logged trajectory by regression.
local bk = ...
local where = "bk.bea.fit"
local NODES = 6 -- of the rule by which fields are integrated between two rows
local FEWEST = 8 -- intervals
local show, refuse = bk._options.show, bk._options.refuse

local function fail(format, ...) refuse(where .. ": " .. format, ...) end

-- ---- what was given ----

-- The runs as lists of vectors (P): of one tensor (rows, P), a list of vectors, or a list of either.
local function runs_of(trajectory, inner)
    local function shape_of(t) return bk.is_tensor(t) and t:shape() or nil end
    local list = type(trajectory) == "table" and bk._options.length(trajectory)
    local one = shape_of(trajectory) or list and shape_of(trajectory[1])
    if not one and list and type(trajectory[1]) == "table" and not inner then one = {} end
    if not one then fail("trajectory: expected a tensor (rows, parameters) or a list of vectors, got %s",
        show(trajectory)) end
    if bk.is_tensor(trajectory) then
        if #one ~= 2 then fail("trajectory: expected (rows, parameters), got (%s)", table.concat(one, ",")) end
        return { trajectory }
    end
    if #one == 1 then return { trajectory } end
    local runs = {}
    for k = 1, #trajectory do runs[k] = runs_of(trajectory[k], true)[1] end
    return runs
end

-- Steps of a round, and the order as the fields take it.
local function round_of(order, n)
    if order == "joint" then return 1, order end
    if order == "random" then return n, order end
    if order == "cyclic" or order == "palindromic" then
        local word = {}
        for i = 1, n do word[i] = i end
        if order == "palindromic" then
            for i = n, 1, -1 do word[#word + 1] = i end
        end
        return #word, word
    end
    if type(order) == "table" and #order > 0 then
        for _, i in ipairs(order) do
            if math.type(i) ~= "integer" or i < 1 or i > n then
                fail("order: expected tasks 1..%d, got %s", n, show(i))
            end
        end
        return #order, order
    end
    fail("order: expected \"joint\", \"cyclic\", \"palindromic\", \"random\" or a list of tasks, got %s",
        type(order) == "table" and "an empty list" or show(order))
end

-- The rows at which time had passed: { row, time in rounds at the mean rate, rate there over the mean one }.
local function clock(o, rows, round)
    local steps = o.steps
    if not steps then
        steps = {}
        for k = 1, rows do steps[k] = (k - 1) * (o.every or round) end
    elseif #steps ~= rows then
        fail("steps: expected %d, one a row, got %d", rows, #steps)
    end
    for k = 1, rows do
        if not math.tointeger(steps[k]) then
            fail("steps: row %d: expected a whole number, got %s", k, show(steps[k]))
        end
    end
    local taken = steps[rows] - steps[1]
    for k = 1, o.lr and #o.lr or 0 do
        if type(o.lr[k]) ~= "number" or o.lr[k] - o.lr[k] ~= 0 then
            fail("lr: step %d: expected a finite number, got %s", k, show(o.lr[k]))
        end
    end
    if o.lr and #o.lr ~= taken then fail("lr: expected %d rates, one a step, got %d", taken, #o.lr) end
    local mean = o.lr and bk.statistics.mean(o.lr) or 1
    local time, within, at = { 0 }, {}, 0
    for k = 2, rows do
        local count = steps[k] - steps[k - 1]
        if count < 1 or count % round ~= 0 then
            fail("row %d: expected whole rounds of %d steps between rows, got %d", k, round, count)
        end
        local sum = 0
        for _ = 1, count do
            at = at + 1
            sum = sum + (o.lr and o.lr[at] / mean or 1)
        end
        time[k], within[k - 1] = time[k - 1] + sum / round, sum / count
    end
    local clocked = {}
    for k = 1, rows do
        if k == 1 or time[k] > time[k - 1] then -- a step of rate 0 leaves the same point
            local rate = ((within[k - 1] or within[k]) + (within[k] or within[k - 1])) / 2
            clocked[#clocked + 1] = { row = k, time = time[k], rate = rate }
        end
    end
    return clocked
end

-- ---- the regression ----

local GAUSS = { { 0.5 - math.sqrt(15) / 10, 5 / 18 }, { 0.5, 8 / 18 }, { 0.5 + math.sqrt(15) / 10, 5 / 18 } }

-- Weights w_j with sum_j w_j f(t_j) = the integral from a to b of the polynomial through all (t_j, f(t_j)).
local function weights(t, a, b)
    local w = {}
    for j = 1, #t do
        local sum = 0
        for _, g in ipairs(GAUSS) do -- exact to degree 5
            local x, basis = a + (b - a) * g[1], 1
            for i = 1, #t do
                if i ~= j then basis = basis * (x - t[i]) / (t[j] - t[i]) end
            end
            sum = sum + g[2] * basis
        end
        w[j] = sum * (b - a)
    end
    return w
end

-- For every interval between two rows the inner products of the fields' integrals and of theta's change, p + 1 vectors,
-- as one row of (p + 1)^2 numbers.
local function products(o, fields, run, round, list)
    local p, kept, size = #fields.calls, {}, nil
    if #run - o.skip < NODES then
        fail("trajectory: expected %d rows or more after the %d skipped, got %d", NODES, o.skip,
            math.max(0, #run - o.skip))
    end
    local clocked = clock(o, #run, round)
    local function at(k)
        if not kept[k] then
            local theta = run[clocked[k].row]
            if not bk.is_tensor(theta) then
                fail("trajectory: row %d: expected a vector, got %s", clocked[k].row, show(theta))
            end
            theta = theta:to("float64")
            size = size or #theta
            if theta:ndim() ~= 1 or #theta ~= size then
                fail("trajectory: row %d: expected (%d), got %s", clocked[k].row, size,
                    bk._options.shape_text(theta))
            end
            local values = { theta = theta }
            for j = 1, p do values[j] = fields.calls[j](theta) * clocked[k].rate ^ (fields.degrees[j] - 1) end
            kept[k], kept[k - NODES] = values, nil
        end
        return kept[k]
    end
    for k = o.skip + 1, #clocked - NODES + 1 do
        local middle, t = k + NODES // 2 - 1, {}
        for i = 1, NODES do t[i] = clocked[k + i - 1].time end
        local w, vectors = weights(t, t[NODES // 2], t[NODES // 2 + 1]), {}
        for j = 1, p do
            local sum = at(k)[j] * w[1]
            for i = 2, NODES do sum = sum + at(k + i - 1)[j] * w[i] end
            vectors[j] = sum
        end
        vectors[p + 1] = at(middle).theta - at(middle + 1).theta
        local m = bk.stack(vectors)
        local row = m:matmul(m:transpose()):reshape{ (p + 1) * (p + 1) }
        if not bk._options.is_finite(row) then fail("trajectory: row %d: nan or inf", clocked[middle].row) end
        list[#list + 1] = row
    end
end

-- The coefficients of the first q fields by least squares; directions that the trajectory does not tell apart within
-- rounding get none. sums: the (p + 1)^2 products.
local function solve(sums, p, q)
    local s = sums:reshape{ p + 1, p + 1 }
    local a, b = s:narrow(1, 1, q):narrow(2, 1, q), s:narrow(2, p + 1, 1):narrow(1, 1, q):reshape{ q }
    local scale = {}
    for j = 1, q do
        local square = a[j][j]:item()
        scale[j] = square > 0 and 1 / math.sqrt(square) or 0
    end
    scale = bk.tensor(scale)
    local w, V = bk.linalg.eigh(a * scale * scale:reshape{ q, 1 })
    local values, inverse = w:totable(), {}
    for j, value in ipairs(values) do inverse[j] = value > 1e-13 * values[q] and 1 / value or 0 end
    local c = V:matmul(bk.tensor(inverse) * V:transpose():matmul(b * scale))
    return (c * scale):totable(), values[1] / values[q]
end

-- What is said of the coefficients, by name.
local function told(c, names)
    local t = { rate = c[1] }
    for j = 2, #names do
        if names[j] == "flatness" then t.flatness, t.momentum = c[j] / c[1], 4 * c[j] / c[1] ^ 2 end
        if names[j] == "conflict" then t.conflict = c[j] / c[1] end
    end
    return t
end

-- The fit, and its spread over samples of blocks of neighbouring intervals, drawn with replacement.
local function estimate(rows, names, p, q, o)
    local n = #rows
    local all = bk.stack(rows)
    local best = told((solve(all:sum(1), p, q)), names)
    local block = math.min(o.block or math.max(NODES, math.floor(n ^ (1 / 3) + 0.5)), n)
    local s, counts = bk.stream.new(bk.stream.key(o.seed, 17)), {}
    for r = 1, o.resamples do
        local row = {}
        for k = 1, n do row[k] = 0 end
        for _ = 1, math.ceil(n / block) do
            local first = bk.stream.below(s, n) -- blocks go round the end, so that all intervals weigh the same
            for k = first, first + block - 1 do row[k % n + 1] = row[k % n + 1] + 1 end
        end
        counts[r] = row
    end
    local sums, drawn = bk.tensor(counts, { dtype = "float64" }):matmul(all), {}
    for r = 1, o.resamples do
        for name, value in pairs(told((solve(sums[r], p, q)), names)) do
            drawn[name] = drawn[name] or {}
            table.insert(drawn[name], value)
        end
    end
    for _, values in pairs(drawn) do table.sort(values) end
    return best, drawn
end

local function main_terms_differ(rows, p, q)
    local _, condition = solve(bk.stack(rows):sum(1), p, q)
    if condition < 1e-10 then
        fail("the terms are multiples of one another along this trajectory; they cannot be told apart")
    end
end

-- The share of theta's changes, by squared norms, that is left.
local function residual(rows, p)
    local sums = bk.stack(rows):sum(1)
    local c = solve(sums, p, p)
    local s, left = sums:reshape{ p + 1, p + 1 }:totable(), 0
    c[p + 1] = -1
    for i = 1, p + 1 do
        for j = 1, p + 1 do left = left + c[i] * c[j] * s[i][j] end
    end
    return math.max(left, 0) / s[p + 1][p + 1]
end

local function fit(o)
    local losses = o.losses
    if #losses == 0 then fail("losses: expected a list of losses, got an empty one") end
    for i = 1, #losses do
        if not pcall(bk.grad, losses[i]) then
            fail("losses: %d: expected a function of theta, got %s", i, show(losses[i]))
        end
    end
    local round, order = round_of(o.order, #losses)
    local fields = bk.bea._fit_fields(losses, order, o.degree)
    local p, rows = #fields.calls, {}
    for _, run in ipairs(runs_of(o.trajectory)) do products(o, fields, run, round, rows) end
    if #rows < FEWEST then
        fail("trajectory: expected %d rows or more after those skipped, got %d", FEWEST + NODES - 1, #rows + NODES - 1)
    end
    local below, main = 0, 0
    for _, degree in ipairs(fields.degrees) do
        below, main = below + (degree < o.degree and 1 or 0), main + (degree <= 2 and 1 or 0)
    end
    main_terms_differ(rows, p, main)
    local best, drawn = estimate(rows, fields.names, p, p, o)
    local shorter = o.degree > 2 and told((solve(bk.stack(rows):sum(1), p, below)), fields.names) or {}
    local result = { intervals = #rows, order = order, residual = residual(rows, p) }
    local tail = math.floor(o.resamples * 0.025)
    for name, value in pairs(best) do
        local truncation = shorter[name] and math.abs(value - shorter[name]) or 0
        result[name] = { value = value, truncation = truncation, low = drawn[name][tail + 1] - truncation,
            high = drawn[name][o.resamples - tail] + truncation }
    end
    result.flatness.expected = best.rate / 4
    if result.conflict then result.conflict.expected = best.rate / 2 end
    return result
end

return bk.define{
    name = "bk.bea.fit",
    returns = "{ rate, flatness, conflict, momentum, residual, intervals }",
    doc = [[
The terms of the modified equation from a logged trajectory alone: theta's changes between rows are regressed on the
integrals of the losses' fields along the rows, by a rule of six nodes, so that nothing is assumed of the rule that made
the steps. A round moves theta by
    -rate (grad L + flatness grad sum_i |g_i|^2 + conflict C) + terms of degree 3 to `degree`, free as well,
L the sum of the round's losses; C = grad sum_{i<j} <g_i, g_j> of joint steps, and of one task a step
-sum_{i<j} W_ij [g_i, g_j] at unit rates (none for palindromes and random order).
Gradient steps of rate h give rate = h, flatness = h/4 and conflict = h/2. Momentum b on one loss or joint steps gives
rate = h/(1 - b), and (1 + b)/(1 - b) times rate/4 and rate/2, once its transient is skipped; averages (1 - b) g the
same with rate = h. momentum = 4 flatness / rate is that factor.

Each is { value, low, high, truncation }, flatness and conflict with what gradient steps of that rate would have as
expected. low and high: the 95 % interval, percentiles over samples of blocks of neighbouring intervals, widened on
both sides by truncation, by how much the terms of the highest degree change the value. residual: the share of
the squared changes that is left, near 0 where the losses explain the steps, near 1 where theta lies in another order
than they take it. It holds where rate times the largest eigenvalue is well below 1, for full batches
or, with order = "random", for epochs that take each of the losses, minibatches of fixed examples, once.]],
    errors = "rows too few or of other sizes; terms that are multiples of one another along the trajectory.",
    source = "Barrett & Dherin 2021, Dherin 2023, Ghosh et al. 2023 (the terms); the regression was not found there",
    options = {
        { "losses", "list", required = true, doc = "of the tasks, functions of theta" },
        { "trajectory", "any", required = true,
            doc = "theta at the logged steps: (rows, parameters), a list of vectors, or a list of such, one a run" },
        { "order", "string|list", default = "joint", doc = "of the tasks in a round: \"joint\", \"cyclic\", "
            .. "\"palindromic\", \"random\" or a list of tasks" },
        { "every", "count", says = "a round", doc = "steps between rows" },
        { "steps", "list", doc = "in place of every: the step of each row" },
        { "lr", "list", doc = "the rate of every step, in any unit, where it changed" },
        { "skip", "integer", default = 0, low = 0, doc = "rows at the beginning that are left out" },
        { "degree", "integer", default = 4, low = 2, high = 4, doc = "in the rate, of the last terms" },
        { "resamples", "count", default = 1000, doc = "of the intervals" },
        { "block", "count", says = "the cube root of the intervals' number, 6 or more",
            doc = "intervals that are drawn together" },
        { "seed", "integer", default = 0, doc = "of what is drawn" },
    },
    call = fit,
}

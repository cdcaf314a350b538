-- Small statistics: mean with its 95 % interval (Student's t), Wilson interval of a proportion, Spearman's rank
-- correlation with Fisher's interval or one by groups, slope of a line in log-log, correlation.
local bk = ...
local public = bk.internal.public
local show, numbers, refuse = bk._options.show, bk._options.numbers, bk._options.refuse
local statistics = {}
local Z95 = 1.959963984540054 -- the normal distribution's two-sided 95 % quantile

-- The share of Student's t within sqrt(df) tan(a) of 0 (Abramowitz & Stegun 26.7.3, 26.7.4).
local function within(df, a)
    local odd, cosine = df % 2 == 1, math.cos(a)
    local term = odd and cosine or 1
    local sum = df > 1 and term or 0
    for k = odd and 3 or 2, df - 2, 2 do
        term = term * cosine * cosine * (k - 1) / k
        sum = sum + term
    end
    return odd and (a + math.sin(a) * sum) * 2 / math.pi or math.sin(a) * sum
end

function statistics.t95(df)
    if not (df >= 1) then return math.huge end
    if df > 200 then -- Cornish & Fisher's series: to 1e-9 here (Abramowitz & Stegun 26.7.5)
        local z, n = Z95, 4 * df
        return z + (z ^ 3 + z) / n + (5 * z ^ 5 + 16 * z ^ 3 + 3 * z) / (6 * n ^ 2)
            + (3 * z ^ 7 + 19 * z ^ 5 + 17 * z ^ 3 - 15 * z) / (6 * n ^ 3)
    end
    df = math.floor(df)
    local low, high = 0, math.pi / 2
    for _ = 1, 52 do
        local middle = (low + high) / 2
        if within(df, middle) < 0.95 then low = middle else high = middle end
    end
    return math.sqrt(df) * math.tan((low + high) / 2)
end

function statistics.mean(values)
    local sum = 0
    for _, v in ipairs(values) do sum = sum + v end
    return sum / #values
end

-- { n, mean, sd, half, low, high }
function statistics.interval(values)
    local n, mean = #values, statistics.mean(values)
    local ss = 0
    for _, v in ipairs(values) do ss = ss + (v - mean) ^ 2 end
    local sd = n > 1 and math.sqrt(ss / (n - 1)) or 0
    local half = n > 1 and statistics.t95(n - 1) * sd / math.sqrt(n) or math.huge
    return { n = n, mean = mean, sd = sd, half = half, low = mean - half, high = mean + half, values = values }
end

-- Wilson's 95 % interval of hits out of n.
function statistics.proportion(hits, n)
    local z, p = Z95, hits / n
    local centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    local half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return { n = n, mean = p, low = centre - half, high = centre + half }
end

function statistics.correlation(x, y)
    local mx, my, sxy, sxx, syy = statistics.mean(x), statistics.mean(y), 0, 0, 0
    for i = 1, #x do
        sxy = sxy + (x[i] - mx) * (y[i] - my)
        sxx = sxx + (x[i] - mx) ^ 2
        syy = syy + (y[i] - my) ^ 2
    end
    return sxy / math.sqrt(sxx * syy)
end

function statistics.ranks(values)
    local index, rank = {}, {}
    for i = 1, #values do index[i] = i end
    table.sort(index, function(a, b)
        if values[a] ~= values[b] then return values[a] < values[b] end
        return a < b
    end)
    local i = 1
    while i <= #index do
        local j = i
        while j < #index and values[index[j + 1]] == values[index[i]] do j = j + 1 end
        for k = i, j do rank[index[k]] = (i + j) / 2 end -- ties share their mean rank
        i = j + 1
    end
    return rank
end

-- Spearman's rho; interval by Fisher's z with variance (1 + rho^2/2)/(n-3) (Bonett & Wright 2000).
function statistics.spearman(x, y)
    local n, rho = #x, statistics.correlation(statistics.ranks(x), statistics.ranks(y))
    local r = math.max(-1 + 1e-12, math.min(1 - 1e-12, rho))
    local z = 0.5 * math.log((1 + r) / (1 - r))
    local half = n > 3 and Z95 * math.sqrt((1 + r * r / 2) / (n - 3)) or math.huge
    local function tanh(u)
        if u > 20 then return 1 elseif u < -20 then return -1 end
        local e = math.exp(2 * u)
        return (e - 1) / (e + 1)
    end
    return { rho = rho, n = n, low = tanh(z - half), high = tanh(z + half) }
end

-- The 95 % interval of Spearman's rho when the points come in groups that share a cause (runs of one angle): whole
-- groups are drawn with replacement (Field & Welsh 2007), so that the points of one count as one finding.
function statistics.spearman_grouped(x, y, groups, draws, s)
    local stream = bk.stream
    local members, names = {}, {}
    for i, name in ipairs(groups) do
        if not members[name] then
            members[name], names[#names + 1] = {}, name
        end
        table.insert(members[name], i)
    end
    local rhos = {}
    for k = 1, draws do
        local u, v = {}, {}
        for _ = 1, #names do
            for _, i in ipairs(members[names[stream.below(s, #names) + 1]]) do
                u[#u + 1], v[#v + 1] = x[i], y[i]
            end
        end
        rhos[k] = statistics.correlation(statistics.ranks(u), statistics.ranks(v))
        if rhos[k] ~= rhos[k] then rhos[k] = 0 end -- one group drawn every time, all of a value
    end
    table.sort(rhos)
    local all, n = statistics.correlation(statistics.ranks(x), statistics.ranks(y)), #names
    if n < 2 then return { rho = all, n = n, low = -1, high = 1 } end -- one group says nothing of others
    return { rho = all, n = n, low = rhos[math.max(1, draws // 40)], high = rhos[draws - draws // 40] }
end

-- Least-squares slope of log y against log x.
function statistics.slope(x, y)
    local lx, ly = {}, {}
    for i = 1, #x do lx[i], ly[i] = math.log(x[i]), math.log(y[i]) end
    local mx, my, sxy, sxx = statistics.mean(lx), statistics.mean(ly), 0, 0
    for i = 1, #x do
        sxy = sxy + (lx[i] - mx) * (ly[i] - my)
        sxx = sxx + (lx[i] - mx) ^ 2
    end
    return sxy / sxx
end

-- The same with their arguments checked: lists, and numbers; x and y belong together.
local ARGUMENTS = { t95 = { "df" }, mean = { { "values" } }, interval = { { "values" } }, ranks = { { "values" } },
    proportion = { "hits", "n" }, correlation = { { "x" }, { "y" } }, spearman = { { "x" }, { "y" } },
    slope = { { "x" }, { "y" } }, spearman_grouped = { { "x" }, { "y" } } }
for name, f in pairs(statistics) do
    local where, arguments = "bk.statistics." .. name, ARGUMENTS[name]
    local function checked(...)
        for k, argument in ipairs(arguments) do
            local value = select(k, ...)
            if type(argument) == "table" then
                numbers(where, argument[1], value)
            elseif type(value) ~= "number" then
                refuse("%s: %s: expected a number, got %s", where, argument, show(value))
            end
        end
        local x, y, groups, draws, s = ...
        if #arguments == 2 and type(x) == "table" and #x ~= #y then
            refuse("%s: y: expected %d numbers, as x has, got %d", where, #x, #y)
        end
        if name == "proportion" and not (x >= 0 and x <= y and y > 0 and y < math.huge) then
            refuse("%s: hits, n: expected 0 <= hits <= n, n > 0, got %s of %s", where, show(x), show(y))
        end
        if name == "slope" then
            for k = 1, #x do
                if x[k] <= 0 then refuse("%s: x: entry %d: expected a number > 0, got %s", where, k, show(x[k])) end
                if y[k] < 0 then refuse("%s: y: entry %d: expected a number >= 0, got %s", where, k, show(y[k])) end
            end
        end
        if name == "spearman_grouped" then
            for k = 1, type(groups) == "table" and bk._options.length(groups) or 0 do
                if groups[k] == nil or groups[k] ~= groups[k] then
                    refuse("%s: groups: entry %d: expected a name, got %s", where, k, show(groups[k]))
                end
            end
            if type(groups) ~= "table" or #groups ~= #x then
                refuse("%s: groups: expected %d, one a point, got %s", where, #x,
                    type(groups) == "table" and #groups or show(groups))
            end
            if math.type(draws) ~= "integer" or draws < 1 then
                refuse("%s: draws: expected a whole number >= 1, got %s", where, show(draws))
            end
            if type(s) ~= "table" then refuse("%s: stream: expected a stream, got %s", where, show(s)) end
        end
        return f(...)
    end
    statistics[name] = checked
end

statistics.t95 = public(statistics.t95, [[
bk.statistics.t95(df) -> number
The two-sided 95 % quantile of Student's t for df degrees of freedom (below 200 the whole number of them).]])
statistics.mean = public(statistics.mean, [[
bk.statistics.mean(values) -> number
The arithmetic mean of a list.]])
statistics.interval = public(statistics.interval, [[
bk.statistics.interval(values) -> { n, mean, sd, half, low, high, values }
The mean with its 95 % interval by Student's t.]])
statistics.proportion = public(statistics.proportion, [[
bk.statistics.proportion(hits, n) -> { n, mean, low, high }
A share with its 95 % interval.

Source: Wilson 1927.]])
statistics.correlation = public(statistics.correlation, [[
bk.statistics.correlation(x, y) -> number
Pearson's correlation of two lists of one length.]])
statistics.ranks = public(statistics.ranks, [[
bk.statistics.ranks(values) -> list
The rank of every value, from 1; ties share their mean rank.]])
statistics.spearman = public(statistics.spearman, [[
bk.statistics.spearman(x, y) -> { rho, n, low, high }
Spearman's rank correlation with a 95 % interval by Fisher's z.

Source: Bonett & Wright 2000.]])
statistics.spearman_grouped = public(statistics.spearman_grouped, [[
bk.statistics.spearman_grouped(x, y, groups, draws, stream) -> { rho, n, low, high }
Spearman's rank correlation of points in groups that share a cause, its 95 % interval by drawing whole groups.

Source: Field & Welsh 2007.]])
statistics.slope = public(statistics.slope, [[
bk.statistics.slope(x, y) -> number
The least-squares slope of log y against log x.]])

return statistics

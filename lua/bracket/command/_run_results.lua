-- The results of groups of runs (_run_groups.lua): the mean of each over the finished runs, and what it differs by from
-- a baseline's at the same seeds, which leaves out what seeds alone change. As numbers: run_view makes tables of them.
local bk = ...
local run_groups, query = bk._run_groups, bk._run_query
local sorted, natural = bk._table_text.sorted, bk._table_text.natural
local results = {}

-- The names of the runs' final metrics, and "loss", the last recorded one.
function results.names(runs)
    local all = {}
    for _, run in ipairs(runs) do
        all.loss = all.loss or run.loss and true
        for name in pairs(run.metrics) do all[name] = true end
    end
    return sorted(all)
end

function results.of_run(run, name)
    if name == "loss" then return run.loss end
    return run.metrics[name]
end

local function finite(run, name)
    local v = results.of_run(run, name)
    return v and v - v == 0 and v or nil
end

-- { n, mean, low, high }: of no number n alone, of one without an interval.
local function interval(values)
    if #values == 0 then return { n = 0 } end
    local i = bk.metric.interval(values)
    return { n = i.n, mean = i.mean, low = i.n > 1 and i.low or nil, high = i.n > 1 and i.high or nil }
end

-- Mean and 95 % interval (Student's t) over the finished runs with a finite number.
function results.over_seeds(group, name)
    local values = {}
    for _, run in ipairs(group.finished) do values[#values + 1] = finite(run, name) end
    return interval(values)
end

-- Seed -> the mean of the finished runs that have it: of one run its number.
local function by_seed(group, name)
    local sum, n = {}, {}
    for _, run in ipairs(group.finished) do
        local seed, v = run_groups.seed(run), finite(run, name)
        if v and seed ~= "-" then sum[seed], n[seed] = (sum[seed] or 0) + v, (n[seed] or 0) + 1 end
    end
    for seed, count in pairs(n) do sum[seed] = sum[seed] / count end
    return sum
end

-- The same of the differences to the baseline, one a seed that both have: { n, mean, low, high, seeds }.
function results.paired(group, baseline, name)
    local own, other, seeds, values = by_seed(group, name), by_seed(baseline, name), {}, {}
    for seed in pairs(own) do seeds[#seeds + 1] = other[seed] and seed or nil end
    table.sort(seeds, natural)
    for k, seed in ipairs(seeds) do values[k] = own[seed] - other[seed] end
    local i = interval(values)
    i.seeds = seeds
    return i
end

-- The group with which the others are compared: the one whose runs where(command, runs) keeps, the first without where.
function results.baseline(command, groups, runs, where)
    if not where then return groups[1] end
    local kept, found = {}, {}
    for _, run in ipairs(where(command, runs)) do kept[run] = true end
    for _, g in ipairs(groups) do
        local has = false
        for _, run in ipairs(g.runs) do has = has or kept[run] end
        found[#found + 1] = has and g or nil
    end
    if #found ~= 1 then
        error(("%s: --baseline: expected runs of one group, got %s"):format(command, #found == 0 and "none"
            or ("%d groups: %s; %s%s"):format(#found, found[1].label, found[2].label, #found > 2 and "; ..." or "")), 0)
    end
    return found[1]
end

-- ---- as rows ----

local COLUMNS = { "metric", "n", "of", "mean", "low", "high", "baseline", "pairs", "difference", "difference_low",
    "difference_high" }

-- A row for each group and result, with values by column, and the columns' names: the settings that tell groups apart,
-- where one is called as a column by its path, then COLUMNS. row.seeds: those of the pairs.
function results.rows(groups, runs, baseline)
    local columns, own, rows = {}, {}, {}
    for _, name in ipairs(COLUMNS) do own[name] = true end
    for c, path in ipairs(groups.settings) do
        local name = run_groups.shown(path)
        columns[c] = own[name] and (path == name and "config." .. name or path) or name
    end
    for _, name in ipairs(results.names(runs)) do
        for _, g in ipairs(groups) do
            local i, row = results.over_seeds(g, name), {}
            for c, path in ipairs(groups.settings) do
                local value = g.settings[c].value
                local typed = query.value(g.runs[1], path)
                if value ~= "-" then row[columns[c]] = type(typed) ~= "table" and typed or value end
            end
            row.metric, row.n, row.of, row.mean, row.low, row.high = name, i.n, #g.runs, i.mean, i.low, i.high
            row.baseline = g == baseline
            if g ~= baseline then
                local d = results.paired(g, baseline, name)
                row.pairs, row.difference, row.difference_low, row.difference_high = d.n, d.mean, d.low, d.high
                for k, seed in ipairs(d.seeds) do d.seeds[k] = tonumber(seed) or seed end -- as in runs list
                row.seeds = d.seeds
            end
            rows[#rows + 1] = row
        end
    end
    return rows, table.move(COLUMNS, 1, #COLUMNS, #columns + 1, columns)
end

return results

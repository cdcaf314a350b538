-- Runs in groups: those that agree in every argument of their script and every option, but for the seed and the folder.
-- What the digests of data, θ, orders and functions say beside that varies with the seed, or tells treatments apart.
local bk = ...
local table_text = bk._table_text
local text, typed, sorted = table_text.text, table_text.typed, table_text.sorted
local groups = {}

-- The entries of nested tables by dotted path; lists of plain values are one entry.
local function flatten(value, path, found)
    local plain = type(value) ~= "table" or next(value) == nil or #value > 0
    for _, v in ipairs(type(value) == "table" and value or {}) do plain = plain and type(v) ~= "table" end
    if plain then
        if path then found[path] = text(typed(value)) end
    else
        for name, v in pairs(value) do flatten(v, path and path .. "." .. text(name) or text(name), found) end
    end
    return found
end

-- A run's configuration by dotted path. The seed and the folder among the script's arguments are left out: every run
-- of a sweep has its own.
function groups.entries(run)
    if run.entries then return run.entries end
    local entries, arguments, rest = flatten(run.config, nil, {}), run.config.arguments, {}
    entries["arguments.seed"], entries["arguments.out"] = nil, nil
    if type(arguments) == "table" and #arguments > 0 then -- as they stand, of a script that does not name them
        for k, a in ipairs(arguments) do
            local option, before = text(a):match("^%-%-%a+"), k > 1 and text(arguments[k - 1]) or ""
            local own = option == "--seed" or option == "--out" or before == "--seed" or before == "--out"
            if not own then rest[#rest + 1] = a end
        end
        entries.arguments = text(rest)
    end
    run.entries = entries
    return entries
end

function groups.seed(run)
    if run.seed then return run.seed end
    local config, arguments = run.config, type(run.config.arguments) == "table" and run.config.arguments or {}
    if config.seed ~= nil then return text(config.seed) end
    return text(arguments.seed ~= nil and arguments.seed or run.env.seed)
end

-- ---- which entries are settings ----

-- Digests are no settings of themselves: what they are of, or nil.
local function digest_of(path, value)
    if path == "theta" then return "theta" end
    if path:find("^tasks%.%d+%.digest%.") then return "data" end
    if path:find("^%a+_digest$") then return path:match("^%a+") end
    if path:find("%.digest$") or value and value:find("^function %x+$") then return "functions" end
end

-- Of two values of an argument, as it was given ("[8,4]") and as a run took it ("8,4").
local function same(a, b)
    if a == b then return true end
    local x, y = tonumber(a or ""), tonumber(b or "")
    local function bare(value) return (value:gsub("%s", ""):gsub("^%[(.*)%]$", "%1")) end
    return a and b and (x ~= nil and x == y or bare(a) == bare(b)) or false
end

-- Paths in which the runs differ: of arguments, of options, and of digests by what they are of; and those that are
-- equal. Of jobs that ended before their runs began the arguments count.
local function differing(runs, jobs)
    local first, all, differ = groups.entries(runs[1]), {}, {}
    for _, run in ipairs(runs) do
        for path, value in pairs(groups.entries(run)) do
            all[path] = (all[path] or 0) + 1
            if first[path] ~= value then differ[path] = value end
        end
    end
    for path, n in pairs(all) do
        if n < #runs and not differ[path] then differ[path] = first[path] end
    end
    for _, job in ipairs(jobs or {}) do
        for path, value in pairs(groups.entries(job)) do
            local argument = path:find("^arguments%.") and all[path]
            if argument and not differ[path] and not same(first[path], value) then differ[path] = value end
        end
    end
    for path in pairs(all) do -- an empty list beside one with entries says nothing more than they do
        for dot in path:gmatch("()%.") do all[path:sub(1, dot - 1)], differ[path:sub(1, dot - 1)] = nil, nil end
    end
    local arguments, options, digests, equal, is_digest, lists = {}, {}, {}, {}, {}, {}
    for _, path in ipairs(sorted(all)) do
        local kind = digest_of(path, first[path] or differ[path])
        if not differ[path] then
            equal[#equal + 1] = path
        elseif kind then
            is_digest[path] = true
            if not digests[kind] then
                digests[kind] = {}
                lists[#lists + 1] = digests[kind]
            end
            table.insert(digests[kind], path)
        elseif path ~= "seed" then
            table.insert(path:find("^arguments") and arguments or options, path)
        end
    end
    return { arguments = arguments, options = options, equal = equal, seed = differ.seed and "seed",
        digests = digests, digest_lists = lists, is_digest = is_digest }
end
groups.differing = differing

-- A partition { n, of = the part of each run by its number }, made finer by an entry of each run.
local function refined(parts, runs, entry)
    local ids, finer = {}, { n = 0, of = {} }
    for k, run in ipairs(runs) do
        local key = parts.of[k] .. " " .. (entry(run) or "-")
        if not ids[key] then
            finer.n = finer.n + 1
            ids[key] = finer.n
        end
        finer.of[k] = ids[key]
    end
    return finer
end

local function composite(paths)
    return function(run)
        local values = {}
        for k, path in ipairs(paths) do values[k] = groups.entries(run)[path] or "-" end
        return table.concat(values, "\0")
    end
end

-- Whether, in each part, a digest is one for a seed, and is everywhere another or everywhere the same: that it says
-- nothing beside settings and seed. An order may be the same at two seeds by chance. The second result is whether it
-- varies with the seed; where it does not, it follows from the settings.
local function follows(parts, runs, entry, kind)
    local of_seed, of_digest, n_digests, n_seeds = {}, {}, {}, {}
    for k, run in ipairs(runs) do
        local part, seed, digest = parts.of[k], groups.seed(run), entry(run)
        of_seed[part], of_digest[part] = of_seed[part] or {}, of_digest[part] or {}
        if of_seed[part][seed] == nil then n_seeds[part] = (n_seeds[part] or 0) + 1 end
        if of_digest[part][digest] == nil then n_digests[part] = (n_digests[part] or 0) + 1 end
        if (of_seed[part][seed] or digest) ~= digest then return false end
        of_seed[part][seed], of_digest[part][digest] = digest, seed
    end
    local varies = false
    for part, n in pairs(n_digests) do
        if n > 1 and n < n_seeds[part] and kind ~= "order" then return false end
        varies = varies or n > 1
    end
    return true, varies
end

-- The settings that tell runs apart, and their partition; what varies with the seed. An option that follows from the
-- arguments is not shown beside them.
local function settings_of(runs, jobs)
    local differ = differing(runs, jobs)
    local parts, settings, varies, named = { n = 1, of = {} }, {}, {}, true
    for k, run in ipairs(runs) do
        parts.of[k] = 1
        named = named and run.told
    end
    for _, list in ipairs{ differ.arguments, differ.options } do
        for _, path in ipairs(list) do
            local finer = refined(parts, runs, function(run) return groups.entries(run)[path] end)
            if finer.n > parts.n or list == differ.arguments or #differ.arguments == 0 then
                settings[#settings + 1] = path
            end
            parts = finer
        end
    end
    for _, kind in ipairs{ "data", "order", "theta", "functions" } do
        local paths = differ.digests[kind]
        if paths then
            local entry = composite(paths)
            -- without named arguments nothing else may say what a function does
            local told, varied
            if kind ~= "functions" or named then told, varied = follows(parts, runs, entry, kind) end
            if told then
                varies[#varies + 1] = varied and kind or nil
            else
                for _, path in ipairs(paths) do
                    local finer = refined(parts, runs, function(run) return groups.entries(run)[path] end)
                    if finer.n > parts.n then settings[#settings + 1] = path end
                    parts = finer
                end
            end
        end
    end
    return settings, parts, varies
end

-- ---- groups ----

local function shown(path) return (path:gsub("^arguments%.", "")) end
groups.shown = shown

-- The path of an entry that some run has: an argument's name, an option's, a dotted path.
local function path_named(command, name, runs)
    local known = {}
    for _, run in ipairs(runs) do
        local entries = groups.entries(run)
        for _, path in ipairs{ "arguments." .. name, name } do
            if entries[path] then return path end
        end
        for path in pairs(entries) do known[shown(path)] = true end
    end
    if name == "seed" then return "seed" end
    known.seed = true
    error(("%s: --group-by: no run has an argument or option %q%s"):format(command, name,
        bk.internal.hint(name, sorted(known))), 0)
end

-- Whether the last recorded loss is no number, or the run failed because its loss was none.
local function is_diverged(run)
    local loss, message = run.loss, run.status.message
    return type(loss) == "number" and loss - loss ~= 0
        or type(message) == "string" and message:find("the loss is %-?[ni][an][nf]") ~= nil
end
groups.is_diverged = is_diverged

-- Jobs that ended before their runs began know only the arguments that they were given: the group that has these, where
-- it is one, is theirs.
local function place(list, job)
    local entries, found = groups.entries(job), nil
    for _, g in ipairs(list) do
        local of, fits = groups.entries(g.runs[1]), true
        for path, value in pairs(entries) do
            if path:find("^arguments%.") then fits = fits and same(of[path], value) end
        end
        if fits and found then return nil end
        found = fits and g or found
    end
    return found
end

-- Of groups by some settings alone, the one with these values.
local function place_by(list, values)
    for _, g in ipairs(list) do
        local fits = true
        for c, s in ipairs(g.settings) do fits = fits and same(s.value, values[c]) end
        if fits then return g end
    end
end

local function less(a, b, n)
    for k = 1, n do
        local x, y = a.settings[k].value, b.settings[k].value
        if x ~= y then return table_text.natural(x, y) end
    end
    return false
end

-- Runs that began, and jobs that ended before: these alone where there is nothing else.
function groups.whole(runs)
    local whole, jobs = {}, {}
    for _, run in ipairs(runs) do table.insert(run.job_only and jobs or whole, run) end
    if #whole == 0 then return jobs, {} end
    return whole, jobs
end

-- groups.of(command, runs [, by]) -> list of groups, in the order of their settings as numbers.
--   runs    as run_view.load_all returns them, one or more
--   by      names to group by in place of all settings
-- A group is
--   { settings = { { name, value }, ... }, what tells the groups apart; label = "c = 0, lr = 0.1", "" of one group,
--     runs = all that were started, by seed; finished, failed, unfinished: those of them; diverged: those whose loss
--     became no number, which are none of the failed; seeds = { "1", "2", "10" }; varies = "data, theta" or nil,
--     digests that vary with the seed; pooled = settings that `by` leaves out and in which the group's runs differ }
-- The second result is the settings' names; list.settings has their paths.
function groups.of(command, runs, by)
    local whole, jobs = groups.whole(runs)
    local settings, parts, varies = settings_of(whole, jobs)
    local telling = settings
    if by then
        telling, parts = {}, { n = 1, of = {} }
        for k in ipairs(whole) do parts.of[k] = 1 end
        for k, name in ipairs(by) do
            local path = path_named(command, name, whole)
            telling[k] = path
            parts = refined(parts, whole, function(run)
                return path == "seed" and groups.seed(run) or groups.entries(run)[path]
            end)
        end
    end
    local list, names = {}, {}
    for k, run in ipairs(whole) do
        local g = list[parts.of[k]]
        if not g then
            g = { settings = {}, runs = {}, varies = #varies > 0 and table.concat(varies, ", ") or nil }
            for c, path in ipairs(telling) do
                local value = path == "seed" and groups.seed(run) or groups.entries(run)[path] or "-"
                g.settings[c] = { name = shown(path), value = value }
            end
            list[parts.of[k]] = g
        end
        table.insert(g.runs, run)
    end
    for c, path in ipairs(telling) do names[c] = shown(path) end
    list.settings = telling
    table.sort(list, function(a, b) return less(a, b, #telling) end)
    local alone, alike = {}, {} -- alike: of those alone, by their settings
    for _, job in ipairs(jobs) do
        local values = {}
        for c, path in ipairs(telling) do
            values[c] = path == "seed" and groups.seed(job) or groups.entries(job)[path] or "-"
        end
        local g = by and place_by(list, values) or not by and place(list, job)
        g = g or alike[table.concat(values, "\0")]
        if g then
            table.insert(g.runs, job)
        else
            g = { settings = {}, runs = { job } }
            for c, value in ipairs(values) do g.settings[c] = { name = names[c], value = value } end
            alone[#alone + 1], alike[table.concat(values, "\0")] = g, g
        end
    end
    table.move(alone, 1, #alone, #list + 1, list)
    for _, g in ipairs(list) do groups.fill(g, settings, by and telling) end
    return list, names
end

-- A group's label, its runs by seed, and which of them ended how.
function groups.fill(g, settings, by)
    local words, seen = {}, {}
    for c, s in ipairs(g.settings) do words[c] = s.name .. " = " .. s.value end
    g.label, g.seeds, g.pooled, g.repeated = table.concat(words, ", "), {}, {}, {}
    g.finished, g.diverged, g.failed, g.unfinished = {}, {}, {}, {}
    table_text.sort(g.runs, function(run) return groups.seed(run) .. " " .. run.dir end)
    for _, run in ipairs(g.runs) do
        local status, seed, diverged = run.status.status, groups.seed(run), is_diverged(run)
        seen[seed] = (seen[seed] or 0) + 1
        if seen[seed] == 1 then g.seeds[#g.seeds + 1] = seed end
        if diverged then table.insert(g.diverged, run) end
        if status == "finished" then
            table.insert(g.finished, run)
        elseif status ~= "failed" then
            table.insert(g.unfinished, run)
        elseif not diverged then
            table.insert(g.failed, run)
        end
    end
    for _, path in ipairs(by and settings or {}) do
        local first = groups.entries(g.runs[1])[path]
        for _, run in ipairs(g.runs) do
            if groups.entries(run)[path] ~= first then
                table.insert(g.pooled, shown(path))
                break
            end
        end
    end
    for _, seed in ipairs(#g.pooled == 0 and g.seeds or {}) do -- the same run again, not another
        if seen[seed] > 1 then g.repeated[#g.repeated + 1] = ("seed %s, %d times"):format(seed, seen[seed]) end
    end
end

-- "3 of 4 finished; diverged: seed 2; failed: seed 7": what stands beside a figure of the group.
function groups.note(g)
    local parts = { ("%d of %d finished"):format(#g.finished, #g.runs) }
    for _, name in ipairs{ "diverged", "failed", "unfinished" } do
        local seeds = {}
        for k, run in ipairs(g[name]) do
            local status = name == "unfinished" and " (" .. text(run.status.status) .. ")" or ""
            seeds[k] = "seed " .. groups.seed(run) .. status
        end
        if #seeds > 6 then seeds = { table.concat(seeds, ", ", 1, 5), ("and %d more"):format(#seeds - 5) } end
        local what = name == "unfinished" and "" or name .. ": "
        if #seeds > 0 then parts[#parts + 1] = what .. table.concat(seeds, ", ") end
    end
    if #g.pooled > 0 then parts[#parts + 1] = "pooled over " .. table.concat(g.pooled, ", ") end
    if #g.repeated > 0 then parts[#parts + 1] = "the same again: " .. table.concat(g.repeated, ", ") end
    return table.concat(parts, "; ")
end

-- ---- a group's curve ----

-- Mean and 95 % interval (Student's t, over the runs) of a recorded column at each step that some run recorded:
--   { x, mean, low, high, n }; n: the runs with a finite number at that step. low and high are nan where n = 1.
-- points(run) -> steps, values, or nil where the run lacks the column. nil where no run has a finite number.
function groups.series(g, points)
    local at, steps = {}, {}
    for _, run in ipairs(g.runs) do
        local x, y = points(run)
        for r = 1, x and #x or 0 do
            local v = y[r]
            if v - v == 0 and x[r] == x[r] then
                if not at[x[r]] then
                    at[x[r]] = {}
                    steps[#steps + 1] = x[r]
                end
                table.insert(at[x[r]], v)
            end
        end
    end
    if #steps == 0 then return nil end
    table.sort(steps)
    local s = { x = steps, mean = {}, low = {}, high = {}, n = {} }
    for k, step in ipairs(steps) do
        local i = bk.statistics.interval(at[step])
        s.mean[k], s.n[k] = i.mean, i.n
        s.low[k], s.high[k] = i.n > 1 and i.low or 0 / 0, i.n > 1 and i.high or 0 / 0
    end
    return s
end

return groups

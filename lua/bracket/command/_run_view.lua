-- What the commands that look at run folders know of them: the runs a DIR stands for, and what is known of one run or
-- several as sections { title, head, rows, none, note }, which the command runs prints and the command report writes as
-- HTML. The commands' names begin the errors.
local bk = ...
local run_folder, table_text = bk._run_folder, bk.command._table_text
local text, number, natural, sorted = table_text.text, table_text.number, table_text.natural, table_text.sorted
local run_view = {}
run_view.LABELLED = 8 -- curves of a figure that colours tell apart

-- The folders among dirs that are runs, and the runs in the others; `inner`: also runs within runs.
function run_view.runs(command, dirs, inner)
    local found, seen = {}, {}
    for _, dir in ipairs(dirs) do
        dir = dir:gsub("(.)/+$", "%1")
        local f, why = io.open(dir, "rb")
        if not f then error(string.format("%s: DIR: expected a folder, got %s", command, why), 0) end
        local byte, problem = f:read(0) -- a folder opens, but does not read
        f:close()
        if byte or not problem then
            error(string.format("%s: DIR: expected a folder, got the file %s", command, dir), 0)
        end
        local list = not inner and run_folder.is_run(dir) and { dir } or run_folder.find(dir)
        if #list == 0 and not inner then
            error(string.format("%s: %s: expected a run folder or a folder of runs, got one with no run in it", command,
                dir), 0)
        end
        for _, at in ipairs(list) do
            if not seen[at] then found[#found + 1] = at end
            seen[at] = true
        end
    end
    return found
end

-- What the folder says of its run: its parts are tables, whatever the files hold.
function run_view.load(command, dir)
    local ok, run = pcall(run_folder.read, dir)
    if not ok then error(string.format("%s: %s", command, run), 0) end
    for _, part in ipairs{ "status", "config", "env" } do
        if type(run[part]) ~= "table" or #run[part] > 0 then
            error(string.format("%s: %s/%s.json: expected an object, got %s", command, dir, part,
                type(run[part]) == "table" and "a list" or tostring(run[part])), 0)
        end
    end
    run.metrics = {}
    for name, value in pairs(type(run.status.metrics) == "table" and run.status.metrics or {}) do
        if type(value) == "number" then run.metrics[tostring(name)] = value end
    end
    return run
end

-- Those of the runs that can be read, and what is wrong with the others: one does not hide the rest.
function run_view.load_all(command, dirs, also)
    local runs, problems = {}, {}
    for _, dir in ipairs(dirs) do
        local ok, run = pcall(function()
            local one = run_view.load(command, dir)
            if also then also(one) end
            return one
        end)
        table.insert(ok and runs or problems, run)
    end
    return runs, problems
end

-- The recorded columns (numbers only), their names (step first), and the number of rows.
function run_view.columns(command, dir)
    local ok, columns, rows = pcall(run_folder.metrics, dir)
    if not ok then
        error(string.format("%s: %s", command, columns), 0)
    end
    for _, column in pairs(columns) do
        for r = 1, rows do column[r] = type(column[r]) == "number" and column[r] or 0 / 0 end
    end
    local first = { step = 1, task = 2, lr = 3 }
    return columns, sorted(columns, function(a, b)
        local x, y = first[a] or 4, first[b] or 4
        if x ~= y then return x < y end
        return natural(a, b)
    end), rows
end

-- The last whole row, from the end of the file alone: the file may be long.
local function last_row(dir)
    local f = io.open(dir .. "/metrics.jsonl", "rb")
    if not f then return {} end
    f:seek("set", math.max(0, f:seek("end") - 65536))
    local lines = {}
    for line in (f:read("a") or ""):gmatch("[^\n]+") do lines[#lines + 1] = line end
    f:close()
    for k = #lines, math.max(1, #lines - 1), -1 do
        local row = bk.internal.from_json(lines[k])
        if type(row) == "table" then return row end
    end
    return {}
end

-- A recorded column over the step as a series for bk.plot: what can be drawn of it, thinned to some 1000 points, and
-- whether it was thinned. nil when there is nothing.
function run_view.curve(columns, name, label, axes)
    local x, y, steps = {}, {}, columns.step
    for r, v in ipairs(columns[name]) do
        local u = steps and steps[r] or r
        if v - v == 0 and u - u == 0 and not (axes.logx and u <= 0) and not (axes.logy and v <= 0) then
            x[#x + 1], y[#y + 1] = u, v
        end
    end
    if #x == 0 then return nil end
    local stride, thin = math.ceil(#x / 1000), { x = {}, y = {}, label = label, style = #x > 60 and "lines" or nil }
    for r = 1, #x do
        if r % stride == 0 or r == 1 or r == #x then table.insert(thin.x, x[r]) table.insert(thin.y, y[r]) end
    end
    return thin, stride > 1
end

-- What runs are called beside each other: the last part of their paths where that tells them apart.
function run_view.labels(runs)
    local labels, seen, short = {}, {}, true
    for k, run in ipairs(runs) do
        labels[k] = run.dir:match("([^/]+)$") or run.dir
        short = short and not seen[labels[k]]
        seen[labels[k]] = true
    end
    if not short then for k, run in ipairs(runs) do labels[k] = run.dir end end
    return labels
end

-- ---- one run ----

local function object_rows(t)
    local rows = {}
    for _, name in ipairs(sorted(t)) do
        local value = t[name]
        if type(value) == "table" and type(value[1]) == "table" then
            for k, item in ipairs(value) do rows[#rows + 1] = { text(name) .. "." .. k, text(item) } end
        else
            rows[#rows + 1] = { text(name), text(value) }
        end
    end
    return rows
end

local function task_name(run, i)
    local tasks = run.config.tasks
    local task = type(tasks) == "table" and tasks[i]
    return type(task) == "table" and task.name ~= nil and text(task.name) or "task " .. text(i)
end

-- What is measured on every task before training and after each task learned.
local function matrix(run, field, title)
    local values, learned = run.status[field], run.status.learned
    if type(values) ~= "table" or type(values[1]) ~= "table" or #values[1] == 0 then return nil end
    learned = type(learned) == "table" and learned or {}
    local s = { title = title, head = { "" }, short = { "" }, rows = {}, shade = {} }
    for k, given in ipairs(values) do
        local label = k == 1 and "before" or "after training"
        if learned[k - 1] then label = "after " .. task_name(run, learned[k - 1]) end
        s.rows[k], s.shade[k] = { label }, {}
        for i = 1, #values[1] do
            local v = type(given) == "table" and type(given[i]) == "number" and given[i] or 0 / 0
            s.rows[k][i + 1], s.shade[k][i + 1] = number(v), v
            if v < 0 and field == "accuracy" then s.title = title .. " (of regressions: minus the loss)" end
            s.head[i + 1], s.short[i + 1] = task_name(run, i), tostring(i)
        end
    end
    return s
end

local function step_of(status, between) return text(status.step) .. between .. text(status.total) end

-- Everything a run folder says, as sections; and what run_view.columns returns.
function run_view.sections(command, run)
    local status = run.status
    local rows, rest = { { "status", text(status.status) }, { "step", step_of(status, " of ") } }, {}
    for name, value in pairs(status) do rest[name] = value end
    for _, name in ipairs{ "status", "step", "total", "metrics", "accuracy", "test_loss" } do rest[name] = nil end
    for _, row in ipairs(object_rows(rest)) do
        if row[1] == "seconds" then row[2] = number(status.seconds) end
        rows[#rows + 1] = row
    end
    local steps = run_folder.checkpoints(run.dir)
    rows[#rows + 1] = { "checkpoints", #steps <= 8 and text(steps)
        or string.format("%d, from step %d to step %d", #steps, steps[1], steps[#steps]) }
    local metrics, recorded = {}, {}
    for k, name in ipairs(sorted(run.metrics)) do metrics[k] = { text(name), number(run.metrics[name]) } end
    local columns, names, n = run_view.columns(command, run.dir)
    for k, name in ipairs(names) do recorded[k] = { text(name), number(columns[name][1]), number(columns[name][n]) } end
    local sections = { { title = "status", rows = rows },
        { title = "final metrics", rows = metrics, none = "none yet" },
        matrix(run, "accuracy", "accuracy on each task") or false,
        matrix(run, "test_loss", "test loss on each task") or false,
        { title = string.format("recorded, %d rows", n), head = { "column", "first", "last" }, rows = recorded,
            none = "nothing" },
        { title = "configuration", rows = object_rows(run.config), none = "config.json is missing or empty" },
        { title = "environment", rows = object_rows(run.env), none = "env.json is missing or empty" } }
    for k = #sections, 1, -1 do if not sections[k] then table.remove(sections, k) end end
    return sections, columns, names, n
end

-- ---- several runs ----

-- A line a run. Times are UTC, as ls shows them: without the year in this year, without the hour in others.
function run_view.overview(runs)
    local s = { title = "runs", rows = {},
        head = { "run", "status", "step", "seed", "lr", "started", "accuracy", "forgetting", "loss" } }
    for k, run in ipairs(runs) do
        local status, config = run.status, run.config
        local year, day, time = text(status.started):match("^(%d+)%-(%d+%-%d+)T(%d+:%d+)")
        local started = not year and text(status.started) or year == os.date("!%Y") and day .. " " .. time
            or year .. "-" .. day
        s.rows[k] = { text(run.dir), text(status.status), step_of(status, "/"),
            text(config.seed == nil and run.env.seed or config.seed), text(config.lr), started,
            number(run.metrics.average_accuracy), number(run.metrics.forgetting), number(last_row(run.dir).loss) }
    end
    return s
end

-- The entries of nested tables by dotted path; lists of plain values are one entry.
local function flatten(value, path, found)
    local plain = type(value) ~= "table" or next(value) == nil or #value > 0
    for _, v in ipairs(type(value) == "table" and value or {}) do plain = plain and type(v) ~= "table" end
    if plain then
        if path then found[path] = text(value) end
    else
        for name, v in pairs(value) do flatten(v, path and path .. "." .. text(name) or text(name), found) end
    end
    return found
end

-- A run's configuration as flatten gives it. Among the script's arguments the seed and the folder are left out: every
-- run of a sweep has its own.
local function entries_of(config)
    local entries, arguments, rest = flatten(config, nil, {}), config.arguments, {}
    entries["arguments.seed"], entries["arguments.out"] = nil, nil
    if type(arguments) == "table" and #arguments > 0 then -- as they stand, of a script that does not name them
        for k, a in ipairs(arguments) do
            local option, before = text(a):match("^%-%-%a+"), k > 1 and text(arguments[k - 1]) or ""
            local own = option == "--seed" or option == "--out" or before == "--seed" or before == "--out"
            if not own then rest[#rest + 1] = a end
        end
        entries.arguments = text(rest)
    end
    return entries
end

-- The runs that agree in all these settings, group by group, as their numbers.
local function group_by(settings, entries)
    local groups, group_of = {}, {}
    for k in ipairs(entries) do
        local key = {}
        for c, path in ipairs(settings) do key[c] = ("%q"):format(entries[k][path] or "-") end
        key = table.concat(key, ",")
        if not group_of[key] then
            group_of[key] = {}
            groups[#groups + 1] = group_of[key]
        end
        table.insert(group_of[key], k)
    end
    return groups
end

-- What the script was called with is mostly seen in what it did: an argument is left out where the other settings tell
-- the same runs apart. One that acts unseen, through a global of a hook, stays.
local function without_repeats(settings, entries)
    local n = #group_by(settings, entries)
    for c = #settings, 1, -1 do
        local path = settings[c]
        if path:find("^arguments") then
            table.remove(settings, c)
            if #settings == 0 or #group_by(settings, entries) < n then table.insert(settings, c, path) end
        end
    end
    return settings
end

-- Mean and interval of each metric over the runs of a group, which differ in nothing but the seed. Runs alone in their
-- group are left out; the settings that tell the other groups apart are shown.
local function over_seeds(groups, settings, entries, finals, names)
    local s = { title = "over seeds: mean and 95 % interval (Student's t)", head = { "metric" }, rows = {} }
    local several, telling, alone, left_out = {}, {}, 0, {}
    for _, group in ipairs(groups) do
        if #group > 1 then several[#several + 1] = group else alone = alone + 1 end
    end
    for _, path in ipairs(settings) do
        local differs = false
        for _, group in ipairs(several) do
            differs = differs or entries[group[1]][path] ~= entries[several[1][1]][path]
        end
        telling[#telling + 1] = differs and path or nil
    end
    if alone > 0 then s.note = string.format("left out: %d with settings of their own", alone) end
    table.move(telling, 1, #telling, 2, s.head)
    table.move({ "n", "mean", "low", "high" }, 1, 4, #s.head + 1, s.head)
    for _, name in ipairs(names) do
        for _, group in ipairs(several) do
            local values, row = {}, { text(name) }
            for _, k in ipairs(group) do
                local v = finals[k][name]
                if v and v - v == 0 then values[#values + 1] = v else left_out[k] = true end
            end
            for c, path in ipairs(telling) do row[c + 1] = entries[group[1]][path] or "-" end
            local i = #values > 0 and bk.metric.interval(values) or { n = 0 }
            local low, high = i.n > 1 and number(i.low) or "-", i.n > 1 and number(i.high) or "-"
            table.move({ text(i.n), i.mean and number(i.mean) or "-", low, high }, 1, 4, #row + 1, row)
            s.rows[#s.rows + 1] = row
        end
    end
    local n = 0
    for _ in pairs(left_out) do n = n + 1 end
    if n > 0 then
        local more = ("%d with a metric that is missing or not finite"):format(n)
        s.note = s.note and s.note .. ", " .. more or "left out: " .. more
    end
    return s
end

-- What tells runs apart: settings, then results; with repetitions, their means.
function run_view.comparison(runs)
    local labels, entries, every, finals, all, done = run_view.labels(runs), {}, {}, {}, {}, true
    for k, run in ipairs(runs) do
        entries[k], finals[k] = entries_of(run.config), { loss = tonumber(last_row(run.dir).loss) }
        for name, value in pairs(run.metrics) do finals[k][name] = value end
        for path in pairs(entries[k]) do every[path] = true end
        for name in pairs(finals[k]) do all[name] = true end
        done = done and run.status.status == "finished"
    end
    for _, path in ipairs(sorted(every)) do -- an empty list beside one with entries says nothing more than they do
        for dot in path:gmatch("()%.") do every[path:sub(1, dot - 1)] = nil end
    end
    local differing, settings, differs, equal = {}, {}, {}, {}
    for _, path in ipairs(sorted(every)) do
        for k = 2, #runs do
            if entries[k][path] ~= entries[1][path] and not differs[path] then
                differing[#differing + 1], differs[path], differs[path:match("^[^.]*")] = path, true, true
                if path ~= "seed" then settings[#settings + 1] = path end
            end
        end
    end
    without_repeats(settings, entries)
    local told = {}
    for _, path in ipairs(settings) do told[path] = true end
    for c = #differing, 1, -1 do
        if differing[c]:find("^arguments") and not told[differing[c]] then table.remove(differing, c) end
    end
    for path in pairs(every) do -- where all entries of an entry are equal, it is named
        local top = path:match("^[^.]*")
        if not differs[path] then equal[differs[top] and path or top] = true end
    end
    local groups = group_by(settings, entries)
    local names = sorted(all)
    local sections = { { title = "configuration entries that differ", none = "none", rows = {},
        head = { "run", table.unpack(differing) }, note = next(equal) and string.format("equal in all %d: %s", #runs,
            table.concat(sorted(equal), ", ")) },
        { title = "final metrics (loss: the last recorded)", none = "none", rows = {},
            head = { "run", not done and "status" or nil } }, over_seeds(groups, settings, entries, finals, names) }
    table.move(names, 1, #names, #sections[2].head + 1, sections[2].head)
    for k, run in ipairs(runs) do
        local row, result = { text(labels[k]) }, { text(labels[k]), not done and text(run.status.status) or nil }
        for c, path in ipairs(differing) do row[c + 1] = entries[k][path] or "-" end
        for _, name in ipairs(names) do result[#result + 1] = number(finals[k][name]) end
        sections[1].rows[k], sections[2].rows[k] = #differing > 0 and row or nil, #result > 1 and result or nil
    end
    if #sections[3].rows == 0 then sections[3] = nil end
    return sections
end

return run_view

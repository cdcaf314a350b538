-- What the commands that look at run folders know of them: the runs a DIR stands for, and what is known of one run or
-- several as sections { title, head, rows, none, note }, which the command runs prints and the command report writes as
-- HTML. The commands' names begin the errors.
local bk = ...
local run_folder, table_text, run_groups, run_list = bk._run_folder, bk._table_text, bk._run_groups,
    bk._run_list
local run_query, results_of = bk._run_query, bk.command._run_results
local text, number, natural, sorted = table_text.text, table_text.number, table_text.natural, table_text.sorted
local run_view = {}
run_view.LABELLED = 8 -- curves of a figure that colours tell apart

-- run_view.runs(command, dirs [, inner]) -> folders, run_view.load(command, dir) -> run, run_view.read(command, dirs
-- [, want]) -> runs, problems: _run_list.lua says what they are.
run_view.runs, run_view.load, run_view.read = run_list.folders, run_list.load, run_list.read

-- Those of the runs in folders that can be read, and what is wrong with the others: one does not hide the rest.
function run_view.load_all(command, folders, also)
    local runs, problems = {}, {}
    for _, dir in ipairs(folders) do
        local ok, run = pcall(function()
            local one = run_list.load(command, dir)
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

-- The steps and values of a recorded column. Before the first step there is no rate and no task.
function run_view.points(columns, name)
    local y, x = columns[name], columns.step
    if not y then return nil end
    if not x then
        x = {}
        for r = 1, #y do x[r] = r end
    end
    if x[1] == 0 and (name == "lr" or name == "task") then
        return table.move(x, 2, #x, 1, {}), table.move(y, 2, #y, 1, {})
    end
    return x, y
end

-- A recorded column over the step as a series for bk.plot: what can be drawn of it, thinned to some 1000 points, and
-- whether it was thinned. nil when there is nothing.
function run_view.curve(columns, name, label, axes)
    local x, y = {}, {}
    local steps, values = run_view.points(columns, name)
    for r, v in ipairs(values) do
        local u = steps[r]
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

-- ---- groups: what plot and report draw ----
-- run_view.groups(command, runs [, by]) -> groups, names: _run_groups.lua says what is in them.
-- run_view.series(command, group, column) -> { x, mean, low, high, n } over the steps, or nil; all runs' rows count.
-- run_view.group_note(group) -> "3 of 4 finished; diverged: seed 2"
run_view.groups, run_view.group_note = run_groups.of, run_groups.note

function run_view.series(command, group, name)
    return run_groups.series(group, function(run)
        run.columns = run.columns or run_view.columns(command, run.dir)
        return run_view.points(run.columns, name)
    end)
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

function run_view.task_name(run, i)
    local tasks = run.config.tasks
    local task = type(tasks) == "table" and tasks[i]
    return type(task) == "table" and task.name ~= nil and text(task.name) or "task " .. text(i)
end

-- When row k of what is measured on every task was: before training, then after each task learned.
function run_view.moment(run, k)
    local learned = run.status.learned
    local task = type(learned) == "table" and learned[k - 1]
    return task and "after " .. run_view.task_name(run, task) or k == 1 and "before" or "after training"
end

-- A matrix of status.json: rows of numbers; nan where there is none. nil where it is none.
function run_view.matrix(run, field)
    local given, rows = run.status[field], {}
    if type(given) ~= "table" or type(given[1]) ~= "table" or #given[1] == 0 then return nil end
    for k, row in ipairs(given) do
        rows[k] = {}
        for i = 1, #given[1] do
            rows[k][i] = type(row) == "table" and type(row[i]) == "number" and row[i] or 0 / 0
        end
    end
    return rows
end

-- The title of accuracies: some are those of regressions.
function run_view.accuracy_title(values)
    for _, row in ipairs(values) do
        for _, v in ipairs(row) do
            if v < 0 then return "accuracy on each task (of regressions: minus the loss)" end
        end
    end
    return "accuracy on each task"
end

-- A matrix as a section, named(run, k) the name of row k; false where there is none.
local function matrix_section(run, field, title, named)
    local values = run_view.matrix(run, field)
    if not values then return false end
    local s = { title = title or run_view.accuracy_title(values), head = { "" }, short = { "" }, rows = {},
        is_matrix = true }
    for i = 1, #values[1] do s.head[i + 1], s.short[i + 1] = run_view.task_name(run, i), tostring(i) end
    for k, row in ipairs(values) do
        s.rows[k] = { named(run, k) }
        for i, v in ipairs(row) do s.rows[k][i + 1] = number(v) end
    end
    return s
end

local function step_of(status, between) return text(status.step) .. between .. text(status.total) end

-- Everything a run folder says, as sections; and what run_view.columns returns.
function run_view.sections(command, run)
    local status = run.status
    local rows, rest = { { "status", text(status.status) }, { "step", step_of(status, " of ") } }, {}
    for name, value in pairs(status) do rest[name] = value end
    for _, name in ipairs{ "status", "step", "total", "metrics", "accuracy", "test_loss", "order_matrix" } do
        rest[name] = nil
    end
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
        matrix_section(run, "accuracy", nil, run_view.moment),
        matrix_section(run, "test_loss", "test loss on each task", run_view.moment),
        matrix_section(run, "order_matrix", "order matrix", run_view.task_name),
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
    local s = { title = "runs", rows = {}, head = { "run", table.unpack(run_list.CELLS) } }
    local year, started, tags, tagged = os.date("!%Y-"), nil, #s.head, false
    for c, name in ipairs(s.head) do started = name == "started" and c or started end
    for k, run in ipairs(runs) do
        local row = { text(run.dir), table.unpack(run_list.cells(run)) }
        local time = row[started]
        if time:sub(1, 5) == year then
            row[started] = time:sub(6, 10) .. " " .. time:sub(12, 16)
        elseif time:find("^%d+%-%d+%-%d+T") then
            row[started] = time:sub(1, 10)
        end
        tagged = tagged or row[tags] ~= "-"
        s.rows[k] = row
    end
    if not tagged then s.head[tags] = nil end
    return s
end

-- A line a run, with the values of these names.
function run_view.chosen(runs, names)
    local s = { title = "runs", rows = {}, head = { "run", table.unpack(names) } }
    for k, run in ipairs(runs) do
        local row = { text(run.dir) }
        for c, name in ipairs(names) do
            local value = run_query.value(run, name)
            row[c + 1] = run_query.is_measured(run, name) and number(value) or text(value)
        end
        s.rows[k] = row
    end
    return s
end

-- ---- what tells runs apart ----

local MANY = 40 -- runs beyond which groups stand for them

-- Where all entries of an entry are equal, it is named.
local function equal_entries(differ)
    local differs, equal = {}, {}
    for _, list in ipairs{ differ.arguments, differ.options, { differ.seed }, table.unpack(differ.digest_lists) } do
        for _, path in ipairs(list) do differs[path:match("^[^.]*")] = true end
    end
    for _, path in ipairs(differ.equal) do
        local top = path:match("^[^.]*")
        equal[differs[top] and path or top] = true
    end
    for _, path in ipairs(differ.arguments) do equal[run_groups.shown(path)] = nil end -- of jobs that had no run
    for name in pairs(differs) do -- orders, models of one name that are not the same
        local of = name:match("^(%a+)_digest$")
        if of then equal[of] = nil end
    end
    return sorted(equal)
end

-- A line a run: the entries in which they differ. An argument that an option of its name repeats stands once; digests
-- stand where they are settings.
local function differences(runs, differ, settings, varies)
    local paths, heads = {}, {}
    local function add(path, head)
        paths[#paths + 1], heads[#heads + 1] = path, head
    end
    local repeated = {}
    for _, path in ipairs(differ.arguments) do
        local name, alike = path:match("^arguments%.(.*)$"), true
        for _, run in ipairs((run_groups.whole(runs))) do
            local entries = run_groups.entries(run)
            alike = alike and name ~= nil and entries[path] == entries[name]
        end
        if alike then repeated[name] = true end
        add(path, run_groups.shown(path))
    end
    for _, path in ipairs(differ.options) do
        if not repeated[path] then add(path, path) end
    end
    for _, path in ipairs(settings) do
        if differ.is_digest[path] then add(path, path) end
    end
    if differ.seed then add("seed", "seed") end
    local s = { title = "configuration entries that differ", none = "none", rows = {},
        head = { "run", table.unpack(heads) } }
    local labels, equal, notes = run_view.labels(runs), equal_entries(differ), {}
    for k, run in ipairs(runs) do
        local row, entries = { text(labels[k]) }, run_groups.entries(run)
        for c, path in ipairs(paths) do
            row[c + 1] = path == "seed" and run_groups.seed(run) or entries[path] or "-"
        end
        s.rows[k] = #paths > 0 and row or nil
    end
    if varies then notes[1] = "varies with the seed: " .. varies end
    if #equal > 0 then
        notes[#notes + 1] = ("equal in all %d: %s"):format(#run_groups.whole(runs), table.concat(equal, ", "))
    end
    s.note = #notes > 0 and table.concat(notes, "\n  ") or nil
    return s
end

local function finals(runs, results)
    local done, labels = true, run_view.labels(runs)
    for _, run in ipairs(runs) do done = done and run.status.status == "finished" end
    local s = { title = "final metrics (loss: the last recorded)", none = "none", rows = {},
        head = { "run", not done and "status" or nil } }
    table.move(results, 1, #results, #s.head + 1, s.head)
    for k, run in ipairs(runs) do
        local row = { text(labels[k]), not done and text(run.status.status) or nil }
        for _, name in ipairs(results) do row[#row + 1] = number(results_of.of_run(run, name)) end
        s.rows[k] = #row > 1 and row or nil
    end
    return s
end

-- Runs of one number are one to nine: "1..9".
local function ranges(seeds)
    local parts, k = {}, 1
    while k <= #seeds do
        local last = k
        while math.tointeger(tonumber(seeds[last])) and tonumber(seeds[last + 1] or "x") == tonumber(seeds[last]) + 1 do
            last = last + 1
        end
        parts[#parts + 1] = last > k + 1 and seeds[k] .. ".." .. seeds[last] or seeds[k]
        k = last > k + 1 and last + 1 or k + 1
    end
    if #parts > 8 then parts = { table.concat(parts, ", ", 1, 7), "..." } end
    return table.concat(parts, ", ")
end

-- A line a group: its settings, its seeds, and how its runs ended.
local function overview_of_groups(groups, names, by)
    local s = { title = by and "groups: runs that agree in these" or "groups: runs that differ in nothing but the seed",
        keys = math.max(1, #names), rows = {}, none = "none", head = {} }
    local shown = {}
    for _, name in ipairs{ "diverged", "failed", "unfinished" } do
        for _, g in ipairs(groups) do shown[name] = shown[name] or #g[name] > 0 end
    end
    table.move(names, 1, #names, 1, s.head)
    table.move({ "finished", "seeds" }, 1, 2, #s.head + 1, s.head)
    for _, name in ipairs{ "diverged", "failed", "unfinished" } do s.head[#s.head + 1] = shown[name] and name or nil end
    for k, g in ipairs(groups) do
        local row = {}
        for c, setting in ipairs(g.settings) do row[c] = setting.value end
        table.move({ ("%d of %d"):format(#g.finished, #g.runs), ranges(g.seeds) }, 1, 2, #row + 1, row)
        for _, name in ipairs{ "diverged", "failed", "unfinished" } do
            if shown[name] then
                local seeds = {}
                for i, run in ipairs(g[name]) do seeds[i] = run_groups.seed(run) end
                row[#row + 1] = #seeds == 0 and "-" or (name == "unfinished" and "" or "seed ") .. ranges(seeds)
            end
        end
        s.rows[k] = row
        if #g.pooled > 0 then s.note = "pooled, as --group-by says: " .. table.concat(g.pooled, ", ") end
    end
    return s
end

-- Which of the settings tell these groups apart, by their numbers.
local function telling_of(groups, names)
    local telling = {}
    for c in ipairs(names) do
        for _, g in ipairs(groups) do
            if g.settings[c].value ~= groups[1].settings[c].value then
                telling[#telling + 1] = c
                break
            end
        end
    end
    return telling
end

-- The head { "metric", settings, more }, and a row's cells.
local function head_of(names, telling, more)
    local head = { "metric" }
    for k, c in ipairs(telling) do head[k + 1] = names[c] end
    return table.move(more, 1, #more, #head + 1, head)
end
local function row_of(g, name, telling, more)
    local row = { text(name) }
    for k, c in ipairs(telling) do row[k + 1] = g.settings[c].value end
    return table.move(more, 1, #more, #row + 1, row)
end

-- Mean and interval as cells.
local function cells_of(i)
    return i.mean and number(i.mean) or "-", i.low and number(i.low) or "-", i.high and number(i.high) or "-"
end

-- Mean and interval of each result over the finished runs of a group. n: those with a finite number, of so many that
-- were started.
local function over_seeds(groups, names, results)
    local s = { title = "over seeds: mean and 95 % interval (Student's t)", rows = {} }
    local several, alone, notes, noted = {}, 0, {}, {}
    local function note(text)
        if not noted[text] then notes[#notes + 1] = text end
        noted[text] = true
    end
    for _, g in ipairs(groups) do
        if #g.runs > 1 then several[#several + 1] = g else alone = alone + 1 end
        if #g.pooled > 0 then note("n counts runs, pooled over " .. table.concat(g.pooled, ", ")) end
        if #g.repeated > 0 then
            note("n counts the same run again, and intervals are too narrow: " .. table.concat(g.repeated, ", "))
        end
        if #g.runs > #g.seeds then s.title = "over runs: mean and 95 % interval (Student's t)" end
    end
    local telling = telling_of(several, names)
    s.keys, s.head = 1 + #telling, head_of(names, telling, { "n", "of", "mean", "low", "high" })
    for _, name in ipairs(results) do
        for _, g in ipairs(several) do
            local i = results_of.over_seeds(g, name)
            s.rows[#s.rows + 1] = row_of(g, name, telling, { text(i.n), text(#g.runs), cells_of(i) })
        end
    end
    if alone > 0 then note(string.format("left out: %d with settings of their own", alone)) end
    s.note = #notes > 0 and table.concat(notes, "\n  ") or nil
    return s
end

-- What each result differs by from the baseline's at the same seed. Nothing, unless it was asked for, where no two
-- groups have two seeds in common.
local function paired(groups, names, results, baseline, asked)
    local s = { title = "paired by seed: difference to the baseline, mean and 95 % interval (Student's t)", rows = {},
        none = #groups > 1 and "no seed in common" or "no other group" }
    local found, shown, averaged = {}, asked, false
    for _, name in ipairs(results) do
        for _, g in ipairs(groups) do
            local d = g ~= baseline and results_of.paired(g, baseline, name)
            if d and d.n > 0 then found[#found + 1] = { g, name, d } end
            shown = shown or d and d.n > 1
        end
    end
    if not shown then return nil end
    local of, seen = { baseline }, {} -- the baseline, and those that are compared with it
    for _, one in ipairs(found) do
        if not seen[one[1]] then of[#of + 1] = one[1] end
        seen[one[1]] = true
    end
    for _, g in ipairs(of) do averaged = averaged or #g.runs > #g.seeds end
    local telling = telling_of(of, names)
    s.keys, s.head = 1 + #telling, head_of(names, telling, { "n", "difference", "low", "high" })
    for k, one in ipairs(found) do
        s.rows[k] = row_of(one[1], one[2], telling, { text(one[3].n), cells_of(one[3]) })
    end
    s.note = ("n counts the seeds that both have%s; the baseline: %s"):format(
        averaged and ", over whose runs the mean is taken" or "", baseline.label)
    return s
end

-- What tells runs apart: settings, then results; with repetitions, their means, and what these differ by at the same
-- seeds. where: of the baseline's runs (results.baseline).
function run_view.comparison(command, runs, by, where)
    local results, groups, names = results_of.names(runs), run_view.groups(command, runs, by)
    local baseline = results_of.baseline(command, groups, runs, where)
    local sections = {}
    if #runs <= MANY or #groups == #runs then
        local differ, settings = run_groups.differing(run_groups.whole(runs)), {}
        for _, path in ipairs(groups.settings) do settings[#settings + 1] = path end
        sections[1] = differences(runs, differ, settings, groups[1].varies)
        sections[2] = finals(runs, results)
    end
    if #groups < #runs then
        sections[#sections + 1] = overview_of_groups(groups, names, by)
        sections[#sections + 1] = over_seeds(groups, names, results)
        if groups[1].varies and #runs > MANY then
            sections[#sections].note = (sections[#sections].note and sections[#sections].note .. "\n  " or "")
                .. "varies with the seed: " .. groups[1].varies
        end
    end
    sections[#sections + 1] = paired(groups, names, results, baseline, where ~= nil)
    return sections
end

return run_view

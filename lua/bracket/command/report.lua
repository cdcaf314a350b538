-- bracket report DIR: one page of HTML about a run, or about the runs in a folder. It needs nothing beside itself and
-- asks for nothing: its numbers, style and script are inside.
local bk = ...
local command_line, run_view, table_text = bk.command._command_line, bk.command._run_view, bk._table_text
local page, curves = bk.command._report_page, bk.command._report_curves
local script = bk.command._report_script_text
local misused, text, escape = command_line.misused, table_text.text, page.escape

-- ---- columns ----

-- Names that differ in their numbers alone belong in one figure.
local function family_of(name)
    local family = name:gsub("[._]%d+%f[%W]", ""):gsub("_%d+_%d+$", "")
    return family == "" and name or family
end

-- Families in the order loss, accuracy, the rest, rate and task.
local function families(names)
    local list, members, place = {}, {}, { loss = 1, accuracy = 2, lr = 4, task = 5 }
    for _, name in ipairs(names) do
        local family = family_of(name)
        if name ~= "step" and not members[family] then list[#list + 1], members[family] = family, {} end
        if name ~= "step" then table.insert(members[family], name) end
    end
    table.sort(list, function(a, b)
        local x, y = place[a] or 3, place[b] or 3
        if x ~= y then return x < y end
        return table_text.natural(a, b)
    end)
    return list, members
end

-- The last recorded steps before the task changes; none when that is all the time.
local function boundaries(columns, rows)
    local marks, task, step = {}, columns.task, columns.step
    for r = 2, task and step and rows or 0 do
        if task[r] ~= task[r - 1] and task[r] >= 1 and task[r - 1] >= 1 then marks[#marks + 1] = step[r - 1] end
    end
    return #marks <= 20 and marks or {}
end

-- A run's column without what is no number; nil where nothing is left.
local function finite_curve(run, name)
    local steps, values = run_view.points(run.columns, name)
    local x, y = {}, {}
    for r = 1, values and #values or 0 do
        if values[r] - values[r] == 0 and steps[r] - steps[r] == 0 then x[#x + 1], y[#y + 1] = steps[r], values[r] end
    end
    if #x > 0 then return x, y end
end

-- ---- matrices ----

-- What was best before, less what is: on each task that was learned before, after each task.
local function forgetting_of(accuracy, learned)
    local rows, known = {}, { [learned[1]] = true }
    for k = 3, #accuracy do
        rows[k - 2] = {}
        for i = 1, #accuracy[1] do
            local best = -math.huge
            for j = 2, k - 1 do best = math.max(best, accuracy[j][i]) end
            rows[k - 2][i] = known[i] and best - accuracy[k][i] or 0 / 0
        end
        if learned[k - 1] then known[learned[k - 1]] = true end
    end
    return #rows > 0 and rows or nil
end

-- The last recorded inner products of the tasks' gradients.
local function gram_of(run)
    local rows, n = {}, 0
    for name in pairs(run.columns or {}) do
        local i, j = name:match("^gram_(%d+)_(%d+)$")
        if i then n = math.max(n, tonumber(i), tonumber(j)) end
    end
    if n == 0 or n > 50 then return nil end
    for i = 1, n do rows[i] = {} end
    for i = 1, n do
        for j = i, n do
            local column = run.columns[("gram_%d_%d"):format(i, j)] or {}
            rows[i][j] = column[#column] or 0 / 0
            rows[j][i] = rows[i][j]
        end
    end
    return rows
end

-- The mean over runs of a matrix, over those of the first one's shape; of how many.
local function mean_of(runs, get)
    local sum, n = nil, 0
    for _, run in ipairs(runs) do
        local m = get(run)
        if m and not sum then
            sum, n = m, 1
        elseif m and #m == #sum and #m[1] == #sum[1] then
            n = n + 1
            for r, row in ipairs(m) do for c, v in ipairs(row) do sum[r][c] = sum[r][c] + v end end
        end
    end
    for _, row in ipairs(n > 1 and sum or {}) do for c, v in ipairs(row) do row[c] = v / n end end
    return sum, n
end

-- The matrices of runs that differ in nothing but the seed, as HTML; nothing where there are none.
local function matrices(runs)
    local parts = {}
    local learned = type(runs[1].status.learned) == "table" and runs[1].status.learned or {}
    local function add(title, get, named, options)
        local values, n = mean_of(runs, get)
        if not values then return end
        local m = { title = title, rows = {}, columns = {}, values = values, colours = "sequential",
            note = n > 1 and ("mean of %d runs"):format(n) or nil }
        for k = 1, #values do m.rows[k] = named(runs[1], k) end
        for i = 1, #values[1] do m.columns[i] = run_view.task_name(runs[1], i) end
        for name, value in pairs(options or {}) do m[name] = value end
        parts[#parts + 1] = page.matrix(m)
    end
    local function of_status(field) return function(run) return run_view.matrix(run, field) end end
    local all = {}
    for _, run in ipairs(runs) do
        for _, row in ipairs(run_view.matrix(run, "accuracy") or {}) do all[#all + 1] = row end
    end
    local title = run_view.accuracy_title(all)
    add(title, of_status "accuracy", run_view.moment, not title:find("regressions") and { low = 0, high = 1 } or nil)
    add("forgetting: the best before, less what is", function(run)
        local accuracy = run_view.matrix(run, "accuracy")
        return accuracy and #learned > 1 and forgetting_of(accuracy, learned) or nil
    end, function(run, k) return run_view.moment(run, k + 2) end, { colours = "diverging", missing = "" })
    add("test loss on each task", of_status "test_loss", run_view.moment)
    add("order matrix", of_status "order_matrix", run_view.task_name, { colours = "diverging" })
    add("Gram matrix of the tasks' gradients, at the end", gram_of, run_view.task_name, { colours = "diverging" })
    return #parts > 0 and '<div class="maps">' .. table.concat(parts, "\n") .. "</div>" or nil
end

-- ---- the page ----

local report = {}
report.__index = report

function report:add(html) self[#self + 1] = html end

function report:heading(id, title)
    self.contents[#self.contents + 1] = { id, title }
    self:add(('<h2 id="%s">%s</h2>'):format(id, escape(title)))
end

function report:section(s, id, listed)
    if listed then self.contents[#self.contents + 1] = { id, listed } end
    self:add(page.section(s, id))
end

-- Runs that go on: how far they are.
function report:running(runs)
    local lines = {}
    for _, run in ipairs(runs) do
        local s = run.status
        if s.status == "running" then
            local step, total = tonumber(s.step), tonumber(s.total)
            local bar = ""
            if step and total and total > 0 then
                bar = ('<progress value="%.0f" max="%.0f">%.0f of %.0f</progress> '):format(step, total, step, total)
            end
            local at = ("%sstep %s of %s"):format(#runs > 1 and run.dir .. ": " or "", text(s.step), text(s.total))
            lines[#lines + 1] = ('<p><span class="state running">running</span> %s%s, as of %s</p>'):format(bar,
                escape(at), escape(text(s.updated)))
        end
    end
    if #lines > 0 then self:add(table.concat(lines, "\n")) end
end

local function one_run(dir, path)
    local run = run_view.load("report", dir)
    local self = setmetatable({ contents = {} }, report)
    local sections, columns, names, rows = run_view.sections("report", run)
    run.columns = columns
    self:running{ run }
    local list, members = families(names)
    local n = 0
    for _, family in ipairs(list) do n = n + #members[family] end
    local drawn, marks = curves.new({}, n, 0), boundaries(columns, rows)
    local ids = { status = "status", ["final metrics"] = "metrics", configuration = "configuration",
        environment = "environment" }
    for _, s in ipairs(sections) do
        if s.head and s.head[1] == "column" then -- the figures stand before the numbers
            self:heading("curves", "curves")
            if #marks > 0 then self:add(page.note("dashed lines: the next task begins")) end
            self:add('<div class="figures">')
            for _, family in ipairs(list) do
                local series = {}
                for k, name in ipairs(members[family]) do
                    local x, y = finite_curve(run, name)
                    if x then series[#series + 1] = { x = x, mean = y, label = name, colour = k } end
                end
                self:add(drawn:figure(family, series, {}, family ~= "task" and marks or {}))
            end
            self:add("</div>")
            self:section(s, "recorded")
        elseif s.is_matrix then
            if not self.mapped then
                self.mapped = true
                self:heading("tasks", "task by task")
                self:add(matrices{ run } or page.note("no number"))
            end
        else
            local id = ids[s.title] or "section-" .. #self
            self:section(s, id, s.title)
        end
    end
    local made = script.html({ run }, "script")
    if made then
        self.contents[#self.contents + 1] = { "script", "script" }
        self:add(made)
    end
    page.write(path, run.dir, self, self.contents, drawn:json())
end

-- What all runs ran on, and where they differ.
local function environment(runs)
    local s, all = { title = "environment", rows = {}, none = "env.json is missing or empty", head = { "", "value",
        "runs" } }, {}
    for _, run in ipairs(runs) do
        for name, value in pairs(run.env) do
            if name ~= "seed" then
                all[name] = all[name] or {}
                local as = text(value)
                all[name][as] = (all[name][as] or 0) + 1
            end
        end
    end
    for _, name in ipairs(table_text.sorted(all)) do
        for _, value in ipairs(table_text.sorted(all[name])) do
            s.rows[#s.rows + 1] = { text(name), value, tostring(all[name][value]) }
        end
    end
    return s
end

local function summary(runs, groups)
    local count, parts = {}, {}
    for _, g in ipairs(groups) do
        count.diverged = (count.diverged or 0) + #g.diverged
    end
    for _, run in ipairs(runs) do
        local s = text(run.status.status)
        count[s] = (count[s] or 0) + 1
    end
    for _, name in ipairs(table_text.sorted(count)) do
        if count[name] > 0 then
            parts[#parts + 1] = ('<span class="state %s">%d %s</span>'):format(name:gsub("%W", ""), count[name],
                escape(name))
        end
    end
    return "<p>" .. table.concat(parts, ", ") .. ("; %d group%s</p>"):format(#groups, #groups == 1 and "" or "s")
end

-- The figures of groups: a column a figure; families of many columns are folded in.
local function group_figures(self, runs, groups)
    local every, names = {}, {}
    for _, run in ipairs(runs) do
        for _, name in ipairs(run.names) do every[name] = true end
    end
    for name in pairs(every) do names[#names + 1] = name end
    table.sort(names, table_text.natural)
    local list, members = families(names)
    local n, labels = 0, {}
    for _, family in ipairs(list) do n = n + #members[family] end
    for k, g in ipairs(groups) do labels[k] = { label = g.label, note = run_view.group_note(g) } end
    local drawn = curves.new(labels, n * #groups, n * #runs)
    self:heading("curves", "curves")
    self:add(page.note("mean over the runs of a group, and its 95 % interval (Student's t) as a band"))
    self:add('<div class="bar"><ul class="legend" id="groups"></ul>'
        .. (drawn.has_single and '<button type="button" id="singles" aria-pressed="false">single runs</button>' or "")
        .. "</div>")
    if drawn.too_many then self:add(page.note("single runs: too many to stand in a page that is sent about")) end
    self:add("<noscript>" .. page.note("The page's script, which draws the curves, is off here.") .. "</noscript>")
    local open, folded = {}, {}
    for _, family in ipairs(list) do
        local figures = {}
        for f, name in ipairs(members[family]) do
            local series, single = {}, {}
            for k, g in ipairs(groups) do
                local s = run_view.series("report", g, name)
                if s then
                    s.label, s.colour, s.group = g.label ~= "" and g.label or "all runs", k, k
                    series[#series + 1] = s
                end
                for _, run in ipairs(drawn.has_single and g.runs or {}) do
                    local x, y = finite_curve(run, name)
                    if x then single[#single + 1] = { x = x, y = y, colour = k, group = k } end
                end
            end
            figures[f] = drawn:figure(name, series, single)
        end
        if #figures > 4 then -- what all of them are of stays: loss of loss_1, loss_2, ...
            if members[family][1] == family then open[#open + 1] = table.remove(figures, 1) end
            folded[#folded + 1] = ('<details><summary>%s: %d columns</summary>\n<div class="figures">%s</div></details>')
                :format(escape(family), #figures, table.concat(figures, "\n"))
        else
            table.move(figures, 1, #figures, #open + 1, open)
        end
    end
    self:add('<div class="figures">' .. table.concat(open, "\n") .. "</div>")
    table.move(folded, 1, #folded, #self + 1, self)
    return drawn
end

local function several_runs(dir, folders, path, options)
    local runs, problems = run_view.load_all("report", folders, function(run)
        run.columns, run.names = run_view.columns("report", run.dir)
    end)
    if options.where then runs = options.where("report", runs) end
    if #runs == 0 then
        error(#problems > 0 and table.concat(problems, "\n") or "report: --where: it holds for none of the runs", 0)
    end
    local groups = run_view.groups("report", runs, options.by)
    local self = setmetatable({ contents = {} }, report)
    self:add(summary(runs, groups))
    self:running(runs)
    for _, problem in ipairs(problems) do self:add(page.note("left out: " .. problem)) end
    local drawn = group_figures(self, runs, groups)
    local maps = {}
    for _, g in ipairs(groups) do
        local html = matrices(#g.finished > 0 and g.finished or g.runs)
        if html then
            maps[#maps + 1] = ("<details%s><summary>%s (%s)</summary>%s</details>"):format(#maps == 0 and " open" or "",
                escape(g.label ~= "" and g.label or "all runs"), escape(run_view.group_note(g)), html)
        end
    end
    if #maps > 0 then
        self:heading("tasks", "task by task")
        self:add(table.concat(maps, "\n"))
    end
    for k, s in ipairs(#runs > 1 and run_view.comparison("report", runs, options.by) or {}) do
        self:section(s, "comparison-" .. k, s.title:match("^[^:(]*"))
    end
    local overview = run_view.overview(runs)
    for k, label in ipairs(run_view.labels(runs)) do overview.rows[k][1] = text(label) end
    self:section(overview, "runs", "runs")
    self:section(environment(runs), "environment", "environment")
    local made = script.html(runs, "script")
    if made then
        self.contents[#self.contents + 1] = { "script", "script" }
        self:add(made)
    end
    page.write(path, ("%s: %d run%s"):format(dir, #runs, #runs > 1 and "s" or ""), self, self.contents, drawn:json())
    if #problems > 0 then error(table.concat(problems, "\n"), 0) end
end

return command_line.define{
    name = "report",
    arguments = "DIR",
    doc = "writes a page of HTML about the run in DIR, or about all runs in it: curves with bands by group, matrices, "
        .. "tables, environment, script. One file, which asks for nothing",
    options = {
        { "out", "FILE", doc = "where to, in place of DIR/report.html" },
        { "where", "EXPR", doc = "of the runs for which it holds: 'lr < 0.1 and status == \"finished\"'" },
        { "group-by", "NAME,NAME,...", doc = "pools runs that agree in these, whatever else differs" },
    },
    prepare = function(plain, options)
        if #plain ~= 1 then misused("expected one DIR, got %d", #plain) end
        options.where = options.where and command_line.where(options, "where")
        options.by = command_line.names(options, "group-by")
        return (plain[1]:gsub("(.)/+$", "%1")), options
    end,
    call = function(dir, options)
        local found = run_view.runs("report", { dir })
        local path = options.out or dir .. "/report.html"
        if found[1] ~= dir then return several_runs(dir, found, path, options) end
        if options.where or options.by then error("report: --where, --group-by: " .. dir .. " is one run", 0) end
        one_run(dir, path)
    end,
}

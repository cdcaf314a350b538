-- bracket report DIR: one page of HTML about a run, or about the runs in a folder. It needs nothing beside itself: its
-- style is inside, its figures are inline SVG by bk.plot, and there are no scripts.
local bk = ...
local command_line, run_view, table_text = bk.command._command_line, bk.command._run_view, bk.command._table_text

local USAGE = [[
usage: bracket report DIR [--out FILE]
       writes DIR/report.html (or FILE): a page about the run in DIR, or about all runs in it
]]
local LABELLED = run_view.LABELLED

local STYLE = [[
body { font: 15px/1.45 sans-serif; color: #222; background: #fff; max-width: 1340px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em; overflow-wrap: anywhere } h2 { font-size: 1.15em; margin: 1.6em 0 .5em }
.wide { overflow-x: auto } table { border-collapse: collapse } .note { color: #555 }
th, td { padding: .2em .7em; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
td { overflow-wrap: anywhere } .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
figure { display: inline-block; width: min(640px, 100%); margin: 0 .5em 1em 0; vertical-align: top }
figure svg { width: 100%; height: auto } summary { cursor: pointer; margin: .5em 0 }
]]

-- Text fit for HTML: valid UTF-8, no control characters.
local function clean(text)
    local parts, at = {}, 1
    while true do
        local length, bad = utf8.len(text, at)
        if length then break end
        parts[#parts + 1] = text:sub(at, bad - 1) .. "\u{FFFD}"
        at = bad + 1
    end
    text = table.concat(parts) .. text:sub(at)
    return (text:gsub("\xC2[\x80-\x9F]", "\u{FFFD}"):gsub("[\0-\8\11-\31\127]", "\u{FFFD}"))
end

local ENTITY = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }
local function escape(text) return (clean(text):gsub("[&<>\"']", ENTITY)) end

-- ---- tables ----

-- The style of a shaded cell: where its value is between 0 and the greatest (or 1), or the least and 0.
local function shades(rows)
    local low, high = 0, 0
    for _, row in ipairs(rows) do
        for _, v in pairs(row) do
            if v - v == 0 then low, high = math.min(low, v), math.max(high, v) end
        end
    end
    if low == 0 and high <= 1 then high = 1 end
    return function(v)
        if v - v ~= 0 then return "" end
        local place = (v - low) / (high - low)
        return string.format(' style="background: rgba(0, 114, 178, %.3f)%s"', 0.9 * place,
            place > 0.6 and "; color: #fff" or "")
    end
end

local function section_html(s)
    local lines = { "<h2>" .. escape(s.title) .. "</h2>" }
    local shade, right = s.shade and shades(s.shade), {}
    if #s.rows == 0 then
        lines[2] = '<p class="note">' .. escape(s.none) .. "</p>"
    else
        lines[2] = '<div class="wide"><table>'
        if s.head then
            local cells = { string.format(s.head[1] == "" and "<td></td>" or "<th>%s</th>", escape(s.head[1])) }
            for c = 2, #s.head do
                right[c] = ' class="n"'
                for _, row in ipairs(s.rows) do right[c] = table_text.is_number(row[c]) and right[c] or "" end
                cells[c] = string.format('<th%s>%s</th>', right[c], escape(s.head[c]))
            end
            lines[3] = "<thead><tr>" .. table.concat(cells) .. "</tr></thead>"
        end
        lines[#lines + 1] = "<tbody>"
        for r, row in ipairs(s.rows) do
            local cells = { '<tr><th scope="row">' .. escape(row[1]) .. "</th>" }
            for c = 2, #row do
                cells[c] = string.format("<td%s%s>%s</td>", right[c] or "", shade and shade(s.shade[r][c]) or "",
                    escape(row[c]))
            end
            lines[#lines + 1] = table.concat(cells) .. "</tr>"
        end
        lines[#lines + 1] = "</tbody></table></div>"
    end
    if s.note then lines[#lines + 1] = '<p class="note">' .. escape(s.note) .. "</p>" end
    return table.concat(lines, "\n")
end

-- ---- figures ----

-- gnuplot's SVG as a part of the page: without prolog and namespaces that HTML implies, and with ids of its own.
local function inline(svg, title, n)
    svg = clean(svg):match("<svg.*</svg>"):gsub("<title>Gnuplot</title>%s*<desc>.-</desc>", "", 1)
    svg = svg:gsub("<[^>]*>", function(tag)
        return (tag:gsub("%sxmlns:xlink=(['\"]).-%1", ""):gsub("xlink:href=", "href=")
            :gsub("(%sid=['\"])", "%1f" .. n .. "_"):gsub("(href=['\"]#)", "%1f" .. n .. "_")
            :gsub("(url%(#)", "%1f" .. n .. "_"))
    end)
    return (svg:gsub("^<svg", '<svg role="img" aria-label="' .. escape(title):gsub("%%", "%%%%") .. '"', 1))
end

local page = {}
page.__index = page

-- A figure for the page; what cannot be drawn is said in its place.
function page:figure(f, note)
    if self.no_gnuplot then return "" end
    self.n = self.n + 1
    local name = os.tmpname()
    f.out, f.width, f.height, f.xlabel = name .. ".svg", 640, 400, "step"
    local ok, why = pcall(bk.plot, f)
    local file = io.open(f.out, "rb")
    local svg = file and file:read("a") or ""
    if file then file:close() end
    os.remove(f.out)
    os.remove(name)
    if ok and svg:find("<svg.*</svg>") then
        return string.format("<figure>\n%s%s</figure>", inline(svg, f.title, self.n),
            note and '<figcaption class="note">' .. escape(note) .. "</figcaption>" or "")
    end
    why = ok and "gnuplot drew nothing" or tostring(why)
    self.no_gnuplot = why:find("gnuplot is not installed", 1, true) and why
    return self.no_gnuplot and "" or string.format('<p class="note">%s: %s</p>', escape(f.title), escape(why))
end

-- Losses, and what spans more than two decades, are drawn on a logarithmic axis where all is positive.
local function is_logarithmic(name, lists)
    local low, high = math.huge, -math.huge
    for _, list in ipairs(lists) do
        for _, v in ipairs(list) do
            if v - v == 0 then low, high = math.min(low, v), math.max(high, v) end
        end
    end
    return low > 0 and high > low and (name:find("loss") ~= nil or high > 100 * low)
end

-- One figure of curves { label, columns, name }, with lines at the steps in marks.
function page:curves(title, curves, marks)
    local lists, notes, low, high = {}, {}, math.huge, -math.huge
    for k, c in ipairs(curves) do lists[k] = c.columns[c.name] end
    local figure = { title = title, logy = is_logarithmic(title, lists), key = #curves <= LABELLED and "below" }
    if not figure.key then notes[1] = #curves .. " curves, too many to label" end
    for _, c in ipairs(curves) do
        local label = (#curves > 1 or c.label ~= title) and c.label or nil
        local series, thinned = run_view.curve(c.columns, c.name, label, figure)
        if thinned then notes[figure.key and 1 or 2] = "long curves are drawn with some 1000 of their points" end
        for _, v in ipairs(series and series.y or {}) do low, high = math.min(low, v), math.max(high, v) end
        if series and title == "task" then series.style = "steps" end
        figure[#figure + 1] = series
    end
    if #figure == 0 then return string.format('<p class="note">%s: no finite number</p>', escape(title)) end
    if #marks > 0 and high > low then
        local x, y = {}, {}
        for _, step in ipairs(marks) do
            table.move({ step, step, 0 / 0 }, 1, 3, #x + 1, x) -- nan ends a line
            table.move({ low, high, 0 / 0 }, 1, 3, #y + 1, y)
        end
        figure[#figure + 1] = { x = x, y = y, style = "dashed", colour = "#999999", label = "next task" }
    end
    return self:figure(figure, notes[1] and table.concat(notes, "; "))
end

-- Names that differ in their numbers alone belong in one figure.
local function group_of(name)
    local group = name:gsub("[._]%d+%f[%W]", "")
    return group == "" and name or group
end

-- Figures in the order loss, accuracy, the rest, rate and task.
local function grouped(names)
    local groups, members, place = {}, {}, { loss = 1, accuracy = 2, lr = 4, task = 5 }
    for _, name in ipairs(names) do
        local group = group_of(name)
        if name ~= "step" and not members[group] then groups[#groups + 1], members[group] = group, {} end
        if name ~= "step" then table.insert(members[group], name) end
    end
    table.sort(groups, function(a, b)
        local x, y = place[a] or 3, place[b] or 3
        if x ~= y then return x < y end
        return table_text.natural(a, b)
    end)
    return groups, members
end

-- The last recorded steps before the task changes; none when that is all the time.
local function boundaries(columns, rows)
    local marks, task, step = {}, columns.task, columns.step
    for r = 2, task and step and rows or 0 do
        if task[r] ~= task[r - 1] and task[r] >= 1 and task[r - 1] >= 1 then marks[#marks + 1] = step[r - 1] end
    end
    return #marks <= 20 and marks or {}
end

function page:write(path, title)
    if self.no_gnuplot then
        table.insert(self, self.figures_at, string.format(
            '<p class="note">No figures: %s, and write this report again.</p>',
            escape((self.no_gnuplot:gsub("^[%w.]+: ", "")))))
    end
    title = escape(title)
    local written = string.format("Written by bracket %s, %s.", bk.version, os.date("!%Y-%m-%d %H:%M UTC"))
    local ok, why = pcall(bk.internal.write_file, path, table.concat({ "<!DOCTYPE html>", '<html lang="en">', "<head>",
        '<meta charset="utf-8">', '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<title>" .. title .. "</title>", "<style>", STYLE .. "</style>", "</head>", "<body>",
        "<h1>" .. title .. "</h1>", table.concat(self, "\n"), '<p class="note">' .. written .. "</p>", "</body>",
        "</html>", "" }, "\n"))
    if not ok then error("report: " .. why, 0) end
    print(path)
end

local function one_run(dir, path)
    local run = run_view.load("report", dir)
    local self = setmetatable({ n = 0 }, page)
    local sections, columns, names, rows = run_view.sections("report", run)
    local groups, members = grouped(names)
    local marks = boundaries(columns, rows)
    for _, s in ipairs(sections) do
        if s.head and s.head[1] == "column" then -- the figures stand before the numbers
            self[#self + 1] = "<h2>curves</h2>"
            self.figures_at = #self + 1
            for _, group in ipairs(groups) do
                local curves = {}
                for _, name in ipairs(members[group]) do
                    curves[#curves + 1] = { label = name, columns = columns, name = name }
                end
                self[#self + 1] = self:curves(group, curves, group == "task" and {} or marks)
            end
        end
        self[#self + 1] = section_html(s)
    end
    self:write(path, run.dir)
end

local function several_runs(dir, found, path)
    local every = {}
    local runs, problems = run_view.load_all("report", found, function(run)
        run.columns, run.names = run_view.columns("report", run.dir)
    end)
    for _, run in ipairs(runs) do
        for _, name in ipairs(run.names) do every[name] = true end
    end
    local labels, names = run_view.labels(runs), {}
    for name in pairs(every) do names[#names + 1] = name end
    table.sort(names, table_text.natural)
    local self = setmetatable({ n = 0 }, page)
    self[1] = section_html(run_view.overview(runs))
    for _, problem in ipairs(problems) do
        self[#self + 1] = '<p class="note">left out: ' .. escape(problem) .. "</p>"
    end
    for _, s in ipairs(#runs > 1 and run_view.comparison("report", runs) or {}) do self[#self + 1] = section_html(s) end
    self[#self + 1] = "<h2>curves</h2>"
    self.figures_at = #self + 1
    local groups, members = grouped(names)
    for _, group in ipairs(groups) do
        local figures = {}
        for k, name in ipairs(members[group]) do
            local curves = {}
            for r, run in ipairs(runs) do
                if run.columns[name] then
                    curves[#curves + 1] = { label = labels[r], columns = run.columns, name = name }
                end
            end
            figures[k] = self:curves(name, curves, {})
        end
        local inside = table.concat(figures, "\n")
        if #figures > 4 then
            inside = string.format("<details><summary>%s: %d columns</summary>\n%s\n</details>", escape(group),
                #figures, inside)
        end
        self[#self + 1] = inside
    end
    self:write(path, string.format("%s: %d run%s", dir, #runs, #runs > 1 and "s" or ""))
    if #problems > 0 then error(table.concat(problems, "\n"), 0) end
end

return command_line.command("report", USAGE, { out = "a file name" }, function(plain, options)
    if #plain ~= 1 then command_line.misused("expected one DIR, got %d", #plain) end
    return (plain[1]:gsub("(.)/+$", "%1")), options.out
end, function(dir, out)
    local found = run_view.runs("report", { dir })
    local path = out or dir .. "/report.html"
    if found[1] == dir then one_run(dir, path) else several_runs(dir, found, path) end
end)

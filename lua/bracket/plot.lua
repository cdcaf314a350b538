-- bk.plot: curves and images drawn by gnuplot, run as a process of its own on a script in a temporary file. Whatever a
-- caller gives reaches gnuplot only as numbers or between single quotes, where gnuplot expands nothing.
local bk = ...
local check_options = bk._options.check

local INSTALL = "install it with `apt-get install gnuplot-nox`, `dnf install gnuplot` or `brew install gnuplot`"
-- Okabe and Ito's colours, told apart by colour-blind readers too.
local COLOURS = { "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999" }
local STYLES = { lines = "lines", points = "points", linespoints = "linespoints", dashed = "lines", steps = "steps",
    bars = "boxes" }

local function quote(text)
    return "'" .. tostring(text):gsub("%c", " "):gsub("'", "''") .. "'"
end

local function fail(format, ...) error("bk.plot: " .. string.format(format, ...), 0) end

local function number(v)
    if v ~= v or v == math.huge or v == -math.huge then return "NaN" end
    return string.format("%.15g", v)
end

-- A list of numbers from a tensor of one dimension or a table.
local function column(values, where)
    if type(values) == "userdata" then
        local ok, list = pcall(function() return values:to("float64"):reshape{ -1 }:totable() end)
        if not ok then ok, list = pcall(function() return values:totable() end) end
        if not ok then fail("%s: expected numbers, got %s", where, tostring(values)) end
        values = list
    end
    if type(values) ~= "table" then
        fail("%s: expected a list or a tensor of numbers, got a %s", where, type(values))
    end
    for k, v in ipairs(values) do
        if type(v) ~= "number" then fail("%s: entry %d: expected a number, got a %s", where, k, type(v)) end
    end
    return values
end

local SERIES = { { "x", "any" }, { "y", "any" }, { "label", "string" }, { "style", "string" }, { "error", "any" },
    { "low", "any" }, { "high", "any" }, { "image", "any" }, { "colour", "string" } }
local PANEL = { items = "{ x =, y =, label =, ... }, ...",
    { "title", "string", doc = "above it" },
    { "xlabel", "string", doc = "along x" },
    { "ylabel", "string", doc = "along y" },
    { "logx", "boolean", default = false, doc = "a logarithmic axis" },
    { "logy", "boolean", default = false, doc = "a logarithmic axis" },
    { "xrange", "table", says = "the data's", doc = "{low, high}" },
    { "yrange", "table", says = "the data's", doc = "{low, high}" },
    { "key", "boolean|string", doc = "where the labels stand, in gnuplot's words; false: nowhere" } }
local FIGURE = table.move(PANEL, 1, #PANEL, 6, { items = PANEL.items,
    { "out", "string", says = "the terminal", doc = "a file that ends in .png or .svg" },
    { "width", "integer", doc = "in pixels; in characters on the terminal" },
    { "height", "integer", doc = "likewise" },
    { "panels", "table", doc = "a list of figures like this one, drawn side by side" },
    { "columns", "integer", doc = "how many panels stand in a row" } })

local function range(script, axis, given)
    if not given then
        script[#script + 1] = string.format("set %srange [*:*]", axis)
        return
    end
    local low, high = given[1], given[2]
    if type(low) ~= "number" or type(high) ~= "number" or not (low < high) then
        fail("%srange: expected {low, high}, got {%s, %s}", axis, tostring(low), tostring(high))
    end
    script[#script + 1] = string.format("set %srange [%s:%s]", axis, number(low), number(high))
end

-- The ends of the bars: from low and high, or y -+ error; nil without bars.
local function bars(s, y, where)
    if (s.low == nil) ~= (s.high == nil) then fail("%s: low and high belong together", where) end
    if s.error and s.low then fail("%s: give error, or low and high, not both", where) end
    if not s.error and not s.low then return nil end
    local ends, given = { low = {}, high = {} }, {}
    for _, name in ipairs(s.error and { "error" } or { "low", "high" }) do
        given[name] = column(s[name], where .. ": " .. name)
        if #given[name] ~= #y then fail("%s: %s has %d numbers, y %d", where, name, #given[name], #y) end
    end
    for i, v in ipairs(y) do
        ends.low[i] = s.error and v - given.error[i] or given.low[i]
        ends.high[i] = s.error and v + given.error[i] or given.high[i]
    end
    return ends
end

-- The rows of an image (rows, columns), the first row on top.
local function image(script, block, t, where)
    local rows = type(t) == "userdata" and t:totable() or t
    if type(rows) ~= "table" or type(rows[1]) ~= "table" then fail("%s: image: expected (rows, columns)", where) end
    script[#script + 1] = block .. " << END"
    for r, row in ipairs(rows) do
        local text = {}
        for k, v in ipairs(column(row, where .. ": image row " .. r)) do text[k] = number(v) end
        script[#script + 1] = table.concat(text, " ")
    end
    script[#script + 1] = "END"
end

local function panel(script, p, place, dumb)
    local plots, drawn, places, n_places = {}, 0, {}, 0
    if #p == 0 then fail("%sexpected { {x =, y =, label =}, ... }, got no series", place) end
    for k, s in ipairs(p) do
        local where = string.format("%sseries %d", place, k)
        s = check_options("bk.plot: " .. where, s, SERIES, 0)
        local block = string.format("$data%d", #script)
        if s.image then
            image(script, block, s.image, where)
            plots[k] = block .. " matrix with image notitle"
            drawn = drawn + 1
        else
            local y = column(s.y, where .. ": y")
            local x = s.x and column(s.x, where .. ": x")
            local e = bars(s, y, where)
            if x and #x ~= #y then fail("%s: x has %d numbers, y %d", where, #x, #y) end
            local style = s.style or "linespoints"
            if not STYLES[style] then
                fail("%s: style: expected lines, points, linespoints, dashed, steps or bars, got %q", where, style)
            end
            script[#script + 1] = block .. " << END"
            for i = 1, #y do
                local u = x and x[i] or i
                if u == u and not places[u] then places[u], n_places = true, n_places + 1 end
                local fits = number(u) ~= "NaN" and number(y[i]) ~= "NaN"
                if fits and not (p.logx and u <= 0) and not (p.logy and y[i] <= 0) then drawn = drawn + 1 end
                local ends = e and string.format(" %s %s", number(e.low[i]), number(e.high[i])) or ""
                script[#script + 1] = number(u) .. " " .. number(y[i]) .. ends
            end
            script[#script + 1] = "END"
            local look = ""
            if not dumb then
                local colour = s.colour or COLOURS[(k - 1) % #COLOURS + 1]
                look = string.format(" linecolor rgb %s linewidth 1.6 pointtype %d pointsize 0.9%s", quote(colour),
                    ({ 7, 5, 9, 13, 11, 3, 1, 2 })[(k - 1) % 8 + 1], style == "dashed" and " dashtype 2" or "")
                if STYLES[style] == "lines" or STYLES[style] == "steps" or STYLES[style] == "boxes" then
                    look = look:gsub(" pointtype.-pointsize 0.9", "")
                end
            end
            local name = s.label and "title " .. quote(s.label) or "notitle"
            if e then
                plots[#plots + 1] = string.format("%s using 1:2:3:4 with %s%s %s", block,
                    style == "points" and "yerrorbars" or "yerrorlines", look, name)
            else
                plots[#plots + 1] = string.format("%s using 1:2 with %s%s %s", block, STYLES[style], look, name)
            end
        end
    end
    if drawn == 0 then
        fail("%snothing to draw: no point is finite%s", place, (p.logx or p.logy) and " and positive" or "")
    end
    local is_image = p[1].image ~= nil
    local function line(format, ...) script[#script + 1] = string.format(format, ...) end
    line("set title %s noenhanced", quote(p.title or ""))
    line("set xlabel %s noenhanced", quote(p.xlabel or ""))
    line("set ylabel %s noenhanced", quote(p.ylabel or ""))
    line(p.logx and "set logscale x 10" or "unset logscale x")
    line(p.logy and "set logscale y 10" or "unset logscale y")
    line("set format x %s", quote(p.logx and not dumb and "10^{%T}" or "%g"))
    line("set format y %s", quote(p.logy and (dumb and "1e%T" or "10^{%T}") or "%g"))
    if p.logx and n_places <= 6 then -- decades are too coarse for a few rates: name the places themselves
        local names = {}
        for u in pairs(places) do names[#names + 1] = u end
        table.sort(names)
        for k, u in ipairs(names) do names[k] = string.format("'%g' %s", u, number(u)) end
        line("set xtics (%s)", table.concat(names, ", "))
    else
        line("set xtics autofreq")
    end
    range(script, "x", p.xrange)
    range(script, "y", p.yrange)
    if is_image then
        line("set yrange [*:*] reverse; unset tics; unset colorbox; set palette gray; set size ratio -1; unset grid")
    else
        line("set yrange [] noreverse; set tics; set size noratio")
        if not dumb then line("set grid linecolor rgb '#dddddd'") end
    end
    if p.key == false then
        line("unset key")
    else
        local spot = { left = "left top", right = "right top", lower = "right bottom", ["lower left"] = "left bottom",
            below = "bmargin center horizontal height 1.5" }
        if type(p.key) == "string" and not spot[p.key] then
            fail("%skey: expected left, right, lower, lower left or below, got %q", place, p.key)
        end
        line("set key noenhanced %s", spot[p.key] or (dumb and "left top" or "right top"))
    end
    line("plot %s", table.concat(plots, ", \\\n     "))
end

local TERMINAL = {
    png = "pngcairo enhanced size %d,%d font 'Sans,11' background 'white'",
    svg = "svg enhanced size %d,%d dynamic font 'Sans,13' background 'white'",
    terminal = "dumb noenhanced size %d,%d",
}

local function read(path)
    local f = io.open(path, "rb")
    local text = f and f:read("a") or ""
    if f then f:close() end
    return text
end

local function run(script, wanted)
    if not os.execute("command -v gnuplot >/dev/null 2>&1") then fail("gnuplot is not installed: %s", INSTALL) end
    local path, output, errors = os.tmpname(), os.tmpname(), os.tmpname()
    local f, why = io.open(path, "wb")
    if not f then fail("cannot write a temporary file: %s", why) end
    f:write(script, "\n")
    f:close()
    -- the three names come from os.tmpname: nothing of the caller's is in this command
    local ok = os.execute(string.format("gnuplot '%s' >'%s' 2>'%s' </dev/null", path, output, errors))
    local text, complaint = read(output), read(errors)
    os.remove(path)
    os.remove(output)
    os.remove(errors)
    if not ok then
        complaint = complaint:gsub(path, "script", 1):gsub("%s+", " "):gsub("^ ", "")
        fail("gnuplot could not draw%s: %s", wanted and " " .. wanted or "", complaint)
    end
    return text
end

local function plot(options)
    local out, kind = options.out, "terminal"
    if not (io and io.open and os and os.execute and os.tmpname) then
        fail("needs io and os, which this state does not have")
    end
    if out then
        kind = out:match("%.(%w+)$")
        if kind ~= "png" and kind ~= "svg" then fail("out: expected a name ending in .png or .svg, got %q", out) end
        if out:find("%c") then fail("out: a file name with control characters: %q", out) end
    end
    local dumb = kind == "terminal"
    local panels = options.panels or { options }
    if #panels == 0 then fail("panels: expected a list of figures, got an empty one") end
    if options.panels and #options > 0 then fail("give series or panels, not both") end
    local columns = math.max(1, math.min(options.columns or math.ceil(math.sqrt(#panels)), #panels))
    local rows = math.ceil(#panels / columns)
    local width = options.width or (dumb and 79 or 440 * columns + (columns == 1 and 200 or 0))
    local height = options.height or (dumb and 24 or 380 * rows + (rows == 1 and 40 or 0))
    if width < 20 or height < 8 or width > 10000 or height > 10000 then
        fail("width, height: expected 20..10000 by 8..10000, got %d by %d", width, height)
    end
    local script = { "set encoding utf8", "set terminal " .. string.format(TERMINAL[kind], width, height) }
    -- a name that begins with | would be a command to gnuplot, one with ~ a home directory
    if out then script[#script + 1] = "set output " .. quote(out:sub(1, 1) == "/" and out or "./" .. out) end
    if not dumb then script[#script + 1] = "set border 3 linecolor rgb '#444444'; set tics nomirror" end
    local many = #panels > 1
    if many then
        script[#script + 1] = string.format("set multiplot layout %d,%d%s", rows, columns,
            options.title and options.panels and " title " .. quote(options.title) .. " noenhanced" or "")
    end
    for k, p in ipairs(panels) do
        local place = many and string.format("panel %d: ", k) or ""
        if options.panels then
            if type(p) ~= "table" then fail("panel %d: expected a table, got a %s", k, type(p)) end
            p = check_options("bk.plot: panel " .. k, p, PANEL, 0)
        end
        panel(script, p, place, dumb)
    end
    if many then script[#script + 1] = "unset multiplot" end
    if out then
        local f, why = io.open(out, "ab") -- gnuplot's own message would not say why
        if not f then fail("out: %s", why) end
        f:close()
    end
    local text = run(table.concat(script, "\n"), out)
    if dumb then
        io.stdout:write((text:gsub("\f", ""):gsub("^\n+", ""):gsub("%s+$", "")), "\n")
    end
    return out
end

return bk.define{
    name = "bk.plot",
    returns = "out",
    doc = [[
Draws curves with gnuplot: a PNG or SVG file, or characters on the terminal.
A series: x and y, lists or tensors (x: 1, 2, ... when left out), label, error (bars y -+ error) or low and high (their
ends), colour "#rrggbb", style "linespoints" | "lines" | "points" | "dashed" | "steps" | "bars"; or { image = (rows,
columns) }. Points that are nan, infinite, or not positive on a logarithmic axis are left out.]],
    errors = "without gnuplot: says how to install it.",
    options = FIGURE,
    call = plot,
}

-- bk.plot: curves, bars, maps and arrows drawn by gnuplot. What can be drawn lies in _plot, one kind of mark a file.
local bk = ...
local check_options = bk._options.check
local panel, figure, values = bk._plot._panel, bk._plot._figure, bk._plot._values
local text_map = bk._plot._text_map
local fail = values.fail

local PANEL = { items = "{ x =, y =, label =, ... }, ...",
    { "title", "string", doc = "above it" },
    { "xlabel", "string", doc = "along x" },
    { "ylabel", "string", doc = "along y" },
    { "logx", "boolean", default = false, doc = "a logarithmic axis" },
    { "logy", "boolean", default = false, doc = "a logarithmic axis" },
    { "xrange", "list", says = "the data's", doc = "{low, high}" },
    { "yrange", "list", says = "the data's", doc = "{low, high}" },
    { "xticks", "list|boolean", says = "round numbers",
        doc = "numbers, or names of the places 1, 2, ... or of the columns; false: none" },
    { "yticks", "list|boolean", says = "round numbers", doc = "likewise; of the rows" },
    { "key", "boolean|string", says = "where there is room",
        doc = "where the labels stand: left, right, lower, lower left, below, outside; false: nowhere" } }
local FIGURE = table.move(PANEL, 1, #PANEL, 7, { items = PANEL.items,
    { "out", "string", says = "the terminal", doc = "a file that ends in .png, .svg or .pdf" },
    { "width", "integer|string", says = "640; of panels 440 each",
        doc = 'in pixels (96 an inch), or as "3.25in", "252pt", "8.5cm"; in characters on the terminal' },
    { "height", "integer|string", says = "420; of panels 380 each", doc = "likewise" },
    { "font", "positive", default = 10, doc = "the size of letters, in points" },
    { "panels", "list", doc = "a list of figures like this one, drawn side by side" },
    { "columns", "count", says = "about as many as rows", doc = "how many panels stand in a row" } })

local UNITS = { ["in"] = 96, pt = 96 / 72.27, cm = 96 / 2.54, mm = 96 / 25.4, px = 1 }

-- Pixels of 1/96 inch, and whether the length was given with a unit.
local function length(given, name, default, terminal)
    local n, unit = given or default, nil
    if type(given) == "string" then
        n, unit = given:match("^%s*(%d+%.?%d*)%s*(%a+)%s*$")
        n = tonumber(n)
        if terminal or not n or not UNITS[unit] then
            fail("%s: expected %s, got %q", name, terminal and "a number of characters"
                or 'a number of pixels, or a length as "3.25in", "252pt", "8.5cm"', given)
        end
        n = n * UNITS[unit]
    end
    local least, what = name == "width" and 20 or 8, terminal and "characters" or "pixels"
    if n < least or n > 10000 then fail("%s: expected %d to 10000 %s, got %.0f", name, least, what, n) end
    return n, unit ~= nil
end

local KINDS = { png = true, svg = true, pdf = true }

local function kind_of(out)
    bk._options.needs_files("bk.plot")
    if not out then return "terminal" end
    local kind = out:match("%.(%w+)$")
    if not KINDS[kind] then fail("out: expected a name ending in .png, .svg or .pdf, got %q", out) end
    if out:find("%c") then fail("out: a file name with control characters: %q", out) end
    local f, why = io.open(out, "rb")
    if not f then -- gnuplot's own message would not say why; nothing is left of the try
        f, why = io.open(out, "ab")
        if not f then fail("out: %s", why) end
        os.remove(out)
    end
    f:close()
    return kind
end

-- On the terminal the panels stand below each other.
local function to_terminal(panels, title, width, height, font)
    if title then io.stdout:write(title, "\n\n") end
    for k, p in ipairs(panels) do
        local text = text_map(p, width, height)
        if not text then
            local f = figure.new("terminal", font)
            p:script(f, width, height)
            text = f:run(f:terminal(width, height))
        end
        text = text:gsub("\f", ""):gsub("^%s*\n", ""):gsub("%s+$", ""):gsub("[ \t]+\n", "\n")
        io.stdout:write(text, k < #panels and "\n\n" or "\n")
    end
end

local function plot(options)
    local kind, list = kind_of(options.out), options.panels or { options }
    if #list == 0 then fail("panels: expected a list of figures, got an empty one") end
    if options.panels and #options > 0 then fail("give series or panels, not both") end
    local dumb, many, panels = kind == "terminal", #list > 1, {}
    if options.columns and not options.panels then fail("columns: there are no panels") end
    local columns = math.max(1, math.min(options.columns or math.ceil(math.sqrt(#list)), #list))
    local rows = math.ceil(#list / columns)
    local width, in_units = length(options.width, "width", dumb and 79 or 440 * columns + (columns == 1 and 200 or 0),
        dumb)
    local height, too = length(options.height, "height", dumb and 24 or 380 * rows + (rows == 1 and 40 or 0), dumb)
    for k, p in ipairs(list) do
        local name = many and ("panel %d: "):format(k) or ""
        if options.panels then
            if type(p) ~= "table" then fail("panel %d: expected a table, got %s", k, bk._options.show(p)) end
            p = check_options("bk.plot: panel " .. k, p, PANEL)
        end
        panels[k] = panel.new(p, name, dumb)
    end
    if options.panels then -- what belongs to one figure says nothing of several
        for _, o in ipairs(PANEL) do
            if o[1] ~= "title" and options[o[1]] ~= o.default then fail("%s: give it to the panels", o[1]) end
        end
    end
    local title = options.panels and options.title
    if dumb then
        figure.need_gnuplot()
        to_terminal(panels, title, width, height, options.font)
        return nil
    end
    figure.need_gnuplot()
    local f = figure.new(kind, options.font)
    local free = options.key == nil or options.key == "below"
    if free and not many and not options.height then -- a long key makes the figure higher
        panels[1]:measure(f, width, height)
        local below, high = panels[1]:key_below()
        height = (below or options.key) and height + math.max(0, high - 60) or height
    end
    for _, p in ipairs(panels) do p:script(f, width / columns, height / rows) end
    local opening = (many or title) and ("set multiplot layout %d,%d%s"):format(rows, columns,
        title and (" title %s noenhanced"):format((figure.quote_lines(title, width / (f.font * 0.62), 2))) or "") or ""
    f:run(f:terminal(width, height, in_units or too), options.out, opening, opening ~= "" and "unset multiplot" or "")
    return options.out
end

-- The styles and their options, as the marks declare them.
local styles = {}
for k, mark in ipairs(panel.marks) do
    local names = {}
    for i, o in ipairs(mark.options) do
        local default = o.says or o.default ~= nil and tostring(o.default)
        names[i] = ("    %-12s%s%s"):format(o[1], o.doc, default and (" (default %s)"):format(default) or "")
    end
    local lines = {}
    for i, style in ipairs(mark.styles) do lines[i] = ("%q"):format(style) end
    styles[k] = ("style = %s\n%s\n%s"):format(table.concat(lines, " | "), mark.doc, table.concat(names, "\n"))
end

return bk.define{
    name = "bk.plot",
    returns = "out",
    doc = [[
Draws figures with gnuplot: a PNG, SVG or PDF file, or characters on the terminal.
A series has a label, a style, a colour "#rrggbb" (the next of nine that are told apart without colour too) and what its
style takes. Without a style it is an image where it has one, otherwise linespoints, of more than 60 points lines.
Long texts are wrapped, then lose their middle; names of ticks are turned where they would lie on each other, then some
are left out: a larger width or height has room for more. A letter that no installed font has is a box in a PNG or PDF
(with a warning); in an SVG it is left to the viewer's fonts.

]] .. table.concat(styles, "\n\n"),
    errors = "without gnuplot: says how to install it. Of a figure that fails no file is left.",
    options = FIGURE,
    call = plot,
}

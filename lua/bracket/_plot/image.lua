-- Heat maps: a matrix as coloured cells with a colour bar; cells that are nan or infinite are hatched.
local bk = ...
local colours, values = bk._plot._colours, bk._plot._values
local fail, number = values.fail, values.number
local DRAWN = 10000 -- cells that are drawn one by one; more of them are an image
local HATCHED = { { "nan", 4 }, { "inf", 5 }, { "-inf", 1 } } -- what has no colour, and gnuplot's pattern of it

-- The centres of n cells from low to high, and the width of one.
local function centres(ends, n)
    local list, width = {}, n > 1 and (ends[2] - ends[1]) / (n - 1) or n == 1 and ends[2] - ends[1]
    for k = 1, n do list[k] = n > 1 and ends[1] + width * (k - 1) or (ends[1] + ends[2]) / 2 end
    return list, width
end

-- The grid of a matrix: rows, the centres of its columns (x) and rows (y, of row 1, 2, ...), the cells' width, height.
local function grid(s, panel, where)
    local rows = values.matrix(s.image, where .. ": image")
    local x, y = values.pair(s.x, where .. ": x"), values.pair(s.y, where .. ": y")
    local g = { rows = rows, extents = x ~= nil or y ~= nil, upper = s.origin == "upper" }
    g.x, g.width = centres(x or { 1, #rows[1] }, #rows[1])
    g.y, g.height = centres(y or { 1, #rows }, #rows)
    if #rows[1] == 1 and not x then g.x, g.width = { 1 }, 1 end
    if #rows == 1 and not y then g.y, g.height = { 1 }, 1 end
    if y and g.upper then -- the first row at the upper end
        local from_top = {}
        for k = 1, #g.y do from_top[k] = g.y[#g.y + 1 - k] end
        g.y = from_top
    end
    if panel.x.log or panel.y.log then fail("%s: a matrix has no logarithmic axes: give logx, logy up", where) end
    panel.x.whole, panel.y.whole = panel.x.whole or not x, panel.y.whole or not y
    panel.y.reversed = panel.y.reversed or (not y and g.upper)
    panel.x.cells, panel.y.cells = g.x, g.y
    return g
end

local function prepare(s, panel, where)
    s.grid = grid(s, panel, where)
    local given, low, high = values.pair(s.range, where .. ": range"), math.huge, -math.huge
    for _, row in ipairs(s.grid.rows) do
        local a, b = values.ends(row)
        if a then low, high = math.min(low, a), math.max(high, b) end
    end
    if low <= high then panel.drawn = panel.drawn + 1 end
    if s.colours == "diverging" then
        high = math.max(math.abs(low), math.abs(high))
        low = -high
    end
    if given then low, high = given[1], given[2] end
    if low <= high then values.check_span(low, high, where) end
    local scale = panel.scale
    if scale and scale.map ~= s.colours then
        fail("%s: colours: the maps of one figure share their colours: %s or %s?", where, scale.map, s.colours)
    end
    panel.scale = { map = s.colours, low = math.min(low, scale and scale.low or low),
        high = math.max(high, scale and scale.high or high), label = s.label, bar = s.colourbar }
end

local function place(s, panel)
    local g = s.grid
    for _, k in ipairs { 1, #g.x } do
        panel.x:reach(g.x[k] - math.abs(g.width) / 2)
        panel.x:reach(g.x[k] + math.abs(g.width) / 2)
    end
    for _, k in ipairs { 1, #g.y } do
        panel.y:reach(g.y[k] - math.abs(g.height) / 2)
        panel.y:reach(g.y[k] + math.abs(g.height) / 2)
    end
    panel.x.tight, panel.y.tight = true, true
    local ratio = math.abs(g.width * #g.x) / math.abs(g.height * #g.y)
    if not g.extents then
        panel.square = ratio > 0.2 and ratio < 5
    else
        panel.square = math.abs(ratio - 1) < 1e-9
    end
end

-- Numbers in the cells: as many decimals as the largest needs, none of them more than it is worth.
local function cell_format(rows)
    local most, whole = 0, true
    for _, row in ipairs(rows) do
        for _, v in ipairs(row) do
            if v - v == 0 then most, whole = math.max(most, math.abs(v)), whole and v % 1 == 0 end
        end
    end
    if whole and most < 1e6 then return "%.0f" end
    local decimals = most > 0 and math.max(0, 2 - math.ceil(math.log(most, 10))) or 0
    if decimals > 5 or most >= 1e6 then return "%.1e" end
    return ("%%.%df"):format(decimals)
end

local function without_colour(v) return v - v ~= 0 and (v ~= v and "nan" or v > 0 and "inf" or "-inf") or nil end

local function cell_text(form, v)
    if v - v ~= 0 then return without_colour(v) end
    local text = form:format(v)
    return text:find("^%-0%.?0*$") and text:sub(2) or text -- no minus before a zero
end

local function cell_values(s, panel, figure)
    local g, scale, rows = s.grid, panel.scale, {}
    local form = cell_format(g.rows)
    for r, row in ipairs(g.rows) do
        for c, v in ipairs(row) do
            local text = cell_text(form, v)
            local dark = without_colour(v) or colours.is_light(scale.map, (v - scale.low) / (scale.high - scale.low))
            rows[#rows + 1] = ("%s %s %s %d"):format(number(g.x[c]), number(g.y[r]), text,
                dark and 0x101010 or 0xffffff)
        end
    end
    local wide = 0
    for _, row in ipairs(g.rows) do for _, v in ipairs(row) do wide = math.max(wide, #cell_text(form, v)) end end
    local size = math.min(figure.font, panel:axis_width() / #g.x * 0.85 / (0.64 * wide))
    if size < 3 then fail("%svalues: %d columns leave no room for numbers", panel.name, #g.x) end
    figure:plot("%s using 1:2:3:4 with labels %s textcolor rgb variable notitle", figure:block(rows),
        figure:letters(size))
end

local function draw(s, panel, figure)
    local g, rows, empty = s.grid, {}, { nan = {}, inf = {}, ["-inf"] = {} }
    local line = #g.rows == 1 or #g.x == 1 -- gnuplot's image has two or more of both
    local single = line or figure.kind ~= "png" and #g.rows * #g.x <= DRAWN
    local w, h = math.abs(g.width) / 2, math.abs(g.height) / 2
    for r, row in ipairs(g.rows) do
        local y = g.y[r]
        for c, v in ipairs(row) do
            local x, odd = g.x[c], without_colour(v)
            local at = number(x) .. " " .. number(y)
            local box = (single or odd) and ("%s %s %s %s %s"):format(at, number(x - w), number(x + w), number(y - h),
                number(y + h))
            if odd then
                table.insert(empty[odd], box)
            elseif single then
                v = math.max(panel.scale.low, math.min(panel.scale.high, v))
            end
            if not (single and odd) then rows[#rows + 1] = (single and box or at) .. " " .. number(v) end
        end
    end
    if #rows > 0 then
        local block = figure:block(rows)
        if single then -- the border, in the cell's colour, closes the seams
            figure:plot("%s using 1:2:3:4:5:6:7 with boxxyerror fillstyle solid 1 linewidth 0.4 linecolor palette"
                .. " notitle", block)
        else
            figure:plot("%s using 1:2:3 with image notitle", block)
        end
    end
    for _, kind in ipairs(HATCHED) do
        if #empty[kind[1]] > 0 then
            local block = figure:block(empty[kind[1]])
            figure:plot("%s using 1:2:3:4:5:6 with boxxyerror fillstyle solid 1 noborder linecolor rgb '%s' notitle",
                block, colours.NAN)
            figure:plot("%s using 1:2:3:4:5:6 with boxxyerror fillstyle transparent pattern %d noborder linecolor rgb "
                .. "'%s' title '%s'", block, kind[2], colours.NAN_LINES, kind[1])
            panel.labelled = panel.labelled + 1
        end
    end
    if s.values then cell_values(s, panel, figure) end
end

return {
    styles = { "image" },
    layer = 0,
    doc = [[
{ image = (rows, columns) }. The first row is on top, or below with origin = "lower". x and y say where the centres of
the outer cells are, {left, right} and {bottom, top}; without them rows and columns are counted. Cells that are nan,
inf or -inf are grey and hatched, each in its way. `over` holds series drawn on top, as bk.landscape returns them.]],
    options = {
        { "image", "any", required = true, doc = "a matrix: a tensor or a list of rows" },
        { "x", "any", says = "1 to columns", doc = "{left, right}: the first and the last column's centre" },
        { "y", "any", says = "1 to rows", doc = "{bottom, top}: likewise" },
        { "origin", { "upper", "lower" }, default = "upper", doc = "where the first row is" },
        { "range", "any", says = "the values'; of diverging colours as far below 0 as above",
            doc = "{low, high}: the values at the ends of the colours" },
        { "colours", { "sequential", "diverging" }, default = "sequential", doc = "from dark to light, or out from 0" },
        { "colourbar", "boolean", default = true, doc = "the scale beside it; the label stands along it" },
        { "values", "boolean", default = false, doc = "numbers in the cells" },
        { "levels", "integer|list", doc = "contours over it: about how many, or at which values" },
        { "over", "list", doc = "a list of series drawn on top of it" },
    },
    prepare = prepare, place = place, draw = draw, grid = grid, place_grid = place, cell_format = cell_format,
    cell_text = cell_text, without_colour = without_colour,
}

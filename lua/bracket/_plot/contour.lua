-- Contours: lines of equal value of a matrix, by gnuplot.
local bk = ...
local image, values = bk._plot.image, bk._plot._values
local fail, number = values.fail, values.number

-- The values of the lines: those given, or about n round ones between the ends.
local function levels_of(given, rows, where)
    local low, high = math.huge, -math.huge
    for _, row in ipairs(rows) do
        local a, b = values.ends(row)
        if a then low, high = math.min(low, a), math.max(high, b) end
    end
    if low > high then return {} end
    values.check_span(low, high, where)
    if type(given) == "table" then
        local list = values.list(given, where .. ": levels")
        if #list == 0 then fail("%s: levels: expected values, got none", where) end
        return list
    end
    if given < 1 then fail("%s: levels: expected 1 or more, got %d", where, given) end
    local list = {}
    if high > low then
        local step = values.round_step((high - low) / (given + 1))
        for k = math.ceil(low / step + 1e-9), math.floor(high / step - 1e-9) do
            list[#list + 1] = tonumber(("%.12g"):format(k * step))
        end
    end
    if #list == 0 then list[1] = (low + high) / 2 end
    return list
end

-- The name of a data block with the contours of a grid, x y value, made by gnuplot before the figure is drawn.
local function lines_of(g, levels, figure)
    local rows = {}
    for r, row in ipairs(g.rows) do
        for c, v in ipairs(row) do rows[#rows + 1] = ("%s %s %s"):format(number(g.x[c]), number(g.y[r]), number(v)) end
        rows[#rows + 1] = ""
    end
    local block, texts = figure:block(rows), {}
    for k, v in ipairs(levels) do texts[k] = number(v) end
    local lines = figure:name()
    figure:before("reset; set contour base; unset surface; set cntrparam levels discrete %s; set table %s; "
        .. "splot %s using 1:2:3 with lines notitle; unset table; reset", table.concat(texts, ","), lines, block)
    return lines
end

-- Whether the grid has a line at one of the levels: gnuplot does not plot what has no point.
local function crossed(g, levels)
    for r = 1, #g.rows - 1 do
        for c = 1, #g.rows[1] - 1 do
            local a, b = math.huge, -math.huge
            for _, v in ipairs { g.rows[r][c], g.rows[r][c + 1], g.rows[r + 1][c], g.rows[r + 1][c + 1] } do
                a, b = math.min(a, v), math.max(b, v)
            end
            for _, v in ipairs(levels) do if a < v and v < b then return true end end
        end
    end
    return false
end

-- White lines in a dark rim are seen on every colour of a map.
local function over(g, given, figure, where)
    local levels = levels_of(given, g.rows, where)
    if not crossed(g, levels) then return end
    local block = lines_of(g, levels, figure)
    figure:plot("%s using 1:2 with lines linecolor rgb '#99000000' linewidth 2 notitle", block)
    figure:plot("%s using 1:2 with lines linecolor rgb '#ffffff' linewidth 0.8 notitle", block)
end

local function prepare(s, panel, where)
    s.grid = image.grid(s, panel, where)
    s.at = levels_of(s.levels, s.grid.rows, where)
    if #s.at > 0 then panel.drawn = panel.drawn + 1 end
end

local function place(s, panel)
    local g = s.grid
    for _, x in ipairs(g.x) do panel.x:reach(x) end
    for _, y in ipairs(g.y) do panel.y:reach(y) end
    if not panel.x.tight then image.place_grid({ grid = g }, panel) end
    if not panel.scale then -- lines end at the outer centres
        panel.x.low, panel.x.high = math.min(table.unpack(g.x)), math.max(table.unpack(g.x))
        panel.y.low, panel.y.high = math.min(table.unpack(g.y)), math.max(table.unpack(g.y))
    end
end

local function draw(s, panel, figure, where)
    if not crossed(s.grid, s.at) then return end
    if panel.scale and not s.colour then return over(s.grid, s.at, figure, where) end
    local block = lines_of(s.grid, s.at, figure)
    local paint = figure.dumb and ""
        or (" linecolor rgb '%s' linewidth 1.3 dashtype %s"):format(s.look.colour, s.look.dashes)
    figure:plot("%s using 1:2 with lines%s %s", block, paint, figure:title(s))
    local every = #s.grid.rows + #s.grid.x
    figure:plot("%s using 1:2:(sprintf('%%g', $3)) every %d::%d with labels%s notitle", block, every, every // 3,
        figure.dumb and "" or (" %s textcolor rgb '%s' boxed"):format(figure:letters(figure.font * 0.85),
        s.look.colour))
end

return {
    styles = { "contour" },
    layer = 1,
    doc = [[
{ image = (rows, columns), style = "contour" }: lines of equal value with their values; placed as an image is.]],
    options = {
        { "image", "any", required = true, doc = "a matrix: a tensor or a list of rows" },
        { "x", "any", says = "1 to columns", doc = "{left, right}: the first and the last column's place" },
        { "y", "any", says = "1 to rows", doc = "{bottom, top}: likewise" },
        { "origin", { "upper", "lower" }, default = "upper", doc = "where the first row is" },
        { "levels", "integer|list", default = 10, doc = "about how many lines, or at which values" },
    },
    prepare = prepare, place = place, draw = draw, over = over,
}

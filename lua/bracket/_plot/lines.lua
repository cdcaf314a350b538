-- Marks along x: lines, points, both, dashed lines and steps, with a band or bars between low and high.
local bk = ...
local colours, values = bk._plot._colours, bk._plot._values
local fail, number = values.fail, values.number

local WITH = { lines = "lines", points = "points", linespoints = "linespoints", dashed = "lines", steps = "steps" }

-- The mean and the 95 % interval of every column of rows of numbers: those of each run that are finite.
local function over_runs(s, where)
    if s.error or s.low or s.high then
        fail("%s: y of several runs (runs, points) has its own interval: error, low and high do not go with it", where)
    end
    local rows = values.matrix(s.y, where .. ": y")
    local y, low, high = {}, {}, {}
    for c = 1, #rows[1] do
        local column = {}
        for _, row in ipairs(rows) do column[#column + 1] = values.finite(row[c]) and row[c] or nil end
        local i = #column > 0 and bk.metric.interval(column) or { mean = 0 / 0 }
        y[c] = i.mean
        low[c], high[c] = i.mean, i.mean
        if #column > 1 then low[c], high[c] = i.low, i.high end
    end
    return y, low, high
end

-- y and the ends of its intervals, if it has any.
local function with_ends(s, where)
    if (s.low == nil) ~= (s.high == nil) then fail("%s: low and high belong together", where) end
    if s.error and s.low then fail("%s: give error, or low and high, not both", where) end
    if values.is_matrix(s.y) then return over_runs(s, where) end
    local y, low, high = values.list(s.y, where .. ": y"), nil, nil
    for _, name in ipairs(s.error and { "error" } or s.low and { "low", "high" } or {}) do
        local list = values.list(s[name], where .. ": " .. name)
        if #list ~= #y then fail("%s: %s has %d numbers, y %d", where, name, #list, #y) end
        if name == "high" then high = list else low = list end
    end
    if s.error then
        local given = low
        low, high = {}, {}
        for i, v in ipairs(y) do
            if given[i] < 0 then fail("%s: error: expected numbers >= 0, got %g at %d", where, given[i], i) end
            low[i], high[i] = v - given[i], v + given[i]
        end
    end
    for i in ipairs(low or {}) do
        if low[i] > high[i] then fail("%s: low is above high at %d: %g, %g", where, i, low[i], high[i]) end
    end
    return y, low, high
end

-- The places on x: numbers, or names in the order of their coming.
local function places(s, n, panel, where)
    local x = s.x
    if type(x) == "table" and type(x[1]) == "string" then
        local list = {}
        for k, name in ipairs(bk._options.list("bk.plot: " .. where, "x", x, "a list of names")) do
            if type(name) ~= "string" then fail("%s: x: entry %d: expected a name like the others", where, k) end
            list[k] = panel.x:named(name)
        end
        x = list
    elseif x ~= nil then
        x = values.list(x, where .. ": x")
    else
        x = {}
        for i = 1, n do x[i] = i end
    end
    if #x ~= n then fail("%s: x has %d numbers, y %d", where, #x, n) end
    return x
end

local function prepare(s, panel, where)
    local y, low, high = with_ends(s, where)
    s.at = { x = places(s, #y, panel, where), y = y, low = low, high = high }
    if s.thin and (low or s.style ~= "lines") then
        fail("%s: thin: a thin line has style = \"lines\" and no interval", where)
    end
    if s.errors and not low then fail("%s: errors: there is no error, low or high to draw", where) end
    s.errors = low and (s.errors or s.style == "points" and "bars" or "band")
end

local function place(s, panel)
    local at, x, y = s.at, panel.x, panel.y
    for i, u in ipairs(at.x) do
        x:mark(u)
        if x:fits(u) and y:fits(at.y[i]) then
            panel:point(u, at.y[i])
            if at.low then
                y:reach(at.low[i])
                y:reach(at.high[i])
            end
        end
    end
end

-- Rows for gnuplot of the points that have a place; an empty line where one is missing.
local function band_rows(at, panel)
    local floor, rows, gap = panel.y.log and panel.y:settle(), {}, false
    for i, u in ipairs(at.x) do
        local low, high = at.low[i], at.high[i]
        if floor and low <= 0 then low = floor end
        if panel.x:fits(u) and panel.y:fits(high) and values.finite(low) then
            rows[#rows + 1] = ("%s %s %s"):format(number(u), number(low), number(high))
            gap = true
        elseif gap then
            rows[#rows + 1], gap = "", false
        end
    end
    return rows
end

local function draw(s, panel, figure)
    local at, look, rows = s.at, s.look, {}
    local floor = panel.y.log and panel.y:settle()
    local bars = s.errors == "bars"
    if s.errors == "band" then
        local block = figure:block(band_rows(at, panel))
        if figure.dumb then
            figure:under("%s using 1:2 with dots notitle", block)
            figure:under("%s using 1:3 with dots notitle", block)
        else
            figure:under("%s using 1:2:3 with filledcurves fillstyle transparent solid 0.22 noborder linecolor rgb '%s'"
                .. " notitle", block, look.colour)
        end
    end
    for i, u in ipairs(at.x) do
        local v = at.y[i]
        local row = panel.x:fits(u) and panel.y:fits(v) and number(u) .. " " .. number(v)
        if row and bars then
            local low, high = floor and math.max(floor, at.low[i]) or at.low[i], at.high[i]
            row = ("%s %s %s"):format(row, number(low), number(high))
        end
        rows[i] = row or ""
    end
    local block, with = figure:block(rows), WITH[s.style]
    local lines, pointed = with ~= "points", with:find("points") ~= nil
    local paint = (" linetype %d"):format(s.nth_look)
    if figure.dumb then
        paint = pointed and ("%s pointtype %d"):format(paint, s.nth_look) or paint
    else
        paint = (" linecolor rgb '%s'"):format(look.colour)
        if lines then
            paint = paint .. " linewidth 1.8 dashtype " .. (s.style == "dashed" and colours.dashed or look.dashes)
        end
        if pointed then
            paint = ("%s pointtype %d pointsize %g"):format(paint, look.point, #at.x > 300 and 0.4 or 0.8)
        end
    end
    if s.thin then
        -- seen on its group's band
        local thin = figure.dumb and paint or (" linecolor rgb '%s' linewidth 0.7"):format(look.colour)
        figure:thin("%s using 1:2 with lines%s %s", block, thin, figure:title(s))
        return
    end
    if bars then
        figure:whiskers(block, look.colour)
    end
    figure:plot("%s using 1:2 with %s%s %s", block, with, paint, figure:title(s))
end

return {
    styles = { "linespoints", "lines", "points", "dashed", "steps" },
    doc = [[
x: numbers or names; 1, 2, ... when left out. y: numbers; of several runs (runs, points): their mean and the 95 %
interval of Student's t. Points that are nan, infinite, or not positive on a logarithmic axis are left out.]],
    options = {
        { "x", "any", says = "1, 2, ...", doc = "places along x, or their names" },
        { "y", "any", required = true, doc = "numbers; (runs, points) for mean and band over runs" },
        { "error", "any", doc = "the interval is y -+ error" },
        { "low", "any", doc = "its lower ends" },
        { "high", "any", doc = "its upper ends" },
        { "thin", "boolean", default = false, doc = "a thin line under the others, as of single runs" },
        { "errors", { "band", "bars" }, says = "a band; of points bars", doc = "how the interval is drawn" },
    },
    prepare = prepare, place = place, draw = draw, with_ends = with_ends, places = places,
}

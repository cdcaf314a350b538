-- Scatter of very many points: how many lie in each small cell, on a logarithmic scale of colours.
local bk = ...
local values = bk._plot._values
local number = values.number

local function prepare(s, panel, where)
    local x, y = values.list(s.x, where .. ": x"), values.list(s.y, where .. ": y")
    if #x ~= #y then values.fail("%s: x has %d numbers, y %d", where, #x, #y) end
    if panel.scale then values.fail("%s: a figure has one scale of colours: give it a panel of its own", where) end
    s.at = { x = x, y = y }
    panel.scale = { map = "sequential", low = 1, high = 2, log = true, label = s.label or "points", bar = true }
    for i = 1, #x do
        if panel.x:fits(x[i]) and panel.y:fits(y[i]) then panel:point(x[i], y[i]) end
    end
end

-- Counts by cell: [row][column], the first row lowest.
local function count(s, panel, columns, lines)
    local counts, most = {}, 0
    for r = 1, lines do
        counts[r] = {}
        for c = 1, columns do counts[r][c] = 0 end
    end
    for i, x in ipairs(s.at.x) do
        local y = s.at.y[i]
        if panel.x:fits(x) and panel.y:fits(y) then
            local c, r = panel.x:share(x) * columns // 1 + 1, panel.y:share(y) * lines // 1 + 1
            if c >= 1 and r >= 1 and c <= columns + 1 and r <= lines + 1 then
                c, r = math.min(c, columns) | 0, math.min(r, lines) | 0
                counts[r][c] = counts[r][c] + 1
                most = math.max(most, counts[r][c])
            end
        end
    end
    return counts, most
end

local function edges(axis, n)
    local list, a, b = {}, axis:settle()
    for k = 0, n do
        list[k] = axis.log and math.exp(math.log(a) + (math.log(b) - math.log(a)) * k / n) or a + (b - a) * k / n
    end
    return list
end

local function draw(s, panel, figure)
    local columns, lines = s.bins, math.max(1, s.bins * 3 // 4)
    local counts, most = count(s, panel, columns, lines)
    local x, y, rows = edges(panel.x, columns), edges(panel.y, lines), {}
    for r = 1, lines do
        for c = 1, columns do
            if counts[r][c] > 0 then
                rows[#rows + 1] = ("%s %s %s %s %s %s %d"):format(number(x[c]), number(y[r]), number(x[c - 1]),
                    number(x[c]), number(y[r - 1]), number(y[r]), counts[r][c])
            end
        end
    end
    panel.scale.high = math.max(most, 2)
    figure:plot("%s using 1:2:3:4:5:6:7 with boxxyerror fillstyle solid 1 linewidth 0.3 linecolor palette notitle",
        figure:block(rows))
end

return {
    styles = { "density" },
    layer = 0,
    doc = "Points too many to see: how many are in each cell, by colour.",
    options = {
        { "x", "any", required = true, doc = "places" },
        { "y", "any", required = true, doc = "likewise" },
        { "bins", "count", default = 80, doc = "cells along x; three quarters of them along y" },
    },
    prepare = prepare, place = function() end, draw = draw, count = count,
}

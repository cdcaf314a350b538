-- Bars from zero; those of several series with one x stand beside each other.
local bk = ...
local values, lines = bk._plot._values, bk._plot.lines
local number = values.number
local SHARE = 0.8 -- of the room between two places

local function prepare(s, panel, where)
    local y, low, high = lines.with_ends(s, where)
    s.at = { x = lines.places(s, #y, panel, where), y = y, low = low, high = high }
    panel.bars = panel.bars or { n = 0, x = {} }
    panel.bars.n = panel.bars.n + 1
    s.nth = panel.bars.n
    for _, u in ipairs(s.at.x) do table.insert(panel.bars.x, u) end
end

-- The least distance of two places.
local function spacing(bars)
    if bars.gap then return bars.gap end
    table.sort(bars.x)
    local gap = math.huge
    for k = 2, #bars.x do
        local d = bars.x[k] - bars.x[k - 1]
        if d > 0 then gap = math.min(gap, d) end
    end
    bars.gap = gap < math.huge and gap or 1
    return bars.gap
end

local function place(s, panel, where)
    local at, bars = s.at, panel.bars
    if panel.x.log then values.fail("%s: bars do not stand on a logarithmic x axis: name the places", where) end
    panel.y.stands = true
    local gap = spacing(bars)
    local width = SHARE * gap / bars.n
    at.width, at.shift = width, (s.nth - (bars.n + 1) / 2) * width
    for i, u in ipairs(at.x) do
        if values.finite(u) and panel.y:fits(at.y[i]) then
            panel.x:reach(u - gap * 0.6)
            panel.x:reach(u + gap * 0.6)
            panel:point(u + at.shift, at.y[i])
            panel.y:reach(0)
            if at.low then
                panel.y:reach(at.low[i])
                panel.y:reach(at.high[i])
            end
        end
    end
    panel.x.tight = true
end

local function draw(s, panel, figure)
    local at, rows, ends = s.at, {}, {}
    local floor = panel.y.log and panel.y:settle() or 0
    for i, u in ipairs(at.x) do
        local v = at.y[i]
        if values.finite(u) and panel.y:fits(v) then
            local middle = u + at.shift
            rows[#rows + 1] = ("%s %s %s %s %s %s"):format(number(middle), number(v), number(middle - at.width / 2),
                number(middle + at.width / 2), number(math.min(floor, v)), number(math.max(floor, v)))
            if at.low then
                ends[#ends + 1] = ("%s %s %s %s"):format(number(middle), number(v),
                    number(panel.y.log and math.max(floor, at.low[i]) or at.low[i]), number(at.high[i]))
            end
        end
    end
    local fill = (" linetype %d"):format(s.nth_look) -- looks that are told apart by dashes are filled with lines
    if not figure.dumb then
        fill = (" linecolor rgb '%s' linewidth 0.8 fillstyle %s border"):format(s.look.colour,
            s.look.dashes == "solid" and "solid 0.75" or "pattern " .. ({ 4, 5, 1, 2 })[(s.nth - 1) % 4 + 1])
    end
    local block = figure:block(rows)
    figure:plot("%s using 1:2:3:4:5:6 with boxxyerror%s %s", block, fill, figure:title(s))
    if #ends > 0 then
        figure:whiskers(figure:block(ends), "#101010")
    end
end

local options = {}
for _, o in ipairs(lines.options) do
    options[#options + 1] = o[1] ~= "errors" and o[1] ~= "thin" and o or nil
end

return {
    styles = { "bars" },
    doc = [[
x, y and intervals as of lines. Each bar stands on zero, those of several series beside each other, the interval as a
whisker; on a logarithmic axis y, which has no zero, they stand on its end.]],
    options = options, prepare = prepare, place = place, draw = draw,
}

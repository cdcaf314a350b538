-- Arrows from (x, y) along (u, v).
local bk = ...
local values = bk._plot._values
local number = values.number

local function prepare(s, panel, where)
    s.at = {}
    for _, name in ipairs { "x", "y", "u", "v" } do
        s.at[name] = values.list(s[name], where .. ": " .. name)
        if #s.at[name] ~= #s.at.x then
            values.fail("%s: %s has %d numbers, x %d", where, name, #s.at[name], #s.at.x)
        end
    end
    if panel.x.log or panel.y.log then values.fail("%s: arrows have no logarithmic axes", where) end
    for k, x in ipairs(s.at.x) do
        local fits = true
        for _, name in ipairs { "x", "y", "u", "v" } do fits = fits and values.finite(s.at[name][k]) end
        if fits then
            panel:point(x, s.at.y[k])
            s.at[#s.at + 1] = k
        end
    end
    panel.arrows = panel.arrows or {}
    table.insert(panel.arrows, s)
end

-- One scale for all arrows of the figure: the longest reaches the next place, were the places even, and no further
-- than a third of the axes.
local function scale_of(panel)
    local seen, places, longest = {}, 0, 0
    local x, y = panel.x.high - panel.x.low, panel.y.high - panel.y.low
    for _, s in ipairs(panel.arrows) do
        for _, k in ipairs(s.at) do
            local at = s.at.x[k] .. "," .. s.at.y[k]
            if not seen[at] then seen[at], places = true, places + 1 end
            local u, v = s.at.u[k], s.at.v[k]
            longest = math.max(longest, math.sqrt((x > 0 and u / x or 0) ^ 2 + (y > 0 and v / y or 0) ^ 2))
        end
    end
    if longest == 0 then return 1 end
    return math.min(0.33, 0.9 / math.sqrt(places)) / longest
end

local function place(s, panel)
    panel.arrow_scale = panel.arrow_scale or scale_of(panel)
    s.times = s.scale or panel.arrow_scale
    for _, k in ipairs(s.at) do
        panel.x:reach(s.at.x[k] + s.times * s.at.u[k])
        panel.y:reach(s.at.y[k] + s.times * s.at.v[k])
    end
end

local function draw(s, panel, figure)
    local rows = {}
    for _, k in ipairs(s.at) do
        rows[#rows + 1] = ("%s %s %s %s"):format(number(s.at.x[k]), number(s.at.y[k]), number(s.times * s.at.u[k]),
            number(s.times * s.at.v[k]))
    end
    local block = figure:block(rows)
    if figure.dumb then
        figure:plot("%s using 1:2:3:4 with vectors %s", block, figure:title(s))
        return
    end
    local head = #rows > 50 and 0.012 or 0.022
    local look = "%s using 1:2:3:4 with vectors head filled size graph %g,20 fixed linecolor rgb '%s' linewidth %g %s"
    if panel.scale then figure:plot(look, block, head * 1.3, "#ffffff", 5, "notitle") end -- a rim over a map
    figure:plot(look, block, head, s.look.colour, #rows > 50 and 1.2 or 2.2, figure:title(s))
end

return {
    styles = { "quiver" },
    layer = 3,
    late = true,
    doc = "Arrows from (x, y) along (u, v).",
    options = {
        { "x", "any", required = true, doc = "where they begin" },
        { "y", "any", required = true, doc = "likewise" },
        { "u", "any", required = true, doc = "how far they go along x" },
        { "v", "any", required = true, doc = "along y" },
        { "scale", "positive", says = "so that the longest does not reach the next",
            doc = "their length times this, in the axes' units" },
    },
    prepare = prepare, place = place, draw = draw,
}

-- Histograms: how many values fall between two places. Those of one figure share their bins.
local bk = ...
local values = bk._plot._values
local number = values.number

local function prepare(s, panel, where)
    if (s.x == nil) == (s.y == nil) then values.fail("%s: a histogram takes its values as x, or as y", where) end
    s.values = values.list(s.x or s.y, where .. ": " .. (s.x and "x" or "y"))
    local all = panel.histogram or { values = {}, where = where }
    panel.histogram = all
    if s.bins and all.n and s.bins ~= all.n then
        values.fail("%s: bins: histograms of one figure share them: %d or %d?", where, all.n, s.bins)
    end
    all.n = s.bins or all.n
    for _, v in ipairs(s.values) do
        if panel.x:fits(v) then table.insert(all.values, panel.x.log and math.log(v, 10) or v) end
    end
end

-- Bins of equal width, on a logarithmic axis of equal ratio: as many as asked, or by Freedman and Diaconis' rule.
local function bins_of(all)
    if all.width then return all end
    table.sort(all.values)
    local n, low, high = #all.values, all.values[1], all.values[#all.values]
    if not low then return nil end
    values.check_span(low, high, all.where)
    low, high = values.apart(low, high)
    local count = all.n
    if not count then
        local spread = all.values[math.ceil(0.75 * n)] - all.values[math.ceil(0.25 * n)]
        local width = 2 * spread / n ^ (1 / 3)
        count = width > 0 and math.ceil((high - low) / width) or 10
        count = math.max(1, math.min(count, 100))
    end
    all.low, all.width, all.count = low, (high - low) / count, count
    return all
end

local function place(s, panel)
    local all = bins_of(panel.histogram)
    panel.y.stands, panel.x.tight = true, true
    if not all then return end
    s.heights = {}
    local n = 0
    for k = 1, all.count do s.heights[k] = 0 end
    for _, v in ipairs(s.values) do
        if panel.x:fits(v) then
            local u = panel.x.log and math.log(v, 10) or v
            local k = math.min(all.count, math.max(1, (u - all.low) // all.width + 1)) // 1 | 0
            s.heights[k] = s.heights[k] + 1
            n = n + 1
        end
    end
    s.edges = {}
    for k = 0, all.count do
        local u = all.low + k * all.width
        s.edges[k] = panel.x.log and 10.0 ^ u or u
        panel.x:reach(s.edges[k])
    end
    panel.y:reach(0)
    for k = 1, all.count do
        if s.density then s.heights[k] = s.heights[k] / (n * (s.edges[k] - s.edges[k - 1])) end
        if s.heights[k] > 0 then panel:point((s.edges[k] + s.edges[k - 1]) / 2, s.heights[k]) end
    end
end

local function draw(s, panel, figure)
    if not s.heights then return end
    local floor, rows = panel.y.log and panel.y:settle() or 0, {}
    for k, v in ipairs(s.heights) do
        if v > 0 then
            rows[#rows + 1] = ("%s %s %s %s %s %s"):format(number((s.edges[k] + s.edges[k - 1]) / 2), number(v),
                number(s.edges[k - 1]), number(s.edges[k]), number(floor), number(v))
        end
    end
    local paint = (" linetype %d"):format(s.nth_look)
    if not figure.dumb then
        paint = (" linecolor rgb '%s' linewidth 1 fillstyle transparent solid %g border"):format(s.look.colour,
            #panel.series > 1 and 0.35 or 0.75)
    end
    figure:plot("%s using 1:2:3:4:5:6 with boxxyerror%s %s", figure:block(rows), paint, figure:title(s))
end

return {
    styles = { "histogram" },
    doc = "How many of the values fall into each bin; histograms of one figure share the bins.",
    options = {
        { "x", "any", doc = "the values" },
        { "y", "any", doc = "or here" },
        { "bins", "count", says = "by Freedman and Diaconis' rule", doc = "how many" },
        { "density", "boolean", default = false, doc = "areas that add up to 1, not counts" },
    },
    prepare = prepare, place = place, draw = draw,
}

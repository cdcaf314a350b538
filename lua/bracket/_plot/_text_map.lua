-- A heat map for the terminal: a sign a cell, or the numbers themselves; the scale stands below.
local bk = ...
local image, values, shortened = bk._plot.image, bk._plot._values, bk._table_text.shortened
local RAMP = " .:-=+*#%@"
local SIGNS = { nan = "?", inf = "^", ["-inf"] = "_" } -- of what has no place between the scale's ends

local function sign(v, scale)
    local odd = image.without_colour(v)
    if odd then return SIGNS[odd] end
    local share = scale.log and math.log(math.max(v, scale.low)) / math.log(scale.high)
        or (v - scale.low) / (scale.high - scale.low)
    if scale.log and v == 0 then return " " end
    local k = math.max(0, math.min(#RAMP - 1, share * #RAMP // 1)) | 0
    if scale.log then k = math.max(k, 1) end -- a cell that is not empty is seen
    return RAMP:sub(k + 1, k + 1)
end

-- Means of blocks of cells, so that at most `most` of them stand in a row, or below each other.
local function smaller(rows, most_rows, most)
    local down, across = math.ceil(#rows / most_rows), math.ceil(#rows[1] / most)
    if down == 1 and across == 1 then return rows, 1, 1 end
    local list = {}
    for r = 1, #rows, down do
        list[#list + 1] = {}
        for c = 1, #rows[1], across do
            local sum, n = 0, 0
            for i = r, math.min(r + down - 1, #rows) do
                for k = c, math.min(c + across - 1, #rows[1]) do
                    if rows[i][k] == rows[i][k] then sum, n = sum + rows[i][k], n + 1 end
                end
            end
            table.insert(list[#list], n > 0 and sum / n or 0 / 0)
        end
    end
    return list, down, across
end

local function width_of(text) return utf8.len(text) or #text end
local function centred(text, width) return (" "):rep(math.max(0, (width - width_of(text)) // 2)) .. text end
local function right(text, width) return (" "):rep(width - width_of(text)) .. text end

-- How wide the cells of a table of numbers are.
local function cell_width(rows, form, column_names)
    local widest = 1
    for _, row in ipairs(rows) do
        for _, v in ipairs(row) do widest = math.max(widest, #image.cell_text(form, v)) end
    end
    for _, name in ipairs(column_names) do widest = math.max(widest, width_of(name)) end
    return widest + 2
end

-- What stands below the map: what its signs mean, the names of y and of the scale. Empty where there is nothing to say.
local function legend_of(p, rows, numbers, width)
    local scale, odd = p.scale, {}
    local legend = numbers and "" or ("[%s] from %g to %g%s"):format(RAMP, scale.low, scale.high,
        scale.log and ", logarithmic" or "")
    for _, row in ipairs(numbers and {} or rows) do
        for _, v in ipairs(row) do odd[image.without_colour(v) or 0] = true end
    end
    for _, name in ipairs{ "nan", "inf", "-inf" } do
        if odd[name] then legend = ("%s, %s is %s"):format(legend, SIGNS[name], name) end
    end
    local ylabel = p.options.ylabel or ""
    if ylabel ~= "" then legend = "y: " .. shortened(ylabel, width // 2) .. "  " .. legend end
    return scale.label and shortened(scale.label, width // 2) .. "  " .. legend or legend
end

-- Rows from top to bottom, the names of rows, and of the columns at their ends.
local function draw(p, rows, row_names, column_names, width, height, numbers)
    local lines, o, wide = {}, p.options, 0
    for _, names in ipairs{ row_names, column_names } do
        for k, name in ipairs(names) do names[k] = shortened(name, width // 4) end
    end
    for _, name in ipairs(row_names) do wide = math.max(wide, width_of(name)) end
    local form, cell = numbers and image.cell_format(rows), nil
    if numbers then
        cell = cell_width(rows, form, column_names)
        if wide + cell * #rows[1] > width then
            values.fail("%svalues: %d columns of numbers do not fit %d characters", p.name, #rows[1], width)
        end
    else
        local down, across
        rows, down, across = smaller(rows, math.max(4, height - 5), width - wide - 4)
        cell = 2 * #rows[1] + wide + 4 <= width and 2 or 1
        local kept = {}
        for r = 1, #row_names, down do kept[#kept + 1] = row_names[r] end
        row_names = kept
        if across > 1 then column_names = { column_names[1], column_names[#column_names] } end
    end
    local inner = cell * #rows[1]
    if (o.title or "") ~= "" then lines[1] = centred(shortened(o.title, width), wide + inner + 4) end
    local edge = (" "):rep(wide + 1) .. "+" .. ("-"):rep(inner) .. "+"
    lines[#lines + 1] = edge
    for r, row in ipairs(rows) do
        local cells = {}
        for c, v in ipairs(row) do
            cells[c] = numbers and right(image.cell_text(form, v), cell) or sign(v, p.scale):rep(cell)
        end
        lines[#lines + 1] = right(row_names[r] or "", wide) .. " |" .. table.concat(cells) .. "|"
    end
    lines[#lines + 1] = edge
    local below = (" "):rep(wide + 2)
    if #column_names == #rows[1] and (numbers or #column_names * 4 <= inner) then
        for _, name in ipairs(column_names) do below = below .. right(name, cell) end
    else
        local first, last = column_names[1], column_names[#column_names]
        below = below .. first .. right(last, math.max(width_of(last) + 1, inner - width_of(first)))
    end
    lines[#lines + 1] = below
    if (o.xlabel or "") ~= "" then lines[#lines + 1] = centred(shortened(o.xlabel, width), 2 * wide + inner + 4) end
    local legend = legend_of(p, rows, numbers, width)
    lines[#lines + 1] = #legend > 0 and legend or nil
    local n = #p.series - 1
    if n > 0 then lines[#lines + 1] = ("(%d series over the map: in files only)"):format(n) end
    return table.concat(lines, "\n")
end

-- The panel's map as text, or nil when it has none.
return function(p, width, height)
    local s = p.series[1]
    for _, one in ipairs(p.series) do if one.mark.layer == 0 then s = one end end
    if s.mark.layer ~= 0 then return nil end
    if p.scale.low == p.scale.high then p.scale.low, p.scale.high = p.scale.low - 0.5, p.scale.high + 0.5 end
    if s.style == "density" then
        local columns, lines = width - 16, math.max(4, height - 5)
        local counts, most = s.mark.count(s, p, columns, lines)
        p.scale.high = math.max(most, 2)
        local rows, names, xs, ys = {}, {}, { p.x:settle() }, { p.y:settle() }
        for r = 1, lines do rows[r], names[r] = counts[lines + 1 - r], "" end
        names[1], names[lines] = ("%.4g"):format(ys[2]), ("%.4g"):format(ys[1])
        return draw(p, rows, names, { ("%.4g"):format(xs[1]), ("%.4g"):format(xs[2]) }, width, height, false)
    end
    local g, rows, names = s.grid, {}, {}
    local function named(axis, cells)
        local list = {}
        for k, place in ipairs(cells) do
            local tick = type(axis.ticks) == "table" and axis.ticks[k]
            list[k] = axis.ticks == false and "" or type(tick) == "string" and tick
                or axis.whole and tostring(k) or ("%.4g"):format(place)
        end
        return list
    end
    local row_names = named(p.y, g.y)
    for k = 1, #g.rows do
        local r = g.upper and k or #g.rows + 1 - k
        rows[k], names[k] = g.rows[r], row_names[r]
    end
    return draw(p, rows, names, named(p.x, g.x), width, height, s.values)
end

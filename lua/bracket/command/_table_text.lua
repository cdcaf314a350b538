-- Values of JSON files and aligned tables as text for a terminal.
local table_text = {}
local WIDTH = 80

-- A number as text that sorts as the number does.
local function number_key(x)
    local bits = string.unpack(">i8", string.pack(">d", x + 0.0))
    return bits < 0 and ("n%016x"):format(~bits) or ("p%016x"):format(bits)
end

-- A text that sorts as the numbers in it do: 2 before 10, 0.05 before 0.1, lr=1e-3 before lr=0.01.
local function natural_key(name)
    local whole = tonumber(name)
    if whole and whole == whole then return number_key(whole) end
    local parts, at = {}, 1
    while true do
        local from, to = name:find("%d+", at)
        if not from then break end
        local before = name:sub(from - 1, from - 1)
        if not before:find("[%w._]") then -- not one of the numbers of accuracy.1.10
            to = select(2, name:find("^%d+%.%d+", from)) or to
            to = select(2, name:find("^[eE][-+]?%d+%f[%W]", to + 1)) or to
            if before == "-" and name:find("^[=, (]", from - 2) then from = from - 1 end
        end
        parts[#parts + 1] = name:sub(at, from - 1)
        parts[#parts + 1] = number_key(tonumber(name:sub(from, to)))
        at = to + 1
    end
    parts[#parts + 1] = name:sub(at)
    return table.concat(parts)
end

local function natural(a, b) return natural_key(a) < natural_key(b) end
table_text.natural = natural

-- Sorts a list by what text_of(item) says, as natural does; items of one text stay in their order.
function table_text.sort(list, text_of)
    local keys, place = {}, {}
    for k, item in ipairs(list) do keys[item], place[item] = natural_key(text_of(item)), k end
    table.sort(list, function(a, b)
        if keys[a] ~= keys[b] then return keys[a] < keys[b] end
        return place[a] < place[b]
    end)
end

-- The keys of a table, sorted.
local function sorted(map, before)
    local names = {}
    for name in pairs(map) do names[#names + 1] = name end
    table.sort(names, before or natural)
    return names
end
table_text.sorted = sorted

-- Any value of a JSON file on one line; nothing in it reaches the terminal as a control character.
local function text(value, inner)
    if value == nil then return "-" end
    if type(value) == "string" then
        return (value:gsub("%s", " "):gsub("%c", function(c) return ("\\x%02x"):format(c:byte()) end))
    end
    if math.type(value) == "float" and value == value then
        local short = ("%.14g"):format(value)
        return tonumber(short) == value and short or ("%.17g"):format(value)
    end
    if type(value) ~= "table" then return value ~= value and "nan" or tostring(value) end
    local parts = {}
    for k, v in ipairs(value) do parts[k] = text(v, true) end
    if #parts == 0 then
        local names = sorted(value, function(a, b)
            if a == "name" or b == "name" then return b ~= "name" end
            return natural(a, b)
        end)
        for k, name in ipairs(names) do parts[k] = text(name) .. " = " .. text(value[name], true) end
    end
    local joined = #parts > 0 and table.concat(parts, ", ") or "none"
    return inner and "{" .. joined .. "}" or joined
end
table_text.text = text

-- A measured number, with as many digits as are worth reading.
local function number(value)
    if math.type(value) ~= "float" or value ~= value or value == 0 then return text(value) end
    local size = math.abs(value)
    if size < 1e-3 or size >= 1e6 then return ("%.3e"):format(value) end
    return (size < 0.01 and "%.5f" or size < 1000 and "%.4f" or "%.1f"):format(value)
end
table_text.number = number

local function is_number(cell)
    return cell == "" or cell == "-" or cell == "nan" or cell:find("^%-?[%d./]+$") or tonumber(cell) ~= nil
end
table_text.is_number = is_number

-- A section's table as lines; columns that do not fit beside each other follow below, unless `whole`.
function table_text.aligned(section, indent, whole)
    local rows, widths, right, head = {}, {}, {}, section.head
    local function measure()
        rows = { head, table.unpack(section.rows) }
        if not head then rows = section.rows end
        local total = indent - 2
        for c = 1, #(rows[1] or {}) do
            widths[c], right[c] = 0, true
            for r, row in ipairs(rows) do
                widths[c] = math.max(widths[c], utf8.len(row[c]) or #row[c])
                right[c] = right[c] and (r == 1 and head ~= nil or is_number(row[c]))
            end
            total = total + 2 + widths[c]
        end
        return total
    end
    if measure() > WIDTH and section.short and not whole then
        head = section.short
        measure()
    end
    local lines, from = {}, 2
    repeat
        local to, total = from, indent + widths[1] + 2 + (widths[from] or 0)
        while to < #widths and (whole or total + 2 + widths[to + 1] <= WIDTH) do
            to = to + 1
            total = total + 2 + widths[to]
        end
        for _, row in ipairs(rows) do
            local cells = {}
            for c = 1, to do
                if c == 1 or c >= from then
                    local space = (" "):rep(widths[c] - (utf8.len(row[c] or "") or #row[c]))
                    cells[#cells + 1] = right[c] and c > 1 and space .. row[c] or (row[c] or "") .. space
                end
            end
            lines[#lines + 1] = ((" "):rep(indent) .. table.concat(cells, "  ")):gsub(" +$", "")
        end
        from = to + 1
        if from <= #widths then lines[#lines + 1] = "" end
    until from > #widths
    return table.concat(lines, "\n")
end

return table_text

-- Values of JSON files and aligned tables as text for a terminal.
local bk = ...
local table_text = {}
local NOT_ASCII, BLANK = "[\x80-\xff]", (" "):byte()

local natural_key = bk.internal.natural_key
-- Whether a comes before b in the order of the numbers in them: 2 before 10, 0.05 before 0.1, lr=1e-3 before lr=0.01.
local function natural(a, b) return natural_key(a) < natural_key(b) end
table_text.natural = natural

-- Sorts a list by what text_of(item) says, as natural does; items of one text stay in their order.
function table_text.sort(list, text_of)
    local keys, place = {}, {}
    for k, item in ipairs(list) do keys[item], place[item] = natural_key(text_of(item)), k end
    table.sort(list, function(a, b)
        local x, y = keys[a], keys[b]
        if x ~= y then return x < y end
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
        if not value:find("[%s%c]") then return value end
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

-- A list of plain values as it was typed, "64,32"; else the value itself.
function table_text.typed(value)
    if type(value) ~= "table" or type(value[1]) == "table" or #value == 0 then return value end
    local texts = {}
    for k, v in ipairs(value) do texts[k] = text(v) end
    return table.concat(texts, ",")
end

-- A text as a cell of a CSV file (RFC 4180), in quotes where it needs them.
function table_text.csv(cell)
    local quoted = cell:find('[,"\r\n]') or cell:find("^%s") or cell:find("%s$")
    return quoted and '"' .. cell:gsub('"', '""') .. '"' or cell
end

-- A measured number, with as many digits as are worth reading.
local function number(value)
    if math.type(value) ~= "float" or value ~= value or value == 0 then return text(value) end
    local size = math.abs(value)
    if size < 1e-3 or size >= 1e6 then return ("%.3e"):format(value) end
    return (size < 0.01 and "%.5f" or size < 1000 and "%.4f" or "%.1f"):format(value)
end
table_text.number = number

local function is_number(cell)
    return cell == "" or cell == "-" or cell == "nan" or cell:find("^%-?[%d./]+$") ~= nil or tonumber(cell) ~= nil
end
table_text.is_number = is_number

-- ---- tables ----

local function length(cell) return utf8.len(cell) or #cell end

-- A cell of at most so many characters: what is in the middle goes.
local function shortened(cell, most)
    local n = length(cell)
    if n <= most then return cell end
    if n ~= #cell and not utf8.len(cell) then return cell:sub(1, most) end
    local head = (most - 1) // 2 + (most - 1) % 2
    local tail = most - 1 - head
    return cell:sub(1, utf8.offset(cell, head + 1) - 1) .. "…"
        .. (tail > 0 and cell:sub(utf8.offset(cell, -tail)) or "")
end

table_text.shortened = shortened

-- The columns' widths, which of them stand to the right, and the width of all.
local function measure(rows, head, indent)
    local widths, right, total, n, known = {}, {}, indent - 2, #rows, {}
    for c = 1, #(head or rows[1] or {}) do
        local widest, numbers = head and length(head[c]) or 0, head ~= nil or n > 0 and is_number(rows[1][c])
        for r = 1, n do
            local cell = rows[r][c]
            if #cell > widest then widest = math.max(widest, length(cell)) end
            if numbers then
                numbers = known[cell]
                if numbers == nil then
                    numbers = is_number(cell)
                    known[cell] = numbers
                end
            end
        end
        widths[c], right[c] = widest, numbers
        total = total + 2 + widest
    end
    return widths, right, total
end

-- Some columns of the rows as lines.
local function add_lines(lines, rows, columns, widths, right, indent)
    local parts, count = {}, #columns
    for k, c in ipairs(columns) do -- %99s is the widest there is; what is wider counts as below
        parts[k] = widths[c] > 99 and "%s" or ("%%%s%ds"):format(right[c] and c > 1 and "" or "-", widths[c])
    end
    local form = (" "):rep(indent) .. table.concat(parts, "  ")
    local cells = {}
    for _, row in ipairs(rows) do
        for k = 1, count do cells[k] = row[columns[k]] end
        local line = form:format(table.unpack(cells, 1, count))
        if line:find(NOT_ASCII) or form:find("%s", 1, true) then -- %99s counts bytes
            for k, c in ipairs(columns) do
                local cell, blank = cells[k], (" "):rep(widths[c] - length(cells[k]))
                cells[k] = right[c] and c > 1 and blank .. cell or cell .. blank
            end
            line = (" "):rep(indent) .. table.concat(cells, "  ")
        end
        lines[#lines + 1] = line:byte(-1) == BLANK and line:gsub(" +$", "") or line
    end
end

-- A section's table as lines of `width` characters. The key columns, section.keys of them (1 unless told), stand in
-- front; columns that do not fit beside each other follow below, after the keys again. leave_out: they are left out
-- instead, the last ones first, and named in the second result. Without a width nothing is done about it.
function table_text.aligned(section, indent, width, leave_out)
    local rows, head, keys = section.rows, section.head, section.keys or 1
    local widths, right, total = measure(rows, head, indent)
    if width and total > width and section.short then
        head = section.short
        widths, right, total = measure(rows, head, indent)
    end
    local n = #widths
    keys = math.min(keys, n)
    if width and total > width then -- keys leave room for a column
        local room, taken = width - indent, 0
        local most = math.max(8, (room - math.min(20, room // 3)) // math.max(1, keys) - 2)
        for c = 1, n do
            local limit = c <= keys and most or math.max(8, room - taken - 2)
            if widths[c] > limit then
                local function short(row)
                    row = table.move(row, 1, n, 1, {})
                    row[c] = shortened(row[c], limit)
                    return row
                end
                local all = {}
                for r, row in ipairs(rows) do all[r] = short(row) end
                rows, head, widths[c] = all, head and short(head), limit
            end
            if c <= keys then taken = taken + widths[c] + 2 end
        end
    end
    local all = head and table.move(rows, 1, #rows, 2, { head }) or rows
    local lines, from, first = {}, keys + 1, indent - 2
    for c = 1, keys do first = first + widths[c] + 2 end
    repeat
        local columns, place = {}, first
        for c = 1, keys do columns[c] = c end
        repeat
            columns[#columns + 1] = from <= n and from or nil
            place, from = place + 2 + (widths[from] or 0), from + 1
        until from > n or width and place + 2 + widths[from] > width
        if #lines > 0 then lines[#lines + 1] = "" end
        add_lines(lines, all, columns, widths, right, indent)
    until from > n or leave_out
    local left = head and from <= n and table.move(head, from, n, 1, {}) or {}
    return table.concat(lines, "\n"), left
end

-- How wide tables may be: as the terminal; on none, `otherwise`.
function table_text.width(otherwise)
    local columns, terminal = bk.internal.columns()
    return terminal and columns or otherwise
end

return table_text

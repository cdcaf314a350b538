-- bk.save_csv: a script's results as a table in a text file, as bk.data.csv and other programs read it.
local bk = ...
local where = "bk.save_csv"
local refuse, show, length, stray = bk._options.refuse, bk._options.show, bk._options.length, bk._options.stray
local sorted, csv = bk._table_text.sorted, bk._table_text.csv
local function fail(format, ...) refuse(where .. ": " .. format, ...) end

-- place() says what the cell is of.
local function cell_text(value, place)
    if bk.is_tensor(value) and value:ndim() == 0 then value = value:item() end
    if value == nil then return "" end
    if math.type(value) == "float" then
        if value ~= value then return "nan" end
        if value - value ~= 0 then return value > 0 and "inf" or "-inf" end
        return bk.internal.to_json(value, 0, true) -- the shortest that is read back, in any locale
    end
    if type(value) == "string" then return value == "" and '""' or csv(value) end -- nil is the empty cell
    if type(value) == "number" or type(value) == "boolean" then return tostring(value) end
    fail("%s: expected a number, a string, true or false, got %s", place(), show(value))
end

local function plain(value)
    if not bk.is_tensor(value) then return value end
    return value:ndim() > 0 and value:totable() or value
end

local function check_columns(columns, known)
    local seen = {}
    for k, name in ipairs(columns) do
        if type(name) ~= "string" then fail("columns: entry %d: expected a name, got %s", k, show(name)) end
        if seen[name] then fail("columns: %s stands twice", show(name)) end
        if known and not known[name] then
            local names = sorted(known)
            fail("columns: %s is not there%s; there are %s", show(name), bk.internal.hint(name, names),
                table.concat(names, ", "))
        end
        seen[name] = true
    end
end

-- Of { name = column, ... }: how many rows there are, the names, cell(row, k) and what that is.
local function of_columns(data, columns)
    local rows, first, lists = nil, nil, {}
    for name, column in pairs(data) do
        if type(name) ~= "string" then fail("table: expected names of columns, got %s beside them", show(name)) end
        column = plain(column)
        local n = type(column) == "table" and length(column)
        if not n or stray(column) then
            fail("table: %s: expected a list or a tensor (rows), got %s", name, show(column))
        end
        lists[name] = column
    end
    for _, name in ipairs(sorted(lists)) do
        local n = length(lists[name])
        if rows and n ~= rows then fail("table: %s has %d rows, %s %d", name, n, first, rows) end
        rows, first = n, first or name
    end
    local names = columns or sorted(lists)
    check_columns(names, lists)
    return rows, names, function(r, k) return lists[names[k]][r] end,
        function(r, k) return ("table: %s: row %d"):format(names[k], r) end
end

-- Of { row, row, ... }, each a list, or each { name = cell, ... }; likewise.
local function of_rows(data, columns)
    local rows, known, width = {}, {}, nil
    bk._options.list(where, "table", data, "rows 1, 2, ...")
    for r = 1, length(data) do
        local row = plain(data[r])
        if type(row) ~= "table" then fail("table: row %d: expected a table, got %s", r, show(row)) end
        local n = length(row) or 0
        if r == 1 and (n > 0 or next(row) == nil) then width = n end
        for name in pairs(row) do
            local place = math.type(name) == "integer" and name >= 1 and name <= n
            if width and not place or not width and type(name) ~= "string" then
                fail("table: row %d: expected %s, got %s", r, width and "a list, as row 1 is"
                    or "cells by name, as row 1 has", show(name))
            end
            if not width then known[name] = true end
        end
        if width and n ~= width then fail("table: row %d has %d cells, row 1 %d", r, n, width) end
        rows[r] = row
    end
    if width and columns and #columns ~= width then
        fail("columns: expected %d names, one for each cell of a row, got %d", width, #columns)
    end
    local names = columns or not width and sorted(known) or nil
    if names then check_columns(names, not width and known) end
    return #rows, names or width or 0, function(r, k) return rows[r][width and k or names[k]] end,
        function(r, k) return ("table: row %d: %s"):format(r, names and names[k] or k) end
end

local function save(path, data, o)
    if type(path) ~= "string" then fail("path: expected a string, got %s", show(path)) end
    data = plain(data)
    if type(data) ~= "table" or next(data) == nil or not length(data) then
        fail("table: expected columns { name = list, ... }, a list of rows or a tensor (rows, columns), got %s",
            type(data) == "table" and "an empty table" or show(data))
    end
    local rows, names, cell, place = (length(data) > 0 and of_rows or of_columns)(data, o.columns)
    local width, lines = type(names) == "number" and names or #names, {}
    local function add(of, what)
        local cells = {}
        for k = 1, width do cells[k] = cell_text(of(k), function() return what(k) end) end
        lines[#lines + 1] = table.concat(cells, ",")
    end
    if type(names) == "table" then add(function(k) return names[k] end, function() return "columns" end) end
    for r = 1, rows do
        add(function(k) return cell(r, k) end, function(k) return place(r, k) end)
    end
    lines[#lines + 1] = ""
    bk.internal.write_file(path, table.concat(lines, "\n"), false, where)
end

return bk.define{
    name = "bk.save_csv",
    arguments = { "path", "table" },
    returns = "nothing",
    doc = [[
A table as CSV, in a file that appears whole or not at all: columns { name = list or tensor (rows), ... }, as a run's
history has them; a list of rows, each { name = cell, ... } or each a list; or a tensor (rows, columns). Names stand in
the first line, in the order of columns, else sorted; rows that are lists have such a line where columns gives it. A
cell is a number, in as few digits as bring it back, a string, true or false; nil is an empty cell, not finite is nan,
inf or -inf. bk.data.csv reads it: with header = true, and missing = "nan" where there are nan or empty cells.]],
    errors = "columns or rows of other lengths, a cell that is a table, a name in columns that is not there.",
    options = {
        { "columns", "list", says = "all, sorted", doc = "names: which to write, in this order" },
    },
    call = save,
}

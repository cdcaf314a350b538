-- What a caller gives bk.plot as numbers: lists and matrices of lists or tensors, and how they are written for gnuplot.
local bk = ...
local refuse, show = bk._options.refuse, bk._options.show
local values = {}

function values.fail(format, ...) refuse("bk.plot: " .. format, ...) end
local fail = values.fail

function values.finite(v) return v - v == 0 end

function values.number(v) return v - v == 0 and ("%.15g"):format(v) or "NaN" end

-- Whether two ends are one but for rounding: means of equal numbers differ so, and no axis tells them apart.
function values.is_level(low, high) return high - low <= 1e-13 * math.max(math.abs(low), math.abs(high)) end

-- Ends that are told apart.
function values.apart(low, high)
    if not values.is_level(low, high) then return low, high end
    local room = math.max(0.5, math.abs(low) * 1e-6)
    return low - room, high + room
end

-- A tensor as the table of its numbers, whatever its type.
local function table_of(given, where)
    if type(given) ~= "userdata" then return given end
    local ok, list = pcall(function() return given:totable() end)
    if not ok then fail("%s: expected numbers, got %s", where, tostring(given)) end
    return list
end

local function check(list, where)
    if type(list) ~= "table" or not bk._options.length(list) or bk._options.stray(list) then
        fail("%s: expected a list or a tensor of numbers, got %s", where, show(list))
    end
    for k = 1, #list do
        if type(list[k]) ~= "number" then
            fail("%s: entry %d: expected a number, got %s", where, k, show(list[k]))
        end
    end
    return list
end

-- A list of numbers; a tensor of more dimensions is read row by row.
function values.list(given, where)
    if type(given) == "userdata" then
        local ok, flat = pcall(function() return given:reshape { -1 } end)
        if ok then given = flat end
    end
    return check(table_of(given, where), where)
end

function values.is_matrix(given)
    if type(given) == "userdata" then
        local ok, n = pcall(function() return #given:shape() end)
        return ok and n == 2
    end
    return type(given) == "table" and (type(given[1]) == "table" or type(given[1]) == "userdata")
end

-- Rows of equally many numbers.
function values.matrix(given, where)
    if not values.is_matrix(given) then fail("%s: expected (rows, columns)", where) end
    local rows = {}
    for r, row in ipairs(table_of(given, where)) do
        rows[r] = values.list(row, ("%s: row %d"):format(where, r))
        if #rows[r] ~= #rows[1] then
            fail("%s: row %d has %d numbers, row 1 %d", where, r, #rows[r], #rows[1])
        end
    end
    if #rows == 0 or #rows[1] == 0 then fail("%s: expected (rows, columns), got none", where) end
    return rows
end

-- { low, high } of an option, or nil.
function values.pair(given, where)
    if given == nil then return nil end
    local pair = bk._options.list("bk.plot", where, table_of(given, where), "{low, high}")
    local low, high = pair[1], pair[2]
    if type(low) ~= "number" or type(high) ~= "number" or not (low < high) or high - low == math.huge then
        fail("%s: expected {low, high}, got {%s, %s}", where, show(low), show(high))
    end
    if pair[3] ~= nil then fail("%s: expected {low, high}, got a third entry, %s", where, show(pair[3])) end
    return { low, high }
end

-- The least and the greatest of the finite numbers, or nil.
function values.ends(list)
    local low, high = math.huge, -math.huge
    for _, v in ipairs(list) do
        if v - v == 0 then low, high = math.min(low, v), math.max(high, v) end
    end
    if low <= high then return low, high end
end

-- An error where no float64 is the length of what is drawn.
function values.check_span(low, high, where)
    if not values.finite(high - low) then
        fail("%s: expected numbers at most 1.7e308 apart, got %g to %g", where, low, high)
    end
end

-- 1, 2 or 5 times a power of ten: the least that is no smaller than v.
function values.round_step(v)
    local power = 10.0 ^ math.floor(math.log(v, 10))
    for _, k in ipairs { 1, 2, 5 } do
        if k * power >= v * (1 - 1e-9) then return k * power end
    end
    return 10 * power
end

return values

-- _options.lua - option tables checked against what is declared: an unknown name, a wrong type and a missing one are
-- errors that name the function, the option, what is expected and what came. A declaration is a list of
--     { name, type, default = value, required = true, by_place = true, low =, high =, below =, doc = "..." }
-- type: a key of TYPES, several joined by "|", or a list of the strings it may be. low and high belong to the values,
-- below does not. by_place: it may stand without its name, in this order. A declaration with items = "what they are"
-- takes a list part as well.
local bk = ...
local hint, raise_refused, raise_misread = bk.internal.hint, bk.internal.refuse, bk.internal.misread

local function finite(v) return type(v) == "number" and v - v == 0 end
local function whole(v) return type(v) == "number" and math.tointeger(v) ~= nil end
local function callable(v)
    local meta = getmetatable(v)
    return type(v) == "function" or (type(meta) == "table" and meta.__call ~= nil)
end

-- How many entries a list has, by its own __len where it has one; nil where that is no length, or its last entry is
-- missing: what goes over the list would not end, or compare a text.
local function length(list)
    local n = #list
    local is_length = math.type(n) == "integer" and n >= 0 and (n == 0 or list[n] ~= nil)
    return is_length and n or nil
end

-- A key beside the entries of what has a length; nil where there is none.
local function stray(list)
    local n = length(list)
    for key in next, list do
        if math.type(key) ~= "integer" or key < 1 or key > n then return key end
    end
end

-- The first place of a list with nothing in it; nil where there is none.
local function gap(list)
    for i = 1, length(list) do
        if list[i] == nil then return i end
    end
end

local TYPES = { -- name -> { test, words }
    any = { function() return true end, "any value" },
    number = { finite, "a finite number" },
    integer = { whole, "a whole number" },
    count = { function(v) return whole(v) and v >= 1 end, "a whole number >= 1" },
    positive = { function(v) return finite(v) and v > 0 end, "a finite number > 0" },
    callable = { callable, "a function" },
    boolean = { function(v) return type(v) == "boolean" end, "true or false" },
    string = { function(v) return type(v) == "string" end, "a string" },
    table = { function(v) return type(v) == "table" and length(v) ~= nil end, "a table" },
    list = { function(v) return type(v) == "table" and length(v) ~= nil and stray(v) == nil
        and gap(v) == nil end, "a list" },
    tensor = { function(v) return bk.is_tensor(v) end, "a tensor" },
    object = { function(v) return type(v) == "userdata" end, "an object" },
}

local options = { length = length, stray = stray, callable = callable, types = {} }
for name in pairs(TYPES) do options.types[#options.types + 1] = name end
table.sort(options.types)

-- Errors at the user's line, whatever calls of the library are between, of which a host is told the status: a wrong
-- argument, or a file that is not as it should be.
local function refuse(format, ...) raise_refused(format:format(...)) end
function options.misread(format, ...) raise_misread(format:format(...)) end
options.refuse = refuse

-- What the option may be, in words: "a finite number from 0 to 1".
function options.wanted(o)
    if type(o[2]) == "table" then
        local list = {}
        for i, choice in ipairs(o[2]) do list[i] = ("%q"):format(choice) end
        local last = table.remove(list)
        return #list > 0 and table.concat(list, ", ") .. " or " .. last or last
    end
    local words = {}
    for name in o[2]:gmatch("[^|]+") do words[#words + 1] = TYPES[name][2] end
    local text = table.concat(words, " or ")
    if o.below then return ("%s %s< %g"):format(text, o.low and (">= %g and "):format(o.low) or "", o.below) end
    if o.low and o.high then return ("%s from %g to %g"):format(text, o.low, o.high) end
    return o.low and ("%s >= %g"):format(text, o.low) or o.high and ("%s <= %g"):format(text, o.high) or text
end

-- Whether value is one of what the option may be; and what it is taken as: 64 / 2, which is 32.0, as 32.
local function fits(o, value)
    if type(o[2]) == "table" then
        for _, choice in ipairs(o[2]) do
            if value == choice then return true, value end
        end
        return false
    end
    for name in o[2]:gmatch("[^|]+") do
        if TYPES[name][1](value) then
            local inside = type(value) ~= "number" or (not o.low or value >= o.low) and (not o.high or value <= o.high)
                and (not o.below or value < o.below)
            return inside, (name == "integer" or name == "count") and math.tointeger(value) or value
        end
    end
    return false
end

options.fits = fits

-- "(2,3)", of a tensor or a list of sizes.
local function shape_text(t) return "(" .. table.concat(bk.is_tensor(t) and t:shape() or t, ",") .. ")" end
options.shape_text, options.whole = shape_text, whole

-- An error where there is no io and no os: in an environment that is restricted.
function options.needs_files(where)
    if not (io and io.open and os and os.execute and os.tmpname and os.date) then
        options.refuse("%s: needs io and os, which this state does not have", where)
    end
end

-- Whether a tensor with elements holds no nan and no infinity; a sum of finite ones may overflow.
function options.is_finite(t) return t:dtype() == "int64" or t:abs():max():item() < math.huge end

-- What was given, as messages say it.
local function show(value)
    if type(value) == "string" then
        return #value <= 60 and ("%q"):format(value) or ("a string of %d bytes"):format(#value)
    end
    if value ~= value then return "nan" end
    if type(value) == "number" or type(value) == "boolean" or value == nil then return tostring(value) end
    if bk.is_tensor(value) then
        return ("a tensor %s %s"):format(value:dtype(), shape_text(value))
    end
    if type(value) == "table" and not length(value) then
        return ("a table whose length, %s, is not that of a list"):format(show(#value))
    end
    if type(value) == "table" and #value > 0 and stray(value) ~= nil then
        return ("a list with a field %s"):format(show(stray(value)))
    end
    if type(value) == "table" and gap(value) then
        return ("a list with nothing in place %d"):format(gap(value))
    end
    return "a " .. type(value)
end
options.show = show

-- What came in place of { x = tensor, y = tensor }; nil where that is what came.
function options.no_data(data)
    if type(data) ~= "table" then return show(data) end
    if bk.is_tensor(data.x) and bk.is_tensor(data.y) then return nil end
    return ("x = %s, y = %s"):format(show(data.x), show(data.y))
end

-- A list of `what` and nothing else, or an error that says what came instead.
function options.list(where, name, list, what)
    if not TYPES.list[1](list) then refuse("%s: %s: expected %s, got %s", where, name, what, show(list)) end
    return list
end

-- An error unless a method was called on an object of its class, which `maker` returns.
function options.own(self, class, where, maker)
    if getmetatable(self) ~= class then
        refuse("%s: expected what %s returns, got %s; call it with a colon", where, maker, show(self))
    end
end

-- An error unless `list` holds numbers and nothing else.
function options.numbers(where, name, list)
    options.list(where, name, list, "a list of numbers")
    for k = 1, length(list) do
        if type(list[k]) ~= "number" then
            refuse("%s: %s: entry %d: expected a number, got %s", where, name, k, show(list[k]))
        end
    end
end

local function unknown(where, name, declared)
    local known = {}
    for i, o in ipairs(declared) do known[i] = o[1] end
    table.sort(known)
    refuse("%s: unknown option %s%s; %s", where, name, hint(name, known),
        #known > 0 and "the options are " .. table.concat(known, ", ") or "there are no options")
end

-- The options that `given` names, and the defaults of the others, in a new table. where begins the messages.
function options.check(where, given, declared)
    if given ~= nil and type(given) ~= "table" then
        refuse("%s: options: expected a table, got %s", where, show(given))
    end
    given = given or {}
    local values, places, known = {}, 0, {}
    for _, o in ipairs(declared) do
        known[o[1]] = true
        if o.by_place then places = places + 1 end
    end
    for name, value in pairs(given) do
        if type(name) == "string" then
            if not known[name] then unknown(where, name, declared) end
        elseif declared.items then
            values[name] = value
        elseif math.type(name) ~= "integer" or name < 1 or name > places then
            if places == 0 then refuse("%s: expected named options, got %s without a name", where, show(value)) end
            refuse("%s: expected %d value%s without a name, got more", where, places, places == 1 and "" or "s")
        end
    end
    local place = 0
    for _, o in ipairs(declared) do
        local name, value = o[1], given[o[1]]
        if o.by_place then
            place = place + 1
            if given[place] ~= nil and value ~= nil then
                refuse("%s: %s: given twice, by place and by name", where, name)
            end
            if value == nil then value = given[place] end
        end
        if value == nil then
            if o.required then
                refuse("%s: %s: missing; expected %s", where, name, options.wanted(o))
            end
            value = o.default
        else
            local ok, taken = fits(o, value)
            if not ok then
                refuse("%s: %s: expected %s, got %s%s", where, name, options.wanted(o), show(value),
                    type(o[2]) == "table" and hint(value, o[2]) or "")
            end
            value = taken
        end
        values[name] = value
    end
    return values
end

return options

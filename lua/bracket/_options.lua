-- Checks option tables: an unknown name or a wrong type is an error that names the function, the option and what is
-- known. options(where, given, spec): spec maps a name to a Lua type, "integer", "count", "positive", "callable" or
-- "any", types joined by "|"; a trailing "!" makes the option required. Positional entries are an error without
-- spec[1].
local TEXT = { number = "a finite number", integer = "a whole number", count = "a whole number >= 1",
    positive = "a finite number > 0", callable = "a function" }

local function kind_matches(value, kind)
    if kind == "any" then return true end
    if kind == "integer" then return type(value) == "number" and math.tointeger(value) ~= nil end
    if kind == "positive" then return type(value) == "number" and value > 0 and value < math.huge end
    if kind == "count" then return type(value) == "number" and (math.tointeger(value) or 0) >= 1 end
    if kind == "number" then return type(value) == "number" and value - value == 0 end -- finite
    if kind == "callable" then
        local meta = getmetatable(value)
        return type(value) == "function" or (type(meta) == "table" and meta.__call ~= nil)
    end
    return type(value) == kind
end

local function show(value)
    if type(value) == "string" then return string.format("%q", value) end
    if type(value) == "number" or type(value) == "boolean" or value == nil then return tostring(value) end
    return "a " .. type(value)
end

return function(where, given, spec)
    if given == nil then given = {} end
    if type(given) ~= "table" then
        error(string.format("%s: expected a table of options, got %s", where, show(given)), 3)
    end
    for name, value in pairs(given) do
        if type(name) ~= "string" and not spec[1] then
            error(string.format("%s: expected named options, got %s without a name", where, show(value)), 3)
        elseif type(name) == "string" then
            local kinds = spec[name]
            if not kinds then
                local known = {}
                for key in pairs(spec) do known[#known + 1] = type(key) == "string" and key or nil end
                table.sort(known)
                error(string.format("%s: unknown option %q; known: %s", where, name, table.concat(known, ", ")), 3)
            end
            local fits = false
            for kind in kinds:gsub("!$", ""):gmatch("[^|]+") do fits = fits or kind_matches(value, kind) end
            if not fits then
                local wanted = kinds:gsub("!$", ""):gsub("|", " or "):gsub("%a+", TEXT)
                error(string.format("%s: option %s: expected %s, got %s", where, name, wanted, show(value)), 3)
            end
        end
    end
    for name, kinds in pairs(spec) do
        if type(kinds) == "string" and kinds:sub(-1) == "!" and given[name] == nil then
            error(string.format("%s: option %s is missing", where, name), 3)
        end
    end
    return given
end

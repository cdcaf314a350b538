-- names.lua - what a path such as bk.schedule.cosine, xs[1] or p:run names, and what is in it. Looks with next and
-- rawget only: no metamethod and no user code is run; a file of a room is loaded where a path goes through it.
local bk = ...
local type, next, rawget, pcall, tonumber = type, next, rawget, pcall, tonumber
local getmetatable_ = debug.getmetatable
local match, sub, find, sort = string.match, string.sub, string.find, table.sort
local names_of, room_of, nearest = bk.internal.names, bk.internal.room, bk.internal.nearest
local index_of, docs = bk.repl.help.methods, bk.internal.docs

local names = {}

local function field(x, name)
    for _ = 1, 10 do
        if type(x) == "table" then
            local value = rawget(x, name)
            if value ~= nil then return value end
        end
        x = index_of(x)
        if x == nil then return nil end
    end
end

function names.callable(x)
    local meta = getmetatable_(x)
    return type(x) == "function" or (type(meta) == "table" and type(x) ~= "string" and rawget(meta, "__call") ~= nil)
end

local function is_tensor(x)
    local meta = type(x) == "userdata" and getmetatable_(x)
    return type(meta) == "table" and rawget(meta, "__name") == "bracket.tensor"
end

-- "xs[1].y:z" -> { "xs", 1, "y", "z" }; nil: it is no path.
local function steps(path)
    local root, rest = match(path, "^([%a_][%w_]*)(.*)$")
    if not root then return nil end
    local list = { root }
    while rest ~= "" do
        local key, after = match(rest, "^[.:]([%a_][%w_]*)(.*)$")
        if not key then
            key, after = match(rest, "^%[%s*(%d+)%s*%](.*)$")
            key = tonumber(key)
        end
        if not key then key, after = match(rest, '^%[%s*"([^"\\]*)"%s*%](.*)$') end
        if not key then key, after = match(rest, "^%[%s*'([^'\\]*)'%s*%](.*)$") end
        if not key then return nil end
        list[#list + 1], rest = key, after
    end
    return list
end

-- The value of the path, or nil. root(name), where given, is asked before the globals.
function names.at(path, root)
    local list = steps(path)
    if not list then return nil end
    local value = root and root(list[1])
    if value == nil then value = rawget(_G, list[1]) end
    for i = 2, #list do
        local key = list[i]
        local inner = field(value, key)
        if inner == nil and type(value) == "table" and room_of(value) then
            local room = value
            local ok, loaded = pcall(function() return room[key] end)
            inner = ok and loaded or nil
        end
        if inner == nil and type(key) == "number" and is_tensor(value) then inner = value end -- a view of it
        value = inner
        if value == nil then return nil end
    end
    return value
end

-- Adds to found the names in x that begin with prefix.
function names.collect(x, prefix, functions_only, found)
    for _ = 1, 10 do
        if type(x) == "table" then
            for name, value in next, x do
                if type(name) == "string" and sub(name, 1, #prefix) == prefix and find(name, "^[%a_][%w_]*$")
                    and (not functions_only or names.callable(value)) then
                    found[name] = true
                end
            end
            local room = room_of(x)
            if room and not functions_only then
                local files = names_of(room)
                for i = 1, #files do
                    if sub(files[i], 1, #prefix) == prefix and files[i] ~= "init" then found[files[i]] = true end
                end
            end
        end
        x = index_of(x)
        if x == nil then return end
    end
end

local function methods_of(class, prefix, found)
    for _, entry in next, docs do
        local method = match(entry, "^" .. class .. ":([%a_]+)")
        if method and sub(method, 1, #prefix) == prefix then found[method] = true end
    end
end

-- Adds the methods of what a call of f returns, as far as its signature says what that is.
function names.of_result(f, prefix, found)
    local line = f ~= nil and docs[f] and match(docs[f], "^[^\n]*")
    if not line then return end
    local class = match(line, "%-> (%a+)") or match(line, "^bk%.([%w_]+)")
    methods_of(class or "tensor", prefix, found)
    if next(found) == nil then methods_of(match(line, "^bk%.(%a+)") or "tensor", prefix, found) end
    if next(found) == nil then names.collect(bk.zeros{ 1 }, prefix, true, found) end -- most return a tensor
end

-- The name in that set that is most likely meant, or nil: of several as near, one as long as what was written.
function names.near(name, found)
    local list = {}
    for known in next, found do list[#list + 1] = known end
    local function other(known) return math.abs(#known - #name) end
    sort(list, function(a, b)
        if other(a) ~= other(b) then return other(a) < other(b) end
        return a < b
    end)
    return nearest(name, list)
end

return names

-- complete.lua - what may stand at the cursor. Looks with next and rawget only: no metamethod and no user code is
-- run. A room's files are named, not loaded; only one whose call has been begun is loaded, for its options.
local bk = ...
local type, next, rawget, ipairs, pcall = type, next, rawget, ipairs, pcall
local getmetatable_ = debug.getmetatable
local match, gmatch, sub, find, sort = string.match, string.gmatch, string.sub, string.find, table.sort
local names_of, room_of, folder = bk.internal.names, bk.internal.room, bk.internal.folder
local index_of, options_of = bk.repl.help.methods, bk.repl.help.options

local keywords = bk.repl.keywords

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

local function callable(x)
    local meta = getmetatable_(x)
    return type(x) == "function" or (type(meta) == "table" and type(x) ~= "string" and rawget(meta, "__call") ~= nil)
end

local function collect(x, prefix, functions_only, found)
    for _ = 1, 10 do
        if type(x) == "table" then
            for name, value in next, x do
                if type(name) == "string" and sub(name, 1, #prefix) == prefix and find(name, "^[%a_][%w_]*$")
                    and (not functions_only or callable(value)) then
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

-- Names a folder's entries that begin with the text inside an open string; folders end in /.
local function files(text, found)
    local dir, leaf = match(text, "^(.*/)([^/]*)$")
    local entries = folder(dir or ".")
    leaf = leaf or text
    for i = 1, #entries do
        local name = entries[i]
        if sub(name, 1, #leaf) == leaf and (sub(name, 1, 1) ~= "." or sub(leaf, 1, 1) == ".") then
            found[(dir or "") .. name] = true
        end
    end
end

-- The value that a path such as bk.schedule.cosine or p:run names.
local function at_path(path)
    local value = _G
    for name in gmatch(path, "[^.:]+") do
        local inner = field(value, name)
        if inner == nil and type(value) == "table" and room_of(value) then
            local room = value
            local ok, loaded = pcall(function() return room[name] end)
            inner = ok and loaded or nil
        end
        value = inner
        if value == nil then return nil end
    end
    return value
end

-- The text between the innermost open brace and the end of line, and what stands before the brace; or nil.
local function open_brace(line)
    local depth = 0
    for i = #line, 1, -1 do
        local c = sub(line, i, i)
        if c == "}" then depth = depth + 1
        elseif c == "{" then
            if depth == 0 then return sub(line, i + 1), sub(line, 1, i - 1) end
            depth = depth - 1
        end
    end
end

-- The options that begin with prefix, where the cursor stands in the table of a call that declares them.
local function options(line, prefix, found)
    local inside, before = open_brace(line)
    if not inside or not find(inside, "^%s*[%w_]*$") and not find(inside, "[,;]%s*[%w_]*$") then return false end
    local path = match(before, "([%a_][%w_.:]*)%s*$") or match(before, "([%a_][%w_.:]*)%s*%([^()]*$")
    local list = path and options_of(at_path(path))
    for _, o in ipairs(list or {}) do
        if sub(o.name, 1, #prefix) == prefix and not find(inside, "%f[%w_]" .. o.name .. "%s*=") then
            found[o.name .. " = "] = true
        end
    end
    return next(found) ~= nil
end

-- Is the end of line inside a string? Then the text since its quote.
local function open_string(line)
    local quote, start
    local i = 1
    while i <= #line do
        local c = sub(line, i, i)
        if quote then
            if c == "\\" then i = i + 1 elseif c == quote then quote = nil end
        elseif c == '"' or c == "'" then quote, start = c, i + 1
        elseif c == "-" and sub(line, i, i + 1) == "--" then return nil end
        i = i + 1
    end
    return quote and sub(line, start) or nil
end

-- line up to the cursor -> sorted candidates (each replaces the last n bytes), n
return function(line)
    local found, replaced = {}, 0
    local text = open_string(line)
    if text then
        files(text, found)
        replaced = #text
    else
        local path = match(line, "[%w_.:]*$")
        local owner, separator, prefix = match(path, "^(.-)([.:]?)([%w_]*)$")
        if separator == "" and options(line, prefix, found) then
            replaced = #prefix
        elseif separator == "" then
            if owner ~= "" then return {}, 0 end
            collect(_G, prefix, false, found)
            if prefix ~= "" then
                for word in next, keywords do if sub(word, 1, #prefix) == prefix then found[word] = true end end
            end
        else
            local value = _G
            for name in gmatch(owner, "[^.:]+") do
                value = field(value, name)
                if value == nil then return {}, 0 end
            end
            if owner == "" then return {}, 0 end
            collect(value, prefix, separator == ":", found)
        end
        replaced = #prefix
    end
    local list = {}
    for name in next, found do list[#list + 1] = name end
    sort(list)
    return list, replaced
end

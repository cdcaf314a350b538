-- A protocol's state as one safetensors file: its tensors by the path at which they stand, and all the rest as JSON in
-- the metadata. A list is an array there, any other table { table = [[key, value], ...] }, a tensor { tensor = name },
-- a number that is not finite { number = "nan" }, a string that is not UTF-8 { bytes = in hexadecimal }, a long list of
-- numbers { numbers = tensor, integers = tensor }, where the second tells which of them are integers, if some are: so
-- nothing is lost, not a bit. Digests of every tensor and of the texts tell a file that was damaged.
local bk = ...
local internal = bk.internal
local checkpoint = {}

local FORMAT = "bracket checkpoint 3"

local function before(a, b)
    if type(a) ~= type(b) then return type(a) < type(b) end
    if type(a) == "boolean" then return a and not b end
    return a < b
end

-- The name under which a tensor is saved; one that stands in several places is saved once.
local function named(tensors, path, value)
    if tensors.names[value] then return tensors.names[value] end
    while tensors.list[path] do path = path .. "'" end
    tensors.list[path], tensors.names[value] = value, path
    return path
end

local LONG = 64 -- numbers that are worth a tensor
-- Of the tables in a value: JSON takes 100, and a table may be three of them. One that holds itself is deeper.
local DEEPEST = 33

-- A list of numbers as a tensor or two, or nil.
local function pack_numbers(list, path, tensors)
    local integers, floats, marks = 0, 0, {}
    for k, value in ipairs(list) do
        local kind = math.type(value)
        if kind == "integer" then
            integers, marks[k] = integers + 1, 1
        elseif kind == "float" then
            floats, marks[k] = floats + 1, 0
        else
            return nil
        end
    end
    if integers > 0 and floats > 0 then
        for _, value in ipairs(list) do -- all of them have a float
            if math.type(value) == "integer" and (value > 2 ^ 53 or value < -2 ^ 53) then return nil end
        end
        return { numbers = named(tensors, path, bk.tensor(list)),
            integers = named(tensors, path .. ".integers", bk.tensor(marks, { dtype = "int64" })) }
    end
    return { numbers = named(tensors, path, bk.tensor(list, { dtype = integers > 0 and "int64" or "float64" })) }
end

local pack

local function refuse(tensors, path, what)
    local hook = tensors.hooks and tensors.hooks[math.tointeger(path:match("^memory%.(%d+)"))]
    bk._options.refuse("%s%s%s: %s cannot be saved; expected numbers, strings, booleans, tensors and tables of these",
        tensors.where, path ~= "" and "." .. path or "", hook and " (of intervention " .. hook .. ")" or "",
        what == "nil" and what or "a " .. what)
end

-- The keys of a table, sorted; nil and their number when it is a list.
local function keys_of(value, path, tensors)
    local keys, n, list = {}, 0, true
    for key in pairs(value) do
        n = n + 1
        list = list and math.type(key) == "integer" and key >= 1 and key <= #value
        if type(key) ~= "string" and type(key) ~= "number" and type(key) ~= "boolean" then
            refuse(tensors, path, type(key) .. " as key")
        end
        keys[n] = key
    end
    if list and n == #value and n > 0 then return nil, n end
    table.sort(keys, before)
    return keys
end

local function pack_members(value, path, tensors)
    local keys, n = keys_of(value, path, tensors)
    if n and n >= LONG then
        local packed = pack_numbers(value, path, tensors)
        if packed then return packed end
    end
    local packed, prefix = {}, path == "" and "" or path .. "."
    for k = 1, n or 0 do packed[k] = pack(value[k], prefix .. k, tensors) end
    for k, key in ipairs(keys or {}) do
        packed[k] = { pack(key, "", tensors), pack(value[key], prefix .. tostring(key), tensors) }
    end
    return keys and { table = packed } or packed
end

local function pack_table(value, path, tensors)
    tensors.depth = (tensors.depth or 0) + 1
    if tensors.depth > DEEPEST then
        bk._options.refuse("%s: expected tables at most %d deep, got one that is deeper or holds itself", tensors.where,
            DEEPEST)
    end
    local packed = pack_members(value, path, tensors)
    tensors.depth = tensors.depth - 1
    return packed
end

function pack(value, path, tensors)
    local kind = type(value)
    if kind == "number" and (value ~= value or value - value ~= 0) then
        return { number = value ~= value and "nan" or value > 0 and "inf" or "-inf" }
    elseif kind == "string" and not utf8.len(value) then
        return { bytes = value:gsub(".", function(c) return ("%02x"):format(c:byte()) end) }
    elseif kind == "number" or kind == "string" or kind == "boolean" then
        return value
    elseif bk.is_tensor(value) then
        return { tensor = named(tensors, path, value) }
    elseif kind ~= "table" then
        refuse(tensors, path, kind)
    end
    return pack_table(value, path, tensors)
end

local NUMBERS = { nan = 0 / 0, inf = math.huge, ["-inf"] = -math.huge }

local function unpack(value, tensors)
    if type(value) ~= "table" then return value end
    local function tensor(name) return tensors[name] or error("the tensor " .. name .. " is missing", 0) end
    if value.tensor then return tensor(value.tensor) end
    if value.number then return NUMBERS[value.number] end
    if value.bytes then return (value.bytes:gsub("%x%x", function(c) return string.char(tonumber(c, 16)) end)) end
    local result = {}
    if value.numbers then
        result = tensor(value.numbers):totable()
        for k, mark in ipairs(value.integers and tensor(value.integers):totable() or {}) do
            if mark == 1 then result[k] = math.tointeger(result[k]) end
        end
    elseif value.table then
        for _, entry in ipairs(value.table) do result[unpack(entry[1], tensors)] = unpack(entry[2], tensors) end
    else
        for k, member in ipairs(value) do result[k] = unpack(member, tensors) end
    end
    return result
end

-- The digest of all texts of the metadata but its own.
local function digest_of(metadata)
    local names, parts = {}, {}
    for name in pairs(metadata) do names[#names + 1] = name ~= "digest" and name or nil end
    table.sort(names)
    for k, name in ipairs(names) do parts[k] = ("%s %d %s"):format(name, #metadata[name], metadata[name]) end
    return internal.digest(table.concat(parts, "\n"))
end

local function digests_of(tensors)
    local digests = {}
    for name, tensor in pairs(tensors) do digests[name] = internal.digest(tensor) end
    return digests
end

-- A value as a text and tensors by name, and back. where: what errors begin with.
function checkpoint.pack(value, where)
    local tensors = { list = {}, names = {}, where = where }
    return internal.to_json({ pack(value, "", tensors) }), tensors.list
end
function checkpoint.unpack(text, tensors) return unpack(internal.from_json(text)[1], tensors) end

function checkpoint.save(path, state, hooks) -- hooks: the names of those whose memory the state has
    local tensors = { list = {}, names = {}, where = "protocol:run: checkpoint: state", hooks = hooks }
    local text = internal.to_json(pack(state, "", tensors))
    local metadata = { format = FORMAT, bracket = bk.version, step = tostring(state.step), state = text,
        tensors = internal.to_json(digests_of(tensors.list)) }
    metadata.digest = digest_of(metadata)
    bk.save_safetensors(path, tensors.list, metadata)
end

-- Raises where the file is damaged.
local function read(path)
    local tensors, metadata = bk.load_safetensors(path)
    if (metadata.digest or metadata.format == FORMAT) and metadata.digest ~= digest_of(metadata) then
        error("the header is damaged", 0)
    end
    if metadata.format ~= FORMAT then
        error({ ("%s: expected a %s, got %s"):format(path, FORMAT, metadata.format or "another kind of file") }, 0)
    end
    local expected, found = internal.from_json(metadata.tensors or ""), digests_of(tensors)
    for name in pairs(found) do
        if expected[name] ~= found[name] then error(("the tensor %s is damaged"):format(name), 0) end
    end
    local value, wrong = internal.from_json(metadata.state)
    if value == nil then error("state: " .. wrong, 0) end
    return unpack(value, tensors)
end

-- The state; nil and why where the file is damaged. An error where it is none, or cannot be read at all.
function checkpoint.load(path)
    local f <close>, why = io.open(path, "rb")
    if not f then bk._options.misread("%s", why) end
    local ok, state = pcall(read, path)
    if ok then return state end
    if type(state) == "table" then bk._options.misread("%s", state[1]) end
    if state:find("interrupted$") or state:find("memory") then error(state, 0) end
    -- where in Lua, and in which function: nobody's mistake there
    state = state:gsub("^[^\n]-%.lua:%d+: ", ""):gsub("^bk%.load_safetensors: ", "")
    return nil, state:sub(1, #path) == path and state or path .. ": " .. state
end

return checkpoint

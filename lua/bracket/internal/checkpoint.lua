-- A protocol's state as one safetensors file: its tensors by the path at which they stand, and all the rest as JSON in
-- the metadata. A list is an array there, any other table { table = [[key, value], ...] }, a tensor { tensor = name },
-- a number that is not finite { number = "nan" }: so nothing is lost, not a bit.
local bk = ...
local internal = bk.internal
local checkpoint = {}

local FORMAT = "bracket checkpoint 1"

local function before(a, b)
    if type(a) ~= type(b) then return type(a) < type(b) end
    if type(a) == "boolean" then return a and not b end
    return a < b
end

local function pack(value, path, tensors)
    if bk.is_tensor(value) then
        local name = path
        while tensors[name] do name = name .. "'" end
        tensors[name] = value
        return { tensor = name }
    elseif type(value) == "number" and (value ~= value or value - value ~= 0) then
        return { number = value ~= value and "nan" or value > 0 and "inf" or "-inf" }
    elseif type(value) == "number" or type(value) == "string" or type(value) == "boolean" then
        return value
    elseif type(value) ~= "table" then
        error(string.format("checkpoint: state.%s: a %s cannot be saved", path, type(value)), 0)
    end
    local keys = {}
    for key in pairs(value) do
        if type(key) ~= "string" and type(key) ~= "number" and type(key) ~= "boolean" then
            error(string.format("checkpoint: state.%s: a %s as key cannot be saved", path, type(key)), 0)
        end
        keys[#keys + 1] = key
    end
    local list = #keys == #value and #keys > 0
    table.sort(keys, before)
    local packed = {}
    for k, key in ipairs(keys) do
        local member = pack(value[key], path == "" and tostring(key) or path .. "." .. tostring(key), tensors)
        packed[k] = list and member or { key, member }
    end
    return list and packed or { table = packed }
end

local NUMBERS = { nan = 0 / 0, inf = math.huge, ["-inf"] = -math.huge }

local function unpack(value, tensors)
    if type(value) ~= "table" then return value end
    if value.tensor then return tensors[value.tensor] or error("the tensor " .. value.tensor .. " is missing", 0) end
    if value.number then return NUMBERS[value.number] end
    local result = {}
    if value.table then
        for _, entry in ipairs(value.table) do result[entry[1]] = unpack(entry[2], tensors) end
    else
        for k, member in ipairs(value) do result[k] = unpack(member, tensors) end
    end
    return result
end

function checkpoint.save(path, state)
    local tensors = {}
    local text = internal.to_json(pack(state, "", tensors))
    bk.save_safetensors(path, tensors, { format = FORMAT, bracket = bk.version, step = tostring(state.step), state = text })
end

function checkpoint.load(path)
    local tensors, metadata = bk.load_safetensors(path)
    if metadata.format ~= FORMAT then
        error(string.format("%s: expected a %s, got %s", path, FORMAT, metadata.format or "another kind of file"), 0)
    end
    local value, wrong = internal.from_json(metadata.state or "")
    if value == nil then error(path .. ": state: " .. wrong, 0) end
    local ok, state = pcall(unpack, value, tensors)
    if not ok then error(path .. ": " .. state, 0) end
    return state
end

return checkpoint

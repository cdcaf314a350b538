-- fingerprint(value) -> 16 hex digits that differ when value does: numbers, tensors, tables, and functions by their
-- code and what they have captured; so a protocol's parts, functions too, can be told from another's. Of texts in what
-- is captured one word counts, as a setting is; others do not: they are paths and titles. Nor does what is in modules.
local bk = ...
local MOST = 100000 -- values looked at
local WORD = "^[%w_-]+$"

local function order(a, b)
    if type(a) ~= type(b) then return type(a) < type(b) end
    return tostring(a) < tostring(b)
end

return function(root)
    local parts, seen, count, modules = {}, {}, 0, {}
    for _, module in pairs(package and package.loaded or {}) do modules[module] = true end
    local function look(value, captured)
        local kind = type(value)
        count = count + 1
        if bk.is_tensor(value) then
            parts[#parts + 1] = "tensor " .. value:dtype() .. " " .. bk.internal.digest(value)
        elseif kind == "number" then
            local exact = math.type(value) == "float" or value == value + 0.0
            parts[#parts + 1] = (exact and "%a" or "%d"):format(value)
        elseif kind == "boolean" or kind == "string" and (not captured or value:find(WORD)) then
            parts[#parts + 1] = tostring(value)
        elseif kind == "userdata" and getmetatable(value)
            and (tostring(value):find("^[%w.]+{") or tostring(value):find("^rng %x+:")) then
            parts[#parts + 1] = tostring(value) -- an optimizer says its options, a generator where it is
        elseif kind ~= "table" and kind ~= "function" then
            parts[#parts + 1] = kind
        elseif seen[value] or count > MOST or value == bk or value == rawget(bk, "mpi") or value == _G
            or modules[value] then -- which rank of how many it is says nothing of a run
            parts[#parts + 1] = kind
        elseif kind == "table" then
            seen[value] = true
            local class = getmetatable(value)
            if type(class) == "table" and (class.__pairs or class.__name == "bracket.protocol") then
                parts[#parts + 1] = class.__pairs and "room" or "protocol" -- a lazy room of bk; where a run is
                return
            end
            local keys = {}
            for key in next, value do
                if type(key) ~= "table" and type(key) ~= "function"
                    and type(key) ~= "userdata" then keys[#keys + 1] = key end
            end
            table.sort(keys, order)
            parts[#parts + 1] = "{"
            for _, key in ipairs(keys) do
                parts[#parts + 1] = type(key) .. tostring(key)
                look(value[key], captured)
            end
            parts[#parts + 1] = "}"
            if type(class) == "table" and type(class.__call) == "function" then look(class.__call, true) end
        else
            seen[value] = true
            local ok, code = pcall(string.dump, value, true) -- of C there is none
            parts[#parts + 1] = ok and "function " .. bk.internal.digest(code) or "function"
            for i = 1, debug and debug.getupvalue and ok and 255 or 0 do
                local name, upvalue = debug.getupvalue(value, i)
                if not name then break end
                look(upvalue, true)
            end
        end
    end
    look(root)
    return bk.internal.digest(table.concat(parts, "\n"))
end

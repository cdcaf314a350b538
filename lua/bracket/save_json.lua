-- bk.save_json: any plain value as JSON.
local bk = ...
local where = "bk.save_json"
local refuse, show = bk._options.refuse, bk._options.show
local DEEPEST = 100 -- of tables in tables; one that holds itself is deeper

-- A table's entries as JSON has them: a list, or named. place: the table's own, for messages.
local convert
local function convert_table(t, place, depth)
    if depth > DEEPEST then refuse("%s: value%s: expected tables at most %d deep", where, place:sub(1, 60), DEEPEST) end
    local n, count, result = bk._options.length(t), 0, {}
    if not n then refuse("%s: value%s: expected a plain table, got %s", where, place, show(t)) end
    for _ in pairs(t) do count = count + 1 end
    local list = true
    for i = 1, n do list = list and t[i] ~= nil end
    list = list and count == n
    for key, value in pairs(t) do
        local name = key
        if not list then
            if type(key) ~= "string" and math.type(key) ~= "integer" then
                refuse("%s: value%s: expected strings or whole numbers as keys, got %s", where, place, show(key))
            end
            name = tostring(key)
            if type(key) ~= "string" and t[name] ~= nil then
                refuse("%s: value%s: the keys %s and %q are one in JSON", where, place, name, name)
            end
        end
        result[name] = convert(value, place .. (type(key) == "string" and "." .. key or "[" .. key .. "]"),
            depth + 1)
    end
    return result
end

function convert(value, place, depth)
    if bk.is_tensor(value) then
        if value:ndim() == 0 then return value:item() end
        return value:totable()
    end
    local kind = type(value)
    if kind == "table" then return convert_table(value, place, depth) end
    if kind == "string" and not utf8.len(value) then
        refuse("%s: value%s: expected text in UTF-8, got other bytes", where, place)
    end
    if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
        refuse("%s: value%s: expected numbers, strings, booleans, tensors and tables of these, got %s", where, place,
            kind == "nil" and "nothing" or show(value))
    end
    return value
end

return bk.internal.public(function(path, value)
    if type(path) ~= "string" then refuse("%s: path: expected a string, got %s", where, show(path)) end
    bk.internal.write_file(path, bk.internal.to_json(convert(value, "", 1), 2, true) .. "\n", false, where)
end, [[
bk.save_json(path, value) -> nothing

A number, string, boolean, tensor or table of these as JSON, in a file that appears whole or not at all. A table with
the keys 1..n, and an empty one, is an array, every other an object, its keys sorted, whole numbers among them as text
(r.accuracy has "0", "1", ...). A tensor is arrays in arrays. Numbers keep every bit, in as few digits as that takes;
one that is not finite is null.

Errors: a function or an object in it, keys of other types, text that is not UTF-8, a table that holds itself.]])

-- Options of layers, which begin with sizes: sizes("nn.gru", { 8, 16, sequence = false }, { sequence = "boolean" },
-- "in", "hidden") -> { sequence = false }, 8, 16. Sizes are whole numbers above 0, as many as the names.
local bk = ...
return function(where, given, spec, ...)
    local names, sizes, named = { ... }, {}, {}
    if type(given) ~= "table" then bk._options(where, given, spec) end
    for name, value in pairs(given or {}) do
        if math.type(name) ~= "integer" then named[name] = value end
    end
    named = bk._options(where, named, spec)
    for i, name in ipairs(names) do
        local v = (given or {})[i]
        if math.type(v) ~= "integer" or v < 1 then
            error(("bk.%s: %s (size %d): expected a whole number >= 1, got %s"):format(where, name, i,
                type(v) == "string" and ("%q"):format(v) or tostring(v)), 3)
        end
        sizes[i] = v
    end
    if given and #given > #names then
        error(("bk.%s: expected %d sizes (%s), got %d"):format(where, #names, table.concat(names, ", "), #given), 3)
    end
    return named, table.unpack(sizes)
end

-- The sizes that stand first in a layer's options: sizes("nn.gru", options, "in", "hidden") -> 8, 16. Whole numbers
-- above 0; one more or less than the names is an error.
return function(where, options, ...)
    local names = { ... }
    local out = {}
    for i, name in ipairs(names) do
        local v = options[i]
        if math.type(v) ~= "integer" or v < 1 then
            error(("bk.%s: %s (size %d): expected a whole number >= 1, got %s"):format(where, name, i,
                type(v) == "string" and ("%q"):format(v) or tostring(v)), 3)
        end
        out[i] = v
    end
    if #options > #names then
        error(("bk.%s: expected %d sizes (%s), got %d"):format(where, #names, table.concat(names, ", "), #options), 3)
    end
    return table.unpack(out)
end

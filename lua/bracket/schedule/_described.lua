-- A schedule's text, by which config.json and tables of runs name it: "cosine{final = 0, lr = 0.1}". A rate without
-- one, a function of a user's own in it among them, is named by a digest of its code.
local texts = setmetatable({}, { __mode = "k" })

-- described(name, options, rate) -> rate, whose text is made of its options; described.text(rate) -> text or nil.
return setmetatable({ text = function(rate) return texts[rate] end }, { __call = function(_, name, options, rate)
    local parts = {}
    for option, value in pairs(options) do
        local text = type(value) == "number" and ("%.15g"):format(value) or texts[value]
        if not text then return rate end
        parts[#parts + 1] = option .. " = " .. text
    end
    table.sort(parts)
    texts[rate] = name .. "{" .. table.concat(parts, ", ") .. "}"
    return rate
end })

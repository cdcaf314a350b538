-- A schedule's text, by which config.json and tables of runs name it: "cosine{final = 0, lr = 0.1}". A rate without
-- one, a function of a user's own in it among them, is named by a digest of its code.
local bk = ...
local refuse, show = bk._options.refuse, bk._options.show
local texts, lists = setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" })

-- The rate, which is called with the number of a step; a digest sees the code behind it as what this captured.
local function checked(name, rate)
    return function(step, state)
        if type(step) ~= "number" or step < 1 or step % 1 ~= 0 then
            refuse("bk.schedule.%s: step: expected the number of a step, from 1, got %s", name, show(step))
        end
        return rate(step, state)
    end
end

-- described(name, options, rate) -> rate, whose text is made of its options; described.text(rate) -> text or nil.
-- described.by_task(rates, rate) -> rate, which is one of these; described.rates(rate) -> rates or nil.
local described = { text = function(rate) return texts[rate] end, rates = function(rate) return lists[rate] end }
function described.by_task(rates, rate)
    lists[rate] = table.move(rates, 1, #rates, 1, {}) -- the caller may change its own
    return rate
end
return setmetatable(described, { __call = function(_, name, options, rate)
    local parts = {}
    rate = checked(name, rate)
    for option, value in pairs(options) do
        local text = type(value) == "number" and bk.internal.to_json(value, 0, true) or texts[value]
        if not text then return rate end
        parts[#parts + 1] = option .. " = " .. text
    end
    table.sort(parts)
    texts[rate] = name .. "{" .. table.concat(parts, ", ") .. "}"
    return rate
end })

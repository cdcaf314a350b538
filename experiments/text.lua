-- Text for small language models: six families of generated sources, each with parameters drawn anew, and windows of
-- a text as class ids. language draws its triples from them, drift its changes.
local bk = require "bracket"
local stream = bk.stream
local below = stream.below
local generated = {}

-- n different letters.
local function letters(s, n)
    local order, list = stream.permutation(s, 26), {}
    for i = 1, n do list[i] = string.char(96 + order[i]) end
    return list
end
generated.families = {
    function(s) -- sums and their results, in a base
        local base, most = 5 + below(s, 6), 30 + below(s, 200)
        local function written(n)
            local text = ""
            repeat text, n = ("0123456789"):sub(n % base + 1, n % base + 1) .. text, n // base until n == 0
            return text
        end
        return function()
            local a, b = below(s, most), below(s, most)
            return written(a) .. "+" .. written(b) .. "=" .. written(a + b) .. " "
        end
    end,
    function(s) -- balanced brackets
        local pairs_of, deep = { "()", "[]", "<>", "{}" }, 2 + below(s, 4)
        local order = stream.permutation(s, 4)
        local function nest(depth)
            local p, inner = pairs_of[order[1 + below(s, 2)]], ""
            while depth > 0 and below(s, 3) > 0 do inner = inner .. nest(depth - 1) end
            return p:sub(1, 1) .. inner .. p:sub(2)
        end
        return function() return nest(deep) .. " " end
    end,
    function(s) -- sentences of a small grammar: the verb agrees with its subject
        local function word() return table.concat(letters(s, 2 + below(s, 4))) end
        local names, verbs, things = {}, {}, {}
        for i = 1, 6 do names[i], verbs[i], things[i] = word(), word(), word() end
        return function()
            local plural = below(s, 2) == 1
            local subject, verb = names[1 + below(s, 6)], verbs[1 + below(s, 6)]
            return "the " .. subject .. (plural and "s " or " ") .. verb .. (plural and " " or "s ") .. "a "
                .. things[1 + below(s, 6)] .. ". "
        end
    end,
    function(s) -- a Markov chain of order one over a dozen letters
        local of, after = letters(s, 12), {}
        for _, c in ipairs(of) do
            after[c] = {}
            for i = 1, 3 do after[c][i] = of[1 + below(s, 12)] end
        end
        local c = of[1]
        return function()
            c = after[c][1 + below(s, 3)]
            return c
        end
    end,
    function(s) -- a word and its mirror image, or its copy
        local of, mirrored = letters(s, 8), below(s, 2) == 1
        return function()
            local text = ""
            for _ = 1, 3 + below(s, 4) do text = text .. of[1 + below(s, 8)] end
            return text .. "|" .. (mirrored and text:reverse() or text) .. " "
        end
    end,
    function(s) -- counting up by a step
        local step, n = 1 + below(s, 9), below(s, 100)
        return function()
            n = (n + step) % 1000
            return n .. ","
        end
    end,
}
generated.alphabet = " abcdefghijklmnopqrstuvwxyz0123456789+=()[]<>{}|.,"
generated.class_of = {}
for i = 1, #generated.alphabet do generated.class_of[generated.alphabet:byte(i)] = i - 1 end

-- At least `length` characters of a source drawn from a family.
function generated.written(family, s, length)
    local more, parts, size = family(s), {}, 0
    while size < length do
        parts[#parts + 1] = more()
        size = size + #parts[#parts]
    end
    return table.concat(parts)
end

-- x, y (count, time): windows of a text and the same one character on.
function generated.windows(s, text, count, time, class_of)
    local x, y = {}, {}
    for b = 1, count do
        local first = below(s, #text - time)
        x[b], y[b] = {}, {}
        for t = 1, time do
            x[b][t], y[b][t] = class_of[text:byte(first + t)], class_of[text:byte(first + t + 1)]
        end
    end
    return { x = bk.tensor(x, { dtype = "int64" }), y = bk.tensor(y, { dtype = "int64" }) }
end

return generated

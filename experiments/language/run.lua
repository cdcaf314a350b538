-- Order of sources in the training of a language model: does the bracket tell which of two sources of text is better
-- read first, for a third? The study of order_prediction with a small transformer on characters. See README.md.
local bk = require "bracket"
local here = arg[0]:match("^.*/") or ""
local experiment, stream = dofile(here .. "../common.lua"), bk.stream
local triples = dofile(here .. "../order_prediction/triples.lua")
local o = experiment.options(arg, { triples = 120, ks = { 1, 5, 20, 50 }, lr = 0.05, batch = 8, time = 32, width = 32,
    layers = 2, heads = 2, warm = 0, path_steps = 0, method = "heun", remainder = 0.0, out = "" })
if o.quick then o.triples, o.ks, o.batch, o.time, o.width, o.layers = 2, { 1, 3 }, 2, 8, 8, 1 end
local say, below = experiment.say, stream.below
local began = os.time()

-- ---- sources: families of text, each with parameters drawn anew for every triple ----
local function letters(s, n) -- n different ones
    local order, list = stream.permutation(s, 26), {}
    for i = 1, n do list[i] = string.char(96 + order[i]) end
    return list
end
local families = {
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
        for _, c in ipairs(of) do after[c] = letters(s, 3) end
        for _, list in pairs(after) do
            for i = 1, 3 do list[i] = of[1 + below(s, 12)] end
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
local ALPHABET = " abcdefghijklmnopqrstuvwxyz0123456789+=()[]<>{}|.,"
local class_of, vocabulary = {}, #ALPHABET
for i = 1, #ALPHABET do class_of[ALPHABET:byte(i)] = i - 1 end

-- ---- or files of --data, three of them a triple; their characters are the vocabulary ----
local texts = {}
if o.data ~= "" then
    class_of, vocabulary = {}, 0
    for path in o.data:gmatch("[^,]+") do
        local file = assert(io.open(path, "rb"))
        local text = file:read("a")
        file:close()
        if #text <= o.time then
            error(("--data: %s: expected more than %d characters, got %d"):format(path, o.time, #text), 0)
        end
        texts[#texts + 1] = text
        for i = 1, #text do
            local c = text:byte(i)
            if not class_of[c] then class_of[c], vocabulary = vocabulary, vocabulary + 1 end
        end
    end
    if #texts < 3 then error("--data: expected three files or more, with commas between, got " .. #texts, 0) end
end

-- x, y (batch, time): windows of a text and the same one character on.
local function windows(s, text)
    local x, y = {}, {}
    for b = 1, o.batch do
        local first = below(s, #text - o.time)
        x[b], y[b] = {}, {}
        for t = 1, o.time do x[b][t], y[b][t] = class_of[text:byte(first + t)], class_of[text:byte(first + t + 1)] end
    end
    return { x = bk.tensor(x, { dtype = "int64" }), y = bk.tensor(y, { dtype = "int64" }) }
end
local function sources(s) -- three texts
    local from, list = #texts > 0 and texts or families, {}
    local which = stream.permutation(s, #from)
    for i = 1, 3 do
        local one = from[which[i]]
        if type(one) == "function" then
            local more, parts, length = one(s), {}, 0
            while length < 4 * o.batch * o.time do
                parts[#parts + 1] = more()
                length = length + #parts[#parts]
            end
            one = table.concat(parts)
        end
        list[i] = one
    end
    return list
end

-- ---- the model ----
local layers = { bk.nn.embedding{ vocabulary, o.width }, bk.nn.position_embedding{ o.time, o.width } }
for _ = 1, o.layers do layers[#layers + 1] = bk.nn.transformer{ o.width, heads = o.heads, causal = true } end
layers[#layers + 1] = bk.nn.layer_norm{ o.width }
layers[#layers + 1] = bk.nn.linear{ o.width, vocabulary }
local model = bk.nn.sequential(layers)
local f = triples.functions(bk.loss.cross_entropy(model))

say([[
Does the sign of the bracket tell which of two sources of text is better read first, for a third?
%s, %d characters; a transformer of %d parameters (%d layers, width %d, %d heads),
%d windows of %d a source, full batch, h = %g, from %s]],
    #texts > 0 and #texts .. " files" or #families .. " families of generated text", vocabulary,
    model.n_params, o.layers, o.width, o.heads, o.batch, o.time, o.lr,
    o.warm > 0 and o.warm .. " steps on other text of the three sources together" or "its initial weights")
local panel = triples.run(#texts > 0 and "files" or "generated text", o, function(t)
    local s = stream.new(stream.key(o.seed, t, 4))
    local text, triple = sources(s), {}
    for i = 1, 3 do triple[i] = windows(s, text[i]) end
    local theta = model:init{ seed = o.seed * 1000 + t }
    for _ = 1, o.warm do
        for i = 1, 3 do
            local d = windows(s, text[i])
            theta = theta - f.grad(theta, d.x, d.y) * (o.lr / 3)
        end
    end
    return f, triple[1], triple[2], triple[3], theta
end)
say("\n%d s", experiment.clock(began))
if o.out ~= "" then experiment.plot{ panels = { panel }, out = o.out } end

-- Order of sources in the training of a language model: does the bracket tell which of two sources of text is better
-- read first, for a third? The study of order_prediction with a small transformer on characters. See README.md.
local bk = require "bracket"
local here = arg[0]:match("^.*/") or ""
local experiment, stream = dofile(here .. "../common.lua"), bk.stream
local triples, generated = dofile(here .. "../triples.lua"), dofile(here .. "../text.lua")
local o = experiment.options(arg, { triples = 120, ks = { 1, 5, 20, 50 }, lr = 0.05, batch = 4, time = 32, width = 32,
    layers = 2, heads = 2, warm = 0, path_steps = 0, long = 10, weight = "uniform", remainder = 0.0, terms = 0,
    out = "" },
    { triples = 2, ks = { 1, 3 }, batch = 2, time = 8, width = 8, layers = 1 })
local say = experiment.say
local began = os.time()

-- ---- generated text, or files of --data, three of them a triple; their characters are the vocabulary ----
local class_of, vocabulary, texts = generated.class_of, #generated.alphabet, {}
if o.data ~= "" then
    class_of, vocabulary = {}, 0
    for path in o.data:gmatch("[^,]+") do
        local file <close> = io.open(path, "rb")
        local text = file and file:read("a")
        if not text or #text <= o.time then
            error(("--data: %s: expected a file of more than %d characters, got %s"):format(path, o.time,
                text and #text or "none that can be read"), 0)
        end
        texts[#texts + 1] = text
        for i = 1, #text do
            local c = text:byte(i)
            if not class_of[c] then class_of[c], vocabulary = vocabulary, vocabulary + 1 end
        end
    end
    if #texts < 3 then error("--data: expected three files or more, with commas between, got " .. #texts, 0) end
end

local function sources(s) -- three texts
    local from, list = #texts > 0 and texts or generated.families, {}
    local which = stream.permutation(s, #from)
    for i = 1, 3 do
        local one = from[which[i]]
        list[i] = type(one) == "function" and generated.written(one, s, 4 * o.batch * o.time) or one
    end
    return list
end
local function windows(s, text) return generated.windows(s, text, o.batch, o.time, class_of) end

-- ---- the model ----
local layers = { bk.nn.embedding{ vocabulary, o.width }, bk.nn.position_embedding{ o.time, o.width } }
for _ = 1, o.layers do layers[#layers + 1] = bk.nn.transformer{ o.width, heads = o.heads, causal = true } end
layers[#layers + 1] = bk.nn.layer_norm{ o.width }
layers[#layers + 1] = bk.nn.linear{ o.width, vocabulary }
local model = bk.nn.sequential(layers)
local f = triples.functions(bk.loss.cross_entropy(model), o.weight)

say([[
Does the sign of the bracket tell which of two sources of text is better read first, for a third?
%s, %d characters; a transformer of %d parameters (%d layers, width %d, %d heads),
%d windows of %d a source, full batch, h = %g, from %s]],
    #texts > 0 and #texts .. " files" or #generated.families .. " families of generated text", vocabulary,
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

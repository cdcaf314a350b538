-- Does the bracket tell which order of two tasks is better for a third? Sign accuracy of three predictors over many
-- triples (A, B, E): the bracket at the starting point, drift-matched, and along the joint path. See README.md.
local bk = require "bracket"
local here = arg[0]:match("^.*/") or ""
local experiment, triples, stream = dofile(here .. "../common.lua"), dofile(here .. "../triples.lua"), bk.stream
local say = experiment.say
local o = experiment.options(arg, { triples = 120, batch = 64, hidden = 64, lr = 0.05, ks = { 1, 2, 5, 10, 20, 50 },
    kinds = { "rotated", "split", "permuted" }, inputs = "centred", init = "lecun", pool = 3000,
    path_steps = 0, long = 0, weight = "uniform", remainder = 0.0, terms = 0, out = "" },
    { triples = 3, ks = { 1, 5 }, batch = 16, pool = 400 })

local began = os.time()
local data, _, source = experiment.data(o, o.pool)
experiment.prepared(data, o.inputs)
local inputs = data.size
local by_class = experiment.by_class(data)
local model = bk.nn.mlp{ inputs, o.hidden, 10, activation = "tanh" }
local f = triples.functions(bk.loss.cross_entropy(model), o.weight)

-- ---- triples of tasks ----
local kinds = {}
local ANGLES = 24
local rotated_pool
function kinds.rotated(s) -- the same classes, three angles of a full turn in steps of 15 degrees
    if not rotated_pool then
        local angles = {}
        for a = 1, ANGLES do angles[a] = (a - 1) * 360 / ANGLES end
        rotated_pool = bk.tasks.rotated{ data = experiment.first(data, 8 * o.batch), angles = angles,
            test_fraction = 0 }
    end
    local which, triple = stream.permutation(s, ANGLES), {}
    for i = 1, 3 do
        local d = rotated_pool[which[i]].train
        local x = d.x:to("float64")
        triple[i] = experiment.sample({ x = x:reshape{ x:shape()[1], inputs }, y = d.y, n = x:shape()[1] }, o.batch, s)
    end
    return triple
end
function kinds.permuted(s)
    local triple = {}
    for i = 1, 3 do
        local d = experiment.sample(data, o.batch, s)
        local order = bk.tensor(stream.permutation(s, inputs), { dtype = "int64" })
        triple[i] = { x = d.x:transpose():gather(order):transpose():clone(), y = d.y }
    end
    return triple
end
function kinds.split(s) -- three disjoint pairs of classes, one head of ten
    local classes, triple = stream.permutation(s, 10), {}
    for i = 1, 3 do
        local ids = {}
        for c = 2 * i - 1, 2 * i do
            for _, id in ipairs(by_class[classes[c] - 1]) do ids[#ids + 1] = id end
        end
        triple[i] = experiment.sample(data, o.batch, s, ids)
    end
    return triple
end

say([[
Does the sign of the bracket tell which order is better for a third task?
%s, %s; %d-%d-10 tanh, %s; %d examples a task, full batch, h = %g]], source, o.inputs,
    inputs, o.hidden, o.init, o.batch, o.lr)
local panels = {}
for _, kind in ipairs(o.kinds) do
    local make = kinds[kind] or error("--kinds: expected rotated, permuted or split, got " .. tostring(kind), 0)
    panels[#panels + 1] = triples.run(kind, o, function(t)
        local triple = make(stream.new(stream.key(o.seed, t, #kind)))
        return f, triple[1], triple[2], triple[3], model:init{ seed = o.seed * 1000 + t, scheme = o.init }
    end)
end
say("\n%d s", experiment.clock(began))
if o.out ~= "" then experiment.plot{ panels = panels, out = o.out } end

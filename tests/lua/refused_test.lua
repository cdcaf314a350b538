-- refused_test.lua - what calls say that ask for what cannot be: the function, the argument, what was expected and what
-- was given. Listed here is what no suite of the thing itself asks; and how things without a value of their own print.
local bk = require "bracket"
local lu = require "luaunit"

TestRefused = {}

local ONES9 = { 1, 1, 1, 1, 1, 1, 1, 1, 1 } -- more dimensions than a tensor has
local theta = bk.tensor { 0.5, -0.25 }
local function int64(values) return bk.tensor(values, { dtype = "int64" }) end
local function squares(p) return (p * p):sum() end
local function cubes(p) return (p ^ 3):sum() end
local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end
local function near(t, expected)
    local values = t:reshape { -1 }:totable()
    lu.assertEquals(#values, #expected)
    for i, x in ipairs(expected) do lu.assertAlmostEquals(values[i], x, 1e-12) end
end

-- What stands behind the last argument would be passed over in silence; those of a call that is the only one may.
function TestRefused.test_more_arguments_than_there_are()
    local ones, rng = bk.ones, bk.rng(1)
    fails("bk.add: expected at most 2 arguments, got 3, one of them 4", bk.add, ones { 2 }, 3, 4)
    fails("bk.sum: expected at most 3 arguments, got 4, one of them 5", bk.sum, ones { 2 }, 1, { keep = true }, 5)
    fails("bk.maximum: expected at most 2 arguments, got 3, one of them tensor float64 (2); of a call's results",
        bk.maximum, ones { 2 }, ones { 2 }, ones { 2 })
    fails("bk.dot: expected at most 2 arguments, got 3, one of them function", bk.dot, ones { 2 }, ones { 2 }, print)
    fails("bk.full: expected at most 3 arguments, got 4, one of them true", bk.full, { 2 }, 1, {}, true)
    fails("rng:integers: expected at most 2 arguments, got 3, one of them table", rng.integers, rng, 0, 64, { 2, 3 })
    fails("rng:permutation: expected at most 1 argument, got 2, one of them 3", rng.permutation, rng, 2, 3)
    fails("t:shape: expected at most 0 arguments, got 1, one of them 2", ones({ 2 }).shape, ones { 2 }, 2)
    fails("bk.nn.relu: expected at most 1 argument, got 2, one of them 5", bk.nn.relu, {}, 5)
    fails("bk.optim.sgd: expected at most 1 argument, got 2, one of them 3", bk.optim.sgd, {}, 3)
    fails("bk.nn.linear: expected one table, bk.nn.linear{...}, got 3 and 4", bk.nn.linear, 3, 4)
    fails("bk.optim.adam: expected one table, bk.optim.adam{...}, got 0.9 and 0.99", bk.optim.adam, 0.9, 0.99)
    fails("bk.loss.cross_entropy: expected (theta, x, y), got 1 argument",
        bk.loss.cross_entropy(bk.nn.mlp { 2, 2 }), bk.zeros { 6 })
    fails("bk.loss.mse: expected at most 1 argument, got 2, one of them 3", bk.loss.mse, {}, 3)
    fails("bk.data.csv: expected at most 2 arguments, got 3, one of them 1", bk.data.csv, "x.csv", {}, 1)
    fails("bk.schedule.cosine: expected at most 1 argument, got 2, one of them 3", bk.schedule.cosine, { lr = 1 }, 3)
    fails("bk.zeros: expected at most 2 arguments, got 3, one of them tensor float64 (2)", bk.zeros, { 2 }, {}, ones { 2 })
    fails("bk.rng: expected at most 1 argument, got 2, one of them function", bk.rng, 1, print)
    lu.assertEquals(bk.exp(bk.zeros({ 2, 3 }):max(2)), ones { 2 }) -- max has two results
    lu.assertEquals(bk.exp(bk.zeros { 2 }, nil), ones { 2 })
end

-- A theta that stands where the function is made, and not where it is called, would be passed over as well.
function TestRefused.test_a_theta_given_to_what_returns_a_function()
    local bea, losses = bk.bea, { squares, cubes }
    local word = bea.word { { squares, 0.1 }, { cubes, 0.1 } }
    local equation = bea.optimizer { loss = squares, optimizer = bk.optim.sgd {}, lr = 0.1 }
    local continual = bea.continual { losses = losses, lr = 0.1 }
    local multitask = bea.multitask { losses = losses, lr = 0.1 }
    fails("bk.lie: returns a field, of theta: bk.lie(...)(theta)", bk.lie, squares, cubes, theta)
    fails("word:term: returns a field, of theta: word:term(...)(theta)", word.term, word, 2, theta)
    fails("word:log: returns a field", word.log, word, 2, theta)
    fails("word:conflict: returns a field", word.conflict, word, theta)
    fails("word:flatness: returns a field", word.flatness, word, theta)
    fails("continual:field: returns a field", continual.field, continual, 2, theta)
    fails("multitask:loss: returns a loss", multitask.loss, multitask, theta)
    fails("equation:term: returns a field", equation.term, equation, 1, theta)
    fails("equation:field: returns a field", equation.field, equation, 1, theta)
    local game = bea.game { losses = losses, players = { 1, 1 }, lr = 0.1 }
    fails("game:field: returns a field", game.field, game, 1, theta)
    fails("game:regularised: options: expected a table", game.regularised, game, 1, theta)
    local reshuffled = bea.reshuffled { losses = losses, lr = 0.1 }
    fails("reshuffled:loss: returns a loss", reshuffled.loss, reshuffled, theta)
    fails("bk.bea.order_gap: returns a function", bea.order_gap, squares, cubes, { lr = 0.1 }, theta)
    fails("bk.schedule.cosine: returns a function: bk.schedule.cosine(...)(...)", bk.schedule.cosine, { lr = 1 }, theta)
    for name, options in pairs { -- what returns an object, of C and of Lua
        continual = { losses = losses, lr = 0.1 }, multitask = { losses = losses, lr = 0.1 },
        word = { { squares, 0.1 } }, optimizer = { loss = squares, optimizer = bk.optim.sgd {}, lr = 0.1 },
        game = { losses = losses, players = { 1, 1 }, lr = 0.1 }, reshuffled = { losses = losses, lr = 0.1 },
        lanczos = { loss = squares, theta = theta },
    } do
        fails(("bk.bea.%s: expected at most 1 argument, got 2, one of them"):format(name), bea[name], options, theta)
    end
end

-- The numbers of a distribution by place, by name, and both.
function TestRefused.test_distributions()
    local function normal(...) return bk.rng(1):normal(...) end
    local expected = 5 + 2 * normal { 3 }
    lu.assertEquals(normal({ 3 }, 5, 2), expected)
    lu.assertEquals(normal({ 3 }, { mean = 5, std = 2 }), expected)
    lu.assertEquals(normal({ 3 }, 5, { std = 2 }), expected)
    lu.assertEquals(normal({ 3 }, 5, 2, { dtype = "float32" }), expected:to("float32"))
    fails("rng:normal: mean: given twice, by place and by name", normal, { 3 }, 5, { mean = 2 })
    fails("rng:normal: std: given twice, by place and by name", normal, { 3 }, 5, 1, { std = 2 })
    fails("rng:normal: options: expected a table, got 5", normal, { { 3 }, 1 }, 5)
    local function uniform(...) return bk.rng(1):uniform(...) end
    fails("rng:uniform: b: expected a number >= a, by less than 1.8e308, got a = 3.0, b = 1.0", uniform, { 3 }, 3, 1)
    fails("got a = 3.0, b = 1.0", uniform, { 3 }, { a = 3 })
    fails("got a = -1e+308, b = 1e+308", uniform, { 3 }, -1e308, 1e308)
    fails("rng:normal: std: expected a number >= 0, got -1.0", normal, { 3 }, 0, -1)
    lu.assertEquals(uniform({ 3 }, 2, 2), bk.full({ 3 }, 2))
    lu.assertEquals(normal({ 3 }, 2, 0), bk.full({ 3 }, 2))
end

-- Uniform is below b: float32 has no number between these ends, float64 few, and half of the draws are next to b.
function TestRefused.test_the_upper_end_is_not_drawn()
    local float32 = bk.rng(1):uniform({ 100 }, 1, 1 + 2 ^ -23, { dtype = "float32" })
    lu.assertEquals(float32, bk.ones { 100, dtype = "float32" })
    lu.assertEquals(bk.rng(1):uniform({ 100 }, 1, 1 + 2 ^ -52), bk.ones { 100 })
end

-- Options may follow a tensor at once, and are told from a dimension.
function TestRefused.test_options_in_place_of_a_dimension()
    local t = bk.tensor { { 1, 3 }, { 4, 2 } }
    fails("bk.softmax: unknown option causall (did you mean causal?)", t.softmax, t, { causall = true })
    fails("bk.sort: unknown option descend (did you mean descending?)", t.sort, t, { descend = true })
    fails("bk.topk: unknown option small", t.topk, t, 1, { small = true })
    fails("bk.sum: unknown option keeps (did you mean keep?)", t.sum, t, { keeps = true })
    fails("bk.sort: dim: expected a dimension from 1 to 2, got table", t.sort, t, { 1 })
    fails("bk.sum: dim: expected a dimension or a list of them, got options", t.sum, t, { 1, keep = true })
    lu.assertEquals(t:softmax { causal = true }, t:softmax(2, { causal = true }))
    lu.assertEquals(t:sort { descending = true }, bk.tensor { { 3, 1 }, { 4, 2 } })
    lu.assertEquals(t:topk(1, { smallest = true }), bk.tensor { { 1 }, { 2 } })
    lu.assertEquals(t:sum { keep = true }, bk.tensor { { 10 } })
    lu.assertEquals(t:sum {}, t) -- over no dimension
end

-- Labels that a loss has no meaning for, in data that is kept and in data that comes later.
function TestRefused.test_labels_out_of_range()
    local model, x = bk.nn.mlp { 2, 3 }, bk.ones { 2, 2 }
    local w = model:init { seed = 1 }
    for _, name in ipairs { "cross_entropy", "hinge" } do
        local loss = bk.loss[name]
        for _, y in ipairs { -1, 3, 1 << 62 } do
            local text = ("bk.loss.%s: y[2]: expected a class id in 0..2, got "):format(name)
            fails(text, loss, model, x, int64 { 0, y })
            fails(text, loss(model), w, x, int64 { 0, y })
            fails(text, bk.grad(loss(model)), w, x, int64 { 0, y })
        end
    end
    fails("model:accuracy: y[2]: expected a class id in 0..2, got 3", model.accuracy, model, w, x, int64 { 0, 3 })
    local binary = bk.loss.binary_cross_entropy
    for _, y in ipairs { -1, 1.5, 0 / 0 } do
        local targets = bk.tensor { { 0, 1, 0.5 }, { 0, y, 1 } }
        local text = "bk.loss.binary_cross_entropy: y[5]: expected a number from 0 to 1, got "
        fails(text, binary, model, x, targets)
        fails(text, binary(model), w, x, targets)
        fails(text, binary(model), w:to("float32"), x:to("float32"), targets)
        fails(text, bk.grad(binary(model)), w, x, targets)
        fails("model:accuracy: y[5]: expected a number from 0 to 1, got ", binary:accuracy(model), w, x, targets)
    end
    fails("y[1]: expected a number from 0 to 1, got 2", binary(model), w, x, int64 { { 2, 0, 0 }, { 0, 1, 0 } })
    local each = bk.vmap(bk.loss.cross_entropy(model), { in_axes = { false, 1, 1 } })
    fails("bk.loss.cross_entropy: y[4]: expected a class id in 0..2, got 3", each, w, bk.ones { 2, 2, 2 },
        int64 { { 0, 1 }, { 2, 3 } })
    local _, slope = bk.jvp(binary(model), { w, x, bk.full({ 2, 3 }, 0.25) }, { w * 0, x * 0, bk.ones { 2, 3 } })
    lu.assertAlmostEquals(slope:item(), -model:forward(w, x):mean():item(), 1e-14) -- -z, the mean over outputs
end

-- What Lua itself would say less of.
function TestRefused.test_fields_are_not_set_and_operators_are_there_or_named()
    local model = bk.nn.mlp { 2, 2 }
    for what, object in pairs {
        model = model, rng = bk.rng(1), optimizer = bk.optim.sgd {}, func = bk.grad(squares), layer = bk.nn.relu {},
        ["bk.loss"] = bk.loss.mse, word = bk.bea.word { { squares, 0.1 } },
        multitask = bk.bea.multitask { losses = { squares }, lr = 0.1 },
        continual = bk.bea.continual { losses = { squares }, lr = 0.1 },
    } do
        fails(what .. ': "lr": no field can be set', function() object.lr = 3 end)
    end
    fails("//: tensors have no such operator; write bk.floor(t / u)", function() return theta // 2 end)
    fails("%: tensors have no such operator; write t - u * bk.floor(t / u)", function() return 2 % theta end)
    fails("..: tensors have no such operator; write tostring(t)", function() return "t = " .. theta end)
    fails("model:forward: theta: expected (6), floating, got (2) float64", model.forward, model, theta, bk.ones { 1, 2 })
end

function TestRefused.test_sizes_dimensions_and_scales_that_are_too_many()
    local ones, word = bk.ones, bk.bea.word { { squares, 0.1 }, { cubes, 0.1 } }
    fails("bk.eye: n: expected one size, the matrix is square, got 2 that differ", bk.eye, { 2, 3 })
    fails("bk.eye: n: expected one size, the matrix is square, got 3", bk.eye, { 2, 2, 2 })
    lu.assertEquals(bk.eye { 2, 2 }, bk.eye(2))
    fails("bk.sum: dim: expected each dimension once, got -1 again", bk.sum, ones { 2, 3 }, { 2, -1 })
    fails("bk.layer_norm: eps: expected a finite number >= 0, got -1", bk.layer_norm, ones { 2, 2 }, { eps = -1 })
    fails("bk.statistics.proportion: hits, n: expected 0 <= hits <= n, n > 0, got 3 of 2", bk.statistics.proportion, 3, 2)
    fails("bk.statistics.slope: x: entry 2: expected a number > 0, got -2", bk.statistics.slope, { 1, -2 }, { 1, 2 })
    fails("bk.vmap: in_axes: expected at most 1, one an argument, got 2", bk.vmap(squares, { in_axes = { 1, 1 } }), theta)
    fails("bk.vmap: in_axes: expected a list without gaps", bk.vmap, squares, { in_axes = { [1] = 1, [3] = 1 } })
    fails("word:verify: scales: a slope needs sizes that differ, got all 1", word.verify, word,
        { theta = theta, scales = { 1, -1 } })
    local equation = bk.bea.optimizer { loss = squares, optimizer = bk.optim.sgd {}, lr = 0.1 }
    local shuffled = bk.bea.reshuffled { losses = { squares, cubes }, lr = 0.1 }
    for name, object in pairs { equation = equation, reshuffled = shuffled } do
        fails(name .. ":verify: scales: expected two or more that differ, for a slope, got 1 alone", object.verify,
            object, { theta = theta, scales = { 1, 1 } })
    end
end

function TestRefused.test_shapes()
    local ones = bk.ones
    fails("bk.zeros: shape: expected at most 8 dimensions, got 9", bk.zeros, ONES9)
    fails("bk.zeros: shape: size 1: expected an integer >= 0, got -1", bk.zeros, { -1 })
    fails('bk.zeros: dtype: expected "float64", "float32" or "int64", got "float16"', bk.zeros, { 2 },
        { dtype = "float16" })
    fails("bk.reshape: sizes: expected at most 8 dimensions, got 9", bk.reshape, ones { 1 }, ONES9)
    fails("bk.reshape: (4) has 4 elements, which do not fill (3)", bk.reshape, ones { 4 }, { 3 })
    fails("bk.broadcast_to: sizes: expected at most 8 dimensions, got 9", bk.broadcast_to, ones { 1 }, ONES9)
    fails("bk.unsqueeze: a tensor has at most 8 dimensions", bk.unsqueeze, ones { 1, 1, 1, 1, 1, 1, 1, 1 }, 1)
    fails("bk.unsqueeze: dim: expected a dimension from 1 to 2, got 3", bk.unsqueeze, ones { 2 }, 3)
    fails("bk.squeeze: dimension 1 has size 2, not 1", bk.squeeze, ones { 2, 1 }, 1)
    fails("bk.permute: dims: expected each of 1..2 once", bk.permute, ones { 2, 1 }, { 1, 1 })
    fails("bk.transpose: expected at least 2 dimensions, got (2)", bk.transpose, ones { 2 })
    fails("bk.narrow: dim: expected a dimension from 1 to 2, got 3", bk.narrow, ones { 2, 3 }, 3, 1, 1)
    fails("bk.cumsum: dim: expected 1..2, got nothing", bk.cumsum, ones { 2, 3 })
    fails("bk.cumsum: expected at least 1 dimension, got ()", bk.cumsum, bk.tensor(3))
    fails("bk.narrow: first: expected an integer >= 1, got 1.5", bk.narrow, ones { 2, 3 }, 1, 1.5, 1)
    fails("bk.narrow: size: expected an integer from 0 to 2, got 3", bk.narrow, ones { 2, 3 }, 2, 2, 3)
    fails("bk.pad: before: expected 2 sizes, got 1", bk.pad, ones { 2, 3 }, { 1 }, { 1 })
    fails("bk.concat: dim: expected a dimension from 1 to 1, got 2", bk.concat, { ones { 2 }, ones { 2 } }, 2)
    fails("bk.vmap: the result would have 9 dimensions",
        bk.vmap(function() return ones { 1, 1, 1, 1, 1, 1, 1, 1 } end), ones { 2 })
end

-- What has no effect beside something else, or is said twice.
function TestRefused.test_what_would_have_no_effect()
    local rng, ones, float32, float64 = bk.rng(1), bk.ones, { dtype = "float32" }, { dtype = "float64" }
    local twice = ": dtype: given twice, beside the sizes and behind them"
    fails("bk.zeros" .. twice, bk.zeros, { 2, dtype = "float32" }, float64)
    fails("bk.full" .. twice, bk.full, { 2, dtype = "float32" }, 1, float64)
    fails("bk.eye" .. twice, bk.eye, { 2, dtype = "float32" }, float64)
    lu.assertEquals(bk.eye({ 2 }, float32):dtype(), "float32") -- was float64
    fails("rng:uniform" .. twice, rng.uniform, rng, { 2, dtype = "float32" }, float64)
    fails("rng:uniform: a: given twice, by place and by name", rng.uniform, rng, { 2, a = 5 }, 1)
    fails("rng:uniform: a: given twice, by place and by name", rng.uniform, rng, { { 2 }, 1, a = 5 })
    fails("rng:normal: mean: given twice, beside the sizes and behind them", rng.normal, rng, { 2, mean = 1 }, { mean = 2 })
    fails("rng:normal: options: expected to be last, got 3 behind them", rng.normal, rng, { 2 }, { mean = 1 }, 3)
    fails("rng:normal: expected at most the sizes and two numbers in the table, got 4 values", rng.normal, rng,
        { { 2 }, 0, 1, 2 })
    local field = ': expected a list, got a field "dtype" as well'
    fails("rng:integers: shape" .. field, rng.integers, rng, { 2, dtype = "float32" }, 3)
    fails("bk.reshape: sizes" .. field, ones({ 4 }).reshape, ones { 4 }, { 2, 2, dtype = "float32" })
    fails("bk.uniform: sizes" .. field, bk.uniform, 1, { 2, dtype = "float32" })
    fails('bk.bea.word: steps: expected a list, got a field "lr" as well', bk.bea.word, { { squares, 0.1 }, lr = 0.1 })
    for _, name in ipairs { "rtol", "atol", "max_steps" } do
        fails("bk.flow: " .. name .. ': only for method "dopri5"', bk.flow, function(t) return -t end, theta,
            { method = "rk4", steps = 2, [name] = 1 })
    end
    local model = bk.nn.mlp { 2, 2 }
    fails("model:forward: buffers: this model has none", model.forward, model, ones { 6 }, ones { 1, 2 },
        { buffers = ones { 2 } })
    local function product(v) return v end
    for _, name in ipairs { "lanczos", "spectrum", "trace" } do
        local f, where = bk.bea[name], "bk.bea." .. name
        fails(where .. ": loss, hvp: expected one of them, got both", f,
            { loss = squares, hvp = product, theta = theta })
        local beside = where .. ": like: stands beside hvp, in place of theta"
        fails(beside, f, { hvp = product, like = theta, theta = theta })
        fails(beside, f, { loss = squares, like = theta })
    end
    fails("bk.landscape: seed: u and v are given, neither is drawn", bk.landscape, squares, theta,
        { u = theta, v = bk.tensor { 1, 0 }, seed = 1 })
    local shuffled = bk.bea.reshuffled { losses = { squares, cubes }, lr = 0.1 }
    fails("reshuffled:verify: seed: all 2! orders are run, none is drawn; orders draws", shuffled.verify, shuffled,
        { theta = theta, seed = 1 })
    local data = { x = ones { 4, 4 }, y = int64 { 0, 1, 0, 1 } }
    fails("bk.tasks.permuted: test_fraction: there is a test set; expected one of them", bk.tasks.permuted,
        { data = data, test = data, test_fraction = 0.5 })
end

function TestRefused.test_what_would_have_no_effect_in_a_protocol()
    local data = { x = bk.ones { 4, 2 }, y = int64 { 0, 1, 0, 1 } }
    local function protocol(options)
        options.model, options.tasks = bk.nn.mlp { 2, 2 }, options.tasks or { data, data }
        options.lr, options.batch, options.steps = options.lr or 0.1, "full", options.steps or 4
        return bk.protocol(options)
    end
    fails("bk.protocol: record: expected names of what is recorded beside every and at, got none", protocol,
        { record = { every = 2 } })
    fails('or a list with one per task, got a list with a field "x"', protocol, { lr = { 0.1, 0.2, x = 1 } })
    fails('bk.protocol: record.at: expected a list of steps, got a list with a field "last"', protocol,
        { record = { at = { 1, last = 4 }, "loss" } })
    fails("bk.protocol: reset_optimizer: needs an order with task boundaries (sequential, blocks, planned), got cyclic",
        protocol, { order = "cyclic", reset_optimizer = true })
    fails('bk.protocol: reduction: "mean" is of a joint step\'s losses, got order = "sequential"', protocol,
        { reduction = "mean" })
    fails("bk.protocol: steps: expected 2, one for each task, got 3", protocol, { steps = { 1, 2, 3 } })
    fails("bk.protocol: task 1: x: given twice, as train.x too", protocol, { tasks = { { train = data, x = data.x } } })
    local p = protocol {}
    fails("protocol:run: stop: expected a whole number >= 0, got -1", p.run, p, { stop = -1 })
    p:run { stop = 2 }
    fails("protocol:run: checkpoint_every, keep and resume need out, the run's folder", p.run, p, { keep = 3 })
    lu.assertEquals(p:run {}.history ~= nil, true)
end

-- A float that stands for an id, a seed or an integer is taken where it is whole, and never cut.
function TestRefused.test_fractions_are_not_cut()
    local model, x = bk.nn.mlp { 2, 3 }, bk.ones { 2, 2 }
    local w = model:init { seed = 1 }
    local function whole(name) return bk.loss[name](model)(w, x, bk.tensor { 1, 2 }) end
    for _, name in ipairs { "cross_entropy", "hinge" } do
        local loss = bk.loss[name](model)
        lu.assertEquals(whole(name), loss(w, x, int64 { 1, 2 }))
        for _, y in ipairs { 1.5, -0.5, 0 / 0, 1e30 } do
            for _, dtype in ipairs { "float64", "float32" } do
                local ids = bk.tensor({ 1, y }, { dtype = dtype })
                local text = ("bk.loss.%s: y[2]: expected a class id in 0..2, got "):format(name)
                fails(text, loss, w, x, ids)
                fails(text, bk.grad(loss), w, x, ids)
            end
        end
    end
    fails("model:accuracy: y[1]: expected a class id in 0..2, got 1.5", model.accuracy, model, w, x,
        bk.tensor { 1.5, 1 })
    local function head(ids)
        return bk.protocol { model = model, lr = 0.1, tasks = { { x = x, y = int64 { 0, 1 }, head = ids } } }
    end
    fails("bk.protocol: task 1: head: entry 2: expected a class id, 0..2, got 1.5", head, { 0, 1.5 })
    fails("bk.protocol: task 1: head: entry 1: expected a class id, 0..2, got 3", head, { 3, 1 })
    fails("bk.uniform: seed: expected an integer or an int64 tensor, got 1.5", bk.uniform, 1.5, { 2 })
    fails("bk.normal: seed: expected an integer or an int64 tensor, got tensor float64 ()", bk.normal, bk.tensor(1.5),
        { 2 })
    lu.assertNotEquals(bk.uniform((1 << 53) + 1, { 2 }), bk.uniform(1 << 53, { 2 }))
    lu.assertEquals(bk.uniform(2.0, { 2 }), bk.uniform(2, { 2 }))
    local noisy = bk.nn.sequential { bk.nn.linear { 2, 2 }, bk.nn.dropout { 0.5 } }
    fails("model:forward: seed: expected an integer or a 0-d int64 tensor, got tensor float64 ()", noisy.forward, noisy,
        bk.ones { 6 }, x, { train = true, seed = bk.tensor(1.5) })
    fails("bk.loss.mse: seed: expected an integer or a 0-d int64 tensor, got tensor float64 ()", bk.loss.mse, noisy, x, x,
        { train = true, seed = bk.tensor(1.5) })
    fails("bk.linspace: int64 needs whole numbers, got 0.5 in place 2", bk.linspace, 0, 1, 3, { dtype = "int64" })
    lu.assertEquals(bk.linspace(0, 4, 3, { dtype = "int64" }), int64 { 0, 2, 4 })
    fails("bk.linspace: int64 holds -2^63 to 2^63 - 1, got 1e+20 in place 2", bk.linspace, 0, 1e20, 2,
        { dtype = "int64" })
    fails("bk.arange: int64 holds -2^63 to 2^63 - 1, got 0.0 to 3e+19", bk.arange, 0, 3e19, 1e19, { dtype = "int64" })
    local far = bk.tensor { 1e300, -1e300, 0 / 0, 2.9 } -- as t:to casts them
    lu.assertEquals(bk.tensor(far, { dtype = "int64" }), far:to "int64")
    lu.assertEquals(far:to "int64", int64 { math.maxinteger, math.mininteger, 0, 2 })
    fails("bk.stream.below: n: expected a whole number >= 1, got 2.5", bk.stream.below, bk.stream.new(1), 2.5)
end

function TestRefused.test_a_step_of_one_number()
    local optimizer = bk.optim.custom { update = function(g) return g:norm() end }
    fails("optimizer:step: update's step: expected theta's shape (2), got ()", optimizer.step, optimizer, theta, theta, 0.1)
    fails("optimizer: step of custom: expected theta's shape (5), got ()", bk.bea.optimizer,
        { loss = squares, optimizer = optimizer, lr = 0.1 })
end

function TestRefused.test_products_and_images()
    local ones = bk.ones
    fails("bk.matmul: expected at least one dimension, got () and (2,2)", bk.matmul, bk.tensor(1.0), ones { 2, 2 })
    fails("bk.matmul: leading sizes do not broadcast: (2,2,2) x (3,2,2)", bk.matmul, ones { 2, 2, 2 },
        ones { 3, 2, 2 })
    fails("bk.dot: shapes differ: (2) and (3)", bk.dot, ones { 2 }, ones { 3 })
    fails("bk.outer: expected two 1-d tensors, got (2,1) and (3)", bk.outer, ones { 2, 1 }, ones { 3 })
    fails("bk.take: expected int64 indices of shape (rows...), got float64 (2) for a of (3,2)", bk.take,
        ones { 3, 2 }, ones { 2 })
    fails("bk.linalg.solve: u: expected (..., n) or (..., n, k) for t (..., n, n), got (4,2) for (3,3)",
        bk.linalg.solve, bk.eye(3), ones { 4, 2 })
    fails("bk.conv2d: channels differ: images (1,2,4,4), weights (1,3,2,2)", bk.conv2d, ones { 1, 2, 4, 4 },
        ones { 1, 3, 2, 2 })
    fails("bk.conv2d: the kernel 5x2 does not fit the padded image 4x4", bk.conv2d, ones { 1, 1, 4, 4 },
        ones { 1, 1, 5, 2 })
    fails("bk.conv2d: stride: expected an integer from 1 to 1048576, got 0", bk.conv2d, ones { 1, 1, 4, 4 },
        ones { 1, 1, 2, 2 }, { stride = 0 })
    fails("bk.maxpool2d: the window 5 does not fit the image (1,1,4,4)", bk.maxpool2d, ones { 1, 1, 4, 4 }, 5)
end

-- What a call is made of does not speak in its place, traced or not.
function TestRefused.test_in_the_name_of_the_call()
    local ones = bk.ones
    fails("bk.sub: shapes do not broadcast: (2) and (3)", function() return ones { 2 } - ones { 3 } end)
    fails("bk.sub: shapes do not broadcast: (2) and (3)", bk.compile(function(t) return t - ones { 3 } end), ones { 2 })
    fails("bk.add: shapes do not broadcast", bk.compile(function(t) -- not of the product, which comes later
        pcall(function() return t - ones { 3 } end)
        return t * 2
    end), ones { 2 })
    fails("bk.lt: shapes do not broadcast", bk.lt, ones { 2 }, ones { 3 })
    fails("bk.log_softmax: expected a float tensor of at least 1 dimension, got", bk.log_softmax, bk.tensor(1.0))
    fails("bk.embedding: an index is out of range: expected one of 2 rows, got position 8, counted from 1 (id 7,",
        bk.embedding, ones { 2, 2 }, int64 { 1, 7 })
    fails("bk.gather: an index is out of range: expected one of 2 rows, got position 0, counted from 1 (id -1,",
        bk.gather, ones { 2, 2 }, int64 { 1, 0 })
    fails("bk.uniform: the result's shape (1099511627776,1099511627776) is impossible", bk.uniform, 1,
        { 1 << 40, 1 << 40 })
    fails("bk.normal: out of memory: ", bk.normal, 1, { 1 << 50 })
end

function TestRefused.test_rows_of_a_batch_in_place()
    local gather, rows = bk.internal.gather, bk.ones { 2, 2 }
    fails("gather: index: expected an int64 tensor of 1 dimension", gather, rows:clone(), 1, rows, bk.ones { 2 }, 1, 2)
    fails("gather: out: expected float64 rows of 2 elements as source, got float64 rows of 3", gather,
        bk.ones { 2, 3 }, 1, rows, int64 { 1, 2 }, 1, 2)
    fails("gather: out: expected a row-major tensor", gather, bk.tensor(1.0), 1, rows, int64 { 1, 2 }, 1, 2)
    fails("gather: first, count: 2..3 is outside the index's 1..2", gather, rows:clone(), 1, rows, int64 { 1, 2 }, 2, 2)
    fails("gather: at: rows 2..3 are outside out's 1..2", gather, rows:clone(), 2, rows, int64 { 1, 2 }, 1, 2)
    local out = bk.zeros { 2, 2 }
    fails("gather: index: 3 is outside 1..2", gather, out, 1, rows, int64 { 1, 3 }, 1, 2)
    near(out, { 0, 0, 0, 0 }) -- all are looked at before the first is written
end

function TestRefused.test_functions_and_derivatives()
    fails("bk.grad: takes one function and returns one; call the result: bk.grad(f)(θ)", bk.grad, squares, theta)
    fails("bk.grad: expected at least 1 argument, got 0", bk.grad(squares))
    local no_loss = function(p) return p * 2 end
    for _, name in ipairs { "grad", "value_and_grad", "hvp", "hessian" } do
        fails(("bk.%s: the function must return a 0-d float tensor, got float64 (2)"):format(name), bk[name](no_loss),
            theta, name == "hvp" and theta or nil)
        fails(("bk.%s: argument 1: expected a float tensor, got int64"):format(name), bk[name](squares),
            int64 { 1, 2 }, name == "hvp" and theta or nil)
    end
    fails("this function returned nothing; expected a tensor", bk.compile(function() end), theta)
    fails('result 1 of this function: expected a tensor, got "x"', bk.grad(function() return "x" end), theta)
    fails('result 2 of this function: expected a tensor, got "x"', bk.compile(function(p) return p, "x" end), theta)
    fails("expected a function with one result, got 2", bk.grad(function(p) return p:sum(), p:sum() end), theta)
    fails("bk.jvp: tangents: expected at most 1, one an argument, got 2", bk.jvp, squares, { theta }, { theta, theta })
    fails("bk.jvp: tangent 1: expected shape (2), got (3)", bk.jvp, squares, { theta }, { bk.ones { 3 } })
    local _, pullback = bk.vjp(squares, theta)
    fails("bk.vjp: cotangent 1: expected shape (), got (3)", pullback, bk.ones { 3 })
    fails('bk.vjp: pullback: cotangent: expected a tensor, got "x"', pullback, "x")
    fails("bk.vmap: argument 1: expected a leading dimension to map over, got ()", bk.vmap(squares), bk.tensor(1.0))
end

-- Tables of one may be left away, and numbers are 0-d tensors.
function TestRefused.test_what_stands_for_a_tensor()
    local value, tangent = bk.jvp(squares, theta, bk.tensor { 1, 0 })
    near(value, { 0.3125 })
    near(tangent, { 1 })
    value, tangent = bk.jvp(function(x) return x * x end, { 3 }, { 2 })
    near(value, { 9 })
    near(tangent, { 12 })
    local _, pullback = bk.vjp(squares, theta)
    near(pullback(2), { 2, -1 })
    local _, _, two = bk.vjp(function(p) return p:sum(), p * 3 end, theta)
    near(two(bk.tensor(1.0)), { 1, 1 }) -- a result without a cotangent counts as one of zeros
    near(select(2, bk.compile(function(p) return p, 2 end)(theta)), { 2 })
    local mapped, constant = bk.vmap(function(x) return x, bk.ones { 2 } end)(bk.tensor { 3, 4 })
    near(mapped, { 3, 4 })
    lu.assertEquals(constant:shape(), { 2, 2 })
end

-- Arguments that are no tensors are handed on: to the function that a product or a bracket is made of too.
function TestRefused.test_other_arguments_reach_the_function()
    local function scaled(p, options) return cubes(p) * options.k end -- Hessian 6 k p
    near(bk.hvp(scaled)(theta, bk.ones { 2 }, { k = 2 }), { 6, -3 })
    near(bk.hvp(function(p, _, k) return cubes(p) * k end)(theta, bk.ones { 2 }, "name", 2), { 6, -3 })
    near(bk.lie(scaled, squares)(theta, { k = 2 }), { -12 * 0.25, -12 * 0.0625 }) -- 2 (3 k p^2) - 6 k p (2 p)
    local by = bk.hvp(scaled)
    for k = 1, 40 do near(by(theta, bk.ones { 2 }, { k = k }), { 3 * k, -1.5 * k }) end -- more than are remembered
end

function TestRefused.test_backward_error_analysis()
    local bea = bk.bea
    local both = { squares, cubes }
    local function path(more)
        local given = { squares, cubes, target = squares, theta = theta, time = 1 }
        for name, value in pairs(more) do given[name] = value end
        return bea.path_bracket(given)
    end
    fails("bk.bea.multitask: losses: expected at least one loss", bea.multitask, { losses = {}, lr = 0.1 })
    fails("bk.bea.multitask: expected losses = {L1, L2, ...} and lr = h", bea.multitask, {})
    fails("bk.bea.continual: lr: the mean rate must be positive, got 0", bea.continual, { losses = both, lr = 0 })
    fails("continual:field: order: expected an integer from 1 to 3, got 4",
        function() return bea.continual { losses = both, lr = 0.1 }:field(4) end)
    fails("bk.bea.tournament: expected sources = {L1, L2, ...}, target = E and theta = tensor", bea.tournament,
        { target = squares, theta = theta })
    fails("bk.bea.tournament: sources: expected at least one loss", bea.tournament,
        { sources = {}, target = squares, theta = theta })
    fails("bk.bea.path_bracket: time: expected a finite number, got inf", path, { time = math.huge })
    fails("bk.bea.path_bracket: steps: expected an integer from 1 to", path, { steps = 0 })
    fails("bk.bea.path_bracket: theta: expected floating point, got int64", path, { theta = int64 { 1, 2 } })
    fails("bk.bea.path_bracket: expected two losses A, B, or sources = {...}, got 2 losses in the list besides sources",
        path, { sources = { squares } })
    fails("bk.bea.path_bracket: expected target = E, theta = tensor and time = kappa", bea.path_bracket, both)
    fails("bk.bea.word: step 1: rate: expected a finite number, got inf", bea.word, { { squares, math.huge } })
    local word = bea.word { { squares, 0.1 }, { cubes, 0.2 } }
    fails("word: theta: expected floating point, got int64 (2)", word:log(1), int64 { 1, 2 })
    fails("word: expected theta, got 3 arguments", word:log(1), theta, theta, theta)
    local function verify(given) return word:verify(given) end
    fails("word:verify: theta: missing; expected the tensor to start from", verify, {})
    fails("word:verify: scales: expected finite numbers other than 0, got 0", verify,
        { theta = theta, scales = { 1, 0 } })
    fails("word:verify: scales: a slope needs at least two, got 1", verify, { theta = theta, scales = { 1 } })
    fails("word:verify: orders: expected whole numbers from 1 to 30, got 1.5", verify, { theta = theta, orders = { 1.5 } })
    local descent = bk.grad(squares)
    fails("bk.flow: theta: expected floating point, got int64 (2)", bk.flow, descent, int64 { 1, 2 }, { time = 1 })
    fails("bk.flow: steps: expected an integer >= 1, got 0", bk.flow, descent, theta,
        { time = 1, method = "rk4", steps = 0 })
    fails("bk.flow: rtol, atol: expected finite numbers >= 0, not both 0, got 0, 0", bk.flow, descent, theta,
        { time = 1, rtol = 0, atol = 0 })
    fails("bk.flow: the field must return one tensor of theta's shape (2) float64, got () float64", bk.flow, squares,
        theta, { time = 1 })
end

function TestRefused.test_what_came_is_shown_where_it_is_short()
    fails("bk.bea.swap_effect: theta: expected a tensor, got 3", bk.bea.swap_effect, squares, { squares, cubes }, 3,
        { lr = 0.1 })
    fails("bk.arguments: argv: expected an array of strings, got 3", bk.arguments, {}, {}, 3)
    fails('got a string of 61 bytes', bk.mpi.shard, ("x"):rep(61))
end
function TestRefused.test_measures_of_a_run()
    fails('bk.measure.total_hvp: state: expected the state that records and hooks get, got "x"', bk.measure.total_hvp,
        "x", theta)
    fails("bk.measure.round: state: expected the state that records and hooks get, got a table", bk.measure.round, {})
    fails("bk.measure.layers: model: expected one with n_params, got 3", bk.measure.layers, 3)
    fails("bk.measure.only: v: expected a tensor, got nil", bk.measure.only)
    fails("bk.measure.only: layer: expected one of bk.measure.layers(model), got 1", bk.measure.only, theta, 1)
    local told
    local task = { x = bk.ones { 4, 2 }, y = bk.ones { 4, 1 }, loss = "mse" }
    bk.protocol { model = bk.nn.mlp { 2, 1 }, tasks = { task, task }, lr = 0.1, steps = 1, record = { every = 1,
        own = function(state)
            told = told or select(2, pcall(bk.measure.bracket, state, 1, 3))
            return bk.measure.bracket(state, 1, 2):norm():item()
        end } }:run {}
    lu.assertStrContains(told, "bk.measure.bracket: task: expected a whole number from 1 to 2, got 3")
end

function TestRefused.test_statistics_and_streams()
    local statistics, stream, list = bk.statistics, bk.stream, { 1, 2, 3 }
    fails("bk.statistics.mean: values: expected a list of numbers, got 3", statistics.mean, 3)
    fails('bk.statistics.interval: values: entry 2: expected a number, got "x"', statistics.interval, { 1, "x" })
    fails("bk.statistics.ranks: values: entry 1: expected a number, got a table", statistics.ranks, { {} })
    fails("bk.statistics.t95: df: expected a number, got nil", statistics.t95)
    fails("bk.statistics.proportion: n: expected a number, got true", statistics.proportion, 1, true)
    for _, name in ipairs { "correlation", "spearman", "slope" } do
        local where = "bk.statistics." .. name
        fails(where .. ": y: expected a list of numbers, got nil", statistics[name], list)
        fails(where .. ": y: expected 3 numbers, as x has, got 2", statistics[name], list, { 1, 2 })
    end
    local grouped, draw = statistics.spearman_grouped, stream.new(1)
    fails("bk.statistics.spearman_grouped: y: expected 3 numbers, as x has, got 0", grouped, list, {}, list, 5, draw)
    fails("bk.statistics.spearman_grouped: groups: expected 3, one a point, got 1", grouped, list, list, { 1 }, 5, draw)
    fails("bk.statistics.spearman_grouped: draws: expected a whole number >= 1, got 0", grouped, list, list, list, 0)
    fails("bk.statistics.spearman_grouped: stream: expected a stream, got nil", grouped, list, list, list, 5)
    fails("bk.metric.interval: values: expected a list of numbers, got nil", bk.metric.interval)
    fails("bk.metric.interval: values: expected a list of numbers, got an empty one", bk.metric.interval, {})
    fails("bk.stream.key: seed: expected whole numbers, got 1.5", stream.key, 1.5)
    fails("bk.stream: stream: expected { key, counter }, got 5", stream.uniform, 5)
    fails("bk.stream: stream: expected { key, counter }, got a table", stream.next, { key = 1 })
    fails("bk.stream.below: n: expected a whole number >= 1, got nil", stream.below, draw)
    fails("bk.stream.permutation: n: expected a whole number, got nil", stream.permutation, draw)
end

function TestRefused.test_odd_parts_of_options()
    local digits = { x = bk.ones { 4, 4 }, y = int64 { 0, 1, 0, 1 }, classes = "two" }
    fails('bk.tasks.permuted: data.classes: expected the number of classes, got "two"', bk.tasks.permuted,
        { data = digits, n = 2 })
    digits.classes = 2
    local pair = "expected a table { x = tensor, y = tensor }, got x = a tensor float64 (2), y = nil"
    fails("bk.tasks.permuted: data: " .. pair, bk.tasks.permuted, { data = { x = theta }, n = 2 })
    fails("bk.protocol: task 1: test: " .. pair, bk.protocol, { model = bk.nn.mlp { 4, 2 }, lr = 1,
        tasks = { { train = { x = bk.ones { 4, 4 }, y = int64 { 0, 1, 0, 1 } }, test = { x = theta } } } })
    fails('bk.tasks.rotated: shape: entry 1: expected a number, got "2"', bk.tasks.rotated,
        { data = digits, angles = { 0 }, shape = { "2", 2 } })
    fails("bk.tasks.split: classes: task 1: expected ids 0..1, got nil", bk.tasks.split,
        { data = digits, classes = { { 0, nil, 1 } } })
    fails('bk.landscape: loss: expected a function of theta, got "x"', bk.landscape, "x", theta)
    fails("theta: expected a tensor, got 5", function()
        bk.bea.game { losses = { squares, cubes }, players = { 1, 1 }, lr = 0.1 }:step(5)
    end)
    fails("bk.bea.lanczos: hvp: expected a function that returns as many numbers as it is given, got nil",
        bk.bea.lanczos, { hvp = function() end, theta = theta, steps = 2 })
    for _, name in ipairs { "lanczos", "spectrum" } do
        fails(("bk.bea.%s: theta: expected finite products H v, got "):format(name), bk.bea[name],
            { loss = function(p) return p:sqrt():sum() end, theta = bk.zeros { 2 } })
    end
    fails("bk.bea.trace: loss: expected a function of theta, got 5", bk.bea.trace, { loss = 5, theta = theta })
    fails("bk.arguments: argv: entry 2: expected a string, got 3", bk.arguments, { lr = 1 }, { "--lr", 3 })
    fails("bk.schedule.per_task: lr: entry 1: expected a finite rate >= 0, got -1", bk.schedule.per_task, { -1 })
end

function TestRefused.test_models()
    local model = bk.nn.mlp { 2, 3, 2 }
    local start = model:init { seed = 1 }
    fails("model:init: dtype: expected float64 or float32, got int64",
        function() return model:init { seed = 1, dtype = "int64" } end)
    fails("model:forward: x: expected a tensor, got nothing", model.forward, model, start)
    fails("model:accuracy: y: expected a tensor, got nothing", model.accuracy, model, start, bk.ones { 1, 2 })
    fails("model:forward: options: expected a table, got 1", model.forward, model, start, bk.ones { 1, 2 }, 1)
    fails("bk.nn.sequential: layer 2 (layer_norm): expected an input of (batch, 3), got (..., 2)", bk.nn.sequential,
        { bk.nn.linear { 2, 2 }, bk.nn.layer_norm { 3 } })
    local pooled = bk.nn.sequential { bk.nn.linear { 2, 2 }, bk.nn.avgpool2d { 2 } }
    fails("layer 2 (avgpool2d): expected an input of (batch, channels, height >= 2, width >= 2), got (1,2)",
        pooled.forward, pooled, bk.ones { 6 }, bk.ones { 1, 2 })
    local grouped = bk.nn.sequential { bk.nn.group_norm { 2, 4 } }
    fails("x: expected (batch, 4, ...), got (2,3)", grouped.forward, grouped, bk.ones { 8 }, bk.ones { 2, 3 })
    local flat = bk.nn.sequential { bk.nn.flatten() }
    fails("x: expected (batch, ...), got ()", flat.forward, flat, bk.ones { 0 }, bk.tensor(1.0))
    fails("bk.loss.huber: delta: an option of the loss itself, expected in bk.loss.huber{ delta = ... }(model, x, y)",
        bk.loss.huber, bk.nn.mlp { 1, 1 }, bk.ones { 1, 1 }, bk.ones { 1, 1 }, { delta = 2 })
    fails('no field "foo"; it has name, class_ids, accuracy and its options',
        function() return bk.loss.huber { delta = 2 }.foo end)
end

function TestRefused.test_copies_and_kinds()
    local copy = bk.tensor(theta)
    near(copy, { 0.5, -0.25 })
    lu.assertEquals(bk.tensor(theta, { dtype = "float32" }):dtype(), "float32")
    lu.assertEquals(bk.tensor(bk.tensor { 1.7, -2.5 }, { dtype = "int64" }):totable(), { 1, -2 })
    lu.assertEquals(bk.eye { 2, dtype = "float32" }:dtype(), "float32")
    near(bk.eye { 2, dtype = "int64" }, { 1, 0, 0, 1 })
end

-- A plan is kept for each of the last shapes only: those before are made anew.
function TestRefused.test_more_shapes_than_are_kept()
    local f = bk.compile(function(t) return (t * 2):sum() end)
    local slope = bk.grad(f)
    for _ = 1, 2 do
        for n = 1, 40 do
            lu.assertEquals(f(bk.ones { n }):item(), 2 * n)
            lu.assertEquals(slope(bk.ones { n }):sum():item(), 2 * n)
        end
    end
end

function TestRefused.test_how_things_print()
    local text, kept
    bk.compile(function(t)
        text, kept = tostring(t), t
        return t
    end)(theta)
    lu.assertEquals(text, "tensor float64 (2), traced")
    lu.assertEquals(tostring(kept), "tensor of a trace that is over")
    lu.assertEquals(tostring(bk.nn.conv2d { 1, 8, kernel = 5 }), "conv2d{1, 8, kernel = 5, stride = 1, padding = 0}")
    lu.assertEquals(tostring(bk.nn.linear { 2, 3 }), "linear{2, 3}")
    fails("model: no field \"foo\"; it has n_params, layers, n_buffers, buffers, init, ", function()
        return bk.nn.mlp { 2, 1 }.foo
    end)
    lu.assertEquals(tostring(bk.loss.huber { delta = 2 }), "bk.loss.huber{ delta = 2.0 }")
    lu.assertEquals(tostring(bk.loss.huber { delta = 1 / 3 }), "bk.loss.huber{ delta = 0.33333333333333331 }")
    fails("beta2: expected a finite number >= 0 and < 1, got 1.0000000000000002", bk.optim.adam, { beta2 = 1 + 2 ^ -52 })
    local function map(p) return p end
    local word = bk.bea.word { { squares, 0.5, exact = true }, { map = map, lr = 0.25 }, { squares, 0.1 } }
    lu.assertEquals(tostring(word), "word(exact 1:0.5 map 1:0.25 1:0.1)")
    lu.assertEquals(#word, 3)
    local long = {}
    for i = 1, 41 do long[i] = { squares, 0.5 } end
    lu.assertEquals(tostring(bk.bea.word(long)), "word(" .. ("1:0.5 "):rep(40) .. "...)")
    lu.assertEquals(tostring(bk.zeros { 2, 0 }), "tensor float64 (2,0)\n[]")
    lu.assertEquals(tostring(bk.ones { 2, 1, 2 }), "tensor float64 (2,1,2)\n[[[1 1]]\n\n [[1 1]]]")
    lu.assertEquals(tostring(int64 { { 1, -2 }, { 300, 4 } }), "tensor int64 (2,2)\n[[  1  -2]\n [300   4]]")
    lu.assertEquals(tostring(bk.arange(0, 3000)), "tensor float64 (3000)\n[   0    1    2 ... 2997 2998 2999]")
end

function TestRefused.test_what_is_missing_is_nothing()
    fails("bk.linspace: n: expected an integer >= 0, got nothing", bk.linspace, 0, 1)
    fails("bk.fold_in: place: expected an integer, got nothing", bk.fold_in, 1)
    fails("bk.narrow: size: expected an integer >= 0, got nothing", bk.narrow, bk.ones { 3 }, 1, 2)
end

function TestRefused.test_what_transforms_cannot_take()
    local f = function(t, u) return t * u end
    fails("bk.jvp: tangent: expected a tensor, got \"x\"", bk.jvp, f, { theta, 3 }, { theta, "x" })
    fails("bk.jvp: tangents: argument 1, tensor int64 (2), does not move: expected nil or 0, got tensor float64 (2)",
        bk.jvp, function(t) return t:to "float64" ^ 2 end, { int64 { 1, 2 } }, { theta })
    fails("bk.jvp: tangents: argument 2, table, does not move: expected nil or 0, got 1", bk.jvp,
        function(t, o) return t * o.k end, { theta, { k = 2 } }, { theta, 1 })
    fails("bk.hvp: argument 2: expected a tensor, got table", bk.hvp(squares), theta, { 1, 1 })
    fails("bk.vmap: argument 1: expected a tensor, got table", bk.vmap(function(p) return p[1] end), { theta, theta })
    local function two(t) return t:sum(), t end
    fails("bk.grad: expected a function with one result, got 2", bk.grad(two), theta)
    fails("bk.hessian: expected a function with one result, got 2", bk.hessian(two), theta)
    fails("bk.lie: X: expected a function with one result, got 2", bk.lie(two, two), theta)
end

function TestRefused.test_sizes_and_files()
    fails("bk.nn.linear: in: expected a whole number from 1 to 1073741824, got 1073741825", bk.nn.linear,
        { (1 << 30) + 1, 1 })
    fails("bk.nn.linear: in: expected a whole number >= 1, got 0", bk.nn.linear, { 0, 1 })
    fails("bk.nn.maxpool2d: padding: expected less than kernel, 2, got 2", bk.nn.maxpool2d, { 2, padding = 2 })
    local m = bk.nn.mlp { 2, 3 }
    fails("model:accuracy: x: an empty batch has no accuracy", m.accuracy, m, bk.ones { 9 }, bk.zeros { 0, 2 },
        bk.zeros({ 0 }, { dtype = "int64" }))
    fails("bk.bea.lanczos: top: expected at most 2, the steps or theta's size, got 5", bk.bea.lanczos,
        { loss = squares, theta = theta, top = 5 })
    fails("tensor:save: /nonexistent/x.npy: cannot be written", theta.save, theta, "/nonexistent/x.npy")
end

-- A clipped step is no gradient step, however large the gradient has to be to show it.
function TestRefused.test_clipping_optimizers_are_no_gradient_steps()
    local function clip(c)
        return bk.optim.custom { update = function(g, s)
            return g / bk.where((g:norm() / c):gt(1), g:norm() / c, 1), s
        end }
    end
    for _, c in ipairs { 1, 5, 1e5 } do lu.assertFalse(bk.measure.is_gradient_step(clip(c))) end
    lu.assertTrue(bk.measure.is_gradient_step(bk.optim.sgd { weight_decay = 0.1 }))
    lu.assertTrue(bk.measure.is_gradient_step(bk.optim.custom { update = function(g, s) return g, s end }))
end

function TestRefused.test_measures_seeds_and_products_that_overflow()
    local x, y = bk.rng(1):normal { 30, 4 }, bk.rng(2):integers({ 30 }, 3)
    local function protocol(more)
        local spec = { model = bk.nn.mlp { 4, 3 }, lr = 0.1, steps = 2,
            tasks = { { x = x, y = y }, { x = -x, y = y } } }
        for k, v in pairs(more) do spec[k] = v end
        return bk.protocol(spec)
    end
    local p = protocol {}
    fails("protocol:seeds: seeds: entry 2: expected a whole number, got 1.5", p.seeds, p, { seeds = { 1, 1.5 } })
    for text, hook in pairs {
        ["bk.measure.hvp: v: expected a tensor, a direction of theta's shape, got nil"] =
            function(state) bk.measure.hvp(state, 1) end,
        ["bk.measure.output_change: v: expected a tensor"] = function(state) bk.measure.output_change(state, 1) end,
    } do
        fails(text, function() protocol { interventions = { { before_step = hook } } }:run {} end)
    end
    local state = { gradients = { bk.tensor { 1e160, 0 }, bk.tensor { 1, 1 } }, n_tasks = 2, reduction_scale = 1,
        shared = {}, step = 4 }
    fails("bk.intervention.mgda: step 4: the square of task 1's gradient is inf: expected a finite number",
        bk.intervention.mgda {}.before_step, state, {})
end

-- nn_test.lua - models: the layout of theta, outputs against the same thing written with tensors, initial values,
-- losses, and the errors that wrong shapes and class ids raise.
local bk = require "bracket"
local lu = require "luaunit"
local required = dofile "tests/lua/required.lua"

local function worst(a, b) return (a - b):reshape { -1 }:norm():item() end

TestModel = {}

function TestModel.test_theta_is_layer_after_layer_weight_then_bias()
    local m = bk.nn.mlp { 3, 5, 2, activation = "relu" }
    lu.assertEquals(m.n_params, 3 * 5 + 5 + 5 * 2 + 2)
    local expected = { { "weight", 0, { 3, 5 } }, { "bias", 15, { 5 } }, { "weight", 20, { 5, 2 } }, { "bias",
        30, { 2 } } }
    lu.assertEquals(#m.layers, 4)
    for i, e in ipairs(expected) do
        local b = m.layers[i]
        lu.assertStrContains(b.name, e[1])
        lu.assertEquals({ b.offset, b.first, b.shape }, { e[2], e[2] + 1, e[3] })
    end
    local theta, x = m:init { seed = 3 }, bk.rng(1):normal { 4, 3 }
    local function block(i) return theta:narrow(1, m.layers[i].first, m.layers[i].size):reshape(m.layers[i].shape) end
    local hidden = (x:matmul(block(1)) + block(2)):relu()
    lu.assertTrue(worst(m:forward(theta, x), hidden:matmul(block(3)) + block(4)) < 1e-14)
end

function TestModel.test_every_activation_and_its_derivatives()
    local rng = bk.rng(5)
    local x, y = rng:normal { 4, 3 }, rng:normal { 4, 2 }
    local names = bk.internal.options[bk.nn.mlp][1].wanted:match('one of ([%a%d_", ]+)')
    local n = 0
    for name in names:gmatch("[%a%d_]+") do
        n = n + 1
        local m = bk.nn.mlp { 3, 4, 2, activation = name }
        lu.assertTrue(bk.check_grad(bk.loss.mse(m, x, y), m:init { seed = 2 }) < 1e-5, name)
        local theta = m:init { seed = 2, dtype = "float32" }
        local wide = m:forward(theta:to("float64"), x:to("float32"):to("float64"))
        lu.assertTrue(worst(m:forward(theta, x:to("float32")):to("float64"), wide) < 1e-5, name)
        lu.assertErrorMsgContains("bk.nn." .. name .. ": unknown option", bk.nn[name], { nosuch = 1 })
    end
    lu.assertTrue(n >= 6)
end

-- Every loss there is: its derivatives, its data inside or outside, float32, options, what it refuses, and outputs
-- whose probabilities are 0 or 1 as numbers go.
for name, loss in pairs(bk.loss) do
    TestModel["test_loss_" .. name] = function()
        local rng, m = bk.rng(5), bk.nn.mlp { 3, 4, 3 }
        local x, theta = rng:normal { 5, 3 }, m:init { seed = 2 }
        local y = loss.class_ids and bk.tensor({ 0, 1, 2, 1, 0 }, { dtype = "int64" }) or rng:uniform { 5, 3 }
        local inside, outside = loss(m, x, y), loss(m)
        lu.assertTrue(bk.check_grad(inside, theta) < 1e-5)
        lu.assertEquals(inside(theta):item(), outside(theta, x, y):item())
        local twice = loss(m, bk.concat{ x, x }, bk.concat{ y, y }) -- a mean over the examples
        lu.assertAlmostEquals(twice(theta):item(), inside(theta):item(), 1e-13, "of every example twice")
        lu.assertEquals(loss {} (m, x, y)(theta):item(), inside(theta):item())
        lu.assertAlmostEquals(inside(theta:to("float32")):item(), inside(theta):item(), 1e-5)
        lu.assertErrorMsgContains("bk.loss." .. name .. ": y: expected", loss, m, x, y:narrow(1, 1, 4))
        lu.assertErrorMsgContains("unknown option", loss, { nosuch = 1 })
        lu.assertErrorMsgContains("bk.loss." .. name .. ": model", loss, 3)
        local accuracy = loss:accuracy(m)
        if accuracy then
            local share = accuracy(theta, x, y):item()
            lu.assertTrue(share >= 0 and share <= 1)
        end
        local one = bk.nn.sequential { bk.nn.linear { 1, 3, bias = false } }
        for _, dtype in ipairs { "float64", "float32" } do
            local f, ones = loss(one, bk.ones({ 5, 1 }, { dtype = dtype }), y), bk.ones({ 3 }, { dtype = dtype })
            for _, far in ipairs { -1e4, -200, 200, 1e4 } do
                local at = bk.tensor({ far, 0, -far }, { dtype = dtype })
                local size = f(at):item() + bk.grad(f)(at):norm():item() + bk.hvp(f)(at, ones):norm():item()
                lu.assertTrue(size - size == 0, ("outputs %g, 0, %g, %s: value, gradient or second derivatives are "
                    .. "not finite"):format(far, -far, dtype))
            end
        end
    end
end

-- The formulas by plain Lua, on two outputs and three examples.
function TestModel.test_losses_by_their_formulas()
    local m = bk.nn.sequential { bk.nn.identity() }
    local z = { { 1.5, -0.5 }, { -2, 0.25 }, { 0.1, 0.3 } }
    local t = { { 0.5, 1 }, { 0, 0.5 }, { 1, 0 } }
    local c = { 0, 0, 1 }
    local function mean(f)
        local sum = 0
        for i = 1, 3 do for j = 1, 2 do sum = sum + f(z[i][j], t[i][j]) / 6 end end
        return sum
    end
    local function lse(a, b) return math.log(math.exp(a) + math.exp(b)) end
    local function by_class(f)
        local sum = 0
        for i = 1, 3 do sum = sum + f(z[i][c[i] + 1], z[i][2 - c[i]]) / 3 end
        return sum
    end
    local function kl(T)
        local sum = 0
        for i = 1, 3 do
            for j = 1, 2 do
                local q = z[i][j] / T - lse(z[i][1] / T, z[i][2] / T)
                local p = t[i][j] / T - lse(t[i][1] / T, t[i][2] / T)
                sum = sum + T * T * math.exp(p) * (p - q) / 3
            end
        end
        return sum
    end
    local expected = {
        { bk.loss.mse, mean(function(a, b) return (a - b) ^ 2 end) },
        { bk.loss.l1, mean(function(a, b) return math.abs(a - b) end) },
        { bk.loss.huber { delta = 0.75 }, mean(function(a, b)
            local d = math.abs(a - b)
            return d <= 0.75 and d * d / 2 or 0.75 * (d - 0.375)
        end) },
        { bk.loss.binary_cross_entropy, mean(function(a, b)
            local s = 1 / (1 + math.exp(-a))
            return -b * math.log(s) - (1 - b) * math.log(1 - s)
        end) },
        { bk.loss.cross_entropy, by_class(function(a, b) return lse(a, b) - a end) },
        { bk.loss.cross_entropy { label_smoothing = 0.2 },
            by_class(function(a, b) return lse(a, b) - 0.9 * a - 0.1 * b end) },
        { bk.loss.hinge { margin = 0.5 }, by_class(function(a, b) return math.max(0, 0.5 - a + b) / 2 end) },
        { bk.loss.kl_divergence, kl(1) },
        { bk.loss.kl_divergence { temperature = 3 }, kl(3) },
    }
    local theta = bk.zeros { 0 }
    for _, e in ipairs(expected) do
        local y = e[1].class_ids and bk.tensor(c, { dtype = "int64" }) or bk.tensor(t)
        lu.assertAlmostEquals(e[1](m)(theta, bk.tensor(z), y):item(), e[2], 1e-14, tostring(e[1]))
    end
end

function TestModel.test_every_option_of_every_layer_is_checked()
    local seen = 0
    for name, make in pairs(bk.nn) do
        local required, list = {}, bk.internal.options[make] or {}
        for _, o in ipairs(list) do
            if o.required then required[o.name] = 2 end
        end
        for _, o in ipairs(list) do
            if o.wanted:find("^a whole number") then
                seen = seen + 1
                local given = { [o.name] = 1.5 }
                for other, value in pairs(required) do given[other] = given[other] or value end
                lu.assertErrorMsgContains(("bk.nn.%s: %s: expected a whole number"):format(name, o.name), make, given)
            end
        end
    end
    lu.assertTrue(seen >= 12)
    lu.assertErrorMsgContains("bk.nn.linear: in: given twice", bk.nn.linear, { 2, 3, ["in"] = 2 })
    lu.assertErrorMsgContains("bk.nn.linear: bias: expected true or false, got 1", bk.nn.linear, { 2, 3, bias = 1 })
end

function TestModel.test_images_through_convolution_and_pooling()
    local rng = bk.rng(6)
    local x, y = rng:normal { 2, 1, 8, 8 }, bk.tensor({ 0, 2 }, { dtype = "int64" })
    for _, pool in ipairs { "avgpool2d", "maxpool2d" } do
        local m = bk.nn.sequential { bk.nn.conv2d { 1, 2, kernel = 3, padding = 1, stride = 1 }, bk.nn.tanh(),
            bk.nn[pool] { 2 }, bk.nn.conv2d { 2, 3, kernel = 2, stride = 2 }, bk.nn.flatten(), bk.nn.linear { 12, 3 } }
        lu.assertEquals(m.n_params, 2 * 9 + 2 + 3 * 2 * 4 + 3 + 12 * 3 + 3)
        lu.assertEquals(m:forward(m:init(), x):shape(), { 2, 3 })
        lu.assertTrue(bk.check_grad(bk.loss.cross_entropy(m, x, y), m:init { seed = 1 }) < 1e-5, pool)
    end
    -- one weight of 1 in the middle of a padded 3x3 kernel copies the image
    local copy = bk.nn.sequential { bk.nn.conv2d { 1, 1, kernel = 3, padding = 1 } }
    local theta = bk.tensor { 0, 0, 0, 0, 1, 0, 0, 0, 0, 0.5 }
    lu.assertTrue(worst(copy:forward(theta, x), x + 0.5) < 1e-15)
end

function TestModel.test_layer_norm_and_embedding()
    local m = bk.nn.sequential { bk.nn.embedding { 5, 4 }, bk.nn.layer_norm { 4 }, bk.nn.linear { 4, 2, bias = false } }
    lu.assertEquals(m.n_params, 20 + 8 + 8)
    local theta = m:init { seed = 1 }
    lu.assertEquals(theta:narrow(1, 21, 8):totable(), { 1, 1, 1, 1, 0, 0, 0, 0 })
    local x = bk.tensor({ 4, 0, 4 }, { dtype = "int64" })
    lu.assertEquals(m:forward(theta, x):shape(), { 3, 2 })
    local row, w = theta:narrow(1, 17, 4), theta:narrow(1, 29, 8):reshape { 4, 2 }
    local d = row - row:mean()
    local unit = d / ((d * d):mean() + 1e-5) ^ 0.5
    lu.assertTrue(worst(m:forward(theta, x)[1], unit:reshape { 1, 4 }:matmul(w):reshape { 2 }) < 1e-13)
    local loss = bk.loss.cross_entropy(m, x, bk.tensor({ 0, 1, 1 }, { dtype = "int64" }))
    lu.assertTrue(bk.check_grad(loss, theta) < 1e-5)
    lu.assertErrorMsgContains("int64 indices", m.forward, m, theta, bk.zeros { 3, 4 })
end

function TestModel.test_forward_inside_a_traced_function()
    local m = bk.nn.mlp { 2, 3, 1 }
    local theta, x = m:init { seed = 1 }, bk.rng(2):normal { 5, 2 }
    local f = function(t)
        local z = m:forward(t, x)
        return (z * z):mean()
    end
    local L = bk.loss.mse(m, x, bk.zeros { 5, 1 })
    lu.assertTrue(worst(bk.grad(f)(theta), bk.grad(L)(theta)) < 1e-15)
end

function TestModel.test_wrong_models_are_refused()
    lu.assertErrorMsgContains("at least two sizes", bk.nn.mlp, { 3 })
    lu.assertErrorMsgContains("activation", bk.nn.mlp, { 3, 2, activation = "nosuch" })
    lu.assertErrorMsgContains("unknown option act", bk.nn.mlp, { 3, 2, act = "tanh" })
    lu.assertErrorMsgContains("bk.nn.linear: in: expected a whole number >= 1, got 0", bk.nn.linear, { 0, 2 })
    lu.assertErrorMsgContains("kernel", bk.nn.conv2d, { 1, 2 })
    lu.assertErrorMsgContains("expected 2 values", bk.nn.linear, { 1, 2, 3 })
    lu.assertErrorMsgContains("is () missing", bk.nn.sequential, { bk.nn.linear { 1, 2 }, bk.nn.tanh })
    lu.assertErrorMsgContains("at least one layer", bk.nn.sequential, {})
    lu.assertErrorMsgContains("no field", function() return bk.nn.mlp { 3, 2 }.weights end)
    lu.assertErrorMsgContains("bk.nn.sequential: layer 3 (linear): expected an input of (batch, 5), got (..., 4)",
        bk.nn.sequential, { bk.nn.linear { 3, 4 }, bk.nn.tanh(), bk.nn.linear { 5, 2 } })
    local less = bk.nn.layer { forward = function(_, x) return x:narrow(2, 1, 3) end }
    local m = bk.nn.sequential { bk.nn.linear { 3, 4 }, less, bk.nn.linear { 4, 2 } }
    lu.assertErrorMsgContains("layer 3 (linear): expected an input of (batch, 4), got (7,3)", m.forward, m, m:init(),
        bk.zeros { 7, 3 })
    lu.assertErrorMsgContains("theta: expected (26)", m.forward, m, bk.zeros { 3 }, bk.zeros { 7, 3 })
    local c = bk.nn.sequential { bk.nn.conv2d { 1, 2, kernel = 5 } }
    lu.assertErrorMsgContains("expected (batch, 1, height >= 5, width >= 5), got (2,1,4,9)", c.forward, c, c:init(),
        bk.zeros { 2, 1, 4, 9 })
end

TestInit = {}

function TestInit.test_the_same_seed_gives_the_same_theta()
    local m = bk.nn.mlp { 30, 20, 5 }
    lu.assertEquals(worst(m:init { seed = 4 }, m:init { seed = 4 }), 0)
    lu.assertTrue(worst(m:init { seed = 4 }, m:init { seed = 5 }) > 0.1)
    local single = m:init { seed = 4, dtype = "float32" }
    lu.assertEquals(single:dtype(), "float32")
    lu.assertTrue(worst(single:to "float64", m:init { seed = 4 }) < 1e-5)
end

function TestInit.test_schemes_have_their_variances()
    local m = bk.nn.sequential { bk.nn.linear { 200, 100 } }
    local variance = { glorot = 2 / 300, he = 2 / 200, lecun = 1 / 200, orthogonal = 1 / 200 }
    for scheme, v in pairs(variance) do
        local theta = m:init { seed = 1, scheme = scheme }
        local w = theta:narrow(1, 1, 20000)
        lu.assertAlmostEquals((w * w):mean():item() / v, 1, 0.05)
        lu.assertTrue(math.abs(w:mean():item()) < 4 * (v / 20000) ^ 0.5)
        lu.assertEquals(theta:narrow(1, 20001, 100):norm():item(), 0)
        lu.assertTrue(worst(m:init { seed = 1, scheme = scheme, scale = 3 }, theta * 3) < 1e-12)
    end
    lu.assertErrorMsgContains("scheme", m.init, m, { scheme = "xavier" })
    lu.assertErrorMsgContains("unknown option", m.init, m, { sed = 1 })
end

function TestInit.test_orthogonal_is_orthonormal_on_the_short_side()
    for _, s in ipairs { { 6, 4 }, { 4, 6 } } do
        local w = bk.nn.sequential { bk.nn.linear { s[1], s[2], bias = false } }:init { scheme = "orthogonal" }
            :reshape { s[1], s[2] }
        local p = s[1] > s[2] and w:transpose():matmul(w) or w:matmul(w:transpose())
        lu.assertTrue(worst(p, bk.eye(4)) < 1e-14)
    end
end

TestLoss = {}

function TestLoss.test_mse_and_cross_entropy_are_their_formulas()
    local m = bk.nn.mlp { 3, 4, 3 }
    local rng = bk.rng(1)
    local theta, x, y = m:init { seed = 1 }, rng:normal { 5, 3 }, rng:normal { 5, 3 }
    local z = m:forward(theta, x)
    lu.assertAlmostEquals(bk.loss.mse(m, x, y)(theta):item(), ((z - y) * (z - y)):mean():item(), 1e-14)
    local ids, sum = { 0, 2, 1, 1, 0 }, 0
    for i, row in ipairs(z:totable()) do
        local total = 0
        for _, v in ipairs(row) do total = total + math.exp(v) end
        sum = sum + math.log(total) - row[ids[i] + 1]
    end
    local yi = bk.tensor(ids, { dtype = "int64" })
    lu.assertAlmostEquals(bk.loss.cross_entropy(m, x, yi)(theta):item(), sum / 5, 1e-14)
    lu.assertAlmostEquals(bk.loss.cross_entropy(m, x, bk.tensor(ids))(theta):item(), sum / 5, 1e-14)
    local hits = 0
    for i, row in ipairs(z:totable()) do
        local best = row[1] >= row[2] and (row[1] >= row[3] and 0 or 2) or (row[2] >= row[3] and 1 or 2)
        if best == ids[i] then hits = hits + 1 end
    end
    lu.assertEquals(m:accuracy(theta, x, yi), hits / 5)
    lu.assertErrorMsgContains("scale: expected a finite number", m.init, m, { scale = 0 / 0 })
    lu.assertEquals(m:accuracy(theta:to("float32"), x, yi), hits / 5) -- counted, not rounded to float32
end

function TestLoss.test_without_data_it_is_a_function_of_theta_x_y()
    local m = bk.nn.mlp { 3, 4, 2 }
    local rng = bk.rng(1)
    local theta, x, y = m:init { seed = 1 }, rng:normal { 5, 3 }, rng:normal { 5, 2 }
    local f, L = bk.loss.mse(m), bk.loss.mse(m, x, y)
    lu.assertEquals(f(theta, x, y):item(), L(theta):item())
    lu.assertTrue(worst(bk.grad(f)(theta, x, y), bk.grad(L)(theta)) < 1e-16)
    lu.assertErrorMsgContains("(theta, x, y)", f, theta)
    lu.assertErrorMsgContains("both x and y", bk.loss.mse, m, x)
end

function TestLoss.test_float32_theta_computes_in_float32()
    local m = bk.nn.mlp { 3, 4, 2 }
    local rng = bk.rng(1)
    local x, y = rng:normal { 5, 3 }, rng:normal { 5, 2 }
    local L = bk.loss.mse(m, x, y)
    local single = L(m:init { seed = 1, dtype = "float32" })
    lu.assertEquals(single:dtype(), "float32")
    lu.assertAlmostEquals(single:item(), L(m:init { seed = 1 }):item(), 1e-5)
    lu.assertEquals(bk.grad(L)(m:init { seed = 1, dtype = "float32" }):dtype(), "float32")
end

function TestLoss.test_wrong_data_is_refused_where_it_is_given()
    local m = bk.nn.mlp { 784, 10 }
    local ids = function(t) return bk.tensor(t, { dtype = "int64" }) end
    lu.assertErrorMsgContains("cross_entropy: x: expected (batch, 784), got (2,780)", bk.loss.cross_entropy, m,
        bk.zeros { 2, 780 }, ids { 1, 2 })
    lu.assertErrorMsgContains("cross_entropy: y[2]: expected a class id in 0..9, got 10", bk.loss.cross_entropy, m,
        bk.zeros { 2, 784 }, ids { 1, 10 })
    lu.assertErrorMsgContains("y[1]: expected a class id in 0..9, got 0.5", bk.loss.cross_entropy, m,
        bk.zeros { 2, 784 },
        bk.tensor { 0.5, 1 })
    lu.assertErrorMsgContains("cross_entropy: y: expected (2) class ids, got (3)", bk.loss.cross_entropy, m,
        bk.zeros { 2, 784 }, ids { 1, 2, 3 })
    lu.assertErrorMsgContains("mse: y: expected (2,10), got (2,9)", bk.loss.mse, m, bk.zeros { 2, 784 },
        bk.zeros { 2, 9 })
    lu.assertErrorMsgContains("model: expected a model", bk.loss.mse, 3)
    lu.assertErrorMsgContains("theta: expected (7850)", bk.loss.mse(m, bk.zeros { 2, 784 }, bk.zeros { 2,
        10 }), bk.zeros { 3 })
end

function TestModel.test_a_parameter_starts_as_the_number_it_is_given()
    local layer = bk.nn.layer{ name = "prelu", params = { { "slope", shape = { 3 }, init = 0.25 } },
        forward = function(p, x) return bk.where(x:gt(0), x, x * p.slope) end }
    local model = bk.nn.sequential{ bk.nn.linear{ 2, 3 }, layer }
    lu.assertEquals(model:init{ seed = 1, scale = 3 }:narrow(1, 10, 3):totable(), { 0.25, 0.25, 0.25 })
    for text, init in pairs{ ["params: init: expected a finite number, \"weight\""] = 0 / 0, ["got true"] = true,
        ["(did you mean ones?)"] = "one" } do
        lu.assertErrorMsgContains(text, bk.nn.layer, { params = { { "w", shape = { 3 }, init = init } },
            forward = function(_, x) return x end })
    end
end

-- ---- what a layer says of shapes: the input that it takes, in words too, and the result ----

TestShapes = {}

-- name -> a function that makes it, of whatever there is that makes a layer.
local function layers()
    local list = {}
    for name, make in pairs(bk.nn) do
        local options = required(make, 4, { heads = 2, kernel = 2 })
        local made, layer = pcall(make, options)
        if made then
            local fits, why = pcall(bk.nn.sequential, { layer })
            lu.assertTrue(fits, fits or ("bk.nn.%s: x of no known size is to be accepted: %s"):format(name, why))
            list[name] = function() return make(options) end
        end
    end
    return list
end

-- visit(x) with every shape of up to four dimensions, 2 first, of these sizes; ids are below 4.
local function inputs(ids, visit)
    local function go(shape)
        visit(ids and bk.rng(1):integers(shape, 4) or bk.rng(1):uniform(shape))
        for _, size in ipairs(#shape < 4 and { 1, 3, 4 } or {}) do
            local longer = table.move(shape, 1, #shape, 1, {})
            longer[#longer + 1] = size
            go(longer)
        end
    end
    go{ 2 }
end

-- "(batch, 4, height >= 2, ...)" as sizes, what is free 3; nil where it is no such list.
local function sizes_of(words)
    local shape = {}
    for part in (words:match("^%((.*)%)$") or ""):gmatch("[^,]+") do
        if not part:find("...", 1, true) then shape[#shape + 1] = math.tointeger(part:match("%d+")) or 3 end
    end
    return #shape > 0 and shape or nil
end

-- What takes this shape alone, of any batch.
local function taker(shape)
    return bk.nn.layer{ input = table.move(shape, 2, #shape, 2, { "batch" }), forward = function(_, x) return x end }
end

local function tries_a_layer(name, make)
    local model = bk.nn.sequential{ make() }
    local theta, expects, taken = model:init{ seed = 1 }, nil, 0
    local function forward(x) return pcall(function() return model:forward(theta, x) end) end
    local floats, message = forward(bk.ones{ 2, 4 })
    local ids = not floats and message:find("int64", 1, true) ~= nil
    inputs(ids, function(x)
        local shape = x:shape()
        local label = ("bk.nn.%s of (%s): "):format(name, table.concat(shape, ","))
        local sizes = table.move(shape, 2, #shape, 1, {})
        local function made(list)
            list.input = #sizes > 0 and list.input or nil
            return pcall(bk.nn.sequential, list)
        end
        local ok, y = forward(x)
        if not ok then
            expects = y:match("model:forward: x: expected (.-), got ")
            lu.assertNotNil(expects, label .. "accepted, but not built: " .. y)
            lu.assertFalse(#sizes > 0 and made{ make(), input = sizes }, label .. "refused, but not as a model is made")
            return
        end
        taken = taken + 1
        local result = y:shape()
        local function agrees(list)
            local fits, why = made(list)
            lu.assertTrue(fits, fits or ("%smakes (%s): %s"):format(label, table.concat(result, ","), why))
        end
        agrees{ make(), taker(result) }
        agrees{ make(), taker(result), input = sizes }
        if not ids and #sizes > 0 then
            local last = sizes[#sizes]
            agrees{ bk.nn.linear{ last, last }, make(), taker(result) }
            agrees{ bk.nn.linear{ last, last }, make(), taker(result), input = sizes }
        end
        result[1] = 2 * result[1] -- examples do not know of one another's number
        lu.assertEquals(model:forward(theta, bk.concat{ x, x }):shape(), result, label)
    end)
    lu.assertTrue(taken > 0, name .. ": no input is taken")
    local words = expects and sizes_of(expects)
    if words then
        local ok, why = forward(bk.ones(words))
        lu.assertTrue(ok, ok or ("bk.nn.%s expects %s, and refuses it: %s"):format(name, expects, why))
    end
    return words
end

function TestShapes.test_every_layer_takes_and_makes_the_shapes_that_it_says()
    local n, words = 0, 0
    for name, make in pairs(layers()) do
        n = n + 1
        words = words + (tries_a_layer(name, make) and 1 or 0)
    end
    lu.assertTrue(n > 15 and words >= 5, n .. " " .. words)
end

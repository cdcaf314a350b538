-- sequence_test.lua - layers made of Lua functions: bk.nn.layer itself, recurrent layers against their cells and
-- against plain Lua numbers, attention against loops, transformer blocks; derivatives to third order, brackets, vmap,
-- odd sizes; protocols whose labels stand at every time.
local bk = require "bracket"
local lu = require "luaunit"

local function worst(a, b)
    lu.assertEquals(a:shape(), b:shape())
    return (a - b):abs():max():item()
end
local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end
local function blocks(model, theta)
    local p = {}
    for _, b in ipairs(model.layers) do p[b.name:match("[^.]+$")] = theta:narrow(1, b.first,
        b.size):reshape(b.shape) end
    return p
end
local function slope(f, h) -- df(s)/ds at 0, to h^4
    local function d(e) return (f(e) - f(-e)) / (2 * e) end
    return d(h / 2) * (4 / 3) - d(h) * (1 / 3)
end

TestLayer = {}

function TestLayer.test_a_layer_of_ones_own()
    local layer = bk.nn.layer{ name = "gated", input = { "batch", 3 },
        params = { { "weight", shape = { 3, 3 } }, { "gate", shape = { 3 }, init = "ones" },
            { "table", shape = { 2, 3 }, init = "normal" } },
        forward = function(p, x) return x + (x:matmul(p.weight) * p.gate):tanh() + p.table[1] end }
    lu.assertEquals(tostring(layer), "gated()")
    local model = bk.nn.sequential{ bk.nn.linear{ 2, 3 }, layer, bk.nn.linear{ 3, 1 } }
    lu.assertEquals(model.n_params, 9 + 9 + 3 + 6 + 4)
    local names = {}
    for i, b in ipairs(model.layers) do names[i] = b.name end
    lu.assertEquals(names, { "1.linear.weight", "1.linear.bias", "2.gated.weight", "2.gated.gate", "2.gated.table",
        "3.linear.weight", "3.linear.bias" })
    local theta = model:init{ seed = 1 }
    lu.assertEquals(theta:narrow(1, 19, 3):totable(), { 1, 1, 1 })
    lu.assertTrue(theta:narrow(1, 22, 6):abs():min():item() > 0)
    local r = bk.rng(2)
    local x, y = r:normal{ 4, 2 }, r:normal{ 4, 1 }
    local p = blocks(model, theta)
    local h = x:matmul(theta:narrow(1, 1, 6):reshape{ 2, 3 })
    local expected = h + (h:matmul(theta:narrow(1, 10, 9):reshape{ 3, 3 }) * p.gate):tanh() + p.table[1]
    expected = expected:matmul(theta:narrow(1, 28, 3):reshape{ 3, 1 })
    lu.assertTrue(worst(model:forward(theta, x), expected) < 1e-14)
    lu.assertTrue(bk.check_grad(bk.loss.mse(model, x, y), theta) < 1e-7)
    lu.assertEquals(model:forward(model:init{ dtype = "float32" }, x):dtype(), "float32")
end

function TestLayer.test_what_is_wrong_is_named()
    local function f(_, x) return x end
    fails("bk.nn.layer: forward: expected a function (params, x) -> y, got nil", bk.nn.layer, { name = "x" })
    fails('bk.nn.layer: params: "w" stands there twice', bk.nn.layer,
        { forward = f, params = { { "w", shape = { 1 } }, { "v", shape = { 1 } }, { "w", shape = { 1 } } } })
    fails("bk.nn.layer: params: shape: expected", bk.nn.layer, { forward = f, params = { { "w" } } })
    fails("bk.nn.layer: params: name: expected a name", bk.nn.layer, { forward = f, params = { { shape = { 1 } } } })
    fails("init", bk.nn.layer, { forward = f, params = { { "w", shape = { 1 }, init = "random" } } })
    fails("unknown option", bk.nn.layer, { forward = f, inputs = {} })
    local model = bk.nn.sequential{ bk.nn.layer{ name = "own", forward = f, input = { "batch", "time", 3 } } }
    fails("model:forward: x: expected (batch, time, 3), got (2,3)", model.forward, model, bk.zeros{ 0 },
        bk.ones{ 2, 3 })
    model = bk.nn.sequential{ bk.nn.tanh(), bk.nn.layer{ name = "own", forward = f, input = { "batch", 4 } } }
    fails("layer 2 (own): expected an input of (batch, 4), got (2,3)", model.forward, model, bk.zeros{ 0 },
        bk.ones{ 2, 3 })
    model = bk.nn.sequential{ bk.nn.layer{ forward = function() return 3 end } }
    fails("bk.nn.layer: forward's result: expected a tensor, got 3", model.forward, model, bk.zeros{ 0 }, bk.ones{ 2 })
    model = bk.nn.sequential{ bk.nn.layer{ forward = function() error("mine") end } }
    fails("sequence_test.lua", model.forward, model, bk.zeros{ 0 }, bk.ones{ 2 })
end

function TestLayer.test_functions_live_as_long_as_models_and_losses_and_no_longer()
    local function make(mark)
        local layer = bk.nn.layer{ params = { { "w", shape = { 1 }, init = "ones" } }, forward = function(p, x)
            return (mark and x or nil) * p.w
        end }
        return bk.loss.mse(bk.nn.sequential{ layer }, bk.ones{ 2 }, bk.zeros{ 2 })
    end
    local loss = make{}
    collectgarbage()
    collectgarbage()
    lu.assertEquals(bk.grad(loss)(bk.tensor{ 3 }):totable(), { 6 }) -- the layer and the model are gone as Lua values
    local gone, count = setmetatable({}, { __mode = "k" }), 0
    for _ = 1, 20 do
        local mark = {}
        gone[mark] = true
        local model
        model = bk.nn.sequential{ bk.nn.layer{ forward = function(_, x) return mark and model and x end } } -- a cycle
        model:forward(bk.zeros{ 0 }, bk.ones{ 2 })
    end
    collectgarbage()
    collectgarbage()
    collectgarbage()
    for _ in pairs(gone) do count = count + 1 end
    lu.assertTrue(count <= 1, count .. " of 20 alive")
end

-- Loss of a model on sequences: derivatives of orders 1 to 3, brackets, vmap over examples.
local function check_model(model, x, y, name)
    local theta = model:init{ seed = 4 }
    local L = bk.loss.mse(model, x, y)
    local function M(t) return bk.loss.mse(model)(t, x * 0.7 + 0.1, y) end
    local off = bk.check_grad(L, theta)
    lu.assertTrue(off < 1e-7, name .. ": check_grad " .. off)
    local r = bk.rng(7)
    local u, v = r:normal{ model.n_params }, r:normal{ model.n_params }
    local _, third = bk.jvp(function(t) return bk.hvp(L)(t, v) end, { theta }, { u })
    local measured = slope(function(s) return bk.hvp(L)(theta + s * u, v) end, 1e-3)
    lu.assertTrue(worst(third, measured) < 1e-6 * (1 + measured:abs():max():item()), name .. ": third derivative")
    local g, h = bk.grad(L)(theta), bk.grad(M)(theta)
    local bracket = slope(function(s) return bk.grad(M)(theta + s * g) - bk.grad(L)(theta + s * h) end, 1e-3)
    lu.assertTrue(worst(bk.lie(L, M)(theta), bracket) < 1e-7 * (1 + bracket:abs():max():item()), name .. ": bracket")
    -- one example at a time
    local n = x:size(1)
    local shape, ys = x:shape(), y:shape()
    table.insert(shape, 2, 1)
    table.insert(ys, 2, 1)
    local each = bk.vmap(bk.grad(bk.loss.mse(model)), { in_axes = { false, 1, 1 } })(theta, x:reshape(shape),
        y:reshape(ys))
    for i = 1, n do
        lu.assertTrue(worst(each[i], bk.grad(bk.loss.mse(model))(theta, x:narrow(1, i, 1), y:narrow(1, i, 1))) < 1e-12,
            name)
    end
    lu.assertTrue(worst(each:mean(1), g) < 1e-12, name .. ": mean of the examples")
    local several = bk.hvp(L)(theta, bk.stack{ u, v })
    lu.assertTrue(worst(several[2], bk.hvp(L)(theta, v)) < 1e-11, name)
    local narrow = bk.grad(bk.loss.mse(model))(theta:to("float32"), x:to("float32"), y:to("float32"))
    lu.assertTrue(worst(narrow:to("float64"), g) < 1e-4 * (1 + g:abs():max():item()), name .. ": float32")
end

TestRecurrent = {}

local function sigmoid(x) return 1 / (1 + math.exp(-x)) end
local function tanh(x) return 2 * sigmoid(2 * x) - 1 end

-- The formulas of the docstrings on plain numbers, one hidden unit.
function TestRecurrent.test_one_unit_by_hand()
    local x = { 0.5, -1.2, 0.8 }
    local W, U, B = { 0.3, -0.4, 0.9, 0.2 }, { 0.7, 0.1, -0.6, 0.5 }, { 0.05, -0.1, 0.2, 0.15 }
    local by_hand = {
        rnn = { 1, function(h, _, s) return tanh(s * W[1] + h * U[1] + B[1]) end },
        gru = { 3, function(h, _, s)
            local r, z = sigmoid(s * W[1] + h * U[1] + B[1]), sigmoid(s * W[2] + h * U[2] + B[2])
            return (1 - z) * tanh(s * W[3] + B[3] + r * (h * U[3] + B[4])) + z * h
        end },
        lstm = { 4, function(h, c, s)
            local a = {}
            for k = 1, 4 do a[k] = s * W[k] + h * U[k] + B[k] end
            c = sigmoid(a[2]) * c + sigmoid(a[1]) * tanh(a[3])
            return sigmoid(a[4]) * tanh(c), c
        end },
    }
    for kind, case in pairs(by_hand) do
        local model, gates = bk.nn.sequential{ bk.nn[kind]{ 1, 1 } }, case[1]
        local theta = {}
        for _, list in ipairs{ W, U, B } do table.move(list, 1, gates, #theta + 1, theta) end
        if kind == "gru" then theta[#theta + 1] = B[4] end
        local y = model:forward(bk.tensor(theta), bk.tensor(x):reshape{ 1, 3, 1 }):totable()
        local h, c = 0, 0
        for t = 1, 3 do
            h, c = case[2](h, c, x[t])
            lu.assertAlmostEquals(y[1][t][1], h, 1e-14, kind)
        end
    end
end

function TestRecurrent.test_layers_are_their_cells_repeated()
    local r = bk.rng(3)
    local x = r:normal{ 2, 4, 3 }
    for _, kind in ipairs{ "rnn", "gru", "lstm" } do
        local model, last = bk.nn.sequential{ bk.nn[kind]{ 3, 5 } },
            bk.nn.sequential{ bk.nn[kind]{ 3, 5, sequence = false } }
        local theta = r:normal({ model.n_params }) * 0.5
        local p, h, c = blocks(model, theta), bk.zeros{ 2, 5 }, bk.zeros{ 2, 5 }
        local y = model:forward(theta, x)
        for t = 1, 4 do
            h, c = bk.nn[kind .. "_cell"](p, x:narrow(2, t, 1):squeeze(2), h, c)
            lu.assertTrue(worst(y:narrow(2, t, 1):squeeze(2), h) < 1e-14, kind)
        end
        lu.assertTrue(worst(last:forward(theta, x), h) < 1e-14, kind)
    end
    local model = bk.nn.sequential{ bk.nn.rnn{ 3, 2, activation = "relu" } }
    lu.assertTrue(model:forward(r:normal{ model.n_params }, x):min():item() == 0)
end

function TestRecurrent.test_derivatives_and_vmap()
    local r = bk.rng(5)
    for _, kind in ipairs{ "rnn", "gru", "lstm" } do
        check_model(bk.nn.sequential{ bk.nn[kind]{ 2, 3, sequence = false }, bk.nn.linear{ 3, 2 } },
            r:normal{ 3, 3, 2 },
            r:normal{ 3, 2 }, kind)
        check_model(bk.nn.sequential{ bk.nn[kind]{ 1, 1 }, bk.nn[kind]{ 1, 2 } }, r:normal{ 1, 1, 1 },
            r:normal{ 1, 1, 2 },
            kind .. " of one unit")
    end
end

-- A long sequence costs its length: the cotangents of its times and gates are laid side by side, not padded and added.
function TestRecurrent.test_the_gradient_of_a_sequence_pads_nothing()
    local r = bk.rng(8)
    for _, kind in ipairs{ "rnn", "gru", "lstm" } do
        local model = bk.nn.sequential{ bk.nn.linear{ 2, 2 }, bk.nn[kind]{ 2, 3, sequence = false },
            bk.nn.linear{ 3, 1 } }
        local g = bk.grad(bk.loss.mse(model, r:normal{ 4, 9, 2 }, r:normal{ 4, 1 }))
        lu.assertNil(g:describe(model:init{ seed = 1 }):match("\n +%d+  pad [^\n]*"), kind)
    end
end

function TestRecurrent.test_what_is_wrong_is_named()
    fails("bk.nn.gru: hidden: missing; expected a whole number >= 1", bk.nn.gru, { 3 })
    fails("bk.nn.lstm: expected 2 values without a name, got more", bk.nn.lstm, { 3, 4, 5 })
    fails("unknown option", bk.nn.gru, { 3, 4, activation = "relu" })
    fails("activation: expected \"tanh\" or \"relu\"", bk.nn.rnn, { 3, 4, activation = "gelu" })
    local model = bk.nn.sequential{ bk.nn.gru{ 3, 4 } }
    local theta = model:init()
    fails("model:forward: x: expected (batch, time, 3), got (2,5,4)", model.forward, model, theta, bk.ones{ 2, 5, 4 })
    fails("bk.nn.gru: x: expected at least one time, got (2,0,3)", model.forward, model, theta, bk.zeros{ 2, 0, 3 })
    fails("bk.nn.lstm_cell: c: expected a tensor of 2 dimensions, got nil", bk.nn.lstm_cell, { weight = bk.ones{ 1, 4 },
        recurrent = bk.ones{ 1, 4 }, bias = bk.ones{ 4 } }, bk.ones{ 1, 1 }, bk.ones{ 1, 1 })
    fails("bk.nn.gru_cell: p.bias: expected a tensor of 1 dimension, got nil", bk.nn.gru_cell,
        { weight = bk.ones{ 1, 3 },
        recurrent = bk.ones{ 1, 3 } }, bk.ones{ 1, 1 }, bk.ones{ 1, 1 })
end

TestAttention = {}

-- One row of one head at a time.
local function by_loops(q, k, v, causal)
    local m, n, d = q:size(1), k:size(1), q:size(2)
    local rows = {}
    for i = 1, m do
        local weights, sum = {}, 0
        for j = 1, causal and math.min(i, n) or n do
            weights[j] = math.exp(q[i]:dot(k[j]):item() / math.sqrt(d))
            sum = sum + weights[j]
        end
        rows[i] = bk.zeros{ v:size(2) }
        for j, w in ipairs(weights) do rows[i] = rows[i] + v[j] * (w / sum) end
    end
    return bk.stack(rows)
end

function TestAttention.test_dot_product_attention_by_loops()
    local r = bk.rng(1)
    local q, k, v = r:normal{ 2, 3, 4, 5 }, r:normal{ 2, 3, 6, 5 }, r:normal{ 2, 3, 6, 2 }
    for _, causal in ipairs{ false, true } do
        local y = bk.nn.dot_product_attention(q, k, v, { causal = causal })
        for a = 1, 2 do
            for b = 1, 3 do lu.assertTrue(worst(y[a][b], by_loops(q[a][b], k[a][b], v[a][b], causal)) < 1e-14) end
        end
    end
    fails("bk.nn.dot_product_attention: expected q (..., m, d)", bk.nn.dot_product_attention, q, v, v)
    fails("bk.nn.dot_product_attention: k: expected a tensor (..., time, width), got nil", bk.nn.dot_product_attention,
        q)
end

function TestAttention.test_heads_lie_side_by_side()
    local r = bk.rng(2)
    local model, x = bk.nn.sequential{ bk.nn.attention{ 6, heads = 2, causal = true } }, r:normal{ 2, 4, 6 }
    local theta = r:normal({ model.n_params }) * 0.5
    local p, y = blocks(model, theta), model:forward(theta, x)
    for i = 1, 2 do
        local all, heads = x[i]:matmul(p.qkv) + p.qkv_bias, {}
        for h = 1, 2 do
            local function part(k) return all:narrow(2, (k - 1) * 6 + (h - 1) * 3 + 1, 3) end
            heads[h] = by_loops(part(1), part(2), part(3), true)
        end
        lu.assertTrue(worst(y[i], bk.concat(heads, 2):matmul(p.out) + p.out_bias) < 1e-13)
    end
    -- causal: nothing later is seen
    local later = bk.concat({ x:narrow(2, 1, 2), x:narrow(2, 3, 2) * 5 + 1 }, 2)
    lu.assertTrue(worst(model:forward(theta, later):narrow(2, 1, 2), y:narrow(2, 1, 2)) == 0)
    lu.assertTrue(worst(model:forward(theta, later):narrow(2, 3, 2), y:narrow(2, 3, 2)) > 0.1)
end

-- Products that read heads where they lie, and write and add there, against each head by itself.
function TestAttention.test_heads_in_place_are_heads_by_themselves()
    local batch, r = 3, bk.rng(11)
    for _, case in ipairs{ { 5, 2, 3, false }, { 5, 2, 3, true }, { 37, 3, 4, true }, { 20, 1, 6, false },
        { 1, 2, 2, true }, { 18, 4, 1, false } } do
        local time, heads, size, causal = table.unpack(case)
        local width = heads * size
        local x, m = r:normal{ batch, time, 3 * width }, r:normal{ batch, time, width }
        local function together(t)
            local p = t:reshape{ batch, time, 3, heads, size }:permute{ 3, 1, 4, 2, 5 }
            local y = bk.nn.dot_product_attention(p[1], p[2], p[3], { causal = causal })
            return (y:permute{ 1, 3, 2, 4 }:reshape{ batch, time, width } * m):tanh():sum()
        end
        local function apart(t)
            local sum = 0
            for b = 1, batch do
                for h = 1, heads do
                    local function part(k) return t[b]:narrow(2, (k * heads + h - 1) * size + 1, size) end
                    local scores = part(0):matmul(part(1):transpose()) * (1 / math.sqrt(size))
                    local y = scores:softmax(2, { causal = causal }):matmul(part(2))
                    sum = sum + (y * m[b]:narrow(2, (h - 1) * size + 1, size)):tanh():sum()
                end
            end
            return sum
        end
        local function flat(f) return function(t) return f(t:reshape{ batch, time, 3 * width }) end end
        local t, v = x:flatten(), r:normal{ x:count() }
        local a, b = flat(together), flat(apart)
        lu.assertAlmostEquals(a(t):item(), b(t):item(), 1e-12)
        lu.assertTrue(worst(bk.grad(a)(t), bk.grad(b)(t)) < 1e-12)
        lu.assertTrue(worst(bk.hvp(a)(t, v), bk.hvp(b)(t, v)) < 1e-11)
        local function product(f) return function(s) return bk.hvp(f)(s, v):dot(v) end end
        lu.assertTrue(worst(bk.grad(product(a))(t), bk.grad(product(b))(t)) < 1e-10)
        if size > 1 and time > 1 then
            lu.assertNil(bk.grad(a):describe(t):find("permute"))
            lu.assertNil(bk.hvp(a):describe(t, v):find("permute"))
        end
    end
end

-- However far what a product reads or makes is from memory of its own, and of however many it is a sum.
function TestAttention.test_long_chains_between_products()
    local r, n = bk.rng(3), 40000
    local a, b = r:normal{ 2, 3, 4 }, r:normal{ 2, 4, 5 }
    local function turned(t, times)
        for _ = 1, times do t = t:permute{ 2, 1, 3 }:reshape{ t:size(1), t:size(2), t:size(3) } end
        return t
    end
    local before = bk.compile(function(t) return turned(t, n):matmul(b) end)
    local after = bk.compile(function(t) return turned(t:matmul(b), n) end)
    local sum = bk.compile(function(t)
        local y = t:matmul(b)
        for i = 1, n do y = y + (t + i):matmul(b) end
        return y
    end)
    lu.assertEquals(worst(before(a), turned(a, n % 4):matmul(b)), 0)
    lu.assertTrue(worst(after(a), turned(a:matmul(b), n % 4)) < 1e-15)
    local all = ((n + 1) * a + n * (n + 1) / 2):matmul(b)
    lu.assertTrue(worst(sum(a), all) < 1e-10 * all:abs():max():item())
end

function TestAttention.test_a_transformer_block_by_its_formula()
    local r = bk.rng(4)
    local model, x = bk.nn.sequential{ bk.nn.transformer{ 4, heads = 2, hidden = 3, activation = "relu" } },
        r:normal{ 2, 3, 4 }
    local theta = r:normal({ model.n_params }) * 0.5
    local p = blocks(model, theta)
    local attention, norm = bk.nn.sequential{ bk.nn.attention{ 4, heads = 2 } },
        bk.nn.sequential{ bk.nn.layer_norm{ 4 } }
    local function join(...)
        local flat = {}
        for i, t in ipairs{ ... } do flat[i] = t:flatten() end
        return bk.concat(flat)
    end
    local z = x + attention:forward(join(p.qkv, p.qkv_bias, p.out, p.out_bias),
        norm:forward(join(p.norm1, p.norm1_bias), x))
    local h = norm:forward(join(p.norm2, p.norm2_bias), z)
    z = z + (h:matmul(p.up) + p.up_bias):relu():matmul(p.down) + p.down_bias
    lu.assertTrue(worst(model:forward(theta, x), z) < 1e-13)
end

function TestAttention.test_derivatives_and_vmap()
    local r = bk.rng(6)
    check_model(bk.nn.sequential{ bk.nn.attention{ 2, heads = 2 }, bk.nn.flatten(), bk.nn.linear{ 6, 1 } },
        r:normal{ 3, 3, 2 },
        r:normal{ 3, 1 }, "attention")
    check_model(bk.nn.sequential{ bk.nn.position_embedding{ 4, 3 }, bk.nn.transformer{ 3, hidden = 2, causal = true } },
        r:normal{ 2, 3, 3 }, r:normal{ 2, 3, 3 }, "transformer")
    check_model(bk.nn.sequential{ bk.nn.transformer{ 1, hidden = 1, activation = "tanh" } }, r:normal{ 1, 1, 1 },
        r:normal{ 1, 1,
        1 }, "transformer of one unit")
end

-- A language model's shape: ids in, classes out.
function TestAttention.test_a_model_of_ids()
    local model = bk.nn.sequential{ bk.nn.embedding{ 7, 4 }, bk.nn.position_embedding{ 5, 4 },
        bk.nn.transformer{ 4, heads = 2 },
        bk.nn.gru{ 4, 3, sequence = false }, bk.nn.linear{ 3, 7 } }
    local x = bk.tensor({ { 1, 2, 3 }, { 6, 0, 6 } }, { dtype = "int64" })
    local L = bk.loss.cross_entropy(model, x, bk.tensor({ 3, 0 }, { dtype = "int64" }))
    local theta = model:init{ seed = 1 }
    lu.assertTrue(bk.check_grad(L, theta) < 1e-7)
    local before, g = L(theta):item(), bk.grad(L)
    for _ = 1, 50 do theta = theta - 0.3 * g(theta) end
    lu.assertTrue(L(theta):item() < 0.2 * before)
end

function TestAttention.test_what_is_wrong_is_named()
    fails("bk.nn.attention: heads: expected a whole number that divides the width 6, got 4", bk.nn.attention,
        { 6, heads = 4 })
    fails("bk.nn.transformer: width: expected a whole number >= 1, got 0", bk.nn.transformer, { 0 })
    fails("bk.nn.transformer: activation: expected", bk.nn.transformer, { 4, activation = "swish" })
    local model = bk.nn.sequential{ bk.nn.position_embedding{ 2, 3 } }
    fails("at most 2 times, got 4", model.forward, model, model:init(), bk.ones{ 1, 4, 3 })
end

-- Class ids at every time: a step, loss and accuracy by the forward pass alone, and with a head per task.
TestSequenceTasks = {}
function TestSequenceTasks:test_labels_at_every_time()
    local gru = bk.nn.sequential{ bk.nn.embedding{ 6, 4 }, bk.nn.gru{ 4, 5 } }
    local r = bk.rng(5)
    local list = {}
    for i = 1, 2 do list[i] = { x = r:integers({ 7, 3 }, 6), y = r:integers({ 7, 3 }, 2) + 2 * (i - 1) } end
    for _, headed in ipairs{ false, true } do
        if headed then
            for i, task in ipairs(list) do task.head = { 2 * (i - 1), 2 * i - 1 } end
        end
        local p = bk.protocol{ model = gru, tasks = list, lr = 0.3, steps = 1, batch = "full", seed = 1,
            order = "cyclic", evaluate = true, record = { every = 1, "loss", "accuracy" } }
        local result = p:run{}
        local theta = gru:init{ seed = 1 }
        local function loss(t)
            local z = gru:forward(t, list[1].x)
            if headed then z = z:narrow(3, 1, 2) end
            return -z:log_softmax():take(list[1].y):sum() / 21
        end
        lu.assertTrue((result.theta - (theta - bk.grad(loss)(theta) * 0.3)):abs():max():item() < 1e-14)
        local z, right = gru:forward(result.theta, list[1].x):totable(), 0
        for i, row in ipairs(list[1].y:totable()) do
            for j, label in ipairs(row) do
                local best = 1
                for c = 2, headed and 2 or 5 do best = z[i][j][c] > z[i][j][best] and c or best end
                right = right + (best - 1 == label and 1 or 0)
            end
        end
        lu.assertAlmostEquals(result.accuracy[1][1], right / 21, 1e-12)
    end
end
-- A share of labels is no share of examples: 7 of 10 over 5 examples of two labels each.
function TestSequenceTasks:test_accuracy_counts_labels()
    local x = bk.linspace(-2, 2, 5):reshape{ 5, 1 }
    local y = bk.tensor{ { 0, 1 }, { 0, 0 }, { 0, 0 }, { 1, 0 }, { 1, 0 } }
    local p = bk.protocol{ model = bk.nn.mlp{ 1, 2 }, tasks = { { x = x, y = y, loss = "binary_cross_entropy" } },
        lr = 0, steps = 1, batch = "full" }
    lu.assertAlmostEquals(p:run{ theta = bk.tensor{ 1, 1, 0, 0 } }.accuracy[0][1], 0.7, 1e-12)
end

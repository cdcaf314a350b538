-- weights_test.lua - state_dict and load_state_dict: what PyTorch documents of its layers, on plain numbers, for
-- weights in its names and layouts; and, where PyTorch is installed, what it computes after training there.
local bk = require "bracket"
local lu = require "luaunit"

local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end

local function worst(a, b) return (a - b):abs():max():item() end
local function sigmoid(t) return 1 / (1 + math.exp(-t)) end

-- y[i] = sum_j W[i][j] x[j] + b[i]: nn.Linear, W (out, in)
local function affine(W, b, x)
    local y = {}
    for i, row in ipairs(W) do
        y[i] = b and b[i] or 0
        for j, w in ipairs(row) do y[i] = y[i] + w * x[j] end
    end
    return y
end

local function normed(x, weight, bias)
    local n, mean, var = #x, 0, 0
    for _, v in ipairs(x) do mean = mean + v / n end
    for _, v in ipairs(x) do var = var + (v - mean) ^ 2 / n end
    local y = {}
    for i, v in ipairs(x) do y[i] = (v - mean) / math.sqrt(var + 1e-5) * weight[i] + bias[i] end
    return y
end

-- A random state for the given names and shapes, as tensors and as tables.
local function state(shapes)
    local r, tensors, tables = bk.rng(11), {}, {}
    local names = {}
    for name in pairs(shapes) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
        tensors[name] = r:normal(shapes[name]) * 0.6
        tables[name] = tensors[name]:totable()
    end
    return tensors, tables
end

TestWeights = {}

function TestWeights.test_linear_embedding_and_norm()
    local model = bk.nn.sequential{ bk.nn.embedding{ 5, 3 }, bk.nn.layer_norm{ 3 }, bk.nn.linear{ 3, 3 }, bk.nn.tanh(),
        bk.nn.linear{ 3, 2, bias = false } }
    local s, t = state{ ["0.weight"] = { 5, 3 }, ["1.weight"] = { 3 }, ["1.bias"] = { 3 }, ["2.weight"] = { 3, 3 },
        ["2.bias"] = { 3 }, ["4.weight"] = { 2, 3 } }
    local theta = model:load_state_dict(s, { layout = "torch" })
    local y = model:forward(theta, bk.tensor({ 4, 0 }, { dtype = "int64" })):totable()
    for i, id in ipairs{ 4, 0 } do
        local h = affine(t["2.weight"], t["2.bias"], normed(t["0.weight"][id + 1], t["1.weight"], t["1.bias"]))
        for k = 1, 3 do h[k] = math.tanh and math.tanh(h[k]) or 2 * sigmoid(2 * h[k]) - 1 end
        local z = affine(t["4.weight"], nil, h)
        for k = 1, 2 do lu.assertAlmostEquals(y[i][k], z[k], 1e-13) end
    end
end

-- nn.Conv2d: y[o][r][c] = b[o] + sum W[o][i][u][v] x[i][r + u][c + v]; nn.Flatten row-major
function TestWeights.test_convolution()
    local model = bk.nn.sequential{ bk.nn.conv2d{ 2, 3, kernel = 2 }, bk.nn.flatten(), bk.nn.linear{ 12, 1 } }
    local s, t = state{ ["0.weight"] = { 3, 2, 2, 2 }, ["0.bias"] = { 3 }, ["2.weight"] = { 1, 12 },
        ["2.bias"] = { 1 } }
    local x = bk.rng(2):normal{ 1, 2, 3, 3 }
    local image, flat = x:totable()[1], {}
    for o = 1, 3 do
        for r = 1, 2 do
            for c = 1, 2 do
                local sum = t["0.bias"][o]
                for i = 1, 2 do
                    for u = 1, 2 do
                        for v = 1, 2 do sum = sum + t["0.weight"][o][i][u][v] * image[i][r + u - 1][c + v - 1] end
                    end
                end
                flat[#flat + 1] = sum
            end
        end
    end
    local y = model:forward(model:load_state_dict(s, { layout = "torch" }), x)
    lu.assertAlmostEquals(y:item(), affine(t["2.weight"], t["2.bias"], flat)[1], 1e-12)
end

-- The steps of nn.RNN, nn.GRU and nn.LSTM as PyTorch's pages have them; gates are blocks of `n` rows.
local STEPS = {
    rnn = { 1, function(a, b, _, h)
        for k = 1, #h do h[k] = 2 * sigmoid(2 * (a[k] + b[k])) - 1 end
    end },
    gru = { 3, function(a, b, n, h)
        for k = 1, n do
            local r, z = sigmoid(a[k] + b[k]), sigmoid(a[n + k] + b[n + k])
            local new = 2 * sigmoid(2 * (a[2 * n + k] + r * b[2 * n + k])) - 1
            h[k] = (1 - z) * new + z * h[k]
        end
    end },
    lstm = { 4, function(a, b, n, h, c)
        for k = 1, n do
            local i, f = sigmoid(a[k] + b[k]), sigmoid(a[n + k] + b[n + k])
            local g, o = 2 * sigmoid(2 * (a[2 * n + k] + b[2 * n + k])) - 1, sigmoid(a[3 * n + k] + b[3 * n + k])
            c[k] = f * c[k] + i * g
            h[k] = o * (2 * sigmoid(2 * c[k]) - 1)
        end
    end },
}

function TestWeights.test_recurrent_layers()
    for kind, case in pairs(STEPS) do
        local gates, step = case[1], case[2]
        local model = bk.nn.sequential{ bk.nn[kind]{ 3, 3 } } -- square: only the layout tells W from its transpose
        local s, t = state{ ["0.weight_ih_l0"] = { gates * 3, 3 }, ["0.weight_hh_l0"] = { gates * 3, 3 },
            ["0.bias_ih_l0"] = { gates * 3 }, ["0.bias_hh_l0"] = { gates * 3 } }
        local x = bk.rng(4):normal{ 2, 4, 3 }
        local theta = model:load_state_dict(s, { layout = "torch" })
        local y, xs = model:forward(theta, x):totable(), x:totable()
        for i = 1, 2 do
            local h, c = { 0, 0, 0 }, { 0, 0, 0 }
            for time = 1, 4 do
                step(affine(t["0.weight_ih_l0"], t["0.bias_ih_l0"], xs[i][time]),
                    affine(t["0.weight_hh_l0"], t["0.bias_hh_l0"], h), 3, h, c)
                for k = 1, 3 do lu.assertAlmostEquals(y[i][time][k], h[k], 1e-13, kind) end
            end
        end
        -- out again: biases that PyTorch has twice lie in the first, but for what a GRU's reset gate multiplies
        local out = model:state_dict(theta, { layout = "torch" })
        local single = kind == "gru" and 6 or gates * 3
        lu.assertTrue(worst(out["0.weight_ih_l0"], s["0.weight_ih_l0"]) == 0)
        lu.assertTrue(worst(out["0.weight_hh_l0"], s["0.weight_hh_l0"]) == 0)
        local sum = s["0.bias_ih_l0"] + s["0.bias_hh_l0"]
        lu.assertTrue(worst(out["0.bias_ih_l0"]:narrow(1, 1, single), sum:narrow(1, 1, single)) == 0)
        lu.assertTrue(out["0.bias_hh_l0"]:narrow(1, 1, single):abs():max():item() == 0)
        if kind == "gru" then
            lu.assertTrue(worst(out["0.bias_ih_l0"]:narrow(1, 7, 3), s["0.bias_ih_l0"]:narrow(1, 7, 3)) == 0)
            lu.assertTrue(worst(out["0.bias_hh_l0"]:narrow(1, 7, 3), s["0.bias_hh_l0"]:narrow(1, 7, 3)) == 0)
        end
        lu.assertTrue(model:load_state_dict(out, { layout = "torch" }) == theta)
    end
end

-- nn.MultiheadAttention: q, k, v are thirds of in_proj; head h has columns (h - 1) d + 1 .. h d of each
local function attention(t, before, x, heads)
    local width = #x[1]
    local d, q, k, v, out = width // heads, {}, {}, {}, {}
    for i, row in ipairs(x) do
        local all = affine(t[before .. "in_proj_weight"], t[before .. "in_proj_bias"], row)
        q[i], k[i], v[i] = table.move(all, 1, width, 1, {}), table.move(all, width + 1, 2 * width, 1, {}),
            table.move(all, 2 * width + 1, 3 * width, 1, {})
    end
    for i = 1, #x do
        local joined = {}
        for h = 0, heads - 1 do
            local scores, sum = {}, 0
            for j = 1, #x do
                local dot = 0
                for c = h * d + 1, h * d + d do dot = dot + q[i][c] * k[j][c] end
                scores[j] = math.exp(dot / math.sqrt(d))
                sum = sum + scores[j]
            end
            for c = h * d + 1, h * d + d do
                joined[c] = 0
                for j = 1, #x do joined[c] = joined[c] + scores[j] / sum * v[j][c] end
            end
        end
        out[i] = affine(t[before .. "out_proj.weight"], t[before .. "out_proj.bias"], joined)
    end
    return out
end

local function attention_shapes(before, width)
    return { [before .. "in_proj_weight"] = { 3 * width, width }, [before .. "in_proj_bias"] = { 3 * width },
        [before .. "out_proj.weight"] = { width, width }, [before .. "out_proj.bias"] = { width } }
end

-- PyTorch's GRU has every bias twice: its bias_hh_l0 has 3 hidden rows, whatever of it a model has.
function TestWeights.test_a_gru_without_a_recurrent_bias_has_pytorchs_shapes()
    local gru = bk.nn.sequential{ bk.nn.gru{ 2, 3, recurrent_bias = false } }
    local theta = gru:init{ seed = 4 }
    local w = gru:state_dict(theta, { layout = "torch" })
    lu.assertEquals(w["0.bias_hh_l0"]:totable(), { 0, 0, 0, 0, 0, 0, 0, 0, 0 })
    lu.assertTrue(gru:load_state_dict(w, { layout = "torch" }) == theta)
    w["0.bias_hh_l0"] = bk.tensor{ 1, 2, 3, 4, 5, 6, 0, 0, 0 } -- adds to bias_ih_l0 in the gates r and z
    local bias = gru.layers[3]
    lu.assertEquals(gru:load_state_dict(w, { layout = "torch" }):narrow(1, bias.first, 9):totable(),
        { 1, 2, 3, 4, 5, 6, 0, 0, 0 })
    w["0.bias_hh_l0"] = bk.tensor{ 0, 0, 0, 0, 0, 0, 0, 1, 0 }
    lu.assertErrorMsgContains("0.bias_hh_l0: expected 0 in rows 7 to 9, which the model does not have",
        gru.load_state_dict, gru, w, { layout = "torch" })
end

function TestWeights.test_rows_that_no_parameter_has_are_zeros()
    local own = bk.nn.sequential{ bk.nn.layer{ forward = function(_, x) return x end,
        params = { { "a", shape = { 2, 1 }, torch = { { "w", first = 2, of = 5 } } } } } }
    local w = own:state_dict(bk.tensor{ 7, 8 }, { layout = "torch" })
    lu.assertEquals(w["0.w"]:totable(), { { 0 }, { 7 }, { 8 }, { 0 }, { 0 } })
    lu.assertEquals(own:load_state_dict(w, { layout = "torch" }):totable(), { 7, 8 })
end

function TestWeights.test_attention_and_transformer()
    local model = bk.nn.sequential{ bk.nn.attention{ 4, heads = 2 } }
    local s, t = state(attention_shapes("0.", 4))
    local x = bk.rng(5):normal{ 1, 3, 4 }
    local theta = model:load_state_dict(s, { layout = "torch" })
    lu.assertTrue(worst(model:forward(theta, x)[1], bk.tensor(attention(t, "0.", x:totable()[1], 2))) < 1e-12)
    -- nn.TransformerEncoderLayer(4, 2, 5, activation = "relu", norm_first = True)
    local shapes = attention_shapes("0.self_attn.", 4)
    for name, shape in pairs{ ["linear1.weight"] = { 5, 4 }, ["linear1.bias"] = { 5 }, ["linear2.weight"] = { 4, 5 },
        ["linear2.bias"] = { 4 }, ["norm1.weight"] = { 4 }, ["norm1.bias"] = { 4 }, ["norm2.weight"] = { 4 },
        ["norm2.bias"] = { 4 } } do
        shapes["0." .. name] = shape
    end
    model = bk.nn.sequential{ bk.nn.transformer{ 4, heads = 2, hidden = 5, activation = "relu" } }
    s, t = state(shapes)
    theta = model:load_state_dict(s, { layout = "torch" })
    local rows, after = x:totable()[1], {}
    for i, row in ipairs(rows) do after[i] = normed(row, t["0.norm1.weight"], t["0.norm1.bias"]) end
    after = attention(t, "0.self_attn.", after, 2)
    for i, row in ipairs(rows) do
        for k = 1, 4 do row[k] = row[k] + after[i][k] end
        local h = affine(t["0.linear1.weight"], t["0.linear1.bias"],
            normed(row, t["0.norm2.weight"], t["0.norm2.bias"]))
        for k = 1, 5 do h[k] = math.max(h[k], 0) end
        local z = affine(t["0.linear2.weight"], t["0.linear2.bias"], h)
        for k = 1, 4 do row[k] = row[k] + z[k] end
    end
    lu.assertTrue(worst(model:forward(theta, x)[1], bk.tensor(rows)) < 1e-12)
    local out = model:state_dict(theta, { layout = "torch" })
    for name, v in pairs(s) do lu.assertTrue(out[name] == v, name) end
end

function TestWeights.test_every_layer_comes_back()
    local file = os.tmpname()
    local model = bk.nn.sequential{ bk.nn.conv2d{ 1, 2, kernel = 3 },
        bk.nn.layer{ name = "own", input = { "n", 2, 2, 2 },
        params = { { "w.x", shape = { 2, 2 }, torch = "kernel", turned = true }, { "shift", shape = { 2 } } },
        forward = function(p, x) return (x:matmul(p["w.x"]) + p.shift):reshape{ x:size(1), 4, 2 } end },
        bk.nn.position_embedding{ 4, 2 }, bk.nn.attention{ 2 }, bk.nn.transformer{ 2, hidden = 3 }, bk.nn.gru{ 2, 3 },
        bk.nn.lstm{ 3, 2 }, bk.nn.rnn{ 2, 2, sequence = false }, bk.nn.layer_norm{ 2 }, bk.nn.linear{ 2, 2 } }
    for _, dtype in ipairs{ "float64", "float32" } do
        local theta = bk.rng(1):normal({ model.n_params }, { dtype = dtype })
        for _, options in ipairs{ {}, { layout = "torch" } } do
            local s, n = model:state_dict(theta, options), 0
            for _, t in pairs(s) do n = n + t:count() end
            lu.assertTrue(n >= model.n_params)
            lu.assertTrue(model:load_state_dict(s, options) == theta)
            bk.save_safetensors(file, s)
            local back = model:load_state_dict(file, options)
            lu.assertTrue(back == theta and back:dtype() == dtype)
        end
    end
    local own = model:state_dict(model:init(), {})
    lu.assertEquals(own["9.weight"]:shape(), { 2, 2 })
    lu.assertEquals(own["5.recurrent_bias"]:shape(), { 3 })
    os.remove(file)
end

-- nn.BatchNorm1d in evaluation: (x - running_mean) / sqrt(running_var + 1e-5) * weight + bias
function TestWeights.test_buffers_are_part_of_it()
    local model = bk.nn.sequential{ bk.nn.linear{ 2, 2 }, bk.nn.batch_norm{ 2 } }
    local s, t = state{ ["0.weight"] = { 2, 2 }, ["0.bias"] = { 2 }, ["1.weight"] = { 2 }, ["1.bias"] = { 2 },
        ["1.running_mean"] = { 2 }, ["1.running_var"] = { 2 } }
    s["1.running_var"] = s["1.running_var"]:abs() + 0.5
    t["1.running_var"] = s["1.running_var"]:totable()
    s["1.num_batches_tracked"] = bk.tensor(7, { dtype = "int64" })
    local theta, buffers = model:load_state_dict(s, { layout = "torch" })
    local x = bk.tensor{ { 0.3, -1.1 } }
    local y = model:forward(theta, x, { buffers = buffers }):totable()[1]
    local h = affine(t["0.weight"], t["0.bias"], x:totable()[1])
    for k = 1, 2 do
        lu.assertAlmostEquals(y[k], (h[k] - t["1.running_mean"][k]) / math.sqrt(t["1.running_var"][k] + 1e-5)
            * t["1.weight"][k] + t["1.bias"][k], 1e-13)
    end
    local out = model:state_dict(theta, { layout = "torch", buffers = buffers })
    s["1.num_batches_tracked"] = nil
    for name, v in pairs(s) do lu.assertTrue(out[name] == v, name) end
    lu.assertEquals(model:state_dict(theta)["1.running_var"]:totable(), { 1, 1 })
    fails("buffers: expected (4), got (3)", model.state_dict, model, theta, { buffers = bk.ones{ 3 } })
end

function TestWeights.test_the_layout_tells_square_matrices_apart()
    local model = bk.nn.sequential{ bk.nn.linear{ 2, 2 } }
    local s = { ["0.weight"] = bk.tensor{ { 1, 2 }, { 3, 4 } }, ["0.bias"] = bk.tensor{ 0, 0 } }
    local x = bk.tensor{ { 1, 0 } }
    lu.assertEquals(model:forward(model:load_state_dict(s), x):totable(), { { 1, 2 } })
    lu.assertEquals(model:forward(model:load_state_dict(s, { layout = "torch" }), x):totable(), { { 1, 3 } })
end

function TestWeights.test_one_error_lists_every_name()
    local model = bk.nn.mlp{ 3, 4, 2 }
    local theta = model:init{ seed = 1 }
    local s = model:state_dict(theta, { layout = "torch" })
    s["0.weight"], s["2.bias"], s["head.weight"] = s["0.weight"]:transpose(), nil, bk.ones{ 2 }
    local ok, text = pcall(model.load_state_dict, model, s, { layout = "torch" })
    lu.assertFalse(ok)
    lu.assertStrContains(text, "model:load_state_dict: 3 names do not fit:")
    lu.assertStrContains(text, "0.weight: expected (4,3), got (3,4)")
    lu.assertStrContains(text, "missing 2.bias (2)")
    lu.assertStrContains(text, "nothing takes head.weight (2)")
    fails('layout: expected "torch", got "jax"', model.state_dict, model, theta,
        { layout = "jax" })
    fails("theta: expected (26), got (3)", model.state_dict, model, bk.ones{ 3 })
    fails("expected a table of tensors or a path, got nil", model.load_state_dict, model)
    fails("no such file", model.load_state_dict, model, "no/such.safetensors")
    fails("0.bias: expected a tensor (4), got 1", model.load_state_dict, model, { ["0.bias"] = 1 })
    fails("params: torch: expected at most 2 parts, got 3", bk.nn.layer, { forward = print,
        params = { { "w", shape = { 1 }, torch = { { "a" }, { "b" }, { "c" } } } } })
    fails("params: turned: expected 2 sizes, got 1", bk.nn.layer, { forward = print,
        params = { { "w", shape = { 1 }, turned = true } } })
end

-- A module with attributes: conv1, bn1, scale = nn.Parameter(torch.tensor(0.5)), block = nn.Sequential(...), fc.
local function attributes()
    local model = bk.nn.sequential{ bk.nn.conv2d{ 1, 2, kernel = 3 }, bk.nn.batch_norm{ 2 }, bk.nn.flatten(),
        bk.nn.layer{ name = "scale", params = { { "gain", shape = {}, torch = "scale" } },
            forward = function(p, x) return x * p.gain end },
        bk.nn.residual{ bk.nn.linear{ 2, 2 }, bk.nn.tanh() }, bk.nn.linear{ 2, 3 } }
    local s = state{ ["conv1.weight"] = { 2, 1, 3, 3 }, ["conv1.bias"] = { 2 }, ["bn1.weight"] = { 2 },
        ["bn1.bias"] = { 2 }, ["bn1.running_mean"] = { 2 }, ["bn1.running_var"] = { 2 }, scale = {},
        ["block.0.weight"] = { 2, 2 }, ["block.0.bias"] = { 2 }, ["fc.weight"] = { 3, 2 }, ["fc.bias"] = { 3 } }
    s["bn1.running_var"] = s["bn1.running_var"]:abs() + 0.5
    return model, s
end

function TestWeights.test_names_of_a_module_with_attributes()
    local model, s = attributes()
    local in_order = { "conv1", "bn1", "", "block.0", "fc" }
    local by_name = { conv1 = "0", bn1 = "1", scale = "3.scale", block = "4", fc = "5" }
    s["bn1.num_batches_tracked"] = bk.tensor(7, { dtype = "int64" })
    local theta, buffers = model:load_state_dict(s, { layout = "torch", names = in_order })
    s["bn1.num_batches_tracked"] = nil
    lu.assertTrue(theta == model:load_state_dict(s, { layout = "torch", names = by_name }))
    lu.assertEquals(theta:narrow(1, model.layers[5].first, 1):totable(), { s.scale:item() })
    lu.assertTrue(theta:narrow(1, 1, 18) == s["conv1.weight"]:reshape{ -1 })
    for _, names in ipairs{ in_order, by_name } do
        local out, n = model:state_dict(theta, { layout = "torch", names = names, buffers = buffers }), 0
        for name, t in pairs(out) do
            n = n + 1
            lu.assertTrue(t == s[name], name)
        end
        lu.assertEquals(n, 11)
    end
    local own = model:state_dict(theta, { names = { fc = "5" } }) -- bracket's layout takes names too
    lu.assertEquals(own["fc.weight"]:shape(), { 2, 3 })
    lu.assertEquals(own["0.weight"]:shape(), { 2, 1, 3, 3 })
    lu.assertTrue(model:load_state_dict(own, { names = { fc = "5" } }) == theta)
end

function TestWeights.test_names_that_do_not_fit()
    local model, s = attributes()
    local function refused(names, text)
        fails(text, model.load_state_dict, model, s, { layout = "torch", names = names })
    end
    local layers = "0 (conv2d), 1 (batch_norm), 3 (scale), 4.0 (linear), 5 (linear)"
    refused(nil, "nothing takes fc.weight (3,2)\n  nothing takes scale ()\nwhere the names alone differ, "
        .. "names = {...} has what the file calls " .. layers)
    refused({ "conv1", "bn1" }, "model:load_state_dict: names: expected 5, of " .. layers .. ", got 2")
    refused({ "conv1", "bn1", "", "block.0", 5 },
        "names: entry 5: expected a string, what the file calls 5 (linear), got 5")
    refused({ "conv1", "bn1", "", "block.0", "head" }, "4 names do not fit:\n"
        .. "  missing head.weight (3,2), the model's 5.weight\n  missing head.bias (3), the model's 5.bias\n"
        .. "  nothing takes fc.bias (3)\n  nothing takes fc.weight (3,2)")
    refused({ "a", "b", "c", "d", "a" }, 'names: 0.weight and 5.weight would both be "a.weight"')
    refused({ a = "5", b = "5" }, 'names: "a" and "b" are both "5"')
    refused({ a = "7" }, 'names: a = "7": the model has no "7"; it has ' .. layers)
    refused({ a = 5 }, 'expected a list, or a table { conv1 = "0" } of the file\'s names, got "a" = 5')
    refused({ "a", fc = "5" }, "names: expected a list or a table of names, not both")
    fails("names: expected 5, of", model.state_dict, model, model:init(), { names = { "a" } })
end

-- A parameter of no dimension: its init, its derivative, its place in theta, files and checkpoints.
function TestWeights.test_parameters_of_no_dimension()
    local function scaled(options)
        options[1], options.shape = "gain", {}
        return bk.nn.sequential{ bk.nn.linear{ 2, 2 }, bk.nn.layer{ params = { options },
            forward = function(p, x) return x * p.gain end } }
    end
    local model = scaled{ init = 0.25 }
    local gain = model.layers[3]
    lu.assertEquals({ gain.first, gain.size, gain.shape }, { 7, 1, {} })
    lu.assertEquals(model:init()[7]:item(), 0.25)
    lu.assertEquals(scaled{}:init()[7]:item(), 0)
    for _, scheme in ipairs{ "glorot", "he", "lecun", "orthogonal" } do
        local drawn = scaled{ init = "weight" }:init{ scheme = scheme }[7]:item()
        lu.assertTrue(drawn ~= 0 and math.abs(drawn) < 5, scheme)
    end
    local theta, x = bk.tensor{ 1, 2, 3, 4, 5, 6, 0.5 }, bk.tensor{ { 1, -1 } }
    lu.assertEquals(model:forward(theta, x):totable(), { { 0.5 * (1 - 3 + 5), 0.5 * (2 - 4 + 6) } })
    local function sum(t) return model:forward(t, x):sum() end
    lu.assertEquals(bk.grad(sum)(theta)[7]:item(), 3 + 4)
    lu.assertTrue(bk.check_grad(bk.loss.mse(model, x, bk.zeros{ 1, 2 }), theta) < 1e-6)
    local file = os.tmpname()
    for _, options in ipairs{ {}, { layout = "torch" } } do
        local s = model:state_dict(theta, options)
        lu.assertEquals(s["1.gain"]:shape(), {})
        bk.save_safetensors(file, s)
        lu.assertTrue(model:load_state_dict(file, options) == theta)
        s["1.gain"] = bk.ones{ 1 }
        fails("1.gain: expected (), got (1)", model.load_state_dict, model, s, options)
    end
    os.remove(file)
    -- one entry of a vector there
    local entry = scaled{ torch = { { "w", first = 2, of = 3 } } }
    local w = entry:state_dict(theta, { layout = "torch" })
    lu.assertEquals(w["1.w"]:totable(), { 0, 0.5, 0 })
    lu.assertTrue(entry:load_state_dict(w, { layout = "torch" }) == theta)
    fails("params: shape: expected at most 4 sizes, got 5", bk.nn.layer, { forward = print,
        params = { { "w", shape = { 1, 1, 1, 1, 1 } } } })
    -- a run that goes on from a checkpoint
    local function run(options)
        return bk.protocol{ model = model, order = "joint", lr = 0.1, steps = 4, batch = "full",
            tasks = { { x = bk.ones{ 3, 2 }, y = bk.zeros{ 3, 2 }, loss = "mse" } } }:run(options)
    end
    local out = os.tmpname()
    os.remove(out)
    run{ out = out, checkpoint_every = 2 }
    lu.assertTrue(run{ out = out, resume = true }.theta == run{}.theta)
    os.execute("rm -rf " .. out)
end

-- Trains there, loads here: the same outputs in float32, the same bracket of two losses in float64.
local PYTHON = [[
import sys, torch, json, struct
torch.manual_seed(0)
for kernel in ("flash", "mem_efficient"): # attention's fast kernels have no second derivative
    getattr(torch.backends.cuda, "enable_%s_sdp" % kernel, lambda on: None)(False)
out = sys.argv[1]
class Last(torch.nn.Module):
    def __init__(self, inner): super().__init__(); self.inner = inner
    def forward(self, x): return self.inner(x)[0]
def save(path, tensors):
    head, data, place = {}, b"", 0
    for name, t in tensors.items():
        kind, letter = {torch.float32: ("F32", "f"), torch.float64: ("F64", "d"), torch.int64: ("I64", "q")}[t.dtype]
        values = t.detach().flatten().tolist()
        raw = struct.pack("<%d%s" % (len(values), letter), *values)
        head[name] = {"dtype": kind, "shape": list(t.shape), "data_offsets": [place, place + len(raw)]}
        data, place = data + raw, place + len(raw)
    text = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)
def clean(state): return {k.replace(".inner.", "."): v for k, v in state.items()}
models = {
    "mlp": (torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)), (12, 6)),
    "conv": (torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(64, 3)),
             (12, 1, 6, 6)),
    "gru": (torch.nn.Sequential(Last(torch.nn.GRU(6, 5, batch_first=True)), torch.nn.Flatten(), torch.nn.Linear(20, 3)),
            (12, 4, 6)),
    "lstm": (torch.nn.Sequential(Last(torch.nn.LSTM(6, 5, batch_first=True)), torch.nn.Flatten(),
             torch.nn.Linear(20, 3)), (12, 4, 6)),
    "transformer": (torch.nn.Sequential(torch.nn.TransformerEncoderLayer(6, 2, 9, dropout=0.0, activation="gelu",
                    batch_first=True, norm_first=True), torch.nn.Flatten(), torch.nn.Linear(24, 3)), (12, 4, 6)),
}
for name, (model, shape) in models.items():
    x, y = torch.randn(shape), torch.randint(0, 3, (12,))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    facts = {"x": x, "y": y, "z": model(x)}
    model = model.double()
    parameters = list(model.parameters())
    once = [torch.ones_like(p) for p in parameters] # of biases that add up the second is held
    for (n, _), o in zip(model.named_parameters(), once):
        if "bias_hh" in n: o[:10 if name == "gru" else 20] = 0
    def gradient(rows):
        loss = torch.nn.functional.cross_entropy(model(x[rows].double()), y[rows])
        return torch.autograd.grad(loss, parameters, create_graph=True)
    def product(rows, v):
        g = gradient(rows)
        return torch.autograd.grad(sum((a * b.detach() * o).sum() for a, b, o in zip(g, v, once)),
                                   parameters)
    a, b = slice(0, 6), slice(6, 12)
    left, right = product(b, gradient(a)), product(a, gradient(b))
    bracket = {n: l - r for (n, _), l, r in zip(model.named_parameters(), left, right)}
    save(out + "/" + name + ".facts", {**facts, **{"bracket." + k: v for k, v in clean(bracket).items()}})
    save(out + "/" + name + ".safetensors", clean({k: v.float() for k, v in model.state_dict().items()}))
]]

function TestWeights.test_trained_in_pytorch()
    local python = os.getenv("PYTHON") or "python3"
    local probe <close> = io.popen(python .. " -c 'import torch' 2>&1; echo status $?")
    if not probe:read("a"):find("status 0") then lu.skip("PyTorch is not installed") end
    local out = os.tmpname()
    os.remove(out)
    os.execute("mkdir " .. out)
    local script <close> = assert(io.open(out .. "/train.py", "w"))
    script:write(PYTHON)
    script:close()
    lu.assertTrue(os.execute(("%s %s/train.py %s"):format(python, out, out)))
    local sequence = { bk.nn.flatten(), bk.nn.linear{ 20, 3 } }
    local models = {
        mlp = bk.nn.mlp{ 6, 8, 3 },
        conv = bk.nn.sequential{ bk.nn.conv2d{ 1, 4, kernel = 3 }, bk.nn.tanh(), bk.nn.flatten(),
            bk.nn.linear{ 64, 3 } },
        gru = bk.nn.sequential{ bk.nn.gru{ 6, 5 }, table.unpack(sequence) },
        lstm = bk.nn.sequential{ bk.nn.lstm{ 6, 5 }, table.unpack(sequence) },
        transformer = bk.nn.sequential{ bk.nn.transformer{ 6, heads = 2, hidden = 9 }, bk.nn.flatten(),
            bk.nn.linear{ 24, 3 } },
    }
    for name, model in pairs(models) do
        local facts = bk.load_safetensors(("%s/%s.facts"):format(out, name))
        local path = ("%s/%s.safetensors"):format(out, name)
        local theta = model:load_state_dict(path, { layout = "torch" })
        lu.assertEquals(theta:dtype(), "float32")
        lu.assertTrue(worst(model:forward(theta, facts.x), facts.z) < 1e-5, name)
        theta = model:load_state_dict(path, { layout = "torch", dtype = "float64" })
        local x = facts.x:to("float64")
        local A = bk.loss.cross_entropy(model, x:narrow(1, 1, 6), facts.y:narrow(1, 1, 6))
        local B = bk.loss.cross_entropy(model, x:narrow(1, 7, 6), facts.y:narrow(1, 7, 6))
        local ours, off, size = model:state_dict(bk.lie(A, B)(theta), { layout = "torch" }), 0, 0
        for key, v in pairs(facts) do
            local parameter = key:match("^bracket%.(.*)")
            if parameter and not parameter:find("bias_hh") then
                off = math.max(off, worst(ours[parameter], v))
                size = math.max(size, v:abs():max():item())
            end
        end
        lu.assertTrue(off < 1e-6 * size, ("%s: %g of %g"):format(name, off, size))
    end
    os.execute("rm -rf " .. out)
end

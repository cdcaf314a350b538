-- swap_effect_test.lua - what a swap of neighbouring steps does to outputs, against the steps run both ways, and
-- against brackets by bk.lie; its record against a run's own steps.
local bk = require "bracket"
local lu = require "luaunit"

local function problem(m, seed)
    local model, rng, L = bk.nn.mlp { 3, 5, 4, 2, activation = "tanh" }, bk.rng(seed), {}
    for i = 1, m do
        local x = rng:normal { 6, 3 }
        L[i] = i % 2 == 0 and bk.loss.mse(model, x, rng:normal { 6, 2 })
            or bk.loss.cross_entropy(model, x, x:matmul(rng:normal { 3, 2 }):argmax(2))
    end
    return L, model:init { seed = seed }, model, rng:normal { 4, 3 }
end

local function close(a, b, tolerance)
    local gap, size = (a - b):norm():item(), b:norm():item()
    lu.assertTrue(gap <= (tolerance or 1e-11) * size, ("%.3g of %.3g"):format(gap, size))
end

TestSwapEffect = {}

function TestSwapEffect.test_slope_against_steps_both_ways()
    for _, m in ipairs { 3, 12 } do -- 8 outputs: the brackets, then the way back
        local L, theta, model, x = problem(m, m)
        local function f(t) return model:forward(t, x) end
        local i, j, hs, errors = 2, 3, { 0.02, 0.01, 0.005 }, {}
        for k, h in ipairs(hs) do
            local function run(a, b)
                local t = theta - bk.grad(L[a])(theta) * h
                return f(t - bk.grad(L[b])(t) * h)
            end
            local effect = bk.bea.swap_effect(f, L, theta, { lr = h })
            errors[k] = (run(i, j) - run(j, i) - effect[i][j]):norm():item()
            close(effect[j][i], -effect[i][j])
            lu.assertEquals(effect[i][i]:norm():item(), 0)
        end
        lu.assertAlmostEquals(bk.statistics.slope(hs, errors), 3, 0.1)
    end
end

function TestSwapEffect.test_both_ways_are_the_derivative_along_the_bracket()
    for _, m in ipairs { 2, 12 } do
        local L, theta, model, x = problem(m, 20 + m)
        for _, f in ipairs { function(t) return model:forward(t, x) end, L[1],
            function(t) return model:forward(t, x)[2] end } do
            local effect = bk.bea.swap_effect(f, L, theta)
            for _, pair in ipairs { { 1, 2 }, { m, 1 } } do
                local _, want = bk.jvp(f, { theta }, { bk.lie(L[pair[1]], L[pair[2]])(theta) })
                close(effect[pair[1]][pair[2]], want)
            end
        end
    end
end

function TestSwapEffect.test_layers_add_up_and_are_parts_of_the_bracket()
    for _, m in ipairs { 2, 30 } do
        local L, theta, model, x = problem(m, 31)
        local function f(t) return model:forward(t, x) end
        local effect, layers = bk.bea.swap_effect(f, L, theta, { lr = 0.1, model = model })
        lu.assertEquals(#layers, 3)
        local sum
        for _, layer in ipairs(layers) do sum = sum and sum + layer.effect or layer.effect end
        close(sum, effect)
        local b, list = bk.lie(L[1], L[2])(theta):totable(), {}
        for k, v in ipairs(b) do
            list[k] = k >= layers[2].first and k < layers[2].first + layers[2].size and v * 0.01 or 0
        end
        close(layers[2].effect[1][2], (select(2, bk.jvp(f, { theta }, { bk.tensor(list) }))))
    end
end

function TestSwapEffect.test_fields_may_stand_where_losses_do()
    local turn = bk.tensor { { 0, 1, 0 }, { -1, 0, 2 }, { 0.5, 0, 0 } }
    local function spin(t) return turn:matmul(t:sin()) end
    local function bowl(t) return (t ^ 4):sum() end
    local theta = bk.tensor { 0.3, -0.4, 0.6 }
    local function first(t) return t[1] * t[2] end
    local function all(t) return t * t[3] end
    for _, f in ipairs { first, all } do
        local effect = bk.bea.swap_effect(f, { spin, bowl, function(t) return (t * t * t):sum() end }, theta)
        local _, want = bk.jvp(f, { theta }, { bk.lie(spin, bowl)(theta) })
        close(effect[1][2], want)
    end
end

function TestSwapEffect.test_no_outputs_have_an_empty_effect()
    local L, theta = problem(3, 1)
    local effect = bk.bea.swap_effect(function() return bk.zeros { 0, 2 } end, L, theta)
    lu.assertEquals(effect:shape(), { 3, 3, 0, 2 })
end

function TestSwapEffect.test_errors()
    local L, theta, model = problem(2, 1)
    local function fails(text, ...) lu.assertErrorMsgContains(text, bk.bea.swap_effect, ...) end
    fails("theta: expected a tensor", L[1], L, nil)
    fails("two or more, got 1", L[1], { L[1] }, theta)
    fails("unknown option", L[1], L, theta, { rate = 1 })
    local own = { function(t) return (t ^ 3):sum() end, function(t) return t:sin():sum() end }
    fails("theta: expected (" .. model.n_params .. ")", own[1], own, bk.ones { 3 }, { model = model })
end

-- The record of a run of two regressions, at the first step, from the losses it trains on.
function TestSwapEffect.test_record()
    local model, tasks, L = bk.nn.mlp { 4, 5, 1 }, bk.tasks.regression { n = 2, seed = 1 }, {}
    for i, t in ipairs(tasks) do L[i] = bk.loss.mse(model, (t.train or t).x, (t.train or t).y) end
    local theta = model:init { seed = 3 }
    local r = bk.protocol { model = model, tasks = tasks, lr = 0.1, steps = 1, batch = "full",
        record = { every = 1, "swap_effect" } }:run { theta = theta }
    local function f(t)
        local z = {}
        for i, task in ipairs(tasks) do z[i] = model:forward(t, (task.train or task).x) end
        return bk.concat(z)
    end
    local effect, layers = bk.bea.swap_effect(f, L, theta, { lr = 0.1, model = model })
    local function rms(t) return t:norm():item() / math.sqrt(#t:reshape { -1 }) end
    lu.assertAlmostEquals(r.history.swap_effect_1_2[1], rms(effect[1][2]), 1e-12)
    lu.assertAlmostEquals(r.history.swap_effect[1], rms(effect[1][2]), 1e-12)
    lu.assertAlmostEquals(r.history.swap_effect_1_2_layer_2[1], rms(layers[2].effect[1][2]), 1e-12)

    local function recorded(optimizer)
        return bk.protocol { model = model, tasks = tasks, lr = 0.1, steps = 1, batch = "full", optimizer = optimizer,
            record = { every = 1, "swap_effect" } }:run { theta = theta }.history.swap_effect_1_2[1]
    end
    local decayed = {}
    for i = 1, 2 do decayed[i] = function(t) return bk.grad(L[i])(t) + t * 0.3 end end
    effect = bk.bea.swap_effect(f, decayed, theta, { lr = 0.1 })
    lu.assertAlmostEquals(recorded(bk.optim.sgd { weight_decay = 0.3 }), rms(effect[1][2]), 1e-12)
    lu.assertErrorMsgContains("swap effect is stated for gradient steps", recorded, bk.optim.adam {})
end

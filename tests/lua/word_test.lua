-- word_test.lua - words of any steps: fields, exact flows and maps against formulas written out with jvp, against
-- brackets, against the steps themselves (slopes), and against another implementation's values where they are at hand.
local bk = require "bracket"
local lu = require "luaunit"

local function tasks(n, seed, sizes, activation)
    local model = bk.nn.mlp{ activation = activation or "tanh", table.unpack(sizes) }
    local rng, L = bk.rng(seed), {}
    for i = 1, n do L[i] = bk.loss.mse(model, rng:normal{ 6, sizes[1] }, rng:normal{ 6, sizes[#sizes] }) end
    return L, rng:normal{ model.n_params } * 0.7
end

local function close(what, got, want, tolerance)
    local r = ((got - want):norm() / (want:norm() + 1e-300)):item()
    lu.assertTrue(r <= (tolerance or 1e-10), ("%s: relative difference %.3g"):format(what, r))
end

local function along(f, t, v) return select(2, bk.jvp(f, { t }, { v })) end
local function dot(f, x) return function(t) return along(f, t, x(t)) end end -- f' x

-- Two-player bilinear-like fields on R^4 that are no gradients.
local Q = bk.tensor{ { 1, .3 }, { .2, .8 } }
local function payoff(t)
    local x, y = t:narrow(1, 1, 2), t:narrow(1, 3, 2)
    return x:matmul(Q):dot(y) + .1 * x:square():sum() - .2 * y:square():sum() + .05 * (x:sin() * y):sum()
end
local function X(t) return bk.grad(payoff)(t) * bk.tensor{ 1, 1, 0, 0 } end
local function Y(t) return bk.grad(payoff)(t) * bk.tensor{ 0, 0, -1, -1 } end
local plane = bk.tensor{ 1, -.5, .3, .7 }

local function sam(L, c)
    local g = bk.grad(L)
    return function(t, h) return t - h * g(t + c * h * g(t)) end
end
local function extragradient(F)
    local g = bk.grad(F)
    return function(t, h) return t - h * g(t - h * g(t)) end
end
local function reptile(L, steps, share) -- a share of the way that inner steps go
    local g = bk.grad(L)
    return function(t, h)
        local inner = t
        for _ = 1, steps do inner = inner - h * g(inner) end
        return t + share * (inner - t)
    end
end

-- Judges the slopes of orders 1..5.
local function check_slopes(what, word, theta, orders)
    for _, r in ipairs(word:verify{ theta = theta, orders = orders }) do
        local tolerance = r.order <= 3 and 0.15 or 0.4
        lu.assertTrue(math.abs(r.slope - r.expected) <= tolerance,
            ("%s, order %d: slope %.3f"):format(what, r.order, r.slope))
    end
end

TestMaps = {}

function TestMaps.test_terms_are_their_formulas()
    for seed, sizes in ipairs{ { 3, 4, 2 }, { 2, 5, 3, 1 } } do
        local L, theta = tasks(1, seed, sizes, seed == 1 and "tanh" or "softplus")
        local g, h, c = bk.grad(L[1]), 0.3, 0.7
        -- theta - h g(theta + c h g): f1 = -g, f2 = -c g'g, f3 = -c^2/2 g''(g, g)
        local f1 = function(t) return -g(t) end
        local f2 = function(t) return -c * along(g, t, g(t)) end
        local f3 = function(t)
            local v = g(t)
            return -c * c / 2 * along(function(s) return along(g, s, v) end, t, v)
        end
        local F2 = function(t) return f2(t) - dot(f1, f1)(t) / 2 end
        local F3 = function(t)
            return f3(t) - (dot(f1, F2)(t) + dot(F2, f1)(t)) / 2 - dot(dot(f1, f1), f1)(t) / 6
        end
        local w = bk.bea.word{ { map = sam(L[1], c), lr = h } }
        for k, want in ipairs{ f1, F2, F3 } do close("term " .. k, w:term(k)(theta), want(theta) * h ^ k) end
        close("log 3", w:log(3)(theta), h * f1(theta) + h * h * F2(theta) + h ^ 3 * F3(theta))
    end
end

function TestMaps.test_second_term_of_sharpness_aware_steps()
    local L, theta = tasks(1, 3, { 3, 4, 2 })
    for _, c in ipairs{ 0.5, 2, -1 } do
        local function flat(t) local g = bk.grad(L[1])(t) return (1 / 4 + c / 2) * g:dot(g) end
        close("c = " .. c, bk.bea.word{ { map = sam(L[1], c), lr = 1 } }:term(2)(theta), -bk.grad(flat)(theta))
    end
end

function TestMaps.test_gradient_steps_as_maps_are_gradient_steps()
    local L, theta = tasks(2, 4, { 3, 4, 2 })
    local g = { bk.grad(L[1]), bk.grad(L[2]) }
    local maps = { function(t, h) return t - h * g[1](t) end, function(t, h) return t - h * g[2](t) end }
    local w = bk.bea.word{ { L[1], .1 }, { L[2], .2 }, { L[1], .05 } }
    local v = bk.bea.word{ { map = maps[1], lr = .1 }, { map = maps[2], lr = .2 }, { map = maps[1], lr = .05 } }
    for k = 1, 5 do close("term " .. k, v:term(k)(theta), w:term(k)(theta)) end
    close("conflict", v:conflict()(theta), w:conflict()(theta))
    close("flatness", v:flatness()(theta), w:flatness()(theta))
    close("steps", v:step(theta), w:step(theta), 1e-14)
    lu.assertEquals(v:order_matrix():shape(), { 0, 0 })
end

function TestMaps.test_slopes()
    local L, theta = tasks(2, 5, { 3, 4, 2 })
    local h = 0.02
    check_slopes("descent", bk.bea.word{ { L[1], h } }, theta, { 1, 2, 3, 4, 5 })
    check_slopes("sharpness-aware", bk.bea.word{ { map = sam(L[1], 1 / 2), lr = h } }, theta, { 1, 2, 3, 4, 5 })
    check_slopes("extragradient", bk.bea.word{ { map = extragradient(L[1]), lr = h } }, theta, { 1, 2, 3, 4, 5 })
    check_slopes("reptile", bk.bea.word{ { map = reptile(L[1], 3, 0.5), lr = h } }, theta, { 1, 2, 3, 4, 5 })
    check_slopes("mixed", bk.bea.word{ { L[1], h, exact = true }, { map = sam(L[2], 1), lr = h / 2 }, { L[2], h },
        { function(t) return t:sin() end, h / 2 } }, theta, { 1, 2, 3, 4, 5 })
    check_slopes("fields", bk.bea.word{ { X, 2 * h }, { Y, 2 * h }, { X, h } }, plane, { 1, 2, 3, 4, 5 })
end

function TestMaps.test_controls_fall_back()
    local L, theta = tasks(2, 6, { 3, 4, 2 })
    local w = bk.bea.word{ { L[1], .01, exact = true }, { map = sam(L[2], 1), lr = .01 } }
    for _, control in ipairs{ "no_conflict", "flipped" } do
        lu.assertAlmostEquals(w:verify{ theta = theta, orders = { 2 }, control = control }[1].slope, 2, 0.15)
    end
end

function TestMaps.test_what_is_no_step_is_refused()
    local L, theta = tasks(1, 7, { 3, 4, 2 })
    local g = bk.grad(L[1])
    local bad = {
        ["the identity at h = 0"] = { function(t, h) return 2 * t - h * g(t) end, function(t) return t + 1 end },
        ["differentiable in h"] = { function(t, h) return t - h:abs() * g(t) end,
            function(t, h) return t - h:sqrt() * g(t) end, function(t, h) return t - h:sign() * g(t) end },
        ["second derivative"] = { function(t, h) return t - h * h:abs() * g(t) end },
        ["theta's shape"] = { function(t) return t:sum() end },
    }
    for message, maps in pairs(bad) do
        for _, f in ipairs(maps) do
            local function word() return bk.bea.word{ { L[1], .1 }, { map = f, lr = .1 } } end
            lu.assertErrorMsgContains(message, function() word():term(3)(theta) end)
            lu.assertErrorMsgContains("step 2: map: ", function() word():log(4)(theta) end)
            lu.assertErrorMsgContains("step 2: map: ", function() word():verify{ theta = theta } end)
            if message ~= "second derivative" then
                lu.assertErrorMsgContains(message, function() word():step(theta) end)
            end
        end
    end
    local fine = { function(t) return t end, function(t, h) return t * (1 - h * 0.3) - h * g(t) end,
        function(t, h) return t * (-h):exp() end, function(t, h) return t / (1 + h * t:square()) end }
    for _, f in ipairs(fine) do bk.bea.word{ { map = f, lr = .1 } }:term(3)(theta) end
end

function TestMaps.test_wrong_steps_are_refused()
    local L = tasks(1, 8, { 3, 4, 2 })
    local f = function(t) return t end
    local bad = { ["got both"] = { L[1], .1, map = f, lr = .1 }, ["step 1: unknown option exat"] = { L[1], .1,
        exat = true }, ["lr: missing"] = { map = f }, ["lr: only for a map"] = { L[1], .1, lr = .1 },
        ["a map has no flow"] = { map = f, lr = .1, exact = true }, ["exact: expected true or false"] = { L[1], .1,
        exact = 1 }, ["map: expected a function"] = { map = 3, lr = .1 }, ["lr: expected a finite number"] = { map = f,
        lr = 1 / 0 } }
    for message, step in pairs(bad) do lu.assertErrorMsgContains(message, bk.bea.word, { step }) end
end

function TestMaps.test_traced_steps_and_single_precision()
    local L, theta = tasks(2, 9, { 3, 4, 2 })
    local w = bk.bea.word{ { map = sam(L[1], 1), lr = .1 }, { L[2], .1 } }
    lu.assertTrue(bk.check_grad(function(t) return w:step(t):square():sum() end, theta) < 1e-7)
    local flows = bk.bea.word{ { L[1], .1, exact = true } }
    lu.assertErrorMsgContains("step 1: an exact flow", bk.grad(function(t) return flows:step(t):sum() end), theta)
    local single = theta:to("float32")
    local v = bk.bea.word{ { L[1], .1, exact = true }, { map = sam(L[1], 1), lr = .1 }, { L[2], .1 } }
    lu.assertEquals(v:step(single):dtype(), "float32")
    close("steps", v:step(single):to("float64"), v:step(theta), 1e-5)
    close("log", v:log(3)(single):to("float64"), v:log(3)(theta), 1e-5)
end

TestFlows = {}

function TestFlows.test_the_logarithm_of_exact_flows_is_bakers()
    local L, theta = tasks(2, 10, { 3, 4, 2 })
    local a, b = .2, .3
    local w = bk.bea.word{ { L[1], a, exact = true }, { L[2], b, exact = true } }
    local U = function(t) return -a * bk.grad(L[1])(t) end
    local V = function(t) return -b * bk.grad(L[2])(t) end
    local uv = bk.lie(U, V)
    close("second", w:term(2)(theta), uv(theta) / 2)
    close("third", w:term(3)(theta), (bk.lie(U, uv)(theta) - bk.lie(V, uv)(theta)) / 12)
    close("fourth", w:term(4)(theta), bk.lie(V, bk.lie(U, uv))(theta) / -24)
    close("conflict", w:conflict()(theta), uv(theta) / 2)
    lu.assertTrue(w:flatness()(theta):norm():item() < 1e-14)
    lu.assertAlmostEquals(w:order_matrix():totable()[1][2], a * b, 1e-16)
    close("steps", w:step(theta), bk.flow(V, bk.flow(U, theta)), 1e-11)
    local alone = bk.bea.word{ { L[1], a, exact = true } }
    for k = 2, 4 do lu.assertTrue(alone:term(k)(theta):norm():item() < 1e-13) end
end

TestFields = {}

function TestFields.test_a_field_stands_where_a_loss_does()
    local gap = bk.bea.order_gap(X, Y, { lr = 1e-4 })(plane)
    close("predicted", gap.predicted, bk.lie(X, Y)(plane) * 1e-8, 1e-12)
    close("measured", gap.measured, gap.predicted, 1e-3)
    local m = bk.bea.continual{ losses = { X, Y }, lr = .1 }
    close("field", m:field(2)(plane), bk.bea.word{ { X, .1 }, { Y, .1 } }:log(2)(plane) / .1)
    local t = m:terms(plane)
    close("conflict", t.conflict, bk.lie(X, Y)(plane) * .05)
    lu.assertAlmostEquals(t.conflict_norm, t.conflict:norm():item(), 1e-15)
    lu.assertNil(t.original)
    local both = function(s) return X(s) + Y(s) end
    close("joint", bk.bea.multitask{ losses = { X, Y }, lr = .1 }:grad(plane),
        both(plane) + .05 * along(both, plane, both(plane)))
    lu.assertErrorMsgContains("multitask: losses[1]: expected a loss", function()
        bk.bea.multitask{ losses = { X, payoff }, lr = .1 }:loss()(plane)
    end)
end

function TestFields.test_effects_on_a_target()
    local E = function(t) return (t:square() * bk.tensor{ 1, 2, 3, 4 }):sum() end
    local want = bk.grad(E)(plane):dot(bk.lie(X, Y)(plane)):item()
    local t = bk.bea.tournament{ sources = { X, Y }, target = E, theta = plane }
    lu.assertAlmostEquals(t.pairs:totable()[1][2], want, 1e-13)
    local k = 1e-3
    lu.assertAlmostEquals(bk.bea.path_bracket{ X, Y, target = E, theta = plane, time = k } / k ^ 2, want, 1e-2)
    k = 0.05
    local xy = E(bk.bea.word{ { X, k, exact = true }, { Y, k, exact = true } }:step(plane))
    local yx = E(bk.bea.word{ { Y, k, exact = true }, { X, k, exact = true } }:step(plane))
    local path = bk.bea.path_bracket{ X, Y, target = E, theta = plane, time = k, steps = 64 }
    lu.assertAlmostEquals(path / (xy - yx):item(), 1, 2e-3) -- the bracket at the start alone: 0.982
end

function TestFields.test_a_wrong_shape_names_its_place()
    local L, theta = tasks(1, 11, { 3, 4, 2 })
    local short = function(t) return t:narrow(1, 1, 2) end
    local w = bk.bea.word{ { L[1], .1 }, { short, .1 } }
    lu.assertErrorMsgContains("word: step 2: ", w.step, w, theta)
    lu.assertErrorMsgContains("word: step 2: ", function() w:term(2)(theta) end)
    lu.assertErrorMsgContains("word: step 2: ", function() w:verify{ theta = theta } end)
    lu.assertErrorMsgContains("lie: Y: ", function() bk.lie(L[1], short)(theta) end)
    lu.assertErrorMsgContains("losses[2]", function()
        bk.bea.continual{ losses = { L[1], short }, lr = .1 }:terms(theta)
    end)
end

-- Another implementation's values (BRACKET_SHARED, or ../shared); the formulas above stand without them.
local shared = (os.getenv("BRACKET_SHARED") or "../shared") .. "/reference/"
local file = io.open(shared .. "any_step.lua")
if not file then return end
file:close()

TestAnyStep = {}

local function facts()
    local r, want = dofile(shared .. "derivatives.lua")[1], dofile(shared .. "any_step.lua")
    lu.assertEquals(r.name, want.network)
    local function tensor(t) return bk.tensor(t.data):reshape(t.shape) end
    local model, L = bk.nn.mlp{ activation = r.model.activation, table.unpack(r.model.mlp) }, {}
    for i = 1, #r.x do L[i] = bk.loss.mse(model, tensor(r.x[i]), tensor(r.y[i])) end
    return want, L, bk.tensor(r.theta)
end

function TestAnyStep.test_maps()
    local want, L, theta = facts()
    local g = bk.grad(L[1])
    local maps = { ["sam rho = h/2"] = sam(L[1], 1 / 2), extragradient = extragradient(L[1]),
        ["decoupled decay 0.3"] = function(t, h) return t * (1 - h * 0.3) - h * g(t) end }
    for name, terms in pairs(want.maps) do
        local w = bk.bea.word{ { map = maps[name], lr = 1 } }
        for k, value in pairs(terms) do close(name, w:term(tonumber(k))(theta), bk.tensor(value), 1e-9) end
    end
end

function TestAnyStep.test_a_word_to_any_order()
    local want, L, theta = facts()
    local steps = {}
    for s, step in ipairs(want.word.steps) do steps[s] = { L[step[1]], step[2] } end
    local w = bk.bea.word(steps)
    for k, value in pairs(want.word.terms) do
        close("term " .. k, w:term(tonumber(k))(theta), bk.tensor(value), 1e-9)
    end
end

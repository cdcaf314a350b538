-- func_test.lua - functions of tensors and their derivatives: closed forms and finite differences, nesting, closures,
-- arguments that are no tensors, caching, tracing errors.
local bk = require "bracket"
local lu = require "luaunit"

local function values(t) return t:reshape { -1 }:totable() end
local function near(a, b, tolerance)
    if bk.is_tensor(a) then a = values(a) end
    if bk.is_tensor(b) then b = values(b) end
    lu.assertEquals(#a, #b)
    for i = 1, #a do lu.assertAlmostEquals(a[i], b[i], tolerance or 1e-12) end
end
local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end
local function cube(t) return (t ^ 3):sum() end
local function quartic(t) return t:square():sum() ^ 2 end

TestDerivatives = {}

function TestDerivatives.test_closed_forms_of_orders_one_to_four()
    local x = bk.tensor { 1, -2, 0.5 }
    near(bk.grad(cube)(x), { 3, 12, 0.75 })
    near(bk.hvp(cube)(x, bk.ones { 3 }), { 6, -12, 3 })
    near(bk.hessian(cube)(x), { 6, 0, 0, 0, -12, 0, 0, 0, 3 })
    local y, g = bk.value_and_grad(quartic)(x)
    near({ y:item() }, { 5.25 ^ 2 })
    near(g, { 4 * 5.25, 4 * 5.25 * -2, 4 * 5.25 * 0.5 })
    local f = function(s) return s:sin() end
    local at, expected = bk.tensor(0.7), { math.cos(0.7), -math.sin(0.7), -math.cos(0.7), math.sin(0.7) }
    for order = 1, 4 do
        f = bk.grad(f)
        near({ f(at):item() }, { expected[order] })
    end
    near({ bk.grad(function(s) return s ^ 2 end)(3):item() }, { 6 }) -- a number as the first argument is a 0-d tensor
end

-- A compiled sum leaves factors that are repeated along its axes out of it; operations one by one multiply by them.
function TestDerivatives.test_sums_of_products_with_repeated_factors()
    local shape, axes = { 2, 3, 4, 5 }, { {}, { 1 }, { 4 }, { 1, 4 }, { 3, 4 }, { 2, 3 }, { 1, 2, 3, 4 }, { 2, 4 } }
    local factors = { { 1, 3, 1, 1 }, { 2, 1, 4, 1 }, { 5 }, { 3, 4, 5 }, { 1, 1, 1, 1 }, {}, { 2, 3, 1, 1 }, shape }
    local x, y = bk.rng(11):normal(shape), bk.rng(12):normal(shape)
    for k, size in ipairs(factors) do
        local f = bk.rng(12 + k):normal(size)
        local parts = { [0] = x * f, x * (y * f), (f * y) * (x * f) }
        for _, dims in ipairs(axes) do
            local function sum(t) if #dims == 0 then return t:sum() end return t:sum(dims) end
            near(bk.compile(function(a, b) return sum(a * b) end)(x, f), sum(parts[0]), 1e-12)
            near(bk.compile(function(a, b, c) return sum(a * (b * c)) end)(x, y, f), sum(parts[1]), 1e-12)
            near(bk.compile(function(a, b, c) return sum((c * b) * (a * c)) end)(x, y, f), sum(parts[2]), 1e-12)
        end
    end
end

-- What is less its mean sums to nothing along the same axes and any more, times what does not change along them too;
-- not along fewer, nor times what does change. Sums over axes apart go by the last ones first.
function TestDerivatives.test_sums_of_what_is_less_its_mean()
    local shape = { 4, 3, 17 }
    local x, y = bk.rng(13):normal(shape), bk.rng(14):normal(shape)
    local function centred(t, axes) return t - t:mean(axes, { keep = true }) end
    local function compiled(f) return bk.compile(f)(x, y) end
    local function nothing(f) lu.assertEquals(compiled(f):abs():sum():item(), 0) end
    for _, axes in ipairs{ { 3 }, { 1, 3 }, { 2, 3 } } do
        local one = bk.rng(15):normal{ axes[1] == 1 and 1 or 4, axes[1] == 2 and 1 or 3, 1 }
        for _, over in ipairs{ axes, { 1, 2, 3 } } do
            nothing(function(a) return centred(a, axes):sum(over) end)
            nothing(function(a) return (one * centred(2.5 * a, axes)):sum(over) end)
            near(compiled(function(a, b) return (b + one * centred(a, axes)):sum(over) end), y:sum(over), 1e-12)
        end
        for _, over in ipairs{ { 1 }, { 2 }, { 1, 2 }, { 1, 3 }, { 3 } } do
            local moves = bk.rng(16):normal(shape)
            local function plain(a) return centred(a, axes):sum(over) end
            local function times(a) return (moves * centred(a, axes)):sum(over) end
            near(compiled(plain), plain(x), 1e-12)
            near(compiled(times), times(x), 1e-12)
        end
    end
end

-- For every function the largest error of gradient and second derivatives against central differences.
function TestDerivatives.test_every_function_against_finite_differences()
    local m = bk.rng(9):normal { 4, 3 }
    local ids = bk.tensor({ 2, 0, 1, 1 }, { dtype = "int64" })
    local w = bk.rng(10):normal { 2, 1, 2, 2 }
    local cases = {
        exp = function(t) return t:exp():sum() end,
        expm1_log1p = function(t) return (t:square():log1p() * t:expm1()):sum() end,
        sqrt_log = function(t) return ((t:square() + 1):sqrt() * (t:square() + 2):log()):sum() end,
        sin_cos = function(t) return (t:sin() * t:cos() * t):sum() end,
        tanh = function(t) return (t:tanh() * t):sum() end,
        sigmoid_softplus = function(t) return (t:sigmoid() * t:softplus()):sum() end,
        gelu_erf = function(t) return (t:gelu() + t:erf() * t):sum() end,
        powers = function(t) return ((t:square() + 1) ^ 1.5 + 2 ^ t + (t:square() + 1) ^ t):sum() end,
        quotients = function(t)
            local u = t:square() + 1
            return (t / u + 1 / (u + 1) + 3 / u + t / 7):sum()
        end,
        abs_relu_max = function(t)
            return ((t + 10):abs() * t:relu():square() + bk.maximum(t, t:square())):sum()
        end,
        extremes = function(t) return (t:max(1) ^ 3):sum() + t:min() ^ 2 * t:max() end,
        reductions = function(t)
            return t:var() * t:norm() + (t:mean(1) * t:sum(2):sum()):square():sum() + t:std(1):sum()
        end,
        cumsum_flip = function(t) return (t:cumsum(1) * t:flip(2)):square():sum() end,
        softmax = function(t) return (t:softmax() * t:log_softmax(1)):sum() + t:logsumexp(1):square():sum() end,
        cross_entropy = function(t) return -t:log_softmax():take(ids):mean() end,
        gather = function(t) return (t:gather(ids + 1) * t):square():sum() + t[2][3] ^ 3 end,
        shapes = function(t)
            local u = t:transpose():reshape { 2, 6 }:pad({ 1, 0 }, { 0, 2 }):permute { 2, 1 }
            local w2 = bk.stack({ t, t * t }, 2):narrow(2, 2, 1)
            return (bk.concat { u, u:square() } * 2):exp():sum() + w2:square():sum()
        end,
        matmul = function(t)
            local s = t:transpose():matmul(t):dot(bk.ones { 3, 3 })
            return t:matmul(m:transpose()):square():sum() + s ^ 2
        end,
        outer = function(t) return t[1]:outer(t[2]):square():sum() end,
        where = function(t)
            return bk.where(t:gt(0), t:square(), t ^ 3):sum() + t:clamp(-0.5, 0.5):square():sum()
        end,
        layer_norm = function(t) return (t:layer_norm() ^ 3):sum() end,
        conv = function(t)
            local y = bk.conv2d(t:reshape { 1, 1, 4, 3 }, w, { padding = 1 })
            return y:square():sum() + y:avgpool2d(2):square():sum() + (y:maxpool2d(2) ^ 3):sum()
        end,
        squeeze = function(t) return (t:unsqueeze(2):broadcast_to { 4, 2, 3 }:flatten() ^ 3):sum() end,
    }
    local theta = bk.rng(4):normal { 4, 3 }
    for name, f in pairs(cases) do
        local worst = bk.check_grad(f, theta)
        lu.assertTrue(worst < 1e-7, name .. ": " .. worst)
    end
end

function TestDerivatives.test_check_grad_sees_a_wrong_derivative()
    local function wrong(t) return (t:square() * bk.stop_gradient(t)):sum() end -- its gradient lacks a term
    lu.assertTrue(bk.check_grad(wrong, bk.tensor { 1, 2 }) > 0.1)
    local function wrong_second(t) return (t:sin() + bk.stop_gradient(t:cos()) * (t - bk.stop_gradient(t))):sum() end
    lu.assertTrue(bk.check_grad(wrong_second, bk.tensor { 1, 2 }) > 0.1)
    lu.assertTrue(bk.check_grad(cube, bk.rng(1):normal({ 50 }, { dtype = "float32" })) < 1e-3)
    fails("check_grad: f must return a 0-d tensor, got (2)", bk.check_grad, function(t) return t end, bk.ones { 2 })
end

function TestDerivatives.test_hvp_takes_several_directions()
    local x, v = bk.rng(1):normal { 5 }, bk.rng(2):normal { 3, 5 }
    local all = bk.hvp(quartic)(x, v)
    lu.assertEquals(all:shape(), { 3, 5 })
    for k = 1, 3 do near(all[k], bk.hvp(quartic)(x, v[k])) end
    near(all, bk.hessian(quartic)(x):matmul(v:transpose()):transpose(), 1e-10)
    fails("hvp: v: expected", bk.hvp(quartic), x, bk.ones { 4 })
end

-- Large ones are made some rows at a time: the rows of hvp along the axes ...
local LARGE = [[
local model = bk.nn.mlp { 10, 20, 10, 3, activation = "tanh" }
local L = bk.loss.cross_entropy(model, bk.rng(1):normal { 32, 10 }, bk.rng(2):integers({ 32 }, 3))
local theta, P = model:init { seed = 1 }, model.n_params
]]

-- ... at little more than their own memory, of which the peak is a process's.
function TestDerivatives.test_large_hessians_in_little_memory()
    local path = os.tmpname()
    local f <close> = assert(io.open(path, "w"))
    f:write(LARGE, [[
        bk.grad(L)(theta)
        collectgarbage()
        local before = bk.memory()
        local H = bk.hessian(L)(theta)
        local _, peak = bk.memory()
        print((peak - before) / (8 * P * P))
    ]])
    f:flush()
    local p = io.popen((os.getenv("BRACKET_BUILD") or "build") .. "/bracket " .. path)
    local ratio = p:read("n")
    p:close()
    os.remove(path)
    lu.assertTrue(ratio < 3, ("peak: %.2f of the result"):format(ratio))
end

function TestDerivatives.test_large_hessians()
    local L, theta, P = load("local bk = ... " .. LARGE .. "return L, theta, P")(bk)
    local H = bk.hessian(L)(theta)
    for _, k in ipairs { 1, 2, P // 2, P - 1, P } do
        local e = bk.zeros { P } + bk.arange(P):eq(k - 1)
        near(H[k], bk.hvp(L)(theta, e), 1e-13)
    end
    for _, shape in ipairs { { 64 }, { 65 }, { 5, 13 }, { 130 }, { 3, 43 } } do -- both ways, rows left over
        local f = function(t, a) return quartic(t:reshape { -1 }) + (t * a):sum() ^ 2 + t:sum() ^ 3 end
        local x, a, v = bk.rng(1):normal(shape), bk.rng(2):normal(shape), bk.rng(3):normal(shape)
        local n = x:count()
        local h = bk.hessian(f)(x, a)
        lu.assertEquals(h:shape(), #shape == 1 and { n, n } or { shape[1], shape[2], shape[1], shape[2] })
        near(h:reshape { n, n }:matmul(v:reshape { n }), bk.hvp(f)(x, v, a):reshape { n }, 1e-9)
    end
    fails("hessian: argument 1: expected a float tensor, got int64", bk.hessian(quartic), bk.arange(100):to "int64")
    fails("at most 4 are possible", bk.hessian(quartic), bk.ones { 3, 3, 3, 3, 3 })
end

-- Arguments the result does not depend on are given room in the plan all the same.
function TestDerivatives.test_unused_arguments()
    local x, y = bk.ones { 3, 4 }, bk.ones { 5 }
    near(bk.hvp(function(z) return z:sum() end)(x, x, y), bk.zeros { 12 })
    local many = {}
    for i = 1, 40 do many[i] = y * i end
    near(bk.compile(function(z) return z:sum() end)(x, table.unpack(many)), { 12 })
    near(bk.compile(function() return bk.full({ 2 }, 3) end)(x, table.unpack(many)), { 3, 3 })
    near(bk.grad(function(z) return z:sum() end)(x, table.unpack(many)), bk.ones { 12 })
end

function TestDerivatives.test_jvp_and_vjp_are_adjoint()
    local function f(a, b) return a:matmul(b):tanh(), a:sum() * b end
    local a, b = bk.rng(1):normal { 3, 4 }, bk.rng(2):normal { 4, 2 }
    local da, db = bk.rng(3):normal { 3, 4 }, bk.rng(4):normal { 4, 2 }
    local y1, y2, dy1, dy2 = bk.jvp(f, { a, b }, { da, db })
    local z1, z2, pullback = bk.vjp(f, a, b)
    near(y1, z1)
    near(y2, z2)
    local c1, c2 = bk.rng(5):normal { 3, 2 }, bk.rng(6):normal { 4, 2 }
    local ga, gb = pullback(c1, c2)
    lu.assertAlmostEquals((c1:dot(dy1) + c2:dot(dy2)):item(), (ga:dot(da) + gb:dot(db)):item(), 1e-11)
    local h = 1e-6
    local p1, m1 = f(a + h * da, b + h * db), f(a - h * da, b - h * db)
    near(dy1, (p1 - m1) / (2 * h), 1e-8)
    local _, _, only_a = bk.jvp(f, { a, b }, { da })
    near(only_a, (f(a + h * da, b) - f(a - h * da, b)) / (2 * h), 1e-8)
    local y, back = bk.vjp(cube, bk.tensor { 1, 2 })
    near({ y:item() }, { 9 })
    near(back(), { 3, 12 })
    near(back(2), { 6, 24 })
    fails("expected a tensor, got \"x\"", back, "x")
end

function TestDerivatives.test_vmap_is_a_loop()
    local x, y = bk.rng(1):normal { 4, 3 }, bk.rng(2):normal { 4, 3 }
    local function f(a, b) return (a * b):tanh():sum() * a end
    local all = bk.vmap(f)(x, y)
    local grads = bk.vmap(bk.grad(function(a, b) return f(a, b):sum() end))(x, y)
    for i = 1, 4 do
        near(all[i], f(x[i], y[i]))
        near(grads[i], bk.grad(function(a, b) return f(a, b):sum() end)(x[i], y[i]))
    end
    fails("vmap: argument 2: expected size 4 in dimension 1, as argument 1 (4,3), got (3,3)", bk.vmap(f), x,
        bk.ones { 3, 3 })
end

function TestDerivatives.test_vmap_over_the_dimensions_in_axes_names()
    local r = bk.rng(3)
    local x, w, y = r:normal { 3, 4 }, r:normal { 3, 2 }, r:normal { 2, 5, 4 }
    local function f(a, m, b) return a:matmul(m):tanh():sum() * b, (a * a):sum() end
    local v, s = bk.vmap(f, { in_axes = { 2, false, -1 } })(x, w, y)
    lu.assertEquals({ v:shape(), s:shape() }, { { 4, 2, 5 }, { 4 } })
    for i = 1, 4 do
        local a = x:transpose()[i]
        local one, square = f(a, w, y:permute { 3, 1, 2 }[i])
        near(v[i], one)
        near(s[i], square)
    end
    -- a value that is no tensor serves every place, whatever stands in its place in in_axes
    local function power(a, n, b) return (a ^ n):sum() * b end
    local p = bk.vmap(power, { in_axes = { 1, 1, false } })(x, 3, bk.tensor(2))
    for i = 1, 3 do near({ p[i]:item() }, { 2 * (x[i] ^ 3):sum():item() }) end
    near(bk.vmap(power, { in_axes = 2 })(x, 2, bk.ones { 1, 4 }), (x * x):sum(1):reshape { 4, 1 })
    local g = bk.grad(function(a) return (bk.vmap(f, { in_axes = { 2, false, -1 } })(a, w, y) ^ 2):sum() end)
    near(g(x), bk.grad(function(a)
        local sum = bk.tensor(0)
        for i = 1, 4 do sum = sum + (f(a:transpose()[i], w, y:permute { 3, 1, 2 }[i]) ^ 2):sum() end
        return sum
    end)(x), 1e-10)
    fails("vmap: in_axes: expected a dimension", bk.vmap, f, { in_axes = { 0 } })
    fails("vmap: in_axes: expected a dimension", bk.vmap, f, { in_axes = { "x" } })
    fails("vmap: argument 2: in_axes: expected a dimension of (3,2), got 3", bk.vmap(f, { in_axes = { 1, 3, 1 } }), x,
        w, y)
    fails("for at least one argument", bk.vmap(f, { in_axes = { false, false, false } }), x, w, y)
    fails("in_axes", bk.vmap, f, { axes = 1 }) -- an unknown option lists the known
end

-- Losses of single examples, by vmap over x and y, against a loop; by vmap over parameters too.
function TestDerivatives.test_vmap_gives_the_gradient_of_every_example()
    local r = bk.rng(5)
    local cnn = bk.nn.sequential { bk.nn.conv2d { 1, 2, kernel = 3, padding = 1 }, bk.nn.tanh(), bk.nn.avgpool2d { 2 },
        bk.nn.conv2d { 2, 3, kernel = 2, stride = 2 }, bk.nn.maxpool2d { 2, stride = 1 }, bk.nn.flatten(),
            bk.nn.linear { 3, 3 } }
    local mlp = bk.nn.mlp { 4, 5, 3 }
    local classes = bk.tensor({ 0, 2, 1, 2 }, { dtype = "int64" }):reshape { 4, 1 }
    for _, case in ipairs { { cnn, r:normal { 4, 1, 1, 8, 8 } }, { mlp, r:normal { 4, 1, 4 } } } do
        local model, x = case[1], case[2]
        local loss, theta = bk.loss.cross_entropy(model), model:init { seed = 2 }
        local grads = bk.vmap(bk.grad(loss), { in_axes = { false, 1, 1 } })(theta, x, classes)
        lu.assertEquals(grads:shape(), { 4, model.n_params })
        local thetas, v = r:normal({ 2, model.n_params }) * 0.5, r:normal { model.n_params }
        local nested = bk.vmap(bk.vmap(bk.grad(loss), { in_axes = { false, 1, 1 } }),
            { in_axes = { 1, false, false } })(thetas,
            x, classes)
        local products = bk.vmap(bk.vmap(bk.hvp(loss), { in_axes = { false, false, 1, 1 } }),
            { in_axes = { 1, false, false,
            false } })(thetas, v, x, classes)
        for i = 1, 4 do
            near(grads[i], bk.grad(loss)(theta, x[i], classes[i]))
            for k = 1, 2 do
                near(nested[k][i], bk.grad(loss)(thetas[k], x[i], classes[i]), 1e-11)
                near(products[k][i], bk.hvp(loss)(thetas[k], v, x[i], classes[i]), 1e-11)
            end
        end
        -- the mean of the examples' gradients is the batch's
        local shape = x:shape()
        table.remove(shape, 2)
        near(grads:mean(1), bk.grad(loss)(theta, x:reshape(shape), classes:reshape { 4 }), 1e-11)
    end
end

function TestDerivatives.test_lie_bracket_by_hessians_and_for_linear_fields()
    local x = bk.tensor { 1, 2 }
    near(bk.lie(cube, function(t) return t:sum() ^ 2 end)(x), { -6, -42 }) -- H2 g1 - H1 g2 by hand
    local a, b = bk.tensor { { 1, 2 }, { 3, 4 } }, bk.tensor { { 0, 1 }, { -1, 2 } }
    local function X(t) return a:matmul(t) end
    local function Y(t) return b:matmul(t) end
    near(bk.lie(X, Y)(x), (b:matmul(a) - a:matmul(b)):matmul(x)) -- DY X - DX Y
    local function P(t, s) return (t * s):square():sum() end
    local function Q(t, s) return (t * s):exp():sum() end
    near(bk.lie(P, Q)(x, x * 0.5), bk.lie(function(t) return P(t, x * 0.5) end, -- further arguments go to both
        function(t) return Q(t, x * 0.5) end)(x))
    near(bk.lie(Y, X)(x), bk.lie(X, Y)(x) * -1)
    local function Z(t) return t:sin() * t:sum() end
    local jacobi = bk.lie(X, bk.lie(Y, Z))(x) + bk.lie(Y, bk.lie(Z, X))(x) + bk.lie(Z, bk.lie(X, Y))(x)
    near(jacobi, { 0, 0 }, 1e-11)
end

TestTracing = {}

function TestTracing.test_derivatives_nest_without_confusing_their_variables()
    local inner = function(x) return bk.grad(function(y) return x * y end)(bk.tensor(1)) end -- = x
    near({ bk.grad(function(x) return x * inner(x) end)(3):item() }, { 6 })
    near({ bk.grad(function(x) return x * bk.grad(function(y) return x * y ^ 2 end)(x) end)(2):item() }, { 6 * 4 })
    near(bk.grad(function(x) return bk.grad(cube)(x):square():sum() end)(bk.tensor { 1, 2 }), { 36, 288 })
end

function TestTracing.test_closures_over_tensors_traced_and_not()
    local w = bk.tensor { 2, 3 }
    near(bk.grad(function(x) return (x * w):sum() end)(bk.ones { 2 }), { 2, 3 })
    local function outer(x) -- the inner function reads the traced x and is called on a concrete tensor
        return bk.grad(function(y) return (y:square() * x):sum() end)(w):sum()
    end
    near(bk.grad(outer)(bk.ones { 2 }), { 4, 6 })
end

function TestTracing.test_results_may_be_constants_or_numbers()
    near(bk.grad(function() return 3 end)(bk.ones { 2 }), { 0, 0 })
    near(bk.grad(function() return bk.tensor(3) end)(bk.ones { 2 }), { 0, 0 })
    fails("result 1 of this function: expected a tensor, got \"x\"", bk.grad(function() return "x" end), bk.ones { 2 })
    fails("func_test.lua", bk.grad(function() return nil, 1 end), bk.ones { 2 })
    fails("this function returned nothing", bk.grad(function() end), bk.ones { 2 })
    fails("0-d", bk.grad(function(x) return x end), bk.ones { 2, 3 })
end

function TestTracing.test_other_arguments_specialise_the_trace()
    local calls = 0
    local options = { scale = 5 }
    local function f(x, n, o, y)
        calls = calls + 1
        local s = (x ^ n):sum() * (o and o.scale or 1)
        return y and s + (x * y):sum() or s
    end
    local g, x = bk.grad(f), bk.tensor { 1, 2 }
    near(g(x, 2), { 2, 4 })
    near(g(x, 3), { 3, 12 })
    near(g(x, 2, options), { 10, 20 })
    near(g(x, 2, options, x), { 11, 22 })
    local after = calls
    near(g(x, 3), { 3, 12 })
    near(g(x, 2, options, x), { 11, 22 })
    lu.assertEquals(calls, after)
    near(bk.hvp(f)(x, bk.ones { 2 }, 3), { 6, 12 })
    local _, dy = bk.jvp(f, { x, 3 }, { bk.ones { 2 } })
    near({ dy:item() }, { 15 })
    local _, back = bk.vjp(f, x, 3)
    near(back(), { 3, 12 })
    near(bk.lie(f, f)(x, 3), { 0, 0 })
    for n = 1, 40 do near({ g(x, n)[1]:item() }, { n }) end
end

function TestTracing.test_one_trace_for_each_shape_however_often_it_is_wrapped()
    local calls = 0
    local function f(x)
        calls = calls + 1
        return x:square():sum()
    end
    for _ = 1, 5 do bk.grad(f)(bk.ones { 3 }) end
    lu.assertEquals(calls, 1)
    bk.grad(f)(bk.ones { 4 })
    bk.grad(f)(bk.ones({ 3 }, { dtype = "float32" }))
    lu.assertEquals(calls, 3)
    lu.assertEquals(bk.compile(f)(bk.ones { 3 }):item(), 3)
    lu.assertStrContains(tostring(bk.grad(f)), "grad of func")
end

-- Two tasks' bracket re-associates, so that every row of the tables has something to show.
function TestTracing.test_describe_shows_passes_kernels_times_and_steps()
    local r = bk.rng(1)
    local model = bk.nn.mlp { 30, 40, 5 }
    local theta = model:init { seed = 1 }
    local function loss() return bk.loss.mse(model, r:normal { 4, 30 }, r:normal { 4, 5 }) end
    local field = bk.lie(loss(), loss())
    local s, text = field:stats(theta), field:describe(theta)
    local names = {}
    for i, pass in ipairs(s.passes) do names[i] = pass.name end
    lu.assertEquals(names, { "needed", "re-associated", "accumulated", "lowered" })
    lu.assertTrue(s.nodes_built > s.passes[1].nodes and s.passes[2].nodes > s.passes[3].nodes)
    lu.assertTrue(s.flops_built > s.flops and s.passes[2].flops == s.flops and s.passes[1].flops == s.flops_built)
    lu.assertEquals(s.nodes, s.passes[4].nodes)
    local function row(name) return text:match("\n" .. name .. " +([^\n]+)")
        or error(name .. " is missing in\n" .. text) end
    lu.assertEquals(tonumber(row("traced")), s.nodes_built)
    for _, pass in ipairs(s.passes) do
        local nodes, flops = row((pass.name:gsub("%-", "%%-"))):match("(%d+) +(%S+)")
        lu.assertEquals(tonumber(nodes), pass.nodes)
        lu.assertAlmostEquals(tonumber(flops), pass.flops / 1e6, 1e-5 * pass.flops / 1e6)
    end
    lu.assertStrContains(row("fused"), ("in an arena of %.1f KiB"):format(s.arena_bytes / 1024))
    -- every step belongs to a kernel, every kernel has taken time, the shares add up
    local kernels, steps, share = text:match("\nkernel[^\n]*\n(.-)\n\nstep"), 0, 0
    lu.assertNotNil(kernels)
    for line in kernels:gmatch("[^\n]+") do
        local n, _, us, part = line:match("^%S+ +(%d+) +(%S+) +(%S+) +(%S+)%%")
        lu.assertTrue(tonumber(us) > 0, line)
        steps, share = steps + n, share + part
    end
    lu.assertEquals(steps, s.steps)
    lu.assertAlmostEquals(share, 100, 2)
    local _, lines = text:match("\nstep .*"):gsub("\n", "")
    lu.assertEquals(lines, s.steps + 2)
    fails("describe: argument 2: expected a tensor, got \"x\"", bk.compile(cube).describe, bk.grad(bk.loss.mse(model,
        r:normal { 4, 30 }, r:normal { 4, 5 })), theta, "x")
end

-- Sums that are taken as a pass goes by, of values it keeps and of others: runs and rows longer and shorter than a
-- block, cut by one, several a place, in several bands, after a change of shape; against sums of whole numbers, which
-- are exact, at 1 and 3 threads.
function TestTracing.test_sums_in_a_pass()
    for _, case in ipairs{ { { 3, 5, 700 }, 3 }, { { 3, 5, 700 }, { 2, 3 } }, { { 3, 5, 700 }, { 1, 3 } },
        { { 2, 3, 4, 50 }, { 1, 3, 4 } }, { { 70, 16 }, 2 }, { { 1500 }, 1 }, { { 9, 1, 333, 1 }, { 3, 4 } },
        { { 40, 3, 16, 17 }, { 1, 3, 4 } }, { { 20, 100 }, 1 },
        { { 64, 16 }, 1 }, { { 1000, 17 }, 1 }, { { 70, 1500 }, 1 }, { { 40, 30, 129 }, { 1, 2 } },
        { { 5000, 1, 64 }, 1 }, { { 100, 4, 333 }, 1 } } do
        local shape, axes = table.unpack(case)
        local count = 1
        for _, n in ipairs(shape) do count = count * n end
        for _, dtype in ipairs{ "float32", "float64" } do
            local a = bk.rng(1):integers(shape, 9):to(dtype)
            local function of(x)
                local y = x * 2 + 1
                local flat = (y * y):reshape{ count }
                return y, (flat - 3):reshape(shape):sum(axes), y:sum(axes), flat:sum()
            end
            local one, two, three, four = of(a) -- operation by operation
            for _, threads in ipairs{ 1, 3 } do
                bk.threads(threads)
                local kept, squares, sum, all = bk.compile(of)(a)
                near(kept, one, 0)
                near(squares, two, 0)
                near(sum, three, 0)
                near(all, four, 0)
            end
            bk.threads(1)
        end
    end
    for dim = 1, 2 do
        local function of(x) return (x * x):sum(dim) end
        lu.assertEquals(bk.compile(of):stats(bk.ones{ 64, 64 }).steps, 1)
    end
end
-- d (abc) = (bc, ac, ab), the parts of one matrix: read where they lie, and laid side by side.
function TestTracing.test_slices_are_read_where_they_lie_and_their_cotangents_joined()
    local t = bk.rng(3):normal { 5 * 50 }
    local function parts(m) return m:narrow(2, 1, 16), m:narrow(2, 17, 17), m:narrow(2, 35, 16) end
    local g = bk.grad(function(u)
        local a, b, c = parts(u:reshape { 5, 50 })
        return (a * b:narrow(2, 2, 16) * c):sum()
    end)
    local a, b, c = parts(t:reshape { 5, 50 })
    local none = bk.zeros { 5, 1 }
    b = b:narrow(2, 2, 16)
    local expected = bk.concat({ b * c, none, a * c, none, a * b }, 2):flatten()
    lu.assertTrue((g(t) - expected):abs():max():item() < 1e-14)
    lu.assertNil(g:describe(t):match("\n +%d+  pad [^\n]*"))
    lu.assertNil(g:describe(t):match("\n +%d+  slice [^\n]*"))
end

function TestTracing.test_movements_are_shared_by_threads()
    -- turned, cut, of four axes, repeated: beside the numbers' places, counted here
    local n, m = 700, 900
    local x = bk.arange(n * m):reshape{ n, m }
    local moves = {
        turned = { function(t) return t:transpose() end, m, n, function(i, j) return j * m + i end },
        cut = { function(t) return t:narrow(2, 101, 600) end, n, 600, function(i, j) return i * m + 100 + j end },
        axes = {
            function(t) return t:reshape{ 7, 100, 30, 30 }:permute(3, 1, 4, 2):reshape{ n, m } end, n, m,
            function(i, j)
                local at = i * m + j
                local a, b, c, d = at // 21000, at // 3000 % 7, at // 100 % 30, at % 100
                return ((b * 100 + d) * 30 + a) * 30 + c
            end,
        },
        repeated = { function(t) return t:narrow(1, 2, 1):broadcast_to{ n, m } end, n, m,
            function(_, j) return m + j end },
    }
    for name, move in pairs(moves) do
        local f, rows, columns, at = bk.compile(move[1]), table.unpack(move, 2)
        local want = {}
        for i = 0, rows - 1 do for j = 0, columns - 1 do want[#want + 1] = at(i, j) end end
        want = bk.tensor(want):reshape{ rows, columns }
        for _, threads in ipairs{ 1, 2, 3 } do
            bk.threads(threads)
            lu.assertTrue(f(x) == want, name .. ", threads " .. threads)
        end
    end
    bk.threads(1)
end

function TestTracing.test_results_are_the_same_bits_at_any_number_of_threads()
    -- products that are cut, passes with biases (views) that are shared, turns of two, three and more steps,
    -- convolutions, pooling, norms
    local r, nn = bk.rng(5), bk.nn
    for _, case in ipairs{
        { nn.mlp{ 576, 301, 260, 10, activation = "tanh" }, { 150, 576 } },
        { nn.mlp{ 576, 301, 260, 10, activation = "relu" }, { 150, 576 } },
        { nn.sequential{ nn.conv2d{ 1, 8, kernel = 5 }, nn.tanh(), nn.avgpool2d{ 2 }, nn.flatten(),
            nn.linear{ 800, 10 } }, { 64, 1, 24, 24 } },
        { nn.sequential{ nn.conv2d{ 2, 5, kernel = 3 }, nn.relu(), nn.maxpool2d{ 2 }, nn.flatten(),
            nn.linear{ 605, 10 } }, { 75, 2, 24, 24 } },
        { nn.sequential{ nn.conv2d{ 3, 16, kernel = 3, padding = 1 }, nn.group_norm{ 4, 16 }, nn.relu(),
            nn.residual{ nn.conv2d{ 16, 16, kernel = 3, padding = 1 }, nn.group_norm{ 4, 16 } }, nn.avgpool2d{ 16 },
            nn.flatten(), nn.linear{ 16, 10 } }, { 13, 3, 16, 16 } },
    } do
        local model, shape = table.unpack(case)
        local losses = {}
        for t = 1, 2 do
            losses[t] = bk.loss.cross_entropy(model, r:normal(shape, { dtype = "float32" }),
                r:integers({ shape[1] }, 10))
        end
        local theta = model:init{ seed = 1 }:to("float32")
        local bracket, first = bk.lie(losses[1], losses[2]), nil
        for _, threads in ipairs{ 1, 2, 3, 7 } do
            bk.threads(threads)
            local b = bracket(theta)
            first = first or b
            lu.assertEquals((b - first):abs():max():item(), 0)
            lu.assertTrue(b:norm():item() > 0)
        end
        bk.threads(1)
    end
end

-- How many rows of a Hessian are made at a time was chosen by what kernels work in on the threads there are.
function TestTracing.test_rows_of_a_hessian_do_not_depend_on_threads()
    for examples, channels in pairs{ [9] = 3, [16] = 6 } do
        local nn = bk.nn
        local model = nn.sequential{ nn.conv2d{ 1, channels, kernel = 3, stride = 2 }, nn.gelu(),
            nn.conv2d{ channels, channels, kernel = 3, padding = 1 }, nn.tanh(), nn.avgpool2d{ 2 }, nn.flatten(),
            nn.linear{ 9 * channels, 4 } }
        local x, y = bk.rng(1):normal{ examples, 1, 13, 13 }, bk.rng(2):integers({ examples }, 4)
        local theta, first = model:init{ seed = 1 }, nil
        for _, threads in ipairs{ 1, 4, 16 } do
            bk.threads(threads)
            local H = bk.hessian(bk.loss.cross_entropy(model, x, y))(theta) -- a program of its own
            bk.threads(1)
            first = first or H
            lu.assertTrue(H == first, examples .. " examples, threads " .. threads)
        end
    end
end

-- Many buffers alive at once. Best of five each, in processor time: about 4 times as much, where a square is 16.
function TestTracing.test_compiling_takes_time_in_proportion_to_the_graph()
    local function seconds(n)
        local f = bk.compile(function(t)
            local kept = {}
            for i = 1, n do
                t = (t * i):cumsum(1)
                kept[i] = t
            end
            for i = n, 1, -1 do t = (t + kept[i]):cumsum(1) end
            return t
        end)
        local _, before = bk.clock()
        f:stats(bk.ones{ 2 })
        local _, after = bk.clock()
        return after - before
    end
    local small, large = math.huge, math.huge
    for _ = 1, 5 do small, large = math.min(small, seconds(4000)), math.min(large, seconds(16000)) end
    lu.assertTrue(large < 9 * small, small .. " s, then " .. large .. " s")
end

function TestTracing.test_errors_keep_their_place_and_their_value()
    local function bad(x) return x:matmul(bk.ones { 4, 4 }) end
    fails("func_test.lua", bk.grad(bad), bk.ones { 2, 3 })
    fails("matmul: inner sizes differ: (2,3) x (4,4)", bk.grad(bad), bk.ones { 2, 3 })
    local value = {}
    local ok, got = pcall(bk.grad(function() error(value) end), bk.ones { 2 })
    lu.assertFalse(ok)
    lu.assertIs(got, value)
    fails("not while tracing", bk.grad(function(x) return (x * math.random()):sum() end), bk.ones { 2 })
    local message = select(2, pcall(function() math.random(0.5) end)) -- as Lua words it
    lu.assertStrContains(message, "bad argument #1 to 'random' (number has no integer representation)")
    lu.assertStrContains(select(2, pcall(function() math.random(3, 1) end)), "#2 to 'random' (interval is empty)")
    fails("not while tracing", bk.grad(function(x) return x * x:sum():item() end), bk.ones { 2 })
    fails("not while tracing", bk.grad(function(x) return x:sum() * #x:totable() end), bk.ones { 2 })
    fails("not while tracing", bk.grad(function(x) if x:sum() > 0 then return x:sum() end end), bk.ones { 2 })
    near(bk.grad(cube)(bk.ones { 2 }), { 3, 3 }) -- and the next call is unharmed
end

function TestTracing.test_a_tensor_kept_past_its_trace_is_refused()
    local kept
    bk.grad(function(x)
        kept = x * 2
        return kept:sum()
    end)(bk.ones { 2 })
    fails("belongs to a trace that is over", function() return kept + 1 end)
    fails("belongs to a trace that is over", bk.grad(function(x) return (x + kept):sum() end), bk.ones { 2 })
    lu.assertEquals(tostring(kept), "tensor of a trace that is over")
    fails("bk.jvp: argument: this tensor belongs", bk.jvp, function(x) return x end, kept, bk.ones { 2 })
    fails("bk.add: right operand: this tensor belongs", bk.add, 1 << 60, kept)
end

function TestTracing.test_arguments_are_checked()
    fails("grad: f: expected a function of tensors, got 3", bk.grad, 3)
    fails("grad(f)(θ)", bk.grad, cube, bk.ones { 2 })
    fails("int64", bk.grad(cube), bk.tensor({ 1 }, { dtype = "int64" }))
    fails("jvp: tangents: expected at most 1", bk.jvp, cube, { bk.ones { 2 } }, { bk.ones { 2 }, bk.ones { 2 } })
    fails("tangent 1: expected shape (2), got (3)", bk.jvp, cube, { bk.ones { 2 } }, { bk.ones { 3 } })
    fails("bk.lie: Y: expected a function", bk.lie, cube, "x")
    fails("argument 1: expected a tensor, got table", bk.grad(cube), { 1, 2 })
    near(bk.grad(function(t) return bk.tensor(t):sum() end)(bk.ones { 2 }), { 1, 1 })
    fails("t:to(dtype) casts it", bk.grad(function(t) return bk.tensor(t, { dtype = "float32" }):sum() end),
        bk.ones { 2 })
    fails("jvp: tangents: expected a table, one tensor an argument, got nil", bk.jvp, cube, bk.ones { 2 })
    fails("jvp: tangents: expected a table, one tensor an argument, got nil", bk.jvp, cube)
    -- the call before must not write past its stack
    fails("jvp: f: expected a function of tensors, got nothing", bk.jvp)
    fails("vmap: argument 1: expected a leading dimension to map over, got ()", bk.vmap(cube), bk.tensor(3))
end

function TestTracing.test_callable_objects_and_coroutines()
    local object = setmetatable({ n = 3 }, { __call = function(self, x) return (x ^ self.n):sum() end })
    near(bk.grad(object)(bk.tensor { 1, 2 }), { 3, 12 })
    local co = coroutine.wrap(function() return bk.grad(function(x) return (x ^ 2):sum() end)(bk.tensor { 1, 2 }) end)
    near(co(), { 2, 4 })
end

function TestTracing.test_functions_in_a_cycle_with_their_derivative_are_collected()
    local gone = setmetatable({}, { __mode = "k" })
    local count = 0
    for _ = 1, 20 do
        local g, mark = nil, {}
        gone[mark] = true
        local function f(x) return (x * x):sum() + (g and mark and 0 or 1) end
        g = bk.grad(f)
        g(bk.ones { 2 })
        bk.lie(f, g)
    end
    collectgarbage()
    collectgarbage()
    for _ in pairs(gone) do count = count + 1 end
    lu.assertTrue(count <= 1, count .. " of 20 alive")
end

-- A loss outlives its model and the model's own layer: between their death and their finalizers, which many others
-- precede, the layer's function is still there to be traced. A process of its own: the collector stands where it did.
local LEFT = [[
local layer = bk.nn.layer{ name = "scaled", input = { "batch", "features" },
    params = { { "w", shape = { 3 }, init = "ones" } }, forward = function(p, a) return a * p.w end }
local model = bk.nn.sequential{ layer, bk.nn.linear{ 3, 2 } }
local theta, loss = model:init{ seed = 1 }, bk.loss.cross_entropy(model)
local x, y = bk.ones{ 2, 3 }, bk.zeros({ 2 }, { dtype = "int64" })
local late, mark = {}, setmetatable({}, { __mode = "v" })
for i = 1, 60000 do late[i] = setmetatable({}, { __gc = function() end }) end
do
    local value = {}
    late[1], mark[1] = setmetatable({ value }, { __gc = function() end }), value
end
late, layer, model = nil, nil, nil
while mark[1] do
    local junk = {}
    for k = 1, 20 do junk[k] = {} end
end
print(bk.compile(function(t) return loss(t, x, y) end)(theta):item())
]]
function TestTracing.test_functions_whose_values_wait_for_their_finalizers()
    local path = os.tmpname()
    local f <close> = assert(io.open(path, "w"))
    f:write(LEFT)
    f:flush()
    local p = io.popen((os.getenv("BRACKET_BUILD") or "build") .. "/bracket " .. path .. " 2>&1")
    local output = p:read("a")
    p:close()
    os.remove(path)
    lu.assertNotNil(tonumber(output), output)
end

function TestTracing.test_the_collector_is_told_of_compiled_plans()
    local x, most = bk.ones { 20 }, 0
    collectgarbage()
    local before = bk.memory()
    for i = 1, 12000 do -- each compiles a function of its own, 13 kB and more
        bk.grad(function(t) return (t * t):sum() end)(x)
        if i % 50 == 0 then most = math.max(most, bk.memory() - before) end
    end
    lu.assertTrue(most < 64 << 20, most .. " bytes of dead functions alive")
end

function TestDerivatives.test_jvp_of_numbers()
    local function f(t, u) return t * u end
    local y, dy = bk.jvp(f, { bk.tensor { 1, 2 }, 3 }, { bk.tensor { 1, 1 }, 1 })
    lu.assertEquals({ y:totable(), dy:totable() }, { { 3, 6 }, { 4, 5 } })
    y, dy = bk.jvp(f, { bk.tensor { 1, 2 }, 3 }, { bk.tensor { 1, 1 } })
    lu.assertEquals({ y:totable(), dy:totable() }, { { 3, 6 }, { 3, 3 } })
end

-- spectrum_test.lua - lanczos with vectors, the spectral density, the landscape: against known spectra.
local bk = require "bracket"
local lu = require "luaunit"

TestSpectrum = {}

local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end

-- A symmetric matrix with these eigenvalues, their vectors, and the loss of which it is the Hessian.
local function with_spectrum(w, seed)
    local n = w:count()
    local Q = bk.linalg.qr(bk.rng(seed):normal { n, n })
    local A = (Q * w):matmul(Q:transpose())
    return A, Q, function(t) return t:dot(A:matmul(t)) * 0.5 end
end

function TestSpectrum.test_lanczos_gives_eigenvectors()
    local w = bk.concat { bk.linspace(-1, 1, 60), bk.tensor { 5, 7, -4 } }
    local A, Q, loss = with_spectrum(w, 1)
    local r = bk.bea.lanczos { loss = loss, theta = bk.zeros { 63 }, top = 2, steps = 40, vectors = true }
    for i, want in ipairs { { 7, 62 }, { 5, 61 } } do
        lu.assertAlmostEquals(r[i], want[1], 1e-10)
        local v = r.vectors[i]
        lu.assertAlmostEquals(v:norm():item(), 1, 1e-13)
        lu.assertAlmostEquals(math.abs(v:dot(Q:narrow(2, want[2], 1):reshape { 63 }):item()), 1, 1e-9)
        lu.assertTrue(v:take(v:abs():argmax()):item() > 0)
        lu.assertTrue(r.residuals[i] < 1e-6)
    end
    lu.assertAlmostEquals(r.lowest, -4, 1e-10)
    lu.assertTrue((A:matmul(r.lowest_vector) + 4 * r.lowest_vector):norm():item() < 1e-5)
    -- before it has converged the residual is what it says it is
    local early = bk.bea.lanczos { loss = loss, theta = bk.zeros { 63 }, top = 3, steps = 6, vectors = true }
    for i = 1, 3 do
        local v = early.vectors[i]
        lu.assertAlmostEquals((A:matmul(v) - v * early[i]):norm():item(), early.residuals[i], 1e-12)
    end
    local same = bk.bea.lanczos { hvp = function(v) return A:matmul(v) end, like = bk.zeros { 63 }, top = 2 }
    lu.assertAlmostEquals(same[1], r[1], 1e-12)
    lu.assertNil(same.vectors)
    local square = bk.bea.lanczos { loss = function(t) return (t * bk.tensor { { 1, 2 }, { 3, 4 } } * t):sum() end,
        theta = bk.zeros { 2, 2 }, vectors = true }
    lu.assertEquals(square.vectors[1]:shape(), { 2, 2 })
    lu.assertAlmostEquals(square[1], 8, 1e-12)
    lu.assertAlmostEquals(square.vectors[1][2][2]:item(), 1, 1e-7)
end

-- One start sees one vector of each eigenvalue: where its space is exhausted there were fewer values than asked for.
function TestSpectrum.test_multiple_eigenvalues_are_found_as_often_as_asked_for()
    local A, _, loss = with_spectrum(bk.tensor { 1, 1, 2, 2, 2, 7, 7, 7, 7 }, 3)
    for _, dtype in ipairs { "float64", "float32" } do
        local r = bk.bea.lanczos { loss = loss, theta = bk.zeros { 9 }:to(dtype), top = 6, vectors = true }
        lu.assertEquals(#r.residuals, 6)
        for i, want in ipairs { 7, 7, 7, 7, 2, 2 } do
            lu.assertAlmostEquals(r[i], want, dtype == "float64" and 1e-12 or 1e-5)
            local v = r.vectors[i]:to("float64")
            lu.assertTrue((A:matmul(v) - v * want):norm():item() < (dtype == "float64" and 1e-7 or 1e-4))
            for k = 1, i - 1 do lu.assertAlmostEquals(v:dot(r.vectors[k]):item(), 0, 1e-5) end
        end
    end
    local flat = bk.bea.lanczos { loss = function(t) return t:sum() end, theta = bk.ones { 5 }, top = 2 }
    lu.assertEquals({ flat[1], flat[2], flat.lowest }, { 0, 0, 0 })
    local calls = 0 -- the largest alone needs no second start
    bk.bea.lanczos { like = bk.ones { 50 }, hvp = function(v) calls = calls + 1; return v * 3 end }
    lu.assertEquals(calls, 1)
end

-- A Hessian that is 0 is a peak at 0, whose integral is 1 as any other's: its height was infinite.
function TestSpectrum.test_a_linear_loss_has_a_density()
    local s = bk.bea.spectrum { loss = function(t) return t:sum() end, theta = bk.ones { 5 }, points = 401 }
    local integral = 0
    for k = 2, #s.x do integral = integral + (s.x[k] - s.x[k - 1]) * (s.y[k] + s.y[k - 1]) / 2 end
    lu.assertAlmostEquals(integral, 1, 1e-3)
    lu.assertEquals(s:mean(function(x) return x end), 0)
    fails("bk.bea.spectrum: theta: expected one number or more", bk.bea.spectrum,
        { loss = function(t) return t:sum() end, theta = bk.zeros { 0 } })
end

-- With as many steps as dimensions a probe's Ritz vectors are all of the eigenvectors.
function TestSpectrum.test_spectrum_gives_vectors()
    local w = bk.linspace(1, 8, 8)
    local _, Q, loss = with_spectrum(w, 3)
    local theta = bk.zeros { 8 }
    local s = bk.bea.spectrum { loss = loss, theta = theta, steps = 8, probes = 2, vectors = true,
        layers = { { name = "half", first = 1, size = 4 } } }
    for _, p in ipairs(s.probes) do
        for i = 1, 8 do
            lu.assertAlmostEquals(p.nodes[i], i, 1e-10)
            lu.assertAlmostEquals(math.abs(p.vectors[i]:dot(Q:narrow(2, i, 1):reshape { 8 }):item()), 1, 1e-9)
        end
    end
    lu.assertEquals(s.layers[1].probes[1].vectors[4]:shape(), { 4 })
    lu.assertNil(bk.bea.spectrum { loss = loss, theta = theta, steps = 2, probes = 1 }.probes[1].vectors)
end

-- Quadrature with m steps from q is exact for polynomials of degree 2 m - 1.
function TestSpectrum.test_quadrature_is_exact_for_polynomials()
    local A, _, loss = with_spectrum(bk.linspace(-2, 3, 30), 2)
    local s = bk.bea.spectrum { loss = loss, theta = bk.zeros { 30 }, steps = 4, probes = 3, seed = 5 }
    local rng = bk.rng(5)
    local values = {}
    for k = 1, 3 do
        local q = rng:normal { 30 }
        q = q / q:norm()
        local power = q
        for degree = 0, 7 do
            local sum = 0
            for i, x in ipairs(s.probes[k].nodes) do sum = sum + s.probes[k].weights[i] * x ^ degree end
            lu.assertAlmostEquals(sum, q:dot(power):item(), 1e-10)
            if degree == 3 then values[k] = sum end
            power = A:matmul(power)
        end
    end
    local mean, se = s:mean(function(x) return x ^ 3 end)
    local m = (values[1] + values[2] + values[3]) / 3
    local ss = 0
    for _, v in ipairs(values) do ss = ss + (v - m) ^ 2 end
    lu.assertAlmostEquals(mean, m, 1e-12)
    lu.assertAlmostEquals(se, math.sqrt(ss / 2 / 3), 1e-12) -- the standard error of a mean of 3
end

function TestSpectrum.test_density_and_its_error_bar()
    local w = bk.concat { bk.full({ 90 }, 0.5), bk.full({ 60 }, 4) }
    local _, _, loss = with_spectrum(w, 3)
    local options = { loss = loss, theta = bk.zeros { 150 }, steps = 20, probes = 40, points = 400, width = 0.1 }
    local s = bk.bea.spectrum(options)
    local step, integral, outside = s.x[2] - s.x[1], 0, 0
    for k, x in ipairs(s.x) do
        integral = integral + s.y[k] * step
        local gauss = function(at) return math.exp(-((x - at) / 0.1) ^ 2 / 2) / (0.1 * math.sqrt(2 * math.pi)) end
        local want = 0.6 * gauss(0.5) + 0.4 * gauss(4)
        if math.abs(s.y[k] - want) > 3 * s.error[k] + 1e-9 then outside = outside + 1 end
    end
    lu.assertAlmostEquals(integral, 1, 2e-3)
    lu.assertEquals(outside, 0)
    lu.assertEquals({ #s.y, #s.error, s.count, s.width }, { 400, 400, 150, 0.1 })
    local trace, se = s:mean(function(x) return x end)
    lu.assertTrue(math.abs(trace - (0.6 * 0.5 + 0.4 * 4)) < 3 * se and se < 0.05)
    lu.assertEquals(bk.bea.spectrum(options).y, s.y)
    local flat = bk.bea.spectrum { loss = function(t) return t:dot(t) end, theta = bk.zeros { 9 }, probes = 2 }
    lu.assertAlmostEquals((flat:mean(function(x) return x end)), 2, 1e-14) -- one eigenvalue, found by one step
end

function TestSpectrum.test_by_layer()
    local model = bk.nn.mlp { 4, 5, 3, activation = "tanh" }
    local L = bk.loss.cross_entropy(model, bk.rng(1):normal { 20, 4 }, bk.rng(2):integers({ 20 }, 3))
    local theta = model:init { seed = 1 }
    local H = bk.hessian(L)(theta)
    local s = bk.bea.spectrum { loss = L, theta = theta, steps = 40, probes = 30, layers = model.layers }
    lu.assertEquals(#s.layers, #model.layers)
    for i, block in ipairs(model.layers) do
        local own = H:narrow(1, block.first, block.size):narrow(2, block.first, block.size)
        local w = bk.linalg.eigh(own)
        local mean, se = s.layers[i]:mean(function(x) return x end)
        lu.assertEquals({ s.layers[i].name, s.layers[i].count }, { block.name, block.size })
        lu.assertTrue(math.abs(mean - w:mean():item()) < 4 * se)
        for _, p in ipairs(s.layers[i].probes) do -- as many steps as eigenvalues: the ends are there
            lu.assertAlmostEquals(p.nodes[#p.nodes], w[block.size]:item(), 1e-6)
        end
    end
    fails("layers: entry 1: expected { name, first, size } within theta's 43 coordinates", bk.bea.spectrum,
        { loss = L, theta = theta, layers = { { first = 40, size = 5 } } })
    fails("layers: expected a flat theta", bk.bea.spectrum,
        { loss = function(t) return t:sum() end, theta = bk.ones { 2, 2 }, layers = { { first = 1, size = 1 } } })
    fails("theta is missing", bk.bea.spectrum, { loss = L })
    fails("loss or hvp is missing", bk.bea.spectrum, { theta = theta })
    fails("unknown option", bk.bea.spectrum, { loss = L, theta = theta, layer = {} })
end

function TestSpectrum.test_landscape()
    local function L(t) return t[1] ^ 2 + 3 * t[2] end
    local axes = bk.eye(2)
    local l = bk.landscape(L, bk.zeros { 2 }, { u = axes[1], v = axes[2], size = 3, span = { 0, 2 } })
    lu.assertEquals(l.image:totable(), { { 6, 7, 10 }, { 3, 4, 7 }, { 0, 1, 4 } }) -- the largest b on top
    lu.assertEquals({ l.x, l.y }, { { 0, 2 }, { 0, 2 } })
    lu.assertEquals(bk.landscape(L, bk.tensor { 2, 1 }, { size = 1 }).image:totable(), { { 7 } }) -- theta itself
    local theta = bk.rng(1):normal { 20 }
    -- the negative gradients, as far as they lie in the plane: of a u + b v nearest to each
    local P = function(t) return (t * bk.tensor { 1, 2, 3 }):sum() end
    local Q = function(t) return t:square():sum() / 2 end
    local at, skew = bk.tensor { 1, 1, 1 }, { u = bk.tensor { 1, 0, 0 }, v = bk.tensor { 1, 2, 0 }, size = 3 }
    skew.gradients, skew.names = { P, Q }, { "P", "Q" }
    local arrows = bk.landscape(P, at, skew).over
    lu.assertEquals({ arrows[1].label, arrows[2].label }, { "P", "Q" })
    for k, expected in ipairs { { -1, -2 }, { -1, -1 } } do -- a + b = x, 2 b = y
        lu.assertAlmostEquals(arrows[k].v[1], expected[2] / 2, 1e-12)
        lu.assertAlmostEquals(arrows[k].u[1], expected[1] - expected[2] / 2, 1e-12)
    end
    local r = bk.landscape(function(t) return t:dot(t) end, theta, { size = 5, span = 2 })
    local n2 = theta:dot(theta):item()
    lu.assertEquals(r.x, { -2, 2 })
    local u = bk.rng(0):normal { 20 }
    u = u * (theta:norm() / u:norm())
    lu.assertAlmostEquals(r.image[3][4]:item(), (theta + u):dot(theta + u):item(), 1e-10 * n2)
    for i = 1, 5 do -- |theta + a u + b v|^2 is a quadratic with equal curvatures in a and b
        for k = 2, 4 do
            local across = r.image[i][k - 1] - 2 * r.image[i][k] + r.image[i][k + 1]
            local down = r.image[k - 1][i] - 2 * r.image[k][i] + r.image[k + 1][i]
            lu.assertAlmostEquals(across:item(), 2 * n2, 1e-9 * n2)
            lu.assertAlmostEquals(down:item(), 2 * n2, 1e-9 * n2)
        end
    end
    fails("bk.landscape: span", bk.landscape, L, bk.zeros { 2 }, { span = -1 })
    fails("bk.landscape: u: expected theta's shape (2), got (3)", bk.landscape, L, bk.zeros { 2 },
        { u = bk.ones { 3 } })
    fails("bk.landscape: names: expected 2", bk.landscape, L, bk.ones { 2 }, { size = 1, gradients = { L, L },
        names = { "one" } })
    fails("bk.landscape: names: there are no gradients", bk.landscape, L, bk.ones { 2 }, { size = 1, names = { "a" } })
    fails("bk.landscape: u, v: random directions have theta's norm, which is 0", bk.landscape, L, bk.zeros { 2 })
    fails("bk.landscape: u: expected a direction, got zeros", bk.landscape, L, bk.ones { 2 }, { u = bk.zeros { 2 } })
    fails("bk.landscape: v: theta has one element", bk.landscape, function(t) return t[1] ^ 2 end, bk.ones { 1 })
    fails("bk.landscape: loss: expected a 0-d tensor, got (2)", bk.landscape, function(t) return t end, bk.ones { 2 })
    fails("landscape: theta: expected a tensor", bk.landscape, L, 3)
    fails("landscape: unknown option", bk.landscape, L, bk.zeros { 2 }, { w = bk.ones { 2 } })
    local file = os.tmpname() .. ".svg"
    bk.plot { l, out = file }
    lu.assertTrue(#assert(io.open(file)):read("a") > 1000)
    os.remove(file)
end

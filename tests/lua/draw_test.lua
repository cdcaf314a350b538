-- draw_test.lua - draws as operations: bk.uniform, bk.normal, bk.bernoulli are functions of seed and place alone.
local bk = require "bracket"
local lu = require "luaunit"
TestDraw = {}

local GAMMA = 0x9E3779B97F4A7C15
local function mix(z) -- SplitMix64's finaliser, written anew
    z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ~ (z >> 27)) * 0x94D049BB133111EB
    return z ~ (z >> 31)
end
local function unit(seed, place, i)
    local key = mix(mix(seed + GAMMA) ~ mix(place + 0xD1B54A32D192ED03))
    return (mix(key + (i + 1) * GAMMA) >> 11) * 2.0 ^ -53
end
local function seeds(...) return bk.tensor({ ... }, { dtype = "int64" }) end

function TestDraw:test_values_are_the_formula()
    local u, z = bk.uniform(5, { 2, 3 }, { place = 7 }):flatten(), bk.normal(-9, { 5 })
    local b = bk.bernoulli(5, { 6 }, { place = 7, p = 0.4 })
    for i = 0, 5 do
        lu.assertEquals(u[i + 1]:item(), unit(5, 7, i))
        lu.assertEquals(b[i + 1]:item(), unit(5, 7, i) < 0.4 and 1 or 0)
    end
    for i = 0, 4 do
        local pair = i // 2 * 2
        local r, turn = math.sqrt(-2 * math.log(1 - unit(-9, 0, pair))), 2 * math.pi * unit(-9, 0, pair + 1)
        lu.assertAlmostEquals(z[i + 1]:item(), r * (i % 2 == 0 and math.cos(turn) or math.sin(turn)), 1e-14)
    end
end

function TestDraw:test_moments()
    local n = 400000 -- bounds of 5 standard errors, at a fixed seed
    local z, u = bk.normal(1, { n }), bk.uniform(2, { n })
    lu.assertTrue(math.abs(z:mean():item()) < 5 / math.sqrt(n))
    lu.assertTrue(math.abs(z:square():mean():item() - 1) < 5 * math.sqrt(2 / n))
    lu.assertTrue(math.abs((z ^ 4):mean():item() - 3) < 5 * math.sqrt(96 / n))
    lu.assertTrue(math.abs(z:narrow(1, 1, n - 1):dot(z:narrow(1, 2, n - 1)):item()) < 5 * math.sqrt(n))
    lu.assertTrue(math.abs(u:mean():item() - 0.5) < 5 / math.sqrt(12 * n))
    lu.assertTrue(math.abs(bk.bernoulli(3, { n }, { p = 0.1 }):mean():item() - 0.1) < 5 * 0.3 / math.sqrt(n))
end

function TestDraw:test_threads_and_dtypes_draw_the_same()
    local before = bk.threads()
    local function all() return { bk.uniform(4, { 300001 }), bk.normal(4, { 300001 }), bk.bernoulli(4, { 300001 }) } end
    bk.threads(1)
    local one = all()
    bk.threads(3)
    local three = all()
    bk.threads(before)
    for k = 1, 3 do lu.assertTrue(one[k] == three[k]) end
    local single = { dtype = "float32" }
    lu.assertTrue(bk.normal(4, { 300001 }, single) == one[2]:to "float32")
    lu.assertTrue(bk.bernoulli(4, { 300001 }, single) == one[3]:to "float32")
    local cut = bk.uniform(4, { 300001 }, single)
    lu.assertTrue((one[1] - cut:to "float64"):max():item() < 2.0 ^ -24)
    lu.assertTrue(cut:max():item() < 1)
end

function TestDraw:test_derivatives_are_at_fixed_draws()
    local function f(t, s) return (t:tanh() * bk.normal(s, { 4 })):square():sum() end
    local t, s = bk.tensor { 0.1, -0.4, 0.7, 1.2 }, seeds(3):reshape {}
    local z2 = bk.normal(3, { 4 }):square()
    local fixed = function(x) return (x:tanh():square() * z2):sum() end
    lu.assertTrue((bk.grad(f)(t, s) - bk.grad(fixed)(t)):norm():item() < 1e-14)
    lu.assertTrue((bk.hvp(f)(t, t, s) - bk.hvp(fixed)(t, t)):norm():item() < 1e-14)
    lu.assertTrue(bk.grad(f)(t, s) ~= bk.grad(f)(t, seeds(4):reshape {}))
    lu.assertTrue(bk.grad(function(x) return bk.uniform(7, { 2 }):sum() + 0 * x:sum() end)(t) == bk.zeros { 4 })
end

function TestDraw:test_vmap_gives_each_seed_its_own()
    local all = bk.vmap(function(s) return bk.normal(s, { 3 }) end)(seeds(5, 6))
    lu.assertTrue(all[1] == bk.normal(5, { 3 }) and all[2] == bk.normal(6, { 3 }))
    lu.assertTrue(bk.normal(seeds(5, 6), { 3 }) == all)
    local same = bk.vmap(function(x, s) return x + bk.normal(s, { 3 }) end, { in_axes = { 1, false } })(
        bk.zeros { 2, 3 }, seeds(5):reshape {})
    lu.assertTrue(same[1] == all[1] and same[2] == all[1])
end

function TestDraw:test_what_does_not_fit_is_told()
    lu.assertErrorMsgContains("p: expected 0..1, got 2", bk.bernoulli, 1, { 2 }, { p = 2 })
    lu.assertErrorMsgContains("dtype", bk.uniform, 1, { 2 }, { dtype = "int64" })
    lu.assertErrorMsgContains("unknown option scale", bk.normal, 1, { 2 }, { scale = 2 })
    lu.assertErrorMsgContains("seed", bk.normal, "x", { 2 })
    lu.assertEquals(bk.uniform(1, { 0, 3 }):shape(), { 0, 3 })
end

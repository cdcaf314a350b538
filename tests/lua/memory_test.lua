-- memory_test.lua - bk.compile(f, { memory = bytes }): programs that compute again what they do not keep have the bits
-- of those that keep it, work in what they were given, and say the least where that is too little.
local bk = require "bracket"
local lu = require "luaunit"
local nn = bk.nn
TestMemory = {}

local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end
local function same(a, b, what) lu.assertEquals((a:eq(b)):to("float64"):mean():item(), 1, what) end
local labels = bk.tensor({ 0, 1, 2, 3 }, { dtype = "int64" })

-- Of each kind one small network with two losses: attention, norms and gelu; convolutions; a recurrent layer; draws.
local function networks(dtype)
    local r = bk.rng(1)
    local function losses(model, shape, how)
        local function L()
            local x = r:normal(shape):to(dtype)
            if not how then return bk.loss.cross_entropy(model, x, labels) end
            return function(t) return model:forward(t, x, how):square():mean() end
        end
        return { L(), L(), theta = model:init{ seed = 1 }:to(dtype) }
    end
    return {
        transformer = losses(nn.sequential{ nn.transformer{ 8, heads = 2 }, nn.transformer{ 8, heads = 2 },
            nn.flatten(), nn.linear{ 8 * 12, 4 } }, { 4, 12, 8 }),
        convolution = losses(nn.sequential{ nn.conv2d{ 1, 8, kernel = 3, padding = 1 }, nn.group_norm{ 2, 8 },
            nn.relu(), nn.residual{ nn.conv2d{ 8, 8, kernel = 3, padding = 1 }, nn.tanh() }, nn.avgpool2d{ 2 },
            nn.flatten(), nn.linear{ 8 * 25, 4 } }, { 4, 1, 10, 10 }),
        norms = losses(nn.sequential{ nn.linear{ 16, 100 }, nn.layer_norm{ 100 }, nn.gelu(), nn.linear{ 100, 100 },
            nn.layer_norm{ 100 }, nn.gelu(), nn.linear{ 100, 100 }, nn.layer_norm{ 100 }, nn.gelu(),
            nn.linear{ 100, 4 } }, { 128, 16 }, { train = true, seed = 3 }),
        recurrent = losses(nn.sequential{ nn.gru{ 3, 8, sequence = false }, nn.linear{ 8, 4 } }, { 4, 20, 3 }),
        draws = losses(nn.sequential{ nn.linear{ 16, 64 }, nn.gelu(), nn.dropout{ 0.3 }, nn.linear{ 64, 64 },
            nn.noise{ 0.1 }, nn.tanh(), nn.linear{ 64, 4 } }, { 128, 16 }, { train = true, seed = 3 }),
    }
end

local function least_of(f, ...)
    local ok, text = pcall(bk.compile(f, { memory = 1 }), ...)
    lu.assertFalse(ok)
    local said = "bk%.compile: memory: expected at least (%d+) bytes for arguments of these shapes, got (%d+)"
    local least, got = text:match(said)
    lu.assertEquals(got, "1")
    return math.tointeger(least)
end

function TestMemory.test_bits_are_those_of_the_program_that_keeps_all()
    for _, dtype in ipairs{ "float32", "float64" } do
        for name, n in pairs(networks(dtype)) do
            local v = bk.rng(2):normal(n.theta:shape()):to(dtype)
            local calls = { grad = { bk.grad(n[1]), n.theta }, hvp = { bk.hvp(n[1]), n.theta, v },
                lie = { bk.lie(n[1], n[2]), n.theta } }
            for op, call in pairs(calls) do
                local f, arguments = call[1], { table.unpack(call, 2) }
                local y, free = f(table.unpack(arguments)), f:stats(table.unpack(arguments)).arena_bytes
                local least = least_of(f, table.unpack(arguments))
                lu.assertTrue(least <= free, name .. " " .. op)
                for part = 0, 3 do
                    local bytes = math.max(least, least + (free - 1 - least) * part // 3)
                    local g = bk.compile(f, { memory = bytes })
                    local got = g:stats(table.unpack(arguments)).arena_bytes
                    lu.assertTrue(got <= bytes, ("%s %s: %d of %d"):format(name, op, got, bytes))
                    same(g(table.unpack(arguments)), y, table.concat({ dtype, name, op, part }, " "))
                    bk.threads(2)
                    same(g(table.unpack(arguments)), y)
                    bk.threads(1)
                end
            end
        end
    end
end

-- The values themselves, against differences.
function TestMemory.test_a_gradient_in_little_memory_is_one()
    local n = networks("float64").transformer
    local L, theta = n[1], n.theta
    local g = bk.compile(bk.grad(L), { memory = least_of(bk.grad(L), theta) })
    local v, h = bk.rng(3):normal(theta:shape()), 1e-4
    local difference = (L(theta + h * v) - L(theta - h * v)):item() / (2 * h)
    lu.assertAlmostEquals(g(theta):dot(v):item(), difference, 1e-6 * (1 + math.abs(difference)))
end

-- What a Hessian-vector product along the gradient reads late of a group norm are products of few arrays: those are
-- kept, not the products. (1594944 bytes where each value was chosen for itself.)
function TestMemory.test_what_is_made_of_few_values_is_made_again()
    local model = nn.sequential{ nn.conv2d{ 1, 8, kernel = 3, padding = 1 }, nn.group_norm{ 2, 8 }, nn.relu(),
        nn.conv2d{ 8, 8, kernel = 3, padding = 1 }, nn.group_norm{ 2, 8 }, nn.relu(), nn.flatten(),
        nn.linear{ 8 * 16 * 16, 4 } }
    local L = bk.loss.cross_entropy(model, bk.rng(1):normal{ 4, 1, 16, 16 }, labels)
    local grad, hvp = bk.grad(L), bk.hvp(L)
    local modified = bk.compile(function(t) local g = grad(t) return g + 0.05 * hvp(t, g) end)
    lu.assertTrue(modified:stats(model:init{ seed = 1 }).arena_bytes < 1.3e6)
end

-- The first half of x becomes the middle part of a matrix as large as x, where its elements would be written onto those
-- that are still to be read.
function TestMemory.test_a_part_lies_not_over_what_it_is_made_of()
    local r = bk.rng(1)
    local a, b = 0.1 * r:uniform{ 256, 8 }, r:uniform{ 8, 8 }
    local function f(u, v)
        local p = u:matmul(v):narrow(1, 1, 128):exp()
        local first, last = p:narrow(1, 1, 64), p:narrow(1, 65, 64)
        local s = first:transpose():matmul(first)
        local all = bk.concat{ first:matmul(s), p, last:matmul(s:matmul(s)) }
        return all:transpose():matmul(all)
    end
    local y, z = bk.compile(f)(a, b), f(a, b)
    lu.assertTrue((y - z):norm():item() <= 1e-12 * z:norm():item())
end

-- A step's gradient is made where the new theta is to lie: it takes no more than the gradient alone.
function TestMemory.test_a_gradient_lies_where_its_step_does()
    local r = bk.rng(8)
    for _, activation in ipairs{ "tanh", "relu" } do
        local model = nn.mlp{ 30, 40, 50, 4, activation = activation }
        local loss, theta = bk.loss.cross_entropy(model, r:normal{ 4, 30 }, labels), model:init{ seed = 2 }
        local gradient = bk.grad(loss)
        local step = bk.compile(function(t) return t - 0.1 * gradient(t) end)
        local twice = bk.compile(function(t) return -(t - 0.1 * gradient(t)):tanh() end)
        local g = gradient(theta)
        lu.assertTrue((step(theta) - (theta - 0.1 * g)):abs():max():item() < 1e-16)
        lu.assertEquals((twice(theta) + step(theta):tanh()):abs():max():item(), 0)
        lu.assertTrue(step:stats(theta).arena_bytes <= gradient:stats(theta).arena_bytes)
        lu.assertTrue(twice:stats(theta).arena_bytes <= gradient:stats(theta).arena_bytes + 4096)
    end
end

-- A product of which each row needs one row of an operand that nobody reads later can be written over it, some rows at
-- a time: of a network of equal layers one cotangent is there at once. The values are those of a gradient by hand.
function TestMemory.test_a_product_lies_over_its_operand()
    local r = bk.rng(5)
    local function by_hand(x, y, w)
        local h, out = { [0] = x }, {}
        for i, u in ipairs(w) do h[i] = i < #w and h[i - 1]:matmul(u):tanh() or h[i - 1]:matmul(u) end
        local d = (h[#w] - y) / y:shape()[1]
        for i = #w, 1, -1 do
            out[i] = h[i - 1]:transpose():matmul(d)
            d = d:matmul(w[i]:transpose()) * (1 - h[i - 1] ^ 2)
        end
        return bk.concat(out):reshape{ -1 }
    end
    local function loss(x, y, w)
        local z = x
        for i, u in ipairs(w) do z = i < #w and z:matmul(u):tanh() or z:matmul(u) end
        return (z - y):square():sum() / (2 * y:shape()[1])
    end
    local function problem(dtype, m, n) -- the gradient as a function, theta, and the gradient by hand
        local layers, x, y = 4, r:normal{ m, n }:to(dtype), r:normal{ m, n }:to(dtype)
        local theta = r:normal{ layers * n * n }:to(dtype) / n ^ 0.5
        local function weights(t)
            local w = {}
            for i = 1, layers do w[i] = t:narrow(1, (i - 1) * n * n + 1, n * n):reshape{ n, n } end
            return w
        end
        return bk.grad(function(t) return loss(x, y, weights(t)) end), theta, by_hand(x, y, weights(theta))
    end
    for dtype, tolerance in pairs{ float32 = 1e-5, float64 = 1e-13 } do
        for _, size in ipairs{ { 1, 40 }, { 3, 17 }, { 64, 32 }, { 171, 60 }, { 257, 130 }, { 512, 192 } } do
            local m, n = table.unpack(size)
            local gradient, theta, expected = problem(dtype, m, n)
            local what = ("%s (%d,%d)"):format(dtype, m, n)
            local least = bk.compile(gradient, { memory = least_of(gradient, theta) })
            local g = least(theta)
            lu.assertTrue((g - expected):norm():item() <= tolerance * expected:norm():item(), what)
            same(gradient(theta), g, what)
            for threads = 2, 3 do
                bk.threads(threads)
                same(least(theta), g, what)
            end
            bk.threads(1)
            if dtype == "float64" then -- sums of products
                local v, h = r:normal(theta:shape()) / n ^ 0.5, 1e-4
                local slope = (gradient(theta + h * v) - gradient(theta - h * v)) / (2 * h)
                local function along(t) return (select(2, bk.jvp(gradient, { t }, { v }))) end
                local product = bk.compile(along, { memory = least_of(bk.compile(along), theta) })(theta)
                lu.assertTrue((product - slope):norm():item() <= 1e-6 * slope:norm():item(), what)
            end
        end
    end
    if bk.internal.system().vector == "portable" then return end
    local model = nn.mlp{ 784, 1024, 1024, 10, activation = "relu" }
    local x, y = r:normal{ 512, 784 }:to"float32", bk.zeros({ 512 }, { dtype = "int64" })
    local gradient, theta = bk.grad(bk.loss.cross_entropy(model, x, y)), model:init{ seed = 1 }:to"float32"
    local activation = 512 * 1024 * 4 -- one that is not in the result: two where each cotangent has its own place
    lu.assertTrue(gradient:stats(theta).arena_bytes < 1.1 * activation)
end

-- The gradient of a recurrent weight is a sum of as many products as there are times: what they read is let go long
-- before the last is made, so that of a time five values of the state's size are kept, not the gates' cotangents too.
function TestMemory.test_sums_of_many_products_let_go_of_what_they_read()
    local model = nn.sequential{ nn.gru{ 4, 64, sequence = false } }
    local function problem(batch, time)
        local x = bk.rng(1):normal{ batch, time, 4 }
        return function(theta) return model:forward(theta, x):square():sum() end
    end
    local theta = model:init{ seed = 1 }
    local function bytes(time) return bk.grad(problem(32, time)):stats(theta).arena_bytes end
    lu.assertTrue(bytes(200) - bytes(100) < 100 * 5 * 32 * 64 * 8)
    local v, h = bk.rng(2):normal(theta:shape()) / theta:count() ^ 0.5, 1e-4
    for _, time in ipairs{ 15, 16, 17, 40 } do
        local L = problem(2, time)
        local function apart(s) return L(theta + s * v) - L(theta - s * v) end
        local slope = (8 * apart(h) - apart(2 * h)) / (12 * h)
        lu.assertAlmostEquals(bk.grad(L)(theta):dot(v):item() / slope:item(), 1, 1e-7)
    end
end

function TestMemory.test_more_than_it_takes_changes_nothing()
    local n = networks("float64").transformer
    local f = bk.grad(n[1])
    local all = f:stats(n.theta)
    local s = bk.compile(f, { memory = all.arena_bytes }):stats(n.theta)
    lu.assertEquals({ s.steps, s.arena_bytes, s.flops }, { all.steps, all.arena_bytes, all.flops })
    lu.assertTrue(rawequal(bk.compile(f, { memory = 1 << 40 }), bk.compile(f, { memory = 1 << 40 })))
    lu.assertTrue(rawequal(bk.compile(f, {}), f))
end

-- Within another function it is f: the derivative keeps what it likes, and may be given memory of its own.
function TestMemory.test_under_transforms()
    local n = networks("float64").transformer
    local L, theta = n[1], n.theta
    local small = bk.compile(L, { memory = bk.compile(L):stats(theta).arena_bytes })
    same(bk.grad(small)(theta), bk.grad(L)(theta))
    same(small(theta), L(theta))
    local thetas = bk.rng(4):normal{ 5, theta:count() }
    local many = bk.vmap(bk.grad(L))
    local bytes = many:stats(thetas).arena_bytes
    local least = least_of(many, thetas)
    local some = bk.compile(many, { memory = least })
    lu.assertTrue(least < 0.7 * bytes and some:stats(thetas).arena_bytes <= least)
    same(some(thetas), many(thetas))
    local outer = bk.vmap(bk.compile(bk.grad(L), { memory = bytes }))
    same(outer(thetas), many(thetas))
    local f = bk.compile(function(t, k) return (t ^ k):sum() end, { memory = 1 << 20 })
    lu.assertEquals(f(bk.tensor{ 1, 2 }, 3):item(), 9) -- a number as argument
end

function TestMemory.test_hessian_takes_fewer_rows()
    local model = nn.mlp{ 8, 16, 4 }
    local L, theta = bk.loss.cross_entropy(model, bk.rng(1):normal{ 4, 8 }, labels), model:init{ seed = 1 }
    local H = bk.hessian(L)
    local y, free = H(theta), H:stats(theta).arena_bytes
    local bytes = math.max(free // 4, least_of(H, theta))
    local some = bk.compile(H, { memory = bytes })
    lu.assertTrue(some:stats(theta).arena_bytes <= bytes)
    lu.assertTrue((some(theta) - y):abs():max():item() <= 1e-14 * y:abs():max():item())
end

function TestMemory.test_what_is_refused()
    local function f(t) return t:square():sum() end
    fails("bk.compile: unknown option memroy (did you mean memory?)", bk.compile, f, { memroy = 1 })
    for _, wrong in ipairs{ 0, -1, 1.5, "much", true } do
        fails("bk.compile: memory: expected", bk.compile, f, { memory = wrong })
    end
    fails("bk.compile", bk.compile, f, 1 << 20)
    fails("f: expected a function of tensors", bk.compile, 3, { memory = 1 })
    -- the message's number is enough
    local n = networks("float32").transformer
    local g = bk.grad(n[1])
    local least = least_of(g, n.theta)
    lu.assertTrue(bk.compile(g, { memory = least }):stats(n.theta).arena_bytes <= least)
end

-- Asked for less than there is, all say the same; and that much does.
function TestMemory.test_the_least_does_not_depend_on_what_is_asked()
    local m = nn.mlp{ 8, 32, 32, 32, 4, activation = "gelu" }
    local theta = m:init{ seed = 1 }
    local g = bk.grad(bk.loss.cross_entropy(m, bk.rng(1):normal{ 32, 8 }, bk.rng(2):integers({ 32 }, 4)))
    local least = least_of(g, theta)
    lu.assertTrue(least < 0.9 * g:stats(theta).arena_bytes)
    for _, bytes in ipairs{ least // 2, least * 9 // 10, least - 1 } do
        fails(("expected at least %d bytes"):format(least), bk.compile(g, { memory = bytes }), theta)
    end
    for _, bytes in ipairs{ least, least + 1, least * 11 // 10 } do
        same(bk.compile(g, { memory = bytes })(theta), g(theta))
    end
end

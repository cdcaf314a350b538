-- random_test.lua - random programs over the whole op set, each held to: eager = compiled; gradient, Hessian-vector
-- product and third derivative against central differences; jvp and vjp adjoint; the Hessian symmetric; vmap = a loop,
-- nested and over gradients; brackets = their Hessian-vector products; float32 close to float64.
-- The same seeds each time; BRACKET_SEEDS=first-last runs others.
local bk = require "bracket"
local lu = require "luaunit"

-- A generator of its own: programs must not change when bk.rng does.
local function generator(seed)
    local function mix(z)
        z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
        z = (z ~ (z >> 27)) * 0x94D049BB133111EB
        return z ~ (z >> 31)
    end
    local s = mix(seed * 0xD1342543DE82EF95 + 1)
    local function int(n) -- 1..n
        s = s + 0x9E3779B97F4A7C15
        return (mix(s) >> 1) % n + 1
    end
    local r = { int = int }
    function r.real(a, b) return a + (b - a) * (int(1 << 30) - 1) / (1 << 30) end
    function r.pick(list) return list[int(#list)] end
    function r.tensor(shape)
        local n, v = 1, {}
        for _, d in ipairs(shape) do n = n * d end
        for i = 1, n do v[i] = r.real(-1.3, 1.3) end
        return n > 0 and bk.tensor(v):reshape(shape) or bk.zeros(shape)
    end
    function r.ids(shape, below)
        local n, v = 1, {}
        for _, d in ipairs(shape) do n = n * d end
        for i = 1, n do v[i] = int(below) - 1 end
        return bk.tensor(v, { dtype = "int64" }):reshape(shape)
    end
    return r
end

local function count(shape)
    local n = 1
    for _, d in ipairs(shape) do n = n * d end
    return n
end
-- t's elements, repeated or cut, in another shape
local function fit(t, shape)
    local need, have, parts = count(shape), t:count(), { t:flatten() }
    local whole = t:dtype() == "int64"
    while #parts * have < need do parts[#parts + 1] = parts[1] * (whole and 1 or 1 + 0.1 * #parts) end
    local flat = #parts > 1 and bk.concat(parts) or parts[1]
    return flat:narrow(1, 1, need):reshape(shape)
end

-- Each kind of instruction: function(r, a, b) -> function(x, y, dtype) on values like a and b, or nil where it does not
-- apply. a, b are the concrete tensors x and y stand for.
local kinds = {}
local function unary(name, f) kinds[name] = function() return f end end
for _, name in ipairs { "sin", "cos", "tanh", "sigmoid", "softplus", "gelu", "erf", "square", "expm1", "exp", "neg" } do
    unary(name, function(x) return x[name](x) end)
end
unary("log", function(x) return (x:square() + 0.5):log() end)
unary("log1p", function(x) return x:square():log1p() end)
unary("sqrt", function(x) return (x:square() + 0.3):sqrt() end)
unary("reciprocal", function(x) return (x:square() + 0.7):reciprocal() end)
unary("cube", function(x) return x ^ 3 end)
unary("power", function(x) return (x:square() + 0.2) ^ 2.5 end)
unary("exponent", function(x) return 2 ^ x end)
unary("quotient", function(x) return 1 / (x:square() + 1) end)
for _, name in ipairs { "relu", "abs" } do unary(name, function(x) return x[name](x) end) end
unary("floor", function(x) return x * (0.731 * x + 0.1234):floor() end)
unary("sign", function(x) return x * (x + 0.1234):sign() end)
unary("transpose", function(x) return x:transpose() end)
unary("flatten", function(x) return x:flatten() end)
unary("squeeze", function(x) return x:squeeze() end)
unary("softmax", function(x) return x:softmax() end)
unary("log_softmax", function(x) return x:log_softmax() end)
unary("layer_norm", function(x) return x:layer_norm { eps = 0.1 } end)
unary("logsumexp", function(x) return x:logsumexp() end)
unary("sum_all", function(x) return x:sum() * 0.3 end)
unary("mean_all", function(x) return x:mean() end)
unary("norm", function(x) return (x + 0.01):norm() * 0.5 end)
unary("first", function(x) return x[1] end)
kinds.scale = function(r) local c = r.real(-2, 2) return function(x) return x * c end end
kinds.offset = function(r) local c = r.real(-1, 1) return function(x) return c - x end end
kinds.clamp = function() return function(x) return x:clamp(-0.61, 0.57) end end
for _, name in ipairs { "add", "sub", "mul", "maximum", "minimum" } do
    kinds[name] = function(r, a)
        local shape = a:shape()
        local mode = r.int(3)
        if mode == 1 and #shape > 0 then shape[r.int(#shape)] = 1 elseif mode == 2
            and #shape > 0 then table.remove(shape, 1) end
        return function(x, y) return bk[name](x, fit(y, shape)) end
    end
end
kinds.div = function(r, a) local shape = a:shape() return function(x,
    y) return x / (fit(y, shape):square() + 0.6) end end
kinds.pow = function(r, a) local shape = a:shape() return function(x, y) return (x:square() + 0.4) ^ fit(y,
    shape):tanh() end end
kinds.where = function(r, a)
    local shape, c = a:shape(), r.real(-0.5, 0.5)
    return function(x, y) return bk.where(x:gt(c), fit(y, shape), x:sin()) end
end
kinds.compare = function(r, a)
    local shape, name = a:shape(), r.pick { "gt", "ge", "lt", "le" }
    return function(x, y) return x * x[name](x, fit(y, shape) + 0.0371) end
end
kinds.reshape = function(r, a)
    local n, shape = a:count(), {}
    for d = 2, n do
        while n % d == 0 do shape[#shape + 1] = d n = n // d end
    end
    for _ = 1, r.int(3) do
        if #shape > 1 and r.int(2) == 1 then
            local k = r.int(#shape - 1)
            shape[k] = shape[k] * table.remove(shape, k + 1)
        else table.insert(shape, r.int(#shape + 1), 1) end
    end
    return function(x) return x:reshape(shape) end
end
kinds.permute = function(r, a)
    local dims = {}
    for i = 1, a:ndim() do table.insert(dims, r.int(i), i) end
    return #dims > 0 and function(x) return x:permute(dims) end
end
kinds.unsqueeze = function(r, a) local d = r.int(a:ndim() + 1) return function(x) return x:unsqueeze(d) end end
kinds.broadcast = function(r, a)
    local shape = a:shape()
    for d = 1, #shape do if shape[d] == 1 then shape[d] = r.int(3) end end
    table.insert(shape, 1, r.int(3))
    return function(x) return x:broadcast_to(shape) end
end
local function along(name, f)
    kinds[name] = function(r, a)
        if a:ndim() == 0 then return nil end
        local d = r.int(a:ndim())
        return f(d, a:size(d), r)
    end
end
along("sum", function(d, _, r) local keep = r.int(2) == 1 return function(x) return x:sum(d, { keep = keep }) end end)
along("mean", function(d) return function(x) return x:mean(d) end end)
along("var", function(d) return function(x) return x:var(d) end end)
along("std", function(d, n) return n > 1 and function(x) return (x:var(d) + 0.2):sqrt() + 0 * x:mean(d) end end)
along("max", function(d) return function(x) return (x:max(d)) end end)
along("min", function(d) return function(x) return (x:min(d)) end end)
along("cumsum", function(d) return function(x) return x:cumsum(d) end end)
along("softmax_dim", function(d) return function(x) return x:softmax(d) end end)
along("flip", function(d) return function(x) return x:flip(d) end end)
along("narrow", function(d, n, r)
    local first = r.int(n)
    local size = r.int(n - first + 1)
    return function(x) return x:narrow(d, first, size) end
end)
along("concat", function(d) return function(x) return bk.concat({ x, x:sin(), x }, d) end end)
along("stack", function(d) return function(x) return bk.stack({ x, x * 0.5 }, d) end end)
along("element", function(_, _, r)
    return function(x)
        while x:ndim() > 0 do x = x[x:size(1)] end
        return x
    end
end)
kinds.join = function(r, a)
    if a:ndim() == 0 then return nil end
    local shape = a:shape()
    return function(x, y) return bk.concat { x, fit(y, shape) } end
end
kinds.pad = function(r, a)
    local before, after = {}, {}
    for d = 1, a:ndim() do before[d], after[d] = r.int(2) - 1, r.int(3) - 1 end
    return a:ndim() > 0 and function(x) return x:pad(before, after) end
end
kinds.gather = function(r, a)
    if a:ndim() == 0 then return nil end
    local ids = r.ids(r.pick { { 3 }, { 2, 2 }, { 1 } }, a:size(1))
    return function(x) return bk.embedding(x, ids) end
end
kinds.take = function(r, a)
    if a:ndim() == 0 then return nil end
    local shape = a:shape()
    local below = table.remove(shape)
    local ids = r.ids(shape, below)
    return function(x) return x:take(ids) end
end
kinds.argmax = function(r, a)
    if a:ndim() == 0 then return nil end
    local shape, d = a:shape(), a:ndim()
    return function(x, y) return fit(y, shape):take(x:argmax(d)) end
end
local function matrices(f)
    return function(r, a)
        local n, m = r.int(4), a:ndim() > 0 and a:size(a:ndim()) or 0
        return a:ndim() > 0 and f(m, n, a, r)
    end
end
kinds.matmul = matrices(function(m, n) return function(x, y) return x:matmul(fit(y, { m, n })) * 0.5 end end)
kinds.matmul_left = matrices(function(m, n, a)
    local rows = a:ndim() > 1 and a:size(a:ndim() - 1)
    return rows and function(x, y) return fit(y, { n, rows }):matmul(x) * 0.5 end
end)
kinds.matvec = matrices(function(m) return function(x, y) return x:matmul(fit(y, { m })) * 0.5 end end)
kinds.batched = matrices(function(m, n, a)
    return a:ndim() == 3 and function(x, y) return x:matmul(fit(y, { x:size(1), m, n })) * 0.5 end
end)
kinds.gram = matrices(function(m, n, a) return a:ndim() == 2
    and function(x) return x:matmul(x:transpose()) * 0.4 end end)
-- (X Yᵀ)(Y X) and the like: what re-association works on
kinds.chain = matrices(function(m, n, a, r)
    local left = r.int(2) == 1
    return a:ndim() == 2 and function(x, y)
        local q = fit(y, { m, n })
        local p = q:matmul(q:transpose())
        return left and x:matmul(p) * 0.3 or x:matmul(q):matmul(q:transpose()) * 0.3
    end
end)
kinds.outer = function(r, a) return a:ndim() == 1 and function(x, y) return x:outer(fit(y, { 3 })) end end
kinds.dot = function(r, a) local shape = a:shape() return function(x, y) return x:dot(fit(y, shape)) * 0.3 end end
kinds.conv = function(r)
    local image, kernel = { r.int(2), r.int(2), 3 + r.int(2), 2 + r.int(3) }, { r.int(2), 0, r.int(3), r.int(2) }
    kernel[2] = image[2]
    local stride, pad = r.int(2), r.int(2) - 1
    return function(x, y) return bk.conv2d(fit(x, image), fit(y, kernel), { stride = stride, padding = pad }) * 0.3 end
end
kinds.pool = function(r)
    local image, name, kernel, stride = { r.int(2), r.int(2), 4, 5 }, r.pick { "avgpool2d", "maxpool2d" }, r.int(3),
        r.int(2)
    local pad = r.int(kernel) - 1
    return function(x) return bk[name](fit(x, image), kernel, { stride = stride, padding = pad }) end
end
-- derivatives and vmap inside the program, closing over its values
kinds.inner_grad = function(r, a)
    local shape = a:shape()
    return function(x, y) return bk.grad(function(z) return (z:tanh() * fit(y,
        shape) + z:square() * x):sum() end)(x) end
end
kinds.inner_hvp = function(r, a)
    local shape = a:shape()
    return function(x, y) return bk.hvp(function(z) return (z:sin() * x):sum() * 0.5 + (z * z):sum() end)(x,
        fit(y, shape)) end
end
kinds.inner_jvp = function(r, a)
    local shape = a:shape()
    return function(x, y)
        local _, dy = bk.jvp(function(z) return z:sigmoid() * z:sum() end, { x }, { fit(y, shape) })
        return dy * 0.3
    end
end
kinds.inner_vmap = function(r, a)
    if a:ndim() == 0 then return nil end
    local shape = a:shape()
    return function(x, y) return bk.vmap(function(u, v) return u:tanh() * v:sum() + y:mean() end)(x, fit(y, shape)) end
end

local names = {}
for name in pairs(kinds) do names[#names + 1] = name end
table.sort(names)
local jumps = { floor = true, sign = true, compare = true, where = true, argmax = true } -- rounding may turn these over

local function fine(t)
    local n = t:count()
    if n == 0 or n > 120 or t:ndim() > 4 then return false end
    local top = t:abs():max():item()
    return top == top and top < 12
end

-- A program: inputs, f(inputs...) -> tensor, what it does in words.
local function program(seed)
    local r = generator(seed)
    local shapes = { { 3, 4 }, { 5 }, { 1, 5 }, { 2, 3, 2 }, {}, { 4, 1 }, { 1 }, { 2, 1, 3 }, { 7 }, { 1, 1 },
        { 6, 2 } }
    local inputs = { r.tensor(r.pick(shapes)), r.tensor(r.pick(shapes)) }
    local steps, pool, words, jumpy = {}, { inputs[1], inputs[2] }, {}, false
    for _ = 1, 40 do
        if #steps >= 3 + seed % 10 then break end
        local i, j, name = r.int(#pool), r.int(#pool), r.pick(names)
        if r.int(3) > 1 then i = #pool end -- mostly chains
        local f = kinds[name](r, pool[i], pool[j])
        if f then
            local ok, value = pcall(f, pool[i], pool[j])
            if not ok then
                -- refused by shape: say so when the message is not one of a user's error
                if not tostring(value):find(":%d+: ") then error(value, 0) end
            elseif fine(value) then
                steps[#steps + 1] = { i, j, f }
                pool[#pool + 1] = value
                words[#words + 1] = ("%d = %s(%d, %d) (%s)"):format(#pool, name, i, j, table.concat(value:shape(), ","))
                jumpy = jumpy or jumps[name]
            end
        end
    end
    local weights = {}
    for k = 0, math.min(2, #pool - 1) do weights[k] = r.tensor(pool[#pool - k]:shape()) end
    local function run(...)
        local v = { ... }
        for _, s in ipairs(steps) do v[#v + 1] = s[3](v[s[1]], v[s[2]]) end
        return v
    end
    local function loss(...)
        local v, sum = run(...), nil
        for k = 0, #weights do
            local part = (v[#v - k] * weights[k]:to(v[#v - k]:dtype())):sum()
            sum = sum and sum + part or part
        end
        return sum
    end
    local function last(...) local v = run(...) return v[#v] end
    return { inputs = inputs, loss = loss, last = last, jumpy = jumpy, r = r,
        words = ("inputs (%s) (%s)\n%s"):format(table.concat(inputs[1]:shape(), ","),
            table.concat(inputs[2]:shape(), ","),
            table.concat(words, "\n")) }
end

local function size(t) return t:count() == 0 and 0 or t:abs():max():item() end
-- the largest difference, relative to the larger of the two (and 1)
local function apart(a, b)
    lu.assertEquals(a:shape(), b:shape())
    return size(a:to("float64") - b:to("float64")) / (1 + size(a) + size(b))
end
local function slope(f, h) -- df(s)/ds at 0, to h^4
    local function d(e) return (f(e) - f(-e)) / (2 * e) end
    return d(h / 2) * (4 / 3) - d(h) * (1 / 3)
end

local function checks(p)
    local x, y, r = p.inputs[1], p.inputs[2], p.r
    local u, v = r.tensor(x:shape()), r.tensor(x:shape())
    local list = {}
    local function check(name, bound, f) list[#list + 1] = { name, bound, f } end
    local grad, hvp = bk.grad(p.loss), bk.hvp(p.loss)
    check("compiled = eager", 1e-12, function() return apart(bk.compile(p.last)(x, y), p.last(x, y)) end)
    check("gradient", 2e-7, function()
        return apart(grad(x, y):dot(u), slope(function(s) return p.loss(x + s * u, y) end, 1e-4))
    end)
    check("Hessian-vector product", 2e-6, function()
        return apart(hvp(x, v, y), slope(function(s) return grad(x + s * v, y) end, 1e-4))
    end)
    check("third derivative", 2e-6, function()
        local _, t = bk.jvp(function(z) return hvp(z, v, y) end, { x }, { u })
        return apart(t, slope(function(s) return hvp(x + s * u, v, y) end, 1e-4))
    end)
    check("Hessian symmetric", 1e-10, function() return apart(hvp(x, v, y):dot(u), hvp(x, u, y):dot(v)) end)
    check("jvp and vjp are adjoint", 1e-11, function()
        local w = r.tensor(y:shape())
        local value, dy = bk.jvp(p.last, { x, y }, { u, w })
        local again, pullback = bk.vjp(p.last, x, y)
        local ct = r.tensor(value:shape())
        local gx, gy = pullback(ct)
        return math.max(apart(value, again), apart(ct:dot(dy), gx:dot(u) + gy:dot(w)))
    end)
    check("vmap = a loop", 1e-11, function()
        local xs, ys = bk.stack { x, u, v }, bk.stack { y, y * 0.7, y + 0.1 }
        local a = bk.vmap(p.last)(xs, ys)
        local b = bk.vmap(p.last, { in_axes = { 1, false } })(xs, y)
        local g = bk.vmap(grad, { in_axes = { false, 1 } })(x, ys)
        local n = bk.vmap(bk.vmap(p.loss, { in_axes = { false, 1 } }), { in_axes = { 1, false } })(xs, ys)
        local worst = 0
        for i = 1, 3 do
            worst = math.max(worst, apart(a[i], p.last(xs[i], ys[i])), apart(b[i], p.last(xs[i], y)),
                apart(g[i], grad(x,
                ys[i])))
            for k = 1, 3 do worst = math.max(worst, apart(n[i][k], p.loss(xs[i], ys[k]))) end
        end
        return worst
    end)
    check("several directions", 1e-11, function()
        local h = hvp(x, bk.stack { u, v }, y)
        return math.max(apart(h[1], hvp(x, u, y)), apart(h[2], hvp(x, v, y)))
    end)
    check("bracket", 1e-10, function()
        local function A(z) return p.loss(z, y) end
        local function B(z) return (z:sin() * u):sum() + p.loss(z * 0.9, y) ^ 2 end
        local b = bk.lie(A, B)(x)
        return apart(b, bk.hvp(B)(x, bk.grad(A)(x)) - bk.hvp(A)(x, bk.grad(B)(x)))
    end)
    if not p.jumpy then
        check("float32", 2e-4, function()
            local x32, y32 = x:to("float32"), y:to("float32")
            return math.max(apart(bk.compile(p.last)(x32, y32), p.last(x, y)), 0.01 * apart(grad(x32, y32), grad(x, y)))
        end)
    end
    return list
end

-- Differences across a kink are wrong whatever the derivative: a failure counts when it comes back at other points.
local function run(seed)
    local p = program(seed)
    local bad
    for attempt = 1, 3 do
        bad = nil
        for _, c in ipairs(checks(p)) do
            local ok, off = pcall(c[3])
            if not ok then error(("seed %d: %s: %s\n%s"):format(seed, c[1], tostring(off), p.words), 0) end
            if not (off <= c[2]) then
                bad = ("seed %d: %s: %.3g apart, at most %.3g\n%s"):format(seed, c[1], off, c[2], p.words)
                break
            end
        end
        if not bad then return end
        p.inputs[1] = p.inputs[1] + 0.0113 * attempt * p.r.tensor(p.inputs[1]:shape())
    end
    error(bad, 0)
end

TestRandom = {}

function TestRandom.test_programs()
    local first, last = (os.getenv("BRACKET_SEEDS") or "1-60"):match("^(%d+)%-(%d+)$")
    local failures = {}
    for seed = tonumber(first), tonumber(last) do
        local ok, message = pcall(run, seed)
        if not ok then failures[#failures + 1] = tostring(message) end
    end
    lu.assertEquals(#failures, 0, table.concat(failures, "\n"))
end

-- int64: compiled and mapped results are those of single operations, to the last digit.
local function integers(seed)
    local r = generator(seed)
    local shape = r.pick{ { 3, 4 }, { 5 }, { 2, 1, 3 }, {} }
    local function some() return r.ids(shape, 9) - 4 end
    local names, steps = { "add", "sub", "mul", "maximum", "minimum", "where", "abs", "sign", "square", "sum",
        "cumsum", "max",
        "flip", "pad", "gt", "scale" }, {}
    for k = 1, 8 do steps[k] = { r.pick(names), r.int(k), r.int(k), r.int(3) - 2 } end
    local function f(x, y)
        local v = { x, y }
        for _, s in ipairs(steps) do
            local name, a, b = s[1], v[#v - s[2] + 1] or x, v[#v - s[3] + 1] or y
            b = fit(b, a:shape())
            if name == "where" then a = bk.where(a:gt(b), a, b)
            elseif name == "abs" or name == "sign" or name == "square" then a = a[name](a)
            elseif name == "scale" then a = a * s[4]
            elseif name == "cumsum" or name == "max" or name == "flip" then if a:ndim() > 0 then a = (a[name](a, 1)) end
            elseif name == "sum" then a = a:ndim() > 1 and a:sum(a:ndim()) or a
            elseif name == "pad" then if a:ndim() == 1 then a = a:pad{ 1 } end
            else a = bk[name](a, b) end
            v[#v + 1] = bk.minimum(bk.maximum(a, -1000), 1000)
        end
        return v[#v]
    end
    local x, y = some(), some()
    local one, all = f(x, y), bk.compile(f)(x, y)
    lu.assertEquals(all:dtype(), one:dtype())
    lu.assertEquals(all:totable(), one:totable(), "seed " .. seed)
    local xs = bk.stack{ x, y, some() }
    local mapped = bk.vmap(f, { in_axes = { 1, false } })(xs, y)
    for k = 1, 3 do lu.assertEquals(mapped[k]:totable(), f(xs[k], y):totable(), "seed " .. seed) end
end

function TestRandom.test_integers()
    local first, last = (os.getenv("BRACKET_SEEDS") or "1-100"):match("^(%d+)%-(%d+)$")
    for seed = tonumber(first), tonumber(last) do integers(seed) end
end

-- Sums and products of thin and square matrices in any order, transposed or not: what re-association rewrites. Results
-- and their derivatives stay, the planned work never grows.
local function chains(seed)
    local r = generator(seed)
    local sizes, base = { 1, 2, 9, 11 }, {}
    for _ = 1, 4 do base[#base + 1] = r.tensor { r.pick(sizes), r.pick(sizes) } end
    local shapes, steps = {}, {}
    for i, t in ipairs(base) do shapes[i] = t:shape() end
    for _ = 1, 200 do
        if #steps == 14 then break end
        local i, j, ti, tj = r.int(#shapes), r.int(#shapes), r.int(2) == 1, r.int(2) == 1
        if r.int(2) == 1 then i = #shapes end
        local a, b = shapes[i], shapes[j]
        if ti then a = { a[2], a[1] } end
        if tj then b = { b[2], b[1] } end
        local step
        if a[2] == b[1] then step = { i, j, ti, tj, "product", a[1], b[2] }
        elseif a[1] == b[1] and a[2] == b[2] then step = { i, j, ti, tj, "sum", a[1], a[2] } end
        if step then
            steps[#steps + 1] = step
            shapes[#shapes + 1] = { step[6], step[7] }
        end
    end
    local function f(...)
        local v = { ... }
        for _, s in ipairs(steps) do
            local a, b = v[s[1]], v[s[2]]
            if s[3] then a = a:transpose() end
            if s[4] then b = b:transpose() end
            v[#v + 1] = s[5] == "product" and a:matmul(b) * (1 / a:size(2)) or a - 0.5 * b
        end
        return table.unpack(v, math.max(1, #v - 3))
    end
    local compiled = bk.compile(f)
    local s = compiled:stats(table.unpack(base))
    lu.assertTrue(s.flops <= s.flops_built, "seed " .. seed)
    local got, expected = { compiled(table.unpack(base)) }, { f(table.unpack(base)) }
    for k = 1, #expected do lu.assertTrue(apart(got[k], expected[k]) < 1e-12, "seed " .. seed) end
    local function loss(x)
        local out, sum = { f(x, table.unpack(base, 2)) }, 0
        for _, y in ipairs(out) do sum = sum + y:tanh():square():sum() end
        return sum
    end
    local u, v = r.tensor(base[1]:shape()), r.tensor(base[1]:shape())
    local x = base[1]
    lu.assertTrue(apart(bk.grad(loss)(x):dot(u), slope(function(e) return loss(x + e * u) end, 2e-5)) < 1e-7, "seed "
        .. seed)
    local h = bk.hvp(loss)(x, v)
    lu.assertTrue(apart(h, slope(function(e) return bk.grad(loss)(x + e * v) end, 2e-5)) < 1e-7, "seed " .. seed)
    lu.assertTrue(apart(h:dot(u), bk.hvp(loss)(x, u):dot(v)) < 1e-11, "seed " .. seed)
    return s.flops < s.flops_built
end

function TestRandom.test_matrix_chains()
    local first, last = (os.getenv("BRACKET_SEEDS") or "1-150"):match("^(%d+)%-(%d+)$")
    local rewritten, n = 0, 0
    for seed = tonumber(first), tonumber(last) do
        n = n + 1
        if chains(seed) then rewritten = rewritten + 1 end
    end
    lu.assertTrue(n < 20 or rewritten > n / 10, ("only %d of %d were worth rewriting"):format(rewritten, n))
end

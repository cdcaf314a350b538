-- workloads.lua - times the seven operations on the workloads, one JSON line each, in the form of the peers' scripts
-- (same generator, seeds, layout and checksums):
--   bracket tests/bench/workloads.lua [--threads N] [--reps N] [--workloads W1,..] [--ops a,..] [--budget S]
--   [--check-only]
-- ops: a one SGD step, b gradient, c H_0 v, d bracket [g_0, g_1], e gradient of L_0 + (h/4)|g_0|², f all 28 brackets of
-- 8 tasks, g gradient of |bracket|². Each timed call starts from theta. W5 is a GPT, W6 a residual CNN, W7 a GRU:
-- models.py says how they are made.
local bk = require "bracket"
local options = bk.arguments({ threads = 1, reps = 30, workloads = "W1,W2,W3,W4", ops = "a,b,c,d,e,f,g", budget = 20,
    check_only = false }, arg)
bk.threads(math.tointeger(options.threads))

local GAMMA = 0x9E3779B97F4A7C15
local function raw(seed, i)
    local z = seed + i * GAMMA
    z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ~ (z >> 27)) * 0x94D049BB133111EB
    return z ~ (z >> 31)
end
local function append(out, seed, n, a, middle)
    local at = #out
    for i = 1, n do out[at + i] = (middle or 0) + a * (2.0 * ((raw(seed, i) >> 11) * 0x1p-53) - 1.0) end
end
local function uniform(seed, n, a)
    local out = {}
    append(out, seed, n, a)
    return out
end
local function seed(w, kind, index) return w * 1000000 + kind * 10000 + index end

local function ids(seed, n, below) -- unsigned z mod below, an even number
    local out = {}
    for i = 1, n do
        local z = raw(seed, i)
        out[i] = ((z >> 1) % (below // 2) * 2 + (z & 1)) % below
    end
    return out
end

-- Each parameter tensor of the models of models.py, in the order of theta: size, fan in, and 1 for a norm's gain.
local large = {
    [5] = function()
        local VOCABULARY, TIME, WIDTH = 64, 64, 128
        local layers = { bk.nn.embedding{ VOCABULARY, WIDTH }, bk.nn.position_embedding{ TIME, WIDTH } }
        local shapes = { { VOCABULARY * WIDTH, 1 }, { TIME * WIDTH, 1 } }
        local function add(n, fan, gain) shapes[#shapes + 1] = { n, fan, gain } end
        local function dense(n, m)
            add(n * m, n)
            add(m, n)
        end
        local function norm()
            add(WIDTH, 100, 1)
            add(WIDTH, 100)
        end
        for _ = 1, 4 do
            layers[#layers + 1] = bk.nn.transformer{ WIDTH, heads = 4, causal = true }
            norm()
            dense(WIDTH, 3 * WIDTH)
            dense(WIDTH, WIDTH)
            norm()
            dense(WIDTH, 4 * WIDTH)
            dense(4 * WIDTH, WIDTH)
        end
        layers[#layers + 1] = bk.nn.layer_norm{ WIDTH }
        layers[#layers + 1] = bk.nn.linear{ WIDTH, VOCABULARY }
        norm()
        dense(WIDTH, VOCABULARY)
        return bk.nn.sequential(layers), shapes, 16, { 16, TIME }, VOCABULARY, { 16, TIME }
    end,
    [6] = function()
        local shapes = {}
        local function conv(n, m, kernel, stride)
            shapes[#shapes + 1] = { m * n * kernel * kernel, n * kernel * kernel }
            shapes[#shapes + 1] = { m, n * kernel * kernel }
            return bk.nn.conv2d{ n, m, kernel = kernel, stride = stride, padding = kernel // 2 }
        end
        local function norm(n)
            shapes[#shapes + 1] = { n, 100, 1 }
            shapes[#shapes + 1] = { n, 100 }
            return bk.nn.group_norm{ 4, n }
        end
        local layers = { conv(3, 16, 3), norm(16), bk.nn.relu() }
        for _, stage in ipairs{ { 16, 16, 1 }, { 16, 32, 2 }, { 32, 64, 2 } } do
            local n, m, stride = table.unpack(stage)
            local inner = { conv(n, m, 3, stride), norm(m), bk.nn.relu(), conv(m, m, 3), norm(m) }
            if n ~= m then inner.shortcut = conv(n, m, 1, stride) end
            layers[#layers + 1] = bk.nn.residual(inner)
            layers[#layers + 1] = bk.nn.relu()
        end
        for _, layer in ipairs{ bk.nn.avgpool2d{ 8 }, bk.nn.flatten(), bk.nn.linear{ 64, 10 } } do
            layers[#layers + 1] = layer
        end
        shapes[#shapes + 1] = { 640, 64 }
        shapes[#shapes + 1] = { 10, 64 }
        return bk.nn.sequential(layers), shapes, 32, { 32, 3, 32, 32 }
    end,
    [7] = function()
        local model = bk.nn.sequential{ bk.nn.gru{ 16, 64, sequence = false }, bk.nn.linear{ 64, 10 } }
        return model, { { 16 * 192, 16 }, { 64 * 192, 64 }, { 192, 16 }, { 64, 64 }, { 640, 64 }, { 10, 64 } }, 32,
            { 32, 100, 16 }
    end,
}

local function workload(name)
    local w = tonumber(name:sub(2))
    local dtype = w == 1 and "float64" or "float32"
    local model, shapes, batch, image, tokens, labelled
    if large[w] then model, shapes, batch, image, tokens, labelled = large[w]()
    elseif w == 4 then
        model = bk.nn.sequential{ bk.nn.conv2d{ 1, 8, kernel = 5 }, bk.nn.tanh(), bk.nn.avgpool2d{ 2 },
            bk.nn.conv2d{ 8, 16, kernel = 5 }, bk.nn.tanh(), bk.nn.avgpool2d{ 2 }, bk.nn.flatten(),
                bk.nn.linear{ 256, 10 } }
        shapes = { { 200, 25 }, { 8, 25 }, { 3200, 200 }, { 16, 200 }, { 2560, 256 }, { 10, 256 } }
        batch, image = 64, { 64, 1, 28, 28 }
    else
        local dims = ({ { 2, 32, 32, 1 }, { 784, 256, 256, 10 }, { 784, 1024, 1024, 10 } })[w]
        batch = ({ 64, 128, 512 })[w]
        model = bk.nn.mlp{ dims[1], dims[2], dims[3], dims[4], activation = w == 3 and "relu" or "tanh" }
        shapes = {}
        for i = 1, 3 do
            shapes[#shapes + 1] = { dims[i] * dims[i + 1], dims[i] }
            shapes[#shapes + 1] = { dims[i + 1], dims[i] }
        end
        image = { batch, dims[1] }
    end
    local theta, size = {}, 1
    for t, s in ipairs(shapes) do append(theta, seed(w, 0, t - 1), s[1], 1 / math.sqrt(s[2]), s[3]) end
    assert(#theta == model.n_params, name .. ": its parameters are listed wrongly")
    for _, n in ipairs(image) do size = size * n end
    local losses = {}
    local tasks = (options.ops:find("f") and not large[w] and 8) or 2
    for task = 0, tasks - 1 do
        local x = tokens and bk.tensor(ids(seed(w, 1, task), size, tokens), { dtype = "int64" })
            or bk.tensor(uniform(seed(w, 1, task), size, 1), { dtype = dtype })
        x = x:reshape(image)
        if w == 1 then
            losses[task] = bk.loss.mse(model, x, bk.tensor(uniform(seed(w, 2, task), batch, 1)):reshape{ batch, 1 })
        else
            local y = bk.tensor(ids(seed(w, 2, task), tokens and size or batch, tokens or 10), { dtype = "int64" })
            losses[task] = bk.loss.cross_entropy(model, x, labelled and y:reshape(labelled) or y)
        end
    end
    return { name = name, dtype = dtype, losses = losses, theta = bk.tensor(theta, { dtype = dtype }),
        v = bk.tensor(uniform(seed(w, 3, 0), #theta, 1), { dtype = dtype }) }
end

local function operations(w)
    local L, theta = w.losses, w.theta
    local g0, hvp, bracket = bk.grad(L[0]), bk.hvp(L[0]), bk.lie(L[0], L[1])
    local step = bk.compile(function(t) return t - 0.01 * g0(t) end)
    local modified = bk.compile(function(t) local g = g0(t) return g + 0.05 * hvp(t, g) end)
    local penalty = bk.grad(function(t) local b = bracket(t) return b:dot(b) end)
    local all = L[7] and bk.compile(function(t)
        local out = {}
        for i = 0, 7 do for j = i + 1, 7 do out[#out + 1] = bk.lie(L[i], L[j])(t) end end
        return table.unpack(out)
    end)
    return { a = { step, theta }, b = { g0, theta }, c = { hvp, theta, w.v }, d = { bracket, theta },
        e = { modified, theta }, f = all and { all, theta }, g = { penalty, theta } } -- a function and its arguments
end

local clock = bk.clock
local function median(list)
    table.sort(list)
    local n = #list
    return n % 2 == 1 and list[(n + 1) // 2] or (list[n // 2] + list[n // 2 + 1]) / 2
end
local core = bk.internal.blas()
local function line(r)
    local extra = os.getenv("OPENBLAS_CORETYPE")
    local text = string.format('{"workload": "%s", "op": "%s", "variant": "compiled", "dtype": "%s", "threads": %d, "lib": "bracket", '
        .. '"version": "%s", "openblas_core": "%s"%s, "sum": %.17g, "sumsq": %.17g, "gflop": %.6g, "peak_bytes": %d', r.workload, r.op, r.dtype,
            options.threads, bk.version, core,
        extra and string.format(', "OPENBLAS_CORETYPE": "%s"', extra) or "", r.sum, r.sumsq, r.gflop, r.peak)
    if r.median then
        text = text .. string.format(', "compile_s": %.6g, "median_us": %.6g, "min_us": %.6g, "reps": %d, "median_cpu_us": %.6g', r.compile,
            r.median, r.min, r.reps, r.cpu)
    end
    print(text .. "}")
    io.stdout:flush()
end

for name in options.workloads:gmatch("[^,]+") do
    local w = workload(name)
    local ops, live = operations(w), {}
    for op in options.ops:gmatch("[^,]+") do
        local call = ops[op] or error("workloads.lua: unknown operation " .. op)
        local function f() return call[1](table.unpack(call, 2)) end
        local t0 = clock()
        local results = table.pack(f())
        local compile = clock() - t0
        local sum, sumsq, stats = 0, 0, call[1]:stats(table.unpack(call, 2))
        local peak = stats.arena_bytes -- and the results
        for i = 1, results.n do
            local r = results[i]:to("float64")
            peak = peak + results[i]:count() * (w.dtype == "float64" and 8 or 4)
            sum, sumsq = sum + r:sum():item(), sumsq + r:dot(r):item()
        end
        results = nil
        f()
        t0 = clock()
        f()
        local estimate = math.max(clock() - t0, 1e-9)
        live[#live + 1] = { workload = name, op = op, dtype = w.dtype == "float64" and "f64" or "f32", sum = sum,
            sumsq = sumsq, gflop = 1e-9 * stats.flops, peak = peak, f = f, compile = compile,
            reps = math.max(5, math.min(options.reps, math.floor(options.budget / estimate))),
            inner = math.max(1, math.floor(2e-3 / estimate)), times = {}, cpus = {} }
    end
    if not options.check_only then
        collectgarbage() -- the tables the data came from; the warm-up's results leave their memory for the next
        local rounds = 0
        for _, r in ipairs(live) do rounds = math.max(rounds, r.reps) end
        for round = 0, rounds do
            for _, r in ipairs(live) do
                if round <= r.reps then
                    local f, inner = r.f, r.inner
                    f() -- untimed: the operation before left the caches cold
                    local t0, c0 = clock()
                    for _ = 1, inner do f() end
                    local t1, c1 = clock()
                    if round > 0 then
                        r.times[#r.times + 1] = (t1 - t0) / inner * 1e6
                        r.cpus[#r.cpus + 1] = (c1 - c0) / inner * 1e6
                    end
                end
            end
        end
    end
    for _, r in ipairs(live) do
        if #r.times > 0 then r.median, r.cpu, r.reps = median(r.times), median(r.cpus), #r.times; r.min = r.times[1] end
        line(r)
    end
end

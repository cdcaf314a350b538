-- scaling.lua - how the time of a gradient, a Hessian-vector product and a bracket of two tasks (of n tasks: the joint
-- gradient, and all brackets of pairs) grows with a network's width, depth, tokens, time steps and tasks: milliseconds,
-- the least of many, the first call's beside them, and exponents: the slope of log time against log size over the upper
-- half of the sizes, by least squares.
--   bracket tests/bench/scaling.lua [--kinds width,depth,tokens,steps,tasks] [--threads 1] [--seconds 0.3]
--   [--out FIGURE.svg]
-- Times are per call in float32; each is measured for --seconds after the first call.
local bk = require "bracket"
local KINDS = { "width", "depth", "tokens", "steps", "tasks" }
local o = bk.arguments({ kinds = KINDS, threads = 1, seconds = 0.3, out = "" }, arg)
bk.threads(o.threads)

local rng = bk.rng(1)
local function normal(...) return rng:normal({ ... }):to("float32") end
local function labels(n, classes)
    local y = {}
    for k = 1, n do y[k] = k * 7 % classes end
    return bk.tensor(y, { dtype = "int64" })
end
local function losses(n, model, x, y) -- of n tasks
    local list = {}
    for k = 1, n do list[k] = bk.loss.cross_entropy(model, x(), y) end
    return list
end

local function mlp(n_tasks, widths, batch)
    local model = bk.nn.mlp{ activation = "tanh", table.unpack(widths) }
    return model, losses(n_tasks, model, function() return normal(batch, widths[1]) end, labels(batch, 10))
end

-- Each gives a model and its tasks' losses.
local GROWS = {
    width = { sizes = { 64, 128, 256, 512, 1024, 2048 }, says = "w-w-w-10, batch 128",
        make = function(n) return mlp(2, { n, n, n, 10 }, 128) end },
    depth = { sizes = { 2, 4, 8, 16, 32, 64 }, says = "n layers of width 128, batch 128", make = function(n)
        local widths = {}
        for k = 1, n do widths[k] = 128 end
        widths[n + 1] = 10
        return mlp(2, widths, 128)
    end },
    tokens = { sizes = { 16, 32, 64, 128, 256, 512 }, says = "a GPT of 2 layers, width 128, 4 heads, batch 4",
        make = function(n)
            local model = bk.nn.sequential{ bk.nn.embedding{ 64, 128 }, bk.nn.position_embedding{ n, 128 },
                bk.nn.transformer{ 128, heads = 4, causal = true }, bk.nn.transformer{ 128, heads = 4, causal = true },
                bk.nn.linear{ 128, 64 } }
            local y = labels(4 * n, 64):reshape{ 4, n }
            return model, losses(2, model, function() return rng:integers({ 4, n }, 64) end, y)
        end },
    steps = { sizes = { 16, 32, 64, 128, 256, 512 }, says = "a GRU of width 64, batch 32", make = function(n)
        local model = bk.nn.sequential{ bk.nn.gru{ 16, 64, sequence = false }, bk.nn.linear{ 64, 10 } }
        return model, losses(2, model, function() return normal(32, n, 16) end, labels(32, 10))
    end },
    tasks = { sizes = { 2, 4, 8, 16, 32 }, says = "784-256-256-10, batch 32",
        make = function(n) return mlp(n, { 784, 256, 256, 10 }, 32) end, many = true },
}

local function pair_operations(L, theta, v)
    return { { "gradient", bk.grad(L[1]), theta }, { "product", bk.hvp(L[1]), theta, v },
        { "bracket", bk.lie(L[1], L[2]), theta } }
end

local function task_operations(L, theta)
    local joint = bk.grad(function(t)
        local sum = L[1](t)
        for k = 2, #L do sum = sum + L[k](t) end
        return sum
    end)
    local pairs_of = bk.compile(function(t)
        local all = {}
        for i = 1, #L do for j = i + 1, #L do all[#all + 1] = bk.lie(L[i], L[j])(t) end end
        return table.unpack(all)
    end)
    return { { "joint gradient", joint, theta }, { "all brackets", pairs_of, theta } }
end

local function least(f, ...) -- and what the first call takes of the processor
    local began, own = bk.clock()
    f(...)
    local first, best = select(2, bk.clock()) - own, math.huge
    local ends = bk.clock() + o.seconds
    repeat
        began = bk.clock()
        f(...)
        best = math.min(best, bk.clock() - began)
    until bk.clock() > ends
    return best, first
end

local function exponent(sizes, times)
    local from, n, sx, sy, sxx, sxy = #sizes // 2, 0, 0, 0, 0, 0
    for k = from, #sizes do
        local x, y = math.log(sizes[k]), math.log(times[k])
        n, sx, sy, sxx, sxy = n + 1, sx + x, sy + y, sxx + x * x, sxy + x * y
    end
    return (n * sxy - sx * sy) / (n * sxx - sx * sx)
end

local panels = {}
for _, kind in ipairs(o.kinds) do
    local grows = GROWS[kind] or error("scaling.lua: --kinds: expected some of " .. table.concat(KINDS, ", ")
        .. ", got " .. kind, 0)
    local names, times, firsts = {}, {}, {}
    for k, n in ipairs(grows.sizes) do
        local model, L = grows.make(n)
        local theta = model:init{ seed = 1, dtype = "float32" }
        local operations = grows.many and task_operations(L, theta)
            or pair_operations(L, theta, normal(model.n_params))
        for j, operation in ipairs(operations) do
            names[j], times[j], firsts[j] = operation[1], times[j] or {}, firsts[j] or {}
            times[j][k], firsts[j][k] = least(table.unpack(operation, 2))
        end
        collectgarbage()
    end
    print(("%s: %s"):format(kind, grows.says))
    for j, name in ipairs(names) do
        local cells = {}
        for k, t in ipairs(times[j]) do
            cells[k] = ("%d: %.3g (%.3g)"):format(grows.sizes[k], 1e3 * t, 1e3 * firsts[j][k])
        end
        print(("  %-15s exponent %.2f   ms (first call): %s"):format(name, exponent(grows.sizes, times[j]),
            table.concat(cells, "  ")))
    end
    local series = {}
    for j, name in ipairs(names) do
        local y = {}
        for k, t in ipairs(times[j]) do y[k] = 1e3 * t end
        series[j] = { x = grows.sizes, y = y, label = ("%s, %.2f"):format(name, exponent(grows.sizes, times[j])) }
    end
    series.title, series.xlabel, series.ylabel, series.logx, series.logy = grows.says, kind, "ms", true, true
    panels[#panels + 1] = series
end
if o.out ~= "" then bk.plot{ panels = panels, columns = 2, out = o.out } end

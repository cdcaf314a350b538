-- The work the planner counts must not grow: multiply-adds of products, in MFlop, of the benchmark's networks. Nothing
-- is run here, only planned. And planning must not take long, however many tasks there are.
local lu = require "luaunit"
local bk = require "bracket"

TestFlops = {}

local function flops(f, ...) return bk.compile(f):stats(...).flops / 1e6 end

-- Eight tasks on one network: classes from 784 inputs, or values from 2.
local function problem(sizes, batch, activation)
    local model, r, L = bk.nn.mlp{ sizes[1], sizes[2], sizes[3], sizes[4], activation = activation }, bk.rng(1), {}
    local dtype, labels = sizes[1] == 784 and "float32" or "float64", {}
    for i = 1, batch do labels[i] = i % 10 end
    labels = bk.tensor(labels, { dtype = "int64" })
    for task = 1, 8 do
        if dtype == "float32" then L[task] = bk.loss.cross_entropy(model, r:uniform({ batch, 784 }, { dtype = dtype }),
            labels)
        else L[task] = bk.loss.mse(model, r:normal{ batch, sizes[1] }, r:normal{ batch, sizes[4] }) end
    end
    return model:init{ seed = 1, dtype = dtype }, L
end

local function check(sizes, batch, activation, most)
    local theta, L = problem(sizes, batch, activation)
    local function all(t)
        local out = {}
        for i = 1, 7 do
            for j = i + 1, 8 do out[#out + 1] = bk.lie(L[i], L[j])(t) end
        end
        return table.unpack(out)
    end
    local function penalty(t)
        local b = bk.lie(L[1], L[2])(t)
        return b:dot(b)
    end
    local got = { b = flops(bk.grad(L[1]), theta), c = flops(bk.hvp(L[1]), theta, theta),
        d = flops(bk.lie(L[1], L[2]), theta), f = flops(all, theta), g = flops(bk.grad(penalty), theta) }
    for op, limit in pairs(most) do
        lu.assertTrue(got[op] <= limit, ("%s: %.6g MFlop, at most %.6g"):format(op, got[op], limit))
        lu.assertTrue(got[op] > 0.5 * limit, ("%s: %.6g MFlop of %.6g: is all of it counted?"):format(op, got[op],
            limit))
    end
end

function TestFlops.test_2_32_32_1_batch_64()
    check({ 2, 32, 32, 1 }, 64, "tanh", { b = 0.422, c = 1.106, d = 2.4987, f = 49.71, g = 7.431 })
end

function TestFlops.test_784_256_256_10_batch_128()
    check({ 784, 256, 256, 10 }, 128, "tanh", { b = 155.06, c = 293.61, d = 511.45, f = 10149.2, g = 1361.4 })
end

-- The processor time of f(), and what it returns.
local function timed(f)
    local _, start = bk.clock()
    local result = f()
    local _, stop = bk.clock()
    return stop - start, result
end

-- Tracing and compiling, by the node, beside a plain chain of nodes: the best of five each. 5 us there and 2 here are
-- 2 ms of the bracket.
function TestFlops.test_the_bracket_of_784_256_256_10_is_traced_and_compiled_at_the_price_of_its_nodes()
    local theta, L = problem({ 784, 256, 256, 10 }, 128, "tanh")
    local function bracket()
        local A, B = function(t) return L[1](t) end, function(t) return L[2](t) end -- not compiled before
        return bk.lie(A, B):stats(theta).nodes_built
    end
    local function chain()
        return bk.compile(function(t)
            for i = 1, 3000 do t = (t * i):cumsum(1) end
            return t
        end):stats(bk.ones{ 2 }).nodes_built
    end
    local best = { math.huge, math.huge }
    for _ = 1, 5 do
        for k, f in ipairs{ bracket, chain } do
            local seconds, nodes = timed(f)
            best[k] = math.min(best[k], seconds / nodes)
            if f == bracket then lu.assertTrue(nodes <= 900, nodes) end
        end
    end
    lu.assertTrue(best[1] < 4 * best[2], ("%.2f us a node, %.2f of a chain"):format(1e6 * best[1], 1e6 * best[2]))
end

function TestFlops.test_784_1024_1024_10_batch_512()
    check({ 784, 1024, 1024, 10 }, 512, "relu", { b = 4896.9, c = 10066.4, d = 21068, f = 445856, g = 64463 })
end

-- A product that is a result as well as a term of a sum is computed once.
function TestFlops.test_a_shared_term_is_not_multiplied_again()
    local function f(a, b, c)
        local p = 0.5 * a:matmul(b)
        return p, (p - 0.25 * c:matmul(b)) * 0.3
    end
    local s = bk.compile(f):stats(bk.ones{ 9, 2 }, bk.ones{ 2, 9 }, bk.ones{ 9, 2 })
    lu.assertEquals(s.flops, s.flops_built)
    lu.assertEquals(s.flops, 2 * 2 * 9 * 2 * 9)
end

-- Re-association tries every product; each trial must cost what it touches, not the whole graph. Best of five: about 6
-- times as much for 4 times the graph, where a square is 16.
function TestFlops.test_planning_time_grows_with_the_graph_alone()
    local model, r, steps = bk.nn.mlp{ 2, 8, 1 }, bk.rng(1), {}
    for i = 1, 80 do steps[i] = { bk.loss.mse(model, r:normal{ 16, 2 }, r:normal{ 16, 1 }), 0.01 } end
    local theta = model:init{ seed = 1 }
    local function seconds(n)
        local field = bk.compile(bk.bea.word(table.move(steps, 1, n, 1, {})):log(3))
        return (timed(function() return field:stats(theta) end))
    end
    local small, large = math.huge, math.huge
    for _ = 1, 5 do small, large = math.min(small, seconds(20)), math.min(large, seconds(80)) end
    lu.assertTrue(large < 9 * small, small .. " s, then " .. large .. " s")
end

-- What a trace makes anew (a causal mask, a first state) parts nothing: a loss traced twice is computed once.
function TestFlops.test_two_traces_share_their_passes()
    local r, labels = bk.rng(1), bk.tensor({ 0, 1, 2, 3 }, { dtype = "int64" })
    local networks = {
        attention = { bk.nn.sequential{ bk.nn.transformer{ 8, heads = 2, causal = true }, bk.nn.flatten(),
            bk.nn.linear{ 40, 5 } }, { 4, 5, 8 } },
        gru = { bk.nn.sequential{ bk.nn.gru{ 3, 8, sequence = false }, bk.nn.linear{ 8, 5 } }, { 4, 6, 3 } },
        lstm = { bk.nn.sequential{ bk.nn.lstm{ 3, 8, sequence = false }, bk.nn.linear{ 8, 5 } }, { 4, 6, 3 } },
    }
    for name, n in pairs(networks) do
        local model = n[1]
        local L, theta = bk.loss.cross_entropy(model, r:normal(n[2]), labels), model:init{ seed = 1 }
        local function twice(t) return L(t) + 2 * L(t * 1) end
        lu.assertEquals(flops(twice, theta), flops(L, theta), name)
    end
end

-- A layer's gradient is made as soon as it can be, and its activations leave the memory then; what is cheap is computed
-- again: a layer more adds two arrays.
function TestFlops.test_memory_of_a_deeper_network_grows_by_its_activations_alone()
    local r, labels = bk.rng(1), bk.tensor({ 0, 1, 2, 3 }, { dtype = "int64" })
    local function arena(depth, derivative)
        local layers = {}
        for i = 1, depth do
            layers[3 * i - 2], layers[3 * i - 1], layers[3 * i] = bk.nn.linear{ 256, 256 }, bk.nn.layer_norm{ 256 },
                bk.nn.relu()
        end
        layers[#layers + 1] = bk.nn.linear{ 256, 4 }
        local model = bk.nn.sequential(layers)
        local L, theta = bk.loss.cross_entropy(model, r:normal{ 4, 256 }, labels), model:init{ seed = 1 }
        return bk[derivative](L):stats(theta, derivative == "hvp" and theta or nil).arena_bytes
    end
    local value = 8 * 4 * 256 -- bytes
    -- of a norm its centred input, and the activation; as much again with tangents
    lu.assertTrue(arena(24, "grad") - arena(8, "grad") <= 16 * 2.2 * value)
    lu.assertTrue(arena(24, "hvp") - arena(8, "hvp") <= 16 * 4.4 * value)
end

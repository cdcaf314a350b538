-- bracket tests/bench/ranks.lua [--seconds S], alone and by mpirun -n N: milliseconds of a gradient, of a bracket of
-- two tasks, and of a step of a distributed protocol, each the fastest of many, and how far the bracket is from the one
-- that is not shared. W2 is that of workloads.lua; the CNN and the GPT are small ones. Ranks need a core each:
--     mpirun -bind-to core -n 2 build/tests/bracket-mpi tests/bench/ranks.lua
local bk = require "bracket"
local o = bk.arguments{ seconds = 1.0 }
local mpi, rng = bk.mpi, bk.rng(1)

-- Every rank stops after the same call.
local function fastest(f)
    local best, from = math.huge, (bk.clock())
    for _ = 1, 2 do f() end
    repeat
        mpi.barrier()
        local start = bk.clock()
        f()
        mpi.barrier()
        local stop = bk.clock()
        best = math.min(best, stop - start)
    until mpi.broadcast(stop - from > o.seconds)
    return 1e3 * best
end

local function next_token(model)
    return function(theta, x, y)
        local z = model:forward(theta, x):reshape{ -1, 64 }
        return (z:logsumexp() - z:take(y:reshape{ -1 })):mean()
    end
end

local function measure(name, batch, model, x, y, loss)
    local theta, task = model:init{ seed = 1 }, {}
    for i = 1, 2 do
        local first = (i - 1) * batch + 1
        task[i] = { x = x:narrow(1, first, batch), y = y:narrow(1, first, batch) }
    end
    local function lie(L)
        local g, h = bk.grad(L), bk.hvp(L)
        return bk.compile(function(t, x1, y1, x2, y2)
            return h(t, g(t, x1, y1), x2, y2) - h(t, g(t, x2, y2), x1, y1)
        end)
    end
    local shared = mpi.shard(loss)
    local gradient, bracket = bk.value_and_grad(shared), lie(shared)
    local function call(f) return f(theta, task[1].x, task[1].y, task[2].x, task[2].y) end
    local gradient_ms = fastest(function() return gradient(theta, task[1].x, task[1].y) end)
    local bracket_ms = fastest(function() return call(bracket) end)
    local apart, whole = call(bracket), call(lie(loss))
    local p = bk.protocol{ model = model, distributed = true, lr = 1e-4, order = "cyclic", steps = 1000000,
        batch = batch, evaluate = false, tasks = { { x = x, y = y, loss = function(_, ...) return loss(...) end } } }
    local step = 1
    p:run{ theta = theta, stop = step, progress = false }
    local step_ms = fastest(function()
        step = step + 1
        p:run{ stop = step, progress = false }
    end)
    if mpi.rank == 0 then
        print(("%-4s batch %-4d %d ranks  gradient %8.2f  bracket %8.2f  step %8.2f ms  off %.1g"):format(name, batch,
            mpi.size, gradient_ms, bracket_ms, step_ms, (apart - whole):norm():item() / whole:norm():item()))
    end
end

local function ids(shape, n) return rng:integers(shape, n) end
local mlp = bk.nn.mlp{ 784, 256, 256, 10, activation = "tanh" }
measure("W2", 512, mlp, rng:normal{ 1024, 784 }, ids({ 1024 }, 10), bk.loss.cross_entropy(mlp))
local cnn = bk.nn.sequential{ bk.nn.conv2d{ 1, 8, kernel = 5 }, bk.nn.tanh(), bk.nn.avgpool2d{ 2 },
    bk.nn.conv2d{ 8, 16, kernel = 5 }, bk.nn.tanh(), bk.nn.avgpool2d{ 2 }, bk.nn.flatten(), bk.nn.linear{ 256, 10 } }
measure("CNN", 256, cnn, rng:normal{ 512, 1, 28, 28 }, ids({ 512 }, 10), bk.loss.cross_entropy(cnn))
local gpt = bk.nn.sequential{ bk.nn.embedding{ 64, 64 }, bk.nn.position_embedding{ 32, 64 },
    bk.nn.transformer{ 64, heads = 4, causal = true }, bk.nn.transformer{ 64, heads = 4, causal = true },
    bk.nn.linear{ 64, 64 } }
measure("GPT", 32, gpt, ids({ 64, 32 }, 64), ids({ 64, 32 }, 64), next_token(gpt))

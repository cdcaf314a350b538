-- What a protocol adds to the bare optimizer step, recording off: W2's network (784-256-256-10, float32), batch 128
-- drawn from 10,000 examples. Blocks of both alternate, so that a busy machine slows both.
--     build/bracket tests/bench/protocol.lua
local bk = require "bracket"
local BATCH, BLOCK, BLOCKS, EXAMPLES = 128, 50, 40, 10000
local x = bk.rng(1):normal{ EXAMPLES, 784 }:to("float32")
local labels = {}
for k = 1, EXAMPLES do labels[k] = k % 10 end
local y = bk.tensor(labels, { dtype = "int64" })
local model = bk.nn.mlp{ 784, 256, 256, 10, activation = "relu" }
local theta0 = model:init{ seed = 1, dtype = "float32" }
local p = bk.protocol{ model = model, tasks = { { x = x, y = y } }, order = "cyclic", steps = BLOCK * (BLOCKS + 1),
    lr = 1e-3, batch = BATCH, dtype = "float32", evaluate = false }
local step = bk.value_and_grad(bk.loss.cross_entropy(model))
local bx, by, optimizer, theta = x:narrow(1, 1, BATCH):clone(), y:narrow(1, 1, BATCH):clone(), bk.optim.sgd{}, theta0

local function cpu()
    local _, own = bk.clock()
    return own
end
local function bare()
    local began = cpu()
    for _ = 1, BLOCK do
        local _, g = step(theta, bx, by)
        theta = optimizer:step(theta, g, 1e-3)
    end
    return (cpu() - began) / BLOCK
end
local done = 0
local function protocol()
    local began = cpu()
    done = done + BLOCK
    p:run{ theta = done == BLOCK and theta0 or nil, stop = done }
    return (cpu() - began) / BLOCK
end

bare()
protocol()
local times, ratios = { {}, {} }, {}
for k = 1, BLOCKS do
    local first = k % 2 == 0 and bare() or nil
    local b = protocol()
    local a = first or bare()
    times[1][k], times[2][k], ratios[k] = a, b, b / a
end
for _, list in ipairs{ times[1], times[2], ratios } do table.sort(list) end
print(string.format([[
bare step %.3f ms, protocol's %.3f ms (fastest of %d blocks of %d): ratio %.3f; median ratio of neighbours %.3f]],
    1e3 * times[1][1], 1e3 * times[2][1], BLOCKS, BLOCK, times[2][1] / times[1][1], ratios[BLOCKS // 2]))

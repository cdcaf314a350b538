-- The work the planner counts must not grow: multiply-adds of products, in MFlop, for 784-H-H-10 networks.
local lu = require "luaunit"
local bk = require "bracket"

TestFlops = {}

local function flops(f, ...) return bk.compile(f):stats(...).flops / 1e6 end

local function losses(width, batch, activation)
    local model, r = bk.nn.mlp{ 784, width, width, 10, activation = activation }, bk.rng(1)
    local labels = {}
    for i = 1, batch do labels[i] = i % 10 end
    labels = bk.tensor(labels, { dtype = "int64" })
    local function loss() return bk.loss.cross_entropy(model, r:uniform{ batch, 784 }:to("float32"), labels) end
    return model:init{ seed = 1, dtype = "float32" }, loss(), loss()
end

local function check(width, batch, activation, most)
    local theta, A, B = losses(width, batch, activation)
    lu.assertTrue(flops(bk.grad(A), theta) <= most.b)
    lu.assertTrue(flops(bk.hvp(A), theta, theta) <= most.c)
    lu.assertTrue(flops(bk.lie(A, B), theta) <= most.d)
    lu.assertTrue(flops(bk.grad(function(t) local b = bk.lie(A, B)(t) return b:dot(b) end), theta) <= most.g)
end

function TestFlops.test_784_256_256_10_batch_128()
    check(256, 128, "tanh", { b = 155.2, c = 362, d = 511.5, g = 1413 })
end

function TestFlops.test_784_1024_1024_10_batch_512()
    check(1024, 512, "relu", { b = 4898, c = 13046, d = 21070, g = 67700 })
end

function TestFlops.test_a_small_network_is_left_alone()
    local model, r = bk.nn.mlp{ 2, 32, 32, 1 }, bk.rng(1)
    local function loss() return bk.loss.mse(model, r:normal{ 64, 2 }, r:normal{ 64, 1 }) end
    lu.assertTrue(flops(bk.lie(loss(), loss()), model:init{ seed = 1 }) <= 2.5)
end

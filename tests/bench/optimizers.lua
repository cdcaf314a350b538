-- optimizers.lua - bracket tests/bench/optimizers.lua [--sizes 1000,100000] [--reps N]: one JSON line an optimizer,
-- dtype and size: seconds a step (the fastest of reps blocks) and the bytes it has to move at the least.
local bk = require "bracket"
local o = bk.arguments({ sizes = { 1000, 30000, 269322, 4000000 }, reps = 15, threads = 1 }, arg)
bk.threads(o.threads)

local STATES = { sgd = 0, momentum_ema = 1, heavy_ball = 1, nesterov = 1, rmsprop = 2, adam = 2, adamw = 2 }
local names = {}
for name in pairs(STATES) do names[#names + 1] = name end
table.sort(names)

for _, n in ipairs(o.sizes) do
    for _, dtype in ipairs { "float32", "float64" } do
        local theta, g = bk.rng(1):normal { n }:to(dtype), bk.rng(2):normal { n }:to(dtype)
        for _, name in ipairs(names) do
            local optimizer, best = bk.optim[name] {}, math.huge
            local count = math.max(3, math.min(200, 4000000 // n))
            for _ = 1, o.reps do
                local began = bk.clock()
                local t = theta
                for _ = 1, count do t = optimizer:step(t, g, 1e-3) end
                best = math.min(best, (bk.clock() - began) / count)
            end
            local size = dtype == "float32" and 4 or 8
            print(('{"optimizer": "%s", "dtype": "%s", "n": %d, "seconds": %.3g, "bytes": %d}'):format(name, dtype, n,
                best, n * size * (3 + 2 * STATES[name])))
        end
    end
end

-- optimizers.lua - bracket tests/bench/optimizers.lua [--sizes 1000,100000] [--reps N] [--threads 1]: one JSON line an
-- optimizer, dtype and size: seconds of a step as a run takes it, over theta in place (the fastest of reps blocks), of
-- one into a new tensor, the bytes that the first has to move at the least, and those a second. Beside it:
-- optimizers_torch.py.
local bk = require "bracket"
local o = bk.arguments({ sizes = { 1000, 30000, 269322, 1000000, 4000000 }, reps = 15, threads = 1 }, arg)
bk.threads(o.threads)

local STATES = { sgd = 0, momentum_ema = 1, heavy_ball = 1, nesterov = 1, rmsprop = 2, adam = 2, adamw = 2 }
local names = {}
for name in pairs(STATES) do names[#names + 1] = name end
table.sort(names)

for _, n in ipairs(o.sizes) do
    for _, dtype in ipairs { "float32", "float64" } do
        local theta, g = bk.rng(1):normal { n }:to(dtype), bk.rng(2):normal { n }:to(dtype)
        for _, name in ipairs(names) do
            local count = math.max(3, math.min(200, 4000000 // n))
            local function best_of(step)
                local optimizer, best, t = bk.optim[name] {}, math.huge, theta:clone()
                for _ = 1, o.reps do
                    local began = bk.clock()
                    for _ = 1, count do t = step(optimizer, t, g, 1e-3) end
                    best = math.min(best, (bk.clock() - began) / count)
                end
                return best
            end
            local seconds, size = best_of(bk.internal.step_over), dtype == "float32" and 4 or 8
            local bytes = n * size * (3 + 2 * STATES[name])
            print(('{"optimizer": "%s", "dtype": "%s", "n": %d, "seconds": %.3g, "new_tensor": %.3g, "bytes": %d, '
                .. '"bytes_per_second": %.3g}'):format(name, dtype, n, seconds, best_of(function(optimizer, ...)
                return optimizer:step(...)
            end), bytes, bytes / seconds))
        end
    end
end

-- operations.lua - what one operation or layer costs by itself: its value, and the gradient of its square's sum in all
-- that goes in, float32, the least of `reps` calls, microseconds; beside PyTorch's.
--   bracket tests/bench/operations.lua [--threads 1] [--reps 9] [--only TEXT] [--python PATH]
-- The peer is operations_torch.py beside this file, run by a python that can import torch. A ratio above 1: it takes
-- longer. For finding what lags: sizes are those at which the work outweighs a call.
local bk = require "bracket"
local o = bk.arguments({ threads = 1, reps = 9, only = "", python = "python3" }, arg)
bk.threads(o.threads)
local here, nn, draw = arg[0]:match("^(.*/)") or "", bk.nn, bk.rng(1)
local function normal(...) return draw:normal{ ... }:to "float32" end

local square, image, planes = normal(1024, 1024), normal(64, 32, 32, 32), normal(64, 32, 16, 16)
local positive, other, row, sequence = square:abs() + 0.5, normal(1024, 1024), normal(1024), normal(16, 64, 128)
local rows = draw:integers({ 4096 }, 1024) + 1
local list = {}
local function add(name, f, x) list[#list + 1] = { name = name, f = f, x = x or square } end

for _, name in ipairs{ "exp", "tanh", "sigmoid", "softplus", "gelu", "relu", "erf", "sin", "cos", "abs" } do
    add(name, function(t) return t[name](t) end)
end
add("log", function(t) return t:log() end, positive)
add("sqrt", function(t) return t:sqrt() end, positive)
add("pow 2.5", function(t) return t ^ 2.5 end, positive)
add("add a row", function(t) return t + row end)
add("divide", function(t) return t / positive end)
add("maximum", function(t) return bk.maximum(t, other) end)
add("where", function(t) return bk.where(t:gt(0), t, other) end)
for dim = 1, 2 do
    add("sum along " .. dim, function(t) return t:sum(dim) end)
    add("max along " .. dim, function(t) return (t:max(dim)) end)
end
for _, name in ipairs{ "softmax", "log_softmax", "logsumexp" } do add(name, bk[name]) end
add("norm", function(t) return t:norm() end)
add("cumsum", function(t) return t:cumsum(2) end)
add("sort", function(t) return (t:sort()) end)
add("gather", function(t) return bk.gather(t, rows) end)
add("flip", function(t) return bk.flip(t, 2) end)
add("transpose, times", function(t) return t:transpose() * t end)
add("concat", function(t) return bk.concat({ t, other }, 2) end)
add("permute", function(t) return bk.permute(t, 1, 3, 4, 2) end, image)
add("matmul", function(t) return t:matmul(other) end)

local function layer(name, made, x)
    local model = nn.sequential{ made }
    local theta, n, shape = model:init{ seed = 1, dtype = "float32" }, model.n_params, x:shape()
    local all = n > 0 and bk.concat({ theta, x:reshape{ -1 } }, 1) or x:reshape{ -1 }
    add(name, function(t)
        local own = n > 0 and t:narrow(1, 1, n) or theta
        return model:forward(own, t:narrow(1, n + 1, #t - n):reshape(shape))
    end, all)
end
layer("linear 512", nn.linear{ 512, 512 }, normal(256, 512))
layer("conv 3 x 3", nn.conv2d{ 32, 64, kernel = 3, padding = 1 }, planes)
layer("conv 3 x 3, stride 2", nn.conv2d{ 32, 64, kernel = 3, stride = 2, padding = 1 }, planes)
layer("conv 5 x 5", nn.conv2d{ 32, 64, kernel = 5, padding = 2 }, planes)
layer("conv 1 x 1", nn.conv2d{ 32, 64, kernel = 1 }, planes)
layer("conv 7 x 7, stride 2", nn.conv2d{ 3, 64, kernel = 7, stride = 2, padding = 3 }, normal(16, 3, 64, 64))
layer("conv 3 x 3 of 256 at 8 x 8", nn.conv2d{ 256, 256, kernel = 3, padding = 1 }, normal(32, 256, 8, 8))
layer("conv 3 x 3 of 512 at 4 x 4", nn.conv2d{ 512, 512, kernel = 3, padding = 1 }, normal(32, 512, 4, 4))
layer("max pool 2", nn.maxpool2d{ 2 }, image)
layer("max pool 3, stride 2", nn.maxpool2d{ 3, stride = 2, padding = 1 }, image)
layer("average pool 2", nn.avgpool2d{ 2 }, image)
layer("average pool 3, stride 2", nn.avgpool2d{ 3, stride = 2, padding = 1 }, image)
layer("group norm", nn.group_norm{ 8, 32 }, image)
layer("layer norm", nn.layer_norm{ 128 }, sequence)
layer("attention", nn.attention{ 128, heads = 4 }, sequence)
layer("gru", nn.gru{ 128, 128 }, sequence)
layer("lstm", nn.lstm{ 128, 128 }, sequence)
layer("transformer block of 384", nn.transformer{ 384, heads = 6 }, normal(8, 128, 384))
layer("LeNet, batch 64", nn.sequential{ nn.conv2d{ 1, 32, kernel = 5 }, nn.relu(), nn.maxpool2d{ 2 },
    nn.conv2d{ 32, 64, kernel = 5 }, nn.relu(), nn.maxpool2d{ 2 }, nn.flatten(), nn.linear{ 1024, 512 }, nn.relu(),
    nn.linear{ 512, 10 } }, normal(64, 1, 28, 28))

local function best_of(f)
    f()
    local best = math.huge
    for _ = 1, o.reps do
        local began = bk.clock()
        f()
        best = math.min(best, bk.clock() - began)
    end
    return 1e6 * best
end

local peer = {}
if os.execute(("%s -c 'import torch' >/dev/null 2>&1"):format(o.python)) then
    local pipe = io.popen(("env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE %s '%soperations_torch.py' %d %d '%s'"):format(
        o.python, here, o.threads, o.reps, o.only))
    for line in pipe:lines() do
        local name, value, gradient = line:match("^(.-)\t(%S+)\t(%S+)$")
        if name then peer[name] = { tonumber(value), tonumber(gradient) } end
    end
    if not pipe:close() then error "operations_torch.py failed" end
else
    print(o.python .. " cannot import torch: no peer")
end

print(("%-28s %10s %8s %10s %8s"):format("us", "value", "PyTorch", "gradient", "PyTorch"))
for _, at in ipairs(list) do
    if at.name:find(o.only, 1, true) then
        local f, theirs = bk.compile(at.f), peer[at.name]
        local g = bk.grad(function(t)
            local y = at.f(t)
            return (y * y):sum()
        end)
        local value, gradient = best_of(function() f(at.x) end), best_of(function() g(at.x) end)
        local function over(k, ours) return theirs and ("%.2f"):format(theirs[k] / ours) or "" end
        print(("%-28s %10.0f %8s %10.0f %8s"):format(at.name, value, over(1, value), gradient, over(2, gradient)))
    end
end

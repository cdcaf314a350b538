-- large.lua - long calls of the public functions, for poll_test: name -> function(), on n elements, with files in a
-- folder (`...`). Those of one tensor or two are found by their signatures, as in calls.lua.
local n, folder = ...
local calls = {}
local side = math.floor(math.sqrt(n))
local few = math.min(n, 1 << 20)

local g = bk.rng(1)
local v, w = g:uniform({ n }) + 0.5, g:uniform({ n }) + 0.5
local x = v:narrow(1, 1, side * side):reshape { side, side }
local places = g:integers({ n }, n) + 1
local ids = g:integers({ side }, side)
local images = v:narrow(1, 1, n // 4096 * 4096):reshape { n // 4096, 4, 32, 32 }

for name, value in pairs(bk) do
    local signature = (bk.internal.docs[value] or ""):match("^[^\n]*")
    if signature:find("%f[%a]t:" .. name .. "%([%[%)]") then
        calls[name] = function() return bk[name](v) end
        calls[name .. ", of integers"] = function() return pcall(bk[name], places) end
        if signature:find("%[dim") and name ~= "squeeze" and name ~= "transpose" then
            for dim = 1, 2 do calls[name .. " along " .. dim] = function() return bk[name](x, dim) end end
        end
    elseif signature:find("%f[%a]t:" .. name .. "%(u%)") or signature:find("bk." .. name .. "(t, u)", 1, true) then
        calls[name] = function() return bk[name](v, w) end
        calls[name .. ", broadcast"] = function() return pcall(bk[name], x, x[1]) end
    end
end
calls.transpose = function() return bk.matmul(x:transpose():clone(), v:narrow(1, 1, side)) end
calls.outer = function() return bk.outer(v:narrow(1, 1, side), w:narrow(1, 1, side)) end
calls.zeros = function() return bk.zeros { n } end
calls.ones = function() return bk.ones({ n }, { dtype = "int64" }) end
calls.full = function() return bk.full({ n }, 7) end
calls.eye = function() return bk.eye(side) end
calls.arange = function() return bk.arange(1, n) end
calls.linspace = function() return bk.linspace(0, 1, n) end
calls.equality = function() return v == v:clone() end
calls.negation = function() return -v, #v end
calls.arithmetic = function() return v * w + v / w - v ^ 3 end
calls.chain = bk.compile(function(a, b) return ((a * b + b):tanh() * a - b:exp()):sin() end)
local chain = calls.chain
calls.chain = function() return chain(v, w) end
calls.broadcast_to = function() return v:broadcast_to({ 2, n }):clone() end
calls.clamp = function() return v:clamp(0.6, 0.9) end
calls.concat = function() return bk.concat { v, w } end
calls["concat along 2"] = function() return bk.concat({ x, x }, 2) end
calls.stack = function() return bk.stack({ v, w }, 2) end
calls.cumsum = function() return v:cumsum(1), x:cumsum(1) end
calls.flip = function() return v:flip(1), x:flip(1), x:flip(2) end
calls.gather = function() return v:gather(places) end
calls["gradient of gather"] = function() return bk.grad(function(t) return t:gather(places):sum() end)(v) end
calls.take = function() return x:take(ids), bk.grad(function(t) return t:take(ids):sum() end)(x) end
calls.embedding = function() return bk.embedding(x, ids) end
calls.one_hot = function() return ids:one_hot(side) end
calls.topk = function() return v:topk(10, 1), v:topk(few, 1) end
calls.sort = function() return v:narrow(1, 1, n):sort() end
calls["sort of a few along 1"] = function() return x:sort(1) end
for _, name in ipairs { "uniform", "normal", "bernoulli" } do
    calls["bk." .. name] = function() return bk[name](3, { n }) end
    calls["float32 bk." .. name] = function() return bk[name](3, { n }, { dtype = "float32" }) end
end
calls["matmul by einsum"] = function() return bk.einsum("ij,kj->ik", x, x), bk.einsum("ij,ij->", x, x) end
calls.matmul = function() return x:matmul(x:transpose()), x:matmul(x) end
calls["matmul, float32"] = function() local y = x:to("float32") return y:matmul(y) end
calls["matmul of many"] = function()
    local many = v:narrow(1, 1, n // 64 * 64):reshape { n // 64, 8, 8 }
    return many:matmul(many)
end
calls["matmul of a vector"] = function() return x:matmul(x[1]), x[1]:matmul(x) end
calls.narrow = function() return x:narrow(2, 2, side - 2):clone() end
calls.pad = function() return x:pad({ 1, 1 }), v:pad({ 1 }, { 2 }) end
calls.permute = function() return x:permute({ 2, 1 }):clone() end
calls["permute, compiled"] = function()
    return bk.compile(function(t) return t:permute { 2, 1 }, t:reshape { side * side }, t:narrow(1, 1, 5) end)(x)
end
calls.reshape = function() return x:transpose():reshape { side * side } end
calls.to = function() return v:to("float32"), v:to("int64") end
calls.where = function() return bk.where(v:gt(w), v, w) end
calls.conv2d = function() return bk.conv2d(images, bk.ones { 8, 4, 3, 3 }) end
calls["gradient of conv2d"] = function()
    return bk.grad(function(k) return bk.conv2d(images, k):square():sum() end)(bk.ones { 4, 4, 3, 3 })
end
calls.avgpool2d = function()
    return bk.avgpool2d(images, 2), bk.grad(function(t) return t:avgpool2d(2):sum() end)(images)
end
calls.maxpool2d = function()
    return bk.maxpool2d(images, 2), bk.grad(function(t) return t:maxpool2d(2):sum() end)(images)
end
for _, name in ipairs { "eigh", "svd", "qr", "cholesky", "inv", "det" } do -- of many matrices: one runs to its end
    calls["linalg." .. name] = function()
        local many = bk.eye(32):broadcast_to({ few // 1024, 32, 32 }) + 0.01
        return bk.linalg[name](many)
    end
end
calls["linalg.solve"] = function()
    local many = bk.eye(32):broadcast_to({ few // 1024, 32, 32 }) + 0.01
    return bk.linalg.solve(many, many)
end
calls.totable = function() return v:narrow(1, 1, few):totable() end
calls.tensor = function()
    local t = {}
    for i = 1, few do t[i] = i end
    return bk.tensor(t)
end
calls.tostring = function() return tostring(v), tostring(x) end
calls.count = function() return v:count(), v:gt(w):count() end

local path = folder .. "/large"
calls.save = function() return v:save(path .. ".npy") end
calls.load_npy = function() return v:to("float32"):save(path .. "1.npy"), bk.load_npy(path .. "1.npy") end
calls.safetensors = function()
    return bk.save_safetensors(path .. ".st", { x = x, v = v }), bk.load_safetensors(path .. ".st")
end
calls.csv = function()
    local f <close> = assert(io.open(path .. ".csv", "wb"))
    f:write(("1.5,2,-3e7\n"):rep(few))
    f:flush()
    return bk.data.csv(path .. ".csv")
end
calls.idx = function()
    local f <close> = assert(io.open(path .. ".idx", "wb"))
    f:write(string.pack(">I4I4", 2049, n), ("x"):rep(n))
    f:flush()
    return bk.data.idx(path .. ".idx")
end
calls.cifar_batch = function()
    local f <close> = assert(io.open(path .. ".bin", "wb"))
    f:write(("\1" .. ("x"):rep(3072)):rep(few // 512))
    f:flush()
    return bk.data.cifar_batch(path .. ".bin")
end
calls.glyphs = function() return bk.data.glyphs { n = 500, size = 16 } end

calls["rng:uniform"] = function() return bk.rng(1):uniform { n } end
calls["rng:normal"] = function() return bk.rng(1):normal { n } end
calls["rng:integers"] = function() return bk.rng(1):integers({ n }, 5) end
calls["rng:permutation"] = function() return bk.rng(1):permutation(n) end

-- functions, models and what is made of them
local function quartic(t) return (t ^ 4):sum() + t:dot(t) end
local function coupled(t) return t:sum() ^ 2 + t:tanh():sum() end
local losses = { bk.compile(quartic), bk.compile(coupled) }
local ops = math.min(20000, n // 100) -- a list holds 4096 tensors
calls["compile of many operations"] = function()
    return bk.compile(function(t)
        for i = 1, ops do t = (t + i):sin() end
        return t
    end)(bk.ones { 3 })
end
calls["compile of many products"] = function()
    local a = bk.ones { 3, 3 }
    return bk.compile(function(t)
        for i = 1, ops // 4 do t = t:matmul(a) + i end
        return t
    end)(a)
end
calls["gradient of many operations"] = function()
    return bk.grad(function(t)
        for i = 1, ops // 2 do t = (t * t + i):sqrt() end
        return t:sum()
    end)(bk.ones { 3 })
end
calls["concat of many"] = function()
    return bk.grad(function(t)
        local parts = {}
        for i = 1, math.min(ops, 4096) do parts[i] = t[i % 3 + 1]:unsqueeze(1) * i end
        return bk.concat(parts):square():sum()
    end)(bk.ones { 3 })
end
calls.describe = function()
    return bk.compile(function(t)
        for i = 1, ops // 2 do t = t:sin():sum(1) + t * i end
        return t
    end):describe(bk.ones { 3 })
end
calls.hessian = function() return bk.hessian(coupled)(v:narrow(1, 1, side)) end
local net = bk.nn.mlp { 64, 180, 6 }
local net_x, net_y = g:uniform { 32, 64 }, g:integers({ 32 }, 6)
local net_loss = bk.loss.cross_entropy(net, net_x, net_y)
local net_theta = net:init { seed = 1 }
calls["hessian of a network"] = function() return bk.hessian(net_loss)(net_theta) end
calls.grad = function() return bk.grad(quartic)(v), bk.value_and_grad(coupled)(v) end
calls.hvp = function() return bk.hvp(quartic)(v, w) end
calls.jvp = function() return bk.jvp(coupled, { v }, { w }) end
calls.vjp = function() return select(2, bk.vjp(quartic, v))(1) end
calls.vmap = function() return bk.vmap(quartic)(x) end
calls.lie = function() return bk.lie(quartic, coupled)(v) end
calls.check_grad = function() return bk.check_grad(quartic, v:narrow(1, 1, side)) end
calls.landscape = function() return bk.landscape(net_loss, net_theta, { size = 5 }) end
calls.flow = function() return bk.flow(function(t) return -t end, v, { method = "rk4", steps = 3 }) end
local wide = bk.nn.mlp { side, side, 10 }
calls["model:init"] = function() return wide:init { seed = 1 } end
calls["model:init, orthogonal"] = function() return bk.nn.mlp({ 800, 800 }):init { scheme = "orthogonal" } end
local wide_theta = wide:init { seed = 1 }
calls["matmul in a model"] = function() return wide:forward(wide_theta, x) end
calls["model:state_dict"] = function() return wide:load_state_dict(wide:state_dict(wide_theta)) end
local labels = g:integers({ side }, 10)
calls["matmul in accuracy"] = function() return wide:accuracy(wide_theta, x, labels) end
for name, make in pairs(bk.optim) do
    if name ~= "custom" then calls["optim." .. name] = function() return make {}:step(v, w, 0.1) end end
end
for name, make in pairs { rnn = bk.nn.rnn, gru = bk.nn.gru, lstm = bk.nn.lstm } do
    calls["nn." .. name] = function()
        local m = bk.nn.sequential { make { 16, 16 } }
        return m:forward(m:init {}, bk.ones { 64, few // 4096, 16 })
    end
end
calls["nn.transformer"] = function()
    local m = bk.nn.sequential { bk.nn.transformer { 32 } }
    return m:forward(m:init {}, bk.ones { few // 8192, 128, 32 })
end
calls["bea.word"] = function() return bk.bea.word { { losses[1], 0.1 }, { losses[2], 0.2 } }:log(2)(v) end
calls["bea.lanczos"] = function() return bk.bea.lanczos { loss = quartic, theta = v, steps = 4 } end
calls["bea.trace"] = function() return bk.bea.trace { loss = net_loss, theta = net_theta, samples = 30 } end
calls["bea.spectrum"] = function()
    return bk.bea.spectrum { loss = net_loss, theta = net_theta, steps = 10, probes = 2, points = 50 }
end
calls["bea.verify"] = function()
    return bk.bea.word { { losses[1], 0.1 }, { losses[2], 0.2 } }:verify { theta = 0.1 * v:narrow(1, 1, 10),
        scales = { 1, 1 / 2 }, orders = { 1, 2 }, rtol = 1e-6, atol = 1e-8 }
end
calls.protocol = function()
    local tasks = {}
    for i = 1, 2 do
        tasks[i] = { name = "t" .. i, train = { x = net_x * i, y = net_y }, loss = "cross_entropy" }
    end
    return bk.protocol { model = net, tasks = tasks, lr = 0.1, steps = 300, batch = 16, evaluate = false }:run {}
end

-- ---- what works on a network: terms, fields, runs with every intervention, order and record ----
local deep = bk.nn.mlp { 784, math.max(16, n >> 12), 10 } -- 814,090 parameters at n = 2^22
local deep_theta = deep:init { seed = 1 }
local pixels, digits = {}, {}
for i = 1, 2 do pixels[i], digits[i] = g:uniform { 128, 784 }, g:integers({ 128 }, 10) end
local A, B = bk.loss.cross_entropy(deep, pixels[1], digits[1]), bk.loss.cross_entropy(deep, pixels[2], digits[2])
local function bea(name, options)
    options.losses = options.losses or { A, B }
    return bk.bea[name](options)
end
local function of_deep(name, f) calls["bea." .. name] = function() return f(deep_theta) end end
of_deep("multitask", function(t) return bea("multitask", { lr = 0.1 }):terms(t) end)
of_deep("multitask, gradient", function(t)
    local m = bea("multitask", { lr = 0.1 })
    return m:grad(t), m:loss()(t)
end)
of_deep("continual", function(t) return bea("continual", { lr = 0.1 }):terms(t) end)
of_deep("continual, field", function(t) return bea("continual", { lr = 0.1 }):field(3)(t) end)
of_deep("order_gap", function(t) return bk.bea.order_gap(A, B, { lr = 0.1, optimizer = bk.optim.adam {} })(t) end)
of_deep("optimizer", function(t)
    local m = bk.bea.optimizer { loss = A, optimizer = bk.optim.adam { eps = 1e-3 }, lr = 0.01 }
    return m:terms(t), m:field(2)(t)
end)
of_deep("optimizer, start", function(t)
    return bk.bea.optimizer { loss = A, optimizer = bk.optim.heavy_ball {}, lr = 0.01 }:start(t)
end)
of_deep("tournament", function(t) return bk.bea.tournament { sources = { A, B }, target = A, theta = t } end)
of_deep("path_bracket", function(t)
    return bk.bea.path_bracket { A, B, target = A, theta = t, time = 0.01, steps = 2 }
end)
of_deep("game", function(t)
    local half = deep.n_params // 2
    return bea("game", { players = { half, deep.n_params - half }, lr = 0.1 }):terms(t)
end)
of_deep("reshuffled", function(t)
    local r = bea("reshuffled", { lr = 0.1 })
    return r:variance(t), r:variance(t, { probes = 2 }), r:scatter { theta = t, scales = { 1 } }, r:loss()(t)
end)
of_deep("swap_effect", function(t) return bk.bea.swap_effect(A, { A, B }, t) end)
of_deep("word, its parts", function(t)
    local w = bk.bea.word { { A, 0.1 }, { B, 0.1 } }
    return w:conflict()(t), w:flatness()(t), w:term(2)(t), w:step(t), w:order_matrix()
end)
of_deep("fit", function(t)
    local trajectory = { t }
    for k = 2, 13 do trajectory[k] = trajectory[k - 1] * 0.95 end
    return bk.bea.fit { losses = { A }, trajectory = trajectory, degree = 2, resamples = 100 }
end)

local two = {}
for i = 1, 2 do two[i] = { name = "t" .. i, train = { x = pixels[i], y = digits[i] }, loss = "cross_entropy" } end
local function run(options, told)
    local o = { model = deep, tasks = two, lr = 0.01, steps = 4, batch = 64, order = "cyclic", evaluate = false }
    for name, value in pairs(options) do o[name] = value end
    return bk.protocol(o):run(told or {})
end
local required = dofile "tests/lua/required.lua"
local large = { memory = 16 }
local given = { -- what is not to be 1
    agem = large, gem = large, replay = large, naive_rehearsal = large, der = { memory = 16, beta = 1 },
    ewc = { weight = 1, samples = 16 }, online_ewc = { weight = 1, samples = 16 }, flatness = { strength = 0 },
    conflict = { strength = 0 }, bracket_penalty = { weight = 0.1 },
}
for name, make in pairs(bk.intervention) do
    calls["intervention." .. name] = function()
        local one = make(given[name] or required(make, 1))
        local joint = one.needs_joint or name == "flatness"
        local order = joint and "joint" or one.needs_blocks and "sequential" or "cyclic"
        return run { order = order, interventions = { one }, steps = order == "sequential" and 2 or 4 }
    end
end
local orders = { blocks = { size = 1 }, custom = { task = function() return 1 end }, word = { 1, 2 },
    planned = { budget = 0.1, samples = 4 }, tournament = { target = 1 } }
for name, make in pairs(bk.order) do
    calls["order." .. name] = function() return run { order = make(orders[name] or {}), steps = 2 } end
end
for name in pairs(bk.record) do
    calls["record." .. name] = function() return run { record = { every = 4, name } } end
end
local folders = 0
calls["protocol, in a folder"] = function()
    folders = folders + 1
    return run({}, { out = folder .. "/run" .. folders, checkpoint_every = 2 })
end
calls["protocol:state"] = function()
    local p = bk.protocol { model = deep, tasks = two, lr = 0.1, steps = 2, batch = 64, evaluate = false,
        optimizer = bk.optim.adam {} }
    p:run { stop = 1 }
    return p:restore(p:state()):order_matrix(), p:seeds { seeds = { 1 } }
end

-- ---- layers and losses ----
local rows = v:narrow(1, 1, few // 64 * 64)
for name, spec in pairs { batch_norm = { 64 }, layer_norm = { 64 }, group_norm = { 4, 64 }, dropout = { 0.5 },
    noise = { 0.1 }, linear = { 64, 64 }, relu = {}, gelu = {}, softplus = {}, sigmoid = {}, tanh = {} } do
    local m = bk.nn.sequential { bk.nn[name](spec), bk.nn.linear { 64, 1 } }
    local theta = m:init {}
    calls["nn." .. name] = function()
        return m:forward(theta, rows:reshape { -1, 64 }, { train = true, seed = 1 })
    end
end
for name, spec in pairs { attention = { 32 }, position_embedding = { 64, 32 } } do
    calls["nn." .. name] = function()
        local m = bk.nn.sequential { bk.nn[name](spec) }
        return m:forward(m:init {}, rows:narrow(1, 1, few // 2048 * 2048):reshape { few // 2048, 64, 32 })
    end
end
calls["nn.layer_norm, along"] = function() return rows:reshape { -1, 64 }:layer_norm() end
local targets = { cross_entropy = labels, hinge = g:integers({ side }, 10), mse = g:uniform { side, 10 } }
targets.l1, targets.huber, targets.binary_cross_entropy = targets.mse, targets.mse, targets.mse
targets.kl_divergence = targets.mse:softmax(2)
for name, y in pairs(targets) do
    local loss = bk.loss[name](wide, x, y)
    calls["loss." .. name] = function() return bk.value_and_grad(loss)(wide_theta) end
end
calls["optim.custom"] = function()
    local o = bk.optim.custom { state = { "m" }, update = function(d, s) return d:sign(), { m = s.m + d } end }
    return o:restore(o:state()), o:step(v, w, 0.1), o:state()
end

-- ---- data, tasks, statistics ----
local set = { x = g:uniform { few // 784, 784 }, y = g:integers({ few // 784 }, 9), classes = 10, shape = { 28, 28 } }
for name, spec in pairs { permuted = { n = 3 }, rotated = { angles = { 0, 30 } }, multi_mnist = {},
    split = { classes = { { 0, 1 }, { 2, 3 } } }, mnist_360 = { rounds = 1, test_fraction = 0 } } do
    spec.data = set
    calls["tasks." .. name] = function() return bk.tasks[name](spec) end
end
calls["tasks.incremental"] = function() return bk.tasks.incremental { tasks = { set, set }, scenario = "class" } end
calls["tasks.regression"] = function() return bk.tasks.regression { n = 2, examples = 2000, inputs = 100 } end
local function list(count)
    local values, stream = {}, bk.stream.new(bk.stream.key(1))
    for k = 1, count do values[k] = bk.stream.uniform(stream) end
    return values
end
local long, longer, matrix, groups = list(few // 8), list(few // 8), {}, {}
for k = 1, 300 do matrix[k], groups[k] = list(300), k % 10 end
for _, name in ipairs { "mean", "interval", "ranks" } do
    calls["statistics." .. name] = function() return bk.statistics[name](long) end
end
for _, name in ipairs { "correlation", "spearman", "slope" } do
    calls["statistics." .. name] = function() return bk.statistics[name](long, longer) end
end
calls["statistics.spearman_grouped"] = function()
    return bk.statistics.spearman_grouped(matrix[1], matrix[2], groups, 200, bk.stream.new(3))
end
calls["stream.permutation"] = function() return bk.stream.permutation(bk.stream.new(3), few // 4) end
for _, name in ipairs { "average_accuracy", "backward_transfer", "forgetting", "forward_transfer", "min_accuracy",
    "worst_case_accuracy" } do
    calls["metric." .. name] = function() return pcall(bk.metric[name], matrix) end
end
calls["mpi.allreduce"] = function() return bk.mpi.allreduce(v), bk.mpi.sum(quartic)(v), bk.mpi.broadcast { v } end
calls.plot = function() -- what Lua's own library does in one call runs to its end: the figure's file is searched so
    return bk.plot { { y = v:narrow(1, 1, few // 32) }, out = folder .. "/p.svg" }
end
calls.save_many = function()
    local many = {}
    for k = 1, 2000 do many["t" .. k] = v:narrow(1, k, 1000) end
    return bk.save_safetensors(path .. "2.st", many), bk.load_safetensors(path .. "2.st")
end
calls["bk.runs"] = function()
    if not io.open(folder .. "/runs/1/status.json") then
        for k = 1, 100 do
            bk.internal.make_folder(folder .. "/runs/" .. k)
            for name, text in pairs { status = '{"status": "finished", "step": 2}', config = '{"seed": 1}' } do
                local f <close> = assert(io.open(("%s/runs/%d/%s.json"):format(folder, k, name), "w"))
                f:write(text)
            end
        end
    end
    return #bk.runs(folder .. "/runs", { sort = "seed" })
end
return calls

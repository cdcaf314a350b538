-- calls.lua - one small use of every public name: path or method as the docstrings name it -> function(). alloc_test
-- runs each with allocations failing; app_test holds that no documented name is missing. Files go to the folder `...`.
local folder = ...
local calls = {}

local function write(name, text)
    local f <close> = assert(io.open(folder .. "/" .. name, "wb"))
    assert(f:write(text))
end

local x = bk.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
local v, w = bk.tensor { 0.5, -1, 2 }, bk.tensor { 1, 3, -2 }
local ids = bk.tensor({ 0, 1 }, { dtype = "int64" }) -- classes
local rows = bk.tensor({ 1, 2 }, { dtype = "int64" })
local image = bk.ones { 1, 1, 4, 4 }
local model = bk.nn.mlp { 3, 2, 2 }
local theta = model:init { seed = 1 }
local function quartic(t) return (t ^ 4):sum() + t:dot(t) end
local function coupled(t) return t:sum() ^ 2 + t:tanh():sum() end
local losses = { bk.compile(quartic), bk.compile(coupled) }

-- ---- tensors ----
for name, value in pairs(bk) do -- operations of one tensor or two, by their signatures
    local signature = (bk.internal.docs[value] or ""):match("^[^\n]*")
    if signature:find("%f[%a]t:" .. name .. "%([%[%)]") then
        calls["bk." .. name] = function() return bk[name](x), x[name](x) end
    elseif signature:find("%f[%a]t:" .. name .. "%(u%f[ )]") or signature:find("bk." .. name .. "(t, u)", 1, true) then
        calls["bk." .. name] = function() return bk[name](v, w), v[name](v, w) end
    end
end
for name in ("zeros ones"):gmatch("%S+") do
    calls["bk." .. name] = function() return bk[name] { 2, 3 }, bk[name]({ 4 }, { dtype = "float32" }) end
end
calls["bk.print_options"] = function() return bk.print_options { precision = 6 }, tostring(x) end
calls["bk.arange"] = function() return bk.arange(1, 5) end
calls["bk.linspace"] = function() return bk.linspace(0, 1, 5) end
calls["bk.eye"] = function() return bk.eye(3) end
calls["bk.full"] = function() return bk.full({ 2 }, 7) end
calls["bk.tensor"] = function() return bk.tensor { { 1, 2 }, { 3, 4 } }, bk.tensor({ 1, 2 }, { dtype = "int64" }) end
calls["bk.is_tensor"] = function() return bk.is_tensor(x), bk.is_tensor {} end
calls["bk.broadcast_to"] = function() return v:broadcast_to { 2, 3 } end
calls["bk.clamp"] = function() return x:clamp(2, 4) end
calls["bk.concat"] = function() return bk.concat { v, w, v, w, v, w } end
calls["bk.stack"] = function() return bk.stack { v, w } end
calls["bk.cumsum"] = function() return x:cumsum(1) end
calls["bk.flip"] = function() return x:flip(1) end
calls["bk.gather"] = function() return x:gather(rows) end
calls["bk.take"] = function() return x:take(ids) end
for _, name in ipairs { "uniform", "normal", "bernoulli" } do
    calls["bk." .. name] = function()
        return bk[name](3, { 2, 3 }), bk[name](ids, { 2 }, { dtype = "float32", place = 1 })
    end
end
calls["bk.topk"] = function() return x:topk(2, 1) end
calls["bk.one_hot"] = function() return ids:one_hot(2) end
calls["bk.einsum"] = function() return bk.einsum("ij,kj->ik", x, x), pcall(bk.einsum, "i", x) end
calls["bk.embedding"] = function() return bk.embedding(x, ids) end
calls["bk.matmul"] = function() return x:matmul(x:transpose()) end
calls["bk.narrow"] = function() return x:narrow(2, 1, 2) end
calls["bk.pad"] = function() return x:pad({ 1, 1 }) end
calls["bk.permute"] = function() return x:permute { 2, 1 } end
calls["bk.reshape"] = function() return x:reshape { 3, 2 } end
calls["bk.to"] = function() return x:to("float32") end
calls["bk.unsqueeze"] = function() return x:unsqueeze(1) end
calls["bk.where"] = function() return bk.where(v:gt(w), v, w) end
calls["bk.conv2d"] = function() return bk.conv2d(image, bk.ones { 1, 1, 3, 3 }) end
calls["bk.avgpool2d"] = function() return bk.avgpool2d(image, 2) end
calls["bk.maxpool2d"] = function() return bk.maxpool2d(image, 2) end
local square = bk.tensor { { 4, 1 }, { 1, 3 } }
for _, name in ipairs { "eigh", "svd", "qr", "cholesky", "inv", "det" } do
    calls["bk.linalg." .. name] = function() return bk.linalg[name](square), pcall(bk.linalg[name], x) end
end
calls["bk.linalg.solve"] = function()
    return bk.linalg.solve(square, square), pcall(bk.linalg.solve, square * 0, square)
end
calls["t:clone"] = function() return x:clone() end
calls["t:count"] = function() return x:count() end
calls["t:dtype"] = function() return x:dtype() end
calls["t:item"] = function() return x:sum():item() end
calls["t:ndim"] = function() return x:ndim() end
calls["t:shape"] = function() return x:shape() end
calls["t:size"] = function() return x:size(), x:size(1) end
calls["t:totable"] = function() return x:totable() end
calls["t:save"] = function() return x:save(folder .. "/saved.npy") end
x:save(folder .. "/x.npy")
bk.save_safetensors(folder .. "/x.safetensors", { x = x })
bk.internal.make_folder(folder .. "/runs/a")
write("runs/a/status.json", '{"status": "finished", "step": 2, "metrics": {"forgetting": 0.5}}')
write("runs/a/metrics.jsonl", '{"step": 2, "loss": 0.25}\n')
calls["bk.runs"] = function()
    local runs = bk.runs(folder .. "/runs", { where = "loss < 1", sort = "-forgetting" })
    return #runs, runs[1].status, runs[1].metrics.forgetting, runs[1].history().loss[1]
end
calls["bk.load_npy"] = function() return bk.load_npy(folder .. "/x.npy") end
write("x.npz", "PK\5\6" .. ("\0"):rep(18)) -- an archive of nothing
calls["bk.load_npz"] = function() return bk.load_npz(folder .. "/x.npz") end
calls["bk.save_safetensors"] = function() return bk.save_safetensors(folder .. "/x.safetensors", { x = x, v = v },
    { k = "v" }) end
calls["bk.save_csv"] = function()
    bk.save_csv(folder .. "/x.csv", { a = { 1, 0.5 }, b = v:narrow(1, 1, 2) }, { columns = { "b", "a" } })
    return bk.save_csv(folder .. "/x.csv", { { a = 1 }, { b = "x" } })
end
calls["bk.save_json"] = function() return bk.save_json(folder .. "/x.json", { x = x, list = { 1, "a", true } }) end
write("y.json", "{\"a\": [1, null, 0.5, true, \"x\"]}")
calls["bk.load_json"] = function() return bk.load_json(folder .. "/y.json") end
calls["bk.load_safetensors"] = function() return bk.load_safetensors(folder .. "/x.safetensors") end
calls["operators of tensors"] = function()
    return v + w, v - 1, 2 * v, v / w, v ^ 2, -v, #v, v == w, v[1] < w[1], v[1] <= w[1], x[1][2], tostring(x),
        pcall(bk.matmul, v, x), pcall(bk.zeros, { -1 }), pcall(function() return x.nosuch end)
end

-- ---- random numbers ----
calls["bk.rng"] = function() return bk.rng(1) end
calls["rng:uniform"] = function() return bk.rng(1):uniform { 3 } end
calls["rng:normal"] = function() return bk.rng(1):normal { { 2, 3 } } end
calls["rng:integers"] = function() return bk.rng(1):integers({ 3 }, 5) end
calls["rng:permutation"] = function() return bk.rng(1):permutation(5) end
calls["rng:split"] = function() return bk.rng(1):split() end
calls["rng:state"] = function() return bk.rng(1):state() end
calls["rng:restore"] = function() return bk.rng(1):restore(bk.rng(2):state()) end

-- ---- functions and their derivatives ----
calls["bk.grad"] = function() return bk.grad(quartic)(v), bk.grad(bk.grad(coupled))(v[1]) end
calls["bk.value_and_grad"] = function() return bk.value_and_grad(quartic)(v) end
calls["bk.hvp"] = function() return bk.hvp(quartic)(v, w) end
calls["bk.hessian"] = function() return bk.hessian(coupled)(v) end
calls["bk.jvp"] = function() return bk.jvp(quartic, { v }, { w }) end
calls["bk.vjp"] = function() return select(2, bk.vjp(quartic, v))(1) end
calls["bk.vmap"] = function() return bk.vmap(quartic)(x) end
calls["bk.compile"] = function()
    return bk.compile(quartic)(v), bk.compile(function(a, b) return a * b, a + b end)(v, w)
end
calls["bk.check_grad"] = function() return bk.check_grad(quartic, v) end
calls["bk.lie"] = function() return bk.lie(quartic, coupled)(v), bk.lie(quartic, bk.lie(coupled, quartic))(v) end
calls["f:describe"] = function() return bk.compile(quartic):describe(v) end
calls["f:stats"] = function() return bk.compile(quartic):stats(v) end

-- ---- models, losses, optimizers ----
local required = dofile "tests/lua/required.lua"
for name, make in pairs(bk.nn) do -- what needs other than sizes is below
    calls["bk.nn." .. name] = function() return make(required(make, 2)) end
end
for name, spec in pairs { avgpool2d = { 2 }, maxpool2d = { 2 }, conv2d = { 1, 2, kernel = 3 }, embedding = { 3, 2 },
    layer_norm = { 3 }, linear = { 3, 2 }, dropout = { 0.5 }, noise = { 0.1 } } do
    calls["bk.nn." .. name] = function() return bk.nn[name](spec) end
end
local sequences = bk.ones { 1, 2, 2 }
for name, spec in pairs { rnn = { 2, 2 }, gru = { 2, 2 }, lstm = { 2, 2 }, attention = { 2 }, transformer = { 2 },
    position_embedding = { 2, 2 } } do
    calls["bk.nn." .. name] = function()
        local m = bk.nn.sequential { bk.nn[name](spec) }
        return m:forward(m:init {}, sequences)
    end
end
for cell, layer in pairs { rnn_cell = "rnn", gru_cell = "gru", lstm_cell = "lstm" } do
    calls["bk.nn." .. cell] = calls["bk.nn." .. layer] -- the layer's step
end
calls["bk.nn.dot_product_attention"] = function()
    return bk.nn.dot_product_attention(sequences, sequences, sequences)
end
calls["bk.nn.layer"] = function()
    local m = bk.nn.sequential { bk.nn.layer { forward = function(_, y) return y:tanh() end } }
    return m:forward(m:init {}, x)
end
local modes = bk.nn.sequential { bk.nn.linear { 3, 4 }, bk.nn.batch_norm { 4 }, bk.nn.dropout { 0.5 },
    bk.nn.noise { 0.1 },
    bk.nn.residual { bk.nn.sequential { bk.nn.group_norm { 2, 4 } }, shortcut = bk.nn.linear { 4, 4 } },
    bk.nn.layer { input = { "batch", 4 }, forward = function(p, t) return p.train and t + p.random { 4 } or t end } }
local modes_theta, modes_x = modes:init { seed = 1 }, bk.ones { 3, 3 }
for name in pairs { batch_norm = 1, group_norm = 1, residual = 1 } do
    calls["bk.nn." .. name] = function()
        local made = bk.nn.sequential { bk.nn.batch_norm { 2 }, bk.nn.residual { bk.nn.group_norm { 1, 2 } } }
        local z, b = modes:forward(modes_theta, modes_x, { train = true, seed = 1, buffers = modes:init_buffers() })
        local y = bk.zeros { 3, 4 }
        bk.loss.mse(modes, modes_x, y, { train = true, seed = 1 })(modes_theta)
        local tasks = { { x = modes_x, y = y, loss = "mse" } }
        bk.protocol { model = modes, tasks = tasks, lr = 0.1, steps = 2, batch = 2 }:run {}
        return made, z, b, #modes.buffers, modes:forward(modes_theta, modes_x, { buffers = b })
    end
end
calls["model:init_buffers"] = function() return modes:init_buffers { dtype = "float32" } end
calls["bk.fold_in"] = function() return bk.fold_in(3, 1), bk.fold_in(ids, 2) end
calls["bk.nn.mlp"] = function() return bk.nn.mlp { 3, 2, 2, activation = "relu" } end
calls["bk.nn.sequential"] = function()
    local m = bk.nn.sequential { bk.nn.conv2d { 1, 2, kernel = 3 }, bk.nn.tanh(), bk.nn.avgpool2d { 2 },
        bk.nn.flatten(), bk.nn.linear { 2, 1 } }
    return m:forward(m:init {}, image)
end
calls["model:init"] = function() return model:init { seed = 1, dtype = "float32" } end
calls["model:forward"] = function() return model:forward(theta, x) end
calls["model:state_dict"] = function() return model:state_dict(theta, { layout = "torch" }) end
calls["model:load_state_dict"] = function() return model:load_state_dict(model:state_dict(theta)) end
calls["model:accuracy"] = function() return model:accuracy(theta, x, ids) end
for name, make in pairs(bk.loss) do
    local target = make.class_ids and ids or x:narrow(2, 1, 2) / 6
    calls["bk.loss." .. name] = function()
        local loss = make(model, x, target)
        return loss(theta), bk.grad(loss)(theta), make {} (model)(theta, x, target)
    end
end
calls["loss:accuracy"] = function() return bk.loss.cross_entropy:accuracy(model)(theta, x, ids) end
calls["bk.is_loss"] = function() return bk.is_loss(bk.loss.mse), bk.is_loss(1) end
for name, make in pairs(bk.optim) do
    calls["bk.optim." .. name] = function() return make {}:step(v, w, 0.1) end
end
local function own()
    return bk.optim.custom { state = { "m" }, options = { beta = 0.9 }, update = function(g, s, _, o)
        local m = o.beta * s.m + g
        return m / (1 - o.beta ^ o.t), { m = m }
    end }
end
calls["bk.optim.custom"] = function() return own():step(v, w, 0.1) end
calls["optimizer:step"] = calls["bk.optim.adam"]
calls["optimizer:reset"] = function() return bk.optim.adam {}:reset() end
calls["optimizer:formula"] = function() return (bk.optim.adam {}:formula()(v, w, bk.tensor(1), w, w)) end
calls["optimizer:with"] = function() return bk.optim.adam {}:with { eps = 1 }, own():with { beta = 0.5 } end
local used = bk.optim.adam {}
used:step(v, w, 0.1)
calls["optimizer:state"] = function() return used:state() end
calls["optimizer:restore"] = function() return bk.optim.adam {}:restore(used:state()) end

-- ---- backward error analysis ----
local function word() return bk.bea.word { { losses[1], 0.1 }, { losses[2], 0.2 } } end
local function multitask() return bk.bea.multitask { losses = losses, lr = 0.1 } end
local function continual() return bk.bea.continual { losses = losses, lr = 0.1 } end
calls["bk.bea.word"] = function()
    local w = bk.bea.word { { losses[1], 0.1, exact = true }, { map = function(t, h) return t - h * t end, lr = 0.1 } }
    return w:term(2)(v), w:step(v)
end
calls["word:term"] = function() return word():term(2)(v) end
calls["word:log"] = function() return word():log(3)(v) end
calls["word:conflict"] = function() return word():conflict()(v) end
calls["word:flatness"] = function() return word():flatness()(v) end
calls["word:order_matrix"] = function() return word():order_matrix() end
calls["word:step"] = function() return word():step(v) end
calls["word:verify"] = function()
    return word():verify { theta = 0.1 * v, scales = { 1, 1 / 2 }, orders = { 1, 2 }, rtol = 1e-6, atol = 1e-8 }
end
calls["bk.bea.multitask"] = multitask
calls["multitask:terms"] = function() return multitask():terms(v) end
calls["multitask:loss"] = function() return multitask():loss()(v) end
calls["multitask:grad"] = function() return multitask():grad(v) end
calls["bk.bea.continual"] = continual
calls["continual:terms"] = function() return continual():terms(v) end
calls["continual:field"] = function() return continual():field(2)(v) end
calls["continual:word"] = function() return continual():word() end
calls["bk.bea.order_gap"] = function()
    return bk.bea.order_gap(losses[1], losses[2], { lr = 0.1, optimizer = bk.optim.momentum_ema {} })(v)
end
do
    local function make(optimizer, options)
        options.loss, options.optimizer, options.lr = losses[1], optimizer, 0.01
        return bk.bea.optimizer(options)
    end
    local equation = make(bk.optim.heavy_ball {}, {})
    calls["bk.bea.optimizer"] = function() return make(bk.optim.adam { weight_decay = 0.1 }, {}) end
    calls["equation:term"] = function() return make(bk.optim.sgd {}, {}):term(1)(v), equation:term(2)(v) end
    calls["equation:field"] = function() return equation:field(2)(v) end
    calls["equation:start"] = function() return make(bk.optim.momentum_ema { beta = 0.1 }, {}):start(v) end
    calls["equation:terms"] = function() return equation:terms(v) end
    calls["equation:verify"] = function()
        return make(bk.optim.momentum_ema { beta = 0.1 }, {}):verify { theta = v, time = 0.02, scales = { 1, 0.5 },
            orders = { 1 } }
    end
end
calls["bk.bea.tournament"] = function() return bk.bea.tournament { sources = losses, target = losses[1], theta = v } end
calls["bk.bea.path_bracket"] = function()
    return bk.bea.path_bracket { losses[1], function(t, d) return quartic(t) * d:sum() end, target = coupled,
        theta = v, time = 0.01, steps = 2, data = { v } }
end
local function game()
    return bk.bea.game { losses = losses, players = { 2, #v - 2 }, lr = 0.1, play = "alternating", steps = { 1, 2 } }
end
calls["bk.bea.game"] = game
calls["game:word"] = function() return game():word() end
calls["game:field"] = function() return game():field(2)(v) end
calls["game:terms"] = function() return game():terms(v) end
calls["game:step"] = function() return game():step(v) end
calls["game:verify"] = function()
    return game():verify { theta = 0.1 * v, scales = { 1, 1 / 2 }, orders = { 1 }, rtol = 1e-6, atol = 1e-8 }
end
calls["game:regularised"] = function() return game():regularised(1, { self = 0 })(v) end
calls["bk.bea.lanczos"] = function()
    return bk.bea.lanczos { loss = quartic, theta = v, steps = 3, top = 2, vectors = true }
end
calls["bk.bea.spectrum"] = function()
    local s = bk.bea.spectrum { loss = quartic, theta = v, steps = 2, probes = 2, points = 3,
        layers = { { name = "part", first = 1, size = 2 } } }
    return s:mean(math.abs)
end
calls["bk.landscape"] = function() return bk.landscape(quartic, v, { size = 2 }) end
local trajectory = { v }
for k = 2, 13 do trajectory[k] = trajectory[k - 1] * 0.95 end
calls["bk.bea.fit"] = function()
    return bk.bea.fit { losses = { quartic }, trajectory = trajectory, degree = 2, resamples = 2 }
end
calls["bk.bea.trace"] = function() return bk.bea.trace { loss = quartic, theta = v, samples = 3 } end
local function reshuffled() return bk.bea.reshuffled { losses = losses, lr = 0.1 } end
calls["bk.bea.reshuffled"] = reshuffled
calls["reshuffled:loss"] = function() return reshuffled():loss()(v) end
calls["reshuffled:variance"] = function()
    return reshuffled():variance(v), reshuffled():variance(v, { probes = 2 })
end
calls["reshuffled:scatter"] = function()
    return reshuffled():scatter { theta = v, scales = { 1 }, optimizer = bk.optim.adam {} }
end
calls["reshuffled:verify"] = function() return reshuffled():verify { theta = 0.1 * v, scales = { 1, 1 / 2 } } end
calls["bk.bea.swap_effect"] = function() return bk.bea.swap_effect(losses[1], losses, v) end
calls["bk.flow"] = function()
    return bk.flow(function(t) return -t end, v, { rtol = 1e-6, atol = 1e-8 }),
        bk.flow(function(t) return -t end, v, { method = "rk4", steps = 2 })
end

-- ---- data and tasks ----
local pixels = {}
for i = 1, 6 * 3072 do pixels[i] = string.char(i % 256) end
pixels = table.concat(pixels)
write("t.csv", "1,2,3\n4,5,6\n")
write("n.csv", 'a,"k"\n1,x\n2,y\n')
write("train-images-idx3-ubyte", string.pack(">I4I4I4I4", 2051, 6, 4, 4) .. pixels:sub(1, 6 * 16))
write("train-labels-idx1-ubyte", string.pack(">I4I4", 2049, 6) .. "\0\1\0\1\0\1")
write("cifar.bin", ("\1" .. pixels:sub(1, 3072)):rep(2))
for name, read in pairs(bk.data) do -- any other reader of files, of one that is none of its own
    calls["bk.data." .. name] = function() return pcall(read, folder .. "/none") end
end
calls["bk.data.csv"] = function()
    return bk.data.csv(folder .. "/t.csv"), bk.data.csv(folder .. "/n.csv", { header = true, categories = { "k" } })
end
calls["bk.data.idx"] = function() return bk.data.idx(folder .. "/train-images-idx3-ubyte") end
calls["bk.data.mnist"] = function() return bk.data.mnist(folder, { split = "train" }) end
calls["bk.data.cifar_batch"] = function() return bk.data.cifar_batch(folder .. "/cifar.bin") end
write("test_batch.bin", ("\1" .. pixels:sub(1, 3072)):rep(2))
calls["bk.data.cifar"] = function() return bk.data.cifar(folder, { split = "test" }) end
-- a PNG file of one grey pixel, and a folder of it
write("x.png", "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\8\0\0\0\0:~\x9bU\0\0\0\nIDAT"
    .. "x\xdac`\0\0\0\2\0\1\xe5'\xde\xfc\0\0\0\0IEND\xaeB`\x82")
calls["bk.data.image"] = function() return bk.data.image(folder .. "/x.png") end
bk.internal.make_folder(folder .. "/images/class")
write("images/class/x.png", assert(io.open(folder .. "/x.png", "rb")):read("a"))
calls["bk.data.images"] = function() return bk.data.images(folder .. "/images") end
calls["bk.data.glyphs"] = function() return bk.data.glyphs { n = 2, size = 8 } end
local digits = { x = bk.rng(1):uniform { 12, 16 }, classes = 4, shape = { 4, 4 }, name = "digits",
    y = bk.tensor({ 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3 }, { dtype = "int64" }) }
for name, make in pairs(bk.tasks) do
    calls["bk.tasks." .. name] = function() return make { data = digits, n = 2 } end
end
calls["bk.tasks.permuted"] = function() return bk.tasks.permuted { data = digits, n = 2 } end
calls["bk.tasks.rotated"] = function() return bk.tasks.rotated { data = digits, angles = { 0, 30 } } end
calls["bk.tasks.split"] = function() return bk.tasks.split { data = digits, classes = { { 0, 1 }, { 2, 3 } } } end
calls["bk.tasks.incremental"] = function() return bk.tasks.incremental { tasks = { digits }, scenario = "task" } end
calls["bk.tasks.multi_mnist"] = function() return bk.tasks.multi_mnist { data = digits, shift = 1 } end
local nine = { x = bk.rng(1):uniform { 18, 2, 2 }, y = bk.arange(18) }
nine.y = nine.y - (nine.y:to("float64") / 9):floor():to("int64") * 9
calls["bk.tasks.mnist_360"] = function()
    return bk.tasks.mnist_360 { data = nine, rounds = 1, test_fraction = 0 }
end
calls["bk.tasks.regression"] = function() return bk.tasks.regression { n = 2, examples = 4, inputs = 2 } end

-- ---- protocols: each name in a run of two tasks and two steps ----
local tasks = {
    { name = "one", train = { x = x, y = ids }, loss = "cross_entropy" },
    { name = "two", train = { x = -x, y = ids }, loss = "cross_entropy" },
}
local function run(options)
    local o = { model = model, tasks = tasks, lr = 0.1, steps = 2, batch = "full", order = "cyclic", evaluate = false }
    for name, value in pairs(options) do o[name] = value end
    return bk.protocol(o):run { theta = theta }
end
local function paused()
    local p = bk.protocol { model = model, tasks = tasks, lr = 0.1, steps = 2, batch = 1,
        record = { every = 1, "loss" } }
    p:run { stop = 1 }
    return p
end
calls["bk.protocol"] = function() return bk.protocol { model = model, tasks = tasks, lr = 0.1, steps = 2 } end
calls["protocol:run"] = function() return paused():run {} end
calls["protocol:seeds"] = function() return paused():seeds { seeds = { 1 } } end
calls["protocol:state"] = function() return paused():state() end
calls["protocol:restore"] = function()
    local p = paused()
    return p:restore(p:state()):run {}
end
calls["protocol:order_matrix"] = function() return paused():order_matrix() end
calls["order:matrix"] = function() return bk.order.cyclic {}:matrix(2, { steps = 3, lr = 0.1 }) end
for name, make in pairs(bk.order) do -- those that need options are below, here and in what follows
    calls["bk.order." .. name] = function() return run { order = make {} } end
end
calls["bk.order.planned"] = function() return run { order = bk.order.planned { budget = 0.1, samples = 4 } } end
calls["bk.order.tournament"] = function() return run { order = bk.order.tournament { target = 1 } } end
calls["bk.order.blocks"] = function() return run { order = bk.order.blocks { size = 1 } } end
calls["bk.order.custom"] = function() return run { order = bk.order.custom { task = function() return 1 end } } end
calls["bk.order.word"] = function() return run { order = bk.order.word { 1, 2 } } end
for name, make in pairs(bk.schedule) do
    calls["bk.schedule." .. name] = function() return run { lr = make(required(make, 1, { lr = 0.1 })) } end
end
calls["bk.schedule.per_task"] = function()
    return run { lr = bk.schedule.per_task { 0.1, bk.schedule.cosine { lr = 0.1 } } }
end
local given = { ewc = { weight = 1, samples = 1 }, der = { memory = 1, beta = 1 }, conflict = { strength = 0 },
    online_ewc = { weight = 1, samples = 1, fisher = "batched" }, flatness = { strength = 0 },
    bracket_penalty = { weight = 0.1 } }
for name, make in pairs(bk.intervention) do
    calls["bk.intervention." .. name] = function()
        local one = make(given[name] or required(make, 1))
        local joint = one.needs_joint or name == "flatness"
        local order = joint and "joint" or one.needs_blocks and "sequential" or "cyclic"
        return run { order = order, steps = order == "sequential" and 1 or 2, interventions = { one } }
    end
end
for name in pairs(bk.record) do
    calls["bk.record." .. name] = function() return run { record = { every = 2, name } } end
end
local accuracy = { [0] = { 0.5, 0.5 }, { 0.9, 0.5 }, { 0.7, 0.8 } }
for name, metric in pairs(bk.metric) do
    calls["bk.metric." .. name] = function() return metric(accuracy, { 1, 2 }) end
end
calls["bk.metric.learning_curve_area"] = function()
    return bk.metric.learning_curve_area({ { 0.5 }, { 0.75 } }, { batches = 1, learning = { 0, 1 } })
end
calls["bk.metric.interval"] = function() return bk.metric.interval { 1, 2, 3 } end

-- ---- the rest ----
calls["bk.threads"] = function() return bk.threads(), bk.threads(1) end
calls["bk.memory"] = function() return bk.memory() > 0 end
calls["bk.clock"] = function() return bk.clock() > 0 end
local list, squares = { 1, 2, 3, 4, 5 }, { 1, 4, 9, 15, 26 }
local statistics = { t95 = { 3 }, proportion = { 3, 5 }, correlation = { list, squares }, spearman = { list, squares },
    slope = { list, squares } }
for name, f in pairs(bk.statistics) do
    calls["bk.statistics." .. name] = function() return f(table.unpack(statistics[name] or { list })) end
end
calls["bk.statistics.spearman_grouped"] = function()
    return bk.statistics.spearman_grouped(list, squares, { 1, 1, 2, 2, 3 }, 4, bk.stream.new(1))
end
for name, f in pairs { key = { 1, 2 }, new = { 3 }, next = {}, uniform = {}, below = { 5 }, permutation = { 5 } } do
    local plain = name == "key" or name == "new"
    calls["bk.stream." .. name] = function()
        if plain then return bk.stream[name](table.unpack(f)) end
        return bk.stream[name]({ key = 1, counter = 0 }, table.unpack(f))
    end
end
calls["bk.measure.layers"] = function() return bk.measure.layers(model) end
calls["bk.measure.only"] = function() return bk.measure.only(theta, bk.measure.layers(model)[1]) end
for name in pairs(bk.measure) do -- what records are made of
    if name ~= "layers" and name ~= "only" then
        calls["bk.measure." .. name] = function()
            return run { record = { every = 2, value = function(state)
                local measure = bk.measure
                local arguments = { examples = { 1 }, gradient = { 1 }, loss = { 1 }, hvp = { 1, state.theta },
                    bracket = { 1, 2 }, needs_losses = { "calls" }, output_change = { 1, state.theta },
                    total_hvp = { state.theta }, decay = { "the term" } }
                if name == "is_gradient_step" then return measure.is_gradient_step(state.optimizer) and 1 or 0 end
                if name == "weighted_brackets" then return measure.conflict_field(state):norm():item() end
                local value = measure[name](state, table.unpack(arguments[name] or {}))
                return value ~= nil and 1 or 0
            end } }
        end
    end
end
calls["bk.plot"] = function() return pcall(bk.plot, { { y = { -1 } }, logy = true, out = folder .. "/p.svg" }) end
calls["bk.arguments"] = function()
    return bk.arguments({ lr = 0.1, n = { 1 }, quick = false }, { "--lr=0.2", "--n", "1,a", "--quick" }),
        pcall(bk.arguments, { lr = 0.1 }, { "--nosuch" })
end
calls["bk.help"] = function()
    return bk.help ~= nil, bk.repl.help.page("bk.lie"), bk.repl.help.page(bk.grad), bk.repl.help.page("norm")
end
calls["bk.doc"] = function() return bk.doc(function() end, "f()\n\nA text.") end
calls["bk.define"] = function()
    local f = bk.define { name = "f", doc = "A text.", options = { { "n", "count", default = 1, doc = "a number" } },
        call = function(o) return o.n end }
    return f {}, f { n = 2 }, pcall(f, { m = 1 }), bk.repl.help.page(f)
end
for name, f in pairs{ allreduce = function() return bk.mpi.allreduce(theta), bk.mpi.allreduce(2) end,
    sum = function() return bk.mpi.sum(function(t) return t:dot(t) end)(theta), pcall(bk.mpi.sum, 1) end,
    shard = function() return bk.mpi.shard(bk.loss.mse(model)) end, share = function() return bk.mpi.share(9) end,
    broadcast = function() return bk.mpi.broadcast({ theta }) end, barrier = function() bk.mpi.barrier() end,
    rank = function() return bk.mpi.rank end, size = function() return bk.mpi.size end } do
    calls["bk.mpi." .. name] = f
end
calls["coroutines"] = function()
    local next_value = coroutine.wrap(function() for i = 1, 10 do coroutine.yield { i } end end)
    for _ = 1, 10 do next_value() end
    return coroutine.resume(coroutine.create(function() error { "died" } end))
end

return calls

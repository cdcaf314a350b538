-- One's own problem from end to end: a table and pictures from files, a loss, an optimizer, dropout and augmentation of
-- one's own, weights in PyTorch's layout; and at which layer the order of the two tasks matters.
local bk = require "bracket"
local experiment = dofile((arg[0]:match("^.*/") or "") .. "../common.lua")
local say = experiment.say
local o = experiment.options(arg, { steps = 300, rounds = 4, out = "", data = false }, -- it makes its files
    { steps = 60, rounds = 2 })

-- The files: a table with a header, words and gaps, and a folder of PNG pictures for each class.
local folder = os.tmpname()
os.remove(folder)
os.execute(("mkdir -p %s/pictures/flat %s/pictures/steep"):format(folder, folder))
local r = bk.rng(o.seed)
local function write(name, bytes)
    local f <close> = assert(io.open(folder .. "/" .. name, "wb"))
    f:write(bytes)
end
local lines = { "length,width,kind" }
for k, row in ipairs(r:normal{ 200, 2 }:totable()) do
    local kind = row[1] + 0.5 * row[2] > 0 and "walrus" or "seal"
    lines[k + 1] = ("%.4f,%s,%s"):format(row[1], k % 20 == 0 and "NA" or ("%.4f"):format(row[2]), kind)
end
write("table.csv", table.concat(lines, "\r\n"))
for k = 1, 80 do -- 4 x 4 grey pixels that grow to the right, or downwards
    local rows, steep = {}, k % 2 == 0
    for i = 0, 3 do
        for j = 0, 3 do rows[4 * i + j + 1] = 50 * (steep and i or j) + math.floor(40 * r:uniform{}:item()) end
    end
    write(("pictures/%s/%d.png"):format(steep and "steep" or "flat", k), experiment.png(rows, 4, 4))
end

-- The tasks: the table's two columns are shown as two of the pictures' sixteen pixels, so that one network has both.
local animals = bk.data.csv(folder .. "/table.csv", { header = true, categories = { "kind" }, missing = "drop" })
local pictures = bk.data.images(folder .. "/pictures")
local n = animals.x:size(1)
local wide = bk.concat({ animals.x, bk.zeros{ n, 14 } }, 2)

-- A loss: cross entropy, and a pull towards outputs that are small.
local entropy = {}
local function loss(model, theta, x, y)
    entropy[model] = entropy[model] or bk.loss.cross_entropy(model)
    return entropy[model](theta, x, y) + 0.01 * (model:forward(theta, x) ^ 2):mean()
end
local function accuracy(z, y) return z:argmax(2):eq(y):to("float64"):mean():item() end
local tasks = {
    { name = "animals", x = wide, y = animals.y, loss = loss, accuracy = accuracy },
    { name = "pictures", x = pictures.x, y = pictures.y, loss = loss, accuracy = accuracy },
}

-- An optimizer: momentum whose steps are cut off smoothly.
local optimizer = bk.optim.custom{ state = { "m" }, options = { beta = 0.9 }, update = function(g, s, _, p)
    s.m = p.beta * s.m + (1 - p.beta) * g
    return s.m:tanh(), s
end }
local noise = { name = "noise", before_batch = function(state) -- augmentation
    state.x = state.x + bk.rng(state.step):normal(state.x:shape(), { dtype = state.x:dtype() }) * 0.05
end }

-- The start: weights as PyTorch would have saved them.
local model = bk.nn.sequential{ bk.nn.linear{ 16, 12 }, bk.nn.tanh(), bk.nn.dropout{ 0.1 }, bk.nn.linear{ 12, 2 } }
bk.save_safetensors(folder .. "/start.safetensors", model:state_dict(model:init{ seed = o.seed }, { layout = "torch" }))
local theta = model:load_state_dict(folder .. "/start.safetensors", { layout = "torch" })

say("%d animals, %d pictures; %s", n, pictures.x:size(1), tostring(model))
say("%-6s %-10s %-10s %-22s %s", "round", "animals", "pictures", "|bracket| of layer 1", "of layer 2")
local lie = bk.lie(function(t) return loss(model, t, wide, animals.y) end,
    function(t) return loss(model, t, pictures.x, pictures.y) end)
local rounds, series = {}, { {}, {} }
for round = 0, o.rounds do
    if round > 0 then
        local p = bk.protocol{ model = model, tasks = tasks, order = "cyclic", lr = 0.05, steps = o.steps, batch = 32,
            optimizer = optimizer, interventions = { noise }, seed = round }
        theta = p:run{ theta = theta, progress = false }.theta
    end
    local at, bracket = {}, lie(theta)
    for k, t in ipairs(tasks) do at[k] = accuracy(model:forward(theta, t.x), t.y) end
    for _, b in ipairs(model.layers) do
        local list = series[b.layer == 1 and 1 or 2]
        list[round + 1] = (list[round + 1] or 0) + bracket:narrow(1, b.first, b.size):norm():item() ^ 2
    end
    for _, list in ipairs(series) do list[round + 1] = math.sqrt(list[round + 1]) end
    rounds[round + 1] = round
    say("%-6d %-10.3f %-10.3f %-22.5f %.5f", round, at[1], at[2], series[1][round + 1], series[2][round + 1])
end
bk.plot{ { x = rounds, y = series[1], label = "layer 1" }, { x = rounds, y = series[2], label = "layer 2" },
    title = "The bracket of the two tasks, by layer", xlabel = "round", ylabel = "norm",
    out = o.out ~= "" and o.out or nil }
os.execute("rm -rf " .. folder)

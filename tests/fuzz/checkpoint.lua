-- checkpoint.lua - states of checkpoints that are well written, digests and all, but not what the run wrote: the run
-- goes on, or is refused with a message. Input: three bytes an edit, which lead down into the state and say what the
-- value there becomes.
local bk = require "bracket"
local root = ...
local folder, checkpoint, run_folder = root .. "/run", bk._checkpoint, bk._run_folder

local random = bk.rng(1)
local tasks = {}
for k = 1, 2 do tasks[k] = { x = random:normal{ 6, 2 }, y = random:integers({ 6 }, 2) } end
local p = bk.protocol{ model = bk.nn.mlp{ 2, 2, 2, activation = "tanh" }, tasks = tasks, lr = 0.1, steps = 4, batch = 3,
    optimizer = bk.optim.adam{}, interventions = { bk.intervention.replay{ memory = 2 } },
    record = { every = 1, "loss" }, seed = 1 }
p:run{ out = folder, checkpoint_every = 2 }
local steps = run_folder.checkpoints(folder)
os.remove(run_folder.checkpoint_path(folder, steps[#steps]))
local path = run_folder.checkpoint_path(folder, steps[#steps - 1])
local function read(name)
    local f <close> = io.open(folder .. "/" .. name, "rb")
    return f and f:read("a")
end
local names, files = { "config.json", "env.json", "metrics.jsonl", "status.json", path:match("[^/]+$") }, {}
for _, name in ipairs(names) do files[name] = read(name) end

local VALUES = {
    function() return nil end, function() return 0 / 0 end, function() return -1 end, function() return 2 ^ 62 end,
    function() return math.mininteger end, function() return "text" end, function() return {} end,
    function() return true end, function() return bk.ones{ 0 } end, function() return bk.ones{ 3, 2 } end,
    function() return bk.tensor({ 5, 7 }, { dtype = "int64" }) end, function(old) return { old, old } end,
    function(old) return bk.is_tensor(old) and old * (0 / 0) or 1e308 end, function() return "\xff" end,
    function(old) return type(old) == "number" and old + 1 or old end,
    function(old) return bk.is_tensor(old) and old:to("float32") or 1 end,
}

local function key_of(t, byte)
    local keys = {}
    for key in pairs(t) do keys[#keys + 1] = key end
    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    return keys[byte % (#keys + 1) + 1] -- one more than there are: none
end

local function edit(state, a, b, c)
    local at = state
    local key = key_of(at, a)
    for level = 0, 3 do
        local inner = key ~= nil and at[key]
        local deeper = type(inner) == "table" and key_of(inner, b >> level)
        if deeper == nil or deeper == false then break end
        at, key = inner, deeper
    end
    if key == nil then key = "new" end
    at[key] = VALUES[c % #VALUES + 1](at[key])
end

return function(input)
    for _, name in ipairs(bk.internal.folder(folder)) do
        if not files[name] then os.remove(folder .. "/" .. name) end
    end
    for name, text in pairs(files) do
        local f <close> = assert(io.open(folder .. "/" .. name, "wb"))
        f:write(text)
    end
    local state = assert(checkpoint.load(path))
    for at = 1, #input - 2, 3 do edit(state, input:byte(at, at + 2)) end
    if not pcall(checkpoint.save, path, state) then return end
    local ok, why = pcall(p.run, p, { out = folder, resume = true, checkpoint_every = 2 })
    if ok then assert(bk.is_tensor(why.theta)) else assert(type(why) == "string", type(why)) end
end

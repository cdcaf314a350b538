-- run_folder.lua - files of a run folder that were changed: the run goes on to the same result, bit for bit, or is
-- refused with a message; and what lists and shows runs does it or refuses it. Input: the file, then either (first byte
-- below 128) edits of four bytes, or the whole new contents.
local bk = require "bracket"
local folder = ... .. "/run"
local internal = bk.internal

local random = bk.rng(1)
local tasks = {}
for k = 1, 2 do tasks[k] = { x = random:normal{ 6, 2 }, y = random:integers({ 6 }, 2) } end
local p = bk.protocol{ model = bk.nn.mlp{ 2, 2, 2, activation = "tanh" }, tasks = tasks, lr = 0.1, steps = 4, batch = 3,
    optimizer = bk.optim.heavy_ball{}, record = { every = 1, "loss" }, seed = 1 }

local function read(path)
    local f <close> = io.open(path, "rb")
    return f and f:read("a")
end
local function write(path, text)
    local f <close> = assert(io.open(path, "wb"))
    f:write(text)
end

-- The folder as it stands where a run was killed before its last checkpoint.
local result = p:run{ out = folder, checkpoint_every = 2 }
local theta, names, files = result.theta:clone(), {}, {}
local steps = bk._run_folder.checkpoints(folder)
os.remove(bk._run_folder.checkpoint_path(folder, steps[#steps]))
for _, name in ipairs(internal.folder(folder)) do
    if not name:find("/$") and name ~= "run.lock" then names[#names + 1] = name end
end
table.sort(names)
for _, name in ipairs(names) do files[name] = read(folder .. "/" .. name) end

local function edited(text, edits)
    for at = 1, #edits - 3, 4 do
        local place, what, byte = string.unpack("<I2BB", edits, at)
        local k = place % (#text + 1)
        if what % 4 == 0 then
            text = text:sub(1, k) .. string.char(byte) .. text:sub(k + 2)
        elseif what % 4 == 1 then
            text = text:sub(1, k) .. text:sub(k + 1 + byte)
        elseif what % 4 == 2 then
            text = text:sub(1, k) .. text:sub(k + 1, k + byte) .. text:sub(k + 1)
        else
            text = text:sub(1, k)
        end
    end
    return text
end

-- An error is a message of ours, for users: no slip of Lua's.
local function works_or_says(f, ...)
    local ok, why = pcall(f, ...)
    if ok then return why end
    why = tostring(why)
    assert(not why:find("attempt to") and not why:find("bad argument"), why)
end

return function(input)
    if #input < 2 then return end
    for _, name in ipairs(internal.folder(folder)) do
        if not files[name] then os.remove(folder .. "/" .. name) end
    end
    for name, text in pairs(files) do write(folder .. "/" .. name, text) end
    local which = input:byte()
    local name = names[which % #names + 1]
    local text = which < 128 and edited(files[name], input:sub(2)) or input:sub(2)
    write(folder .. "/" .. name, text)
    works_or_says(bk._run_folder.read, folder)
    works_or_says(bk._run_folder.metrics, folder)
    works_or_says(bk.command.runs, { "show", folder })
    local again = works_or_says(p.run, p, { out = folder, resume = true, checkpoint_every = 2 })
    if again then assert(again.theta == theta, name .. ": the run went on to another result") end
end

-- source.lua - the source text of a Lua function: from its file, from the files in the library, or from the inputs of
-- the session.
local bk = ...
local getinfo, getupvalue = debug.getinfo, debug.getupvalue
local INPUTS = 1000 -- that are kept

local source = {}
local inputs = {} -- texts that may hold functions, the last one last

function source.keep(text)
    if not text:find("function", 1, true) then return end
    if #inputs == INPUTS then table.remove(inputs, 1) end
    inputs[#inputs + 1] = text
end

local function lines(text, first, last)
    local out, n = {}, 0
    for line in (text .. "\n"):gmatch("([^\n]*)\n") do
        n = n + 1
        if n >= first and n <= last then out[#out + 1] = line end
    end
    return table.concat(out, "\n")
end

-- The input that f was compiled from: its code without debug information, less the header, is part of the input's.
local function input_of(f)
    local header = 32 -- of string.dump: signature, sizes, two numbers, a count of upvalues
    local body = string.dump(f, true):sub(header + 1)
    for i = #inputs, 1, -1 do
        local chunk = load("return " .. inputs[i], "=stdin", "t") or load(inputs[i], "=stdin", "t")
        if chunk and string.dump(chunk, true):find(body, 1, true) then return inputs[i] end
    end
end

local function read(path)
    local f <close> = io.open(path)
    return f and f:read("a")
end

-- What a function of bk.define does, or one that counts its arguments, is in the function it was given.
local function inner(f)
    local counted = getinfo(f, "S").what == "C" and select(2, getupvalue(f, 1))
    if type(counted) == "function" then f = counted end
    if not getinfo(f, "S").source:find("bracket/define%.lua$") then return f end
    for i = 1, 20 do
        local name, value = getupvalue(f, i)
        if name == "call" and type(value) == "function" then return value end
        if not name then return f end
    end
    return f
end

-- The text, and where it stands; or nil and why not.
function source.of(f)
    if type(f) ~= "function" then
        local meta = debug.getmetatable(f)
        local call = type(meta) == "table" and rawget(meta, "__call")
        if type(call) ~= "function" then return nil, "expected a function, got " .. bk._options.show(f) end
        f = call
    end
    f = inner(f)
    local info = getinfo(f, "S")
    if info.what == "C" then return nil, "it is written in C" end
    local path = info.source:match("^@(.*)")
    local text = info.source == "=stdin" and input_of(f) or path and (bk.internal.source(path) or read(path))
    if not text then return nil, ("its text, of %s, is not at hand"):format(info.short_src) end
    return lines(text, info.linedefined, info.lastlinedefined), ("%s:%d"):format(info.short_src, info.linedefined)
end

return source

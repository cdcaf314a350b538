-- abi.lua - bracket .packaging/abi.lua OLD NEW SCRATCH: the C interface of one folder's bracket.h and bracket.map against
-- another's, by abidiff, as libraries of empty functions: so nothing but what hosts see is compared.
-- Exit status 0: hosts built with OLD run with NEW, which may have names more; 1: they do not; 2: no comparison.
local old, new, scratch = table.unpack(arg)
local cc = os.getenv("CC") or "cc"

local function fail(status, ...)
    print(string.format(...))
    os.exit(status)
end

local function read(path)
    local f <close> = io.open(path) or fail(2, "%s: cannot be read", path)
    return f:read("a")
end

-- {version of each name}, and the names that the header declares
local function interface(folder)
    local header, map = read(folder .. "/bracket.h"), read(folder .. "/bracket.map")
    local declared, version = {}, {}
    for declaration in header:gmatch("BK_API ([^;#]-);") do
        declared[#declared + 1] = declaration
        declared[declaration:match("([%w_]+)%(")] = true
    end
    for node, body in map:gsub("/%*.-%*/", ""):gmatch("(BRACKET_[%d.]+)%s*(%b{})") do
        for name in body:gsub("local:.*", ""):gmatch("([%w_]+);") do
            version[name] = node
            if not declared[name] then fail(1, "%s/bracket.map: %s is not in the header", folder, name) end
        end
    end
    for _, declaration in ipairs(declared) do
        local name = declaration:match("([%w_]+)%(")
        if not version[name] then fail(1, "%s/bracket.map: %s has no version", folder, name) end
    end
    return declared, version
end

local function library(folder, name)
    local declared, version = interface(folder)
    local path = scratch .. "/" .. name
    local f <close> = assert(io.open(path .. ".c", "w"))
    f:write('#include "bracket.h"\n')
    for _, declaration in ipairs(declared) do f:write(declaration, " { __builtin_trap(); }\n") end
    f:flush()
    if not os.execute(("%s -g -shared -fPIC -I%s -Wl,-soname,libbracket.so -Wl,--version-script,%s/bracket.map %s.c -o %s.so")
        :format(cc, folder, folder, path, path)) then fail(2, "%s: cannot be compiled", folder) end
    return path .. ".so", version
end

os.execute("mkdir -p " .. scratch)
local a, before = library(old, "old")
local b, after = library(new, "new")
for name, node in pairs(before) do
    if after[name] ~= node then fail(1, "%s was %s, now %s", name, node, after[name] or "gone") end
end
local p = io.popen(("abidiff %s %s 2>&1"):format(a, b))
local text = p:read("a")
local _, _, status = p:close()
if status & 3 ~= 0 then fail(2, "abidiff: %s", text) end
local only_added = text:find("Functions changes summary: 0 Removed, 0 Changed", 1, true)
if status ~= 0 and not only_added then fail(1, "%s", text) end
local added = {}
for name in pairs(after) do added[#added + 1] = not before[name] and name or nil end
table.sort(added)
print(#added == 0 and "the same interface" or "added: " .. table.concat(added, ", "))

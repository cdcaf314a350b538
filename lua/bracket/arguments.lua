-- arguments.lua - bk.arguments: what a script was called with, by the names and types of its defaults.
local bk = ...

local KINDS = { number = true, string = true, boolean = true, table = true }

local function known_names(defaults)
    local known = {}
    for name in pairs(defaults) do known[#known + 1] = "--" .. name end
    table.sort(known)
    return table.concat(known, " ")
end

local function check(defaults)
    if type(defaults) ~= "table" then
        error("bk.arguments: defaults: expected a table of named values, got " .. type(defaults), 3)
    end
    for name, value in pairs(defaults) do
        if type(name) ~= "string" or name:find("[^%w_]") then
            error(("bk.arguments: defaults: expected names of letters, digits and _, got %s"):format(tostring(name)), 3)
        elseif not KINDS[type(value)] then
            error(("bk.arguments: defaults: %s: expected a number, string, boolean or list, got a %s"):format(name,
                type(value)), 3)
        end
    end
end

local function copy(values)
    local result = {}
    for name, value in pairs(values) do
        result[name] = type(value) == "table" and table.move(value, 1, #value, 1, {}) or value
    end
    return result
end

-- The value that the text stands for; errors have no place in Lua: they are for who typed the text.
local function read(name, default, text)
    if type(default) == "number" then
        return tonumber(text) or error(("--%s: expected a number, got %s"):format(name, text), 0)
    elseif type(default) == "boolean" then
        if text ~= "true" and text ~= "false" then
            error(("--%s: expected true or false, got %s"):format(name, text), 0)
        end
        return text == "true"
    elseif type(default) == "string" then
        return text
    end
    local list = {}
    for item in text:gmatch("[^,]+") do list[#list + 1] = tonumber(item) or item end
    return list
end

local function arguments(defaults, argv)
    check(defaults)
    local of_script = argv == nil
    if of_script then argv = arg end
    if argv ~= nil and type(argv) ~= "table" then
        error("bk.arguments: argv: expected an array of strings, got " .. type(argv), 2)
    end
    local values = copy(defaults)
    -- "--name" or "--name=value" -> name, value; nothing when no such name is known
    local function split(text)
        local name, value = tostring(text):match("^%-%-([^=]+)=?(.*)$")
        name = name and name:gsub("-", "_")
        if name and defaults[name] ~= nil then return name, text:find("=", 1, true) and value end
    end
    local k = 1
    while argv and argv[k] ~= nil do
        local name, text = split(argv[k])
        if not name then
            error(("unknown argument %q; known: %s"):format(argv[k], known_names(defaults)), 0)
        end
        local default, following = defaults[name], argv[k + 1]
        if text then
            values[name] = read(name, default, text)
        elseif type(default) == "boolean" then
            values[name] = following ~= "false"
            if following == "true" or following == "false" then k = k + 1 end
        elseif following == nil or split(following) then
            error(("--%s: a value is missing"):format(name), 0)
        else
            values[name] = read(name, default, following)
            k = k + 1
        end
        k = k + 1
    end
    if of_script then -- a run's config.json has them: the script may change what it gets
        bk.internal.arguments = copy(values)
    end
    return values
end

return bk.doc(arguments, [[
bk.arguments(defaults [, argv]) -> values

What a script was called with: `local o = bk.arguments{ lr = 0.05, seed = 0, out = "", quick = false, layers = {64} }`
and then o.lr, o.seed, ... defaults names every argument; its type is the default's. `--lr 0.1` or `--lr=0.1` is a
number (an integer where written as one), `--out DIR` a string, `--layers 64,32` a list of numbers or words, `--quick`
true (also `--quick false`). A - in a name means _. argv: an array of strings, default the global arg. bracket sweep
calls a script with such arguments, --out and --seed among them. An unknown name is an error that lists the known ones;
so are a missing value and one of the wrong type.]])

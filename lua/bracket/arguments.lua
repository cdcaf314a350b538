-- arguments.lua - bk.arguments: what a script was called with, by the names and types of its defaults.
local bk = ...
local refuse = bk._options.refuse

local KINDS = { number = true, string = true, boolean = true, table = true }

local WORDS = { number = "NUMBER", string = "TEXT", table = "LIST" }

local function sorted_names(defaults)
    local names = {}
    for name in pairs(defaults) do names[#names + 1] = name end
    table.sort(names)
    return names
end

local function known_names(defaults)
    local known = sorted_names(defaults)
    for k, name in ipairs(known) do known[k] = "--" .. name end
    return known
end

local function text_of(value)
    if type(value) ~= "table" then return tostring(value) end
    local texts = {}
    for k, item in ipairs(value) do texts[k] = tostring(item) end
    return table.concat(texts, ",")
end

-- What --help shows.
local function usage(defaults, docs)
    local rows = {}
    for k, name in ipairs(sorted_names(defaults)) do
        local value = defaults[name]
        local default = text_of(value)
        local says = default ~= "" and value ~= false and "(default: " .. default .. ")" or ""
        rows[k] = { name, WORDS[type(value)] or "flag", doc = (docs[name] or "") .. " " .. says }
    end
    return bk._usage.of{ name = (arg and arg[0] or "script.lua"), arguments = "", options = rows,
        doc = docs[1] or "" }
end

-- Texts by the names of arguments; [1]: what the script does.
local function check_docs(defaults, docs)
    for name, text in pairs(docs) do
        if name ~= 1 and defaults[name] == nil then
            refuse("bk.arguments: docs: there is no argument %s%s", tostring(name),
                bk.internal.hint(name, sorted_names(defaults)))
        elseif type(text) ~= "string" then
            refuse("bk.arguments: docs: %s: expected a text, got %s", tostring(name), bk._options.show(text))
        end
    end
end

local function check(defaults)
    if type(defaults) ~= "table" then
        refuse("bk.arguments: defaults: expected a table of named values, got %s", bk._options.show(defaults))
    end
    for name, value in pairs(defaults) do
        if type(name) ~= "string" or name:find("[^%w_]") then
            refuse("bk.arguments: defaults: expected names of letters, digits and _, got %s", tostring(name))
        elseif not KINDS[type(value)] or type(value) == "table" and not bk._options.length(value) then
            refuse("bk.arguments: defaults: %s: expected a number, string, boolean or list, got %s", name,
                bk._options.show(value))
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
    for item in (text:match("^%[(.*)%]$") or text):gmatch("[^,]+") do list[#list + 1] = tonumber(item) or item end
    return list
end

-- What argv says, by the names of the defaults.
local function values_of(defaults, argv)
    local values = copy(defaults)
    -- "--name" or "--name=value" -> name, value; nothing when no such name is known
    local function split(text)
        local name, value = tostring(text):match("^%-%-([^=]+)=?(.*)$")
        name = name and name:gsub("-", "_")
        if name and defaults[name] ~= nil then return name, text:find("=", 1, true) and value end
    end
    local k = 1
    while argv[k] ~= nil do
        local name, text = split(argv[k])
        if not name then
            local known = known_names(defaults)
            error(("unknown argument %q%s; known: %s"):format(argv[k],
                bk.internal.hint(tostring(argv[k]):match("^[^=]*"), known), table.concat(known, " ")), 0)
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
    return values
end

local function wants_help(defaults, argv)
    for _, text in ipairs(argv) do
        if text == "--help" and defaults.help == nil or text == "-h" then return true end
    end
    return false
end

-- Texts about the script, not what it was called with: names, or a sentence alone.
local function is_docs(t)
    for key in pairs(t) do
        if type(key) == "string" then return true end
    end
    return #t == 1 and type(t[1]) == "string" and t[1]:find("^[^-].* ") ~= nil
end

local function arguments(defaults, docs, argv)
    check(defaults)
    if argv == nil and (type(docs) ~= "table" or not is_docs(docs)) then docs, argv = nil, docs end
    if docs ~= nil and type(docs) ~= "table" then
        refuse("bk.arguments: docs: expected a table of texts by name, got %s", bk._options.show(docs))
    end
    docs = docs or {}
    check_docs(defaults, docs)
    local of_script = argv == nil or argv == arg
    if of_script then argv = arg or {} end
    if type(argv) ~= "table" then
        refuse("bk.arguments: argv: expected an array of strings, got %s", bk._options.show(argv))
    end
    for k = 1, #argv do
        if type(argv[k]) ~= "string" then
            refuse("bk.arguments: argv: entry %d: expected a string, got %s", k, bk._options.show(argv[k]))
        end
    end
    local leave = of_script and bk.internal.leave -- the program ends a script for whoever called it
    if leave and wants_help(defaults, argv) then
        io.stdout:write(usage(defaults, docs))
        leave(0)
    end
    local ok, values = pcall(values_of, defaults, argv)
    if not ok and leave then
        io.stderr:write("bracket: ", arg[0], ": ", values, "\n", usage(defaults, docs))
        leave(2)
    elseif not ok then
        bk.internal.refuse(values, true)
    end
    if of_script then -- a run's config.json has them: the script may change what it gets
        bk.internal.arguments = copy(values)
    end
    return values
end

return bk.internal.public(arguments, [[
bk.arguments(defaults [, docs] [, argv]) -> values

What a script was called with: `local o = bk.arguments{ lr = 0.05, seed = 0, out = "runs/a", quick = false, layers =
{64} }` and then o.lr, o.seed, ... defaults names every argument; its type is the default's. `--lr 0.1` or `--lr=0.1`
is a number (an integer where written as one), `--out DIR` a string, `--layers 64,32` or `--layers [64,32]` a list of
numbers or words, `--quick` true (also `--quick false`). A - in a name means _. docs: texts that `bracket script.lua
--help` shows, as { "what the script does", lr = "the rate of a step", ... }. argv: an array of strings, default the
global arg. bracket sweep calls a script with such arguments, --out and --seed among them. An unknown name, a missing
value and one of the wrong type are errors that list the known names; in the program the usage is shown and the exit
status is 2.]])

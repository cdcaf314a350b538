-- session.lua - what the REPL does with a finished input. The terminal is src/app/repl.c's.
local bk = ...
local load, print, pcall, type = load, print, pcall, type
local pack = table.pack
local clock = os.clock
local format = bk.repl.format

local session = {}

-- An error of the input itself: a message without a traceback.
local function refuse(message)
    error(setmetatable({}, { __tostring = function() return message end }), 0)
end

local function compile(text)
    text = text:gsub("^=", "return ") -- as lua(1) takes it
    local body = text:gsub("[;%s]+$", "")
    local f = load("return " .. body, "=stdin", "t")
    if f and body:find("%S") then return f, true end
    local message
    f, message = load(text, "=stdin", "t")
    return f, false, message
end

-- More lines are wanted: the text is the beginning of a chunk.
function session.incomplete(text)
    if text:find("^%s*[?:]") then return false end
    local f, _, message = compile(text)
    return not f and message:find("<eof>$") ~= nil
end

local function show(n, values)
    for i = 1, n do print(format(values[i])) end
end

local commands = {}

function commands.time(text)
    local f, _, message = compile(text)
    if not f then refuse(message) end
    local wall, cpu = bk.clock(), clock()
    local results = pack(f())
    cpu, wall = clock() - cpu, bk.clock() - wall
    if results.n > 0 then _G._ = results[1] end
    show(results.n, results)
    print(("%.6f s (%.6f s of processor time)"):format(wall, cpu))
end

function commands.type(text)
    local f, expression, message = compile(text)
    if not f or not expression then refuse(message or ":type: expected an expression") end
    local results = pack(f())
    for i = 1, results.n do
        local x = results[i]
        local kind = math.type(x) or type(x)
        if bk.is_tensor and bk.is_tensor(x) then
            kind = ("tensor %s (%s)"):format(x:dtype(), table.concat(x:shape(), ","))
        elseif kind == "userdata" or kind == "table" then
            local meta = debug.getmetatable(x)
            local name = type(meta) == "table" and rawget(meta, "__name")
            if type(name) == "string" then kind = kind .. " " .. name end
        end
        print(kind)
    end
end

session.keys = [[
An expression prints itself; _ is the last value; a trailing ; silences.
help(x), ?x      the docstring of x; help "words" searches all of them
help "tutorial"  the first of the guides; help "guides" lists them
:time expr       how long it takes
:type expr       what it is
:help            this text
Tab completes, Ctrl-R searches the history, Ctrl-C stops what runs, Ctrl-D leaves.]]

function commands.help() print(session.keys) end

-- ?x: of a value when x is a path to one (no call is made), else of a name or words.
local function ask(text)
    text = text:gsub("^%s+", ""):gsub("%s+$", "")
    if text == "" then return bk.help() end
    local path = text:match("^[%a_][%w_.]*:?[%w_]*$")
    local f = path and load("return " .. path:gsub(":", "."), "=stdin", "t")
    if f then
        local ok, value = pcall(f)
        if ok and value ~= nil and type(value) ~= "string" then return bk.help(value) end
    end
    return bk.help((text:gsub("^([\"'])(.*)%1$", "%2")))
end

function session.run(text)
    local question = text:match("^%s*%?(.*)")
    if question then return ask(question) end
    local name, rest = text:match("^%s*:(%a+)%s*(.*)")
    if name then
        if not commands[name] then refuse("no command :" .. name .. " (:time :type :help)") end
        return commands[name](rest)
    end
    local f, _, message = compile(text)
    if not f then refuse(message) end
    local results = pack(f())
    if results.n > 0 then _G._ = results[1] end
    if not text:find(";%s*$") then show(results.n, results) end
end

return session

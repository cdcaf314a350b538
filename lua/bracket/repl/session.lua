-- session.lua - what the REPL does with a finished input. The terminal is src/app's.
local bk = ...
local load, print, pcall, xpcall, type = load, print, pcall, xpcall, type
local pack = table.pack
local format, failure, source = bk.repl.format, bk.repl.failure, bk.repl.source
local commands, refuse = bk.repl.commands, failure.refuse

local session = {}

-- function, whether it is an expression; or nil, nil, message
function session.compile(text, env)
    text = text:gsub("^=", "return ") -- as lua(1) takes it
    local body = text:gsub("[;%s]+$", "")
    local f = load("return " .. body, "=stdin", "t", env or _G)
    if f and body:find("%S") then return f, true end
    local message
    f, message = load(text, "=stdin", "t", env or _G)
    return f, false, message
end

-- More lines are wanted: the text is the beginning of a chunk.
function session.incomplete(text)
    if text:find("^%s*[?:!]") then return false end
    local f, _, message = session.compile(text)
    return not f and message:find("<eof>$") ~= nil
end

function session.show(n, values)
    for i = 1, n do print(format(values[i])) end
end

local KEYS = [[
An expression prints itself; _ is the last value; a trailing ; silences.
help(x), ?x      the docstring of x; help "words" searches all of them
??x              the source of the function x
help "tutorial"  the first of the guides; help "guides" lists them
!command         a command of the shell
%s
Tab completes names, options in a call, files and what help knows. Up and Down take the inputs that begin with what
stands before the cursor; in a block they move by lines, and Up fetches the lines of an unfinished input back.
Alt-Enter makes a line, Ctrl-Left and Ctrl-Right move by words, Ctrl-R searches the history, Ctrl-D leaves.
Ctrl-C stops what runs; one call of Lua's own that takes long, such as string.find with a pattern that backtracks or
table.sort, ends first. Ctrl-\ ends the program.]]

-- What :help prints.
function session.keys()
    local lines = {}
    for _, name in ipairs{ "time", "timeit", "type", "who", "load", "reload", "set", "debug", "help" } do
        local row = commands[name]
        lines[#lines + 1] = ("%-16s %s"):format((":%s %s"):format(name, row.arguments or ""), row.doc)
    end
    return KEYS:format(table.concat(lines, "\n"))
end

-- The value of text where it is a path to one (no call is made), or nil.
local function value_of(text)
    local path = text:match("^[%a_][%w_.]*:?[%w_]*$")
    local f = path and load("return " .. path:gsub(":", "."), "=stdin", "t")
    if not f then return nil end
    local ok, value = pcall(f)
    return ok and value or nil
end

-- ?x: of a value when x is a path to one, else of a name or words.
local function ask(text)
    if text == "" then return bk.help() end
    local value = value_of(text)
    if value ~= nil and type(value) ~= "string" then return bk.help(value) end
    return bk.help((text:gsub("^([\"'])(.*)%1$", "%2")))
end

-- ??x
local function ask_source(text)
    local value = value_of(text)
    if value == nil then
        local near = failure.meant_path(text)
        refuse(("??: %s names no value%s"):format(text, near and ("; did you mean %s?"):format(near) or ""))
    end
    local lines, where = source.of(value)
    if lines then return print("-- " .. where .. "\n" .. lines) end
    if bk.repl.help.text(value) then bk.help(value) end
    print(("(no source: %s)"):format(where))
end

local ended = {} -- the names that inputs declared as local

local function keep_locals(text)
    for name in (text:match("^%s*local%s+([%a_][%w_%s,]*)") or ""):gmatch("[%a_][%w_]*") do ended[name] = true end
end

-- A path that names nothing prints why, or what is near it.
local function print_nil(text)
    local path = text:match("^%s*([%a_][%w_.]*)%s*$")
    if ended[path] then return print("nil (a local ends with its input)") end
    local near = path and failure.meant_path(path)
    print(near and ("nil (did you mean %s?)"):format(near) or "nil")
end

function session.evaluate(text, env)
    local f, expression, message = session.compile(text, env)
    if not f then refuse(message) end
    source.keep(text)
    keep_locals(text)
    local results = pack(f())
    if results.n > 0 then _G._ = results[1] end
    if text:find(";%s*$") then return end
    if expression and results.n == 1 and results[1] == nil then return print_nil(text) end
    session.show(results.n, results)
end

local function run(text)
    local questions, asked = text:match("^%s*(%?%??)%s*(.-)%s*$")
    if questions then return (questions == "??" and ask_source or ask)(asked) end
    local command = text:match("^%s*!(.*)")
    if command then return os.execute(command) end
    local name, rest = text:match("^%s*:(%a+)%s*(.*)")
    if not name then return session.evaluate(text) end
    local row = commands[name]
    if row then return row.run(rest) end
    local known = {}
    for other in pairs(commands) do known[other] = true end
    local near = bk.repl.names.near(name, known)
    refuse(("no command :%s%s (:help lists them)"):format(name, near and ("; did you mean :%s?"):format(near) or ""))
end

function session.run(text)
    local ok, message = xpcall(run, failure.handler(text), text)
    if not ok then error(message, 0) end
end

return session

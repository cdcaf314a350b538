-- reference.lua - the docstrings as files: a reference page with the guides, definitions for editors, a man page
-- (make docs).
local bk = ...
local docs, help = bk.internal.docs, bk.repl.help

local function write(path, text)
    local f = assert(io.open(path, "w"))
    assert(f:write(text))
    assert(f:close())
end

-- Documented paths in order, { path, value, text }, and methods of objects, { signature, function, text }, which no
-- path leads to. What has no docstring is left to the test that finds it.
local function entries()
    local list, methods, seen = {}, {}, {}
    help.walk(function(path, value, text)
        if text then
            list[#list + 1] = { path, value, text }
            seen[value] = true
        end
    end)
    for key, text in pairs(docs) do
        if not seen[key] and type(key) == "function" and text:find("^%a+:") then
            methods[#methods + 1] = { text:match("^[^\n]*"), key, text }
        end
    end
    table.sort(methods, function(a, b) return a[3] < b[3] end)
    return list, methods
end

-- ---- the man page ----

local function escaped(text)
    return (text:gsub("\\", "\\e"):gsub("\n([.'])", "\n\\&%1"):gsub("^([.'])", "\\&%1"):gsub("%-", "\\-"))
end

local OPTIONS = {
    { "-e stat", "runs stat" }, { "-l name", "requires library name into the global name" },
    { "-l g=name", "requires library name into the global g" }, { "-i", "enters the session after the script" },
    { "-v, --version", "shows the version" }, { "-E", "ignores environment variables and the init file" },
    { "-W", "turns warnings on" }, { "-", "runs standard input" }, { "--", "ends the options" },
    { "--threads N", "worker threads; results do not depend on it" }, { "--help", "shows the options" },
}
local SECTIONS = [[
.SH COMMANDS
.TP
.B bracket runs list|show|compare DIR...
the runs in folders that protocol:run{ out = DIR } left: a line each, all of one, what differs between several
.TP
.B bracket plot DIR... COLUMN [--out FILE] [--logx] [--logy]
a recorded column over the step, on the terminal or to a PNG or SVG file
.TP
.B bracket report DIR [--out FILE]
an HTML page of one run or several, with its figures in it
.TP
.B bracket sweep script.lua [--grid NAME=VALUE,...]... [--seeds 1..10] [--jobs N] [--out DIR] [-- arguments]
the script once for every combination, each a process with a folder of its own
.PP
Each answers --help. A script of such a name is called as ./NAME.
.SH INTERACTIVE SESSION
.nf
%s
.fi
.SH ENVIRONMENT
LUA_INIT_5_4, LUA_INIT, LUA_PATH, LUA_CPATH as in lua(1); BRACKET_LUA, a folder whose files come before those in the
library; BRACKET_DATA; NO_COLOR.
.SH FILES
$XDG_CONFIG_HOME/bracket/init.lua runs when a session starts; $XDG_STATE_HOME/bracket/history holds its inputs.
.SH EXIT STATUS
0; 1 after an error; 2 for usage.
.SH FUNCTIONS]]

local function man(list)
    local out = { '.TH BRACKET 1 "" "bracket ' .. bk.version .. '"', ".SH NAME",
        "bracket \\- Lua with exact modified losses and brackets of training protocols", ".SH SYNOPSIS", ".B bracket",
        "[options] [script [args] | command [args]]", ".SH DESCRIPTION",
        "Runs a Lua 5.4 script with the module bracket, or, without a script on a terminal, an interactive session.",
        ".SH OPTIONS" }
    for _, o in ipairs(OPTIONS) do out[#out + 1] = ".TP\n.B " .. escaped(o[1]) .. "\n" .. escaped(o[2]) end
    out[#out + 1] = SECTIONS:format(escaped(bk.repl.session.keys()))
    for _, e in ipairs(list) do
        local signature, rest = e[3]:match("^([^\n]*)\n*(.*)$")
        out[#out + 1] = ".TP\n.B " .. escaped(signature) .. "\n" .. escaped((rest:gsub("\n%s*\n", "\n")))
    end
    return table.concat(out, "\n") .. "\n"
end

return function(folder)
    local list, methods = entries()
    write(folder .. "/reference.html", bk.repl.page(list, methods))
    write(folder .. "/bracket.lua", bk.repl.definitions(list, methods))
    write(folder .. "/bracket.1", man(list))
end

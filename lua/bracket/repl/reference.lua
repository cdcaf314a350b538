-- reference.lua - the docstrings as files: a reference page, definitions for editors, a man page (make docs).
local bk = ...

local function write(path, text)
    local f = assert(io.open(path, "w"))
    assert(f:write(text))
    assert(f:close())
end

-- Documented entries in order: { path, value, text }. Undocumented ones are left to the test that finds them.
local function entries()
    local list, seen = {}, {}
    bk.internal.help.walk(function(path, value, text)
        if text then
            list[#list + 1] = { path, value, text }
            seen[text] = true
        end
    end)
    local methods = {} -- of objects: documented functions that no path leads to
    for key, text in pairs(bk.internal.docs) do
        if not seen[text] and type(key) ~= "string" then methods[#methods + 1] = { text:match("^[^\n(]*"), key, text } end
    end
    table.sort(methods, function(a, b) return a[3] < b[3] end)
    return list, methods
end

local function parts(text)
    local signature, rest = text:match("^([^\n]*)\n*(.*)$")
    return signature, (rest:gsub("%s+$", ""))
end

local function markdown(list, methods)
    local out = { "# Reference", "", "bracket " .. bk.version .. ". Made from the docstrings by `make docs`.", "" }
    local function add(e)
        local signature, rest = parts(e[3])
        local level = bk.repl.rooms[e[1]] and "## " or "### "
        out[#out + 1] = level .. "`" .. signature .. "`"
        out[#out + 1] = ""
        if rest ~= "" then out[#out + 1], out[#out + 2] = rest, "" end
    end
    for _, e in ipairs(list) do add(e) end
    out[#out + 1], out[#out + 2] = "## Methods of objects", ""
    for _, e in ipairs(methods) do add(e) end
    return table.concat(out, "\n")
end

local function definitions(list)
    local out = { "---@meta bracket", "", "---@class bracket", "local bk = {}", "" }
    for _, e in ipairs(list) do
        local path, value, text = e[1], e[2], e[3]
        if path ~= "bk" then
            for line in (text .. "\n"):gmatch("([^\n]*)\n") do out[#out + 1] = "---" .. line end
            local callable = type(value) == "function" or (getmetatable(value) or {}).__call
            if callable then
                out[#out + 1] = "---@param ... any"
                out[#out + 1] = "---@return any ..."
                out[#out + 1] = ("function %s(...) end"):format(path)
            else
                out[#out + 1] = path .. " = {}"
            end
            out[#out + 1] = ""
        end
    end
    out[#out + 1] = "return bk\n"
    return table.concat(out, "\n")
end

local function escaped(text)
    return (text:gsub("\\", "\\e"):gsub("\n([.'])", "\n\\&%1"):gsub("^([.'])", "\\&%1"):gsub("%-", "\\-"))
end

local function man(list)
    local out = { '.TH BRACKET 1 "" "bracket ' .. bk.version .. '"', ".SH NAME",
        "bracket \\- Lua with exact modified losses and brackets of training protocols", ".SH SYNOPSIS", ".B bracket",
        "[options] [script [args]]", ".SH DESCRIPTION",
        "Runs a Lua 5.4 script with the module bracket, or, without a script on a terminal, an interactive session.", ".SH OPTIONS" }
    for _, o in ipairs {
        { "-e stat", "runs stat" }, { "-l name", "requires library name into the global name" },
        { "-l g=name", "requires library name into the global g" }, { "-i", "enters the session after the script" },
        { "-v, --version", "shows the version" }, { "-E", "ignores environment variables and the init file" },
        { "-W", "turns warnings on" }, { "-", "runs standard input" }, { "--", "ends the options" },
        { "--threads N", "worker threads; results do not depend on it" }, { "--help", "shows the options" },
    } do
        out[#out + 1] = ".TP\n.B " .. escaped(o[1]) .. "\n" .. escaped(o[2])
    end
    out[#out + 1] = ".SH ENVIRONMENT\nLUA_INIT_5_4, LUA_INIT, LUA_PATH, LUA_CPATH as in lua(1); BRACKET_LUA, a folder whose files come before "
        .. "those in the library; BRACKET_DATA; NO_COLOR."
    out[#out + 1] = ".SH FILES\n$XDG_CONFIG_HOME/bracket/init.lua runs when a session starts; $XDG_STATE_HOME/bracket/history holds its inputs."
    out[#out + 1] = ".SH EXIT STATUS\n0; 1 after an error; 2 for usage."
    out[#out + 1] = ".SH FUNCTIONS"
    for _, e in ipairs(list) do
        local signature, rest = parts(e[3])
        out[#out + 1] = ".TP\n.B " .. escaped(signature) .. "\n" .. escaped((rest:gsub("\n%s*\n", "\n")))
    end
    return table.concat(out, "\n") .. "\n"
end

return function(folder)
    local list, methods = entries()
    write(folder .. "/reference.md", markdown(list, methods))
    write(folder .. "/bracket.lua", definitions(list))
    write(folder .. "/bracket.1", man(list))
end

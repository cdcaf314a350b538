-- The program's own options and its commands as data, and what is made of them: --help, the man page (with the
-- session's keys and the docstrings), completion in bash and zsh.
local bk = ...
local command_line = bk.command._command_line
local written, synopsis = bk._usage.written, bk._usage.synopsis
local program = {}

-- { option, what its value is or nil, doc =, also = another name of it }
program.OPTIONS = {
    { "-e", "stat", doc = "runs stat" },
    { "-l", "name", doc = "requires library name into global name; g=name: into global g" },
    { "-i", doc = "a session after the script" },
    { "-v", doc = "shows the version", also = "--version" },
    { "-E", doc = "ignores environment variables and the init file" },
    { "-W", doc = "turns warnings on" },
    { "--threads", "N", doc = "worker threads (results do not change)" },
    { "--help", doc = "this text" },
    { "-", doc = "runs standard input" },
    { "--", doc = "ends the options" },
}

-- The rows of the commands, in the order of their names; one that is a mere function has a row of its name.
function program.commands()
    local rows = {}
    for name in pairs(bk.command) do
        local row = command_line.rows[bk.command[name]]
        rows[#rows + 1] = row or { name = name, doc = "", arguments = "", options = {} }
    end
    table.sort(rows, function(a, b) return a.name < b.name end)
    return rows
end

-- " (did you mean the command runs?)" for what is near a command's name, else "".
function program.meant(name)
    local known = {}
    for _, row in ipairs(program.commands()) do known[#known + 1] = row.name end
    return (bk.internal.hint(name, known):gsub("mean ", "mean the command "))
end

local function option_of(o) return o[1] .. (o[2] and " " .. o[2] or "") .. (o.also and ", " .. o.also or "") end

function program.usage()
    local lines = { "usage: bracket [options] [script.lua or command [arguments]]" }
    for _, o in ipairs(program.OPTIONS) do lines[#lines + 1] = ("  %-16s %s"):format(option_of(o), o.doc) end
    lines[#lines + 1] = "No script and a terminal: an interactive session, with help() in it. Commands:"
    for _, row in ipairs(program.commands()) do
        local short = row.doc:match("^(.-)[:;.]%s") or row.doc
        lines[#lines + 1] = ("  %-16s %s"):format(row.name, short):gsub(" +$", "")
    end
    lines[#lines + 1] = "bracket COMMAND --help: what it takes. A script of a command's name is called as ./NAME."
    return table.concat(lines, "\n") .. "\n"
end

-- A command's parts that take options: its verbs, or itself.
local function parts(row) return row.verbs or { row } end

-- ---- the man page ----

local function escaped(text)
    return (text:gsub("\\", "\\e"):gsub("\n([.'])", "\n\\&%1"):gsub("^([.'])", "\\&%1"):gsub("%-", "\\-"))
end

local END = [[
.SH INTERACTIVE SESSION
.nf
%s
.fi
.SH ENVIRONMENT
LUA_INIT_5_4, LUA_INIT, LUA_PATH, LUA_CPATH as in lua(1); BRACKET_LUA, a folder whose files come before those in the
library; BRACKET_DATA; NO_COLOR.
.SH FILES
$XDG_CONFIG_HOME/bracket/init.lua runs when a session starts; $XDG_STATE_HOME/bracket/history holds its inputs.
A folder of many runs holds .bracket-runs.sqlite, an index that can be removed at any time.
.SH EXIT STATUS
0; 1 after an error; 2 for usage; 75 when a signal stopped a run after its checkpoint; 130 after Ctrl-C.
.SH FUNCTIONS]]

-- entries: { path, value, docstring } each; keys: the session's.
function program.man(entries, keys)
    local out = { '.TH BRACKET 1 "" "bracket ' .. bk.version .. '"', ".SH NAME",
        "bracket \\- Lua with exact modified losses and brackets of training protocols", ".SH SYNOPSIS", ".B bracket",
        "[options] [script.lua or command [arguments]]", ".SH DESCRIPTION",
        "Runs a Lua 5.4 script with the module bracket, or, without a script on a terminal, an interactive session.",
        ".SH OPTIONS" }
    local function item(head, text) out[#out + 1] = ".TP\n.B " .. escaped(head) .. "\n" .. escaped(text) end
    for _, o in ipairs(program.OPTIONS) do item(option_of(o), o.doc) end
    out[#out + 1] = ".SH COMMANDS"
    for _, row in ipairs(program.commands()) do
        if row.verbs then out[#out + 1] = ".PP\n" .. escaped(row.name .. ": " .. row.doc .. ".") end
        for _, of in ipairs(parts(row)) do
            item(synopsis(row, of ~= row and of or nil), of ~= row and of.doc or row.doc)
            if #of.options > 0 then out[#out + 1] = ".RS" end
            for _, o in ipairs(of.options) do item(written(o), o.doc) end
            if #of.options > 0 then out[#out + 1] = ".RE" end
            if of.notes then out[#out + 1] = ".PP\n" .. escaped(of.notes) end
        end
    end
    out[#out + 1] = ".PP\nEach answers \\-\\-help. A script of such a name is called as ./NAME."
    out[#out + 1] = END:format(escaped(keys))
    for _, e in ipairs(entries) do
        local signature, rest = e[3]:match("^([^\n]*)\n*(.*)$")
        item(signature, (rest:gsub("\n%s*\n", "\n")))
    end
    return table.concat(out, "\n") .. "\n"
end

-- ---- completion ----

-- What a value is, or a command's arguments are: "folders", "files", or nil.
local function kind_of(what)
    return what and (what:find("DIR") and "folders" or (what:find("FILE") or what:find("script")) and "files") or nil
end

local function names(list, of)
    local words = {}
    for k, item in ipairs(list) do words[k] = of(item) end
    return table.concat(words, " ")
end

local BASH = [==[
# bash completion for bracket, made by `make docs` from the program's own rows.
_bracket() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=() i options= kind=files value=
    if [[ $cur == "=" ]]; then cur=; elif [[ $prev == "=" ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -e | -l | --threads) [[ ${#words[@]} == 0 ]] && ((i++)) ;;
            -*) ;;
            *) words+=("${COMP_WORDS[i]}") ;;
        esac
    done
    if [[ ${#words[@]} == 0 ]]; then
        options="@PROGRAM@"
        case $prev in -e | -l | --threads) return ;; esac
        [[ $cur != -* ]] && COMPREPLY=($(compgen -W "@COMMANDS@" -- "$cur"))
    fi
    case "${words[0]} ${words[1]}" in
@CASES@
    esac
    case "$value" in
        files | folders) kind=$value ;;
        other) return ;;
        *) [[ $cur == -* ]] && COMPREPLY=($(compgen -W "$options" -- "$cur")) && return ;;
    esac
    local IFS=$'\n' # names may have blanks
    case $kind in
        files) COMPREPLY+=($(compgen -f -- "$cur")) ;;
        folders) COMPREPLY+=($(compgen -d -- "$cur")) ;;
    esac
}
complete -o filenames -F _bracket bracket
]==]

-- options=..., kind of arguments, and what $prev says of a value
local function bash_case(pattern, of)
    local values = {}
    for _, o in ipairs(of.options) do
        if o[2] ~= "flag" then
            values[#values + 1] = ("            --%s) value=%s ;;"):format(o[1], kind_of(o[2]) or "other")
        end
    end
    local value = #values > 0 and ("\n            case $prev in\n    %s\n            esac"):format(table.concat(values,
        "\n    ")) or ""
    return ('        %s)\n            options="%s--help" kind=%s%s ;;'):format(pattern,
        names(of.options, function(o) return "--" .. o[1] .. " " end):gsub("  ", " "), kind_of(of.arguments) or "none",
        value)
end

local function bash()
    local cases = {}
    for _, row in ipairs(program.commands()) do
        for _, of in ipairs(parts(row)) do
            cases[#cases + 1] = bash_case(row.verbs and ('"%s %s"'):format(row.name, of.name)
                or ('"%s "*'):format(row.name), of)
        end
        if row.verbs then
            cases[#cases + 1] = ('        "%s "*)\n            options=--help kind=none\n'
                .. '            [[ $cur != -* ]] && COMPREPLY=($(compgen -W "%s" -- "$cur")) ;;'):format(row.name,
                names(row.verbs, function(v) return v.name end))
        end
    end
    local fill = { CASES = table.concat(cases, "\n"),
        COMMANDS = names(program.commands(), function(row) return row.name end),
        PROGRAM = names(program.OPTIONS, function(o) return o[1] .. (o.also and " " .. o.also or "") end) }
    return (BASH:gsub("@(%u+)@", fill))
end

local ZSH = [==[
#compdef bracket
# zsh completion for bracket, made by `make docs` from the program's own rows.
@FUNCTIONS@
_bracket() {
    local curcontext=$curcontext state line
    local -a commands=(
@COMMANDS@
    )
    _arguments -C -s @PROGRAM@ '1: :->first' '*:: :->rest'
    case $state in
        first) _describe -t commands command commands; _files ;;
        rest)
            case $words[1] in
@CASES@
                *) _files ;;
            esac ;;
    esac
}
_bracket "$@"
]==]

-- As one word of the shell's.
local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end
program.quoted = quoted

local function plain(text) return (text:gsub("[%[%]:\\]", "\\%0")) end
local FILES = { folders = "_files -/", files = "_files" }

local function zsh_options(of)
    local list = {}
    for _, o in ipairs(of.options) do
        local name = (o.many and "*" or "") .. "--" .. o[1] .. (o[2] ~= "flag" and "=" or "")
        local spec = name .. "[" .. plain(o.doc) .. "]"
        if o[2] ~= "flag" then spec = spec .. ":" .. plain(o[2]) .. ":" .. (FILES[kind_of(o[2])] or "") end
        list[#list + 1] = quoted(spec)
    end
    list[#list + 1] = quoted("--help[what it takes]")
    list[#list + 1] = quoted("*:" .. plain(of.arguments) .. ":" .. (FILES[kind_of(of.arguments)] or ""))
    return table.concat(list, " \\\n        ")
end

local function described(list)
    local lines = {}
    for k, item in ipairs(list) do lines[k] = "        " .. quoted(item.name .. ":" .. plain(item.doc)) end
    return table.concat(lines, "\n")
end

local function zsh()
    local functions, cases = {}, {}
    for _, row in ipairs(program.commands()) do
        local lines = { "_bracket_" .. row.name .. "() {" }
        if row.verbs then
            local head = { "    local curcontext=$curcontext state line", "    local -a verbs=(", described(row.verbs),
                "    )", "    _arguments -C '--help[what it takes]' '1: :->verb' '*:: :->rest'", "    case $state in",
                "        verb) _describe -t verbs verb verbs ;;", "        rest)", "            case $words[1] in" }
            table.move(head, 1, #head, 2, lines)
            for _, verb in ipairs(row.verbs) do
                lines[#lines + 1] = ("                %s) _arguments %s ;;"):format(verb.name, zsh_options(verb))
            end
            table.move({ "            esac ;;", "    esac" }, 1, 2, #lines + 1, lines)
        else
            lines[#lines + 1] = "    _arguments " .. zsh_options(row)
        end
        lines[#lines + 1] = "}"
        functions[#functions + 1] = table.concat(lines, "\n")
        cases[#cases + 1] = ("                %s) _bracket_%s ;;"):format(row.name, row.name)
    end
    local own = {}
    for _, o in ipairs(program.OPTIONS) do
        for _, name in ipairs{ o[1], o.also } do
            if #name > 2 or name:find("%a") then
                own[#own + 1] = quoted(name .. "[" .. plain(o.doc) .. "]" .. (o[2] and ":" .. o[2] .. ":" or ""))
            end
        end
    end
    local fill = { FUNCTIONS = table.concat(functions, "\n"), COMMANDS = described(program.commands()),
        PROGRAM = table.concat(own, " "), CASES = table.concat(cases, "\n") }
    return (ZSH:gsub("@(%u+)@", fill))
end

-- The completion's text for "bash" or "zsh".
program.completion = { bash = bash, zsh = zsh }

return program

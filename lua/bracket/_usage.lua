-- What a command or a script takes, for who types it: made from its row (command/_command_line.lua).
local usage = {}

local INDENT, WIDTH = 24, 100

-- Words in lines of that width, the first of them after `used` characters.
local function wrapped(text, indent, used)
    local lines, line, space = {}, nil, used
    for word in text:gmatch("%S+") do
        if line and space + #line + 1 + #word > WIDTH then
            lines[#lines + 1], line, space = line, word, indent
        else
            line = line and line .. " " .. word or word
        end
    end
    lines[#lines + 1] = line
    return table.concat(lines, "\n" .. (" "):rep(indent))
end

-- "--where EXPR", "--yes"
local function written(o) return "--" .. o[1] .. (o[2] ~= "flag" and " " .. o[2] or "") end
usage.written = written

local function option_lines(options)
    local lines = {}
    for _, o in ipairs(options) do
        local left = "  " .. written(o)
        local between = #left < INDENT - 1 and (" "):rep(INDENT - #left) or "\n" .. (" "):rep(INDENT)
        local line = left .. between .. (wrapped(o.doc .. (o.many and "; again for others" or ""), INDENT, INDENT))
        lines[#lines + 1] = line:gsub(" +$", "")
    end
    return lines
end

local function synopsis(row, verb)
    local parts = { "bracket", row.name }
    if verb then parts[#parts + 1] = verb.name end
    local of = verb or row
    parts[#parts + 1] = of.arguments ~= "" and of.arguments or nil
    parts[#parts + 1] = #of.options > 0 and "[options]" or nil
    parts[#parts + 1] = of.rest and "[-- " .. of.rest .. "]" or nil
    return table.concat(parts, " ")
end
usage.synopsis = synopsis

-- The usage of a command, or of one of its verbs.
function usage.of(row, verb)
    local lines = {}
    for k, of in ipairs(verb and { verb } or row.verbs or { row }) do
        lines[#lines + 1] = (k == 1 and "usage: " or "       ") .. synopsis(row, of ~= row and of or nil)
        if of.doc ~= "" then lines[#lines + 1] = "         " .. wrapped(of.doc, 9, 9) end
        if verb or not row.verbs then table.move(option_lines(of.options), 1, #of.options, #lines + 1, lines) end
        if of.notes then lines[#lines + 1] = of.notes end
    end
    if row.verbs and not verb then lines[#lines + 1] = "bracket " .. row.name .. " VERB --help: the options of one" end
    return table.concat(lines, "\n") .. "\n"
end

return usage

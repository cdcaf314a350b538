-- The command lines of the program's commands: arguments, options, and what is said when they are wrong.
local command_line = {}

-- A usage mistake: what is wrong and the usage to stderr. Returns the exit status.
function command_line.misused(command, usage, format, ...)
    io.stderr:write("bracket ", command, ": ", string.format(format, ...), "\n", usage)
    return 2
end

-- The arguments without dashes and the options by name; `known` maps an option to "flag" or to what its value is.
-- nil and the exit status after --help or a mistake.
function command_line.arguments(command, usage, args, known)
    local plain, options, k = {}, {}, 0
    local function wrong(...) return nil, command_line.misused(command, usage, ...) end
    while k < #args do
        k = k + 1
        local name, equals, value = args[k]:match("^%-%-([^=]+)(=?)(.*)$")
        if args[k] == "--" then
            table.move(args, k + 1, #args, #plain + 1, plain)
            break
        elseif args[k] == "-h" or name == "help" then
            io.stdout:write(usage)
            return nil, 0
        elseif args[k]:sub(1, 1) ~= "-" or args[k] == "-" then
            plain[#plain + 1] = args[k]
        elseif not (name and known[name]) then
            local names = {}
            for option in pairs(known) do names[#names + 1] = "--" .. option end
            table.sort(names)
            return wrong("unknown option %q; known: %s", args[k], #names > 0 and table.concat(names, " ") or "none")
        elseif known[name] == "flag" then
            if equals ~= "" then return wrong("--%s: takes no value, got %q", name, value) end
            options[name] = true
        else
            if equals == "" then
                k = k + 1
                value = args[k]
            end
            if not value or value == "" or (equals == "" and value:sub(1, 2) == "--") then
                return wrong("--%s: expected %s, got %s", name, known[name],
                    value and ("%q"):format(value) or "nothing")
            end
            options[name] = value
        end
    end
    return plain, options
end

return command_line

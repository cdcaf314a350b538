-- The program's commands: a command's arguments and options, its usage, and what is said when they are wrong.
local command_line = {}

-- In a command's prepare: the message and the usage go to stderr, and the exit status is 2.
function command_line.misused(format, ...) error({ usage = format:format(...) }, 0) end

local function unknown(option, known)
    local names = {}
    for name in pairs(known) do names[#names + 1] = name ~= "--" and "--" .. name or nil end
    table.sort(names)
    command_line.misused("unknown option %q; known: %s", option, #names > 0 and table.concat(names, " ") or "none")
end

-- The arguments without dashes, the options by name, and what stands after "--". Nothing when help is asked for.
local function read(args, known)
    local plain, options, rest, k = {}, {}, {}, 0
    while k < #args do
        k = k + 1
        local name, equals, value = args[k]:match("^%-%-([^=]+)(=?)(.*)$")
        local wanted = name and known[name]
        if args[k] == "--" then
            table.move(args, k + 1, #args, 1, rest)
            break
        elseif args[k] == "-h" or name == "help" then
            return nil
        elseif args[k]:sub(1, 1) ~= "-" or args[k] == "-" then
            plain[#plain + 1] = args[k]
        elseif not wanted then
            unknown(args[k], known)
        elseif wanted == "flag" then
            if equals ~= "" then command_line.misused("--%s: takes no value, got %q", name, value) end
            options[name] = true
        else
            if equals == "" then
                k = k + 1
                value = args[k]
            end
            if not value or value == "" or (equals == "" and value:sub(1, 2) == "--") then
                command_line.misused("--%s: expected %s, got %s", name, type(wanted) == "table" and wanted[1] or wanted,
                    value and ("%q"):format(value) or "nothing")
            end
            if type(wanted) == "table" then
                options[name] = options[name] or {}
                table.insert(options[name], value)
            else
                options[name] = value
            end
        end
    end
    if not known["--"] then table.move(rest, 1, #rest, #plain + 1, plain) end
    return plain, options, rest
end

-- A command. prepare(plain, options, rest) checks what was given, calls misused, and returns what body takes; body
-- returns the exit status (nil: 0). `known` maps an option to "flag", to what its value is, or to { what } where it may
-- be given several times; known["--"]: what stands after "--" is no plain argument.
function command_line.command(name, usage, known, prepare, body)
    return function(args)
        local given = table.pack(pcall(function()
            local plain, options, rest = read(args, known)
            if plain then return prepare(plain, options, rest) end
        end))
        if given[1] and given.n == 1 then
            io.stdout:write(usage)
            return 0
        elseif given[1] then
            return body(table.unpack(given, 2, given.n))
        elseif type(given[2]) ~= "table" or not given[2].usage then
            error(given[2], 0)
        end
        io.stderr:write("bracket ", name, ": ", given[2].usage, "\n", usage)
        return 2
    end
end

return command_line

-- The program's commands: what each is called, takes and does, as data. Usage, messages about mistakes, completion by
-- shells and the man page are made from it.
local bk = ...
local hint = bk.internal.hint
local command_line = { rows = setmetatable({}, { __mode = "k" }) }

-- In a command's prepare: the message and the usage go to stderr, and the exit status is 2.
function command_line.misused(format, ...) error({ usage = format:format(...) }, 0) end
local misused = command_line.misused

-- The names that an option lists with commas between, each once; nil where it is not given.
function command_line.names(options, option)
    local list, seen = options[option] and bk._run_query.names(options[option]), {}
    for _, name in ipairs(list or {}) do
        if seen[name] then misused("--%s: %s stands twice in %q", option, name, options[option]) end
        seen[name] = true
    end
    return list
end

-- The runs for which an option's expression holds, as a function of the command and runs: all where it is not given.
function command_line.where(options, option)
    local where, why = bk._run_query.where(options[option], "--" .. option)
    if not where then misused("--%s: %s in %q", option, why, options[option]) end
    return where
end

-- ---- reading ----

local function unknown(option, known)
    local names = {}
    for name in pairs(known) do names[#names + 1] = "--" .. name end
    table.sort(names)
    misused("unknown option %q%s; known: %s", option, hint(option:match("^[^=]*"), names),
        #names > 0 and table.concat(names, " ") or "none")
end

-- The arguments without dashes, the options by name, and what stands after "--". Nothing when help is asked for.
local function read(args, of)
    local plain, options, rest, known, k = {}, {}, {}, {}, 0
    for _, o in ipairs(of.options) do known[o[1]] = o end
    while k < #args do
        k = k + 1
        local name, equals, value = args[k]:match("^%-%-([^=]+)(=?)(.*)$")
        local o = name and known[name]
        if args[k] == "--" then
            table.move(args, k + 1, #args, 1, rest)
            break
        elseif args[k] == "-h" or name == "help" then
            return nil
        elseif args[k]:sub(1, 1) ~= "-" or args[k] == "-" then
            plain[#plain + 1] = args[k]
        elseif not o then
            unknown(args[k], known)
        elseif o[2] == "flag" then
            if equals ~= "" then misused("--%s: takes no value, got %q", name, value) end
            options[name] = true
        else
            if equals == "" then
                k = k + 1
                value = args[k]
            end
            if not value or value == "" or (equals == "" and value:sub(1, 2) == "--") then
                misused("--%s: expected %s, got %s", name, o[2], value and ("%q"):format(value) or "nothing")
            end
            if o.many then
                options[name] = options[name] or {}
                table.insert(options[name], value)
            elseif options[name] then
                misused("--%s: given twice, %q and %q", name, options[name], value)
            else
                options[name] = value
            end
        end
    end
    if not of.rest then table.move(rest, 1, #rest, #plain + 1, plain) end
    return plain, options, rest
end

local function verb_of(row, args)
    local names, known = {}, {}
    for k, verb in ipairs(row.verbs) do
        names[k], known[verb.name] = verb.name, verb
    end
    local verb = known[args[1]]
    if verb or args[1] == "--help" or args[1] == "-h" then return verb end
    local meant, last = hint(args[1], names), table.remove(names)
    misused("expected %s or %s, got %s%s", table.concat(names, ", "), last, args[1] and ("%q"):format(args[1])
        or "nothing", meant)
end

local NAMED = { { "name", "string", required = true }, { "doc", "string", required = true } }
local LISTED = table.move({ { "verbs", "list", required = true } }, 1, 1, 3, table.move(NAMED, 1, 2, 1, {}))
local CALLED = table.move({ { "arguments", "string", required = true }, { "options", "list", required = true },
    { "prepare", "callable", required = true }, { "call", "callable", required = true }, { "rest", "string" },
    { "notes", "string" } }, 1, 6, 3, table.move(NAMED, 1, 2, 1, {}))
local OPTION = { { "name", "string", required = true, by_place = true }, { "value", "string", required = true,
    by_place = true }, { "doc", "string", required = true }, { "many", "boolean" }, { "also", "any" } }

-- An error where a row has not what it needs, or something else.
local function check_row(where, row)
    bk._options.check(where, row, row.verbs and LISTED or CALLED)
    for _, verb in ipairs(row.verbs or {}) do check_row(where .. " " .. tostring(verb.name), verb) end
    for _, o in ipairs(row.options or {}) do bk._options.check(where .. ": option " .. tostring(o[1]), o, OPTION) end
end

-- A command: { name, doc, arguments = "DIR...", options, prepare, call [, rest = "arguments", notes] }, or with
-- `verbs`, a list of such, in place of arguments, options, prepare and call. An option is { name, "flag" or what its
-- value is, doc =, many = true where it may be given several times }; rest: what stands after "--" is no plain
-- argument. prepare(plain, options, rest) checks what was given, calls misused, and returns what call takes; call
-- returns the exit status (nil: 0).
function command_line.define(row)
    check_row("bracket " .. tostring(row.name), row)
    local function command(args)
        local verb
        local given = table.pack(pcall(function()
            verb = row.verbs and verb_of(row, args)
            if row.verbs and not verb then return end
            local of = verb or row
            local plain, options, rest = read(verb and table.move(args, 2, #args, 1, {}) or args, of)
            if plain then return of, of.prepare(plain, options, rest) end
        end))
        if given[1] and given[2] then
            return given[2].call(table.unpack(given, 3, given.n))
        elseif given[1] then
            io.stdout:write(bk._usage.of(row, verb))
            return 0
        elseif type(given[2]) ~= "table" or not given[2].usage then
            error(given[2], 0)
        end
        io.stderr:write("bracket ", row.name, ": ", verb and verb.name .. ": " or "", given[2].usage, "\n",
            bk._usage.of(row, verb))
        return 2
    end
    command_line.rows[command] = row
    return command
end

return command_line

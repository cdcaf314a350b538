-- What is asked of runs: which of them (--where), in what order (--sort), and what of each (--columns). A run's values
-- go by name: its own (OWN), the arguments of its script, the options of its protocol, its final metrics, the last it
-- recorded, what it ran on; the first that has the name. `arguments`, `config`, `metrics`, `recorded` and `env` are the
-- tables themselves: metrics.forgetting is the metric where an argument is called so too.
local bk = ...
local refuse = bk._options.refuse
local table_text = bk._table_text
local sorted, typed, hint = table_text.sorted, table_text.typed, bk.internal.hint
local query = {}

local OWN = {
    run = function(run) return run.dir end,
    name = function(run) return run.name end,
    dir = function(run) return run.dir end,
    seed = function(run) return tonumber(run.seed) or run.seed ~= "-" and run.seed or nil end,
    tags = function(run) return table.concat(run.tags, ",") end,
    accuracy = function(run) return run.metrics.average_accuracy end,
    loss = function(run) return run.loss end,
    arguments = function(run)
        local arguments = run.config.arguments
        return type(arguments) == "table" and arguments or {}
    end,
    config = function(run) return run.config end,
    metrics = function(run) return run.metrics end,
    recorded = function(run) return run.recorded end,
    env = function(run) return run.env end,
}
for _, name in ipairs{ "status", "message", "step", "total", "started", "updated", "seconds" } do
    OWN[name] = function(run) return run.status[name] end
end

local IN_TABLES = { arguments = true, config = true, metrics = true, recorded = true, env = true }

-- Whether a name is a run's own, which an argument of that name has to be told from: arguments.NAME.
function query.is_own(name) return OWN[name] ~= nil end

-- A run's value of that name; a name with points leads into tables. nil where it has none.
function query.value(run, name)
    if OWN[name] then return typed(OWN[name](run)) end
    local arguments, found = OWN.arguments(run), nil
    if arguments[name] ~= nil then
        found = arguments[name]
    elseif run.config[name] ~= nil then
        found = run.config[name]
    elseif run.metrics[name] ~= nil then
        found = run.metrics[name]
    elseif run.recorded[name] ~= nil then
        found = run.recorded[name]
    else
        found = run.env[name]
    end
    local first, rest = name:match("^([^.]+)%.(.+)$")
    if found == nil and first then
        found = OWN[first] and OWN[first](run) or nil
        if found == nil then found = query.value(run, first) end
        for part in rest:gmatch("[^.]+") do
            if type(found) ~= "table" then return nil end
            if found[part] == nil then part = math.tointeger(tonumber(part)) end
            found = part and found[part]
        end
    end
    return typed(found)
end

-- Whether that value is a measured number, of which a few digits are worth reading.
function query.is_measured(run, name)
    if name == "loss" or name == "accuracy" or name == "seconds" then return true end
    local measured = run.metrics[name]
    if OWN[name] or OWN.arguments(run)[name] ~= nil or run.config[name] ~= nil then return false end
    if measured == nil then measured = run.recorded[name] end
    return type(measured) == "number" and measured == query.value(run, name)
end

local function names_of(runs)
    local known = {}
    for name in pairs(OWN) do known[name] = true end
    for _, run in ipairs(runs) do
        for _, t in ipairs{ OWN.arguments(run), run.config, run.metrics, run.recorded } do
            for name in pairs(t) do known[tostring(name)] = true end
        end
    end
    return known
end

-- The names in the table that the first part of a name leads to, with that part before them.
local function names_within(first, runs)
    local known = {}
    for _, run in ipairs(runs) do
        local t = query.value(run, first)
        for name in pairs(type(t) == "table" and t or {}) do known[first .. "." .. tostring(name)] = true end
    end
    return known
end

-- What an option is called: --where on a command line, where in a call of bk.runs.
local function called(command, option) return command:find("^bk%.") and option:sub(3) or option end

local function unknown(command, option, name, runs)
    local first = name:match("^([^.]+)%.")
    local inner = first and sorted(names_within(first, runs)) or {}
    local known = #inner > 0 and inner or sorted(names_of(runs))
    local meant = hint(name, known)
    local expression = option == "--where" or option == "--baseline"
    if meant == "" and expression then meant = (" (a text stands in quotes: \"%s\")"):format(name) end
    refuse("%s: %s: no run has %s%s; there are %s", command, called(command, option), name, meant,
        table.concat(known, ", "))
end

-- Names that no run has are mistakes.
local function check(command, option, names, runs)
    if #runs == 0 then return end
    local missing = {}
    for _, name in ipairs(names) do missing[name] = not OWN[name] or nil end
    for _, run in ipairs(runs) do
        if not next(missing) then return end
        for name in pairs(missing) do
            if query.value(run, name) ~= nil then missing[name] = nil end
        end
    end
    for _, name in ipairs(sorted(missing)) do unknown(command, option, name, runs) end
end
query.check = check

-- query.where(text) -> a function of the command and runs: those for which the expression of Lua holds. A run that
-- lacks a value, or has one of another kind, is none of them. Without text all of them. nil and why, where the text is
-- none. option: what gave it, --where unless told.
function query.where(text, option)
    option = option or "--where"
    if not text then return function(_, runs) return runs end end
    local asked, current = {}, nil
    local values = setmetatable({ math = math, tonumber = tonumber, tostring = tostring }, {
        __index = function(_, name)
            asked[name] = true
            local value = query.value(current, name)
            if not IN_TABLES[name] then return value end
            return setmetatable({}, { __index = function(_, inner) -- so that a name in it is asked for as well
                asked[name .. "." .. tostring(inner)] = true
                return value[inner]
            end, __pairs = function() return pairs(value) end })
        end,
        __newindex = function(_, name) refuse("assignment to %s", tostring(name)) end,
    })
    local f, why = load("return " .. text, "=where", "t", values)
    if not f then return nil, (why:gsub("^where:%d+: ", "")) end
    return function(command, runs)
        local kept, problem, held = {}, nil, false
        for _, run in ipairs(runs) do
            current = run
            local ok, holds = pcall(f)
            if ok and holds then kept[#kept + 1] = run end
            held, problem = held or ok, problem or not ok and holds
        end
        check(command, option, sorted(asked), runs) -- a word without quotes is a name that no run has
        if not held and problem then
            refuse("%s: %s: %s", command, called(command, option), (tostring(problem):gsub("^where:%d+: ", "")))
        end
        return kept
    end
end

-- query.sort(command, runs, text): by "name", "-name" for the greatest first, several with commas between; a run that
-- lacks the value comes last.
function query.sort(command, runs, text)
    local by, names = {}, {}
    for item in text:gmatch("[^,]+") do
        local minus, name = item:match("^%s*(%-?)(.-)%s*$")
        names[#names + 1], by[#by + 1] = name, { name = name, sign = minus == "-" and -1 or 1 }
    end
    check(command, "--sort", names, runs)
    local keys = {}
    for k, run in ipairs(runs) do
        local row = { place = k }
        for c, one in ipairs(by) do
            local v = query.value(run, one.name)
            if v ~= v then v = nil end
            row[c] = type(v) == "number" and v or v ~= nil and table_text.text(v) or nil
        end
        keys[run] = row
    end
    table.sort(runs, function(a, b)
        local x, y = keys[a], keys[b]
        for c, one in ipairs(by) do
            local u, v = x[c], y[c]
            if u ~= v then
                if u == nil or v == nil then return v == nil end
                if type(u) ~= type(v) then return type(u) == "number" end
                if type(u) == "number" then return one.sign * u < one.sign * v end
                if one.sign < 0 then u, v = v, u end
                return table_text.natural(u, v)
            end
        end
        return x.place < y.place
    end)
end

-- Names with commas between, in a list.
function query.names(text)
    local list = {}
    for name in text:gmatch("[^,]+") do list[#list + 1] = name:match("^%s*(.-)%s*$") end
    return list
end

return query

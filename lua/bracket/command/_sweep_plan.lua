-- What a sweep runs: its command line, as combinations of arguments, each with a name that is its folder's. An axis is
-- a list of alternatives, each a list of { name, value } as texts: a grid's values, seeds, the lines of a file, draws.
local bk = ...
local internal = bk.internal
local misused = bk.command._command_line.misused
local plan = {}

local MOST = { jobs = 256, threads = 256, retry = 100, random = 100000, runs = 100000 }
local NAME_BYTES = 200

-- ---- the command line ----

local function count(option, text)
    local n, least, most = math.tointeger(tonumber(text)), option == "retry" and 0 or 1, MOST[option]
    if not n or n < least or n > most then misused("--%s: expected %d..%d, got %q", option, least, most, text) end
    return n
end

-- Every item once, in order.
local function add(list, seen, item)
    if seen[item] then return end
    seen[item] = true
    list[#list + 1] = item
end

local function one_name(name, values)
    local axis = { names = { name } }
    for k, value in ipairs(values) do axis[k] = { { name, value } } end
    return axis
end

-- What stands between commas, but for those in square brackets: a list is one value. nil where brackets do not match.
local function values_in(text)
    local values, depth, from = {}, 0, 1
    for at, c in text:gmatch("()([%[%],])") do
        if c ~= "," then depth = depth + (c == "[" and 1 or -1) end
        if depth < 0 then return nil end
        if c == "," and depth == 0 then
            values[#values + 1] = text:sub(from, at - 1)
            from = at + 1
        end
    end
    values[#values + 1] = text:sub(from)
    return depth == 0 and values or nil
end

local function grid_axis(text)
    local name, values = text:match("^([%a_][%w_-]*)=(.*)$")
    if not name then misused("--grid: expected NAME=VALUE,VALUE,..., got %q", text) end
    local list, seen, found = {}, {}, values_in(values)
    if not found then misused("--grid: %s: expected a ] for every [, as in [8,8],[16], got %q", name, values) end
    for _, value in ipairs(found) do
        if value == "" then misused("--grid: %s: a value is missing in %q", name, values) end
        add(list, seen, value)
    end
    return one_name(name, list)
end

local function seeds_axis(text)
    local list, seen = {}, {}
    for item in (text .. ","):gmatch("([^,]*),") do
        local first, last = item:match("^(%-?%d+)%.%.(%-?%d+)$")
        first = first or item:match("^%-?%d+$")
        first, last = math.tointeger(tonumber(first or "")), math.tointeger(tonumber(last or first or ""))
        if not first or not last then misused("--seeds: expected numbers and ranges as in 1,2,5..8, got %q", text) end
        if last < first then misused("--seeds: the range %s is empty", item) end
        if not math.ult(last - first, MOST.runs) then misused("--seeds: %s: more than %d", item, MOST.runs) end
        for seed = first, last do add(list, seen, tostring(seed)) end
    end
    return one_name("seed", list)
end

-- A value of a JSON object as bk.arguments reads it; nil where it has no such form, or cannot be an argument.
local function argument_text(value)
    if type(value) == "string" and value:find("\0", 1, true) then return nil end -- a process would get what is before
    if type(value) == "string" or type(value) == "boolean" then return tostring(value) end
    if type(value) == "number" and value == value then return internal.to_json(value, 0, true) end
    if type(value) ~= "table" or #value == 0 then return nil end
    local texts = {}
    for k, item in ipairs(value) do
        texts[k] = type(item) ~= "table" and argument_text(item)
        if not texts[k] then return nil end
    end
    return table.concat(texts, ",")
end

local function list_axis(path)
    local text, why = bk._text_file.read(path)
    if not text then misused("--list: expected a file of JSON objects, one a line, got %s", why) end
    local axis, known, seen, line_number = { names = {} }, {}, {}, 0
    for line in (text .. "\n"):gmatch("(.-)\r?\n") do
        line_number = line_number + 1
        local object, wrong = nil, nil
        if line:find("%S") then object, wrong = internal.from_json(line) end
        if wrong or object ~= nil and (type(object) ~= "table" or #object > 0 or next(object) == nil) then
            misused("--list: %s: line %d: expected an object as {\"lr\": 0.1}, got %s", path, line_number,
                wrong or line)
        end
        local alternative, names, key = {}, {}, ""
        for name in pairs(object or {}) do names[#names + 1] = name end
        table.sort(names)
        for k, name in ipairs(names) do
            local value = argument_text(object[name])
            if not name:find("^[%a_][%w_-]*$") or not value then
                misused("--list: %s: line %d: %s: expected a number, text without a zero byte, true, false or a list of "
                    .. "such", path, line_number, name)
            end
            alternative[k], key = { name, value }, key .. "\0" .. name .. "\0" .. value
            add(axis.names, known, name)
        end
        if object and not seen[key] then axis[#axis + 1], seen[key] = alternative, true end
    end
    if #axis == 0 then misused("--list: %s: expected a file of JSON objects, one a line, got none", path) end
    return axis
end

-- NAME=LOW..HIGH, uniform; log: uniform in the logarithm; int: whole numbers, both ends among them.
local function range_of(text)
    local name, kind, low, high = text:match("^([%a_][%w_-]*)=(%a-):?([^:]-)%.%.([^:]+)$")
    local a, b = tonumber(low), tonumber(high)
    if not a or not b or (kind ~= "" and kind ~= "log" and kind ~= "int") then
        misused("--range: expected NAME=LOW..HIGH, NAME=log:LOW..HIGH or NAME=int:LOW..HIGH, got %q", text)
    elseif not (a < b) or b - a == math.huge then
        misused("--range: %s: expected LOW < HIGH, got %s..%s", name, low, high)
    elseif kind == "log" and a <= 0 then
        misused("--range: %s: a logarithm needs LOW > 0, got %s", name, low)
    elseif kind == "int" and not (math.tointeger(a) and math.tointeger(b)) then
        misused("--range: %s: expected whole numbers, got %s..%s", name, low, high)
    end
    return { name = name, kind = kind, low = a, high = b }
end

-- n draws, the same at every call, by range: more draws, or another range, change none of those there are. Equal ones
-- are one run.
local function random_axis(n, ranges)
    local axis, drawn, seen = { names = {} }, {}, {}
    for k = 1, n do drawn[k] = {} end
    for j, r in ipairs(ranges) do
        axis.names[j] = r.name
        local draws = bk.rng(tonumber(internal.digest(r.name):sub(1, 12), 16)):uniform{ n }:totable()
        for k, u in ipairs(draws) do
            local value = r.low + (r.high - r.low) * u
            if r.kind == "log" then value = r.low * (r.high / r.low) ^ u end
            if r.kind == "int" then
                value = math.tointeger(math.min(r.high, r.low + math.floor((r.high - r.low + 1) * u)))
            end
            drawn[k][j] = { r.name, (r.kind == "int" and "%d" or "%.6g"):format(value) }
        end
    end
    for _, alternative in ipairs(drawn) do
        local values = {}
        for j, pair in ipairs(alternative) do values[j] = pair[2] end
        local key = table.concat(values, ",")
        if not seen[key] then axis[#axis + 1] = alternative end
        seen[key] = true
    end
    return axis
end

local function axes_of(options, more)
    local axes, named = {}, {}
    local function axis(option, a)
        for _, given in ipairs(a.names) do
            local name = given:gsub("-", "_")
            if name == "out" then misused("%s: the runs' out is made from --out", option) end
            if named[name] then misused("%s: %s is given twice", option, given) end
            named[name] = true
        end
        axes[#axes + 1] = a
    end
    if options.list then axis("--list", list_axis(options.list)) end
    if options.random or options.range then
        if not options.random then misused("--range needs --random N, the number of draws") end
        if not options.range then misused("--random needs --range NAME=LOW..HIGH") end
        local ranges = {}
        for k, text in ipairs(options.range) do ranges[k] = range_of(text) end
        axis("--range", random_axis(count("random", options.random), ranges))
    end
    for _, text in ipairs(options.grid or {}) do axis("--grid", grid_axis(text)) end
    if options.seeds then axis("--seeds", seeds_axis(options.seeds)) end -- varies fastest
    for _, text in ipairs(more) do -- the script would take the last one
        local given = text:match("^%-%-([^=]+)")
        local name = given and given:gsub("-", "_")
        if named[name] or name == "out" then misused("--%s: given behind -- as well, and by the sweep", given) end
    end
    return axes
end

plan.OPTIONS = {
    { "grid", "NAME=VALUE,VALUE,...", many = true,
        doc = "values of one of the script's arguments: all combinations are run. [8,8] is one value, a list" },
    { "seeds", "LIST", doc = "seeds, as ranges and numbers: 1,2,5..8" },
    { "list", "FILE", doc = 'arguments from a file, a JSON object a line: {"lr": 0.1, "layers": [64, 32]}' },
    { "random", "N", doc = "N draws of the arguments that --range names, the same ones at every call" },
    { "range", "NAME=LOW..HIGH", many = true, doc = "uniform between two numbers; NAME=log:1e-3..1: in the logarithm; "
        .. "NAME=int:1..8: whole numbers" },
    { "out", "DIR", doc = "the runs' folders are made there (default: runs/sweep)" },
    { "jobs", "N", doc = "runs at a time (default: 1)" },
    { "threads", "N", doc = "worker threads of each run (default: this program's)" },
    { "retry", "N", doc = "a run that fails is tried up to N times more (default: 0)" },
    { "dry-run", "flag", doc = "shows what would be run, and runs nothing" },
}

-- For command_line.define.
function plan.prepare(plain, options, more)
    local o = { jobs = 1, threads = bk.threads(), retry = 0, out = "runs/sweep", more = more, script = plain[1],
        dry_run = options["dry-run"] }
    o.axes = axes_of(options, more)
    if options.out then o.out = options.out:gsub("(.)/+$", "%1") end
    for _, name in ipairs{ "jobs", "threads", "retry" } do
        if options[name] then o[name] = count(name, options[name]) end
    end
    if not o.script then misused("a script is missing") end
    if plain[2] then
        misused("%q: there is a script already (%s)", plain[2], plain[2]:find("^[%a_][%w_]*=")
            and "each of several takes its own: --grid NAME=VALUE,... --grid NAME=VALUE,..."
            or "arguments for it come after --")
    end
    if #o.axes == 0 then misused("--grid, --list, --random or --seeds is missing: there is nothing to vary") end
    local runs = 1
    for _, a in ipairs(o.axes) do
        runs = runs * #a
        if runs > MOST.runs then misused("more than %d runs", MOST.runs) end
    end
    return o
end

-- ---- combinations and their folders ----

-- A value as a part of a file name, and whether that is the value as it stands. A list is called as one of --list is.
local function fit(value)
    local inner = value:match("^%[([^%[%]]+)%]$")
    if inner then return fit(inner), false end
    local unfit = utf8.len(value) and "[^%w%.%+%-=_@%%\x80-\xff]" or "[^%w%.%+%-=_@%%]"
    local text, changed = value:gsub(unfit, "_")
    return text, changed == 0
end

-- { name, exact, arguments }, every one of another name, also where A and a are one file.
function plan.combinations(axes)
    local list = { { name = "", exact = true, arguments = {} } }
    for _, axis in ipairs(axes) do
        local longer = {}
        for _, c in ipairs(list) do
            for _, alternative in ipairs(axis) do
                local arguments = table.move(c.arguments, 1, #c.arguments, 1, {})
                local name, exact = c.name, c.exact
                for _, pair in ipairs(alternative) do
                    arguments[#arguments + 1], arguments[#arguments + 2] = "--" .. pair[1], pair[2]
                    local text, as_it_is = fit(pair[2])
                    name, exact = (name == "" and "" or name .. ",") .. pair[1] .. "=" .. text, exact and as_it_is
                end
                longer[#longer + 1] = { arguments = arguments, exact = exact, name = name }
            end
        end
        list = longer
    end
    local taken = {}
    local function settle(c)
        local name, text = c.name, table.concat(c.arguments, "\0")
        while #name > NAME_BYTES or taken[name:lower()] do
            name = c.name:sub(1, NAME_BYTES - 20):gsub("[\x80-\xff]+$", "") .. "~" .. internal.digest(text):sub(1, 8)
            text = text .. "\0"
        end
        taken[name:lower()] = true
        c.name = name
    end
    for _, exact in ipairs { true, false } do -- a value that stands in the name as it is has the first claim
        for _, c in ipairs(list) do
            if c.exact == exact then settle(c) end
        end
    end
    return list
end

return plan

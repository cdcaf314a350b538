-- odd.lua - for odd_test, in a process of its own, and for env_test, in a host: every public function and every method
-- of what they return with odd values in each place and in each option. `odd.lua FOLDER` prints a line for each answer
-- that is not in our words, names no function, takes over a hundred times a fixed piece of work (two seconds here), or
-- reaches the host as no refusal. The right arguments are those that tests/c/calls.lua passes, seen by a hook.
local bk = require "bracket"
local folder, only = ...
local calls = assert(loadfile("tests/c/calls.lua"))(folder)
local docs, options, out = bk.internal.docs, bk.internal.options, io.stdout
local MOST = math.huge -- seconds of processor time; the piece of work took a hundredth, the best of five
for _ = 1, 5 do
    local _, start = bk.clock()
    for k = 1, 22000 do tostring(k):rep(8):find("0000", 1, true) end
    MOST = math.min(MOST, 100 * (select(2, bk.clock()) - start))
end
_G.print = function() end -- bk.help prints
arg = nil -- bk.arguments would end the script

local function raise() error("ODD", 0) end
local round = {}
round[1], round.x = round, round
local closed = assert(io.open("tests/lua/odd.lua"))
closed:close()
local function long(n) return setmetatable({ 1, 2 }, { __len = function() return n end }) end
local over -- a tensor of a trace that is over
bk.compile(function(t) over = t return t end)(bk.tensor(1.0))
local VALUES = {
    { "nil", nil }, { "traced", over }, { "nan", 0 / 0 }, { "inf", math.huge }, { "-1", -1 }, { "0.5", 0.5 },
    { "empty text", "" }, { "zero byte", "a\0b" }, { "true", true }, { "function", function() end },
    { "function of a text", function() return "odd" end }, { "function of 0-d", function() return bk.tensor(1.0) end },
    { "coroutine", coroutine.create(function() end) }, { "{}", {} }, { "gap", { [1] = 1, [3] = 2 } },
    { "{ nan }", { 0 / 0 } }, { "{ {} }", { {} } }, { "{ false }", { false } }, { "table in itself", round },
    { "length 2^27", long(1 << 27) }, { "length -5", long(-5) }, { "length x", long("x") },
    { "index raises", setmetatable({}, { __index = raise }) },
    { "pairs raises", setmetatable({}, { __pairs = raise }) }, { "0-d", bk.tensor(1.0) },
    { "no elements", bk.zeros { 0 } }, { "int64", bk.tensor({ -1, 7 }, { dtype = "int64" }) },
    { "matrix with nan", bk.tensor { { 0 / 0, 1 }, { 2, 3 } } }, { "closed file", closed },
    { "optimizer", bk.optim.sgd {} }, { "model", bk.nn.mlp { 3, 2, 2 } },
}
local status_of, faults = _G.status_of, 0 -- a host's pcall, which tells the status besides
local COMPUTED = { "finite", "pivot" } -- what no argument is blamed for
local OURS = { ["bk.arguments"] = true } -- speaks to who typed a command
local LUAS = { "attempt to ", "bad argument #", "bad self", "stack overflow", "invalid order function",
    "no integer representation", "index is [nN]", "'for' ", "object length", "invalid value %(", "malformed",
    "too many results", "has no literal form", "not enough memory", ": 0x%x+" } -- and no addresses

-- ---- what is called ----

local names, list = {}, {}
local function callable(v)
    local meta = debug.getmetatable(v)
    return type(v) == "function" or (type(v) == "userdata" or type(v) == "table") and type(meta) == "table"
        and meta.__call ~= nil
end
local function add(f, name)
    if names[f] then return end
    names[f], list[#list + 1] = name, f
end
bk.repl.help.walk(function(path, value) if callable(value) then add(value, path) end end)
for f, text in pairs(docs) do
    local method = callable(f) and text:match("^%a+:[%a_]+")
    if method then add(f, method) end
end

-- ---- the arguments they are called with ----

local seen = {} -- function -> arguments
local function hook()
    local f = debug.getinfo(2, "f").func
    if not names[f] or seen[f] then return end
    local info, found = debug.getinfo(2, "uS"), {}
    if info.what == "C" then
        while debug.getlocal(2, #found + 1) do
            local n = #found + 1
            found[n] = select(2, debug.getlocal(2, n)) or false
        end
    else
        for k = 1, info.nparams do found[k] = select(2, debug.getlocal(2, k)) or false end
        for k = 1, info.isvararg and 250 or 0 do
            local name, value = debug.getlocal(2, -k)
            if not name then break end
            found[info.nparams + k] = value or false
        end
    end
    seen[f] = found
end

-- ---- one call ----

local function complaint(f, arguments, n)
    local _, start = bk.clock()
    local late = false
    debug.sethook(function()
        if select(2, bk.clock()) - start > MOST then
            late = true
            error("too late", 0)
        end
    end, "", 10000)
    local ok, message, status = (status_of or pcall)(function() return f(table.unpack(arguments, 1, n)) end)
    debug.sethook()
    local _, now = bk.clock()
    if late or now - start > MOST then return ("takes %.1f s"):format(now - start) end
    if ok or message == "ODD" then return nil end
    if type(message) ~= "string" then return OURS[names[f]] == nil and "an error that is no text" or nil end
    local text = message:gsub("^[^%s:]+:%d+: ", "")
    local own = message:find("^tests/c/calls%.lua") or message:find("^tests/lua/odd%.lua:%d+: attempt")
    if own and not text:find("bk%.") then return nil end -- the function that was handed over
    for _, words in ipairs(LUAS) do
        if text:find(words) then return message end
    end
    local computed = false
    for _, word in ipairs(COMPUTED) do computed = computed or text:find(word) ~= nil end
    if status == "BK_ERUNTIME" and not computed then return status .. ": " .. message end
    local short = names[f]:match("[%w_]+$")
    local named = text:find(short, 1, true) or text:find("^bk%.[%w_.]+: ") or text:find("^%l+[:.]?[%w_]*: ")
        or text:find("this function", 1, true) or text:find("^Lua function: ")
    return not named and not OURS[names[f]] and message or nil
end

local function try(f, where, odd, arguments, n)
    local fault = complaint(f, arguments, n)
    if not fault then return end
    faults = faults + 1
    out:write(("%s, %s = %s: %s\n"):format(names[f], where, odd, fault:match("^[^\n]*"):sub(1, 200)))
end

local function copy(t, depth)
    if type(t) ~= "table" or getmetatable(t) ~= nil or depth == 0 then return t end
    local result = {}
    for k, v in next, t do result[k] = copy(v, depth - 1) end
    return result
end

-- The arguments with the value at place i another one.
local function with(arguments, i, value)
    local other = copy(arguments, 3)
    other[i] = value
    return other
end

-- What is passed over in silence: an option that there is not, and arguments behind the last one. What takes any, takes
-- them; a metric gets (accuracy, learned) and a record (state, memory), whatever it has use for.
local function passed_over(f, arguments, n)
    local signature = (docs[f] or "..."):match("^[^\n]*")
    local any = signature:find("...", 1, true) or bk.metric._kind[f] or signature:find("^record ")
    if any or not seen[f] then return end
    local more = copy(arguments, 3)
    for k = 1, 8 do more[n + k] = "odd" end
    if pcall(f, table.unpack(more, 1, n + 8)) then out:write(names[f], ": arguments behind the last one\n") end
    for i = 1, options[f] and n + 1 or 0 do
        local given = arguments[i]
        local is_table = given == nil or type(given) == "table" and getmetatable(given) == nil
        local other = is_table and copy(given or {}, 1)
        if is_table then other.no_option = 1 end
        if is_table and pcall(f, table.unpack(with(arguments, i, other), 1, math.max(n, i))) then
            out:write(names[f], ": an option that there is not\n")
        end
    end
end

local function call(f)
    local arguments = seen[f] or {}
    local n = #arguments
    passed_over(f, arguments, n)
    for k = 0, n - 1 do try(f, "arguments", k, copy(arguments, 3), k) end
    for i = 1, n + 1 do
        for _, v in ipairs(VALUES) do try(f, "argument " .. i, v[1], with(arguments, i, v[2]), math.max(n, i)) end
        local given = arguments[i]
        if i == 2 and names[f]:find("^bk%.record%.") then given = nil end -- its memory: what is in it is its own
        if i == n + 1 and n == 0 and options[f] then given = {} end
        if type(given) == "table" and getmetatable(given) == nil then
            local fields = {}
            for k in next, given do fields[k] = true end
            for _, o in ipairs(options[f] or {}) do fields[o.name] = true end
            for name in next, fields do
                for _, v in ipairs(VALUES) do
                    local changed = copy(given, 1)
                    changed[name] = v[2]
                    local place = ("argument %d, %s"):format(i, tostring(name))
                    try(f, place, v[1], with(arguments, i, changed), math.max(n, i))
                end
            end
        end
    end
end

local keys = {}
for key in pairs(calls) do keys[#keys + 1] = key end
table.sort(keys)
for _, key in ipairs(keys) do
    if not only or key == only then
        debug.sethook(hook, "c")
        local results = table.pack(pcall(calls[key]))
        debug.sethook()
        for i = 2, results.n do -- what is returned: functions of theta, and methods that no docstring tells of
            local result = results[i]
            if callable(result) then add(result, key .. "'s result") end
            if type(result) == "table" then
                for name, value in next, result do
                    if type(value) == "function" and type(name) == "string" then
                        add(value, key:match("[%w_]+$") .. ":" .. name)
                        seen[value] = seen[value] or { result }
                    end
                end
            end
        end
    end
end
for _, f in ipairs(list) do
    if not only or seen[f] then call(f) end
end
if status_of then assert(faults == 0, "some odd arguments were not refused as they should be") end
out:write("done\n")

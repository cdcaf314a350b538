-- commands.lua - what begins with a colon: name -> { takes, doc, run(text) }. takes: what completion offers after it.
local bk = ...
local failure, names = bk.repl.failure, bk.repl.names
local refuse = failure.refuse
local clock = os.clock
local pack = table.pack

local commands = {}

local function expression_of(name, text)
    local f, expression, message = bk.repl.session.compile(text)
    if not f or not expression then refuse(message or (":%s: expected an expression"):format(name)) end
    return f
end

commands.time = { arguments = "code", doc = "how long it takes", run = function(text)
    local f, _, message = bk.repl.session.compile(text)
    if not f then refuse(message) end
    local wall, cpu = bk.clock(), clock()
    local results = pack(f())
    cpu, wall = clock() - cpu, bk.clock() - wall
    if results.n > 0 then _G._ = results[1] end
    bk.repl.session.show(results.n, results)
    print(("%.6f s (%.6f s of processor time)"):format(wall, cpu))
end }

local function in_words(seconds)
    for _, unit in ipairs{ { 1, "s" }, { 1e-3, "ms" }, { 1e-6, "us" } } do
        if seconds >= unit[1] then return ("%.3g %s"):format(seconds / unit[1], unit[2]) end
    end
    return ("%.3g ns"):format(seconds * 1e9)
end

-- Rounds of so many calls that one takes a fiftieth of a second at least.
commands.timeit = { arguments = "expr", doc = "how long it takes, over many calls", run = function(text)
    local f = expression_of("timeit", text)
    local function round(n)
        local start = bk.clock()
        for _ = 1, n do f() end
        return bk.clock() - start
    end
    f()
    local n, took = 1, round(1)
    while took < 0.02 and n < 1e7 do
        n = math.max(2 * n, math.min(math.floor(n * 0.02 / math.max(took, 1e-9)), 10 * n))
        took = round(n)
    end
    local times = { took / n }
    while #times < 7 and took * #times < 2 do times[#times + 1] = round(n) / n end
    table.sort(times)
    print(("%s a call (least of %d rounds of %d; median %s)"):format(in_words(times[1]), #times, n,
        in_words(times[(#times + 1) // 2])))
end }

local function kind_of(x)
    if bk.is_tensor(x) then return ("tensor %s %s"):format(x:dtype(), bk._options.shape_text(x)) end
    local kind = math.type(x) or type(x)
    if kind ~= "userdata" and kind ~= "table" then return kind end
    local meta = debug.getmetatable(x)
    local name = type(meta) == "table" and rawget(meta, "__name")
    return type(name) == "string" and kind .. " " .. name or kind
end

commands.type = { arguments = "expr", doc = "what it is", run = function(text)
    local results = pack(expression_of("type", text)())
    for i = 1, results.n do print(kind_of(results[i])) end
end }

local given = {} -- the globals that the session begins with
for name in pairs(_G) do given[name] = true end

commands.who = { doc = "the globals you have set", run = function()
    local rows, list = {}, {}
    for name in pairs(_G) do
        if type(name) == "string" and not given[name] and name ~= "_" and name ~= "bk" and name ~= "help" then
            list[#list + 1] = name
        end
    end
    table.sort(list)
    for i, name in ipairs(list) do
        local x = _G[name]
        local plain = type(x) == "number" or type(x) == "boolean"
        rows[i] = { name, kind_of(x), plain and tostring(x) or type(x) == "table" and #x > 0 and #x .. " items" or "" }
    end
    local out = {}
    bk._wrap.table(out, rows, bk._wrap.width(), { 30, 40 }, "")
    if #out > 0 then print(table.concat(out, "\n")) end
end }

local loaded -- the file that :load took last

local function expand(path) return (path:gsub("^~/", (os.getenv("HOME") or "~") .. "/")) end

local function run_file(path)
    local f, message = loadfile(path)
    if not f then refuse(message) end
    f()
end

commands.load = { arguments = "file", takes = "file", doc = "runs a Lua file; what it sets stays", run = function(text)
    local path = text:match("^%s*(.-)%s*$"):gsub("^([\"'])(.*)%1$", "%2")
    if path == "" then refuse(":load: expected a file") end
    path = expand(path)
    loaded = path -- one that fails is mended and loaded again
    run_file(path)
end }

-- The module's table keeps its identity, so that whoever holds it has the new functions.
local function reload_module(name)
    local old = package.loaded[name]
    if old == nil then refuse((":reload: no module %s has been required"):format(name)) end
    if old == bk then refuse(":reload: bracket itself cannot be loaded again") end
    package.loaded[name] = nil
    local ok, new = xpcall(require, failure.handler(""), name)
    if not ok then
        package.loaded[name] = old
        error(new, 0)
    end
    if type(old) ~= "table" or type(new) ~= "table" then return end
    for key in pairs(old) do if new[key] == nil then old[key] = nil end end
    for key, value in pairs(new) do old[key] = value end
    package.loaded[name] = old
end

commands.reload = { arguments = "[module]", doc = "the file of the last :load again, or a module in place",
    run = function(text)
        local name = text:match("^%s*(.-)%s*$")
        if name ~= "" then return reload_module(name) end
        if not loaded then refuse(":reload: nothing has been loaded with :load") end
        run_file(loaded)
    end }

commands.set = { arguments = "[name value]", takes = "setting", doc = "how tensors print: precision, threshold, width",
    run = function(text)
        local name, value = text:match("^%s*(%a*)%s*(.-)%s*$")
        local list, known = bk.repl.help.options(bk.print_options), {}
        if name == "" then
            local now, rows, out = bk.print_options(), {}, {}
            for i, o in ipairs(list) do rows[i] = { o.name, tostring(now[o.name]), o.doc } end
            bk._wrap.table(out, rows, bk._wrap.width(), { 20, 10 }, "")
            return print(table.concat(out, "\n"))
        end
        for _, o in ipairs(list) do known[o.name] = true end
        if not known[name] then
            local near = names.near(name, known)
            refuse((":set: no setting %s%s"):format(name, near and ("; did you mean %s?"):format(near) or ""))
        end
        local n = math.tointeger(tonumber(value))
        if not n then refuse((":set %s: expected a whole number, got %s"):format(name, value)) end
        local ok, message = pcall(bk.print_options, { [name] = n })
        if not ok then refuse((message:gsub("^.-bk%.print_options: ", ":set "))) end
    end }

commands.debug = { arguments = "[n [code]]", doc = "after an error: the locals up the stack; code sees frame n's",
    run = function(text)
        failure.debug(text:match("^%s*(.-)%s*$"), function(code, env) bk.repl.session.evaluate(code, env) end)
    end }

commands.help = { doc = "this text", run = function() print(bk.repl.session.keys()) end }

return commands

-- lint.lua - bracket tests/lint.lua OBJECTS: what a machine can see of the house's form. Arrows between rooms and files
-- are taken from the symbols of the compiled objects, so an `extern` counts as much as an include.
local objects = assert(arg[1], "usage: bracket tests/lint.lua OBJECTS (the folder of compiled objects)")

-- What each room of src/ may know. Below bind/ nothing knows Lua.
local MAY_USE = {
    base = "", tensor = "base", graph = "base tensor", ranks = "base tensor", ops = "base tensor graph ranks",
    compile = "base tensor graph ops", func = "base tensor graph ops compile",
    model = "base tensor graph ops compile func", optim = "base tensor graph ops compile func",
    bea = "base tensor graph ops compile func model", data = "base tensor",
    bind = "base tensor graph ranks ops compile func model optim bea data",
    app = "base tensor graph ranks ops compile func model optim bea data bind",
}
local PRINTS = { "exit", "abort", "printf", "puts", "perror", "assert", "fprintf" } -- never below bind/
local WIDTH = 120

local faults = 0
local function fault(...)
    faults = faults + 1
    print(string.format(...))
end

local function lines_of(command)
    local p, list = assert(io.popen(command)), {}
    for line in p:lines() do list[#list + 1] = line end
    p:close()
    return list
end

local function read(path)
    local f = assert(io.open(path))
    local text = f:read("a")
    f:close()
    return text
end

local function each_line(text, visit)
    local n = 0
    for line in (text .. "\n"):gmatch("([^\n]*)\n") do
        n = n + 1
        visit(n, line)
    end
end

local allowed = {}
for room, others in pairs(MAY_USE) do
    allowed[room] = { [room] = true }
    for other in others:gmatch("%S+") do allowed[room][other] = true end
end

-- ---- arrows by symbol ----

-- gen/op_rows.o is the list of what src/ops declares: it has no file in src, and a list is no arrow.
local defined_in, undefined_in, files = {}, {}, {}
for _, path in ipairs(lines_of("find " .. objects .. " -name '*.o' | LC_ALL=C sort")) do
    local room, name = path:sub(#objects + 2):match("^(%w+)/([%w_]+)%.o$")
    local source = room and io.open(("src/%s/%s.c"):format(room, name)) -- none: its source is gone
    if source then
        source:close()
        local file = room .. "/" .. name
        if not allowed[room] then fault("src/%s: a room that tests/lint.lua does not know", room) end
        files[#files + 1] = file
        undefined_in[file] = {}
        for _, line in ipairs(lines_of("nm " .. path)) do
            local kind, symbol = line:match("(%a) (%S+)$")
            if kind == "U" then
                table.insert(undefined_in[file], symbol)
            elseif kind and kind:find("[TDRBCVW]") then
                defined_in[symbol] = file
            end
        end
    end
end
if #files == 0 then fault("%s holds no objects: make all first", objects) end

local arrows = {} -- file -> { file = a symbol }
for _, from in ipairs(files) do
    arrows[from] = {}
    for _, symbol in ipairs(undefined_in[from]) do
        local to = defined_in[symbol]
        if to and to ~= from then
            arrows[from][to] = arrows[from][to] or symbol
            local a, b = from:match("^%w+"), to:match("^%w+")
            if allowed[a] and not allowed[a][b] then
                fault("src/%s.c: %s must not know %s (%s of src/%s.c)", from, a, b, symbol, to)
            end
        end
    end
end

-- Circles: between files of different rooms, and inside the rooms that are built in floors.
local function circles(keep)
    local index, low, stack, on, n = {}, {}, {}, {}, 0
    local function visit(v)
        n = n + 1
        index[v], low[v] = n, n
        stack[#stack + 1], on[v] = v, true
        for w in pairs(arrows[v]) do
            if keep(v, w) then
                if not index[w] then
                    visit(w)
                    low[v] = math.min(low[v], low[w])
                elseif on[w] then
                    low[v] = math.min(low[v], index[w])
                end
            end
        end
        if low[v] == index[v] then
            local circle = {}
            repeat
                local w = table.remove(stack)
                on[w] = false
                circle[#circle + 1] = w
            until w == v
            if #circle > 1 then
                table.sort(circle)
                local inside = {}
                for _, w in ipairs(circle) do inside[w] = true end
                local names = {}
                for _, a in ipairs(circle) do
                    for b, symbol in pairs(arrows[a]) do
                        if inside[b] then names[#names + 1] = ("    %s -> %s (%s)"):format(a, b, symbol) end
                    end
                end
                table.sort(names)
                fault("a circle of %d files: %s\n%s", #circle, table.concat(circle, " "), table.concat(names, "\n"))
            end
        end
    end
    for _, v in ipairs(files) do if not index[v] then visit(v) end end
end
local function room_of(file) return file:match("^%w+") end
circles(function(a, b) return room_of(a) == room_of(b) and (room_of(a) == "bind" or room_of(a) == "app") end)
local rooms_differ = {}
for _, a in ipairs(files) do
    for b in pairs(arrows[a]) do
        if room_of(a) ~= room_of(b) then rooms_differ[room_of(a) .. " " .. room_of(b)] = a .. " -> " .. b end
    end
end
for pair, arrow in pairs(rooms_differ) do
    local a, b = pair:match("^(%w+) (%w+)$")
    local back = rooms_differ[b .. " " .. a]
    if back and a < b then fault("rooms %s and %s know each other: %s, %s", a, b, arrow, back) end
end

-- A prefix belongs to one side of the binding.
local below = {}
for symbol, file in pairs(defined_in) do
    if room_of(file) ~= "bind" and room_of(file) ~= "app" then below[symbol:match("^%a+")] = file end
end
for symbol, file in pairs(defined_in) do
    local prefix = symbol:match("^%a+")
    if room_of(file) == "bind" and below[prefix] then
        fault("src/%s.c: %s: the prefix %s_ is used below the binding (src/%s.c)", file, symbol, prefix, below[prefix])
    end
end

-- ---- C, file by file ----

for _, path in ipairs(lines_of("find src -name '*.[ch]' -o -name '*.inc' | LC_ALL=C sort")) do
    local room, text = path:match("^src/(%w+)/"), read(path)
    local name = path:match("[^/]+$")
    if text:sub(1, #name + 3) ~= "/* " .. name then fault("%s:1: expected /* %s - what it provides", path, name) end
    local below_bind = room and room ~= "bind" and room ~= "app"
    each_line(text, function(n, line)
        local function at(...) fault("%s:%d: " .. (...), path, n, select(2, ...)) end
        if (utf8.len(line) or #line) > WIDTH then at("longer than %d columns", WIDTH) end
        if line:find("%s$") then at("blanks at the end of the line") end
        if line:find("\t") then at("a tab") end
        local include = line:match('^%s*#%s*include%s*"([^"]+)"')
        local other = include and include:match("^%.%./(%w+)/")
        if other and room and not (allowed[room] or {})[other] then at("%s must not know %s (%s)", room, other,
            include) end
        local system = line:match("^%s*#%s*include%s*[<\"]([^>\"]+)")
        if system and below_bind then
            if system == "lua.h" or system == "lauxlib.h" or system == "lualib.h" then
                at("%s belongs to src/bind and src/app", system)
            end
            if system:find("cblas") and path ~= "src/tensor/gemm.c" then at("cblas belongs to src/tensor/gemm.c") end
        end
        if below_bind and not line:find("^%s*/?%*") then
            for _, f in ipairs(PRINTS) do
                if line:find("%f[%w_]" .. f .. "%s*%(") then at("the library neither prints nor exits (%s)", f) end
            end
        end
        if path:find("%.c$") and line:find("^%s*extern%s+const%s+%w+_row%s") then
            at("rows are declared in one generated header")
        end
    end)
    local count = select(2, text:gsub("\n", "\n"))
    if count > 800 then fault("%s: %d lines: is it one room?", path, count) end
end

-- ---- Lua, file by file ----

-- lua/bracket/command and repl are the program's: what else names them, and may.
local MAY_NAME = {
    ["lua/bracket/help.lua bk.repl"] = true, -- bk.help shows a page of the session's
    ["lua/bracket/_readable.lua bk.repl"] = true, -- print shows a result as the session does
}
local KNOWN = {}
for name in pairs(_G) do KNOWN[name] = true end
for _, name in ipairs{ "arg", "bk" } do KNOWN[name] = nil end
local TESTS_MAY_SET = { "^Test", "^arg$" } -- LuaUnit finds its suites among the globals; scripts read arg

local function test_global(path, name)
    if not path:find("^tests/") then return false end
    for _, pattern in ipairs(TESTS_MAY_SET) do
        if name:find(pattern) then return true end
    end
    return name == "bk"
end

local tests = {} -- where a suite or a test is: another of its name would take its place

local luac = lines_of("command -v luac5.4 || command -v luac")[1]
for _, path in ipairs(lines_of("find lua experiments tests -name '*.lua' | LC_ALL=C sort")) do
    local text = read(path)
    local compiled, message = load(text, "@" .. path, "t")
    if not compiled then fault("%s", message) end
    each_line(text, function(n, line)
        local one_text = #(line:match('"[^"]*"') or "") > 60 or #(line:match("'[^']*'") or "") > 60
            or #(line:match("%[%[.*%]%]") or "") > 60 -- in one piece
        if (utf8.len(line) or #line) > WIDTH and not one_text then
            fault("%s:%d: longer than %d columns", path, n, WIDTH)
        end
        if line:find("%s$") then fault("%s:%d: blanks at the end of the line", path, n) end
        if line:find("^ *\t") then fault("%s:%d: a tab", path, n) end
        local room = path:match("^lua/bracket/(%l*)")
        if room and room ~= "command" and room ~= "repl" then
            local above = line:match("bk%.command%f[^%w_]") or line:match("bk%.repl%f[^%w_]")
            if above and not MAY_NAME[path .. " " .. above] then
                fault("%s:%d: the library does not know the program's %s", path, n, above)
            end
        end
        local test = line:match("^(Test[%w_]+) =") or line:match("^function (Test[%w_]+[.:]test[%w_]*)")
        if test then
            test = test:gsub(":", ".")
            if tests[test] then fault("%s:%d: %s stands in %s too", path, n, test, tests[test]) end
            tests[test] = path .. ":" .. n
        end
        if path:find("^experiments/") then
            if line:find('"%.%./[%w_]+/') then fault("%s:%d: a file of another experiment", path, n) end
            if line:find("bk%.internal") then fault("%s:%d: an experiment uses the public API alone", path, n) end
            if line:find("bk%.[%w_.]*%.?%f[%w_]_%a") then fault("%s:%d: a private file (_name) in an experiment", path,
                n) end
        end
    end)
    if compiled and luac then
        for _, line in ipairs(lines_of(luac .. " -l -l -p '" .. path .. "' 2>/dev/null")) do
            local n, op, name = line:match("%[(%d+)%]%s+([GS]ETTABUP)%s.*;%s*_ENV \"([^\"]+)\"")
            if op == "SETTABUP" and not test_global(path, name) then
                fault("%s:%s: sets the global %s", path, n, name)
            elseif op == "GETTABUP" and not KNOWN[name] and name ~= "arg" and not test_global(path, name) then
                fault("%s:%s: reads the global %s", path, n, name)
            end
        end
    end
    local count = select(2, text:gsub("\n", "\n"))
    if count > 800 then fault("%s: %d lines: is it one room?", path, count) end
end

if faults > 0 then
    print(("lint: %d fault%s"):format(faults, faults == 1 and "" or "s"))
    os.exit(1)
end
print("lint: clean")

-- coverage.lua - which lines of lua/bracket the tests run. Called by tests/run.lua (BRACKET_COVERAGE=FOLDER) it counts
-- those of this process and leaves them in FOLDER. As a program, `bracket tests/coverage.lua FOLDER`: a line a file,
-- and the whole. What child processes run is not seen.
local FOLDER = arg and arg[0] and arg[0]:find("coverage%.lua$") and arg[1] or nil

local function lines(command)
    local p <close> = assert(io.popen(command))
    local list = {}
    for line in p:lines() do list[#list + 1] = line end
    return list
end

-- The lines of a file that hold code, main chunk and functions alike.
local function code_lines(path)
    local active = {}
    local listing = lines("luac5.4 -l -l -p " .. path .. " 2>/dev/null || true")
    for _, text in ipairs(listing) do
        local line = text:match("^\t%d+\t%[(%d+)%]\t")
        if line then active[tonumber(line)] = true end
    end
    return active
end

if FOLDER then
    local seen = {}
    for _, path in ipairs(lines("ls " .. FOLDER .. "/*.lines")) do
        for text in io.lines(path) do
            local file, line = text:match("^(%S+) (%d+)$")
            seen[file] = seen[file] or {}
            seen[file][tonumber(line)] = true
        end
    end
    local all, run = 0, 0
    for _, path in ipairs(lines("find lua/bracket -name '*.lua' | LC_ALL=C sort")) do
        local n, k, missed = 0, 0, {}
        for line in pairs(code_lines(path)) do
            n = n + 1
            if (seen[path] or {})[line] then k = k + 1 else missed[#missed + 1] = line end
        end
        table.sort(missed)
        print(("%6.1f %%  %5d of %5d  %s  %s"):format(100 * k / math.max(n, 1), k, n, path, table.concat(missed, " ")))
        all, run = all + n, run + k
    end
    print(("lua/: %.1f %% (%d of %d lines)"):format(100 * run / all, run, all))
    return
end

local folder = os.getenv("BRACKET_COVERAGE")
os.execute("mkdir -p " .. folder)
local seen, sources = {}, {}
local function count(_, line)
    local source = debug.getinfo(2, "S").source
    local file = sources[source]
    if file == nil then
        file = source:match("^@?.-(bracket/[%w_/]+%.lua)$")
        file = file and "lua/" .. file or false
        sources[source] = file
        if file then seen[file] = seen[file] or {} end
    end
    if file then seen[file][line] = true end
end
debug.sethook(count, "l")
local create, wrap = coroutine.create, coroutine.wrap
local function counted(f)
    return function(...)
        debug.sethook(count, "l")
        return f(...)
    end
end
coroutine.create = function(f) return create(counted(f)) end
coroutine.wrap = function(f) return wrap(counted(f)) end

return function() -- at the end
    debug.sethook()
    local f <close> = assert(io.open(("%s/%s.lines"):format(folder, os.tmpname():match("[^/]+$")), "w"))
    for file, set in pairs(seen) do
        for line in pairs(set) do f:write(file, " ", line, "\n") end
    end
end

-- sweep.lua - bracket sweep: a script once for every combination of a grid and seeds, each run a process and a folder
-- of its own. What a folder's job.json says decides whether its run is done, so a sweep goes on where it ended.
local bk = ...
local internal = bk.internal
local misused, readable, stamp = bk.command._command_line.misused, bk._text_file.readable, bk._text_file.stamp

local USAGE = [[
usage: bracket sweep script.lua [--grid NAME=VALUE,...]... [--seeds LIST] [options] [-- arguments]
  --grid lr=0.01,0.02  values of one of the script's arguments; give it again for others: all combinations are run
  --seeds 1..10        seeds, as ranges and numbers: 1,2,5..8
  --out DIR            the runs' folders are made there (default: runs/sweep)
  --jobs N             runs at a time (default: 1)
  --threads N          worker threads of each run (default: this program's)
  -- arguments         more arguments, for every run of the script
Runs `bracket script.lua --lr 0.01 --seed 1 --out DIR/lr=0.01,seed=1 arguments` and so on; bk.arguments reads them.
DIR/.../output.txt has what the run printed, job.json how it ended. A run that is done is not run again, one that
failed is. Under mpirun or srun every rank takes its share. Exit status: 0; 1 when a run failed; 2 for usage.
]]

local MOST = { jobs = 256, threads = 256, runs = 100000 }
local TAIL_LINES, TAIL_BYTES, LINE_BYTES = 5, 4096, 200
local NAME_BYTES = 200

-- ---- the command line ----

local function count(option, text, most)
    local n = math.tointeger(tonumber(text))
    if not n or n < 1 or n > most then misused("%s: expected 1..%d, got %q", option, most, text) end
    return n
end

-- Every item once, in order.
local function add(list, seen, item)
    if seen[item] then return end
    seen[item] = true
    list[#list + 1] = item
end

local function grid_axis(text)
    local name, values = text:match("^([%a_][%w_-]*)=(.*)$")
    if not name then misused("--grid: expected NAME=VALUE,VALUE,..., got %q", text) end
    local axis, seen = { name = name }, {}
    for value in (values .. ","):gmatch("([^,]*),") do
        if value == "" then misused("--grid: %s: a value is missing in %q", name, values) end
        add(axis, seen, value)
    end
    return axis
end

local function seeds_axis(text)
    local axis, seen = { name = "seed" }, {}
    for item in (text .. ","):gmatch("([^,]*),") do
        local first, last = item:match("^(%-?%d+)%.%.(%-?%d+)$")
        first = first or item:match("^%-?%d+$")
        first, last = math.tointeger(tonumber(first or "")), math.tointeger(tonumber(last or first or ""))
        if not first or not last then misused("--seeds: expected numbers and ranges as in 1,2,5..8, got %q", text) end
        if last < first then misused("--seeds: the range %s is empty", item) end
        if not math.ult(last - first, MOST.runs) then misused("--seeds: %s: more than %d", item, MOST.runs) end
        for seed = first, last do add(axis, seen, tostring(seed)) end
    end
    return axis
end

local function prepare(plain, options, more)
    local o = { axes = {}, jobs = 1, threads = bk.threads(), out = "runs/sweep", more = more, script = plain[1] }
    local named = {}
    local function axis(option, a)
        local name = a.name:gsub("-", "_")
        if name == "out" then misused("%s: the runs' out is made from --out", option) end
        if named[name] then misused("%s: %s is given twice", option, a.name) end
        named[name] = true
        table.insert(o.axes, a)
    end
    for _, text in ipairs(options.grid or {}) do axis("--grid", grid_axis(text)) end
    if options.seeds then axis("--seeds", seeds_axis(options.seeds)) end -- varies fastest
    if options.out then o.out = options.out:gsub("(.)/+$", "%1") end
    for _, name in ipairs{ "jobs", "threads" } do
        if options[name] then o[name] = count("--" .. name, options[name], MOST[name]) end
    end
    if not o.script then misused("a script is missing") end
    if plain[2] then misused("%q: there is a script already (arguments for it come after --)", plain[2]) end
    if #o.axes == 0 then misused("--grid or --seeds is missing: there is nothing to vary") end
    local runs = 1
    for _, a in ipairs(o.axes) do
        runs = runs * #a
        if runs > MOST.runs then misused("more than %d runs", MOST.runs) end
    end
    return o
end

-- ---- combinations and their folders ----

-- A value as a part of a file name, and whether that is the value as it stands.
local function fit(value)
    local unfit = utf8.len(value) and "[^%w%.%+%-=_@%%\x80-\xff]" or "[^%w%.%+%-=_@%%]"
    local text, changed = value:gsub(unfit, "_")
    return text, changed == 0
end

-- { name, exact, arguments }, every one of another name, also where A and a are one file.
local function combinations(axes)
    local list = { { name = "", exact = true, arguments = {} } }
    for _, axis in ipairs(axes) do
        local longer = {}
        for _, c in ipairs(list) do
            for _, value in ipairs(axis) do
                local arguments = table.move(c.arguments, 1, #c.arguments, 1, {})
                arguments[#arguments + 1], arguments[#arguments + 2] = "--" .. axis.name, value
                local text, exact = fit(value)
                longer[#longer + 1] = { arguments = arguments, exact = c.exact and exact,
                    name = (c.name == "" and "" or c.name .. ",") .. axis.name .. "=" .. text }
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

-- ---- ranks ----

-- This process's rank and their number, when mpirun or srun started several. In a batch script of Slurm, which is no
-- step of srun's, the variables speak of tasks that do not run this.
local function share_of_rank()
    local batch = os.getenv "SLURM_JOB_ID" and not os.getenv "SLURM_STEP_ID"
    for _, pair in ipairs { { "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE" }, { "PMI_RANK", "PMI_SIZE" },
        not batch and { "SLURM_PROCID", "SLURM_NTASKS" } or nil } do
        local rank, size = os.getenv(pair[1]), os.getenv(pair[2])
        rank, size = math.tointeger(tonumber(rank or "")), math.tointeger(tonumber(size or ""))
        if rank and size and size > 1 and rank >= 0 and rank < size then return rank, size end
    end
    return 0, 1
end

-- ---- what runs leave ----

local function is_done(job)
    local text = bk._text_file.read(job.folder .. "/job.json")
    local ok, before = pcall(internal.from_json, text or "")
    if not ok or type(before) ~= "table" or before.exit ~= 0 or type(before.arguments) ~= "table" then return false end
    if #before.arguments ~= #job.arguments then return false end
    for k, text_k in ipairs(job.arguments) do
        if before.arguments[k] ~= readable(text_k) then return false end
    end
    return true
end

-- True, or false and why it could not be written.
local function write_job(job, exit, signal, seconds)
    local arguments = {}
    for k, text in ipairs(job.arguments) do arguments[k] = readable(text) end
    local text = internal.to_json({ arguments = arguments, exit = exit or 0 / 0, signal = signal or 0 / 0,
        seconds = seconds, started = job.started, ended = stamp() }, 2) -- nan: null
    return pcall(internal.write_file, job.folder .. "/job.json", text .. "\n")
end

-- The last lines of a file, each indented, without what would move a terminal's cursor.
local function tail(path)
    local f <close> = io.open(path, "rb")
    if not f then return "" end
    local size = f:seek "end"
    f:seek("set", math.max(0, size - TAIL_BYTES))
    local lines = {}
    for line in f:read("a"):gmatch "[^\n]+" do
        line = line:gsub("\r+$", ""):gsub("^.*\r", ""):gsub("\t", "    "):gsub("%c", "")
        if line ~= "" then lines[#lines + 1] = "    " .. line:sub(1, LINE_BYTES) .. "\n" end
    end
    return table.concat(lines, "", math.max(1, #lines - TAIL_LINES + 1))
end

-- ---- running ----

local function duration(seconds) return (seconds < 9.95 and "%.1f s" or "%.0f s"):format(seconds) end

local function plural(n, word) return ("%d %s%s"):format(n, word, n == 1 and "" or "s") end

-- This rank's share of the combinations, as jobs { name, folder, arguments (the script and what it gets), done }, and
-- how many combinations there are.
local function jobs_of(o, rank, size)
    local jobs, all = {}, combinations(o.axes)
    for k, c in ipairs(all) do
        if (k - 1) % size == rank then
            local job = { name = c.name, folder = o.out .. "/" .. c.name, arguments = { o.script } }
            table.move(c.arguments, 1, #c.arguments, #job.arguments + 1, job.arguments)
            table.move({ "--out", job.folder }, 1, 2, #job.arguments + 1, job.arguments)
            table.move(o.more, 1, #o.more, #job.arguments + 1, job.arguments)
            job.done = is_done(job)
            jobs[#jobs + 1] = job
        end
    end
    return jobs, #all
end

-- The id, or nil and why there is none.
local function start(o, job)
    local made, why = pcall(internal.make_folder, job.folder)
    if not made then return nil, why end
    os.remove(job.folder .. "/job.json") -- what it says is about to be overwritten
    local argv = { internal.program }
    if o.threads > 1 then table.move({ "--threads", tostring(o.threads) }, 1, 2, 2, argv) end
    argv[#argv + 1] = "--" -- a script may have a command's name
    table.move(job.arguments, 1, #job.arguments, #argv + 1, argv)
    job.started = stamp()
    return internal.jobs.start(argv, job.folder .. "/output.txt")
end

local function sweep(o)
    if not internal.jobs then error("sweep: only the program starts processes", 0) end
    local f, why = io.open(o.script)
    if not f then error(("sweep: the script cannot be read: %s"):format(why), 0) end
    f:close()
    local processes = internal.jobs
    local rank, size = share_of_rank()
    local prefix = size > 1 and ("rank %d "):format(rank) or ""
    local function say(format, ...)
        io.stdout:write(prefix, format:format(...), "\n")
        io.stdout:flush()
    end
    local made, problem = pcall(internal.make_folder, o.out)
    if not made then error("sweep: --out: " .. problem, 0) end
    local jobs, all = jobs_of(o, rank, size)
    local number = { finished = 0, failed = 0, broken = 0, before = 0 }
    for _, job in ipairs(jobs) do number.before = number.before + (job.done and 1 or 0) end
    say("%s%s of %s%s, %d at a time, in %s", size > 1 and ("of %d, takes %d of "):format(size, #jobs) or "",
        plural(all, "run"), o.script, number.before > 0 and (", %d done before"):format(number.before) or "", o.jobs,
        o.out)
    if size > 1 then prefix = ("rank %d: "):format(rank) end

    local ended, running, count_running, following = number.before, {}, 0, 1
    local function report(job, format, ...)
        ended = ended + 1
        say("[%d/%d] %s: " .. format, ended, #jobs, job.name, ...)
    end
    processes.hold()
    local _ <close> = setmetatable({}, { __close = processes.release })
    while true do
        while count_running < o.jobs and following <= #jobs and not processes.interrupted() do
            local job = jobs[following]
            following = following + 1
            if not job.done then
                local id, reason = start(o, job)
                if id then
                    running[id], count_running = job, count_running + 1
                else
                    number.failed = number.failed + 1
                    report(job, "could not be started: %s", reason)
                end
            end
        end
        local id, exit, signal, seconds = processes.wait()
        if not id then break end
        local job = running[id]
        running[id], count_running = nil, count_running - 1
        local written, reason = write_job(job, exit, signal, seconds)
        if not written then
            number.failed = number.failed + 1
            report(job, "ended, but that cannot be written down: %s", reason)
        elseif exit == 0 then
            number.finished = number.finished + 1
            report(job, "finished in %s", duration(seconds))
        elseif processes.interrupted() then
            number.broken = number.broken + 1
            report(job, "interrupted after %s", duration(seconds))
        else
            number.failed = number.failed + 1
            local output = job.folder .. "/output.txt"
            report(job, "%s, see %s", exit and ("failed with exit status %d"):format(exit)
                or ("ended by signal %d"):format(signal), output)
            io.stdout:write(tail(output))
            io.stdout:flush()
        end
    end

    local left = #jobs - number.before - number.finished - number.failed - number.broken
    local parts = { ("%d finished"):format(number.finished), ("%d failed"):format(number.failed) }
    if number.before > 0 then parts[#parts + 1] = ("%d done before"):format(number.before) end
    if number.broken > 0 then parts[#parts + 1] = ("%d interrupted"):format(number.broken) end
    if left > 0 then parts[#parts + 1] = ("%d not started"):format(left) end
    say("%s: %s", plural(#jobs, "run"), table.concat(parts, ", "))
    if processes.interrupted() then error("interrupted", 0) end
    return number.failed > 0 and 1 or 0
end

return bk.command._command_line.command("sweep", USAGE, { grid = { "NAME=VALUE,VALUE,..." },
    seeds = "numbers and ranges as in 1,2,5..8", out = "a folder", jobs = "a number", threads = "a number",
        ["--"] = true }, prepare, sweep)

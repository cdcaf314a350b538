-- sweep.lua - bracket sweep: a script once for every combination of arguments (_sweep_plan.lua), each run a process and
-- a folder of its own. Any number of sweeps of one folder, ranks and array tasks among them, claim the jobs one by one,
-- so that each is run once. What a folder's job.json says decides whether its job is done: a sweep goes on where it
-- ended.
local bk = ...
local internal, plan, claim, run_folder = bk.internal, bk.command._sweep_plan, bk._claim, bk._run_folder
local progress = bk._progress
local readable, stamp, text_in = bk._text_file.readable, bk._text_file.stamp, bk._text_file.read

local NOTES = [[
Runs `bracket script.lua --lr 0.01 --seed 1 --out DIR/lr=0.01,seed=1 arguments` and so on; bk.arguments reads them.
DIR/.../output.txt has what the run printed, job.json how it ended. A run that is done is not run again, unless the
script has changed since; one that failed or was stopped is. Sweeps of one DIR at the same time, by hand, under mpirun
or srun, in a job array: every one takes the next run that is free. Exit status: 0; 1 when a run failed; 2 for usage;
after a signal, which ends the runs after a checkpoint, 75, or 130 for Ctrl-C.]]

local TAIL_LINES, TAIL_BYTES, LINE_BYTES = 5, 65536, 200
local LOOK_AGAIN = 0.5 -- seconds between looks at what others run
local STOPPED = { [75] = true, [130] = true } -- a job's exit statuses after a signal

-- ---- workers ----

-- What the workers of one sweep have in common: what failed in it is not tried again by each of them.
local function session_of(size)
    local id = os.getenv "SLURM_ARRAY_JOB_ID" or os.getenv "SLURM_JOB_ID"
    if not id then
        return ("%s %d"):format(internal.system().host, internal.process(size > 1 and "parent" or nil))
    end
    return ("slurm %s.%s.%s"):format(id, os.getenv "SLURM_STEP_ID" or "", os.getenv "SLURM_RESTART_COUNT" or "")
end

-- ---- what jobs leave ----

-- What job.json says, and its text.
local function record_of(job)
    local text = text_in(job.folder .. "/job.json") or ""
    local record = internal.from_json(text)
    return type(record) == "table" and record or {}, text
end

-- "done"; "edited": done by the script as it was before; "failed": in this sweep, by another worker; or "free".
local function state_of(o, job)
    local record, text = record_of(job)
    if type(record.arguments) ~= "table" or #record.arguments ~= #job.arguments then return "free" end
    for k, argument in ipairs(job.arguments) do
        if record.arguments[k] ~= readable(argument) then return "free" end
    end
    local same = record.script_digest == o.digest
    if record.exit == 0 then return same and "done" or "edited" end
    local now = text ~= job.before or record.session == o.session
    return record.status == "failed" and same and now and "failed" or "free"
end

-- True, or false and why it could not be written.
local function write_job(o, job, entries)
    entries.arguments = {}
    for k, text in ipairs(job.arguments) do entries.arguments[k] = readable(text) end
    entries.script_digest, entries.session, entries.started = o.digest, o.session, job.started
    return pcall(internal.write_file, job.folder .. "/job.json", internal.to_json(entries, 2) .. "\n")
end

-- The lines at the end of a file that say why a job ended: the program's message, then where it came from; the last
-- ones where there is none. Without what would move a terminal's cursor.
local function last_words(path)
    local f <close> = io.open(path, "rb")
    if not f then return {} end
    local size = f:seek "end"
    f:seek("set", math.max(0, size - TAIL_BYTES))
    local lines, first = {}, nil
    for line in f:read("a"):gmatch "[^\n]+" do
        line = line:gsub("\r+$", ""):gsub("^.*\r", ""):gsub("\t", "    "):gsub("%c", "")
        if line ~= "" then lines[#lines + 1] = line:sub(1, LINE_BYTES) end
        if line:find("^bracket: ") and not line:find("^bracket: warning: ") then first = #lines end
        if line == "stack traceback:" and not first then first = math.max(1, #lines - 1) end
    end
    first = first or math.max(1, #lines - TAIL_LINES + 1)
    return table.move(lines, first, math.min(#lines, first + 2 * TAIL_LINES - 1), 1, {})
end

-- ---- running ----

local function duration(seconds) return (seconds < 9.95 and "%.1f s" or "%.0f s"):format(seconds) end

local function plural(n, word) return ("%d %s%s"):format(n, word, n == 1 and "" or "s") end

-- The combinations as jobs { name, folder, arguments (the script and what it gets), before (what job.json said) }.
local function jobs_of(o)
    local jobs = {}
    for k, c in ipairs(plan.combinations(o.axes)) do
        local job = { name = c.name, folder = o.out .. "/" .. c.name, arguments = { o.script }, tries = 0 }
        table.move(c.arguments, 1, #c.arguments, #job.arguments + 1, job.arguments)
        table.move({ "--out", job.folder }, 1, 2, #job.arguments + 1, job.arguments)
        table.move(o.more, 1, #o.more, #job.arguments + 1, job.arguments)
        job.before = select(2, record_of(job))
        jobs[k] = job
    end
    return jobs
end

-- The process's id, or nil and why there is none.
local function start(o, job)
    local argv = { internal.program }
    if o.threads > 1 then table.move({ "--threads", tostring(o.threads) }, 1, 2, 2, argv) end
    argv[#argv + 1] = "--" -- a script may have a command's name
    table.move(job.arguments, 1, #job.arguments, #argv + 1, argv)
    job.started, job.tries = stamp(), job.tries + 1
    local written, why = write_job(o, job, { status = "running" })
    if not written then return nil, why end
    return internal.jobs.start(argv, job.folder .. "/output.txt", job.claim.lock)
end

local worker = {}
worker.__index = worker

function worker:say(format, ...)
    self.clear()
    io.stdout:write(self.prefix, format:format(...), "\n")
    io.stdout:flush()
end

-- The line on a terminal: how many are done, run here, failed, and how long the others will take, as those so far took.
function worker:show_line()
    local number, all = self.number, #self.jobs
    local failed, stopped = number.failed + number.failed_elsewhere, number.stopped
    local text = ("%s%d/%d done, %d running%s%s  %s"):format(self.prefix, self.ended - failed - stopped, all,
        self.n_running, failed > 0 and (", %d failed"):format(failed) or "",
        stopped > 0 and (", %d stopped"):format(stopped) or "",
        progress.left(self.ended - self.before, all - self.before, bk.clock() - self.began))
    self.show(text:sub(1, internal.columns() - 1))
end

-- The job is over for this worker: number[how] counts it.
function worker:settle(job, how, format, ...)
    self.number[how] = self.number[how] + 1
    self.ended = self.ended + 1
    if format then self:say("[%d/%d] %s: " .. format, self.ended, #self.jobs, job.name, ...) end
    if job.claim then job.claim:release() end
    job.claim = nil
end

function worker:launch(job)
    local id, why = start(self.o, job)
    if not id then return self:settle(job, "failed", "could not be started: %s", why) end
    self.running[id], self.n_running = job, self.n_running + 1
end

-- Starts the job if it is free. False where another has it: it is looked at again.
function worker:try(job)
    local state = state_of(self.o, job)
    if state == "free" or state == "edited" then
        local ok, mine = pcall(function()
            internal.make_folder(job.folder)
            return claim.take(run_folder.job_lock_path(job.folder))
        end)
        if ok and not mine then return false end
        if not ok then
            self:settle(job, "failed", "could not be started: %s", mine)
            return true
        end
        job.claim, state = mine, state_of(self.o, job) -- nobody else changes it any more
    end
    if state == "done" then
        self:settle(job, "elsewhere")
    elseif state == "failed" then
        self:settle(job, "failed_elsewhere")
    else
        self:launch(job)
    end
    return true
end

function worker:finish(id, exit, signal, seconds)
    local o, job, interrupted = self.o, self.running[id], internal.jobs.interrupted()
    self.running[id], self.n_running = nil, self.n_running - 1
    local stopped = exit ~= 0 and (interrupted or STOPPED[exit])
    local output = job.folder .. "/output.txt"
    local words = exit ~= 0 and last_words(output) or {}
    local written, why = write_job(o, job, { status = exit == 0 and "finished" or stopped and "stopped" or "failed",
        exit = exit or 0 / 0, signal = signal or 0 / 0, seconds = seconds, ended = stamp(), tries = job.tries,
        message = words[1] and readable((words[1]:gsub("^bracket: ", ""))) }) -- nan: null
    if not written then
        return self:settle(job, "failed", "ended, but that cannot be written down: %s", why)
    elseif exit == 0 then
        return self:settle(job, "finished", "finished in %s", duration(seconds))
    elseif stopped then
        return self:settle(job, "stopped", "stopped after %s", duration(seconds))
    end
    local how = exit and ("failed with exit status %d"):format(exit) or ("ended by signal %d"):format(signal)
    if job.tries <= o.retry then
        self:say("%s: %s, try %d of %d follows", job.name, how, job.tries + 1, o.retry + 1)
        return self:launch(job)
    end
    self:settle(job, "failed", "%s, see %s", how, output)
    self.clear()
    for _, line in ipairs(words) do io.stdout:write("    ", line, "\n") end
    io.stdout:flush()
end

-- Until every job is over, here or with another worker: what one that dies leaves is free again. A job array's task
-- ends when others have all that is left, for it would only hold its place.
function worker:work(queue)
    local interrupted, array = internal.jobs.interrupted, os.getenv "SLURM_ARRAY_TASK_ID"
    local at, held, looked = 1, {}, bk.clock()
    while true do
        while queue[at] and self.n_running < self.o.jobs and not interrupted() do
            if not self:try(queue[at]) then held[#held + 1] = queue[at] end
            at = at + 1
        end
        if self.n_running == 0 and (interrupted() or not queue[at] and (#held == 0 or array)) then break end
        if not queue[at] and bk.clock() - looked > LOOK_AGAIN then
            queue, at, held, looked = held, 1, {}, bk.clock()
        elseif self.n_running > 0 then
            local id, exit, signal, seconds = internal.jobs.wait(LOOK_AGAIN)
            if id then self:finish(id, exit, signal, seconds) end
            for _, job in pairs(self.running) do job.claim:beat() end
        else
            internal.sleep(LOOK_AGAIN)
        end
        self:show_line()
    end
end

-- A word of a command line that the shell reads as it is.
local function word(text)
    return text:find "^[%w_./,:=+@%%-]+$" and text or bk.command._program.quoted(text)
end

-- What would be run, and what is done or runs.
local function show(jobs, queue)
    local waits = {}
    for _, job in ipairs(queue) do waits[job] = true end
    for _, job in ipairs(jobs) do
        local holder = waits[job] and claim.holder(run_folder.job_lock_path(job.folder))
        local words = {}
        for k, argument in ipairs(job.arguments) do words[k] = word(tostring(argument)) end
        print(("%s: bracket %s%s"):format(job.name, table.concat(words, " "),
            not waits[job] and " (done before)" or holder and (" (run by %s)"):format(holder) or ""))
    end
end

local function sweep(o)
    if not internal.jobs then error("sweep: only the program starts processes", 0) end
    local f, why = io.open(o.script)
    if not f then error(("sweep: the script cannot be read: %s"):format(why), 0) end
    o.digest = internal.digest(f:read "a" or "")
    f:close()
    local rank, size = internal.ranks.launched()
    o.session = session_of(size)
    local self = setmetatable({ o = o, jobs = jobs_of(o), running = {}, n_running = 0,
        prefix = size > 1 and ("rank %d of %d: "):format(rank, size) or "",
        number = { finished = 0, failed = 0, stopped = 0, elsewhere = 0, failed_elsewhere = 0 } }, worker)
    local queue, edited, number = {}, 0, self.number
    self.show, self.clear = progress.line(internal.on_terminal)
    for _, job in ipairs(self.jobs) do
        local state = state_of(o, job)
        if state ~= "done" then queue[#queue + 1] = job end
        edited = edited + (state == "edited" and 1 or 0)
    end
    self.ended = #self.jobs - #queue
    local before = self.ended
    self.before, self.began = before, bk.clock()
    if o.dry_run then return show(self.jobs, queue) end
    local made, problem = pcall(internal.make_folder, o.out)
    if not made then error("sweep: --out: " .. problem, 0) end
    self:say("%s of %s%s%s, %d at a time, in %s", plural(#self.jobs, "run"), o.script,
        before > 0 and (", %d done before"):format(before) or "",
        edited > 0 and (", %d done by the script before it was changed"):format(edited) or "", o.jobs, o.out)
    internal.jobs.hold()
    local _ <close> = setmetatable({}, { __close = internal.jobs.release })
    self:work(queue)
    self.clear(true)

    local parts = { ("%d finished"):format(number.finished), ("%d failed"):format(number.failed) }
    local function part(n, format) parts[#parts + 1] = n > 0 and format:format(n) or nil end
    part(before, "%d done before")
    part(number.elsewhere, "%d finished elsewhere")
    part(number.failed_elsewhere, "%d failed elsewhere")
    part(number.stopped, "%d stopped")
    part(#self.jobs - self.ended, internal.jobs.interrupted() and "%d not started" or "%d left to others")
    self:say("%s: %s", plural(#self.jobs, "run"), table.concat(parts, ", "))
    local status = internal.jobs.interrupted()
    if status then internal.message("sweep: stopped by a signal; called again, it goes on") end
    return status or (number.failed + number.failed_elsewhere > 0 and 1) or (number.stopped > 0 and 75) or 0
end

return bk.command._command_line.define{
    name = "sweep", arguments = "script.lua", rest = "arguments",
    doc = "a script once for every combination of arguments, each run a process and a folder of its own",
    options = plan.OPTIONS, prepare = plan.prepare, call = sweep, notes = NOTES,
}

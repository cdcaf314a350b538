-- A claim on a folder: of all processes, on all machines that see it, one at a time writes a run or runs a job. It is a
-- lock on a file there, which ends with its holder however that ends; the file says who holds it. Where a file system
-- has no locks, or has them only within a machine, the process's id tells whether a holder on this machine lives, and a
-- heartbeat, the file's time, whether one on another does.
local bk = ...
local internal = bk.internal
local claim = {}
claim.__index = claim

local HERE = internal.system().host or "this machine"
local BEAT = 10 -- seconds between heartbeats
local WATCH = 2.5 * BEAT -- how long a holder on another machine is watched for one
local STALE = 300 -- after so many seconds without one it is dead

local function holder_in(text)
    local holder = text and internal.from_json(text)
    return type(holder) == "table" and type(holder.host) == "string" and math.type(holder.pid) == "integer" and holder
        or {}
end

local function describe(holder)
    return holder.pid and ("process %d on %s, since %s"):format(holder.pid, holder.host, holder.since)
        or "another process"
end

-- Whether the file's time changes while it is watched.
local function beats(path)
    local age, seconds = internal.file_age(path), 0
    while age and age < STALE and seconds < WATCH do
        internal.sleep(0.5)
        seconds = seconds + 0.5
        local now = internal.file_age(path)
        if not now or now < age then return true end
        age = now
    end
    return false
end

-- Whether the holder named in a file lives, where its lock could be had: locked says whether there are locks.
local function lives(holder, locked, alive_elsewhere)
    if not holder.pid then return false end
    if holder.host ~= HERE then return alive_elsewhere() end
    return not locked and internal.process(holder.pid)
end

-- A claim by that file; nil and who has it. where: what errors begin with.
function claim.take(path, where)
    local lock, locked = internal.lock(path, where)
    for _ = 1, 5 do -- who only looks at one has it for an instant
        if lock then break end
        internal.sleep(0.01)
        lock, locked = internal.lock(path, where)
    end
    if not lock then return nil, describe(holder_in(bk._text_file.read(path))) end
    local holder = holder_in(lock:read())
    if lives(holder, locked, function() return beats(path) end) then
        lock:leave()
        return nil, describe(holder)
    end
    local me = { host = HERE, pid = internal.process(), since = bk._text_file.stamp() }
    local written, why = pcall(lock.write, lock, internal.to_json(me) .. "\n")
    if not written then -- none can see whose it is
        lock:release()
        error(why, 0)
    end
    return setmetatable({ lock = lock, beaten = internal.seconds() }, claim)
end

-- Who holds a claim by that file: nil where nobody does.
function claim.holder(path)
    local text = bk._text_file.read(path)
    local held = internal.lock_held(path)
    local holder = holder_in(text)
    local function fresh() return (internal.file_age(path) or STALE) < STALE end
    if held or text and lives(holder, held ~= nil, fresh) then return describe(holder) end
end

-- To be called often: it shows that the holder lives.
function claim:beat()
    local now = internal.seconds()
    if now - self.beaten < BEAT then return end
    self.beaten = now
    self.lock:touch()
end

function claim:release() self.lock:release() end

return claim

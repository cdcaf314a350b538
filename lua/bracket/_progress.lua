-- The line of a run's or a sweep's progress, on stderr, at most five times a second; without an io library nothing is
-- shown. What C shows of long work (src/app/line.c) is silent meanwhile.
local bk = ...
local progress = {}

local function nothing() end

-- "1:05 left", of work of which so many parts of all were done in so many seconds.
function progress.left(done, all, seconds)
    local left = math.floor((all - done) * seconds / math.max(done, 1e-9))
    if done <= 0 or left > 360000 then return "" end
    if left >= 3600 then return ("%d:%02d:%02d left"):format(left // 3600, left // 60 % 60, left % 60) end
    return ("%d:%02d left"):format(left // 60, left % 60)
end

-- show(text [, the time]), now or not at all; clear(): the line goes, clear(true) for good. Both do nothing without an
-- io library, or where nobody is to see it.
function progress.line(seen)
    local err = type(io) == "table" and io.stderr
    if not err or not seen then return nothing, nothing end
    local line = bk.internal.line or nothing
    local shown, drawn = -math.huge, false
    line(true)
    return function(text, now)
        now = now or bk.clock()
        if now - shown < 0.2 then return end
        shown, drawn = now, true
        err:write("\r", text, "\27[K")
        err:flush()
    end, function(for_good)
        if drawn then err:write("\r\27[K") err:flush() end
        shown, drawn = -math.huge, false
        if for_good then line(false) end
    end
end

-- A function of the run's state and one that clears the line. Reading a clock costs more than a short step does, so the
-- steps between two readings are doubled while they take less than 50 ms, and halved when they take over 200.
function progress.new()
    local show, clear = progress.line(true)
    if show == nothing then return nothing, nothing end
    local clock = bk.clock
    local began = clock()
    local read, first, stride, due = began, nil, 1, 0
    local function update(state)
        if state.step < due then return end
        local now = clock()
        first = first or state.step - 1
        if now - read < 0.05 then
            stride = stride * 2
        elseif now - read > 0.2 then
            stride = math.max(1, stride // 2)
        end
        read, due = now, state.step + stride
        local done, elapsed = state.step - first, math.max(1e-3, now - began)
        show(string.format("step %d/%d  %.0f/s  rate %.3g  loss %.4f  %s", state.step, state.total, done / elapsed,
            state.lr, state.loss or 0 / 0, progress.left(done, state.total - first, elapsed)), now)
    end
    return update, function() clear(true) end
end

-- What long work in Lua says of itself: a function that is called after each of `all` parts, and with true where it
-- ends before the last.
function progress.parts(what, all)
    local done, tell = 0, bk.internal.tell
    return function(ended)
        done = ended and all or done + 1
        tell(what, done, all)
    end
end

return progress

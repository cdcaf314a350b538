-- The line of a run's progress, on stderr, at most five times a second. progress.new() returns a function of
-- the run's state and one that clears the line; without an io library both do nothing.
local bk = ...
local progress = {}

local function nothing() end

function progress.new()
    local err = type(io) == "table" and io.stderr
    if not err then return nothing, nothing end
    local clock = bk.internal.clock
    local began, shown, drawn, first = clock(), 0, false, nil
    local function update(state)
        local now = clock()
        first = first or state.step - 1
        if now - shown < 0.2 then return end
        shown, drawn = now, true
        local done, elapsed = state.step - first, math.max(1e-3, now - began)
        local left = math.floor((state.total - state.step) * elapsed / done)
        err:write(string.format("\rstep %d/%d  %.0f/s  rate %.3g  loss %.4f  %d:%02d left\27[K", state.step, state.total,
            done / elapsed, state.lr, state.loss or 0 / 0, left // 60, left % 60))
        err:flush()
    end
    local function clear()
        if drawn then err:write("\r\27[K") end
    end
    return update, clear
end
return progress

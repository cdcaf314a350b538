-- The line of a run's progress, on stderr, at most five times a second. progress.new() returns a function of
-- the run's state and one that clears the line; without an io library both do nothing. Reading a clock costs more than
-- a short step does, so the steps between two readings are doubled while they take less than 50 ms, and halved when
-- they take over 200.
local bk = ...
local progress = {}

local function nothing() end

function progress.new()
    local err = type(io) == "table" and io.stderr
    if not err then return nothing, nothing end
    local clock = bk.clock
    local began = clock()
    local read, shown, drawn, first, stride, due = began, 0, false, nil, 1, 0
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
        if now - shown < 0.2 then return end
        shown, drawn = now, true
        local done, elapsed = state.step - first, math.max(1e-3, now - began)
        local left = math.floor((state.total - state.step) * elapsed / done)
        err:write(string.format("\rstep %d/%d  %.0f/s  rate %.3g  loss %.4f  %d:%02d left\27[K", state.step,
            state.total,
            done / elapsed, state.lr, state.loss or 0 / 0, left // 60, left % 60))
        err:flush()
    end
    local function clear()
        if drawn then err:write("\r\27[K") end
    end
    return update, clear
end
return progress

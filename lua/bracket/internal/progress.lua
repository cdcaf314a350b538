-- A progress line on a terminal's stderr, at most ten times a second; silent in a pipe. progress.new(total) returns a
-- function of the run's state and one that clears the line.
local progress = {}
local terminal -- whether stderr is one: asked once, and only by a run that lasts

local function is_terminal()
    if terminal == nil then terminal = os.execute("test -t 2") == true end
    return terminal
end

function progress.new(forced)
    local began, shown, drawn, first = os.time(), os.clock(), false, nil
    local function update(state)
        local now = os.clock()
        first = first or state.step - 1
        if now - shown < 0.2 or os.time() - began < 1 then return end
        shown = now
        if not (forced or is_terminal()) then return end
        local done, elapsed = state.step - first, math.max(1, os.time() - began)
        local left = (state.total - state.step) * elapsed / done
        drawn = true
        io.stderr:write(string.format("\rstep %d/%d  %.0f/s  rate %.3g  loss %.4f  %d:%02d left\27[K", state.step,
            state.total,
            done / elapsed, state.lr, state.loss or 0 / 0, left // 60, left % 60))
        io.stderr:flush()
    end
    local function clear()
        if drawn then io.stderr:write("\r\27[K") end
    end
    return update, clear
end
return progress

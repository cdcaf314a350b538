local bk = ...
return bk.record._define(function(state)
    local measure = bk.measure
    local mean = bk.bea.trace{ hvp = function(v) return measure.total_hvp(state, v) end, like = state.theta,
        samples = 10 }
    return { trace = mean }
end, [[
record "trace" -> trace
The trace of the Hessian of the sum of the losses (Hutchinson, 10 probes).]])

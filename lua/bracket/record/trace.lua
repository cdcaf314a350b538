local bk = ...
return bk.doc(function(state)
    bk.record._of_run(state, "bk.record.trace")
    local measure = bk.measure
    local mean = bk.bea.trace{ hvp = function(v) return measure.total_hvp(state, v) end, like = state.theta,
        samples = 10 }
    return { trace = mean }
end, [[
record "trace" -> trace
The trace of the Hessian of the sum of the losses (Hutchinson, 10 probes).]])

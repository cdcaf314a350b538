local bk = ...
return bk.record._define(function(state)
    local measure = bk.measure
    local mean, half = bk.bea.trace{ hvp = function(v) return measure.total_hvp(state, v) end, like = state.theta,
        samples = 10, seed = bk.stream.key(state.seed, 7, state.step) }
    return { trace = mean, trace_half = half }
end, [[
record "trace" -> trace, trace_half
The trace of the Hessian of the sum of the losses (Hutchinson, 10 probes, drawn by the run's seed and the step), and the
half-width of its 95 % interval.]])

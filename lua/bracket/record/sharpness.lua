local bk = ...
return bk.record._define(function(state)
    bk.measure.needs_losses(state, "record \"sharpness\"")
    local measure = bk.measure
    local values = bk.bea.lanczos{ hvp = function(v) return measure.total_hvp(state, v) end, like = state.theta,
        top = 1, steps = 20 }
    return { sharpness = values[1] }
end, [[
record "sharpness" -> sharpness
The largest eigenvalue of the Hessian of the sum of the losses, by 20 Lanczos steps.]])

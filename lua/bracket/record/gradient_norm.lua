local bk = ...
return bk.record._define(function(state)
    return { gradient_norm = bk.measure.total_gradient(state):norm():item() }
end, [[
record "gradient_norm" -> gradient_norm
The norm of the gradient of the sum of the losses.]])

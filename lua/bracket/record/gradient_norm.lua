local bk = ...
return bk.doc(function(state)
    bk.record._of_run(state, "bk.record.gradient_norm")
    return { gradient_norm = bk.measure.total_gradient(state):norm():item() }
end, [[
record "gradient_norm" -> gradient_norm
The norm of the gradient of the sum of the losses.]])

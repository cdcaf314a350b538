local bk = ...
return bk.record._define(function(state)
    bk.measure.needs_losses(state, "record \"flatness\"")
    bk.measure.decay(state, 'record "flatness": the flatness')
    local sum = 0
    for i in ipairs(state.tasks) do
        local g = bk.measure.gradient(state, i)
        sum = sum + g:dot(g):item()
    end
    return { flatness = state.lr / 4 * sum * state.reduction_scale ^ 2 }
end, [[
record "flatness" -> flatness
The implicit flatness term, (h/4) sum_i |g_i|^2, h the rate of the last step; weight decay's own part apart.

Errors: it is of gradient steps: an optimizer other than sgd; bk.bea.optimizer has the flatness of any.]])

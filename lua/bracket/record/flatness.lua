local bk = ...
return bk.record._define(function(state)
    bk.measure.needs_losses(state, "record \"flatness\"")
    bk.measure.decay(state, 'record "flatness": the flatness')
    local rates, mean, sum = bk.measure.rates(state), 0, 0
    for _, h in ipairs(rates) do mean = mean + h / #rates end
    for i, h in ipairs(rates) do
        local g = bk.measure.gradient(state, i)
        if mean > 0 then sum = sum + h / mean * h * g:dot(g):item() end
    end
    return { flatness = sum / 4 * state.reduction_scale ^ 2 }
end, [[
record "flatness" -> flatness
The implicit flatness term, (h/4) sum_i |g_i|^2, weight decay's own part apart; where tasks have rates of their own
sum_i h_i^2 |g_i|^2 / (4 h), h their mean, as bk.bea.continual has it.

Errors: it is of gradient steps: an optimizer other than sgd; bk.bea.optimizer has the flatness of any.]])

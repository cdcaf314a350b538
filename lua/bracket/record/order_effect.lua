local bk = ...
return bk.record._define(function(state)
    bk.measure.needs_losses(state, "record \"order_effect\"")
    local measure = bk.measure
    measure.decay(state, 'record "order_effect": the order effect')
    return { order_effect_predicted = measure.predicted_order_effect(state),
        order_effect_realised = measure.realised_order_effect(state) }
end, [[
record "order_effect" -> order_effect_predicted, order_effect_realised
What one round of this order, against its reverse, does to the sum E of the losses: predicted,
sum_{i<j} W_ij <grad E, [g_i, g_j]> (both halves of the difference), and realised, by running the round and its reverse
from the current point on the diagnostic examples; each task at its rate now.

Errors: it is of gradient steps: an optimizer other than sgd; bk.bea.order_gap has the effect under any.]])

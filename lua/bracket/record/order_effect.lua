local bk = ...
return bk.doc(function(state)
    bk.measure.needs_losses(state, "record \"order_effect\"")
    local measure = bk.measure
    measure.decay(state, 'record "order_effect": the order effect')
    return { order_effect_predicted = measure.predicted_order_effect(state),
        order_effect_realised = measure.realised_order_effect(state) }
end, [[
record "order_effect": what one round of this order, against its reverse, does to the sum E of the losses:
order_effect_predicted = sum_{i<j} W_ij <grad E, [g_i, g_j]> (both halves of the difference), and
order_effect_realised, by running the round and its reverse from the current point on the diagnostic examples.
Of gradient steps: under an optimizer other than sgd it is an error; bk.bea.order_gap has the effect under any.]])

local bk = ...
return bk.record._define(function(state)
    local measure = bk.measure
    measure.decay(state, 'record "conflict": the conflict')
    if state.joint then
        measure.needs_losses(state, "record \"conflict\" of joint steps")
        local G, squares = measure.total_gradient(state), 0
        for i in ipairs(state.tasks) do
            local g = measure.gradient(state, i)
            squares = squares + g:dot(g):item()
        end
        return { conflict = state.lr / 4 * (G:dot(G):item() - squares) * state.reduction_scale ^ 2 }
    end
    return { conflict = measure.conflict_field(state):norm():item() }
end, [[
record "conflict" -> conflict
The conflict term. Joint: (h/2) sum_{i<j} <g_i, g_j>. Else the norm of the conflict field of one round,
1/2 sum_{i<j} W_ij [g_i, g_j] per unit time, each task at its rate now; 1, 2, ..., n at one rate:
|(h/2) sum_{i<j} [g_i, g_j]|.

Errors: it is of gradient steps: an optimizer other than sgd (or one's own that is the same).]])

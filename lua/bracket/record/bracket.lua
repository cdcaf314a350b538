local bk = ...
return bk.record._define(function(state)
    local measure, row, total = bk.measure, {}, 0
    local layers = measure.layers(state.model)
    for i = 1, state.n_tasks do
        for j = i + 1, state.n_tasks do
            local b = measure.bracket(state, i, j)
            local square = b:dot(b):item()
            total = total + square
            local name = ("bracket_%d_%d"):format(i, j)
            row[name] = math.sqrt(square)
            for l, layer in ipairs(layers) do
                row[name .. "_layer_" .. l] = b:narrow(1, layer.first, layer.size):norm():item()
            end
        end
    end
    row.bracket = math.sqrt(total)
    return row
end, [[
record "bracket" -> bracket_i_j, bracket_i_j_layer_l, bracket
The norms of the brackets of every two tasks, |[g_i, g_j]| for i < j, and of their parts in layer l's parameters; and
the root of the sum of squares over the pairs. Two Hessian-vector products a pair.]])

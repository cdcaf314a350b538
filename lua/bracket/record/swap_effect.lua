local bk = ...

-- The root mean square, over the outputs of all tasks, of their derivative along v, times `area`.
local function change(state, v, area)
    local squares, count = 0, 0
    for k = 1, state.n_tasks do
        local z = bk.measure.output_change(state, k, v)
        squares, count = squares + z:dot(z):item(), count + #z:reshape{ -1 }
    end
    return area * math.sqrt(squares / count)
end

-- [g_i + d theta, g_j + d theta], d the optimizer's weight decay.
local function bracket(state, i, j, d)
    local measure = bk.measure
    local b = measure.bracket(state, i, j)
    if d == 0 then return b end
    local theta = state.theta
    return b + (measure.hvp(state, j, theta) - measure.hvp(state, i, theta) + measure.gradient(state, i)
        - measure.gradient(state, j)) * d
end

return bk.record._define(function(state)
    local measure, row, total = bk.measure, {}, 0
    local d = measure.decay(state, "record \"swap_effect\": the swap effect")
    local layers, rates = measure.layers(state.model), measure.rates(state)
    for i = 1, state.n_tasks do
        for j = i + 1, state.n_tasks do
            local b, name = bracket(state, i, j, d), ("swap_effect_%d_%d"):format(i, j)
            local area = rates[i] * rates[j]
            row[name] = change(state, b, area)
            total = total + row[name] ^ 2
            for l, layer in ipairs(layers) do
                row[name .. "_layer_" .. l] = change(state, measure.only(b, layer), area)
            end
        end
    end
    row.swap_effect = math.sqrt(total)
    return row
end, [[
record "swap_effect" -> swap_effect_i_j, swap_effect_i_j_layer_l, swap_effect
What swapping neighbouring steps on tasks i < j at their current rates does to the model's outputs, h_i h_j f' .
[g_i, g_j], as
the root mean square over all tasks' examples and outputs; the same of the bracket's part in layer l's parameters; and
the root of the sum of squares over the pairs. Two Hessian-vector products a pair.

Errors: it is of gradient steps: an optimizer other than sgd.]])

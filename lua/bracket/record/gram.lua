local bk = ...
return bk.record._define(function(state)
    local gram, row = bk.measure.gram(state), {}
    for i = 1, #gram do
        for j = i, #gram do row[("gram_%d_%d"):format(i, j)] = gram[i][j] end
    end
    return row
end, [[
record "gram" -> gram_i_j
The inner products of the tasks' gradients, <g_i, g_j> for i <= j.]])

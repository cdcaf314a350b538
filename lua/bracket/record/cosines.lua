local bk = ...
return bk.record._define(function(state)
    local gram, row = bk.measure.gram(state), {}
    for i = 1, #gram do
        for j = i + 1, #gram do
            row[("cosine_%d_%d"):format(i, j)] = gram[i][j] / math.sqrt(gram[i][i] * gram[j][j])
        end
    end
    return row
end, [[
record "cosines" -> cosine_i_j
The cosine between the gradients of every two tasks i < j.]])

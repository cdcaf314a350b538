local bk = ...
return bk.doc(function(state)
    local gram, row = bk.measure.gram(state), {}
    for i = 1, #gram do
        for j = i + 1, #gram do
            row[("cosine_%d_%d"):format(i, j)] = gram[i][j] / math.sqrt(gram[i][i] * gram[j][j])
        end
    end
    return row
end, [[
record "cosines": columns cosine_i_j, i < j, the cosine between the tasks' gradients.]])

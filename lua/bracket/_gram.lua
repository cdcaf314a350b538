-- The inner products of a list of vectors, a table of rows.
return function(vectors)
    local M = {}
    for i = 1, #vectors do M[i] = {} end
    for i = 1, #vectors do
        for j = i, #vectors do
            M[i][j] = vectors[i]:dot(vectors[j]):item()
            M[j][i] = M[i][j]
        end
    end
    return M
end

-- What the methods share that follow a weighted sum of the tasks' gradients, the weights from their inner products.
local bk = ...
local aggregation = {}

-- sum_i w_i v_i; an entry nil or 0 leaves its vector out, unless all are.
function aggregation.sum(vectors, w)
    local sum
    for i = 1, #vectors do
        if (w[i] or 0) ~= 0 then
            local part = vectors[i] * w[i]
            sum = sum and sum + part or part
        end
    end
    return sum or vectors[1] * 0
end

-- M's eigenvalues and vectors, M symmetric (lists), and which of them are more than rounding: > 0 for its size.
function aggregation.spectrum(M)
    local values, vectors = bk.linalg.eigh(bk.tensor(M))
    return values, vectors, values:gt(math.max(values[#M]:item() * #M * 2 ^ -52, 0))
end

-- The shortest x that minimises |M x - b|, M symmetric and positive semidefinite (lists): M's pseudo-inverse at b.
function aggregation.solve(M, b)
    local values, vectors, kept = aggregation.spectrum(M)
    local inverse = bk.where(kept, 1 / bk.where(kept, values, 1), 0)
    return vectors:matmul(vectors:transpose():matmul(bk.tensor(b)) * inverse):totable()
end

-- The matrix of cosines; a vector that is 0 has the cosine 0 with all.
function aggregation.cosines(M)
    local K, length = {}, {}
    for i = 1, #M do length[i] = math.sqrt(M[i][i]) end
    for i = 1, #M do
        K[i] = {}
        for j = 1, #M do
            local both = length[i] * length[j]
            K[i][j] = both == 0 and 0 or i == j and 1 or M[i][j] / both
        end
    end
    return K, length
end

-- An intervention on joint steps: weigh(M) gives the weights of the sum that replaces the gradient, M the inner
-- products of the tasks' gradients; `times` multiplies it, a function of the state (nil: 1).
function aggregation.intervention(name, doc, weigh, times)
    return {
        name = name,
        doc = doc,
        needs_joint = true, replaces_gradient = true,
        before_step = function(state)
            local gram = bk._gram(state.gradients)
            for i = 1, #gram do
                if gram[i][i] - gram[i][i] ~= 0 then
                    bk._options.refuse("bk.intervention.%s: step %d: the square of task %d's gradient is %s: expected a "
                        .. "finite number", name, state.step, i, bk._options.show(gram[i][i]))
                end
            end
            local w = weigh(gram)
            state.shared[name .. "_weights"] = w
            local sum = aggregation.sum(state.gradients, w)
            state.gradient = times and sum * times(state) or sum
        end,
    }
end

-- As mean gradients are scaled, and as sums of gradients are.
function aggregation.mean(state) return state.n_tasks * state.reduction_scale end
function aggregation.total(state) return state.reduction_scale end

return aggregation

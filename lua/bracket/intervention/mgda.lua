local bk = ...
return bk.doc(function(options)
    bk._options("intervention.mgda", options, {})
    return {
        name = "mgda",
        doc = "minimum-norm point of the gradients' convex hull (Desideri 2012; Sener & Koltun 2018)",
        needs_joint = true,
        before_step = function(state)
            local n, g, M = state.n_tasks, state.gradients, {}
            for i = 1, n do M[i] = {} end
            for i = 1, n do
                for j = i, n do
                    M[i][j] = g[i]:dot(g[j]):item()
                    M[j][i] = M[i][j]
                end
            end
            local w, sum = bk.intervention._simplex.min_norm(M), nil
            for i = 1, n do
                local part = g[i] * w[i]
                sum = sum and sum + part or part
            end
            state.shared.mgda_weights = w
            state.gradient = sum
        end,
    }
end, [[
bk.intervention.mgda{}
Joint steps follow the minimum-norm point of the convex hull of the tasks' gradients, a common descent direction.
Source: Desideri 2012; Sener & Koltun 2018.]])

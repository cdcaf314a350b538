-- Tournament scores at state.theta for a target loss E: u_i = H_i grad E, A_ij = <u_j, g_i> - <u_i, g_j>,
-- score_i = sum_j A_ij = <sum_j u_j, g_i> - <u_i, sum_j g_j>; lowest first is best for E. Target: a task's number or
-- a table { x =, y =, loss = }.
local bk = ...
local refuse = bk._options.refuse
return function(state, target)
    local measure, n = bk.measure, state.n_tasks
    local p
    if type(target) == "table" then
        local f = bk._functions.of(state.model, target, state.problem.outputs)
        local data = state.problem:part("bk.order.tournament: target", target, f.kind, target.shape)
        p = f.grad(state.theta, data.x, data.y)
    elseif target >= 1 and target <= n then
        p = measure.gradient(state, target)
    else
        refuse("bk.order.tournament: target: expected a task 1..%d, got %s", n, bk._options.show(target))
    end
    local u, g, U, G = {}, {}, nil, nil
    for i = 1, n do
        g[i] = measure.gradient(state, i)
        u[i] = measure.hvp(state, i, p)
        U, G = U and U + u[i] or u[i], G and G + g[i] or g[i]
    end
    local scores, order, pairs_ = {}, {}, {}
    for i = 1, n do
        scores[i], order[i], pairs_[i] = U:dot(g[i]):item() - u[i]:dot(G):item(), i, {}
        for j = 1, n do pairs_[i][j] = u[j]:dot(g[i]):item() - u[i]:dot(g[j]):item() end
    end
    table.sort(order, function(a, b)
        if scores[a] ~= scores[b] then return scores[a] < scores[b] end
        return a < b
    end)
    return { order = order, scores = scores, pairs = pairs_ }
end

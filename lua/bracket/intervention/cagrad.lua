local bk = ...
local function gram(list)
    local M = {}
    for i = 1, #list do M[i] = {} end
    for i = 1, #list do
        for j = i, #list do
            M[i][j] = list[i]:dot(list[j]):item()
            M[j][i] = M[i][j]
        end
    end
    return M
end
return bk.doc(function(options)
    options = bk._options("intervention.cagrad", options, { c = "number" })
    local c = options.c or 0.5
    if c < 0 or c >= 1 then error("intervention.cagrad: c: expected 0 <= c < 1, got " .. c, 2) end
    return {
        name = "cagrad",
        doc = "conflict-averse gradient (Liu et al. 2021), c = " .. c,
        needs_joint = true,
        before_step = function(state)
            local n, g = state.n_tasks, state.gradients
            local w = bk.intervention._simplex.cagrad(gram(g), c)
            local mean, gw = state.gradient_sum * (1 / n), nil
            for i = 1, n do
                local part = g[i] * w[i]
                gw = gw and gw + part or part
            end
            local norm = gw:norm():item()
            local d = mean
            if norm > 0 then d = mean + gw * (c * mean:norm():item() / norm) end
            state.shared.cagrad_weights = w
            state.gradient = d * (n * state.reduction_scale)
        end,
    }
end, [[
bk.intervention.cagrad{ c = 0.5 }
Joint steps follow d = g_0 + c |g_0| g_w/|g_w|, g_0 the mean gradient, w minimising <g_w, g_0> + c |g_0| |g_w| over the
simplex: d maximises the worst task's decrease within |d - g_0| <= c |g_0|. Times n for reduction = "sum".
Source: Liu et al. 2021, algorithm 1.]])

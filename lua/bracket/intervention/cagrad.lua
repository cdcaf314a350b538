local bk = ...
return bk.define{
    name = "bk.intervention.cagrad",
    returns = "intervention",
    doc = [[
Joint steps follow d = g_0 + c |g_0| g_w/|g_w|, g_0 the mean gradient, w minimising <g_w, g_0> + c |g_0| |g_w| over the
simplex: d maximises the worst task's decrease within |d - g_0| <= c |g_0|. Times n for reduction = "sum".]],
    source = "Liu et al. 2021, algorithm 1",
    options = {
        { "c", "number", default = 0.5, low = 0, below = 1, doc = "how far from the mean gradient" },
    },
    call = function(options)
        local c = options.c
        return {
            name = "cagrad",
            doc = "conflict-averse gradient (Liu et al. 2021), c = " .. c,
            needs_joint = true, replaces_gradient = true,
            before_step = function(state)
                local n, g = state.n_tasks, state.gradients
                local w = bk.intervention._simplex.cagrad(bk._gram(g), c)
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
    end,
}

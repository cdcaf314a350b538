local bk = ...
return bk.define{
    name = "bk.intervention.flatness",
    returns = "intervention",
    doc = [[
The implicit flatness term at strength f: adds (f-1)(h/2) sum_i H_i g_i to the gradient, the gradient of the explicit
loss (f-1)(h/4) sum_i |g_i|^2. One Hessian-vector product for each task in the step. The term is
that of gradient steps, weight decay's own part apart.]],
    errors = "a protocol whose optimizer is not sgd, or one's own that is the same.",
    options = {
        { "strength", "number", required = true,
            doc = "f: 1 leaves the term, bit for bit; 0 cancels; H/h at rate h gives the term of the rate H" },
    },
    call = function(options)
        local f = options.strength
        if f == 1 then
            return { name = "flatness", doc = "the flatness term at strength 1 (untouched)", strength = 1 }
        end
        return {
            name = "flatness",
            doc = "the implicit flatness term at strength " .. f,
            strength = f,
            needs_gradient_steps = true,
            before_step = function(state)
                local scale, added = (f - 1) * state.lr / 2 * state.reduction_scale ^ 2, nil
                if state.joint then
                    for i, g in ipairs(state.gradients) do
                        local part = state.f[i].hvp(state.theta, g, state.xs[i], state.ys[i])
                        added = added and added + part or part
                    end
                else
                    added = state.f[state.task].hvp(state.theta, state.task_gradient, state.x, state.y)
                end
                state.gradient = state.gradient + added * scale
            end,
        }
    end,
}

local bk = ...
return bk.define{
    name = "bk.intervention.graddrop",
    returns = "intervention",
    doc = [[
Joint steps: where the tasks' gradients differ in sign, one sign is drawn for each parameter, the positive with
probability P, and the entries of the other sign are dropped.]],
    formula = "P = (1 + sum_i g_i/sum_i |g_i|)/2; d = sum_i (leak + (1 - leak) [g_i of the drawn sign]) g_i",
    source = "Chen et al. 2020, Just pick a sign",
    example = [[
> tasks = bk.tasks.regression{n = 2, examples = 20, inputs = 3, seed = 1}
> p = bk.protocol{model = bk.nn.mlp{3, 1}, tasks = tasks, order = "joint", lr = 0.1, steps = 20, batch = "full",
>>     interventions = {bk.intervention.graddrop{}}}
> p:run{}.theta:shape()
{ 4 }]],
    options = {
        { "leak", "number", default = 0, low = 0, high = 1, doc = "how much of what is dropped stays" },
    },
    call = function(options)
        local leak = options.leak
        return {
            name = "graddrop",
            doc = "drops gradients of one sign, drawn by parameter (Chen et al. 2020)",
            needs_joint = true, replaces_gradient = true,
            before_step = function(state)
                local sum, size = 0, 0
                for _, g in ipairs(state.gradients) do sum, size = sum + g, size + g:abs() end
                local draw = bk.uniform(bk.stream.key(state.seed, 3, 5, state.step), sum:shape())
                local positive = (1 + sum / bk.where(size:gt(0), size, 1)) * 0.5 -- P
                local sign = bk.where(draw:lt(positive:to("float64")), 1, -1)
                local total = 0
                for _, g in ipairs(state.gradients) do
                    total = total + bk.where((g:sign() * sign):lt(0), leak * g, g)
                end
                state.gradient = total:to(sum:dtype()) * state.reduction_scale
            end,
        }
    end,
}

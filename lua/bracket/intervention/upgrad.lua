local bk = ...
return bk.define{
    name = "bk.intervention.upgrad",
    returns = "intervention",
    doc = [[
Joint steps: each task's gradient is projected onto the cone of directions that agree with every task's gradient
(no negative inner product with any), and the projections are added: no task's loss rises, to first order.]],
    formula = "d = sum_i argmin_{d'} |d' - g_i|^2 subject to <d', g_j> >= 0 for all j",
    source = "Quinton & Rey 2024, Jacobian descent for multi-objective optimization",
    example = [[
> tasks = bk.tasks.regression{n = 2, examples = 20, inputs = 3, seed = 1}
> p = bk.protocol{model = bk.nn.mlp{3, 1}, tasks = tasks, order = "joint", lr = 0.1, steps = 20, batch = "full",
>>     interventions = {bk.intervention.upgrad{}}}
> p:run{}.theta:shape()
{ 4 }]],
    options = {},
    call = function()
        local aggregation = bk.intervention._aggregation
        local function weigh(M) -- the projection of g_i is sum_j v_j g_j, v minimising v' M v over v >= e_i
            local w = {}
            for j = 1, #M do w[j] = 1 end
            for i = 1, #M do
                for j, s in ipairs(bk.intervention._cone.nonnegative(M, M[i])) do w[j] = w[j] + s end
            end
            return w
        end
        return aggregation.intervention("upgrad",
            "projects gradients onto the cone of common descent (Quinton & Rey 2024)", weigh, aggregation.total)
    end,
}

local bk = ...
return bk.define{
    name = "bk.intervention.imtl_g",
    returns = "intervention",
    doc = [[
Joint steps follow the weighted mean of the tasks' gradients, the weights with sum 1, whose projections onto all of them
are equally long: impartial multitask learning, its gradient balance. Weights may be negative. Times n for
reduction = "sum".]],
    formula = "d = sum_i a_i g_i, sum a = 1, <d, g_i>/|g_i| the same for all i",
    source = "Liu et al. 2021, Towards impartial multi-task learning",
    example = [[
> tasks = bk.tasks.regression{n = 2, examples = 20, inputs = 3, seed = 1}
> p = bk.protocol{model = bk.nn.mlp{3, 1}, tasks = tasks, order = "joint", lr = 0.1, steps = 20, batch = "full",
>>     interventions = {bk.intervention.imtl_g{}}}
> p:run{}.theta:shape()
{ 4 }]],
    options = {},
    call = function()
        local aggregation = bk.intervention._aggregation
        local function weigh(M)
            local _, length = aggregation.cosines(M)
            local w, sum = aggregation.solve(M, length), 0
            for i = 1, #w do sum = sum + w[i] end
            for i = 1, #w do w[i] = math.abs(sum) < 1e-12 and 0 or w[i] / sum end -- no such mean exists
            return w
        end
        return aggregation.intervention("imtl_g", "equal projections onto all gradients (Liu et al. 2021)", weigh,
            aggregation.mean)
    end,
}

local bk = ...
return bk.define{
    name = "bk.intervention.conflict_free",
    returns = "intervention",
    doc = [[
ConFIG. Joint steps follow the direction that has the same cosine with every task's gradient, as long as the sum of
their projections onto it.]],
    formula = "u = U^+ 1 / |U^+ 1|, the rows of U being g_i/|g_i|; d = (sum_i <g_i, u>) u",
    source = "Liu, Chu & Thuerey 2024, ConFIG: towards conflict-free training",
    example = [[
> tasks = bk.tasks.regression{n = 2, examples = 20, inputs = 3, seed = 1}
> p = bk.protocol{model = bk.nn.mlp{3, 1}, tasks = tasks, order = "joint", lr = 0.1, steps = 20, batch = "full",
>>     interventions = {bk.intervention.conflict_free{}}}
> p:run{}.theta:shape()
{ 4 }]],
    options = {},
    call = function()
        local aggregation = bk.intervention._aggregation
        local function weigh(M)
            local K, length = aggregation.cosines(M)
            local ones, n = {}, #M
            for i = 1, n do ones[i] = length[i] > 0 and 1 or 0 end
            local c = aggregation.solve(K, ones) -- U^+ 1 = sum_i c_i g_i/|g_i|
            local square, projected = 0, 0
            for i = 1, n do
                local cosine = 0 -- with every other's direction
                for j = 1, n do cosine = cosine + K[i][j] * c[j] end
                square = square + c[i] * cosine
                projected = projected + length[i] * cosine
            end
            for i = 1, n do c[i] = square > 0 and length[i] > 0 and c[i] / length[i] * projected / square or 0 end
            return c
        end
        return aggregation.intervention("conflict_free", "equal cosines with all gradients (Liu et al. 2024)", weigh,
            aggregation.total)
    end,
}

local bk = ...
return bk.define{
    name = "bk.intervention.aligned_mtl",
    returns = "intervention",
    doc = [[
Joint steps: the matrix of the tasks' gradients is replaced by the nearest one with orthogonal rows, all singular values
its smallest, and the mean of the rows is followed. Times n for reduction = "sum".]],
    formula = "d = sum_i a_i g_i, a = sqrt(l_R) V L^(-1/2) V^T 1/n, G G^T = V L V^T of rank R",
    source = "Senushkin et al. 2023, Independent component alignment for multi-task learning",
    example = [[
> tasks = bk.tasks.regression{n = 2, examples = 20, inputs = 3, seed = 1}
> p = bk.protocol{model = bk.nn.mlp{3, 1}, tasks = tasks, order = "joint", lr = 0.1, steps = 20, batch = "full",
>>     interventions = {bk.intervention.aligned_mtl{}}}
> p:run{}.theta:shape()
{ 4 }]],
    options = {},
    call = function()
        local aggregation = bk.intervention._aggregation
        local function weigh(M)
            local values, vectors, kept = aggregation.spectrum(M)
            local safe = bk.where(kept, values, 1)
            local smallest = bk.where(kept, values, math.huge):min():item()
            if smallest == math.huge then return {} end -- every gradient is 0
            local mean = bk.full({ #M }, 1 / #M)
            local along = vectors:transpose():matmul(mean) * bk.where(kept, (smallest / safe):sqrt(), 0)
            return vectors:matmul(along):totable()
        end
        return aggregation.intervention("aligned_mtl",
            "the gradients' principal components made equal (Senushkin et al. 2023)", weigh, aggregation.mean)
    end,
}

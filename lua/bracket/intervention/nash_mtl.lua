local bk = ...
return bk.define{
    name = "bk.intervention.nash_mtl",
    returns = "intervention",
    doc = [[
Joint steps follow the Nash bargaining solution between the tasks. It does not depend on the scale of any task's loss,
and its length is the square root of the number of tasks, whatever the reduction: the rate alone says how far a step
goes. Tasks whose gradient is 0 take no part. Where no direction improves all others (a convex combination of their
gradients is 0) the step is 0.]],
    formula = "d = sum_i a_i g_i, a > 0 with (G G^T a)_i = 1/a_i",
    source = "Navon et al. 2022, Multi-task learning as a bargaining game",
    example = [[
> tasks = bk.tasks.regression{n = 2, examples = 20, inputs = 3, seed = 1}
> p = bk.protocol{model = bk.nn.mlp{3, 1}, tasks = tasks, order = "joint", lr = 0.1, steps = 20, batch = "full",
>>     interventions = {bk.intervention.nash_mtl{}}}
> p:run{}.theta:shape()
{ 4 }]],
    options = {},
    call = function()
        local aggregation = bk.intervention._aggregation
        -- b > 0 with K b = 1/b, the minimum of b' K b/2 - sum log b, by damped Newton steps (Nesterov & Nemirovskii
        -- 1994: it is self-concordant); nil where there is none.
        local function bargain(K)
            local n, b = #K, {}
            for i = 1, n do b[i] = 1 end
            for _ = 1, 200 do
                local H, r, largest = {}, {}, 0
                for i = 1, n do
                    local v = 0
                    H[i] = {}
                    for j = 1, n do
                        v = v + K[i][j] * b[j]
                        H[i][j] = K[i][j]
                    end
                    H[i][i] = H[i][i] + 1 / (b[i] * b[i])
                    r[i] = 1 / b[i] - v
                    largest = math.max(largest, b[i])
                end
                if largest > 1e7 then return nil end
                local step, decrement = bk.linalg.solve(bk.tensor(H), bk.tensor(r)):totable(), 0
                for i = 1, n do decrement = decrement + step[i] * r[i] end
                decrement = math.sqrt(math.max(decrement, 0))
                local t = decrement > 0.25 and 1 / (1 + decrement) or 1
                for i = 1, n do b[i] = b[i] + t * step[i] end
                if decrement < 1e-13 then break end
            end
            return b
        end
        local function weigh(M)
            local K, length = aggregation.cosines(M)
            local some, part, w = {}, {}, {}
            for i = 1, #M do
                w[i] = 0
                if length[i] > 0 then some[#some + 1] = i end
            end
            for k, i in ipairs(some) do
                part[k] = {}
                for l, j in ipairs(some) do part[k][l] = K[i][j] end
            end
            for k, b in ipairs(#some > 0 and bargain(part) or {}) do w[some[k]] = b / length[some[k]] end
            return w
        end
        return aggregation.intervention("nash_mtl", "the Nash bargaining solution (Navon et al. 2022)", weigh)
    end,
}

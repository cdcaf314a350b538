local bk = ...
local stream = bk.stream
return bk.define{
    name = "bk.intervention.ewc",
    returns = "intervention",
    doc = [[
At a task's end: the diagonal Fisher information F_i, the mean of squared gradients of single examples' log-likelihood
(at their labels), and theta_i. In later tasks adds w sum_i F_i (theta - theta_i), the gradient of
(w/2) sum_i F_i (theta - theta_i)^2. ]],
    source = "Kirkpatrick et al. 2017; the ways to compute F: van de Ven 2025",
    options = {
        { "weight", "number", required = true, doc = "w" },
        { "samples", "count", default = 200, doc = "examples, drawn, that the Fisher information is the mean over; "
            .. "empirical and exact: all, once, where there are no more" },
        { "fisher", { "empirical", "sampled", "exact", "batched" }, default = "empirical",
            doc = "labels: the examples' own, drawn by the model, all of them; or squared gradients of batches" },
    },
    call = function(options)
        local weight, samples, way = options.weight, options.samples, options.fisher
        return {
            name = "ewc",
            doc = "elastic weight consolidation (Kirkpatrick et al. 2017), weight " .. weight .. ", " .. way .. " Fisher",
            weight = weight,
            needs_blocks = true,
            begin_run = function(state, memory)
                bk.measure.needs_losses(state, "bk.intervention.ewc")
                memory.draw = { key = stream.key(state.seed, 3, 2), counter = 0 }
                memory.fisher, memory.anchor = nil, nil -- sum_i F_i and sum_i F_i theta_i
            end,
            before_step = function(state, memory)
                if memory.fisher then
                    state.gradient = state.gradient + (memory.fisher * state.theta - memory.anchor) * weight
                end
            end,
            end_task = function(state, memory)
                local fisher = bk.intervention._fisher("bk.intervention.ewc", state, memory.draw, samples, way)
                local anchored = fisher * state.theta
                memory.fisher = memory.fisher and memory.fisher + fisher or fisher
                memory.anchor = memory.anchor and memory.anchor + anchored or anchored
            end,
        }
    end,
}

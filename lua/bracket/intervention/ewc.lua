local bk = ...
local stream = bk.stream
return bk.define{
    name = "bk.intervention.ewc",
    returns = "intervention",
    doc = [[
At a task's end: the diagonal Fisher information F_i, the mean of squared gradients of single examples' log-likelihood
(at their labels), and theta_i. In later tasks adds w sum_i F_i (theta - theta_i), the gradient of
(w/2) sum_i F_i (theta - theta_i)^2. ]],
    source = "Kirkpatrick et al. 2017",
    options = {
        { "weight", "number", required = true, doc = "w" },
        { "samples", "count", default = 200, doc = "examples that the Fisher information is the mean over" },
    },
    call = function(options)
        local weight, samples = options.weight, options.samples
        return {
            name = "ewc",
            doc = "elastic weight consolidation (Kirkpatrick et al. 2017), weight " .. weight,
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
                local t = state.problem.tasks[state.task]
                local fisher
                for _ = 1, samples do
                    local k = stream.below(memory.draw, t.train.n) + 1
                    local g = t.f.grad(state.theta, t.train.x:narrow(1, k, 1), t.train.y:narrow(1, k, 1))
                    fisher = fisher and fisher + g * g or g * g
                end
                fisher = fisher * (1 / samples)
                local anchored = fisher * state.theta
                memory.fisher = memory.fisher and memory.fisher + fisher or fisher
                memory.anchor = memory.anchor and memory.anchor + anchored or anchored
            end,
        }
    end,
}

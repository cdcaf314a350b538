local bk = ...
local stream = bk.internal.stream
return bk.doc(function(options)
    options = bk.internal.options("intervention.replay", options, { memory = "count!", batch = "count",
        weight = "number" })
    local capacity, weight = options.memory, options.weight or 1
    return {
        name = "replay",
        doc = "experience replay from a reservoir of " .. capacity .. " examples",
        needs_one_task = true,
        begin_run = function(state, memory)
            memory.reservoir = bk.internal.episodes.new(capacity, stream.key(state.seed, 3, 3))
        end,
        before_step = function(state, memory)
            local size = options.batch or state.problem.tasks[state.task].size
            local task = state.task
            local g = bk.internal.episodes.gradient(memory.reservoir, state, size, function(i) return i ~= task end)
            if g then state.gradient = (state.gradient + g * weight) * (1 / (1 + weight)) end
        end,
        after_step = function(state, memory) bk.internal.episodes.add(memory.reservoir, state) end,
    }
end, [[
bk.intervention.replay{ memory = m, batch = b, weight = 1 }
Experience replay: a reservoir of m examples of the stream; each step averages its gradient with that of a batch (of
the same size, or b) drawn from the other tasks' examples in it, the latter weighted. One task a step.
Source: Chaudhry et al. 2019 (experience replay with reservoir sampling).]])

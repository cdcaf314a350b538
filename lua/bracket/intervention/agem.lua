local bk = ...
local stream = bk.internal.stream
return bk.doc(function(options)
    options = bk.internal.options("intervention.agem", options, { memory = "count!", batch = "count" })
    local capacity = options.memory
    return {
        name = "agem",
        doc = "averaged gradient episodic memory (Chaudhry et al. 2018), " .. capacity .. " examples",
        needs_one_task = true,
        begin_run = function(state, memory)
            memory.reservoir = bk.internal.episodes.new(capacity, stream.key(state.seed, 3, 4))
        end,
        before_step = function(state, memory)
            local size = options.batch or state.problem.tasks[state.task].size
            local task = state.task
            local ref = bk.internal.episodes.gradient(memory.reservoir, state, size, function(i) return i ~= task end)
            state.reference_gradient = ref
            if not ref then return end
            local inner = state.gradient:dot(ref):item()
            if inner < 0 then
                local square = ref:dot(ref):item()
                state.gradient = state.gradient - ref * (inner / square)
            end
        end,
        after_step = function(state, memory) bk.internal.episodes.add(memory.reservoir, state) end,
    }
end, [[
bk.intervention.agem{ memory = m, batch = b }
Averaged GEM: when the gradient g and the gradient r of a batch (of the step's size, or b) from an episodic memory of m
examples of the other tasks disagree (<g, r> < 0), g becomes g - r <g, r>/<r, r>. One task a step.
Source: Chaudhry et al. 2018.]])

local bk = ...
return bk.define{
    name = "bk.order.blocks",
    returns = "order",
    doc = [[
size steps of task 1, size of task 2, ..., of task n, and again. W_ij = (size h)^2 over a round, i < j.]],
    options = {
        { "size", "count", required = true, doc = "steps on one task before the next" },
    },
    call = function(options)
        local size = options.size
        return bk.order._object.new{
            name = "blocks",
            blocks = true, rounds = true,
            setup = function(state)
                local n, steps = state.n_tasks, state.steps
                for i = 1, not steps and state.spec.epochs and n or 0 do steps = (steps or 0) + state.steps_of(i) end
                return steps or n * size, function(step)
                    local k = (step - 1) // size
                    return k % n + 1, k + 1
                end
            end,
            window = function(state) return state.n_tasks * size end,
        }
    end,
}

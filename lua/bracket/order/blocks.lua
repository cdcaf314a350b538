local bk = ...
return bk.doc(function(options)
    options = bk._options("order.blocks", options, { size = "count!" })
    local size = options.size
    return bk.order._object.new{
        name = "blocks",
        blocks = true,
        setup = function(state)
            local n = state.n_tasks
            return state.steps or n * size, function(step)
                local k = (step - 1) // size
                return k % n + 1, k + 1
            end
        end,
        window = function(state) return state.n_tasks * size end,
    }
end, [[
bk.order.blocks{ size = k }
k steps of task 1, k of task 2, ..., k of task n, and again. W_ij = (k h)^2 over a round, i < j.]])

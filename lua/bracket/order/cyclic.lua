local bk = ...
return bk.define{
    name = "bk.order.cyclic",
    returns = "order",
    doc = "Steps 1, 2, ..., n, 1, 2, ..., n and so on. Order matrix of a round: W_ij = h^2 for i < j.",
    options = {},
    call = function()
        return bk.order._object.new{
            name = "cyclic",
            setup = function(state)
                local n = state.n_tasks
                return state.steps or n, function(step) return (step - 1) % n + 1 end
            end,
            window = function(state) return state.n_tasks end,
        }
    end,
}

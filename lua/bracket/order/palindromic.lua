local bk = ...
return bk.define{
    name = "bk.order.palindromic",
    returns = "order",
    doc = [[
Steps 1, ..., n, n, ..., 1 and so on: W = 0 over every round, so no conflict at second order (Strang splitting).]],
    options = {},
    call = function()
        return bk.order._object.new{
            name = "palindromic",
            setup = function(state)
                local n = state.n_tasks
                return state.steps or 2 * n, function(step)
                    local k = (step - 1) % (2 * n) + 1
                    return k <= n and k or 2 * n + 1 - k
                end
            end,
            window = function(state) return 2 * state.n_tasks end,
        }
    end,
}

local bk = ...
return bk.define{
    name = "bk.order.random",
    returns = "order",
    doc = [[
Every task once a round, in an order drawn anew for each round: E[W] = 0, its variance is not.]],
    options = {},
    call = function()
        local stream = bk.stream
        return bk.order._object.new{
            name = "random",
            setup = function(state)
                local n, round, word = state.n_tasks, -1, nil
                return state.steps or n, function(step)
                    local r = (step - 1) // n
                    if r ~= round then
                        round, word = r, stream.permutation(stream.new(stream.key(state.seed, 2, r)), n)
                    end
                    return word[(step - 1) % n + 1]
                end
            end,
            window = function(state) return state.n_tasks end,
        }
    end,
}

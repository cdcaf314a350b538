local bk = ...
return bk.doc(function(options)
    options = bk._options("order.tournament", options, { target = "integer|table", worst = "boolean" })
    local sequential = bk.order.sequential
    return bk.order._object.new{
        name = "tournament",
        blocks = true,
        setup = function(state, memory)
            if not memory.order then
                if not state.theta then error("order.tournament: the order is known once a run has started", 0) end
                local result = bk.order._scores(state, options.target)
                memory.order, memory.scores = result.order, result.scores
                if options.worst then
                    local reversed = {}
                    for k = #result.order, 1, -1 do reversed[#reversed + 1] = result.order[k] end
                    memory.order = reversed
                end
            end
            return sequential{ order = memory.order }.setup(state)
        end,
        window = function(state) return state.total end,
    }
end, [[
bk.order.tournament{ target = i, worst = false }
Sequential, in the order of the bracket scores at the starting point: n gradients and n Hessian-vector products
(theory: A_ij = <grad E, [g_i, g_j]>, score_i = sum_j A_ij, lowest first). target: the task whose loss E is to be
low in the end, or an own { x =, y = } (default: the sum of all tasks). worst = true: the reverse.]])

local bk = ...
return bk.define{
    name = "bk.order.tournament",
    returns = "order",
    doc = [[
Sequential, in the order of the bracket scores at the starting point, lowest first: n gradients and n Hessian-vector
products.]],
    formula = "A_ij = <grad E, [g_i, g_j]>, score_i = sum_j A_ij",
    source = "Rukhovich et al. 2025; Sweeney 2026",
    options = {
        { "target", "integer|table", says = "the sum of all tasks",
            doc = "whose loss E is to be low in the end: a task, or { x =, y = } of one's own" },
        { "worst", "boolean", default = false, doc = "the reverse of what is proposed" },
    },
    call = function(options)
        local sequential = bk.order.sequential
        return bk.order._object.new{
            name = "tournament",
            blocks = true,
            setup = function(state, memory)
                if not memory.order then
                    if not state.theta then error("bk.order.tournament: the order is known once a run has started", 0) end
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
    end,
}

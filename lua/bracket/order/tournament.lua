local bk = ...
local refuse = bk._options.refuse

local function reversed(list)
    local result = {}
    for k = #list, 1, -1 do result[#result + 1] = list[k] end
    return result
end

-- What an order that is asked for by this name is told to lack.
local function check(state, memory)
    if memory.order then return end
    if not state.theta then refuse("bk.order.tournament: the order is known once a run has started") end
    bk.measure.needs_losses(state, "order \"tournament\"")
end

local function planned(options)
    local order = bk.order.planned{ worst = options.worst }
    local setup = order.setup
    function order.setup(state, memory)
        check(state, memory)
        return setup(state, memory)
    end
    return order
end

return bk.define{
    name = "bk.order.tournament",
    returns = "order",
    doc = [[
With a target: sequential, in the order of the bracket scores at the starting point, lowest first: n gradients and n
Hessian-vector products. Without one it is bk.order.planned{}, which trains to compare orders: for the average of all
tasks the scores are no better than chance (experiments/planner).]],
    formula = "A_ij = <grad E, [g_i, g_j]>, score_i = sum_j A_ij",
    source = "Rukhovich et al. 2025; Sweeney 2026",
    options = {
        { "target", "integer|table", says = "the average of all tasks, by bk.order.planned",
            doc = "whose loss E is to be low in the end: a task, or { x =, y = } of one's own" },
        { "worst", "boolean", default = false,
            doc = "the reverse of what is proposed; without a target, the worst found" },
    },
    call = function(options)
        if not options.target then return planned(options) end
        local sequential = bk.order.sequential
        return bk.order._object.new{
            name = "tournament",
            blocks = true,
            setup = function(state, memory)
                check(state, memory)
                if not memory.order then
                    local result = bk.order._scores(state, options.target)
                    memory.order, memory.scores = result.order, result.scores
                    if options.worst then memory.order = reversed(result.order) end
                end
                return sequential{ order = memory.order }.setup(state)
            end,
            window = function(state) return state.total end,
        }
    end,
}

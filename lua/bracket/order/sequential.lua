local bk = ...
local refuse = bk._options.refuse
return bk.define{
    name = "bk.order.sequential",
    returns = "order",
    doc = [[
One task after the other, `steps` steps each. Order matrix W_ij = (steps h)^2 for i before j.]],
    options = {
        { "order", "list", says = "1..n", doc = "the sequence of tasks" },
    },
    call = function(options)
        if options.order and #options.order == 0 then
            refuse("bk.order.sequential: order: expected a list of tasks, got an empty one")
        end
        return bk.order._object.new{
            name = "sequential",
            blocks = true,
            setup = function(state)
                local word, ends, total = options.order, {}, 0
                if not word then
                    word = {}
                    for i = 1, state.n_tasks do word[i] = i end
                end
                for k, task in ipairs(word) do
                    if math.type(task) ~= "integer" or task < 1 or task > state.n_tasks then
                        refuse("bk.order.sequential: order[%d]: expected a task 1..%d, got %s", k, state.n_tasks,
                            bk._options.show(task))
                    end
                    total = total + state.steps_of(task)
                    ends[k] = total
                end
                local k = 1
                return total, function(step)
                    while step > ends[k] do k = k + 1 end
                    while k > 1 and step <= ends[k - 1] do k = k - 1 end
                    return word[k], k
                end
            end,
            window = function(state) return state.total end,
        }
    end,
}

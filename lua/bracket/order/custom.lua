local bk = ...
local refuse = bk._options.refuse
return bk.define{
    name = "bk.order.custom",
    returns = "order",
    doc = [[
The task of each step from a function. As an option of a protocol: order = function(step, state) ... end. It is asked
more than once for a step, for the first one before the run begins (state.recorded is {} then): let it depend on step
and state alone.]],
    errors = "a task outside 1..n; in a run, without steps.",
    options = {
        { "task", "callable", required = true, doc = "function (step, state) -> the step's task" },
        { "window", "count", says = "the number of tasks", doc = "steps of one round, for the conflict" },
        { "name", "string", default = "custom", doc = "what records call it" },
    },
    call = function(options)
        return bk.order._object.new{
            name = options.name,
            asks = true,
            setup = function(state)
                if not state.steps then refuse("bk.order.custom: a function needs steps, the number of steps in all") end
                local seen = state.view or state -- of a run all of it, to read
                return state.steps, function(step)
                    local task = options.task(step, seen)
                    if math.type(task) ~= "integer" or task < 1 or task > state.n_tasks then
                        refuse("bk.order.custom: step %d: expected a task 1..%d, got %s", step, state.n_tasks,
                            bk._options.show(task))
                    end
                    return task
                end
            end,
            window = function(state) return options.window or state.n_tasks end,
        }
    end,
}

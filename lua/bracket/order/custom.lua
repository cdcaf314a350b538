local bk = ...
return bk.doc(function(options)
    options = bk._options("order.custom", options, { task = "callable!", window = "count", name = "string" })
    return bk.order._object.new{
        name = options.name or "custom",
        setup = function(state)
            if not state.steps then error("order.custom: a function needs steps, the number of steps in all", 0) end
            return state.steps, function(step)
                local task = options.task(step, state)
                if math.type(task) ~= "integer" or task < 1 or task > state.n_tasks then
                    error(string.format("order.custom: step %d: expected a task 1..%d, got %s", step, state.n_tasks,
                        tostring(task)), 0)
                end
                return task
            end
        end,
        window = function(state) return options.window or state.n_tasks end,
    }
end, [[
bk.order.custom{ task = function(step, state) return i end, window = n }
The task of each step from a function; window: steps of one round, for the conflict (default: the number of tasks).
As an option: order = function(step, state) ... end.]])

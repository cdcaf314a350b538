local bk = ...
local refuse = bk._options.refuse
return bk.internal.public(function(word)
    bk._options.list("bk.order.word", "tasks", word, "a list of tasks")
    if #word == 0 then refuse("bk.order.word: tasks: expected a list of tasks, got an empty one") end
    return bk.order._object.new{
        name = "word",
        setup = function(state)
            for k, task in ipairs(word) do
                if math.type(task) ~= "integer" or task < 1 or task > state.n_tasks then
                    refuse("bk.order.word: entry %d: expected a task 1..%d, got %s", k, state.n_tasks,
                        bk._options.show(task))
                end
            end
            return state.steps or #word, function(step) return word[(step - 1) % #word + 1] end
        end,
        window = function() return #word end,
    }
end, [[
bk.order.word{1, 2, 2, 1} -> order
An explicit sequence of steps, first first; repeated when `steps` asks for more. As an option: order = {1, 2, 2, 1}.]])

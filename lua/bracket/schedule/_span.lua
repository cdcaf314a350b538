local bk = ...
local refuse = bk._options.refuse

-- The steps a schedule spans: its own option, else the run's, or its task's in it; an error where there is neither.
return function(where, options, state)
    local steps = options.steps or type(state) == "table" and state.total
    if not steps and type(state) == "table" and state.of_task then
        refuse("%s: steps: missing; an order that is a function does not tell how many steps task %d will have", where,
            state.of_task)
    end
    if not steps then refuse("%s: steps: missing; only inside a run is there a default", where) end
    return steps
end

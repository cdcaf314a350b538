local bk = ...
local refuse = bk._options.refuse

-- The steps a schedule spans: its own option, else the run's; an error where there is neither.
return function(where, options, state)
    local steps = options.steps or type(state) == "table" and state.total
    if not steps then refuse("%s: steps: missing; only inside a run is there a default", where) end
    return steps
end

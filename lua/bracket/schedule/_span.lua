-- The steps a schedule spans: its own option, else the run's; an error where there is neither.
return function(where, options, state)
    local steps = options.steps or type(state) == "table" and state.total
    if not steps then error(where .. ": steps: missing; only inside a run is there a default", 3) end
    return steps
end

-- An error in the name of what is asked of a run's state and was given something else.
local bk = ...
return function(state, where)
    if type(state) ~= "table" or type(state.n_tasks) ~= "number" or type(state.problem) ~= "table"
        or type(state.cache) ~= "table" then
        error(("%s: state: expected the state that records and hooks get, got %s"):format(where,
            bk._options.show(state)), 3)
    end
end

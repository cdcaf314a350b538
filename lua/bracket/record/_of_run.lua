-- An error in the name of what is asked of a run's state and was given something else.
local bk = ...
local refuse = bk._options.refuse
return function(state, where)
    if type(state) ~= "table" or type(state.n_tasks) ~= "number" or type(state.problem) ~= "table"
        or type(state.cache) ~= "table" then
        refuse("%s: state: expected the state that records and hooks get, got %s", where, bk._options.show(state))
    end
end

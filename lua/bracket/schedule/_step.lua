-- An error in the name of a schedule whose function was called with something else than the number of a step.
local bk = ...
local refuse = bk._options.refuse
return function(where, step)
    if type(step) ~= "number" then
        refuse("%s: step: expected the number of a step, got %s", where, bk._options.show(step))
    end
end

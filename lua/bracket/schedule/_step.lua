-- An error in the name of a schedule whose function was called with something else than the number of a step.
local bk = ...
return function(where, step)
    if type(step) ~= "number" then
        error(("%s: step: expected the number of a step, got %s"):format(where, bk._options.show(step)), 3)
    end
end

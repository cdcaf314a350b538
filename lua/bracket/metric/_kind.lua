-- Which metrics a run reports: kind[f] = "always", or "once" for those that need every task learned once. f(accuracy,
-- learned) is a number; accuracy[k][i] is on task i after the k-th block, row 0 before training, learned[k] its task.
local bk = ...
return setmetatable({}, { __mode = "k", __newindex = function(kinds, metric, kind)
    if kind ~= "always" and kind ~= "once" then
        bk._options.refuse("bk.metric._kind: expected \"always\" or \"once\", got %s", bk._options.show(kind))
    end
    rawset(kinds, metric, kind)
end })

local bk = ...
local refuse = bk._options.refuse
return bk.record._define(function(state)
    local row, sum, n = {}, 0, 0
    for i in ipairs(state.tasks) do
        local _, accuracy = state.problem:evaluate(i, state.theta, "test")
        if accuracy then
            row["accuracy_" .. i] = accuracy
            sum, n = sum + accuracy, n + 1
        end
    end
    if n == 0 then refuse("record \"accuracy\": no task has one; record \"loss\"") end
    row.accuracy = sum / n
    return row
end, [[
record "accuracy" -> accuracy_1 .. accuracy_n, accuracy
The share of right answers on each task's test data, and their mean.]])

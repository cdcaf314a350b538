-- What metrics of continual evaluation are given: a run's history (its columns step, task and accuracy_1, ...), or rows
-- of accuracies with the task learned in each. evaluations(where, a, learning) -> rows, number of rows, learning[r].
local bk = ...
return function(where, a, learning)
    if type(a) == "table" and type(a.step) == "table" then
        local rows, n = {}, 0
        while type(a["accuracy_" .. n + 1]) == "table" do n = n + 1 end
        if n == 0 or type(a.task) ~= "table" then
            bk._options.refuse(
                '%s: expected a history with task and accuracy_1, ...: record = { every = 1, "accuracy" }', where)
        end
        for r = 1, #a.step do
            rows[r] = {}
            for i = 1, n do rows[r][i] = a["accuracy_" .. i][r] end
        end
        return rows, #rows, a.task
    end
    local rows, n, task = bk.metric._matrix(where, a, learning, 4)
    local list = {}
    for r = 1, n do list[r] = learning and learning[r] == 0 and 0 or task(r) end -- 0: before the first task
    return rows, n, list
end

local bk = ...
local function metric(a, learning)
    local rows, n
    rows, n, learning = bk.metric._evaluations("bk.metric.min_accuracy", a, learning)
    local last, sum, count = {}, 0, 0 -- the row in which a task was last learned
    for r = 1, n do last[learning[r]] = r end
    for i, r in pairs(last) do
        if i ~= learning[n] and i > 0 then
            local least = math.huge
            for later = r + 1, n do least = math.min(least, rows[later][i]) end
            sum, count = sum + least, count + 1
        end
    end
    return count > 0 and sum / count or nil
end

return bk.internal.public(metric, [[
bk.metric.min_accuracy(a [, learning]) -> number
min-ACC: the mean, over the tasks before the last one, of the least accuracy since they were learned. a: a run's history
with accuracy recorded at every step, or rows of accuracies and the task learned in each (default: row r learns task r).
nil where there is one task.

Formula: 1/(k-1) sum_{i<k} min_{n > |T_i|} A(E_i, f_n), |T_i| the last step on task i

Source: De Lange, van de Ven & Tuytelaars 2023 (2205.13452)]])

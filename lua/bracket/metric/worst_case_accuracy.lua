local bk = ...
local function metric(a, learning)
    local rows, n, task = bk.metric._evaluations("bk.metric.worst_case_accuracy", a, learning)
    local seen, k = {}, 0
    for r = 1, n do
        if task[r] > 0 and not seen[task[r]] then seen[task[r]], k = true, k + 1 end
    end
    local current = rows[n][task[n]]
    if k < 2 then return current end
    return current / k + (1 - 1 / k) * bk.metric.min_accuracy(a, learning)
end

return bk.internal.public(metric, [[
bk.metric.worst_case_accuracy(a [, learning]) -> number
WC-ACC: the accuracy on the task that is learned last, and min-ACC (bk.metric.min_accuracy) of those before, weighted by
the number of tasks. Arguments as there.

Formula: A(E_k, f)/k + (1 - 1/k) min-ACC

Source: De Lange, van de Ven & Tuytelaars 2023 (2205.13452)]])

local bk = ...
local function metric(a, order)
    local n, task
    a, n, task = bk.metric._matrix("bk.metric.backward_transfer", a, order)
    local sum = 0
    for k = 1, n - 1 do
        local i = task(k)
        sum = sum + a[n][i] - a[k][i]
    end
    return n > 1 and sum / (n - 1) or 0
end

bk.metric._kind[metric] = "once"
return bk.doc(metric, [[
bk.metric.backward_transfer(a, order) -> number
(1/(n-1)) sum_{i<n} (a_{n,i} - a_{i,i}); order[k]: the task learned k-th (default k).
Source: Lopez-Paz & Ranzato 2017.]])

local bk = ...
local function metric(a, order)
    local n, task
    a, n, task = bk.metric._matrix("bk.metric.forward_transfer", a, order)
    local sum = 0
    if not a[0] then return nil end
    for k = 2, n do
        local i = task(k)
        sum = sum + a[k - 1][i] - a[0][i]
    end
    return n > 1 and sum / (n - 1) or 0
end

bk.metric._kind[metric] = "once"
return bk.doc(metric, [[
bk.metric.forward_transfer(a, order) -> number
(1/(n-1)) sum_{i>1} (a_{i-1,i} - a_{0,i}); a[0]: the row before any training.
Source: Lopez-Paz & Ranzato 2017.]])

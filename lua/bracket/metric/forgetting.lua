local bk = ...
local function metric(a, order)
    local n, task
    a, n, task = bk.metric._matrix("bk.metric.forgetting", a, order)
    local sum = 0
    for k = 1, n - 1 do
        local i = task(k)
        local best = -math.huge
        for l = 1, n - 1 do best = math.max(best, a[l][i]) end
        sum = sum + best - a[n][i]
    end
    return n > 1 and sum / (n - 1) or 0
end

bk.metric._kind[metric] = "once"
return bk.doc(metric, [[
bk.metric.forgetting(a, order) -> number
(1/(n-1)) sum_{i<n} max_{k<n} (a_{k,i} - a_{n,i}).
Source: Chaudhry et al. 2018.]])

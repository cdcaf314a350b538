local bk = ...
local function metric(a)
    local rows, n = bk.metric._matrix("bk.metric.average_accuracy", a)
    local last, width, sum = rows[n], #rows[1], 0
    for i = 1, width do sum = sum + last[i] end
    return sum / width
end

bk.metric._kind[metric] = "always"
return bk.doc(metric, [[
bk.metric.average_accuracy(a) -> number
(1/n) sum_i a_{n,i}: the mean of the last row of the accuracy matrix (a[k][i]: on task i after the k-th).]])

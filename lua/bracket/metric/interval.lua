local bk = ...
local refuse = bk._options.refuse
return bk.internal.public(function(values)
    bk._options.numbers("bk.metric.interval", "values", values)
    if #values == 0 then refuse("bk.metric.interval: values: expected a list of numbers, got an empty one") end
    return bk.statistics.interval(values)
end, [[
bk.metric.interval(values) -> { n, mean, sd, half, low, high, values }
The mean of independent values (one a seed) with its 95 % interval by Student's t.]])

local bk = ...
return bk.doc(function(values)
    bk._options.numbers("bk.metric.interval", "values", values)
    if #values == 0 then error("bk.metric.interval: values: expected a list of numbers, got an empty one", 2) end
    return bk.statistics.interval(values)
end, [[
bk.metric.interval(values) -> { n, mean, sd, half, low, high, values }
The mean of independent values (one a seed) with its 95 % interval by Student's t.]])

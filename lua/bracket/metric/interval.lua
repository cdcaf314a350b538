local bk = ...
return bk.doc(function(values)
    if type(values) ~= "table" or #values == 0 then error("bk.metric.interval: expected a list of numbers", 2) end
    return bk.statistics.interval(values)
end, [[
bk.metric.interval(values) -> { n, mean, sd, half, low, high, values }
The mean of independent values (one a seed) with its 95 % interval by Student's t.]])

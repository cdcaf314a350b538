local bk = ...
return bk.doc(function(options)
    options = bk._options("schedule.constant", options, { lr = "number!" })
    local lr = options.lr
    return function() return lr end
end, [[
bk.schedule.constant{ lr = h }
The rate h at every step. Returns a function (step, state) -> rate, as every schedule.]])

local bk = ...
return bk.doc(function(options)
    options = bk._options("schedule.step", options, { lr = "number!", every = "count!", factor = "number" })
    local lr, every, factor = options.lr, options.every, options.factor or 0.1
    return function(step) return lr * factor ^ ((step - 1) // every) end
end, [[
bk.schedule.step{ lr = h, every = n, factor = 0.1 }
h factor^floor((step - 1)/n): multiplied by factor every n steps.]])

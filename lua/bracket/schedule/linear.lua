local bk = ...
return bk.doc(function(options)
    options = bk._options("schedule.linear", options, { lr = "number!", final = "number", steps = "count" })
    local lr, final = options.lr, options.final or 0
    return function(step, state)
        local steps = bk.schedule._span("schedule.linear", options, state)
        return lr + (final - lr) * math.min(1, (step - 1) / math.max(1, steps - 1))
    end
end, [[
bk.schedule.linear{ lr = h, final = 0, steps = n }
From h at step 1 to final at step n (default: the run's last), constant after.]])

local bk = ...
return bk.doc(function(options)
    options = bk._options("schedule.warmup", options,
        { steps = "count!", lr = "number", after = "callable|number" })
    local steps, lr = options.steps, options.lr
    if not lr and not options.after then error("schedule.warmup: lr or after is missing", 2) end
    local after = bk.schedule._rate(options.after or lr)
    return function(step, state)
        state = type(state) == "table" and state or {}
        if step > steps then return after(step - steps, setmetatable({ total = state.total and state.total - steps }, {
            __index = state })) end
        return (lr or after(1, state)) * step / steps
    end
end, [[
bk.schedule.warmup{ steps = n, lr = h, after = schedule }
h step/n for the first n steps, then the schedule `after`, counted from its own step 1 (default: h throughout; without
lr, h is the rate after begins with).]])

local bk = ...
return bk.doc(function(options)
    options = bk._options("schedule.cosine", options, { lr = "number!", final = "number", steps = "count" })
    local lr, final = options.lr, options.final or 0
    return function(step, state)
        local steps = bk.schedule._span("schedule.cosine", options, state)
        local part = math.min(1, (step - 1) / math.max(1, steps - 1))
        return final + 0.5 * (lr - final) * (1 + math.cos(math.pi * part))
    end
end, [[
bk.schedule.cosine{ lr = h, final = 0, steps = n }
final + (h - final)/2 (1 + cos(pi (step - 1)/(n - 1))) for n steps (default: the run's), then final.
Source: Loshchilov & Hutter 2017, without restarts.]])

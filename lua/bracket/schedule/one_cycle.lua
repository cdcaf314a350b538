local bk = ...
return bk.doc(function(options)
    options = bk._options("schedule.one_cycle", options,
        { lr = "number!", start = "number", final = "number", peak = "number", steps = "count" })
    local lr = options.lr
    if options.peak and not (options.peak > 0 and options.peak < 1) then
        error("schedule.one_cycle: peak: expected 0 < peak < 1, got " .. options.peak, 2)
    end
    local start, final, peak = options.start or lr / 25, options.final or lr / 250000, options.peak or 0.3
    local function between(a, b, part) return b + 0.5 * (a - b) * (1 + math.cos(math.pi * part)) end
    return function(step, state)
        local last = bk.schedule._span("schedule.one_cycle", options, state) - 1
        local top = math.max(1, peak * last)
        local s = step - 1
        if s > last then return final end
        if s <= top then return between(start, lr, s / top) end
        return between(lr, final, math.min(1, (s - top) / math.max(1e-9, last - top)))
    end
end, [[
bk.schedule.one_cycle{ lr = h, start = h/25, final = h/250000, peak = 0.3, steps = n }
From start up to h at the fraction `peak` of the run, then down to final, both by half a cosine.
Source: Smith & Topin 2018.]])

local bk = ...
local refuse = bk._options.refuse
local described = bk.schedule._described
return bk.define{
    name = "bk.schedule.one_cycle",
    returns = "function (step, state) -> rate",
    doc = "Up from start to lr, then down to final, both along half a cosine.",
    source = "Smith & Topin 2018",
    options = {
        { "lr", "number", required = true, doc = "the highest rate" },
        { "start", "number", says = "lr/25", doc = "the first rate" },
        { "final", "number", says = "lr/250000", doc = "the last rate" },
        { "peak", "number", default = 0.3, doc = "the part of the steps before the highest rate, between 0 and 1" },
        { "steps", "count", says = "the run's", doc = "the steps it takes" },
    },
    call = function(options)
        local lr = options.lr
        if not (options.peak > 0 and options.peak < 1) then
            refuse("bk.schedule.one_cycle: peak: expected 0 < peak < 1, got %s", options.peak)
        end
        local start, final, peak = options.start or lr / 25, options.final or lr / 250000, options.peak
        local function between(a, b, part) return b + 0.5 * (a - b) * (1 + math.cos(math.pi * part)) end
        return described("one_cycle", options, function(step, state)
            local last = bk.schedule._span("bk.schedule.one_cycle", options, state) - 1
            local top = math.max(1, peak * last)
            local s = step - 1
            if s > last then return final end
            if s <= top then return between(start, lr, s / top) end
            return between(lr, final, math.min(1, (s - top) / math.max(1e-9, last - top)))
        end)
    end,
}

local bk = ...
local described = bk.schedule._described
return bk.define{
    name = "bk.schedule.cosine",
    returns = "function (step, state) -> rate",
    doc = "From lr to final along half a cosine, without restarts.",
    formula = "final + (lr - final)/2 (1 + cos(pi (step - 1)/(steps - 1)))",
    source = "Loshchilov & Hutter 2017",
    options = {
        { "lr", "number", required = true, doc = "the first rate" },
        { "final", "number", default = 0, doc = "the last rate, and that of every step after it" },
        { "steps", "count", says = "the run's", doc = "the steps it takes" },
    },
    call = function(options)
        local lr, final = options.lr, options.final
        return described("cosine", options, function(step, state)
            local steps = bk.schedule._span("bk.schedule.cosine", options, state)
            local part = math.min(1, (step - 1) / math.max(1, steps - 1))
            return final + 0.5 * (lr - final) * (1 + math.cos(math.pi * part))
        end)
    end,
}

local bk = ...
local described = bk.schedule._described
return bk.define{
    name = "bk.schedule.linear",
    returns = "function (step, state) -> rate",
    doc = "From lr to final along a line.",
    formula = "lr + (final - lr) (step - 1)/(steps - 1)",
    options = {
        { "lr", "number", required = true, doc = "the first rate" },
        { "final", "number", default = 0, doc = "the last rate, and that of every step after it" },
        { "steps", "count", says = "the run's", doc = "the steps it takes" },
    },
    call = function(options)
        local lr, final = options.lr, options.final
        return described("linear", options, function(step, state)
            local steps = bk.schedule._span("bk.schedule.linear", options, state)
            return lr + (final - lr) * math.min(1, (step - 1) / math.max(1, steps - 1))
        end)
    end,
}

local bk = ...
local described = bk.schedule._described
return bk.define{
    name = "bk.schedule.step",
    returns = "function (step, state) -> rate",
    doc = "Multiplied by a factor every so many steps.",
    formula = "lr factor^floor((step - 1)/every)",
    options = {
        { "lr", "number", required = true, doc = "the first rate" },
        { "every", "count", required = true, doc = "steps at one rate" },
        { "factor", "number", default = 0.1, doc = "what it is multiplied by then" },
    },
    call = function(options)
        local lr, every, factor = options.lr, options.every, options.factor
        return described("step", options, function(step)
            return lr * factor ^ ((step - 1) // every)
        end)
    end,
}

local bk = ...
local described = bk.schedule._described
return bk.define{
    name = "bk.schedule.constant",
    returns = "function (step, state) -> rate",
    doc = "The same rate at every step.",
    options = {
        { "lr", "number", required = true, doc = "the rate" },
    },
    call = function(options)
        local lr = options.lr
        return described("constant", options, function() return lr end)
    end,
}

local bk = ...
return bk.define{
    name = "bk.schedule.constant",
    returns = "function (step, state) -> rate",
    doc = "The same rate at every step.",
    options = {
        { "lr", "number", required = true, doc = "the rate" },
    },
    call = function(options)
        local lr = options.lr
        return function() return lr end
    end,
}

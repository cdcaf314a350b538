local bk = ...
return bk.define{
    name = "bk.bea.trace",
    returns = "mean, half-width of its 95 % interval",
    doc = "The Hessian's trace by Hutchinson's estimator: the mean of <z, H z> over Rademacher z.",
    source = "Hutchinson 1989",
    options = {
        { "loss", "any", doc = "L, whose Hessian it is" },
        { "hvp", "callable", doc = "v -> H v, in place of the loss" },
        { "theta", "tensor", doc = "where" },
        { "like", "tensor", doc = "beside hvp: of theta's shape and dtype, in place of theta" },
        { "samples", "count", default = 30, doc = "vectors z" },
        { "seed", "integer", default = 0, doc = "of the vectors" },
    },
    call = function(options)
        local like = options.theta or options.like
        if not like then error("bk.bea.trace: theta is missing", 2) end
        local product = options.hvp
        if not product then
            if options.loss == nil then error("bk.bea.trace: loss or hvp is missing", 2) end
            local f = bk.hvp(options.loss)
            product = function(v) return f(like, v) end
        end
        local rng, samples, values = bk.rng(options.seed), options.samples, {}
        for s = 1, samples do
            local shape = like:shape()
            shape.a, shape.b = -1, 1
            local u = rng:uniform(shape):to(like:dtype())
            local z = u:sign() -- Rademacher
            values[s] = z:dot(product(z)):item()
        end
        local interval = bk.statistics.interval(values)
        return interval.mean, interval.half
    end,
}

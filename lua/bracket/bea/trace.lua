local bk = ...
local lanczos = bk.bea._lanczos

return bk.define{
    name = "bk.bea.trace",
    returns = "mean, half-width of its 95 % interval",
    doc = "The Hessian's trace by Hutchinson's estimator: the mean of <z, H z> over Rademacher z.",
    source = "Hutchinson 1989",
    options = lanczos.options{
        { "samples", "count", default = 30, doc = "vectors z" },
        { "seed", "integer", default = 0, doc = "of the vectors" },
    },
    call = function(options)
        local product, like = lanczos.product("bk.bea.trace", options)
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

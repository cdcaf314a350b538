local bk = ...
return bk.doc(function(options)
    options = bk._options("bea.trace", options,
        { loss = "any", hvp = "callable", theta = "userdata", like = "userdata", samples = "count",
            seed = "integer" })
    local like = options.theta or options.like
    if not like then error("bea.trace: theta is missing", 2) end
    local product = options.hvp
    if not product then
        if options.loss == nil then error("bea.trace: loss or hvp is missing", 2) end
        local f = bk.hvp(options.loss)
        product = function(v) return f(like, v) end
    end
    local rng, samples, values = bk.rng(options.seed or 0), options.samples or 30, {}
    for s = 1, samples do
        local shape = like:shape()
        shape.a, shape.b = -1, 1
        local u = rng:uniform(shape):to(like:dtype())
        local z = u:sign() -- Rademacher
        values[s] = z:dot(product(z)):item()
    end
    local interval = bk.statistics.interval(values)
    return interval.mean, interval.half
end, [[
bk.bea.trace{ loss = L, theta = theta, samples = 30, seed = 0 } -> mean, half-width of its 95 % interval
The Hessian's trace by Hutchinson's estimator: the mean of <z, H z> over Rademacher z. Source: Hutchinson 1989.]])

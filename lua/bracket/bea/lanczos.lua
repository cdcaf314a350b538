-- The ends of the spectrum by Lanczos with full reorthogonalisation.
local bk = ...
local lanczos = bk.bea._lanczos

return bk.define{
    name = "bk.bea.lanczos",
    returns = "{ largest, second, ..., lowest = x, residuals = list }",
    doc = [[
Ritz values at both ends of the Hessian's spectrum at theta, by Lanczos with full reorthogonalisation: one
Hessian-vector product a step.

Returns: the `top` largest in descending order (a multiple one once, or as often as it is where `steps` suffice to
exhaust what the first vector reaches), lowest = x, residuals = { ‖H v - λ v‖, ... } of the largest: an
eigenvalue lies within that distance. With vectors = true also vectors = { v, ... }, of theta's shape and norm 1, the
largest component positive, and lowest_vector.]],
    source = "Lanczos 1950",
    options = lanczos.options{
        { "top", "count", default = 1, doc = "how many of the largest" },
        { "steps", "count", default = 40, doc = "products, at most theta's size" },
        { "vectors", "boolean", default = false, doc = "the eigenvectors as well" },
        { "seed", "integer", default = 0, doc = "of the first vector" },
    },
    call = function(options)
        local product, like = lanczos.product("bk.bea.lanczos", options)
        local rng = bk.rng(options.seed)
        local function draw() return rng:normal(like:shape()):to(like:dtype()) end
        local steps = math.min(options.steps, like:count())
        if options.top > steps then
            bk._options.refuse("bk.bea.lanczos: top: expected at most %d, the steps or theta's size, got %d", steps,
                options.top)
        end
        local part = bk._progress.parts("bk.bea.lanczos", steps)
        -- A start finds one vector of each eigenvalue, so that top of them find the largest with their multiplicity.
        local w, V, basis, left = lanczos.iterate("bk.bea.lanczos", function(v)
            part()
            return product(v)
        end, draw(), steps, options.top - 1, draw)
        part(true)
        local n = w:count()
        local function vector(i) return lanczos.vector(V, basis, i) end
        local result = { lowest = w[1]:item(), residuals = {}, vectors = options.vectors and {} or nil }
        for i = 1, math.min(options.top, n) do
            local at = n + 1 - i
            result[i] = w[at]:item()
            result.residuals[i] = left * math.abs(V[n][at]:item())
            if options.vectors then result.vectors[i] = vector(at) end
        end
        if options.vectors then result.lowest_vector = vector(1) end
        return result
    end,
}

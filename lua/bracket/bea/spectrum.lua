-- The density of the Hessian's spectrum by stochastic Lanczos quadrature.
local bk = ...
local refuse = bk._options.refuse
local lanczos = bk.bea._lanczos

-- One probe's nodes and weights: sum_i weight_i f(node_i) estimates the mean of f over the eigenvalues.
local function quadrature(product, q, steps, vectors)
    local w, V, basis = lanczos.iterate("bk.bea.spectrum", product, q, steps)
    local probe = { nodes = w:totable(), weights = V[1]:square():totable(), vectors = vectors and {} or nil }
    for i = 1, vectors and #probe.nodes or 0 do probe.vectors[i] = lanczos.vector(V, basis, i) end
    return probe
end

local function extent(probes)
    local low, high = math.huge, -math.huge
    for _, p in ipairs(probes) do
        for _, x in ipairs(p.nodes) do low, high = math.min(low, x), math.max(high, x) end
    end
    return low, high
end

-- sum_i weight_i f(node_i) of every probe: its mean and standard error.
local function average(probes, f)
    local values = {}
    for k, p in ipairs(probes) do
        local sum = 0
        for i, x in ipairs(p.nodes) do sum = sum + p.weights[i] * f(x) end
        values[k] = sum
    end
    local s = bk.statistics.interval(values)
    return s.mean, #values > 1 and s.sd / math.sqrt(s.n) or math.huge
end

local function density(probes, count, o)
    local low, high = extent(probes)
    local scale = math.max(math.abs(low), math.abs(high))
    local width = o.width or math.max((high - low) / 50, 1e-12 * (scale > 1e-200 and scale or 1))
    low, high = low - 4 * width, high + 4 * width
    local s = { x = {}, y = {}, error = {}, width = width, count = count, probes = probes }
    for k = 1, o.points do
        local x = low + (high - low) * (k - 1) / math.max(o.points - 1, 1)
        s.x[k] = x
        s.y[k], s.error[k] = average(probes, function(node)
            return math.exp(-((x - node) / width) ^ 2 / 2) / (width * math.sqrt(2 * math.pi))
        end)
    end
    function s:mean(f)
        local where, show = "spectrum:mean", bk._options.show
        if self ~= s then refuse("%s: expected the spectrum; call it with a colon, got %s", where, show(self)) end
        if not bk._options.callable(f) then refuse("%s: f: expected a function, got %s", where, show(f)) end
        return average(probes, function(x)
            local y = f(x)
            if type(y) == "number" then return y end
            refuse("%s: f: expected a function that returns a number, got %s", where, show(y))
        end)
    end
    return s
end

-- H restricted to the coordinates first .. first + size - 1 of a flat theta.
local function restricted(product, like, block)
    local before, after = block.first - 1, like:count() - block.first - block.size + 1
    return function(v) return product(v:pad({ before }, { after })):narrow(1, block.first, block.size) end
end

local function probed(product, shape, dtype, count, o, part)
    local rng, probes = bk.rng(o.seed), {}
    local function told(v)
        part()
        return product(v)
    end
    for k = 1, o.probes do
        probes[k] = quadrature(told, rng:normal(shape):to(dtype), math.min(o.steps, count), o.vectors)
    end
    return density(probes, count, o)
end

local function check_layers(layers, like)
    if #like:shape() ~= 1 then refuse("bk.bea.spectrum: layers: expected a flat theta") end
    for i, b in ipairs(layers) do
        local given = type(b) == "table" and b or {}
        local first, size = math.tointeger(given.first), math.tointeger(given.size)
        if not (first and size and first >= 1 and size >= 1 and first + size - 1 <= like:count()) then
            local expected = ("{ name, first, size } within theta's %d coordinates"):format(like:count())
            refuse("bk.bea.spectrum: layers: entry %d: expected %s", i, expected)
        end
    end
end

return bk.define{
    name = "bk.bea.spectrum",
    returns = "density",
    doc = [[
The density of the Hessian's eigenvalues at theta by stochastic Lanczos quadrature: from each of `probes` random
directions `steps` Hessian-vector products give nodes and weights; the density is their sum of Gaussians of standard
deviation `width`, averaged over the probes.

Returns: { x, y, error, width, count, probes, layers }: lists of `points` numbers, ready for bk.plot: the density, whose
integral is 1, and its standard error over the probes; how many eigenvalues there are; each probe's { nodes, weights },
with vectors = true also vectors, the node's Ritz vectors of norm 1; the layers' own, with name. s:mean(f) -> the mean
of f over the eigenvalues, and its standard error: times count it is the trace of f(H).]],
    source = "Lin, Saad & Yang 2016; Ghorbani, Krishnan & Xiao 2019",
    options = lanczos.options{
        { "steps", "count", default = 80, doc = "products for each probe" },
        { "probes", "count", default = 10, doc = "random directions" },
        { "points", "count", default = 200, doc = "where the density is given" },
        { "width", "positive", says = "a fiftieth of the nodes' extent", doc = "standard deviation of the Gaussians" },
        { "layers", "list",
            doc = "model.layers, or any list of { name, first, size }: the same of these diagonal blocks" },
        { "vectors", "boolean", default = false, doc = "each probe's Ritz vectors as well, steps times theta's size" },
        { "seed", "integer", default = 0, doc = "of the directions" },
    },
    call = function(options)
        local product, like = lanczos.product("bk.bea.spectrum", options)
        if like:count() == 0 then
            refuse("bk.bea.spectrum: theta: expected one number or more, got %s", bk._options.shape_text(like))
        end
        if options.layers then check_layers(options.layers, like) end
        local products = math.min(options.steps, like:count())
        for _, b in ipairs(options.layers or {}) do products = products + math.min(options.steps, b.size) end
        local part = bk._progress.parts("bk.bea.spectrum", products * options.probes)
        local s = probed(product, like:shape(), like:dtype(), like:count(), options, part)
        if options.layers then
            s.layers = {}
            for i, b in ipairs(options.layers) do
                s.layers[i] = probed(restricted(product, like, b), { b.size }, like:dtype(), b.size, options, part)
                s.layers[i].name = b.name
            end
        end
        part(true)
        return s
    end,
}

-- The ends of the spectrum by Lanczos with full reorthogonalisation.
local bk = ...

-- Eigenvalues of the symmetric tridiagonal matrix with diagonal d and off-diagonal e (Jacobi rotations on the dense
-- matrix: sizes are a few tens).
local function eigenvalues(d, e)
    local n, a = #d, {}
    for i = 1, n do
        a[i] = {}
        for j = 1, n do a[i][j] = 0 end
        a[i][i] = d[i]
    end
    for i = 1, n - 1 do a[i][i + 1], a[i + 1][i] = e[i], e[i] end
    for _ = 1, 60 do
        local off, diagonal = 0, 0
        for i = 1, n do
            diagonal = diagonal + a[i][i] ^ 2
            for j = i + 1, n do off = off + a[i][j] ^ 2 end
        end
        if off <= 1e-30 * diagonal then break end
        for p = 1, n - 1 do
            for q = p + 1, n do
                if a[p][q] ~= 0 then
                    local theta = (a[q][q] - a[p][p]) / (2 * a[p][q])
                    local t = (theta >= 0 and 1 or -1) / (math.abs(theta) + math.sqrt(theta * theta + 1))
                    local c = 1 / math.sqrt(t * t + 1)
                    local s = t * c
                    for k = 1, n do
                        local u, v = a[k][p], a[k][q]
                        a[k][p], a[k][q] = c * u - s * v, s * u + c * v
                    end
                    for k = 1, n do
                        local u, v = a[p][k], a[q][k]
                        a[p][k], a[q][k] = c * u - s * v, s * u + c * v
                    end
                end
            end
        end
    end
    local values = {}
    for i = 1, n do values[i] = a[i][i] end
    table.sort(values, function(x, y) return x > y end)
    return values
end

return bk.define{
    name = "bk.bea.lanczos",
    returns = "{ largest, second, ..., lowest = x }",
    doc = [[
Ritz values at both ends of the Hessian's spectrum at theta, by Lanczos with full reorthogonalisation: one
Hessian-vector product a step.]],
    source = "Lanczos 1950",
    options = {
        { "loss", "any", doc = "L, whose Hessian it is" },
        { "hvp", "callable", doc = "v -> H v, in place of the loss" },
        { "theta", "tensor", doc = "where" },
        { "like", "tensor", doc = "beside hvp: of theta's shape and dtype, in place of theta" },
        { "top", "count", default = 1, doc = "how many of the largest" },
        { "steps", "count", default = 40, doc = "products, at most theta's size" },
        { "seed", "integer", default = 0, doc = "of the first vector" },
    },
    call = function(options)
        local like = options.theta or options.like
        if not like then error("bk.bea.lanczos: theta is missing", 2) end
        local product = options.hvp
        if not product then
            if options.loss == nil then error("bk.bea.lanczos: loss or hvp is missing", 2) end
            local f = bk.hvp(options.loss)
            product = function(v) return f(like, v) end
        end
        local n = 1
        for _, size in ipairs(like:shape()) do n = n * size end
        local steps, top = math.min(options.steps, n), options.top
        local q = bk.rng(options.seed):normal(like:shape()):to(like:dtype())
        q = q / q:norm()
        local basis, d, e = { q }, {}, {}
        for k = 1, steps do
            local w = product(basis[k])
            d[k] = w:dot(basis[k]):item()
            for _ = 1, 2 do
                for i = 1, k do w = w - basis[i] * w:dot(basis[i]):item() end
            end
            local norm = w:norm():item()
            if k == steps or norm <= 1e-7 * math.max(math.abs(d[1]), 1e-30) then break end
            e[k] = norm
            basis[k + 1] = w / norm
        end
        local values = eigenvalues(d, e)
        local result = {}
        for i = 1, math.min(top, #values) do result[i] = values[i] end
        result.lowest = values[#values]
        return result
    end,
}

-- What lanczos, spectrum and trace share: the product that options stand for; the iteration, and its Ritz vectors.
local bk = ...
local refuse = bk._options.refuse
local lanczos = {}

-- The options that say of what and where, before a function's own.
function lanczos.options(own)
    return table.move(own, 1, #own, 5, {
        { "loss", "any", doc = "L, whose Hessian it is" },
        { "hvp", "callable", doc = "v -> H v, in place of the loss" },
        { "theta", "tensor", doc = "where" },
        { "like", "tensor", doc = "beside hvp: of theta's shape and dtype, in place of theta" },
    })
end

-- v -> H v of options.loss at `like`, or options.hvp; and `like`, which is options.theta or options.like.
function lanczos.product(where, options)
    local like = options.theta or options.like
    if not like then refuse("%s: theta is missing", where) end
    if options.loss ~= nil and options.hvp then refuse("%s: loss, hvp: expected one of them, got both", where) end
    if options.like and (options.theta or not options.hvp) then
        refuse("%s: like: stands beside hvp, in place of theta", where)
    end
    if options.hvp then
        return function(v)
            local w = options.hvp(v)
            local numbers = bk.is_tensor(w) and w:count()
            if numbers == v:count() then return w:reshape(v:shape()) end
            refuse("%s: hvp: expected a function that returns as many numbers as it is given, got %s", where,
                numbers or bk._options.show(w))
        end, like
    end
    if options.loss == nil then refuse("%s: loss or hvp is missing", where) end
    if not pcall(bk.compile, options.loss) then
        refuse("%s: loss: expected a function of theta, got %s", where, bk._options.show(options.loss))
    end
    local f = bk.hvp(options.loss)
    return function(v) return f(like, v) end, like
end

-- Lanczos with full reorthogonalisation from the direction q: the eigenvalues of the tridiagonal matrix, ascending,
-- its eigenvectors as columns, the orthonormal basis, and the norm of what is left after the last step. Where the basis
-- spans an invariant space it goes on from draw(), `restarts` times (none by default), or stops before `steps`.
function lanczos.iterate(where, product, q, steps, restarts, draw)
    local basis, d, e = { q / q:norm() }, {}, {}
    local function off_basis(w)
        for _ = 1, 2 do
            for _, b in ipairs(basis) do w = w - b * w:dot(b):item() end
        end
        return w
    end
    restarts = restarts or 0
    for k = 1, steps do
        local w = product(basis[k])
        d[k] = w:dot(basis[k]):item()
        if d[k] - d[k] ~= 0 then
            refuse("%s: theta: expected finite products H v, got %s", where, bk._options.show(d[k]))
        end
        w = off_basis(w)
        e[k] = w:norm():item()
        if k == steps then break end
        if e[k] <= 1e-7 * math.max(math.abs(d[1]), 1e-30) then
            if restarts == 0 then break end
            restarts = restarts - 1
            w, e[k] = off_basis(draw()), 0
            basis[k + 1] = w / w:norm()
        else
            basis[k + 1] = w / e[k]
        end
    end
    local n, rows = #d, {}
    for i = 1, n do
        rows[i] = {}
        for j = 1, n do rows[i][j] = i == j and d[i] or i == j + 1 and e[j] or j == i + 1 and e[i] or 0 end
    end
    local w, V = bk.linalg.eigh(bk.tensor(rows))
    return w, V, basis, e[n]
end

-- The i-th Ritz vector, of norm 1, its largest component positive.
function lanczos.vector(V, basis, i)
    local sum
    for k, coefficient in ipairs(V:narrow(2, i, 1):reshape{ -1 }:totable()) do
        sum = sum and sum + basis[k] * coefficient or basis[k] * coefficient
    end
    sum = sum / sum:norm()
    local flat = sum:reshape{ -1 }
    return flat[flat:abs():argmax():item() + 1]:item() < 0 and -sum or sum
end

return lanczos

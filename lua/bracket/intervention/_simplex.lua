-- Two small convex problems over the simplex, on Gram matrices M (n x n Lua tables): the minimum-norm point of a
-- convex hull, and CAGrad's dual. Both by pairwise Frank-Wolfe, which converges linearly and keeps exact zeros.
local simplex = {}

local function product(M, w)
    local v = {}
    for i = 1, #M do
        local s = 0
        for j = 1, #M do s = s + M[i][j] * w[j] end
        v[i] = s
    end
    return v
end

local function dot(a, b)
    local s = 0
    for i = 1, #a do s = s + a[i] * b[i] end
    return s
end

-- argmin over the simplex of w' M w
function simplex.min_norm(M)
    local n, w = #M, {}
    local best = 1
    for i = 1, n do
        w[i] = 0
        if M[i][i] < M[best][best] then best = i end
    end
    w[best] = 1
    for _ = 1, 100000 do
        local v = product(M, w)
        local i, j = 1, nil
        for k = 1, n do
            if v[k] < v[i] then i = k end
            if w[k] > 0 and (not j or v[k] > v[j]) then j = k end
        end
        local curve = M[i][i] + M[j][j] - 2 * M[i][j]
        if v[j] - v[i] <= 1e-14 * math.max(M[j][j], 1e-300) or curve <= 0 then break end
        local step = math.min(w[j], (v[j] - v[i]) / curve)
        w[i], w[j] = w[i] + step, w[j] - step
        if step <= 0 then break end
    end
    return w
end

-- argmin over the simplex of  <g_w, g_0> + c |g_0| |g_w|,  g_0 the mean of the gradients with Gram matrix M
function simplex.cagrad(M, c)
    local n, mean, w = #M, {}, {}
    for i = 1, n do mean[i], w[i] = 1 / n, 1 / n end
    local b = product(M, mean)
    local radius = c * math.sqrt(math.max(0, dot(mean, b)))
    local function value(u) return dot(u, b) + radius * math.sqrt(math.max(0, dot(u, product(M, u)))) end
    local now = value(w)
    for _ = 1, 2000 do
        local v = product(M, w)
        local norm = math.sqrt(math.max(dot(w, v), 1e-300))
        local i, j
        local slope = {}
        for k = 1, n do slope[k] = b[k] + radius * v[k] / norm end
        for k = 1, n do
            if not i or slope[k] < slope[i] then i = k end
            if w[k] > 0 and (not j or slope[k] > slope[j]) then j = k end
        end
        if slope[j] - slope[i] <= 1e-13 * (math.abs(slope[j]) + 1e-300) then break end
        -- golden section along the pair: the objective is convex
        local function at(s)
            local u = {}
            for k = 1, n do u[k] = w[k] end
            u[i], u[j] = u[i] + s, u[j] - s
            return value(u)
        end
        local low, high, ratio = 0, w[j], 0.6180339887498949
        local p, q = high - ratio * (high - low), low + ratio * (high - low)
        local fp, fq = at(p), at(q)
        for _ = 1, 60 do
            if fp <= fq then
                high, q, fq = q, p, fp
                p = high - ratio * (high - low)
                fp = at(p)
            else
                low, p, fp = p, q, fq
                q = low + ratio * (high - low)
                fq = at(q)
            end
        end
        local s = (low + high) / 2
        if at(w[j]) <= at(s) then s = w[j] end
        local next_value = at(s)
        if not (next_value < now) then break end
        w[i], w[j], now = w[i] + s, w[j] - s, next_value
    end
    return w
end

return simplex

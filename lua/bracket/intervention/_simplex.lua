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

-- How far from w towards i and away from j, at most `most`, the objective below is least. Its slope along the pair is
-- l + radius t / |g_w|, where t = q1 + q2 s is the slope of |g_w|^2 / 2 = (t^2 + D) / 2 q2 with D >= 0: it is 0 where t
-- has the sign of -l and t^2 (q2 radius^2 - l^2) = l^2 D. A search by values would lose half of the digits.
local function least_along(l, radius, q0, q1, q2, most)
    local steep = q2 * radius * radius - l * l
    if steep <= 0 then return l < 0 and most or 0 end
    local t = -l * math.sqrt(math.max(0, q0 * q2 - q1 * q1) / steep)
    return math.max(0, math.min(most, (t - q1) / q2))
end

-- argmin over the simplex of  <g_w, g_0> + c |g_0| |g_w|,  g_0 the mean of the gradients with Gram matrix M
function simplex.cagrad(M, c)
    local n, mean, w = #M, {}, {}
    for i = 1, n do mean[i], w[i] = 1 / n, 1 / n end
    local b = product(M, mean)
    local radius = c * math.sqrt(math.max(0, dot(mean, b)))
    for _ = 1, 2000 do
        local v = product(M, w)
        local squared = math.max(dot(w, v), 1e-300)
        local norm = math.sqrt(squared)
        local i, j
        local slope, size = {}, 0
        for k = 1, n do
            slope[k] = b[k] + radius * v[k] / norm
            size = math.max(size, math.abs(b[k]) + radius * math.abs(v[k]) / norm)
        end
        for k = 1, n do
            if not i or slope[k] < slope[i] then i = k end
            if w[k] > 0 and (not j or slope[k] > slope[j]) then j = k end
        end
        local curve = M[i][i] + M[j][j] - 2 * M[i][j]
        if slope[j] - slope[i] <= 1e-15 * size or curve <= 0 then break end
        local step = least_along(b[i] - b[j], radius, squared, v[i] - v[j], curve, w[j])
        local to, from = w[i] + step, w[j] - step
        if to == w[i] or from == w[j] then break end
        w[i], w[j] = to, from
    end
    return w
end

return simplex

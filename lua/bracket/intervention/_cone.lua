-- A quadratic problem over the nonnegative orthant, for projections onto cones.
local bk = ...
local cone = {}

-- argmin over s >= 0 of s' M s/2 + b' s, M symmetric and positive semidefinite (lists), bounded below: an active set as
-- in Lawson & Hanson 1974, ch. 23. A part of M that is singular is solved by its pseudo-inverse.
function cone.nonnegative(M, b)
    local n, s, free = #M, {}, {}
    local scale = 0
    for i = 1, n do
        s[i], free[i] = 0, false
        scale = math.max(scale, math.abs(b[i]))
    end
    local function slope(i)
        local v = b[i]
        for j = 1, n do v = v + M[i][j] * s[j] end
        return v
    end
    -- the minimum over the free entries alone
    local function minimum()
        local at, part, right, z = {}, {}, {}, {}
        for i = 1, n do
            z[i] = 0
            if free[i] then at[#at + 1] = i end
        end
        if #at == 0 then return z end
        for k, i in ipairs(at) do
            part[k], right[k] = {}, -b[i]
            for l, j in ipairs(at) do part[k][l] = M[i][j] end
        end
        for k, x in ipairs(bk.intervention._aggregation.solve(part, right)) do z[at[k]] = x end
        return z
    end
    for _ = 1, 3 * n + 10 do
        local best, steepest = nil, -1e-12 * scale
        for i = 1, n do
            local v = not free[i] and slope(i) or 0
            if v < steepest then best, steepest = i, v end
        end
        if not best then break end
        free[best] = true
        local z = minimum()
        while true do -- as far towards z as all stay nonnegative; what reaches 0 is free no longer
            local part, first = 1, nil
            for i = 1, n do
                if free[i] and z[i] <= 0 and s[i] - z[i] > 0 then
                    local reach = s[i] / (s[i] - z[i])
                    if reach < part then part, first = reach, i end
                elseif free[i] and z[i] <= 0 then -- it stands at 0 and would stay
                    part, first = 0, i
                end
            end
            if not first then break end
            for i = 1, n do s[i] = s[i] + part * (z[i] - s[i]) end
            for i = 1, n do
                if free[i] and (i == first or s[i] <= 0) then s[i], free[i] = 0, false end
            end
            z = minimum()
        end
        s = z
    end
    return s
end

return cone

-- The fields that a logged trajectory is regressed on, by the degree in the rate at which they enter the modified
-- equation of one round. fields(losses, order, degree) -> { calls, degrees, names }: calls[k](theta) is a vector; the
-- first is what a round steps against, then flatness and, where there is one, conflict; the rest are the terms beyond.
local bk = ...

local function total(losses)
    return function(theta)
        local sum = losses[1](theta)
        for i = 2, #losses do sum = sum + losses[i](theta) end
        return sum
    end
end

-- F' v of a field F
local function along(F, theta, v) return (select(2, bk.jvp(F, { theta }, { v }))) end

-- All terms of third and fourth degree that a method of one field F can have, memory or not: F'F'F and F''(F, F); F'
-- of both, and the derivatives of both along F. Their span is that of the elementary differentials of F of that order.
local function differentials(F)
    local function second(t) return along(F, t, F(t)) end
    local function third_a(t) return along(F, t, second(t)) end
    local function third_b(t) return along(second, t, F(t)) end
    return { { third_a, third_b }, {
        function(t) return along(F, t, third_a(t)) end, function(t) return along(F, t, third_b(t)) end,
        function(t) return along(third_a, t, F(t)) end, function(t) return along(third_b, t, F(t)) end } }
end

-- grad sum_i |g_i|^2 = 2 sum_i H_i g_i, each task counted as often as it is in the round.
local function flatness(gradients, counts)
    return function(theta)
        local sum
        for i, g in ipairs(gradients) do
            if counts[i] > 0 then
                local part = along(g, theta, g(theta)) * (2 * counts[i])
                sum = sum and sum + part or part
            end
        end
        return sum
    end
end

-- grad sum_{i<j} <g_i, g_j> = HG - sum_i H_i g_i
local function alignment(G, half_flatness)
    return function(theta) return along(G, theta, G(theta)) - half_flatness(theta) * 0.5 end
end

-- -sum_{i<j} W_ij [g_i, g_j], W at unit rates: against what a round moves, as the other fields are.
local function brackets(gradients, W)
    local n = #gradients
    return function(theta)
        return -bk.measure.weighted_brackets(n, W, function(i) return gradients[i](theta) end,
            function(j, v) return along(gradients[j], theta, v) end)
    end
end

local function is_zero(W)
    for _, row in ipairs(W) do
        for _, w in ipairs(row) do
            if w ~= 0 then return false end
        end
    end
    return true
end

return function(losses, order, degree)
    local n, gradients, counts = #losses, {}, {}
    for i = 1, n do gradients[i], counts[i] = bk.grad(losses[i]), 1 end
    local word = type(order) == "table" and order or nil
    local G = bk.grad(total(losses))
    if word then
        for i = 1, n do counts[i] = 0 end
        for _, i in ipairs(word) do counts[i] = counts[i] + 1 end
        local steps = {}
        for s, i in ipairs(word) do steps[s] = losses[i] end
        G = bk.grad(total(steps))
    end
    local list = { calls = { bk.compile(G) }, degrees = { 1 }, names = { "original" } }
    local function add(call, of, name)
        local k = #list.calls + 1
        list.calls[k], list.degrees[k], list.names[k] = bk.compile(call), of, name
    end
    local flat = flatness(gradients, counts)
    add(flat, 2, "flatness")
    if order == "joint" and n > 1 then
        add(alignment(G, flat), 2, "conflict")
    elseif word then
        local W = bk.order._object.of_word(n, word, 1)
        if not is_zero(W) then add(brackets(gradients, W), 2, "conflict") end
    end
    local of_word = word and n > 1 and bk.bea.word((function()
        local steps = {}
        for s, i in ipairs(word) do steps[s] = { losses[i], 1 } end
        return steps
    end)())
    local beyond = not of_word and differentials(G)
    for k = 3, degree do
        if of_word then
            local term = of_word:term(k)
            list.calls[#list.calls + 1] = term
            list.degrees[#list.calls], list.names[#list.calls] = k, "degree " .. k
        else
            for _, call in ipairs(beyond[k - 2]) do add(call, k, "degree " .. k) end
        end
    end
    return list
end

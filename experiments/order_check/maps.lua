-- Steps that are no gradient steps: maps f(theta, h), exact flows, fields, and a word of all kinds. The terms of second
-- order are written out here from gradients and Hessian-vector products alone. Called with the setup of run.lua.
local bk = require "bracket"
local setup = ...
local h, L, say = setup.h, setup.losses, setup.say
local A, B, C = L[1], L[2], L[3]
local g = bk.grad(A)

local function Hg(t) return bk.hvp(A)(t, g(t)) end
-- c h^2 H g: what flatness is for c = -1/2
local function bent(name, c) return { name, function(t) return Hg(t) * (c * h * h) end } end

local RADIUS, DECAY, INNER, SHARE = 1, 2, 3, 0.5

local function of_map(name, f, terms)
    return { name = name, word = function(s) return bk.bea.word{ { map = f, lr = s * h } } end, terms = terms }
end

-- A word's own second terms and its conflict.
local function of_word(name, steps)
    local function word(s)
        local list = {}
        for k, step in ipairs(steps(s * h)) do list[k] = step end
        return bk.bea.word(list)
    end
    return { name = name, word = word,
        terms = { { "the steps' own", word(1):flatness() }, { "conflict", word(1):conflict() } } }
end

local function decayed(t, rate) return t * (1 - rate * DECAY) - rate * g(t) end
local function reptile(t, rate)
    local inner = t
    for _ = 1, INNER do inner = inner - rate * g(inner) end
    return t + (inner - t) * SHARE
end
local function ascended(F) return function(t, rate) return t - rate * F(t + RADIUS * rate * F(t)) end end

-- Two fields that are no gradients: a task's gradient in half of the coordinates.
local half = setup.model.n_params // 2
local function first(t) return bk.concat({ g(t):narrow(1, 1, half), t:narrow(1, half + 1, #t - half) * 0 }, 1) end
local function second(t)
    return bk.concat({ t:narrow(1, 1, half) * 0, bk.grad(B)(t):narrow(1, half + 1, #t - half) }, 1)
end

say("")
say("Steps of other kinds. sam: a gradient h ahead uphill; reptile: half the way of three steps; decay: decoupled, 2.")
say("")
return setup.check{
    of_map("sam", ascended(g), { bent("flatness", -0.5), bent("ascent", -RADIUS) }),
    of_map("extragradient", function(t, rate) return t - rate * g(t - rate * g(t)) end,
        { bent("flatness", -0.5), bent("look-ahead", 1) }),
    of_map("reptile", reptile,
        { bent("flatness", -0.5 * (SHARE * INNER) ^ 2), bent("inner steps", SHARE * INNER * (INNER - 1) / 2) }),
    of_map("weight decay", decayed, { bent("flatness", -0.5), { "decay", function(t)
        return (g(t) * DECAY + bk.hvp(A)(t, t) * DECAY + t * DECAY ^ 2) * (-0.5 * h * h)
    end } }),
    of_word("fields 1,2", function(r) return { { first, r }, { second, r } } end),
    of_word("sam, exact, descent", function(r)
        return { { map = ascended(g), lr = r }, { B, r, exact = true }, { C, r } }
    end),
}

-- Games: the first layer descends task 1, the second layer task 2, at the same time or in turn. The self and the
-- interaction term are written out here from gradients and Hessian-vector products alone. Called with the setup of
-- run.lua.
local bk = require "bracket"
local setup = ...
local h, L, say, n_params = setup.h, setup.losses, setup.say, setup.model.n_params

local sizes = { setup.first_layer, n_params - setup.first_layer }
-- The gradient, or what is like it, in player i's coordinates; 0 elsewhere.
local function own(i, v)
    local a, b = v:narrow(1, 1, sizes[1]), v:narrow(1, sizes[1] + 1, sizes[2])
    return bk.concat(i == 1 and { a, b * 0 } or { a * 0, b }, 1)
end
local function G(i, t) return own(i, bk.grad(L[i])(t)) end
local function mixed(i, j, t) return own(i, bk.hvp(L[i])(t, G(j, t))) end -- D_j G_i G_j

-- r: the players' rates; m: their steps. Of a pair, who moves second is drawn to where the first has gone.
local function row(name, play, r, m)
    local after = play == "alternating" and 1 or -1
    local function of_self(t)
        return mixed(1, 1, t) * (-m[1] * r[1] ^ 2 / 2) + mixed(2, 2, t) * (-m[2] * r[2] ^ 2 / 2)
    end
    local function of_others(t)
        return (mixed(2, 1, t) * after - mixed(1, 2, t)) * (m[1] * m[2] * r[1] * r[2] / 2)
    end
    local function word(s)
        return bk.bea.game{ losses = { L[1], L[2] }, players = sizes, lr = { r[1] * s, r[2] * s }, play = play,
            steps = m }:word()
    end
    return { name = name, word = word, terms = { { "self", of_self }, { "interaction", of_others } } }
end

say("")
say("Games: player 1 is the first layer, on task 1; player 2 the second layer, on task 2.")
say("")
return setup.check{
    row("simultaneous", "simultaneous", { h, h }, { 1, 1 }),
    row("simultaneous, h h/2", "simultaneous", { h, h / 2 }, { 1, 1 }),
    row("alternating", "alternating", { h, h }, { 1, 1 }),
    row("alternating, 1 and 3", "alternating", { h, h / 2 }, { 1, 3 }),
}

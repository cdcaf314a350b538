-- game_test.lua - bk.bea.game: terms against formulas written out, slopes, invariants of the bilinear game, cancelled
-- terms, errors; another implementation's values where they are at hand.
local bk = require "bracket"
local lu = require "luaunit"

local function close(what, got, want, tolerance)
    local r = ((got - want):norm() / (want:norm() + 1e-300)):item()
    lu.assertTrue(r <= (tolerance or 1e-10), ("%s: relative difference %.3g"):format(what, r))
end

-- Two or three small networks in one theta; every loss looks at all of the outputs.
local function nets(n, seed)
    local rng, f, sizes, total = bk.rng(seed), {}, {}, 0
    local models, first = {}, {}
    for i = 1, n do
        models[i] = bk.nn.mlp{ 2, 2 + i, 2, activation = "tanh" }
        sizes[i], first[i] = models[i].n_params, total + 1
        total = total + sizes[i]
    end
    local x = rng:normal{ 5, 2 }
    for i = 1, n do
        local y, weights = rng:normal{ 5, 2 }, rng:normal{ n }
        f[i] = function(t)
            local z = 0
            for j = 1, n do z = z + models[j]:forward(t:narrow(1, first[j], sizes[j]), x) * weights[j] end
            return (z - y):square():mean()
        end
    end
    return f, sizes, rng:normal{ total } * 0.7, first
end

local function joined(list) return bk.concat(list, 1) end

TestGame = {}

-- D_k (D_i f) v for blocks, by hand: the derivative of player i's gradient when block j moves along v.
local function mixed(f, t, first, sizes, i, j, v)
    local mask = bk.zeros(t:shape()):totable()
    local part = v:totable()
    for k = 1, sizes[j] do mask[first[j] + k - 1] = part[k] end
    return bk.hvp(f)(t, bk.tensor(mask)):narrow(1, first[i], sizes[i])
end

function TestGame.test_terms_are_their_formulas()
    for n = 2, 3 do
        local f, sizes, theta, first = nets(n, n)
        local h, m = { .1, .07, .04 }, { 2, 1, 3 }
        h[n + 1], m[n + 1] = nil, nil
        local g = {}
        for i = 1, n do g[i] = bk.grad(f[i])(theta):narrow(1, first[i], sizes[i]) end
        for _, play in ipairs{ "simultaneous", "alternating" } do
            local steps = play == "alternating" and m or nil
            local game = bk.bea.game{ losses = f, players = sizes, lr = h, play = play, steps = steps }
            local t, sum = game:terms(theta), {}
            for i = 1, n do
                local count = steps and steps[i] or 1
                close("self", t.self[i], mixed(f[i], theta, first, sizes, i, i, g[i]) * (-count * h[i] ^ 2 / 2))
                local interaction = g[i] * 0
                for j = 1, n do
                    if j ~= i then
                        local weight = (steps and j < i and 1 or -1) * count * (steps and steps[j] or 1)
                        interaction = interaction + mixed(f[i], theta, first, sizes, i, j, g[j])
                            * (weight * h[i] * h[j] / 2)
                    end
                end
                close("interaction", t.interaction[i], interaction)
                sum[i] = t.self[i] + t.interaction[i]
            end
            close("second term", joined(sum), game:word():term(2)(theta))
            local mean = 0
            for i = 1, n do mean = mean + h[i] / n end
            close("field", game:field(3)(theta), game:word():log(3)(theta) / mean)
        end
    end
end

function TestGame.test_slopes()
    local f, sizes, theta = nets(3, 7)
    for _, play in ipairs{ "simultaneous", "alternating" } do
        local game = bk.bea.game{ losses = f, players = sizes, lr = { .006, .009, .003 }, play = play,
            steps = play == "alternating" and { 1, 2, 1 } or nil }
        for _, r in ipairs(game:verify{ theta = theta, orders = { 1, 2, 3, 4 } }) do
            lu.assertAlmostEquals(r.slope, r.expected, r.order <= 3 and .15 or .4)
        end
    end
end

-- With both terms cancelled the round follows Z1 one order better; with one alone, or flipped, it does not.
function TestGame.test_strengths()
    local f, sizes, theta = nets(2, 9)
    for _, play in ipairs{ "simultaneous", "alternating" } do
        local function game(losses, scale)
            return bk.bea.game{ losses = losses, players = sizes, lr = { .02 * scale, .03 * scale }, play = play,
                steps = play == "alternating" and { 2, 1 } or nil }
        end
        local function slope(strengths)
            local gaps = {}
            for k, scale in ipairs{ 1, 1 / 4 } do
                local plain = game(f, scale)
                local changed = game({ plain:regularised(1, strengths), plain:regularised(2, strengths) }, scale)
                gaps[k] = (changed:step(theta) - bk.flow(plain:word():term(1), theta)):norm():item()
            end
            return math.log(gaps[1] / gaps[2]) / math.log(4)
        end
        lu.assertAlmostEquals(slope{ self = 0, interaction = 0 }, 3, .15)
        lu.assertAlmostEquals(slope{ self = 0 }, 2, .15)
        lu.assertAlmostEquals(slope{ interaction = 0 }, 2, .15)
        lu.assertAlmostEquals(slope{ self = -1, interaction = -1 }, 2, .15)
        close("strength 1", game(f, 1):regularised(1)(theta):narrow(1, 1, sizes[1]),
            bk.grad(f[1])(theta):narrow(1, 1, sizes[1]))
    end
end

function TestGame.test_the_bilinear_game()
    local h, z = 0.1, bk.tensor{ 1, 0.5 }
    local f = { function(t) return t[1] * t[2] end, function(t) return -t[1] * t[2] end }
    local both = bk.bea.game{ losses = f, players = { 1, 1 }, lr = h }:step(z)
    lu.assertAlmostEquals((both:dot(both) / z:dot(z)):item(), 1 + h * h, 1e-14)
    local game = bk.bea.game{ losses = f, players = { 1, 1 }, lr = h, play = "alternating" }
    local function invariant(t) return (t[1] * t[1] + t[2] * t[2] - h * t[1] * t[2]):item() end
    local t = z
    for _ = 1, 200 do
        t = game:step(t)
        lu.assertAlmostEquals(invariant(t), invariant(z), 1e-13)
    end
end

function TestGame.test_ranges_fields_and_what_they_leave_out()
    local f, sizes, theta, first = nets(3, 11)
    local game = bk.bea.game{ losses = { f[3], f[1] }, players = { { first[3], sizes[3] }, { first[1], sizes[1] } },
        lr = .1, play = "alternating" }
    local moved = game:step(theta)
    close("left out", moved:narrow(1, first[2], sizes[2]), theta:narrow(1, first[2], sizes[2]), 0)
    local one = theta - bk.grad(f[3])(theta) * 0.1
    close("first", moved:narrow(1, first[3], sizes[3]), one:narrow(1, first[3], sizes[3]), 1e-14)
    local fields = { bk.grad(f[1]), bk.grad(f[2]), bk.grad(f[3]) }
    local a = bk.bea.game{ losses = fields, players = sizes, lr = .1 }
    local b = bk.bea.game{ losses = f, players = sizes, lr = .1 }
    close("fields", a:word():log(3)(theta), b:word():log(3)(theta))
    close("fields' terms", a:terms(theta).interaction[2], b:terms(theta).interaction[2])
    lu.assertEquals(b:step(theta:to("float32")):dtype(), "float32")
end

function TestGame.test_errors()
    local f, sizes, theta = nets(2, 13)
    local function refused(message, change)
        local o = { losses = f, players = sizes, lr = .1 }
        for name, value in pairs(change) do o[name] = value end
        lu.assertErrorMsgContains("bk.bea.game", bk.bea.game, o)
        lu.assertErrorMsgContains(message, bk.bea.game, o)
    end
    refused("losses: expected two or more", { losses = { f[1] } })
    refused("players: expected 2", { players = { 3 } })
    refused("players[2]: expected a number", { players = { 3, 0 } })
    refused("players[2]: its parameters", { players = { { 1, 5 }, { 5, 3 } } })
    refused("lr: expected 2", { lr = { .1 } })
    refused("lr: player 2", { lr = { .1, 0 / 0 } })
    refused("play", { play = "together" })
    refused("alternating", { steps = { 1, 2 } })
    refused("steps: player 1", { steps = { 1.5, 2 }, play = "alternating" })
    refused("unknown option", { rate = 1 })
    refused("lr", { lr = "x" })
    local game = bk.bea.game{ losses = f, players = sizes, lr = .1 }
    lu.assertErrorMsgContains("theta: expected the players'", game.step, game, bk.zeros{ 3 })
    lu.assertErrorMsgContains("theta: expected the players'", game.terms, game, bk.zeros{ 3 })
    lu.assertErrorMsgContains("players[1]: its parameters end at 9", function()
        bk.bea.game{ losses = f, players = { { 8, 2 }, { 1, 1 } }, lr = .1 }:step(bk.zeros{ 4 })
    end)
    lu.assertErrorMsgContains("losses[2]", function()
        local g = bk.bea.game{ losses = { f[1], function(t) return t:narrow(1, 1, 2) end }, players = sizes, lr = .1 }
        g:step(theta)
    end)
    lu.assertErrorMsgContains("game:step: expected what bk.bea.game returns", game.step, theta)
    lu.assertErrorMsgContains("game:regularised: player", game.regularised, game, 3)
    lu.assertErrorMsgContains("unknown option", game.regularised, game, 1, { strength = 0 })
end

local shared = (os.getenv("BRACKET_SHARED") or "../shared") .. "/reference/"
local file = io.open(shared .. "any_step.lua")
if not file then return end
file:close()

function TestGame.test_another_implementations_values()
    local r, want = dofile(shared .. "derivatives.lua")[1], dofile(shared .. "any_step.lua")
    lu.assertEquals(r.name, want.network)
    local function tensor(t) return bk.tensor(t.data):reshape(t.shape) end
    local model, L = bk.nn.mlp{ activation = r.model.activation, table.unpack(r.model.mlp) }, {}
    for i = 1, #r.x do L[i] = bk.loss.mse(model, tensor(r.x[i]), tensor(r.y[i])) end
    local losses = { L[want.game.losses[1]], L[want.game.losses[2]] }
    for _, play in ipairs{ "simultaneous", "alternating" } do
        local game = bk.bea.game{ losses = losses, players = want.game.players, lr = 1, play = play }
        for k, value in pairs(want.game[play]) do
            close(play .. k, game:word():term(tonumber(k))(bk.tensor(r.theta)), bk.tensor(value), 1e-9)
        end
    end
end

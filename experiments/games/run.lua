-- What does the step size do to a game? The discretization terms of two players, simultaneous and alternating, and what
-- becomes of convergence when they are cancelled: on the Dirac-GAN, whose flow runs in circles, and on a small GAN.
local bk = require "bracket"
local experiment = dofile((arg[0]:match("^.*/") or "") .. "../common.lua")
local say = experiment.say
local o = experiment.options(arg, { rounds = 400, lr = 0.1, examples = 128, hidden = 16, gan_rounds = 2000,
    gan_lr = 0.2, out = "" },
    { rounds = 40, examples = 32, hidden = 4, gan_rounds = 40 })
local began = os.time()

-- The plays: name, play, strengths of the self and interaction terms (1 leaves a term as it is).
local PLAYS = {
    { "simultaneous", "simultaneous", 1, 1 },
    { "  no interaction", "simultaneous", 1, 0 },
    { "  no self", "simultaneous", 0, 1 },
    { "  neither", "simultaneous", 0, 0 },
    { "alternating", "alternating", 1, 1 },
    { "  no interaction", "alternating", 1, 0 },
    { "  no self", "alternating", 0, 1 },
    { "  neither", "alternating", 0, 0 },
}

-- The game at these rates, its discretization terms at these strengths.
local function game(problem, play, h, self, interaction)
    local plain = bk.bea.game{ losses = problem.losses, players = problem.players, lr = h, play = play }
    if self == 1 and interaction == 1 then return plain, plain end
    local fields = {}
    for i = 1, 2 do fields[i] = plain:regularised(i, { self = self, interaction = interaction }) end
    return bk.bea.game{ losses = fields, players = problem.players, lr = h, play = play }, plain
end

local function norm(list)
    local sum = 0
    for _, v in ipairs(list) do sum = sum + v:dot(v):item() end
    return math.sqrt(sum)
end

-- Every play from theta: how far the rounds end from the flow of the game and from that of its second-order field, and
-- measure(theta) at CHECKS equal times.
local CHECKS = 5
local function table_of(problem, theta, h, rounds)
    local flow, series, at = bk.bea.game{ losses = problem.losses, players = problem.players, lr = h }:field(1),
        { problem.measure(theta) }, theta
    local span = math.max(1, rounds // CHECKS)
    local function times(f)
        for k = 1, CHECKS do series[k + 1] = f(k) end
        return series
    end
    local function line(name, terms, gap, list)
        local cells = {}
        for k, value in ipairs(list) do cells[k] = ("%-9s"):format(value < 1e6 and ("%.4g"):format(value) or "-") end
        say("%-20s %-20s %-22s %s", name, terms, gap, table.concat(cells, " "))
    end
    say("%-20s %-20s %-22s %s after 0, %d, ..., %d rounds", "", "|self| |interaction|", "from flow, order 2   ",
        problem.measured, span, CHECKS * span)
    local ends = {}
    line("flow of the game", "", "", times(function(k)
        at = bk.flow(flow, at, { time = span * h, rtol = 1e-8, atol = 1e-10 })
        ends[k] = at
        return problem.measure(at)
    end))
    local curves = { { label = "flow", y = table.move(series, 1, CHECKS + 1, 1, {}) } }
    for _, p in ipairs(PLAYS) do
        local name, play, self, interaction = table.unpack(p)
        local g, plain = game(problem, play, h, self, interaction)
        local terms = plain:terms(theta)
        local modified, first_gap = plain:field(2), nil
        at = theta
        times(function(k)
            for _ = 1, span do at = g:step(at) end
            if k == 1 then first_gap = (at - ends[1]):norm():item() end
            return problem.measure(at)
        end)
        local gap = ("%.3g"):format(first_gap)
        if self == 1 and interaction == 1 then
            local second = bk.flow(modified, theta, { time = span * h, rtol = 1e-8, atol = 1e-10 })
            local stepped = theta
            for _ = 1, span do stepped = g:step(stepped) end
            gap = gap .. (", %.3g"):format((stepped - second):norm():item())
            curves[#curves + 1] = { label = play, y = table.move(series, 1, CHECKS + 1, 1, {}) }
        elseif self == 0 and interaction == 0 and play == "simultaneous" then
            curves[#curves + 1] = { label = "simultaneous, terms cancelled",
                y = table.move(series, 1, CHECKS + 1, 1, {}) }
        end
        line(name, self == 1 and interaction == 1 and ("%-7.3g %-7.3g"):format(norm(terms.self) / h,
            norm(terms.interaction) / h) or "", gap, series)
    end
    for _, c in ipairs(curves) do
        c.x = {}
        for k = 0, CHECKS do c.x[k + 1] = k * span end
    end
    return curves
end

say("Discretization terms of games: what a finite step size does, and what cancelling it does\n"
    .. "(|self|, |interaction|: norms of the two parts of the second term of a round, per unit time, at the start;\n"
    .. "distances from the flow of the game, and of its field of order 2, at the first of %d equal times)", CHECKS)

-- ---- Dirac-GAN (Mescheder et al. 2018): data at 0, a generator at t[1], a discriminator t[2] x; of sum zero ----
local function fooled(t) return -(t[1] * t[2]):softplus() end
local function caught(t) return (t[1] * t[2]):softplus() end
local dirac = { players = { 1, 1 }, losses = { fooled, caught }, measured = "distance from (0, 0)",
    measure = function(t) return t:norm():item() end }
say("\nDirac-GAN, h = %g, from (1, 0.5)", o.lr)
local left = table_of(dirac, bk.tensor{ 1, 0.5 }, o.lr, o.rounds)
for _, play in ipairs{ "simultaneous", "alternating" } do
    local slopes = {}
    for k, row in ipairs(game(dirac, play, o.lr, 1, 1):verify{ theta = bk.tensor{ 1, 0.5 } }) do
        slopes[k] = ("%.3f"):format(row.slope)
    end
    say("order check, %s: slopes %s (2, 3, 4)", play, table.concat(slopes, ", "))
end

-- ---- a GAN of images averaged to 4 by 4 ----
local data, _, source = experiment.data(o, o.examples)
local x = bk.avgpool2d(data.x:to("float64"):reshape{ o.examples, 1, 28, 28 }, 7):reshape{ o.examples, 16 }
local z = bk.rng(o.seed):normal{ o.examples, 4 }
local G = bk.nn.mlp{ 4, o.hidden, 16, activation = "tanh" }
local D = bk.nn.mlp{ 16, o.hidden, 1, activation = "tanh" }
local function parts(t) return t:narrow(1, 1, G.n_params), t:narrow(1, G.n_params + 1, D.n_params) end
local function generator(t) -- not saturating
    local g, d = parts(t)
    return (-D:forward(d, G:forward(g, z))):softplus():mean()
end
local function discriminator(t)
    local g, d = parts(t)
    return (-D:forward(d, x)):softplus():mean() + D:forward(d, G:forward(g, z)):softplus():mean()
end
local gan = { players = { G.n_params, D.n_params }, losses = { generator, discriminator },
    measured = "|mean of G - mean of data|", measure = function(t)
        return (G:forward((parts(t)), z):mean(1) - x:mean(1)):norm():item()
    end }
local theta = bk.concat{ G:init{ seed = o.seed }, D:init{ seed = o.seed + 1 } }
say("\nGAN, %s averaged to 4 by 4, %d images; generator 4-%d-16, discriminator 16-%d-1 tanh; h = %g", source,
    o.examples, o.hidden, o.hidden, o.gan_lr)
local right = table_of(gan, theta, o.gan_lr, o.gan_rounds)
say("\n%d s", experiment.clock(began))

if o.out ~= "" then
    local function panel(title, ylabel, curves)
        local p = { title = title, xlabel = "rounds", ylabel = ylabel, logy = true, key = "lower" }
        for k, c in ipairs(curves) do p[k] = c end
        return p
    end
    experiment.plot{ panels = { panel("Dirac-GAN", "distance from (0, 0)", left),
        panel("GAN on images", "|mean of G - mean of data|", right) }, columns = 2, out = o.out }
end

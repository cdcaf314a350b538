-- bk.bea.game: players with losses and coordinates of their own. G_i is the gradient of player i's loss in its
-- coordinates; a step of it is a step of the field that is G_i there and 0 elsewhere, so a game is a word. The second
-- term of its logarithm is, in player i's coordinates, -m_i h_i times the derivative of G_i along sum_j e_ij G_j,
--     e_ii = h_i / 2,    e_ij = m_j h_j / 2, negative where j has moved before i     (m steps of rate h)
-- and what comes of e_ii is the self term, the rest the interaction.
local bk = ...
local refuse, show, public = bk._options.refuse, bk._options.show, bk.internal.public
local game = {}
game.__index = game
game.__name = "bracket.game"

local function fail(...) refuse("bk.bea.game: %s", string.format(...)) end

-- ---- options ----

local function read_players(given, n)
    local players, first = {}, 1
    if #given ~= n then fail("players: expected %d, one a loss, got %d", n, #given) end
    for i, p in ipairs(given) do
        local from, size = first, p
        if type(p) == "table" then
            from, size = p[1], p[2]
            bk._options.list("bk.bea.game", ("players[%d]"):format(i), p, "{first, size}")
            if p[3] ~= nil then fail("players[%d]: expected {first, size}, got a third entry, %s", i, show(p[3])) end
        end
        from, size = math.tointeger(from), math.tointeger(size)
        if not from or not size or from < 1 or size < 1 then
            fail("players[%d]: expected a number of parameters or {first, size}, got %s", i, show(p))
        end
        for j, q in ipairs(players) do
            if from < q.first + q.size and q.first < from + size then
                fail("players[%d]: its parameters %d..%d are player %d's too", i, from, from + size - 1, j)
            end
        end
        players[i] = { first = from, size = size }
        first = from + size
    end
    return players, type(given[1]) ~= "table" and first - 1 or nil
end

-- A number for all players or a list of one each.
local function each(name, given, n, fits, expected)
    local list = {}
    if type(given) == "table" and #given ~= n then fail("%s: expected %d, one a player, got %d", name, n, #given) end
    for i = 1, n do
        local value = given
        if type(given) == "table" then value = given[i] end
        if not fits(value) then fail("%s: player %d: expected %s, got %s", name, i, expected, show(value)) end
        list[i] = value
    end
    return list
end

local function is_rate(x) return type(x) == "number" and x - x == 0 end
local function is_count(x) return type(x) == "number" and (math.tointeger(x) or 0) >= 1 end

-- ---- fields ----

local function block(p, t) return t:narrow(1, p.first, p.size) end

-- base with values[i] in place of player i's parameters.
local function place(players, base, values)
    local order, parts, at = {}, {}, 1
    for i, v in pairs(values) do order[#order + 1] = { p = players[i], v = v } end
    table.sort(order, function(a, b) return a.p.first < b.p.first end)
    local function fill(to)
        if to >= at then parts[#parts + 1] = base:narrow(1, at, to - at + 1) end
    end
    for _, o in ipairs(order) do
        fill(o.p.first - 1)
        parts[#parts + 1] = o.v
        at = o.p.first + o.p.size
    end
    fill(base:shape()[1])
    return bk.concat(parts, 1)
end

-- G_i, of player i's size.
local function own_field(self, i)
    local F, p = self.losses[i], self.players[i]
    return function(t)
        self:check(t)
        local y = F(t)
        if y:ndim() ~= 0 then
            if y:ndim() ~= 1 or y:shape()[1] ~= t:shape()[1] then
                fail("losses[%d]: expected a loss (a 0-d tensor) or a field of theta's shape (%d), got %s", i,
                    t:shape()[1], bk._options.shape_text(y))
            end
            return block(p, y)
        end
        return bk.grad(function(z) return F(place(self.players, t, { [i] = z })) end)(block(p, t))
    end
end

-- sum_j weights[j] G_j, each in its place.
local function weighted(self, t, weights)
    local values = {}
    for j, w in pairs(weights) do values[j] = self.own[j](t) * w end
    return place(self.players, t * 0, values)
end

local function derivative(self, i, t, weights)
    return select(2, bk.jvp(self.own[i], { t }, { weighted(self, t, weights) }))
end

function game:check(t)
    if not bk.is_tensor(t) then fail("theta: expected a tensor, got %s", show(t)) end
    local shape = t:shape()
    if #shape ~= 1 then fail("theta: expected one dimension, got (%s)", table.concat(shape, ",")) end
    if self.total and shape[1] ~= self.total then
        fail("theta: expected the players' %d parameters one after the other, got (%d)", self.total, shape[1])
    end
    for i, p in ipairs(self.players) do
        if p.first + p.size - 1 > shape[1] then
            fail("players[%d]: its parameters end at %d, theta's at %d", i, p.first + p.size - 1, shape[1])
        end
    end
end

-- Player i's e_ij: the self term's and the interaction's.
local function directions(self, i)
    local own, others = { [i] = self.lr[i] / 2 }, {}
    for j = 1, #self.players do
        local sign = self.play == "alternating" and j < i and -1 or 1
        if j ~= i then others[j] = sign * self.steps[j] * self.lr[j] / 2 end
    end
    return own, others
end

-- ---- the object ----

local function new(o)
    local n = #o.losses
    if n < 2 then fail("losses: expected two or more, got %d", n) end
    local self = setmetatable({ losses = o.losses, play = o.play, own = {}, fields = {} }, game)
    self.players, self.total = read_players(o.players, n)
    self.lr = each("lr", o.lr, n, is_rate, "a finite rate")
    self.steps = each("steps", o.steps, n, is_count, "a whole number >= 1")
    self.rate = 0
    for i = 1, n do
        self.own[i] = own_field(self, i)
        self.rate = self.rate + self.lr[i] / n
        if self.steps[i] ~= 1 and self.play ~= "alternating" then
            fail('steps: player %d takes %d steps; steps other than 1 need play = "alternating"', i, self.steps[i])
        end
    end
    if self.rate == 0 then fail("lr: expected a mean rate other than 0") end
    local word = {}
    if self.play == "simultaneous" then
        local shares = {}
        for i = 1, n do shares[i] = self.lr[i] / self.rate end
        word[1] = { function(t) return weighted(self, t, shares) end, self.rate }
    else
        for i = 1, n do
            local field = function(t) return weighted(self, t, { [i] = 1 }) end
            for _ = 1, self.steps[i] do word[#word + 1] = { field, self.lr[i] } end
        end
    end
    self.steps_word = bk.bea.word(word)
    self.parts = bk.compile(function(t)
        local list = {}
        for i = 1, n do
            local scale, own, others = -self.steps[i] * self.lr[i], directions(self, i)
            list[i], list[n + i] = derivative(self, i, t, own) * scale, derivative(self, i, t, others) * scale
        end
        return table.unpack(list)
    end)
    return self
end

local function check_self(self, name) bk._options.own(self, game, "game:" .. name, "bk.bea.game") end

function game:word()
    check_self(self, "word")
    return self.steps_word
end

function game:field(k)
    check_self(self, "field")
    local log, rate = self.steps_word:log(k), self.rate
    self.fields[k] = self.fields[k] or function(t) return log(t) / rate end
    return self.fields[k]
end

function game:terms(theta)
    check_self(self, "terms")
    self:check(theta)
    local list, n = { self.parts(theta) }, #self.players
    return { self = table.move(list, 1, n, 1, {}), interaction = table.move(list, n + 1, 2 * n, 1, {}) }
end

function game:step(theta)
    check_self(self, "step")
    self:check(theta)
    return self.steps_word:step(theta)
end

function game:verify(options)
    check_self(self, "verify")
    return self.steps_word:verify(options)
end

game.regularised = bk.define{
    name = "game:regularised",
    arguments = { "i" },
    returns = "field",
    doc = [[
What player i descends so that the two parts of its second term act at these strengths: 1 leaves a part, 0 cancels it,
-1 flips it. Of theta's shape, 0 outside the player's coordinates; it stands in a game or word where the loss stood.
What is added is of first order in the rates, so it leaves the other players' terms as they are.]],
    errors = "no such player",
    source = "Rosca et al. 2021, explicit regularisation",
    options = {
        { "self", "number", default = 1, doc = "strength of what its own steps do" },
        { "interaction", "number", default = 1, doc = "strength of what the others' moves do to it" },
    },
    call = function(self, i, strengths)
        check_self(self, "regularised")
        if math.type(i) ~= "integer" or not self.players[i] then
            refuse("game:regularised: player: expected 1..%d, got %s", #self.players, show(i))
        end
        local own, weights = directions(self, i)
        for j, e in pairs(weights) do weights[j] = e * (strengths.interaction - 1) end
        weights[i] = own[i] * (strengths.self - 1)
        return function(t)
            return place(self.players, t * 0, { [i] = self.own[i](t) + derivative(self, i, t, weights) })
        end
    end,
}

game.word = public(game.word, "game:word() -> word\nThe steps of one round: one step of all players at once, or theirs in turn.")
game.field = public(game.field, [[
game:field(k) -> field
The word's logarithm to order k over the mean of the players' rates: its flow for that time is one round, up to
O(h^(k+1)).]])
game.terms = public(game.terms, [[
game:terms(theta) -> { self = {v1, v2, ...}, interaction = {v1, v2, ...} }
The two parts of the word's second term, each in its player's coordinates. self: what a player's own steps do, minus the
gradient of its m h^2/4 |grad_i f_i|^2; interaction: what the others' moves do to it.]])
game.step = public(game.step, "game:step(theta) -> theta'\nOne round.")
game.verify = public(game.verify, "game:verify{ theta = theta, ... } -> rows\nThe order check of one round: word:verify.")
return bk.define{
    name = "bk.bea.game",
    returns = "game",
    doc = [[
Two or more players, each descending its own loss in its own coordinates; theta holds the players' parameters one after
the other. The word of one round, its logarithm, and the two parts of its second term.
Methods: word, field, terms, step, verify, regularised.]],
    errors = "players that share parameters; a theta that is not theirs",
    source = "Rosca et al. 2021 (2105.13922); Hairer, Lubich & Wanner ch. IX",
    options = {
        { "losses", "list", required = true,
            doc = "{f1, f2, ...}; a field may stand for a loss: its player takes its own coordinates of it" },
        { "players", "list", required = true,
            doc = "{n1, n2, ...} parameters each, or ranges {first, size}, which may leave parameters out" },
        { "lr", "number|list", required = true, doc = "h, or {h1, h2, ...}" },
        { "play", { "simultaneous", "alternating" }, default = "simultaneous",
            doc = "all from the same theta, or in turn, player 1 first" },
        { "steps", "number|list", default = 1, doc = "steps of each player's turn; other than 1 only alternating" },
    },
    call = new,
}

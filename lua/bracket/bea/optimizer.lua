-- bk.bea.optimizer: the modified equation of an optimizer with memory. The state before a step lies on the slow
-- manifold S(theta) = S0 + h S1 + h^2 S2, the step there is U(theta, S), the state after it P = A(theta, S). With D_i
-- the derivative along F_i, S = exp(-h D_F) P and (exp(h D_F) - 1) theta = -h U give, order by order,
--     S1 = P1 - D1 S0     S2 = P2 - D1 P1 - D2 S0 + 1/2 D1 D1 S0     P1 = A' S1, P2 = A' S2 + 1/2 A''(S1, S1)
--     F1 = -U0   F2 = -U1 - 1/2 D1 F1   F3 = -U2 - 1/2 (D1 F2 + D2 F1) - 1/6 D1 D1 F1
-- A' is lower triangular with the betas on its diagonal: the S are solved for state by state.
local bk = ...
local refuse, show, public = bk._options.refuse, bk._options.show, bk.internal.public
local update = bk.bea._update
local equation = {}
equation.__index = equation
equation.__name = "bracket.equation"

-- ---- the fields, on traced tensors ----

-- g, U0 and the list S0 at theta.
local function base(self, theta)
    local u = self.update
    local g, s = self.slope(theta), u:rest(theta)
    for _, i in ipairs(u.turn) do
        local _, after = u:call(theta, g, u.late, update.off_zero(s))
        s[i] = after[i] / (1 - u.beta[i])
    end
    return g, u:call(theta, g, u.late, update.off_zero(s)), s
end

-- The lists of f's values and of their derivatives along v.
local function along(f, theta, v)
    local both = table.pack(bk.jvp(function(t) return table.unpack(f(t)) end, { theta }, { v }))
    local n = #both // 2
    return table.move(both, 1, n, 1, {}), table.move(both, n + 1, 2 * n, 1, {})
end

-- Solves (1 - beta_i) S_i = (A' of the states before it)_i + right_i.
local function solve(u, theta, g, s, right)
    local solved = {}
    for _, i in ipairs(u.turn) do
        local r = right[i]
        if next(u.feeds[i]) then
            local _, from = u:along(theta, g, u.late, s, solved)
            r = r + from[i]
        end
        solved[i] = r / (1 - u.beta[i])
    end
    return solved
end

local function first(self, theta)
    local _, u, s = base(self, theta)
    return { u, table.unpack(s) }
end

-- All there is at second order; memory: the weight of the memory's part of F2. -U1 - 1/2 D1 F1 is one derivative of the
-- step: along S1 in the state, less half of what F1 moves.
local function second(self, theta, memory)
    local u, n = self.update, self.update.n
    local g, u0, s0 = base(self, theta)
    local r = { g = g, F1 = -u0, S0 = s0, at = update.off_zero(s0) }
    local _, moved = along(function(t)
        local slope, _, s = base(self, t)
        return { slope, table.unpack(s) }
    end, theta, r.F1)
    r.D1g, r.D1S0, r.P1 = moved[1], table.move(moved, 2, n + 1, 1, {}), {}
    local right, both = {}, {}
    for i = 1, n do right[i] = -r.D1S0[i] end
    r.S1 = solve(u, theta, g, r.at, right)
    for i = 1, n do
        r.P1[i] = r.S1[i] + r.D1S0[i]
        both[i] = r.S1[i] * (memory or 1) - r.D1S0[i] * 0.5
    end
    r.F2 = -u:along(theta, g, u.late, r.at, both, r.F1 * -0.5, r.D1g * -0.5)
    return r
end

-- The parts of F2 by themselves.
local function flat(self, theta, r) -- D1 F1
    return -self.update:along(theta, r.g, self.update.late, r.at, r.D1S0, r.F1, r.D1g)
end
local function memory(self, theta, r) -- U1
    return (self.update:along(theta, r.g, self.update.late, r.at, r.S1))
end

local function third(self, theta)
    local u, n = self.update, self.update.n
    local r = second(self, theta)
    local _, D1 = along(function(t) -- of F2, D1 F1, D1 S0, P1
        local at = second(self, t)
        local list = { at.F2, flat(self, t, at) }
        table.move(at.D1S0, 1, n, 3, list)
        return table.move(at.P1, 1, n, n + 3, list)
    end, theta, r.F1)
    local _, D2 = along(function(t) return first(self, t) end, theta, r.F2) -- of -F1, S0
    local bent, bent_state = nil, {} -- the second derivatives of step and state along S1
    if n > 0 then
        local list = table.pack(bk.jvp(function(...)
            local step, state = u:along(theta, r.g, u.late, { ... }, r.S1)
            return step, table.unpack(state)
        end, r.at, r.S1))
        bent = list[n + 2]
        table.move(list, n + 3, 2 * n + 2, 1, bent_state)
    end
    local right = {}
    for i = 1, n do
        right[i] = bent_state[i] * 0.5 - D1[2 + n + i] - D2[1 + i] + D1[2 + i] * 0.5
    end
    r.S2 = solve(u, theta, r.g, r.at, right)
    local U2 = u:along(theta, r.g, u.late, r.at, r.S2)
    if bent then U2 = U2 + bent * 0.5 end
    r.F3 = -U2 - (D1[1] - D2[1]) * 0.5 - D1[2] * (1 / 6)
    return r
end

local function orders(self, theta, k, weight)
    if k == 1 then
        local _, u = base(self, theta)
        return { F1 = -u }
    end
    return k == 2 and second(self, theta, weight) or third(self, theta)
end

-- F1 + ... + h^(order-1) F_order
local function field(self, h, order, weight)
    return bk.compile(function(theta)
        local r = orders(self, theta, order, weight)
        local sum = r.F1
        if order > 1 then sum = sum + r.F2 * h end
        if order > 2 then sum = sum + r.F3 * h ^ 2 end
        return sum
    end)
end

-- ---- the object ----

local function check_order(where, k)
    if math.type(k) ~= "integer" or k < 1 or k > 3 then
        refuse("%s: order: expected 1, 2 or 3, got %s", where, show(k))
    end
end

local function check_theta(where, theta)
    if not bk.is_tensor(theta) or theta:dtype() == "int64" then
        refuse("%s: theta: expected a tensor of floats, got %s", where, show(theta))
    end
end

local function check_self(self, name) bk._options.own(self, equation, "equation:" .. name, "bk.bea.optimizer") end

local function kept(self, key, make)
    if not self.cache[key] then self.cache[key] = make() end
    return self.cache[key]
end

function equation:term(k)
    check_self(self, "term")
    check_order("equation:term", k)
    return kept(self, "term" .. k, function()
        return bk.compile(function(theta) return orders(self, theta, k)["F" .. k] end)
    end)
end

function equation:field(k)
    check_self(self, "field")
    if k == nil then k = 2 end
    check_order("equation:field", k)
    return kept(self, "field" .. k, function() return field(self, self.lr, k) end)
end

-- sum_n U0 - U(the optimizer's own state after n steps of the gradient at theta), nil where every part is rounding.
local function displacement(self, theta)
    local u, sum, slowest = self.update, nil, 0
    local values = table.pack(kept(self, "base", function()
        return bk.compile(function(t)
            local g, u0, s0 = base(self, t)
            return g, u0, table.unpack(s0)
        end)
    end)(theta))
    local g, u0 = values[1], values[2]
    local tolerance = theta:dtype() == "float32" and 1e-5 or 1e-12
    local least, s, small = u0:norm():item() * tolerance, u:rest(theta), 0
    for _, beta in ipairs(u.beta) do slowest = math.max(slowest, math.abs(beta)) end
    local most = slowest > 0 and math.ceil(math.log(tolerance) / math.log(slowest)) + 2 or 2
    for n = 1, most do
        local step
        step, s = u:call(theta, g, n, s)
        local part = u0 - step
        small = part:norm():item() <= least and small + 1 or 0
        if small == 0 then sum = sum and sum + part or part end
        if small == 2 then break end
    end
    return sum
end

function equation:start(theta)
    check_self(self, "start")
    check_theta("equation:start", theta)
    local sum = displacement(self, theta)
    return sum and theta + sum * self.lr or theta:clone()
end

function equation:terms(theta)
    check_self(self, "terms")
    check_theta("equation:terms", theta)
    local parts = kept(self, "parts", function()
        return bk.compile(function(t)
            local all, plain, h = second(self, t), second(self.plain, t), self.lr
            local total = all.F1 + all.F2 * h
            return (flat(self.plain, t, plain) * (h / 2)):norm(), (memory(self.plain, t, plain) * h):norm(),
                total:norm(), (total - (plain.F1 + plain.F2 * h)):norm()
        end)
    end)
    local flatness, memory_norm, total, decay = parts(theta)
    local value = self.loss(theta)
    return { original = value:ndim() == 0 and value:item() or nil, flatness = flatness:item(),
        memory = memory_norm:item(), decay = decay:item(), total_norm = total:item() }
end

-- One step as a compiled function of theta and the state, all corrections at their limit, or of their step's number.
local function stepper(self, h)
    local u = self.update
    return bk.compile(function(theta, t, ...)
        local step, state = u:call(theta, self.slope(theta), t, { ... })
        return theta - step * h, table.unpack(state)
    end)
end

local FLOW_STEPS = 3000 -- where the series holds a few hundred do; at a corner no number would

local CONTROLS = { no_memory = { memory = 0 }, flipped = { memory = -1 }, no_start = { memory = 1, stay = true } }

local function check_verify(self, o)
    check_self(self, "verify")
    check_theta("equation:verify", o.theta)
    if o.control and CONTROLS[o.control].stay and o.from ~= "rest" then
        refuse('equation:verify: control: "no_start" is for from = "rest", got from = "manifold"')
    end
    for _, k in ipairs(o.orders) do check_order("equation:verify: orders", k) end
    for _, scale in ipairs(o.scales) do
        if type(scale) ~= "number" or not (scale > 0 and scale < math.huge) then
            refuse("equation:verify: scales: expected numbers > 0, got %s", show(scale))
        end
    end
    if #o.scales == 0 or math.max(table.unpack(o.scales)) == math.min(table.unpack(o.scales)) then
        refuse("equation:verify: scales: expected two or more that differ, for a slope, got %s alone", show(o.scales[1]))
    end
end

-- The state on the slow manifold at theta as a series in the rate: terms of order 0 for each average, of order 1, ...
local function manifold(self, theta)
    local n = self.update.n
    local terms = bk.compile(function(t) -- to second order always: without it an average of squares may be negative
        local r = orders(self, t, 3)
        local list = table.move(r.S0, 1, n, 1, {})
        table.move(r.S1, 1, n, n + 1, list)
        return table.unpack(table.move(r.S2 or {}, 1, n, 2 * n + 1, list))
    end)
    return n > 0 and table.pack(terms(theta)) or {}
end

-- theta after n steps of rate h; series: nil from rest, else the manifold's, where the state begins.
local function discrete(self, theta, series, h, n)
    local u = self.update
    local s, step = u:rest(theta), stepper(self, h)
    for i, v in ipairs(series or {}) do
        local of = (i - 1) % u.n + 1
        s[of] = s[of] + v * h ^ ((i - 1) // u.n)
    end
    local values = { theta, table.unpack(s) }
    for t = 1, n do
        values = table.pack(step(values[1], bk.tensor(series and u.late or t), table.unpack(values, 2, u.n + 1)))
    end
    if (values[1] - values[1]):norm():item() ~= 0 then
        error(("equation:verify: rate %g: the steps lead to values that are not finite; the rate is too large, "
            .. "or with averages not small against 1 - beta"):format(h), 0)
    end
    return values[1]
end

-- theta after the flow of that order, for as long as n steps of rate h; weight: of the memory in order 2.
local function continuous(self, theta, order, weight, h, n, o)
    local ok, flow = pcall(bk.flow, field(self, h, order, weight), theta,
        { time = n * h, rtol = o.rtol, atol = o.atol, max_steps = FLOW_STEPS })
    if ok then return flow end
    local why = tostring(flow):match("bk%.flow: .*")
    if not why then error(flow, 0) end
    error(("equation:verify: order %d at rate %g: %s; the rate is not small enough for this series, or a "
        .. "component of the gradient has reached 0, where an update that divides by its size is stiff")
        :format(order, h, why), 0)
end

local function verify(self, o)
    check_verify(self, o)
    local control, theta = o.control and CONTROLS[o.control] or { memory = 1 }, o.theta:to("float64")
    local series = o.from == "manifold" and manifold(self, theta) or nil
    local moved = o.from == "rest" and not control.stay and displacement(self, theta) or nil
    local result = {}
    for k, order in ipairs(o.orders) do result[k] = { order = order, expected = order, errors = {} } end
    local part = bk._progress.parts("equation:verify", #o.scales * (1 + #o.orders))
    for _, scale in ipairs(o.scales) do
        local h = self.lr * scale
        local n = math.floor(o.time / math.abs(h) + 0.5)
        if n < 1 then refuse("equation:verify: time: expected at least one step of %g, got %g", h, o.time) end
        local steps = discrete(self, theta, series, h, n)
        part()
        for _, row in ipairs(result) do
            local flow = continuous(self, moved and theta + moved * h or theta, row.order, control.memory, h, n, o)
            row.errors[#row.errors + 1] = (flow - steps):norm():item()
            part()
        end
    end
    for _, row in ipairs(result) do row.slope = bk.statistics.slope(o.scales, row.errors) end
    return result
end

equation.verify = bk.define {
    name = "equation:verify",
    options = {
        { "theta", "tensor", required = true, doc = "where the steps begin" },
        { "time", "positive", default = 1, doc = "of the flow; the steps are as many as fit" },
        { "scales", "list", default = { 1, 1 / 2, 1 / 4 }, says = "{1, 1/2, 1/4}", doc = "of the rate, one run each" },
        { "orders", "list", default = { 1, 2, 3 }, says = "{1, 2, 3}", doc = "the fields that are compared" },
        { "from", { "manifold", "rest" }, default = "manifold", doc = "the state before the first step: on the slow "
            .. "manifold, corrections at their limit; or none, corrections real, the flow starting at equation:start" },
        { "control", { "no_memory", "flipped", "no_start" }, doc = "order 2 without the memory's part, or with its "
            .. "sign flipped; the flow from theta in place of start (from rest): the slope has to fall" },
        { "rtol", "positive", default = 1e-12, doc = "of the flow" },
        { "atol", "positive", default = 1e-14, doc = "of the flow" },
    },
    returns = "{ { order, slope, expected, errors }, ... }",
    doc = [[
Whether it holds: the distance, after a fixed time, of the optimizer and the flow of the field of each order, one error
a scale; the fitted slope of its logarithm against log h is k for order k where the update is smooth and h small
against 1 - beta. From rest the start is known to first order: slopes 1 and 2.]],
    call = verify,
}

equation.term = public(equation.term, [[
equation:term(k) -> field
F_k of bk.bea.optimizer, k = 1..3, without h: a compiled function of theta.]])
equation.field = public(equation.field, [[
equation:field(k) -> field
F1 + h F2 + ... + h^(k-1) F_k of bk.bea.optimizer, per unit time; a step lasts h. k = 2 unless told.]])
equation.start = public(equation.start, [[
equation:start(theta) -> theta'
Where the flow starts when the optimizer starts at theta with no memory, to first order: theta + h sum_n [u(q) -
u(m_n)], m_n its averages after n steps of the gradient at theta, corrections included. Adam, whose averages are then
exact at once: theta itself. Heavy ball: theta + h beta g/(1 - beta)^2. The sum is run, as long as the slowest memory
lasts.]])
equation.terms = public(equation.terms, [[
equation:terms(theta) -> { original, flatness, memory, decay, total_norm }
original: the loss (nil where a field was given). Norms of the parts of F1 + h F2 beyond F1: flatness |h/2 F1' F1|,
memory |h u' M1|, both without weight decay; decay |F1 + h F2 less the same without weight decay|, by the option
weight_decay; total_norm |F1 + h F2|.]])

return bk.define {
    name = "bk.bea.optimizer",
    options = {
        { "loss", "any", required = true, doc = "a loss, or a field, which stands where its gradient would" },
        { "optimizer", "any", required = true,
            doc = "of bk.optim, bk.optim.custom included; its state is not touched" },
        { "lr", "number", required = true, doc = "the rate h" },
        { "theta", "tensor", doc = "what the formula is tried on, for one that works on some size or dtype alone" },
    },
    returns = "equation",
    doc = [[
The modified equation of an optimizer with memory: the field whose flow its steps follow once the memories have
settled on their slow manifold, F1 + h F2 + h^2 F3 per unit time, a step lasting h. Everything is read off the update's
formula: any optimizer without a state (sgd), or whose states are averages s <- beta s + (1 - beta) q (heavy ball's
scale is as good), q of theta, of the gradient, and of averages that do not depend on s in turn. Those of bk.optim are
(adam, adamw, heavy_ball, momentum_ema, nesterov, rmsprop), and bk.optim.custom may be; a sum (Adagrad) or a maximum
(AMSGrad) is none. Corrections for the start are at their limit.
    m = bk.bea.optimizer{ loss = L, optimizer = bk.optim.adam{}, lr = 1e-3 }
    m:term(k), m:field(k)      F_k; F1 + ... + h^(k-1) F_k, k = 1..3
    m:start(theta)             where the flow starts when the optimizer starts at theta with no memory
    m:terms(theta)             what F1 + h F2 is made of, in numbers
    m:verify{ theta = theta }  whether it holds
Order 2 of Adam on an MLP costs about 3.5 gradients. h must be small against 1 - beta: the series is in h/(1 - beta).
Where the update is not smooth the orders are fewer. Adam's and RMSProp's root of a mean of squares is |g|, which has
a corner where a component of the gradient crosses 0, rounded off only by an eps that is not small against it: F1 and
F2 hold away from such places, a crossing costs the third order and, with a small eps, the second (the field turns
within eps there, and its flow is stiff); with eps inside the root (one's own formula) all three hold. A sign has no
derivative: F1 alone. A component that is 0 for good does not move and does no harm.]],
    formula = "F1 = -u(q), F2 = -u'(q) M1 - 1/2 F1' F1 with M1 = -E[k] q' F1, E[k] = beta/(1 - beta); heavy ball: "
        .. "F2 = -(1 + beta)/(2 (1 - beta)^3) H g.",
    errors = "a state that is no such average (a maximum, a sum), by name; a step that goes on changing with o.t.",
    source = "Ghosh et al. 2023; Cattaneo, Klusowski & Shigida 2024; Cattaneo & Shigida 2025.",
    call = function(o)
        local where = "bk.bea.optimizer"
        local self = setmetatable({ lr = o.lr, optimizer = o.optimizer, cache = {} }, equation)
        self.slope, self.loss = update.field(o.loss, where, "option loss")
        self.update = update.new(o.optimizer, where)
        local probe = o.theta or bk.tensor { 0.5, -1, 2, -0.25, 1.5 }
        self.update:analyse(probe)
        self.plain = self
        if (o.optimizer.weight_decay or 0) ~= 0 then
            self.plain = setmetatable({ lr = o.lr, slope = self.slope }, equation)
            self.plain.update = update.new(o.optimizer:with { weight_decay = 0 }, where)
            self.plain.update:analyse(probe)
        end
        return self
    end,
}

-- bk.bea.reshuffled: one epoch of m losses, each once, in a random order. What the steps do on average is a modified
-- loss; how much they scatter about it follows from the brackets alone. A step of an optimizer is measured only.
local bk = ...
local refuse, show, public = bk._options.refuse, bk._options.show, bk.internal.public
local stream, statistics = bk.stream, bk.statistics
local directions = bk.bea._directions
local reshuffled = {}
reshuffled.__index = reshuffled
reshuffled.__name = "bracket.reshuffled"
local ALL = 6 -- losses whose m! orders are all tried

local function check_self(self, name)
    bk._options.own(self, reshuffled, "reshuffled:" .. name, "bk.bea.reshuffled")
end

-- ---- the predictions ----
function reshuffled:loss()
    check_self(self, "loss")
    return self.modified
end

-- sum_{i<j} |b_ij|^2 + sum_i |sum_j b_ij|^2, b_ij = [g_i, g_j], two products a pair; nothing larger than two lists of m
-- vectors is held.
local function exact(d, theta)
    local m, squares, rows = #d, 0, {}
    local g = directions.fields(d, theta)
    for i = 1, m do
        for j = i + 1, m do
            local b = d[j].along(theta, g[i]) - d[i].along(theta, g[j])
            squares = squares + b:dot(b):item()
            rows[i] = rows[i] and rows[i] + b or b
            rows[j] = rows[j] and rows[j] - b or -b
        end
    end
    for _, row in ipairs(rows) do squares = squares + row:dot(row):item() end
    return squares
end

-- The same by E <z, v>^2 = |v|^2 over signs z: <z, b_ij> = <H_j z, g_i> - <H_i z, g_j>. A list, one number a probe.
local function probed(d, theta, probes, seed)
    local g, values, rng = directions.rows(directions.fields(d, theta)), {}, bk.rng(seed)
    local shape = theta:shape()
    shape.a, shape.b = -1, 1
    for k = 1, probes do
        local z = rng:uniform(shape):sign()
        local pairs = directions.pairs(d, theta, g, z) -- (m, m), antisymmetric
        local rows = pairs:sum(2)
        values[k] = pairs:dot(pairs):item() / 2 + rows:dot(rows):item()
    end
    return values
end

local function variance(self, theta, options)
    check_self(self, "variance")
    theta = directions.point("reshuffled:variance", theta)
    if options.seed and not options.probes then refuse("reshuffled:variance: seed: needs probes") end
    local scale = self.lr ^ 4 / 12
    if not options.probes then return scale * exact(self.directions, theta) end
    local values = probed(self.directions, theta, options.probes, options.seed or 0)
    local found = statistics.interval(values)
    local standard_error = #values > 1 and found.sd / math.sqrt(#values) or math.huge
    return scale * found.mean, scale * standard_error
end

-- ---- the steps themselves ----
local function gradient_steps(self, h)
    return { state = function() end, restore = function() end,
        step = function(theta, i) return theta - self.directions[i].field(theta) * h end }
end

local function optimizer_steps(self, optimizer, h)
    return { state = function() return optimizer:state() end,
        restore = function(saved) optimizer:restore(saved) end,
        step = function(theta, i) return optimizer:step(theta, self.directions[i].field(theta), h) end }
end

local function run(steps, theta, order, from, to, by)
    for s = from, to, by do theta = steps.step(theta, order[s]) end
    return theta
end

-- Calls visit(end) for every order; orders with a beginning in common share its steps. paired: each order is followed
-- by its reverse.
local function every_order(steps, m, theta, paired, visit)
    local order, used = {}, {}
    local function extend(at)
        if #order == m then return visit(paired and run(steps, at, order, m, 1, -1) or at) end
        local saved = steps.state()
        for i = 1, m do
            if not used[i] then
                steps.restore(saved)
                local moved = steps.step(at, i)
                used[i], order[#order + 1] = true, i
                extend(moved)
                used[i], order[#order] = nil, nil
            end
        end
    end
    extend(theta)
end

-- Drawn orders, each with its reverse: what is odd in the order cancels in their mean.
local function drawn_orders(steps, m, theta, paired, visit, count, seed)
    local source, saved = stream.new(stream.key(seed, 5)), steps.state()
    for _ = 1, (count + 1) // 2 do
        local order = stream.permutation(source, m)
        for _, way in ipairs{ { 1, m, 1 }, { m, 1, -1 } } do
            steps.restore(saved)
            local at = run(steps, theta, order, way[1], way[2], way[3])
            visit(paired and run(steps, at, order, way[2], way[1], -way[3]) or at)
        end
    end
end

local function draws(m, o) return m > ALL or o.orders ~= nil end

-- How many orders are run through.
local function n_orders(m, o)
    if draws(m, o) then return 2 * (((o.orders or 200) + 1) // 2) end
    local n = 1
    for k = 2, m do n = n * k end
    return n
end

-- Mean and mean squared distance from it of the ends, in one pass (Welford): { mean, variance, orders }.
local function scatter(self, theta, h, o, part)
    local m, n, mean, squares = #self.directions, 0, nil, 0
    local steps = o.optimizer and optimizer_steps(self, o.optimizer, h) or gradient_steps(self, h)
    local function visit(at)
        n = n + 1
        if part then part() end
        if not mean then
            mean = at
        else
            local off = at - mean
            mean = mean + off / n
            squares = squares + off:dot(at - mean):item()
        end
    end
    if draws(m, o) then
        drawn_orders(steps, m, theta, o.paired, visit, o.orders or 200, o.seed or 0)
    else
        every_order(steps, m, theta, o.paired, visit)
    end
    return { scale = h / self.lr, lr = h, mean = mean, variance = squares / n, orders = n }
end

local function checked(self, name, o)
    local m = #self.directions
    if o.seed and not draws(m, o) then refuse("%s: seed: all %d! orders are run, none is drawn; orders draws", name, m) end
    o.scales, o.theta = o.scales or { 1, 1 / 2, 1 / 4 }, directions.point(name, o.theta)
    if #o.scales == 0 then refuse("%s: scales: expected a list of numbers, got an empty one", name) end
    bk._options.numbers(name, "scales", o.scales)
    for k, s in ipairs(o.scales) do
        if type(s) ~= "number" or not (s > 0 and s < math.huge) then
            refuse("%s: scales: entry %d: expected a finite number > 0, got %s", name, k, show(s))
        end
    end
end

local function scatter_of(self, o)
    check_self(self, "scatter")
    checked(self, "reshuffled:scatter", o)
    local optimizer, saved = o.optimizer, nil
    if optimizer ~= nil then
        local ok, state = pcall(function() return type(optimizer.step) == "function" and optimizer:state() end)
        if not ok or not state then
            refuse("reshuffled:scatter: optimizer: expected one of bk.optim, such as bk.optim.adam{}, got %s",
                bk._options.show(optimizer))
        end
        saved = state
    end
    local list = {}
    local done, message = pcall(function()
        for k, scale in ipairs(o.scales) do
            if optimizer then optimizer:reset() end
            list[k] = scatter(self, o.theta, self.lr * scale, o)
        end
    end)
    if optimizer then optimizer:restore(saved) end
    if not done then error(message, 0) end
    return list
end

local WEIGHT = { none = 1, no_flatness = 0, flipped = -1 }

local function verify(self, o)
    check_self(self, "verify")
    checked(self, "reshuffled:verify", o)
    local weight = WEIGHT[o.control]
    if math.max(table.unpack(o.scales)) == math.min(table.unpack(o.scales)) then
        refuse("reshuffled:verify: scales: expected two or more that differ, for a slope, got %s alone", o.scales[1])
    end
    local m, rates, errors, variances, smallest = #self.directions, {}, {}, {}, nil
    local part = bk._progress.parts("reshuffled:verify", #o.scales * n_orders(m, o))
    for k, scale in ipairs(o.scales) do
        local h = self.lr * scale
        local found = scatter(self, o.theta, h, o, part)
        local descent = bk.grad(self.modified_at(h * weight))
        local at = bk.flow(function(t) return -descent(t) end, o.theta, { time = m * h })
        rates[k], errors[k], variances[k] = math.abs(h), (found.mean - at):norm():item(), found.variance
        if not smallest or h < smallest.lr then smallest = found end
    end
    local predicted = smallest.lr ^ 4 / 12 * exact(self.directions, o.theta)
    return { mean = statistics.slope(rates, errors), variance = statistics.slope(rates, variances),
        ratio = smallest.variance / predicted, mean_errors = errors, variances = variances, orders = smallest.orders }
end

-- ---- the object ----
local function new(options)
    local losses = options.losses
    local self = setmetatable({ lr = options.lr,
        directions = directions.of("bk.bea.reshuffled", losses, true) }, reshuffled)
    local m, kept = #losses, table.move(losses, 1, #losses, 1, {})
    function self.modified_at(h) -- (1/m) sum L_k + (h/4m) sum |g_k|^2
        return bk.compile(function(theta)
            local sum
            for k, L in ipairs(kept) do
                local g = self.directions[k].field(theta)
                local part = L(theta) + (g * g):sum() * (h / 4)
                sum = sum and sum + part or part
            end
            return sum / m
        end)
    end
    self.modified = self.modified_at(self.lr)
    return self
end

reshuffled.loss = public(reshuffled.loss, [[
reshuffled:loss() -> loss
(1/m) sum L_k + (h/4m) sum |g_k|^2, a function of theta. For time m h its gradient flow is the mean over the orders of
the epoch's end, up to O(h^3): the conflict averages out.]])
reshuffled.variance = bk.define{
    name = "reshuffled:variance",
    arguments = { "theta" },
    returns = "variance [, standard error]",
    doc = [[
What an epoch's end scatters over the orders: the mean squared distance from their mean. m gradients and m (m - 1)
products; with probes m gradients and k m products, by <z, [g_i, g_j]> = <H_j z, g_i> - <H_i z, g_j> over random signs
z, and the standard error of the mean over the probes (infinite for one).]],
    formula = "(h^4/12) [ sum_{i<j} |[g_i, g_j]|^2 + sum_i |[g_i, G]|^2 ] + O(h^5), G = sum g_j",
    options = {
        { "probes", "count", says = "exact", doc = "k, random vectors in place of all brackets" },
        { "seed", "integer", says = "0", doc = "of the probes" },
    },
    call = variance,
}

-- The options of what runs the steps, after its own.
local function scattered(own)
    return table.move(own, 1, #own, 5, {
        { "theta", "tensor", required = true, doc = "where the epoch starts" },
        { "scales", "list", says = "{1, 1/2, 1/4}", doc = "what the rate is multiplied by" },
        { "orders", "count", says = "all m! up to m = 6, else 200", doc = "drawn, each with its reverse" },
        { "seed", "integer", says = "0", doc = "of the orders drawn" },
    })
end

reshuffled.scatter = bk.define{
    name = "reshuffled:scatter",
    returns = "{ {scale, lr, mean, variance, orders}, ... }",
    doc = [[
What the steps do: for the rate times each scale, the mean of the epoch's end over the orders (a tensor), the mean
squared distance from it, and how many orders that were. Slopes of the variance in h: 4 for gradient steps, 2 with
momentum (the memory), 6 for paired gradient steps.]],
    options = scattered{
        { "optimizer", "any", doc = "its steps, from a fresh state, in place of gradient steps; its own state stays" },
        { "paired", "boolean", default = false, doc = "an epoch and then the same in reverse" },
    },
    call = scatter_of,
}

reshuffled.verify = bk.define{
    name = "reshuffled:verify",
    returns = "{ mean, variance, ratio, mean_errors, variances, orders }",
    doc = [[
mean: slope in h of the distance between the mean end and the flow of loss() for time m h (3); variance: slope of the
measured variance (4); ratio: measured over predicted variance at the smallest scale (1 in the limit). Behind them:
mean_errors, variances (one a scale) and orders.]],
    options = scattered{
        { "control", { "none", "no_flatness", "flipped" }, default = "none",
            doc = "the term of order h left out or of the wrong sign: mean falls to 2" },
    },
    call = verify,
}

return bk.define{
    name = "bk.bea.reshuffled",
    returns = "reshuffled",
    doc = [[
One epoch of gradient steps, each loss once, in a random order. In float64 whatever theta's dtype.
Methods: loss, variance, scatter, verify.]],
    errors = "fewer than two losses, or a field where a loss has to stand.",
    source = "the loss: Smith et al. 2021; the variance from brackets: this program",
    options = {
        { "losses", "list", required = true, doc = "{L1, ..., Lm}" },
        { "lr", "number", required = true, doc = "h, of every step" },
    },
    call = new,
}

-- bk.bea.order_gap: what the order of two steps changes, measured and predicted, under any optimizer.
local bk = ...
local update = bk.bea._update

-- Where a step on x and then one on y lead from a fresh state, and the two orders of it in the rates,
--     -h1 U(theta, g_x, s0) - h2 U(theta, g_y, s1)   and   h1 h2 D[theta -> U(theta, g_y, s1)] U(theta, g_x, s0),
-- s1 the state after the first step.
local function both_steps(u, theta, x, y, h1, h2)
    local first, s = u:call(theta, x(theta), 1, u:rest(theta))
    local at = theta - first * h1
    local second = u:call(at, y(at), 2, s)
    local fixed = update.off_zero(s)
    local step, change = bk.jvp(function(t) return (u:call(t, y(t), 2, fixed)) end, { theta }, { first })
    return at - second * h2, first * -h1 - step * h2, change * (h1 * h2)
end

return bk.define {
    name = "bk.bea.order_gap",
    arguments = { "A", "B" },
    options = {
        { "lr", "number|list", required = true, doc = "the rate, or {rate of A's step, rate of B's}" },
        { "optimizer", "any", doc = "of bk.optim, bk.optim.custom included (default: gradient steps); its state is not "
            .. "touched" },
    },
    returns = "function(theta) -> { measured, predicted }",
    doc = [[
theta_AB - theta_BA, one step on A and one on B in both orders, each from a fresh state with the corrections that the
optimizer makes for it. measured: by running them. predicted: the first two Taylor coefficients in h. Gradient steps
have the second alone, hA hB [g_A, g_B]; an optimizer's memory adds a first: -h b(1 - b)(g_A - g_B) for momentum
m <- b m + (1 - b) g. Vectors of theta's shape. A and B are losses or fields. Two gradients and two products.
At rest the averages of squares are 0, so the first step of Adam or RMSProp is h times a sign: the prediction holds
where h moves no component of the gradients across 0.]],
    errors = "an optimizer that is no formula (a table of functions).",
    call = function(a, b, o)
        local where = "bk.bea.order_gap"
        local hA, hB = o.lr, o.lr
        if type(o.lr) == "table" then
            hA, hB = o.lr[1], o.lr[2]
            for _, h in ipairs { #o.lr == 2 and hA or 0 / 0, hB } do
                if type(h) ~= "number" or h - h ~= 0 then
                    bk._options.refuse("%s: lr: expected a rate, or {rate of A, rate of B}, finite numbers", where)
                end
            end
        end
        local x, y = update.field(a, where, "A"), update.field(b, where, "B")
        local u = update.new(o.optimizer or bk.optim.sgd {}, where)
        local gaps = bk.compile(function(theta)
            local ab, ab1, ab2 = both_steps(u, theta, x, y, hA, hB)
            local ba, ba1, ba2 = both_steps(u, theta, y, x, hB, hA)
            return ab - ba, (ab1 - ba1) + (ab2 - ba2)
        end)
        return function(theta)
            local measured, predicted = gaps(theta)
            return { measured = measured, predicted = predicted }
        end
    end,
}

-- reference_test.lua - every value of an independent float64 autodiff, key by key: gradients, Hessian-vector products,
-- third derivatives, brackets, modified losses, words and their flows. One network's values are in the repository
-- (reference_facts.lua); when the shared folder is there (BRACKET_SHARED, or ../shared), all of its networks too.
local bk = require "bracket"
local lu = require "luaunit"
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"

local function tensor(t, dtype)
    return bk.tensor(t.data, { dtype = dtype }):reshape(t.shape)
end

local function build(spec)
    if spec.mlp then
        local sizes = { table.unpack(spec.mlp) }
        sizes.activation = spec.activation
        return bk.nn.mlp(sizes)
    end
    local layers = {}
    for i, text in ipairs(spec.sequential) do
        local kind, a, b, k = text:match("^(%a+%d?d?)%s*(%d*)%-?>?(%d*)%s*(%d*)")
        a, b, k = tonumber(a), tonumber(b), tonumber(k)
        if kind == "conv2d" then
            layers[i] = bk.nn.conv2d { a, b, kernel = k }
        elseif kind == "avgpool" then
            layers[i] = bk.nn.avgpool2d { a }
        elseif kind == "linear" then
            layers[i] = bk.nn.linear { a, b }
        else
            layers[i] = bk.nn[kind]()
        end
    end
    return bk.nn.sequential(layers)
end

local function relative(got, want)
    if type(want) == "number" then
        got = type(got) == "number" and got or got:item()
        return math.abs(got - want) / math.max(math.abs(want), 1e-300)
    end
    got = type(got) == "table" and got or got:reshape { -1 }:totable()
    lu.assertEquals(#got, #want)
    local worst, size = 0, 0
    for i = 1, #want do
        local d = math.abs(got[i] - want[i])
        if d ~= d then return math.huge end
        worst, size = math.max(worst, d), math.max(size, math.abs(want[i]))
    end
    return size > 0 and worst / size or worst
end

local function close(what, got, want, tolerance)
    local r = relative(got, want)
    lu.assertTrue(r <= (tolerance or 1e-9), ("%s: relative difference %.3g"):format(what, r))
end

local function each(list, f)
    for i, want in ipairs(list) do f(i, want) end
end

-- One check a key. r: the facts, s: { L = losses, theta, v, g = gradients }.
local checks = {}
function checks.n_params(r, s) lu.assertEquals(s.model.n_params, r.n_params) end
function checks.losses(r, s) each(r.losses, function(i, want) close("loss", s.L[i](s.theta), want) end) end
function checks.grad(r, s) each(r.grad, function(i, want) close("grad", s.g[i], want) end) end
function checks.hvp_v(r, s)
    each(r.hvp_v, function(i, want) close("hvp_v", bk.hvp(s.L[i])(s.theta, s.v), want) end)
end
function checks.hvp_grad(r, s)
    each(r.hvp_grad, function(i, want) close("hvp_grad", bk.hvp(s.L[i])(s.theta, s.g[i]), want) end)
end
function checks.third_gg(r, s)
    each(r.third_gg, function(i, want)
        local g = s.g[i]
        local _, t = bk.jvp(function(p) return bk.hvp(s.L[i])(p, g) end, { s.theta }, { g })
        close("third_gg", t, want)
    end)
end
function checks.bracket(r, s)
    for pair, want in pairs(r.bracket) do
        local i, j = pair:match("(%d+),(%d+)")
        close("bracket " .. pair, bk.lie(s.L[tonumber(i)], s.L[tonumber(j)])(s.theta), want)
    end
end
function checks.bracket_1_12(r, s)
    close("bracket_1_12", bk.lie(s.L[1], bk.lie(s.L[1], s.L[2]))(s.theta), r.bracket_1_12)
end
function checks.grad_half_sqnorm_bracket_12(r, s)
    local b = bk.lie(s.L[1], s.L[2])
    local penalty = bk.grad(function(p)
        local u = b(p)
        return u:dot(u) * 0.5
    end)
    close("grad_half_sqnorm_bracket_12", penalty(s.theta), r.grad_half_sqnorm_bracket_12)
end
function checks.multitask(r, s)
    local m, want = bk.bea.multitask { losses = s.L, lr = r.lr }, r.multitask
    local t = m:terms(s.theta)
    close("multitask original", t.original, want.original)
    close("multitask flatness", t.flatness, want.flatness)
    close("multitask conflict", t.conflict, want.conflict)
    close("multitask total", t.total, want.modified_loss)
    close("multitask loss", m:loss()(s.theta), want.modified_loss)
    close("multitask grad", m:grad(s.theta), want.modified_grad)
    close("multitask grad of loss", bk.grad(m:loss())(s.theta), want.modified_grad)
end
function checks.continual(r, s)
    local m, want = bk.bea.continual { losses = s.L, lr = r.lr }, r.continual
    local t = m:terms(s.theta)
    close("continual original", t.original, want.original)
    close("continual flatness", t.flatness, want.flatness)
    close("continual conflict", t.conflict, want.conflict_field)
    close("continual conflict_norm", t.conflict_norm, bk.tensor(want.conflict_field):norm():item())
    close("continual field 2", m:field(2)(s.theta), want.modified_field_order2)
    close("continual field 3", m:field(3)(s.theta), want.modified_field_order3)
end
function checks.word(r, s)
    local steps, want = {}, r.word
    for k, step in ipairs(want.steps) do steps[k] = { s.L[step[1]], step[2] } end
    local w = bk.bea.word(steps)
    for i, row in ipairs(want.order_matrix) do
        for j, x in ipairs(row) do
            lu.assertAlmostEquals(w:order_matrix():totable()[i][j], x, 1e-15)
        end
    end
    for k = 1, 3 do close("log_order" .. k, w:term(k)(s.theta), want["log_order" .. k]) end
    close("endpoint", w:step(s.theta), want.endpoint)
    -- The reference's flows are Runge-Kutta's with 32 and 8 steps, their own error (up to 1e-6) included: the same
    -- method
    -- meets them to the last digits, the adaptive one meets the limit of many steps.
    for k, n in pairs { [2] = 32, [3] = 8 } do
        local z = w:log(k)
        close("flow_order" .. k, bk.flow(z, s.theta, { method = "rk4", steps = n }), want["flow_order" .. k])
        local limit = bk.flow(z, s.theta, { method = "rk4", steps = 500 }):totable()
        close("adaptive flow_order" .. k, bk.flow(z, s.theta), limit, 1e-10)
        close("converged flow_order" .. k, limit, want["flow_order" .. k], 1e-5)
    end
end
function checks.order_gap(r, s)
    local gap = bk.bea.order_gap(s.L[1], s.L[2], { lr = r.order_gap.lr })(s.theta)
    close("order gap measured", gap.measured, r.order_gap.theta_AB_minus_BA)
    close("order gap predicted", gap.predicted, r.order_gap.predicted)
end

local inputs = { name = 1, model = 1, loss = 1, theta = 1, v = 1, lr = 1, lrs = 1, x = 1, y = 1 }

local function check_network(r)
    local s = { model = build(r.model), theta = bk.tensor(r.theta), v = bk.tensor(r.v), L = {}, g = {} }
    for i = 1, #r.x do
        local y = tensor(r.y[i], r.loss == "cross_entropy" and "int64" or nil)
        s.L[i] = bk.loss[r.loss](s.model, tensor(r.x[i]), y)
        s.g[i] = bk.grad(s.L[i])(s.theta)
    end
    for key in pairs(r) do
        if not inputs[key] then
            lu.assertNotNil(checks[key], "no check for the key " .. key)
            checks[key](r, s)
        end
    end
end

TestReference = {}

function TestReference.test_the_facts_kept_here_are_reached()
    check_network(dofile(here .. "reference_facts.lua"))
end

local shared = (os.getenv("BRACKET_SHARED") or "../shared") .. "/reference/derivatives.lua"
local file = io.open(shared)
if file then
    file:close()
    for _, r in ipairs(dofile(shared)) do
        TestReference["test_every_value_of_" .. r.name] = function() check_network(r) end
    end
end

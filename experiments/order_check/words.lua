-- The main job's protocols: gradient steps on the three tasks, jointly and as words; the three terms, the slopes, and
-- the conflict left out or flipped. Called with the setup of run.lua; returns the figure's panels.
local bk = require "bracket"
local setup = ...
local h, theta, L, SCALES, say, judged = setup.h, setup.theta, setup.losses, setup.scales, setup.say, setup.judged

local function joint(t)
    local sum = L[1](t)
    for i = 2, #L do sum = sum + L[i](t) end
    return sum
end

-- A word is a list of { task, rate }; the joint protocol is one step on the sum.
local function steps(names, rates)
    local word = {}
    for s, task in ipairs(names) do word[s] = { task, rates and rates[task] or h } end
    return word
end

local PROTOCOLS = {
    { name = "joint 1+2+3", joint = true },
    { name = "1,2", word = steps{ 1, 2 } },
    { name = "1,2 two rates", word = steps({ 1, 2 }, { h, h / 2 }) },
    { name = "1,2,3", word = steps{ 1, 2, 3 } },
    { name = "1,2,2,1", word = steps{ 1, 2, 2, 1 } },
    { name = "1,1,2,2", word = steps{ 1, 1, 2, 2 } },
    { name = "1,2,1,3,2", word = steps{ 1, 2, 1, 3, 2 } },
}

-- ---- the three terms ----

local grads, losses = {}, {}
for i = 1, #L do
    local value, g = bk.value_and_grad(L[i])(theta)
    losses[i], grads[i] = value:item(), g
end

local function terms(p)
    if p.joint then
        return bk.bea.multitask{ losses = L, lr = h }:terms(theta)
    end
    -- a round lasts T, the mean rate of its steps: original and flatness are losses, the conflict a velocity
    local T = 0
    for _, step in ipairs(p.word) do T = T + step[2] / #p.word end
    local t = { original = 0, flatness = 0, effect = {} }
    for _, step in ipairs(p.word) do
        local g = grads[step[1]]
        t.original = t.original + step[2] * losses[step[1]] / T
        t.flatness = t.flatness + step[2] ^ 2 * g:dot(g):item() / (4 * T)
    end
    local displacement = p.conflict and p.bea:conflict()(theta) or theta * 0
    t.norm = displacement:norm():item() / T
    for i = 1, #L do t.effect[i] = grads[i]:dot(displacement):item() end
    return t
end

-- ---- the check ----

-- One step on the sum has no order, yet a conflict: the alignment (h/2) sum_{i<j} <g_i, g_j>. Its control flows the
-- modified gradient with that term times c, built here from gradients and products alone.
local function joint_control(c)
    local errors = {}
    for k, scale in ipairs(SCALES) do
        local rate = h * scale
        local function field(t)
            local g, sum = {}, nil
            for i = 1, #L do
                g[i] = bk.grad(L[i])(t)
                sum = sum and sum + g[i] or g[i]
            end
            local second = bk.hvp(joint)(t, sum) * c -- flatness and conflict together: H G = sum_ij H_i g_j
            for i = 1, #L do second = second + bk.hvp(L[i])(t, g[i]) * (1 - c) end
            return (sum + second * (rate / 2)) * -rate
        end
        local stop = bk.bea.word{ { joint, rate } }:step(theta)
        errors[k] = (bk.flow(field, theta, { max_steps = 1000 }) - stop):norm():item()
    end
    return { slope = setup.slope(errors), errors = errors }
end

local function check(p)
    local list = {}
    for s, step in ipairs(p.word or {}) do list[s] = { L[step[1]], step[2] } end
    if p.joint then list[1] = { joint, h } end
    p.bea = bk.bea.word(list)
    p.conflict = p.joint or p.bea:order_matrix():norm():item() > 0
    p.terms = terms(p)
    p.orders = p.bea:verify{ theta = theta, scales = SCALES, orders = { 1, 2, 3 } }
    if p.joint then
        p.without, p.flipped = joint_control(0), joint_control(-1)
    elseif p.conflict then
        p.without = p.bea:verify{ theta = theta, scales = SCALES, orders = { 2 }, control = "no_conflict" }[1]
        p.flipped = p.bea:verify{ theta = theta, scales = SCALES, orders = { 2 }, control = "flipped" }[1]
    end
end

-- ---- the report ----

for _, p in ipairs(PROTOCOLS) do check(p) end

say("")
say("The terms at the start. Joint step: three parts of the modified loss. Words: original and flatness, and the")
say("conflict, now a vector field: its norm, and what it does to each task's loss in one round.")
say("")
say("  %-14s %9s %10s %12s %36s", "protocol", "original", "flatness", "conflict", "effect on the loss of task 1, 2, 3")
for _, p in ipairs(PROTOCOLS) do
    local t = p.terms
    if p.joint then
        say("  %-14s %9.5f %10.6f %12.6f", p.name, t.original, t.flatness, t.conflict)
    else
        say("  %-14s %9.5f %10.6f %12s   %+11.3e %+11.3e %+11.3e", p.name, t.original, t.flatness,
            string.format("|%.6f|", t.norm), table.unpack(t.effect))
    end
end

say("")
say("Distance between the steps' end and the modified flow's end: fitted slope of its logarithm against log h.")
say("")
say("  %-14s %9s %9s %9s %14s %13s", "protocol", "order 1", "order 2", "order 3", "no conflict", "sign flipped")
say("  %-14s %8s  %8s  %8s  %13s  %12s", "expected", "2", "3", "4", "2", "2")
for _, p in ipairs(PROTOCOLS) do
    say("  %-14s %9s %9s %9s %14s %13s", p.name, judged(p, "order 1", p.orders[1], 2, 0.15),
        judged(p, "order 2", p.orders[2], 3, 0.15), judged(p, "order 3", p.orders[3], 4, 0.15),
        judged(p, "conflict left out", p.without, 2, 0.2), judged(p, "conflict flipped", p.flipped, 2, 0.2))
end
say("  (-: the order matrix W is 0, so there is no conflict to leave out)")

local panels = {}
for k, p in ipairs(PROTOCOLS) do
    panels[k] = { name = p.name, orders = p.orders, controls = {} }
    if p.without then panels[k].controls = { { "no conflict", p.without }, { "flipped", p.flipped } } end
end
return panels

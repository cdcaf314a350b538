local bk = ...
local last_batch = bk.intervention._last_batch
local cache = setmetatable({}, { __mode = "k" })

-- Of a field, which has no loss, they are there.
local function derivatives(f)
    if not f.loss then return f.grad, f.hvp end
    return bk.grad(f.loss), bk.hvp(f.loss)
end

-- The gradient of 1/2 |[g_1, g_2]|^2, compiled once per pair of loss functions.
local function penalty_gradient(f1, f2)
    local first, key = f1.loss or f1.grad, f2.loss or f2.grad
    local of = cache[first]
    if not of then
        of = setmetatable({}, { __mode = "k" })
        cache[first] = of
    end
    if not of[key] then
        local g1, h1 = derivatives(f1)
        local g2, h2 = derivatives(f2)
        of[key] = bk.grad(function(theta, x1, y1, x2, y2, ...) -- ...: the step's seed and buffers, where there are any
            local b = h2(theta, g1(theta, x1, y1, ...), x2, y2, ...) - h1(theta, g2(theta, x2, y2, ...), x1, y1, ...)
            return b:dot(b) * 0.5
        end)
    end
    if not f1.mode then return of[key] end
    return function(theta, x1, y1, x2, y2) return of[key](theta, x1, y1, x2, y2, f1.mode()) end
end

return bk.define{
    name = "bk.intervention.bracket_penalty",
    returns = "intervention",
    doc = [[
Adds to the gradient that of (w/2) sum |[g_i, g_j]|^2. Joint steps: over all pairs; otherwise over the pairs of the
step's task with every task visited before, on its last batch; both at the step's draws.]],
    formula = "T_2(g_1,b) + H_1 H_2 b - T_1(g_2,b) - H_2 H_1 b for a pair, b = [g_1, g_2]",
    options = {
        { "weight", "number", required = true, doc = "w" },
    },
    call = function(options)
        local weight = options.weight
        return {
            name = "bracket_penalty",
            doc = "adds the gradient of weight/2 sum_{i<j} |[g_i, g_j]|^2",
            weight = weight,
            begin_run = function(_, memory) memory.last = {} end,
            before_step = function(state, memory)
                local function add(i, xi, yi, j, xj, yj)
                    local g = penalty_gradient(state.f[i], state.f[j])(state.theta, xi, yi, xj, yj)
                    state.gradient = state.gradient + g * weight
                end
                if state.joint then
                    for i = 1, state.n_tasks do
                        for j = i + 1, state.n_tasks do
                            add(i, state.xs[i], state.ys[i], j, state.xs[j], state.ys[j])
                        end
                    end
                    return
                end
                for j = 1, state.n_tasks do
                    local at = memory.last[j]
                    if at and j ~= state.task then
                        local x, y = at.x, at.y
                        if not x then x, y = state.problem:again(j, at.epoch, at.first) end
                        add(state.task, state.x, state.y, j, x, y)
                    end
                end
                memory.last[state.task] = last_batch.of(state)
            end,
        }
    end,
}

local bk = ...
local last_batch = bk.intervention._last_batch

local function decay_of(state) return bk.measure.decay(state, "intervention conflict: the conflict") end

-- Joint: (c-1)(h/2) grad sum_{i<j} <g_i, g_j> = (c-1)(h/2) sum_i H_i (G - g_i).
local function joint(state, c)
    local G, added = state.gradient_sum, nil
    for i, g in ipairs(state.gradients) do
        local part = state.f[i].hvp(state.theta, G - g, state.xs[i], state.ys[i])
        added = added and added + part or part
    end
    local scale = (c - 1) * state.lr / 2 * state.reduction_scale ^ 2
    state.gradient = state.gradient + added * scale
end

-- The displacement (c-1)/2 sum over the window's blocks of H_b (G_before - G_after), G the rate-weighted gradients of
-- the other tasks' blocks: (c-1)/2 sum_{i<j} W_ij [g_i, g_j] for one block a task, with one product a block.
local function displace(state, memory, c)
    local blocks, n, decay = memory.blocks, #memory.blocks, decay_of(state)
    local total, before, by_task = nil, nil, {}
    for _, b in ipairs(blocks) do
        total = total and total + b.sum or b.sum
        by_task[b.task] = by_task[b.task] and by_task[b.task] + b.sum or b.sum
    end
    local own_before, moved = {}, nil
    for k = 1, n do
        local b = blocks[k]
        -- before - after over other tasks: 2 before + own_k - total, less the same of the block's own task
        local v = b.sum - total
        if before then v = v + before * 2 end
        local own = own_before[b.task]
        local mine = b.sum - by_task[b.task]
        if own then mine = mine + own * 2 end
        v = v - mine
        local part = last_batch.with(state, b.task, b.last, function(x, y)
            return state.f[b.task].hvp(state.theta, v, x, y)
        end)
        if decay ~= 0 then part = part + v * decay end
        part = part * b.rate
        moved = moved and moved + part or part
        before = before and before + b.sum or b.sum
        own_before[b.task] = own and own + b.sum or b.sum
    end
    state.theta = state.theta + moved * ((c - 1) / 2)
end

return bk.define{
    name = "bk.intervention.conflict",
    returns = "intervention",
    doc = [[
The implicit conflict term at strength c.
Joint steps: adds (c-1)(h/2) sum_i H_i (G - g_i) to the gradient, the gradient of (c-1)(h/2) sum_{i<j} <g_i, g_j>.
One task a step: after each window of n steps adds the displacement (c-1)/2 sum_{i<j} W_ij [g_i, g_j] of that window,
from the gradients the run computed itself (the optimizer's weight decay in them), by one Hessian-vector product for
each block of steps on one task (on the block's last batch, at that step's draws); after the run's last step that of
the steps since the last whole window. The term is that of gradient steps.]],
    errors = "a protocol whose optimizer is not sgd, or one's own that is the same.",
    options = {
        { "strength", "number", required = true,
            doc = "c: 1 leaves the term, bit for bit; 0 cancels, -1 flips, 2 doubles it" },
        { "window", "count", says = "one round of the order",
            doc = "n, steps between two displacements; one task a step" },
    },
    call = function(options)
        local c, window = options.strength, options.window
        if c == 1 then -- changes nothing, bit for bit
            return { name = "conflict", doc = "the conflict term at strength 1 (untouched)", strength = 1 }
        end
        return {
            name = "conflict",
            doc = "the implicit conflict term at strength " .. c,
            strength = c,
            needs_gradient_steps = true,
            begin_run = function(_, memory) memory.blocks = {} end,
            before_step = function(state, memory)
                local decay = decay_of(state)
                if state.joint then return joint(state, c) end
                local blocks = memory.blocks
                local last, step = blocks[#blocks], state.gradient * state.lr
                if decay ~= 0 then step = step + state.theta * (decay * state.lr) end
                if last and last.task == state.task then
                    last.sum, last.rate = last.sum + step, last.rate + state.lr
                else
                    last = { task = state.task, sum = step, rate = state.lr }
                    blocks[#blocks + 1] = last
                end
                last.last = last_batch.of(state)
            end,
            after_step = function(state, memory)
                if state.joint then return end
                local whole = state.step % (window or state.window) == 0
                if not whole and (#memory.blocks < 2 or state:reaches(state.step + 1)) then return end
                if #memory.blocks > 1 then displace(state, memory, c) end
                memory.blocks = {}
            end,
        }
    end,
}

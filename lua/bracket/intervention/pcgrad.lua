local bk = ...
local stream = bk.stream
return bk.define{
    name = "bk.intervention.pcgrad",
    returns = "intervention",
    doc = [[
Joint steps: each task's gradient is projected onto the normal plane of every other task's gradient it conflicts with
(negative inner product), in random order; the projected gradients are added. ]],
    source = "Yu et al. 2020, algorithm 1",
    options = {},
    call = function()
        return {
            name = "pcgrad",
            doc = "projects conflicting gradients (Yu et al. 2020)",
            needs_joint = true, replaces_gradient = true,
            begin_run = function(state, memory) memory.draw = { key = stream.key(state.seed, 3, 1), counter = 0 } end,
            before_step = function(state, memory)
                local n, sum, changed = state.n_tasks, nil, {}
                for i = 1, n do
                    local g = state.gradients[i]
                    for _, j in ipairs(stream.permutation(memory.draw, n)) do
                        if j ~= i then
                            local other = state.gradients[j]
                            local inner = g:dot(other):item()
                            if inner < 0 then g = g - other * (inner / other:dot(other):item()) end
                        end
                    end
                    changed[i] = g
                    sum = sum and sum + g or g
                end
                state.shared.projected = changed
                state.gradient = sum * state.reduction_scale
            end,
        }
    end,
}

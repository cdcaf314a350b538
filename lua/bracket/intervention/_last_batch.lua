-- A step's batch and draws for later: what a plain table, saved with the run, has to hold of them; and what computes at
-- them again.
local last_batch = {}

function last_batch.of(state)
    local set = state.batch_set -- by a hook: it cannot be gathered again
    return { epoch = state.batch_epoch, first = state.batch_first, step = state.step,
        x = set and state.x:clone() or nil, y = set and state.y:clone() or nil }
end

-- compute(x, y) with the batch of task i that is kept in `at`, the model at that step's draws.
function last_batch.with(state, i, at, compute)
    local x, y = at.x, at.y
    if not x then x, y = state.problem:again(i, at.epoch, at.first) end
    state.problem:begin_step(state.seed, at.step)
    local result = compute(x, y)
    state.problem:begin_step(state.seed, state.step)
    return result
end

return last_batch

-- An episodic memory: a reservoir sample (Vitter 1985) of the examples a run has trained on, kept as (task, id) pairs
-- in a plain table, so that a protocol's state holds it; batches are drawn from it into buffers of the run.
local bk = ...
local stream = bk.stream
local memory = {}

function memory.new(capacity, key) return { capacity = capacity, seen = 0, task = {}, id = {}, draw = { key = key,
    counter = 0 } } end

-- Offers the examples of the step just taken; the slots of those it keeps, by their place in the batch.
function memory.add(m, state)
    local task, slots = state.task, {}
    for place, id in ipairs(state.problem:ids(task, state.batch_epoch, state.batch_first)) do
        m.seen = m.seen + 1
        local slot = m.seen
        if slot > m.capacity then slot = stream.below(m.draw, m.seen) + 1 end
        if slot <= m.capacity then m.task[slot], m.id[slot], slots[place] = task, id, slot end
    end
    return slots
end

-- The mean gradient at state.theta over `size` examples: draw() -> task, id, of tasks that share their functions.
function memory.batch_gradient(state, size, draw)
    local problem, ids, first = state.problem, {}, nil
    for _ = 1, size do
        local task, id = draw()
        ids[task] = ids[task] or {}
        table.insert(ids[task], id)
        first = first or task
    end
    local like = problem.tasks[first].train
    local key = "memory" .. size .. like.y:dtype()
    local buffer = problem[key]
    if not buffer then
        local sx, sy = like.x:shape(), like.y:shape()
        sx[1], sy[1] = size, size
        buffer = { x = bk.zeros(sx, { dtype = like.x:dtype() }), y = bk.zeros(sy, { dtype = like.y:dtype() }) }
        problem[key] = buffer
    end
    local at = 1
    for task = 1, state.n_tasks do
        local list = ids[task]
        if list then
            local index = bk.tensor(list, { dtype = "int64" })
            bk.internal.gather(buffer.x, at, problem.tasks[task].train.x, index, 1, #list)
            bk.internal.gather(buffer.y, at, problem.tasks[task].train.y, index, 1, #list)
            at = at + #list
        end
    end
    return problem.tasks[first].training.grad(state.theta, buffer.x, buffer.y)
end

-- The mean gradient at state.theta over `size` examples drawn from the memory (with replacement, among the tasks for
-- which keep(task) holds); nil when there are none. Tasks that share their functions share one batch; otherwise one
-- task is drawn, each in proportion to its share of the memory, so that the estimate stays unbiased.
function memory.gradient(m, state, size, keep)
    local slots = {}
    for k = 1, #m.id do
        if keep(m.task[k]) then slots[#slots + 1] = k end
    end
    if #slots == 0 then return nil end
    local problem = state.problem
    local first = m.task[slots[stream.below(m.draw, #slots) + 1]]
    local f, mixed = problem.tasks[first].f, true
    for _, k in ipairs(slots) do mixed = mixed and problem.tasks[m.task[k]].f == f end
    if not mixed then
        local own = {}
        for _, k in ipairs(slots) do
            if m.task[k] == first then own[#own + 1] = k end
        end
        slots = own
    end
    return memory.batch_gradient(state, size, function()
        local k = slots[stream.below(m.draw, #slots) + 1]
        return m.task[k], m.id[k]
    end)
end

-- An intervention that keeps such a memory of options.memory examples and looks at it before every step:
-- use(state, g), g the mean gradient over options.batch (or as many as the step has) examples of the other tasks, nil
-- while there are none. `number` is its random stream's.
function memory.intervention(name, doc, options, number, use)
    return {
        name = name,
        doc = doc,
        needs_one_task = true,
        begin_run = function(state, own)
            own.reservoir = memory.new(options.memory, stream.key(state.seed, 3, number))
        end,
        before_step = function(state, own)
            local task = state.task
            local size = options.batch or state.problem.tasks[task].size
            use(state, memory.gradient(own.reservoir, state, size, function(i) return i ~= task end))
        end,
        after_step = function(state, own) memory.add(own.reservoir, state) end,
    }
end

return memory

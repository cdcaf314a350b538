local bk = ...

-- The examples ids of task i.
local function rows(state, i, ids)
    local t, at = state.problem.tasks[i], bk.tensor(ids, { dtype = "int64" })
    return bk.gather(t.train.x, at), bk.gather(t.train.y, at)
end

return bk.define{
    name = "bk.intervention.gem",
    returns = "intervention",
    doc = [[
Gradient episodic memory: keeps the last examples of every task. When the step's gradient g disagrees with the gradient
g_k on the examples of another task k, it is replaced by the nearest z that disagrees with none. With a margin z is
pushed further, towards their gradients.]],
    formula = "z = g + sum_k v_k g_k, v >= margin minimising |z|^2/2; margin 0: argmin |z - g|^2, <z, g_k> >= 0",
    source = "Lopez-Paz & Ranzato 2017",
    example = [[
> x, y = bk.rng(1):normal{40, 3}, bk.rng(2):integers({40}, 2)
> p = bk.protocol{model = bk.nn.mlp{3, 8, 2}, tasks = {{x = x, y = y}, {x = -x, y = y}}, lr = 0.1, steps = 5, batch = 8,
>>     interventions = {bk.intervention.gem{memory = 16}}}
> p:run{}.theta:shape()
{ 50 }]],
    options = {
        { "memory", "count", required = true, doc = "examples it holds of each task" },
        { "margin", "number", default = 0, low = 0, doc = "the least v" },
    },
    call = function(options)
        local capacity, margin = options.memory, options.margin
        return {
            name = "gem",
            doc = ("gradient episodic memory (Lopez-Paz & Ranzato 2017), %d examples a task"):format(capacity),
            needs_one_task = true,
            begin_run = function(_, memory) memory.ids, memory.next = {}, {} end,
            before_step = function(state, memory)
                local g, others, inner, least = state.gradient, {}, {}, 0
                for i = 1, state.n_tasks do
                    if i ~= state.task and memory.ids[i] and #memory.ids[i] > 0 then
                        local one = state.problem.tasks[i].training.grad(state.theta, rows(state, i, memory.ids[i]))
                        others[#others + 1] = one
                        inner[#inner + 1] = g:dot(one):item()
                        least = math.min(least, inner[#inner])
                    end
                end
                state.shared.memory_gradients = others
                if least >= 0 then return end
                local M, b = bk._gram(others), {} -- v = margin + s
                for k = 1, #others do
                    b[k] = inner[k]
                    for l = 1, #others do b[k] = b[k] + margin * M[k][l] end
                end
                local v = bk.intervention._cone.nonnegative(M, b)
                for k = 1, #v do v[k] = v[k] + margin end
                state.gradient = g + bk.intervention._aggregation.sum(others, v)
            end,
            after_step = function(state, memory)
                for i = 1, state.task do
                    memory.ids[i], memory.next[i] = memory.ids[i] or {}, memory.next[i] or 1
                end
                local ids, at = memory.ids[state.task], memory.next[state.task]
                for _, id in ipairs(state.problem:ids(state.task, state.batch_epoch, state.batch_first)) do
                    ids[at] = id
                    at = at % capacity + 1
                end
                memory.next[state.task] = at
            end,
        }
    end,
}

local bk = ...
local stream, episodes = bk.stream, bk.intervention._episodes

-- The memory after a task: as many examples of each of the tasks seen, drawn at random.
local function divide(m, state)
    local tasks, kept = {}, {}
    for k, task in ipairs(m.task) do
        kept[task] = kept[task] or {}
        table.insert(kept[task], m.id[k])
    end
    if not kept[state.task] then
        local n = state.problem.tasks[state.task].train.n
        kept[state.task] = table.move(stream.permutation(m.draw, n), 1, math.min(n, m.capacity), 1, {})
    end
    for task = 1, state.n_tasks do tasks[#tasks + 1] = kept[task] and task or nil end
    m.task, m.id = {}, {}
    for _, task in ipairs(tasks) do
        for k = 1, math.min(m.capacity // #tasks, #kept[task]) do
            m.task[#m.task + 1], m.id[#m.id + 1] = task, kept[task][k]
        end
    end
end

return bk.define{
    name = "bk.intervention.naive_rehearsal",
    returns = "intervention",
    doc = [[
Naive rehearsal: after each task the memory is divided anew, with as many random examples of it as of every task before;
from the second task on half of every batch is drawn from the memory: the step's gradient and that of as many examples
from there are averaged. Needs an order with task boundaries.]],
    source = "Hsu, Liu, Ramasamy & Kira 2018, Re-evaluating continual learning scenarios",
    example = [[
> x, y = bk.rng(1):normal{40, 3}, bk.rng(2):integers({40}, 2)
> p = bk.protocol{model = bk.nn.mlp{3, 8, 2}, tasks = {{x = x, y = y}, {x = -x, y = y}}, lr = 0.1, steps = 5, batch = 8,
>>     interventions = {bk.intervention.naive_rehearsal{memory = 20}}}
> p:run{}.theta:shape()
{ 50 }]],
    options = {
        { "memory", "count", required = true, doc = "examples it holds, of all tasks together" },
        { "batch", "count", says = "the step's", doc = "examples drawn from it for a step" },
    },
    call = function(options)
        return {
            name = "naive_rehearsal",
            doc = ("naive rehearsal (Hsu et al. 2018) of %d examples"):format(options.memory),
            needs_one_task = true,
            needs_blocks = true,
            begin_run = function(state, memory)
                memory.examples = episodes.new(options.memory, stream.key(state.seed, 3, 9))
            end,
            before_step = function(state, memory)
                local size = options.batch or state.problem.tasks[state.task].size
                local g = episodes.gradient(memory.examples, state, size, function() return true end)
                if g then state.gradient = (state.gradient + g) * 0.5 end
            end,
            end_task = function(state, memory) divide(memory.examples, state) end,
        }
    end,
}

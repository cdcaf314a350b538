local bk = ...
local stream, episodes = bk.stream, bk.intervention._episodes

-- How many examples tasks 1..i have together, and whether all tasks share their functions.
local function counts(state)
    local up_to, n, shared = {}, 0, true
    for i, t in ipairs(state.problem.tasks) do
        n = n + t.train.n
        up_to[i], shared = n, shared and t.f == state.problem.tasks[1].f
    end
    return up_to, n, shared
end

-- The example of that number among all tasks'.
local function find(up_to, k)
    local i = 1
    while k > up_to[i] do i = i + 1 end
    return i, k - (up_to[i - 1] or 0)
end

local function full(state, up_to, n)
    local sum
    for i, t in ipairs(state.problem.tasks) do
        local part = t.training.grad(state.theta, t.train.x, t.train.y) * ((up_to[i] - (up_to[i - 1] or 0)) / n)
        sum = sum and sum + part or part
    end
    return sum
end

local function drawn(state, s, size, up_to, n, shared)
    local first, count = 0, n
    if not shared then -- one task a step, by its share: unbiased
        local task = find(up_to, stream.below(s, n) + 1)
        first = up_to[task - 1] or 0
        count = up_to[task] - first
    end
    return episodes.batch_gradient(state, size, function() return find(up_to, first + stream.below(s, count) + 1) end)
end

return bk.define{
    name = "bk.intervention.joint_training",
    returns = "intervention",
    doc = [[
The joint upper bound of continual learning: as many steps on as many examples, but every batch is drawn from all tasks'
training examples together, in place of the step's task's; with batch = "full" a step follows the mean over all of
them. The model is in training, as in any step; batch_norm's running statistics are of the step's own batches. It is no
continual learner: it shows what there is to lose. Where tasks have heads, a step's batch is one task's, drawn by its
share.]],
    source = "the joint (offline, multi-task) baseline of Chaudhry et al. 2019 and van de Ven & Tolias 2019",
    example = [[
> x, y = bk.rng(1):normal{40, 3}, bk.rng(2):integers({40}, 2)
> p = bk.protocol{model = bk.nn.mlp{3, 8, 2}, tasks = {{x = x, y = y}, {x = -x, y = y}}, lr = 0.1, steps = 5, batch = 8,
>>     interventions = {bk.intervention.joint_training{}}}
> p:run{}.theta:shape()
{ 50 }]],
    options = {},
    call = function()
        return {
            name = "joint_training",
            doc = "batches from all tasks together (joint upper bound)",
            needs_one_task = true,
            replaces_gradient = true,
            begin_run = function(state, memory) memory.draw = { key = stream.key(state.seed, 3, 10), counter = 0 } end,
            before_step = function(state, memory)
                local up_to, n, shared = counts(state)
                local t = state.problem.tasks[state.task]
                state.gradient = t.full and full(state, up_to, n) or drawn(state, memory.draw, t.size, up_to, n, shared)
            end,
        }
    end,
}

-- Trial runs of a protocol that has not begun: whole orders or what follows a prefix, with the run's own batches, rates
-- and optimizer, without its interventions. A point { theta, step, optimizer, buffers } is where a trial stands between
-- two tasks. trial.cost counts what was spent, in gradients of one example; a forward pass is a third of one.
local bk = ...
local refuse = bk._options.refuse
local stream, gather = bk.stream, bk.internal.gather
local trial = {}
trial.__index = trial

-- m examples of a part { x, y, n }, drawn by the key.
local function drawn(part, m, key)
    if part.n <= m then return part end
    local rows = bk.rng(key):permutation(part.n)
    local function taken(source)
        local shape = source:shape()
        shape[1] = m
        local result = bk.zeros(shape, { dtype = source:dtype() })
        gather(result, 1, source, rows, 1, m)
        return result
    end
    return { x = taken(part.x), y = taken(part.y), n = m }
end

-- What the value is of: the examples of every task, of one of them, or of a target { x, y, loss }.
local function judged(self, target, samples)
    local state, sets = self.state, {}
    local problem = state.problem
    for i, t in ipairs(problem.tasks) do
        self.sets[i] = drawn(t.train, samples, stream.key(state.seed, 6, i))
        self.sets[i].f = t.f
        if target == "average" or target == i then
            sets[#sets + 1] = self.sets[i]
        end
    end
    if type(target) == "table" then
        local f = bk._functions.bound(bk._functions.of(state.model, target, problem.outputs), problem.mode)
        local data = problem:part("bk.order.planned: target", target, f.kind, target.shape)
        sets[1] = drawn(data, samples, stream.key(state.seed, 6, 0))
        sets[1].f = f
    elseif #sets == 0 then
        refuse("bk.order.planned: target: expected \"average\" or a task 1..%d, got %s", state.n_tasks,
            tostring(target))
    end
    return sets
end

function trial.new(state, target, samples)
    local self = setmetatable({ state = state, cost = 0, count = 0, kept = {}, sets = {}, run = 0 }, trial)
    self.judged = judged(self, target, samples)
    local steps = 0
    for i, t in ipairs(state.problem.tasks) do
        steps, self.run = steps + state.steps_of(i), self.run + state.steps_of(i) * t.size
    end
    state.total = steps -- for schedules that ask
    return self
end

function trial:first()
    local state = self.state
    state.optimizer:reset()
    return { theta = state.theta, step = 0, optimizer = state.optimizer:state(), buffers = state.problem.mode.buffers }
end

-- Puts the run back to where it was.
function trial:close(first)
    local state = self.state
    state.optimizer:reset()
    state.problem:set_buffers(first.buffers)
    state.problem:begin_step(state.seed, 0)
    state.step, state.task, state.total = 0, nil, nil
    for i = 1, state.n_tasks do state.task_steps[i] = 0 end
end

-- The batch of step s of a task.
local function batch(problem, i, s)
    local t = problem.tasks[i]
    local round = t.train.n // t.size
    return problem:again(i, (s - 1) // round + 1, (s - 1) % round * t.size + 1)
end

-- After all steps on task i: every stride-th of them, with the rates of those it stands for.
function trial:block(point, i, stride)
    local state, theta = self.state, point.theta
    local problem, optimizer, f = state.problem, state.optimizer, state.f[i]
    local steps = state.steps_of(i)
    optimizer:restore(point.optimizer)
    if state.spec.reset_optimizer then optimizer:reset() end
    problem.mode.buffers, state.task = point.buffers, i
    for first = 1, steps, stride do
        local h = 0
        for s = first, math.min(first + stride - 1, steps) do
            state.step, state.task_steps[i] = point.step + s, s
            h = h + state.spec.rate(state.step, state.view)
        end
        problem:begin_step(state.seed, point.step + first)
        local x, y = batch(problem, i, first)
        local _, g, buffers = f.value_and_grad_over(self.kept, theta, x, y)
        if buffers then problem.mode.buffers, self.kept[3] = buffers, nil end
        theta = optimizer:step(theta, g, h)
        self.cost = self.cost + problem.tasks[i].size
    end
    return { theta = theta, step = point.step + steps, optimizer = optimizer:state(), buffers = problem.mode.buffers }
end

-- What a block and a value will cost.
function trial:block_cost(i, stride)
    return math.ceil(self.state.steps_of(i) / stride) * self.state.problem.tasks[i].size
end
function trial:value_cost()
    local cost = 0
    for _, set in ipairs(self.judged) do cost = cost + set.n / 3 end
    return cost
end

-- The loss of task i on its examples.
function trial:loss(point, i)
    local set = self.sets[i]
    self.state.problem.mode.buffers, self.cost = point.buffers, self.cost + set.n / 3
    return set.f.value(point.theta, set.x, set.y):item()
end

-- Mean loss less mean accuracy, where there is one, over the judged sets, infinite when training left the numbers.
function trial:value(point)
    local sum = 0
    self.state.problem.mode.buffers = point.buffers
    for _, set in ipairs(self.judged) do
        local loss, share = set.f.measure(point.theta, set.x, set.y)
        sum = sum + loss - (share or 0)
    end
    self.cost, self.count = self.cost + self:value_cost(), self.count + 1
    return sum - sum == 0 and sum / #self.judged or math.huge
end

-- The value after an order, and its points: points[k] stands before the k-th task. Those up to `from` are given.
function trial:roll(order, from, points, stride)
    local all = table.move(points, 1, from, 1, {})
    for k = from, #order do all[k + 1] = self:block(all[k], order[k], stride) end
    return self:value(all[#order + 1]), all
end

return trial

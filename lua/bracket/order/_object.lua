-- What every order is: { name, blocks, asks, setup, window } with the method :matrix; asks: at every step it looks at
-- the run's state, perhaps the gradient. setup(state, memory) returns the total number of steps and a function step ->
-- task (0: all tasks jointly), position (the block's number, nil without blocks). It is a function of the step alone:
-- what an order has to remember stands in memory. window(state): steps of one round.
local bk = ...
local refuse = bk._options.refuse
local order = {}
order.__index = order

-- Adds one step of rate h on a task (0: on all of them at once) to the order matrix W and the cumulative rates R.
local function accumulate(W, R, task, h)
    local first, last = task, task
    if task == 0 then first, last = 1, #R end
    for i, r in ipairs(R) do
        for j = first, last do
            if i ~= j then
                local area = r * h
                W[i][j], W[j][i] = W[i][j] + area, W[j][i] - area
            end
        end
    end
    for i = first, last do R[i] = R[i] + h end
end

local function empty(n)
    local W, R = {}, {}
    for i = 1, n do
        W[i], R[i] = {}, 0
        for j = 1, n do W[i][j] = 0 end
    end
    return W, R
end

-- W of a list of tasks, with rates[s] (or one rate) for step s.
local function of_word(n, word, rates)
    local W, R = empty(n)
    for s, task in ipairs(word) do accumulate(W, R, task, type(rates) == "table" and rates[s] or rates or 1) end
    return W, R
end

-- How many of the steps first..last each of n tasks has; a joint step is none of theirs.
local function counts(n, first, last, at)
    local list = {}
    for i = 1, n do list[i] = 0 end
    for step = first, last do
        local task = at(step)
        if task > 0 then list[task] = list[task] + 1 end
    end
    return list
end

-- W of steps 1..total, asked for as a run asks: the step stands in the state before its task, the task before its rate.
local function of_steps(state, total, at, rate, view)
    local W, R = empty(state.n_tasks)
    state.task_steps = counts(state.n_tasks, 1, 0)
    for step = 1, total do
        state.step = step
        local task = at(step)
        state.task = task > 0 and task or nil
        if task > 0 then state.task_steps[task] = state.task_steps[task] + 1 end
        state.lr = rate(step, view or state)
        if type(state.lr) ~= "number" then
            refuse("order:matrix: lr: step %d: expected a rate, got %s", step, bk._options.show(state.lr))
        end
        accumulate(W, R, task, state.lr)
    end
    return W
end

local function matrix(self, n, options)
    bk._options.own(self, order, "order:matrix", "bk.order.NAME{...}")
    if math.type(n) ~= "integer" or n < 1 then refuse("order:matrix: n: expected a number of tasks, got %s",
        bk._options.show(n)) end
    local state = { n_tasks = n, seed = options.seed, steps = options.steps, step = 0 }
    function state.steps_of() return options.steps or 1 end
    local total, at = self.setup(state, {})
    local rate = bk.schedule._rate(options.lr, "order:matrix")
    state.total = total
    local all
    function state.task_total(i)
        all = all or not self.asks and counts(n, 1, total, at) or {}
        return all[i]
    end
    return of_steps(state, total, at, rate)
end

order.matrix = bk.define{
    name = "order:matrix",
    arguments = { "n" },
    returns = "W",
    doc = "The order matrix of n tasks in this order (theory: W_ij), a table of rows.",
    options = {
        { "steps", "integer", says = "one round", doc = "as bk.protocol's" },
        { "lr", "number|callable|table", default = 1, doc = "as bk.protocol's" },
        { "seed", "integer", default = 0, doc = "of what is drawn" },
    },
    call = matrix,
}

local function check_state(name, object, state)
    if type(state) ~= "table" or math.type(state.n_tasks) ~= "integer"
        or object.blocks and type(state.steps_of) ~= "function" then
        refuse("order.%s: state: expected the state of a run, with n_tasks%s, got %s", name,
            object.blocks and " and steps_of" or "", bk._options.show(state))
    end
end

-- What setup returned, with the task of every step looked at.
local function checked(where, n, total, at)
    if math.type(total) ~= "integer" or total < 0 or type(at) ~= "function" then
        refuse("%s: setup: expected a number of steps and a function of the step, got %s and %s", where,
            bk._options.show(total), bk._options.show(at))
    end
    return total, function(step)
        local task, position = at(step)
        if math.type(task) ~= "integer" or task < 0 or task > n then
            refuse("%s: step %s: expected a task 1..%d, got %s", where, step, n, bk._options.show(task))
        end
        return task, position
    end
end

-- setup and window, called by a run or by hand, say what they are of, and what they returned that they may not.
local function new(object)
    local where = "bk.order." .. tostring(object.name)
    for _, name in ipairs{ "name", "setup", "window" } do
        local kind = name == "name" and "string" or "function"
        if type(object[name]) ~= kind then
            refuse("%s: %s: expected a %s, got %s", where, name, kind, bk._options.show(object[name]))
        end
    end
    local setup, window = object.setup, object.window
    function object.setup(state, ...)
        check_state("setup", object, state)
        return checked(where, state.n_tasks, setup(state, ...))
    end
    function object.window(state)
        check_state("window", object, state)
        local steps = window(state)
        if math.type(steps) ~= "integer" or steps < 0 then
            refuse("%s: window: expected a number of steps, got %s", where, bk._options.show(steps))
        end
        return steps
    end
    return setmetatable(object, order)
end

return { new = new, accumulate = accumulate, empty = empty, counts = counts,
    of_word = of_word, of_steps = of_steps, class = order }

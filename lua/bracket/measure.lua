-- Quantities of the current point of a run, on the tasks' diagnostic examples; each is computed once a step (kept in
-- state.cache, which the run clears) however many records, schedules and interventions ask for it.
local bk = ...
local public = bk.internal.public
local show, refuse = bk._options.show, bk._options.refuse
local measure = {}

local function kept(state, key, compute)
    local value = state.cache[key]
    if value == nil then
        value = compute()
        state.cache[key] = value
    end
    return value
end

local function data(state, i)
    local t = state.problem.tasks[i]
    return t.f, t.diagnostic.x, t.diagnostic.y
end

function measure.examples(state, i)
    local _, x, y = data(state, i)
    return x, y
end

-- An error, in the name of `what`, where a task has a field in place of a loss.
function measure.needs_losses(state, what)
    for i, f in ipairs(state.f) do
        if not f.loss then
            refuse("bk.protocol: %s: needs the loss of every task; task %d%s is a field", what, i,
                state.tasks[i].name and " (" .. tostring(state.tasks[i].name) .. ")" or "")
        end
    end
end

function measure.gradient(state, i)
    return kept(state, "gradient" .. i, function()
        local f, x, y = data(state, i)
        if not f.loss then return f.grad(state.theta, x, y) end
        local loss, g = f.value_and_grad(state.theta, x, y)
        state.cache["loss" .. i] = loss:item()
        return g
    end)
end

function measure.loss(state, i)
    return kept(state, "loss" .. i, function()
        local f, x, y = data(state, i)
        if not f.value then measure.needs_losses(state, "loss") end
        return f.value(state.theta, x, y):item()
    end)
end

function measure.hvp(state, i, v)
    local f, x, y = data(state, i)
    if not bk.is_tensor(v) then
        refuse("bk.measure.hvp: v: expected a tensor, a direction of theta's shape, got %s", show(v))
    end
    return f.hvp(state.theta, v, x, y)
end

function measure.total_gradient(state)
    return kept(state, "total", function()
        local sum = measure.gradient(state, 1)
        for i = 2, state.n_tasks do sum = sum + measure.gradient(state, i) end
        return sum
    end)
end

function measure.total_hvp(state, v)
    local sum = measure.hvp(state, 1, v)
    for i = 2, state.n_tasks do sum = sum + measure.hvp(state, i, v) end
    return sum
end

function measure.gram(state)
    return kept(state, "gram", function()
        local gradients = {}
        for i = 1, state.n_tasks do gradients[i] = measure.gradient(state, i) end
        return bk._gram(gradients)
    end)
end

-- [g_i, g_j] = H_j g_i - H_i g_j
function measure.bracket(state, i, j)
    return kept(state, "bracket" .. i .. "," .. j, function()
        return measure.hvp(state, j, measure.gradient(state, i)) - measure.hvp(state, i, measure.gradient(state, j))
    end)
end

-- What moving theta along v does, to first order, to task i's outputs.
local pushes = setmetatable({}, { __mode = "k" }) -- by model
function measure.output_change(state, i, v)
    local model = state.model
    if not bk.is_tensor(v) then
        refuse("bk.measure.output_change: v: expected a tensor, a direction of theta's shape, got %s", show(v))
    end
    if not pushes[model] then
        pushes[model] = bk.compile(function(theta, direction, x, buffers)
            local how = buffers and { buffers = buffers }
            return (select(2, bk.jvp(function(t) return model:forward(t, x, how) end, { theta }, { direction })))
        end)
    end
    local _, x = data(state, i)
    return pushes[model](state.theta, v, x, state.problem.mode.buffers)
end

-- The rate a step of each task has now.
function measure.rates(state)
    return kept(state, "rates", state.task_rates)
end

-- The tasks of one round of the run's order, its order matrix with each step at its task's rate now, and its duration.
function measure.round(state)
    return kept(state, "round", function()
        local word, rates, time = state.round_word(), {}, 0
        for s, task in ipairs(word) do rates[s] = measure.rates(state)[task] or state.lr end
        local W, R = bk.order._object.of_word(state.n_tasks, word, rates)
        for _, r in ipairs(R) do time = time + r end
        return { word = word, W = W, time = time / state.n_tasks }
    end)
end

-- sum_{i<j} W_ij [g_i, g_j] = sum_j H_j (sum_i W_ij g_i): at most n gradients and n products. nil when W = 0.
local function of_brackets(n, W, gradient, hvp)
    local sum
    for j = 1, n do
        local v
        for i = 1, n do
            if W[i][j] ~= 0 then
                local part = gradient(i) * W[i][j]
                v = v and v + part or part
            end
        end
        if v then
            local part = hvp(j, v)
            sum = sum and sum + part or part
        end
    end
    return sum
end

function measure.weighted_brackets(n, W, gradient, hvp)
    local where = "bk.measure.weighted_brackets"
    if math.type(n) ~= "integer" or n < 0 then
        refuse("%s: n: expected a whole number >= 0, got %s", where, show(n))
    end
    for i = 1, n do
        for j = 1, n do
            if type(W) ~= "table" or type(W[i]) ~= "table" or type(W[i][j]) ~= "number" then
                refuse("%s: W: expected a matrix of %d rows and columns, got %s in row %d, column %d", where, n,
                    show(type(W) == "table" and type(W[i]) == "table" and W[i][j] or nil), i, j)
            end
        end
    end
    for name, f in pairs{ gradient = gradient or false, hvp = hvp or false } do
        if not bk._options.callable(f) then
            refuse("%s: %s: expected a function, got %s", where, name, show(f or nil))
        end
    end
    local function vector(name, v)
        if bk.is_tensor(v) then return v end
        refuse("%s: %s: expected a function that returns a tensor, got %s", where, name, show(v))
    end
    return of_brackets(n, W, function(i) return vector("gradient", gradient(i)) end,
        function(j, v) return vector("hvp", hvp(j, v)) end)
end

local decays = setmetatable({}, { __mode = "k" }) -- by optimizer; false: its steps are no gradient steps

-- The terms of order and flatness hold for theta <- theta - h (g + decay theta); of another update they would say
-- nothing.
function measure.is_gradient_step(optimizer)
    if optimizer == nil or optimizer ~= optimizer then
        refuse("bk.measure.is_gradient_step: optimizer: expected one of bk.optim, got %s", show(optimizer))
    end
    if decays[optimizer] == nil then decays[optimizer] = bk.bea._update.gradient_step(optimizer) or false end
    return decays[optimizer] ~= false
end

function measure.decay(state, what)
    if not measure.is_gradient_step(state.optimizer) then
        refuse("%s is stated for gradient steps (bk.optim.sgd), got the optimizer %s; bk.bea.optimizer has that one's own "
            .. "terms, bk.bea.order_gap its order effects", what, tostring(state.optimizer))
    end
    return decays[state.optimizer]
end

-- 1/2 sum_{i<j} W_ij [g_i, g_j] of one round, per unit time (a round lasts its summed rates over n).
function measure.conflict_field(state)
    local round, d = measure.round(state), measure.decay(state, "measure.conflict_field: the conflict")
    local function own(v, moved) return d == 0 and v or v + moved * d end
    local field = measure.weighted_brackets(state.n_tasks, round.W,
        function(i) return own(measure.gradient(state, i), state.theta) end,
        function(j, v) return own(measure.hvp(state, j, v), v) end)
    if not field or round.time == 0 then return state.theta * 0 end
    return field * (0.5 / round.time)
end

-- E(round) - E(reversed round) = <grad E, sum_{i<j} W_ij [g_i, g_j]>, E the sum of the losses.
function measure.predicted_order_effect(state)
    local round = measure.round(state)
    return measure.total_gradient(state):dot(measure.conflict_field(state)):item() * 2 * round.time
end

function measure.realised_order_effect(state)
    local word, d = measure.round(state).word, measure.decay(state, "measure.realised_order_effect: the order effect")
    local rates = measure.rates(state)
    local function run(from, to, by)
        local theta = state.theta
        for s = from, to, by do
            if word[s] > 0 then
                local f, x, y = data(state, word[s])
                theta = theta - (f.grad(theta, x, y) + theta * d) * rates[word[s]]
            end
        end
        local loss = 0
        for i = 1, state.n_tasks do
            local f, x, y = data(state, i)
            loss = loss + f.value(theta, x, y):item()
        end
        return loss
    end
    return run(1, #word, 1) - run(#word, 1, -1)
end

-- { first, size, name } of each layer's parameters in theta; one piece when the model does not tell.
function measure.layers(model)
    local layers = {}
    local ok, list = pcall(function() return model.layers end)
    if ok and type(list) == "table" then
        local at -- a layer's blocks (weight, bias) lie one after the other
        for _, block in ipairs(list) do
            if at == block.layer then
                layers[#layers].size = layers[#layers].size + block.size
            else
                layers[#layers + 1] = { first = block.first, size = block.size, name = block.name:match("^(.*)%.") }
            end
            at = block.layer
        end
    end
    if #layers == 0 then
        local told, n = pcall(function() return model.n_params end)
        if not told or math.type(n) ~= "integer" then
            refuse("bk.measure.layers: model: expected one with n_params, got %s", show(model))
        end
        layers[1] = { first = 1, size = n, name = "all" }
    end
    return layers
end

-- v with all but a layer's entries at zero.
function measure.only(v, layer)
    if not bk.is_tensor(v) then refuse("bk.measure.only: v: expected a tensor, got %s", show(v)) end
    if v:ndim() ~= 1 then
        refuse("bk.measure.only: v: expected one dimension, got %s", bk._options.shape_text(v))
    end
    if type(layer) ~= "table" or not math.tointeger(layer.first) or not math.tointeger(layer.size) then
        refuse("bk.measure.only: layer: expected one of bk.measure.layers(model), got %s", show(layer))
    end
    local after = #v - layer.first - layer.size + 1
    local function zeros(n) return bk.zeros({ n }, { dtype = v:dtype() }) end
    return bk.concat{ zeros(layer.first - 1), v:narrow(1, layer.first, layer.size), zeros(after) }
end

-- What is asked of a state says so where it is given something else, or a task that is none.
local OF_TASKS = { gradient = 1, loss = 1, hvp = 1, output_change = 1, bracket = 2, examples = 1 }
local OF_OTHERS = { weighted_brackets = true, is_gradient_step = true, layers = true, only = true }
for name, f in pairs(measure) do
    local function of_state(state, ...)
        bk.record._of_run(state, "bk.measure." .. name)
        for k = 1, OF_TASKS[name] or 0 do
            local i = select(k, ...)
            if math.type(i) ~= "integer" or i < 1 or i > state.n_tasks then
                refuse("bk.measure.%s: task: expected a whole number from 1 to %d, got %s", name, state.n_tasks,
                    show(i))
            end
        end
        return f(state, ...)
    end
    if not OF_OTHERS[name] then measure[name] = of_state end
end

measure.examples = public(measure.examples, [[
bk.measure.examples(state, i) -> x, y
The first training examples of task i, in the run's dtype: 1000 unless record = { samples = n }, or all where there are
fewer.]])
measure.needs_losses = public(measure.needs_losses, [[
bk.measure.needs_losses(state, what) -> nothing
Raises an error in the name of `what`, a record or hook, where a task has a field in place of a loss.]])
measure.gradient = public(measure.gradient, [[
bk.measure.gradient(state, i) -> tensor
The gradient of task i, or its field.]])
measure.loss = public(measure.loss, [[
bk.measure.loss(state, i) -> number
The loss of task i.]])
measure.hvp = public(measure.hvp, [[
bk.measure.hvp(state, i, v) -> tensor
The Hessian of task i times v; of a field, its derivative along v.]])
measure.total_gradient = public(measure.total_gradient, [[
bk.measure.total_gradient(state) -> tensor
The sum of the tasks' gradients.]])
measure.total_hvp = public(measure.total_hvp, [[
bk.measure.total_hvp(state, v) -> tensor
The sum of the tasks' Hessians times v.]])
measure.gram = public(measure.gram, [[
bk.measure.gram(state) -> matrix
The inner products of the tasks' gradients, gram[i][j].]])
measure.bracket = public(measure.bracket, [[
bk.measure.bracket(state, i, j) -> tensor
The Lie bracket [g_i, g_j] = H_j g_i - H_i g_j.]])
measure.output_change = public(measure.output_change, [[
bk.measure.output_change(state, i, v) -> tensor
The derivative along v of the model's outputs on task i's examples.]])
measure.round = public(measure.round, [[
bk.measure.round(state) -> { word, W, time }
One round of the order: its tasks, its order matrix, its summed rates over the number of tasks; each step at its task's
rate now (bk.measure.rates).]])
measure.rates = public(measure.rates, [[
bk.measure.rates(state) -> list of rates
What a step of each task has now for its rate: the last step's task that of the last step; another what lr says of it at
this step, times what hooks made of lr at the task's last step. Joint steps and one rate: the last step's.]])
measure.weighted_brackets = public(measure.weighted_brackets, [[
bk.measure.weighted_brackets(n, W, gradient, hvp) -> tensor or nil
sum_{i<j} W_ij [g_i, g_j] by n products: gradient(i) and hvp(j, v) give what it asks for.]])
measure.is_gradient_step = public(measure.is_gradient_step, [[
bk.measure.is_gradient_step(optimizer) -> boolean
Whether its update is theta <- theta - h (g + decay theta), which the implicit terms are stated for: sgd, and a
bk.optim.custom that is the same.]])
measure.decay = public(measure.decay, [[
bk.measure.decay(state, what) -> number
The weight decay of a run that takes gradient steps, theta <- theta - h (g + decay theta).
Errors: another optimizer,
for which `what` ("record x: the conflict") is not stated.]])
measure.conflict_field = public(measure.conflict_field, [[
bk.measure.conflict_field(state) -> tensor
1/2 sum_{i<j} W_ij [g_i, g_j] of one round at the tasks' rates now, per unit time; the g_i with the optimizer's weight
decay.
Errors: an
optimizer that does not take gradient steps.]])
measure.predicted_order_effect = public(measure.predicted_order_effect, [[
bk.measure.predicted_order_effect(state) -> number
E(round) - E(reversed round) to second order, E the sum of the losses: <grad E, sum_{i<j} W_ij [g_i, g_j]>.]])
measure.realised_order_effect = public(measure.realised_order_effect, [[
bk.measure.realised_order_effect(state) -> number
E(round) - E(reversed round) by running both with gradient steps at the tasks' rates now.
Errors: an optimizer that does not take those.]])
measure.layers = public(measure.layers, [[
bk.measure.layers(model) -> list of { first, size, name }
Where each layer's parameters lie in theta.]])
measure.only = public(measure.only, [[
bk.measure.only(v, layer) -> tensor
v with 0 outside the layer { first, size }.]])

return measure

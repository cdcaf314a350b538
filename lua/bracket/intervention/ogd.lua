local bk = ...
local refuse = bk._options.refuse
local gradients = setmetatable({}, { __mode = "k" }) -- of the weighted sum of a model's outputs, by model

local function gradient_of(model)
    gradients[model] = gradients[model] or bk.compile(bk.grad(function(theta, x, weights, buffers)
        return (model:forward(theta, x, buffers and { buffers = buffers }) * weights):sum()
    end))
    return gradients[model]
end

-- What the outputs z (1, ..., classes) of one example with label y are weighted by, a list: one entry a direction.
local function weights_of(z, y, head, outputs)
    local shape, labels = z:shape(), y:dtype() == "int64" and z:ndim() == y:ndim() + 1
    if outputs == "label" and not labels then
        refuse('bk.intervention.ogd: outputs: "label" needs class ids, one for every row of outputs, got y %s %s',
            y:dtype(), bk._options.shape_text(y))
    end
    if outputs == "label" or not outputs and labels then return { y:one_hot(shape[#shape]):to(z:dtype()) } end
    local one, list = bk.eye(z:count(), { dtype = z:dtype() }), {}
    local inside = {}
    for _, id in ipairs(head or {}) do inside[id] = true end
    for k = 1, z:count() do
        if not head or inside[(k - 1) % shape[#shape]] then list[#list + 1] = one[k]:reshape(shape) end
    end
    if outputs ~= "average" then return list end
    return { bk.stack(list):mean(1) }
end

-- (directions, n_params): the gradients of the outputs of `count` of task i's examples, drawn once each.
local function directions(state, draw, i, count, outputs)
    local t, rows, buffers = state.problem.tasks[i], {}, state.buffers
    local order = bk.stream.permutation(draw, t.train.n)
    for k = 1, math.min(count, t.train.n) do
        local x, y = t.train.x:narrow(1, order[k], 1), t.train.y:narrow(1, order[k], 1)
        local z = state.model:forward(state.theta, x, buffers and { buffers = buffers })
        for _, weights in ipairs(weights_of(z, y, t.source.head, outputs)) do
            rows[#rows + 1] = gradient_of(state.model)(state.theta, x, weights, buffers)
        end
    end
    return bk.stack(rows)
end

-- An orthonormal basis, in rows, of what the rows of the matrices in the list span; nil where that is nothing. By the
-- rows' inner products, for n_params may be large; the second time mends what the first lost of digits.
local function basis_of(list, dtype)
    local basis
    for _, rows in ipairs(list) do
        rows = rows:to "float64"
        local most = rows:square():sum(2):max():item()
        for _ = 1, basis and 2 or 0 do rows = rows - rows:matmul(basis:transpose()):matmul(basis) end
        for _ = 1, 2 do
            local squares, V = bk.linalg.eigh(rows:matmul(rows:transpose()))
            local n, rank = squares:count(), math.tointeger(squares:gt(1e-12 * most):sum():item())
            V, squares, most = V:narrow(2, n - rank + 1, rank), squares:narrow(1, n - rank + 1, rank), 1
            if rank == 0 then rows = nil break end
            rows = (V / squares:sqrt()):transpose():matmul(rows)
        end
        if rows then basis = basis and bk.concat({ basis, rows }, 1) or rows end
    end
    return basis and basis:to(dtype)
end

return bk.define{
    name = "bk.intervention.ogd",
    returns = "intervention",
    doc = [[
Orthogonal gradient descent: at a task's end the gradients of the network's outputs at some of its examples are kept.
In the other tasks the step's gradient is projected onto the orthogonal complement of what is kept, so that a small
step of SGD leaves these outputs as they are. Optimizers that scale coordinates (adam) leave the complement, as does
weight decay. It holds directions x n_params numbers a task.]],
    formula = "g - sum_k <g, v_k> v_k, v_k an orthonormal basis of the gradients kept of the other tasks",
    source = "Farajtabar, Azizan, Mott & Li 2020 (OGD-GTL, OGD-AVE, OGD-ALL)",
    example = [[
> x, y = bk.rng(1):normal{40, 3}, bk.rng(2):integers({40}, 2)
> p = bk.protocol{model = bk.nn.mlp{3, 8, 2}, tasks = {{x = x, y = y}, {x = -x, y = y}}, lr = 0.1, steps = 5, batch = 8,
>>     interventions = {bk.intervention.ogd{memory = 16}}}
> p:run{}.theta:shape()
{ 50 }]],
    options = {
        { "memory", "count", required = true, doc = "examples of each task, drawn at its end" },
        { "outputs", { "label", "average", "all" }, says = '"label" of class ids, else "all"',
            doc = "whose gradients are kept: that at the label, the mean of the task's, or each" },
    },
    call = function(options)
        local count, outputs = options.memory, options.outputs
        return {
            name = "ogd",
            doc = ("orthogonal gradient descent (Farajtabar et al. 2020), %d examples a task, outputs: %s"):format(count,
                outputs or "label or all"),
            needs_blocks = true,
            begin_run = function(state, memory)
                bk.measure.needs_losses(state, "bk.intervention.ogd")
                memory.draw = { key = bk.stream.key(state.seed, 3, 11), counter = 0 }
                memory.kept = {} -- a matrix of directions for every task that has ended
            end,
            before_step = function(state, memory)
                local held = state.shared.ogd -- not saved: made of memory.kept again
                if not held or held.kept ~= memory.kept or held.task ~= state.task then
                    local others = {}
                    for i = 1, state.n_tasks do
                        if i ~= state.task and memory.kept[i] then others[#others + 1] = memory.kept[i] end
                    end
                    held = { kept = memory.kept, task = state.task, basis = basis_of(others, state.theta:dtype()) }
                    state.shared.ogd = held
                end
                local g, basis = state.gradient, held.basis
                if basis then state.gradient = g - basis:matmul(g):matmul(basis) end
            end,
            end_task = function(state, memory)
                memory.kept[state.task] = directions(state, memory.draw, state.task, count, outputs)
                state.shared.ogd = nil
            end,
        }
    end,
}

local bk = ...
local refuse = bk._options.refuse
local stream, episodes = bk.stream, bk.intervention._episodes
local gradients = setmetatable({}, { __mode = "k" }) -- of the distance to outputs kept, by model

local function gradient_of(model)
    gradients[model] = gradients[model] or bk.grad(function(theta, x, z)
        return (model:forward(theta, x) - z):square():mean()
    end)
    return gradients[model]
end

return bk.define{
    name = "bk.intervention.der",
    returns = "intervention",
    doc = [[
Dark experience replay: a reservoir of the stream's examples, each with the network's outputs when it was met. A step
adds the gradient of alpha times the squared distance between these outputs and the network's now, the mean over a batch
from the reservoir and over the outputs. With beta > 0 (DER++) it also adds beta times the gradient of the loss of
another batch from there, at its labels. One task a step.]],
    formula = "alpha mean (z' - model(theta, x'))^2 + beta L(x'', y'')",
    source = "Buzzega et al. 2020, Dark experience for general continual learning; the mean as in the authors' code",
    example = [[
> x, y = bk.rng(1):normal{40, 3}, bk.rng(2):integers({40}, 2)
> p = bk.protocol{model = bk.nn.mlp{3, 8, 2}, tasks = {{x = x, y = y}, {x = -x, y = y}}, lr = 0.1, steps = 5, batch = 8,
>>     interventions = {bk.intervention.der{memory = 20, alpha = 0.5, beta = 0.5}}}
> p:run{}.theta:shape()
{ 50 }]],
    options = {
        { "memory", "count", required = true, doc = "examples it holds" },
        { "alpha", "number", default = 0.5, doc = "of the distance to the outputs kept" },
        { "beta", "number", default = 0, doc = "of the loss at the labels; 0: DER" },
        { "batch", "count", says = "the step's", doc = "examples drawn for each of the two" },
    },
    call = function(options)
        local alpha, beta = options.alpha, options.beta
        return {
            name = "der",
            doc = ("dark experience replay (Buzzega et al. 2020), %d examples, alpha %g, beta %g"):format(options.memory,
                alpha, beta),
            needs_one_task = true,
            begin_run = function(state, memory)
                if state.model.n_buffers > 0 then
                    refuse("bk.intervention.der: needs a model without running statistics (batch_norm; group_norm has none)")
                end
                memory.reservoir = episodes.new(options.memory, stream.key(state.seed, 3, 7))
                memory.outputs, memory.met = {}, nil
            end,
            before_step = function(state, memory)
                local m = memory.reservoir
                local size = options.batch or state.problem.tasks[state.task].size
                memory.met = state.model:forward(state.theta, state.x) -- kept where the step's examples are
                local rows, drawn = memory.met:shape()[1], state.problem.tasks[state.task].size
                if rows ~= drawn then
                    refuse("bk.intervention.der: step %d: expected the %d examples of the batch, whose outputs it keeps, "
                        .. "got %d: another hook changed state.x", state.step, drawn, rows)
                end
                if #m.id == 0 then return end
                local x, kept = {}, {}
                for k = 1, size do
                    local slot = stream.below(m.draw, #m.id) + 1
                    x[k] = state.problem.tasks[m.task[slot]].train.x:narrow(1, m.id[slot], 1)
                    kept[k] = memory.outputs[slot]
                end
                local z = bk.tensor(kept):to(memory.met:dtype())
                local g = gradient_of(state.model)(state.theta, bk.concat(x, 1), z)
                local sum = state.gradient + g * alpha
                if beta ~= 0 then
                    sum = sum + episodes.gradient(m, state, size, function() return true end) * beta
                end
                state.gradient = sum
            end,
            after_step = function(state, memory)
                local slots = episodes.add(memory.reservoir, state)
                for k, row in ipairs(memory.met:totable()) do
                    if slots[k] then memory.outputs[slots[k]] = row end
                end
                memory.met = nil
            end,
        }
    end,
}

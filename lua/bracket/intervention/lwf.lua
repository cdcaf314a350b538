local bk = ...
local refuse = bk._options.refuse
local gradients = setmetatable({}, { __mode = "k" }) -- of the distillation loss, by model and temperature

local function gradient_of(model, temperature)
    gradients[model] = gradients[model] or {}
    local kept = gradients[model]
    kept[temperature] = kept[temperature] or bk.grad(bk.loss.kl_divergence{ temperature = temperature }(model))
    return kept[temperature]
end

return bk.define{
    name = "bk.intervention.lwf",
    returns = "intervention",
    doc = [[
Learning without forgetting: after the first task, adds the gradient of weight times the distillation loss between the
outputs of the network at the last task's end and its own, on the step's examples.]],
    formula = "weight T^2 mean KL(softmax(z_old/T) || softmax(z/T)), z_old = model(theta_old, x)",
    source = "Li & Hoiem 2016; T^2 as in Hinton, Vinyals & Dean 2015",
    example = [[
> x, y = bk.rng(1):normal{40, 3}, bk.rng(2):integers({40}, 2)
> p = bk.protocol{model = bk.nn.mlp{3, 8, 2}, tasks = {{x = x, y = y}, {x = -x, y = y}}, lr = 0.1, steps = 5, batch = 8,
>>     interventions = {bk.intervention.lwf{}}}
> p:run{}.theta:shape()
{ 50 }]],
    options = {
        { "weight", "number", default = 1, doc = "of the distillation loss" },
        { "temperature", "positive", default = 2, doc = "T" },
    },
    call = function(options)
        local weight, temperature = options.weight, options.temperature
        return {
            name = "lwf",
            weight = weight,
            doc = ("learning without forgetting (Li & Hoiem 2016), weight %g, temperature %g"):format(weight,
                temperature),
            needs_blocks = true,
            needs_one_task = true,
            begin_run = function(state, memory)
                if state.model.n_buffers > 0 then
                    refuse("bk.intervention.lwf: needs a model without running statistics (batch_norm; group_norm has none)")
                end
                memory.teacher = nil
            end,
            before_step = function(state, memory)
                if not memory.teacher then return end
                local old = state.model:forward(memory.teacher, state.x)
                local g = gradient_of(state.model, temperature)(state.theta, state.x, old)
                state.gradient = state.gradient + g * weight
            end,
            end_task = function(state, memory) memory.teacher = state.theta end,
        }
    end,
}

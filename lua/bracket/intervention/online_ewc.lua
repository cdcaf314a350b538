local bk = ...
local stream = bk.stream
return bk.define{
    name = "bk.intervention.online_ewc",
    returns = "intervention",
    doc = [[
Elastic weight consolidation with one running Fisher information and one anchor: at a task's end F becomes decay F plus
the task's (as in bk.intervention.ewc), and the anchor theta. In later tasks adds w F (theta - anchor).]],
    formula = "w/2 sum_k F_k (theta_k - anchor_k)^2, F <- decay F + F_task",
    source = "Schwarz et al. 2018, Progress & compress",
    example = [[
> x, y = bk.rng(1):normal{40, 3}, bk.rng(2):integers({40}, 2)
> p = bk.protocol{model = bk.nn.mlp{3, 8, 2}, tasks = {{x = x, y = y}, {x = -x, y = y}}, lr = 0.1, steps = 5, batch = 8,
>>     interventions = {bk.intervention.online_ewc{weight = 10}}}
> p:run{}.theta:shape()
{ 50 }]],
    options = {
        { "weight", "number", required = true, doc = "w" },
        { "decay", "number", default = 1, low = 0, high = 1, doc = "what stays of the older tasks' F" },
        { "samples", "count", default = 200, doc = "examples, drawn, that the Fisher information is the mean over; "
            .. "empirical and exact: all, once, where there are no more" },
        { "fisher", { "empirical", "sampled", "exact", "batched" }, default = "empirical",
            doc = "as in bk.intervention.ewc" },
    },
    call = function(options)
        local weight, decay = options.weight, options.decay
        return {
            name = "online_ewc",
            weight = weight,
            doc = ("online elastic weight consolidation (Schwarz et al. 2018), weight %g, decay %g, %s Fisher"):format(
                weight, decay, options.fisher),
            needs_blocks = true,
            begin_run = function(state, memory)
                bk.measure.needs_losses(state, "bk.intervention.online_ewc")
                memory.draw = { key = stream.key(state.seed, 3, 6), counter = 0 }
                memory.fisher, memory.anchor = nil, nil
            end,
            before_step = function(state, memory)
                if memory.fisher then
                    state.gradient = state.gradient + memory.fisher * (state.theta - memory.anchor) * weight
                end
            end,
            end_task = function(state, memory)
                local fisher = bk.intervention._fisher("bk.intervention.online_ewc", state, memory.draw,
                    options.samples, options.fisher)
                memory.fisher = memory.fisher and memory.fisher * decay + fisher or fisher
                memory.anchor = state.theta
            end,
        }
    end,
}

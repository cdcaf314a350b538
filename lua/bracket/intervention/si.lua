local bk = ...
return bk.define{
    name = "bk.intervention.si",
    returns = "intervention",
    doc = [[
Synaptic intelligence. Along a task every parameter's part in the fall of the loss is summed, w = -sum g dtheta, g the
gradient as this intervention finds it. At the task's end Omega grows by w/(D^2 + xi), D how far the parameter went in
the task. In later tasks adds 2 c Omega (theta - anchor), anchor being theta at the last task's end. sum w, the path
integral, is in state.shared.si_path at the end of a task.]],
    formula = "c sum_k Omega_k (theta_k - anchor_k)^2",
    source = "Zenke, Poole & Ganguli 2017",
    example = [[
> tasks = bk.tasks.regression{n = 2, examples = 20, inputs = 3, seed = 1}
> p = bk.protocol{model = bk.nn.mlp{3, 1}, tasks = tasks, lr = 0.1, steps = 20, batch = "full",
>>     interventions = {bk.intervention.si{strength = 0.5}}}
> p:run{}.theta:shape()
{ 4 }]],
    options = {
        { "strength", "number", required = true, doc = "c" },
        { "xi", "positive", default = 1e-3, doc = "bounds Omega where a parameter hardly moved" },
    },
    call = function(options)
        local strength, xi = options.strength, options.xi
        return {
            name = "si",
            strength = strength,
            doc = "synaptic intelligence (Zenke et al. 2017), strength " .. strength,
            needs_blocks = true,
            begin_run = function(state, memory)
                memory.start, memory.path, memory.omega = state.theta, state.theta * 0, nil
            end,
            before_step = function(state, memory)
                memory.gradient, memory.before = state.gradient, state.theta
                if memory.omega then
                    state.gradient = state.gradient + memory.omega * (state.theta - memory.start) * (2 * strength)
                end
            end,
            after_step = function(state, memory)
                memory.path = memory.path - memory.gradient * (state.theta - memory.before)
                memory.gradient, memory.before = nil, nil
            end,
            end_task = function(state, memory)
                local gone = state.theta - memory.start
                local part = memory.path / (gone * gone + xi)
                state.shared.si_path = memory.path:sum():item()
                memory.omega = memory.omega and memory.omega + part or part
                memory.start, memory.path = state.theta, memory.path * 0
            end,
        }
    end,
}

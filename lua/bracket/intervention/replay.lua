local bk = ...
return bk.define{
    name = "bk.intervention.replay",
    returns = "intervention",
    doc = [[
Experience replay: a reservoir of the stream's examples; each step averages its gradient with that of a batch drawn from
the other tasks' examples in it. One task a step.]],
    source = "Chaudhry et al. 2019 (experience replay with reservoir sampling)",
    options = {
        { "memory", "count", required = true, doc = "examples it holds" },
        { "batch", "count", says = "the step's", doc = "examples drawn from it for a step" },
        { "weight", "number", default = 1, low = 0, doc = "of the replayed batch's gradient beside the step's own" },
    },
    call = function(options)
        local weight = options.weight
        local doc = "experience replay from a reservoir of " .. options.memory .. " examples"
        local intervention = bk.intervention._episodes.intervention("replay", doc, options, 3, function(state, g)
            if g then state.gradient = (state.gradient + g * weight) * (1 / (1 + weight)) end
        end)
        intervention.weight = weight
        return intervention
    end,
}

local bk = ...
return bk.doc(function(options)
    options = bk._options("intervention.replay", options, { memory = "count!", batch = "count",
        weight = "number" })
    local weight = options.weight or 1
    local doc = "experience replay from a reservoir of " .. options.memory .. " examples"
    return bk.intervention._episodes.intervention("replay", doc, options, 3, function(state, g)
        if g then state.gradient = (state.gradient + g * weight) * (1 / (1 + weight)) end
    end)
end, [[
bk.intervention.replay{ memory = m, batch = b, weight = 1 }
Experience replay: a reservoir of m examples of the stream; each step averages its gradient with that of a batch (of
the same size, or b) drawn from the other tasks' examples in it, the latter weighted. One task a step.
Source: Chaudhry et al. 2019 (experience replay with reservoir sampling).]])

local bk = ...
return bk.doc(function(options)
    options = bk._options("intervention.agem", options, { memory = "count!", batch = "count" })
    local doc = "averaged gradient episodic memory (Chaudhry et al. 2018), " .. options.memory .. " examples"
    return bk.intervention._episodes.intervention("agem", doc, options, 4, function(state, r)
        state.shared.reference_gradient = r
        local inner = r and state.gradient:dot(r):item() or 0
        if inner < 0 then state.gradient = state.gradient - r * (inner / r:dot(r):item()) end
    end)
end, [[
bk.intervention.agem{ memory = m, batch = b }
Averaged GEM: when the gradient g and the gradient r of a batch (of the step's size, or b) from an episodic memory of m
examples of the other tasks disagree (<g, r> < 0), g becomes g - r <g, r>/<r, r>. One task a step.
Source: Chaudhry et al. 2018.]])

local bk = ...
return bk.define{
    name = "bk.intervention.agem",
    returns = "intervention",
    doc = [[
Averaged GEM: when the gradient g and the gradient r of a batch from an episodic memory of the other tasks' examples
disagree (<g, r> < 0), g becomes g - r <g, r>/<r, r>. One task a step.]],
    source = "Chaudhry et al. 2018",
    options = {
        { "memory", "count", required = true, doc = "examples it holds" },
        { "batch", "count", says = "the step's", doc = "examples drawn from it for a step" },
    },
    call = function(options)
        local doc = "averaged gradient episodic memory (Chaudhry et al. 2018), " .. options.memory .. " examples"
        return bk.intervention._episodes.intervention("agem", doc, options, 4, function(state, r)
            state.shared.reference_gradient = r
            local inner = r and state.gradient:dot(r):item() or 0
            if inner < 0 then state.gradient = state.gradient - r * (inner / r:dot(r):item()) end
        end)
    end,
}

local bk = ...
return bk.define{
    name = "bk.intervention.mgda",
    returns = "intervention",
    doc = [[
Joint steps follow the minimum-norm point of the convex hull of the tasks' gradients, a common descent direction.]],
    source = "Desideri 2012; Sener & Koltun 2018",
    options = {},
    call = function()
        return {
            name = "mgda",
            doc = "minimum-norm point of the gradients' convex hull (Desideri 2012; Sener & Koltun 2018)",
            needs_joint = true,
            before_step = function(state)
                local g = state.gradients
                local w, sum = bk.intervention._simplex.min_norm(bk._gram(g)), nil
                for i = 1, #g do
                    local part = g[i] * w[i]
                    sum = sum and sum + part or part
                end
                state.shared.mgda_weights = w
                state.gradient = sum
            end,
        }
    end,
}

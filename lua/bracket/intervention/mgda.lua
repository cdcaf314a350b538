local bk = ...
return bk.define{
    name = "bk.intervention.mgda",
    returns = "intervention",
    doc = [[
Joint steps follow the minimum-norm point of the convex hull of the tasks' gradients, a common descent direction,
whatever the reduction: no multiple of it where the losses are added.]],
    source = "Desideri 2012; Sener & Koltun 2018",
    options = {},
    call = function()
        return bk.intervention._aggregation.intervention("mgda",
            "minimum-norm point of the gradients' convex hull (Desideri 2012; Sener & Koltun 2018)",
            bk.intervention._simplex.min_norm)
    end,
}

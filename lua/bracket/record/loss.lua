local bk = ...
return bk.record._define(function(state)
    bk.measure.needs_losses(state, "record \"loss\"")
    local row, sum = {}, 0
    for i in ipairs(state.tasks) do
        local loss = bk.measure.loss(state, i)
        row["loss_" .. i] = loss
        sum = sum + loss
    end
    row.loss = sum
    return row
end, [[
record "loss" -> loss_1 .. loss_n, loss
Each task's loss on its diagnostic examples, and their sum (the term `original` of the modified loss).]])

local bk = ...
local refuse = bk._options.refuse
return bk.internal.public(function(rates)
    local expected = "a list with a rate or schedule per task"
    bk._options.list("bk.schedule.per_task", "rates", rates, expected)
    if #rates == 0 then refuse("bk.schedule.per_task: rates: expected %s, got an empty one", expected) end
    return bk.schedule._rate(rates, "bk.schedule.per_task")
end, [[
bk.schedule.per_task{0.05, bk.schedule.cosine{ lr = 0.1 }, ...} -> function (step, state) -> rate
One rate or schedule per task; as an option: lr = {0.05, 0.1}. Rates tied to tasks, not to positions, so that the
clock (theory: order effects) stays out.]])

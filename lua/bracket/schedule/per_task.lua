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
clock (theory: order effects) stays out.

A schedule or function (step, state) in it is called with its task's own step: 1 at the task's first, counted on at
each later one, however far apart they are and whatever schedule stands around. state.total is how many steps the task
has in the run, so that a cosine ends with its task's last step; state.step stays the run's. A task that comes back
goes on where it was: bk.schedule.step{ every = n } and the like do not begin again. Called by hand with a state
without task_steps, step and state.total are what they are.

Errors: no rate for the task; a schedule that takes the number of steps from the run where the order is a function,
which does not tell it: steps = n says it.]])

-- A learning rate as a function (step, state) -> rate, from what users write: a number, a function, or a list with one
-- of these per task, which is called with the task's own step. where begins the messages.
local bk = ...
local refuse = bk._options.refuse

-- The rate of the state's task, by the steps that it has had, this one included, and will have in the run. A state that
-- does not say them is one of a user's own, whose step and total they are.
local function by_own_steps(rate, step, state)
    local task, taken = state.task, state.task_steps
    if not taken then return rate(step, state) end
    return rate(math.max(1, taken[task]), bk.schedule._part(state, {
        total = function() return state.task_total(task) end,
        of_task = function() return task end,
    }))
end

-- entry: its number in a list.
local function resolve(lr, where, entry)
    local name = entry and ("lr: entry %d"):format(entry) or "lr"
    if type(lr) == "number" then
        if lr ~= lr or lr < 0 or lr == math.huge then
            refuse("%s: %s: expected a finite rate >= 0, got %s", where, name, bk._options.show(lr))
        end
        return function() return lr end
    end
    if bk._options.callable(lr) then return lr end
    if type(lr) == "table" and (bk._options.length(lr) or 0) > 0 and not bk._options.stray(lr) and not entry then
        local rates = {}
        for i, r in ipairs(lr) do rates[i] = resolve(r, where, i) end
        return bk.schedule._described.by_task(lr, function(step, state)
            if type(state) ~= "table" then
                refuse("%s: state: expected the state of a run, which says the task, got %s", where,
                    bk._options.show(state))
            end
            local rate = rates[state.task]
            if not rate then
                refuse("%s: lr: has %d rates, task %s has none (a list of rates needs one task a step)", where, #rates,
                    tostring(state.task))
            end
            return by_own_steps(rate, step, state)
        end)
    end
    refuse("%s: %s: expected a number, a function of (step, state)%s, got %s", where, name,
        entry and " or a schedule" or ", a schedule, or a list with one per task", bk._options.show(lr))
end
return resolve

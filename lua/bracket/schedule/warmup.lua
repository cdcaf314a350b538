local bk = ...
local refuse = bk._options.refuse
local described = bk.schedule._described

-- The steps that tasks have had where each is at its first; nil outside a run.
local function at_first(state)
    local firsts = setmetatable({}, { __index = function() return 1 end })
    return function() return state.task_steps and firsts end
end

return bk.define{
    name = "bk.schedule.warmup",
    returns = "function (step, state) -> rate",
    doc = "Rises to a rate along a line, then hands over to another schedule.",
    formula = "lr step/steps",
    errors = "lr and after both missing.",
    options = {
        { "steps", "count", required = true, doc = "how many steps it takes" },
        { "lr", "number", says = "after's first", doc = "the rate it ends with" },
        { "after", "callable|number", says = "lr",
            doc = "the schedule or rate from then on, counted from a step 1 of its own" },
    },
    call = function(options)
        local steps, lr = options.steps, options.lr
        if not lr and not options.after then refuse("bk.schedule.warmup: lr or after is missing") end
        local after = bk.schedule._rate(options.after or lr, "bk.schedule.warmup")
        return described("warmup", options, function(step, state)
            state = type(state) == "table" and state or {}
            if step > steps then
                return after(step - steps, bk.schedule._part(state, {
                    total = function() return state.total and state.total - steps end,
                }))
            end
            return (lr or after(1, bk.schedule._part(state, { task_steps = at_first(state) }))) * step / steps
        end)
    end,
}

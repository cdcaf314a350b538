local bk = ...
return bk.define{
    name = "bk.order.fuzzy",
    returns = "order",
    doc = [[
One task after the other with boundaries that are not sharp: of n stretches of equal length task i has the i-th, and
around each boundary every step is drawn, from the next task with a probability that rises linearly from 0 to 1. No
boundary is told: hooks of tasks are not called, and accuracy is measured at the end (record = { "accuracy" } sees it on
the way). The protocol's steps are those in all.]],
    formula = "P(next task) = 1/2 + (step - 1/2 - boundary) / (width length), cut to 0..1",
    source = "after Zeno et al. 2018 and Lee et al. 2020 (gradual and fuzzy task boundaries)",
    options = {
        { "width", "number", default = 0.5, low = 0, high = 1, doc = "of a stretch's steps, over which two tasks mix" },
    },
    call = function(options)
        local stream = bk.stream
        return bk.order._object.new{
            name = "fuzzy",
            setup = function(state)
                local n = state.n_tasks
                local total = state.steps or n
                local length = total / n
                return total, function(step)
                    if n == 1 then return 1 end
                    local at = step - 0.5
                    local boundary = math.max(1, math.min(n - 1, math.floor(at / length + 0.5)))
                    local from = at - boundary * length
                    local mixing = options.width * length
                    local share = mixing > 0 and 0.5 + from / mixing or from > 0 and 1 or 0
                    -- a stream of the step's own: any step's task is known before it comes
                    local u = stream.uniform(stream.new(stream.key(state.seed, 5, step)))
                    return u < share and boundary + 1 or boundary
                end
            end,
            window = function(state) return state.total end,
        }
    end,
}

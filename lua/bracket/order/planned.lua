local bk = ...
local stream = bk.stream

-- The order in which the next task is that of the largest loss, and its points.
local function by_loss(trial, point, n, stride)
    local rest, order, points = {}, {}, { point }
    for i = 1, n do rest[i] = i end
    while #rest > 0 do
        local most, at = -math.huge, 1
        for k, i in ipairs(#rest > 1 and rest or {}) do
            local loss = trial:loss(point, i)
            if loss > most then most, at = loss, k end
        end
        order[#order + 1] = table.remove(rest, at)
        point = trial:block(point, order[#order], stride)
        points[#points + 1] = point
    end
    return order, points
end

local function copy(list) return table.move(list, 1, #list, 1, {}) end

-- A neighbour of the order, by its first changed place i: drawn with the weight 1 / (tasks after it)^2, since what
-- stands late matters most and costs least to try. Two tasks change places, or one moves to where the other is.
local function neighbour(order, draw)
    local n, sum = #order, 0
    for i = 1, n - 1 do sum = sum + (n - i) / (n - i + 1) ^ 2 end
    local u, i = stream.uniform(draw) * sum, 1
    while i < n - 1 and u >= (n - i) / (n - i + 1) ^ 2 do u, i = u - (n - i) / (n - i + 1) ^ 2, i + 1 end
    local j, kind, result = i + 1 + stream.below(draw, n - i), stream.below(draw, 3), copy(order)
    if kind == 0 then
        result[i], result[j] = result[j], result[i]
    elseif kind == 1 then
        table.insert(result, j, table.remove(result, i))
    else
        table.insert(result, i, table.remove(result, j))
    end
    return result, i
end

local DRAWS = 200 -- in a row that were all tried before: the order has no untried neighbour, as good as

-- The best order found within `budget`; every order rolled is kept in `found`, { value, order }.
local function search(trial, o, n, sign, draw, first)
    local found, tried, points = {}, {}, nil
    local order, value
    local function note(candidate, v)
        found[#found + 1] = { value = v, order = candidate }
        tried[table.concat(candidate, ",")] = true
    end
    if o.target == "average" and sign > 0 then
        order, points = by_loss(trial, first, n, o.stride)
        value = sign * trial:value(points[n + 1])
    else
        order = {}
        for i = 1, n do order[#order + 1] = i ~= o.target and i or nil end
        if math.type(o.target) == "integer" then table.insert(order, sign > 0 and n or 1, o.target) end
        value, points = trial:roll(order, 1, { first }, o.stride)
        value = sign * value
    end
    note(order, value)
    local stale = 0
    while stale < DRAWS do
        local candidate, from = neighbour(order, draw)
        if tried[table.concat(candidate, ",")] then
            stale = stale + 1
        else
            local cost = trial:value_cost()
            for k = from, n do cost = cost + trial:block_cost(candidate[k], o.stride) end
            if trial.cost + cost > o.limit then break end
            local v, moved = trial:roll(candidate, from, points, o.stride)
            v, stale = sign * v, 0
            note(candidate, v)
            if v < value then order, value, points = candidate, v, moved end
        end
    end
    return found
end

local TOP = 3 -- orders that are rolled step by step at the end, where stride > 1

local function plan(state, options)
    bk.measure.needs_losses(state, "order \"planned\"")
    local n, sign = state.n_tasks, options.worst and -1 or 1
    local trial = bk.order._trial.new(state, options.target, options.samples)
    local shortest = math.huge
    for i = 1, n do shortest = math.min(shortest, state.steps_of(i)) end
    local stride = options.stride
    if not stride then
        local plain = bk.measure.is_gradient_step(state.optimizer)
        stride = plain and math.max(1, math.min(4, shortest // 12)) or 1
    end
    local limit = options.budget * trial.run
    local last = stride > 1 and TOP * (trial.run + trial:value_cost()) or 0
    if last > limit / 2 then stride, last = 1, 0 end
    local first, draw = trial:first(), { key = stream.key(state.seed, 6, 0, 0), counter = 0 }
    local found = search(trial, { target = options.target, stride = stride, limit = limit - last }, n, sign, draw, first)
    local start = found[1].value
    local function better(a, b)
        if a.value ~= b.value then return a.value < b.value end
        return table.concat(a.order, ",") < table.concat(b.order, ",")
    end
    table.sort(found, better)
    if stride > 1 then
        found = { table.unpack(found, 1, TOP) }
        for _, entry in ipairs(found) do entry.value = sign * (trial:roll(entry.order, 1, { first }, 1)) end
        table.sort(found, better)
    end
    trial:close(first)
    return found[1].order, { value = sign * found[1].value, start = sign * start, trials = trial.count,
        cost = trial.cost / trial.run, stride = stride }
end

return bk.define{
    name = "bk.order.planned",
    returns = "order",
    doc = "TODO",
    options = {
        { "target", "string|integer|table", default = "average",
            doc = "what is to be learned best in the end: \"average\" (of all tasks), a task, or { x =, y = } of one's own" },
        { "budget", "positive", default = 20, doc = "what planning may cost, in runs" },
        { "samples", "count", default = 256, doc = "training examples a task by which orders are judged" },
        { "stride", "count", says = "steps of a task // 12, from 1 to 4; 1 for optimizers with memory",
            doc = "steps of the run that are one of a trial, at their summed rate" },
        { "worst", "boolean", default = false, doc = "seeks the worst order" },
    },
    call = function(options)
        if type(options.target) == "string" and options.target ~= "average" then
            error(("bk.order.planned: target: expected \"average\", a task or a table { x =, y = }, got %q"):format(
                options.target), 3)
        end
        return bk.order._object.new{
            name = "planned",
            blocks = true,
            setup = function(state, memory)
                if not memory.order then
                    if not state.theta then
                        error("bk.order.planned: the order is known once a run has started", 0)
                    end
                    memory.order, memory.plan = plan(state, options)
                end
                return bk.order.sequential{ order = memory.order }.setup(state)
            end,
            window = function(state) return state.total end,
        }
    end,
}

-- The diagonal Fisher information of a task at the run's theta, over `samples` of its examples, by one of the ways
-- people compute it (van de Ven 2025, On the computation of the Fisher information in continual learning):
--     empirical   squared gradients of single examples, at their labels
--     sampled     at labels drawn from the model's distribution, one at every place of a sequence
--     exact       at every label, weighted by its probability
--     batched     squared mean gradients of batches of 128, at their labels
-- Examples are drawn with replacement; where nothing else is drawn and there are no more than `samples`, it is the mean
-- over all of them.
local bk = ...
local refuse = bk._options.refuse
local stream = bk.stream
local BATCH = 128

-- A list of lists: of each place of the one example x, every label's probability.
local function probabilities(state, t, x, name)
    local task = t.source
    local kind = t.f.kind
    if type(kind) == "function" or kind.name ~= "cross_entropy" or kind.label_smoothing ~= 0 then
        refuse("%s: fisher: \"sampled\" and \"exact\" need the loss cross_entropy, of labels not smoothed, got %s",
            name, type(kind) == "function" and "a function" or tostring(kind))
    end
    local buffers = state.problem.mode.buffers -- the run's statistics, as the gradients have them
    local z = state.model:forward(state.theta, x, buffers and { buffers = buffers }):to("float64")
    if task.head then z = z + bk._functions.mask_of(task.head, z:shape()[z:ndim()]) end
    return z:softmax():reshape{ -1, z:shape()[z:ndim()] }:totable()
end

local function drawn(draw, p)
    local left = stream.uniform(draw)
    for c = 1, #p - 1 do
        left = left - p[c]
        if left < 0 then return c - 1 end
    end
    return #p - 1
end

return function(name, state, draw, samples, way)
    local t = state.problem.tasks[state.task]
    local sum
    local function add(g, weight)
        local part = weight and g * g * weight or g * g
        sum = sum and sum + part or part
    end
    local function batch(k, size) return t.train.x:narrow(1, k, size), t.train.y:narrow(1, k, size) end
    if way == "batched" then
        local rows = {}
        for k = 1, samples do rows[k] = stream.below(draw, t.train.n) + 1 end
        local count = 0
        for first = 1, samples, BATCH do
            local some = bk.tensor(table.move(rows, first, math.min(first + BATCH - 1, samples), 1, {}),
                { dtype = "int64" })
            add(t.f.grad(state.theta, bk.gather(t.train.x, some), bk.gather(t.train.y, some)))
            count = count + 1
        end
        return sum * (1 / count)
    end
    local all = samples >= t.train.n and way ~= "sampled"
    local count = all and t.train.n or samples
    for k = 1, count do
        local x, y = batch(all and k or stream.below(draw, t.train.n) + 1, 1)
        if way == "empirical" then
            add(t.f.grad(state.theta, x, y))
        else
            local places = probabilities(state, t, x, name)
            if way == "sampled" then
                local labels = {}
                for k, p in ipairs(places) do labels[k] = drawn(draw, p) end
                add(t.f.grad(state.theta, x, bk.tensor(labels, { dtype = "int64" }):reshape(y:shape())))
            elseif #places > 1 then
                refuse("%s: fisher: \"exact\" needs one label an example, got y %s; \"sampled\" takes it", name,
                    bk._options.shape_text(t.train.y))
            else
                for c, weight in ipairs(places[1]) do
                    local label = bk.tensor({ c - 1 }, { dtype = "int64" })
                    if weight > 0 then add(t.f.grad(state.theta, x, label), weight) end
                end
            end
        end
    end
    return sum * (1 / count)
end

-- Does the bracket at a task boundary predict how much will be forgotten? Task 1 is trained, the digits then turn by an
-- angle, abruptly or in stages; forgetting of task 1 against what was measured at the boundary. See README.md.
local bk = require "bracket"
local experiment, statistics = dofile((arg[0]:match("^.*/") or "") .. "../common.lua"), bk.statistics
local say = experiment.say
local o = experiment.options(arg, { train = 500, test = 500, hidden = 64, steps = 100, lr = 0.1, batch = 64,
    seeds = 5, stages = 5, draws = 2000,
    angles = { 5, 10, 15, 20, 30, 45, 60, 75, 90, 120, 150, 180 }, out = "" },
    { train = 64, test = 64, steps = 6, seeds = 2, angles = { 10, 60, 120 }, batch = 16 })

local began = os.time()
local train, test, source = experiment.data(o, o.train, o.test)
local inputs = train.x:shape()[2]
local model = bk.nn.mlp{ inputs, o.hidden, 10, activation = "tanh" }

-- Every angle that occurs, turned once.
local function key(angle) return string.format("%.6f", angle) end
local turned = {}
local function task(angle)
    local k = key(angle)
    if not turned[k] then
        turned[k] = bk.tasks.rotated{ data = train, test = test, angles = { angle } }[1]
    end
    return turned[k]
end

-- What is measured at the first boundary, on the tasks' first examples.
local measured = { "bracket", "relative", "cosine", "effect", "first_order" }
local label = { bracket = "|[g_1, g_2]|", relative = "|[g_1, g_2]| / (|g_1| |g_2|)", cosine = "- cosine(g_1, g_2)",
    effect = "<grad L_1, [g_1, g_2]>", first_order = "- <g_1, g_2>" }
local function boundary(found)
    return { name = "boundary", doc = "measures at the first task boundary", end_task = function(state)
        if found.bracket then return end
        local measure = bk.measure
        local b, gram = measure.bracket(state, 1, state.n_tasks), measure.gram(state)
        local last = state.n_tasks
        found.bracket = b:norm():item()
        found.relative = found.bracket / math.sqrt(gram[1][1] * gram[last][last])
        found.cosine = -gram[1][last] / math.sqrt(gram[1][1] * gram[last][last])
        found.effect = measure.gradient(state, 1):dot(b):item()
        found.first_order = -gram[1][last]
    end }
end

local rows = {}
for _, mode in ipairs{ "abrupt", "gradual" } do
    rows[mode] = {}
    for seed = 1, o.seeds do
        for _, angle in ipairs(o.angles) do
            local tasks, steps = { task(0) }, { 2 * o.steps }
            local stages = mode == "abrupt" and 1 or o.stages
            for k = 1, stages do
                tasks[k + 1], steps[k + 1] = task(angle * k / stages), o.steps // stages
            end
            local found = {}
            local r = bk.protocol{ model = model, tasks = tasks, steps = steps, lr = o.lr, batch = o.batch,
                dtype = "float64", seed = o.seed * 100 + seed, interventions = { boundary(found) } }:run{}
            found.angle = angle
            found.forgetting = r.accuracy[1][1] - r.accuracy[#r.accuracy][1]
            found.loss_rise = r.test_loss[#r.test_loss][1] - r.test_loss[1][1]
            table.insert(rows[mode], found)
        end
    end
end

say([[
Does the bracket at the boundary predict forgetting?
%s, %d-%d-10 tanh, %d + %d steps, h = %g, %d angles x %d seeds]],
    source, inputs, o.hidden, 2 * o.steps, o.steps, o.lr, #o.angles, o.seeds)
say([[

angle   forgetting of task 1 (accuracy lost)      loss rise            |bracket|
        abrupt        gradual (%d stages)    abrupt   gradual    abrupt]], o.stages)
for _, angle in ipairs(o.angles) do
    local function mean(mode, name)
        local list = {}
        for _, row in ipairs(rows[mode]) do
            if row.angle == angle then list[#list + 1] = row[name] end
        end
        return statistics.mean(list)
    end
    say("%5g   %8.4f      %8.4f              %8.4f  %8.4f   %8.4f", angle, mean("abrupt", "forgetting"),
        mean("gradual", "forgetting"),
        mean("abrupt", "loss_rise"), mean("gradual", "loss_rise"), mean("abrupt", "bracket"))
end
local function column(list, name)
    local values = {}
    for i, row in ipairs(list) do values[i] = row[name] end
    return values
end
say("\nrank correlation with the loss rise [95 %%, angles drawn as wholes]; within: each angle's mean taken off")
say("%-32s%-28s%-28s%s", "", "abrupt", "gradual", "abrupt, within an angle")
local function centred(list, name)
    local sums, counts = {}, {}
    for _, row in ipairs(list) do
        sums[row.angle], counts[row.angle] = (sums[row.angle] or 0) + row[name], (counts[row.angle] or 0) + 1
    end
    local values = {}
    for i, row in ipairs(list) do values[i] = row[name] - sums[row.angle] / counts[row.angle] end
    return values
end
local draw = bk.stream.new(bk.stream.key(o.seed, 11))
local function show(list, x, y)
    local s = statistics.spearman_grouped(x, y, column(list, "angle"), o.draws, draw)
    return experiment.number("%6.3f [%.2f, %.2f]", s.rho, s.low, s.high)
end
for _, name in ipairs{ "angle", table.unpack(measured) } do
    local cells = {}
    for _, mode in ipairs{ "abrupt", "gradual" } do
        cells[#cells + 1] = show(rows[mode], column(rows[mode], name), column(rows[mode], "loss_rise"))
    end
    cells[3] = name == "angle" and "     -" or show(rows.abrupt, centred(rows.abrupt, name),
        centred(rows.abrupt, "loss_rise"))
    say("%-32s%-28s%-28s%s", label[name] or name, cells[1], cells[2], cells[3])
end
say("\n%d s", experiment.clock(began))
if o.out ~= "" then
    experiment.plot{ { x = column(rows.abrupt, "bracket"), y = column(rows.abrupt, "loss_rise"), label = "abrupt",
        style = "points" },
        { x = column(rows.gradual, "bracket"), y = column(rows.gradual, "loss_rise"), label = "gradual",
            style = "points" },
        title = "Forgetting against the bracket at the boundary", xlabel = "|[g_1, g_2]|",
        ylabel = "loss rise on task 1", key = "left", out = o.out }
end

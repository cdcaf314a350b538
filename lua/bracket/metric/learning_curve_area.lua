local bk = ...
local refuse = bk._options.refuse
local function metric(a, options)
    local where = "bk.metric.learning_curve_area"
    local o = bk._options.check(where, options, {
        { "batches", "count", default = 10, doc = "of each task that count" },
        { "learning", "list", doc = "the task of each row" } })
    local rows, n, task = bk.metric._evaluations(where, a, o.learning)
    if type(a.step) == "table" then
        for r = 2, n do
            if a.step[r] ~= a.step[r - 1] + 1 then
                refuse("%s: row %d: expected step %d, got %d: record = { every = 1, \"accuracy\" }", where, r,
                    a.step[r - 1] + 1, a.step[r])
            end
        end
    end
    local sum, tasks = 0, 0
    for r = 2, n do
        if task[r] ~= task[r - 1] and task[r] > 0 then -- the row before has seen no batch of this task
            local i, area = task[r], 0
            for b = 0, o.batches do
                local row = r - 1 + b
                if row > n or b > 0 and task[row] ~= i then
                    refuse("%s: task %d: expected %d batches or more, got %d", where, i, o.batches, b - 1)
                end
                area = area + rows[row][i]
            end
            sum, tasks = sum + area / (o.batches + 1), tasks + 1
        end
    end
    if tasks == 0 then refuse("%s: expected a row before the first task is learned, task 0", where) end
    return sum / tasks
end

return bk.internal.public(metric, [[
bk.metric.learning_curve_area(a [, { batches = 10, learning }]) -> number
LCA, as its paper defines it: how fast tasks are learned, the mean over tasks of the accuracy on them after 0, 1, ...,
`batches` batches of their own. a: a run's history with accuracy recorded at every step, or rows of accuracies, one a
batch, and in learning the task of each, 0 for the row before the first.

Formula: 1/(beta+1) sum_{b=0..beta} Z_b, Z_b = (1/T) sum_k a_{k,b,k}, beta = batches

Errors: rows that are not one a step; a task of fewer batches.

Source: Chaudhry et al. 2019 (A-GEM, 1812.00420)]])

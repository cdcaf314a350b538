local bk = ...
local refuse = bk._options.refuse
local dataset = bk.tasks._dataset
local where = "bk.tasks.mnist_360"

-- Row numbers by class 0..8, in random order.
local function by_class(set, rng)
    local y, lists = set.y:totable(), {}
    for _, k in ipairs(rng:permutation(set.n):totable()) do
        local id = y[k]
        lists[id] = lists[id] or {}
        table.insert(lists[id], k)
    end
    return lists
end

-- Two lists as one in which every stretch has them in their proportion.
local function mixed(a, b)
    local list, i, j = {}, 0, 0
    while i < #a or j < #b do
        if j == #b or i < #a and (i + 1) * #b <= (j + 1) * #a then
            i = i + 1
            list[#list + 1] = a[i]
        else
            j = j + 1
            list[#list + 1] = b[j]
        end
    end
    return list
end

-- A digit's rows, each turned further than the last: all of them go once round.
local function turning(rows, start)
    local entries = {}
    for k, row in ipairs(rows) do entries[k] = { row = row, degrees = start + 360 * (k - 1) / #rows } end
    return entries
end

-- Examples as a part { x, y }: entries { row, degrees } of a set, each turned by its angle.
local function part(set, entries, shape)
    local rows, degrees = {}, {}
    for k, e in ipairs(entries) do rows[k], degrees[k] = e.row, e.degrees end
    local x = dataset.rows(set.x, rows)
    return { x = bk.tasks._rotation(x, shape[1], shape[2], bk.tensor(degrees, { dtype = "float64" })),
        y = dataset.rows(set.y, rows) }
end

local function mnist_360(o)
    local data, train, test = dataset.images(where, o)
    local shape = data.shape
    train.n, test = #train.y, test or train
    test.n = #test.y
    local rng, groups, of_test = bk.rng(o.seed * 2 + 1), {}, {}
    local lists, count = by_class(train, rng), 2 * o.rounds
    local test_lists = by_class(test, rng)
    for digit = 0, 8 do -- 9 is a 6 when turned
        local list = lists[digit] or {}
        if #list // 2 < o.rounds then
            refuse("%s: digit %d: expected %.0f examples or more, one a visit, got %d", where, digit, 2.0 * o.rounds,
                #list)
        end
        local entries = turning(list, 60 * (digit - 1))
        groups[digit] = {}
        for g = 1, count do
            local first, last = (g - 1) * #list // count + 1, g * #list // count
            groups[digit][g] = table.move(entries, first, last, 1, {})
        end
        of_test[digit] = turning(test_lists[digit] or {}, 0)
    end
    local visits, tests, tasks = {}, {}, {}
    local function next_group(digit)
        visits[digit] = (visits[digit] or 0) + 1
        return groups[digit][visits[digit]]
    end
    for round = 1, o.rounds do
        for first = 0, 8 do
            local second = (first + 1) % 9
            if not tests[first] then
                local entries = table.move(of_test[first], 1, #of_test[first], 1, {})
                table.move(of_test[second], 1, #of_test[second], #entries + 1, entries)
                tests[first] = #entries > 0 and part(test, entries, shape) or nil
            end
            tasks[#tasks + 1] = { name = ("digits %d %d round %d"):format(first, second, round), classes = 9,
                loss = "cross_entropy", shape = shape, shuffle = false, test = tests[first],
                train = part(train, mixed(next_group(first), next_group(second)), shape) }
        end
    end
    return tasks
end

return bk.define{
    name = "bk.tasks.mnist_360",
    returns = "list of tasks",
    doc = [[
MNIST-360, a stream without clear boundaries: the nine pairs of digits (0, 1), (1, 2), ..., (8, 0) in turn, rounds
times, 9 left out, since it is a 6 when turned. Every example is shown once, and each digit goes once round over all of
its examples, so that no two of a digit have one angle. A pair is a task with shuffle = false, its digits mixed in
proportion; train with epochs = 1 (batch = 16 in the paper). Test examples of a digit go once round too, from 0.]],
    formula = "degrees of the k-th of n examples of digit d: 60 (d - 1) + 360 (k - 1)/n, counter-clockwise",
    source = "Buzzega et al. 2020 (2004.07211); pairs, rounds and angles as in the authors' code",
    errors = "fewer than 2 rounds examples of a digit.",
    options = dataset.options{
        { "rounds", "count", default = 3, doc = "how often every pair is visited" },
    },
    call = mnist_360,
}

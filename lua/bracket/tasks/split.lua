local bk = ...
local refuse = bk._options.refuse
local dataset = bk.tasks._dataset

local function labels(part, map)
    if not part or not map then return part end
    local y = part.y:totable()
    for k = 1, #y do y[k] = map[y[k]] end
    return { x = part.x, y = bk.tensor(y, { dtype = "int64" }) }
end

local function split(options)
    local data, o = dataset.open("bk.tasks.split", options)
    local scenario = options.scenario
    local groups = options.classes
    if not groups then
        groups = {}
        for c = 0, data.classes - 1, 2 do groups[#groups + 1] = { c, c + 1 < data.classes and c + 1 or nil } end
    end
    if #groups == 0 then refuse("bk.tasks.split: classes: expected a list of lists of class ids, got an empty one") end
    local function members(set)
        local lists = {}
        for k, id in ipairs(set.y:totable()) do
            lists[id] = lists[id] or {}
            table.insert(lists[id], k)
        end
        return lists
    end
    local of_class, of_test = members(data), o.test and members(o.test)
    local widest = 0
    for _, group in ipairs(groups) do
        widest = math.max(widest, type(group) == "table" and bk._options.length(group) or 0)
    end
    local tasks = {}
    for k, group in ipairs(groups) do
        if type(group) ~= "table" or (bk._options.length(group) or 0) == 0 or bk._options.stray(group) then
            refuse("bk.tasks.split: classes: task %d: expected a list of class ids, got %s", k,
                type(group) == "table" and #group == 0 and "an empty one" or bk._options.show(group))
        end
        local seen, ids, test_ids, map = {}, {}, {}, scenario == "domain" and {} or nil
        for place = 1, #group do
            local id = group[place]
            if math.type(id) ~= "integer" or id < 0 or id >= data.classes then
                refuse("bk.tasks.split: classes: task %d: expected ids 0..%d, got %s", k, data.classes - 1,
                    bk._options.show(id))
            end
            if not of_class[id] then
                refuse("bk.tasks.split: classes: task %d: no example of class %d", k, id)
            end
            if seen[id] then refuse("bk.tasks.split: classes: task %d: class %d stands twice", k, id) end
            seen[id] = true
            table.move(of_class[id], 1, #of_class[id], #ids + 1, ids)
            local more = of_test and of_test[id] or {}
            table.move(more, 1, #more, #test_ids + 1, test_ids)
            if map then map[id] = place - 1 end
        end
        table.sort(ids)
        local train, test = dataset.divide("bk.tasks.split", data, o, ids, test_ids)
        local head
        if scenario == "task" then head = table.move(group, 1, #group, 1, {}) end
        tasks[k] = { name = "classes " .. table.concat(group, " "), train = labels(train, map),
            test = labels(test, map), classes = map and widest or data.classes, head = head,
            loss = "cross_entropy", shape = data.shape }
    end
    return tasks
end

return bk.define{
    name = "bk.tasks.split",
    returns = "list of tasks",
    doc = [[
Every task holds the examples of its own classes; limit is of a task.
scenario "class": labels as they are, one output for every class; "task": the same, and task.head lists the classes
between which that task chooses; "domain": labels count from 0 within the task, so all tasks share the same outputs.]],
    source = "van de Ven & Tolias 2019 (the scenarios)",
    options = dataset.options{
        { "classes", "list", says = "pairs in order", doc = "{ {0, 1}, {2, 3}, ... }, the class ids of each task" },
        { "scenario", { "class", "task", "domain" }, default = "class", doc = "what is told of the task when testing" },
    },
    call = split,
}

local bk = ...
local refuse = bk._options.refuse
local where = "bk.tasks.incremental"

local function part_of(task, name)
    local part = task[name] or name == "train" and { x = task.x, y = task.y } or nil
    return part and part.y and part
end

-- The classes of a task's training examples, rising, and the place of each from 0.
local function classes_of(task, i)
    if type(task) ~= "table" then
        refuse("%s: tasks: entry %d: expected a task, a table, got %s", where, i, bk._options.show(task))
    end
    local part = part_of(task, "train")
    if not (part and bk.is_tensor(part.y) and part.y:dtype() == "int64" and part.y:ndim() == 1) then
        refuse("%s: task %d: expected class ids (examples) int64", where, i)
    end
    local list, place = {}, {}
    for _, id in ipairs(part.y:totable()) do
        if not place[id] then
            place[id] = true
            list[#list + 1] = id
        end
    end
    table.sort(list)
    for k, id in ipairs(list) do place[id] = k - 1 end
    return list, place
end

local function relabelled(part, place, first, i, name)
    local y = part.y:totable()
    for k, id in ipairs(y) do
        y[k] = place[id] and first + place[id]
            or refuse("%s: task %d: %s: class %d is in none of its training examples", where, i, name, id)
    end
    return { x = part.x, y = bk.tensor(y, { dtype = "int64" }) }
end

local function incremental(o)
    local first, widest, tasks = 0, 0, {}
    if #o.tasks == 0 then refuse("%s: tasks: expected a list of tasks, got an empty one", where) end
    for i, task in ipairs(o.tasks) do
        local list, place = classes_of(task, i)
        local t = {}
        for name, value in pairs(task) do t[name] = value end
        local offset = o.scenario == "domain" and 0 or first
        t.x, t.y, t.head = nil, nil, nil
        for _, name in ipairs{ "train", "test" } do
            local part = part_of(task, name)
            t[name] = part and relabelled(part, place, offset, i, name)
        end
        if o.scenario == "task" then
            t.head = {}
            for k = 1, #list do t.head[k] = first + k - 1 end
        end
        first, widest = first + #list, math.max(widest, #list)
        tasks[i] = t
    end
    for _, t in ipairs(tasks) do t.classes = o.scenario == "domain" and widest or first end
    return tasks
end

return bk.define{
    name = "bk.tasks.incremental",
    returns = "list of tasks",
    doc = [[
A list of classification tasks in one of the three forms of continual learning. Classes of different tasks are different
classes, even where the tasks number them alike (as permuted ones do).
"class": task i's classes, in the order of their ids, follow those of the tasks before; one output for each, and the
model chooses among all of them. "task": the same, and task.head lists the classes between which the task chooses.
"domain": every task's classes count from 0; they share outputs. tasks[1].classes is the number of outputs.]],
    source = "van de Ven & Tolias 2019; van de Ven, Tuytelaars & Tolias 2022",
    errors = "targets that are no class ids; a class that is tested and not trained.",
    options = {
        { "tasks", "list", required = true, doc = "a list of tasks" },
        { "scenario", { "class", "task", "domain" }, required = true, doc = "what is told of the task when testing" },
    },
    call = incremental,
}

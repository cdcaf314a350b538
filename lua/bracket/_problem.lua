-- A model and its tasks, ready to run: data checked and cast once to the run's dtype, compiled functions, and one
-- stream of batches per task. Epoch e of task i is the permutation keyed by (seed, i, e), so a position is two
-- integers and any past batch can be gathered again. Batch buffers are reused until problem:leave_batches.
local bk = ...
local refuse, show = bk._options.refuse, bk._options.show
local stream = bk.stream
local problem = {}
problem.__index = problem

local function fail(where, format, ...) refuse("%s" .. format, where, ...) end

local is_tensor, shape_text, is_finite = bk.is_tensor, bk._options.shape_text, bk._options.is_finite

-- t where it lies row after row, else a copy that does.
local function row_major(t) return t:reshape(t:shape()) end

-- Flat rows of pixels as images (n, channels, rows, columns); shape: {rows, columns} or with the channels before.
local function images(x, shape)
    local sizes = x:shape()
    if #sizes ~= 2 or type(shape) ~= "table" then return nil end
    local channels = #shape == 3 and shape[1] or 1
    local ok, out = pcall(x.reshape, x, { sizes[1], channels, shape[#shape - 1], shape[#shape] })
    return ok and out or nil
end

-- x as the model takes it, and the outputs' sizes for one example: as it is; as given, before it was cast, if that is
-- ids; or as images of that shape, for rows of pixels that are meant for a convolution.
local function fitting(self, where, x, given, shape)
    local probe = bk.zeros({ self.model.n_params }, { dtype = self.dtype })
    local function accepts(rows) return pcall(self.model.forward, self.model, probe, rows:narrow(1, 1, 1)) end
    local ok, out = accepts(x)
    if ok then return x, out:shape() end
    if given:dtype() == "int64" then
        local fits, result = accepts(given)
        if fits then return given, result:shape() end
    end
    local image = images(x, shape)
    if image then
        local fits, result = accepts(image)
        if fits then return image, result:shape() end
    end
    fail(where, ".x is %s, which the model does not take: %s", shape_text(x),
        (tostring(out):gsub("^[^\n:]+:%d+: ", ""))) -- the line is named once
end

-- y as class ids for outputs of these sizes; a model of sequences has classes for every time of an example.
local function class_ids(where, y, loss, n, sizes, classes)
    if y:dtype() ~= "int64" then
        if y:to("int64"):to(y:dtype()) ~= y then
            fail(where, ".y: expected class ids for loss = %q, got fractions (loss = \"mse\" takes numbers)", loss.name)
        end
        y = y:to("int64")
    end
    local places = table.move(sizes, 2, math.max(1, #sizes - 1), 2, { n })
    local expected = "(" .. table.concat(places, ",") .. ")"
    if shape_text(y) ~= expected then fail(where, ".y: expected class ids %s, got %s", expected, shape_text(y)) end
    local low, high = y:min():item(), y:max():item()
    if low < 0 or high >= classes then
        fail(where, ".y: label %d is outside the model's classes 0..%d", low < 0 and low or high, classes - 1)
    end
    return y
end

-- y as what a loss of bk.loss compares with outputs of these sizes.
local function targets(self, where, y, n, sizes)
    y = y:to(self.dtype)
    local got = y:shape()
    local same = #sizes == #got or #sizes == 2 and #got == 1 and sizes[2] == 1
    for d = 2, #got do same = same and sizes[d] == got[d] end
    if not same then
        fail(where, ".y is %s, the model's output (%d,%s)", shape_text(y), n, table.concat(sizes, ",", 2))
    end
    return y
end

-- Checks one { x, y } for a loss (a value of bk.loss or a function) and returns it in the run's dtype, row-major;
-- `where` begins the errors. shape: see fitting.
function problem:part(where, data, loss, shape)
    local got = bk._options.no_data(data)
    if got then fail(where, ": expected a table { x = tensor, y = tensor }, got %s", got) end
    local x, y = data.x:to(self.dtype), data.y
    local n = x:shape()[1]
    if #x:shape() < 2 or n == 0 then fail(where, ".x: expected (examples, ...), got %s", shape_text(x)) end
    if y:shape()[1] ~= n then
        fail(where, ": x %s and y %s differ in their number of examples", shape_text(x), shape_text(y))
    end
    if not is_finite(x) then fail(where, ".x holds nan or inf") end
    local sizes
    x, sizes = fitting(self, where, x, data.x, shape)
    self.outputs = #sizes > 1 and sizes[#sizes] or 1
    if type(loss) == "function" then
        if y:dtype() ~= "int64" then y = y:to(self.dtype) end
    elseif loss.class_ids then
        y = class_ids(where, y, loss, n, sizes, self.outputs)
    else
        y = targets(self, where, y, n, sizes)
    end
    if not is_finite(y) then fail(where, ".y holds nan or inf") end
    return { x = row_major(x), y = row_major(y), n = n }
end

-- A class that the head leaves out has no probability, and its loss no meaning.
local function inside_head(where, y, head, outputs)
    local held = {}
    for id = 1, outputs do held[id] = 0 end
    for _, id in ipairs(head) do held[id + 1] = 1 end
    local labels = y:reshape{ -1 }
    local least = bk.gather(bk.tensor(held, { dtype = "int64" }), labels + 1):argmin():item()
    local id = labels[least + 1]:item()
    if held[id + 1] == 0 then
        fail(where, ".y: label %d is outside the task's head %s", id, table.concat(head, ", "))
    end
end

local FIELDS = { "name", "x", "y", "train", "test", "loss", "accuracy", "field", "head", "shape", "shuffle", "own" }
local LONGER = { "name", "train", "test", "loss", "accuracy", "field", "head", "shape", "shuffle" }
local ALSO = { "names", "classes", "outputs", "size", "n", "target", "angle", "permutation" } -- of bk.data and bk.tasks

-- A task's own things stand in its field own; what is nearly a field of ours, or an option of the protocol's or of a
-- loss's, would be left unread and is an error, what is neither a warning: unread has these names.
local function check_fields(task, where, unread)
    local known = {}
    for _, o in ipairs(bk.internal.options[bk.protocol]) do
        if o.name ~= "seed" and task[o.name] ~= nil then
            refuse("%s: %s is an option of bk.protocol, for all tasks%s", where, o.name,
                (o.name == "lr" or o.name == "steps") and ("; a list, %s = { ... }, is one each"):format(o.name) or "")
        end
    end
    for _, loss in pairs(bk.loss) do
        for _, o in ipairs(bk.internal.options[loss] or {}) do
            if task[o.name] ~= nil then
                refuse("%s: %s is an option of the loss: loss = bk.loss.%s{ %s = %s }", where, o.name, loss.name, o.name,
                    show(task[o.name]))
            end
        end
    end
    for _, list in ipairs{ FIELDS, ALSO } do
        for _, name in ipairs(list) do known[name] = true end
    end
    local function look(name, before)
        local text = tostring(name)
        if known[name] or type(name) == "number" then return end
        local meant = (text == "X" or text == "Y") and (" (did you mean %s?)"):format(text:lower())
            or bk.internal.hint(text, LONGER)
        if meant ~= "" and before == "" then refuse("%s: unknown field %s%s", where, text, meant) end
        unread[before .. text] = true
    end
    for name in pairs(task) do look(name, "") end
    for _, part in ipairs{ "train", "test" } do
        for name in pairs(type(task[part]) == "table" and task[part] or {}) do look(name, part .. ".") end
    end
end

local function warn_of_unread(unread)
    local names = {}
    for name in pairs(unread) do names[#names + 1] = name end
    if #names == 0 or (bk.internal.ranks.launched()) > 0 then return end -- joins no ranks: the run may be one's own
    table.sort(names)
    bk._warning("bk.protocol: tasks: nothing reads the field%s %s; what is your own stands in own = { %s = ... }",
        #names > 1 and "s" or "", table.concat(names, ", "), names[1]:match("[^.]*$"))
end

local function check_kinds(task, where)
    if task.shuffle ~= nil and type(task.shuffle) ~= "boolean" then
        fail(where, ": shuffle: expected true or false, got %s", show(task.shuffle))
    end
    if task.shape ~= nil then
        bk._options.numbers(where, "shape", task.shape)
        if #task.shape < 2 or #task.shape > 3 then
            fail(where, ": shape: expected {rows, columns} or {channels, rows, columns}, got %s", show(task.shape))
        end
    end
    if task.accuracy ~= nil and not bk._options.callable(task.accuracy) then
        fail(where, ": accuracy: expected a function (z, y) -> number, got %s", show(task.accuracy))
    end
    if task.weight ~= nil then
        fail(where, ": weight: a task has none; a loss of its own may be a multiple: loss = function(model, theta, x, y) "
            .. "return %s * bk.loss.mse(model)(theta, x, y) end", show(task.weight))
    end
    if #task > 0 then fail(where, ": expected named fields, got %s at %d", show(task[1]), 1) end
    for _, name in ipairs{ "train", "test" } do
        for field in pairs(type(task[name]) == "table" and task[name] or {}) do
            local more = field ~= "x" and field ~= "y" and field ~= "n" and bk.internal.hint(field, { "x", "y" }) or ""
            if type(field) == "number" then fail(where, ": %s: expected x and y, got an entry %s", name, field) end
            if more ~= "" then fail(where, ": %s: unknown field %s%s", name, show(field), more) end
        end
    end
end

function problem.new(model, tasks, dtype, batch, samples, shared) -- shared: over the ranks
    local self = setmetatable({ model = model, dtype = dtype, tasks = {}, n = #tasks, mode = {} }, problem)
    local unread = {}
    if type(tasks) ~= "table" or #tasks == 0 then refuse("bk.protocol: tasks: expected a list of tasks, got none") end
    for i, task in ipairs(tasks) do
        local where = "bk.protocol: task " .. i
        if type(task) ~= "table" then refuse("%s: expected a table, got %s", where, show(task)) end
        local t = { name = task.name or ("task " .. i), source = task }
        if task.name then where = string.format("%s (%s)", where, tostring(task.name)) end
        check_fields(task, where, unread)
        check_kinds(task, where)
        for _, name in ipairs{ "x", "y" } do
            if task.train and task[name] ~= nil then
                refuse("%s: %s: given twice, as train.%s too", where, name, name)
            end
        end
        if not task.train and not (is_tensor(task.x) and is_tensor(task.y)) then
            refuse("%s: expected tensors x and y, or train = { x =, y = }; got %s and %s", where, show(task.x),
                show(task.y))
        end
        local loss = bk._functions.kind_of(task, where)
        t.train = self:part(where .. ": train", task.train or { x = task.x, y = task.y }, loss, task.shape)
        t.test = task.test and self:part(where .. ": test", task.test, loss, task.shape) or t.train
        t.shared = bk._functions.of(model, task, self.outputs, where, shared)
        if task.head then
            inside_head(where .. ": train", t.train.y, task.head, self.outputs)
            if task.test then inside_head(where .. ": test", t.test.y, task.head, self.outputs) end
        end
        t.f, t.training = bk._functions.bound(t.shared, self.mode)
        t.full = batch == "full"
        t.size = t.full and t.train.n or math.min(batch, t.train.n)
        local m = math.min(samples, t.train.n)
        t.diagnostic = { x = t.train.x:narrow(1, 1, m), y = t.train.y:narrow(1, 1, m) }
        self.tasks[i] = t
    end
    warn_of_unread(unread)
    return self
end

-- What the model of a step works with: the step's seed. buffers: what training has left, fresh ones where none are
-- given.
function problem:begin_step(seed, step)
    if self.model.modal then self.mode.seed = bk.tensor(stream.key(seed, 4, step), { dtype = "int64" }) end
end
function problem:set_buffers(buffers)
    if not self.model.modal or self.model.n_buffers == 0 then return end
    self.mode.buffers = buffers and buffers:to(self.dtype) or self.model:init_buffers{ dtype = self.dtype }
end

-- Puts every stream at its beginning, for this seed.
function problem:start(seed)
    self:leave_batches()
    self:begin_step(seed, 0)
    for i, t in ipairs(self.tasks) do
        t.key, t.epoch, t.cursor, t.perm = stream.key(seed, 1, i), 0, t.train.n + 1, nil
    end
end

function problem:position()
    local at = {}
    for i, t in ipairs(self.tasks) do at[i] = { epoch = t.epoch, cursor = t.cursor } end
    return at
end

-- A task with shuffle = false is a stream: its examples come as they stand, in every epoch.
local function permutation(t, epoch)
    if t.source.shuffle == false then return bk.linspace(1, t.train.n, t.train.n):to("int64") end
    return bk.rng(stream.key(t.key, epoch)):permutation(t.train.n)
end

function problem:seek(seed, at, step)
    self:leave_batches()
    self:begin_step(seed, step)
    for i, t in ipairs(self.tasks) do
        t.key, t.epoch, t.cursor = stream.key(seed, 1, i), at[i].epoch, at[i].cursor
        t.perm = (not t.full and t.epoch > 0) and permutation(t, t.epoch) or nil
    end
end

local gather = bk.internal.gather

local function buffer(t, like)
    local shape = like:shape()
    shape[1] = t.size
    return bk.zeros(shape, { dtype = like:dtype() })
end
local function buffers(t) return { x = buffer(t, t.train.x), y = buffer(t, t.train.y) } end

-- kept, { x, y }, with a batch: the rows that the permutation names from one of its places on.
local function fill(t, kept, perm, first)
    gather(kept.x, 1, t.train.x, perm, first, t.size)
    gather(kept.y, 1, t.train.y, perm, first, t.size)
    return kept.x, kept.y
end

-- What problem:next and problem:again have given is somebody's now.
function problem:leave_batches()
    for _, t in ipairs(self.tasks) do t.batch, t.other_batch = nil, nil end
end

-- The next batch of task i; with it, the place by which problem:again finds it.
function problem:next(i)
    local t = self.tasks[i]
    if t.full then
        t.epoch = t.epoch + 1
        return t.train.x, t.train.y, t.epoch, 1
    end
    local size = t.size
    if t.cursor + size - 1 > t.train.n then -- an incomplete last batch is left out
        t.epoch, t.cursor = t.epoch + 1, 1
        t.perm = permutation(t, t.epoch)
    end
    local first = t.cursor
    t.batch = t.batch or buffers(t)
    t.cursor = first + size
    local x, y = fill(t, t.batch, t.perm, first)
    return x, y, t.epoch, first
end

-- The permutation of another epoch than the present one; the last of these is kept.
local function of_epoch(t, epoch)
    local kept = t.other
    if not kept or kept.key ~= t.key or kept.epoch ~= epoch then
        kept = { key = t.key, epoch = epoch, perm = permutation(t, epoch) }
        t.other = kept
    end
    return kept.perm
end

-- An earlier batch, or one to come, in buffers of its own.
function problem:again(i, epoch, first)
    local t = self.tasks[i]
    if t.full then return t.train.x, t.train.y end
    t.other_batch = t.other_batch or buffers(t)
    return fill(t, t.other_batch, epoch == t.epoch and t.perm or of_epoch(t, epoch), first)
end

-- The row numbers of the examples of that batch.
function problem:ids(i, epoch, first)
    local t = self.tasks[i]
    if t.full then
        local ids = {}
        for k = 1, t.train.n do ids[k] = k end
        return ids
    end
    local perm = epoch == t.epoch and t.perm or permutation(t, epoch)
    return perm:narrow(1, first, t.size):totable()
end

-- Mean loss (nil for a field) and accuracy (nil for mse) of task i at theta on all of its `which` data, in blocks of
-- 1000 examples. A loss's own accuracy is a share of right answers, whose number is whole; a task's may be anything.
function problem:evaluate(i, theta, which)
    local t = self.tasks[i]
    local data, loss, right, first = t[which], 0, 0, 1
    local labels = 1 -- of an example: a loss's share is of a count of them
    for _, size in ipairs{ table.unpack(data.y:shape(), 2) } do labels = labels * size end
    while first <= data.n do
        local m = math.min(1000, data.n - first + 1)
        local x, y = data.x:narrow(1, first, m), data.y:narrow(1, first, m)
        local value, share = t.f.measure(theta, x, y)
        if value then loss = loss + m * value end
        if share then
            right = right + (t.source.accuracy and m * share or math.floor(m * labels * share + 0.5) / labels)
        end
        first = first + m
    end
    return t.f.value and loss / data.n or nil, t.f.accuracy and right / data.n or nil
end

-- Whether what stands for accuracy is of two kinds: some tasks' losses have one, others' do not.
function problem:mixes_accuracies()
    local with, without
    for _, t in ipairs(self.tasks) do
        if t.f.accuracy then with = true elseif t.f.value then without = true end
    end
    return with and without or false
end

return problem

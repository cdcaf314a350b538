-- What the makers of tasks share: checking a data set { x (n, ...), y (n), classes, shape }, picking rows and columns,
-- and dividing examples into train and test. Rows count from 1.
local bk = ...
local refuse = bk._options.refuse
local dataset = {}

local shape_text = bk._options.shape_text

-- Appends the options of how examples are divided.
function dataset.division(list)
    return table.move({
        { "test_fraction", "number", says = "0.2", low = 0, below = 1,
            doc = "of the examples, to test on, where there is no test set" },
        { "limit", "count", says = "all", doc = "examples used, train and test together" },
        { "seed", "integer", default = 1, doc = "of the division and of what is drawn" },
    }, 1, 3, #list + 1, list)
end

-- The options of a maker of tasks from data: its own between data and the division's.
function dataset.options(own)
    table.insert(own, 1, { "data", "table", required = true, doc = "{ x, y } and what else bk.data gives" })
    table.insert(own, { "test", "table", doc = "a test set of its own" })
    return dataset.division(own)
end

function dataset.finite(where, name, t)
    if not bk._options.is_finite(t) then refuse("%s: %s holds nan or inf", where, name) end
end

-- {rows, columns} of images (n, rows, columns) or (n, 1, rows, columns), {channels, rows, columns} of those with more;
-- of flat ones when they can be square.
local function image_shape(xs)
    if #xs == 3 then return { xs[2], xs[3] } end
    if #xs == 4 then return xs[2] == 1 and { xs[3], xs[4] } or { xs[2], xs[3], xs[4] } end
    local side = #xs == 2 and math.floor(math.sqrt(xs[2]) + 0.5) or 0
    return side * side == xs[2] and { side, side } or nil
end

-- { x (n, size), y (n) int64, both row-major, n, size, classes, shape }, or an error that says what is wrong.
function dataset.check(where, data, name)
    name = name or "data"
    local got = bk._options.no_data(data)
    if got then refuse("%s: %s: expected a table { x = tensor, y = tensor }, got %s", where, name, got) end
    local xs, ys = data.x:shape(), data.y:shape()
    if #xs < 2 or xs[1] < 1 then
        refuse("%s: %s.x: expected (examples, ...), got %s", where, name, shape_text(data.x))
    end
    if #ys ~= 1 or ys[1] ~= xs[1] then
        refuse("%s: %s.y: expected (%d), a class id for each row of x, got %s", where, name, xs[1], shape_text(data.y))
    end
    local size = 1
    for d = 2, #xs do size = size * xs[d] end
    local x, y = data.x:reshape{ xs[1], size }, data.y:reshape(ys) -- what is not row-major is copied
    dataset.finite(where, name .. ".x", x)
    if y:dtype() ~= "int64" then
        dataset.finite(where, name .. ".y", y)
        y = y:to("int64")
        if (y:to("float64") - data.y:to("float64")):norm():item() ~= 0 then
            refuse("%s: %s.y: expected class ids, got fractions", where, name)
        end
    end
    local low, high = -((-y):max():item()), y:max():item()
    local classes = data.classes or high + 1
    if type(classes) == "table" then classes = #(classes[data.target] or {}) end -- texts by column, of bk.data.csv
    if type(classes) ~= "number" or not math.tointeger(classes) then
        refuse("%s: %s.classes: expected the number of classes, got %s", where, name, bk._options.show(classes))
    end
    if data.shape ~= nil then bk._options.numbers(where, name .. ".shape", data.shape) end
    if low < 0 or high >= classes then
        refuse("%s: %s.y: label %d is outside the classes 0..%d", where, name, low < 0 and low or high, classes - 1)
    end
    return { x = x, y = y, n = xs[1], size = size, classes = classes, shape = data.shape or image_shape(xs) }
end

-- Rows ids[1..count] of t as a new row-major tensor; ids an int64 tensor or a list.
function dataset.rows(t, ids, count)
    if type(ids) == "table" then ids = bk.tensor(ids, { dtype = "int64" }) end
    local shape = t:shape()
    shape[1] = count or ids:shape()[1]
    local out = bk.zeros(shape, { dtype = t:dtype() })
    bk.internal.gather(out, 1, t, ids, 1, shape[1])
    return out
end

-- Columns ids of x (n, size), given xt, its row-major transpose.
function dataset.columns(xt, ids) return dataset.rows(xt, ids):transpose():clone() end

-- How many of n examples train; the others test. At least one of each, unless fraction is 0.
function dataset.train_count(where, n, fraction)
    if fraction == 0 then return n end
    if n < 2 then refuse("%s: 1 example cannot be divided into train and test; give test_fraction = 0", where) end
    return n - math.max(1, math.min(n - 1, math.floor(n * fraction + 0.5)))
end

-- The examples `ids` (a list; nil: all) of checked data in random order, at most limit of them, as { x, y } to train
-- and to test on; test is nil when the fraction is 0. A test set of its own (options.test) is taken whole.
function dataset.divide(where, data, options, ids, test_ids)
    local rng = bk.rng(options.seed)
    local function shuffled(from, list, limit)
        local n = list and #list or from.n
        local order = rng:permutation(n)
        if list then order = dataset.rows(bk.tensor(list, { dtype = "int64" }), order) end
        return order, math.min(limit or n, n)
    end
    local function take(from, order, first, count)
        local part = order:narrow(1, first, count):clone()
        return { x = dataset.rows(from.x, part), y = dataset.rows(from.y, part) }
    end
    local order, n = shuffled(data, ids, options.limit)
    if options.test then
        local test = options.test
        local test_order, m = shuffled(test, test_ids)
        return take(data, order, 1, n), take(test, test_order, 1, m)
    end
    local train = dataset.train_count(where, n, options.test_fraction or 0.2)
    return take(data, order, 1, train), train < n and take(data, order, train + 1, n - train) or nil
end

-- Checked data and options with a checked test set, if there is one.
function dataset.open(where, options)
    local data = dataset.check(where, options.data)
    local copy = {}
    for k, v in pairs(options) do copy[k] = v end
    if options.test then
        if (options.test_fraction or 0) > 0 then
            refuse("%s: test_fraction: there is a test set; expected one of them", where)
        end
        copy.test = dataset.check(where, options.test, "test")
        if copy.test.size ~= data.size then
            refuse("%s: test.x has %d columns, data.x %d", where, copy.test.size, data.size)
        end
        data.classes = math.max(data.classes, copy.test.classes)
    end
    return data, copy
end

-- open and divide of flat images { rows, columns }: the data, its training and test parts. For a maker of tasks itself,
-- whose caller an error names.
function dataset.images(where, options)
    local data, checked = dataset.open(where, options)
    local shape = data.shape
    if type(shape) ~= "table" or #shape ~= 2 or shape[1] * shape[2] ~= data.size then
        refuse("%s: data: expected images of {rows, columns}, %d numbers each, got shape %s", where, data.size,
            type(shape) == "table" and "{" .. table.concat(shape, ", ") .. "}" or "nil")
    end
    return data, dataset.divide(where, data, checked)
end

return dataset

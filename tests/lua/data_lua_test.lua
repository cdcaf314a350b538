-- data_lua_test.lua - glyphs, MNIST's files, and the tasks made of them.
local bk = require "bracket"
local lu = require "luaunit"
local files = require "files"
local write = files.write

TestGlyphs, TestMnist, TestTasks = {}, {}, {}

local function list(t) return t:totable() end
local function same(a, b) lu.assertEquals(list(a), list(b)) end
local function distance(a, b) return (a - b):norm():item() end

-- ---- glyphs ----

function TestGlyphs:test_shapes_range_and_balance()
    local d = bk.data.glyphs{ n = 200, seed = 3 }
    lu.assertEquals(d.x:shape(), { 200, 784 })
    lu.assertEquals(d.y:shape(), { 200 })
    lu.assertEquals({ d.x:dtype(), d.y:dtype() }, { "float64", "int64" })
    lu.assertEquals({ d.classes, d.shape }, { 10, { 28, 28 } })
    lu.assertEquals(d.x:max():item(), 1)
    lu.assertEquals(-((-d.x):max():item()), 0)
    local count = {}
    for _, y in ipairs(list(d.y)) do count[y] = (count[y] or 0) + 1 end
    for c = 0, 9 do lu.assertEquals(count[c], 20) end
    local ink = d.x:mean():item()
    lu.assertTrue(ink > 0.05 and ink < 0.25, ink)
end

function TestGlyphs:test_the_same_seed_gives_the_same_pixels_and_another_does_not()
    local a, b, c = bk.data.glyphs{ n = 300 }, bk.data.glyphs{ n = 300, seed = 1 }, bk.data.glyphs{ n = 300, seed = 2 }
    lu.assertEquals(distance(a.x, b.x), 0)
    same(a.y, b.y)
    lu.assertTrue(distance(a.x, c.x) > 1)
end

-- Digits that can be told apart: the nearest class mean names most of the examples it was not made of.
function TestGlyphs:test_class_means_recognise_new_examples()
    local function sorted(d)
        local by = {}
        for k, y in ipairs(list(d.y)) do
            by[y] = by[y] or {}
            table.insert(by[y], d.x[k])
        end
        return by
    end
    local means = {}
    for c, rows in pairs(sorted(bk.data.glyphs{ n = 400, seed = 1 })) do
        local sum = rows[1]
        for k = 2, #rows do sum = sum + rows[k] end
        means[c] = sum / #rows
    end
    local right = 0
    local d = bk.data.glyphs{ n = 100, seed = 9 }
    for k, y in ipairs(list(d.y)) do
        local best, at = math.huge, nil
        for c = 0, 9 do
            local far = distance(d.x[k], means[c])
            if far < best then best, at = far, c end
        end
        if at == y then right = right + 1 end
    end
    lu.assertTrue(right >= 60, "only " .. right .. " of 100")
end

function TestGlyphs:test_other_sizes_and_misuse()
    lu.assertEquals(bk.data.glyphs{ n = 3, size = 14 }.x:shape(), { 3, 196 })
    lu.assertErrorMsgContains("data.glyphs: n: expected a whole number >= 1, got 0", bk.data.glyphs, { n = 0 })
    lu.assertErrorMsgContains("data.glyphs: size: expected a whole number from 8 to 256", bk.data.glyphs, { size = 3 })
    lu.assertErrorMsgContains('unknown option count; the options are n, seed, size', bk.data.glyphs, { count = 3 })
end

-- ---- mnist ----

local function idx(type_code, sizes, bytes)
    local head = string.pack(">BBBB", 0, 0, type_code, #sizes)
    for _, size in ipairs(sizes) do head = head .. string.pack(">I4", size) end
    return head .. bytes
end

local function write_set(dir, images, labels, n, wanted)
    local pixels = {}
    for k = 1, n * 6 do pixels[k] = string.char((k * 37) % 256) end
    write(dir .. "/" .. images, idx(8, { n, 2, 3 }, table.concat(pixels)))
    local ids = {}
    for k = 1, wanted or n do ids[k] = string.char((k * 7) % 10) end
    write(dir .. "/" .. labels, idx(8, { wanted or n }, table.concat(ids)))
end

function TestMnist:setUp() self.dir = files.folder() end
function TestMnist:tearDown() files.remove(self.dir) end

local function check_set(d, n)
    lu.assertEquals(d.x:shape(), { n, 6 })
    lu.assertEquals({ d.y:dtype(), d.classes, d.shape }, { "int64", 10, { 2, 3 } })
    for k, v in ipairs(list(d.x:reshape{ n * 6 })) do lu.assertEquals(v, (k * 37) % 256 / 255) end
    for k, v in ipairs(list(d.y)) do lu.assertEquals(v, (k * 7) % 10) end
end

function TestMnist:test_both_spellings_of_the_names()
    write_set(self.dir, "train-images-idx3-ubyte", "train-labels.idx1-ubyte", 5)
    write_set(self.dir, "t10k-images.idx3-ubyte", "t10k-labels-idx1-ubyte", 4)
    check_set(bk.data.mnist(self.dir), 5)
    check_set(bk.data.mnist(self.dir, { split = "test" }), 4)
end

function TestMnist:test_gzipped()
    write_set(self.dir, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", 4)
    if not os.execute("gzip " .. self.dir .. "/*") then lu.skip("gzip is not here") end
    check_set(bk.data.mnist(self.dir, { split = "test" }), 4)
end

function TestMnist:test_prefix_limit_and_dtype()
    write_set(self.dir, "emnist-letters-test-images-idx3-ubyte", "emnist-letters-test-labels-idx1-ubyte", 4)
    local d = bk.data.mnist(self.dir, { split = "test", prefix = "emnist-letters-", limit = 3, dtype = "float32" })
    lu.assertEquals({ d.x:shape(), d.x:dtype(), d.y:shape(), d.name }, { { 3, 6 }, "float32", { 3 }, "emnist-letters" })
    -- EMNIST's files hold each image transposed
    local stored = bk.data.mnist(self.dir, { split = "test", prefix = "emnist-letters-", transpose = false })
    local all = bk.data.mnist(self.dir, { split = "test", prefix = "emnist-letters-" })
    lu.assertEquals({ stored.shape, all.shape }, { { 2, 3 }, { 3, 2 } })
    for k = 1, 4 do same(all.x[k]:reshape{ 3, 2 }, stored.x[k]:reshape{ 2, 3 }:transpose()) end
end

function TestMnist:test_errors_say_what_is_wrong()
    lu.assertErrorMsgContains("looked for train-images-idx3-ubyte", bk.data.mnist, self.dir)
    write_set(self.dir, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", 4)
    lu.assertErrorMsgContains('t10k-images-idx3-ubyte: split = "test")', bk.data.mnist, self.dir)
    lu.assertErrorMsgContains('split: expected "train" or "test", got "valid"', bk.data.mnist, self.dir,
        { split = "valid" })
    lu.assertErrorMsgContains("dir: expected the name of a folder, got nothing", bk.data.mnist)
    write_set(self.dir, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", 5, 4)
    lu.assertErrorMsgContains("has 5 images but", bk.data.mnist, self.dir)
    write(self.dir .. "/train-images-idx3-ubyte", idx(8, { 5, 2, 3 }, "short"))
    lu.assertErrorMsgContains("train-images-idx3-ubyte", bk.data.mnist, self.dir)
end

function TestMnist:test_the_real_files_where_they_are()
    local dir = os.getenv("BRACKET_DATA")
    if not dir or dir == "" then lu.skip("BRACKET_DATA is not set") end
    local d = bk.data.mnist(dir, { split = "test" })
    lu.assertEquals(d.x:shape(), { 10000, 784 })
    lu.assertEquals(list(d.y:narrow(1, 1, 5)), { 7, 2, 1, 0, 4 })
    lu.assertEquals(d.x:max():item(), 1)
    lu.assertAlmostEquals(d.x:mean():item(), 0.1325, 1e-3)
end

-- ---- tasks ----

-- Rows that tell their number: x[k] = 10 k, 10 k + 1, ... in a 2 x 3 image; classes 0..4.
local function counted(n)
    local x, y = {}, {}
    for k = 1, n do
        for p = 0, 5 do x[#x + 1] = 10 * k + p end
        y[k] = (k * 3) % 5
    end
    return { x = bk.tensor(x):reshape{ n, 6 }, y = bk.tensor(y, { dtype = "int64" }), classes = 5, shape = { 2, 3 } }
end

local function row_ids(part)
    local ids = {}
    for k, row in ipairs(list(part.x)) do
        ids[k] = row[1] // 10
        lu.assertEquals(list(part.y)[k], (ids[k] * 3) % 5) -- the label travelled with its row
    end
    return ids
end

local function union(...)
    local all = {}
    for _, ids in ipairs{ ... } do table.move(ids, 1, #ids, #all + 1, all) end
    table.sort(all)
    return all
end

local function upto(n)
    local all = {}
    for k = 1, n do all[k] = k end
    return all
end

function TestTasks:test_views_are_divided_as_their_copies_are()
    local columns = bk.rng(1):integers({ 12, 3 }, 3):transpose()
    local view = { x = columns:to("float64"):transpose(), y = columns[2] } -- y is every third number
    local copy = { x = view.x:clone(), y = view.y:clone() }
    for _, own_test in ipairs{ false, true } do
        local function tasks(data) return bk.tasks.permuted{ data = data, n = 2, test = own_test and data or nil } end
        local a, b = tasks(view), tasks(copy)
        for k = 1, 2 do
            for _, part in ipairs{ "train", "test" } do
                lu.assertTrue(a[k][part].x == b[k][part].x and a[k][part].y == b[k][part].y)
            end
        end
    end
end
function TestTasks:test_permuted_moves_every_row_alike()
    local tasks = bk.tasks.permuted{ data = counted(20), n = 3, seed = 4, test_fraction = 0.25 }
    lu.assertEquals(#tasks, 3)
    local first = tasks[1]
    lu.assertEquals({ first.train.x:shape(), first.test.x:shape() }, { { 15, 6 }, { 5, 6 } })
    lu.assertEquals(union(row_ids(first.train), row_ids(first.test)), upto(20))
    lu.assertNil(first.permutation)
    for k = 2, 3 do
        local order = list(tasks[k].permutation)
        lu.assertEquals(union(order), { 1, 2, 3, 4, 5, 6 })
        for _, part in ipairs{ "train", "test" } do
            local before, after = list(first[part].x), list(tasks[k][part].x)
            for r, row in ipairs(after) do
                for c, v in ipairs(row) do lu.assertEquals(v, before[r][order[c]]) end
            end
            same(first[part].y, tasks[k][part].y)
        end
    end
    lu.assertNotEquals(list(tasks[2].permutation), list(tasks[3].permutation))
    local again = bk.tasks.permuted{ data = counted(20), n = 3, seed = 4, test_fraction = 0.25 }
    same(tasks[3].train.x, again[3].train.x)
    lu.assertNotNil(bk.tasks.permuted{ data = counted(20), n = 1, identity = false }[1].permutation)
end

function TestTasks:test_right_angles_turn_exactly()
    local tasks = bk.tasks.rotated{ data = counted(4), angles = { 0, 180, 360 }, test_fraction = 0 }
    lu.assertNil(tasks[1].test)
    local before, after = list(tasks[1].train.x), list(tasks[2].train.x)
    for r, row in ipairs(after) do
        for c, v in ipairs(row) do lu.assertEquals(v, before[r][7 - c]) end
    end
    same(tasks[1].train.x, tasks[3].train.x)
    -- one bright pixel, top right of 3 x 3, goes counter-clockwise to the top left
    local x = bk.tensor{ { 0, 0, 1, 0, 0, 0, 0, 0, 0 }, { 0, 0, 1, 0, 0, 0, 0, 0, 0 } }
    local d = { x = x, y = bk.tensor({ 0, 1 }, { dtype = "int64" }), shape = { 3, 3 } }
    local turned = bk.tasks.rotated{ data = d, angles = { 90, -90 }, test_fraction = 0 }
    lu.assertEquals(list(turned[1].train.x)[1], { 1, 0, 0, 0, 0, 0, 0, 0, 0 })
    lu.assertEquals(list(turned[2].train.x)[1], { 0, 0, 0, 0, 0, 0, 0, 0, 1 })
end

function TestTasks:test_the_images_sizes_come_from_x_or_from_a_square()
    local x, y = bk.rng(1):uniform{ 4, 9 }, bk.tensor({ 0, 1, 0, 1 }, { dtype = "int64" })
    local function turned(images, shape)
        return bk.tasks.rotated{ data = { x = images, y = y, shape = shape }, angles = { 90 },
            test_fraction = 0 }[1].train.x
    end
    local wanted = turned(x, { 3, 3 })
    same(turned(x), wanted)
    same(turned(x:reshape{ 4, 3, 3 }), wanted)
    same(turned(x:reshape{ 4, 1, 3, 3 }), wanted)
    lu.assertErrorMsgContains("shape: expected {rows, columns} of 6 pixels", turned, bk.ones{ 4, 6 })
    lu.assertEquals(turned(bk.ones{ 4, 2, 3 }):shape(), { 4, 6 })
end

function TestTasks:test_flat_images_train_a_convolution()
    local d = bk.data.glyphs{ n = 40, size = 8 }
    local net = bk.nn.sequential{ bk.nn.conv2d{ 1, 2, kernel = 3 }, bk.nn.tanh(), bk.nn.flatten(),
        bk.nn.linear{ 72, 10 } }
    local function run(tasks) return bk.protocol{ model = net, tasks = tasks, lr = 0.1, steps = 2, batch = 8 }:run{} end
    local tasks = bk.tasks.permuted{ data = d, n = 2 }
    local flat = run(tasks)
    for _, task in ipairs(tasks) do
        task.train.x, task.test.x = task.train.x:reshape{ -1, 1, 8, 8 }, task.test.x:reshape{ -1, 1, 8, 8 }
    end
    same(flat.theta, run(tasks).theta)
    lu.assertErrorMsgContains("which the model does not take", run,
        { { x = bk.ones{ 4, 64 }, y = d.y:narrow(1, 1, 4) } })
end

-- A turn and the turn back give a smooth image again, away from the border, up to the interpolation's blur.
function TestTasks:test_a_turn_and_its_inverse_nearly_cancel()
    local x = {}
    for r = 0, 27 do
        for c = 0, 27 do x[#x + 1] = math.exp(-((r - 11) ^ 2 + (c - 15) ^ 2) / 18) end
    end
    local d = { x = bk.tensor(x):reshape{ 1, 784 }, y = bk.tensor({ 0 }, { dtype = "int64" }), shape = { 28, 28 } }
    local there = bk.tasks.rotated{ data = d, angles = { 25 }, test_fraction = 0 }[1].train
    local back = bk.tasks.rotated{ data = { x = there.x, y = there.y, shape = { 28, 28 } }, angles = { -25 },
        test_fraction = 0 }[1].train
    lu.assertTrue(distance(there.x, d.x) > 1)
    lu.assertTrue(distance(back.x, d.x) < 0.05 * d.x:norm():item(), distance(back.x, d.x))
end

function TestTasks:test_split_in_the_three_scenarios()
    local data = counted(25)
    local groups = { { 0, 3 }, { 4, 1 } }
    for _, scenario in ipairs{ "class", "task", "domain" } do
        local tasks = bk.tasks.split{ data = data, classes = groups, scenario = scenario }
        lu.assertEquals(#tasks, 2)
        for k, task in ipairs(tasks) do
            lu.assertEquals({ task.train.x:shape()[1], task.test.x:shape()[1] }, { 8, 2 })
            for _, part in ipairs{ task.train, task.test } do
                for r, row in ipairs(list(part.x)) do
                    local class, place = (row[1] // 10 * 3) % 5, nil
                    for p, id in ipairs(groups[k]) do
                        if id == class then place = p - 1 end
                    end
                    lu.assertNotNil(place)
                    lu.assertEquals(list(part.y)[r], scenario == "domain" and place or class)
                end
            end
            lu.assertEquals(task.classes, scenario == "domain" and 2 or 5)
            lu.assertEquals(task.head, scenario == "task" and groups[k] or nil)
        end
    end
    lu.assertEquals(#bk.tasks.split{ data = data }, 3) -- 0 1, 2 3, 4
end

function TestTasks:test_limit_and_a_test_set_of_its_own()
    local tasks = bk.tasks.permuted{ data = counted(20), n = 1, limit = 10 }
    lu.assertEquals({ tasks[1].train.x:shape()[1], tasks[1].test.x:shape()[1] }, { 8, 2 })
    tasks = bk.tasks.permuted{ data = counted(20), test = counted(7), n = 1 }
    lu.assertEquals(union(row_ids(tasks[1].train)), upto(20))
    lu.assertEquals(union(row_ids(tasks[1].test)), upto(7))
    tasks = bk.tasks.split{ data = counted(20), test = counted(10), classes = { { 1, 2 } } }
    lu.assertEquals({ tasks[1].train.x:shape()[1], tasks[1].test.x:shape()[1] }, { 8, 4 })
end

function TestTasks:test_every_channel_turns_alike()
    local x, y = bk.rng(3):normal{ 30, 2, 7, 6 }, bk.zeros({ 30 }, { dtype = "int64" })
    local turned = bk.tasks.rotated{ data = { x = x, y = y }, angles = { 0, 33 }, test_fraction = 0 }
    for channel = 1, 2 do
        local one = { x = x:narrow(2, channel, 1), y = y }
        local alone = bk.tasks.rotated{ data = one, angles = { 0, 33 }, test_fraction = 0 }
        for k = 1, 2 do
            lu.assertEquals(turned[k].shape, { 2, 7, 6 })
            local images = turned[k].train.x:reshape{ 30, 2, 7, 6 }:narrow(2, channel, 1):clone():reshape{ 30, 42 }
            lu.assertTrue(distance(images, alone[k].train.x) < 1e-12)
        end
    end
    -- such rows train a convolution of two channels
    local net = bk.nn.sequential{ bk.nn.conv2d{ 2, 3, kernel = 3 }, bk.nn.flatten(), bk.nn.linear{ 60, 2 } }
    local split = bk.tasks.split{ data = { x = x, y = y }, classes = { { 0 } } }
    lu.assertTrue(bk.protocol{ model = net, tasks = split, lr = 0.1, steps = 2, batch = 8 }:run{}.finished)
end
function TestTasks:test_regression()
    local a = bk.tasks.regression{ n = 2, examples = 50, inputs = 3, outputs = 2, kind = "linear", seed = 5 }
    lu.assertEquals({ a[1].loss, a[1].outputs }, { "mse", 2 })
    lu.assertEquals({ a[1].train.x:shape(), a[1].train.y:shape(), a[1].test.x:shape() },
        { { 40, 3 }, { 40, 2 }, { 10, 3 } })
    -- similarity 1: the same linear function for every task
    local same_tasks = bk.tasks.regression{ n = 2, examples = 50, inputs = 1, kind = "linear", similarity = 1 }
    local slope = {}
    for k, task in ipairs(same_tasks) do
        local x, y = list(task.train.x), list(task.train.y)
        slope[k] = y[1][1] / x[1][1]
        for r = 1, #x do lu.assertAlmostEquals(y[r][1], slope[k] * x[r][1], 1e-12) end
    end
    lu.assertAlmostEquals(slope[1], slope[2], 1e-12)
    local apart = bk.tasks.regression{ n = 2, inputs = 1, kind = "linear" }
    local function slope_of(t) return list(t.train.y)[1][1] / list(t.train.x)[1][1] end
    lu.assertTrue(math.abs(slope_of(apart[1]) - slope_of(apart[2])) > 1e-3)
    for _, kind in ipairs{ "teacher", "sine" } do
        local noisy = bk.tasks.regression{ n = 1, kind = kind, noise = 0.1, seed = 2 }[1].train.y
        local clean = bk.tasks.regression{ n = 1, kind = kind, seed = 2 }[1].train.y
        local n = clean:shape()[1]
        lu.assertAlmostEquals(distance(noisy, clean) / math.sqrt(n), 0.1, 0.03)
    end
end

function TestTasks:test_bad_data_is_named()
    local d = counted(6)
    d.classes = 3
    lu.assertErrorMsgContains("tasks.permuted: data.y: label 4 is outside the classes 0..2", bk.tasks.permuted,
        { data = d })
    d = counted(2)
    d.x = bk.tensor{ { 1, 2 }, { 3, 0 / 0 } }
    lu.assertErrorMsgContains("tasks.split: data.x holds nan or inf", bk.tasks.split, { data = d })
    d = counted(4)
    d.y = bk.tensor({ 1, 2, 3 }, { dtype = "int64" })
    lu.assertErrorMsgContains("data.y: expected (4), a class id for each row of x, got (3)", bk.tasks.permuted,
        { data = d })
    d.y = bk.tensor{ 0, 1, 0.5, 1 }
    lu.assertErrorMsgContains("expected class ids, got fractions", bk.tasks.permuted, { data = d })
    lu.assertErrorMsgContains("data: missing", bk.tasks.rotated, {})
    lu.assertErrorMsgContains("expected {rows, columns} of 6 pixels, got {4, 4}", bk.tasks.rotated,
        { data = counted(4), shape = { 4, 4 } })
    lu.assertErrorMsgContains("classes: task 1: expected ids 0..4, got 7", bk.tasks.split,
        { data = counted(9), classes = { { 7 } } })
    lu.assertErrorMsgContains("test_fraction: expected a finite number >= 0 and < 1", bk.tasks.permuted,
        { data = counted(9), test_fraction = 1 })
    lu.assertErrorMsgContains("kind: expected", bk.tasks.regression, { kind = "cubic" })
end

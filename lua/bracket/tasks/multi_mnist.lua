local bk = ...
local dataset = bk.tasks._dataset
local where = "bk.tasks.multi_mnist"

-- Weights (large^2, small^2) by which the mean over a small picture's pixels' areas in the large one is a product.
local function shrinking(large, small)
    local function line(from, to) -- the share of from's pixels in to's
        local rows, step = {}, from / to
        for j = 1, to do
            local row, low, high = {}, (j - 1) * step, j * step
            for i = 1, from do row[i] = math.max(0, math.min(i, high) - math.max(i - 1, low)) / step end
            rows[j] = row
        end
        return bk.tensor(rows):transpose()
    end
    local a, b = line(large[1], small[1]), line(large[2], small[2])
    return (a:reshape{ large[1], 1, small[1], 1 } * b:reshape{ 1, large[2], 1, small[2] }):reshape{
        large[1] * large[2], small[1] * small[2] }
end

-- Every image with another one, drawn at random: the first at the upper left, the other at the lower right, the larger
-- of the two in each pixel.
local function overlaid(set, rng, o, shape)
    local n = #set.y
    local other = rng:integers({ n }, n) + 1
    local function placed(x, top, left)
        local down, right = o.shift - top, o.shift - left
        return x:reshape{ n, shape[1], shape[2] }:pad({ 0, top, left }, { 0, down, right })
    end
    local canvas = { shape[1] + o.shift, shape[2] + o.shift }
    local x = placed(set.x, 0, 0):maximum(placed(dataset.rows(set.x, other), o.shift, o.shift)):reshape{ n,
        canvas[1] * canvas[2] }
    if o.size == "image" then x = x:matmul(shrinking(canvas, shape):to(x:dtype())) end
    return x, set.y, dataset.rows(set.y, other)
end

local function multi_mnist(o)
    local data, train, test = dataset.images(where, o)
    local shape = data.shape
    local rng, c, tasks = bk.rng(o.seed * 2 + 1), data.classes, {}
    local x, left, right = overlaid(train, rng, o, shape)
    local tx, tleft, tright
    if test then tx, tleft, tright = overlaid(test, rng, o, shape) end
    local sizes = o.size == "image" and shape or { shape[1] + o.shift, shape[2] + o.shift }
    for k, name in ipairs{ "upper left", "lower right" } do
        local head, first = {}, (k - 1) * c
        for id = 0, c - 1 do head[id + 1] = first + id end
        tasks[k] = { name = name, head = head, classes = 2 * c, loss = "cross_entropy", shape = sizes,
            train = { x = x, y = (k == 1 and left or right) + first },
            test = test and { x = tx, y = (k == 1 and tleft or tright) + first } }
    end
    return tasks
end

return bk.define{
    name = "bk.tasks.multi_mnist",
    returns = "list of two tasks",
    doc = [[
MultiMNIST: two digits on one image, one at the upper left, a random other at the lower right, and two tasks on the same
images: to tell the one and to tell the other. Each has a head of its own: of 2 c outputs, c = data.classes, task 1
chooses between 0..c-1 and task 2 between c..2c-1. Train with order = "joint". Any images do: bk.data.glyphs has
some.]],
    source = "Sabour, Frosst & Hinton 2017; Sener & Koltun 2018 (two tasks, corners, the image's size)",
    options = dataset.options{
        { "shift", "count", default = 8, doc = "pixels by which the second lies lower and further right" },
        { "size", { "image", "canvas" }, default = "image",
            doc = "the result's: that of one image, by means over areas, or larger by shift" },
    },
    call = multi_mnist,
}

local bk = ...
local options_of, dataset = bk.internal.options, bk.internal.dataset
local floor = math.floor

-- Turning an image is linear: pixel p of the result is a weighted sum of four pixels (bilinear), the same four for
-- every image. Returns four { ids, weight (h*w, 1) }: source pixel (from 0) and weight for every pixel.
local function corners(h, w, degrees)
    local angle = math.rad(degrees)
    local c, s = math.cos(angle), math.sin(angle)
    -- right angles exactly: pixels map to pixels
    if degrees % 90 == 0 then c, s = floor(c + 0.5), floor(s + 0.5) end
    local my, mx = (h - 1) / 2, (w - 1) / 2
    local list = {}
    for k = 1, 4 do list[k] = { ids = {}, weight = {} } end
    for y = 0, h - 1 do
        for x = 0, w - 1 do
            local p = y * w + x + 1
            -- where the pixel came from: the inverse rotation; y points down, so this turns counter-clockwise
            local dx, dy = x - mx, y - my
            local fx, fy = mx + c * dx - s * dy, my + s * dx + c * dy
            local x0, y0 = floor(fx), floor(fy)
            local ax, ay = fx - x0, fy - y0
            for k = 0, 3 do
                local kx, ky = k % 2, k // 2
                local sx, sy = x0 + kx, y0 + ky
                local weight = (kx == 1 and ax or 1 - ax) * (ky == 1 and ay or 1 - ay)
                local inside = sx >= 0 and sx < w and sy >= 0 and sy < h
                list[k + 1].ids[p] = inside and sy * w + sx or 0
                list[k + 1].weight[p] = inside and weight or 0.0
            end
        end
    end
    for _, corner in ipairs(list) do
        corner.ids = bk.tensor(corner.ids, { dtype = "int64" })
        corner.weight = bk.tensor(corner.weight):reshape{ h * w, 1 }
    end
    return list
end

local function turn(xt, list)
    local sum
    for _, corner in ipairs(list) do
        local part = dataset.rows(xt, corner.ids) * corner.weight:to(xt:dtype())
        sum = sum and sum + part or part
    end
    return sum:transpose():clone()
end

local function rotated(options)
    options = options_of("tasks.rotated", options, { data = "table!", test = "table", angles = "table",
        seed = "integer", test_fraction = "number", limit = "integer", shape = "table" })
    local angles = options.angles or { 0, 30, 60, 90 }
    if #angles == 0 then error("tasks.rotated: angles: expected a list of degrees, got an empty one", 2) end
    for k, angle in ipairs(angles) do
        if type(angle) ~= "number" or angle ~= angle or angle == math.huge or angle == -math.huge then
            error(string.format("tasks.rotated: angle %d: expected degrees, got %s", k, tostring(angle)), 2)
        end
    end
    local data, o = dataset.open("tasks.rotated", options)
    local shape = options.shape or data.shape
    if type(shape) ~= "table" or #shape ~= 2 or shape[1] * shape[2] ~= data.size then
        error(string.format("tasks.rotated: shape: expected {rows, columns} of %d pixels, got {%s}", data.size,
            type(shape) == "table" and table.concat(shape, ", ") or tostring(shape)), 2)
    end
    local train, test = dataset.divide("tasks.rotated", data, o)
    local train_t, test_t = train.x:transpose():clone(), test and test.x:transpose():clone()
    local tasks = {}
    for k, angle in ipairs(angles) do
        local task = { name = string.format("%g degrees", angle), angle = angle, classes = data.classes,
            loss = "cross_entropy", shape = shape }
        if angle % 360 == 0 then
            task.train, task.test = train, test
        else
            local list = corners(shape[1], shape[2], angle)
            task.train = { x = turn(train_t, list), y = train.y }
            task.test = test and { x = turn(test_t, list), y = test.y }
        end
        tasks[k] = task
    end
    return tasks
end

return bk.doc(rotated, [[
bk.tasks.rotated{ data = d, angles = {0, 30, 60, 90} } -> list of tasks
The same images turned counter-clockwise by each angle, in degrees, about their centre (bilinear, 0 outside).
Multiples of 90 degrees are exact. options: test = d2 or test_fraction = 0.2, limit, seed, shape = {rows, columns}.]])

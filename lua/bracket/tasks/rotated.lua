local bk = ...
local refuse = bk._options.refuse
local dataset = bk.tasks._dataset
local floor = math.floor

-- Turning an image is linear: every pixel of the result is a weighted sum of four (bilinear), the same four for every
-- image. Returns the matrix R (h*w, h*w), so that x R turns all rows of x, in one product.
local function turning(h, w, degrees)
    local angle = math.rad(degrees)
    local c, s = math.cos(angle), math.sin(angle)
    -- right angles exactly: pixels map to pixels
    if degrees % 90 == 0 then c, s = floor(c + 0.5), floor(s + 0.5) end
    local my, mx, area = (h - 1) / 2, (w - 1) / 2, h * w
    local R = {}
    for k = 1, area * area do R[k] = 0.0 end
    for y = 0, h - 1 do
        for x = 0, w - 1 do
            -- where the pixel came from: the inverse rotation; y points down, so this turns counter-clockwise
            local dx, dy = x - mx, y - my
            local fx, fy = mx + c * dx - s * dy, my + s * dx + c * dy
            local x0, y0 = floor(fx), floor(fy)
            local ax, ay = fx - x0, fy - y0
            for k = 0, 3 do
                local sx, sy = x0 + k % 2, y0 + k // 2
                if sx >= 0 and sx < w and sy >= 0 and sy < h then
                    R[(sy * w + sx) * area + y * w + x + 1] = (k % 2 == 1 and ax or 1 - ax) * (k > 1 and ay or 1 - ay)
                end
            end
        end
    end
    return bk.tensor(R):reshape{ area, area }
end

local function rotated(options)
    local angles = options.angles
    if #angles == 0 then refuse("bk.tasks.rotated: angles: expected a list of degrees, got an empty one") end
    for k, angle in ipairs(angles) do
        if type(angle) ~= "number" or angle ~= angle or angle == math.huge or angle == -math.huge then
            refuse("bk.tasks.rotated: angle %d: expected degrees, got %s", k, bk._options.show(angle))
        end
    end
    local data, o = dataset.open("bk.tasks.rotated", options)
    local shape = options.shape or data.shape
    if shape then bk._options.numbers("bk.tasks.rotated", "shape", shape) end
    local sizes = shape and #shape or 0
    local rows, columns = sizes > 1 and shape[sizes - 1] or 0, sizes > 1 and shape[sizes] or 0
    local area = rows * columns -- a channel's
    local whole = true
    for _, n in ipairs(shape or {}) do whole = whole and math.tointeger(n) ~= nil and n >= 1 end
    if not whole or (sizes ~= 2 and sizes ~= 3) or (sizes == 3 and shape[1] or 1) * area ~= data.size then
        refuse("bk.tasks.rotated: shape: expected {rows, columns} of %d pixels, got {%s}", data.size,
            type(shape) == "table" and table.concat(shape, ", ") or "")
    end
    local train, test = dataset.divide("bk.tasks.rotated", data, o)
    local tasks = {}
    for k, angle in ipairs(angles) do
        local task = { name = string.format("%g degrees", angle), angle = angle, classes = data.classes,
            loss = "cross_entropy", shape = shape }
        if angle % 360 == 0 then
            task.train, task.test = train, test
        else
            local R = turning(rows, columns, angle)
            local function turned(part) -- every channel alike
                local n = part.x:shape()[1]
                local x = part.x:reshape{ n * data.size // area, area }:matmul(R:to(part.x:dtype()))
                return { x = x:reshape{ n, data.size }, y = part.y }
            end
            task.train, task.test = turned(train), test and turned(test)
        end
        tasks[k] = task
    end
    return tasks
end

return bk.define{
    name = "bk.tasks.rotated",
    returns = "list of tasks",
    doc = [[
The same images turned by each angle about their centre (bilinear, 0 outside). Multiples of 90 degrees are exact. Every
channel of {channels, rows, columns} turns alike.]],
    options = dataset.options{
        { "angles", "list", default = { 0, 30, 60, 90 }, says = "{0, 30, 60, 90}",
            doc = "in degrees, counter-clockwise" },
        { "shape", "list", says = "data.shape, the sizes of x, or a square",
            doc = "{rows, columns} or {channels, rows, columns}" },
    },
    call = rotated,
}

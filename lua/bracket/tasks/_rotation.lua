-- Images turned by an angle each, bilinear, 0 outside: rotation(x, rows, columns, degrees) -> x turned, for x
-- (n, rows * columns) and degrees a tensor (n), counter-clockwise. bk.tasks.rotated turns all by one angle in one
-- product.
local bk = ...

-- The pixels (n, area) of each image at (row, column), int-valued tensors (n, area); 0 outside.
local function pixels(x, row, column, rows, columns)
    local inside = row:ge(0) * row:lt(rows) * column:ge(0) * column:lt(columns)
    local n, area = table.unpack(x:shape())
    local at = row:clamp(0, rows - 1) * columns + column:clamp(0, columns - 1)
        + bk.arange(n):to("float64"):reshape{ n, 1 } * area + 1
    return x:reshape{ n * area }:gather(at:reshape{ n * area }:to("int64")):reshape{ n, area } * inside
end

return function(x, rows, columns, degrees)
    local dtype, n, area = x:dtype(), #x, rows * columns
    local angle = degrees:to("float64") * (math.pi / 180)
    local c, s = angle:cos():reshape{ n, 1 }, angle:sin():reshape{ n, 1 }
    local place = bk.arange(area):to("float64")
    local y = (place / columns):floor()
    local dx, dy = place - y * columns - (columns - 1) / 2, y - (rows - 1) / 2
    -- where a pixel came from: the inverse rotation; rows count downwards
    local fx, fy = c * dx - s * dy + (columns - 1) / 2, s * dx + c * dy + (rows - 1) / 2
    local x0, y0 = fx:floor(), fy:floor()
    local ax, ay = fx - x0, fy - y0
    x = x:to("float64")
    local function at(row, column) return pixels(x, row, column, rows, columns) end
    local above = at(y0, x0) * (1 - ax) + at(y0, x0 + 1) * ax
    local below = at(y0 + 1, x0) * (1 - ax) + at(y0 + 1, x0 + 1) * ax
    return (above * (1 - ay) + below * ay):to(dtype)
end

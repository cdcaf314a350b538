-- bk.data.glyphs: digits drawn as a pen would draw them, a data set that needs no file. A glyph is a few smooth
-- strokes through control points; every example moves the points a little, bends all of it by a random affine map and
-- picks a pen width; a pixel's value falls from 1 to 0 with its distance from the nearest stroke.
local bk = ...
local stream = bk.stream
local floor, ceil, sqrt, sin, cos, min, max = math.floor, math.ceil, math.sqrt, math.sin, math.cos, math.min, math.max

-- Ways to write each digit: strokes of x1, y1, x2, y2, ... in a box 0..1, y downwards. A stroke is smooth; a corner is
-- where one stroke ends and the next begins. Strokes with loop = true close on themselves.
local DIGITS = {
    [0] = {
        { { .50, .08, .30, .20, .22, .50, .31, .80, .50, .92, .69, .80, .78, .50, .70, .20, loop = true } },
        { { .56, .07, .36, .17, .25, .48, .31, .82, .47, .93, .66, .80, .76, .47, .71, .18, .56, .08, .42, .13 } },
    },
    {
        { { .52, .06, .50, .50, .48, .94 } },
        { { .36, .24, .45, .17, .53, .06 }, { .53, .06, .52, .50, .52, .94 } },
        { { .34, .26, .44, .18, .52, .06 }, { .52, .06, .51, .50, .51, .92 }, { .32, .93, .51, .92, .71, .93 } },
    },
    {
        { { .24, .30, .32, .14, .52, .08, .70, .19, .70, .37, .52, .60, .22, .91 }, { .22, .91, .50, .89, .80, .91 } },
        { { .25, .27, .37, .11, .57, .09, .71, .25, .63, .49, .43, .73, .28, .88, .22, .80, .36, .75, .55,
            .86, .80, .88 } },
    },
    {
        { { .25, .17, .45, .08, .67, .15, .69, .33, .42, .46 },
            { .42, .46, .68, .53, .77, .71, .62, .89, .40, .93, .22, .83 } },
        { { .24, .10, .50, .10, .74, .10 }, { .74, .10, .60, .28, .46, .43 },
            { .46, .43, .68, .49, .76, .68, .64, .87, .42, .93, .23, .83 } },
    },
    {
        { { .28, .08, .26, .32, .20, .56 }, { .20, .56, .50, .55, .82, .55 }, { .66, .22, .65, .58, .63, .94 } },
        { { .62, .07, .40, .36, .17, .64 }, { .17, .64, .50, .63, .84, .63 }, { .62, .07, .62, .50, .61, .94 } },
    },
    {
        { { .73, .09, .54, .10, .34, .10 }, { .34, .10, .32, .28, .28, .46 },
            { .28, .46, .50, .38, .71, .49, .75, .70, .60, .89, .40, .93, .22, .84 } },
        { { .76, .08, .58, .13, .38, .11, .33, .27, .29, .44, .50, .40, .71, .52, .72, .74, .56, .91, .36,
            .91, .22, .82 } },
    },
    {
        { { .66, .07, .46, .20, .31, .44, .26, .70, .38, .90, .58, .92, .73, .77, .68, .58, .50, .52, .34,
            .61, .27, .72 } },
        { { .54, .06, .38, .26, .29, .52, .29, .78, .44, .93, .64, .88, .71, .71, .60, .57, .43, .58, .31, .70 } },
    },
    {
        { { .20, .11, .48, .10, .78, .11 }, { .78, .11, .60, .42, .48, .68, .41, .94 } },
        { { .22, .10, .50, .12, .76, .10 }, { .76, .10, .58, .40, .43, .93 }, { .34, .50, .52, .50, .72, .49 } },
    },
    {
        { { .66, .17, .48, .08, .32, .20, .36, .37, .52, .48, .70, .62, .73, .80, .52, .93, .30, .83, .30,
            .64, .47, .49, .65, .36, .71, .22, loop = true } },
        { { .50, .07, .34, .15, .33, .34, .50, .44, .67, .34, .66, .15, loop = true },
            { .50, .45, .31, .55, .26, .76, .49, .93, .73, .77, .69, .56, loop = true } },
    },
    {
        { { .71, .23, .56, .08, .36, .13, .28, .32, .40, .49, .58, .45, .71, .24 },
            { .71, .20, .70, .50, .65, .74, .58, .94 } },
        { { .69, .22, .52, .07, .34, .16, .29, .35, .42, .50, .60, .42, .70, .20, .72, .48, .70, .74, .54,
            .91, .33, .87 } },
    },
}

local STEPS = 4   -- straight pieces between two control points
local BLOCK = 256 -- examples drawn into one Lua table, where a pixel takes 16 bytes

-- Catmull-Rom spline through the points px, py (m of them), appended as pieces to seg: x1, y1, x2, y2, ...
local function pieces(seg, count, px, py, m, loop)
    local last = loop and m or m - 1
    local x, y = px[1], py[1]
    for k = 1, last do
        local a, c, d = k - 1, k + 1, k + 2
        if loop then
            a, c, d = (k - 2) % m + 1, k % m + 1, (k + 1) % m + 1
        else
            a, d = max(a, 1), min(d, m)
        end
        local x0, x1, x2, x3 = px[a], px[k], px[c], px[d]
        local y0, y1, y2, y3 = py[a], py[k], py[c], py[d]
        for s = 1, STEPS do
            local t = s / STEPS
            local t2, t3 = t * t, t * t * t
            local w0, w1, w2, w3 = -t3 + 2 * t2 - t, 3 * t3 - 5 * t2 + 2, -3 * t3 + 4 * t2 + t, t3 - t2
            local u = 0.5 * (w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3)
            local v = 0.5 * (w0 * y0 + w1 * y1 + w2 * y2 + w3 * y3)
            seg[count + 1], seg[count + 2], seg[count + 3], seg[count + 4] = x, y, u, v
            count, x, y = count + 4, u, v
        end
    end
    return count
end

-- One example into pixels[base + 1 .. base + size*size], which hold 0.
local function draw(pixels, base, size, strokes, r, seg, px, py)
    local function jitter(a) return a * (2 * stream.uniform(r) - 1) end
    local angle, shear = jitter(0.18), jitter(0.22)
    local wide, high = 0.62 + jitter(0.09), 0.70 + jitter(0.06)
    local ca, sa = cos(angle) * size, sin(angle) * size
    local cx, cy = size * 0.5 + jitter(0.045 * size), size * 0.5 + jitter(0.045 * size)
    local pen = size / 28 * (1.15 + jitter(0.45)) -- half the stroke's width, in pixels
    local soft = 0.75 * size / 28                 -- half the width of its edge
    local count = 0
    for k = 1, #strokes do
        local s = strokes[k]
        local m = #s // 2
        for p = 1, m do
            local u, v = s[2 * p - 1] - 0.5 + jitter(0.027), s[2 * p] - 0.5 + jitter(0.027)
            u, v = wide * (u - shear * v), high * v
            px[p], py[p] = cx + ca * u - sa * v, cy + sa * u + ca * v
        end
        count = pieces(seg, count, px, py, m, s.loop)
    end
    local reach = pen + soft
    local limit, solid = reach * reach, max(pen - soft, 0)
    local slope, inside = 1 / (reach - solid), solid * solid
    for k = 1, count, 4 do
        local x1, y1, x2, y2 = seg[k], seg[k + 1], seg[k + 2], seg[k + 3]
        local dx, dy = x2 - x1, y2 - y1
        local len2 = dx * dx + dy * dy
        local inv = len2 > 0 and 1 / len2 or 0
        -- pixel (i, j) has its centre at (i - 0.5, j - 0.5)
        local i0, i1 = max(1, ceil(min(x1, x2) - reach + 0.5)), min(size, floor(max(x1, x2) + reach + 0.5))
        local j0, j1 = max(1, ceil(min(y1, y2) - reach + 0.5)), min(size, floor(max(y1, y2) + reach + 0.5))
        for j = j0, j1 do
            local ey = j - 0.5 - y1
            local row = base + (j - 1) * size
            for i = i0, i1 do
                local ex = i - 0.5 - x1
                local t = (ex * dx + ey * dy) * inv
                if t < 0 then t = 0 elseif t > 1 then t = 1 end
                local qx, qy = ex - t * dx, ey - t * dy
                local d2 = qx * qx + qy * qy
                if d2 < limit then
                    local value = d2 <= inside and 1 or (reach - sqrt(d2)) * slope
                    if value > pixels[row + i] then pixels[row + i] = value end
                end
            end
        end
    end
end

local function glyphs(options)
    local n, seed, size = options.n, options.seed, options.size
    local area = size * size
    -- the classes in an order of no period; every example has a stream of its own
    local order = stream.permutation(stream.new(stream.key(seed, 0)), n)
    local x, labels, seg, px, py = bk.zeros{ n, area }, {}, {}, {}, {}
    for first = 1, n, BLOCK do
        local held, pixels, rows = min(BLOCK, n - first + 1), {}, {}
        for k = 1, held * area do pixels[k] = 0.0 end
        for k = 0, held - 1 do
            local e = order[first + k]
            local r = stream.new(stream.key(seed, e))
            local ways = DIGITS[(e - 1) % 10]
            draw(pixels, k * area, size, ways[stream.below(r, #ways) + 1], r, seg, px, py)
            labels[first + k], rows[k + 1] = (e - 1) % 10, k + 1
        end
        rows = bk.tensor(rows, { dtype = "int64" })
        bk.internal.gather(x, first, bk.tensor(pixels):reshape{ held, area }, rows, 1, held)
    end
    return { x = x, y = bk.tensor(labels, { dtype = "int64" }), classes = 10, shape = { size, size }, name = "glyphs" }
end

return bk.define{
    name = "bk.data.glyphs",
    returns = "{ x, y, classes = 10, shape = {size, size}, name }",
    doc = [[
Handwriting-like digits drawn by this program: strokes with random slant, size, place, pen width and a little wobble.
x (n, size*size) float64 in 0..1, rows of pixels top to bottom; y (n) int64, class ids 0..9, n/10 examples of each.]],
    options = {
        { "n", "count", default = 1000, doc = "how many" },
        { "seed", "integer", default = 1, doc = "of what is drawn" },
        { "size", "integer", default = 28, low = 8, high = 256, doc = "rows and columns of pixels" },
    },
    call = glyphs,
}

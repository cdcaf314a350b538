-- bk.landscape: a loss over a plane through theta.
local bk = ...

-- { low, high } of a span given as a number or as both ends.
local function ends(name, given)
    if type(given) == "number" and given > 0 and given < math.huge then return { -given, given } end
    local low, high = type(given) == "table" and given[1], type(given) == "table" and given[2]
    if type(low) ~= "number" or type(high) ~= "number" or not (low < high) or high - low == math.huge then
        error(("bk.landscape: %s: expected a number > 0 or { low, high }, got %s"):format(name, tostring(given)), 3)
    end
    return { low, high }
end

local function direction(name, given, theta)
    local same = #given:shape() == #theta:shape()
    for i, n in ipairs(theta:shape()) do same = same and given:shape()[i] == n end
    if not same then
        error(("bk.landscape: %s: expected theta's shape (%s), got (%s)"):format(name,
            table.concat(theta:shape(), ","), table.concat(given:shape(), ",")), 3)
    end
    return given:to(theta:dtype())
end

return bk.define{
    name = "bk.landscape",
    arguments = { "L", "theta" },
    returns = "{ image, x, y }",
    doc = [[
The values of a loss over the plane theta + a u + b v: an image series for bk.plot, (size, size), a from left to right,
b from bottom to top (the first row is that of the largest b), both through span: from -span to span, or { low, high }.

u, v: tensors of theta's shape; eigenvectors, say, of bk.bea.lanczos{ vectors = true }, or differences of end points.
Without them random directions of theta's norm, v at right angles to u.

Returns: image, a tensor, and the extents x = { low, high } of a and y of b.]],
    source = "Goodfellow, Vinyals & Saxe 2015; Li et al. 2018",
    options = {
        { "u", "tensor", says = "random", doc = "of theta's shape: where a leads" },
        { "v", "tensor", says = "random", doc = "of theta's shape: where b leads" },
        { "span", "number|table", default = 1, doc = "of a and b: from -span to span, or { low, high }" },
        { "size", "count", default = 25, doc = "rows and columns" },
        { "seed", "integer", default = 0, doc = "of random directions" },
    },
    call = function(loss, theta, options)
        if not bk.is_tensor(theta) then error("bk.landscape: theta: expected a tensor, got " .. tostring(theta), 2) end
        local span, size, rng = ends("span", options.span), options.size, bk.rng(options.seed)
        local u = options.u and direction("u", options.u, theta)
        local v = options.v and direction("v", options.v, theta)
        local scale = theta:norm():item()
        if not u then
            u = rng:normal(theta:shape()):to(theta:dtype())
            u = u * (scale / u:norm():item())
        end
        if not v then
            v = rng:normal(theta:shape()):to(theta:dtype())
            v = v - u * (v:dot(u):item() / u:dot(u):item())
            v = v * (scale / v:norm():item())
        end
        local at = bk.compile(function(a, b) return loss(theta + u * a + v * b) end)
        local function place(k) -- of one point: the middle
            return size == 1 and (span[1] + span[2]) / 2 or span[1] + (span[2] - span[1]) * (k - 1) / (size - 1)
        end
        local rows = {}
        for i = 1, size do -- the first row on top: the largest b
            rows[i] = {}
            for k = 1, size do rows[i][k] = at(place(k), place(size + 1 - i)):item() end
        end
        return { image = bk.tensor(rows), x = span, y = span }
    end,
}

-- bk.landscape: a loss over a plane through theta.
local bk = ...
local refuse, show = bk._options.refuse, bk._options.show

-- { low, high } of a span given as a number or as both ends.
local function ends(name, given)
    if type(given) == "number" and given > 0 and given < math.huge then return { -given, given } end
    local pair = type(given) == "table" and given or {}
    local low, high = pair[1], pair[2]
    if type(low) ~= "number" or type(high) ~= "number" or not (low < high) or high - low == math.huge then
        refuse("bk.landscape: %s: expected a number > 0 or { low, high }, got %s", name, show(given))
    end
    if pair[3] ~= nil then refuse("bk.landscape: %s: expected { low, high }, got a third entry, %s", name, show(pair[3])) end
    return { low, high }
end

local function direction(name, given, theta)
    local same = #given:shape() == #theta:shape()
    for i, n in ipairs(theta:shape()) do same = same and given:shape()[i] == n end
    if not same then
        refuse("bk.landscape: %s: expected theta's shape %s, got %s", name, bk._options.shape_text(theta),
            bk._options.shape_text(given))
    end
    return given:to(theta:dtype())
end

-- The negative gradients' parts in the plane as arrows from theta: a and b that make a u + b v nearest to each.
local function arrows(losses, names, theta, u, v)
    local uu, uv, vv = u:dot(u):item(), u:dot(v):item(), v:dot(v):item()
    local det, list = uu * vv - uv * uv, {}
    if #losses == 0 then refuse("bk.landscape: gradients: expected a list of losses, got none") end
    if names and #names ~= #losses then
        refuse("bk.landscape: names: expected %d, one for each gradient, got %d", #losses, #names)
    end
    if not (det > 1e-12 * uu * vv) then refuse("bk.landscape: gradients: u and v span no plane") end
    for k, loss in ipairs(losses) do
        local gradient = bk.grad(loss)(theta)
        local p, q = -gradient:dot(u):item(), -gradient:dot(v):item()
        list[k] = { style = "quiver", x = { 0 }, y = { 0 }, u = { (p * vv - q * uv) / det },
            v = { (q * uu - p * uv) / det }, label = names and tostring(names[k]) or "task " .. k }
    end
    return list
end

return bk.define{
    name = "bk.landscape",
    arguments = { "L", "theta" },
    returns = "{ image, x, y, levels, over }",
    doc = [[
The values of a loss over the plane theta + a u + b v: an image series for bk.plot, (size, size), a from left to right,
b from bottom to top (the first row is that of the largest b), both through span: from -span to span, or { low, high }.
bk.plot draws it with contours, and from theta an arrow along each of the negative gradients of `gradients`, as far as
they lie in the plane, on one scale: where the next step of each task leads.

u, v: tensors of theta's shape; eigenvectors, say, of bk.bea.lanczos{ vectors = true }, or differences of end points.
Without them random directions of theta's norm, v at right angles to u.

Returns: image, a tensor, the extents x = { low, high } of a and y of b, how many contours, and the arrows.]],
    example = [[
a, b = bk.compile(function(t) return t:square():sum() end), bk.compile(function(t) return (t - 1):square():sum() end)
  map = bk.landscape(a, bk.tensor{0.3, 0.6}, { gradients = {a, b}, u = bk.tensor{1, 0}, v = bk.tensor{0, 1} })
  bk.plot{ map, xlabel = "a", ylabel = "b" }]],
    source = "Goodfellow, Vinyals & Saxe 2015; Li et al. 2018",
    options = {
        { "u", "tensor", says = "random", doc = "of theta's shape: where a leads" },
        { "v", "tensor", says = "random", doc = "of theta's shape: where b leads" },
        { "span", "number|list", default = 1, doc = "of a and b: from -span to span, or { low, high }" },
        { "size", "count", default = 25, doc = "rows and columns" },
        { "levels", "count", default = 12, doc = "about how many contours bk.plot draws" },
        { "gradients", "list", says = "none", doc = "losses whose negative gradients at theta are drawn as arrows" },
        { "names", "list", says = "task 1, task 2, ...", doc = "what the arrows are called" },
        { "seed", "integer", says = "0", doc = "of random directions" },
    },
    call = function(loss, theta, options)
        if not pcall(bk.compile, loss) then
            refuse("bk.landscape: loss: expected a function of theta, got %s", show(loss))
        end
        if not bk.is_tensor(theta) then refuse("bk.landscape: theta: expected a tensor, got %s", show(theta)) end
        local span, size, rng = ends("span", options.span), options.size, bk.rng(options.seed or 0)
        if options.seed and options.u and options.v then
            refuse("bk.landscape: seed: u and v are given, neither is drawn")
        end
        local u = options.u and direction("u", options.u, theta)
        local v = options.v and direction("v", options.v, theta)
        local value, scale = bk.compile(loss)(theta), theta:norm():item()
        if not bk.is_tensor(value) or value:ndim() > 0 then
            refuse("bk.landscape: loss: expected a 0-d tensor, got %s", bk.is_tensor(value)
                and bk._options.shape_text(value) or show(value))
        end
        if not (u and v) and scale == 0 then
            refuse("bk.landscape: u, v: random directions have theta's norm, which is 0; expected both to be given")
        end
        if u and not v and u:norm():item() == 0 or v and not u and v:norm():item() == 0 then
            refuse("bk.landscape: %s: expected a direction, got zeros", u and "u" or "v")
        end
        if not v and theta:count() < 2 then
            refuse("bk.landscape: v: theta has one element, and no direction at right angles to u; expected v to be given")
        end
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
        local over
        if options.gradients then over = arrows(options.gradients, options.names, theta, u, v)
        elseif options.names then refuse("bk.landscape: names: there are no gradients to name") end
        return { image = bk.tensor(rows), x = span, y = { span[1], span[2] }, levels = options.levels, over = over }
    end,
}

-- bk.bea.swap_effect: what a swap of neighbouring steps does to outputs, every pair at once. Few outputs go backwards
-- (products with their gradients), many go forwards (the brackets, then one derivative of f along each).
local bk = ...
local refuse = bk._options.refuse
local directions = bk.bea._directions

-- masks: functions of a vector, each of which keeps a part of it. Tables effect[mask][i][j], j > i, of what f' does.
local function forwards(f, d, theta, masks)
    local push = bk.compile(function(t, v) return (select(2, bk.jvp(f, { t }, { v }))) end)
    local g, effect = directions.fields(d, theta), {}
    for k in ipairs(masks) do effect[k] = {} end
    for i = 1, #d do
        for k in ipairs(masks) do effect[k][i] = {} end
        for j = i + 1, #d do
            local b = d[j].along(theta, g[i]) - d[i].along(theta, g[j])
            for k, mask in ipairs(masks) do effect[k][i][j] = push(theta, mask(b)) end
        end
    end
    for k in ipairs(masks) do
        local rows, zero = {}, nil
        for i = 1, #d do
            local row = {}
            for j = 1, #d do
                local e = effect[k][i][j] or effect[k][j][i]
                zero = zero or effect[k][1][2] * 0
                row[j] = i == j and zero or i < j and e or -e
            end
            rows[i] = bk.stack(row)
        end
        effect[k] = bk.stack(rows)
    end
    return effect
end

-- The same by <p, [g_i, g_j]> = <H_j p, g_i> - <H_i p, g_j>, p an output's gradient.
local function backwards(pull, d, theta, masks, shape, count)
    local rows, effect = directions.rows(directions.fields(d, theta)), {}
    for k in ipairs(masks) do effect[k] = {} end
    for o = 1, count do
        local p = pull(bk.arange(count):eq(o - 1):to("float64"):reshape(shape))
        for k, mask in ipairs(masks) do effect[k][o] = directions.pairs(d, theta, rows, mask(p)) end
    end
    local whole = { #d, #d, table.unpack(shape) }
    for k, list in ipairs(effect) do effect[k] = bk.stack(list):permute{ 2, 3, 1 }:reshape(whole) end
    return effect
end

local function swap_effect(f, losses, theta, options)
    local name = "bk.bea.swap_effect"
    theta = directions.point(name, theta)
    local d = directions.of(name, losses)
    local masks, layers = { function(v) return v end }, nil
    if options.model ~= nil then
        layers = bk.measure.layers(options.model)
        local size = options.model.n_params
        if theta:ndim() ~= 1 or #theta ~= size then
            refuse("%s: theta: expected (%d), the model's parameters, got %s", name, size,
                bk._options.shape_text(theta))
        end
        masks = {}
        for k, layer in ipairs(layers) do masks[k] = function(v) return bk.measure.only(v, layer) end end
    end
    local y, pull = bk.vjp(f, theta)
    if not bk.is_tensor(y) then refuse("%s: f: expected a tensor, got %s", name, bk._options.show(y)) end
    local shape, count = y:shape(), 1
    for _, n in ipairs(shape) do count = count * n end
    local effects = count > 0 and count * #masks < #d - 1 and backwards(pull, d, theta, masks, shape, count)
        or forwards(f, d, theta, masks)
    local h, total = options.lr, nil
    for k, effect in ipairs(effects) do
        effects[k] = effect * (h * h)
        total = total and total + effects[k] or effects[k]
    end
    if not layers then return total end
    for k, layer in ipairs(layers) do layer.effect = effects[k] end
    return total, layers
end

return bk.define{
    name = "bk.bea.swap_effect",
    arguments = { "f", "losses", "theta" },
    returns = "effect [, layers]",
    doc = [[
What it does to the outputs f(theta), a tensor of any shape S, that the step on L_i comes before its neighbour L_j and
not after it: effect (m, m, S), antisymmetric. Fields may stand where losses do. With a model also its layers, { {name,
first, size, effect}, ... }: the parts of the bracket in each layer's parameters, whose effects add up. In float64
whatever theta's dtype. m gradients, m (m - 1) products and m (m - 1)/2 derivatives of f; for K < m - 1 outputs m
gradients and K m products.]],
    formula = "effect[i][j] = f(theta_ij) - f(theta_ji) = h^2 f' . [g_i, g_j] + O(h^3)",
    options = {
        { "lr", "number", default = 1, doc = "h, of each step" },
        { "model", "any", doc = "whose layers the effect is parted by" },
    },
    call = swap_effect,
}

-- Multi-head self-attention of x (batch, time, width) by the parameters qkv (width, 3 width), qkv_bias, out (width,
-- width), out_bias; the heads lie side by side in q, k and v. In PyTorch they are a MultiheadAttention's, whose names
-- begin with `before`.
local bk = ...
local refuse = bk._options.refuse
return { params = function(width, before)
    local function named(name) return before .. name end
    return { "qkv", shape = { width, 3 * width }, fan_in = width, fan_out = width, torch = named "in_proj_weight",
            turned = true },
        { "qkv_bias", shape = { 3 * width }, torch = named "in_proj_bias" },
        { "out", shape = { width, width }, torch = named "out_proj.weight", turned = true },
        { "out_bias", shape = { width }, torch = named "out_proj.bias" }
end, apply = function(p, x, heads, causal)
    local batch, time, width = x:size(1), x:size(2), x:size(3)
    local parts = (x:matmul(p.qkv) + p.qkv_bias):reshape{ batch, time, 3, heads, width // heads }:permute{ 3, 1, 4, 2,
        5 }
    -- (batch, heads, time, ...)
    local y = bk.nn.dot_product_attention(parts[1], parts[2], parts[3], { causal = causal })
    return y:permute{ 1, 3, 2, 4 }:reshape{ batch, time, width }:matmul(p.out) + p.out_bias
end, heads = function(where, width, heads)
    if math.type(heads) == "integer" and heads >= 1 and width % heads == 0 then return heads end
    refuse("bk.%s: heads: expected a whole number that divides the width %d, got %s", where, width, tostring(heads))
end }

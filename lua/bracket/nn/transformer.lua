local bk = ...
return bk.doc(function(options)
    local where = "nn.transformer"
    local named, width = bk.nn._sizes(where, options,
        { heads = "integer", hidden = "integer", causal = "boolean", activation = "string", eps = "positive" }, "width")
    local self = bk.nn._self_attention
    local heads, hidden = self.heads(where, width, named.heads or 1), named.hidden or 4 * width
    local activation, eps = named.activation or "gelu", named.eps or 1e-5
    if hidden < 1 then error(("bk.%s: hidden: expected a whole number >= 1, got %d"):format(where, hidden), 2) end
    local apply = bk.internal.activation("bk." .. where, activation)
    local params = { { "norm1", shape = { width }, init = "ones" }, { "norm1_bias", shape = { width } } }
    table.move({ self.params(width) }, 1, 4, 3, params)
    table.move({ { "norm2", shape = { width }, init = "ones" }, { "norm2_bias", shape = { width } },
        { "up", shape = { width, hidden } }, { "up_bias", shape = { hidden } },
        { "down", shape = { hidden, width } }, { "down_bias", shape = { width } } }, 1, 6, 7, params)
    return bk.nn.layer{ name = "transformer", input = { "batch", "time", width }, params = params,
        forward = function(p, x)
            x = x + self.apply(p, x:layer_norm{ eps = eps } * p.norm1 + p.norm1_bias, heads, named.causal)
            local h = x:layer_norm{ eps = eps } * p.norm2 + p.norm2_bias
            return x + apply(h:matmul(p.up) + p.up_bias):matmul(p.down) + p.down_bias
        end }
end, [[
bk.nn.transformer{width [, heads = 1, hidden = 4 width, causal = false, activation = "gelu", eps = 1e-5]} -> layer
A pre-norm transformer block over x (batch, time, width), of the same shape: x + attention(norm(x)), then
x + f(norm(x) up + up_bias) down + down_bias, with bk.nn.attention's attention and bk.nn.layer_norm's norms. Parameters
norm1, norm1_bias, qkv, qkv_bias, out, out_bias, norm2, norm2_bias, up (width, hidden), up_bias, down, down_bias.
Sources: Vaswani et al. 2017; Xiong et al. 2020 (the norm before).]])

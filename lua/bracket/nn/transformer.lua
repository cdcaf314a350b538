local bk = ...
return bk.define{
    name = "bk.nn.transformer",
    returns = "layer",
    doc = [[
A pre-norm transformer block over x (batch, time, width), of the same shape: x + attention(norm(x)), then
x + f(norm(x) up + up_bias) down + down_bias, with bk.nn.attention's attention and bk.nn.layer_norm's norms. Parameters
norm1, norm1_bias, qkv, qkv_bias, out, out_bias, norm2, norm2_bias, up (width, hidden), up_bias, down, down_bias.]],
    source = "Vaswani et al. 2017; Xiong et al. 2020 (the norm before)",
    options = {
        { "width", "count", required = true, by_place = true, doc = "features, in and out" },
        { "heads", "count", default = 1, doc = "how many; they divide the width" },
        { "hidden", "count", says = "4 width", doc = "features between up and down" },
        { "causal", "boolean", default = false, doc = "a time sees itself and those before, no later ones" },
        { "activation", "string", default = "gelu", doc = "the name of one: f" },
        { "eps", "positive", default = 1e-5, doc = "of the norms" },
    },
    call = function(options)
        local where = "nn.transformer"
        local width, hidden, eps = options.width, options.hidden or 4 * options.width, options.eps
        local self = bk.nn._self_attention
        local heads = self.heads(where, width, options.heads)
        local apply = bk.internal.activation("bk." .. where, options.activation)
        local params = { { "norm1", shape = { width }, init = "ones", torch = "norm1.weight" },
            { "norm1_bias", shape = { width }, torch = "norm1.bias" } }
        table.move({ self.params(width, "self_attn.") }, 1, 4, 3, params)
        table.move({ { "norm2", shape = { width }, init = "ones", torch = "norm2.weight" },
            { "norm2_bias", shape = { width }, torch = "norm2.bias" },
            { "up", shape = { width, hidden }, torch = "linear1.weight", turned = true },
            { "up_bias", shape = { hidden }, torch = "linear1.bias" },
            { "down", shape = { hidden, width }, torch = "linear2.weight", turned = true },
            { "down_bias", shape = { width }, torch = "linear2.bias" } }, 1, 6, 7, params)
        return bk.nn.layer{ name = "transformer", input = { "batch", "time", width }, params = params,
            forward = function(p, x)
                x = x + self.apply(p, x:layer_norm{ eps = eps } * p.norm1 + p.norm1_bias, heads, options.causal)
                local h = x:layer_norm{ eps = eps } * p.norm2 + p.norm2_bias
                return x + apply(h:matmul(p.up) + p.up_bias):matmul(p.down) + p.down_bias
            end }
    end,
}

local bk = ...
return bk.define{
    name = "bk.nn.attention",
    returns = "layer",
    doc = [[
Multi-head self-attention over x (batch, time, width), of the same shape: q, k, v = x W + b, in each head (width / heads
columns of each) softmax(q kᵀ / sqrt(width / heads)) v, the heads side by side times out, plus out_bias. Parameters qkv
(width, 3 width), qkv_bias, out (width, width), out_bias.]],
    source = "Vaswani et al. 2017",
    options = {
        { "width", "count", required = true, by_place = true, doc = "features, in and out" },
        { "heads", "count", default = 1, doc = "how many; they divide the width" },
        { "causal", "boolean", default = false, doc = "a time sees itself and those before, no later ones" },
    },
    call = function(options)
        local width, causal = options.width, options.causal
        local self = bk.nn._self_attention
        local heads = self.heads("nn.attention", width, options.heads)
        return bk.nn.layer{ name = "attention", input = { "batch", "time", width }, params = { self.params(width, "") },
            forward = function(p, x) return self.apply(p, x, heads, causal) end }
    end,
}

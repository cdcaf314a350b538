local bk = ...
return bk.doc(function(options)
    local named, width = bk.nn._sizes("nn.attention", options, { heads = "integer", causal = "boolean" }, "width")
    local self = bk.nn._self_attention
    local heads = self.heads("nn.attention", width, named.heads or 1)
    return bk.nn.layer{ name = "attention", input = { "batch", "time", width }, params = { self.params(width) },
        forward = function(p, x) return self.apply(p, x, heads, named.causal) end }
end, [[
bk.nn.attention{width [, heads = 1, causal = false]} -> layer
Multi-head self-attention over x (batch, time, width), of the same shape: q, k, v = x W + b, in each head (width / heads
columns of each) softmax(q kᵀ / sqrt(width / heads)) v, the heads side by side times out, plus out_bias. causal: a
time sees
itself and those before. Parameters qkv (width, 3 width), qkv_bias, out (width, width), out_bias.
Source: Vaswani et al. 2017.]])

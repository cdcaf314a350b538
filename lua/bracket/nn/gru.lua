local bk = ...
return bk.define{
    name = "bk.nn.gru",
    returns = "layer",
    doc = [[
r = s(x W_r + h U_r + b_r), z = s(x W_z + h U_z + b_z), n = tanh(x W_n + b_n + r (h U_n + c)), h' = (1 - z) n + z h
with s the sigmoid and h_0 = 0, over x (batch, time, n_in): all h (batch, time, hidden), or the last one (batch, hidden)
with sequence = false. weight (n_in, 3 hidden), recurrent (hidden, 3 hidden), bias (3 hidden), in the order r, z, n;
recurrent_bias c (hidden).]],
    source = "Cho et al. 2014, with the reset after the product, as PyTorch and cuDNN have it",
    options = {
        { "n_in", "count", required = true, by_place = true, doc = "features of x" },
        { "hidden", "count", required = true, by_place = true, doc = "features of h" },
        { "sequence", "boolean", default = true, doc = "all h; false: the last one" },
        { "recurrent_bias", "boolean", default = true, doc = "whether there is c, which PyTorch's GRU has" },
    },
    call = function(options) return bk.nn._recurrent.layer("gru", options) end,
}

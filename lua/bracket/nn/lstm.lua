local bk = ...
return bk.define{
    name = "bk.nn.lstm",
    returns = "layer",
    doc = [[
i, f, o = s(x W + h U + b) and g = tanh(x W + h U + b), each with its own part; c' = f c + i g, h' = o tanh(c') with
s the sigmoid and h_0 = c_0 = 0, over x (batch, time, n_in): all h (batch, time, hidden), or the last one (batch,
hidden) with sequence = false. weight W (n_in, 4 hidden), recurrent U (hidden, 4 hidden), bias b (4 hidden), in the
order i, f, g, o.]],
    source = "Hochreiter & Schmidhuber 1997; Gers et al. 2000",
    options = {
        { "n_in", "count", required = true, by_place = true, doc = "features of x" },
        { "hidden", "count", required = true, by_place = true, doc = "features of h" },
        { "sequence", "boolean", default = true, doc = "all h; false: the last one" },
    },
    call = function(options) return bk.nn._recurrent.layer("lstm", options) end,
}

local bk = ...
return bk.define{
    name = "bk.nn.rnn",
    returns = "layer",
    doc = [[
h_t = tanh(x_t W + h_{t-1} U + b) from h_0 = 0, over x (batch, time, n_in): all h (batch, time, hidden), or the last one
(batch, hidden) with sequence = false. weight W (n_in, hidden), recurrent U (hidden, hidden), bias b.]],
    source = "Elman 1990",
    options = {
        { "n_in", "count", required = true, by_place = true, doc = "features of x" },
        { "hidden", "count", required = true, by_place = true, doc = "features of h" },
        { "activation", { "tanh", "relu" }, default = "tanh", doc = "of the new h" },
        { "sequence", "boolean", default = true, doc = "all h; false: the last one" },
    },
    call = function(options) return bk.nn._recurrent.layer("rnn", options) end,
}

local bk = ...
return bk.doc(function(options) return bk.nn._recurrent.layer("rnn", options) end, [[
bk.nn.rnn{in, hidden [, activation = "tanh", sequence = true]} -> layer
h_t = tanh(x_t W + h_{t-1} U + b) from h_0 = 0, over x (batch, time, in): all h (batch, time, hidden), or the last one
(batch, hidden) with sequence = false. weight W (in, hidden), recurrent U (hidden, hidden), bias b. activation: tanh,
relu.
Source: Elman 1990.]])

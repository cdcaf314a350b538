local bk = ...
return bk.doc(function(options) return bk.nn._recurrent.layer("lstm", options) end, [[
bk.nn.lstm{in, hidden [, sequence = true]} -> layer
i, f, o = s(x W + h U + b) and g = tanh(x W + h U + b), each with its own part; c' = f c + i g, h' = o tanh(c') with s
the
sigmoid and h_0 = c_0 = 0, over x (batch, time, in): all h (batch, time, hidden), or the last one (batch, hidden) with
sequence = false. weight W (in, 4 hidden), recurrent U (hidden, 4 hidden), bias b (4 hidden), in the order i, f, g, o.
Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000.]])

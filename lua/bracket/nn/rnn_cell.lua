local bk = ...
return bk.doc(bk.nn._recurrent.cell("rnn"), [[
bk.nn.rnn_cell(p, x, h) -> h
One step of bk.nn.rnn (tanh): x (batch, in), h (batch, hidden), p = { weight, recurrent, bias } as there.]])

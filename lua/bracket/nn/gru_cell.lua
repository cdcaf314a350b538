local bk = ...
return bk.doc(bk.nn._recurrent.cell("gru"), [[
bk.nn.gru_cell(p, x, h) -> h
One step of bk.nn.gru: x (batch, in), h (batch, hidden), p = { weight, recurrent, bias [, recurrent_bias] } as
there.]])

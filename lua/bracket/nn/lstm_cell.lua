local bk = ...
return bk.doc(bk.nn._recurrent.cell("lstm"), [[
bk.nn.lstm_cell(p, x, h, c) -> h, c
One step of bk.nn.lstm: x (batch, in), h and c (batch, hidden), p = { weight, recurrent, bias } as there.]])

local bk = ...
return bk.doc(function(options)
    local _, length, width = bk.nn._sizes("nn.position_embedding", options, {}, "length", "width")
    return bk.nn.layer{ name = "position_embedding", input = { "batch", "time", width },
        params = { { "weight", shape = { length, width }, init = "normal" } },
        forward = function(p, x)
            local time = x:size(2)
            if time > length then
                error(("bk.nn.position_embedding: x: expected at most %d times, got %d"):format(length, time), 0)
            end
            return x + p.weight:narrow(1, 1, time)
        end }
end, [[
bk.nn.position_embedding{length, width} -> layer
x (batch, time, width) plus a learned vector for every time, the rows of weight (length, width); time <= length.
Source: Gehring et al. 2017.]])

local bk = ...
local refuse = bk._options.refuse
return bk.define{
    name = "bk.nn.position_embedding",
    returns = "layer",
    doc = [[
x (batch, time, width) plus a learned vector for every time, the rows of weight (length, width); time <= length.]],
    source = "Gehring et al. 2017",
    options = {
        { "length", "count", required = true, by_place = true, doc = "the most times there may be" },
        { "width", "count", required = true, by_place = true, doc = "features of x" },
    },
    call = function(options)
        local length, width = options.length, options.width
        return bk.nn.layer{ name = "position_embedding", input = { "batch", "time", width },
            params = { { "weight", shape = { length, width }, init = "normal" } },
            forward = function(p, x)
                local time = x:size(2)
                if time > length then
                    refuse("bk.nn.position_embedding: x: expected at most %d times, got %d", length, time)
                end
                return x + p.weight:narrow(1, 1, time)
            end }
    end,
}

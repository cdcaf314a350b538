-- What rnn, gru and lstm share. A kind has a number of gates and a step: step(a, p, h, c) -> h, c from the gates'
-- inputs a = x W + b (batch, gates * hidden) and the state before. recurrent.layer(kind, options) is the layer over
-- whole sequences, recurrent.cell(kind) the function of one step.
local bk = ...
local refuse = bk._options.refuse

-- Elements of a product of several times: they stay in L2 until their steps have read them.
local BLOCK = 1 << 15

local function gate(a, k, hidden) return a:narrow(2, k * hidden + 1, hidden) end

local kinds = {
    rnn = { gates = 1, step = function(a, p, h, _, activation) return bk[activation](a + h:matmul(p.recurrent)) end },
    gru = { gates = 3, step = function(a, p, h)
        local n, u = h:size(2), h:matmul(p.recurrent)
        local r = (gate(a, 0, n) + gate(u, 0, n)):sigmoid()
        local z = (gate(a, 1, n) + gate(u, 1, n)):sigmoid()
        local inner = gate(u, 2, n)
        if p.recurrent_bias then inner = inner + p.recurrent_bias end
        local new = (gate(a, 2, n) + r * inner):tanh()
        return new + z * (h - new)
    end },
    lstm = { gates = 4, cell_state = true, step = function(a, p, h, c)
        local n = h:size(2)
        local g = a + h:matmul(p.recurrent)
        c = gate(g, 1, n):sigmoid() * c + gate(g, 0, n):sigmoid() * gate(g, 2, n):tanh()
        return gate(g, 3, n):sigmoid() * c:tanh(), c
    end },
}

local function layer(kind, options)
    local k, where = kinds[kind], "nn." .. kind
    local n_in, hidden, activation, whole = options.n_in, options.hidden, options.activation, options.sequence
    -- PyTorch has every bias twice, and they add up, but for the one that the reset gate multiplies.
    local doubled = kind == "gru" and 2 or k.gates
    local params = {
        { "weight", shape = { n_in, k.gates * hidden }, fan_in = n_in, fan_out = hidden, torch = "weight_ih_l0",
            turned = true },
        { "recurrent", shape = { hidden, k.gates * hidden }, fan_in = hidden, fan_out = hidden, torch = "weight_hh_l0",
            turned = true },
        { "bias", shape = { k.gates * hidden }, torch = { { "bias_ih_l0" },
            { "bias_hh_l0", rows = doubled * hidden, of = k.gates * hidden } } },
    }
    if options.recurrent_bias then
        params[4] = { "recurrent_bias", shape = { hidden }, torch = { { "bias_hh_l0", first = 2 * hidden + 1 } } }
    end
    return bk.nn.layer{ name = kind, input = { "batch", "time", n_in }, params = params,
        forward = function(p, x)
            local batch, time = x:size(1), x:size(2)
            if time == 0 then refuse("bk.%s: x: expected at least one time, got (%d,0,%d)", where, batch, n_in) end
            -- Some times in one product; then time after time in one vector, whose parts cost nothing to cut out and
            -- whose cotangent is put together once.
            local size = batch * k.gates * hidden
            local some = math.max(1, BLOCK // math.max(size, 1))
            local inputs, a = x:permute{ 2, 1, 3 }:reshape{ time * batch, n_in }
            local h = bk.zeros({ batch, hidden }, { dtype = x:dtype() })
            local c, all = k.cell_state and h or nil, {}
            for t = 1, time do
                local at = (t - 1) % some
                if at == 0 then
                    local rows = math.min(some, time - t + 1) * batch
                    a = (inputs:narrow(1, (t - 1) * batch + 1, rows):matmul(p.weight) + p.bias):flatten()
                end
                local now = a:narrow(1, at * size + 1, size):reshape{ batch, k.gates * hidden }
                h, c = k.step(now, p, h, c, activation)
                all[t] = whole and h or nil
            end
            return whole and bk.stack(all, 2) or h
        end }
end

local function cell(kind)
    local k = kinds[kind]
    local where = "bk.nn." .. kind .. "_cell: "
    local function check(t, what, ndim)
        if not bk.is_tensor(t) or t:ndim() ~= ndim then
            local got = bk.is_tensor(t) and bk._options.shape_text(t) or tostring(t)
            refuse("%s%s: expected a tensor of %d dimension%s, got %s", where, what, ndim, ndim > 1 and "s" or "", got)
        end
    end
    return function(p, x, h, c)
        if type(p) ~= "table" then refuse("%sp: expected a table { weight, recurrent, bias }, got %s", where,
            bk._options.show(p)) end
        check(p.weight, "p.weight", 2)
        check(p.recurrent, "p.recurrent", 2)
        check(p.bias, "p.bias", 1)
        if kind == "gru" and p.recurrent_bias then check(p.recurrent_bias, "p.recurrent_bias", 1) end
        check(x, "x", 2)
        check(h, "h", 2)
        if k.cell_state then check(c, "c", 2) end
        return k.step(x:matmul(p.weight) + p.bias, p, h, c, "tanh")
    end
end

return { layer = layer, cell = cell }

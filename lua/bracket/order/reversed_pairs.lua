local bk = ...
return bk.doc(function(options)
    bk._options("order.reversed_pairs", options, {})
    local stream = bk.stream
    return bk.order._object.new{
        name = "reversed_pairs",
        setup = function(state)
            local n, pair, word = state.n_tasks, -1, nil
            return state.steps or 2 * n, function(step)
                local p, k = (step - 1) // (2 * n), (step - 1) % (2 * n) + 1
                if p ~= pair then
                    pair, word = p, stream.permutation(stream.new(stream.key(state.seed, 2, p)), n)
                end
                return word[k <= n and k or 2 * n + 1 - k]
            end
        end,
        window = function(state) return 2 * state.n_tasks end,
    }
end, [[
bk.order.reversed_pairs{}
Every task once a round; a round in random order, then a round in its reverse: W = 0 over every pair of rounds, so that
neither the conflict nor, to leading order, its variance is left.]])

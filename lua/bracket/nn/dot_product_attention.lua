local bk = ...

local function shown(t) return bk.is_tensor(t) and "(" .. table.concat(t:shape(), ",") .. ")" or bk._options.show(t) end

return bk.define{
    name = "bk.nn.dot_product_attention",
    arguments = { "q", "k", "v" },
    returns = "y",
    doc = "softmax(q kᵀ / sqrt(d)) v over leading dimensions: q (..., m, d), k (..., n, d), v (..., n, e) -> (..., m, e).",
    source = "Vaswani et al. 2017",
    options = { { "causal", "boolean", default = false, doc = "row i sees columns 1..i" } },
    call = function(q, k, v, options)
        local where = "bk.nn.dot_product_attention"
        local given = { q = q, k = k, v = v }
        for _, name in ipairs{ "q", "k", "v" } do
            local t = given[name]
            if not bk.is_tensor(t) or t:ndim() < 2 then
                error(("%s: %s: expected a tensor (..., time, width), got %s"):format(where, name, shown(t)), 2)
            end
        end
        local n = q:ndim()
        if k:size(k:ndim()) ~= q:size(n) or k:size(k:ndim() - 1) ~= v:size(v:ndim() - 1) then
            error(("%s: expected q (..., m, d), k (..., n, d), v (..., n, e), got q %s, k %s, v %s"):format(where, shown(q),
                shown(k), shown(v)), 2)
        end
        local scores = q:matmul(k:transpose()) * (1 / math.sqrt(q:size(n)))
        if options.causal then
            local rows, columns = q:size(n - 1), k:size(k:ndim() - 1)
            local i, j = bk.arange(rows):reshape{ rows, 1 }, bk.arange(columns):reshape{ 1, columns }
            scores = bk.where(i:ge(j):to(scores:dtype()), scores, -1e30) -- e^-1e30 is 0, and so are its derivatives
        end
        return scores:softmax():matmul(v)
    end,
}

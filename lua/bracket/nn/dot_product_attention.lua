local bk = ...
local refuse = bk._options.refuse

local function shown(t) return bk.is_tensor(t) and bk._options.shape_text(t) or bk._options.show(t) end

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
                refuse("%s: %s: expected a tensor (..., time, width), got %s", where, name, shown(t))
            end
        end
        local n = q:ndim()
        if k:size(k:ndim()) ~= q:size(n) or k:size(k:ndim() - 1) ~= v:size(v:ndim() - 1) then
            refuse("%s: expected q (..., m, d), k (..., n, d), v (..., n, e), got q %s, k %s, v %s", where, shown(q),
                shown(k), shown(v))
        end
        local scores = q:matmul(k:transpose()) * (1 / math.sqrt(q:size(n)))
        return scores:softmax(scores:ndim(), { causal = options.causal }):matmul(v)
    end,
}

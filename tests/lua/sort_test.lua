-- sort_test.lua - sort, topk, median, isnan, one_hot and einsum: values against plain loops, derivatives, errors.
local bk = require "bracket"
local lu = require "luaunit"

TestSort = {}
TestEinsum = {}

local nan = 0 / 0
local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end
local function close(got, want, tol)
    lu.assertEquals(got:shape(), want:shape())
    lu.assertTrue(got:count() == 0 or (got - want):abs():max():item() <= (tol or 1e-13), tostring(got))
end

function TestSort.test_sort_by_a_table_sort()
    for _, n in ipairs { 1, 2, 15, 16, 17, 100, 1000 } do
        local t = bk.rng(n):integers({ n }, 50):to "float64" / 7 -- many ties
        for _, descending in ipairs { false, true } do
            local list = t:totable()
            local order = {}
            for i = 1, n do order[i] = i end
            table.sort(order, function(a, b)
                if list[a] ~= list[b] then return (list[a] < list[b]) ~= descending end
                return a < b
            end)
            local values, positions = t:sort(1, { descending = descending })
            lu.assertEquals(positions:totable(), order)
            lu.assertEquals(positions:dtype(), "int64")
            lu.assertTrue(values == t:gather(positions))
            local k = math.min(n, 5)
            local top, where = t:topk(k, 1, { smallest = not descending })
            lu.assertTrue(top == values:narrow(1, 1, k) and where == positions:narrow(1, 1, k))
        end
    end
end

function TestSort.test_dims_dtypes_and_special_values()
    local t = bk.tensor { { 3, 1, 2 }, { 0, 5, -1 } }
    local v, p = t:sort()
    lu.assertEquals({ v:totable(), p:totable() }, { { { 1, 2, 3 }, { -1, 0, 5 } }, { { 2, 3, 1 }, { 3, 1, 2 } } })
    v, p = bk.sort(t, 1, true)
    lu.assertEquals({ v:totable(), p:totable() }, { { { 3, 5, 2 }, { 0, 1, -1 } }, { { 1, 2, 1 }, { 2, 1, 2 } } })
    v, p = t:transpose():topk(1, 1)
    lu.assertEquals({ v:totable(), p:totable() }, { { { 3, 5 } }, { { 1, 2 } } })
    v, p = bk.tensor { nan, 1, -math.huge, -0.0, 0.0, math.huge, nan, -5e-324 }:sort()
    lu.assertEquals(p:totable(), { 3, 8, 4, 5, 2, 6, 1, 7 })
    lu.assertEquals(v:isnan():totable(), { 0, 0, 0, 0, 0, 0, 1, 1 })
    lu.assertEquals(select(2, bk.tensor { 1, nan, 2 }:topk(1)):item(), 2)
    local b = 1 << 53
    lu.assertEquals(bk.tensor({ b + 1, b, -b - 1, -b }, { dtype = "int64" }):sort():totable(), { -b - 1, -b, b, b + 1 })
    lu.assertEquals(bk.tensor({ 2, -1 }, { dtype = "float32" }):sort():dtype(), "float32")
    lu.assertEquals(bk.zeros { 2, 0 }:sort():shape(), { 2, 0 })
    lu.assertEquals(bk.zeros { 2, 3 }:topk(0):shape(), { 2, 0 })
    lu.assertEquals(bk.isnan(nan):item(), 1)
    lu.assertEquals(bk.tensor({ 1 }, { dtype = "int64" }):isnan():dtype(), "int64")
    fails("bk.sort: expected at least 1 dimension, got ()", bk.sort, bk.tensor(1))
    fails("bk.topk: k: expected at most the size 3 of dim 2, got 4", bk.topk, t, 4)
    fails("bk.topk: k: expected", bk.topk, t, -1)
end

function TestSort.test_derivatives_follow_the_values()
    local x, weights = bk.rng(1):normal { 6 }, bk.arange(6) + 1
    local _, p = x:sort()
    local g = bk.grad(function(t) return (t:sort() * weights):sum() end)(x)
    lu.assertTrue(g:gather(p) == weights)
    local function tail(t) return t:reshape { 2, 3 }:topk(2, 2):square():sum() * t:sum() end
    lu.assertTrue(bk.check_grad(tail, x) < 1e-7)
    local rows = bk.rng(2):normal { 4, 6 }
    close(bk.vmap(function(t) return (t:sort()) end)(rows), (rows:sort(2)), 0)
end

function TestSort.test_median()
    for _, n in ipairs { 1, 2, 5, 100, 1001 } do
        local t = bk.rng(n):normal { n, 3 }
        for k = 1, 3 do
            local list = t:narrow(2, k, 1):reshape { n }:totable()
            table.sort(list)
            local want = (list[(n + 1) // 2] + list[n // 2 + 1]) / 2
            lu.assertEquals(t:median(1)[k]:item(), want)
        end
    end
    local t = bk.tensor { { 5, 1, 3 }, { 2, nan, 40 } }
    lu.assertTrue(t[1]:median():item() == 3 and bk.isnan(t:median()):item() == 1)
    lu.assertEquals(tostring(t:median(2)), tostring(bk.tensor { 3, nan }))
    lu.assertEquals(bk.tensor({ 1, 2 }, { dtype = "int64" }):median():item(), 1.5)
    lu.assertEquals(bk.grad(bk.median)(bk.tensor { 9, 1, 4, 2 }):totable(), { 0, 0, 0.5, 0.5 })
    lu.assertEquals(bk.grad(bk.median)(bk.tensor { 9, 1, 4 }):totable(), { 0, 0, 1 })
    fails("bk.median: no elements", bk.median, bk.zeros { 0, 2 })
end

function TestSort.test_one_hot()
    local ids = bk.tensor({ { 2, 0 }, { 1, 2 } }, { dtype = "int64" })
    lu.assertEquals(ids:one_hot(3):totable(), { { { 0, 0, 1 }, { 1, 0, 0 } }, { { 0, 1, 0 }, { 0, 0, 1 } } })
    lu.assertTrue(ids:one_hot(4):argmax(3) == ids)
    fails("bk.one_hot: ids: expected int64, got float64", bk.one_hot, bk.ones { 2 }, 3)
    fails("bk.one_hot: an index is out of range: counted from 0, expected one below 2, got 2", bk.one_hot, ids, 2)
    fails("bk.one_hot: n: expected", bk.one_hot, ids, 0)
end

-- Every term by loops over all letters.
local function by_loops(spec, ...)
    local left, right = spec:match "^(.*)%->(.*)$"
    local operands, size, letters, tensors = {}, {}, {}, { ... }
    for part in (left .. ","):gmatch "(%a*)," do
        operands[#operands + 1] = part
        for i, n in ipairs(tensors[#operands]:shape()) do
            local letter = part:sub(i, i)
            if not size[letter] then letters[#letters + 1], size[letter] = letter, n end
        end
    end
    local flat = {}
    for k, t in ipairs(tensors) do flat[k] = t:reshape { -1 }:totable() end
    local function offset(part, at)
        local o = 0
        for l in part:gmatch "%a" do o = o * size[l] + at[l] end
        return o + 1
    end
    local out, shape = {}, {}
    for l in right:gmatch "%a" do shape[#shape + 1] = size[l] end
    local function visit(i, at)
        if i > #letters then
            local p = 1
            for k, part in ipairs(operands) do p = p * flat[k][offset(part, at)] end
            local o = offset(right, at)
            out[o] = (out[o] or 0) + p
            return
        end
        for x = 0, size[letters[i]] - 1 do
            at[letters[i]] = x
            visit(i + 1, at)
        end
    end
    visit(1, {})
    return bk.tensor(out):reshape(shape)
end

function TestEinsum.test_against_loops()
    local n = { i = 2, j = 3, k = 4, l = 2, b = 3 }
    for s, spec in ipairs { "ij,jk->ik", "ij,jk->ki", "bij,bjk->bik", "bij,bkj->ibk", "ii->i", "ii->", "iji->j",
        "iii->i", "i,j->ij", "ij->ji", "ij->", "ij->j", "i,i->", "i,i->i", "ij,j->i", "ij,kl->", "ij,jk,kl->il",
        "i,ij,j->",
        "bi,bj,ij->b", "ijk,jil,lk->ki", "ij,ij,ij->j", ",i->i", "bij,i->bj" } do
        local tensors = {}
        for part in (spec:match "^(.*)%->" .. ","):gmatch "(%a*)," do
            local shape = {}
            for l in part:gmatch "%a" do shape[#shape + 1] = n[l] end
            tensors[#tensors + 1] = bk.rng(s * 10 + #tensors):normal(shape)
        end
        local got, want = bk.einsum(spec, table.unpack(tensors)), by_loops(spec, table.unpack(tensors))
        lu.assertEquals(got:shape(), want:shape(), spec)
        lu.assertTrue((got - want):abs():max():item() < 1e-13, spec)
        local f = function(t) return bk.einsum(spec, t, table.unpack(tensors, 2)):sin():sum() end
        lu.assertTrue(bk.check_grad(f, tensors[1]) < 1e-6, spec)
    end
    local a, b = bk.rng(1):normal { 4, 3 }, bk.rng(2):normal { 3, 5 }
    close(bk.einsum("ij, jk", a, b), a:matmul(b))
    close(bk.einsum("ba", a), a:transpose())
    lu.assertEquals(bk.einsum("ij,jk->ik", a:to "float32", b:to "float32"):dtype(), "float32")
    close(bk.einsum("ij,jk->ik", bk.zeros { 2, 0 }, bk.zeros { 0, 3 }), bk.zeros { 2, 3 })
    close(bk.vmap(function(t) return bk.einsum("i,i->", t, t) end)(a), a:square():sum(2))
end

function TestEinsum.test_errors()
    local a = bk.ones { 2, 3 }
    fails("bk.einsum: spec: expected a string such as", bk.einsum, a, a)
    fails('bk.einsum: spec: expected letters, commas and one ->', bk.einsum, "i...->i", a)
    fails('spec: "ij,jk->ik" names 2 tensors, got 1', bk.einsum, "ij,jk->ik", a)
    fails('tensor 1: expected 3 dimensions for "ijk", got (2,3)', bk.einsum, "ijk->i", a)
    fails("tensor 2: j: expected size 3 as in tensor 1, got 2", bk.einsum, "ij,jk->ik", a, a)
    fails("spec: k of the result stands in no tensor", bk.einsum, "ij->k", a)
    fails("spec: i stands twice in the result", bk.einsum, "ij->ii", a)
    fails("tensor 1: expected a tensor, got 3", bk.einsum, "i", 3)
    fails("got no tensor", bk.einsum, "i")
end

-- tensor_test.lua - tensors: making, reading, views, arithmetic against plain Lua loops and closed forms, errors,
-- random streams, and memory that is given back.
local bk = require "bracket"
local lu = require "luaunit"

local function values(t) return t:reshape { -1 }:totable() end
local function near(a, b, tolerance)
    if bk.is_tensor(a) then a = values(a) end
    if bk.is_tensor(b) then b = values(b) end
    lu.assertEquals(#a, #b)
    for i = 1, #a do lu.assertAlmostEquals(a[i], b[i], tolerance or 1e-13) end
end
local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end

TestTensorMaking = {}

function TestTensorMaking.test_nested_tables_give_shape_and_come_back()
    local nested = { { { 1, 2 }, { 3, 4 } }, { { 5, 6 }, { 7, 8.5 } } }
    local t = bk.tensor(nested)
    lu.assertEquals(t:shape(), { 2, 2, 2 })
    lu.assertEquals(t:dtype(), "float64")
    lu.assertEquals(t:totable(), nested)
    lu.assertEquals(bk.tensor(3):shape(), {})
    lu.assertEquals(bk.tensor(3):totable(), 3)
    lu.assertEquals(bk.tensor({}):shape(), { 0 })
    lu.assertEquals(bk.tensor({ {}, {} }):shape(), { 2, 0 })
    lu.assertEquals(math.type(bk.tensor({ 1, 2 }, { dtype = "int64" }):totable()[2]), "integer")
    lu.assertEquals(bk.tensor({ bk.tensor(1), bk.tensor { 5, 2 }[1] }):totable(), { 1, 5 })
end

function TestTensorMaking.test_int64_keeps_every_digit()
    local big = math.maxinteger - 1
    lu.assertEquals(bk.tensor({ big }, { dtype = "int64" })[1]:item(), big)
end

function TestTensorMaking.test_fields_beside_the_values_are_refused()
    fails('bk.tensor: values: expected a list, got a field "dtype" as well; options stand behind the values', bk.tensor,
        { 1, 2, dtype = "float32" })
    fails("values[2]: expected a list without gaps, got 2 entries and one at 6", bk.tensor,
        { { 1, 2 }, { 3, 4, [6] = 1 } })
    fails('expected a list, got a field "dtype"', bk.tensor, { dtype = "float32" })
    local backwards = {} -- a list all the same
    for i = 5, 1, -1 do backwards[i] = i end
    lu.assertEquals(bk.tensor(backwards):totable(), { 1, 2, 3, 4, 5 })
end

function TestTensorMaking.test_a_copy_keeps_its_dtype_beside_options_without_one()
    lu.assertEquals(bk.tensor(bk.ones({ 2 }, { dtype = "float32" }), {}):dtype(), "float32")
end

function TestTensorMaking.test_int64_is_filled_with_whole_numbers_alone()
    fails("bk.full: value: expected a whole number for int64, got inf", bk.full, { 2 }, 1 / 0, { dtype = "int64" })
    fails("bk.full: value: expected a whole number for int64, got 1.5", bk.full, { 2 }, 1.5, { dtype = "int64" })
    fails("bk.full: value: expected a whole number for int64", bk.full, { 2 }, 1e300, { dtype = "int64" })
    lu.assertEquals(bk.full({ 1 }, math.maxinteger, { dtype = "int64" }):item(), math.maxinteger)
end

function TestTensorMaking.test_a_ragged_table_is_refused_where_it_is_ragged()
    fails("values[2]: ragged: expected 2 entries", bk.tensor, { { 1, 2 }, { 3 } })
    fails("values[2][1]: expected a number, got \"x\"", bk.tensor, { { 1, 2 }, { "x", 3 } })
    fails("values[2]: ragged: expected a table of 2, got 3", bk.tensor, { { 1, 2 }, 3 })
    fails("values[1]: expected a whole number for int64, got 1.5", bk.tensor, { 1.5 }, { dtype = "int64" })
    fails("values: expected a list", bk.tensor, { a = 1 })
    fails("values: expected a (nested) table", bk.tensor, "x")
end

function TestTensorMaking.test_options_are_checked_and_named()
    fails('bk.tensor: dtype: expected "float64", "float32" or "int64", got "f16"', bk.tensor, { 1 }, { dtype = "f16" })
    fails("unknown option dtyp (did you mean dtype?); the options are dtype", bk.tensor, { 1 }, { dtyp = "float32" })
    fails("unknown option dtyp", bk.zeros, { 2, dtyp = "float32" })
    fails("size 2: expected an integer >= 0, got -1", bk.zeros, { 2, -1 })
    fails("not a shape", bk.zeros, { 1 << 40, 1 << 40 })
end

function TestTensorMaking.test_filled_and_ranges()
    lu.assertEquals(bk.zeros { 2, 3 }:totable(), { { 0, 0, 0 }, { 0, 0, 0 } })
    lu.assertEquals(bk.ones({ 2 }, { dtype = "float32" }):dtype(), "float32")
    lu.assertEquals(bk.full({ 2 }, 7, { dtype = "int64" }):totable(), { 7, 7 })
    lu.assertEquals(bk.eye(2):totable(), { { 1, 0 }, { 0, 1 } })
    lu.assertEquals(bk.eye(2, { dtype = "float32" }):dtype(), "float32")
    lu.assertEquals(bk.arange(3):totable(), { 0, 1, 2 })
    lu.assertEquals(bk.arange(1, 2, 0.25):totable(), { 1, 1.25, 1.5, 1.75 })
    lu.assertEquals(bk.arange(5, 0, -2, { dtype = "int64" }):totable(), { 5, 3, 1 })
    local odd = (1 << 53) + 1 -- no float64
    lu.assertEquals(bk.full({ 2 }, odd, { dtype = "int64" }):totable(), { odd, odd })
    lu.assertEquals(bk.arange(odd - 2, odd + 2, { dtype = "int64" }):totable(), { odd - 2, odd - 1, odd, odd + 1 })
    lu.assertEquals(bk.arange(odd, odd - 5, -2, { dtype = "int64" }):totable(), { odd, odd - 2, odd - 4 })
    lu.assertEquals(bk.arange(3, 3, { dtype = "int64" }):totable(), {})
    lu.assertEquals(bk.full({ 2 }, math.mininteger, { dtype = "int64" }):totable(),
        { math.mininteger, math.mininteger })
    lu.assertEquals(bk.linspace(0, 1, 5):totable(), { 0, 0.25, 0.5, 0.75, 1 })
    lu.assertTrue(bk.linspace(0, 9999, 10000) == bk.arange(10000)) -- no multiple is rounded
    lu.assertEquals(bk.linspace(-700, 700, 1401, { dtype = "int64" })[2]:item(), -699)
    lu.assertEquals(bk.linspace(-1e308, 1e308, 3):totable(), { -1e308, 0, 1e308 })
    fails("step: expected a finite range", bk.arange, 0, 1, 0)
end

TestTensorViews = {}

function TestTensorViews.test_index_is_a_view_and_bounds_are_checked()
    local t = bk.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
    lu.assertEquals(#t, 2)
    lu.assertEquals(t[2]:totable(), { 4, 5, 6 })
    lu.assertEquals(t[2][3]:item(), 6)
    lu.assertEquals(t:transpose()[3]:totable(), { 3, 6 })
    fails("index 3 is outside 1..2 (ipairs does not end at a tensor's last; for i = 1, #t does)", function()
        for _ in ipairs(t) do end
    end)
    fails("index 0 is outside 1..2", function() return t[0] end)
    fails("a 0-d tensor has no elements", function() return t[1][1][1] end)
    fails("no method or field \"foo\"", function() return t:foo() end)
    fails("tensors do not change", function() t[1] = 3 end)
    fails("no length", function() return #bk.tensor(1) end)
end

function TestTensorViews.test_shape_operations_agree_with_index_arithmetic()
    local t = bk.arange(24):reshape { 2, 3, 4 }
    local function at(u, i, j, k) return u[i][j][k]:item() end
    local p, x = t:permute { 3, 1, 2 }, t:transpose(1, 3)
    lu.assertEquals(p:shape(), { 4, 2, 3 })
    for i = 1, 2 do
        for j = 1, 3 do
            for k = 1, 4 do
                local v = (i - 1) * 12 + (j - 1) * 4 + k - 1
                lu.assertEquals(at(t, i, j, k), v)
                lu.assertEquals(at(p, k, i, j), v)
                lu.assertEquals(at(x, k, j, i), v)
                lu.assertEquals(at(t:flip(2), i, 4 - j, k), v)
            end
        end
    end
    lu.assertEquals(t:narrow(3, 2, 2)[1]:totable(), { { 1, 2 }, { 5, 6 }, { 9, 10 } })
    lu.assertEquals(t:narrow(-1, 5, 0):shape(), { 2, 3, 0 })
    lu.assertEquals(p:reshape { 8, -1 }:shape(), { 8, 3 })
    lu.assertEquals(p:flatten():totable()[2], 4)
    lu.assertEquals(t:unsqueeze(1):squeeze():shape(), { 2, 3, 4 })
    lu.assertEquals(bk.tensor { { 1 }, { 2 } }:broadcast_to { 2, 2, 3 }[2]:totable(), { { 1, 1, 1 }, { 2, 2, 2 } })
    lu.assertEquals(bk.tensor { 1, 2 }:pad({ 1 }, { 2 }):totable(), { 0, 1, 2, 0, 0 })
end

function TestTensorViews.test_views_enter_operations_with_their_strides()
    local t = bk.arange(6):reshape { 2, 3 }
    lu.assertEquals((t:transpose() + t:transpose()):totable(), { { 0, 6 }, { 2, 8 }, { 4, 10 } })
    lu.assertEquals(t:narrow(2, 2, 2):sum():item(), 1 + 2 + 4 + 5)
    lu.assertEquals(t:transpose():matmul(t):totable(), { { 9, 12, 15 }, { 12, 17, 22 }, { 15, 22, 29 } })
    lu.assertEquals(t:transpose():clone():totable(), t:transpose():totable())
    lu.assertEquals(t:transpose():to "int64":totable(), { { 0, 3 }, { 1, 4 }, { 2, 5 } })
end

function TestTensorViews.test_shape_errors_name_what_came()
    local t = bk.zeros { 2, 3 }
    fails("(2,3) has 6 elements, which do not fill (4,-1)", t.reshape, t, { 4, -1 })
    fails("only one size may be -1", t.reshape, t, { -1, -1 })
    fails("dim: expected a dimension from 1 to 2, got 3", t.sum, t, 3)
    fails("size: expected an integer from 0 to 2, got 3", t.narrow, t, 2, 2, 3)
    fails("expected each of 1..2 once", t.permute, t, { 1, 1 })
    fails("does not broadcast", t.broadcast_to, t, { 2, 4 })
    fails("inner sizes differ: (2,3) x (2,3)", t.matmul, t, t)
    fails("(2,3)", function() return t + bk.zeros { 2 } end)
    fails("left operand: expected a tensor or a number, got \"x\"", function() return "x" + t end)
    fails("right operand: expected a tensor or a number, got nil", function() return t * nil end)
end

TestTensorMath = {}

-- Each function beside its value by Lua's own math, or a closed form.
local function sigmoid(x) return 1 / (1 + math.exp(-x)) end
local plain = {
    exp = math.exp, log = math.log, sqrt = math.sqrt, sin = math.sin, cos = math.cos, abs = math.abs,
    floor = math.floor,
    expm1 = function(x) return math.exp(x) - 1 end,
    log1p = function(x) return math.log(1 + x) end,
    tanh = function(x) return 2 * sigmoid(2 * x) - 1 end,
    sigmoid = sigmoid,
    softplus = function(x) return math.log(1 + math.exp(x)) end,
    relu = function(x) return math.max(x, 0) end,
    sign = function(x) return x > 0 and 1 or x < 0 and -1 or 0 end,
    square = function(x) return x * x end,
    reciprocal = function(x) return 1 / x end,
    neg = function(x) return -x end,
}

function TestTensorMath.test_elementwise_functions_as_methods_and_as_functions()
    local xs = { 0.1, 0.5, 1, 1.7, 2.5, 3.25 }
    local signed = { -2.5, -1, -0.3, 0, 0.4, 2 }
    local positive_only = { log = true, sqrt = true, log1p = true, reciprocal = true }
    for name, f in pairs(plain) do
        local input = positive_only[name] and xs or signed
        local expected = {}
        for i, x in ipairs(input) do expected[i] = f(x) end
        near(bk.tensor(input)[name](bk.tensor(input)), expected)
        near(bk[name](bk.tensor(input)), expected)
    end
    near(bk.tensor { 0, 0.5, -1 }:erf(), { 0, 0.52049987781304653768, -0.84270079294971486934 })
    near(bk.tensor { 0, 0.5, -1 }:erfc(), { 1, 0.47950012218695346232, 1.84270079294971486934 })
    near(bk.tensor { 0, 1, -1 }:gelu(), { 0, 0.84134474606854294859, -0.15865525393145705141 })
    near({ bk.exp(1):item() }, { math.exp(1) })
    lu.assertEquals(bk.tensor({ 4 }, { dtype = "int64" }):sqrt():dtype(), "float64")
end

function TestTensorMath.test_arithmetic_broadcasts_and_mixes_numbers()
    local a, b = bk.tensor { { 1, 2, 3 }, { 4, 5, 6 } }, bk.tensor { 10, 20, 30 }
    lu.assertEquals((a + b):totable(), { { 11, 22, 33 }, { 14, 25, 36 } })
    lu.assertEquals((b - a):totable(), { { 9, 18, 27 }, { 6, 15, 24 } })
    lu.assertEquals((a * 2 + 1):totable(), { { 3, 5, 7 }, { 9, 11, 13 } })
    lu.assertEquals((1 - a[1]):totable(), { 0, -1, -2 })
    lu.assertEquals((6 / a[1]):totable(), { 6, 3, 2 })
    lu.assertEquals((1 / a[1])[3]:item(), 1 / 3)
    lu.assertEquals((a / 3):totable(), { { 1 / 3, 2 / 3, 1 }, { 4 / 3, 5 / 3, 2 } })
    lu.assertEquals((a[1] ^ 2):totable(), { 1, 4, 9 })
    near(2 ^ a[1], { 2, 4, 8 })
    near(a[1] ^ 0.5, { 1, math.sqrt(2), math.sqrt(3) })
    near(a[1] ^ a[1], { 1, 4, 27 })
    lu.assertEquals((-a[1]):totable(), { -1, -2, -3 })
    lu.assertEquals(bk.maximum(a[1], 2):totable(), { 2, 2, 3 })
    lu.assertEquals(bk.minimum(2, a[1]):totable(), { 1, 2, 2 })
    lu.assertEquals(a[1]:clamp(1.5, 2.5):totable(), { 1.5, 2, 2.5 })
    lu.assertEquals(a[1]:clamp(nil, 2):totable(), { 1, 2, 2 })
end

function TestTensorMath.test_the_number_0_makes_0_of_all_and_a_tensors_0_does_not()
    local t = bk.tensor { 1 / 0, 0 / 0, 2 }
    lu.assertEquals((t * 0):totable(), { 0, 0, 0 })
    lu.assertEquals((t * bk.zeros { 3 }):isnan():totable(), { 1, 1, 0 })
end

function TestTensorMath.test_dtypes_promote_and_numbers_do_not()
    local i = bk.tensor({ 1, 2 }, { dtype = "int64" })
    local f, d = bk.ones({ 2 }, { dtype = "float32" }), bk.ones { 2 }
    lu.assertEquals((i + 1):dtype(), "int64")
    lu.assertEquals((i + 0.5):totable(), { 1.5, 2.5 })
    lu.assertEquals((i * i):totable(), { 1, 4 })
    lu.assertEquals((i / 2):totable(), { 0.5, 1 })
    lu.assertEquals((i / i):dtype(), "float64")
    lu.assertEquals((i + f):dtype(), "float32")
    lu.assertEquals((f + d):dtype(), "float64")
    lu.assertEquals((f * 3.5):dtype(), "float32")
    lu.assertEquals(i:mean():item(), 1.5)
    lu.assertEquals(bk.tensor { -1.7, 1.7 }:to "int64":totable(), { -1, 1 })
end

function TestTensorMath.test_comparisons()
    local a = bk.tensor { 1, 2, 3 }
    lu.assertEquals(a:gt(2):totable(), { 0, 0, 1 })
    lu.assertEquals(a:ge(2):totable(), { 0, 1, 1 })
    lu.assertEquals(a:lt(2):totable(), { 1, 0, 0 })
    lu.assertEquals(a:le(2):totable(), { 1, 1, 0 })
    lu.assertEquals(a:eq(bk.tensor { 3, 2, 1 }):totable(), { 0, 1, 0 })
    lu.assertTrue(a == bk.tensor { 1, 2, 3 })
    lu.assertFalse(a == bk.tensor { 1, 2, 4 })
    lu.assertFalse(a == bk.tensor { { 1, 2, 3 } })
    lu.assertFalse(bk.tensor { 0 / 0 } == bk.tensor { 0 / 0 })
    lu.assertTrue(a:sum() > 5 and a[1] <= 1 and 2 < a[3])
    fails("compares single values", function() return a < 2 end)
    lu.assertEquals(bk.where(a:gt(1), a, -1):totable(), { -1, 2, 3 })
    lu.assertEquals(a:gt(1):where(5, 0):totable(), { 0, 5, 5 })
    lu.assertEquals(bk.where(a:gt(1), 0.5, a):totable(), { 1, 0.5, 0.5 })
end

function TestTensorMath.test_reductions()
    local t = bk.tensor { { 1, 5, 2 }, { 7, 3, 7 } }
    lu.assertEquals(t:sum():item(), 25)
    lu.assertEquals(t:sum(1):totable(), { 8, 8, 9 })
    lu.assertEquals(t:sum(2, { keep = true }):shape(), { 2, 1 })
    lu.assertEquals(t:sum { 1, 2 }:item(), 25)
    near(t:mean(-1), { 8 / 3, 17 / 3 })
    near({ t:var():item(), t:std():item() }, { 137 / 6 - (25 / 6) ^ 2, math.sqrt(137 / 6 - (25 / 6) ^ 2) })
    near(bk.tensor { 1, 3 }:var(1, { correction = 1 }):reshape { 1 }, { 2 })
    near({ t:norm():item() }, { math.sqrt(137) })
    lu.assertEquals(t:max():item(), 7)
    lu.assertEquals(t:min():item(), 1)
    local v, i = t:max(2)
    lu.assertEquals(v:totable(), { 5, 7 })
    lu.assertEquals(i:totable(), { 1, 0 })
    lu.assertEquals(i:dtype(), "int64")
    v, i = t:min(1)
    lu.assertEquals({ v:totable(), i:totable() }, { { 1, 3, 2 }, { 0, 1, 0 } })
    lu.assertEquals(t:argmax():item(), 3)
    lu.assertEquals(t:argmax(2):totable(), { 1, 0 })
    lu.assertEquals(t:argmin(1):totable(), { 0, 1, 0 })
    lu.assertEquals(t:cumsum(2):totable(), { { 1, 6, 8 }, { 7, 10, 17 } })
    lu.assertEquals(bk.tensor { 1, 2, 3 }:cumsum():totable(), { 1, 3, 6 })
    fails("no elements", bk.max, bk.zeros { 0 })
    fails("no elements", bk.mean, bk.zeros { 0 })
end

function TestTensorMath.test_places_of_maxima_along_any_dimension_are_the_first()
    local choices = { 0, -0.0, 1, 1, -1 / 0, 1 / 0, 0 / 0 }
    for _, shape in ipairs{ { 2, 3, 5 }, { 3, 40, 300 }, { 1, 2, 600 }, { 70, 33, 1 } } do
        local count, flat, draw = shape[1] * shape[2] * shape[3], {}, bk.rng(5)
        local from = draw:uniform{ count }:totable()
        for i = 1, count do flat[i] = choices[1 + math.floor(from[i] * (i % 5 == 0 and 7 or 4))] end
        for dim = 1, 3 do
            local inner, size = 1, shape[dim]
            for k = dim + 1, 3 do inner = inner * shape[k] end
            local expected = {}
            for o = 0, count // (size * inner) - 1 do
                for i = 1, inner do
                    local best = 0
                    for k = 1, size - 1 do
                        local x, most = flat[(o * size + k) * inner + i], flat[(o * size + best) * inner + i]
                        if x > most or (x ~= x and most == most) then best = k end
                    end
                    expected[#expected + 1] = best
                end
            end
            for _, dtype in ipairs{ "float64", "float32" } do
                local t = bk.tensor(flat, { dtype = dtype }):reshape(shape)
                lu.assertEquals(values(t:argmax(dim)), expected)
            end
        end
    end
end

function TestTensorMath.test_gathers_and_their_sums_are_the_same_on_two_threads()
    local threads, draw = bk.threads(), bk.rng(6)
    local x = draw:normal{ 40, 1000 }
    local rows, some = draw:normal{ 900, 30 }, (draw:uniform{ 4000 } * 900):to "int64" + 1
    local image = draw:normal{ 8, 6, 31, 30 }
    local along = bk.grad(function(t)
        local y = t:reshape{ 8, 6, 31, 30 }:maxpool2d(3, { stride = 2, padding = 1 })
        return (y * y):sum()
    end)
    local function all()
        local sums = bk.grad(function(t) local y = bk.gather(t, some) return (y * y):sum() end)(rows)
        return { bk.gather(rows, some), sums, along(image), x:argmax(1), x:argmax(2), bk.flip(x, 2) }
    end
    bk.threads(1)
    local one = all()
    bk.threads(2)
    local two = all()
    bk.threads(threads)
    for i = 1, #one do lu.assertEquals(values(one[i]), values(two[i])) end
    local pairs_ = bk.arange(0, 13):to("float32"):narrow(1, 2, 12):reshape{ 3, 2, 2 }:flip(2) -- of no even address
    lu.assertEquals(values(pairs_), { 3, 4, 1, 2, 7, 8, 5, 6, 11, 12, 9, 10 })
    local flipped, from = values(one[6]), values(x)
    for i = 1, 1000 do lu.assertEquals(flipped[i], from[1001 - i]) end
end

function TestTensorMath.test_softmax_family_by_definition_along_any_dimension()
    local t = bk.rng(3):normal { 2, 4, 3 }
    for dim = 1, 3 do
        local e = t:exp()
        near(t:softmax(dim), e / e:sum(dim, { keep = true }))
        near(t:logsumexp(dim), e:sum(dim):log())
        near(t:log_softmax(dim), t - e:sum(dim, { keep = true }):log())
        lu.assertEquals(t:logsumexp(dim):shape(), e:sum(dim):shape())
    end
    near(bk.tensor { 1000, 1000 }:softmax(), { 0.5, 0.5 })
    near({ bk.tensor { -1000, -1000 }:logsumexp():item() }, { -1000 + math.log(2) })
    local n = t:layer_norm { eps = 0 }
    near(n:mean(3), bk.zeros { 2, 4 })
    near(n:square():mean(3), bk.ones { 2, 4 }, 1e-12)
end

function TestTensorMath.test_joins_and_choices()
    local a, b = bk.tensor { { 1, 2 } }, bk.tensor { { 3, 4 }, { 5, 6 } }
    lu.assertEquals(bk.concat { a, b }:totable(), { { 1, 2 }, { 3, 4 }, { 5, 6 } })
    lu.assertEquals(b:concat(b, 2):totable(), { { 3, 4, 3, 4 }, { 5, 6, 5, 6 } })
    lu.assertEquals(bk.stack { b[1], b[2] }:totable(), b:totable())
    lu.assertEquals(bk.stack({ b[1], b[2] }, 2):totable(), { { 3, 5 }, { 4, 6 } })
    lu.assertEquals(bk.stack { 1, bk.tensor(2) }:totable(), { 1, 2 })
    local large = (1 << 62) + 1
    lu.assertEquals(bk.tensor({ bk.tensor(3.0), bk.tensor(large, { dtype = "int64" }) }, { dtype = "int64" }):totable(),
        { 3, large })
    fails("values[1]: expected a whole number for int64", bk.tensor, { bk.tensor(1.5) }, { dtype = "int64" })
    local many = {}
    for i = 1, 300 do many[i] = bk.full({ 1 }, i) end
    lu.assertEquals(bk.concat(many):sum():item(), 300 * 301 / 2)
    local ids = bk.tensor({ 1, 0, 1 }, { dtype = "int64" })
    lu.assertEquals(b:gather(ids + 1):totable(), { { 5, 6 }, { 3, 4 }, { 5, 6 } })
    lu.assertEquals(bk.embedding(b, ids:reshape { 1, 3 }):shape(), { 1, 3, 2 })
    lu.assertEquals(b:take(bk.tensor({ 1, 0 }, { dtype = "int64" })):totable(), { 4, 5 })
    fails("index", bk.gather, b, bk.tensor({ 3 }, { dtype = "int64" }))
    fails("index", bk.gather, b, bk.tensor({ 0 }, { dtype = "int64" }))
    local shuffled = bk.arange(7):gather(bk.rng(5):permutation(7)):totable()
    table.sort(shuffled)
    lu.assertEquals(shuffled, bk.arange(7):totable())
    fails("part 2: expected a tensor, got \"x\"", bk.concat, { a, "x" })
    fails("int64", bk.gather, b, bk.tensor { 0.5 })
end

function TestTensorMath.test_products_against_sums()
    local a, b = bk.rng(1):normal { 3, 4 }, bk.rng(2):normal { 4, 2 }
    local expected = {}
    for i = 1, 3 do
        for j = 1, 2 do
            local s = 0
            for k = 1, 4 do s = s + a[i][k]:item() * b[k][j]:item() end
            expected[#expected + 1] = s
        end
    end
    near(a:matmul(b), expected)
    lu.assertEquals(bk.zeros { 5, 3, 4 }:matmul(b):shape(), { 5, 3, 2 })
    near(bk.stack { a, a * 2 }:matmul(b)[2], (a:matmul(b) * 2))
    near({ a:dot(a):item() }, { a:square():sum():item() })
    near(bk.tensor { 1, 2 }:outer(bk.tensor { 3, 4 }), { 3, 4, 6, 8 })
end

function TestTensorMath.test_images_against_sums()
    local x, w = bk.rng(4):normal { 1, 2, 4, 5 }, bk.rng(5):normal { 3, 2, 2, 2 }
    local y = bk.conv2d(x, w)
    lu.assertEquals(y:shape(), { 1, 3, 3, 4 })
    local s = 0
    for c = 1, 2 do
        for u = 1, 2 do
            for v = 1, 2 do s = s + x[1][c][1 + u][2 + v]:item() * w[3][c][u][v]:item() end
        end
    end
    lu.assertAlmostEquals(y[1][3][2][3]:item(), s, 1e-13)
    lu.assertEquals(bk.conv2d(x, w, { stride = 2, padding = 1 }):shape(), { 1, 3, 3, 3 })
    local p = bk.arange(16):reshape { 1, 1, 4, 4 }
    lu.assertEquals(p:avgpool2d(2):totable(), { { { { 2.5, 4.5 }, { 10.5, 12.5 } } } })
    lu.assertEquals(p:maxpool2d(2):totable(), { { { { 5, 7 }, { 13, 15 } } } })
    fails("unknown option strid", bk.conv2d, x, w, { strid = 1 })
end

TestTensorText = {}

function TestTensorText.test_text_shows_dtype_shape_and_ends()
    lu.assertEquals(tostring(bk.tensor { { 1, 2 }, { 3, 4.5 } }), "tensor float64 (2,2)\n[[  1   2]\n [  3 4.5]]")
    lu.assertEquals(tostring(bk.tensor(2)), "tensor float64 () 2")
    lu.assertEquals(tostring(bk.zeros { 0 }), "tensor float64 (0)\n[]")
    local long = tostring(bk.arange(100):reshape { 10, 10 })
    lu.assertStrContains(long, "...")
    lu.assertTrue(#long < 400)
    lu.assertEquals(tostring(bk.tensor({ 1 }, { dtype = "int64" })), "tensor int64 (1)\n[1]")
end

TestRng = {}

function TestRng.test_same_seed_same_numbers_and_state_resumes()
    local a, b = bk.rng(7), bk.rng(7)
    lu.assertTrue(a:uniform { 5 } == b:uniform { 5 })
    lu.assertFalse(bk.rng(7):uniform { 5 } == bk.rng(8):uniform { 5 })
    local state = a:state()
    local first = a:normal { 4 }
    lu.assertTrue(a:restore(state):normal { 4 } == first)
    fails("a string from rng:state()", a.restore, a, "x")
    lu.assertFalse(a:split():uniform { 5 } == a:uniform { 5 })
end

function TestRng.test_moments_and_ranges()
    local n = 100000
    local u = bk.rng(1):uniform { { n }, -1, 3 }
    lu.assertTrue(u:min():item() >= -1 and u:max():item() < 3)
    lu.assertAlmostEquals(u:mean():item(), 1, 5 * 4 / math.sqrt(12 * n))
    lu.assertTrue(u == bk.rng(1):uniform({ n }, -1, 3))
    local z = bk.rng(2):normal { n }
    lu.assertAlmostEquals(z:mean():item(), 0, 5 / math.sqrt(n))
    lu.assertAlmostEquals(z:var():item(), 1, 5 * math.sqrt(2 / n))
    near(bk.rng(2):normal { { 3 }, 10, 2 }, z:narrow(1, 1, 3) * 2 + 10)
    near(bk.rng(2):normal { shape = { 3 }, mean = 10, std = 2 }, z:narrow(1, 1, 3) * 2 + 10)
    lu.assertTrue(u == bk.rng(1):uniform { shape = { n }, a = -1, b = 3 })
    lu.assertEquals(bk.rng(1):uniform { shape = 4, dtype = "float32" }:shape(), { 4 })
    fails("a: expected a finite number", function() bk.rng(1):uniform { 2, a = -1 / 0 } end)
    fails("shape: given twice", function() bk.rng(1):normal { 2, shape = { 3 } } end)
    lu.assertEquals(bk.rng(1):uniform { 2, dtype = "float32" }:dtype(), "float32")
    lu.assertEquals(bk.rng(1):normal({ 2 }, { dtype = "float32" }):dtype(), "float32")
    local seen = bk.rng(3):permutation(50):totable()
    table.sort(seen)
    for i = 1, 50 do lu.assertEquals(seen[i], i) end
    local ints = bk.rng(4):integers({ 1000 }, 3)
    lu.assertEquals({ ints:min():item(), ints:max():item(), ints:dtype() }, { 0, 2, "int64" })
    fails("unknown option sd", function() bk.rng(1):normal { 2, sd = 1 } end)
    fails("seed: expected an integer, got \"x\"", bk.rng, "x")
end

TestTensorMemory = {}

function TestTensorMemory.test_the_collector_hears_of_tensor_bytes()
    if not io.open("/proc/self/status") then return end
    local script = "local t = bk.ones{512, 512} for _ = 1, 400 do t = t * 1.0000001 end " -- 800 MiB, unless given back
        .. "print(io.open('/proc/self/status'):read 'a':match 'VmHWM:%s+(%d+)')"
    local program = (os.getenv("BRACKET_BUILD") or "build") .. "/bracket"
    local pipe = io.popen(("'%s' -e \"%s\""):format(program, script))
    local peak = tonumber(pipe:read "a")
    pipe:close()
    lu.assertTrue(peak < 60 * 1024, "peak of " .. peak .. " KiB")
end

-- A condition holds where it is not 0, whatever dtype the choices have.
function TestTensorMath.test_where_asks_the_condition_itself()
    local condition = bk.tensor { 0.3, 2, 0 / 0, 0, 1e-50 }
    for _, dtype in ipairs { "int64", "float32", "float64" } do
        local one, zero = bk.ones({ 5 }, { dtype = dtype }), bk.zeros({ 5 }, { dtype = dtype })
        local chosen = bk.where(condition, one, zero)
        lu.assertEquals(chosen:dtype(), dtype)
        lu.assertEquals(chosen:sum():item(), 4)
        lu.assertEquals(bk.compile(bk.where)(condition, one, zero):totable(), chosen:totable())
    end
end

-- 2^53 + 1 is no float64.
function TestTensorMath.test_whole_numbers_beside_int64_are_exact()
    local b = (1 << 53) + 1
    local t = bk.tensor({ b }, { dtype = "int64" })
    for _, x in ipairs { t - (b - 1), (b + 1) - t, t:eq(b), t:minimum(b) - (b - 1), bk.maximum(b, t) - (b - 1) } do
        lu.assertEquals(x:dtype(), "int64")
        lu.assertEquals(x:item(), 1)
    end
    lu.assertEquals(bk.arange(2 ^ 53, b + 2, { dtype = "int64" }):totable(), { b - 1, b, b + 1 })
end

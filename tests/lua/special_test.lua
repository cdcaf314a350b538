-- special_test.lua - every elementwise operation, found through its docstring, where numbers are special: nan,
-- infinities, zeros of either sign, denormal ones, the largest. What a value is there its own test says; here it is nan
-- where an operand is, the same beside any neighbours, in float32 that of float64, and compiled what it is alone.
local bk = require "bracket"
local lu = require "luaunit"

TestSpecial = {}

local INF, NAN = math.huge, 0 / 0
local NUMBERS = {
    float64 = { NAN, INF, -INF, 0.0, -0.0, 0x1p-1074, -0x1p-1074, 0x1p-1030, -0x1p-1030, 0x1p-1022, 0.5, -0.5, 1, -1, 2,
        -2, 0x1p-600, 0x1p600, -0x1p600, 0x1.fffffffffffffp1023, -0x1.fffffffffffffp1023 },
    float32 = { NAN, INF, -INF, 0.0, -0.0, 0x1p-149, -0x1p-149, 0x1p-130, -0x1p-130, 0x1p-126, 0.5, -0.5, 1, -1, 2, -2,
        0x1p-80, 0x1p80, -0x1p80, 0x1.fffffep127, -0x1.fffffep127 },
}
-- Of nan too these are numbers: comparisons, and what is made of them.
local DECIDES = { eq = true, ge = true, gt = true, le = true, lt = true, isnan = true }

-- Operations of (t) and of (t, u), by name, whose result at a place is of the operands' numbers there alone.
local function elementwise()
    local one, two = {}, {}
    local a, b = bk.rng(1):uniform{ 3, 5, a = 0.2, b = 0.8 }, bk.rng(2):uniform{ 3, 5, a = 0.2, b = 0.8 }
    for name, f in pairs(bk) do
        local takes = (bk.internal.docs[f] or ""):match("^t:" .. name .. "(%b())") or ""
        local list = takes:find("^%(u%f[^%w]") and two or takes:find("^%([%[)]") and one
        local ok, whole, part = pcall(function() return list and f(a, list == two and b or nil),
            list and f(a[2][3], list == two and b[2][3] or nil) end)
        local same = ok and bk.is_tensor(part) and table.concat(whole:shape(), "x") == "3x5" and #part:shape() == 0
        if same and part:item() == whole[2][3]:item() then list[name] = f end
    end
    return one, two
end
local one, two = elementwise()

-- Equal, with the sign of a zero; any nan is.
local function same(a, b) return a ~= a and b ~= b or a == b and (a ~= 0 or 1 / a == 1 / b) end
-- To `digits`, relative, and `least` more.
local function near(a, b, digits, least)
    return a ~= a and b ~= b or a == b or math.abs(a - b) <= digits * math.max(math.abs(a), math.abs(b)) + least
end

local function tensor(list, dtype) return bk.tensor(list, { dtype = dtype }) end
local function label(name, dtype, ...)
    local list = {}
    for k, x in ipairs{ ... } do list[k] = ("%.17g"):format(x) end
    return ("bk.%s, %s, of %s"):format(name, dtype, table.concat(list, ", "))
end

-- visit(name, dtype, operands, result): every operation at every number, or two of them, alone.
local function each(visit)
    for dtype, numbers in pairs(NUMBERS) do
        for name, f in pairs(one) do
            for _, x in ipairs(numbers) do visit(name, dtype, { x }, f(tensor({ x }, dtype)):reshape{}:item()) end
        end
        for name, f in pairs(two) do
            for _, x in ipairs(numbers) do
                for _, y in ipairs(numbers) do
                    visit(name, dtype, { x, y }, f(tensor({ x }, dtype), tensor({ y }, dtype)):item())
                end
            end
        end
    end
end

function TestSpecial.test_operations_are_found()
    for _, name in ipairs{ "exp", "gelu", "sign", "square", "log_sigmoid" } do lu.assertNotNil(one[name], name) end
    for _, name in ipairs{ "add", "div", "pow", "maximum", "gt" } do lu.assertNotNil(two[name], name) end
    lu.assertNil(one.softmax)
end

function TestSpecial.test_nan_stays()
    each(function(name, dtype, operands, result)
        local nan = false
        for _, x in ipairs(operands) do nan = nan or x ~= x end
        if nan and not DECIDES[name] and not (name == "pow" and result == 1) then -- C's: 1^nan and nan^0 are 1
            lu.assertTrue(result ~= result, ("%s: expected nan, got %g; g_where and SEL take their last operand where "
                .. "a comparison with nan decides"):format(label(name, dtype, table.unpack(operands)), result))
        end
    end)
end

-- A kernel works on vectors, and on what is left of them.
function TestSpecial.test_neighbours_do_not_matter()
    local wholes = {}
    for dtype, numbers in pairs(NUMBERS) do
        wholes[dtype] = {}
        local n = #numbers
        local a = tensor(numbers, dtype):reshape{ n, 1 }:broadcast_to{ n, n }
        local b = a:transpose()
        for name, f in pairs(one) do wholes[dtype][name] = f(a):totable() end
        for name, f in pairs(two) do wholes[dtype][name] = f(a, b):totable() end
    end
    local place = {}
    for dtype, numbers in pairs(NUMBERS) do
        place[dtype] = {}
        for k, x in ipairs(numbers) do place[dtype][("%a"):format(x)] = k end
    end
    each(function(name, dtype, operands, result)
        local i = place[dtype][("%a"):format(operands[1])]
        local j = place[dtype][("%a"):format(operands[2] or 1)]
        lu.assertTrue(same(wholes[dtype][name][i][j], result), label(name, dtype, table.unpack(operands))
            .. (": alone %.17g, among others %.17g"):format(result, wholes[dtype][name][i][j]))
    end)
end

function TestSpecial.test_float32_is_float64_rounded()
    each(function(name, dtype, operands, result)
        if dtype == "float64" then return end
        local f, wide, least = one[name] or two[name], {}, 16 * 0x1p-149
        for k, x in ipairs(operands) do
            wide[k] = tensor({ x }, "float64")
            if math.abs(x) >= 0x1p80 then least = 0x1p-126 end -- a reciprocal of something overflows on the way
        end
        local want = f(table.unpack(wide)):reshape{}:item()
        local rounded = tensor({ want }, "float64"):to("float32")[1]:item()
        local overflows = want - want == 0 and rounded - rounded ~= 0 and result - result ~= 0
        lu.assertTrue(overflows or near(result, rounded, 1e-5, least), label(name, dtype, table.unpack(operands))
            .. (": %.9g, in float64 %.17g"):format(result, want))
    end)
end

-- What the compiler makes of an operation on another's result, and on its own operand.
function TestSpecial.test_compiled_is_what_it_is_alone()
    local faults = {}
    for dtype, numbers in pairs(NUMBERS) do
        local t = tensor(numbers, dtype)
        local digits = dtype == "float64" and 1e-13 or 1e-5
        local least = 16 * (dtype == "float64" and 0x1p-1074 or 0x1p-149)
        local function holds(what, f, g, finite)
            local got = bk.compile(f)(t):totable()
            local want = g():totable()
            for k, x in ipairs(numbers) do
                faults[#faults + 1] = not (finite and x - x ~= 0 or near(got[k], want[k], digits, least))
                    and ("%s, %s, at %.17g: compiled %.17g, step by step %.17g"):format(what, dtype, x, got[k], want[k])
                    or nil
            end
        end
        for inner, g in pairs(one) do
            local within = g(t)
            for outer, f in pairs(one) do
                if within:dtype() == dtype then
                    holds(outer .. " of " .. inner, function(u) return f(g(u)) end, function() return f(within) end)
                end
            end
        end
        for name, f in pairs(two) do
            local copy = t:clone()
            -- t - t is 0 in a trace, of nan too (bk.sub's page), and so is what is made of it
            holds(name .. " with itself", function(u) return f(u, u) end, function() return f(t, copy) end, true)
            for _, x in ipairs{ 0.0, -0.0, 1, -1, 2, INF, -INF, NAN } do
                local all = tensor({ x }, dtype):broadcast_to{ #t }:clone()
                if name ~= "mul" or x ~= 0 then -- the number 0 makes 0 of nan: bk.mul's page
                    holds(("%s with %g"):format(name, x), function(u) return f(u, x) end,
                        function() return f(t, all) end)
                    holds(("%s of %g and it"):format(name, x), function(u) return f(x, u) end,
                        function() return f(all, t) end)
                end
            end
        end
    end
    lu.assertEquals(table.concat(faults, "\n"), "")
end

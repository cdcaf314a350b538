-- watch_test.lua - what a function reads from outside and has changed since it was traced is noticed at the next call:
-- locals, globals, fields of tables, what the functions it calls read; in C too, where words and the like hold it.
local bk = require "bracket"
local lu = require "luaunit"
TestWatch = {}

local one = bk.ones { 1 }
-- want: what set(k) makes of the gradient, for k = 1, 2, 3; the function is traced as often as that, and no more.
local function follows(make)
    local traces = 0
    local function seen() traces = traces + 1 end
    local f, set = make(seen)
    for k = 1, 3 do
        set(k)
        for _ = 1, 3 do lu.assertEquals(f(one):sum():item(), 2 * k) end
    end
    lu.assertEquals(traces, 3)
end

function TestWatch.test_captured_values_and_fields()
    follows(function(seen)
        local k
        return bk.grad(function(t) seen() return (k * t:square()):sum() end), function(v) k = v end
    end)
    follows(function(seen)
        local c = {}
        return bk.grad(function(t) seen() return (c.k * t:square()):sum() end), function(v) c.k = v end
    end)
    follows(function(seen)
        local c = { deep = { er = {} } }
        return bk.grad(function(t) seen() return (c.deep.er.k * t:square()):sum() end), function(v) c.deep.er.k = v end
    end)
    follows(function(seen)
        local c = { 5, 0 }
        return bk.grad(function(t) seen() return (c[2] * t:square()):sum() end), function(v) c[2] = v end
    end)
    follows(function(seen)
        local c = setmetatable({}, { __index = { k = 0 } })
        return bk.grad(function(t) seen() return (c.k * t:square()):sum() end),
            function(v) getmetatable(c).__index.k = v end
    end)
    follows(function(seen)
        local c
        return bk.grad(function(t) seen() return (c * t:square()):sum() end), function(v) c = bk.tensor(v) end
    end)
end

function TestWatch.test_fields_of_what_is_handed_to_a_function()
    follows(function(seen)
        local net = {}
        net.__index = net
        function net:inner(t) seen() return self.k * t:square() end
        function net:loss(t) return self:inner(t):sum() end
        local object = setmetatable({}, net)
        return bk.grad(function(t) return object:loss(t) end), function(v) object.k = v end
    end)
    follows(function(seen)
        local c = { deep = {} }
        local function scaled(o, t) seen() return o.deep.k * t:square() end
        return bk.grad(function(t) return scaled(c, t):sum() end), function(v) c.deep.k = v end
    end)
    follows(function(seen)
        local called = setmetatable({}, { __call = function(self, t) seen() return (self.k * t:square()):sum() end })
        return bk.grad(function(t) return called(t) end), function(v) called.k = v end
    end)
    follows(function(seen)
        local called = setmetatable({}, { __call = function(self, t) seen() return (self.k * t:square()):sum() end })
        return bk.grad(called), function(v) called.k = v end
    end)
    follows(function(seen)
        local net = { loss = function(self, t) seen() return (self.k * t:square()):sum() end }
        return bk.grad(function(t) return net:loss(t) end), function(v) net.k = bk.tensor(v) end
    end)
end

function TestWatch.test_what_is_not_handed_over_makes_no_trace()
    local traces, net, run = 0, { step = 2 }, { step = 0, rate = 0.5 }
    local function forward(o, t) return t * o.step end
    local f = bk.grad(function(t)
        traces = traces + 1
        return (forward(net, t) * run.rate):sum()
    end)
    for k = 1, 20 do
        run.step = k
        lu.assertEquals(f(one):item(), 1)
    end
    lu.assertEquals(traces, 1)
end

function TestWatch.test_what_a_helper_reads_leaves_room_for_what_comes_after()
    local net, last = {}, 1
    for i = 1, 16 do
        net[i] = {}
        for k = 1, 16 do net[i]["field" .. k] = k end
    end
    local read = {}
    for k = 1, 16 do read[k] = ("o[i].field%d"):format(k) end
    local forward = load("local o, t = ... local sum = 0 for i = 1, 16 do sum = sum + " .. table.concat(read, " + ")
        .. " end return t * sum")
    local function helper(t) return forward(net, t) end
    local f = bk.compile(function(t) return (helper(t) + last):sum() end)
    local before = f(one):item()
    last = 20
    lu.assertEquals(f(one):item(), before + 19)
end

function TestWatch.test_globals() -- in chunks of their own: these tests have no globals
    follows(function(seen)
        return load [[local bk, seen = ...
            return bk.grad(function(t) seen() return (WATCHED_K * t:square()):sum() end),
                function(v) WATCHED_K = v end]](bk, seen)
    end)
    follows(function(seen)
        return load [[local bk, seen = ...
            WATCHED = { k = 0 }
            return bk.grad(function(t) seen() return (WATCHED.k * t:square()):sum() end),
                function(v) WATCHED.k = v end]](bk, seen)
    end)
    local f = load "local bk = ... return bk.compile(function(t) return t * (WATCHED_LATER or 1) end)" (bk)
    lu.assertEquals(f(one):item(), 1)
    rawset(_G, "WATCHED_LATER", 4)
    lu.assertEquals(f(one):item(), 4)
    for _, name in ipairs { "WATCHED_K", "WATCHED", "WATCHED_LATER" } do rawset(_G, name, nil) end
end

function TestWatch.test_what_called_functions_read()
    follows(function(seen)
        local k
        local function penalty(t) return (k * t:square()):sum() end
        return bk.grad(function(t) seen() return penalty(t) end), function(v) k = v end
    end)
    follows(function(seen)
        local m = { k = 0 }
        function m.penalty(t) return (m.k * t:square()):sum() end
        return bk.grad(function(t) seen() return m.penalty(t) end), function(v) m.k = v end
    end)
    follows(function(seen)
        local k
        return bk.grad(function(t)
            seen()
            local within = function(u) return (k * u:square()):sum() end
            return within(t)
        end), function(v) k = v end
    end)
    local k = 1 -- a transform of a transform, and a function that is only reached through a func
    local f = bk.compile(function(t) return k * t:square():sum() end)
    local g = bk.grad(function(t) return f(t) end)
    lu.assertEquals(g(one):item(), 2)
    k = 3
    lu.assertEquals(g(one):item(), 6)
    lu.assertEquals(bk.hvp(f)(one, one):item(), 6)
end

function TestWatch.test_fields_that_come_and_go()
    follows(function(seen)
        local c, k = { a = 0 }, nil
        return bk.grad(function(t) seen() return (c.k or 1) * t:square():sum() end),
            function(v) c.k = v > 1 and v or k end -- not there at the first call
    end)
    local c = {}
    local f = bk.compile(function(t) return c.mask and t * c.mask or t end)
    lu.assertEquals(f(one):item(), 1)
    c.mask = bk.tensor { 0 }
    lu.assertEquals(f(one):item(), 0)
    c.mask = nil
    lu.assertEquals(f(one):item(), 1)
end

function TestWatch.test_lists_that_grow_and_shrink()
    for _, n in ipairs { 0, 1, 15, 16, 17, 40 } do
        local list, traces = {}, 0
        for i = 1, n do list[i] = i end
        local f = bk.compile(function(t)
            traces = traces + 1
            local sum = 0
            for _, v in ipairs(list) do sum = sum + v end
            return t * sum
        end)
        local whole = n * (n + 1) // 2
        for _ = 1, 3 do lu.assertEquals(f(one):item(), whole) end
        list[n + 1] = 1000
        for _ = 1, 3 do lu.assertEquals(f(one):item(), whole + 1000) end
        list[n + 1] = nil
        for _ = 1, 3 do lu.assertEquals(f(one):item(), whole) end
        lu.assertEquals(traces, 3)
    end
end

function TestWatch.test_what_does_not_change_is_not_traced_again()
    local traces, other = 0, { loss = 0 }
    local c = { k = 2 }
    local f = bk.compile(function(t)
        traces = traces + 1
        return (c.k * t):sum() + 0 * t:max()
    end)
    for i = 1, 5 do
        rawset(_G, "sum", (rawget(_G, "sum") or 0) + f(one):item()) -- a global of a method's name is not read
        other.loss, c.unread = i, i
    end
    rawset(_G, "sum", nil)
    lu.assertEquals(traces, 1)
    c.nan = 0 / 0
    local nan = bk.compile(function(t) traces = traces + 1 return t + c.nan end)
    for _ = 1, 3 do nan(one) end
    lu.assertEquals(traces, 2)
end

function TestWatch.test_words_losses_and_layers_notice()
    local k, c = 1, { k = 1 }
    local function loss(t) return k * (t * t):sum() end
    local function field(t) return c.k * t end
    local w = bk.bea.word { { loss, 0.1 }, { field, 0.1 } }
    local x = bk.tensor { 1, 2 }
    local function step() return x * (1 - 0.2 * k) * (1 - 0.1 * c.k) end
    local term, log = w:term(1), w:log(2)
    local function check()
        lu.assertTrue((w:step(x) - step()):norm():item() < 1e-14)
        lu.assertTrue((term(x) + x * (0.2 * k + 0.1 * c.k)):norm():item() < 1e-14)
        lu.assertTrue((log(x) + x * (0.2 * k + 0.1 * c.k + 0.02 * k * k + 0.005 * c.k * c.k)):norm():item() < 1e-14)
    end
    check()
    k = 2
    check()
    c.k = 3
    check()
    local both = bk.bea.multitask { losses = { loss, function(t) return c.k * t:sum() end }, lr = 0.1 }
    local before = both:terms(x).original
    c.k = 5
    lu.assertAlmostEquals(both:terms(x).original - before, 2 * 3, 1e-12)
    local gain = 1
    local m = bk.nn.sequential { bk.nn.layer { forward = function(_, t) return t * gain end } }
    lu.assertEquals(m:forward(m:init(), bk.ones { 1, 1 }):item(), 1)
    gain = 7
    lu.assertEquals(m:forward(m:init(), bk.ones { 1, 1 }):item(), 7)
end

function TestWatch.test_what_arguments_hold_that_are_no_tensors()
    local function handed(make) -- f(theta, o), o the same object each time
        follows(function(seen)
            local f, o, set = make(seen)
            return function(t) return f(t, o) end, set
        end)
    end
    handed(function(seen)
        local o = {}
        return bk.grad(function(t, d) seen() return (d.k * t:square()):sum() end), o, function(v) o.k = v end
    end)
    handed(function(seen)
        local o = { deep = { 0 } }
        return bk.grad(function(t, d) seen() return (d.deep[1] * t:square()):sum() end), o,
            function(v) o.deep[1] = v end
    end)
    handed(function(seen)
        local function inner(t, d) return (d.k * t:square()):sum() end
        local o = {}
        return bk.grad(function(t, d) seen() return inner(t, d) end), o, function(v) o.k = bk.tensor(v) end
    end)
    handed(function(seen)
        local k
        local function o(t) return (k * t:square()):sum() end
        return bk.grad(function(t, g) seen() return g(t) end), o, function(v) k = v end
    end)
    handed(function(seen)
        local o = {}
        local callable = setmetatable({}, { __call = function(_, t, d) seen() return (d.k * t:square()):sum() end })
        return bk.grad(callable), o, function(v) o.k = v end
    end)
    local list = {} -- one that grows
    local f = bk.grad(function(t, l)
        local s = 0
        for _, v in ipairs(l) do s = s + (t * v):sum() end
        return s
    end)
    for n = 1, 3 do
        list[n] = n
        lu.assertEquals(f(one, list):item(), n * (n + 1) / 2)
    end
end

-- What is shown on a terminal of work that takes long, and that nothing is where there is none (tests/c/pty.c is one).
local lu = require "luaunit"
local files = require "files"
local bk = require "bracket"
local build = os.getenv("BRACKET_BUILD") or "build"
local pty, program = build .. "/tests/pty", build .. "/bracket"

TestLongWork = {}

function TestLongWork:setUp()
    self.dir = files.folder()
end

function TestLongWork:tearDown() files.remove(self.dir) end

function TestLongWork:write(name, text)
    local f <close> = assert(io.open(self.dir .. "/" .. name, "w"))
    assert(f:write(text))
    return self.dir .. "/" .. name
end

-- On a terminal the command shows these texts, one after the other.
function TestLongWork:shows(command, ...)
    if not os.execute("test -x " .. pty) then lu.skip("pty is not built: make test-programs") end
    local keys = {}
    for k, text in ipairs{ ... } do keys[k] = "expect 60000 " .. text end
    keys[#keys + 1] = "exit 60000"
    local p = io.popen(("%s %s %s < %s 2>&1"):format(pty, program, command, self:write("keys", table.concat(keys, "\n")
        .. "\n")))
    local output = p:read("a")
    lu.assertTrue(p:close() == true, output)
    lu.assertStrContains(output, "exit 0")
end

function TestLongWork:silent(command)
    local p = io.popen(program .. " " .. command .. " 2>&1")
    local output = p:read("a")
    p:close()
    lu.assertNil(output:find("[\r\27]"))
    return output
end

function TestLongWork:test_a_sweep_shows_a_line()
    local script = self:write("s.lua", [[
local bk = require "bracket"
local o = bk.arguments{ seed = 0, out = "" }
bk.internal.sleep(1)
if o.seed == 2 then error("no data") end]])
    local command = "sweep " .. script .. " --seeds 1..4 --out " .. self.dir
    local called = self:write("call.lua", ("bk.command.sweep{ %q, '--seeds', '1..4', '--out', %q }"):format(script,
        self.dir)) -- in a script, for the exit status
    self:shows("-l bk=bracket " .. called, "0/4 done, 1 running", "1/4 done, 1 running", "left",
        "failed with exit status", "1/4 done, 1 running, 1 failed", "4 runs: 3 finished, 1 failed")
    local output = self:silent(command)
    lu.assertStrContains(output, "4 runs: 0 finished, 1 failed, 3 done before")
    lu.assertNotStrContains(output, "running")
end

-- The first that begins has the line; it is gone when the work is done.
function TestLongWork:test_the_line_of_an_analysis()
    local script = self:write("t.lua", [[
local tell, sleep = bk.internal.tell, bk.internal.sleep
tell("bk.outer", 0, 10)
sleep(1.2)
tell("bk.inner", 1, 2)
tell("bk.inner", 2, 2)
tell("bk.outer", 5, 10)
tell("bk.outer", 10, 10)
print "done"]])
    self:shows("-l bk=bracket " .. script, "bk.outer 5/10  0:", " left", "\\r\\e[Kdone")
    lu.assertEquals(self:silent("-l bk=bracket " .. script), "done\n")
end

function TestLongWork:test_an_analysis_in_C_shows_it()
    local script = self:write("p.lua", [[
local bk = require "bracket"
local function f(t) return t:square():sum() * 0.5 end
local function g(t) return t:tanh():sum() end
local steps = 10000
repeat
    local began = bk.clock()
    bk.bea.path_bracket{ f, g, target = f, theta = bk.ones{ 20 }, time = 0.1, steps = steps }
    steps = steps * 4
until bk.clock() - began > 3
print "done"]])
    self:shows(script, "bk.bea.path_bracket", "left", "done")
end

-- One call of C: the steps of its program are told.
function TestLongWork:test_a_tournament_shows_it()
    local script = self:write("t.lua", [[
local bk = require "bracket"
local sources, target = {}, function(t) return t:square():sum() end
for k = 1, 12 do
    sources[k] = function(t) for _ = 1, 8 do t = (t * (0.1 * k)):tanh() + t end return t:sum() end
end
local n = 20000
repeat
    local began = bk.clock()
    bk.bea.tournament{ sources = sources, target = target, theta = bk.ones{ n } }
    n = n * 4
until bk.clock() - began > 4
print "done"]])
    self:shows(script, "bk.bea.tournament", "left", "done")
end

-- One call of C that is grown until it takes long.
function TestLongWork:shows_of(what, call)
    self:shows(self:write("c.lua", ([[
local bk = require "bracket"
local function L(t) return (t:square() * 0.5 + t:tanh()):sum() + t:sum():square() end
local function M(t) return (t:exp() * 0.1 + t:tanh()):sum() end
local n = 500
repeat
    local theta, began = bk.ones{ n } * 0.1, bk.clock()
    %s
    n = n * 2
until bk.clock() - began > 2.5
print "done"]]):format(call)), what .. " ", "left", "done")
end

function TestLongWork:test_a_hessian_shows_it() self:shows_of("bk.hessian", "bk.hessian(L)(theta)") end

function TestLongWork:test_a_words_verification_shows_it()
    self:shows_of("word:verify", "bk.bea.word{ {L, 1e-6}, {M, 1e-6}, {L, 1e-6} }:verify{ theta = theta }")
end

-- In Lua: work that is asleep in the user's functions, a product or, since what it reads changes, a trace.
function TestLongWork:test_analyses_in_Lua_show_it()
    for what, call in pairs{
        ["bk.bea.spectrum"] = "bk.bea.spectrum{ hvp = slow, theta = theta, steps = 8, probes = 1 }",
        ["bk.bea.lanczos"] = "bk.bea.lanczos{ hvp = slow, theta = theta, steps = 8 }",
        ["equation:verify"] = "bk.bea.optimizer{ loss = L, optimizer = bk.optim.sgd{}, lr = 1e-3 }:verify{ "
            .. "theta = theta, time = 0.01 }",
        ["reshuffled:verify"] = "bk.bea.reshuffled{ losses = { L, L, L }, lr = 1e-3 }:verify{ theta = theta }",
    } do
        self:shows(self:write("l.lua", [[
local bk = require "bracket"
local theta, state = bk.arange(12):to("float64") / 12, { k = 0 }
local diagonal = bk.arange(1, 13):to("float64")
local function slow(v) bk.internal.sleep(0.3) return diagonal * v end
local function L(t)
    bk.internal.sleep(0.1)
    local loss = (t ^ 4):sum() + 0 * state.k
    state.k = state.k + 1
    return loss
end
]] .. call .. '\nprint "done"\n'), what .. " ", "left", "done")
    end
end

-- What each analysis in Lua says adds up.
function TestLongWork:test_parts_are_counted()
    local tell, calls = bk.internal.tell, {}
    bk.internal.tell = function(what, done, all) calls[#calls + 1] = { what, done, all } end
    local function L(t) return (t ^ 4):sum() + t:dot(t) end
    local theta = bk.tensor { 0.5, -1, 2 }
    local ok, message = pcall(function()
        for what, call in pairs{
            ["bk.bea.spectrum"] = function() bk.bea.spectrum{ loss = L, theta = theta, steps = 3, probes = 2 } end,
            ["bk.bea.lanczos"] = function() bk.bea.lanczos{ loss = L, theta = theta } end,
            ["reshuffled:verify"] = function()
                bk.bea.reshuffled{ losses = { L, L, L }, lr = 0.001 }:verify{ theta = theta }
            end,
            ["equation:verify"] = function()
                local equation = bk.bea.optimizer{ loss = L, optimizer = bk.optim.sgd{}, lr = 0.001 }
                equation:verify{ theta = theta, time = 0.01 }
            end,
        } do
            calls = {}
            call()
            lu.assertTrue(#calls > 1, what)
            for k, c in ipairs(calls) do
                lu.assertEquals({ c[1], c[3] }, { what, calls[1][3] })
                lu.assertTrue(c[2] <= c[3], what)
                lu.assertTrue(k == 1 or c[2] >= calls[k - 1][2], what)
            end
            lu.assertEquals(calls[#calls][2], calls[#calls][3], what)
        end
    end)
    bk.internal.tell = tell
    lu.assertTrue(ok, message)
end

-- bk.arguments: names, types, and what it says about mistakes; and the arguments of experiments, which are made of it.
local lu = require "luaunit"
local bk = require "bracket"

TestArguments = {}

local function defaults()
    return { lr = 0.05, seed = 0, out = "", quick = false, layers = { 64, 64 }, batch_size = 8 }
end

local function read(...) return bk.arguments(defaults(), { ... }) end

function TestArguments:test_without_arguments_the_defaults_stand()
    local given = defaults()
    local o = bk.arguments(given, {})
    lu.assertEquals(o, given)
    o.layers[1] = 1 -- a copy
    lu.assertEquals(given, defaults())
end

function TestArguments:test_values_have_the_defaults_types()
    local o = read("--lr", "0.1", "--seed=3", "--out", "runs/x", "--quick", "--layers", "32,16,tanh", "--batch-size",
        "4")
    lu.assertEquals(o, { lr = 0.1, seed = 3, out = "runs/x", quick = true, layers = { 32, 16, "tanh" },
        batch_size = 4 })
    lu.assertEquals(math.type(read("--lr", "1").lr), "integer")
    lu.assertEquals(math.type(read("--seed", "1.0").seed), "float")
    lu.assertEquals(read("--lr", "-1e-3").lr, -0.001)
    lu.assertEquals(read("--out", "-x").out, "-x")
    lu.assertEquals(read("--out=--lr").out, "--lr")
    lu.assertEquals(read("--out=a=b").out, "a=b")
    lu.assertEquals(read("--out=").out, "")
    lu.assertEquals(read("--out", "12").out, "12")
    lu.assertEquals(read("--layers=").layers, {})
    lu.assertEquals(read("--layers", "[32,16,tanh]").layers, { 32, 16, "tanh" })
    lu.assertEquals({ read("--layers=[8]").layers, read("--layers", "[]").layers }, { { 8 }, {} })
    lu.assertEquals(read("--out", "[8,8]").out, "[8,8]") -- a text stays as it is
    lu.assertEquals(read("--lr", "1", "--lr", "2").lr, 2)
end

function TestArguments:test_flags()
    lu.assertTrue(read("--quick").quick)
    lu.assertTrue(read("--quick", "--lr", "1").quick)
    lu.assertTrue(read("--quick", "true").quick)
    lu.assertFalse(read("--quick", "false", "--lr", "1").quick)
    lu.assertFalse(read("--quick=false").quick)
    lu.assertFalse(bk.arguments({ on = true }, { "--on", "false" }).on)
end

function TestArguments:test_mistakes()
    local known = "known: --batch_size --layers --lr --out --quick --seed"
    local function message(...) return select(2, pcall(read, ...)) end
    lu.assertEquals(message("--rate", "1"), 'unknown argument "--rate"; ' .. known)
    lu.assertEquals(message("--rate=1"), 'unknown argument "--rate=1"; ' .. known)
    lu.assertEquals(message("x"), 'unknown argument "x"; ' .. known)
    lu.assertEquals(message("-lr", "1"), 'unknown argument "-lr" (did you mean --lr?); ' .. known)
    lu.assertEquals(message("--", "1"), 'unknown argument "--"; ' .. known)
    lu.assertEquals(message("--lr"), "--lr: a value is missing")
    lu.assertEquals(message("--out", "--quick"), "--out: a value is missing")
    lu.assertEquals(message("--lr", "fast"), "--lr: expected a number, got fast")
    lu.assertEquals(message("--lr="), "--lr: expected a number, got ")
    lu.assertEquals(message("--quick=yes"), "--quick: expected true or false, got yes")
    lu.assertErrorMsgContains("bk.arguments: defaults: f: expected a number, string, boolean or list, got a function",
        bk.arguments, { f = print }, {})
    lu.assertErrorMsgContains("got 1", bk.arguments, { 3 }, {})
    lu.assertErrorMsgContains("got a-b", bk.arguments, { ["a-b"] = 3 }, {})
    lu.assertErrorMsgContains("bk.arguments: defaults: expected a table", bk.arguments)
    lu.assertErrorMsgContains("bk.arguments: argv", bk.arguments, {}, "x")
end

-- In the program --help shows the docs and the defaults; a mistake shows them too, and the exit status is 2.
function TestArguments:test_a_script_says_what_it_takes()
    local build = os.getenv("BRACKET_BUILD") or "build"
    local path = os.tmpname()
    local function output_of(arguments)
        local p = io.popen(("%s/bracket %s %s 2>&1; echo \"status $?\""):format(build, path, arguments))
        local output, status = p:read("a"):gsub(path, "s.lua"):match("^(.*)status (%d+)\n$")
        p:close()
        return output, tonumber(status)
    end
    local f <close> = assert(io.open(path, "w"))
    f:write([[
local bk = require "bracket"
local o = bk.arguments({ lr = 0.05, layers = { 64, 32 }, quick = false, out = "" },
    { "Trains.", lr = "the rate", out = "a folder for the run" })
if o.quick then error("no data") end
print(o.lr)]])
    f:flush()
    local usage = [[
usage: bracket s.lua [options]
         Trains.
  --layers LIST         (default: 64,32)
  --lr NUMBER           the rate (default: 0.05)
  --out TEXT            a folder for the run
  --quick
]]
    lu.assertEquals({ output_of("--help") }, { usage, 0 })
    lu.assertEquals({ output_of("--lr 1 -h") }, { usage, 0 })
    lu.assertEquals({ output_of("--lrr 1") }, { 'bracket: s.lua: unknown argument "--lrr" (did you mean --lr?); known: '
        .. "--layers --lr --out --quick\n" .. usage, 2 })
    lu.assertEquals({ output_of("--lr fast") }, { "bracket: s.lua: --lr: expected a number, got fast\n" .. usage, 2 })
    local output, status = output_of("--quick") -- another mistake is no usage error
    lu.assertStrMatches(output, "bracket: s.lua:4: no data\nstack traceback:.*")
    lu.assertNotStrContains(output, "usage")
    lu.assertEquals(status, 1)
    lu.assertEquals({ output_of("--lr 0.5") }, { "0.5\n", 0 })
    os.remove(path)
    lu.assertErrorMsgContains("bk.arguments: docs: there is no argument rl (did you mean lr?)", bk.arguments,
        { lr = 1 }, { rl = "the rate" })
    lu.assertErrorMsgContains("bk.arguments: docs: lr: expected a text, got 2", bk.arguments, { lr = 1 },
        { lr = 2 })
    lu.assertEquals(bk.arguments({ lr = 1 }, { lr = "the rate" }, { "--lr", "2" }), { lr = 2 })
end

function TestArguments:test_the_global_arg_is_the_default()
    local before = arg
    arg = { [0] = "script.lua", "--seed", "7" }
    local ok, o = pcall(bk.arguments, { seed = 1 })
    arg = nil
    local ok_2, o_2 = pcall(bk.arguments, { seed = 1 })
    local ok_3, o_3 = pcall(bk.arguments, { seed = 1 }, { "A sentence is no list of arguments." })
    arg = before
    lu.assertTrue(ok and ok_2 and ok_3)
    lu.assertEquals(o_3, { seed = 1 })
    lu.assertEquals(o, { seed = 7 })
    lu.assertEquals(o_2, { seed = 1 })
end

function TestArguments:test_experiments_know_data_quick_and_seed()
    local options = dofile("experiments/common.lua").options
    lu.assertEquals(options({ "--steps", "5", "--quick" }, { steps = 10 }),
        { steps = 5, quick = true, data = "", seed = 1 })
    lu.assertEquals(options(nil, { seed = 4 }), { quick = false, data = "", seed = 4 })
    lu.assertErrorMsgContains("known: --data --quick --seed --steps", options, { "--nosuch" }, { steps = 10 })
end

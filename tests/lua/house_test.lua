-- house_test.lua - to add a thing is to add its file: every fixture of tests/fixtures is laid into a copy of the tree,
-- with no other file touched, and found there built, working, documented and tested.
local lu = require "luaunit"

local function sh(command)
    local p = io.popen(command .. " 2>&1; echo \"status $?\"")
    local text = p:read("a")
    p:close()
    local output, status = text:match("^(.*)status (%d+)%s*$")
    return tonumber(status), output
end

local BUILD = os.getenv("BRACKET_BUILD") or "build"

-- What the fixtures are.
local names = { "bk.asinh", "bk.elu", "bk.discount", "bk.smooth_maximum", "bk.pseudo_huber", "bk.mean_square",
    "bk.nn.scale", "bk.nn.swish", "bk.loss.log_cosh", "bk.optim.lion", "bk.order.there_and_back",
    "bk.schedule.harmonic", "bk.intervention.clip", "bk.record.distance", "bk.metric.worst_accuracy", "bk.tasks.noisy",
    "bk.data.raw" }

TestHouse = {}

-- `make levels`: a first level that fails leaves the second to be tried, and the failure stands.
function TestHouse.test_every_level_is_tried()
    local status, output = sh([[make -o all -o test-programs levels 'MAKE=sh -c "echo tried; exit 1"']])
    lu.assertEquals(status, 2, output)
    lu.assertEquals(select(2, output:gsub("tried\n", "")), 2, output)
end

function TestHouse.test_a_thing_is_one_file()
    if BUILD ~= "build" then lu.skip("the copy is built without sanitizers") end
    local scratch = os.tmpname()
    os.remove(scratch)
    lu.assertEquals(sh(("mkdir -p %s/build && cp -a Makefile src lua tests experiments README.md %s && "
        .. "cp -a build/gen build/obj build/flags %s/build"):format(scratch, scratch, scratch)), 0)
    local placed = {}
    for line in io.popen("find tests/fixtures -type f | LC_ALL=C sort"):lines() do
        local at = line:match("tests/fixtures/.-/(src/.*)$") or line:match("tests/fixtures/.-/(lua/.*)$")
        lu.assertNotNil(at, line)
        local there = io.open(at) -- who followed the page to the letter has added it: that one is tried
        if there then there:close() else lu.assertEquals(sh(("cp %s %s/%s"):format(line, scratch, at)), 0) end
        placed[#placed + 1] = at
    end
    lu.assertTrue(#placed >= 15)
    local page = assert(io.open(scratch .. "/lua/bracket/example/fixtures.md", "w")) -- each has an example
    page:write("# Fixtures\n\n")
    for _, name in ipairs(names) do page:write(("## %s\n\n```\n> %s ~= nil\ntrue\n```\n\n"):format(name, name)) end
    page:close()
    local status, output = sh(("cd %s && make -s artifacts build/tests/op_test build/tests/pty"):format(scratch))
    lu.assertEquals(status, 0, output)
    local script = scratch .. "/look.lua"
    local f = assert(io.open(script, "w"))
    f:write([==[
local bk = require "bracket"
local names = { table.unpack(arg, 2) }
bk.repl.reference(arg[1])
local page = io.open(arg[1] .. "/reference.html"):read("a") .. io.open(arg[1] .. "/bracket.lua"):read("a")
for _, path in ipairs(names) do
    local value = bk
    for part in path:gmatch("%.([%a_]+)") do value = value[part] end
    assert(value ~= nil, path)
    assert(#bk.repl.help.text(path) > 20, path .. " has no help")
    local last = path:match("[%a_]+$")
    assert(page:find(last, 1, true), path .. " is not in the reference")
    if path:find("^bk%.[%a_]+$") == nil then
        local list = bk.repl.complete(path:sub(1, -2))
        local found = false
        for _, name in ipairs(list) do found = found or name == last end
        assert(found, path .. " is not completed")
    end
end
-- an option is declared once, and known to the check, help, completion, the reference and the editor
assert(not pcall(bk.schedule.harmonic, { lrr = 1 }) and not pcall(bk.intervention.clip, { norm = -1 }))
assert(bk.repl.help.text("bk.intervention.clip"):find("norm: a finite number > 0, required: the largest norm", 1, true))
assert(bk.repl.complete("bk.intervention.clip{ no")[1] == "norm = ")
assert(page:find("<tr><td><code>norm</code></td><td>a finite number &gt; 0</td><td>required</td>"
    .. "<td>the largest norm there may be</td></tr>", 1, true))
assert(page:find("---@field norm number the largest norm there may be", 1, true))
local x, y = bk.rng(1):normal{ 30, 4 }, bk.rng(2):integers({ 30 }, 3)
local model = bk.nn.sequential{ bk.nn.scale{ 4 }, bk.nn.linear{ 4, 5 }, bk.nn.swish(), bk.nn.linear{ 5, 3 } }
assert(bk.nn.mlp{ 2, 2, activation = "swish" })
local t = bk.tensor{ -1, 0.5 }
assert(math.abs(t:asinh()[1]:item() + 0.881373587019543) < 1e-14)
assert(math.abs(t:elu()[1]:item() - (math.exp(-1) - 1)) < 1e-15)
local round = bk.tensor{ 3, -1e200 }:smooth_maximum(bk.tensor{ 1.5, 2 })
assert(math.abs(round[1]:item() - (4.5 + math.sqrt(3.25)) / 2) < 1e-15 and round[2]:item() == 2)
assert(bk.tensor{ 0, 3 }:pseudo_huber(0, { delta = 4 }) == bk.tensor{ 0, 4 })
assert(not pcall(bk.pseudo_huber, t, 0, { delta = 0 }))
assert(bk.tensor{ { 1, 2 }, { 3, 5 } }:mean_square(1) == bk.tensor{ 5, 14.5 })
assert(bk.ones{ 3 }:discount{ gamma = 0.5 } == bk.tensor{ 1, 1.5, 1.75 })
local theta = model:init{ seed = 1 }
local raw = arg[1] .. "/raw"
local file = io.open(raw, "wb")
file:write(string.pack(">dd", 1.5, -2))
file:close()
assert(bk.data.raw(raw, { big = true }) == bk.tensor{ 1.5, -2 })
local ok, why = pcall(bk.data.raw, raw, { large = true })
assert(not ok and why:find("unknown option large; the options are big", 1, true), why)
assert(bk.check_grad(bk.loss.log_cosh(model, x, bk.rng(3):normal{ 30, 3 }), theta) < 1e-6)
local r = bk.protocol{ model = model, tasks = bk.tasks.noisy{ data = { x = x, y = y }, n = 3 }, steps = 9,
    order = "there_and_back", lr = bk.schedule.harmonic{ lr = 0.1 }, optimizer = bk.optim.lion{},
    interventions = { bk.intervention.clip{ norm = 0.1 } }, record = { every = 3, "distance" }, evaluate = true }:run{}
assert(r.metrics.worst_accuracy and r.history.distance[4] > 0 and r.history.distance[1] == 0)
local long = assert(loadfile("tests/c/large.lua"))(1 << 16, arg[1] .. "/long") -- poll_test's, smaller
for _, name in ipairs{ "intervention.clip", "order.there_and_back", "record.distance" } do long[name]() end
print("all there")
]==])
    f:close()
    status, output = sh(("cd %s && mkdir docs && build/bracket look.lua docs %s")
        :format(scratch, table.concat(names, " ")))
    lu.assertStrContains(output, "all there")
    lu.assertEquals(status, 0, output)
    status, output = sh(("cd %s && build/bracket hello you --loud && build/bracket hello --help"):format(scratch))
    lu.assertEquals({ status, output }, { 0, "HELLO YOU\nusage: bracket hello [NAME...] [options]\n"
        .. "         greets who is named\n  --loud                in capitals\n" })
    status, output = sh(("cd %s && build/tests/op_test && "
        .. "build/bracket tests/run.lua nn optim hooks app protocol odd special"):format(scratch))
    lu.assertEquals(status, 0, output)
    lu.assertStrContains(output, "0 failed")
    -- a row that lacks what its kind needs, or contradicts itself, says so as the program starts
    for _, mistake in ipairs{
        { "model/layer_scale.c", "/\\.build = scale_build/d", "layer_row layer_scale: .build is missing" },
        { "optim/lion.c", "s/name = \"lion/name = \"adam/", "optim_row optim_lion: .name is not NAME of optim_NAME" },
        { "optim/lion.c", "s/otherwise = 0.99/otherwise = 99/",
            "bk.optim.lion: option beta2: .otherwise, the default, is not what it may be" },
        { "ops/elu.c", "s/\"alpha\", \"1\"/\"alpha\", \"one\"/",
            "op_row op_elu: the default of an argument in .args is no number" },
        { "ops/smooth_maximum.c", "/\\.vec = /d", "op_row op_smooth_maximum: .vec is missing" },
        { "tensor/kernels/asinh.inc", "s/asinh, 1,/asinh, 2,/",
            "op_row op_asinh: .arity is not what its kernel's line says" },
    } do
        local file, edit, message = table.unpack(mistake)
        status, output = sh(("(cd %s/src && cp %s kept && sed -i '%s' %s && make -C .. build/bracket > make.log 2>&1 && "
            .. "../build/bracket -e 'print(1)'; status=$?; cp kept %s; exit $status)"):format(scratch, file, edit, file, file))
        lu.assertNotEquals(status, 0)
        lu.assertStrContains(output, message)
    end
    -- a builder that there is not is an error of the file, not of the link two minutes later
    status, output = sh(("cd %s && sed -i 's/g_step(/g_stp(/' src/ops/elu.c && make -s build/obj/ops/elu.o")
        :format(scratch))
    lu.assertNotEquals(status, 0)
    lu.assertStrContains(output, "src/ops/elu.c:9:")
    sh("rm -rf " .. scratch)
end

-- declared_test.lua - what files say of themselves is so, and what has to name them does: interventions, the numbers of
-- streams, tests of values, experiments.
local lu = require "luaunit"
local bk = require "bracket"
local required = dofile "tests/lua/required.lua"

TestDeclared = {}

local function text(path)
    local f <close> = assert(io.open(path))
    return f:read("a")
end

local function each(command)
    local p <close> = assert(io.popen(command))
    local list = {}
    for line in p:lines() do list[#list + 1] = line end
    return ipairs(list)
end

function TestDeclared.test_an_intervention_says_what_it_is()
    for name, make in pairs(bk.intervention) do
        local one = make(required(make, 1, { samples = 1, memory = 16 }))
        lu.assertEquals(one.name, name, "its .name is its file's")
        lu.assertTrue(type(one.doc) == "string" and #one.doc > 0, name .. " has a .doc")
        lu.assertTrue(one.needs_blocks or not (one.begin_task or one.end_task),
            name .. ": hooks of a task's begin and end are of runs that have tasks one after the other: .needs_blocks")
    end
end

-- Two hooks that draw by one number would draw the same.
function TestDeclared.test_streams_are_numbered()
    local head, taken = text("lua/bracket/stream.lua"):match("^(.-)\nlocal"):gsub("\n%-%-", ""), {}
    for number, name in head:match("3 interventions %((.-)%)"):gmatch("(%d+) ([%w_]+)") do
        lu.assertNil(taken[number], ("stream %s is %s's and %s's"):format(number, taken[number], name))
        taken[number] = name
    end
    for _, path in each("ls lua/bracket/intervention/[a-z]*.lua") do
        for number in text(path):gmatch("state%.seed, 3, (%d+)") do
            lu.assertEquals(taken[number], path:match("([%w_]+)%.lua$"),
                path .. ": stream " .. number .. " in the list of stream.lua")
        end
    end
end

function TestDeclared.test_what_has_values_has_a_test_of_them()
    local optimizers = text("tests/lua/optim_test.lua"):match("\nlocal formulas = (%b{})")
    for name in pairs(bk.optim) do
        lu.assertTrue(name == "custom" or optimizers:find("%f[%w_]" .. name .. "%f[^%w_]") ~= nil,
            name .. " is not among formulas of optim_test.lua")
    end
    local kernels = text("tests/c/vec_test.c")
    for _, line in each("cat src/tensor/kernels/*.inc | grep -E '^(KERNEL|REAL)'") do
        local name = line:match("%(([%w_]+)")
        local tested = kernels:find("VEC_" .. name:upper() .. "%f[^%w_]") ~= nil
        lu.assertTrue(tested or not bk[name], name .. " has no test in vec_test.c") -- others are parts of these
    end
    local layers = ""
    for _, suite in ipairs { "nn", "sequence", "mode" } do
        layers = layers .. text("tests/lua/" .. suite .. "_test.lua")
    end
    for name in pairs(bk.nn) do
        local made = name:gsub("_cell$", "") -- the tests of rnn, gru and lstm make the names of their cells
        local tested = layers:find("%f[%w_]" .. made .. "%f[^%w_]") ~= nil
        lu.assertTrue(tested or bk[name] ~= nil, -- an operation has its own tests
            name .. " has no test in nn_test.lua, sequence_test.lua or mode_test.lua")
    end
end

function TestDeclared.test_experiments_are_named()
    for _, name in each("cd experiments && ls -d */ | tr -d /") do
        lu.assertNotNil(io.open("experiments/" .. name .. "/README.md"), name .. " has no README.md")
        lu.assertStrContains(text("experiments/README.md"), name, false, "experiments/README.md does not name it")
    end
end

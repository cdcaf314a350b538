-- Every experiment runs with --quick, on generated digits, and prints its table.
local lu = require "luaunit"
TestExperiments = {}

local function run(name)
    local chunk = assert(loadfile("experiments/" .. name .. "/run.lua"))
    local lines, write, output = {}, io.stdout, nil
    -- the experiments print through io.stdout: a table in its place collects the lines
    io.stdout = { write = function(_, ...) lines[#lines + 1] = table.concat({ ... }) return io.stdout end,
        flush = function() end }
    local before = arg
    arg = { [0] = name, "--quick" }
    local ok, message = xpcall(chunk, debug.traceback)
    arg, io.stdout = before, write
    lu.assertTrue(ok, message)
    output = table.concat(lines)
    lu.assertTrue(#output > 200)
    lu.assertNil(output:find("nan", 1, true), output)
    return output
end
function TestExperiments:test_order_prediction() lu.assertStrContains(run("order_prediction"), "along the path") end
function TestExperiments:test_channels()
    local out = run("channels")
    local slopes = {}
    for value in out:match("\nslope([^\n]+)"):gmatch("%S+") do slopes[#slopes + 1] = tonumber(value) end
    lu.assertAlmostEquals(slopes[1], 2, 0.1)
    lu.assertAlmostEquals(slopes[2], 1, 0.1)
    lu.assertAlmostEquals(slopes[3], 1, 0.1)
end
function TestExperiments:test_tournament() lu.assertStrContains(run("tournament"), "of the orders") end
function TestExperiments:test_conflict() lu.assertStrContains(run("conflict"), "A-GEM") end
function TestExperiments:test_forgetting() lu.assertStrContains(run("forgetting"), "rank correlation") end
function TestExperiments:test_flatness() lu.assertStrContains(run("flatness"), "sharpness") end

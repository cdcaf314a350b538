-- order_check_test.lua - the main job as a user runs it: quick size, figures, exit status.
local lu = require "luaunit"

TestOrderCheck = {}

local program = (os.getenv("BRACKET_BUILD") or "build") .. "/bracket"

local function run(arguments, environment)
    local dir = os.tmpname()
    os.remove(dir)
    local command = string.format("%s '%s' experiments/order_check/run.lua --out '%s' %s 2>&1; echo \"status $?\"",
        environment or "", program, dir, arguments)
    local p = assert(io.popen(command))
    local text = p:read("a")
    p:close()
    return text, tonumber(text:match("status (%d+)%s*$")), dir
end

local function bytes(path)
    local f = io.open(path, "rb")
    if not f then return 0 end
    local n = #f:read("a")
    f:close()
    return n
end

-- The slopes of a protocol's row of the second table, as printed.
local function slopes(text, name)
    local table_text = text:match("\n  expected.-\n(.*)") or ""
    local row
    for line in table_text:gmatch("[^\n]+") do
        if line:sub(3, 2 + #name + 1) == name .. " " and not row then row = line end
    end
    lu.assertNotNil(row, "no row for " .. name .. " in:\n" .. text)
    local found = {}
    for value in row:sub(3 + #name):gmatch("(%d+%.%d+)") do found[#found + 1] = tonumber(value) end
    return found
end

function TestOrderCheck:test_quick_run_on_glyphs()
    local text, status, dir = run("--quick", "BRACKET_DATA=")
    lu.assertEquals(status, 0, text)
    for _, name in ipairs{ "joint 1+2+3", "1,2", "1,2 two rates", "1,2,3", "1,1,2,2", "1,2,1,3,2" } do
        local s = slopes(text, name)
        lu.assertEquals(#s, 5, text)
        for k, want in ipairs{ 2, 3, 4, 2, 2 } do lu.assertAlmostEquals(s[k], want, k <= 3 and 0.15 or 0.2) end
    end
    lu.assertEquals(#slopes(text, "1,2,2,1"), 3) -- a palindrome: no controls
    if os.execute("command -v gnuplot >/dev/null 2>&1") then
        lu.assertTrue(bytes(dir .. "/order_check.png") > 10000)
        lu.assertTrue(bytes(dir .. "/order_check.svg") > 10000)
    else
        lu.assertStrContains(text, "no figure: plot: gnuplot is not installed")
    end
    os.execute("rm -rf '" .. dir .. "'")
end

-- Every kind of step: each table's rows, each slope judged by the program itself.
function TestOrderCheck:test_all_protocols()
    local text, status, dir = run("--quick --protocol all", "BRACKET_DATA=")
    lu.assertEquals(status, 0, text)
    for _, name in ipairs{ "1,2,1,3,2", "sam ", "extragradient", "reptile", "weight decay", "fields 1,2",
        "sam, exact, descent", "simultaneous", "alternating, 1 and 3", "heavy ball", "AdamW", "4 minibatches" } do
        lu.assertStrContains(text, "\n  " .. name)
    end
    lu.assertNil(text:find("nan", 1, true))
    os.execute("rm -rf '" .. dir .. "'")
end

-- Rates far outside the asymptotic range: the check must notice.
function TestOrderCheck:test_slopes_out_of_tolerance_fail_the_run()
    local text, status, dir = run("--quick --rate 0.1", "BRACKET_DATA=")
    lu.assertEquals(status, 1, text)
    os.execute("rm -rf '" .. dir .. "'")
end

function TestOrderCheck:test_usage()
    local text, status = run("--fast")
    lu.assertEquals(status, 2)
    lu.assertStrContains(text, 'unknown argument "--fast"')
    text, status = run("--batch many")
    lu.assertEquals(status, 2)
    lu.assertStrContains(text, "--batch: expected a number, got many")
    for arguments, message in pairs{ ["--batch 0.5"] = "--batch: expected a whole number",
        ["--protocol words,maps"] = "--protocol: expected words, maps" } do
        text, status = run(arguments)
        lu.assertEquals(status, 2)
        lu.assertStrContains(text, message)
    end
    text, status = run("--help")
    lu.assertEquals(status, 0)
    lu.assertStrContains(text, "usage: ")
end

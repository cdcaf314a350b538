-- run.lua - runs tests/lua/*_test.lua under LuaUnit: bracket tests/run.lua [name ...]; closes with `N passed, N
-- failed`.
package.path = "tests/lua/?.lua;/usr/share/lua/5.4/?.lua;/usr/share/lua/5.3/?.lua;/usr/share/lua/5.1/?.lua;"
    .. package.path
local ok, luaunit = pcall(require, "luaunit")
if not ok then
    io.stderr:write("the tests need LuaUnit (Debian: apt-get install lua-unit; make deps)\n")
    os.exit(2)
end
local counted = os.getenv("BRACKET_COVERAGE") and dofile("tests/coverage.lua")
local wanted = {}
for _, name in ipairs(arg) do wanted[name] = true end
local all = next(wanted) == nil
local list = io.popen("ls tests/lua")
for file in list:lines() do
    local name = file:match("^(.+)_test%.lua$")
    if name and (all or wanted[name]) then
        wanted[name] = nil
        local returned = dofile("tests/lua/" .. file)
        if type(returned) == "table" then _G["Test_" .. name] = returned end
    end
end
list:close()
if next(wanted) then
    io.stderr:write(("no suite tests/lua/%s_test.lua\n"):format(next(wanted)))
    os.exit(2)
end
local runner = luaunit.LuaUnit.new()
runner:setOutputType("text")
runner:runSuiteByInstances(luaunit.LuaUnit.collectTests and (function()
    local tests = {}
    for _, name in ipairs(luaunit.LuaUnit.collectTests()) do
        local class = name:match("^([^.]+)%.")
        tests[#tests + 1] = { name, class and _G[class] or _G[name] }
    end
    return tests
end)())
local r = runner.result
local failed = r.failureCount + r.errorCount
print(string.format("%d passed, %d failed", r.successCount, failed))
if counted then counted() end
os.exit(failed == 0 and 0 or 1, true)

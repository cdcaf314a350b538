-- odd_test.lua - odd arguments to everything public end in an error of ours that names the function, and soon: no
-- crash, no hang, none of Lua's own words. odd.lua makes the calls, in a process of its own.
local lu = require "luaunit"
local BUILD = os.getenv("BRACKET_BUILD") or "build"

TestOdd = {}

function TestOdd.test_odd_arguments()
    local name = os.tmpname()
    os.remove(name)
    os.execute(("mkdir %s"):format(name))
    local p = assert(io.popen(("%s/bracket tests/lua/odd.lua %s 2>%s/errors </dev/null"):format(BUILD, name, name)))
    local said = p:read("a")
    local ended = { p:close() }
    local errors = assert(io.open(name .. "/errors")):read("a") -- what it said where it could not begin
    os.execute(("rm -r %s"):format(name))
    lu.assertEquals(said, "done\n", errors)
    lu.assertEquals(ended, { true, "exit", 0 })
end

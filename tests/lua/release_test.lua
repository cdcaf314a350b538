-- What a release promises: one version everywhere, an interface in C that keeps what the last release had, an archive
-- that builds. (`make reproducible`, `deb-test` and `rock-test` take minutes or need root: .packaging/README.md.)
local lu = require "luaunit"
local files = require "files"
local read = files.read
local bk = require "bracket"
local build = os.getenv("BRACKET_BUILD") or "build"

local function run(command)
    local p = io.popen(command .. " 2>&1")
    local text = p:read("a")
    local _, _, status = p:close()
    return status or 0, text
end

local function there(program) return run("command -v " .. program) == 0 end

TestRelease = {}

function TestRelease.test_one_version()
    local v = bk.version
    lu.assertNotNil(v:match("^%d+%.%d+%.%d+$"))
    lu.assertEquals(read("src/bracket.h"):match('#define BK_VERSION "(.-)"'), v)
    lu.assertEquals(read("README.md"):match("\n### (%d[%d.]*)"), v) -- the changelog's first
    if not io.open(".packaging/README.md") then lu.skip("no packaging here") end
    lu.assertEquals(read(".packaging/debian/changelog"):match("^bracket %((.-)%-%d+%)"), v)
    local rock = read((".packaging/bracket-%s-1.rockspec"):format(v))
    lu.assertEquals(rock:match('\nversion = "(.-)%-1"'), v)
    lu.assertNotNil(rock:find(("bracket-%s.tar.gz"):format(v), 1, true))
end

-- The comparison itself finds what breaks hosts, and what does not.
function TestRelease.test_interface_keeps_what_the_last_release_had()
    if not (there "abidiff" and io.open(".packaging/abi.lua")) then lu.skip("needs abidiff (Debian: abigail-tools)") end
    local scratch = os.tmpname()
    os.remove(scratch)
    local function compare(header, map)
        assert(os.execute("mkdir -p " .. scratch .. "/new"))
        for name, text in pairs{ ["bracket.h"] = header, ["bracket.map"] = map } do
            local f <close> = assert(io.open(scratch .. "/new/" .. name, "w"))
            f:write(text)
        end
        return run(("%s/bracket .packaging/abi.lua .packaging/released/libbracket.so.0 %s/new %s"):format(build, scratch,
            scratch))
    end
    local header, map = read("src/bracket.h"), read("src/bracket.map")
    local status, text = compare(header, map)
    lu.assertEquals(status, 0, text)
    local function changed(from, to)
        local result, n = header:gsub(from, to)
        lu.assertEquals(n, 1, from)
        return result
    end
    lu.assertEquals(compare(changed("int threads; ", "int more, threads; "), map), 1)
    lu.assertEquals(compare(changed("BK_FLOAT64 = 0, BK_FLOAT32 = 1", "BK_FLOAT64 = 1, BK_FLOAT32 = 0"), map), 1)
    lu.assertEquals(compare(changed("BK_API void bk_interrupt%(bk_env %*env%);", ""), map:gsub("bk_interrupt;", "")), 1)
    lu.assertEquals(compare(changed("BK_API lua_State %*bk_lua%(", "BK_API int bk_lua("), map), 1)
    local more = changed("BK_API void bk_interrupt", "BK_API int bk_more(bk_env *env);\n%0")
    status, text = compare(more, map)
    lu.assertEquals(status, 1)
    lu.assertStrContains(text, "bk_more has no version")
    status, text = compare(more, map .. "BRACKET_0.2 { global: bk_more; } BRACKET_0.1;\n")
    lu.assertEquals(status, 0, text)
    lu.assertStrContains(text, "added: bk_more")
    os.execute("rm -rf " .. scratch)
end

function TestRelease.test_archive()
    if not (there "git" and run("git rev-parse HEAD") == 0 and io.open(".packaging/README.md")) then
        lu.skip("no repository here")
    end
    local status, text = run("env -u MAKEFLAGS -u MFLAGS make -s dist")
    lu.assertEquals(status, 0, text)
    local _, names = run("tar -tzf build/bracket-" .. bk.version .. ".tar.gz")
    for _, name in ipairs{ "Makefile", "LICENSE", "src/bracket.h", ".packaging/debian/control", "tests/run.lua" } do
        lu.assertStrContains(names, ("bracket-%s/%s\n"):format(bk.version, name))
    end
    lu.assertNil(names:find("/build/", 1, true))
end

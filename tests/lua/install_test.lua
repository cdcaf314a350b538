-- What `make install` leaves: a header, libraries and a pkg-config file that hosts build with, a module for stock
-- lua5.4, the manual; and that `make uninstall` takes all of it back.
local lu = require "luaunit"
local files = require "files"
local build = os.getenv("BRACKET_BUILD") or "build"

local function output(command)
    local p = io.popen(command .. " 2>&1")
    local text = p:read("a")
    return text, p:close() == true
end

local function succeeds(command)
    local text, ok = output(command)
    lu.assertTrue(ok, command .. "\n" .. text)
    return text
end

local host = [[
#include <bracket.h>
#include <stdio.h>
int main(void) {
    bk_env *env = bk_open(NULL);
    bk_view view;
    bk_status s = bk_dostring(env, "s = bk.ones{2, 3}:sum()", NULL);
    if (!s) s = bk_get_tensor(env, "s", &view);
    printf(s ? "%s" : "%s%g", bk_error(env), s ? 0 : *(double *)view.data);
    bk_close(env);
    return s;
}
]]

TestInstall = {}

function TestInstall:setUp()
    if build ~= "build" then lu.skip("the installed build is the plain one") end
    self.dir = files.folder()
    self.make = ("env -u MAKEFLAGS -u MFLAGS make -s PREFIX=/opt/bracket DESTDIR=%s "):format(self.dir)
    succeeds(self.make .. "install")
end

function TestInstall:tearDown()
    if self.dir then files.remove(self.dir) end
end

function TestInstall:test_hosts_build_against_it_and_uninstall_leaves_no_file()
    local root = self.dir .. "/opt/bracket"
    local f <close> = assert(io.open(self.dir .. "/host.c", "w"))
    f:write(host)
    f:flush()
    local pc = ("PKG_CONFIG_PATH=%s/lib/pkgconfig pkg-config --define-variable=prefix=%s "):format(root, root)
    succeeds(("cc %s/host.c $(%s --cflags --libs bracket) -o %s/shared"):format(self.dir, pc, self.dir))
    lu.assertEquals(succeeds(("LD_LIBRARY_PATH=%s/lib %s/shared"):format(root, self.dir)), "6")
    succeeds(("cd %s && mkdir static && cp %s/lib/libbracket.a static && cc host.c $(%s --cflags bracket) -Lstatic "
        .. "$(%s --static --libs bracket | sed 's|-L%s/lib ||') -o alone"):format(self.dir, root, pc, pc, root))
    lu.assertEquals(succeeds(self.dir .. "/alone"), "6")
    lu.assertNotStrContains(succeeds("ldd " .. self.dir .. "/alone"), "libbracket")
    lu.assertEquals(succeeds(("LUA_CPATH='%s/lib/lua/5.4/?.so' lua5.4 -e 'print((require \"bracket\").version)'")
        :format(root)), bk.version .. "\n")
    lu.assertEquals(succeeds(root .. "/bin/bracket -e 'print(bk.version)'"), bk.version .. "\n")
    lu.assertEquals(succeeds(pc .. "--modversion bracket"), bk.version .. "\n")
    lu.assertStrContains(succeeds("ls " .. root .. "/share/man/man1 " .. root .. "/share/bracket"), "bracket.1")
    lu.assertStrContains(succeeds("ls " .. root .. "/share/bash-completion/completions"), "bracket")
    lu.assertStrContains(succeeds("ls " .. root .. "/share/zsh/site-functions"), "_bracket")
    succeeds(self.make .. "uninstall")
    lu.assertEquals(succeeds("find " .. self.dir .. "/opt ! -type d"), "")
end

-- What is installed is in one of Debian's packages: debhelper refuses what is in none.
function TestInstall:test_packages_have_all_of_it()
    if not io.open(".packaging/README.md") then lu.skip("no packaging here") end
    local packed = {}
    for line in succeeds("cat .packaging/debian/*.install"):gmatch("%S+") do
        line = line:gsub("^usr/", ""):gsub("^lib/%*/", "lib/"):gsub("%W", "%%%0"):gsub("%%%*", "[^/]*")
        packed[#packed + 1] = "^" .. line
    end
    local missing = {}
    for path in succeeds(("cd %s/opt/bracket && find * ! -type d"):format(self.dir)):gmatch("[^\n]+") do
        local found = false
        for _, pattern in ipairs(packed) do
            local _, last = path:find(pattern)
            found = found or last and (last == #path or path:sub(last + 1, last + 1) == "/")
        end
        missing[#missing + 1] = not found and path or nil
    end
    lu.assertEquals(missing, {})
end

-- What the header declares is visible, with the version that brought it, and nothing else; the library needs no Lua of
-- its own.
function TestInstall:test_symbols_and_soname()
    local root = self.dir .. "/opt/bracket/lib/"
    local names = {}
    for name in io.open("src/bracket.h"):read("a"):gmatch("BK_API [^;#]-([%w_]+)%([^;]*%);") do
        names[#names + 1] = name
    end
    table.sort(names)
    local function defined(command)
        local list = {}
        for name in succeeds(command):gmatch("%S+") do list[#list + 1] = name end
        table.sort(list)
        return list
    end
    lu.assertEquals(defined("nm -g --defined-only " .. root .. "libbracket.a | awk 'NF == 3 { print $NF }'"), names)
    for k, name in ipairs(names) do names[k] = name .. "@@BRACKET_0.1" end
    lu.assertEquals(defined("nm -D --defined-only " .. root .. "libbracket.so | awk '$2 != \"A\" { print $NF }'"),
        names)
    local dynamic = succeeds("readelf -d " .. root .. "libbracket.so")
    lu.assertStrContains(dynamic, "soname: [libbracket.so.0]")
    lu.assertNotStrContains(dynamic, "liblua")
end

-- data_test.lua - files in and out: npy, idx, csv, cifar, written here byte by byte, and damaged ones.
local bk = require "bracket"
local lu = require "luaunit"

local folder = os.getenv "TMPDIR" or "/tmp"
local made = {}
local function path(name)
    local p = string.format("%s/bracket-data-test-%s-%s", folder, tostring(made):match "0x%x+" or "x", name)
    made[p] = true
    return p
end
local function write(name, bytes)
    local p = path(name)
    local f = assert(io.open(p, "wb"))
    f:write(bytes)
    f:close()
    return p
end
local function fails(text, f, ...)
    local ok, message = pcall(f, ...)
    lu.assertFalse(ok)
    lu.assertStrContains(tostring(message), text)
end

TestDataFiles = {}

function TestDataFiles.tearDown()
    for p in pairs(made) do os.remove(p) end
end

function TestDataFiles.test_npy_comes_back_bit_for_bit()
    for _, dtype in ipairs { "float64", "float32", "int64" } do
        local t = (bk.rng(1):normal { 3, 4 } * 100):to(dtype)
        local p = path(dtype .. ".npy")
        lu.assertTrue(t:save(p) == t)
        local back = bk.load_npy(p)
        lu.assertEquals(back:dtype(), dtype)
        lu.assertTrue(back == t)
        t:transpose():save(p)
        lu.assertTrue(bk.data.npy(p) == t:transpose())
    end
    bk.tensor(2.5):save(path "scalar.npy")
    lu.assertEquals(bk.load_npy(path "scalar.npy"):item(), 2.5)
end

function TestDataFiles.test_npy_written_elsewhere()
    local header = "{'descr': '>f8', 'fortran_order': True, 'shape': (2, 2), }"
    header = header .. string.rep(" ", 117 - #header) .. "\n"
    local numbers = string.pack(">dddd", 1, 2, 3, 4)
    local p = write("fortran.npy", "\x93NUMPY\1\0" .. string.pack("<I2", #header) .. header .. numbers)
    lu.assertEquals(bk.load_npy(p):totable(), { { 1, 3 }, { 2, 4 } })
end

function TestDataFiles.test_damaged_files_are_named_and_refused()
    local p = path "cut.npy"
    bk.ones { 4 }:save(p)
    local f = assert(io.open(p, "rb"))
    local bytes = f:read "a"
    f:close()
    fails("cut2.npy", bk.load_npy, write("cut2.npy", bytes:sub(1, -2)))
    fails("long.npy", bk.load_npy, write("long.npy", bytes .. "x"))
    fails("nothing.npy", bk.load_npy, write("nothing.npy", ""))
    fails("no-such-file", bk.load_npy, folder .. "/no-such-file.npy")
    fails("path: expected a string, got nothing", bk.load_npy)
    fails("no-such-folder", function() bk.ones { 1 }:save(folder .. "/no-such-folder/x.npy") end)
end

function TestDataFiles.test_idx_is_big_endian_and_exact()
    local bytes = "\0\0\8\2" .. string.pack(">I4I4", 2, 3) .. string.char(0, 1, 2, 253, 254, 255)
    local t = bk.data.idx(write("a.idx", bytes))
    lu.assertEquals(t:totable(), { { 0, 1, 2 }, { 253, 254, 255 } })
    lu.assertEquals(t:dtype(), "int64")
    local floats = "\0\0\13\1" .. string.pack(">I4ff", 2, 0.5, -2)
    lu.assertEquals(bk.data.idx(write("b.idx", floats)):totable(), { 0.5, -2 })
    fails("c.idx", bk.data.idx, write("c.idx", bytes:sub(1, -2)))
    fails("d.idx", bk.data.idx, write("d.idx", "\1" .. bytes:sub(2)))
end

function TestDataFiles.test_csv_names_line_and_column()
    lu.assertEquals(bk.data.csv(write("a.csv", "1,2.5\n-3,4e2\n")):totable(), { { 1, 2.5 }, { -3, 400 } })
    lu.assertEquals(bk.data.csv(write("b.csv", "x;y\n1;2\n"), { separator = ";", skip = 1 }):totable(), { { 1, 2 } })
    lu.assertEquals(bk.data.csv(write("c.csv", "1  2\n3\t4\n"), { separator = " " }):totable(), { { 1, 2 }, { 3, 4 } })
    fails("2", bk.data.csv, write("d.csv", "1,2\n3,x\n"))
    fails("unknown option skp; the options are separator, skip", bk.data.csv, path "a.csv", { skp = 1 })
    fails("one character", bk.data.csv, path "a.csv", { separator = "ab" })
end

function TestDataFiles.test_cifar_records()
    local image = {}
    for i = 0, 3071 do image[#image + 1] = string.char(i % 256) end
    image = table.concat(image)
    local x, y = bk.data.cifar(write("a.bin", "\7" .. image .. "\0" .. image))
    lu.assertEquals(x:shape(), { 2, 3, 32, 32 })
    lu.assertEquals(x:dtype(), "float32")
    lu.assertEquals(x[2][1][1][6]:item(), 5)
    lu.assertEquals(y:totable(), { 7, 0 })
    local _, fine, coarse = bk.data.cifar(write("b.bin", "\19\99" .. image), { classes = 100 })
    lu.assertEquals({ fine:totable(), coarse:totable() }, { { 99 }, { 19 } })
    fails("c.bin", bk.data.cifar, write("c.bin", "\10" .. image))
    fails("expected 10 or 100, got 11", bk.data.cifar, path "a.bin", { classes = 11 })
end

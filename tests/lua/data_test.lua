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
local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end

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
        lu.assertTrue(bk.load_npy(p) == t:transpose())
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
    fails('bk.data.csv: columns: expected a list, got a field "x" as well', bk.data.csv, path "a.csv",
        { header = true, columns = { "1", x = "2.5" } })
    fails("unknown option skp (did you mean skip?); the options are separator, skip, header, columns, categories, target, missing", bk.data.csv, path "a.csv", { skp = 1 })
    fails("one character", bk.data.csv, path "a.csv", { separator = "ab" })
end

-- As spreadsheets write it: a byte order mark, CRLF, quotes, separators and newlines in cells, missing values.
local PEOPLE = '\xEF\xBB\xBFlength,"width, cm",note,kind\r\n5.1,3.5,"short, ""fat""\nround",seal\r\n\r\n'
    .. '4.9,,"plain",walrus\r\n 6.3 ,NA,,seal\r\n"7.0", 3.2 ,x,otter'

function TestDataFiles.test_csv_with_names_categories_and_missing_values()
    local p = write("people.csv", PEOPLE)
    local d = bk.data.csv(p, { header = true, columns = { "width, cm", "length", "kind" }, categories = { "kind" },
        missing = "nan" })
    lu.assertEquals(d.names, { "width, cm", "length" })
    lu.assertEquals({ d.target, d.classes }, { "kind", { kind = { "otter", "seal", "walrus" } } })
    lu.assertEquals({ d.y:dtype(), d.y:totable() }, { "int64", { 1, 2, 1, 0 } })
    local x = d.x:totable()
    lu.assertEquals({ x[1], x[2][2], x[3][2], x[4] }, { { 3.5, 5.1 }, 4.9, 6.3, { 3.2, 7 } })
    lu.assertTrue(x[2][1] ~= x[2][1] and x[3][1] ~= x[3][1])
    local left = bk.data.csv(p, { header = true, columns = { "width, cm" }, categories = { "kind" }, missing = "drop" })
    lu.assertEquals({ left.x:totable(), left.y:totable() }, { { { 3.5 }, { 3.2 } }, { 1, 0 } })
    lu.assertEquals(left.classes.kind, { "otter", "seal" }) -- walrus is in no row that is left
    -- the classes of one file for another
    local more = write("more.csv", "kind,length\nwalrus,1\nseal,2\n")
    local e = bk.data.csv(more, { header = true, categories = d.classes })
    lu.assertEquals({ e.y:totable(), e.classes }, { { 2, 1 }, d.classes })
    fails('line 2, column 1 ("kind"): expected one of the classes given, got "newt"', bk.data.csv,
        write("newt.csv", "kind,length\nnewt,1\n"), { header = true, categories = d.classes })
    -- a number as target; a category that is none stands in x by its id
    local r = bk.data.csv(more, { header = true, categories = { "kind" }, target = "length" })
    lu.assertEquals({ r.x:totable(), r.y:dtype(), r.y:totable(), r.names }, { { { 1 }, { 0 } }, "float64", { 1, 2 },
        { "kind" } })
    local none = bk.data.csv(more, { header = true, categories = { "kind" }, target = "" })
    lu.assertEquals({ none.x:totable(), none.y, none.target }, { { { 1, 1 }, { 0, 2 } } })
end

function TestDataFiles.test_csv_columns_by_number_and_classes_that_are_numbers()
    local p = write("plain.csv", "10;1.5;a\n9;2.5;b\n10;3.5;a\n")
    local d = bk.data.csv(p, { separator = ";", columns = { 2 }, categories = { 1 }, target = "1" })
    lu.assertEquals({ d.x:totable(), d.y:totable() }, { { { 1.5 }, { 2.5 }, { 3.5 } }, { 1, 0, 1 } })
    lu.assertEquals({ d.names, d.classes }, { { "2" }, { ["1"] = { "9", "10" } } })
    local rows = { "id,kind" }
    for k = 1, 500 do rows[k + 1] = ("%d,%d"):format(k, k % 97) end -- more classes than a table begins with
    local many = bk.data.csv(write("many.csv", table.concat(rows, "\n")), { header = true, categories = { "kind" } })
    for k, id in ipairs(many.y:totable()) do lu.assertEquals(id, k % 97) end
end

function TestDataFiles.test_csv_says_where_and_what()
    local p = write("people.csv", PEOPLE)
    local named = { header = true, columns = { "length", "width, cm" } }
    local function refused(message, text, options)
        fails(message, bk.data.csv, text and write("wrong.csv", text) or p, options or { header = true })
    end
    refused('line 5, column 2 ("width, cm"): expected a value (missing = "nan" or "drop" reads on), got nothing', nil, named)
    refused('line 2, column 3 ("note"): expected a number, got "short, "fat"?round"', nil)
    refused('columns: no column is named "lenght" (did you mean length?); there are "length", "width, cm", "note", "kind"', nil,
        { header = true, columns = { "lenght" } })
    refused("columns: expected a column from 1 to 4, got 5", nil, { header = true, columns = { 5 } })
    refused("columns: column 1 stands twice", nil, { header = true, columns = { "length", 1 } })
    refused('line 3, column 1 ("a"): a quote is opened and not closed', 'a,b\n1,2\n"3,4\n')
    refused('line 3, column 2 ("b"): expected a separator after the closing quote', 'a,b\n1,2\n3,"4"5\n')
    refused("line 3, column 3: line 1 has only 2 columns", "a,b\n1,2\n3,4,5\n")
    refused("line 3, column 2 (\"b\"): missing, line 1 has 2 columns", "a,b\n1,2\n3\n")
    refused('line 5, column 1 ("a"): expected a number, got "x"', 'a,b\n"1","2"\n\n\nx,3\n')
    refused('line 2, column 2 ("b"): expected a number that a float64 can hold, got "1e999"', "a,b\n1,1e999\n")
    refused('categories: two columns are named "a", and the classes of one would be lost', "a,a,b\nx,p,1\ny,q,2\n",
        { header = true, columns = { "b" }, categories = { 1, 2 } })
    refused('two columns are named "a"; numbers tell them apart', "a,a\n1,2\n", { header = true, columns = { "a" } })
    refused('wrong.csv: columns 1 and 3 are both named "a"; numbers in columns tell them apart', "a,b,a\n1,2,3\n")
    refused('columns 2 and 3 are both named ""', "a,,\n1,2,3\n")
    local chosen = bk.data.csv(write("wrong.csv", "a,b,a\n1,2,3\n"), { header = true, columns = { 3, "b" } })
    lu.assertEquals(chosen.x:totable(), { { 3, 2 } })
    refused("no rows below the header", "a,b\n")
    refused("no rows without a missing value", "a,b\n1,\n", { header = true, missing = "drop" })
    refused('line 3, column 2 ("b"): expected a class, since ids have no nan', "a,b\n1,x\n2,\n",
        { header = true, categories = { "b" }, missing = "nan" })
    refused("columns: none is left for x", "a,b\n1,x\n", { header = true, columns = { 2 }, categories = { "b" } })
    refused('missing: expected "error", "nan" or "drop", got "skip"', nil, { missing = "skip" })
    refused("bk.data.csv: columns: expected a list of names or numbers, got true", nil, { columns = { true } })
    refused("bk.data.csv: header: expected true or false, got 1", nil, { header = 1 })
    refused("categories: kind: expected a list of its classes", nil, { header = true, categories = { kind = {} } })
    refused('categories: kind: "a" stands twice', nil, { header = true, categories = { kind = { "a", "a" } } })
    for _, categories in ipairs{ { "kind", "kind" }, { "kind", 4 }, { "kind", kind = { "round", "flat" } } } do
        refused("categories: column 4 stands twice", nil, { header = true, categories = categories })
    end
end

function TestDataFiles.test_csv_goes_into_tasks_and_training()
    local lines, r = { "u,v,kind,value" }, bk.rng(3)
    local u = r:normal{ 90, 2 }:totable()
    for k = 1, 90 do
        local kind = u[k][1] > 0.4 and "high" or u[k][1] < -0.4 and "low" or "middle"
        lines[k + 1] = ("%.17g,%.17g,%s,%.17g"):format(u[k][1], u[k][2], kind, 2 * u[k][1] - u[k][2])
    end
    local p = write("train.csv", table.concat(lines, "\r\n"))
    local d = bk.data.csv(p, { header = true, columns = { "u", "v" }, categories = { "kind" } })
    local tasks = bk.tasks.split{ data = d, classes = { { 0, 1 }, { 1, 2 } } }
    lu.assertEquals(tasks[1].classes, 3)
    local run = bk.protocol{ model = bk.nn.mlp{ 2, 8, 3 }, tasks = { d }, lr = 0.5, steps = 300, batch = "full" }:run{}
    lu.assertTrue(run.metrics.average_accuracy > 0.9, run.metrics.average_accuracy)
    local e = bk.data.csv(p, { header = true, columns = { "u", "v" }, target = "value" })
    local fit = bk.protocol{ model = bk.nn.mlp{ 2, 1 }, tasks = { { x = e.x, y = e.y, loss = "mse" } }, lr = 0.2,
        steps = 200, batch = "full" }:run{}
    local w = fit.theta:totable() -- value is linear in u and v
    lu.assertAlmostEquals(w[1], 2, 1e-6)
    lu.assertAlmostEquals(w[2], -1, 1e-6)
end

function TestDataFiles.test_npz_and_numpy()
    local probe = io.popen("python3 -c 'import numpy' 2>&1; echo $?"):read("a")
    if not probe:find("^0") then lu.skip("NumPy is not installed") end
    for _, save in ipairs{ "savez", "savez_compressed" } do
        local p = path(save .. ".npz")
        lu.assertTrue(os.execute(("python3 -c 'import numpy as n; n.%s(\"%s\", a=n.arange(6.0).reshape(2,3).T, "
            .. "b=n.array([-1,2],dtype=\"i2\"), c=n.array(True))'"):format(save, p)))
        local t = bk.load_npz(p)
        lu.assertEquals(t.a:totable(), { { 0, 3 }, { 1, 4 }, { 2, 5 } })
        lu.assertEquals({ t.b:dtype(), t.b:totable(), t.c:item() }, { "int64", { -1, 2 }, 1 })
        lu.assertEquals(bk.load_npz(p, { name = "b" }):totable(), { -1, 2 })
        fails('no array is named "d"', bk.load_npz, p, { name = "d" })
    end
    fails("bk.load_npz: name: expected a string, got 1", bk.load_npz, path "a.npz", { name = 1 })
end

function TestDataFiles.test_cifar_records()
    local image = {}
    for i = 0, 3071 do image[#image + 1] = string.char(i % 256) end
    image = table.concat(image)
    local x, y = bk.data.cifar_batch(write("a.bin", "\7" .. image .. "\0" .. image))
    lu.assertEquals(x:shape(), { 2, 3, 32, 32 })
    lu.assertEquals(x:dtype(), "float32")
    lu.assertEquals(x[2][1][1][6]:item(), 5)
    lu.assertEquals(y:totable(), { 7, 0 })
    local _, fine, coarse = bk.data.cifar_batch(write("b.bin", "\19\99" .. image), { classes = 100 })
    lu.assertEquals({ fine:totable(), coarse:totable() }, { { 99 }, { 19 } })
    fails("c.bin", bk.data.cifar_batch, write("c.bin", "\10" .. image))
    fails("expected 10 or 100, got 11", bk.data.cifar_batch, path "a.bin", { classes = 11 })
end

local function safetensors(header, data) return string.pack("<I8", #header) .. header .. data end

function TestDataFiles.test_safetensors_are_read_from_their_bytes()
    local header = [[{"b":{"dtype":"I64","shape":[2],"data_offsets":[8,24]},"__metadata__":{"k":"ü","e":""},]]
        ..
            [["a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"none":{"dtype":"F64","shape":[0,3],"data_offsets":[24,24]},]]
        .. [["point":{"dtype":"F64","shape":[],"data_offsets":[24,32]}}   ]]
    local data = string.pack("<ffi8i8d", 0.5, -2, -1, math.maxinteger, 2.5)
    local t, metadata = bk.load_safetensors(write("a.safetensors", safetensors(header, data)))
    lu.assertEquals({ t.a:dtype(), t.a:totable() }, { "float32", { { 0.5, -2 } } })
    lu.assertEquals({ t.b:dtype(), t.b:totable() }, { "int64", { -1, math.maxinteger } })
    lu.assertEquals({ t.none:shape(), t.point:shape(), t.point:item() }, { { 0, 3 }, {}, 2.5 })
    lu.assertEquals(metadata, { k = "ü", e = "" })
    lu.assertEquals(bk.load_safetensors(write("empty.safetensors", safetensors("{}", ""))), {})
end

function TestDataFiles.test_safetensors_come_back_bit_for_bit()
    local r, p = bk.rng(1), path("b.safetensors")
    local tensors = { w = r:normal{ 3, 4 }:transpose(), x = r:normal({ 5 }, { dtype = "float32" }),
        ["a.b'c"] = r:integers({ 2, 2 }, 9),
        special = bk.tensor{ 0 / 0, 1 / 0, -0.0, 5e-324 } }
    bk.save_safetensors(p, tensors, { note = "a\nb" })
    local f = assert(io.open(p, "rb"))
    local bytes = f:read("a")
    f:close()
    lu.assertEquals(string.unpack("<I8", bytes) % 8, 0) -- the elements lie at a multiple of 8
    local back, metadata = bk.load_safetensors(p)
    lu.assertEquals(metadata, { note = "a\nb" })
    for name, t in pairs(tensors) do
        lu.assertEquals({ back[name]:dtype(), back[name]:shape() }, { t:dtype(), t:shape() })
        local u, v = t:reshape{ -1 }:totable(), back[name]:reshape{ -1 }:totable()
        for k = 1, #u do lu.assertEquals(string.pack(t:dtype() == "int64" and "<i8" or "<d", v[k]),
            string.pack(t:dtype() == "int64" and "<i8" or "<d", u[k])) end
    end
    local again = path("c.safetensors")
    bk.save_safetensors(again, tensors, { note = "a\nb" }) -- equal tables, equal files
    f = assert(io.open(again, "rb"))
    lu.assertEquals(f:read("a"), bytes)
    f:close()
end

function TestDataFiles.test_damaged_safetensors_are_refused()
    local function refused(message, header, data)
        local p = write("d.safetensors", safetensors(header, data or ""))
        fails(message, bk.load_safetensors, p)
        fails("d.safetensors: ", bk.load_safetensors, p)
    end
    local function one(dtype, shape, from, to)
        return string.format('{"x":{"dtype":"%s","shape":%s,"data_offsets":[%s,%s]}}', dtype, shape, from, to)
    end
    local eight = ("\0"):rep(8)
    refused("dtype: expected F64, F32, F16, BF16, I8 to I64, U8 to U64 or BOOL, got F8", one("F8", "[4]", 0, 8), eight)
    refused("data_offsets do not fit dtype and shape", one("F64", "[2]", 0, 8), eight)
    refused("data_offsets do not fit dtype and shape", one("F64", "[1]", -8, 0), eight)
    refused("data_offsets leave a gap or overlap", one("F64", "[1]", 8, 16), eight .. eight)
    refused("shape: overflows", one("F64", "[4611686018427387904, 8]", 0, 8), eight)
    refused("shape: expected sizes", one("F64", "[-1]", 0, 8), eight)
    refused("shape: expected sizes", one("F64", "[1.5]", 0, 8), eight)
    refused("more than 8 dimensions", one("F64", "[1,1,1,1,1,1,1,1,1]", 0, 8), eight)
    refused("the header says 8 bytes, the file holds 7", one("F64", "[1]", 0, 8), ("\0"):rep(7))
    refused("", one("F64", "[1]", 0, 8), eight .. "x")
    refused("expected dtype, shape and two data_offsets", '{"x":{}}')
    refused("expected dtype, shape and two data_offsets", '{"x":3}')
    refused("expected texts by name", '{"__metadata__":{"a":3}}')
    refused("expected texts by name", '{"__metadata__":3}')
    refused("expected an object", "[1]")
    refused("header: ", '{"x":')
    refused("duplicate object key", '{"x":1,"x":2}')
    fails("not a safetensors file", bk.load_safetensors, write("e.safetensors", "short"))
    fails("not a safetensors file", bk.load_safetensors, write("e.safetensors", ("\255"):rep(16)))
    fails("the file says 99 bytes and holds 2", bk.load_safetensors,
        write("e.safetensors", string.pack("<I8", 99) .. "{}"))
    fails("no such file", bk.load_safetensors, path "nothing.safetensors")
    -- any byte changed: what is loaded, or an error that names the file
    local p = path("f.safetensors")
    bk.save_safetensors(p, { a = bk.ones{ 2, 2 }, b = bk.tensor({ 1 }, { dtype = "int64" }) }, { k = "v" })
    local f = assert(io.open(p, "rb"))
    local bytes = f:read("a")
    f:close()
    for k = 1, #bytes do
        for _, byte in ipairs{ 0, 34, 48, 57, 91, 125, 255 } do
            local q = write("f.safetensors", bytes:sub(1, k - 1) .. string.char(byte) .. bytes:sub(k + 1))
            local ok, message = pcall(bk.load_safetensors, q)
            if not ok then lu.assertStrContains(tostring(message), "f.safetensors: ") end
        end
    end
end

function TestDataFiles.test_a_path_with_a_zero_byte_is_refused()
    local p = path "zero.npy" .. "\0.npy"
    for _, f in ipairs{ bk.load_npy, bk.load_npz, bk.data.idx, bk.data.csv, bk.load_safetensors, bk.internal.folder } do
        fails("path: contains a zero byte", f, p)
    end
    fails("path: contains a zero byte", bk.ones{ 2 }.save, bk.ones{ 2 }, p)
    lu.assertNil(io.open((p:gsub("\0.*", ""))))
end

function TestDataFiles.test_what_safetensors_cannot_hold_is_refused()
    local p = path("g.safetensors")
    fails('"__metadata__" cannot name a tensor', bk.save_safetensors, p, { __metadata__ = bk.ones{ 1 } })
    fails('"" cannot name a tensor', bk.save_safetensors, p, { [""] = bk.ones{ 1 } })
    fails("bk.save_safetensors: a: expected a tensor, got 3", bk.save_safetensors, p, { a = 3 })
    fails("tensors: name: expected a string, got 1", bk.save_safetensors, p, { bk.ones{ 1 } })
    fails("a: expected a string, got 3", bk.save_safetensors, p, {}, { a = 3 })
    fails("contains a zero byte", bk.save_safetensors, p, { ["a\0b"] = bk.ones{ 1 } })
    fails("not UTF-8", bk.save_safetensors, p, { ["\255"] = bk.ones{ 1 } })
    fails("cannot be written", bk.save_safetensors, "/no/such/folder/x", {})
    local f = io.open(p, "rb")
    lu.assertNil(f) -- nothing was left behind
end

function TestDataFiles.test_json_keeps_every_value()
    local internal = bk.internal
    for _, v in ipairs{ 0, -1, math.maxinteger, math.mininteger, 0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 2.0, -0.0,
        "ü\n\"\\\0", true,
        false } do
        local back = internal.from_json(internal.to_json(v))
        lu.assertEquals({ back, math.type(back) }, { v, math.type(v) })
    end
    lu.assertEquals(internal.to_json{ b = { 1, 2.5, "x" }, a = { c = true } }, '{"a": {"c": true}, "b": [1, 2.5, "x"]}')
    lu.assertEquals(internal.to_json{ 0 / 0, 1 / 0 }, "[null, null]")
    lu.assertEquals(internal.to_json({ a = 0.1 }, 2, true), '{\n  "a": 0.1\n}')
    local x = internal.from_json("[null]")
    lu.assertTrue(x[1] ~= x[1])
    fails("keys: expected strings", internal.to_json, { [2] = 1 })
    fails("keys: expected strings", internal.to_json, { 1, nil, 3, x = 1 })
    fails("got function", internal.to_json, { print })
    local endless = {}
    endless[1] = endless
    fails("100 deep", internal.to_json, endless)
    local value, why = internal.from_json("{\n 1}")
    lu.assertNil(value)
    lu.assertStrContains(why, "line 2")
end

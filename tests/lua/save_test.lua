-- save_test.lua - results of scripts: bk.save_csv, bk.save_json, bk.load_json, and what print shows of a result.
local bk = require "bracket"
local lu = require "luaunit"
local files = require "files"
local read = files.read

TestSave = {}

local function path() return os.tmpname() end
local function written(save, ...)
    local name = path()
    save(name, ...)
    local text = read(name)
    os.remove(name)
    return text
end
local function csv(...) return written(bk.save_csv, ...) end
local function json(...) return written(bk.save_json, ...) end

function TestSave.test_columns()
    local columns = { step = { 0, 10 }, loss = bk.tensor{ 0.1, 1e300 }, x10 = { "a", true }, x2 = { 1 / 3, 0 / 0 } }
    lu.assertEquals(csv(columns), "loss,step,x2,x10\n0.1,0,0.33333333333333331,a\n1e300,10,nan,true\n")
    lu.assertEquals(csv(columns, { columns = { "step", "loss" } }), "step,loss\n0,0.1\n10,1e300\n")
end

function TestSave.test_rows()
    lu.assertEquals(csv{ { a = 1, b = 'x,"y"' }, { b = " q", c = -1 / 0 } }, 'a,b,c\n1,"x,""y""",\n," q",-inf\n')
    lu.assertEquals(csv{ { 1, "u\nv" }, { bk.tensor(0.5), 3 } }, '1,"u\nv"\n0.5,3\n')
    lu.assertEquals(csv({ { 1, 2 } }, { columns = { "p", "q r" } }), "p,q r\n1,2\n")
    lu.assertEquals(csv(bk.tensor({ { 1, 2 }, { 3, 4 } }, { dtype = "int64" })), "1,2\n3,4\n")
end

-- Every bit of a number comes back through the reader, texts too.
function TestSave.test_what_is_written_is_read()
    local x = bk.rng(1):normal{ 40, 3 } * 1e-7
    local name = path()
    bk.save_csv(name, x)
    lu.assertTrue(bk.data.csv(name) == x)
    local columns = { a = x:narrow(2, 1, 1):reshape{ 40 }, kind = {} }
    for k = 1, 40 do columns.kind[k] = ({ 'one, "two"', "three\nfour", "five" })[k % 3 + 1] end
    bk.save_csv(name, columns)
    local d = bk.data.csv(name, { header = true, categories = { "kind" } })
    lu.assertTrue(d.x:reshape{ 40 } == columns.a)
    for k, id in ipairs(d.y:totable()) do lu.assertEquals(d.classes.kind[id + 1], columns.kind[k]) end
    bk.save_csv(name, { a = { 1, 0 / 0, 1 / 0 } })
    local back = bk.data.csv(name, { header = true, missing = "nan" }).x:totable()
    lu.assertTrue(back[2][1] ~= back[2][1] and back[3][1] == 1 / 0)
    os.remove(name)
end

function TestSave.test_json()
    local function flat(value) return (json(value):gsub("\n *", "")) end
    lu.assertEquals(flat{ b = { 1, 2.5, true, "x" }, a = bk.tensor{ { 1, 2 } }, c = 0 / 0, d = {} },
        '{"a": [[1.0,2.0]],"b": [1,2.5,true,"x"],"c": null,"d": []}')
    lu.assertEquals(flat{ [0] = { 1 }, { 2 } }, '{"0": [1],"1": [2]}')
    lu.assertEquals(json{ 1 }, "[\n  1\n]\n")
    for _, v in ipairs{ 1 / 3, 1e-300, math.maxinteger, -0.1 } do
        lu.assertEquals(bk.internal.from_json(json(v)), v)
    end
end

local tasks = bk.tasks.regression{ n = 2, seed = 1 }
local function run(options)
    return bk.protocol{ model = bk.nn.mlp{ 4, 1 }, tasks = tasks, steps = 2, lr = 0.1,
        record = { "loss" } }:run(options)
end

function TestSave.test_a_runs_results()
    local r = run{}
    local text = csv(r.history, { columns = { "step", "loss" } })
    local expected = { "step,loss" }
    for k, step in ipairs(r.history.step) do
        expected[k + 1] = step .. "," .. bk.internal.to_json(r.history.loss[k], 0, true)
    end
    lu.assertEquals(text, table.concat(expected, "\n") .. "\n")
    local back = bk.internal.from_json(json{ metrics = r.metrics, accuracy = r.accuracy, theta = r.theta })
    lu.assertEquals(back.metrics.forgetting, r.metrics.forgetting)
    lu.assertEquals(back.accuracy["0"], r.accuracy[0])
    lu.assertTrue(bk.tensor(back.theta) == r.theta)
    -- print shows what the session shows
    for _, name in ipairs{ "metrics", "history", "accuracy", "test_loss" } do
        local plain = {}
        for k, v in pairs(r[name]) do plain[k] = v end
        lu.assertEquals(tostring(r[name]), bk.repl.format(plain))
        lu.assertEquals(bk.repl.format(r[name]), bk.repl.format(plain))
        lu.assertStrMatches(tostring(r[name]), "{.*}")
    end
    lu.assertStrContains(tostring(r.metrics), "forgetting = ")
    lu.assertStrContains(bk.repl.format(r), "forgetting = ")
    lu.assertEquals(run{}.history, r.history)
end

-- ---- bk.load_json ----

local function loaded(text)
    local name = path()
    local f <close> = assert(io.open(name, "wb"))
    f:write(text)
    f:close()
    local ok, value = pcall(bk.load_json, name)
    os.remove(name)
    return ok and value or (value:gsub(name:gsub("%p", "%%%0"), "FILE"))
end

function TestSave.test_json_of_others_is_read()
    lu.assertEquals(loaded(' { "a" : [1, 2.5, [true, false], {}], "\\u00fc\\n" : "x" } '),
        { a = { 1, 2.5, { true, false }, {} }, ["ü\n"] = "x" })
    lu.assertEquals(math.type(loaded("[7]")[1]), "integer")
    lu.assertEquals(math.type(loaded("[7.0]")[1]), "float")
    lu.assertEquals(loaded("9007199254740993"), 9007199254740993)
    lu.assertEquals(loaded('"text"'), "text")
    local gap = loaded("[1, null, 3]")
    lu.assertEquals({ #gap, gap[1], gap[2] ~= gap[2], gap[3] }, { 3, 1, true, 3 })
end

function TestSave.test_what_save_json_wrote_comes_back()
    local name, x = path(), bk.rng(1):normal{ 2, 3 }
    bk.save_json(name, { x = x, name = "β", list = { 1, 0.1, 5e-324, -0.0, 1e300 }, yes = true, gap = 0 / 0 })
    local back = bk.load_json(name)
    os.remove(name)
    lu.assertTrue(bk.tensor(back.x) == x)
    lu.assertEquals({ back.name, back.list, back.yes }, { "β", { 1, 0.1, 5e-324, -0.0, 1e300 }, true })
    lu.assertEquals(1 / back.list[4], -1 / 0)
    lu.assertTrue(back.gap ~= back.gap)
end

function TestSave.test_load_json_says_what_is_wrong()
    local function starts(text, begins) lu.assertStrContains(loaded(text), "bk.load_json: FILE: line " .. begins) end
    starts("", "1: ")
    starts('{\n"a": 1,\n"a": 2}', "3: duplicate object key")
    starts("[1, 2\n", "2: ")
    starts("[1] 2", "1: end of file expected")
    starts('"\xff"', "1: ")
    starts("[NaN]", "1: ")
    lu.assertErrorMsgContains("bk.load_json: no/such.json: no such file", bk.load_json, "no/such.json")
    lu.assertErrorMsgContains("bk.load_json: path: expected a string, got 3", bk.load_json, 3)
    lu.assertErrorMsgContains("bk.load_json: expected at most 1 argument, got 2", bk.load_json, "x", "y")
end

function TestSave.test_errors()
    local out = path()
    local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end
    for text, value in pairs{ ["table: b has 1 rows, a 2"] = { a = { 1, 2 }, b = { 1 } },
        ["table: a: row 2: expected a number, a string, true or false, got a table"] = { a = { 1, {} } },
        ["table: a: expected a list or a tensor (rows), got 1"] = { a = 1 },
        ["table: row 2 has 1 cells, row 1 2"] = { { 1, 2 }, { 1 } },
        ['table: row 2: expected a list, as row 1 is, got "a"'] = { { 1, 2 }, { a = 1 } },
        ["table: row 2: expected cells by name, as row 1 has, got 1"] = { { b = 1 }, { 1 } },
        ["table: row 1: b: expected a number, a string, true or false, got a function"] = { { b = print } },
        ['table: b: expected a list or a tensor (rows), got a list with a field "x"'] = { a = { 1, 2 },
            b = { 1, 2, x = 3 } },
        ["table: expected rows 1, 2, ..., got a list with a field 0"] = { [0] = { 1 }, { 2 } },
        ["got an empty table"] = {} } do
        fails("bk.save_csv: ", bk.save_csv, out, value)
        fails(text, bk.save_csv, out, value)
    end
    fails('columns: "los" is not there (did you mean loss?); there are loss', bk.save_csv, out, { loss = { 1 } },
        { columns = { "los" } })
    fails("columns: expected 2 names, one for each cell of a row, got 1", bk.save_csv, out, { { 1, 2 } },
        { columns = { "a" } })
    fails('columns: "a" stands twice', bk.save_csv, out, { a = { 1 } }, { columns = { "a", "a" } })
    fails("bk.save_csv: path: expected a string, got nil", bk.save_csv, nil, { { 1 } })
    fails("bk.save_csv: no/such/x: cannot be written", bk.save_csv, "no/such/x", { { 1 } })
    fails("bk.save_json: no/such/x: cannot be written", bk.save_json, "no/such/x", 1)
    fails("bk.save_json: value.a[1]: expected numbers, strings, booleans, tensors and tables of these, got a function",
        bk.save_json, out, { a = { print } })
    fails("value: expected strings or whole numbers as keys, got true", bk.save_json, out, { [true] = 1 })
    fails('value: the keys 5 and "5" are one in JSON', bk.save_json, out, { [5] = 1, ["5"] = 2 })
    fails("value.a: expected text in UTF-8, got other bytes", bk.save_json, out, { a = "\xff" })
    local cycle = {}
    cycle.t = cycle
    fails("expected tables at most 100 deep", bk.save_json, out, cycle)
    lu.assertEquals(read(out), "") -- nothing of these was written
    os.remove(out)
end

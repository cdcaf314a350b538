-- "did you mean": wherever a user names something, a mistyped name is answered with the one that is near. A case is
-- what is called and the name that is meant. Names of commands and in them: command_test, runs_test.
local lu = require "luaunit"
local bk = require "bracket"

TestHint = {}

local function loss(theta) return (theta * theta):sum() end
local x = bk.rng(1):normal{ 4, 3 }
local data = { name = "a", x = x, y = bk.tensor({ 0, 1, 0, 1 }, { dtype = "int64" }) }

local function protocol(changes)
    local given = { model = bk.nn.mlp{ 3, 2 }, tasks = { data }, lr = 0.1, steps = 2 }
    for name, value in pairs(changes) do given[name] = value end
    return bk.protocol(given)
end
local function ran(changes) return function() protocol(changes):run() end end
local function hook(changes) return ran{ interventions = { changes } } end

local function task(name, value)
    local one = { name = "a", x = data.x, y = data.y }
    one[name] = value
    return ran{ tasks = { one } }
end

local CASES = {
    -- keys
    { "order", function() protocol{ orderr = "cyclic" } end },
    { "every", ran{ record = { evry = 1, "loss" } } },
    { "theta", function() protocol{}:run{ thta = x } end },
    { "accuracy", task("acuracy", 1) },
    { "loss", task("los", "mse") },
    { "loss", task("Loss", "mse") },
    { "loss", task("lss", "mse") },
    { "test", task("tst", data) },
    { "name", task("nam", "b") },
    { "head", task("hed", { 0 }) },
    { "accuracy", task("acc", print) },
    { "x", task("X", x) },
    { "before_step", hook{ name = "x", before_stp = function() end } },
    { "gradient", hook{ name = "x", before_step = function(state) state.gradint = 1 end } },
    { "exact", function() bk.bea.word{ { loss, 0.1, exat = true } } end },
    { "losses", function() bk.bea.game{ loses = 1 } end },
    { "beta1", function() bk.optim.adam{ bta1 = 0.9 } end },
    { "kernel", function() bk.nn.conv2d{ 1, 2, kernl = 3 } end },
    { "lr", function() bk.schedule.cosine{ lrr = 1 } end },
    { "target", function() bk.bea.tournament{ traget = 1 } end },
    { "title", function() bk.plot({ { x = { 1 }, y = { 2 } }, titel = "x" }) end },
    { "label", function() bk.plot{ { x = { 1 }, y = { 2 }, lable = "x" } } end },
    { "in_axes", function() bk.vmap(loss, { in_axs = { 1 } }) end },
    { "rtol", function() bk.flow(loss, x, { rtoll = 1 }) end },
    { "where", function() bk.runs("tests", { were = "x" }) end },
    { "--lr", function() bk.arguments({ lr = 1 }, { "--lrr", "2" }) end },
    -- values that are names
    { "cyclic", ran{ order = "cycilc" } },
    { "float32", ran{ dtype = "flaot32" } },
    { "loss", ran{ record = { every = 1, "los" } } },
    { "mean", ran{ reduction = "meen" } },
    { "cross_entropy", task("loss", "cross_entrpy") },
    { "tanh", function() bk.nn.mlp{ 2, 2, activation = "tnah" } end },
    { "alternating", function() bk.bea.game{ losses = { loss }, players = { 3 }, lr = 1, play = "alternatin" } end },
    { "sum", function() bk.bea.multitask{ losses = { loss }, lr = 0.1, reduction = "summ" } end },
    { "dopri5", function() bk.flow(loss, x, { method = "dopri" }) end },
    { "float64", function() bk.zeros({ 2 }, { dtype = "flot64" }) end },
    { "relu", function() bk.nn.mlp{ 2, 2, activation = "rleu" } end },
    { "relu", function() bk.nn.mlp{ 2, 2, activation = "ReLU" } end },
    { "orthogonal", function() bk.nn.mlp{ 2, 2 }:init{ scheme = "ortogonal" } end },
    { "torch", function() bk.nn.mlp{ 2, 2 }:state_dict(bk.zeros{ 6 }, { layout = "troch" }) end },
    { "lines", function() bk.plot{ { x = { 1 }, y = { 2 }, style = "lnes" } } end },
    { "diverging", function() bk.plot{ { image = x, colours = "divergng" } } end },
    -- fields of objects
    { "n_params", function() return bk.nn.mlp{ 2, 2 }.n_parms end },
    { "matmul", function() return x:matmull(x) end },
}

function TestHint:test_every_place_where_a_user_names_something()
    for _, case in ipairs(CASES) do
        local ok, message = pcall(case[2])
        lu.assertFalse(ok, case[1])
        lu.assertStrContains(tostring(message), "(did you mean " .. case[1] .. "?)")
    end
end

function TestHint:test_of_a_file()
    local path = os.tmpname()
    local f <close> = assert(io.open(path, "w"))
    f:write("length,width\n1,2\n3,4\n")
    f:flush()
    for _, given in ipairs{ { columns = { "lenght" } }, { categories = { "lenght" } }, { columns = { "length" },
        target = "lenght" } } do
        given.header = true
        lu.assertErrorMsgContains('no column is named "lenght" (did you mean length?)', bk.data.csv, path, given)
    end
    lu.assertErrorMsgContains('got "drp" (did you mean drop?)', bk.data.csv, path, { missing = "drp" })
    os.remove(path)
end

function TestHint:test_none_where_nothing_is_near()
    for _, f in ipairs{ ran{ order = "qwert" }, ran{ dtype = "bfloat" }, task("angle", 1), task("classes", { 1 }),
        task("names", { "a" }), task("tag", "a"), task("id", 3), function() bk.schedule.cosine{ velocity = 1 } end,
        function() bk.nn.mlp{ 2, 2, activation = "silu" } end, ran{ optimizer = "sgdm" } } do
        local _, message = pcall(f)
        lu.assertNotStrContains(tostring(message), "did you mean")
    end
    lu.assertEquals(bk.internal.hint(nil, { "a" }), "")
    lu.assertEquals(bk.internal.hint("lr", {}), "")
end

-- A field of a task that nothing reads is named once; what is the user's own stands in own.
function TestHint:test_fields_that_nothing_reads()
    local message, said = bk.internal.message, {}
    bk.internal.message = function(text) said[#said + 1] = text end
    local ok, problem = pcall(function()
        local function of(...)
            said = {}
            protocol{ tasks = { ... } }
            return said
        end
        local function with(fields)
            for _, name in ipairs{ "x", "y" } do fields[name] = data[name] end
            return fields
        end
        lu.assertEquals(of(with{ criterion = print, tag = 1 }, with{ tag = 2 }), { "warning: bk.protocol: tasks: "
            .. "nothing reads the fields criterion, tag; what is your own stands in own = { criterion = ... }" })
        lu.assertEquals(of{ train = with{ weights = 1 } }, { "warning: bk.protocol: tasks: "
            .. "nothing reads the field train.weights; what is your own stands in own = { weights = ... }" })
        lu.assertEquals(of(with{ own = { tag = 1 }, name = "a", names = {}, classes = 2, n = 4 }), {})
        local digits = bk.data.glyphs{ n = 200, seed = 1 }
        for _, list in ipairs{ bk.tasks.rotated{ data = digits, angles = { 0, 20 } },
            bk.tasks.permuted{ data = digits, n = 2, seed = 1 }, bk.tasks.mnist_360{ data = digits },
            bk.tasks.split{ data = digits, classes = { { 0, 1 }, { 2, 3 } }, scenario = "task" }, { digits } } do
            said = {}
            bk.protocol{ model = bk.nn.mlp{ 784, 10 }, tasks = list, lr = 0.1 }
            lu.assertEquals(said, {})
        end
    end)
    bk.internal.message = message
    if not ok then error(problem, 0) end
end

function TestHint:test_a_method_that_tensors_have_is_not_a_slip()
    local file = os.tmpname()
    for text, hint in pairs{ ["local t = {} t:tanh()"] = "", ["local t = {} t:tnah()"] = "; did you mean :tanh?" } do
        local f = assert(io.open(file, "w"))
        f:write(text)
        f:close()
        lu.assertEquals(bk.repl.failure.meant_in_script(file .. ":1: attempt to call a nil value (method '"
            .. text:match("(%a+)%(") .. "')"), hint)
    end
    os.remove(file)
end

function TestHint:test_a_room_says_what_each_name_in_it_is()
    for _, room in ipairs{ "intervention", "record", "order", "schedule", "bea", "linalg" } do
        local page = bk.repl.help.page("bk." .. room)
        for name in pairs(bk[room]) do
            if not name:find("^_") then lu.assertStrMatches(page .. "\n", ".*\n" .. name .. " +[^ ].*") end
        end
    end
    lu.assertStrContains(bk.repl.help.page("bk.intervention"), "Gradient episodic memory")
end

function TestHint:test_help()
    lu.assertStrContains(bk.repl.help.page("bk.bea.wrod"), '(did you mean bk.bea.word?)')
    lu.assertStrContains(bk.repl.help.page("tutorail"), '(did you mean tutorial?)')
end

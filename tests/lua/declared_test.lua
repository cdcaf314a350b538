-- declared_test.lua - what files say of themselves is so, and what has to name them does: interventions, the numbers of
-- streams, tests of values, experiments.
local lu = require "luaunit"
local bk = require "bracket"
local required = dofile "tests/lua/required.lua"

TestDeclared = {}

local function text(path)
    local f <close> = assert(io.open(path))
    return f:read("a")
end

local function each(command)
    local p <close> = assert(io.popen(command))
    local list = {}
    for line in p:lines() do list[#list + 1] = line end
    return ipairs(list)
end

function TestDeclared.test_an_intervention_says_what_it_is()
    for name, make in pairs(bk.intervention) do
        local one = make(required(make, 1, { samples = 1, memory = 16 }))
        lu.assertEquals(one.name, name, "its .name is its file's")
        lu.assertTrue(type(one.doc) == "string" and #one.doc > 0, name .. " has a .doc")
        lu.assertTrue(one.needs_blocks or not (one.begin_task or one.end_task),
            name .. ": hooks of a task's begin and end are of runs that have tasks one after the other: .needs_blocks")
    end
end

function TestDeclared.test_commands_have_the_names_of_their_files()
    for _, path in each("ls lua/bracket/command/[a-z]*.lua") do
        local name = path:match("(%w+)%.lua")
        local row = bk.command._command_line.rows[bk.command[name]]
        lu.assertNotNil(row, path .. " returns what _command_line.define makes")
        lu.assertEquals(row.name, name, path)
    end
end

-- config.json and tables of runs call a schedule by its text, an order by its .name.
function TestDeclared.test_schedules_and_orders_have_the_names_of_their_files()
    local given = { word = { 1, 2 }, custom = { task = function() return 1 end }, per_task = { 0.1, 0.2 },
        warmup = { steps = 2, lr = 0.1 } }
    for name, make in pairs(bk.schedule) do
        local rate = make(given[name] or required(make, 2))
        lu.assertEquals((bk.schedule._described.text(rate) or name):match("^[%w_]+"), name, "the name in _described")
    end
    local shared = { tournament = "planned" }
    for name, make in pairs(bk.order) do
        local order = make(given[name] or required(make, 2))
        lu.assertEquals(order.name, shared[name] or name, "its .name is its file's")
    end
end

function TestDeclared.test_an_order_that_is_wrong_is_named()
    local function fails(message, fields)
        lu.assertErrorMsgContains("bk.order.mine: " .. message, function()
            fields.name = "mine"
            fields.window = fields.window or function() return 2 end
            local order = bk.order._object.new(fields)
            order:matrix(2, { steps = 3 })
            order.window{ n_tasks = 2 }
        end)
    end
    local function step_of(task) return function() return 3, function() return task end end end
    fails("setup: expected a function, got nil", { stup = print })
    fails("setup: expected a number of steps and a function of the step, got nil and a function",
        { setup = function() return nil, print end })
    fails("setup: expected a number of steps and a function of the step, got 3 and nil", { setup = function() return 3 end })
    for _, task in ipairs{ 3, -1, 1.5, "1", false } do
        fails("step 1: expected a task 1..2, got", { setup = step_of(task) })
    end
    fails("window: expected a number of steps, got 1.5", { setup = step_of(1), window = function() return 1.5 end })
end

function TestDeclared.test_a_metric_says_when_and_is_a_number()
    local kinds = bk.metric._kind
    for _, path in each("grep -l 'metric\\._matrix' lua/bracket/metric/[a-z]*.lua") do -- others are no run's to report
        lu.assertNotNil(kinds[bk.metric[path:match("([%w_]+)%.lua$")]],
            path .. ": bk.metric._kind is to say when a run reports what the file returns")
    end
    lu.assertErrorMsgContains('bk.metric._kind: expected "always" or "once", got "allways"', function()
        kinds[function() end] = "allways"
    end)
    local x = bk.rng(1):normal{ 8, 2 }
    local p = bk.protocol{ model = bk.nn.mlp{ 2, 2 }, tasks = { { x = x, y = bk.zeros({ 8 }, { dtype = "int64" }) } },
        lr = 0.1, steps = 1 }
    local function wrong() return { 1 } end
    kinds[wrong], bk.metric.wrong = "always", wrong
    local ok, message = pcall(p.run, p, {})
    rawset(kinds, wrong, nil)
    bk.metric.wrong = nil
    lu.assertFalse(ok)
    lu.assertStrContains(message, "bk.metric.wrong: expected to return a number, got a table")
end

-- "cosine_i_j" -> "^cosine_%d+_%d+$"; i, j, k, l and n stand for numbers.
local function column(words)
    return "^" .. ("_" .. words .. "_"):gsub("_%f[%w][ijkln]%f[^%w]", "_%%d+"):sub(2, -2) .. "$"
end

function TestDeclared.test_a_record_gives_the_columns_that_it_says()
    local rng = bk.rng(1)
    local x, y = rng:normal{ 12, 3 }, rng:integers({ 12 }, 2)
    local model = bk.nn.mlp{ 3, 4, 2 }
    local function history(record)
        local tasks = { { x = x, y = y }, { x = -x, y = y }, { x = x * 2, y = y } }
        return bk.protocol{ model = model, tasks = tasks, order = "cyclic", lr = 0.1, steps = 3, evaluate = false,
            record = record }:run{ theta = model:init{ seed = 1 } }.history
    end
    local always = history{ every = 1, zero = function() return 0 end }
    for name, record in pairs(bk.record) do
        local line = bk.internal.docs[record]:match('^record "' .. name .. '" %-> ([^\n]*)\n')
        lu.assertNotNil(line, "bk.record." .. name .. ': the first line: record "' .. name .. '" -> columns')
        local said, met = {}, {}
        for words in (line .. ","):gmatch("%s*(.-)%s*,") do -- "loss_1 .. loss_n" are the columns like the last
            said[column(words:match("[^ ]*$"))] = words
        end
        for given in pairs(history{ every = 1, name }) do
            local known = always[given] ~= nil
            for pattern in pairs(said) do
                if given:find(pattern) then known, met[pattern] = true, true end
            end
            lu.assertTrue(known, ("bk.record.%s gives %s and says %s"):format(name, given, line))
        end
        for pattern, words in pairs(said) do
            lu.assertTrue(met[pattern] ~= nil, ("bk.record.%s says %s and does not give it"):format(name, words))
        end
    end
end

-- Two hooks that draw by one number would draw the same.
function TestDeclared.test_streams_are_numbered()
    local head, taken = text("lua/bracket/stream.lua"):match("^(.-)\nlocal"):gsub("\n%-%-", ""), {}
    for number, name in head:match("3 interventions %((.-)%)"):gmatch("(%d+) ([%w_]+)") do
        lu.assertNil(taken[number], ("stream %s is %s's and %s's"):format(number, taken[number], name))
        taken[number] = name
    end
    for _, path in each("ls lua/bracket/intervention/[a-z]*.lua") do
        for number in text(path):gmatch("state%.seed, 3, (%d+)") do
            lu.assertEquals(taken[number], path:match("([%w_]+)%.lua$"),
                path .. ": stream " .. number .. " in the list of stream.lua")
        end
    end
end

local function named(where, name) return where:find("%f[%w_]" .. name .. "%f[^%w_]") ~= nil end

function TestDeclared.test_what_has_values_has_a_test_of_them()
    local missing, suites = {}, {}
    local function holds(tested, ...) missing[#missing + 1] = not tested and (...):format(select(2, ...)) or nil end
    for _, path in each("ls tests/lua/*_test.lua tests/c/vec_test.c tests/c/data_test.c | grep -v -e declared_ -e house_") do
        suites[path:match("(%w+)_test")] = text(path)
    end
    for _, list in ipairs{ "formulas", "defaults", "customs" } do
        local there = suites.optim:match("\nlocal " .. list .. " = (%b{})")
        for name in pairs(bk.optim) do
            holds(name == "custom" or named(there, name), "bk.optim.%s is not among %s of optim_test.lua", name, list)
        end
    end
    local losses = suites.nn:match("test_losses_by_their_formulas.-local expected = (%b{})")
    for name in pairs(bk.loss) do
        holds(named(losses, name), "bk.loss.%s is not among expected of test_losses_by_their_formulas", name)
    end
    for _, line in each("cat src/tensor/kernels/*.inc | grep -E '^(KERNEL|REAL)'") do
        local name = line:match("%(([%w_]+)")
        local tested = suites.vec:find("VEC_" .. name:upper() .. "%f[^%w_]") ~= nil
        holds(tested or not bk[name], "bk.%s: its kernel has no test in vec_test.c", name) -- others are parts of these
    end
    local layers = suites.nn .. suites.sequence .. suites.mode
    for name in pairs(bk.nn) do
        local made = name:gsub("_cell$", "") -- the tests of rnn, gru and lstm make the names of their cells
        holds(named(layers, made) or bk[name] ~= nil, -- an operation has its own tests
            "bk.nn.%s has no test in nn_test.lua, sequence_test.lua or mode_test.lua", name)
    end
    local all = {}
    for _, suite in pairs(suites) do all[#all + 1] = suite end
    all = table.concat(all, "\n")
    for _, room in ipairs{ "schedule", "order", "intervention", "record", "metric", "tasks", "data", "linalg" } do
        for name in pairs(bk[room]) do -- a word alone may be another's
            local there = named(all, room .. "%." .. name) or all:find('"' .. name .. '"', 1, true)
            holds(there, "no suite names bk.%s.%s", room, name)
        end
    end
    for name, value in pairs(bk) do
        local operation = (bk.internal.docs[value] or ""):find("^t:")
        holds(not operation or named(all, name), "no suite names bk.%s", name)
    end
    table.sort(missing)
    lu.assertEquals(table.concat(missing, "\n"), "", "a test of its values: the READMEs of src and lua say where")
end

function TestDeclared.test_experiments_are_named()
    for _, name in each("cd experiments && ls -d */ | tr -d /") do
        lu.assertNotNil(io.open("experiments/" .. name .. "/README.md"), name .. " has no README.md")
        lu.assertStrContains(text("experiments/README.md"), name, false, "experiments/README.md does not name it")
    end
end

-- lists_test.lua - lists with a field beside their entries, with a gap, of another length: what would be passed over in
-- silence is an error that names it.
local bk = require "bracket"
local lu = require "luaunit"

TestLists = {}

local theta = bk.tensor { 0.5, -0.25 }
local function int64(values) return bk.tensor(values, { dtype = "int64" }) end
local function squares(p) return (p * p):sum() end
local function cubes(p) return (p ^ 3):sum() end
local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end

-- A field beside the entries of a list, where options stood elsewhere.
function TestLists.test_with_a_field()
    local field = 'expected a list, got a list with a field "lr"'
    fails("bk.tasks.rotated: angles: " .. field, bk.tasks.rotated, { data = {}, angles = { 0, 30, lr = 1 } })
    fails("bk.bea.game: losses: " .. field, bk.bea.game, { losses = { squares, cubes, lr = 1 }, players = { 1, 1 },
        lr = 1 })
    fails('bk.order.word: tasks: expected a list of tasks, got a list with a field "n"', bk.order.word, { 1, 2, n = 4 })
    fails("bk.order.word: tasks: expected a list of tasks, got an empty one", bk.order.word, {})
    fails('bk.schedule.per_task: rates: expected a list with a rate or schedule per task, got a list with a field "steps"',
        bk.schedule.per_task, { 0.1, 0.2, steps = 9 })
    fails('bk.statistics.mean: values: expected a list of numbers, got a list with a field "n"', bk.statistics.mean,
        { 1, 2, n = 2 })
    fails('bk.bea.swap_effect: losses: expected a list of two or more, got a list with a field "lr"', bk.bea.swap_effect,
        squares, { squares, cubes, lr = 0.1 }, theta)
    fails('bk.tasks.split: classes: task 1: expected a list of class ids, got a list with a field "x"', bk.tasks.split,
        { data = bk.data.glyphs { n = 20, seed = 1 }, classes = { { 0, x = 1 }, { 2, 3 } } })
end

-- A pair with more than two entries, and rows of a matrix longer than the first.
function TestLists.test_longer_than_what_is_read()
    local function game(entry) return { losses = { squares, cubes }, players = { entry, { 2, 1 } }, lr = 1 } end
    fails("bk.bea.game: players[1]: expected {first, size}, got a third entry, 2", bk.bea.game, game { 1, 1, 2 })
    fails('bk.bea.game: players[1]: expected {first, size}, got a list with a field "lr"', bk.bea.game,
        game { 1, 1, lr = 2 })
    fails("bk.landscape: span: expected { low, high }, got a third entry, 2", bk.landscape, squares, theta,
        { span = { 0, 1, 2 } })
    fails('bk.plot: series 1: range: expected {low, high}, got a list with a field "lr"', bk.plot,
        { { image = bk.eye(2), range = { 0, 1, lr = 2 } } })
    fails("bk.metric.forgetting: row 0: expected 1 numbers as in row 1, got 2", bk.metric.forgetting,
        { [0] = { 0.1, 0.2 }, { 0.3 }, { 0.1, 0.2 } })
end

-- What stands behind a gap would be passed over in silence, and so would an option among the numbers.
function TestLists.test_with_a_gap()
    local gap = "expected a list without gaps, got 1 entries and one at 3"
    fails("bk.tensor: values: " .. gap, bk.tensor, { [1] = 1, [3] = 2 })
    fails("bk.tensor: values[2]: " .. gap, bk.tensor, { { 1 }, { [1] = 1, [3] = 2 } })
    fails("bk.tensor: values: expected a list without gaps, got 2 entries and one at 0", bk.tensor, { [0] = 1, 2, 3 })
    local many = {}
    for k = 1, 5000 do many[k] = k end
    lu.assertEquals(bk.tensor(many):count(), 5000)
    many[9000] = 1
    fails("got 5000 entries and one at 9000", bk.tensor, many)
    fails("bk.zeros: shape: " .. gap, bk.zeros, { [1] = 2, [3] = 3 })
    fails("bk.concat: parts: " .. gap, bk.concat, { [1] = theta, [3] = theta })
    fails("bk.bea.word: steps: " .. gap, bk.bea.word, { [1] = { squares, 1 }, [3] = { squares, 1 } })
    fails("bk.bea.multitask: losses: " .. gap, bk.bea.multitask, { losses = { [1] = squares, [3] = cubes }, lr = 0.1 })
    fails("bk.nn.sequential: layers: " .. gap, bk.nn.sequential, { [1] = bk.nn.tanh(), [3] = bk.nn.tanh() })
end

-- A list whose __len says what is no length.
function TestLists.test_of_another_length()
    local function long(n) return setmetatable({ 1, 2 }, { __len = function() return n end }) end
    fails('bk.statistics.mean: values: expected a list of numbers, got a table whose length, "x", is not that of a list',
        bk.statistics.mean, long("x"))
    fails("bk.bea.game: losses: expected a list, got a table whose length, -5,", bk.bea.game,
        { losses = long(-5), lr = 1, players = { 1 } })
    fails("bk.arguments: defaults: n: expected a number, string, boolean or list", bk.arguments, { n = long(1 << 40) },
        {})
    lu.assertEquals(bk.statistics.mean(long(2)), 1.5)
end

function TestLists.test_with_a_gap_among_options()
    local x, y = bk.rng(1):normal { 30, 4 }, bk.rng(2):integers({ 30 }, 3)
    local task = { x = x, y = y }
    local function protocol(more)
        local spec = { model = bk.nn.mlp { 4, 5, 3 }, tasks = { task, task }, lr = 0.1 }
        for k, v in pairs(more) do spec[k] = v end
        return bk.protocol(spec)
    end
    for text, spec in pairs {
        ["bk.protocol: interventions: expected a list, got a list with nothing in place 1"] =
            { interventions = { nil, bk.intervention.ewc { weight = 1 } } },
        ["bk.protocol: order: expected a list of tasks, got a list with nothing in place 2"] = { order = { 1, nil, 2 } },
        ["bk.protocol: tasks: expected a list, got a list with nothing in place 2"] = { tasks = { task, nil, task } },
        ["bk.protocol: order: expected one of blocks"] = { order = "_object" },
        ["bk.protocol: record: expected one of accuracy"] = { record = { "_define" } },
        ["steps: a list (steps per task) needs a sequential order, got blocks"] =
            { order = bk.order.blocks { size = 2 }, steps = { 3, 4 } },
    } do
        fails(text, protocol, spec)
    end
    local ten = protocol { order = bk.order.blocks { size = 2 }, batch = 6, epochs = 2 }:run {}
    lu.assertEquals(ten.steps, 20) -- two epochs of five batches of each of the two
    local data = { x = bk.ones { 20, 9 }, y = int64(bk.arange(20):totable()):minimum(1) }
    fails("bk.tasks.split: classes: task 1: class 0 stands twice", bk.tasks.split,
        { data = data, classes = { { 0, 0 } } })
    fails("bk.tasks.rotated: shape: expected {rows, columns} of 9 pixels, got {-3, -3}", bk.tasks.rotated,
        { data = data, shape = { -3, -3 }, angles = { 0, 90 } })
    local lost = { step = function() end, state = function() return {} end, restore = function() end,
        reset = function() end }
    fails("bk.protocol: step 1: optimizer: step returned nil; expected theta, a tensor float64 (43)", function()
        protocol { optimizer = lost }:run {}
    end)
    fails('state:measure: name: expected a record\'s, got "nope"', function()
        protocol { steps = 2, interventions = { { after_step = function(s) s:measure("nope") end } } }:run {}
    end)
end

-- What a list of a layer's, an optimizer's, a derivative's or a model's takes by place stands there by name, or behind
-- a gap: it was passed over.
function TestLists.test_fields_and_gaps_in_lists_of_ones_own()
    local function field(name) return (': expected a list, got a field "%s" as well'):format(name) end
    local function layer(t)
        t.forward = function(_, x) return x end
        return function() return bk.nn.layer(t) end
    end
    fails("bk.nn.layer: params" .. field "w", layer{ params = { w = { 3 } } })
    fails("bk.nn.layer: params" .. field "v", layer{ params = { { "w", shape = { 2 } }, v = { 2 } } })
    fails("bk.nn.layer: params: expected tables { name, shape = {...} }, got one with 2 values without a name",
        layer{ params = { { "w", { 2 }, shape = { 2 } } } })
    fails('bk.nn.layer: params: expected tables { name, shape = {...} }, got "w"', layer{ params = { "w" } })
    fails("bk.nn.layer: input" .. field "n", layer{ input = { "batch", n = 2 } })
    fails("bk.optim.custom: state" .. field "m", bk.optim.custom, { state = { m = 1 },
        update = function(g, s) return g, s end })
    fails("bk.bea.continual: lr" .. field "c", bk.bea.continual,
        { losses = { squares, cubes }, lr = { 0.1, 0.1, c = 1 } })
    local function dot(a, b) return a:dot(b) end
    fails("bk.jvp: arguments" .. field "c", bk.jvp, dot, { theta, theta, c = theta }, { theta })
    local second = {}
    second[3] = theta
    fails("bk.jvp: tangents: expected 2, one an argument, got one at 3", bk.jvp, dot, { theta, theta }, second)
    local late = {}
    late[2] = theta -- no list, but each stands where its argument does
    lu.assertEquals(select(2, bk.jvp(dot, { theta, theta }, late)):item(), theta:dot(theta):item())
    fails("intervention 1: expected one of bk.intervention, such as bk.intervention.ewc{...}, or a table of hooks, "
        .. 'got "ewc"', bk.protocol, { model = bk.nn.mlp{ 1, 1 }, lr = 1, interventions = { "ewc" },
        tasks = bk.tasks.regression{ n = 2, examples = 4, inputs = 1, seed = 1 } })
end

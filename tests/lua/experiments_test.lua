-- Every experiment runs with --quick, on generated digits, and prints its table.
local lu = require "luaunit"
local bk = require "bracket"
TestExperiments = {}

local function run(name, ...) -- with these options, --quick by default
    local chunk = assert(loadfile("experiments/" .. name .. "/run.lua"))
    local lines, write = {}, io.stdout
    -- the experiments print through io.stdout: a table in its place collects the lines
    io.stdout = { write = function(_, ...) lines[#lines + 1] = table.concat({ ... }) return io.stdout end,
        flush = function() end }
    local before = arg
    arg = { [0] = "experiments/" .. name .. "/run.lua", ... }
    if not arg[1] then arg[1] = "--quick" end
    local ok, message = xpcall(chunk, debug.traceback)
    arg, io.stdout = before, write
    lu.assertTrue(ok, message)
    local output = table.concat(lines)
    lu.assertTrue(#output > 200)
    lu.assertNil(output:find("%f[%a]nan%f[%A]"), output)
    lu.assertNil(output:find("%f[%a]inf%f[%A]"), output)
    return output
end

function TestExperiments:test_options_that_would_do_nothing()
    for name, case in pairs{
        conflict = { "--part: expected one of all, terms, baselines, got foo", "--part", "foo" },
        tables = { "--settings: expected one of all, ", "--settings", "foo" },
        channels = { "--powers: expected 2 or more, got 1", "--powers", "1" },
        term_regression = { "--rates: expected rates > 0, got 0", "--rates", "0" },
        drift = { "--seeds: expected a whole number >= 1, got 0", "--seeds", "0" },
        planner = { "--images: expected a whole number >= 1, got 1.5", "--images", "1.5" },
        order_prediction = { "--path_steps: expected a whole number >= 0, got -1", "--path_steps", "-1" },
        language = { "--data: tests: expected a file of more than 8 characters, got none that can be read", "--data",
            "tests" },
        games = { "--seed: expected a whole number, got 1.5", "--seed", "1.5" },
    } do
        local before = arg
        arg = { [0] = "experiments/" .. name .. "/run.lua", "--quick", case[2], case[3] }
        local ok, message = pcall(assert(loadfile(arg[0])))
        arg = before
        lu.assertFalse(ok)
        lu.assertStrContains(message, case[1])
    end
    local program = (os.getenv("BRACKET_BUILD") or "build") .. "/bracket"
    local p <close> = io.popen("'" .. program .. "' experiments/own_problem/run.lua --quick --data nowhere 2>&1")
    lu.assertStrContains(p:read("a"), 'unknown argument "--data"; known: --out ') -- it makes its files
end
function TestExperiments:test_order_prediction() lu.assertStrContains(run("order_prediction"), "along the path") end
function TestExperiments:test_channels()
    local out = run("channels")
    local function columns(name) -- the slope, measured over predicted, the slope of what is left
        local values = {}
        for value in out:match("\n" .. name .. "([^\n]+)"):gmatch("%S+") do values[#values + 1] = tonumber(value) end
        return table.unpack(values, #values - 2)
    end
    for name, expected in pairs{ ["SGD: the bracket"] = 2, ["rates by position"] = 1, ["EMA momentum"] = 1,
        ["heavy ball"] = 1, ["Nesterov"] = 1, ["AdamW"] = 1 } do
        local slope, ratio, rest = columns(name)
        lu.assertAlmostEquals(slope, expected, 0.1, name)
        lu.assertAlmostEquals(ratio, 1, 0.01, name)
        lu.assertTrue(rest > expected + 0.7, name)
    end
end
function TestExperiments:test_tournament() lu.assertStrContains(run("tournament"), "of the orders") end
function TestExperiments:test_planner() lu.assertStrContains(run("planner"), "random orders that are worse") end
function TestExperiments:test_conflict() lu.assertStrContains(run("conflict"), "A-GEM") end
function TestExperiments:test_forgetting() lu.assertStrContains(run("forgetting"), "rank correlation") end
function TestExperiments:test_drift() lu.assertStrContains(run("drift"), "what the optimizer remembers") end
-- An option given beside --quick is taken.
function TestExperiments:test_quick_is_of_what_is_not_given()
    local experiment = dofile("experiments/common.lua")
    local function options(...) return experiment.options({ ... }, { n = 9, m = 8 }, { n = 3, m = 2 }) end
    local plain, quick, both = options(), options("--quick"), options("--n", "5", "--quick")
    lu.assertEquals({ plain.n, plain.m, quick.n, quick.m, both.n, both.m }, { 9, 8, 3, 2, 5, 2 })
    local out = run("tables", "--quick", "--settings", "der-permuted", "--rows", "SGD", "--seeds", "2")
    lu.assertStrContains(out, "(2 seeds,")
end
-- What takes two seeds, orders or triples is "-" of one.
function TestExperiments:test_one_repeat()
    local small = { "--train", "60", "--test", "60", "--batch", "16", "--seeds", "1" }
    local out = run("drift", "--stages", "2", "--steps", "2", "--before", "3", "--networks", "tanh", "--changes",
        "rotated", "--optimizers", "sgd", table.unpack(small))
    local none = (" "):rep(8) .. "- [    -,     -]"
    lu.assertStrContains(out, "<g_1, [g_1, g_s]>" .. (" "):rep(24) .. none .. " " .. none .. " ")
    out = run("flatness", "--time", "1", "--rates", "0.2", "--train", "60", "--test", "60", "--seeds", "1")
    lu.assertStrContains(out, " ±   - ")
    run("forgetting", "--steps", "5", "--angles", "60", "--draws", "50", table.unpack(small))
    out = run("tournament", "--n", "3", "--instances", "1", "--steps", "2", "--batch", "16", "--many", "4", "--pool",
        "400", "--many_instances", "1", "--sampled", "4")
    lu.assertStrContains(out, "(±   -)")
    out = run("planner", "--kinds", "split", "--n", "3", "--steps", "2", "--batch", "16", "--hidden", "8", "--starts",
        "1", "--orders", "1", "--budget", "3", "--images", "240", "--samples", "40", "--path_steps", "2")
    lu.assertStrContains(out, " ±   - ")
    out = run("order_prediction", "--triples", "1", "--ks", "1", "--batch", "16", "--pool", "400", "--kinds", "split")
    lu.assertStrContains(out, "      -      -      -")
end
function TestExperiments:test_language() lu.assertStrContains(run("language"), "along the path") end
function TestExperiments:test_shuffling()
    local out = run("shuffling")
    local slopes = {}
    for value in out:match("\nsmall h([^\n]+)"):gmatch("%S+") do slopes[#slopes + 1] = tonumber(value) end
    lu.assertAlmostEquals(slopes[1], 4, 0.2)
    lu.assertAlmostEquals(slopes[3], 2, 0.1)
    lu.assertStrContains(out, "of the modified loss: slope")
end
function TestExperiments:test_games() lu.assertStrContains(run("games"), "Discretization terms") end
function TestExperiments:test_own_problem()
    local out = run("own_problem")
    local animals, pictures = out:match("\n2 +(%S+) +(%S+)")
    lu.assertTrue(tonumber(animals) > 0.9 and tonumber(pictures) > 0.9, out)
    local lines = 0
    for _ in io.lines("experiments/own_problem/run.lua") do lines = lines + 1 end
    lu.assertTrue(lines < 100)
end
function TestExperiments:test_optimizers() lu.assertStrContains(run("optimizers"), "drawn order") end
function TestExperiments:test_tables()
    local out = run("tables")
    for _, name in ipairs{ "GEM", "A-GEM", "EWC", "SI", "LwF", "DER++", "naive rehearsal", "joint" } do
        lu.assertNotNil(out:find("\n  " .. name:gsub("%p", "%%%0") .. " +0%.%d"), name)
    end
end
function TestExperiments:test_term_regression()
    local slope, other = run("term_regression"):match("flatness (%S+), conflict (%S+)")
    lu.assertAlmostEquals(tonumber(slope), 1, 0.02)
    lu.assertAlmostEquals(tonumber(other), 1, 0.02)
end
function TestExperiments:test_flatness() lu.assertStrContains(run("flatness"), "sharpness") end

-- The three predictors of order_prediction against the realised difference of k full-batch steps a task in the limit of
-- small steps: all have its leading term, (kh)^2 <grad E, [g_A, g_B]>, so that their errors are of third order.
TestPredictors = {}
function TestPredictors:test_small_steps()
    local model, k = bk.nn.mlp{ 6, 5, 3, activation = "tanh" }, 3
    local L = {}
    for i = 1, 3 do
        local rng = bk.rng(20 + i)
        local x = rng:normal{ 12, 6 }
        L[i] = bk.loss.cross_entropy(model, x, x:matmul(rng:normal{ 6, 3 }):argmax(2))
    end
    local theta0 = model:init{ seed = 4, scheme = "lecun" }
    local gA, gB, gE = bk.grad(L[1]), bk.grad(L[2]), bk.grad(L[3])
    local bracket = bk.lie(L[1], L[2])(theta0)
    local function run(first, second, h)
        local theta = theta0
        for _ = 1, k do theta = theta - first(theta) * h end
        for _ = 1, k do theta = theta - second(theta) * h end
        return L[3](theta):item()
    end
    local hs, errors, ratio = { 0.02, 0.01, 0.005, 0.0025 }, { start = {}, drift = {}, path = {} }, {}
    for n, h in ipairs(hs) do
        local kappa, realised = k * h, run(gA, gB, h) - run(gB, gA, h)
        local predicted = {
            start = kappa ^ 2 * gE(theta0):dot(bracket):item(),
            drift = kappa ^ 2 * gE(theta0 - (gA(theta0) + gB(theta0)) * kappa):dot(bracket):item(),
            path = bk.bea.path_bracket{ L[1], L[2], target = L[3], theta = theta0, time = kappa, steps = k,
                method = "euler" },
        }
        for name, value in pairs(predicted) do
            errors[name][n] = math.abs(value - realised)
            ratio[name] = value / realised
        end
    end
    for name, list in pairs(errors) do
        lu.assertAlmostEquals(bk.statistics.slope(hs, list), 3, 0.25, name)
        lu.assertAlmostEquals(ratio[name], 1, 0.1, name)
    end
end

-- With quadratic losses and one step a task what an order changes is odd of third degree in how far it departs from
-- the joint steps: two terms of the series are all of it, one is not.
function TestPredictors:test_series()
    local before = arg
    arg = { [0] = "experiments/order_prediction/run.lua" }
    local triples = dofile("experiments/triples.lua")
    arg = before
    local function loss(theta, x, y) return (x:matmul(theta) - y):square():sum() end
    local f, task = { value = loss, grad = bk.grad(loss) }, {}
    for i = 1, 3 do
        local rng = bk.rng(30 + i)
        task[i] = { x = rng:normal{ 6, 4 }, y = rng:normal{ 6 } }
    end
    local A, B, E = table.unpack(task)
    local theta, h = bk.rng(1):normal{ 4 }, 0.1
    local function ended(first, second)
        local t = theta - f.grad(theta, first.x, first.y) * h
        return loss(t - f.grad(t, second.x, second.y) * h, E.x, E.y):item()
    end
    local realised = ended(A, B) - ended(B, A)
    local series = triples.departing(f, A, B, E, theta, 1, h, 3)
    lu.assertTrue(math.abs(series[1] / realised - 1) > 1e-3)
    for m = 2, 3 do lu.assertAlmostEquals(series[m] / realised, 1, 1e-10) end
end

-- A text is a function of its stream alone: the same in every process, whatever order its tables are kept in.
TestText = {}
function TestText:test_every_process_writes_the_same()
    local program = (os.getenv("BRACKET_BUILD") or "build") .. "/bracket"
    local script = [[local g = dofile("experiments/text.lua")
        for i, family in ipairs(g.families) do io.write(g.written(family, bk.stream.new(i), 200)) end]]
    local first
    for _ = 1, 3 do
        local p <close> = io.popen(("%s -e '%s'"):format(program, script))
        local text = p:read("a")
        lu.assertTrue(#text >= 1200, text)
        first = first or text
        lu.assertEquals(text, first)
    end
end

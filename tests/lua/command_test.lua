-- The commands that look at run folders: runs, report, plot. The folders are written here, by their formats.
local lu = require "luaunit"
local files = require "files"
local bk = require "bracket"
local internal = bk.internal
local program = (os.getenv("BRACKET_BUILD") or "build") .. "/bracket"
local here = io.popen("pwd"):read("l")
if program:sub(1, 1) ~= "/" then program = here .. "/" .. program end
local root

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- What `bracket ...` prints (stdout and stderr) and its exit status, from the fixtures' folder.
local function run(...)
    local words = {}
    for k, word in ipairs{ ... } do words[k] = quote(word) end
    local p = io.popen(("cd %s && %s %s 2>&1; echo \"status $?\""):format(root, program, table.concat(words, " ")))
    local output, status = p:read("a"):match("^(.*)status (%d+)\n$")
    p:close()
    return output, tonumber(status)
end

local function fails(status, message, ...)
    local output, got = run(...)
    lu.assertEquals(got, status, output)
    lu.assertStrContains(output, message)
    lu.assertNotStrContains(output, "traceback")
    lu.assertEquals(output:find("usage:", 1, true) ~= nil, status == 2, output)
end

local function write(path, text) internal.write_file(root .. "/" .. path, text) end
local function read(path) return files.read(root .. "/" .. path) end

-- The cells of the row that begins so; two spaces or more are between them.
local function cells(output, first)
    for line in output:gmatch("[^\n]+") do
        local list = {}
        for cell in (line .. "  "):gmatch("(%S.-)%s%s+") do list[#list + 1] = cell end
        if list[1] == first and list[2] then return list end
    end
end

local TASKS = { { name = "digits", train = 60, test = 20, loss = "cross_entropy" },
    { name = "<script>alert(1)</script>", train = 50, test = 10, loss = "cross_entropy" } }

local ROWS = { { step = 0, task = 0, lr = 0, loss = 4, ["accuracy.1"] = 0.5, ["accuracy.2"] = 0.25 },
    { step = 10, task = 2, lr = 0.05, loss = 2, ["accuracy.1"] = 0.375, ["accuracy.2"] = 1 },
    { step = 20, task = 1, lr = 0.05, loss = 0.03125, ["accuracy.1"] = 0.875, ["accuracy.2"] = 0.625 } }

-- A run's folder; config and status change what is usual, `rows` are the recorded ones.
local function make(dir, config, status, rows)
    internal.make_folder(root .. "/" .. dir)
    local c = { model = "mlp 4-3-2 tanh", n_params = 23, tasks = TASKS, order = "sequential", lr = 0.05, steps = 10,
        batch = 8, optimizer = { name = "sgd", momentum = 0.5 }, interventions = { { name = "ewc", strength = 3 } },
        record = { every = 5 }, seed = 1, dtype = "float64", reduction = "sum", script = "train.lua",
        arguments = { "--seed", "1", "--quick" }, checkpoint_every = 10, own_field = "kept" }
    local s = { status = "finished", step = 20, total = 20, started = "2025-01-02T03:04:05Z",
        updated = "2025-01-02T03:05:06Z", seconds = 61.25, learned = { 2, 1 },
        metrics = { average_accuracy = 0.75, forgetting = 0.25 },
        accuracy = { { 0.5, 0.25 }, { 0.375, 1.0 }, { 0.875, 0.625 } },
        test_loss = { { 0.7, 0.8 }, { 0.9, 0.1 }, { 0.2, 0.4 } } }
    for name, value in pairs(config or {}) do c[name] = value ~= "none" and value or nil end
    for name, value in pairs(status or {}) do s[name] = value ~= "none" and value or nil end
    write(dir .. "/config.json", internal.to_json(c, 2))
    write(dir .. "/env.json", internal.to_json{ bracket = "0.1", threads = 2, vector = "avx2", odd = { deep = true } })
    write(dir .. "/status.json", internal.to_json(s))
    local lines = {}
    for k, row in ipairs(rows or ROWS) do
        lines[k] = internal.to_json(row) .. "\n"
    end
    write(dir .. "/metrics.jsonl", table.concat(lines))
end

local function set_up()
    root = files.folder()
end

local function tear_down() os.execute("rm -rf " .. quote(root)) end

TestRuns = { setUp = set_up, tearDown = tear_down }

function TestRuns:test_list_has_a_line_for_every_run()
    make("runs/a", nil, { started = os.date("!%Y") .. "-01-02T03:04:05Z" })
    make("runs/deep/b", { seed = 7, lr = { 0.1, 0.2 } }, { status = "running", step = 3, metrics = "none" }, {})
    make("runs/c", { lr = "cosine", seed = "none" }, { status = "failed", metrics = "none", step = "none" })
    local output, status = run("runs", "list")
    lu.assertEquals(status, 0)
    lu.assertEquals(cells(output, "run"), { "run", "status", "step", "seed", "lr", "started", "accuracy", "forgetting",
        "loss" })
    lu.assertEquals(cells(output, "runs/a"), { "runs/a", "finished", "20/20", "1", "0.05", "01-02 03:04", "0.7500",
        "0.2500", "0.0312" })
    lu.assertEquals(cells(output, "runs/deep/b"), { "runs/deep/b", "stopped", "3/20", "7", "0.1, 0.2", "2025-01-02",
        "-", "-", "-" }) -- it says "running", but no process writes it
    local mine = bk._claim.take(root .. "/runs/deep/b/run.lock")
    lu.assertEquals(cells(run("runs", "list"), "runs/deep/b")[2], "running")
    mine:release()
    lu.assertEquals(cells(output, "runs/c"), { "runs/c", "failed", "-/20", "-", "cosine", "2025-01-02", "-", "-",
        "0.0312" })
    lu.assertEquals(select(2, output:gsub("\n", "")), 4)
    lu.assertEquals(run("runs", "list", "runs/", "runs/a"), output) -- a run is listed once
end

-- An argument that is seen in nothing else, since it acts through a global, tells settings apart all the same; one that
-- is seen in another entry is not shown twice.
function TestRuns:test_arguments_tell_settings_apart()
    for c = 0, 1 do
        for k = 1, 2 do
            for seed = 1, 3 do
                make(("s/c=%d,lr=%d,seed=%d"):format(c, k, seed), { seed = seed, lr = 0.1 * k,
                    arguments = { c = c, lr = 0.1 * k, seed = seed, out = "s/" .. seed } })
            end
        end
    end
    local output = run("runs", "compare", "s")
    local head = cells(output:match("over seeds.*"), "metric")
    lu.assertEquals({ head[2], head[3], head[4], head[5] }, { "c", "lr", "n", "of" })
    lu.assertEquals(select(2, output:gsub("\n  loss +%d +0%.%d +3 +3 ", "")), 4)
    lu.assertNotStrContains(output, "arguments.lr")
    lu.assertNotStrContains(output, "arguments.seed")
end

function TestRuns:test_a_group_without_a_finite_number_is_told()
    for k = 1, 2 do
        for seed = 1, 2 do
            make(("s/%d-%d"):format(k, seed), { seed = seed, lr = k }, { metrics = "none", status = k == 2 and "failed"
                or "finished" }, { { step = 0, loss = k == 2 and 0 / 0 or seed } })
        end
    end
    local output = run("runs", "compare", "s")
    lu.assertEquals(cells(output:match("over seeds.*"), "loss"), { "loss", "1", "2", "2", "1.5000", "-4.8531",
        "7.8531" })
    lu.assertStrMatches(output, ".*\n  loss +2 +0 +2 +%- +%- +%-\n.*")
    lu.assertStrMatches(output, ".*\n  +2 +0 of 2 +1, 2 +seed 1, 2\n.*") -- both diverged
end

-- Digests that are one for a seed vary with it; one that is another at the same seed, or common to some seeds, is a
-- treatment. Seeds are in the order of numbers, and each run that did not finish is named.
function TestRuns:test_digests_vary_with_the_seed_or_are_settings()
    local function task(digest) return { { name = "t", train = 4, digest = { train = { x = digest } } } } end
    for _, seed in ipairs{ 1, 2, 10 } do
        make("s/seed=" .. seed, { seed = seed, theta = "t" .. seed, tasks = task("d" .. seed),
            arguments = { seed = seed, width = 3 } }, { status = seed == 2 and "failed" or "finished",
            message = seed == 2 and "step 3: the loss is inf" or "none" })
    end
    local output = run("runs", "compare", "s")
    lu.assertStrContains(output, "varies with the seed: data, theta")
    lu.assertStrMatches(output, ".*\n  2 of 3 +1, 2, 10 +seed 2\n.*")
    lu.assertEquals(cells(output, "average_accuracy"), { "average_accuracy", "2", "3", "0.7500", "0.7500", "0.7500" })
    lu.assertTrue(output:find("seed=2 ", 1, true) < output:find("seed=10 ", 1, true))
    for _, seed in ipairs{ 1, 2, 10 } do -- other data at the same seeds
        make("s/other,seed=" .. seed, { seed = seed, theta = "t" .. seed, tasks = task("e" .. seed),
            arguments = { seed = seed, width = 3 } })
    end
    lu.assertNotStrContains(run("runs", "compare", "s"), " 6 ")
    os.execute("rm -rf " .. quote(root .. "/s"))
    for seed = 1, 6 do -- one data set for the first three seeds, another for the others
        make("s/seed=" .. seed, { seed = seed, tasks = task(seed < 4 and "a" or "b"), arguments = { seed = seed } })
    end
    output = run("runs", "compare", "s")
    lu.assertStrMatches(output, ".*\n  a +3 of 3 +1%.%.3\n.*")
    lu.assertStrMatches(output, ".*\n  b +3 of 3 +4%.%.6\n.*")
end

-- A digest that is one for each setting, whatever the seed, neither varies with the seed nor is a setting.
function TestRuns:test_digests_that_follow_from_the_settings_are_not_told()
    for k = 1, 2 do
        for seed = 1, 3 do
            make(("s/%d,%d"):format(k, seed), { seed = seed, order = "sequential", order_digest = "o" .. k,
                theta = "t" .. seed, arguments = { seed = seed, first = k } })
        end
    end
    local output = run("runs", "compare", "s")
    lu.assertStrMatches(output, ".*varies with the seed: theta\n.*")
    lu.assertNotStrContains(output:match("equal in all 6: [^\n]*"), "order")
    lu.assertNotStrContains(output, "order_digest")
    lu.assertEquals(select(2, output:gsub("\n  %d +3 of 3 +1%.%.3\n", "\n")), 1)
end

-- A job that failed before its run began is one of the group that its arguments name.
function TestRuns:test_a_job_without_a_run_is_in_its_group()
    for c = 0, 1 do
        for _, seed in ipairs{ 1, 2 } do
            make(("s/c=%d,seed=%d"):format(c, seed), { seed = seed, arguments = { c = c, seed = seed, layers = { 8, 4 },
                out = "x" } })
        end
    end
    internal.make_folder(root .. "/s/c=1,seed=3")
    for _, list in ipairs{ "8,4", "[8,4]" } do
        write("s/c=1,seed=3/job.json", internal.to_json{ status = "failed", exit = 1,
            arguments = { "s.lua", "--c", "1", "--layers", list, "--seed", "3", "--out", "s/c=1,seed=3" } })
        local output = run("runs", "compare", "s")
        lu.assertStrMatches(output, ".*\n  0 +2 of 2 +1, 2 +%-\n.*")
        lu.assertStrMatches(output, ".*\n  1 +2 of 3 +1%.%.3 +seed 3\n.*")
    end
end

-- Where all jobs of a setting failed before their runs began, that setting is one group, told from those of the runs.
function TestRuns:test_jobs_without_runs_have_groups_of_their_own()
    for seed = 1, 2 do
        make("s/lr=0.1,seed=" .. seed, { seed = seed, lr = 0.1, arguments = { lr = 0.1, seed = seed, out = "x" } })
        for _, lr in ipairs{ "0.8", "0.9" } do
            local name = ("s/lr=%s,seed=%d"):format(lr, seed)
            internal.make_folder(root .. "/" .. name)
            write(name .. "/job.json", internal.to_json{ status = "failed", exit = 1,
                arguments = { "s.lua", "--lr", lr, "--seed", tostring(seed), "--out", name } })
        end
    end
    local output = run("runs", "compare", "s")
    lu.assertStrMatches(output, ".*\n  0%.1 +2 of 2 +1, 2 +%-\n.*")
    for _, lr in ipairs{ "0%.8", "0%.9" } do
        lu.assertStrMatches(output, ".*\n  " .. lr .. " +0 of 2 +1, 2 +seed 1, 2\n.*")
    end
    lu.assertStrMatches(output, ".*\n  lr=0%.9,seed=1 +0%.9 +1\n.*")
    lu.assertNotStrContains(output:match("equal in all 2: [^\n]*"), " lr")
    os.execute("rm -rf " .. quote(root .. "/s/lr=0.1,seed=1") .. " " .. quote(root .. "/s/lr=0.1,seed=2"))
    output = run("runs", "compare", "s")
    lu.assertStrMatches(output, ".*over seeds[^\n]*\n  none\n.*")
end

-- Differences 1, 2, 1 at the seeds 1, 2, 10, which both have and finished: mean 4/3, standard deviation sqrt(1/3), and
-- t = 4.30265 for two degrees of freedom (its quantile in closed form). What is alone (seeds 4, 5) or has no number
-- (6, 7) takes no part.
local T2 = 0.95 / math.sqrt(2 * 0.975 * 0.025)
local function two_groups()
    local own = { { [1] = 1, [2] = 2, [10] = 4, [5] = 9, [6] = 1, [7] = 1 },
        { [1] = 2, [2] = 4, [10] = 5, [4] = 100, [6] = 2, [7] = "none" } }
    for k, values in ipairs(own) do
        for seed, v in pairs(values) do
            make(("s/n=%d,seed=%d"):format(k, seed), { seed = seed, arguments = { n = k, seed = seed } }, { metrics =
                { own = v ~= "none" and v or nil }, status = seed == 6 and k == 2 and "failed" or "finished" })
        end
    end
end

function TestRuns:test_groups_are_compared_at_common_seeds()
    two_groups()
    local function paired(...) return run("runs", "compare", "s", ...):match("\npaired by seed: .*") end
    local half = T2 * math.sqrt(1 / 3) / math.sqrt(3)
    local function expected(n, mean)
        return { "own", n, "3", ("%.4f"):format(mean), ("%.4f"):format(mean - half), ("%.4f"):format(mean + half) }
    end
    lu.assertEquals(cells(paired(), "own"), expected("2", 4 / 3))
    lu.assertStrContains(paired(), "n counts the seeds that both have; the baseline: n = 1\n")
    lu.assertEquals(cells(paired("--baseline", "arguments.n == 2"), "own"), expected("1", -4 / 3))
    lu.assertEquals(cells(paired("--where", "seed < 2 or seed > 6", "--baseline", "arguments.n == 1"), "own"),
        { "own", "2", "2", "1.0000", "1.0000", "1.0000" })
    lu.assertNil(paired("--where", "seed == 1 or seed == 4")) -- nothing to say of one pair, unless it is asked for
    lu.assertEquals(cells(paired("--where", "seed == 1 or seed == 4", "--baseline", "arguments.n == 1"), "own"),
        { "own", "2", "1", "1.0000", "-", "-" })
    lu.assertStrContains(paired("--where", "seed == 5 or seed == 4", "--baseline", "arguments.n == 1"),
        "no seed in common")
    lu.assertStrContains(paired("--where", "arguments.n == 1", "--baseline", "seed == 1"), "no other group")
    run("report", "s")
    lu.assertStrContains(read("s/report.html"), "paired by seed")
    fails(1, "--baseline: expected runs of one group, got 2 groups: n = 1; n = 2", "runs", "compare", "s",
        "--baseline", "seed == 1")
    fails(1, "--baseline: expected runs of one group, got none", "runs", "compare", "s", "--baseline", "seed == 3")
    fails(1, "runs compare: --baseline: no run has nn", "runs", "compare", "s", "--baseline", "nn == 3")
    fails(2, '--baseline: unexpected symbol near <eof> in "n =="', "runs", "compare", "s", "--baseline", "n ==")
    fails(2, "--csv or --json, not both", "runs", "compare", "s", "--csv", "--json")
end

-- Runs of one seed that a group pools count once, as their mean.
function TestRuns:test_runs_of_a_seed_are_one_pair()
    for k = 1, 2 do
        for _, lr in ipairs{ 1, 3 } do
            for seed = 1, 2 do
                make(("s/%d-%d-%d"):format(k, lr, seed), { seed = seed, lr = lr, arguments = { k = k, lr = lr,
                    seed = seed } }, { metrics = { own = k * lr * seed } })
            end
        end
    end
    local output = run("runs", "compare", "s", "--group-by", "k"):match("\npaired by seed: .*")
    -- 2 and 4 more: mean 3, t = 12.7062 for one degree of freedom, standard error 1
    lu.assertEquals(cells(output, "own"), { "own", "2", "2", "3.0000", "-9.7062", "15.7062" })
    lu.assertStrContains(output, "n counts the seeds that both have, over whose runs the mean is taken; the baseline")
end

function TestRuns:test_compare_as_csv_and_json()
    two_groups()
    local rows = internal.from_json((run("runs", "compare", "s", "--json")))
    local lines = {}
    for line in run("runs", "compare", "s", "--csv"):gmatch("[^\n]+") do lines[#lines + 1] = line end
    lu.assertEquals({ #rows, #lines }, { 4, 5 }) -- loss and own, of two groups
    lu.assertEquals(lines[1], "arguments.n,metric,n,of,mean,low,high,baseline,pairs,difference,difference_low,"
        .. "difference_high")
    lu.assertStrMatches(lines[4], "1,own,6,6,3,.*,true,,,,")
    local half = T2 / 3
    lu.assertEquals({ rows[3]["arguments.n"], rows[3].baseline, rows[3].mean, rows[3].pairs }, { 1, true, 3 })
    local own = rows[4]
    lu.assertEquals({ own["arguments.n"], own.metric, own.n, own.of, own.mean, own.baseline, own.pairs, own.seeds },
        { 2, "own", 4, 6, 111 / 4, false, 3, { 1, 2, 10 } })
    lu.assertAlmostEquals(own.difference, 4 / 3, 1e-14)
    lu.assertAlmostEquals(own.difference_low, 4 / 3 - half, 1e-12)
    lu.assertAlmostEquals(own.difference_high, 4 / 3 + half, 1e-12)
    local cell, c = {}, 0
    for text in lines[5]:gmatch("[^,]+") do
        c = c + 1
        cell[c] = tonumber(text) or text
    end
    lu.assertEquals(cell, { 2, "own", 4, 6, own.mean, own.low, own.high, "false", 3, own.difference,
        own.difference_low, own.difference_high })
    rows = internal.from_json((run("runs", "compare", "s", "--json", "--where", "seed == 4 or seed == 5")))
    lu.assertEquals({ rows[4].pairs, rows[4].seeds, rows[4].difference }, { 0, {} })
    write("s/n=1,seed=1/config.json", "{ oops") -- the rest is told
    local output, status = run("runs", "compare", "s", "--csv")
    lu.assertEquals(status, 1)
    lu.assertStrContains(output, "\n2,own,4,6,27.75,")
    lu.assertStrContains(output, "n=1,seed=1/config.json: line 1")
end

function TestRuns:test_a_broken_run_does_not_hide_the_others()
    for k = 1, 3 do make("s/" .. k, { lr = k }) end
    write("s/2/config.json", "{ oops")
    for _, arguments in ipairs{ { "runs", "compare", "s" }, { "runs", "list", "s" } } do
        local output, status = run(table.unpack(arguments))
        lu.assertEquals(status, 1)
        lu.assertStrContains(output, "s/2/config.json: line 1")
        lu.assertStrMatches(output, ".*\n *%S*3 .*")
    end
    local output, status = run("report", "s")
    lu.assertEquals(status, 1)
    lu.assertStrContains(output, "s/2/config.json: line 1")
    lu.assertStrContains(read("s/report.html"), "left out: report: s/2/config.json: line 1")
end

function TestRuns:test_list_without_runs_says_so()
    lu.assertEquals({ run("runs", "list") }, { "no runs in runs\n", 0 })
    internal.make_folder(root .. "/empty")
    lu.assertEquals({ run("runs", "list", "empty") }, { "no runs in empty\n", 0 })
    fails(1, "bracket: runs list: DIR: expected a folder, got nosuch: No such file", "runs", "list", "nosuch")
end

function TestRuns:test_broken_files_are_named()
    make("runs/a")
    make("runs/b")
    write("runs/b/status.json", '{"status": ')
    local output, status = run("runs", "list")
    lu.assertEquals(status, 1)
    lu.assertStrContains(output, "bracket: runs list: runs/b/status.json: line 1")
    lu.assertEquals(cells(output, "runs/a")[2], "finished")
    for _, text in ipairs{ "3", "null", "[1]", '"x"' } do
        write("runs/b/status.json", text)
        fails(1, "runs show: runs/b/status.json: expected an object, got ", "runs", "show", "runs/b")
    end
    make("runs/b")
    write("runs/b/config.json", "{]")
    fails(1, "runs compare: runs/b/config.json: line 1", "runs", "compare", "runs")
    make("runs/b")
    write("runs/b/metrics.jsonl", '{"step":1}\nnot\n{"step":3}\n')
    fails(1, "runs show: runs/b/metrics.jsonl: row 2: line 1", "runs", "show", "runs/b")
    fails(1, "plot: runs/b/metrics.jsonl: row 2: line 1", "plot", "runs", "step")
    fails(1, "report: runs/b/metrics.jsonl: row 2: line 1", "report", "runs/b")
    write("runs/b/metrics.jsonl", '{"step":1}\n7\n')
    fails(1, "runs show: runs/b/metrics.jsonl: ", "runs", "show", "runs/b")
end

function TestRuns:test_show_says_everything()
    make("a", nil, { order_matrix = { { 0, 16.000000000000011 }, { -16.000000000000011, 0 } } })
    bk.save_safetensors(root .. "/a/checkpoint-10.safetensors", { x = bk.ones{ 1 } })
    bk.save_safetensors(root .. "/a/checkpoint-20.safetensors", { x = bk.ones{ 1 } })
    local output, status = run("runs", "show", "a/")
    lu.assertEquals(status, 0)
    for _, row in ipairs{ { "status", "finished" }, { "step", "20 of 20" }, { "started", "2025-01-02T03:04:05Z" },
        { "seconds", "61.2500" }, { "checkpoints", "10, 20" }, { "learned", "2, 1" }, { "average_accuracy", "0.7500" },
        { "forgetting", "0.2500" }, { "batch", "8" }, { "lr", "0", "0.0500" },
        { "optimizer", "name = sgd, momentum = 0.5" },
        { "interventions.1", "name = ewc, strength = 3" }, { "own_field", "kept" }, { "odd", "deep = true" },
        { "tasks.1", "name = digits, loss = cross_entropy, test = 20, train = 60" }, { "threads", "2" },
        { "arguments", "--seed, 1, --quick" }, { "before", "0.5000", "0.2500" }, { "after digits", "0.8750", "0.6250" },
        { "after <script>alert(1)</script>", "0.3750", "1.0000" }, { "column", "first", "last" },
        { "loss", "4", "0.0312" }, { "accuracy.1", "0.5000", "0.8750" }, { "digits", "<script>alert(1)</script>" } } do
        lu.assertEquals(cells(output, row[1]), row)
    end
    lu.assertStrContains(output, "after digits                     0.2000                     0.4000")
    lu.assertStrMatches(output, ".*\norder matrix\n[^\n]+\n  digits +0 +16%.0000\n.*")
    lu.assertStrContains(output, "recorded, 3 rows")
end

function TestRuns:test_show_of_a_run_that_is_not_done()
    internal.make_folder(root .. "/a")
    write("a/status.json", [[
{"status":"failed","message":"the loss is\n nan \u001b[31m","accuracy":null,"metrics":null}]])
    local output, status = run("runs", "show", "a")
    lu.assertEquals(status, 0, output)
    lu.assertEquals(cells(output, "message")[2], "the loss is")
    lu.assertStrContains(output, "\\x1b[31m")
    lu.assertNil(output:find("\27", 1, true))
    lu.assertStrContains(output, "final metrics\n  none yet")
    lu.assertStrContains(output, "recorded, 0 rows\n  nothing")
    lu.assertStrContains(output, "config.json is missing")
end

function TestRuns:test_wide_tables_fit_80_columns()
    local names, row, tasks = {}, {}, {}
    for i = 1, 20 do
        names[i], row[i] = i, i / 32
        tasks[i] = { name = "a task with a long name " .. i }
    end
    make("a", { tasks = tasks }, { learned = names, accuracy = { row, row } })
    local output = run("runs", "show", "a")
    local matrix = output:match("accuracy on each task\n(.-)\ntest loss")
    for line in matrix:gmatch("[^\n]+") do lu.assertTrue(#line <= 80, line) end
    for i = 1, 20 do lu.assertStrContains(matrix, ("%.4f"):format(i / 32)) end
    lu.assertStrContains(matrix, "\n  before")
end

function TestRuns:test_compare_shows_what_differs()
    make("r/a")
    make("r/b", { lr = { 0.1, 0.2 }, optimizer = { name = "adam", momentum = 0.5, beta = 0.25 }, interventions = {} },
        { metrics = { average_accuracy = 0.5, own = 2 }, status = "paused" })
    local output, status = run("runs", "compare", "r/a", "r/b")
    lu.assertEquals(status, 0)
    local differ, finals = output:match("^(.-)\n\n(final metrics.*)$")
    lu.assertStrContains(differ, "configuration entries that differ")
    lu.assertEquals(cells(differ, "run"), { "run", "interventions.1.name", "interventions.1.strength", "lr",
        "optimizer.beta" })
    lu.assertEquals(cells(differ, "a"), { "a", "ewc", "3", "0.05", "-" })
    lu.assertEquals(cells(differ, "b"), { "b", "-", "-", "0.1,0.2", "0.25" })
    lu.assertStrContains(run("runs", "list", "r", "--where", 'lr == "0.1,0.2"'), "r/b") -- as it is shown
    lu.assertStrContains(differ, "optimizer.name")
    lu.assertStrContains(differ, "adam")
    lu.assertStrContains(differ, "equal in all 2: arguments, batch, checkpoint_every, dtype, model, n_params, "
        .. "optimizer.momentum, order, own_field, record, reduction, script, seed, steps, tasks")
    lu.assertEquals(cells(finals, "run"), { "run", "status", "average_accuracy", "forgetting", "loss", "own" })
    lu.assertEquals(cells(finals, "a"), { "a", "finished", "0.7500", "0.2500", "0.0312", "-" })
    lu.assertEquals(cells(finals, "b"), { "b", "paused", "0.5000", "-", "0.0312", "2" })
    lu.assertNotStrContains(output, "interval")
    lu.assertEquals(run("runs", "compare", "r"), output)
end

-- 0.7, 0.8, 0.9: mean 0.8, sd 0.1, t(2) = 4.303, half 4.303 * 0.1 / sqrt(3) = 0.24843.
function TestRuns:test_a_run_without_its_configuration_is_compared_all_the_same()
    make("a")
    make("b")
    os.remove(root .. "/b/config.json")
    make("c")
    write("c/config.json", "{}")
    local output, status = run("runs", "compare", root)
    lu.assertEquals(status, 0, output)
    lu.assertStrContains(output, "final metrics")
    write("c/metrics.jsonl", "[1, 2]\n")
    for _, command in ipairs{ { "plot", root, "loss" }, { "report", root }, { "runs", "show", root .. "/c" } } do
        fails(1, "c/metrics.jsonl: row 1: expected an object, got [1, 2]", table.unpack(command))
    end
end

function TestRuns:test_compare_gives_intervals_over_seeds()
    for k = 1, 9 do
        make("s/" .. k, { seed = k, arguments = { "--seed", tostring(k), "--quick", "--out=s/" .. k } },
            { metrics = { average_accuracy = 0.5 + k / 10 } })
    end
    local three = run("runs", "compare", "s/2", "s/3", "s/4")
    lu.assertEquals(cells(three, "run"), { "run", "seed" })
    lu.assertEquals(cells(three, "metric"), { "metric", "n", "of", "mean", "low", "high" })
    local means = three:match("interval.*")
    lu.assertEquals(cells(means, "average_accuracy"), { "average_accuracy", "3", "3", "0.8000", "0.5516", "1.0484" })
    lu.assertEquals(cells(means, "loss"), { "loss", "3", "3", "0.0312", "0.0312", "0.0312" })
    local nine = run("runs", "compare", "s") -- runs stay rows: nine are as readable as three
    for k = 1, 9 do lu.assertEquals(cells(nine, tostring(k)), { tostring(k), tostring(k) }) end
    make("s/10", { seed = 2, lr = 0.5 })
    make("s/11", { seed = 3, lr = 0.5 })
    means = run("runs", "compare", "s/2", "s/3", "s/10", "s/11"):match("interval.*")
    lu.assertEquals(cells(means, "metric"), { "metric", "lr", "n", "of", "mean", "low", "high" })
    lu.assertStrContains(means, "average_accuracy  0.05  2   2  0.7500  0.1147  1.3853") -- 12.706 * 0.0707107 / sqrt(2)
    lu.assertStrContains(means, "average_accuracy   0.5  2   2  0.7500  0.7500  0.7500")
    means = run("runs", "compare", "s/2", "s/3", "s/10"):match("interval.*")
    lu.assertEquals(cells(means, "metric"), { "metric", "n", "of", "mean", "low", "high" })
    lu.assertStrContains(means, "left out: 1 with settings of their own")
    for k, seed in ipairs{ 1, 1, 1, 2 } do make("again/" .. k, { seed = seed }) end
    local again = run("runs", "compare", "again")
    lu.assertStrContains(again, "over runs: mean and 95 %")
    lu.assertStrContains(again, "n counts the same run again, and intervals are too narrow: seed 1, 3 times")
    for k = 1, 4 do make("pool/" .. k, { seed = 1 + k // 3, lr = k % 2 == 0 and 0.1 or 0.2 }) end
    again = run("runs", "compare", "pool", "--group-by", "batch")
    lu.assertStrContains(again, "over runs: mean and 95 %")
    lu.assertStrContains(again, "n counts runs, pooled over lr")
end

function TestRuns:test_mistakes()
    make("runs/a")
    make("runs/b")
    write("file", "x")
    fails(2, "bracket runs: expected list, show, compare, tag, untag or rm, got nothing", "runs")
    fails(2, 'bracket runs: expected list, show, compare, tag, untag or rm, got "lst"', "runs", "lst")
    fails(2, 'bracket runs: show: unknown option "--all"; known: none', "runs", "show", "--all")
    fails(2, "bracket runs: show: expected DIR..., got nothing", "runs", "show")
    fails(2, 'bracket runs: list: --columns: lr stands twice in "lr, seed,lr"', "runs", "list", "r", "--columns",
        "lr, seed,lr")
    fails(2, 'bracket runs: compare: --group-by: lr stands twice in "lr,lr"', "runs", "compare", "r", "--group-by", "lr,lr")
    fails(2, 'bracket plot: --group-by: lr stands twice in "lr,lr"', "plot", "r", "loss", "--group-by", "lr,lr")
    fails(2, 'bracket report: --group-by: lr stands twice in "lr,lr"', "report", "r", "--group-by", "lr,lr")
    fails(2, "bracket runs: compare: expected DIR DIR..., got nothing", "runs", "compare")
    fails(1, "bracket: runs show: DIR: expected a run folder, got runs, which holds runs: runs/a, ...", "runs", "show",
        "runs")
    fails(1, "bracket: runs show: DIR: expected a folder, got the file file", "runs", "show", "file")
    fails(1, "bracket: runs compare: expected two or more runs, got one: runs/a", "runs", "compare", "runs/a",
        "runs/a/")
    internal.make_folder(root .. "/empty")
    for _, command in ipairs{ { "runs", "show", "empty" }, { "runs", "compare", "empty" }, { "report", "empty" },
        { "plot", "empty", "loss" } } do
        fails(1, ": empty: expected a run folder or a folder of runs", table.unpack(command))
    end
    fails(2, "bracket report: expected one DIR, got 0", "report")
    fails(2, "bracket report: --out: expected FILE, got nothing", "report", "runs", "--out")
    fails(1, "bracket: report: nosuch/x.html: cannot be written", "report", "runs/a", "--out", "nosuch/x.html")
    fails(2, 'bracket plot: expected DIR... COLUMN, got only "loss"', "plot", "loss")
    fails(2, 'bracket plot: --logy: takes no value, got "3"', "plot", "runs", "loss", "--logy=3")
    fails(2, 'bracket plot: --out: expected FILE, got "--logx"', "plot", "runs", "loss", "--out",
        "--logx")
    fails(1, 'plot: COLUMN: expected one of accuracy.1, accuracy.2, loss, lr, step, task, got "los"', "plot", "runs",
        "los")
    fails(1, 'plot: out: expected a name ending in .png, .svg or .pdf, got "x.gif"', "plot", "runs", "loss", "--out=x.gif")
    for _, command in ipairs{ "runs", "report", "plot" } do
        local output, status = run(command, "--help")
        lu.assertEquals(status, 0)
        lu.assertStrContains(output, "usage: bracket " .. command)
    end
end

TestReport = { setUp = set_up, tearDown = tear_down }

local VOID = { ["!doctype"] = true, meta = true, br = true, wbr = true, img = true, link = true, input = true }

-- Every tag is closed in its order, every id is there once, and what is referred to is there.
local function check_html(text)
    local open, ids, references = {}, {}, {}
    local scripts = select(2, text:gsub("<script", ""))
    text = text:gsub("<script[^>]*>(.-)</script>", "") -- its text is none of the page's
    lu.assertEquals(scripts, 2) -- the numbers and what draws them
    for close, name, rest, self in text:gmatch("<(/?)([%a!][%w]*)([^<>]-)(/?)>") do
        name = name:lower()
        if close == "/" then
            lu.assertEquals(table.remove(open), name)
        elseif self == "" and not VOID[name] then
            open[#open + 1] = name
        end
        for id in rest:gmatch("%sid=['\"]([^'\"]*)") do
            lu.assertNil(ids[id], id)
            ids[id] = true
        end
        for id in rest:gmatch("href=['\"](#[^'\"]*)") do references[#references + 1] = id end
        for id in rest:gmatch("url%(([^)]*)") do references[#references + 1] = id end
    end
    lu.assertEquals(open, {})
    lu.assertNil(text:gsub("<[^<>]*>", ""):find("<", 1, true))
    for _, id in ipairs(references) do lu.assertTrue(id:sub(1, 1) == "#" and ids[id:sub(2)] ~= nil, id) end
    lu.assertEquals(text:sub(1, 15), "<!DOCTYPE html>")
    local links = text:gsub('xmlns="http://www%.w3%.org/2000/svg"', "")
    lu.assertNil(links:find("https?:"))
    lu.assertNil(links:find("%ssrc=") or links:find("@import") or links:find("<script"))
    lu.assertEquals(select(2, links:gsub("<link", "")), 1) -- an empty icon
    lu.assertStrContains(links, "content=\"default-src 'none';")
    lu.assertNil(text:find("<?xml", 1, true))
    lu.assertNotNil(utf8.len(text))
    return #references
end

-- The page's numbers, as its script reads them.
local function data_of(text)
    return internal.from_json(text:match('<script type="application/json" id="data">(.-)</script>'))
end

function TestReport:test_the_page_is_whole()
    make("a", { ["odd <&> name"] = 'a "quoted" \1 text' })
    lu.assertEquals({ run("report", "a/") }, { "a/report.html\n", 0 })
    local text = read("a/report.html")
    check_html(text)
    for _, part in ipairs{ "<title>a</title>", "&lt;script&gt;alert(1)&lt;/script&gt;", "odd &lt;&amp;&gt; name",
        "a &quot;quoted&quot; \\x01 text", '<th scope="row">average_accuracy</th><td>0.7500</td>',
        '<th scope="row">after digits</th><td class="n" style="background:#',
        "finished", "20 of 20", "name = sgd, momentum = 0.5", "avx2", "the next task begins" } do
        lu.assertStrContains(text, part)
    end
    lu.assertEquals(select(2, text:gsub("<figure ", "")), 4) -- loss, accuracy, lr, task
    local figures = data_of(text).figures
    lu.assertEquals({ figures[1].title, figures[1].log, figures[1].marks }, { "loss", true, { 10 } })
    lu.assertEquals({ figures[2].series[1].label, figures[2].series[1].m }, { "accuracy.1", { 0.5, 0.375, 0.875 } })
    lu.assertStrContains(text, 'aria-label="loss over the step. loss: 4 at step 0, 0.0312 at step 20')
    lu.assertEquals({ figures[3].title, data_of(text).xs[figures[3].series[1].x + 1] }, { "lr", { 10, 20 } })
    lu.assertEquals({ run("report", "a", "--out=b.html") }, { "b.html\n", 0 })
    lu.assertEquals(#read("b.html"), #text)
end

-- Forgetting is the best accuracy after the task was learned, less the last: 1 - 0.625 of the one learned first.
function TestReport:test_matrices()
    make("a", nil, { order_matrix = { { 0, 5.75 }, { -5.75, 0 } } },
        { { step = 1, gram_1_1 = 2.5, gram_1_2 = -0.125, gram_2_2 = 7.5 } })
    run("report", "a")
    local text = read("a/report.html")
    check_html(text)
    for title, cells in pairs{ ["accuracy on each task"] = { "0.5000", "0.3750", "0.6250" },
        ["forgetting: the best before, less what is"] = { "0.3750" }, ["order matrix"] = { "-5.7500", "5.7500" },
        ["test loss on each task"] = { "0.7000" },
        ["Gram matrix of the tasks&#39; gradients, at the end"] = { "2.5000", "-0.1250", "7.5000" } } do
        local from = assert(text:find("<h3>" .. title, 1, true), title)
        local part = text:sub(from, text:find("</table>", from, true))
        for _, cell in ipairs(cells) do lu.assertStrContains(part, ">" .. cell .. "</td>") end
    end
    lu.assertStrContains(text:match("<h3>forgetting.-</table>"), 'class="n hatch"') -- not yet learned
    lu.assertNotStrContains(text, "order_matrix.1")
end

function TestReport:test_names_cannot_break_the_page()
    local row = { step = 1, ["<script>x</script>"] = 1, ["a'b\" id='c' href='#d'>"] = 2, ["%1 &amp;"] = 3,
        ["\u{85}\u{e9}"] = 4 }
    make("a", nil, { message = "</td></table><script>\u{85}" }, { row, row })
    os.rename(root .. "/a", root .. "/<b>\xff&")
    lu.assertEquals(select(2, run("report", "<b>\xff&")), 0)
    local text = read("<b>\xff&/report.html")
    check_html(text)
    lu.assertStrContains(text, "<h1>&lt;b&gt;\u{FFFD}&amp;</h1>")
end

function TestReport:test_no_other_program_is_needed()
    make("a")
    local p = io.popen(("cd %s && PATH=/nonexistent && export PATH && %s report a"):format(root, program))
    lu.assertEquals(p:read("a"), "a/report.html\n")
    p:close()
    lu.assertEquals(#data_of(read("a/report.html")).figures, 4)
end

function TestReport:test_a_page_over_several_runs()
    make("s/x<1>", { seed = 1 })
    make("s/y", { seed = 2 }, { metrics = { average_accuracy = 0.25 } })
    make("s/z", { seed = 3 }, nil, {})
    lu.assertEquals({ run("report", "s") }, { "s/report.html\n", 0 })
    local text = read("s/report.html")
    check_html(text)
    for _, part in ipairs{ "<title>s: 3 runs</title>", '<th scope="row">x&lt;1&gt;</th><td class="state finished">',
        "95 % interval", "equal in all 3: ", '<td class="n">0.2500</td>' } do
        lu.assertStrContains(text, part)
    end
    lu.assertEquals(select(2, text:gsub("<figure ", "")), 5) -- loss, accuracy.1, accuracy.2, lr, task
    local data = data_of(text)
    lu.assertEquals(#data.groups, 1)
    lu.assertEquals(data.groups[1].note, "3 of 3 finished")
    local loss = data.figures[1]
    lu.assertEquals({ loss.series[1].n, loss.series[1].m }, { 2, { 4, 2, 0.03125 } })
    lu.assertEquals(#loss.runs, 2)
end

-- Two settings are two groups; what diverged and what failed is named, what runs shows its step.
function TestReport:test_groups_and_how_runs_ended()
    make("s/a1", { arguments = { lr = 0.1, seed = 1 }, lr = 0.1 })
    make("s/a2", { arguments = { lr = 0.1, seed = 2 }, lr = 0.1, seed = 2 }, { status = "failed",
        message = "the loss is nan" }, { { step = 1, loss = 3 }, { step = 2, loss = 0 / 0 } })
    make("s/b1", { arguments = { lr = 0.5, seed = 1 }, lr = 0.5 }, { status = "failed", message = "no space left" })
    make("s/b2", { arguments = { lr = 0.5, seed = 2 }, lr = 0.5, seed = 2 })
    run("report", "s")
    local text = read("s/report.html")
    check_html(text)
    local groups = data_of(text).groups
    lu.assertEquals({ groups[1].label, groups[1].note }, { "lr = 0.1", "1 of 2 finished; diverged: seed 2" })
    lu.assertEquals({ groups[2].label, groups[2].note }, { "lr = 0.5", "1 of 2 finished; failed: seed 1" })
    run("report", "s", "--where", "lr == 0.5")
    lu.assertStrContains(read("s/report.html"), "<title>s: 2 runs</title>")
    run("report", "s", "--group-by", "seed")
    lu.assertEquals(data_of(read("s/report.html")).groups[1].label, "seed = 1")
    fails(1, "report: --where: it holds for none of the runs", "report", "s", "--where", "lr == 7")
    fails(1, "s/a1 is one run", "report", "s/a1", "--group-by", "lr")
end

function TestReport:test_the_script_and_what_changed_in_it()
    for k, part in ipairs{ "steps = 100", "steps = 200", "steps = 200" } do
        make("s/" .. k, nil, { started = ("2025-01-02T03:04:0%dZ"):format(k) })
        write("s/" .. k .. "/script-as-run.lua", "local a = 1 < 2\nlocal " .. part .. "\nreturn a\n")
    end
    run("report", "s/2")
    local text = read("s/2/report.html")
    check_html(text)
    lu.assertStrContains(text, "changed since the last run with another, s/1")
    lu.assertStrContains(text, '<span class="del">- local steps = 100</span>\n<span class="add">+ local steps = 200<')
    lu.assertStrContains(text, "local a = 1 &lt; 2")
    run("report", "s/3")
    lu.assertStrContains(read("s/3/report.html"), "as in the last run, s/2")
    run("report", "s/1")
    lu.assertStrContains(read("s/1/report.html"), "no run before this one stands beside it")
    run("report", "s")
    lu.assertStrContains(read("s/report.html"), "2 scripts made these runs; the newest of them 2")
end

function TestReport:test_nothing_recorded_and_nothing_finite()
    make("a", nil, nil, {})
    make("b", nil, nil, { { step = 1, loss = 0 / 0 }, { step = 2, loss = 0 / 0 } })
    for _, dir in ipairs{ "a", "b" } do
        lu.assertEquals(select(2, run("report", dir)), 0)
        check_html(read(dir .. "/report.html"))
    end
    lu.assertStrContains(read("b/report.html"), "loss: no finite number")
end

TestPlotCommand = {}

function TestPlotCommand:setUp()
    if not os.execute("command -v gnuplot >/dev/null") then lu.skip("gnuplot is not here") end
    set_up()
    make("r/a")
    make("r/b", { seed = 2 })
    make("r/c", { seed = 3 }, nil, {})
end

function TestPlotCommand:tearDown() if root then tear_down() end end

function TestPlotCommand:test_on_the_terminal()
    local output, status = run("plot", "r", "loss", "--logy")
    lu.assertEquals(status, 0)
    lu.assertStrContains(output, "bracket plot: no column loss in r/c: left out")
    lu.assertStrContains(output, "mean (3 of 3 finished) ***A***")
    lu.assertStrContains(output, "\nall: 3 of 3 finished\n")
    lu.assertStrContains(output, "1e-1")
    for line in output:gmatch("[^\n]+") do lu.assertTrue(#line <= 80) end
end

function TestPlotCommand:test_to_files()
    lu.assertEquals({ run("plot", "r/a", "loss", "--out", "f.png") }, { "f.png\n", 0 })
    lu.assertEquals(read("f.png"):sub(2, 4), "PNG")
    lu.assertEquals({ run("plot", "r/a", "accuracy", "--out=f.svg", "--logx") }, { "f.svg\n", 0 })
    lu.assertStrContains(read("f.svg"), "<title>accuracy.1</title>")
    lu.assertStrContains(read("f.svg"), "<title>accuracy.2</title>")
    lu.assertEquals({ run("plot", "r/a", "r/b", "accuracy.", "--out", "f.svg") },
        { "f.svg\nall: 2 of 2 finished\n", 0 })
    lu.assertStrContains(read("f.svg"), "<title>accuracy.2 (2 of 2 finished)</title>")
    lu.assertEquals({ run("plot", "r/a", "loss", "--out", "f.pdf") }, { "f.pdf\n", 0 })
    lu.assertEquals(read("f.pdf"):sub(1, 4), "%PDF")
end

-- The band of two values is 12.706 / sqrt(2) standard deviations to each side: 12.706 / 2 of their distance.
function TestPlotCommand:test_groups()
    make("g/1", { lr = 0.1 }, nil, { { step = 0, loss = 1 }, { step = 1, loss = 2 } })
    make("g/2", { lr = 0.1, seed = 2 }, nil, { { step = 0, loss = 1.5 }, { step = 1, loss = 3 } })
    make("g/3", { lr = 0.2 }, { status = "failed", message = "the loss is inf" }, { { step = 0, loss = 7 } })
    local output = run("plot", "g", "loss", "--out", "f.svg")
    lu.assertEquals(output, "f.svg\nlr = 0.1: 2 of 2 finished\nlr = 0.2: 0 of 1 finished; diverged: seed 1\n")
    local svg = read("f.svg")
    lu.assertStrContains(svg, "<title>lr = 0.1 (2 of 2 finished)</title>")
    lu.assertStrContains(svg, "<title>lr = 0.2</title>")
    lu.assertEquals(select(2, svg:gsub("fill%-opacity = '0.220000'", "")), 1) -- one band
    run("plot", "g", "loss", "--out", "f.svg", "--runs")
    lu.assertTrue(#read("f.svg") > #svg)
    lu.assertEquals((run("plot", "g", "loss", "--out", "f.svg", "--where", "lr < 0.15", "--group-by", "seed")),
        "f.svg\nseed = 1: 1 of 1 finished\nseed = 2: 1 of 1 finished\n")
    lu.assertEquals((run("plot", "g", "loss", "--out", "f.svg", "--group-by", "seed")),
        "f.svg\nseed = 1: 1 of 2 finished; diverged: seed 1; pooled over lr\nseed = 2: 1 of 1 finished\n")
    fails(1, "plot: --where: it holds for none of the runs", "plot", "g", "loss", "--where", "lr > 7")
    fails(2, '--where: unexpected symbol near <eof> in "lr >"', "plot", "g", "loss", "--where", "lr >")
end

-- Before the first step there is no rate.
function TestPlotCommand:test_the_row_before_the_first_step_is_no_point_of_the_rate()
    local function points(column)
        lu.assertEquals(select(2, run("plot", "r/a", column, "--out", "f.svg")), 0)
        return select(2, read("f.svg"):gsub("<use xlink:href='#gpPt", ""))
    end
    lu.assertEquals(points("loss") - points("lr"), 1)
end

function TestPlotCommand:test_a_column_before_what_it_begins()
    make("r/d", nil, nil, { { step = 1, accuracy = 0.5, accuracy_1 = 0.25 },
        { step = 2, accuracy = 0.5, accuracy_1 = 0.5 } })
    run("plot", "r/d", "accuracy", "--out", "f.svg")
    lu.assertStrContains(read("f.svg"), "<title>d</title>")
    run("plot", "r/d", "accuracy_", "--out", "f.svg")
    lu.assertStrContains(read("f.svg"), "<title>d</title>")
    lu.assertStrContains(read("f.svg"), ">accuracy_<")
end

function TestPlotCommand:test_long_curves_are_thinned()
    local rows = {}
    for k = 1, 2500 do rows[k] = { step = k, loss = k == 2500 and 7 or 1 / k } end
    make("r/d", nil, nil, rows)
    lu.assertEquals(select(2, run("plot", "r/d", "loss", "--out", "f.svg")), 0)
    lu.assertTrue(#read("f.svg") < 60000)
    lu.assertEquals(select(2, run("report", "r/d")), 0)
    lu.assertStrContains(read("r/d/report.html"), "some 400 of their points")
end

function TestPlotCommand:test_nothing_to_draw()
    for k = 1, 6 do make("l/" .. k, nil, nil, { { step = 1, loss = 1 / k, own = k < 2 and 3 or nil } }) end
    lu.assertStrContains((run("plot", "l", "own", "--out", "f.svg")),
        "bracket plot: no column own in l/2, l/3, l/4, 2 more: left out\n")
    local output, status = run("plot", "l", "lsos")
    lu.assertEquals({ output, status }, { 'bracket: plot: COLUMN: expected one of loss, own, step, got "lsos" (did you '
        .. "mean loss?)\n", 1 })
    fails(1, "plot: COLUMN: average_accuracy is a final number, not a column over the steps: runs compare shows it",
        "plot", "l", "average_accuracy")
    fails(1, "plot: COLUMN: expected a recorded column, of which there is none, got \"loss\"", "plot", "r/c", "loss")
    make("r/d", nil, nil, { { step = 1, loss = -1 }, { step = 2, loss = 0 / 0 } })
    fails(1, "plot: loss: no recorded number is finite and positive", "plot", "r/d", "loss", "--logy")
end

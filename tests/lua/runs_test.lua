-- bracket runs list with its options, tag, untag and rm; bk.runs; the index of runs; tables on terminals.
local lu = require "luaunit"
local files = require "files"
local bk = require "bracket"
local internal, table_text = bk.internal, bk._table_text
local build = os.getenv("BRACKET_BUILD") or "build"
local here = io.popen("pwd"):read("l")
if build:sub(1, 1) ~= "/" then build = here .. "/" .. build end
local program = build .. "/bracket"
local root

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- What a shell command prints (stdout and stderr) and its exit status, from the fixtures' folder.
local function shell(command)
    local p = io.popen(("cd %s && { %s; } 2>&1; echo \"status $?\""):format(quote(root), command))
    local output, status = p:read("a"):match("^(.*)status (%d+)\n$")
    p:close()
    return output, tonumber(status)
end

local function run(...)
    local words = { program }
    for k, word in ipairs{ ... } do words[k + 1] = quote(word) end
    return shell(table.concat(words, " "))
end

local function write(path, text) files.write(root .. "/" .. path, text) end

local function exists(path)
    local f <close> = io.open(root .. "/" .. path, "rb")
    return f ~= nil
end

local function make(dir, arguments, status)
    internal.make_folder(root .. "/" .. dir)
    local s = { status = "finished", step = 20, total = 20, started = "2025-01-02T03:04:05Z", seconds = 1.5,
        metrics = { average_accuracy = 0.75 } }
    for name, value in pairs(status or {}) do s[name] = value end
    write(dir .. "/config.json", internal.to_json{ lr = arguments.lr, seed = arguments.seed, batch = 8,
        optimizer = { name = "sgd", momentum = 0.5 }, arguments = arguments })
    write(dir .. "/env.json", internal.to_json{ threads = 1 })
    write(dir .. "/status.json", internal.to_json(s))
    write(dir .. "/metrics.jsonl", ('{"step": 0, "loss": 2}\n{"step": 20, "loss": %.14g, "bracket": %g}\n')
        :format(arguments.lr, arguments.seed + 0.25))
end

-- The first words of a table's lines.
local function first_words(output)
    local list = {}
    for line in output:gmatch("[^\n]+") do list[#list + 1] = line:match("^%s*(%S+)") end
    return list
end

local function set_up()
    root = files.folder()
    make("r/a", { lr = 0.1, seed = 1, layers = { 64, 32 }, name = 'a "b", c' },
        { metrics = { average_accuracy = 0.5 } })
    make("r/b", { lr = 0.01, seed = 2, layers = { 8 }, name = "b" }, { status = "failed", metrics = { own = 3 } })
    make("r/c", { lr = 1, seed = 10, layers = { 8 }, name = "c" })
end

local function tear_down() os.execute("rm -rf " .. quote(root)) end

TestRunsCommand = { setUp = set_up, tearDown = tear_down }

function TestRunsCommand:test_where_sort_and_columns()
    local function names(...) return first_words((run("runs", "list", "r", ...))) end
    lu.assertEquals(names("--where", 'lr < 0.5 and status == "finished"'), { "run", "r/a" })
    lu.assertEquals(names("--where", "own == 3"), { "run", "r/b" }) -- the others lack it
    lu.assertEquals(names("--where", "own ~= 3"), { "run", "r/a", "r/c" })
    lu.assertEquals(names("--where", 'layers == "64,32"'), { "run", "r/a" })
    lu.assertEquals(names("--where", "optimizer.momentum == 0.5 and config.batch == 8 and seed >= 2"),
        { "run", "r/b", "r/c" })
    lu.assertEquals(names("--where", 'name:find "^[ab]$" and loss < 0.05'), { "run", "r/b" })
    lu.assertEquals(names("--sort", "lr"), { "run", "r/b", "r/a", "r/c" })
    lu.assertEquals(names("--sort", "-seed"), { "run", "r/c", "r/b", "r/a" }) -- 10 is more than 2
    lu.assertEquals(names("--sort", "-accuracy"), { "run", "r/c", "r/a", "r/b" }) -- what lacks it comes last
    lu.assertEquals(names("--sort", "accuracy"), { "run", "r/a", "r/c", "r/b" })
    lu.assertEquals(names("--sort", "status,-lr"), { "run", "r/b", "r/c", "r/a" })
    lu.assertEquals((run("runs", "list", "r", "--columns", "lr,seed,layers,optimizer.momentum,accuracy")), [[
run    lr  seed  layers  optimizer.momentum  accuracy
r/a   0.1     1  64,32                  0.5    0.5000
r/b  0.01     2  8                      0.5         -
r/c     1    10  8                      0.5    0.7500
]])
    make("q", { seed = 1, lr = 1, layers = { 8 }, name = "q", quick = false })
    lu.assertEquals((run("runs", "list", "q", "--columns", "arguments.quick")), "run  arguments.quick\nq    false\n")
    lu.assertEquals((run("runs", "list", "r", "--where", "lr > 5")), "none of 3 runs in r\n")
    lu.assertEquals((run("runs", "list", "r", "--where", "bracket > 2", "--sort", "-bracket", "--columns", "bracket")),
        "run  bracket\nr/c  10.2500\nr/b   2.2500\n") -- a recorded column: the last row
end

-- An argument that is called as a metric or a recorded column is.
function TestRunsCommand:test_names_that_several_have_are_told_apart()
    make("n", { seed = 1, lr = 1, forgetting = 3, bracket = 7 }, { metrics = { forgetting = 0.5 } })
    local names = "forgetting,metrics.forgetting,bracket,recorded.bracket"
    lu.assertEquals((run("runs", "list", "n", "--columns", names)), [[
run  forgetting  metrics.forgetting  bracket  recorded.bracket
n             3                 0.5        7              1.25
]])
    lu.assertEquals((run("runs", "list", "n", "--csv", "--where", "recorded.bracket < 2 and bracket == 7")), [[
run,status,step,total,seed,started,seconds,bracket,forgetting,lr,metrics.forgetting,loss
n,finished,20,20,1,2025-01-02T03:04:05Z,1.5,7,3,1,0.5,1
]])
end

function TestRunsCommand:test_csv_and_json()
    lu.assertEquals((run("runs", "list", "r", "--csv", "--where", "seed < 3")), [[
run,status,step,total,seed,started,seconds,layers,lr,arguments.name,average_accuracy,own,loss
r/a,finished,20,20,1,2025-01-02T03:04:05Z,1.5,"64,32",0.1,"a ""b"", c",0.5,,0.1
r/b,failed,20,20,2,2025-01-02T03:04:05Z,1.5,8,0.01,b,,3,0.01
]])
    lu.assertEquals((run("runs", "list", "r", "--csv", "--columns=seed,lr", "--sort", "seed")),
        "seed,lr\n1,0.1\n2,0.01\n10,1\n")
    local rows = internal.from_json((run("runs", "list", "r", "--json")))
    lu.assertEquals(#rows, 3)
    lu.assertEquals({ rows[1].name, rows[1].status, rows[1].config.arguments.name, rows[1].metrics.average_accuracy,
        rows[1].seed }, { "a", "finished", 'a "b", c', 0.5, 1 })
    lu.assertEquals(internal.from_json((run("runs", "list", "r", "--json", "--columns", "lr,own"))),
        { { lr = 0.1 }, { lr = 0.01, own = 3 }, { lr = 1 } })
    lu.assertEquals((run("runs", "list", "r", "--json", "--where", "lr > 5")), "[]\n")
end

function TestRunsCommand:test_mistakes_are_said()
    local function fails(status, message, ...)
        local output, got = run(...)
        lu.assertEquals(got, status, output)
        lu.assertStrContains(output, message)
        lu.assertNotStrContains(output, "traceback")
        lu.assertEquals(output:find("usage:", 1, true) ~= nil, status == 2, output)
    end
    fails(2, 'bracket runs: list: unknown option "--colums" (did you mean --columns?); known: --columns --csv --json '
        .. "--sort --where", "runs", "list", "--colums", "lr")
    fails(2, 'bracket runs: expected list, show, compare, tag, untag or rm, got "lsit" (did you mean list?)', "runs",
        "lsit")
    fails(2, '--where: unexpected symbol near <eof> in "lr <"', "runs", "list", "r", "--where", "lr <")
    fails(2, "--csv or --json, not both", "runs", "list", "r", "--csv", "--json")
    fails(1, "runs list: --where: no run has lrr (did you mean lr?)", "runs", "list", "r", "--where", "lrr < 1")
    fails(1, 'no run has finished (a text stands in quotes: "finished")', "runs", "list", "r", "--where",
        "status == finished")
    fails(1, "--where: attempt to call a number value", "runs", "list", "r", "--where", "lr()")
    fails(1, "runs list: --sort: no run has acuracy (did you mean accuracy?)", "runs", "list", "r", "--sort",
        "-acuracy")
    fails(1, "runs list: --columns: no run has nothing", "runs", "list", "r", "--columns", "lr,nothing")
    fails(1, '--group-by: no run has an argument or option "layer" (did you mean layers?)', "runs", "compare", "r",
        "--group-by", "layer")
    fails(2, 'runs: tag: expected DIR... TAG, got only "r"', "runs", "tag", "r")
    fails(2, "runs: tag: TAG: expected words of letters", "runs", "tag", "r", "a b")
    fails(2, "runs: rm: expected DIR..., got nothing", "runs", "rm")
end

function TestRunsCommand:test_compare_where_and_group_by()
    local output = run("runs", "compare", "r", "--group-by", "layers")
    lu.assertStrMatches(output, ".*\n  8 +1 of 2 +2, 10 +seed 2\n.*")
    lu.assertStrContains(output, "pooled, as --group-by says: ")
    output = run("runs", "compare", "r", "--where", "seed > 1")
    lu.assertNotStrContains(output, "\n  a ")
    lu.assertStrContains(output, "\n  b ")
    lu.assertStrContains(run("runs", "compare", "r", "--where", "seed > 9"), "expected two or more runs, got 1 of 3")
    local function got(...)
        local words, status = run("runs", "compare", ...)
        lu.assertEquals(status, 1)
        return words:match("^bracket: (.*)\n$")
    end
    lu.assertEquals(got("r/a"), "runs compare: expected two or more runs, got one: r/a")
    lu.assertEquals(got("r/a", "--where", "seed > 9"), "runs compare: expected two or more runs, got 0 of 1")
    write("r/a/config.json", "{ broken") -- one that cannot be read says why
    lu.assertStrMatches(got("r/a"), "runs compare: r/a/config.json: line 1: .*")
    lu.assertStrMatches(got("r/a", "--where", "seed > 9"), "runs compare: r/a/config.json: line 1: .*")
end

function TestRunsCommand:test_tags()
    lu.assertEquals({ run("runs", "tag", "r", "good,paper", "--where", "seed > 1") },
        { "2 runs of 2 with good, paper\n", 0 })
    lu.assertEquals({ run("runs", "tag", "r/a", "r/b", "good") }, { "1 run of 2 with good\n", 0 })
    lu.assertStrMatches(run("runs", "list", "r"), ".* tags\nr/a .* good\nr/b .* good, paper\nr/c .* good, paper\n")
    lu.assertEquals({ run("runs", "untag", "r/c", "good") }, { "1 run of 1 without good\n", 0 })
    lu.assertEquals(first_words((run("runs", "list", "r", "--where", 'tags:find "good"'))), { "run", "r/a", "r/b" })
    run("runs", "untag", "r", "good,paper")
    lu.assertNotStrContains(run("runs", "list", "r"), "tags")
    lu.assertFalse(exists("r/a/tags.json"))
end

-- A run whose tags cannot be written is named, without a place in Lua, and keeps none of the others from being tagged.
function TestRunsCommand:test_what_cannot_be_written()
    write("r/b/tags.json", internal.to_json{ tags = { "old" } })
    local full = "trap '' XFSZ; ulimit -f 0; " .. program -- no file may grow
    lu.assertEquals({ shell(full .. " runs tag r/a r/b old,new") }, { "0 runs of 2 with old, new\n"
        .. "bracket: runs tag: r/a/tags.json: cannot be written: File too large\n"
        .. "runs tag: r/b/tags.json: cannot be written: File too large\n", 1 })
    internal.make_folder(root .. "/r/a/tags.json/inside")
    lu.assertEquals({ run("runs", "tag", "r/a", "r/b", "new") }, { "1 run of 1 with new\n"
        .. "bracket: runs tag: r/a/tags.json: Is a directory\n", 1 })
    lu.assertEquals({ shell(full .. " runs rm --yes r/c") }, { "  r/c\n0 runs removed\n"
        .. "bracket: runs rm: r/c: r/c/job.lock: cannot be written: File too large\n", 1 })
    lu.assertFalse(exists("r/c/job.lock") or exists("r/c/run.lock")) -- nobody holds what could not be taken
    shell("rm r/c/*.json; mkdir r/c/run.lock; echo '{}' > r/c/status.json")
    lu.assertEquals({ run("runs", "rm", "r/c", "--yes") }, { "  r/c\n0 runs removed\n"
        .. "bracket: runs rm: r/c: r/c/run.lock: cannot be written: Is a directory\n", 1 })
end

-- A file of a run's that is damaged is named, and the other runs are shown; so is what can be of fields of other types.
function TestRunsCommand:test_damaged_files()
    local function told(problem, ...)
        local output, status = run(...)
        lu.assertEquals(status, problem and 1 or 0, output)
        lu.assertNotStrContains(output, "traceback")
        lu.assertNotStrContains(output, ".lua:")
        local command = table.concat({ ... }, " ", 1, 2)
        if problem then lu.assertStrContains(output, ("bracket: %s: %s"):format(command, problem)) end
        return output
    end
    local function each(problem)
        for _, words in ipairs{ { "list", "r" }, { "list", "r", "--csv" }, { "list", "r", "--json" },
            { "list", "r", "--where", "lr < 1" }, { "compare", "r" }, { "tag", "r", "good" } } do
            local output = told(problem, "runs", table.unpack(words))
            if words[1] ~= "tag" then lu.assertStrContains(output, "b") end
        end
    end
    for _, name in ipairs{ "config", "status", "env", "tags" } do
        local path = "r/a/" .. name .. ".json"
        make("r/a", { lr = 1, seed = 1 })
        for text, problem in pairs{ [""] = "line 1: ", ["\0\1"] = "line 1: ",
            ["[1]"] = "expected an object, got a list", ["null"] = "expected an object, got null",
            ["5"] = "expected an object, got 5" } do
            write(path, text)
            each(path .. ": " .. problem)
        end
        shell("rm " .. path .. "; mkdir " .. path)
        if name ~= "status" then each(path .. ": Is a directory") end -- without it there is no run
        shell("rmdir " .. path)
    end
    make("r/a", { lr = 1, seed = 1 })
    for _, value in ipairs{ "5", '"x"', '[1, {"a": 2}]', '{"a": [1]}', "null", "true" } do
        local function of_value(text) return (text:gsub("VALUE", value)) end
        write("r/a/config.json", of_value '{"arguments": VALUE, "tasks": VALUE, "lr": VALUE, "seed": VALUE}')
        write("r/a/status.json", of_value '{"status": VALUE, "step": VALUE, "metrics": VALUE, "started": VALUE}')
        write("r/a/tags.json", of_value '{"tags": VALUE}')
        write("r/a/metrics.jsonl", of_value '{"step": VALUE, "loss": 1}\n{"step": 1, "loss": VALUE}\n')
        each(nil)
        told(nil, "runs", "show", "r/a")
        told(nil, "plot", "r", "loss", "--out", "p.svg")
        told(nil, "report", "r")
    end
    -- rows that are damaged hide no other run's; and a neighbour's files do not concern a run's report
    make("r/a", { lr = 1, seed = 1 })
    write("r/a/tags.json", "{}")
    write("r/a/metrics.jsonl", "junk\n")
    local output, status = run("plot", "r", "loss", "--out", "p.svg")
    lu.assertEquals(status, 1)
    lu.assertStrContains(output, "bracket: plot: r/a/metrics.jsonl: row 1: ")
    lu.assertStrMatches(output, "p.svg\n.*")
    write("r/a/status.json", "")
    write("r/b/script-as-run.lua", "print(1)")
    lu.assertEquals({ run("report", "r/b") }, { "r/b/report.html\n", 0 })
end

function TestRunsCommand:test_rm_asks_and_keeps_what_is_not_a_runs()
    write("r/b/notes.txt", "mine")
    write("r/b/checkpoint-20.safetensors", "x")
    write("r/b/config.json.tmp-12-1", "x")
    lu.assertEquals({ shell("echo n | " .. program .. " runs rm r/b r/c") },
        { "  r/b\n  r/c\nremove 2 runs (1 failed, 1 finished)? [y/N] no run is removed\n", 1 })
    lu.assertEquals({ run("runs", "rm", "r", "--where", "seed == 2", "--dry-run") },
        { "  r/b\n1 run (1 failed) would be removed\n", 0 })
    lu.assertTrue(exists("r/b/status.json") and exists("r/c/status.json"))
    lu.assertEquals({ shell("echo yes | " .. program .. " runs rm r --where 'seed == 2'") },
        { "  r/b\nremove 1 run (1 failed)? [y/N] r/b stays, for what is not the run's: notes.txt\n1 run removed\n", 0 })
    lu.assertTrue(exists("r/b/notes.txt"))
    lu.assertFalse(exists("r/b/status.json") or exists("r/b/checkpoint-20.safetensors")
        or exists("r/b/config.json.tmp-12-1") or exists("r/b/run.lock"))
    write("r/c/config.json", "{ broken")
    lu.assertEquals({ run("runs", "rm", "r/c", "--yes") }, { "  r/c\n1 run removed\n", 0 })
    lu.assertFalse(exists("r/c"))
    lu.assertEquals({ run("runs", "rm", "r", "--where", "seed == 3", "--yes") }, { "no run is removed\n", 0 })
end

function TestRunsCommand:test_rm_leaves_what_a_process_writes()
    for _, lock in ipairs{ "run.lock", "job.lock" } do
        local mine = bk._claim.take(root .. "/r/a/" .. lock)
        local output, status = run("runs", "rm", "r/a", "r/b", "--yes")
        lu.assertEquals(status, 1)
        lu.assertStrContains(output, "runs rm: r/a: it is being written by process ")
        lu.assertTrue(exists("r/a/status.json"))
        lu.assertFalse(exists("r/b"))
        mine:release()
        make("r/b", { lr = 1, seed = 1 })
    end
end

function TestRunsCommand:test_in_lua()
    local rows = bk.runs(root .. "/r")
    lu.assertEquals(#rows, 3)
    lu.assertEquals({ rows[1].name, rows[1].dir, rows[1].status, rows[1].step, rows[1].seed, rows[1].loss },
        { "a", root .. "/r/a", "finished", 20, 1, 0.1 })
    lu.assertEquals(rows[2].config.arguments.layers, { 8 })
    lu.assertEquals(rows[3].metrics, { average_accuracy = 0.75 })
    lu.assertEquals(rows[1].history().loss, { 2, 0.1 })
    local sorted = bk.runs(root .. "/r", { where = "lr < 1", sort = "-seed" })
    lu.assertEquals({ #sorted, sorted[1].name, sorted[2].name }, { 2, "b", "a" })
    local own = bk.runs(root .. "/r", { where = function(row) return row.config.lr == 1 end })
    lu.assertEquals({ #own, own[1].name }, { 1, "c" })
    lu.assertEquals(bk.runs(root .. "/r/a")[1].name, root .. "/r/a")
    lu.assertEquals({ rows[1].message, #bk.runs(root .. "/r", { where = "bracket < 2" }) }, { nil, 1 })
    local ok, message = pcall(function() return rows[1].statsu end)
    lu.assertFalse(ok)
    lu.assertStrMatches(message, ".*runs_test.lua:%d+: bk.runs: a row has no field statsu %(did you mean status%?%).*")
    lu.assertErrorMsgContains("no field own (it is in metrics)", function() return rows[2].own end)
    lu.assertErrorMsgContains("no field layers (it is in config.arguments)", function() return rows[2].layers end)
    lu.assertErrorMsgContains("runs_test.lua", function() bk.runs(3) end)
    lu.assertErrorMsgContains("bk.runs: dir: expected the name of a folder, got nil", bk.runs)
    lu.assertErrorMsgContains("bk.runs: dir: expected a folder, got ", bk.runs, root .. "/nosuch")
    lu.assertErrorMsgContains("bk.runs: where: ", bk.runs, root .. "/r", { where = "lr <" })
    lu.assertErrorMsgContains("bk.runs: where: no run has nosuch", bk.runs, root .. "/r", { where = "nosuch" })
    lu.assertErrorMsgContains("bk.runs: where: attempt to ", bk.runs, root .. "/r", { where = "lr.x.y" })
    lu.assertErrorMsgContains("bk.runs: sort: no run has nosuch", bk.runs, root .. "/r", { sort = "nosuch" })
    lu.assertErrorMsgContains("bk.runs: unknown option were (did you mean where?)", bk.runs, root .. "/r",
        { were = "x" })
end

-- ---- the index ----

TestRunIndex = {}

local INDEX = "many/.bracket-runs.sqlite"
local N = 210 -- more than are read without one

function TestRunIndex:setUp()
    root = os.tmpname()
    os.remove(root)
    for k = 1, N do make("many/seed=" .. k, { lr = 0.1, seed = k }) end
    shell("find many -type f -exec touch -d '1 hour ago' {} +") -- what was just written is read again
end

TestRunIndex.tearDown = tear_down

local function list() return (run("runs", "list", "many")) end

local function compared()
    local output, status = run("runs", "compare", "many")
    lu.assertEquals(status, 0)
    return output
end

function TestRunIndex:test_what_it_says_is_what_the_folders_say()
    local first = list()
    lu.assertTrue(exists(INDEX))
    lu.assertEquals(select(2, first:gsub("\n", "")), N + 1)
    lu.assertStrMatches(first, ".*\nmany/seed=2 .*\nmany/seed=10 .*")
    lu.assertEquals(list(), first)
    local means = compared()
    lu.assertEquals(compared(), means)
    local columns = { "runs", "list", "many", "--columns", "lr,seed,optimizer.momentum,loss,accuracy" }
    local chosen = run(table.unpack(columns))
    os.remove(root .. "/" .. INDEX)
    lu.assertEquals({ run(table.unpack(columns)) }, { chosen, 0 })
    -- changed, added, removed, tagged
    make("many/seed=7", { lr = 0.5, seed = 7 }, { status = "failed" })
    make("many/seed=1000", { lr = 0.1, seed = 1000 })
    os.execute("rm -r " .. root .. "/many/seed=3")
    run("runs", "tag", "many/seed=9", "good")
    write("many/seed=8/metrics.jsonl", '{"step": 20, "loss": 0.125}\n')
    for _ = 1, 2 do
        local output = list()
        lu.assertStrContains(output, "seed=7     failed")
        lu.assertStrContains(output, "\nmany/seed=1000 ")
        lu.assertNotStrContains(output, "\nmany/seed=3 ")
        lu.assertStrMatches(output, ".*\nmany/seed=9 [^\n]* good\n.*")
        lu.assertStrMatches(output, ".*\nmany/seed=8 [^\n]* 0%.1250 +%-\n.*")
        shell("find many -type f -exec touch -d '1 hour ago' {} +")
    end
    lu.assertStrMatches(compared(), ".*\n  0%.1 +209 of 209 .*\n  0%.5 +0 of 1 .*")
end

-- SQLite gets the text of a number that nobody else keeps: in a small program the collector may have it before the
-- statement runs.
local NUMBERS = [[
local n, places, values = 30000, {}, {}
for k = 1, n do places[k], values[k] = "(?)", k + 0.5 end
local db, insert = bk.internal.database("numbers.sqlite"), "INSERT INTO number VALUES " .. table.concat(places, ", ")
db:query "CREATE TABLE number(x)"
collectgarbage("incremental", 4, 1000, 10) -- it never rests
assert(db:query(insert, values))
local kept, wrong = db:query "SELECT x FROM number", 0
for k = 1, n do wrong = wrong + (kept[k] == tostring(values[k]) and 0 or 1) end
print(#kept, wrong)
]]

function TestRunIndex:test_values_are_kept_until_the_statement_runs()
    write("numbers.lua", 'local bk = require "bracket"\n' .. NUMBERS)
    lu.assertEquals({ run("numbers.lua") }, { "30000\t0\n", 0 })
end

-- With the index, a run costs less than one read from a disk, however many files it has; their time is in tests/bench.
function TestRunIndex:test_the_runs_files_are_not_read()
    local function reads(want)
        local function count()
            local f <close> = assert(io.open("/proc/self/io"))
            return tonumber(f:read("a"):match("syscr: (%d+)"))
        end
        local before = count()
        lu.assertEquals(#bk._run_list.read("runs list", { root .. "/many" }, want), N)
        return count() - before
    end
    if not io.open("/proc/self/io") then lu.skip("the system does not count a program's reads") end
    local first = reads{}
    lu.assertTrue(first > 4 * N, first) -- four files each
    for _, want in ipairs{ {}, { entries = true }, { config = true, recorded = true } } do
        lu.assertTrue(reads(want) < N)
    end
end

function TestRunIndex:test_a_run_that_ends_without_a_word_is_stopped()
    make("many/seed=5", { lr = 0.1, seed = 5 }, { status = "running" })
    shell("touch -d '1 hour ago' many/seed=5/*")
    local mine = bk._claim.take(root .. "/many/seed=5/run.lock")
    for _ = 1, 2 do lu.assertStrContains(list(), "seed=5    running") end
    mine:release()
    for _ = 1, 2 do lu.assertStrContains(list(), "seed=5    stopped") end
end

function TestRunIndex:test_one_that_cannot_be_used_is_made_anew_or_done_without()
    local first = list()
    local function bytes()
        local f <close> = assert(io.open(root .. "/" .. INDEX, "rb"))
        return f:read("a")
    end
    local good = bytes()
    local at = assert(good:find("finished\t20/20", 1, true))
    for _, text in ipairs{ "no index", "", good:sub(1, #good // 2),
        good:sub(1, at - 1) .. "forgotte" .. good:sub(at + 8),
        good:sub(1, 200) .. ("\xff"):rep(5000) .. good:sub(5201), good:gsub("of bracket", "of brocket") } do
        write(INDEX, text)
        for _ = 1, 2 do lu.assertEquals(list(), first) end
        lu.assertStrContains(bytes(), "of bracket " .. bk.version)
    end
    write("many/seed=4/config.json", "{ oops") -- one broken run hides no other
    for _ = 1, 2 do
        local output, status = run("runs", "list", "many")
        lu.assertEquals(status, 1)
        lu.assertStrContains(output, "many/seed=4/config.json: line 1")
        lu.assertEquals(select(2, output:gsub("\nmany/", "")), N - 1)
    end
end

function TestRunIndex:test_on_a_folder_that_cannot_be_written()
    local first = list()
    shell("mkdir other && cp -a many/. other && rm " .. INDEX .. " && chmod a-w many other other/.bracket-runs.sqlite")
    -- root writes everywhere: there the index is made
    for _ = 1, 2 do lu.assertEquals(list(), first) end
    make("other/seed=6", { lr = 0.1, seed = 6 }, { status = "failed" })
    for _ = 1, 2 do lu.assertStrContains(run("runs", "list", "other"), "other/seed=6    failed") end
    shell("chmod u+w many other")
end

function TestRunIndex:test_while_another_process_writes_it()
    local first = list()
    make("many/seed=6", { lr = 0.1, seed = 6 }, { status = "failed" })
    shell("touch -d '1 hour ago' many/seed=6/*")
    local db = internal.database and internal.database(root .. "/" .. INDEX)
    if not db then lu.skip("the program alone keeps an index") end
    assert(db:query("BEGIN EXCLUSIVE"))
    local output = list()
    db:close()
    lu.assertStrContains(output, "many/seed=6    failed")
    lu.assertNotEquals(output, first)
    lu.assertEquals(list(), output)
end

-- ---- tables ----

TestTables = {}

function TestTables:test_lines_fit_and_keep_their_keys()
    local section = { head = { "run", "group" }, rows = {}, keys = 2 }
    for c = 3, 20 do section.head[c] = "column " .. c end
    for r = 1, 5 do
        section.rows[r] = { "runs/a/long/path/lr=0.01,seed=" .. r, "group " .. r }
        for c = 3, 20 do section.rows[r][c] = ("%.4f"):format(r * c) end
    end
    for _, width in ipairs{ 40, 60, 80, 200, 1000 } do
        local lines = table_text.aligned(section, 2, width)
        local blocks = 1
        for line in (lines .. "\n"):gmatch("([^\n]*)\n") do
            lu.assertTrue(utf8.len(line) <= width, width .. ": " .. line)
            blocks = blocks + (line == "" and 1 or 0)
        end
        for r = 1, 5 do lu.assertEquals(select(2, lines:gsub("group " .. r .. " ", "")), blocks) end
        for c = 3, 20 do lu.assertStrContains(lines, ("%.4f"):format(5 * c)) end
        local kept, left_out = table_text.aligned(section, 0, width, true)
        lu.assertNil(kept:find("\n\n", 1, true))
        lu.assertEquals(#left_out > 0, width < 400)
        for line in (kept .. "\n"):gmatch("([^\n]*)\n") do lu.assertTrue(utf8.len(line) <= width, line) end
    end
    local wide = table_text.aligned(section, 0, 60, true)
    lu.assertStrContains(wide, "…")
    lu.assertStrContains(wide, "seed=5")
end

function TestTables:test_numbers_sort_as_numbers()
    local names = { "lr=0.1,seed=10", "lr=0.05,seed=2", "lr=1e-3", "lr=0.1,seed=9", "10", "9", "-1", "-2.5", "a.10",
        "a.9", "a.1.10", "a.1.9", "x1e5", "x1e10", "" }
    table_text.sort(names, function(name) return name end)
    lu.assertEquals(names, { "", "a.1.9", "a.1.10", "a.9", "a.10", "lr=1e-3", "lr=0.05,seed=2", "lr=0.1,seed=9",
        "lr=0.1,seed=10", "-2.5", "-1", "9", "10", "x1e5", "x1e10" })
end

function TestTables:test_on_a_terminal()
    if not os.execute("test -x " .. build .. "/tests/pty") then lu.skip("pty is not built: make test-programs") end
    set_up()
    local function at(width, expected)
        write("keys", "expect 20000 " .. expected .. "\nexit 5000\n")
        local command = quote(("stty cols %d; %s runs list r"):format(width, program))
        local output, status = shell(("%s/tests/pty sh -c %s < keys"):format(build, command))
        lu.assertEquals(status, 0, output)
    end
    at(60, "no room for forgetting, loss:")
    at(80, "loss")
    tear_down()
end

-- Commands of the program, and bracket sweep: real processes of the built program, in a folder of the test's own.
local lu = require "luaunit"
local files = require "files"
local output_of, read, write = files.output_of, files.read, files.write
local bk = require "bracket"
local build = os.getenv("BRACKET_BUILD") or "build"

-- Every call of it adds the line of its arguments to a file; --mode says how it ends.
local SCRIPT = [[
local o = bk.arguments{ lr = 0.1, seed = 0, out = "", mode = "", log = "", flag = false, FOO = "" }
local f <close> = assert(io.open(o.log, "a"))
f:write(table.concat(arg, "|"), "\n")
f:close()
print("lr", o.lr, "threads", bk.threads(), io.read())
for _, name in ipairs { "PMI_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "KEPT" } do
    io.write(os.getenv(name) or "unset", " ")
end
if os.getenv "KEPT" then -- of workers together: until each has looked at what there was, after which it says so
    for k = 1, 3 do
        local worker, tries = o.log:gsub("log$", "worker" .. k), 0
        while not (io.open(worker) and io.open(worker):read(1)) and tries < 200 do
            os.execute "sleep 0.05"
            tries = tries + 1
        end
    end
end
if o.mode == "error" then error("boom") end
if o.mode == "seven" then os.exit(7) end
if o.mode == "signal" then io.stdout:flush() os.execute("kill -9 $PPID") end
if o.mode == "sleep" then
    io.stdout:flush()
    local until_ = bk.clock() + 600
    while bk.clock() < until_ do end
end
if o.mode == "once" then -- fails the first time
    local path = o.out .. "/mark"
    local mark = io.open(path)
    if not mark then
        io.open(path, "w"):close()
        error("the first time")
    end
end
]]

local folder, script, log, program

local function set_up()
    folder = files.folder()
    script, log = folder .. "/script.lua", folder .. "/log"
    program = build .. "/bracket"
    write(script, SCRIPT)
end

local function tear_down() os.execute("rm -rf " .. folder) end

local function sweep(arguments, before)
    return output_of(("%s %s sweep %s --out %s/out %s -- --log %s"):format(before or "", program, script, folder,
        arguments, log))
end

local function calls() -- the lines of the log, sorted
    local lines = {}
    for line in (read(log) or ""):gmatch("[^\n]+") do lines[#lines + 1] = line end
    table.sort(lines)
    return lines
end

local function job(name) return bk.internal.from_json(assert(read(folder .. "/out/" .. name .. "/job.json"), name)) end

local function output_file(name) return read(folder .. "/out/" .. name .. "/output.txt") end

local function folders() -- their names, and how many
    local list = {}
    for _, name in ipairs(bk.internal.folder(folder .. "/out")) do
        if not name:find("^%.%.?/$") then list[#list + 1] = name end
    end
    table.sort(list)
    return table.concat(list, " ") .. " ", #list
end

-- ---- commands in general, by a folder of commands beside the embedded ones ----

TestCommand = {}

local function command(body, arguments)
    write(folder .. "/lua/bracket/command/try.lua", "local bk = ...\nreturn function(args) " .. body .. " end\n")
    return output_of(("BRACKET_LUA=%s/lua %s %s"):format(folder, program, arguments or "try"))
end

function TestCommand:setUp()
    set_up()
    assert(os.execute("mkdir -p " .. folder .. "/lua/bracket/command"))
end

function TestCommand:tearDown() tear_down() end

function TestCommand:test_a_command_gets_its_arguments_as_an_array()
    local output, status = command("print(#args, table.concat(args, '|'), bk.version)",
        "--threads 2 try a '' --help -e 'x y'")
    lu.assertEquals(output, "5\ta||--help|-e|x y\t" .. bk.version .. "\n")
    lu.assertEquals(status, 0)
end

function TestCommand:test_a_number_is_the_exit_status()
    for returned, expected in pairs { ["0"] = 0, ["3"] = 3, ["2.0"] = 2, ["nil"] = 0, ["300"] = 1, ["-1"] = 1 } do
        local _, status = command("return " .. returned)
        lu.assertEquals(status, expected, returned)
    end
    local output, status = command("return 'x'")
    lu.assertEquals(status, 1)
    lu.assertStrContains(output, 'command try: expected an exit status, got "x"')
end

function TestCommand:test_errors_of_level_0_are_one_line()
    local output, status = command("error('try: no such thing', 0)")
    lu.assertEquals(output, "bracket: try: no such thing\n")
    lu.assertEquals(status, 1)
    output, status = command("error('a mistake')")
    lu.assertStrContains(output, "command/try.lua:2: a mistake\nstack traceback:")
    lu.assertEquals(status, 1)
    output = command("local x = nil; return x.y")
    lu.assertStrContains(output, "stack traceback:")
    output = command("bk.tensor('x')")
    lu.assertStrContains(output, "stack traceback:")
    output, status = command("error({})")
    lu.assertStrContains(output, "error object is a table value")
    lu.assertEquals(status, 1)
end

function TestCommand:test_a_script_of_that_name_is_called_by_a_path_or_after_dashes()
    write(folder .. "/sweep", "print('a script', ...)")
    program = io.popen("realpath " .. program):read("l")
    local calls_of_it = ("cd %s && %s ./sweep 1; %s -- sweep 2; %s sweep"):format(folder, program, program, program)
    local output, status = output_of(calls_of_it)
    lu.assertStrContains(output, "a script\t1\na script\t2\nbracket sweep: a script is missing\n")
    lu.assertEquals(status, 2)
end

function TestCommand:test_help_lists_the_commands_and_pairs_does_not()
    local output = output_of(program .. " --help")
    local list = output:match("Commands:\n(.*\n)bracket COMMAND %-%-help")
    lu.assertStrContains(list or output, "  sweep")
    for name in list:gmatch("  (%l+)[^\n]*\n") do
        local text, status = output_of(program .. " " .. name .. " --help")
        lu.assertEquals(status, 0, text)
        lu.assertStrContains(text, "bracket " .. name)
    end
    lu.assertEquals(type(bk.command.sweep), "function")
    for name in pairs(bk) do lu.assertNotEquals(name, "command") end
end

-- ---- sweep ----

TestSweep = {}

function TestSweep:setUp() set_up() end

function TestSweep:tearDown() tear_down() end

function TestSweep:test_every_combination_is_one_run()
    local output, status = sweep("--grid lr=0.01,0.2 --grid flag=true --seeds 1..2,5 --jobs 2")
    lu.assertEquals(status, 0, output)
    lu.assertStrContains(output, ("6 runs of %s, 2 at a time, in %s/out\n"):format(script, folder))
    lu.assertStrContains(output, "\n6 runs: 6 finished, 0 failed\n")
    lu.assertStrMatches(output, ".*%[6/6%] lr=[%d.]+,flag=true,seed=%d: finished in %d+%.?%d* s\n.*")
    local expected = {}
    for _, lr in ipairs { "0.01", "0.2" } do
        for _, seed in ipairs { 1, 2, 5 } do
            local name = ("lr=%s,flag=true,seed=%d"):format(lr, seed)
            local line = ("--lr|%s|--flag|true|--seed|%d|--out|%s/out/%s|--log|%s"):format(lr, seed, folder, name, log)
            expected[#expected + 1] = line
            local j = job(name)
            lu.assertEquals(script .. "|" .. line, table.concat(j.arguments, "|"))
            lu.assertEquals(j.exit, 0)
            lu.assertTrue(j.signal ~= j.signal) -- null
            lu.assertTrue(j.seconds > 0 and j.seconds < 60)
            lu.assertStrMatches(j.started .. j.ended, ("%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ"):rep(2))
            lu.assertEquals(output_file(name):match("^[^\n]*"), ("lr\t%s\tthreads\t1\tnil"):format(lr))
        end
    end
    lu.assertEquals(calls(), expected)
end

function TestSweep:test_what_is_done_is_not_run_again()
    sweep("--seeds 1..3")
    local output, status = sweep("--seeds 2..4")
    lu.assertEquals(status, 0)
    lu.assertStrContains(output, "3 runs of " .. script .. ", 2 done before, 1 at a time")
    lu.assertStrContains(output, "[3/3] seed=4: finished in ")
    lu.assertStrContains(output, "3 runs: 1 finished, 0 failed, 2 done before\n")
    lu.assertEquals(#calls(), 4)
    sweep("--seeds 4 --jobs 2 --threads 2")
    lu.assertEquals(#calls(), 4)
    output = output_of(("%s sweep %s --out=%s/out/ --seeds=4 -- --log %s --lr 3"):format(program, script, folder, log))
    lu.assertStrContains(output, "1 run: 1 finished, 0 failed\n") -- other arguments
    lu.assertEquals(#calls(), 5)
    write(folder .. "/out/seed=1/job.json", "{ broken")
    lu.assertStrContains(sweep("--seeds 1"), "1 finished")
end

function TestSweep:test_a_failure_stops_no_other_and_is_run_again()
    local output, status = sweep("--grid mode=error,seven,signal,once,fine --jobs 2")
    lu.assertEquals(status, 1)
    lu.assertStrContains(output, "5 runs: 1 finished, 4 failed\n")
    lu.assertStrContains(output, "mode=error: failed with exit status 1, see " .. folder
        .. "/out/mode=error/output.txt\n")
    lu.assertStrContains(output, "boom\n    stack traceback:\n")
    lu.assertStrContains(output, "mode=seven: failed with exit status 7, see")
    lu.assertStrContains(output, "mode=signal: ended by signal 9, see")
    lu.assertEquals(job("mode=seven").exit, 7)
    lu.assertEquals(job("mode=signal").signal, 9)
    lu.assertTrue(job("mode=signal").exit ~= job("mode=signal").exit)
    output, status = sweep("--grid mode=fine,once")
    lu.assertStrContains(output, "2 runs: 1 finished, 0 failed, 1 done before\n")
    lu.assertEquals(status, 0)
end

function TestSweep:test_odd_values_reach_the_script_as_they_are()
    local values = { "a b", "a/b", "a_b", "A_B", "../x", "'q", "$HOME", "*", "\\", "é", "-x", ("y"):rep(300), "\xff",
        "\n" }
    local grid = "--grid 'mode=" .. table.concat(values, ","):gsub("'", "'\\''") .. "'"
    local output, status = sweep(grid)
    lu.assertEquals(status, 0, output)
    local got = read(log)
    for _, v in ipairs(values) do lu.assertStrContains(got, "--mode|" .. v .. "|--out|") end
    lu.assertEquals(select(2, folders()), #values)
    for _, name in ipairs { "a_b", "é", "-x", ".._x", "_q", "_HOME" } do
        lu.assertStrContains(folders(), "mode=" .. name .. "/ ")
    end
    lu.assertStrMatches(folders(), ".*mode=a_b~%x%x%x%x%x%x%x%x/.*") -- "a b" and "a/b": the plain name is a_b's
    lu.assertStrContains(sweep(grid), ("0 finished, 0 failed, %d done"):format(#values))
end

function TestSweep:test_threads_are_passed_on()
    sweep("--seeds 1 --threads 2")
    lu.assertStrContains(output_file("seed=1"), "threads\t2\t")
    program = program .. " --threads 3"
    sweep("--seeds 2")
    lu.assertStrContains(output_file("seed=2"), "threads\t3\t")
end

function TestSweep:test_the_program_is_found_in_PATH()
    local full = io.popen("realpath " .. build):read("l")
    program = "bracket"
    local output = sweep("--seeds 1", ("PATH=%s:$PATH"):format(full))
    lu.assertStrContains(output, "1 run: 1 finished, 0 failed\n")
end

-- All at once: every job is run once, by whoever comes first; and what fails is not tried by each of them.
local function together(settings, arguments)
    local commands = {}
    for k in ipairs(settings) do os.remove(folder .. "/worker" .. k) end
    for k, before in ipairs(settings) do
        commands[k] = ("%s %s sweep %s --out %s/out %s -- --log %s >%s/worker%d 2>&1 & p%d=$!"):format(before, program,
            script, folder, arguments, log, folder, k, k)
    end
    for k in ipairs(settings) do commands[#commands + 1] = ("wait $p%d; echo $?"):format(k) end
    local codes, texts = {}, {}
    for code in output_of(table.concat(commands, "\n")):gmatch("%d+") do codes[#codes + 1] = tonumber(code) end
    for k in ipairs(settings) do texts[k] = read(folder .. "/worker" .. k) end
    return table.concat(texts), codes
end

function TestSweep:test_workers_share_the_combinations()
    local kinds = { { "KEPT=kept OMPI_COMM_WORLD_RANK=%d OMPI_COMM_WORLD_SIZE=3" },
        { "KEPT=kept PMI_RANK=%d PMI_SIZE=3" },
        { "KEPT=kept SLURM_PROCID=%d SLURM_NTASKS=3" }, { "KEPT=kept SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=%d", "" },
        { "KEPT=kept", "" } }
    for k, kind in ipairs(kinds) do
        local seen, settings = #calls(), {}
        for rank = 0, 2 do settings[rank + 1] = kind[1]:format(rank) end
        local output, codes = together(settings, ("--seeds %d..%d --grid mode=fine,error"):format(10 * k + 1,
            10 * k + 4))
        lu.assertEquals(#calls(), seen + 8, output)
        local ran = 0
        for seed = 10 * k + 1, 10 * k + 4 do
            local _, n = output:gsub("mode=fine,seed=" .. seed .. ": finished", "")
            local _, m = output:gsub("mode=error,seed=" .. seed .. ": failed", "")
            ran = ran + (n == 1 and m == 1 and 1 or 0)
            lu.assertStrContains(output_file("mode=fine,seed=" .. seed), "unset unset unset unset kept", false, kind[1])
            lu.assertNil(read(("%s/out/mode=fine,seed=%d/job.lock"):format(folder, seed)))
        end
        lu.assertEquals(ran, 4, output)
        if not kind[2] then lu.assertStrContains(output, "rank 2 of 3: 8 runs of " .. script) end
        if not kind[1]:find("ARRAY") then lu.assertEquals(codes, { 1, 1, 1 }) end -- they wait for each other
    end
    lu.assertStrContains(sweep("--seeds 61..62", "PMI_RANK=0"), "\n2 runs: 2 finished")
    lu.assertStrContains(sweep("--seeds 71..72", "PMI_RANK=0 PMI_SIZE=1"), "\n2 runs: 2 finished")
    -- a batch script of Slurm, not one of srun's tasks
    local batch = "SLURM_JOB_ID=5 SLURM_PROCID=0 SLURM_NTASKS=2"
    lu.assertStrContains(sweep("--seeds 81..82", batch), "\n2 runs: 2 finished")
    lu.assertStrContains(sweep("--seeds 91..92", batch .. " SLURM_STEP_ID=0"), "rank 0 of 2: 2 runs: 2 finished")
end

function TestSweep:test_lists_draws_and_dry_runs()
    local twice = '{"lr": 1e-3, "flag": true}\n'
    write(folder .. "/configs.jsonl", '{"lr": 0.25, "mode": "fine"}\n\n' .. twice .. twice)
    local output, status = sweep(("--list %s/configs.jsonl --seeds 1..2 --dry-run"):format(folder))
    lu.assertEquals(status, 0, output)
    lu.assertStrContains(output, ("lr=0.25,mode=fine,seed=2: bracket %s --lr 0.25 --mode fine --seed 2 --out %s/out/")
        :format(script, folder))
    lu.assertEquals(select(2, output:gsub("\n", "")), 4)
    lu.assertNil(read(log))
    lu.assertEquals(select(2, folders()), 0)
    sweep(("--list %s/configs.jsonl --seeds 1..2"):format(folder))
    lu.assertEquals(#calls(), 4)
    lu.assertStrContains(calls()[2], "--flag|true|--lr|0.001|--seed|2|")
    lu.assertStrContains(sweep(("--list %s/configs.jsonl --seeds 1..3 --dry-run"):format(folder)), "(done before)")
    for _, value in ipairs{ '"a\\u0000b"', '[1, "a\\u0000b"]' } do -- a process would get what is before it
        write(folder .. "/zero.jsonl", ('{"mode": %s}\n'):format(value))
        output, status = sweep(("--list %s/zero.jsonl --dry-run"):format(folder))
        lu.assertEquals(status, 2)
        lu.assertStrContains(output, "line 1: mode: expected a number, text without a zero byte, true, ")
    end
    -- what it shows can be handed to a shell
    lu.assertStrContains(sweep("--grid \"mode=a b,it's\" --dry-run"), " --mode 'a b' --out ")
    lu.assertStrContains(sweep("--grid \"mode=a b,it's\" --dry-run"), " --mode 'it'\\''s' --out ")

    -- a list is one value of a grid, called as it is in --list
    lu.assertEquals({ sweep("--grid 'mode=[8,8],[16],[[a],b]' --dry-run") }, { (([[
mode=8_8: bracket SCRIPT --mode '[8,8]' --out DIR/out/mode=8_8 --log DIR/log
mode=16: bracket SCRIPT --mode '[16]' --out DIR/out/mode=16 --log DIR/log
mode=__a__b_: bracket SCRIPT --mode '[[a],b]' --out DIR/out/mode=__a__b_ --log DIR/log
]]):gsub("SCRIPT", script):gsub("DIR", folder)), 0 })

    local function draws(arguments)
        local found = {}
        for lr, seed in sweep(arguments .. " --dry-run"):gmatch("%-%-lr (%S+) %-%-seed (%S+)") do
            found[#found + 1] = { tonumber(lr), tonumber(seed) }
        end
        return found
    end
    local few, many = draws("--random 20 --range lr=log:1e-3..1 --range seed=int:3..5"),
        draws("--random 400 --range lr=log:1e-3..1 --range seed=int:3..5")
    lu.assertEquals({ #few, #many }, { 20, 400 })
    local below, of = 0, {}
    for k, draw in ipairs(many) do
        if k <= 20 then lu.assertEquals(few[k], draw) end
        lu.assertTrue(draw[1] >= 1e-3 and draw[1] <= 1 and math.type(draw[2]) == "integer")
        below = below + (draw[1] < 10 ^ -1.5 and 1 or 0)
        of[draw[2]] = (of[draw[2]] or 0) + 1
    end
    lu.assertAlmostEquals(below, 200, 50) -- five standard deviations
    for seed = 3, 5 do lu.assertAlmostEquals(of[seed], 400 / 3, 48) end
    lu.assertEquals(of[3] + of[4] + of[5], 400)
    local _, equal = sweep("--random 6 --range seed=int:1..2 --dry-run"):gsub("%-%-seed", "")
    lu.assertEquals(equal, 2) -- equal draws are one run
    for n in sweep("--random 3 --range seed=int:1..2000000000 --dry-run"):gmatch("%-%-seed (%S+)") do
        lu.assertStrMatches(n, "%d+")
    end
end

function TestSweep:test_an_edited_script_is_not_done_before()
    sweep("--seeds 1..2")
    write(script, SCRIPT .. "print('edited')\n")
    local output = sweep("--seeds 1..2")
    lu.assertStrContains(output, "2 runs of " .. script .. ", 2 done by the script before it was changed, 1 at a time")
    lu.assertStrContains(output, "2 runs: 2 finished, 0 failed\n")
    lu.assertStrContains(output_file("seed=1"), "edited")
    lu.assertEquals(job("seed=1").script_digest, bk.internal.digest(read(script)))
end

function TestSweep:test_a_failing_jobs_message_comes_first()
    write(script, SCRIPT:gsub('error%("boom"%)', [[
local function deep(n) if n == 0 then error("the data are missing") end deep(n - 1) return 1 end
deep(30)]]))
    local output = sweep("--grid mode=error,once --retry 1")
    local first = output:match("mode=error/output.txt\n    ([^\n]*)\n")
    lu.assertStrMatches(first, "[^\n]*script.lua:%d+: the data are missing")
    lu.assertStrContains(output, "\n    stack traceback:\n")
    lu.assertStrContains(job("mode=error").message, "the data are missing")
    lu.assertEquals({ job("mode=error").status, job("mode=error").tries }, { "failed", 2 })
    lu.assertEquals({ job("mode=once").status, job("mode=once").tries }, { "finished", 2 })
    lu.assertStrContains(output, "mode=once: failed with exit status 1, try 2 of 2 follows\n")
    local list = output_of(("%s runs list %s/out"):format(program, folder))
    lu.assertStrMatches(list, ".*mode=error +failed .*") -- it never came to a run
end

-- With a standard stream closed, the file of a job's output may get its number.
-- Its numbers are whole: the run has finished, and says that its job has not.
function TestSweep:test_a_job_that_fails_after_its_run_says_so()
    write(script, [[
local o = bk.arguments{ out = "", late = false, log = "" }
local ids = bk.tensor({ 0, 1 }, { dtype = "int64" })
bk.protocol{ model = bk.nn.mlp{ 2, 2 }, lr = 0.1, steps = 2, batch = "full", tasks = { { x = bk.eye(2), y = ids } }
    }:run{ out = o.out }
if o.late then error("late") end]])
    local output = sweep("--grid late=true,false")
    lu.assertStrContains(output, "2 runs: 1 finished, 1 failed")
    local rows = bk.runs(folder .. "/out", { sort = "name" })
    lu.assertEquals({ rows[1].name, rows[1].status, rows[1].message }, { "late=false", "finished" })
    lu.assertEquals({ rows[2].name, rows[2].status }, { "late=true", "finished" })
    lu.assertStrMatches(rows[2].message, "its script failed afterwards: .*script.lua:5: late")
    lu.assertStrContains(output_of(program .. " runs show " .. folder .. "/out/late=true"), "its script failed afterw")
end

function TestSweep:test_closed_streams_do_not_reach_the_jobs()
    for _, closed in ipairs{ "<&-", ">&-" } do
        local out = folder .. "/closed" .. (closed == "<&-" and 0 or 1)
        output_of(("%s sweep %s --seeds 1 --out %s -- --log %s %s"):format(program, script, out, log, closed))
        lu.assertStrContains(read(out .. "/seed=1/output.txt"), "lr\t0.1")
    end
end

function TestSweep:test_usage_errors_exit_2()
    local bad = {
        [""] = "a script is missing",
        ["s.lua"] = "--grid, --list, --random or --seeds is missing",
        ["s.lua --grid lr"] = 'expected NAME=VALUE,VALUE,..., got "lr"',
        ["s.lua --grid lr="] = "--grid: lr: a value is missing",
        ["s.lua --grid lr=1,,2"] = "--grid: lr: a value is missing",
        ["s.lua --grid x=[8,8,4"] = "--grid: x: expected a ] for every [, as in [8,8],[16], got \"[8,8,4\"",
        ["s.lua --grid x=8],[8"] = "--grid: x: expected a ] for every [",
        ["s.lua --grid x=[8],,[4]"] = "--grid: x: a value is missing",
        ["s.lua --grid"] = "--grid: expected NAME=VALUE,VALUE,..., got nothing",
        ["s.lua --grid lr=1 --grid lr=2"] = "--grid: lr is given twice",
        ["s.lua --grid a-b=1 --grid a_b=2"] = "--grid: a_b is given twice",
        ["s.lua --grid seed=1 --seeds 2"] = "--seeds: seed is given twice",
        ["s.lua --seeds 1 --seeds 2"] = '--seeds: given twice, "1" and "2"',
        ["s.lua --grid a-b=1,2 -- --a_b 3"] = "--a_b: given behind -- as well, and by the sweep",
        ["s.lua --seeds 1 -- --out x"] = "--out: given behind -- as well, and by the sweep",
        ["s.lua --grid out=1"] = "--grid: the runs' out is made from --out",
        ["s.lua --seeds 1..x"] = "--seeds: expected numbers and ranges as in 1,2,5..8",
        ["s.lua --seeds 5..1"] = "--seeds: the range 5..1 is empty",
        ["s.lua --seeds 1..99999999"] = "--seeds: 1..99999999: more than",
        ["s.lua --seeds 1..9000 --grid x=1,2,3,4,5,6,7,8,9,10,11,12"] = "more than 100000 runs",
        ["s.lua --seeds 1 --jobs 0"] = '--jobs: expected 1..256, got "0"',
        ["s.lua --seeds 1 --threads x"] = '--threads: expected 1..256, got "x"',
        ["s.lua --seeds 1 --out --jobs 2"] = '--out: expected DIR, got "--jobs"',
        ["s.lua --seeds 1 --nosuch"] = 'unknown option "--nosuch"; known: --dry-run --grid',
        ["s.lua --random 5"] = "--random needs --range NAME=LOW..HIGH",
        ["s.lua --range lr=0..1"] = "--range needs --random N",
        ["s.lua --random 5 --range lr=1..0"] = "--range: lr: expected LOW < HIGH, got 1..0",
        ["s.lua --random 5 --range lr=log:0..1"] = "--range: lr: a logarithm needs LOW > 0",
        ["s.lua --random 5 --range lr=int:0.5..1"] = "--range: lr: expected whole numbers",
        ["s.lua --random 5 --range lr=exp:0..1"] = "--range: expected NAME=LOW..HIGH",
        ["s.lua --random 0 --range lr=0..1"] = '--random: expected 1..100000, got "0"',
        ["s.lua --list /nonexistent"] = "--list: expected a file of JSON objects, one a line, got ",
        ["s.lua --list /dev/null"] = "one a line, got none",
        ["s.lua --seeds 1 --retry x"] = '--retry: expected 0..100, got "x"',
        ["s.lua t.lua --seeds 1"] = "there is a script already",
    }
    for arguments, message in pairs(bad) do
        local output, status = output_of(program .. " sweep " .. arguments)
        lu.assertStrContains(output, "bracket sweep: " .. (message:find("^[-a]") and message or ""))
        lu.assertStrContains(output, message)
        lu.assertStrContains(output, "usage: bracket sweep")
        lu.assertEquals(status, 2, arguments)
    end
    local output, status = output_of(program .. " sweep /nonexistent.lua --seeds 1")
    lu.assertEquals(output, "bracket: sweep: the script cannot be read: /nonexistent.lua: No such file or directory\n")
    lu.assertEquals(status, 1)
    output, status = output_of(("%s sweep %s --seeds 1 --out %s/x"):format(program, script, script))
    lu.assertStrMatches(output, "bracket: sweep: %-%-out: [^\n]*cannot be made[^\n]*\n")
    lu.assertEquals(status, 1)
end

-- ---- Ctrl-C ----

local function wait_for(condition, what)
    local limit = bk.clock() + 200
    while not condition() do
        if bk.clock() > limit then lu.fail("waited for " .. what) end
        os.execute("sleep 0.02")
    end
end

-- What the starter of the tests ignores (nohup does) a program goes on ignoring: here it is to hear its signals.
local HEARS = "env --default-signal=INT,TERM,HUP,USR1 "

-- Starts a sweep of sleeping runs in the background and signals it when two of them run; its output and exit status.
local function interrupted(signal)
    local out = folder .. "/text"
    local started = ("%s sweep %s --out %s/out --jobs 2 --grid mode=sleep --seeds 1..4 -- --log %s"):format(program,
        script,
        folder, log)
    local pid = io.popen(HEARS .. ("%s >%s 2>&1 & echo $!; wait $!; echo $? >%s.status"):format(started, out, out))
    local id = pid:read("n")
    wait_for(function() return #calls() == 2 end, "two runs")
    os.execute(("kill -%s %d"):format(signal, id))
    wait_for(function() return (read(out .. ".status") or ""):find("\n") end, "the end")
    pid:close()
    return read(out), tonumber(read(out .. ".status"))
end

local function none_is_left() -- no process has the script on its command line
    wait_for(function() return not output_of("ps -A -o args="):find(script, 1, true) end, "the runs' end")
end

function TestSweep:test_an_interrupt_of_the_program_alone_ends_the_runs()
    for _, signal in ipairs { "INT", "TERM", "HUP", "USR1" } do
        os.remove(log)
        local output, status = interrupted(signal)
        lu.assertEquals(status, signal == "INT" and 130 or 75)
        lu.assertStrContains(output, "seed=1: stopped after ")
        lu.assertStrContains(output, "4 runs: 0 finished, 0 failed, 2 stopped, 2 not started\n")
        lu.assertStrContains(output, "\nbracket: sweep: stopped by a signal; called again, it goes on\n")
        lu.assertEquals(job("mode=sleep,seed=1").status, "stopped")
        lu.assertEquals(#calls(), 2)
        if signal == "INT" then lu.assertStrContains(output_file("mode=sleep,seed=1"), "interrupted") end
        none_is_left()
    end
end

function TestSweep:test_an_interrupted_sweep_goes_on()
    write(script, SCRIPT:gsub('o.mode == "sleep"', 'o.seed == 2 and not io.open(o.log .. ".go")', 1))
    local out = folder .. "/text"
    local text = ("%s sweep %s --out %s/out --seeds 1..3 -- --log %s"):format(program, script, folder, log)
    local pid = io.popen(HEARS .. ("%s >%s 2>&1 & echo $!; wait $!; echo $? >%s.status"):format(text, out, out))
    local id = pid:read("n")
    wait_for(function() return #calls() == 2 end, "the second run")
    os.execute("kill -INT " .. id)
    pid:close()
    lu.assertStrContains(read(out), "3 runs: 1 finished, 0 failed, 1 stopped, 1 not started\n")
    write(log .. ".go", "")
    local output, status = output_of(text)
    lu.assertStrContains(output, "3 runs: 2 finished, 0 failed, 1 done before\n")
    lu.assertEquals(status, 0)
    lu.assertEquals(#calls(), 4)
end

function TestSweep:test_ctrl_c_on_a_terminal_reaches_the_runs_once()
    if not read(build .. "/tests/pty") then lu.skip("pty is not built: make test-programs") end
    -- the run ends by the first Ctrl-C as an error it can clean up after; a second one would kill it
    write(script, SCRIPT:gsub('local until_.-end%s-end', [[
    local until_ = bk.clock() + 600
    pcall(function()
        io.open(o.log .. ".in", "w"):close()
        while bk.clock() < until_ do end
    end)
    print("cleaned up")
    io.stdout:flush()
    os.execute("sleep 0.6")
    os.exit(3)
end]], 1))
    write(folder .. "/keys", "expect 5000 of\nexpect 5000 in\nfile 5000 " .. log
        .. ".in\nsend \\x03\nexpect 5000 stopped after\nexpect 5000 sweep: stopped by a signal\nexit 5000\n")
    local started = ("%s sweep %s --out %s/out --grid mode=sleep -- --log %s"):format(program, script, folder, log)
    local output = output_of(("%s/tests/pty %s <%s/keys"):format(build, started, folder))
    lu.assertStrContains(output, "exit 130\n")
    lu.assertStrContains(output_file("mode=sleep"), "cleaned up")
    lu.assertEquals(job("mode=sleep").exit, 3)
    none_is_left()
end

-- Killed, a sweep takes its jobs with it, and what they held is free.
function TestSweep:test_a_killed_sweep_leaves_no_orphan()
    local command = ("%s sweep %s --out %s/out --jobs 2 --grid mode=sleep --seeds 1..3 -- --log %s"):format(program,
        script, folder, log)
    local pid = io.popen(("%s >/dev/null 2>&1 & echo $!"):format(command))
    local id = pid:read("n")
    wait_for(function() return #calls() == 2 end, "two runs")
    os.execute("kill -KILL " .. id)
    none_is_left()
    pid:close()
    write(script, SCRIPT:gsub('o.mode == "sleep"', "false", 1))
    wait_for(function() -- a process that ends has no arguments any more a moment before it lets go of its claim
        local list = output_of(("%s runs list %s/out"):format(program, folder))
        return list:find("mode=sleep,seed=1 +stopped .*mode=sleep,seed=2 +stopped ")
    end, "the claims to be free")
    local output, status = output_of(command)
    lu.assertStrContains(output, "3 runs: 3 finished, 0 failed\n")
    lu.assertEquals({ status, #calls() }, { 0, 5 })
end

-- Real launchers, where they are installed: every job once, and the same files as from one process.
function TestSweep:test_a_real_mpirun()
    if select(2, output_of("mpirun -n 3 true")) ~= 0 then lu.skip("no mpirun, or none that may run here") end
    local output = output_of(("mpirun -n 3 %s sweep %s --out %s/out --seeds 1..7 -- --log %s"):format(program, script,
        folder, log))
    lu.assertEquals(#calls(), 7, output)
    lu.assertStrContains(output, "rank 2 of 3: 7 runs of ")
end

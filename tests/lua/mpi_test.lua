-- Ranks: bk.mpi and protocol{ distributed = true }. What needs several processes starts them by mpirun, with the
-- program that `make test` builds with MPI, and is skipped where there is none. The values to meet are those of one
-- process.
local lu = require "luaunit"
local files = require "files"
local output_of = files.output_of
local bk = require "bracket"
local build = os.getenv("BRACKET_BUILD") or "build"
local internal = bk.internal

local root
local function set_up() root = files.folder() end
local function tear_down() files.remove(root) end

local function write(name, text) files.write(root .. "/" .. name, text) end

local PROGRAM = build .. "/tests/bracket-mpi"
local function runs_here() return select(2, output_of("mpirun -n 2 " .. PROGRAM .. " -e 'bk=1'")) == 0 end
local available
local function need_mpirun()
    if available == nil then available = runs_here() end
    if not available then lu.skip("no " .. PROGRAM .. ", or no mpirun that may run here") end
end

-- What a script prints with n ranks. A rank prints by say(...): its lines come sorted, "0: text".
local HEAD = [[
local bk = require "bracket"
local mpi = bk.mpi
local root = arg[1]
local function say(...)
    local parts = table.pack(...)
    for k = 1, parts.n do parts[k] = tostring(parts[k]) end
    io.stderr:write(mpi.rank .. ": " .. table.concat(parts, " ") .. "\n") -- at once: ranks share stderr
end
local function off(a, b) return (a - b):abs():max():item() / b:abs():max():item() end
]]
local function ranks(n, script, arguments, options)
    write("script.lua", HEAD .. script)
    local output, status = output_of(("timeout 900 mpirun -n %d %s %s %s/script.lua %s %s"):format(n, PROGRAM,
        options or "", root, root, arguments or ""))
    local lines = {}
    for line in output:gmatch("[^\n]+") do
        if line:find("^%d+: ") then lines[#lines + 1] = line end
    end
    table.sort(lines)
    return lines, status, output
end

-- Of so many ranks each said all of the texts, and nothing else was said.
local function every_rank_says(lines, n, texts)
    local expected = {}
    for r = 0, n - 1 do
        for _, text in ipairs(texts) do expected[#expected + 1] = r .. ": " .. text end
    end
    table.sort(expected)
    lu.assertEquals(lines, expected)
end

-- ---- one process ----

TestOneRank = { setUp = set_up, tearDown = tear_down }
function TestOneRank:test_alone()
    lu.assertEquals({ bk.mpi.rank, bk.mpi.size }, { 0, 1 })
    lu.assertEquals({ bk.mpi.share(7) }, { 1, 7 })
    lu.assertEquals(bk.mpi.allreduce(3), 3)
    lu.assertEquals(bk.mpi.allreduce(bk.tensor{ 1, 2 }), bk.tensor{ 1, 2 })
    lu.assertEquals(bk.mpi.broadcast("x"), "x")
    bk.mpi.barrier()
    local function f(t) return t:dot(t) end
    lu.assertIs(bk.mpi.sum(f), f)
    lu.assertErrorMsgContains("bk.mpi.sum: f: expected a function of tensors, got 3", bk.mpi.sum, 3)
    lu.assertErrorMsgContains("bk.mpi.shard: f: expected a function (theta, x, y), got \"mse\"", bk.mpi.shard, "mse")
    lu.assertErrorMsgContains("bk.mpi.share: n: expected a number of examples, got -1", bk.mpi.share, -1)
    lu.assertErrorMsgContains("bk.mpi.allreduce: value: expected a tensor or a number, got a table", bk.mpi.allreduce, {})
    lu.assertErrorMsgContains("not while tracing", bk.compile(function(t) return bk.mpi.allreduce(t) end), bk.ones{ 2 })
    lu.assertErrorMsgContains("bk.mpi.broadcast: from: expected a rank 0..0, got 1", bk.mpi.broadcast, 1, 1)
end

function TestOneRank:test_a_distributed_run_of_one_is_the_run()
    local function run(distributed)
        local r = bk.rng(1)
        local tasks = { { x = r:normal{ 20, 4 }, y = r:integers({ 20 }, 3) }, { x = r:normal{ 20, 4 },
            y = r:integers({ 20 }, 3) } }
        return bk.protocol{ model = bk.nn.mlp{ 4, 5, 3 }, tasks = tasks, lr = 0.1, steps = 6, batch = 7,
            order = "cyclic", record = { every = 2, "loss", "conflict" }, distributed = distributed }:run{}
    end
    local a, b = run(true), run(false)
    lu.assertEquals(a.theta, b.theta)
    lu.assertEquals(a.history, b.history)
end

function TestOneRank:test_ranks_that_cannot_join_are_an_error()
    if bk.mpi.library then return end
    local command = ("PMI_RANK=0 PMI_SIZE=2 %s/bracket -e 'print(pcall(function() return bk.mpi.rank end))'"):format(build)
    lu.assertStrContains(output_of(command), "started as one of 2 ranks, but built without MPI: make MPI=1")
    -- a run that shares nothing joins none, whatever it warns of
    write("own.lua", [[
        local bk = require "bracket"
        local t = { x = bk.ones{ 4, 2 }, y = bk.zeros({ 4 }, { dtype = "int64" }), extra = 1 }
        local r = bk.protocol{ model = bk.nn.mlp{ 2, 3, 2 }, tasks = { t }, steps = 3, lr = 0.1 }:run{}
        print("steps " .. r.steps)
    ]])
    for rank = 0, 1 do
        local output, status = output_of(("PMI_RANK=%d PMI_SIZE=2 %s/bracket %s/own.lua"):format(rank, build, root))
        lu.assertStrContains(output, "steps 3")
        lu.assertEquals(status, 0, output)
        lu.assertEquals(select(2, output:gsub("nothing reads the field extra", "")), 1 - rank, output)
    end
    -- a batch script of Slurm is no rank
    lu.assertStrContains(output_of(("SLURM_JOB_ID=5 SLURM_PROCID=0 SLURM_NTASKS=2 %s/bracket -e 'print(bk.mpi.size)'")
        :format(build)), "1")
end

-- ---- several ----

TestRanks = {}
function TestRanks:setUp()
    set_up()
    need_mpirun()
end
function TestRanks:tearDown() tear_down() end

function TestRanks:test_values_go_around()
    local lines, status = ranks(3, [[
        say(mpi.size, mpi.allreduce(mpi.rank + 1), mpi.allreduce(0.5))
        local t = mpi.allreduce(bk.full({ 3 }, mpi.rank + 1, { dtype = "float32" }))
        say(t:dtype(), t[1]:item())
        local v = { from = mpi.rank, 0 / 0, list = { 1, 2.5, "\xff" }, t = bk.full({ 2, 2 }, mpi.rank) }
        v = mpi.broadcast(v, 2)
        say(v.from, v[1] ~= v[1], #v.list, v.list[3] == "\xff", v.t[1][1]:item())
        local large = bk.arange(50001) * (mpi.rank + 1)
        say(mpi.allreduce(large):sum():item() == 6 * bk.arange(50001):sum():item())
        say((select(2, pcall(mpi.broadcast, { print }, 1)):gsub("^[^ ]*script.lua:%d+: ", "")))
        local sum = 0
        for n = 1, 10 do sum = sum + select(2, mpi.share(n)) end
        say(mpi.allreduce(sum))
        mpi.barrier()
    ]])
    lu.assertEquals(status, 0)
    every_rank_says(lines, 3, { "2 true 3 true 2.0", "3 6 1.5", "55", "float32 6.0", "true",
        "bk.mpi.broadcast: value.1: a function cannot be saved; expected numbers, strings, booleans, tensors and "
            .. "tables of these" })
end

function TestRanks:test_every_derivative_is_a_sum_over_ranks()
    for n, threads in pairs{ [2] = 2, [3] = 1, [5] = 1 } do -- 13 examples: uneven shares; 5 and then 2 of all
        local lines, status, output = ranks(n, [[
            local model, rng = bk.nn.mlp{ 6, 9, 3, activation = "tanh" }, bk.rng(1)
            local x, y, theta = rng:normal{ 13, 6 }, rng:normal{ 13, 3 }, model:init{ seed = 1 }
            local plain = bk.loss.mse(model)
            local shared = mpi.shard(function(t, a, b) return plain(t, a, b) end)
            local function losses(L)
                return function(t) return L(t, x, y) end, function(t) return L(t, x * 0.5, y:tanh()) end,
                    function(t) return L(t, x:narrow(1, 3, 2), y:narrow(1, 1, 2)) end
            end
            local v, worst = rng:normal{ #theta }, 0
            local function values(L)
                local A, B, C = losses(L)
                local w = bk.bea.word{ { A, .02 }, { B, .03 }, { C, .01 } }
                local m = bk.bea.multitask{ losses = { A, B, C }, lr = .1 }
                local terms = m:terms(theta)
                return { A(theta), bk.grad(B)(theta), bk.hvp(C)(theta, v), bk.lie(A, B)(theta),
                    bk.lie(A, bk.lie(B, C))(theta), bk.grad(function(t) return bk.lie(A, C)(t):dot(v) end)(theta),
                    w:term(2)(theta), w:term(3)(theta), w:term(4)(theta), w:step(theta), m:grad(theta),
                    bk.tensor{ terms.original, terms.flatness, terms.conflict },
                    bk.tensor(bk.bea.path_bracket{ A, B, target = C, theta = theta, time = .1, steps = 3 }),
                    bk.vmap(bk.grad(A))(bk.concat({ theta:reshape{ 1, -1 }, v:reshape{ 1, -1 } }, 1)) }
            end
            local got, expected = values(shared), values(plain)
            for k = 1, #expected do worst = math.max(worst, off(got[k], expected[k])) end
            local first, count = mpi.share(13) -- a loss of the rank's own examples
            local own = mpi.sum(function(t)
                return plain(t, x:narrow(1, first, count), y:narrow(1, first, count)) * (count / 13)
            end)
            worst = math.max(worst, off(bk.hvp(own)(theta, v), bk.hvp((losses(plain)))(theta, v)))
            say(worst < 1e-12, worst > 1e-12 and worst or "")
            say(#got, bk.internal.digest(got[10]))
        ]], "", "--threads " .. threads)
        lu.assertEquals(status, 0, output)
        local digest = lines[1] and lines[1]:match("%w+$")
        local expected = {}
        for r = 0, n - 1 do
            expected[#expected + 1] = ("%d: 14 %s"):format(r, digest)
            expected[#expected + 1] = ("%d: true "):format(r)
        end
        table.sort(expected)
        lu.assertEquals(lines, expected)
    end
end

function TestRanks:test_float32_and_images_and_sequences()
    local lines, status, output = ranks(2, [[
        local rng = bk.rng(2)
        local cnn = bk.nn.sequential{ bk.nn.conv2d{ 1, 3, kernel = 3 }, bk.nn.tanh(), bk.nn.avgpool2d{ 2 },
            bk.nn.flatten(), bk.nn.linear{ 27, 4 } }
        local gpt = bk.nn.sequential{ bk.nn.embedding{ 5, 8 }, bk.nn.position_embedding{ 6, 8 },
            bk.nn.transformer{ 8, heads = 2, causal = true }, bk.nn.linear{ 8, 5 } }
        local ids = rng:integers({ 7, 6 }, 5)
        local function next_token(t, x, y)
            local z = gpt:forward(t, x):reshape{ -1, 5 }
            return (z:logsumexp() - z:take(y:reshape{ -1 })):mean()
        end
        local function check(model, loss, x, y, dtype, limit)
            local shared = mpi.shard(loss)
            local function lie(L)
                local function A(t) return L(t, x, y) end
                local function B(t) return L(t, x:narrow(1, 1, 4), y:narrow(1, 1, 4)) end
                return bk.lie(A, B)(model:init{ seed = 1 }:to(dtype))
            end
            local d = off(lie(shared), lie(loss))
            say(d < limit, d < limit and "" or d)
        end
        check(cnn, bk.loss.cross_entropy(cnn), rng:normal{ 7, 1, 8, 8 }, rng:integers({ 7 }, 4), "float64", 1e-12)
        check(cnn, bk.loss.cross_entropy(cnn), rng:normal{ 7, 1, 8, 8 }, rng:integers({ 7 }, 4), "float32", 1e-4)
        check(gpt, next_token, ids, rng:integers({ 7, 6 }, 5), "float64", 1e-12)
    ]])
    lu.assertEquals(status, 0, output)
    lu.assertEquals(lines, { "0: true ", "0: true ", "0: true ", "1: true ", "1: true ", "1: true " })
end

function TestRanks:test_arguments_of_several_ranks()
    local lines, status, output = ranks(3, [[
        local model = bk.nn.mlp{ 2, 3, 1 }
        local f, theta = mpi.shard(bk.loss.mse(model)), model:init{ seed = 1 }
        local cycle = {}
        cycle.c = cycle
        local function try(g, ...) say((select(2, pcall(g, ...)):gsub("^[^ ]*script.lua:%d+: ", ""))) end
        try(f, theta)
        try(f, theta, bk.ones{ 4, 2 })
        try(f, theta, 3, bk.ones{ 4, 1 })
        try(f, theta, bk.ones{ 4, 2 }, bk.tensor(1))
        try(f, theta, bk.ones{ 5, 2 }, bk.ones{ 4, 1 })
        try(mpi.broadcast, cycle)
        try(mpi.broadcast)
        try(mpi.allreduce)
        try(mpi.shard)
        local first, count = mpi.share(math.maxinteger) -- the shares meet, and their counts are all
        local ends = { 3074457345618258602, 6148914691236517204, math.maxinteger }
        say(first - 1 + count == ends[mpi.rank + 1])
    ]])
    lu.assertEquals(status, 0, output)
    local examples = "expected a tensor of examples along its first dimension, got "
    every_rank_says(lines, 3, { "bk.mpi.shard: x: " .. examples .. "nil", "bk.mpi.shard: y: " .. examples .. "nil",
        "bk.mpi.shard: x: " .. examples .. "3", "bk.mpi.shard: y: " .. examples .. "a tensor float64 ()",
        "bk.mpi.shard: y: expected as many examples as x has, 5, got 4",
        "bk.mpi.broadcast: value: expected tables at most 33 deep, got one that is deeper or holds itself",
        "bk.mpi.broadcast: value: nil cannot be saved; expected numbers, strings, booleans, tensors and tables of "
            .. "these",
        "bk.mpi.allreduce: value: expected a tensor or a number, got nil",
        "bk.mpi.shard: f: expected a function (theta, x, y), got nil", "true" })
end

function TestRanks:test_calls_that_differ_are_named()
    local SCRIPT = [[
        local how, r = arg[2], mpi.rank
        if how == "from" then say(pcall(mpi.broadcast, 10 + r, r)) end
        if how == "shape" then say(pcall(mpi.allreduce, bk.ones{ 2 + r, 3 - r })) end
        local dtype = r == 0 and "float32" or "float64"
        if how == "dtype" then say(pcall(mpi.allreduce, bk.ones({ 3 }, { dtype = dtype }))) end
        if how == "number" then say(pcall(mpi.allreduce, r == 0 and 1.5 or bk.ones{ 1 })) end
        if how == "large" then say(pcall(mpi.allreduce, bk.ones{ 3000 * (1 + r), 2 // (1 + r) })) end
        local function shaped(t) return t:reshape{ 2 + r, 3 - r } end
        if how == "function" then say(pcall(mpi.sum(shaped), bk.ones{ 6 })) end
    ]]
    for how, text in pairs{
        from = "rank 0 has a broadcast of 8 bytes from rank 0, rank 1 a broadcast of 8 bytes from rank 1",
        shape = "rank 0 has a sum of float64 (2,3), rank 1 a sum of float64 (3,2)",
        dtype = "rank 0 has a sum of float32 (3), rank 1 a sum of float64 (3)",
        number = "rank 0 has a sum of float64 (), rank 1 a sum of float64 (1)",
        large = "rank 0 has a sum of float64 (3000,2), rank 1 a sum of float64 (6000,1)",
        ["function"] = "rank 0 has a sum of float64 (2,3), rank 1 a sum of float64 (3,2)" } do
        local lines, _, output = ranks(2, SCRIPT, how)
        lu.assertEquals(#lines, 2, output)
        lu.assertStrContains(lines[1], "0: false ", false, false, how)
        lu.assertStrContains(lines[1], "the ranks do different things: at their call 1 " .. text, false, false, how)
        lu.assertStrContains(lines[2], "the ranks do different things", false, false, how)
    end
end

function TestRanks:test_what_ends_one_rank_ends_all()
    local SCRIPT = [[
        local how = arg[2]
        if mpi.rank == 1 then
            if how == "error" then error("a mistake", 0) end
            if how == "return" then return end
            if how == "exit" then os.exit(0) end
            if how == "kill" then os.execute("kill -9 " .. bk.internal.process()) end
        end
        if how == "differ" then say(pcall(mpi.allreduce, bk.ones{ 3 + mpi.rank })) end
        if how == "caught" and mpi.rank == 1 then pcall(error, "nothing to the others") end
        if how == "loop" and mpi.rank == 0 then mpi.barrier() end -- one call more than rank 1 has
        say(pcall(mpi.allreduce, 1))
    ]]
    for how, message in pairs{ error = "rank 1 failed: its program ended with an error", exit = "rank 1 has ended",
        ["return"] = "rank 1 has ended", loop = "the ranks do different things" } do
        local lines, _, output = ranks(2, SCRIPT, how)
        lu.assertStrContains(lines[1] or output, message, false, false, how)
    end
    local lines, _, output = ranks(2, SCRIPT, "kill") -- mpirun ends the rest
    lu.assertEquals(lines, {}, output)
    lines, _, output = ranks(2, SCRIPT, "differ")
    lu.assertStrContains(lines[1] or output, "the ranks do different things: at their call 1 rank ")
    lu.assertStrContains(lines[2], "0: false bk.mpi: ") -- from then on
    lu.assertEquals((ranks(2, SCRIPT, "caught")), { "0: true 2", "1: true 2" })
end

-- ---- protocols ----

TestDistributed = { setUp = TestRanks.setUp, tearDown = TestRanks.tearDown }

-- Every case as one process has it, in the folder of the test; then with ranks. Prints what is off.
local CASES = [[
    local I, data = bk.intervention, bk.data.glyphs{ n = 70, seed = 1 }
    local tasks = bk.tasks.rotated{ data = data, angles = { 0, 40, 80 } }
    local mlp = bk.nn.mlp{ 784, 7, 10, activation = "tanh" }
    local draws = bk.nn.sequential{ bk.nn.linear{ 784, 7 }, bk.nn.dropout{ .3 }, bk.nn.tanh(), bk.nn.noise{ .1 },
        bk.nn.linear{ 7, 10 } }
    local fields = {}
    for i, t in ipairs(tasks) do
        local L = bk.loss.cross_entropy(mlp)
        fields[i] = { x = t.train.x, y = t.train.y, field = function(theta, x, y)
            return bk.grad(function(s) return L(s, x, y) end)(theta) + theta * 0.01
        end }
    end
    local gpt = bk.nn.sequential{ bk.nn.embedding{ 5, 6 }, bk.nn.position_embedding{ 4, 6 }, bk.nn.dropout{ .1 },
        bk.nn.transformer{ 6, heads = 2, causal = true }, bk.nn.linear{ 6, 5 } }
    local sequences, rng = {}, bk.rng(4)
    for i = 1, 2 do
        sequences[i] = { x = rng:integers({ 31, 4 }, 5), y = rng:integers({ 31, 4 }, 5), loss = function(_, t, x, y)
            local z = gpt:forward(t, x):reshape{ -1, 5 }
            return (z:logsumexp() - z:take(y:reshape{ -1 })):mean()
        end }
    end
    local cases = {
        cyclic = { order = "cyclic", record = { every = 3, "loss", "accuracy", "conflict", "flatness", "bracket",
            "cosines", "gradient_norm", "gram", "sharpness", "trace", "order_effect", "swap_effect" } },
        joint = { order = "joint", record = { every = 4, "conflict" }, interventions = { I.flatness{ strength = 0 },
            I.conflict{ strength = 0 } } },
        conflict = { order = "cyclic", interventions = { I.conflict{ strength = 0 }, I.flatness{ strength = 2 } } },
        penalty = { order = "cyclic", interventions = { I.bracket_penalty{ weight = .1 } },
            optimizer = bk.optim.adam{}, lr = .003 },
        pcgrad = { order = "joint", interventions = { I.pcgrad{} } },
        cagrad = { order = "joint", interventions = { I.cagrad{} } },
        replay = { order = "cyclic", interventions = { I.replay{ memory = 40 } },
            optimizer = bk.optim.heavy_ball{ momentum = .9 } },
        ewc = { interventions = { I.ewc{ weight = 10 } } },
        tournament = { order = "tournament" },
        full = { order = "reversed_pairs", batch = "full" },
        few = { order = "cyclic", batch = 2 },
        tokens = { order = "cyclic", model = gpt, tasks = sequences, record = { every = 3, "loss" } },
        draws = { order = "cyclic", model = draws, interventions = { I.conflict{ strength = 0 } } },
        fields = { order = "cyclic", tasks = fields, interventions = { I.conflict{ strength = 0 } } },
    }
    local names, worst = {}, {}
    for name in pairs(cases) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
        local options = { model = mlp, tasks = tasks, steps = 9, lr = .05, batch = 17, seed = 3, distributed = true }
        for key, value in pairs(cases[name]) do options[key] = value end
        local r = bk.protocol(options):run{}
        local values = { theta = r.theta }
        for column, list in pairs(r.history) do values[column] = bk.tensor(list) end
        local path = root .. "/" .. name .. ".safetensors"
        if mpi.size == 1 then
            bk.save_safetensors(path, values)
        else
            for column, t in pairs(bk.load_safetensors(path)) do
                local d = (values[column] - t):abs():max():item() / math.max(t:abs():max():item(), 1e-300)
                if not (d <= (column == "theta" and 1e-12 or 1e-11)) then say(name, column, d) end
            end
        end
    end
    say("done", #names)
]]
function TestDistributed:test_every_run_is_that_of_one_process()
    write("script.lua", HEAD .. CASES)
    lu.assertStrContains(output_of(("%s/bracket %s/script.lua %s"):format(build, root, root)), "0: done 14")
    for n = 2, 3 do
        local lines, status, output = ranks(n, CASES)
        lu.assertEquals(status, 0, output)
        local expected = {}
        for r = 0, n - 1 do expected[r + 1] = r .. ": done 14" end
        lu.assertEquals(lines, expected)
    end
end

local RUN = [[
    local r, tasks = bk.rng(1), {}
    for i = 1, 2 do tasks[i] = { x = r:normal{ 30, 4 }, y = r:integers({ 30 }, 3) } end
    local hook = { name = "ends", after_step = function(state) -- what it reads of arg is not part of what it is
        local how = arg[3] or ""
        if state.step ~= tonumber(arg[4]) then return end
        if how:find("kill") and mpi.rank == tonumber(how:match("%d")) then
            os.execute("kill -9 " .. bk.internal.process())
        end
        if how:find("TERM") and mpi.rank == tonumber(how:match("%d")) then
            os.execute("kill -TERM " .. bk.internal.process())
        end
        if how == "error1" and mpi.rank == 1 then error("a mistake of rank 1", 0) end
        if how == "error" then error("a mistake of all", 0) end
        if how == "apart" and mpi.rank == 1 then state.theta = state.theta * 1.0000001 end
    end }
    local p = bk.protocol{ model = bk.nn.sequential{ bk.nn.linear{ 4, 5 }, bk.nn.tanh(), bk.nn.dropout{ .2 },
        bk.nn.linear{ 5, 3 } }, tasks = tasks, lr = 0.1, steps = 60, batch = 7, order = "random",
        optimizer = bk.optim.adam{}, record = { every = 3, "loss" }, seed = 5, distributed = true,
        interventions = { hook } }
    local ok, result = pcall(p.run, p, { out = root .. "/" .. arg[2], checkpoint_every = 5, resume = true })
    if not ok then
        say(tostring(result))
        if arg[3] == "error" then say(mpi.allreduce(1)) else error(result, 0) end
    else
        say(bk.internal.digest(result.theta), result.steps)
    end
]]
local function status_of(name)
    local f <close> = assert(io.open(root .. "/" .. name .. "/status.json"))
    return internal.from_json(f:read("a"))
end
local function rows_of(name)
    local f <close> = assert(io.open(root .. "/" .. name .. "/metrics.jsonl"))
    return f:read("a")
end

function TestDistributed:test_rank_0_owns_the_folder_and_a_run_goes_on()
    local whole, status, output = ranks(2, RUN, "whole")
    lu.assertEquals(status, 0, output)
    lu.assertEquals(whole[1]:sub(3), whole[2]:sub(3))
    lu.assertEquals(status_of("whole").status, "finished")
    lu.assertEquals((ranks(2, RUN, "again", "--threads 2")), whole) -- bit for bit
    for how, expected in pairs{ ["TERM0"] = "stopped", ["TERM1"] = "stopped" } do
        local lines, code = ranks(2, RUN, how .. " " .. how .. " 13")
        lu.assertEquals(code, 75, how)
        lu.assertStrContains(lines[1], "0: stopped by SIGTERM after step 13 of 60")
        lu.assertStrContains(lines[2], "1: stopped by SIGTERM after step 13 of 60")
        lu.assertEquals(status_of(how).status, expected)
        lu.assertEquals(status_of(how).step, 13)
        lu.assertEquals((ranks(2, RUN, how)), whole)
        lu.assertEquals(rows_of(how), rows_of("whole"))
    end
end

function TestDistributed:test_a_rank_that_dies_leaves_a_checkpoint()
    local whole = ranks(2, RUN, "whole")
    for rank = 0, 1 do
        local name = "kill" .. rank
        ranks(2, RUN, name .. " " .. name .. " 13")
        lu.assertEquals(bk._run_folder.read(root .. "/" .. name).status.status, "stopped")
        lu.assertEquals(bk._run_folder.checkpoints(root .. "/" .. name), { 5, 10 })
        local lines, status, output = ranks(2, RUN, name)
        lu.assertEquals(status, 0, output)
        lu.assertEquals(lines, whole)
        lu.assertEquals(rows_of(name), rows_of("whole"))
    end
end

function TestDistributed:test_errors_reach_all_ranks()
    local lines, status = ranks(2, RUN, "one error1 13")
    lu.assertNotEquals(status, 0)
    lu.assertStrContains(lines[1], "0: bk.mpi: rank 1 failed: a mistake of rank 1")
    lu.assertEquals(status_of("one").status, "failed")
    lu.assertStrContains(status_of("one").message, "rank 1 failed: a mistake of rank 1")
    -- an error of all of them is each one's own, and they go on together
    lines, status = ranks(2, RUN, "all error 13")
    lu.assertEquals(status, 0)
    lu.assertEquals(lines, { "0: 2", "0: a mistake of all", "1: 2", "1: a mistake of all" })
    lines = ranks(2, RUN, "apart apart 13")
    lu.assertStrContains(lines[1], "step 16: rank 1 is at another point than rank 0")
    -- a folder that cannot be had is everybody's error
    lines = ranks(2, RUN, "../script.lua/x")
    lu.assertEquals(#lines, 2)
    lu.assertEquals(lines[1]:sub(3), lines[2]:sub(3))
end

function TestDistributed:test_what_cannot_be_shared_is_an_error()
    local lines = ranks(2, [[
        local r = bk.rng(1)
        local function try(options, task)
            local t = { x = r:normal{ 9, 4 }, y = r:normal{ 9, 2 } }
            for key, value in pairs(task or {}) do t[key] = value end
            local all = { model = bk.nn.mlp{ 4, 5, 2 }, tasks = { t }, lr = 0.1, steps = 2, distributed = true }
            for key, value in pairs(options) do all[key] = value end
            local ok, problem = pcall(function() return bk.protocol(all):run{} end)
            if mpi.rank == 0 then say(not ok and problem) end
        end
        try({}, { loss = function(m, theta, x, y) return (m:forward(theta, x) - y):square():sum() end })
        try({}, { loss = function(m, theta, x, y) local z = m:forward(theta, x) - y return z:norm() end })
        try({ model = bk.nn.sequential{ bk.nn.linear{ 4, 2 }, bk.nn.batch_norm{ 2 } } }, { loss = "mse" })
        try({ model = bk.nn.sequential{ bk.nn.linear{ 4, 2 }, bk.nn.layer{ forward = function(p, x)
            return p.train and x * p.random(x:shape()) or x end } } }, { loss = "mse" })
        try({}, { loss = "mse", x = bk.rng(mpi.rank):normal{ 9, 4 } })
        try({}, { loss = "mse" })
    ]])
    lu.assertEquals(#lines, 6, table.concat(lines, "\n"))
    local text = table.concat(lines, "\n")
    lu.assertEquals(select(2, text:gsub("expected a mean over the examples", "")), 3, text)
    lu.assertStrContains(text, "expected a model whose outputs are each of one example, got batch_norm")
    lu.assertStrContains(text, "rank 1 has other train examples of task 1")
    lu.assertStrContains(text, "0: false")
end

-- A run of two ranks with options that the script sets in o and, for run, in go.
local APART = [[
    local r, tasks, model = bk.rng(1), {}, bk.nn.mlp{ 4, 5, 3 }
    for i = 1, 3 do tasks[i] = { x = r:normal{ 20, 4 }, y = r:integers({ 20 }, 3) } end
    local function try(set)
        local o = { model = model, tasks = tasks, steps = 40, lr = .1, batch = 4, seed = 1, distributed = true,
            order = "cyclic" }
        local go = { theta = model:init{ seed = 1 } }
        set(o, go)
        local ok, why = pcall(function() return bk.protocol(o):run(go) end)
        say(ok or (why:gsub("^[^ ]*script.lua:%d+: ", "")))
    end
]]
function TestDistributed:test_options_that_differ_are_named()
    local lines, status, output = ranks(2, APART .. [[
        local k = mpi.rank
        try(function(o) o.seed = k end)
        try(function(_, go) go.seed = 5 + k end)
        try(function(o) o.batch = 4 + k end)
        try(function(o) o.order = k == 0 and "cyclic" or "reversed_pairs" end)
        try(function(o) o.lr = { .1, .2, .3 + k } end)
        try(function(o) o.evaluate = k == 0 end)
        try(function(o) o.optimizer = bk.optim.heavy_ball{ momentum = k == 0 and .9 or .8 } end)
        try(function(o) o.tasks = k == 0 and tasks or { tasks[1], tasks[2] } end)
        try(function(o) o.interventions = { bk.intervention.conflict{ strength = k } } end)
        try(function(_, go) go.stop = 5 + k end)
        try(function(_, go) go.out = k == 0 and root .. "/of_rank_0" or nil end)
        try(function() end)
    ]])
    lu.assertEquals(status, 0, output)
    local expected, apart = {}, ": expected the same on every rank, got another on rank %d than on rank %d, where it is "
    for _, case in ipairs{ { "seed", "0", "1" }, { "seed", "5", "6" }, { "batch", "4", "5" },
        { "order", "cyclic", "reversed_pairs" }, { "lr", "{ 0.1, 0.2, 0.3 }", "{ 0.1, 0.2, 1.3 }" },
        { "evaluate", "true", "false" }, { "optimizer", "heavy_ball{momentum = 0.9, weight_decay = 0.0}",
            "heavy_ball{momentum = 0.8, weight_decay = 0.0}" }, { "number of tasks", "3", "2" },
        { "interventions", "{ { 1 = conflict, strength = 0 } }", "{ { 1 = conflict, strength = 1 } }" },
        { "stop", "5", "6" }, { "out", "given", "not given" } } do
        for k = 0, 1 do
            expected[#expected + 1] = ("%d: bk.protocol: distributed: %s"):format(k, case[1])
                .. apart:format(1 - k, k) .. case[k + 2]
        end
    end
    expected[#expected + 1], expected[#expected + 2] = "0: true", "1: true"
    table.sort(expected)
    lu.assertEquals(lines, expected)
    lu.assertNil(io.open(root .. "/of_rank_0/config.json"))
end

function TestDistributed:test_what_only_draws_differ_in_is_found()
    local lines, _, output = ranks(2, APART .. [[
        local k = mpi.rank
        try(function(o) o.order = function(step) return (step + (step > 4 and k or 0)) % 3 + 1 end end)
        for _, order in ipairs{ "cyclic", "joint" } do
            try(function(o)
                o.order = order
                o.interventions = { { name = "noise", before_batch = function(s)
                    s.x = s.x + (s.step > 20 and k or 0)
                end } }
            end)
            try(function(o) -- the same on both
                o.order = order
                o.interventions = { { name = "noise", before_batch = function(s)
                    s.x = s.x + bk.rng(s.step):normal(s.x:shape())
                end } }
            end)
        end
        try(function(o)
            o.record = { every = 5, "loss" }
            o.interventions = { { name = "ends", after_step = function(s)
                if s.step == 7 and k == 1 then s:stop() end
            end } }
        end)
    ]])
    local other = "rank 1 is at another point than rank 0: a hook, rate, order or optimizer of its own gave it other "
        .. "numbers, at most 16 steps ago"
    lu.assertEquals(table.move(lines, 1, 6, 1, {}), { "0: bk.protocol: step 32: " .. other,
        "0: bk.protocol: step 32: " .. other, "0: bk.protocol: step 5: " .. other,
        "0: bk.protocol: step 7: rank 1 is to end with step 7, rank 0 with step 40: state:stop() of one rank alone",
        "0: true", "0: true" }, output)
    lu.assertEquals(#lines, 12)
end

function TestDistributed:test_a_run_goes_on_with_another_number_of_ranks()
    local SCRIPT = APART .. [[
        local hook = { name = "knows", after_step = function() if mpi.rank >= mpi.size then say("no rank") end end }
        try(function(o, go)
            o.interventions, o.record = { hook }, { every = 10, "loss" }
            go.out, go.resume, go.stop = root .. "/" .. arg[2], true, tonumber(arg[3])
            go.theta = nil
        end)
    ]]
    local function losses(name) return internal.from_json(rows_of(name):match("[^\n]+\n$")) end
    for _, at in ipairs{ { 3, "20" }, { 2, "30" }, { 1, "40" } } do
        local lines, status, output = ranks(at[1], SCRIPT, "parts " .. at[2])
        lu.assertEquals(status, 0, output)
        for _, line in ipairs(lines) do lu.assertStrContains(line, ": true") end
    end
    write("script.lua", HEAD .. SCRIPT)
    lu.assertStrContains(output_of(("%s/bracket %s/script.lua %s whole 40"):format(build, root, root)), "0: true")
    lu.assertEquals(losses("parts").step, 40)
    lu.assertAlmostEquals(losses("parts").loss_1 / losses("whole").loss_1, 1, 1e-10)
end

function TestDistributed:test_progress_is_shown_once()
    local _, status, output = ranks(3, APART .. "try(function(_, go) go.progress = true end)")
    lu.assertEquals(status, 0, output)
    lu.assertEquals(select(2, output:gsub("step 1/40 ", "")), 1, output)
end

-- Slurm: sweeps and runs under srun and sbatch, on a cluster of this one machine whose daemons (munged, slurmctld,
-- slurmd) live as long as the suite, in a folder and on ports of its own. Skipped where Debian's slurmctld, slurmd and
-- munge are not installed, or may not run.
local lu = require "luaunit"
local files = require "files"
local output_of, read, write = files.output_of, files.read, files.write
local bk = require "bracket"
local internal, run_folder = bk.internal, bk._run_folder
local build = os.getenv("BRACKET_BUILD") or "build"
local MPI = build .. "/tests/bracket-mpi"

local function succeeds(command) return select(2, output_of(command)) == 0 end
-- What f returns, as soon as it is something; nil after so many seconds.
local function wait_for(seconds, f)
    local stop = bk.clock() + seconds
    repeat
        local value = f()
        if value then return value end
        internal.sleep(0.1)
    until bk.clock() > stop
end

-- ---- the cluster ----

local CONF = [[
ClusterName=test
SlurmctldHost=HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=PORT
SlurmdPort=DAEMON
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=ROOT/munge.socket,cred_expire=5
StateSaveLocation=ROOT/state
SlurmdSpoolDir=ROOT/spool
SlurmctldPidFile=ROOT/slurmctld.pid
SlurmdPidFile=ROOT/slurmd.pid
SlurmctldLogFile=ROOT/slurmctld.log
SlurmdLogFile=ROOT/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
NodeName=HOST NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
]]

local cluster -- { root, ids }, or why there is none

local function start()
    for _, name in ipairs{ "munged", "slurmctld", "slurmd", "srun", "sbatch", "scancel" } do
        if not succeeds("command -v " .. name) then return "no " .. name end
    end
    if output_of("id -u") ~= "0\n" then return "Slurm's daemons need root" end
    local root = os.tmpname()
    os.remove(root)
    assert(os.execute(("mkdir -p %s/state %s/spool && head -c 1024 /dev/urandom > %s/key && chmod 400 %s/key"):format(
        root, root, root, root)))
    local host = output_of("hostname -s"):match("%S+")
    local port = 20000 + internal.process() % 20000
    write(root .. "/slurm.conf", (CONF:gsub("%u%u%u%u+", { HOST = host, PORT = port, DAEMON = port + 1, ROOT = root })))
    local hybrid <close> = io.open("/sys/fs/cgroup/unified/cgroup.procs") -- of which slurmd has to be told one
    if hybrid then write(root .. "/cgroup.conf", "CgroupPlugin=cgroup/v1\n") end
    local ids = {}
    local function daemon(command, name)
        local p = io.popen(("SLURM_CONF=%s/slurm.conf %s > %s/%s.out 2>&1 < /dev/null & echo $!"):format(root,
            command:gsub("ROOT", root), root, name))
        ids[#ids + 1] = p:read("n")
        p:close()
    end
    daemon("munged -F --force --key-file=ROOT/key --socket=ROOT/munge.socket --pid-file=ROOT/munged.pid "
        .. "--log-file=ROOT/munged.log --seed-file=ROOT/seed", "munged")
    local made = { root = root, ids = ids }
    wait_for(20, function() return succeeds(("munge --socket=%s/munge.socket -n"):format(root)) end)
    daemon("slurmctld -D -f ROOT/slurm.conf", "slurmctld")
    daemon("slurmd -D -f ROOT/slurm.conf -N " .. host, "slurmd")
    local idle = wait_for(60, function()
        return output_of(("SLURM_CONF=%s/slurm.conf sinfo -h -o %%t"):format(root)):find("idle")
    end)
    if not idle then made.why = "Slurm's daemons did not start" end
    return made
end

local function stop()
    if type(cluster) ~= "table" then return end
    for k = #cluster.ids, 1, -1 do os.execute("kill " .. cluster.ids[k] .. " 2>/dev/null") end
    for _, id in ipairs(cluster.ids) do wait_for(10, function() return not internal.process(id) end) end
    os.execute("rm -rf " .. cluster.root)
    cluster = nil
end

local folder
local function slurm(command) -- in the test's folder
    return output_of(("cd %s && SLURM_CONF=%s/slurm.conf timeout 120 %s"):format(folder, cluster.root, command))
end

TestSlurm = {}
function TestSlurm:setUp()
    if cluster == nil then cluster = start() end
    if type(cluster) == "string" then lu.skip(cluster) end
    if cluster.why then lu.skip(cluster.why) end
    folder = cluster.root .. "/work"
    assert(os.execute("mkdir -p " .. folder))
end
function TestSlurm:tearDown() if folder then os.execute("rm -rf " .. folder) end end
function TestSlurm:test_zz_the_daemons_end() stop() end -- the last by its name

local PROGRAM = output_of("realpath " .. build .. "/bracket"):match("%S+")
local function ranks_program()
    if not succeeds("test -x " .. MPI) then lu.skip("no " .. MPI) end
    return output_of("realpath " .. MPI):match("%S+")
end

local SWEPT = [[
local bk = require "bracket"
local o = bk.arguments{ lr = 0.05, seed = 0, out = "" }
local log <close> = assert(io.open("calls", "a"))
log:write(o.lr, " ", o.seed, "\n")
log:close()
bk.protocol{ model = bk.nn.mlp{ 4, 8, 1 }, tasks = bk.tasks.regression{ n = 2, seed = 1 }, steps = 50, lr = o.lr,
    seed = o.seed, record = { every = 25, "loss" } }:run{ out = o.out, checkpoint_every = 10, resume = true }
]]

-- The rows and the metrics of every run in a folder, as one text: what does not depend on where and when it ran.
local function results(dir)
    local lines = {}
    for _, found in ipairs(run_folder.find(dir)) do
        local at = found.dir
        local run = run_folder.read(at)
        lines[#lines + 1] = ("%s %s %d %s\n%s"):format(at:sub(#dir + 1), run.status.status, run.status.step or -1,
            internal.to_json(run.status.accuracy, 0, true), read(run_folder.metrics_path(at)))
    end
    return table.concat(lines), #lines
end
local function calls_once(n)
    local seen, count = {}, 0
    for line in (read(folder .. "/calls") or ""):gmatch("[^\n]+") do
        lu.assertNil(seen[line], "twice: " .. line)
        seen[line], count = true, count + 1
    end
    lu.assertEquals(count, n)
    os.remove(folder .. "/calls")
end
local SWEEP = " sweep swept.lua --grid lr=0.02,0.05 --seeds 1..3 --out "

function TestSlurm:test_srun_runs_every_job_once()
    write(folder .. "/swept.lua", SWEPT)
    local output, status = slurm(PROGRAM .. SWEEP .. "alone")
    lu.assertEquals(status, 0, output)
    calls_once(6)
    output, status = slurm("srun -n 3 " .. PROGRAM .. SWEEP .. "shared")
    lu.assertEquals(status, 0, output)
    lu.assertStrContains(output, "rank 2 of 3: 6 runs of swept.lua")
    calls_once(6)
    local alone, n = results(folder .. "/alone")
    lu.assertEquals(n, 6)
    lu.assertEquals((results(folder .. "/shared")), alone)
end

local function ended(job) -- its state, once it has one that stays
    return wait_for(100, function()
        local state = slurm(("scontrol show job %s"):format(job))
        if state:find("Invalid job id") then return "gone" end
        for word in state:gmatch("JobState=(%u+)") do
            if word == "PENDING" or word == "RUNNING" or word == "COMPLETING" then return nil end
        end
        return state
    end)
end

function TestSlurm:test_an_array_runs_every_job_once()
    write(folder .. "/swept.lua", SWEPT)
    slurm(PROGRAM .. SWEEP .. "alone")
    calls_once(6)
    local output = slurm(("sbatch --parsable --array=0-2 --output=array-%%a.txt --wrap '%s'"):format(PROGRAM .. SWEEP
        .. "array"))
    local job = output:match("^(%d+)")
    lu.assertNotNil(job, output)
    lu.assertNotNil(ended(job), "the array did not end")
    calls_once(6)
    lu.assertEquals((results(folder .. "/array")), (results(folder .. "/alone")))
end

local LONG = [[
local bk = require "bracket"
local o = bk.arguments{ out = "" }
local p = bk.protocol{ model = bk.nn.mlp{ 4, 8, 1 }, tasks = bk.tasks.regression{ n = 2, seed = 1 }, steps = 60,
    lr = 0.05, order = "cyclic", optimizer = bk.optim.adam{}, record = { every = 5, "loss" }, distributed = true,
    interventions = { { name = "slow", after_step = function(state)
        if bk.mpi.rank > 0 then return end
        local f <close> = assert(io.open("step", "w"))
        f:write(state.step)
        f:close()
        bk.internal.sleep(0.05)
    end } } }
local r = p:run{ out = o.out, checkpoint_every = 10, resume = true }
if bk.mpi.rank == 0 then print("steps " .. r.steps) end
]]

-- The guide's job: told before its time is up, it stops after its step, is put back into the queue and goes on.
function TestSlurm:test_a_batch_job_is_requeued_and_goes_on()
    write(folder .. "/long.lua", LONG)
    write(folder .. "/job.sh", ([[#!/bin/sh
#SBATCH --requeue --output=job.txt --open-mode=append
%s long.lua --out run &
trap "kill -USR1 $!" USR1
wait $!; wait $!; status=$?
[ $status -eq 75 ] && scontrol requeue $SLURM_JOB_ID
exit $status
]]):format(PROGRAM))
    local job = slurm("sbatch --parsable job.sh"):match("^(%d+)")
    local function step() return tonumber(read(folder .. "/step") or "") end
    lu.assertNotNil(wait_for(60, function() return (step() or 0) >= 3 end), "the job did not begin")
    lu.assertStrContains(slurm(("scancel --batch --signal=USR1 %s"):format(job)), "")
    local function waits() return slurm("scontrol show job " .. job):find("JobState=PENDING") end
    lu.assertNotNil(wait_for(60, waits), "the job was not put back")
    -- until its first run's credential has expired (cred_expire; two minutes by default), and on a busy machine longer
    local ended = wait_for(300, function() return (read(folder .. "/job.txt") or ""):find("steps 60") end)
    lu.assertNotNil(ended, read(folder .. "/job.txt"))
    lu.assertStrContains(read(folder .. "/job.txt"), "stopped by SIGUSR1 after step")
    lu.assertEquals(run_folder.read(folder .. "/run").status.status, "finished")
end

function TestSlurm:test_ranks_of_srun_and_one_that_dies()
    local program = ranks_program()
    write(folder .. "/long.lua", LONG)
    local output, status = slurm(("srun --mpi=pmi2 -n 2 %s long.lua --out whole"):format(program))
    lu.assertEquals(status, 0, output)
    lu.assertStrContains(output, "steps 60")
    write(folder .. "/dies.lua", (LONG:gsub("if bk.mpi.rank > 0 then return end",
        "if bk.mpi.rank > 0 then if state.step == 25 and not io.open('died') then io.open('died', 'w'):close() "
        .. "os.execute('kill -9 ' .. bk.internal.process()) end return end")))
    output, status = slurm(("srun --mpi=pmi2 -n 2 %s dies.lua --out dies"):format(program))
    lu.assertNotEquals(status, 0)
    lu.assertStrMatches(output, ".*bk.mpi: rank 1 %(process %d+%) is gone.*")
    local run = run_folder.read(folder .. "/dies").status
    lu.assertEquals(run.status, "failed")
    lu.assertStrContains(run.message, "is gone")
    output, status = slurm(("srun --mpi=pmi2 -n 2 %s dies.lua --out dies"):format(program))
    lu.assertEquals(status, 0, output)
    lu.assertEquals(read(folder .. "/dies/metrics.jsonl"), read(folder .. "/whole/metrics.jsonl"))
    -- ranks that srun starts without MPI do not take themselves for one program
    output = slurm(("srun -n 2 %s long.lua --out none"):format(program))
    lu.assertStrContains(output, "started as one of 2 ranks")
    lu.assertStrContains(output, "srun needs --mpi=pmi2")
end

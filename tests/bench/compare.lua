-- compare.lua - this build beside the peers that are installed, interleaved in one run; prints time and ratio (peer's
-- best variant / ours) for every operation and checks that all computed the same thing.
--   bracket tests/bench/compare.lua [--threads N] [--reps N] [--rounds N] [--workloads ..] [--ops ..] [--peers DIR]
--   [--pythons ..]
-- Peers are bench_torch.py and bench_jax.py in DIR (default ../shared/peers), run by every one of --pythons that can
-- import them (default: /usr/bin/python3,python3; a virtual environment's is PATH/bin/python3).
local bk = require "bracket"
local options = { threads = "1", reps = "20", rounds = "3", workloads = "W1,W2,W3,W4", ops = "a,b,c,d,e,f,g",
    peers = "../shared/peers",
    pythons = "/usr/bin/python3,python3" }
for i = 1, #arg, 2 do
    local name = arg[i]:match("^%-%-(%w+)$")
    if not name or not options[name] or not arg[i + 1] then error("compare.lua: unknown option " .. arg[i]) end
    options[name] = arg[i + 1]
end
local function quote(s) return "'" .. s:gsub("'", "'\\''") .. "'" end
local function succeeds(command) return (os.execute(command .. " >/dev/null 2>&1")) == true end

local program = arg[-1] or "build/bracket"
local clean = "env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE OPENBLAS_NUM_THREADS=" .. options.threads .. " "
local contestants = { { name = "bracket", command = clean .. quote(program) .. " tests/bench/workloads.lua" } }
local capability = succeeds("grep -q avx512f /proc/cpuinfo") and "ATEN_CPU_CAPABILITY=avx512 " or ""
if tonumber(options.threads) > 1 then
    -- Debian's PyTorch has more threads than processors with the pthread build of OpenBLAS
    local pipe = io.popen("ls -d /usr/lib/*/openblas-openmp 2>/dev/null")
    local openmp = pipe:read("l")
    pipe:close()
    if openmp then capability = capability .. "LD_LIBRARY_PATH=" .. quote(openmp) .. " "
    else print("PyTorch runs with the pthread build of OpenBLAS, which is slower on several threads: apt-get install libopenblas0-openmp") end
end
local seen = {}
for python in options.pythons:gmatch("[^,]+") do
    for _, peer in ipairs{ { "torch", "bench_torch.py" }, { "jax", "bench_jax.py" } } do
        local script = options.peers .. "/" .. peer[2]
        if succeeds("test -f " .. quote(script)) and succeeds(python .. " -c 'import " .. peer[1] .. "'") then
            local pipe = io.popen(python .. " -c 'import " .. peer[1] .. "; print(" .. peer[1]
                .. ".__version__)' 2>/dev/null")
            local version = pipe:read("l") or "?"
            pipe:close()
            local name = peer[1] .. " " .. version
            if not seen[name] then
                seen[name] = true
                contestants[#contestants + 1] = { name = name, command = clean .. capability .. python .. " "
                    .. quote(script) }
            end
        end
    end
end

local function parse(line)
    local r = {}
    for key, value in line:gmatch('"([%w_]+)": "?([^",}]+)"?') do r[key] = tonumber(value) or value end
    return r
end
local function median(t) table.sort(t) return t[(#t + 1) // 2] end

print(("OpenBLAS core %s, %s thread(s); OPENBLAS_CORETYPE %s and OPENBLAS_L2_SIZE %s in this shell, unset for the runs"):format(
    bk.internal.blas(), options.threads, os.getenv("OPENBLAS_CORETYPE") or "unset", os.getenv("OPENBLAS_L2_SIZE")
        or "unset"))
local wrong = 0
local crashed = {} -- [contestant, workload and operations]
for workload in options.workloads:gmatch("[^,]+") do
    local times, sums = {}, {} -- [contestant][op][variant] = list of medians
    local function take(c, r)
        times[c.name] = times[c.name] or {}
        local ops = times[c.name]
        ops[r.op] = ops[r.op] or {}
        ops[r.op][r.variant] = ops[r.op][r.variant] or {}
        table.insert(ops[r.op][r.variant], r.median_us)
        sums[r.op] = sums[r.op] or { r.sum, r.sumsq }
        local tolerance = r.dtype == "f64" and 1e-11 or 1e-5
        local sum, sumsq = sums[r.op][1], sums[r.op][2]
        if math.abs(r.sumsq - sumsq) > tolerance * sumsq or math.abs(r.sum - sum) > tolerance * math.max(math.abs(sum),
            sumsq ^ 0.5) then
            wrong = wrong + 1
            print(("checksums differ: %s %s %s: %.12g, %.12g; expected %.12g, %.12g"):format(c.name, workload, r.op,
                r.sum, r.sumsq, sum, sumsq))
        end
    end
    local function run(c, ops, more) -- nil and why when the program ends badly: what it printed by then counts
        local pipe = io.popen(("%s --threads %s --reps %s --workloads %s --ops %s %s 2>/dev/null"):format(c.command,
            options.threads,
            options.reps, workload, ops, more))
        for line in pipe:lines() do
            local r = parse(line)
            if r.median_us then take(c, r) end
        end
        local good, how, code = pipe:close()
        return good, ("%s %s"):format(how, code)
    end
    -- A peer that crashes loses all its lines: then operation by operation, without its compiler where that crashes.
    local function attempt(c, ops)
        local key = c.name .. workload .. ops
        if not crashed[key] then
            local good, why = run(c, ops, "")
            if good then return end
            print(("%s %s %s: ended with %s"):format(c.name, workload, ops, why))
            crashed[key] = true
        end
        if not ops:find(",") then return run(c, ops, "--variants eager,func,alt") end
        for op in ops:gmatch("[^,]+") do attempt(c, op) end
    end
    for _ = 1, tonumber(options.rounds) do
        for _, c in ipairs(contestants) do
            attempt(c, options.ops)
        end
    end
    local header = ("%-3s %-2s %12s"):format("", "", "bracket µs")
    for i = 2, #contestants do header = header .. ("  %26s"):format(contestants[i].name .. " µs (ratio)") end
    print(header)
    for op in options.ops:gmatch("[^,]+") do
        local best = {}
        for _, c in ipairs(contestants) do
            for _, list in pairs((times[c.name] or {})[op] or {}) do best[c.name] = math.min(best[c.name] or math.huge,
                median(list)) end
        end
        if best.bracket then
            local row = ("%-3s %-2s %12.1f"):format(workload, op, best.bracket)
            for i = 2, #contestants do
                local t = best[contestants[i].name]
                row = row .. (t and ("  %17.1f (%6.2f)"):format(t, t / best.bracket) or ("  %26s"):format("-"))
            end
            print(row)
        end
    end
end
os.exit(wrong == 0, true)

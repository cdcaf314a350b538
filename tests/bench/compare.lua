-- compare.lua - this build beside the peers that are installed, interleaved in one run; prints time and ratio (peer's
-- best variant / ours) for every operation and checks that all computed the same thing. GFlop/s and their part of the
-- machine's peak (peak.c, when there is a C compiler) count products and convolutions alone; MiB is what a call takes:
-- the arena and the results, beside the peer's.
--   bracket tests/bench/compare.lua [--threads N] [--reps N] [--rounds N] [--workloads ..] [--ops ..] [--peers DIR]
--   [--pythons ..]
-- Peers are bench_torch.py and bench_jax.py in DIR (default ../shared/peers), for W5 to W7 models_torch.py and
-- models_jax.py here, run by every one of --pythons that can import them (default: /usr/bin/python3,python3; a virtual
-- environment's is PATH/bin/python3).
local bk = require "bracket"
local options = bk.arguments({ threads = "1", reps = "20", rounds = "3", workloads = "W1,W2,W3,W4,W5,W6,W7",
    ops = "a,b,c,d,e,f,g", peers = "../shared/peers", pythons = "/usr/bin/python3,python3" }, arg)
local function quote(s) return "'" .. s:gsub("'", "'\\''") .. "'" end
local function succeeds(command) return (os.execute(command .. " >/dev/null 2>&1")) == true end

local program = arg[-1] or "build/bracket"
local clean = "env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE OPENBLAS_NUM_THREADS=" .. options.threads .. " "
local LARGE = { W5 = true, W6 = true, W7 = true } -- the models of models.py, for these operations:
local LARGE_OPS = { b = true, c = true, d = true, e = true, g = true }
local own = clean .. quote(program) .. " tests/bench/workloads.lua"
local contestants = { { name = "bracket", small = own, large = own } }
-- One of W6's 2.4 million arguments of relu lies so near 0 that 2e-7 of theta changes its sign, and the sum by this
-- (in float64 too): rounding may.
local TOLERANCES = { W6 = 2e-3 }
local peaks = {} -- [dtype] in GFLOP/s, of all threads
do
    local at = os.tmpname()
    if succeeds(("cc -O2 -march=native -ffp-contract=fast tests/bench/peak.c -o %s"):format(quote(at))) then
        local pipe = io.popen(quote(at))
        local f32, f64 = (pipe:read("l") or ""):match("(%S+) (%S+)")
        pipe:close()
        peaks.f32, peaks.f64 = tonumber(f32), tonumber(f64)
    end
    os.remove(at)
    for k, v in pairs(peaks) do peaks[k] = v * tonumber(options.threads) end
end
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
    for _, peer in ipairs{ { "torch", "bench_torch.py", "models_torch.py" }, { "jax", "bench_jax.py",
        "models_jax.py" } } do
        local script = options.peers .. "/" .. peer[2]
        if succeeds(python .. " -c 'import " .. peer[1] .. "'") then
            local pipe = io.popen(python .. " -c 'import " .. peer[1] .. "; print(" .. peer[1]
                .. ".__version__)' 2>/dev/null")
            local version = pipe:read("l") or "?"
            pipe:close()
            local name = peer[1] .. " " .. version
            if not seen[name] then
                seen[name] = true
                local run = clean .. capability .. python .. " "
                contestants[#contestants + 1] = { name = name,
                    small = succeeds("test -f " .. quote(script)) and run .. quote(script),
                    large = run .. "tests/bench/" .. peer[3] }
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

if peaks.f32 then
    print(("peak of %s core(s): %.4g GFLOP/s float32, %.4g float64"):format(options.threads, peaks.f32, peaks.f64))
end
print(("OpenBLAS core %s, %s thread(s); OPENBLAS_CORETYPE %s and OPENBLAS_L2_SIZE %s in this shell, unset for the runs"):format(
    bk.internal.blas(), options.threads, os.getenv("OPENBLAS_CORETYPE") or "unset", os.getenv("OPENBLAS_L2_SIZE")
        or "unset"))
local wrong = 0
local crashed = {} -- [contestant, workload and operations]
for workload in options.workloads:gmatch("[^,]+") do
    local times, sums = {}, {} -- [contestant][op][variant] = list of medians
    local bytes, gflop, dtype = {}, {}, nil -- [contestant][op] = the fewest; [op]
    local which, chosen = LARGE[workload] and "large" or "small", {}
    for op in options.ops:gmatch("[^,]+") do
        if not LARGE[workload] or LARGE_OPS[op] then chosen[#chosen + 1] = op end
    end
    chosen = table.concat(chosen, ",")
    local function take(c, r)
        times[c.name] = times[c.name] or {}
        local ops = times[c.name]
        ops[r.op] = ops[r.op] or {}
        ops[r.op][r.variant] = ops[r.op][r.variant] or {}
        table.insert(ops[r.op][r.variant], r.median_us)
        bytes[c.name] = bytes[c.name] or {}
        bytes[c.name][r.op] = math.min(bytes[c.name][r.op] or math.huge, r.peak_bytes or math.huge)
        gflop[r.op], dtype = r.gflop or gflop[r.op], r.dtype
        sums[r.op] = sums[r.op] or { r.sum, r.sumsq }
        local tolerance = r.dtype == "f64" and 1e-11 or TOLERANCES[workload] or 1e-5
        local sum, sumsq = sums[r.op][1], sums[r.op][2]
        if math.abs(r.sumsq - sumsq) > tolerance * sumsq or math.abs(r.sum - sum) > tolerance * math.max(math.abs(sum),
            sumsq ^ 0.5) then
            wrong = wrong + 1
            print(("checksums differ: %s %s %s: %.12g, %.12g; expected %.12g, %.12g"):format(c.name, workload, r.op,
                r.sum, r.sumsq, sum, sumsq))
        end
    end
    local function run(c, ops, more) -- nil and why when the program ends badly: what it printed by then counts
        local pipe = io.popen(("%s --threads %s --reps %s --workloads %s --ops %s %s 2>/dev/null"):format(c[which],
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
            if c[which] then attempt(c, chosen) end
        end
    end
    local header = ("%-3s %-2s %12s %8s %6s %9s"):format("", "", "bracket µs", "GFlop/s", "peak", "MiB")
    for i = 2, #contestants do header = header .. ("  %36s"):format(contestants[i].name .. " µs (ratio) MiB") end
    print(header)
    local function mib(name, op)
        local n = (bytes[name] or {})[op]
        return n and n < math.huge and ("%9.1f"):format(n / 2 ^ 20) or (" "):rep(9)
    end
    for op in chosen:gmatch("[^,]+") do
        local best = {}
        for _, c in ipairs(contestants) do
            for _, list in pairs((times[c.name] or {})[op] or {}) do best[c.name] = math.min(best[c.name] or math.huge,
                median(list)) end
        end
        if best.bracket then
            local rate = (gflop[op] or 0) * 1e6 / best.bracket
            local part = peaks[dtype] and ("%5.1f%%"):format(100 * rate / peaks[dtype]) or ""
            local row = ("%-3s %-2s %12.1f %8.4g %6s %s"):format(workload, op, best.bracket, rate, part,
                mib("bracket", op))
            for i = 2, #contestants do
                local name = contestants[i].name
                local t = best[name]
                row = row .. (t and ("  %17.1f (%6.2f) %s"):format(t, t / best.bracket, mib(name, op))
                    or ("  %36s"):format("-"))
            end
            print(row)
        end
    end
end
os.exit(wrong == 0, true)

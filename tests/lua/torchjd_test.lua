-- torchjd_test.lua - aggregations of gradients beside TorchJD's, on random rows: run where Python (the command in
-- BRACKET_PYTHON, else python3) has torchjd and its projector, skipped elsewhere.
local bk = require "bracket"
local lu = require "luaunit"
local python = os.getenv("BRACKET_PYTHON") or "python3"

TestTorchJD = {}

-- Rows as JSON on stdin; the aggregations of each as JSON on stdout. UPGrad is taken without its regularisation.
local SCRIPT = [==[
import json, sys, torch
from torchjd import aggregation as a
torch.set_default_dtype(torch.float64)
def make(name):
    if name == "upgrad":
        try: # since 0.16
            from torchjd.linalg import QuadprogProjector
            return a.UPGrad(projector=QuadprogProjector(norm_eps=0.0, reg_eps=0.0))
        except ImportError: return a.UPGrad(norm_eps=0.0, reg_eps=0.0)
    if name == "mgda": return a.MGDA(epsilon=1e-15, max_iters=100000)
    if name == "imtl_g": return a.IMTLG()
    if name == "aligned_mtl": return a.AlignedMTL()
    return a.ConFIG()
names = ["upgrad", "imtl_g", "aligned_mtl", "conflict_free", "mgda"]
out = []
for rows in json.load(sys.stdin):
    J = torch.tensor(rows)
    out.append({n: make(n)(J).tolist() for n in names if n != "mgda" or len(rows) == 2})
print(json.dumps(out))
]==]

local function theirs(cases)
    local input, script = os.tmpname(), os.tmpname()
    bk.internal.write_file(input, bk.internal.to_json(cases))
    bk.internal.write_file(script, SCRIPT)
    local p = io.popen(("%s %s < %s 2> %s.err"):format(python, script, input, script))
    local text = p:read("a")
    p:close()
    local f = io.open(script .. ".err")
    local problem = f and f:read("a") or ""
    if f then f:close() end
    for _, name in ipairs{ input, script, script .. ".err" } do os.remove(name) end
    for _, lacks in ipairs{ "No module named", "not found", "to be installed" } do
        if problem:find(lacks, 1, true) then return nil end
    end
    lu.assertNotEquals(text, "", problem)
    return bk.internal.from_json(text)
end

local function ours(name, rows)
    local state = { gradients = {}, n_tasks = #rows, reduction_scale = 1 / #rows, shared = {}, seed = 1, step = 1 }
    for i, row in ipairs(rows) do
        state.gradients[i] = bk.tensor(row)
        state.gradient_sum = i == 1 and state.gradients[1] or state.gradient_sum + state.gradients[i]
    end
    bk.intervention[name]{}.before_step(state, {})
    return state.gradient
end

function TestTorchJD.test_values()
    local cases = {}
    for seed = 1, 12 do
        local rng, rows = bk.rng(seed), {}
        for i = 1, 2 + seed % 3 do rows[i] = (rng:normal{ 6 } * 2 ^ (i - 2)):totable() end
        cases[seed] = rows
    end
    local values = theirs(cases)
    if not values then lu.skip("torchjd is not installed") end
    for k, rows in ipairs(cases) do
        for name, expected in pairs(values[k]) do
            local scale = name == "conflict_free" and #rows or 1 -- a sum there, a mean here
            local difference = (ours(name, rows) * scale - bk.tensor(expected)):norm():item()
            lu.assertTrue(difference < 1e-8, ("%s, case %d: %g"):format(name, k, difference))
        end
    end
end

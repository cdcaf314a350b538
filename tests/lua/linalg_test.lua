-- linalg_test.lua - bk.linalg: values by reconstruction, orthogonality, matrices whose factors are known; the stated
-- signs; derivatives; errors. op_test holds the rules to finite differences.
local bk = require "bracket"
local lu = require "luaunit"

TestLinalg = {}

local la = bk.linalg

local function close(got, want, tol, what)
    local off = (got - want):abs():max():item()
    lu.assertTrue(off <= tol, ("%s: off by %g"):format(what or "values", off))
end
local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end
local function random(seed, ...) return bk.rng(seed):normal { ... } end
local function T(a) return a:transpose() end
local function spd(seed, n) return random(seed, n, n):matmul(T(random(seed, n, n))) / n + bk.eye(n) end
local function hilbert(n)
    local i = bk.arange(n):reshape { n, 1 }
    return 1 / (i + T(i) + 1)
end
-- The second difference matrix: eigenvalues 2 - 2 cos(k pi / (n + 1)).
local function laplacian(n)
    local i = bk.arange(n):reshape { n, 1 }
    local d = (i - T(i)):abs()
    return 2 * bk.eye(n) - d:eq(1)
end
local function largest_is_positive(columns)
    local a = columns:abs()
    local tops = T(columns):take(a:argmax(1))
    lu.assertTrue(tops:min():item() >= 0, "the largest component of a column is negative")
end

function TestLinalg.test_factors_give_the_matrix_back()
    for _, dtype in ipairs { "float64", "float32" } do
        local eps = dtype == "float64" and 1e-15 or 6e-7
        for _, size in ipairs { { 1, 1 }, { 2, 2 }, { 7, 7 }, { 9, 4 }, { 4, 9 }, { 130, 60 } } do
            local m, n = size[1], size[2]
            local k, A, tol = math.min(m, n), random(1, m, n):to(dtype), 20 * (m + n) * eps
            local U, s, Vt = la.svd(A)
            lu.assertEquals({ U:shape(), s:shape(), Vt:shape(), U:dtype() }, { { m, k }, { k }, { k, n }, dtype })
            close((U * s):matmul(Vt), A, tol, "U s Vt")
            close(T(U):matmul(U), bk.eye(k), tol, "U'U")
            close(Vt:matmul(T(Vt)), bk.eye(k), tol, "V'V")
            lu.assertTrue(k == 1 or (s:narrow(1, 1, k - 1) - s:narrow(1, 2, k - 1)):min():item() >= 0, "descending")
            lu.assertTrue(s:min():item() >= 0)
            largest_is_positive(U)
            local Q, R = la.qr(A)
            lu.assertEquals({ Q:shape(), R:shape() }, { { m, k }, { k, n } })
            close(Q:matmul(R), A, tol, "Q R")
            close(T(Q):matmul(Q), bk.eye(k), tol, "Q'Q")
            local i, j = bk.arange(k):reshape { k, 1 }, bk.arange(n)
            close(R * i:gt(j), bk.zeros { k, n }, 0, "R's lower part")
            lu.assertTrue((R * i:eq(j)):min():item() >= 0, "R's diagonal")
        end
        for _, n in ipairs { 1, 2, 5, 60 } do
            local A, tol = spd(2, n):to(dtype), 40 * n * eps
            local w, V = la.eigh(A)
            close((V * w):matmul(T(V)), A, tol, "V w V'")
            close(T(V):matmul(V), bk.eye(n), tol, "V'V")
            lu.assertTrue(n == 1 or (w:narrow(1, 2, n - 1) - w:narrow(1, 1, n - 1)):min():item() >= 0, "ascending")
            largest_is_positive(V)
            local L = la.cholesky(A)
            close(L:matmul(T(L)), A, tol, "L L'")
            local i = bk.arange(n):reshape { n, 1 }
            close(L * i:lt(T(i)), bk.zeros { n, n }, 0, "L's upper part")
            local b, B = random(3, n):to(dtype), random(4, n, 3):to(dtype)
            close(A:matmul(la.solve(A, b)), b, tol)
            close(A:matmul(la.solve(A, B)), B, tol)
            close(A:matmul(la.inv(A)), bk.eye(n), tol)
            lu.assertAlmostEquals(la.det(A):log():item(), w:log():sum():item(), 100 * n * eps)
        end
    end
end

function TestLinalg.test_known_matrices()
    local n = 500
    local w, V = la.eigh(laplacian(n))
    local k = bk.arange(n) + 1
    close(w, 2 - 2 * (k * (math.pi / (n + 1))):cos(), 1e-13, "second differences")
    local sines = (k:reshape { n, 1 } * k * (math.pi / (n + 1))):sin() * math.sqrt(2 / (n + 1))
    close((T(V):matmul(sines)):abs(), bk.eye(n), 1e-8, "their eigenvectors are sines")
    lu.assertAlmostEquals(la.det(laplacian(n)):item(), n + 1, 1e-9 * n)
    local e = bk.zeros { n } + k:eq(1) -- the first column of the inverse: 1 - k/(n+1)
    close(la.solve(laplacian(n), e), 1 - k / (n + 1), 1e-11)
    -- Hilbert's: exact inverse and determinant of order 5; condition 4.77e5
    close(la.inv(hilbert(5)), bk.tensor { { 25, -300, 1050, -1400, 630 }, { -300, 4800, -18900, 26880, -12600 },
        { 1050, -18900, 79380, -117600, 56700 }, { -1400, 26880, -117600, 179200, -88200 },
        { 630, -12600, 56700, -88200, 44100 } }, 1e-5)
    lu.assertAlmostEquals(la.det(hilbert(5)):item() * 266716800000, 1, 1e-10)
    local L = la.cholesky(hilbert(3)) -- rows 1, 1/2 1/sqrt(12), 1/3 1/sqrt(12) 1/sqrt(180)
    close(L, bk.tensor { { 1, 0, 0 }, { 0.5, 1 / math.sqrt(12), 0 }, { 1 / 3, 1 / math.sqrt(12), 1 / math.sqrt(180) } },
        1e-15)
    local w2, V2 = la.eigh(bk.tensor { { 2, 1 }, { 1, 2 } })
    local r = math.sqrt(0.5)
    close(w2, bk.tensor { 1, 3 }, 1e-15)
    close(V2:abs(), bk.tensor { { r, r }, { r, r } }, 1e-15)
    close(la.svd(bk.tensor { { 0, 3 }, { -4, 0 } }), bk.tensor { { 0, 1 }, { 1, 0 } }, 1e-15)
    lu.assertEquals(la.det(bk.tensor { { 0, 1 }, { 1, 0 } }):item(), -1)
    lu.assertEquals(la.det(bk.tensor { { 1, 2 }, { 2, 4 } }):item(), 0)
    close(la.eigh(bk.tensor { { 1, 4 }, { 0, 1 } }), bk.tensor { -1, 3 }, 1e-15, "the symmetric part is taken")
end

-- Sides about that up to which matrices are eliminated here and no call of LAPACK is made; determinants of whole
-- numbers by Bareiss's exact elimination, and rows that have to be exchanged.
function TestLinalg.test_inverses_and_determinants_of_any_size()
    local draw = bk.rng(11)
    local function exact(rows)
        local n, last, sign = #rows, 1, 1
        for k = 1, n - 1 do
            local p = k
            while p < n and rows[p][k] == 0 do p = p + 1 end
            if rows[p][k] == 0 then return 0 end
            if p ~= k then rows[p], rows[k], sign = rows[k], rows[p], -sign end
            for i = k + 1, n do
                for j = k + 1, n do
                    rows[i][j] = (rows[i][j] * rows[k][k] - rows[i][k] * rows[k][j]) // last
                end
            end
            last = rows[k][k]
        end
        return sign * rows[n][n]
    end
    for n = 1, 9 do
        local t = draw:integers({ 8, n, n }, 7) - 3
        local got = la.det(t:to "float64")
        for i = 1, 8 do
            local want = exact(t[i]:totable())
            lu.assertTrue(math.abs(got[i]:item() - want) <= 1e-11 * (1 + math.abs(want)), n .. ": " .. want)
        end
    end
    for _, n in ipairs { 1, 2, 3, 7, 15, 16, 17, 40 } do
        for _, k in ipairs { 1, 16, 17 } do
            local a = draw:normal { 5, n, n } + bk.flip(bk.eye(n), 2) * 9 -- far from any order of its rows
            local b = draw:normal { 5, n, k }
            local x = la.solve(a, b)
            lu.assertTrue((bk.matmul(a, x) - b):abs():max():item() < 1e-13 * n, n .. " " .. k)
            local half = la.solve(a:to "float32", b:to "float32"):to "float64"
            lu.assertTrue((half - x):abs():max():item() < 2e-5, n .. " " .. k)
        end
        local a = bk.flip(bk.eye(n), 2) * 2
        lu.assertEquals(la.det(a):item(), 2 ^ n * (n // 2 % 2 == 0 and 1 or -1))
        lu.assertEquals((la.inv(a) - a / 4):abs():max():item(), 0)
        lu.assertEquals(la.det(a:narrow(1, 1, n - 1):pad({ 0, 0 }, { 1, 0 })):item(), 0)
    end
end

-- The characteristic polynomial by Newton's identities from traces of powers.
function TestLinalg.test_characteristic_polynomial()
    local n = 6
    local A = spd(7, n)
    local power, traces, c = bk.eye(n), {}, { [0] = 1 }
    for k = 1, n do
        power = power:matmul(A)
        traces[k] = (power * bk.eye(n)):sum():item()
        local s = 0
        for i = 1, k do s = s + c[k - i] * traces[i] end
        c[k] = -s / k
    end
    local w = la.eigh(A)
    for i = 1, n do
        local x, p = w[i]:item(), 0
        for k = 0, n do p = p * x + c[k] end
        lu.assertAlmostEquals(p, 0, 1e-9)
    end
    lu.assertAlmostEquals(la.det(A):item(), c[n], 1e-11)
end

function TestLinalg.test_the_same_bits_at_any_number_of_threads()
    local A, B, threads, first = spd(3, 300), random(4, 300, 200), bk.threads(), nil
    for n = 1, 3 do
        bk.threads(n)
        local w, V = la.eigh(A)
        local U, s, Vt = la.svd(B)
        local Q, R = la.qr(B)
        local all = { w, V, U, s, Vt, Q, R, la.cholesky(A), la.solve(A, B), la.inv(A), la.det(A) }
        first = first or all
        for i, t in ipairs(all) do lu.assertTrue(t == first[i], ("result %d with %d threads"):format(i, n)) end
    end
    bk.threads(threads)
end

function TestLinalg.test_batches_and_vmap()
    local A, b = bk.stack { spd(1, 4), spd(2, 4), spd(3, 4) }, random(5, 3, 4)
    local w, V = la.eigh(A)
    local U, s, Vt = bk.vmap(la.svd)(A)
    lu.assertEquals({ w:shape(), V:shape(), s:shape() }, { { 3, 4 }, { 3, 4, 4 }, { 3, 4 } })
    local x, det = la.solve(A, b), la.det(A)
    for i = 1, 3 do
        local wi, Vi = la.eigh(A[i])
        local Ui, si, Vti = la.svd(A[i])
        close(w[i], wi, 0)
        close(V[i], Vi, 0)
        close(U[i], Ui, 0)
        close(s[i], si, 0)
        close(Vt[i], Vti, 0)
        close(x[i], la.solve(A[i], b[i]), 0)
        lu.assertEquals(det[i]:item(), la.det(A[i]):item())
    end
    close(bk.vmap(la.solve, { in_axes = { false, 1 } })(A[1], b), T(la.solve(A[1], T(b))), 1e-13, "one matrix")
    lu.assertEquals(la.det(bk.zeros { 0, 0 }):item(), 1)
    lu.assertEquals(la.eigh(bk.zeros { 0, 0 }):shape(), { 0 })
    lu.assertEquals({ la.solve(bk.zeros { 0, 0 }, bk.zeros { 0 }):shape(), la.inv(bk.zeros { 2, 0, 0 }):shape() },
        { { 0 }, { 2, 0, 0 } })
    local U0, s0, Vt0 = la.svd(bk.zeros { 3, 0 })
    lu.assertEquals({ U0:shape(), s0:shape(), Vt0:shape() }, { { 3, 0 }, { 0 }, { 0, 0 } })
end

-- Of what does not depend on the choice of factors, against formulas; of all of them, against differences.
function TestLinalg.test_derivatives()
    local A, n = spd(5, 4), 4
    local inverse = la.inv(A)
    close(bk.grad(function(a) return la.det(a):log() end)(A), T(inverse), 1e-13, "(ln det)' = A^-T")
    local logdet = bk.hessian(function(a) return la.det(a):log() end)(A)
    for i = 1, n do -- -X[j, k] X[l, i] at (i, j), (k, l)
        for j = 1, n do
            close(logdet[i][j], -inverse[j]:reshape { n, 1 } * T(inverse)[i], 1e-12, "(ln det)''")
        end
    end
    close(bk.grad(function(a) return (la.eigh(a) ^ 3):sum() end)(A), 3 * A:matmul(A), 1e-12, "tr A^3")
    local _, V = la.eigh(A)
    local v = V:narrow(2, 1, 1)
    close(bk.grad(function(a) return la.eigh(a)[1] end)(A), v:matmul(T(v)), 1e-13, "w_1' = v v'")
    local gaps = bk.hvp(function(a) return la.eigh(a)[1] end)(A, bk.eye(n) * 0 + V[2]:reshape { n, 1 } * V[3])
    lu.assertTrue(gaps:norm():item() > 0 and gaps:norm():item() < 1e3)
    local B, W = random(6, 5, 3), random(7, 3, 5)
    local weights = random(8, 5, 5)
    local function mixed(t, k) return (t * weights:narrow(1, 1, t:shape()[1]):narrow(2, 1, t:shape()[2])):sum() * k end
    local cases = {
        eigh = { A, function(a) local x, y = la.eigh(a) return (x ^ 2):sum() + mixed(y, 0.5) end },
        svd = { B, function(a) local u, s, vt = la.svd(a) return (s:sin()):sum() + mixed(u, 1) + mixed(vt, 0.7) end },
        ["wide svd"] = { W, function(a) local u, s, vt = la.svd(a) return s:sum() + mixed(u, 1) + mixed(vt, 0.7) end },
        qr = { B, function(a) local q, r = la.qr(a) return mixed(q, 1) + mixed(r:sin(), 0.3) end },
        ["wide qr"] = { W, function(a) local q, r = la.qr(a) return mixed(q, 1) + mixed(r:sin(), 0.3) end },
        cholesky = { A, function(a) return mixed(la.cholesky(a):sin(), 1) end },
        solve = { A, function(a) return mixed(la.solve(a, bk.eye(n):sin()), 1) end },
        inv = { A, function(a) return mixed(la.inv(a), 1) end },
        det = { A, function(a) return la.det(a) end },
    }
    for name, case in pairs(cases) do
        local off = bk.check_grad(case[2], case[1])
        lu.assertTrue(off < 1e-6, ("%s: %g"):format(name, off))
        local single = case[1]:to "float32"
        lu.assertEquals(bk.grad(case[2])(single):dtype(), "float32")
        close(bk.grad(case[2])(single), bk.grad(case[2])(case[1]), 1e-2, name .. " in float32")
    end
    local third = bk.grad(bk.grad(bk.grad(function(x) return la.solve(bk.eye(2) * x, bk.ones { 2 }):sum() end)))
    lu.assertAlmostEquals(third(bk.tensor(2)):item(), -12 / 16, 1e-13) -- (2/x)'''
end

function TestLinalg.test_derivatives_at_degeneracies()
    -- eigenvalues 1, 1, 2: those of symmetric functions are what they are elsewhere
    local A = bk.tensor { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 2 } }
    close(bk.grad(function(a) return la.eigh(a):exp():sum() end)(A), bk.eye(3) * A:exp(), 1e-14)
    local function top(a)
        local w, V = la.eigh(a)
        return w[3] + V[3][3]
    end
    close(bk.grad(top)(A), bk.tensor { { 0, 0, 0 }, { 0, 0, 0 }, { 0, 0, 1 } }, 1e-14, "of a simple one all exist")
    close(bk.hvp(top)(A, bk.ones { 3, 3 }):narrow(1, 3, 1), bk.tensor { { 1 - 0.5, 1 - 0.5, 0 } }, 1e-13)
    close(bk.grad(function(a) local _, s = la.svd(a) return s:sum() end)(bk.eye(2) * 3), bk.eye(2), 1e-14)
    local flat = bk.tensor { { 1, 0 }, { 0, 0 }, { 0, 0 } }
    local g = bk.grad(function(a) local u = la.svd(a) return (u * u):sum() end)(flat)
    lu.assertTrue(g:abs():max():item() < 1e-12, "finite beside a singular value of 0")
end

function TestLinalg.test_errors_say_what_is_wrong()
    local square = "bk.linalg.%s: t: expected square matrices (..., n, n), got float64 (2,3)"
    for _, name in ipairs { "eigh", "cholesky", "inv", "det" } do
        fails(square:format(name), la[name], bk.ones { 2, 3 })
    end
    fails(square:format "solve", la.solve, bk.ones { 2, 3 }, bk.ones { 2 })
    fails("bk.linalg.svd: t: expected matrices (..., m, n), got float64 (3)", la.svd, bk.ones { 3 })
    fails("bk.linalg.eigh: t: expected a tensor, got 3", la.eigh, 3)
    fails("bk.linalg.solve: u: expected (..., n) or (..., n, k) for t (..., n, n), got (3) for (2,2)", la.solve,
        bk.eye(2), bk.ones { 3 })
    fails("bk.linalg.cholesky: not positive definite: pivot 3 of 3 is -1", la.cholesky,
        bk.tensor { { 1, 0, 0 }, { 0, 1, 1 }, { 0, 1, 0 } })
    fails("bk.linalg.cholesky: matrix 2 of 2: not positive definite: pivot 1 of 2 is 0", la.cholesky,
        bk.stack { bk.eye(2), bk.zeros { 2, 2 } })
    for name, who in pairs { det = "det: derivative", inv = "inv", qr = "qr: derivative" } do
        local f = bk.compile(function(t) return la[name](t):sum() end)
        fails("bk.linalg." .. who .. ": singular matrix: pivot 1 of 2 is 0", bk.grad(f), bk.zeros { 2, 2 })
    end
    fails("bk.linalg.solve: singular matrix: pivot 2 of 2 is 0", la.solve, bk.tensor { { 1, 2 }, { 2, 4 } },
        bk.ones { 2 })
    fails("singular matrix: pivot 1 of 3", la.inv, bk.zeros { 3, 3 })
    fails("singular matrix", bk.grad(la.det), bk.zeros { 3, 3 })
    fails("singular matrix", bk.compile(la.inv), bk.zeros { 3, 3 })
    for _, name in ipairs { "eigh", "svd", "qr", "cholesky", "inv", "det" } do
        fails(("bk.linalg.%s: t: expected finite numbers, got one that is not in row 2, column 1"):format(name),
            la[name], bk.tensor { { 1, 2 }, { 0 / 0, 4 } })
    end
end

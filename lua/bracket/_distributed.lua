-- Runs whose batches are shared over ranks. Every rank takes every step, with the same numbers: it computes the losses
-- and derivatives of its share of a batch, and those are summed. Rank 0 owns the folder. Here is what makes sure that
-- the ranks stay together: where they differ, or one of them stops, all of them hear of it.
local bk = ...
local internal = bk.internal
local distributed = {}

local SIGNALS = internal.signals and internal.signals.names or {} -- of the program: a host has its own
local LOOK = 16 -- steps between looks at theta: a difference stays one

-- An error on every rank where they do not have the same.
local function same(what, text)
    for r, other in ipairs(internal.ranks.gather(internal.digest(text))) do
        if other ~= internal.digest(text) then
            error(("bk.protocol: distributed: rank %d has %s than rank %d; every rank takes all of them, the same"):format(
                r - 1, what, bk.mpi.rank), 0)
        end
    end
end

-- Whether loss and gradient of a few examples are those summed over ranks; where they are not, an error.
local function check_task(problem, i, theta)
    local t, ranks = problem.tasks[i], bk.mpi.size
    local n = math.min(t.train.n, 2 * ranks + 1)
    local x, y = t.train.x:narrow(1, 1, n), t.train.y:narrow(1, 1, n)
    local where = ("bk.protocol: distributed: task %d (%s)"):format(i, tostring(t.name))
    local plain = bk._functions.of(problem.model, t.source, problem.outputs, where)
    local _, alone = bk._functions.bound(plain, problem.mode)
    local function values(f)
        if not f.loss then return 0, f.grad(theta, x, y) end
        local loss, g = f.value_and_grad(theta, x, y)
        return loss:item(), g
    end
    local loss, g = values(alone)
    local shared_loss, shared_g = values(t.training)
    local off = (shared_g - g):norm():item() / g:norm():item()
    local limit = problem.dtype == "float32" and 1e-3 or 1e-9
    if loss - loss ~= 0 or math.abs(shared_loss - loss) <= limit * math.abs(loss) and (off ~= off or off <= limit) then
        return
    end
    error(("%s: expected a mean over the examples, got one that differs from that of its shares: of %d examples the %s "
        .. "is off by %.2g of its size. A sum over them, or a layer that mixes or counts examples, cannot be shared")
        :format(where, n, alone.loss and "gradient" or "field", off), 0)
end

-- Before the first step.
function distributed.check(problem, theta)
    if bk.mpi.size == 1 then return end
    same("another theta", theta)
    for i, t in ipairs(problem.tasks) do
        for _, which in ipairs{ "train", "test" } do
            same(("other %s examples of task %d"):format(which, i), t[which].x)
            same(("other %s targets of task %d"):format(which, i), t[which].y)
        end
        if not t.shared.checked then check_task(problem, i, theta) end
        t.shared.checked = true
    end
end

-- After a step: the name of a signal that came to any rank. An error where the ranks went apart.
function distributed.agree(state, signal)
    if bk.mpi.size == 1 then return signal end
    local number = 0
    for k, name in ipairs(SIGNALS) do number = name == signal and k or number end
    local look = state.step % LOOK == 0 or state.step == state.total
    local mine = string.pack("<ddd", state.lr, state.total, look and state.theta:dot(state.theta):item() or 0)
    local agreed
    for r, text in ipairs(internal.ranks.gather(string.pack("<I1", number) .. mine)) do
        if text:sub(2) ~= mine then
            error(("bk.protocol: step %d: rank %d is at another point than rank %d: a hook, rate or optimizer of its own "
                .. "gave it other numbers, at most %d steps ago"):format(state.step, r - 1, bk.mpi.rank, LOOK), 0)
        end
        agreed = agreed or SIGNALS[text:byte()]
    end
    return agreed
end

-- After an error: the others hear of it, unless all have the same.
function distributed.failed(message)
    if bk.mpi.size > 1 then pcall(internal.ranks.fail, tostring(message)) end
end

return distributed

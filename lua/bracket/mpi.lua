-- bk.mpi: the ranks that mpirun or srun started as one program. The first use of it joins them.
local bk = ...
local refuse, show, public = bk._options.refuse, bk._options.show, bk.internal.public
local internal = bk.internal
local ranks = internal.ranks
local rank, size, library = ranks.open()
local mpi = { rank = rank, size = size, library = library }

local function is_float(v) return bk.is_tensor(v) and v:dtype() ~= "int64" end

-- Its results are sums of floats; what is no tensor, or int64, is the same on all ranks.
local function summed(...)
    local results = table.pack(...)
    for k = 1, results.n do
        if is_float(results[k]) then results[k] = ranks.sum(results[k]) end
    end
    return table.unpack(results, 1, results.n)
end

function mpi.sum(f)
    local is_function, kind = pcall(bk.compile, f)
    if not is_function then
        refuse("bk.mpi.sum: f: expected a function of tensors, got %s%s", bk._options.show(f),
            type(f) == "function" and ": " .. tostring(kind) or "")
    end
    if size == 1 then return f end
    return function(...)
        local arguments = table.pack(...)
        for k = 1, arguments.n do
            if is_float(arguments[k]) then arguments[k] = ranks.copy(arguments[k]) end
        end
        return summed(f(table.unpack(arguments, 1, arguments.n)))
    end
end

function mpi.share(n)
    if math.type(n) ~= "integer" or n < 0 then
        refuse("bk.mpi.share: n: expected a number of examples, got %s", show(n))
    end
    local function before(r) return n // size * r + n % size * r // size end -- n r // size, which may overflow
    return before(rank) + 1, before(rank + 1) - before(rank)
end

-- What shares are taken of.
local function check_examples(name, x, y)
    local given = { x = x, y = y }
    for _, argument in ipairs{ "x", "y" } do
        local t = given[argument]
        if not bk.is_tensor(t) or #t:shape() == 0 then
            refuse("%s: %s: expected a tensor of examples along its first dimension, got %s", name, argument, show(t))
        end
    end
    if x:shape()[1] ~= y:shape()[1] then
        refuse("%s: y: expected as many examples as x has, %d, got %d", name, x:shape()[1], y:shape()[1])
    end
end

-- Every rank has the same n examples. All compute as many of them, so that all do the same operations: n // size, and,
-- where some are left over, one of those; those that several ranks take count by their number. Fewer examples than
-- ranks are everybody's. model, where it may draw: each example has the draws it has in the whole batch.
local function mean_over_ranks(name, f, model)
    return mpi.sum(function(theta, x, y)
        check_examples(name, x, y)
        local passes = model and internal.rows(model)
        local n = x:shape()[1]
        local each, over = n // size, n % size
        if each == 0 then return f(theta, x, y) * (1 / size) end
        local function part(first, count)
            if model then internal.rows(model, passes, first - 1, count) end
            local value = f(theta, x:narrow(1, first, count), y:narrow(1, first, count))
            if model then internal.rows(model, (internal.rows(model)), 0, 0) end
            return value
        end
        local value = part(rank * each + 1, each) * (each / n)
        if over == 0 then return value end
        local takers = size // over + (rank % over < size % over and 1 or 0)
        return value + part(size * each + rank % over + 1, 1) * (1 / (n * takers))
    end)
end

function mpi.shard(f)
    local ok = pcall(bk.compile, f)
    if not ok then
        refuse("bk.mpi.shard: f: expected a function (theta, x, y), got %s", bk._options.show(f))
    end
    return size == 1 and f or mean_over_ranks("bk.mpi.shard", f)
end

-- Of a loss of the model that may draw.
function mpi._shard(f, model) return size == 1 and f or mean_over_ranks("bk.protocol", f, model) end

function mpi.allreduce(value)
    if type(value) == "number" then
        return size == 1 and value or ranks.reduce(bk.tensor(value, { dtype = math.type(value) == "integer" and "int64"
            or "float64" })):item()
    end
    if not bk.is_tensor(value) then
        refuse("bk.mpi.allreduce: value: expected a tensor or a number, got %s", bk._options.show(value))
    end
    return ranks.reduce(value)
end

-- On that rank pack(value); on all of them what it was. Where it cannot be sent, all of them hear of it.
local function broadcast(value, from)
    local list, head
    if rank == from then
        local ok, text, tensors = pcall(bk._checkpoint.pack, value, "bk.mpi.broadcast: value")
        head = { wrong = not ok and tostring(text) or nil, text = ok and text or nil, tensors = {} }
        list = ok and tensors or {}
        for name, t in pairs(list) do
            head.tensors[#head.tensors + 1] = { name = name, shape = t:shape(), dtype = t:dtype() }
        end
        head = internal.to_json(head)
    end
    head = internal.from_json(ranks.broadcast(head, from))
    if head.wrong then error(head.wrong, 0) end
    local received = {}
    for _, about in ipairs(head.tensors) do
        local t = list and list[about.name] or bk.zeros(about.shape, { dtype = about.dtype })
        received[about.name] = ranks.broadcast(t, from)
    end
    return bk._checkpoint.unpack(head.text, received)
end

function mpi.broadcast(value, from)
    from = from or 0
    if math.type(from) ~= "integer" or from < 0 or from >= size then
        refuse("bk.mpi.broadcast: from: expected a rank 0..%d, got %s", size - 1, show(from))
    end
    if size == 1 then return value end
    return broadcast(value, from)
end

function mpi.barrier()
    if size > 1 then ranks.gather("here") end
end

-- What f returns on rank 0, on all; its errors too.
function mpi._first(f, ...)
    if size == 1 then return f(...) end
    local outcome
    if rank == 0 then
        local ok, value = pcall(f, ...)
        outcome = ok and { value = value } or { wrong = tostring(value) }
    end
    outcome = broadcast(outcome, 0)
    if outcome.wrong then error(outcome.wrong, 0) end
    return outcome.value
end

bk.doc("bk.mpi.rank", [[
bk.mpi.rank
Which of the ranks this is, counted from 0.]])
bk.doc("bk.mpi.size", [[
bk.mpi.size
How many ranks there are: 1 where the program was started alone.]])
bk.doc("bk.mpi.library", [[
bk.mpi.library
What the MPI library calls itself; nil where bracket was built without (make MPI=1 builds with).]])
mpi.sum = public(mpi.sum, [[
bk.mpi.sum(f) -> function
f's value, a tensor or several, summed over the ranks: each rank's f is a function of its own examples.

It can be differentiated to any order, by bk.grad, bk.hvp, bk.lie and all that is made of them (bk.bea.word, multitask,
path_bracket): every derivative is then a sum over ranks. What is differentiated goes through f's arguments: a traced
tensor from outside that f uses besides does not. The sum is taken in a fixed tree: the same bits on every rank and in
every run of as many. Only floats are summed.

Formula: F(theta, ...) = sum_r f_r(theta, ...); its gradient is sum_r f_r'(theta, ...)
Example: first, count = bk.mpi.share(n)
  loss = bk.loss.mse(model, x:narrow(1, first, count), y:narrow(1, first, count))
  A = bk.mpi.sum(function(theta) return loss(theta) * (count / n) end)]])
mpi.shard = public(mpi.shard, [[
bk.mpi.shard(f) -> function (theta, x, y)
f, a mean over the examples (x, y), which every rank has: each computes a share of them, and the shares are summed.

The value, and every derivative, agree with f's own to rounding. Any number of examples: shares are weighed by their
sizes. What is no mean over examples gives another value, and nothing tells; bk.protocol checks its losses.]])
mpi.share = public(mpi.share, [[
bk.mpi.share(n) -> first, count
Which of n examples are this rank's: count of them from first on, counted from 1. Counts differ by one at most.]])
mpi.allreduce = public(mpi.allreduce, [[
bk.mpi.allreduce(value) -> value
The sum over ranks of a tensor or number, in a fixed tree: the same bits on every rank.

Errors: shapes or dtypes that differ between ranks (a number's shape is ()); a traced tensor (bk.mpi.sum has
derivatives).]])
mpi.broadcast = public(mpi.broadcast, [[
bk.mpi.broadcast(value [, from]) -> value
What value is on rank `from` (0), on every rank: a tensor, number, string, boolean, or a table of these.

Errors: ranks that differ in `from`; a value of another kind.]])
mpi.barrier = public(mpi.barrier, [[
bk.mpi.barrier() -> nothing
Returns when every rank has called it.]])
return mpi

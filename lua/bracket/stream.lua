-- Random streams whose whole state is two integers (SplitMix64 in counter form, as bk.rng), so that a protocol's
-- state can hold them as numbers. stream.key(seed, ...) derives the key of an independent stream from integers. Of a
-- run's seed these are taken: 1 batches, 2 orders, 3 interventions (1 pcgrad, 2 ewc, 3 replay, 4 agem, 5 graddrop,
-- 6 online_ewc, 7 der, 9 naive_rehearsal, 10 joint_training, 11 ogd), 4 models in training, 5 fuzzy, 6 planned, 7 the
-- record trace.
local bk = ...
local public = bk.internal.public
local show, refuse = bk._options.show, bk._options.refuse
local stream = {}
stream.__index = stream
local whole = bk._options.whole
local GAMMA, mix = 0x9E3779B97F4A7C15, bk.internal.mix

function stream.key(...)
    local z = 0
    for i = 1, select("#", ...) do
        local part = select(i, ...)
        if not whole(part) then refuse("bk.stream.key: seed: expected whole numbers, got %s", show(part)) end
        z = mix(z + math.tointeger(part) * 0xD1342543DE82EF95 + GAMMA)
    end
    return z & 0x7fffffffffff -- exact in a double as well
end

function stream.new(key, counter)
    if not whole(key) or not (counter == nil or whole(counter)) then
        refuse("bk.stream.new: %s: expected a whole number, got %s", whole(key) and "counter" or "key",
            show(whole(key) and counter or key))
    end
    return setmetatable({ key = key, counter = counter or 0 }, stream)
end

-- the same on a plain table {key =, counter =}
local function next_bits(s)
    if type(s) ~= "table" or not whole(s.key) or not whole(s.counter) then
        refuse("bk.stream: stream: expected { key, counter }, got %s", show(s))
    end
    s.counter = math.tointeger(s.counter) + 1
    return mix(math.tointeger(s.key) + s.counter * GAMMA)
end
local function uniform(s) return (next_bits(s) >> 11) * 2.0 ^ -53 end
local function below(s, n) -- 0..n-1
    if not whole(n) or n < 1 then
        refuse("bk.stream.below: n: expected a whole number >= 1, got %s", show(n))
    end
    return math.floor(uniform(s) * n)
end
local function permutation(s, n) -- 1..n
    local p = {}
    if not whole(n) then refuse("bk.stream.permutation: n: expected a whole number, got %s", show(n)) end
    for i = 1, n do p[i] = i end
    for i = n, 2, -1 do
        local j = below(s, i) + 1
        p[i], p[j] = p[j], p[i]
    end
    return p
end

stream.key = public(stream.key, [[
bk.stream.key(seed, ...) -> integer
The key of an independent stream, from whole numbers.]])
stream.new = public(stream.new, [[
bk.stream.new(key [, counter = 0]) -> stream
A stream { key, counter }; a plain table of these two does as well.]])
stream.next = public(next_bits, [[
bk.stream.next(stream) -> integer
The next 64 random bits.]])
stream.uniform = public(uniform, [[
bk.stream.uniform(stream) -> number
The next number in 0..1, 1 not included.]])
stream.below = public(below, [[
bk.stream.below(stream, n) -> integer
The next whole number in 0..n-1.]])
stream.permutation = public(permutation, [[
bk.stream.permutation(stream, n) -> list
A random order of 1..n.]])

return stream

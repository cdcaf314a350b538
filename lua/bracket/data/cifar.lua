-- bk.data.cifar: the batches of CIFAR-10 and CIFAR-100, as their binary version unpacks, joined.
local bk = ...

local FILES = {
    train = { "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin" },
    test = { "test_batch.bin" },
}
local FILES_100 = { train = { "train.bin" }, test = { "test.bin" } }

local refuse, misread = bk._options.refuse, bk._options.misread

-- The batches in dir, plain or packed: those of CIFAR-10 if there is one, else those of CIFAR-100.
local function find(dir, split)
    local there, found = {}, {}
    for _, entry in ipairs(bk.data._folder("bk.data.cifar", dir)) do there[entry] = true end
    for _, kind in ipairs{ { 10, FILES }, { 100, FILES_100 } } do
        for _, name in ipairs(kind[2][split]) do
            found[#found + 1] = (there[name] or there[name .. ".gz"]) and dir .. "/" .. name or nil
        end
        if #found > 0 then return found, kind[1] end
    end
    misread("bk.data.cifar: no batch in %s; looked for %s (CIFAR-10) and %s (CIFAR-100)", dir,
        table.concat(FILES[split], ", "), FILES_100[split][1])
end

local function cifar(dir, options)
    local split, dtype, labels, limit = options.split, options.dtype, options.labels, options.limit or math.huge
    local files, classes = find(dir, split)
    if labels == "coarse" and classes == 10 then refuse("bk.data.cifar: labels: CIFAR-10 has no coarse ones") end
    local xs, ys, n = {}, {}, 0
    for _, path in ipairs(files) do
        if n < limit then
            local x, fine, coarse = bk.data.cifar_batch(path, { classes = classes })
            local count = math.min(limit - n, x:size(1))
            local y = labels == "fine" and fine or coarse
            xs[#xs + 1] = x:narrow(1, 1, count):reshape{ count, 3072 }:to(dtype) / 255
            ys[#ys + 1] = y:narrow(1, 1, count)
            n = n + count
        end
    end
    return { x = bk.concat(xs, 1), y = bk.concat(ys, 1), classes = labels == "coarse" and 20 or classes,
        shape = { 3, 32, 32 }, name = "cifar" .. classes }
end

return bk.define{
    name = "bk.data.cifar",
    arguments = { "dir" },
    returns = "{ x, y, classes, shape = {3, 32, 32}, name }",
    doc = [[
CIFAR-10 or CIFAR-100 from the folder of their binary batches (data_batch_1.bin .. 5 and test_batch.bin, or train.bin
and test.bin), plain or gzipped, joined in that order; those that are there. x (n, 3072) in 0..1: red, green, blue, each
rows of pixels; y (n) int64. bk.data.cifar_batch reads one file.]],
    source = "Krizhevsky 2009",
    options = {
        { "split", { "train", "test" }, default = "train", doc = "which of the two sets" },
        { "limit", "count", says = "all", doc = "the first so many images only" },
        { "dtype", { "float64", "float32" }, default = "float64", doc = "of x" },
        { "labels", { "fine", "coarse" }, default = "fine", doc = "coarse: the 20 superclasses of CIFAR-100" },
    },
    call = cifar,
}

-- bk.data.mnist: image sets in MNIST's pair of IDX files, whatever small differences their names have.
local bk = ...
local misread = bk._options.misread

-- train-images-idx3-ubyte, train-images.idx3-ubyte, ...; each plain or .gz; the test set is called t10k or test.
local function find(dir, there, prefix, stems, kind)
    local tried = {}
    for _, stem in ipairs(stems) do
        for _, separator in ipairs{ "-", "." } do
            for _, gz in ipairs{ "", ".gz" } do
                local name = prefix .. stem .. "-" .. kind:gsub("/", separator) .. "-ubyte" .. gz
                if there[name] then return dir .. "/" .. name end
                tried[#tried + 1] = name
            end
        end
    end
    return nil, string.format("bk.data.mnist: no %s file in %s; looked for %s", kind:match("^%l+"), dir,
        table.concat(tried, ", "))
end

local STEMS = { train = { "train" }, test = { "t10k", "test" } }
local OTHER = { train = "test", test = "train" }

local function mnist(dir, options)
    local there = {}
    for _, entry in ipairs(bk.data._folder("bk.data.mnist", dir)) do there[entry] = true end
    local split, dtype, prefix, limit = options.split, options.dtype, options.prefix, options.limit
    local stems = STEMS[split]
    local images, missing = find(dir, there, prefix, stems, "images/idx3")
    if not images then
        local other = find(dir, there, prefix, STEMS[OTHER[split]], "images/idx3")
        if other then missing = ("%s (there is %s: split = %q)"):format(missing, other, OTHER[split]) end
        misread("%s", missing)
    end
    local labels, unlabelled = find(dir, there, prefix, stems, "labels/idx1")
    if not labels then misread("%s", unlabelled) end
    local x, y = bk.data.idx(images), bk.data.idx(labels)
    local xs, ys = x:shape(), y:shape()
    if #xs ~= 3 then
        misread("bk.data.mnist: %s: expected (n, rows, columns), got (%s)", images, table.concat(xs, ","))
    end
    if #ys ~= 1 or ys[1] ~= xs[1] then
        misread("bk.data.mnist: %s has %d images but %s has (%s) labels", images, xs[1], labels, table.concat(ys, ","))
    end
    local transpose = options.transpose
    if transpose == nil then transpose = prefix:find("^emnist") ~= nil end
    local n = math.min(limit or xs[1], xs[1])
    if n == 0 then misread("bk.data.mnist: %s holds no images", images) end
    x, y = x:narrow(1, 1, n), y:narrow(1, 1, n)
    if transpose then x, xs = x:transpose(2, 3), { xs[1], xs[3], xs[2] } end
    x = x:to(dtype):reshape{ n, xs[2] * xs[3] } / 255
    local top = y:max():item()
    return { x = x, y = y, classes = math.max(10, top + 1), shape = { xs[2], xs[3] },
        name = prefix ~= "" and prefix:gsub("%-$", "") or "mnist" }
end

return bk.define{
    name = "bk.data.mnist",
    arguments = { "dir" },
    returns = "{ x, y, classes, shape = {28, 28}, name }",
    doc = [[
Reads MNIST's IDX files from the folder dir: train- or t10k- (or test-) images and labels, names with - or . before idx,
gzipped or not. Fashion-MNIST and KMNIST have the same names; EMNIST's begin with a prefix. x (n, 784) in 0..1, y (n)
int64.]],
    options = {
        { "split", { "train", "test" }, default = "train", doc = "which of the two sets" },
        { "prefix", "string", default = "", doc = "what the files' names begin with, as \"emnist-letters-\"" },
        { "limit", "count", says = "all", doc = "the first so many images only" },
        { "dtype", { "float64", "float32" }, default = "float64", doc = "of x" },
        { "transpose", "boolean", says = "for EMNIST's prefixes, whose files hold every image transposed",
            doc = "swaps rows and columns" },
    },
    call = mnist,
}

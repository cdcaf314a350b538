-- bk.data.mnist: image sets in MNIST's pair of IDX files, whatever small differences their names have.
local bk = ...
local options_of = bk._options

-- train-images-idx3-ubyte, train-images.idx3-ubyte, ...; each plain or .gz; the test set is called t10k or test.
local function find(dir, prefix, stems, kind)
    local tried, there = {}, {}
    for _, entry in ipairs(bk.internal.folder(dir)) do there[entry] = true end
    for _, stem in ipairs(stems) do
        for _, separator in ipairs{ "-", "." } do
            for _, gz in ipairs{ "", ".gz" } do
                local name = prefix .. stem .. "-" .. kind:gsub("/", separator) .. "-ubyte" .. gz
                if there[name] then return dir .. "/" .. name end
                tried[#tried + 1] = name
            end
        end
    end
    return nil, string.format("data.mnist: no %s file in %s; looked for %s", kind:match("^%l+"), dir,
        table.concat(tried, ", "))
end

local STEMS = { train = { "train" }, test = { "t10k", "test" } }
local OTHER = { train = "test", test = "train" }

local function mnist(dir, options)
    if type(dir) ~= "string" then error("data.mnist: dir: expected a string, got a " .. type(dir), 2) end
    options = options_of("data.mnist", options, { split = "string", prefix = "string", limit = "integer",
        dtype = "string", transpose = "boolean" })
    local split, dtype, limit = options.split or "train", options.dtype or "float64", options.limit
    local stems = STEMS[split]
    if not stems then error(string.format("data.mnist: split: expected \"train\" or \"test\", got %q", split), 2) end
    if dtype ~= "float64" and dtype ~= "float32" then
        error(string.format("data.mnist: dtype: expected \"float64\" or \"float32\", got %q", dtype), 2)
    end
    if limit and limit < 1 then error("data.mnist: limit: expected 1 or more, got " .. limit, 2) end
    local prefix = options.prefix or ""
    local images, missing = find(dir, prefix, stems, "images/idx3")
    if not images then
        local other = find(dir, prefix, STEMS[OTHER[split]], "images/idx3")
        error(other and string.format("%s (there is %s: split = %q)", missing, other, OTHER[split]) or missing, 2)
    end
    local labels, unlabelled = find(dir, prefix, stems, "labels/idx1")
    if not labels then error(unlabelled, 2) end
    local x, y = bk.data.idx(images), bk.data.idx(labels)
    local xs, ys = x:shape(), y:shape()
    if #xs ~= 3 then
        error(string.format("data.mnist: %s: expected (n, rows, columns), got (%s)", images, table.concat(xs, ",")), 2)
    end
    if #ys ~= 1 or ys[1] ~= xs[1] then
        error(string.format("data.mnist: %s has %d images but %s has (%s) labels", images, xs[1], labels,
            table.concat(ys, ",")), 2)
    end
    local transpose = options.transpose
    if transpose == nil then transpose = (options.prefix or ""):find("^emnist") ~= nil end
    local n = math.min(limit or xs[1], xs[1])
    if n == 0 then error("data.mnist: " .. images .. " holds no images", 2) end
    x, y = x:narrow(1, 1, n), y:narrow(1, 1, n)
    if transpose then x, xs = x:transpose(2, 3), { xs[1], xs[3], xs[2] } end
    x = x:to(dtype):reshape{ n, xs[2] * xs[3] } / 255
    local top = y:max():item()
    return { x = x, y = y, classes = math.max(10, top + 1), shape = { xs[2], xs[3] },
        name = options.prefix and options.prefix:gsub("%-$", "") or "mnist" }
end

return bk.doc(mnist, [[
bk.data.mnist(dir, { split = "train" | "test", prefix = "", limit, dtype = "float64", transpose })
    -> { x, y, classes, shape = {28, 28}, name }
Reads MNIST's IDX files from dir: train- or t10k- (or test-) images and labels, names with - or . before idx, gzipped or
not. Fashion-MNIST and KMNIST have the same names; EMNIST's begin with a prefix, "emnist-letters-".
x (n, 784) in 0..1, y (n) int64. limit: the first so many images only.
transpose: swaps rows and columns; the default for EMNIST's prefixes, whose files hold every image transposed.]])

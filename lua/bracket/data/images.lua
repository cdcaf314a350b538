-- bk.data.images: a folder of images, in it a folder a class.
local bk = ...

local ENDINGS = { png = true, jpg = true, jpeg = true }

local refuse, misread = bk._options.refuse, bk._options.misread

-- The classes, in order, and every file with its class's id.
local function list(dir)
    local classes, files = {}, {}
    for _, entry in ipairs(bk.data._folder("bk.data.images", dir)) do
        if entry:sub(-1) == "/" and entry:sub(1, 1) ~= "." then classes[#classes + 1] = entry:sub(1, -2) end
    end
    table.sort(classes)
    for id, class in ipairs(classes) do
        local names = {}
        for _, name in ipairs(bk.data._folder("bk.data.images", dir .. "/" .. class)) do
            local hidden = name:sub(1, 1) == "."
            if not hidden and not ENDINGS[(name:match("%.(%w+)$") or ""):lower()] then
                misread("bk.data.images: %s/%s/%s: expected .png, .jpg or .jpeg files", dir, class, name)
            end
            if not hidden then names[#names + 1] = name end
        end
        table.sort(names)
        if #names == 0 then misread("bk.data.images: %s/%s: a class without images", dir, class) end
        for _, name in ipairs(names) do
            files[#files + 1] = { path = dir .. "/" .. class .. "/" .. name, id = id - 1 }
        end
    end
    if #classes == 0 then misread("bk.data.images: %s: expected a folder for each class, found none", dir) end
    return classes, files
end

-- The matrix (to, from) that makes `to` numbers of `from`: a triangle about each, as wide as the larger step.
local function scaling(from, to)
    local step = from / to
    local reach, rows = math.max(step, 1), {}
    for i = 1, to do
        local centre, row, sum = (i - 0.5) * step, {}, 0
        for j = 1, from do
            row[j] = math.max(0, 1 - math.abs(j - 0.5 - centre) / reach)
            sum = sum + row[j]
        end
        for j = 1, from do row[j] = row[j] / sum end
        rows[i] = row
    end
    return bk.tensor(rows, { dtype = "float32" })
end

local function scaler(size)
    local known = {}
    return function(image)
        local _, h, w = table.unpack(image:shape())
        if h == size[1] and w == size[2] then return image end
        local key = h .. "x" .. w
        known[key] = known[key] or { scaling(h, size[1]), scaling(w, size[2]):transpose():clone() }
        return known[key][1]:matmul(image):matmul(known[key][2])
    end
end

local function images(dir, options)
    local size, dtype, channels = options.size, options.dtype, options.channels or 0
    if channels ~= 0 and channels ~= 1 and channels ~= 3 then
        refuse("bk.data.images: channels: expected 1 or 3, got %d", channels)
    end
    for d = 1, size and 2 or 0 do
        if #size ~= 2 or math.type(size[d]) ~= "integer" or size[d] < 1 or size[d] > 8192 then
            refuse("bk.data.images: size: expected {rows, columns}, got {%s}", table.concat(size, ", "))
        end
    end
    local classes, files = list(dir)
    local rescale, x, first, labels = size and scaler(size), nil, nil, {}
    local one = bk.tensor({ 1 }, { dtype = "int64" })
    local n = 0
    for k, file in ipairs(files) do
        n = file.id == (files[k - 1] or file).id and n + 1 or 1
        file.take = n <= (options.limit or math.huge)
    end
    local taken = {}
    for _, file in ipairs(files) do taken[#taken + 1] = file.take and file or nil end
    for k, file in ipairs(taken) do
        local image = bk.data.image(file.path, { channels = channels })
        if rescale then image = rescale(image) end
        local shape = image:shape()
        if not x then
            first = shape
            x = bk.zeros({ #taken, shape[1] * shape[2] * shape[3] }, { dtype = dtype })
        elseif shape[1] ~= first[1] then
            misread("bk.data.images: %s has %d channel%s and %s %d; channels = 1 or 3 makes them alike", file.path,
                shape[1], shape[1] == 1 and "" or "s", taken[1].path, first[1])
        elseif shape[2] ~= first[2] or shape[3] ~= first[3] then
            misread("bk.data.images: %s is %d x %d and %s %d x %d (rows x columns); size = {rows, columns} makes them "
                .. "alike", file.path, shape[2], shape[3], taken[1].path, first[2], first[3])
        end
        bk.internal.gather(x, k, (image:to(dtype) / 255):reshape{ 1, -1 }, one, 1, 1)
        labels[k] = file.id
    end
    return { x = x, y = bk.tensor(labels, { dtype = "int64" }), classes = #classes, names = classes,
        shape = first[1] == 1 and { first[2], first[3] } or first, name = dir:match("([^/]+)/*$") or "images" }
end

return bk.define{
    name = "bk.data.images",
    arguments = { "dir" },
    returns = "{ x, y, classes, shape, names, name }",
    doc = [[
A folder that holds a folder for each class, in it PNG and JPEG files (.png, .jpg, .jpeg; hidden files are passed over).
x (n, size) in 0..1, rows of pixels as mnist's, of shape {rows, columns}, or {3, rows, columns} when coloured; y (n)
int64, class ids from 0 in the order of the folders' names, which are `names`; classes, how many there are.]],
    errors = "name the file: another size or number of channels, one that is damaged or no image, a class without images.",
    options = {
        { "size", "list", says = "the images'",
            doc = "{rows, columns}: scales each to it, by a triangle filter, which averages when it shrinks" },
        { "channels", "integer", says = "the images'", doc = "1: made grey; 3: coloured" },
        { "dtype", { "float64", "float32" }, default = "float64", doc = "of x" },
        { "limit", "count", says = "all", doc = "the first so many images of each class" },
    },
    call = images,
}

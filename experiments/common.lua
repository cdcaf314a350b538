-- What the experiments share: their command line, their data, and printing. Loaded by each with
--     local experiment = dofile((arg[0]:match("^.*/") or "") .. "../common.lua")
local bk = require "bracket"
local experiment = {}

-- options(arg, { triples = 120, ... }, { triples = 3, ... }): bk.arguments; every experiment knows --quick and --seed,
-- and --data DIR but for data = false: it has data of its own. The last table has the defaults under --quick that are
-- others.
function experiment.options(argv, defaults, quick)
    defaults.quick = defaults.quick or false
    if defaults.data == false then defaults.data = nil else defaults.data = defaults.data or "" end
    defaults.seed = defaults.seed or 1
    local o = bk.arguments(defaults, argv or {})
    for name, value in pairs(o.quick and quick or {}) do defaults[name] = value end
    if o.quick then o = bk.arguments(defaults, argv) end
    for name, value in pairs(defaults) do -- a whole number counts something, where it is no seed
        local n, least = math.tointeger(o[name]), name ~= "seed" and math.min(math.tointeger(value) or 1, 1) or nil
        if math.type(value) == "integer" and not (n and n >= (least or n)) then
            error(("--%s: expected a whole number%s, got %s"):format(name, least and " >= " .. least or "", o[name]), 0)
        end
    end
    return o
end

-- An error that names the option unless value is one of those known.
function experiment.one_of(name, value, known)
    for _, one in ipairs(known) do
        if value == one then return end
    end
    error(("--%s: expected one of %s, got %s"):format(name, table.concat(known, ", "), value), 0)
end

-- The same unless it is a rate, or a list of them.
function experiment.rates(name, value)
    for _, rate in ipairs(type(value) == "table" and value or { value }) do
        if not (type(rate) == "number" and rate > 0 and rate < math.huge) then
            error(("--%s: expected rates > 0, got %s"):format(name, tostring(rate)), 0)
        end
    end
end

local function flat(d)
    local shape = d.x:shape()
    local size = 1
    for i = 2, #shape do size = size * shape[i] end
    return { x = d.x:reshape{ shape[1], size }, y = d.y, n = shape[1], size = size, shape = d.shape or { 28, 28 },
        classes = d.classes or 10 }
end

local function slice(d, first, size)
    return { x = d.x:narrow(1, first, size):clone(), y = d.y:narrow(1, first, size):clone(), n = size, size = d.size,
        shape = d.shape, classes = d.classes }
end

-- n examples { x (n, 784) in 0..1, y } : MNIST from --data DIR or BRACKET_DATA, else generated digits. second = m: m
-- more, for testing, as a second value. MNIST's training file is used where there is one, else its test file.
function experiment.data(options, n, second)
    local dir = options.data ~= "" and options.data or os.getenv("BRACKET_DATA")
    local all, source
    local wanted = n + (second or 0)
    if dir and dir ~= "" then
        local ok, d = pcall(bk.data.mnist, dir, { split = "train" })
        if not ok then d = bk.data.mnist(dir, { split = "test" }) end
        all, source = flat(d), "MNIST"
    else
        all, source = flat(bk.data.glyphs{ n = wanted, seed = 1 }), "generated digits"
    end
    if all.n < wanted then error(string.format("data: %d examples needed, %s has %d", wanted, source, all.n), 0) end
    return slice(all, 1, n), second and slice(all, n + 1, second) or nil, source
end

-- The first m examples (all, when there are fewer).
function experiment.first(d, m) return slice(d, 1, math.min(m, d.n)) end

-- m rows of d, drawn without replacement by the stream s (a { key, counter } table).
function experiment.sample(d, m, s, ids)
    local stream = bk.stream
    local pool = ids or nil
    if not pool then
        pool = {}
        for i = 1, d.n do pool[i] = i end
    end
    if #pool < m then error(string.format("sample: %d examples wanted, %d there", m, #pool), 0) end
    local list, taken = {}, {}
    while #list < m do
        local k = stream.below(s, #pool) + 1
        if not taken[k] then
            taken[k] = true
            list[#list + 1] = pool[k]
        end
    end
    return experiment.rows(d, list)
end

function experiment.rows(d, list)
    local index = bk.tensor(list, { dtype = "int64" })
    return { x = d.x:gather(index), y = d.y:gather(index), n = #list }
end

-- Row numbers of the examples of each class: by[c].
function experiment.by_class(d)
    local by, y = {}, d.y:totable()
    for k, c in ipairs(y) do
        by[c] = by[c] or {}
        table.insert(by[c], k)
    end
    return by
end

-- d in float64, its mean example taken off unless inputs is "raw".
function experiment.prepared(d, inputs)
    d.x = d.x:to("float64")
    if inputs == "centred" then
        d.x = d.x - d.x:mean(1):reshape{ 1, d.size }
    elseif inputs ~= "raw" then
        error("--inputs: expected centred or raw, got " .. tostring(inputs), 0)
    end
    return d
end

function experiment.say(format, ...)
    io.stdout:write(string.format(format, ...), "\n")
    io.stdout:flush()
end

-- string.format, with "-" in place of what repeats are too few for: a number that is not finite.
function experiment.number(format, ...)
    return (format:format(...):gsub("%-?[in][na][fn]", function(cell) return (" "):rep(#cell - 1) .. "-" end))
end

function experiment.clock(began) return os.difftime(os.time(), began) end

-- Draws a figure where gnuplot is there; says where it is, or why not.
function experiment.plot(options)
    local ok, message = pcall(bk.plot, options)
    if ok then
        experiment.say("figure: %s", options.out)
    else
        experiment.say("no figure: %s", tostring(message))
    end
end
local function crc32(bytes)
    local c = 0xffffffff
    for k = 1, #bytes do
        c = c ~ bytes:byte(k)
        for _ = 1, 8 do c = c & 1 == 1 and c >> 1 ~ 0xedb88320 or c >> 1 end
    end
    return c ~ 0xffffffff
end

-- A grey picture as the bytes of a PNG file; values row by row, 0..255. The pixels are stored, not packed.
function experiment.png(values, rows, columns)
    local lines, a, b = {}, 1, 0
    for i = 1, rows do lines[i] = "\0" .. string.char(table.unpack(values, (i - 1) * columns + 1, i * columns)) end
    local data = table.concat(lines)
    for k = 1, #data do
        a = (a + data:byte(k)) % 65521
        b = (b + a) % 65521
    end
    local function chunk(kind, bytes)
        return string.pack(">I4", #bytes) .. kind .. bytes .. string.pack(">I4", crc32(kind .. bytes))
    end
    return "\x89PNG\r\n\x1a\n" .. chunk("IHDR", string.pack(">I4I4BBBBB", columns, rows, 8, 0, 0, 0, 0))
        .. chunk("IDAT", "\x78\x01\1" .. string.pack("<I2I2", #data, ~#data & 0xffff) .. data
            .. string.pack(">I4", b << 16 | a)) .. chunk("IEND", "")
end

return experiment

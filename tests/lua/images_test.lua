-- images_test.lua - images and the data sets made of them: PNG files put together here by the format's description, a
-- JPEG file of one value, CIFAR's batches.
local bk = require "bracket"
local lu = require "luaunit"

local root = os.tmpname()

local function fails(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end

local function put(name, bytes)
    local p = root .. "/" .. name
    os.execute(("mkdir -p '%s'"):format(p:match("(.*)/")))
    local f <close> = assert(io.open(p, "wb"))
    f:write(bytes)
    return p
end

local function crc32(s)
    local c = 0xffffffff
    for k = 1, #s do
        c = c ~ s:byte(k)
        for _ = 1, 8 do c = c & 1 == 1 and c >> 1 ~ 0xedb88320 or c >> 1 end
    end
    return c ~ 0xffffffff
end

-- A zlib stream of one stored block.
local function stored(s)
    local a, b = 1, 0
    for k = 1, #s do
        a = (a + s:byte(k)) % 65521
        b = (b + a) % 65521
    end
    return "\x78\x01\1" .. string.pack("<I2I2", #s, ~#s & 0xffff) .. s .. string.pack(">I4", b << 16 | a)
end

-- rows: of bytes, as the colour type (0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA) and depth have it
local function png(width, rows, colour, depth, palette)
    local function chunk(kind, data)
        return string.pack(">I4", #data) .. kind .. data .. string.pack(">I4", crc32(kind .. data))
    end
    return "\x89PNG\r\n\x1a\n" .. chunk("IHDR", string.pack(">I4I4BBBBB", width, #rows, depth, colour, 0, 0, 0))
        .. (palette and chunk("PLTE", palette) or "") .. chunk("IDAT", stored("\0" .. table.concat(rows, "\0")))
        .. chunk("IEND", "")
end

-- 4 x 4 pixels of 200: written once by libjpeg, quality 100, where every coefficient is whole
local JPEG = ([[
ffd8ffdb004300010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101
01010101010101010101010101010101ffc0000b080004000401011100ffc4001400010000000000000000000000000000000affc40014
100100000000000000000000000000000000ffda0008010100003f00480fffd9]]):gsub("%s", ""):gsub("..", function(h)
    return string.char(tonumber(h, 16))
end)

TestImages = {}

function TestImages.setUp()
    os.remove(root)
    os.execute("mkdir -p " .. root)
end

function TestImages.tearDown() os.execute("rm -rf " .. root) end

function TestImages.test_every_kind_of_png()
    local function read(...) return bk.data.image(put("x.png", png(...))):totable() end
    lu.assertEquals(read(3, { "\0\1\255", "\7\8\9" }, 0, 8), { { { 0, 1, 255 }, { 7, 8, 9 } } })
    lu.assertEquals(read(2, { "\1\2\3\4\5\6" }, 2, 8), { { { 1, 4 } }, { { 2, 5 } }, { { 3, 6 } } })
    lu.assertEquals(read(2, { "\1\0" }, 3, 8, "\10\20\30\40\50\60"), { { { 40, 10 } }, { { 50, 20 } }, { { 60, 30 } } })
    lu.assertEquals(read(8, { "\xA5" }, 0, 1), { { { 255, 0, 255, 0, 0, 255, 0, 255 } } })
    lu.assertEquals(read(2, { "\xF3" }, 0, 4), { { { 255, 51 } } })
    lu.assertEquals(read(1, { "\x80\x80" }, 0, 16), { { { 128 } } })
    lu.assertEquals(read(1, { "\9\77" }, 4, 8), { { { 9 } } }) -- alpha is left out, whatever it is
    lu.assertEquals(read(1, { "\1\2\3\0" }, 6, 8), { { { 1 } }, { { 2 } }, { { 3 } } })
    local p = put("y.png", png(1, { "\10\20\30" }, 2, 8))
    lu.assertAlmostEquals(bk.data.image(p, { channels = 1 }):item(), 0.299 * 10 + 0.587 * 20 + 0.114 * 30, 1e-5)
    p = put("y.png", png(1, { "\10" }, 0, 8))
    lu.assertEquals(bk.data.image(p, { channels = 3 }):totable(), { { { 10 } }, { { 10 } }, { { 10 } } })
    fails("channels: expected 1, 3, or 0 for the file's, got 2", bk.data.image, p, { channels = 2 })
    -- indices of few bits; one that the palette does not have, at any depth, in an image that has it or has not
    lu.assertEquals(read(4, { "\x1B" }, 3, 2, ("\1\1\1\2\2\2\3\3\3\4\4\4")), { { { 1, 2, 3, 4 } }, { { 1, 2, 3, 4 } },
        { { 1, 2, 3, 4 } } })
    local two = "\10\20\30\40\50\60"
    for depth, rows in pairs{ [8] = { "\0\1", "\1\2" }, [4] = { "\x01", "\x12" }, [2] = { "\x10", "\x60" } } do
        fails("x.png: PNG: row 2, column 2: expected one of the palette's 2 colours, 0 to 1, got 2", read, 2, rows, 3,
            depth, two)
    end
    fails("row 1, column 1: expected one of the palette's 1 colours, 0 to 0, got 1", read, 1, { "\x80" }, 3, 1, "\1\2\3")
    local text = put("z.png", "\x89PNG\r\n\x1a\n" .. ("\0"):rep(30))
    fails("z.png: PNG: ", bk.data.image, text)
end

local function grey(...) return png(2, { string.char(...):sub(1, 2), string.char(...):sub(3, 4) }, 0, 8) end

function TestImages.test_a_folder_is_a_data_set()
    put("cats/b.png", grey(0, 51, 102, 255))
    put("cats/a.PNG", grey(1, 2, 3, 4))
    put("cats/.hidden", "x")
    put("ants/1.png", grey(9, 9, 9, 9))
    local d = bk.data.images(root)
    lu.assertEquals({ d.classes, d.names, d.shape, d.y:dtype(), d.y:totable() }, { 2, { "ants", "cats" }, { 2, 2 },
        "int64", { 0, 1, 1 } })
    lu.assertEquals((d.x * 255):totable(), { { 9, 9, 9, 9 }, { 1, 2, 3, 4 }, { 0, 51, 102, 255 } })
    lu.assertEquals(bk.data.images(root, { dtype = "float32", limit = 1 }).x:shape(), { 2, 4 })
    local tasks = bk.tasks.permuted{ data = d, n = 2, test_fraction = 0 }
    lu.assertEquals({ tasks[2].classes, tasks[2].train.x:shape() }, { 2, { 3, 4 } })
    -- another size, or channels: an error, or what the options say
    local large = put("ants/2.jpg", JPEG)
    fails(large .. " is 4 x 4 and " .. root .. "/ants/1.png 2 x 2", bk.data.images, root)
    d = bk.data.images(root, { size = { 2, 2 } })
    lu.assertAlmostEquals((d.x[2] - 200 / 255):norm():item(), 0, 1e-6)
    d = bk.data.images(root, { size = { 3, 5 } })
    lu.assertEquals(d.shape, { 3, 5 })
    lu.assertAlmostEquals((d.x[1] - 9 / 255):norm():item(), 0, 1e-6) -- weights that add up to 1
    put("ants/2.jpg", png(2, { "\1\2\3\4\5\6", "\1\2\3\4\5\6" }, 2, 8))
    fails("ants/2.jpg has 3 channels and", bk.data.images, root)
    d = bk.data.images(root, { channels = 3 })
    lu.assertEquals({ d.shape, d.x:shape() }, { { 3, 2, 2 }, { 4, 12 } })
    lu.assertAlmostEquals((d.x[2] * 255 - bk.tensor{ 1, 4, 1, 4, 2, 5, 2, 5, 3, 6, 3, 6 }):norm():item(), 0, 1e-12)
end

function TestImages.test_what_a_folder_must_be()
    fails("expected a folder for each class, found none", bk.data.images, root)
    put("a/x.txt", "x")
    fails("a/x.txt: expected .png, .jpg or .jpeg files", bk.data.images, root)
    os.remove(root .. "/a/x.txt")
    fails("a: a class without images", bk.data.images, root)
    local p = put("a/x.png", "\x89PNG\r\n\x1a\n")
    fails(p .. ": PNG: the file breaks off", bk.data.images, root)
    fails("size: expected {rows, columns}, got {3}", bk.data.images, root, { size = { 3 } })
    for _, name in ipairs{ "images", "mnist", "cifar" } do -- what was given, and why it is no folder
        local function f(...) return bk.data[name](...) end
        local begins = "bk.data." .. name .. ": dir: expected "
        fails(begins .. "the name of a folder, got a table", f, {})
        fails(begins .. "the name of a folder, got nothing", f)
        fails(begins .. 'the name of a folder, got ""', f, "")
        fails(begins .. "a folder, got " .. root .. "/nosuch: No such file or directory", f, root .. "/nosuch")
        fails(begins .. "a folder, got " .. put("file", "") .. ": Not a directory", f, root .. "/file")
    end
    for _, f in ipairs{ bk.data.image, bk.data.csv, bk.data.idx, bk.data.cifar_batch, bk.load_npy, bk.load_npz,
        bk.load_safetensors } do
        fails(": path: expected the name of a file, got an empty one", f, "")
    end
    fails(": path: expected the name of a file, got an empty one", function() bk.zeros{ 1 }:save "" end)
    fails("channels: expected 1 or 3, got 2", bk.data.images, root, { channels = 2 })
end

-- Shrinking by 2 with a triangle two wide: 3/8 of each of the pair, 1/8 of each neighbour; at the border what is there.
function TestImages.test_a_smaller_size_averages()
    put("a/x.png", png(4, { "\0\80\160\240" }, 0, 8))
    local x = bk.data.images(root, { size = { 1, 2 } }).x * 255
    local weights = { 3 / 8, 3 / 8, 1 / 8 }
    local sum = 7 / 8
    lu.assertAlmostEquals(x[1][1]:item(), (0 * weights[1] + 80 * weights[2] + 160 * weights[3]) / sum, 1e-4)
    lu.assertAlmostEquals(x[1][2]:item(), (240 * weights[1] + 160 * weights[2] + 80 * weights[3]) / sum, 1e-4)
end

function TestImages.test_cifar_batches_are_joined()
    local function record(label, value) return label .. string.char(value):rep(3072) end
    put("data_batch_2.bin", record("\3", 51) .. record("\9", 255))
    put("data_batch_1.bin", record("\1", 0))
    put("test_batch.bin", record("\7", 102))
    local d = bk.data.cifar(root)
    lu.assertEquals({ d.x:shape(), d.y:totable(), d.classes, d.shape, d.name }, { { 3, 3072 }, { 1, 3, 9 }, 10,
        { 3, 32, 32 }, "cifar10" })
    lu.assertEquals({ d.x[1][1]:item(), d.x[2][3072]:item(), d.x[3][5]:item() }, { 0, 0.2, 1 })
    lu.assertEquals(bk.data.cifar(root, { limit = 2 }).y:totable(), { 1, 3 })
    d = bk.data.cifar(root, { split = "test", dtype = "float32" })
    lu.assertEquals({ d.x:dtype(), d.y:totable() }, { "float32", { 7 } })
    fails("CIFAR-10 has no coarse ones", bk.data.cifar, root, { labels = "coarse" })
    for _, name in ipairs{ "data_batch_1.bin", "data_batch_2.bin" } do os.remove(root .. "/" .. name) end
    fails("bk.data.cifar: no batch in " .. root, bk.data.cifar, root)
    put("train.bin", record("\19\99", 1))
    d = bk.data.cifar(root)
    lu.assertEquals({ d.y:totable(), d.classes, d.name }, { { 99 }, 100, "cifar100" })
    d = bk.data.cifar(root, { labels = "coarse" })
    lu.assertEquals({ d.y:totable(), d.classes }, { { 19 }, 20 })
    fails('split: expected "train" or "test", got "all"', bk.data.cifar, root, { split = "all" })
end

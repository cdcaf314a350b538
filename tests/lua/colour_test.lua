-- The colours of curves, of figures and of reports, light and dark: told from each other in grey and with each of the
-- kinds of colour blindness, by their colours where they have the same dashes; and seen on their background.
local lu = require "luaunit"
local bk = require "bracket"

TestColours = {}

-- Machado, Oliveira & Fernandes 2009, severity 1, on linear red, green, blue.
local SEEN = {
    normal = { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } },
    protanopia = { { 0.152286, 1.052583, -0.204868 }, { 0.114503, 0.786281, 0.099216 },
        { -0.003882, -0.048116, 1.051998 } },
    deuteranopia = { { 0.367322, 0.860646, -0.227968 }, { 0.280085, 0.672501, 0.047413 },
        { -0.011820, 0.042940, 0.968881 } },
    tritanopia = { { 1.255528, -0.076749, -0.178779 }, { -0.078411, 0.930809, 0.147602 },
        { 0.004733, 0.691367, 0.303900 } },
}

local function linear(hex)
    local c = {}
    if #hex == 4 then hex = hex:gsub("%x", "%0%0") end
    for k = 1, 3 do
        local v = tonumber(hex:sub(2 * k, 2 * k + 1), 16) / 255
        c[k] = v <= 0.04045 and v / 12.92 or ((v + 0.055) / 1.055) ^ 2.4
    end
    return c
end

local function luminance(hex)
    local c = linear(hex)
    return 0.2126 * c[1] + 0.7152 * c[2] + 0.0722 * c[3]
end

local function seen(hex, how)
    local c, out = linear(hex), {}
    for k, row in ipairs(SEEN[how]) do
        out[k] = math.max(0, math.min(1, row[1] * c[1] + row[2] * c[2] + row[3] * c[3]))
    end
    return out
end

-- CIE 1976 L*, a*, b* under D65.
local function lab(c)
    local function f(t) return t > 216 / 24389 and t ^ (1 / 3) or (24389 / 27 * t + 16) / 116 end
    local x = f((0.4124564 * c[1] + 0.3575761 * c[2] + 0.1804375 * c[3]) / 0.95047)
    local y = f(0.2126729 * c[1] + 0.7151522 * c[2] + 0.0721750 * c[3])
    local z = f((0.0193339 * c[1] + 0.1191920 * c[2] + 0.9503041 * c[3]) / 1.08883)
    return { 116 * y - 16, 500 * (x - y), 200 * (y - z) }
end

local function distance(a, b)
    return math.sqrt((a[1] - b[1]) ^ 2 + (a[2] - b[2]) ^ 2 + (a[3] - b[3]) ^ 2)
end

-- looks: { colour, dashes } each.
local function check(where, looks, background)
    lu.assertEquals(#looks, 9)
    for i, a in ipairs(looks) do
        local x, y = luminance(a[1]) + 0.05, luminance(background) + 0.05
        lu.assertTrue(math.max(x / y, y / x) >= 3, ("%s: %s is hardly seen"):format(where, a[1]))
        for j = 1, i - 1 do
            local b = looks[j]
            local pair = ("%s: %s and %s, "):format(where, a[1], b[1])
            local dark = math.abs(lab(linear(a[1]))[1] - lab(linear(b[1]))[1])
            lu.assertTrue(distance(lab(linear(a[1])), lab(linear(b[1]))) > 15, pair .. "in colour")
            if a[2] == b[2] then
                lu.assertTrue(dark > 10, pair .. "in grey")
                for how in pairs(SEEN) do
                    lu.assertTrue(distance(lab(seen(a[1], how)), lab(seen(b[1], how))) > 15, pair .. how)
                end
            end
        end
    end
end

function TestColours:test_of_figures()
    local looks = {}
    for k = 1, 9 do
        local look = bk._plot._colours.look(k)
        looks[k] = { look.colour, look.dashes }
    end
    check("figure", looks, "#ffffff")
end

function TestColours:test_of_reports()
    local style, script = bk.command._report_style, bk.command._report_script
    local dashes = {}
    for k in script:match("OWN = %[([%d, ]+)%]"):gmatch("%d") do dashes[#dashes + 1] = k end
    local n = 0
    for block in style:gmatch("%b{}") do
        if block:find("%-%-c8") then
            local looks = {}
            for k = 0, 8 do looks[k + 1] = { block:match("%-%-c" .. k .. ": (#%x+)"), dashes[k + 1] } end
            check("report", looks, block:match("%-%-bg: (#%x+)"))
            check("report, card", looks, block:match("%-%-card: (#%x+)"))
            n = n + 1
        end
    end
    lu.assertEquals(n, 3)
end

-- plot_test.lua - bk.plot: what a machine can see of a figure, in its SVG, on the terminal and in its messages.
local bk = require "bracket"
local program = (os.getenv("BRACKET_BUILD") or "build") .. "/bracket"
local lu = require "luaunit"
local files = require "files"
local read, write = files.read, files.write

TestPlot, TestPlotMisuse = {}, {}

local have_gnuplot = os.execute("command -v gnuplot >/dev/null 2>&1")

function TestPlot:setUp()
    if not have_gnuplot then lu.skip("gnuplot is not here") end
    self.dir = files.folder()
end
function TestPlot:tearDown() if self.dir then files.remove(self.dir) end end

function TestPlot:svg(figure)
    figure.out = self.dir .. "/f.svg"
    lu.assertEquals(bk.plot(figure), figure.out)
    return read(figure.out)
end

-- What the figure looks like on the terminal: a program of its own, whose output is read.
function TestPlot:terminal(code)
    write(self.dir .. "/t.lua", "local bk = require 'bracket'\n" .. code)
    local p = assert(io.popen("'" .. program .. "' " .. self.dir .. "/t.lua 2>&1"))
    local text = p:read("a")
    p:close()
    return text
end

-- The filled shapes of a picture: { colour, { x, y, ... } }, in order.
local function shapes(svg)
    local list = {}
    for colour, points in svg:gmatch("<polygon fill = '([^']*)'[^>]-points = '([^']*)'") do
        local shape = { colour = colour:gsub("%s", "") }
        for x, y in points:gmatch("(%-?[%d.]+),(%-?[%d.]+)") do
            shape[#shape + 1] = tonumber(x)
            shape[#shape + 1] = tonumber(y)
        end
        list[#list + 1] = shape
    end
    return list
end
local function of_colour(svg, colour)
    local list = {}
    for _, s in ipairs(shapes(svg)) do if s.colour == colour then list[#list + 1] = s end end
    return list
end
local function ends(shape, first)
    local low, high = math.huge, -math.huge
    for k = first, #shape, 2 do low, high = math.min(low, shape[k]), math.max(high, shape[k]) end
    return low, high
end

-- Where ticks stand: label -> x, y of the text.
local function texts(svg)
    local list = {}
    for x, y, inner in svg:gmatch('<g transform="translate%(([%d.]+),([%d.]+)%)[^>]*>%s*<text>(.-)</text>') do
        local text = inner:gsub("<[^>]*>", "")
        list[#list + 1] = { text = text, x = tonumber(x), y = tonumber(y) }
        list[text] = list[text] or list[#list]
    end
    return list
end
local function has_text(svg, text) lu.assertNotNil(texts(svg)[text], text) end

local BLUE, ORANGE = "rgb(31,95,168)", "rgb(217,106,15)" -- of the first two series

function TestPlot:test_files_of_each_kind()
    local curve = { x = { 1, 2, 4 }, y = bk.tensor { 1e-3, 1e-2, 1e-1 }, label = "a curve" }
    for kind, magic in pairs { png = "\x89PNG", svg = "<?xml", pdf = "%PDF" } do
        local out = self.dir .. "/f." .. kind
        lu.assertEquals(bk.plot { curve, logx = true, logy = true, title = "it's", out = out }, out)
        lu.assertEquals(read(out):sub(1, #magic), magic)
    end
    local svg = self:svg { curve, { y = { 3, 1, 2 } } }
    has_text(svg, "a curve")
    lu.assertNil(svg:lower():find("<title>gnuplot", 1, true))
end

function TestPlot:test_texts_that_begin_with_an_apostrophe()
    local svg = self:svg { { label = "'tis", y = { 1, 2 } }, title = "'twas", xlabel = "'twill" }
    for _, word in ipairs { "tis", "twas", "twill" } do has_text(svg, "'" .. word) end
end

function TestPlot:test_sizes_in_inches_and_points()
    local figure = { { y = { 1, 2 } }, width = "3.25in", height = "180pt", font = 8, xlabel = "step" }
    local svg = self:svg(figure) -- 96 pixels an inch
    local w, h = svg:match('width="(%d+)" height="(%d+)"')
    lu.assertEquals({ tonumber(w), tonumber(h) }, { 312, 239 }) -- TeX's points: 72.27 an inch
    lu.assertStrContains(svg, 'font-size="10.67"') -- 8 of 72 an inch
    figure.out = self.dir .. "/f.png"
    bk.plot(figure) -- 300 an inch
    lu.assertEquals({ string.unpack(">I4I4", read(figure.out), 17) }, { 975, 747, 25 })
    figure.out, figure.height = self.dir .. "/f.pdf", "5.08cm"
    bk.plot(figure)
    local box = read(figure.out):match("/MediaBox %[ ([%d. ]+) %]")
    local x, y = box:match("^0 0 ([%d.]+) ([%d.]+)$")
    lu.assertAlmostEquals(tonumber(x), 234, 0.5)
    lu.assertAlmostEquals(tonumber(y), 144, 0.5)
end

function TestPlot:test_bars_stand_on_zero_beside_each_other()
    local svg = self:svg { { x = { "a", "b" }, y = { 1, 2 }, style = "bars" },
        { x = { "a", "b" }, y = { 3, -1 }, error = { 0.5, 0.25 }, style = "bars" }, yrange = { -2, 4 } }
    local one, two, places = of_colour(svg, BLUE), of_colour(svg, ORANGE), texts(svg)
    lu.assertEquals({ #one, #two }, { 2, 2 })
    local unit = (places["-2"].y - places["4"].y) / 6
    local zero = places["0"].y - 4.3 -- the label's base line is so far below its tick
    for k, bar in ipairs { one[1], one[2], two[1] } do
        local top, foot = ends(bar, 2)
        lu.assertAlmostEquals(foot, zero, 1)
        lu.assertAlmostEquals((foot - top) / unit, ({ 1, 2, 3 })[k], 0.02)
    end
    local head, foot = ends(two[2], 2) -- below zero
    lu.assertAlmostEquals(head, zero, 1)
    lu.assertAlmostEquals((foot - head) / unit, 1, 0.02)
    lu.assertAlmostEquals(select(2, ends(one[1], 1)), (ends(two[1], 1)), 0.1) -- they touch, and do not cover
    lu.assertTrue(select(2, ends(two[1], 1)) < (ends(one[2], 1)))
    -- the range has zero in it when it is not asked for
    lu.assertNotNil(texts(self:svg { { y = { 5, 6 }, style = "bars" } })["0"])
end

function TestPlot:test_a_band_is_filled_between_low_and_high()
    local svg = self:svg { { x = { 0, 1, 2 }, y = { 1, 1, 1 }, low = { 0, 0, 0 }, high = { 2, 4, 2 } },
        yrange = { 0, 4 } }
    local band = of_colour(svg, BLUE)
    lu.assertEquals(#band, 1)
    local places = texts(svg)
    local top, foot = ends(band[1], 2)
    lu.assertAlmostEquals(foot, places["0"].y - 4.3, 1)
    lu.assertAlmostEquals(top, places["4"].y - 4.3, 1)
    local bars = self:svg { { y = { 1, 1 }, low = { 0, 0 }, high = { 2, 2 }, errors = "bars" } }
    lu.assertEquals(#of_colour(bars, BLUE), 0)
    lu.assertNotEquals(bars, self:svg { { y = { 1, 1 } } })
    lu.assertEquals(self:svg { { y = { 1, 2 }, error = { 0.5, 0.25 } } }, -- two ways to say one interval
        self:svg { { y = { 1, 2 }, low = { 0.5, 1.75 }, high = { 1.5, 2.25 } } })
    local gap = self:svg { { y = { 1, 1, 1, 1, 1 }, low = { 0, 0, 0 / 0, 0, 0 }, high = { 2, 2, 2, 2, 2 } } }
    lu.assertEquals(#of_colour(gap, BLUE), 2)
end

-- Student's t for three values: 4.3027 standard deviations over the root of three.
function TestPlot:test_several_runs_are_their_mean_and_interval()
    local half = 4.302652729749462 / math.sqrt(3)
    lu.assertEquals(self:svg { { y = { { 1, 5 }, { 2, 6 }, { 3, 7 } } } },
        self:svg { { y = { 2, 6 }, low = { 2 - half, 6 - half }, high = { 2 + half, 6 + half } } })
    lu.assertEquals(self:svg { { y = bk.tensor { { 1, 5 }, { 3, 7 } } } },
        self:svg { { y = { { 1, 5 }, { 3, 7 } } } })
    lu.assertErrorMsgContains("has its own interval", bk.plot, { { y = { { 1 } }, error = { 1 } } })
end

function TestPlot:test_nine_looks_and_more_are_new()
    local series = {}
    for k = 1, 27 do series[k] = { y = { k, k + 1 }, style = "lines", label = "line " .. k } end
    local svg, seen = self:svg(series), {}
    for k = 1, 27 do
        local part = (svg .. "<g id="):match("<title>line " .. k .. "</title>(.-)<g id=")
        local colour = part:match("<path stroke='([^']+)'")
        local dashes = part:match("stroke%-dasharray='([^']+)'") or "solid"
        lu.assertNotNil(colour, k)
        lu.assertNil(seen[colour .. dashes], k)
        seen[colour .. dashes] = k
    end
end

-- How dark colours are, by CIE 1976: of two looks with the same dashes it differs by more than eye and printer err.
function TestPlot:test_looks_are_told_apart_without_colour()
    local colours = bk._plot._colours
    local function lightness(colour)
        local y = 0
        for k, weight in ipairs { 0.2126, 0.7152, 0.0722 } do
            local v = tonumber(colour:sub(2 * k, 2 * k + 1), 16) / 255
            y = y + weight * (v <= 0.04045 and v / 12.92 or ((v + 0.055) / 1.055) ^ 2.4)
        end
        return y > 0.008856 and 116 * y ^ (1 / 3) - 16 or 903.3 * y, y
    end
    for i = 1, 9 do
        local a = colours.look(i)
        local light = select(2, lightness(a.colour))
        lu.assertTrue(1.05 / (light + 0.05) >= 3, i) -- seen on white
        for k = 1, i - 1 do
            local b = colours.look(k)
            lu.assertTrue(a.dashes ~= b.dashes or math.abs(lightness(a.colour) - lightness(b.colour)) > 10,
                i .. " and " .. k)
        end
    end
end

function TestPlot:test_a_heat_map_has_scale_ticks_values_and_nan()
    local svg = self:svg { { image = { { 0.1, 0.2, 0.3 }, { 0.9, 0 / 0, 0.4 } }, values = true, label = "accuracy",
        range = { 0, 1 } }, xticks = { "red", "green", "blue" }, yticks = { "before", "after" } }
    for _, text in ipairs { "red", "green", "blue", "before", "after", "0.10", "0.90", "nan", "accuracy", "0", "1" } do
        has_text(svg, text)
    end
    lu.assertEquals(#of_colour(svg, "rgb(196,196,196)"), 1) -- the cell that is nan: grey, and hatched
    lu.assertStrContains(svg, "<pattern")
    local places = texts(svg)
    lu.assertTrue(places.before.y < places.after.y) -- the first row on top
    lu.assertTrue(places["0.10"].y < places["0.90"].y)
    local cells, bar = shapes(svg), 0
    for _, s in ipairs(cells) do bar = bar + (ends(s, 1) > places["0.40"].x + 40 and 1 or 0) end
    lu.assertTrue(bar > 50) -- the colour bar's steps
    local none = self:svg { { image = { { 1, 2 }, { 3, 4 } }, colourbar = false } }
    lu.assertTrue(#shapes(none) < 6)
end

-- What has no colour is hatched, each kind in its way and with its name: nothing is left blank, in one row neither.
function TestPlot:test_cells_without_a_colour_are_told()
    local odd = { 1, 0 / 0, 2, math.huge, -math.huge }
    for _, image in ipairs{ { odd }, bk.tensor(odd):reshape{ 5, 1 }, { odd, { 1, 2, 3, 4, 5 } } } do
        local svg = self:svg{ { image = image } }
        for _, name in ipairs{ "nan", "inf", "-inf" } do has_text(svg, name) end
        lu.assertEquals(#of_colour(svg, "rgb(196,196,196)"), 3)
        local map = self:terminal("bk.plot{ { image = {{1, 0/0, 2, 1/0, -1/0}} } }")
        lu.assertStrContains(map, "? is nan, ^ is inf, _ is -inf")
    end
    -- of a PNG gnuplot's image needs two rows and two columns: else it is white but for axes and scale
    bk.plot{ { image = { { 1, 2, 3 } } }, out = self.dir .. "/row.png" }
    local p = bk.data.image(self.dir .. "/row.png", { channels = 3 })
    local rows, columns = p:size(2), p:size(3)
    local middle = p:narrow(2, rows // 2, 1):narrow(3, columns // 2, 1):reshape{ 3 }:totable()
    lu.assertTrue(middle[1] < 100 and middle[2] > 100) -- green, and no white
end

function TestPlot:test_maps_rise_and_part()
    local function lightness(shape)
        local r, g, b = shape.colour:match("(%d+),(%d+),(%d+)")
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
    end
    local row = {}
    for k = 1, 21 do row[k] = k - 11.0 end
    local rising = shapes(self:svg { { image = { row }, colourbar = false } })
    for k = 2, 21 do lu.assertTrue(lightness(rising[k]) > lightness(rising[k - 1])) end
    local parting = shapes(self:svg { { image = { row }, colours = "diverging", colourbar = false } })
    for k = 2, 11 do lu.assertTrue(lightness(parting[k]) > lightness(parting[k - 1])) end
    for k = 12, 21 do lu.assertTrue(lightness(parting[k]) < lightness(parting[k - 1])) end
    -- zero is white, however far the values reach to one side
    local lopsided = shapes(self:svg { { image = { { 0, 5 } }, colours = "diverging", colourbar = false } })
    local r, g, b = lopsided[1].colour:match("(%d+),(%d+),(%d+)")
    lu.assertTrue(math.min(tonumber(r), tonumber(g), tonumber(b)) > 235)
end

function TestPlot:test_extents_and_origin()
    local map = { image = { { 101, 102 }, { 103, 104 } }, x = { -2, 2 }, y = { 10, 30 }, values = true }
    local places = texts(self:svg { map, yticks = { 10, 20, 30 } })
    lu.assertTrue(places["101"].y < places["103"].y)
    lu.assertNotNil(places["20"])
    lu.assertTrue(places["30"].y < places["10"].y) -- y grows upwards
    lu.assertAlmostEquals(places["101"].y, places["30"].y, 1.5) -- the first row is that of the upper end
    map.origin = "lower"
    places = texts(self:svg { map, yticks = { 10, 20, 30 } })
    lu.assertTrue(places["101"].y > places["103"].y)
    lu.assertAlmostEquals(places["101"].y, places["10"].y, 1.5)
    lu.assertErrorMsgContains("series 1: x: expected {low, high}", bk.plot, { { image = { { 1 } }, x = { 3, 1 } } })
    lu.assertErrorMsgContains("x: expected {low, high}, got a third entry, 3", bk.plot,
        { { image = { { 1, 2, 3 } }, x = { 1, 2, 3 } } })
    lu.assertErrorMsgContains("error: expected numbers >= 0, got -1 at 2", bk.plot,
        { { y = { 1, 2 }, error = { 0, -1 } } })
    lu.assertErrorMsgContains("low is above high at 1: 3, 2", bk.plot,
        { { y = { 1, 2 }, low = { 3, 1 }, high = { 2, 3 } } })
end

function TestPlot:test_large_maps_are_images()
    local values = bk.rng(1):normal { 300, 300 }
    local svg = self:svg { { image = values } }
    lu.assertStrContains(svg, "<image")
    lu.assertTrue(#svg < 400000)
end

-- x^2 + y^2 at the level 1: a circle, its ends where x or y is 1.
function TestPlot:test_contours_lie_where_the_value_is()
    local rows = {}
    for i = 1, 41 do
        rows[i] = {}
        for k = 1, 41 do rows[i][k] = ((i - 21) / 10) ^ 2 + ((k - 21) / 10) ^ 2 end
    end
    local svg = self:svg { { image = rows, x = { -2, 2 }, y = { -2, 2 }, style = "contour", levels = { 1 } },
        xticks = { -1.5, 1.5 }, yticks = false }
    local places = texts(svg)
    local unit, middle = (places["1.5"].x - places["-1.5"].x) / 3, (places["1.5"].x + places["-1.5"].x) / 2
    local path = svg:match("<path stroke='rgb%( 31,%s*95, 168%)'%s+d='([^']*)'")
    local n, low, high = 0, math.huge, -math.huge
    for x in path:gmatch("[ML](%-?[%d.]+),") do
        x = (tonumber(x) - middle) / unit
        low, high, n = math.min(low, x), math.max(high, x), n + 1
    end
    lu.assertTrue(n > 40)
    lu.assertAlmostEquals(low, -1, 0.02)
    lu.assertAlmostEquals(high, 1, 0.02)
end

function TestPlot:test_arrows_have_one_scale()
    local svg = self:svg { { style = "quiver", x = { 0, 5 }, y = { 0, 5 }, u = { 2, 0 }, v = { 0, 1 }, scale = 1 },
        xrange = { -1, 10 }, yrange = { -1, 10 }, xticks = { 2, 8 }, yticks = { 3, 9 } }
    local places, tips, tails = texts(svg), {}, {}
    for d in svg:gmatch("stroke='rgb%( 31,%s*95, 168%)'%s+d='([^']*)'") do
        local x, y, more = d:match("M([%d.]+),([%d.]+) L[%d.]+,[%d.]+(.*)")
        if more:find("L") then -- the head, whose third point is the tip
            tips[#tips + 1] = { more:match("L([%d.]+),([%d.]+)") }
        else
            tails[#tails + 1] = { x, y }
        end
    end
    lu.assertEquals({ #tips, #tails }, { 2, 2 })
    local unit = (places["8"].x - places["2"].x) / 6
    lu.assertAlmostEquals((tips[1][1] - tails[1][1]) / unit, 2, 0.02)
    unit = (places["3"].y - places["9"].y) / 6
    lu.assertAlmostEquals((tails[2][2] - tips[2][2]) / unit, 1, 0.02) -- upwards
    local without = { style = "quiver", x = { 0 }, y = { 0 }, v = { 0 } }
    lu.assertErrorMsgContains("series 1: u: missing", bk.plot, { without })
end

function TestPlot:test_a_field_beside_the_entries_of_a_list()
    local function refused(what, series, more)
        local figure = { series, out = "never.png" }
        for name, value in pairs(more or {}) do figure[name] = value end
        lu.assertErrorMsgContains("bk.plot: " .. what .. ', got a list with a field "z"', bk.plot, figure)
    end
    local numbers = "expected a list or a tensor of numbers"
    refused("series 1: x: " .. numbers, { x = { 1, 2, z = 3 }, y = { 1, 2 } })
    refused("series 1: y: " .. numbers, { y = { 1, 2, z = 3 } })
    refused("series 1: low: " .. numbers, { y = { 1, 2 }, low = { 0, 0, z = 0 }, high = { 3, 3 } })
    refused("series 1: image: row 1: " .. numbers, { image = { { 1, 2, z = 3 }, { 1, 2 } } })
    refused("series 1: x: expected a list of names", { x = { "a", "b", z = "c" }, y = { 1, 2 }, style = "bars" })
    refused("xticks: expected a list or true or false", { y = { 1, 2 } }, { xticks = { 1, z = 2 } })
end

function TestPlot:test_histograms_count()
    local svg = self:svg { { x = { 0, 0, 0, 1, 1, 3 }, style = "histogram", bins = 3 }, yrange = { 0, 4 } }
    local bars, places = of_colour(svg, BLUE), texts(svg)
    local unit = (places["0"].y - places["4"].y) / 4
    local heights = {}
    for k, bar in ipairs(bars) do
        local top, foot = ends(bar, 2)
        heights[k] = math.floor((foot - top) / unit + 0.5)
    end
    lu.assertEquals(heights, { 3, 2, 1 })
    local density = self:svg { { x = { 0, 0, 0, 1, 1, 3 }, style = "histogram", bins = 3, density = true },
        yrange = { 0, 1 } }
    local top, foot = ends(of_colour(density, BLUE)[1], 2)
    places = texts(density)
    lu.assertAlmostEquals((foot - top) / (places["0"].y - places["1"].y), 0.5, 0.01) -- 3 of 6, one wide
end

function TestPlot:test_a_hundred_thousand_points()
    local x = bk.rng(1):normal { 100000 }
    local svg = self:svg { { x = x, y = x * 0.5 + bk.rng(2):normal { 100000 }, style = "density" } }
    lu.assertTrue(#svg < 1000000)
    has_text(svg, "points")
    has_text(svg, "100")
    local few = self:svg { { x = { 0, 1, 5, 5, 5 }, y = { 0, 1, 5, 5, 5 }, style = "density" },
        xticks = false, yticks = false }
    for _, count in ipairs { "1", "2", "3" } do has_text(few, count) end -- a scale without a second decade
end

-- The data's ends are near the axes' ends, not a decade away.
function TestPlot:test_logarithmic_axes_fit_the_data()
    local x, y = {}, {}
    for k = 1, 40 do x[k], y[k] = 10.0 ^ (k / 40 * 0.3 + 0.6), 2 + k / 40 end
    local svg = self:svg { { x = x, y = y }, logx = true, logy = true }
    local left, right, top, bottom = math.huge, -math.huge, math.huge, -math.huge
    for px, py in svg:gmatch("<use xlink:href='#gpPt%d+' transform='translate%(([%d.]+),([%d.]+)%)") do
        left, right = math.min(left, tonumber(px)), math.max(right, tonumber(px))
        top, bottom = math.min(top, tonumber(py)), math.max(bottom, tonumber(py))
    end
    lu.assertTrue(left < 130 and right > 570, left .. " " .. right)
    lu.assertTrue(top < 80 and bottom > 300, top .. " " .. bottom)
    has_text(svg, "5") -- 1, 2, 5 where there is no decade
    has_text(svg, "2")
    for _, text in ipairs { "10-3", "10-1" } do
        has_text(self:svg { { x = { 1, 2, 3 }, y = { 1e-4, 3e-2, 0.4 } }, logy = true }, text)
    end
    has_text(self:svg { { x = { 0.01, 0.02, 0.05 }, y = { 1, 2, 3 } }, logx = true }, "0.02") -- few rates: themselves
end

-- What differs by rounding alone is drawn as what is equal: gnuplot refuses axes of no length. Values of any size.
function TestPlot:test_values_that_rounding_tells_apart_are_one()
    for _, at in ipairs{ 17 / 24, -7e5, 3e-9, 1e20 } do
        for e = -52, -45 do
            local near = at * (1 + 2.0 ^ e)
            for _, log in ipairs{ false, at > 0 and true or nil } do
                lu.assertEquals(self:svg { { x = { 1, 2, 3 }, y = { at, near, at } }, logy = log },
                    self:svg { { x = { 1, 2, 3 }, y = { at, at, at } }, logy = log }, at)
            end
        end
        local near = at * (1 + 2.0 ^ -50)
        for _, v in ipairs{ at, near } do
            self:svg { { x = { at, v, at }, y = { 1, 2, 3 } } }
            self:svg { { x = { at, v, at }, style = "histogram" } }
            self:svg { { image = { { at, v }, { v, at } } } }
            self:svg { { x = { 1, 2 }, y = { at, v }, style = "steps" } }
        end
    end
end

function TestPlot:test_panels_keep_their_ticks()
    local panels = { { { image = { { 1, 2 }, { 3, 4 } } }, xticks = { "one", "two" }, yticks = false },
        { { x = { 1, 2, 3 }, y = { 1, 2, 3 } }, title = "second panel" } }
    local svg = self:svg { panels = panels, columns = 2 }
    local n = {}
    for _, t in ipairs(texts(svg)) do if t.x > 440 then n[t.text] = true end end
    lu.assertNil(n.one)
    lu.assertTrue(n["1.5"] and n["second panel"])
    lu.assertErrorMsgContains("give series or panels", bk.plot, { { y = { 1 } }, panels = panels })
    lu.assertErrorMsgContains("xlabel: give it to the panels", bk.plot, { panels = panels, xlabel = "x" })
end

-- A label wider than the figure loses its middle, its key stands below the axes, and nothing of it is outside.
function TestPlot:test_long_labels_are_not_cut()
    local figure = { title = ("a long title "):rep(12) }
    for k = 1, 3 do
        figure[k] = { y = { 1, 2, 3 }, label = ("k%d, %s ends in %d"):format(k, ("width = 128, "):rep(10), k) }
    end
    local svg = self:svg(figure)
    local wide, high = svg:match('viewBox="0 0 (%d+) (%d+)"')
    lu.assertEquals({ wide, high }, { "640", "420" })
    local text = svg:gsub("<[^>]*>", "")
    for k = 1, 3 do lu.assertStrContains(text, ("k%d, width"):format(k)) lu.assertStrContains(text, "ends in " .. k) end
    lu.assertTrue(select(2, text:gsub("…", "")) >= 3) -- a pointer that rests on a line sees it as well
    lu.assertEquals(select(2, text:gsub("a long title", "")), 12)
    for line in text:gmatch("[^\n]+") do lu.assertTrue(utf8.len(line) * 6 < 640, line) end
    local code = "bk.plot{ "
    for k = 1, 3 do code = code .. ("{ y = {1, 2, 3}, label = %q }, "):format(figure[k].label) end
    local drawn = self:terminal(code .. "}")
    for k = 1, 3 do
        lu.assertStrContains(drawn, ("k%d, width"):format(k))
        lu.assertStrContains(drawn, "ends in " .. k)
    end
    -- many of them make the figure higher, unless its height is given
    for k = 1, 14 do
        figure[k] = { y = { 1, 2, 3 }, label = "a label that takes half of the width of a figure, " .. k }
    end
    for _, key in ipairs{ false, "below" } do -- as bracket plot has it
        figure.key = key or nil
        lu.assertTrue(tonumber(self:svg(figure):match('viewBox="0 0 %d+ (%d+)"')) > 550)
    end
    figure.height = 420
    lu.assertEquals(self:svg(figure):match('viewBox="0 0 %d+ (%d+)"'), "420")
end

-- Texts of a picture as boxes, in the directions along and across their letters; a letter is half as wide as high.
local function boxes(svg)
    local list = {}
    for x, y, turn, size, anchor, inner in svg:gmatch('<g transform="translate%(([%d.-]+),([%d.-]+)%)([^"]*)"[^>]-'
        .. 'font%-size="([%d.]+)"%s+text%-anchor="(%a+)">%s*<text>(.-)</text>') do
        local angle = math.rad(tonumber(turn:match("rotate%(([%d.-]+)%)") or 0))
        local c, s = math.cos(angle), math.sin(angle)
        local u, v = x * c + y * s, y * c - x * s
        local wide = utf8.len((inner:gsub("<[^>]*>", ""):gsub("&%w+;", "x"))) * size * 0.5
        local from = u - (anchor == "middle" and wide / 2 or anchor == "end" and wide or 0)
        local box = { turn = turn, from = from, to = from + wide, v = v, size = tonumber(size), text = inner, x = {},
            y = {} }
        for k, at in ipairs{ from, from + wide } do box.x[k], box.y[k] = at * c - v * s, at * s + v * c end
        list[#list + 1] = inner ~= "" and box or nil
    end
    return list
end

function TestPlot:test_no_text_is_outside_or_on_another()
    local long, y, names, short, matrix = ("a name that goes on and on "):rep(8), {}, {}, {}, {}
    for i = 1, 60 do
        y[i], names[i], short[i], matrix[i] = math.sin(i) + 1.5, "task number " .. i, "t" .. i, {}
        for j = 1, 60 do matrix[i][j] = math.sin(i * j) end
    end
    local function figures()
        return { sixty = { { x = names, y = y, style = "bars" } }, short = { { x = short, y = y, style = "bars" } },
            few = { { x = { long .. 1, long .. 2, "c" }, y = { 1, 2, 3 }, style = "bars", label = long } },
            lines = { { y = y, label = long .. 1 }, { y = { 1, 2, 3 }, label = long .. 2 } },
            heat = { { image = matrix, label = long }, xticks = names, yticks = names },
            one = { { image = { { 1, 2 }, { 3, 4 } } }, xticks = { long, "b" }, yticks = { long, "b" } },
            row = { { image = { y } }, xticks = names, yticks = { "only" } },
            column = { { image = bk.tensor(y):reshape{ 60, 1 } }, xticks = { "only" }, yticks = names },
            numbers = { { y = { 1, 2, 3 } }, xticks = y, yticks = y },
            histogram = { { y = y, style = "histogram", label = long } },
            quiver = { { x = { 1 }, y = { 1 }, u = { 1 }, v = { 1 }, style = "quiver", label = long } } }
    end
    local function check(name, figure)
        local svg = self:svg(figure)
        local wide, high = svg:match('viewBox="0 0 (%d+) (%d+)"')
        local list, n = boxes(svg), 0
        for k, a in ipairs(list) do
            for e = 1, 2 do
                lu.assertTrue(a.x[e] >= 0 and a.x[e] <= tonumber(wide) and a.y[e] >= 0 and a.y[e] <= tonumber(high),
                    ("%s: %s is outside"):format(name, a.text))
            end
            for j = k + 1, #list do
                local b = list[j]
                lu.assertFalse(a.turn == b.turn and math.abs(a.v - b.v) < 0.8 * a.size and a.from < b.to
                    and b.from < a.to, ("%s: %s is on %s"):format(name, a.text, b.text))
            end
            n = n + (a.text:find("task number", 1, true) and 1 or 0)
        end
        return n
    end
    for name, figure in pairs(figures()) do check(name, figure) end
    for name, figure in pairs(figures()) do
        figure.title, figure.xlabel, figure.ylabel = long, long, long
        check(name .. ", labelled", figure)
    end
    local figure = figures().sixty
    lu.assertTrue(check("as wide as usual", figure) >= 15)
    figure.width = 1400
    lu.assertEquals(check("wide enough for all", figure), 60)
end

-- A letter that no font has is drawn by gnuplot as a box larger than the figure: here it is as U+25A1 is.
function TestPlot:test_letters_that_no_font_has()
    if not os.execute("command -v fc-list >/dev/null 2>&1") then lu.skip("fc-list is not here") end
    for _, kind in ipairs{ "png", "pdf" } do
        local said = self:terminal(([[
bk.plot{ { y = {1, 2}, label = "a\u{F8FE0}b" }, title = "Ünï ½", out = %q }]]):format(self.dir .. "/odd." .. kind))
        lu.assertStrContains(said, "no font here has \u{F8FE0}: a box stands for each; install a font")
        bk.plot{ { y = { 1, 2 }, label = "a□b" }, title = "Ünï ½", out = self.dir .. "/box." .. kind }
    end
    lu.assertTrue(read(self.dir .. "/odd.png") == read(self.dir .. "/box.png"))
    local plain = [[bk.plot{ { y = {1, 2} }, title = "Ünï ½ α", out = %q }]]
    lu.assertEquals(self:terminal(plain:format(self.dir .. "/f.png")), "")
    has_text(self:svg{ { y = { 1, 2 } }, title = "\u{F8FE0}" }, "\u{F8FE0}") -- the viewer's fonts may have it
end

-- Thin lines of single runs lie on the band of their group, and are seen there: they have its full colour.
function TestPlot:test_thin_lines_are_seen_on_their_bands()
    local svg = self:svg{ { y = { 1, 2 } }, { y = { 2, 3 }, low = { 1, 2 }, high = { 3, 4 } },
        { y = { 1.5, 2.5 }, style = "lines", thin = true, colour = "#d96a0f" } }
    local n = 0
    for _ in svg:gmatch("<path stroke='rgb%(217, 106,  15%)'") do n = n + 1 end
    lu.assertEquals(n, 2) -- the curve and the thin line
end

function TestPlot:test_text_is_never_a_command()
    local mark = self.dir .. "/mark"
    local evil = "`touch " .. mark .. "` $(touch " .. mark .. ")'; system('touch " .. mark .. "') \" @x \\1 #\n!touch "
        .. mark
    self:svg { { y = { 1, 2 }, label = evil }, title = evil, xlabel = evil, ylabel = evil }
    self:svg { { image = { { 1 } }, label = evil }, xticks = { evil }, yticks = { evil } }
    lu.assertNil(io.open(mark))
    local odd = self.dir .. "/it's $(touch mark) `x`.svg"
    bk.plot { { y = { 1, 2 } }, out = odd }
    lu.assertTrue(#read(odd) > 500)
    lu.assertNil(io.open(mark))
end

function TestPlot:test_titles_stand_as_they_are()
    local titles = { "'tis it's", "'", "''", '"quoted"', "0.01 1e-3", "a_b^c {d} @e", "back\\slash", "θ ← ½" }
    for _, title in ipairs(titles) do
        local svg = self:svg { { y = { 1, 2 }, label = title }, title = title }
        local plain = {}
        for _, t in ipairs(texts(svg)) do
            plain[t.text:gsub("&apos;", "'"):gsub("&#39;", "'"):gsub("&quot;", '"')] = true
        end
        lu.assertTrue(plain[title], title)
    end
end

function TestPlot:test_on_the_terminal()
    local text = self:terminal [[
bk.plot{ { y = {1, 2, 3}, low = {0, 1, 2}, high = {2, 3, 4}, label = "curve" }, title = "it's" }
bk.plot{ { x = {"a", "b"}, y = {1, 2}, style = "bars" } }
bk.plot{ { image = {{0, 1}, {0.5, 0/0}}, x = {3, 4} }, title = "map", xlabel = "along" }
bk.plot{ { image = {{0.25, 1}}, values = true }, xticks = {"p", "q"} }
local x = bk.rng(1):normal{ 1000 }
bk.plot{ { x = x, y = x, style = "density" } }
bk.plot{ { x = x, style = "histogram" } }
bk.plot{ { x = {0}, y = {0}, u = {1}, v = {1}, style = "quiver" } }
bk.plot{ panels = { { { y = {1, 2} }, title = "left" }, { { y = {1, 2} }, title = "right" } } }]]
    for _, part in ipairs { "curve ***A***", "it's", "  @@", "? is nan", "0.25", "p", "from 1 to", "logarithmic",
        "left", "right" } do
        lu.assertStrContains(text, part)
    end
    for line in text:gmatch("[^\n]+") do lu.assertTrue(utf8.len(line) <= 80, line) end
end

-- ---- misuse ----

function TestPlotMisuse:setUp() self.dir = files.folder() end
function TestPlotMisuse:tearDown() files.remove(self.dir) end

function TestPlotMisuse:test_messages()
    local function fails(message, figure) lu.assertErrorMsgContains("bk.plot: " .. message, bk.plot, figure) end
    fails("out: expected a name ending in .png, .svg or .pdf", { { y = { 1 } }, out = "f.gif" })
    fails("expected { {x =, y =, label =}, ... }, got no series", {})
    fails("series 2: x has 1 numbers, y 2", { { y = { 1 } }, { x = { 1 }, y = { 1, 2 } } })
    fails('series 1: y: entry 2: expected a number, got "2"', { { y = { 1, "2" } } })
    fails("series 1: low and high belong together", { { y = { 1 }, low = { 0 } } })
    fails("series 1: high has 2 numbers, y 1", { { y = { 1 }, low = { 0 }, high = { 1, 2 } } })
    fails("series 1: unknown option lable (did you mean label?)", { { y = { 1 }, lable = "x" } })
    fails("nothing to draw: no point is finite and positive", { { y = { -1, 0 / 0 } }, logy = true })
    fails("series 1: style: expected bars, contour, dashed, density, histogram, image, lines, linespoints, "
        .. 'points, quiver, steps, got "bar" (did you mean bars?)', { { y = { 1 }, style = "bar" } })
    fails("series 1: unknown option bins", { { y = { 1 }, bins = 3 } }) -- of another style
    fails("series 1: colour: expected", { { y = { 1 }, colour = "blueish" } })
    fails("series 1: image: row 2 has 1 numbers, row 1 2", { { image = { { 1, 2 }, { 3 } } } })
    fails('width: expected a number of pixels', { { y = { 1 } }, width = "3 feet", out = "f.png" })
    fails("xticks: expected 2 names, one for each column, got 1", { { image = { { 1, 2 } } }, xticks = { "a" },
        out = self.dir .. "/f.svg" })
    fails("series 1: errors: there is no error, low or high to draw", { { y = { 1 }, errors = "band" } })
    fails("series 2: colours: the maps of one figure share their colours", { { image = { { 1 } } },
        { image = { { 1 } }, colours = "diverging" } })
    fails("xrange: expected numbers > 0 on a logarithmic axis, got -1", { { y = { 1 } }, logx = true,
        xrange = { -1, 1 } })
end

-- No length is that of what is drawn: gnuplot's error was of a line of a script.
function TestPlotMisuse:test_numbers_too_far_apart()
    local far = { -1e308, 0, 1e308 }
    local text = ": expected numbers at most 1.7e308 apart, got -1e+308 to 1e+308"
    for where, series in pairs{ y = { y = far }, x = { x = far, y = { 1, 2, 3 } },
        ["series 1"] = { x = far, style = "histogram" } } do
        lu.assertErrorMsgContains("bk.plot: " .. where .. text, bk.plot, { series, out = self.dir .. "/f.svg" })
    end
    for _, style in ipairs{ "image", "contour" } do
        lu.assertErrorMsgContains("bk.plot: series 1" .. text, bk.plot, { { image = { far, far }, style = style } })
    end
end

-- Where there is no room around the ends: on a logarithmic axis the search for ticks had no end.
function TestPlotMisuse:test_numbers_at_the_ends_of_what_there_are()
    for _, o in ipairs{ {}, { logy = true } } do
        for _, list in ipairs{ { 5e-324, 1.79e308 }, { 5e-324, 1 }, { 1.79e308, 1.79e308 }, { 1, 1.79e308 } } do
            o[1], o.out = { y = list }, self.dir .. "/f.svg"
            lu.assertEquals(bk.plot(o), o.out)
        end
    end
end

function TestPlotMisuse:test_nothing_is_left_of_a_failure()
    local out = self.dir .. "/f.svg"
    lu.assertErrorMsgContains("no such", bk.plot, { { y = { 1 } }, out = self.dir .. "/no such/f.svg" })
    lu.assertErrorMsgContains("x has 1 numbers", bk.plot, { { x = { 1 }, y = { 1, 2 } }, out = out })
    lu.assertErrorMsgContains("key: expected", bk.plot, { { y = { 1, 2 } }, key = "middle", out = out })
    lu.assertNil(io.open(out))
    write(out, "a figure")
    lu.assertErrorMsgContains("series 1: x has 1 numbers", bk.plot, { { x = { 1 }, y = { 1, 2 } }, out = out })
    lu.assertEquals(read(out), "a figure")
end

-- Without gnuplot on the path: a program of its own, so that this one's path stays.
function TestPlotMisuse:test_without_gnuplot_the_error_says_how_to_install_it()
    write(self.dir .. "/f.lua", "local bk = require 'bracket'\nprint(pcall(bk.plot, { { y = { 1, 2 } } }))\n"
        .. "print(pcall(bk.plot, { { y = { 1, 2 } }, out = '" .. self.dir .. "/none.svg' }))")
    local p = assert(io.popen("PATH=" .. self.dir .. " '" .. program .. "' " .. self.dir .. "/f.lua 2>&1"))
    local text = p:read("a")
    p:close()
    local said = "bk.plot: gnuplot is not installed: install it with `apt-get install gnuplot-nox`"
    lu.assertEquals(select(2, text:gsub(said:gsub("%p", "%%%0"), "")), 2)
    lu.assertNil(io.open(self.dir .. "/none.svg"))
end

-- Ticks that differ behind the sixth digit have labels that do.
function TestPlot.test_labels_tell_ticks_apart()
    local x, y, name = {}, {}, os.tmpname() .. ".svg"
    for i = 1, 11 do x[i], y[i] = 1e6 + i - 1, 0.6931471 + i * 1e-8 end
    for _, logy in ipairs { false, true } do
        bk.plot { { x = x, y = y }, logy = logy, out = name }
        local svg = io.open(name):read("a")
        os.remove(name)
        for _, label in ipairs { "1000002", "1000004", "0.69314715", "0.6931472" } do
            if logy or label ~= "0.69314715" then lu.assertStrContains(svg, ">" .. label .. "<") end
        end
    end
end

function TestPlot.test_one_cell_is_a_cell()
    local name = os.tmpname() .. ".png"
    bk.plot { { image = { { 5 } } }, out = name }
    local image = bk.data.image(name)
    os.remove(name)
    local pixel = image:narrow(2, image:size(2) // 3, 1):narrow(3, image:size(3) // 3, 1)
    lu.assertNotEquals(pixel:reshape { 3 }:totable(), { 255, 255, 255 })
end

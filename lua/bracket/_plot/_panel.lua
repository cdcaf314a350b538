-- One figure, or one of several beside each other: its series checked and placed, its axes, key and colour bar.
local bk = ...
local axis, colours, values = bk._plot._axis, bk._plot._colours, bk._plot._values
local check_options = bk._options.check
local fail, number = values.fail, values.number

local COMMON = {
    { "style", "string", says = "linespoints, lines beyond 60 points; of a matrix image", doc = "how it is drawn" },
    { "label", "string", doc = "its name in the key; along the colour bar" },
    { "colour", "string", says = "the next of nine", doc = '"#rrggbb"' },
}

-- What a mark is: its styles, what help says of it, its options; prepare(s, panel, where) checks a series' values,
-- place(s, panel, where) tells the axes of its points, draw(s, panel, figure) writes what gnuplot plots. Besides:
-- late, placed after the others; layer = 0, below them and coloured by its values; what other marks use of it.
local MARK = { "styles", "doc", "options", "prepare", "place", "draw" }

-- Style -> its mark; the marks in alphabetical order.
local marks, list = {}, {}
local names = bk.internal.names("_plot")
table.sort(names)
for k, name in ipairs(names) do
    local mark, where = bk._plot[name], "bracket/_plot/" .. name .. ".lua"
    for _, field in ipairs(MARK) do
        if type(mark) ~= "table" or mark[field] == nil then bk._options.refuse("%s: %s is missing", where, field) end
    end
    list[k] = mark
    mark.declared = table.move(COMMON, 1, #COMMON, 1, {})
    table.move(mark.options, 1, #mark.options, #COMMON + 1, mark.declared)
    for _, style in ipairs(mark.styles) do
        if marks[style] then bk._options.refuse("%s: style %s is another mark's", where, style) end
        marks[style] = mark
    end
end

local panel = { marks = list, common = COMMON }
panel.__index = panel

function panel:point(x, y)
    self.x:reach(x)
    self.y:reach(y)
    self.drawn = self.drawn + 1
    if self.drawn % self.every == 0 then
        self.sample[#self.sample + 1] = { x, y }
        if #self.sample > 4000 then self.every = self.every * 4 end
    end
end

local function style_of(s)
    if s.style ~= nil then return s.style end
    if s.image ~= nil then return "image" end
    local counted, many = pcall(function() return type(s.y) == "table" and bk._options.length(s.y) or #s.y end)
    many = counted and math.type(many) == "integer" and type(s.y) ~= "string" and many or 0
    return many > 60 and not values.is_matrix(s.y) and "lines" or "linespoints"
end

-- Checks a series and adds it, and what is drawn over it.
function panel:add(given, where)
    if type(given) ~= "table" then fail("%s: expected a table, got %s", where, bk._options.show(given)) end
    local style = style_of(given)
    local mark = type(style) == "string" and marks[style]
    if not mark then
        local known = {}
        for name in pairs(marks) do known[#known + 1] = name end
        table.sort(known)
        fail("%s: style: expected %s, got %s%s", where, table.concat(known, ", "), bk._options.show(style),
            bk.internal.hint(style, known))
    end
    local s = check_options("bk.plot: " .. where, given, mark.declared)
    if s.colour and not s.colour:find("^#%x%x%x%x%x%x$") then
        fail("%s: colour: expected \"#rrggbb\", got %q", where, s.colour)
    end
    s.style, s.mark, s.where = style, mark, where
    self.series[#self.series + 1] = s
    if mark.layer ~= 0 then
        self.n_looks = self.n_looks + 1
        s.look, s.nth_look = colours.look(self.n_looks), self.n_looks
        s.look.colour = s.colour or s.look.colour
        if s.label then self.labelled = self.labelled + 1 end
    elseif s.colour then
        fail("%s: colour: %s is coloured by its values", where, style)
    end
    mark.prepare(s, self, where)
    if s.levels and style == "image" then
        self:add({ image = s.image, x = s.x, y = s.y, origin = s.origin, levels = s.levels, style = "contour" }, where)
        self.n_looks = self.n_looks - 1
    end
    for k, over in ipairs(s.over or {}) do self:add(over, ("%s: over %d"):format(where, k)) end
end

-- A figure's options and series, checked; name begins the messages ("panel 2: " or nothing).
function panel.new(options, name, dumb)
    local self = setmetatable({ options = options, name = name, series = {}, n_looks = 0, labelled = 0, drawn = 0,
        every = 1, sample = {}, dumb = dumb }, panel)
    if #options == 0 then fail("%sexpected { {x =, y =, label =}, ... }, got no series", name) end
    self.x = axis.new("x", options.logx, options.xrange, options.xticks, name)
    self.y = axis.new("y", options.logy, options.yrange, options.yticks, name)
    for k, s in ipairs(options) do self:add(s, ("%sseries %d"):format(name, k)) end
    for late = 0, 1 do
        for _, s in ipairs(self.series) do
            if (s.mark.late and 1 or 0) == late then s.mark.place(s, self, s.where) end
        end
    end
    if self.drawn == 0 then
        fail("%snothing to draw: no point is finite%s", name, (options.logx or options.logy) and " and positive" or "")
    end
    for _, a in ipairs { self.x, self.y } do -- a map of contours alone has no points
        if a.low > a.high then a.low, a.high = a.log and 1 or 0, a.log and 10 or 1 end
    end
    if #self.x.names > 0 then
        self.x:reach(0.5)
        self.x:reach(#self.x.names + 0.5)
        self.x.tight = true
    end
    return self
end

-- ---- key ----

local SPOTS = { left = "left top", right = "right top", lower = "right bottom", ["lower left"] = "left bottom",
    below = "bmargin center horizontal height 1.5", outside = "outside right top" }
local SAMPLE = 7 -- letters that the piece of line beside a label and the margins take

-- The sizes that the key needs: of the panel, of a line, and how many letters of a label fit beside its sample.
function panel:measure(figure, width, height)
    self.width, self.height, self.line_height = width, height, figure.dumb and 1 or 1.45 * figure.font
    local letters = figure.dumb and width - 14 or self:axis_width() / (figure.font * 0.56)
    self.room = math.max(8, math.floor(letters) - SAMPLE)
end

-- The part of the axes' width and height that the key takes in a corner, and how high it is below them.
function panel:key_size()
    local longest, n = 0, 0
    for _, s in ipairs(self.series) do
        if s.label and s.mark.layer ~= 0 then longest, n = math.max(longest, utf8.len(s.label) or #s.label), n + 1 end
    end
    local wide = (math.min(longest, self.room) + SAMPLE) / (self.room + SAMPLE)
    return wide, n * self.line_height / (0.75 * self.height), math.ceil(n / math.max(1, 1 // wide)) * self.line_height
end

-- Whether the key is too large for a corner, and what it then takes of the height.
function panel:key_below()
    local wide, high, below = self:key_size()
    return wide > 0.7 or high > 0.5, below
end

-- The emptiest corner; below the axes where none is empty, or the corner holds a map.
function panel:key_spot()
    if self.scale then return "below" end
    if self:key_below() then return "below" end
    local w, h = self:key_size()
    w, h = math.max(w, 0.45), math.max(h, 0.4)
    local best, least = "right", math.huge
    for _, corner in ipairs{ { "right", 1 - w, 1, 1 - h, 1 }, { "left", 0, w, 1 - h, 1 }, { "lower left", 0, w, 0, h },
        { "lower", 1 - w, 1, 0, h } } do
        local n = 0
        for _, point in ipairs(self.sample) do
            local u, v = self.x:share(point[1]), self.y:share(point[2])
            if self.x.reversed then u = 1 - u end
            if self.y.reversed then v = 1 - v end
            if u >= corner[2] and u <= corner[3] and v >= corner[4] and v <= corner[5] then n = n + 1 end
            if self.bars and u >= corner[2] and u <= corner[3] and v >= corner[4] then n = n + 1 end
        end
        if n < least then best, least = corner[1], n end
    end
    return least <= 0.04 * #self.sample and best or "below"
end

-- The line that sets the key, and how much of the height it takes below the axes.
function panel:key_line()
    local key = self.options.key
    if type(key) == "string" and not SPOTS[key] then
        fail("%skey: expected left, right, lower, lower left, below or outside, got %q", self.name, key)
    end
    if key == false or self.labelled == 0 then return "unset key", 0 end
    key = type(key) == "string" and key or self:key_spot()
    local _, below = self:key_below()
    return ("set key noenhanced %s%s"):format(SPOTS[key], self.dumb and "" or " samplen 2.5"), key == "below" and below
        or 0
end

-- ---- the script ----

function panel:scale_lines(line, figure, letters)
    local scale = self.scale
    line(colours.palette(scale.map))
    local low, high = scale.low, scale.high
    if not (low <= high) then low, high = 0, 1 end
    low, high = values.apart(low, high)
    scale.low, scale.high = low, high
    line(scale.log and "set logscale cb 10" or "unset logscale cb")
    line("set cbrange [%s:%s]", number(low), number(high))
    if not scale.bar then
        line("unset colorbox")
        return
    end
    line("set colorbox noborder")
    if scale.log then
        local counts = {} -- where no second decade would be labelled
        for k = 1, high < 10 and high or 0 do counts[k] = ("%d"):format(k) end
        line("set format cb '%s'; set cbtics nomirror scale 0.4 %s", high >= 1000 and "10^{%T}" or "%g",
            #counts > 0 and "(" .. table.concat(counts, ", ") .. ")" or "autofreq")
    else
        line("set format cb '%%h'; set cbtics nomirror scale 0.4")
    end
    line("set cblabel %s noenhanced offset 1.2,0", (figure.quote_lines(scale.label or "", letters, 1)))
end

-- About how long the axes are, in pixels, where texts above and below take so much: a square panel's as long as the
-- shorter has room for.
function panel:axis_width(taken)
    local width = self.width * (self.scale and 0.66 or 0.84)
    if not self.square then return width end
    local x, y = { self.x:settle() }, { self.y:settle() }
    return math.min(width, (0.85 * self.height - (taken or 0)) * (x[2] - x[1]) / (y[2] - y[1]))
end
function panel:axis_height(taken)
    local height = 0.85 * self.height - taken
    if not self.square then return height end
    local x, y = { self.x:settle() }, { self.y:settle() }
    return math.min(height, self:axis_width(taken) * (y[2] - y[1]) / (x[2] - x[1]))
end

-- Appends what is written around the axes: title, labels, ticks, key, the scale's ends.
function panel:text_lines(line, figure, width, height)
    local o, quote, dumb = self.options, figure.quote, figure.dumb
    local letter = dumb and 1 or figure.font * 0.62
    local title, over = figure.quote_lines(o.title or "", width / letter, 4)
    local xlabel, under = figure.quote_lines(o.xlabel or "", width / letter, 2)
    local key, below = self:key_line()
    local most = dumb and width // 4 or height / letter // 3
    local taken = self.line_height * (over + under) + below
    local across = dumb and width - 16 or self:axis_width(taken)
    taken = taken + self.x:depth(across / letter, most) * letter
    across = dumb and across or self:axis_width(taken)
    local up = dumb and height or self:axis_height(taken)
    line("set title %s noenhanced", title)
    line("set xlabel %s noenhanced", xlabel)
    line("set ylabel %s noenhanced", (figure.quote_lines(o.ylabel or "", up / letter, dumb and 1 or 2)))
    self.x:lines(figure.script, quote, dumb, across / letter, across / self.line_height, most)
    self.y:lines(figure.script, quote, dumb, up / letter, up / self.line_height, width / letter // 4)
    line("%s", key)
    if self.scale then
        local bar = self.scale.bar and (self.scale.label and 14 or 9)
        line("set border 15; set rmargin %d", dumb and 2 or bar or 3)
        self:scale_lines(line, figure, up / letter)
    end
end

-- Appends the lines that draw the panel, width by height pixels, or characters.
function panel:script(figure, width, height)
    local script = figure.script
    local function line(format, ...) script[#script + 1] = format:format(...) end
    if self.scale and self.scale.low == self.scale.high then self:scale_lines(function() end, figure, 0) end
    self:measure(figure, width, height)
    figure.plots, figure.unders, figure.thins, figure.room = {}, {}, {}, self.room
    local below = 0 -- maps and contours, then bands, then the rest
    for layer = 0, 3 do
        for _, s in ipairs(self.series) do
            if (s.mark.layer or 2) == layer then s.mark.draw(s, self, figure, s.where) end
        end
        if layer == 1 then below = #figure.plots end
    end
    local plots = table.move(figure.plots, 1, below, 1, {})
    table.move(figure.unders, 1, #figure.unders, #plots + 1, plots)
    table.move(figure.thins, 1, #figure.thins, #plots + 1, plots)
    table.move(figure.plots, below + 1, #figure.plots, #plots + 1, plots)
    if #plots == 0 then fail("%snothing to draw", self.name) end
    line("reset")
    if not figure.dumb then
        line("set border 3 linecolor rgb '#444444'; set tics textcolor rgb '#222222' scale 0.6, 0.35")
    end
    self:text_lines(line, figure, width, height)
    if not self.scale and not figure.dumb then
        local only = self.bars and "noxtics ytics" or "xtics ytics"
        line("set grid %s back linetype 1 linecolor rgb '#e2e2e2' linewidth 0.6 dashtype solid", only)
    end
    if self.square and not figure.dumb then line("set size ratio -1") end
    if self.y.stands and self.y.low < 0 and not self.y.log then
        line("set xzeroaxis linetype 1 linecolor rgb '#444444' linewidth 1")
    end
    line("set style textbox opaque noborder margins 0.4, 0.2 fillcolor rgb '#ffffff'")
    line("plot %s", table.concat(plots, ", \\\n     "))
end

return panel

-- A script for gnuplot, run as a process of its own. Whatever a caller gives reaches gnuplot as numbers, or as text
-- whose every sign that is not a letter, a digit or a blank is written as a number: none of it is a command.
local bk = ...
local glyphs, shortened = bk._plot._glyphs, bk._table_text.shortened

-- Of what is nobody's argument.
local function fail(format, ...) error(("bk.plot: " .. format):format(...), 0) end

local INSTALL = "install it with `apt-get install gnuplot-nox`, `dnf install gnuplot` or `brew install gnuplot`"
local DPI = 300 -- of a PNG whose size is not in pixels

local figure = {}
figure.__index = figure

function figure.quote(text)
    text = bk._text_file.readable(text) -- an SVG with other bytes is none
    text = text:gsub("%c", " "):gsub("[^%w .,:;()=+_/%-\x80-\xff]", function(c)
        return ("\\%04o"):format(c:byte()) -- four digits: of fewer, a digit that follows would be one more
    end)
    return '"' .. text .. '"'
end

function figure.new(kind, font)
    return setmetatable({ kind = kind, dumb = kind == "terminal", n = 0, blocks = {}, first = {}, script = {},
        plots = {}, unders = {}, thins = {}, font = font * 96 / 72, points = font }, figure)
end

function figure:name()
    self.n = self.n + 1
    return "$data" .. self.n
end

-- Rows as a block of data; the block's name. A block without a point would stop gnuplot.
function figure:block(rows)
    local name, empty = self:name(), true
    for _, row in ipairs(rows) do empty = empty and row == "" end
    self.blocks[#self.blocks + 1] = ("%s << END\n%s\nEND"):format(name, empty and "NaN NaN NaN NaN NaN NaN NaN"
        or table.concat(rows, "\n"))
    return name
end

function figure:before(format, ...) self.first[#self.first + 1] = format:format(...) end
function figure:plot(format, ...) self.plots[#self.plots + 1] = format:format(...) end
-- A size of letters in the pixels of `font` as the terminal wants it.
function figure:letters(pixels) return ("font ',%.1f'"):format(self.kind == "svg" and pixels or pixels * 0.75) end

-- What is drawn under all lines: bands, then thin lines.
function figure:under(format, ...) self.unders[#self.unders + 1] = format:format(...) end
function figure:thin(format, ...) self.thins[#self.thins + 1] = format:format(...) end

-- Lines from low to high with ends, of a block of x, y, low, high.
function figure:whiskers(block, colour)
    if self.dumb then
        self:plot("%s using 1:2:3:4 with yerrorbars pointtype 0 notitle", block)
    else
        self:plot("%s using 1:3:(0):($4-$3) with vectors heads size graph 0.008,90 fixed linecolor rgb '%s' "
            .. "linewidth 1.2 notitle", block, colour)
    end
end

-- Of a label wider than the figure gnuplot would show nothing, or a part: its middle is left out. panel:script says how
-- many letters there is room for.
function figure:title(s)
    return s.label and "title " .. self.quote(shortened(s.label, self.room)) or "notitle"
end

-- A line of text, as at most so many where it is longer than so many letters; what has no room there is left out of the
-- middle. And how many lines it takes.
function figure.quote_lines(text, letters, most)
    local lines, wide = {}, math.max(12, math.floor(letters))
    text = bk._text_file.readable(text):gsub("%S+", function(word) return shortened(word, wide) end)
    local room = most * wide
    repeat -- lines end with words: they hold a little less
        lines = {}
        bk._wrap.fill(lines, shortened(text, room), wide, "", "")
        room = room - 4
    until #lines <= most
    for k, line in ipairs(lines) do lines[k] = figure.quote(line):sub(2, -2) end
    return '"' .. table.concat(lines, "\\n") .. '"', #lines
end

-- The line that sets the terminal (pdfcairo's points are larger than a point): a size in pixels, or units = true: pixels of 1/96 inch at a printer's resolution.
function figure:terminal(width, height, units)
    if self.kind == "terminal" then return ("set terminal dumb noenhanced size %d,%d"):format(width, height) end
    if self.kind == "pdf" then
        return ("set terminal pdfcairo enhanced size %.4fin,%.4fin font 'Sans,%g' fontscale 0.75 linewidth 1 background "
            .. "'white'"):format(width / 96, height / 96, self.points)
    end
    if self.kind == "svg" then
        return ("set terminal svg enhanced size %.0f,%.0f dynamic font 'Sans,%.2f' background 'white'"):format(width,
            height, self.font)
    end
    local times = units and DPI / 96 or 1
    return ("set terminal pngcairo enhanced size %.0f,%.0f font 'Sans,%g' fontscale %g linewidth %g pointscale %g "
        .. "background 'white'"):format(width * times, height * times, self.points, times, times, times)
end

local function read(path)
    local f = io.open(path, "rb")
    local text = f and f:read("a") or ""
    if f then f:close() end
    return text
end

function figure.need_gnuplot()
    if not os.execute("command -v gnuplot >/dev/null 2>&1") then fail("gnuplot is not installed: %s", INSTALL) end
end

-- Draws to a temporary file, which becomes `out` when it is whole: of a failure nothing is left. Returns what gnuplot
-- wrote to the terminal.
function figure:run(terminal, out, opening, closing)
    local path, output, errors = os.tmpname(), os.tmpname(), os.tmpname()
    local lines = { "set encoding utf8", terminal, table.concat(self.blocks, "\n") }
    table.move(self.first, 1, #self.first, #lines + 1, lines)
    lines[#lines + 1] = out and "set output '" .. output .. "'" or nil
    lines[#lines + 1] = opening
    table.move(self.script, 1, #self.script, #lines + 1, lines)
    lines[#lines + 1] = closing
    lines[#lines + 1] = out and "set output" or nil
    local script, missing = table.concat(lines, "\n"), {}
    if self.kind == "png" or self.kind == "pdf" then script, missing = glyphs(script) end
    if #missing > 0 then
        bk._warning("bk.plot: %s: no font here has %s: a box stands for each; install a font that has them "
            .. "(fonts-noto-cjk, fonts-noto-core), or draw an .svg, which leaves letters to the viewer's fonts", out,
            table.concat(missing, " ", 1, math.min(#missing, 20)) .. (#missing > 20 and " ..." or ""))
    end
    local f, why = io.open(path, "wb")
    if not f then fail("cannot write a temporary file: %s", why) end
    f:write(script, "\n")
    f:close()
    -- the three names come from os.tmpname: nothing of the caller's is in this command
    local ok = os.execute(("gnuplot '%s' %s 2>'%s' </dev/null"):format(path, out and ">/dev/null"
        or ">'" .. output .. "'", errors))
    local text, complaint = read(output), read(errors)
    for _, name in ipairs { path, output, errors } do os.remove(name) end
    if not ok or (out and #text == 0) then
        complaint = complaint:gsub(path, "script", 1):gsub("%s+", " "):gsub("^ ", "")
        fail("gnuplot could not draw%s: %s", out and " " .. out or "", complaint)
    end
    if self.kind == "svg" then -- a pointer that rests on a line sees its label, not gnuplot's name for it
        text = text:gsub("<title>Gnuplot</title>%s*<desc>.-</desc>", "", 1):gsub("<title>gnuplot_plot_%d+</title>", "")
    end
    if out then bk.internal.write_file(out, text) end
    return text
end

return figure

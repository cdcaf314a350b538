-- Text for a terminal: paragraphs filled to its width, tables with cells of several lines.
local bk = ...
local WIDEST = 100 -- longer lines tire the eye

local wrap = {}

function wrap.length(s) return utf8.len(s) or #s end
local length = wrap.length

-- How wide text may be.
function wrap.width() return math.max(20, math.min(bk.internal.columns() - 1, WIDEST)) end

-- The words of text in lines of at most width columns; first and others stand before the lines.
function wrap.fill(out, text, width, first, others)
    local line, empty = first, true
    for word in text:gmatch("%S+") do
        if not empty and length(line) + 1 + length(word) > width then
            out[#out + 1] = line
            line, empty = others, true
        end
        line, empty = line .. (empty and "" or " ") .. word, false
    end
    if not empty then out[#out + 1] = line end
end

local function pad(text, width) return text .. (" "):rep(width - length(text)) end

-- Rows of texts in columns; the last one takes what is left of the width. most: the widest that each other may be.
function wrap.table(out, rows, width, most, indent)
    local widths, last = {}, #most + 1
    local left = width - #indent
    for c = 1, #most do
        local widest = 0
        for _, row in ipairs(rows) do widest = math.max(widest, length(row[c])) end
        widths[c] = math.min(widest, most[c])
        left = left - widths[c] - 2
    end
    widths[last] = math.max(left, 10)
    for _, row in ipairs(rows) do
        local cells, n = {}, 0
        for c = 1, last do
            cells[c] = {}
            wrap.fill(cells[c], row[c], widths[c], "", "")
            n = math.max(n, #cells[c])
        end
        for i = 1, n do
            local line = indent
            for c = 1, last do line = line .. pad(cells[c][i] or "", widths[c]) .. (c < last and "  " or "") end
            out[#out + 1] = line:gsub("%s+$", "")
        end
    end
end

return wrap

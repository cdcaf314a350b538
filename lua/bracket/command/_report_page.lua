-- A page of HTML that needs nothing beside itself: text made fit for it, its tables, its matrices, its frame.
local bk = ...
local table_text, colours = bk._table_text, bk._plot._colours
local page = {}

-- Text fit for HTML: valid UTF-8, no control characters.
local function clean(text)
    local parts, at = {}, 1
    while true do
        local length, bad = utf8.len(text, at)
        if length then break end
        parts[#parts + 1] = text:sub(at, bad - 1) .. "\u{FFFD}"
        at = bad + 1
    end
    text = table.concat(parts) .. text:sub(at)
    return (text:gsub("\xC2[\x80-\x9F]", "\u{FFFD}"):gsub("[\0-\8\11-\31\127]", "\u{FFFD}"))
end
page.clean = clean

local ENTITY = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }
local function escape(text) return (clean(text):gsub("[&<>\"']", ENTITY)) end
page.escape = escape

local STATES = { finished = true, running = true, failed = true, stopped = true, paused = true, diverged = true }

function page.note(text) return '<p class="note">' .. escape(text) .. "</p>" end

-- A section { title, head, rows, none, note } as a table; with a head its columns are sorted by a press on it, and
-- where there are many rows a field filters them. id: of the table, where it is not the page's only one.
function page.section(s, id)
    local lines = { ('<h2 id="%s">%s</h2>'):format(id, escape(s.title)) }
    if #s.rows == 0 then
        lines[2] = page.note(s.none or "none")
    else
        local right = {}
        if s.head and #s.rows > 8 then -- shown by the script, without which it does nothing
            lines[#lines + 1] = ('<div class="filter" hidden><label>filter <input type="search" data-table="%s-table">'
                .. '</label><output></output></div>'):format(id)
        end
        lines[#lines + 1] = ('<div class="wide" tabindex="0" role="region" aria-label="%s"><table id="%s-table"%s>')
            :format(escape(s.title), id, s.head and #s.rows > 1 and ' class="sort"' or "")
        if s.head then
            local cells = {}
            for c = 1, #s.head do
                right[c] = c > 1 and ' class="n"' or ""
                for _, row in ipairs(s.rows) do right[c] = table_text.is_number(row[c] or "") and right[c] or "" end
                cells[c] = ('<th scope="col"%s>%s</th>'):format(right[c], escape(s.head[c]))
            end
            lines[#lines + 1] = "<thead><tr>" .. table.concat(cells) .. "</tr></thead>"
        end
        lines[#lines + 1] = "<tbody>"
        for _, row in ipairs(s.rows) do
            local name = escape(row[1]):gsub(",", ",<wbr>") -- "lr=0.1,seed=1" breaks where a person would break it
            local cells = { '<tr><th scope="row">' .. name .. "</th>" }
            for c = 2, s.head and #s.head or #row do
                local class = STATES[row[c]] and (' class="state %s"'):format(row[c]) or right[c] or ""
                cells[c] = ("<td%s>%s</td>"):format(class, escape(row[c]))
            end
            lines[#lines + 1] = table.concat(cells) .. "</tr>"
        end
        lines[#lines + 1] = "</tbody></table></div>"
    end
    if s.note then lines[#lines + 1] = page.note(s.note) end
    return table.concat(lines, "\n")
end

-- A matrix { title, rows, columns, values, colours, low, high, note, missing } as a table of coloured cells
-- with its scale; missing: what stands where there is no number.
function page.matrix(m)
    local low, high = math.huge, -math.huge
    for _, row in ipairs(m.values) do
        for c = 1, #m.columns do
            local v = row[c] or 0 / 0
            if v - v == 0 then low, high = math.min(low, v), math.max(high, v) end
        end
    end
    if low > high then return "" end
    if m.colours == "diverging" then
        high = math.max(math.abs(low), math.abs(high))
        if high == 0 then high = 1 end
        low = -high
    end
    low, high = m.low and math.min(low, m.low) or low, m.high and math.max(high, m.high) or high
    low, high = bk._plot._values.apart(low, high)
    local head, lines = { '<td></td>' }, {}
    for c, name in ipairs(m.columns) do head[c + 1] = '<th scope="col">' .. escape(name) .. "</th>" end
    for r, name in ipairs(m.rows) do
        local cells = { '<tr><th scope="row">' .. escape(name) .. "</th>" }
        for c = 1, #m.columns do
            local v = m.values[r][c] or 0 / 0
            local place = (v - low) / (high - low)
            cells[c + 1] = v - v ~= 0 and ('<td class="n hatch">%s</td>'):format(m.missing or table_text.number(v))
                or ('<td class="n" style="background:%s;color:%s">%s</td>'):format(colours.at(m.colours, place),
                    colours.is_light(m.colours, place) and "#101010" or "#fff", table_text.number(v))
        end
        lines[r] = table.concat(cells) .. "</tr>"
    end
    local stops = {}
    for k = 0, 8 do stops[k + 1] = colours.at(m.colours, k / 8) end
    return ('<div><h3>%s</h3><div class="wide" tabindex="0" role="region" aria-label="%s"><table><thead><tr>%s</tr></thead>'
        .. '<tbody>%s</tbody></table></div><p class="note">%s<span class="scale" style="background:'
        .. 'linear-gradient(to right,%s)"></span>%s%s</p></div>'):format(escape(m.title), escape(m.title),
        table.concat(head), table.concat(lines, "\n"), table_text.number(low), table.concat(stops, ","),
        table_text.number(high), m.note and "; " .. escape(m.note) or "")
end

-- Writes the page. parts: of its body, as HTML; contents: { { id, title }, ... }; data: for the script, as JSON.
function page.write(path, title, parts, contents, data)
    local links = {}
    for k, c in ipairs(contents) do links[k] = ('<a href="#%s">%s</a>'):format(c[1], escape(c[2])) end
    local written = ("Written by bracket %s, %s."):format(bk.version, os.date("!%Y-%m-%d %H:%M UTC"))
    local ok, why = pcall(bk.internal.write_file, path, table.concat({ "<!DOCTYPE html>", '<html lang="en">', "<head>",
        '<meta charset="utf-8">', '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'; '
            .. 'script-src \'unsafe-inline\'; img-src data:">', -- the browser itself lets nothing be asked for
        '<link rel="icon" href="data:,">', -- or it asks for one
        "<title>" .. escape(title) .. "</title>", "<style>", bk.command._report_style .. "</style>", "</head>",
        "<body>", "<header><h1>" .. escape(title) .. "</h1>",
        '<button type="button" id="theme" hidden>light or dark</button></header>',
        "<nav aria-label=\"contents\">" .. table.concat(links, "\n") .. "</nav>", "<main>", table.concat(parts, "\n"),
        "</main>", page.note(written),
        '<script type="application/json" id="data">' .. data .. "</script>",
        "<script>", bk.command._report_script .. "</script>", "</body>", "</html>", "" }, "\n"))
    if not ok then error("report: " .. why, 0) end
    print(path)
end

return page

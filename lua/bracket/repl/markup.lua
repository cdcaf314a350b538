-- markup.lua - text as HTML: the Markdown that the guides use, and docstrings.
local markup = {}

function markup.escape(text)
    return (text:gsub('[&<>"]', { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end
local escape = markup.escape

-- The name as an anchor: letters, digits, dots, dashes.
function markup.anchor(name) return (name:gsub("[^%w._]+", "-")) end

-- Escaped text whose known names (bk.lie, model:init) are links. link(name) -> where to, or nil.
local function with_links(text, link)
    return (text:gsub("[%a_][%w_]*[.:][%w_.:]*[%w_]", function(name)
        local to = link(name)
        return to and ('<a href="#%s">%s</a>'):format(to, name) or nil
    end))
end

-- A paragraph's text: code, strong, links.
local function inline(text, link)
    local kept = {} -- pieces that what follows must leave alone
    local function keep(html)
        kept[#kept + 1] = html
        return ("\1%d\1"):format(#kept)
    end
    text = text:gsub("`([^`]+)`", function(words)
        return keep("<code>" .. with_links(escape(words), link) .. "</code>")
    end)
    text = text:gsub("%[([^%]]+)%]%(([^)]*)%)", function(words, to)
        local page = to:match("^([%w_]+)%.md$")
        if page then return keep(('<a href="#guide-%s">%s</a>'):format(page, escape(words))) end
        return words
    end)
    text = with_links(escape(text), link):gsub("%*%*(.-)%*%*", "<strong>%1</strong>")
    return (text:gsub("\1(%d+)\1", function(n) return kept[tonumber(n)] end))
end
markup.inline = inline

local function code(lines)
    return '<pre tabindex="0"><code>' .. escape(table.concat(lines, "\n")) .. "</code></pre>"
end
markup.code = code

local function row(line, cell, link)
    local out = {}
    for text in (line:gsub("^%s*|", ""):gsub("|%s*$", "") .. "|"):gmatch("(.-)|") do
        out[#out + 1] = ("<%s>%s</%s>"):format(cell, inline(text:match("^%s*(.-)%s*$"), link), cell)
    end
    return "<tr>" .. table.concat(out) .. "</tr>"
end

-- Markdown as HTML; headings begin at that level.
function markup.html(text, level, link)
    local out, paragraph, list, fence, rows = {}, {}, nil, nil, nil
    local item, deep = nil, nil -- lines of the list's item under way; of code that is indented
    local function close_item()
        if item then out[#out + 1] = "<li>" .. inline(table.concat(item, " "), link) .. "</li>" end
        item = nil
    end
    local function flush()
        if #paragraph > 0 then out[#out + 1] = "<p>" .. inline(table.concat(paragraph, " "), link) .. "</p>" end
        paragraph = {}
        close_item()
        if list then out[#out + 1] = "</" .. list .. ">" end
        list = nil
        if deep then out[#out + 1] = code(deep) end
        deep = nil
        if rows then out[#out + 1] = '<div class="wide">' .. "<table>" .. table.concat(rows) .. "</table></div>" end
        rows = nil
    end
    for line in (text:gsub("%s+$", "") .. "\n"):gmatch("([^\n]*)\n") do
        local hashes, heading = line:match("^(#+)%s+(.*)$")
        local mark, words = line:match("^%s*([-*]) (.*)$")
        if not mark then mark, words = line:match("^%s*(%d+)%. (.*)$") end
        if line:find("^```") then
            if fence then out[#out + 1] = code(fence) else flush() end
            fence = not fence and {} or nil
        elseif fence then
            fence[#fence + 1] = line
        elseif line:find("^<!%-%-") then
            flush()
        elseif hashes then
            flush()
            local h = math.min(6, level + #hashes - 1)
            out[#out + 1] = ("<h%d>%s</h%d>"):format(h, inline(heading, link), h)
        elseif line:find("^|") then
            if not rows then flush() end
            rows = rows or {}
            if not line:find("^|[-| :]*$") then rows[#rows + 1] = row(line, #rows == 0 and "th" or "td", link) end
        elseif mark then
            local kind = mark:find("%d") and "ol" or "ul"
            if list ~= kind then
                flush()
                out[#out + 1], list = "<" .. kind .. ">", kind
            end
            close_item()
            item = { words }
        elseif line:find("^    ") and not item and #paragraph == 0 then
            if not deep then flush() end
            deep = deep or {}
            deep[#deep + 1] = line:sub(5)
        elseif line == "" then
            flush()
        else
            table.insert(item or paragraph, (line:gsub("^%s+", "")))
        end
    end
    flush()
    return table.concat(out, "\n")
end

-- The text of a docstring (without signature, options, labels and example).
function markup.docstring(text, link)
    local out, lines, indented = {}, {}, nil
    local function flush()
        if #lines > 0 and indented then
            out[#out + 1] = code(lines)
        elseif #lines > 0 then
            out[#out + 1] = "<p>" .. inline(table.concat(lines, " "), link) .. "</p>"
        end
        lines, indented = {}, nil
    end
    for line in (text .. "\n"):gmatch("([^\n]*)\n") do
        local deep = line:find("^%s%s") ~= nil
        if line == "" then
            flush()
        else
            if #lines > 0 and deep ~= indented then flush() end
            if #lines == 0 then indented = deep end
            lines[#lines + 1] = line
            indented = deep
        end
    end
    flush()
    return table.concat(out, "\n")
end

return markup

-- guide.lua - the pages of lua/bracket/guide as a terminal shows them: paragraphs filled to its width, code as it
-- stands. Knows the Markdown they use (headings, paragraphs, lists, tables, fences), not all of it.
local bk = ...
local fill, width_of = bk._wrap.fill, bk._wrap.width

local guide = {}

-- name -> first line
function guide.titles()
    local titles = {}
    for _, name in ipairs(bk.internal.names("guide")) do titles[name] = bk.guide[name]:match("^#*%s*([^\n]*)") end
    return titles
end

-- { name, title, text } of each page, in the order of their names.
function guide.pages()
    local pages = {}
    for name, title in pairs(guide.titles()) do
        pages[#pages + 1] = { name = name, title = title, text = bk.guide[name] }
    end
    table.sort(pages, function(a, b) return a.name < b.name end)
    return pages
end

-- The parts of a page's text, { title, text }, from one heading to the next; the first has the page's title.
function guide.sections(text)
    local sections, code = {}, false
    for line in (text .. "\n"):gmatch("([^\n]*)\n") do
        if line:find("^```") then code = not code end
        local title = not code and line:match("^#+%s*(.*)")
        if title or #sections == 0 then sections[#sections + 1] = { title = title or "", text = "" } end
        local s = sections[#sections]
        s.text = s.text .. line .. "\n"
    end
    return sections
end

-- A link's words stand for it; what Markdown marks is plain.
local function plain(text)
    return (text:gsub("%[([^%]]+)%]%([^)]*%)", "%1"):gsub("%*%*", ""))
end

-- Markdown as lines for a terminal of that many columns.
function guide.wrap(text, width)
    local out, paragraph, first, others, code = {}, {}, "", "", false
    local function flush()
        if #paragraph > 0 then fill(out, plain(table.concat(paragraph, " ")), width, first, others) end
        paragraph, first, others = {}, "", ""
    end
    for line in (text:gsub("%s+$", "") .. "\n"):gmatch("([^\n]*)\n") do
        local item, rest = line:match("^(%s*[-*] )(.*)")
        if not item then item, rest = line:match("^(%s*%d+%. )(.*)") end
        if line:find("^```") then
            flush()
            code = not code
        elseif code then
            out[#out + 1] = line == "" and "" or "    " .. line
        elseif line:find("^    ") and #paragraph == 0 then
            out[#out + 1] = line
        elseif line:find("^<!%-%-") then
            flush()
        elseif line == "" or line:find("^#") or line:find("^|") then
            flush()
            if not line:find("^|[-| ]*$") then out[#out + 1] = plain((line:gsub("^#+%s*", ""))) end
        elseif item then
            flush()
            paragraph, first, others = { rest }, item, (" "):rep(#item)
        else
            paragraph[#paragraph + 1] = line
        end
    end
    flush()
    return table.concat(out, "\n")
end

function guide.list()
    local width = width_of()
    local out, widest = { 'The guides: help "NAME" shows one.', "" }, 0
    local pages = guide.pages()
    for _, p in ipairs(pages) do widest = math.max(widest, #p.name) end
    local indent = (" "):rep(widest + 4)
    for _, p in ipairs(pages) do fill(out, p.title, width, "  " .. p.name .. indent:sub(#p.name + 3), indent) end
    return table.concat(out, "\n")
end

-- What help shows of that name (spaces and dashes count as _), or nil.
function guide.page(name)
    name = name:lower():gsub("[%s-]+", "_")
    local text = name:find("^%a[%w_]*$") and bk.guide[name]
    return text and guide.wrap(text, width_of())
end

return guide

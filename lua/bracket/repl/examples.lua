-- examples.lua - the example of each public name, inputs of the session and what they show: from the pages of
-- lua/bracket/example (a heading with the name, then a fenced block), or from the end of a docstring.
local bk = ...

local examples = {}
local known -- name -> text, of the pages

local function read_pages()
    local list = {}
    for _, page in ipairs(bk.internal.names("example")) do
        for name, text in bk.example[page]:gmatch("\n## ([%w_.:]+)\n+```\n(.-)\n```") do list[name] = text end
    end
    return list
end

-- Calls visit(name, text) with each example of the pages.
function examples.each(visit)
    known = known or read_pages()
    local names = {}
    for name in pairs(known) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do visit(name, known[name]) end
end

-- A docstring without its example, and the example's lines, or nil. What is no input of the session is text.
function examples.split(text)
    local before, example = text:match("^(.-)\n*\nExample:\n(%s*> .*)$")
    if not before then return text end
    local lines = {}
    for line in (example:gsub("%s+$", "") .. "\n"):gmatch("([^\n]*)\n") do lines[#lines + 1] = line:gsub("^  ", "") end
    return before, table.concat(lines, "\n")
end

-- The example of that name (a path, or class:method), whose docstring is text; or nil.
function examples.of(name, text)
    local own = text and select(2, examples.split(text))
    known = known or read_pages()
    return own or name and known[name]
end

return examples

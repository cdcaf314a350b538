-- help.lua - finds docstrings: by value, by name, by words; guides by name; and what is in a room or an object.
local bk = ...
local docs, option_lists, rooms = bk.internal.docs, bk.internal.options, bk.repl.rooms
local getmetatable_, getupvalue = debug and debug.getmetatable, debug and debug.getupvalue -- nil in restricted mode
local type, rawget = type, rawget

local wrap, entry = bk._wrap, bk.repl.entry

local help = {}

local function room_of(path)
    if path == "bk" then return bk end
    return bk[path:match("^bk%.(.*)")]
end

-- The path of a table that is one of the module's rooms, or nil.
function help.room(x)
    for path in pairs(rooms) do
        if rawequal(room_of(path), x) then return path end
    end
end

-- The table that an object's methods stand in, or nil. Runs no user code.
function help.methods(x)
    local meta = getmetatable_ and getmetatable_(x)
    local index = type(meta) == "table" and rawget(meta, "__index") or nil
    if type(index) == "function" then -- of a C closure: its upvalue
        local name, value = getupvalue(index, 1)
        index = name == "" and value or nil
    end
    return type(index) == "table" and index or nil
end

-- The options that a call of x takes, a list of { name, wanted, default, required, by_place, doc }, or nil.
function help.options(x)
    return option_lists[x]
end

-- An option in a line: "lr: a finite number, required: the rate of the first step".
local function option_line(o)
    local default = o.required and ", required" or o.default and " (" .. o.default .. ")" or ""
    return ("  %s: %s%s%s"):format(o.name, o.wanted, default, o.doc ~= "" and ": " .. o.doc or "")
end

-- The text that is recorded for x, with its options, in the form of an entry; or nil.
local function written(x)
    local text, list = docs[x], option_lists[x]
    if not text then return nil end
    local lines = list and #list > 0 and { "Options:" } or {}
    for i, o in ipairs(list or {}) do lines[i + 1] = option_line(o) end
    return entry.text(entry.parts(text), table.concat(lines, "\n"))
end

-- The docstring as it was recorded for a value, or that text where there is none.
function help.recorded(x, text) return x ~= nil and docs[x] or text end

-- What docs has for the name bk.lie, for a record as lists write it (record "loss"), or for a method by its signature:
-- t:sum, model:init; or nil.
local function documented(name)
    if docs[name] then return name end
    name = name:gsub('^record "([%w_]+)"$', "bk.record.%1")
    if name:find("^bk%.[%w_.]+$") then
        local value = bk
        for part in name:gmatch("%.([^.]+)") do
            if type(value) ~= "table" then return nil end
            value = value[part]
        end
        return value
    end
    for value, text in pairs(docs) do
        if text:match("^[%a_]+:[%a_]+") == name then return value end
    end
end

-- The docstring of a value or of a name, or nil.
function help.text(x)
    if type(x) == "string" then
        if rooms[x] then return rooms[x] end
        x = documented(x)
        return x ~= nil and written(x) or nil
    end
    local path = help.room(x)
    return path and rooms[path] or written(x)
end

-- Every documented path under bk: calls visit(path, value, text). Loads lazy files.
function help.walk(visit)
    local seen = {}
    local function room(path, t)
        if seen[t] then return end
        seen[t] = true
        local names = {}
        for name in pairs(t) do
            if type(name) == "string" and not name:find("^_") then names[#names + 1] = name end
        end
        table.sort(names)
        for _, name in ipairs(names) do
            local value, inner = t[name], path .. "." .. name
            visit(inner, value, written(value) or docs[inner] or rooms[inner])
            if type(value) == "table" and rooms[inner] then room(inner, value) end
        end
    end
    visit("bk", bk, rooms.bk)
    room("bk", bk)
end

-- Calls visit with every name that help finds by name: paths, and methods as their docstrings name them.
function help.each_name(visit)
    help.walk(function(path, _, text) if text then visit(path) end end)
    for _, text in pairs(docs) do
        local method = text:match("^[%a_]+:[%a_]+")
        if method then visit(method) end
    end
end

-- ---- for the terminal ----

-- Is the line one of a paragraph? What is indented is code or a list and stays as it is.
local function prose(line) return line ~= "" and not line:find("^%s") and not line:find("^[-*] ") end

-- The name that a docstring's signature gives: bk.exp of "t:exp(), bk.exp(t)", model:init, bk.record.loss.
function help.name(text)
    local record = text:match('^record "([%w_]+)"')
    return record and "bk.record." .. record or text:match("^bk[%w_.]*") or text:match("^t:[^\n]-%f[%a](bk%.[%w_.]+)%(")
        or text:match("^[%a_]+:[%a_]+")
end

-- The docstring of x in lines of at most width columns, its options as a table.
local function page_of(text, list, width)
    local out, paragraph = {}, {}
    local parts = entry.parts(text)
    local example = bk.repl.examples.of(help.name(text), text)
    local function flush()
        if #paragraph > 0 then wrap.fill(out, table.concat(paragraph, " "), width, "", "") end
        paragraph = {}
    end
    wrap.fill(out, parts.signature, width, "", "    ")
    if parts.text ~= "" then out[#out + 1] = "" end
    for line in (parts.text .. "\n"):gmatch("([^\n]*)\n") do
        if prose(line) then
            paragraph[#paragraph + 1] = line
        else
            flush()
            if wrap.length(line) > width and not line:find("^    ") then -- an item of a list
                local indent = line:match("^%s*[-*]?%s*")
                wrap.fill(out, line:sub(#indent + 1), width, indent, (" "):rep(#indent + 2))
            else
                out[#out + 1] = line
            end
        end
    end
    flush()
    if list and #list > 0 then
        local rows = { { "option", "is", "default", "" } }
        for _, o in ipairs(list) do
            rows[#rows + 1] = { o.name, o.wanted, o.required and "(required)" or o.default or "", o.doc }
        end
        out[#out + 1] = ""
        wrap.table(out, rows, width, width >= 70 and { 20, 24, 14 } or { 14, 14, 10 }, "")
    end
    for _, l in ipairs(parts.labelled) do
        out[#out + 1] = ""
        wrap.fill(out, l[1] .. ": " .. l[2]:gsub("\n", " "), width, "", "  ")
    end
    if example then out[#out + 1] = "\nExample:\n  " .. example:gsub("\n", "\n  ") end
    return table.concat(out, "\n")
end

local function holds(text, words)
    text = text:lower()
    for word in words:lower():gmatch("%S+") do
        if not text:find(word, 1, true) then return false end
    end
    return true
end

-- The first lines of every docstring that holds all the words, those with the words in their names before the others;
-- and, of the last of them, what it is of.
local function search(words)
    local found, named, of = {}, {}, nil
    local function consider(text, label, key)
        local line = text:match("^[^\n]*")
        if not holds(label .. " " .. text, words) or named[line] ~= nil then return end
        named[line], of = holds(label .. " " .. line:match("^[^({]*"), words), key
        found[#found + 1] = line
    end
    help.walk(function(path, value, text) if text then consider(text, path, docs[path] and path or value) end end)
    for key in pairs(docs) do consider(written(key), type(key) == "string" and key or "", key) end
    table.sort(found, function(a, b)
        if named[a] ~= named[b] then return named[a] end
        return a < b
    end)
    return found, of
end

local SECTIONS = 3 -- of a page, that are named

-- A line for every guide that holds all the words in its title or in one section: which page, and which sections.
local function in_guides(words)
    local lines = {}
    for _, p in ipairs(bk.repl.guide.pages()) do
        local places, found = {}, holds(p.name .. " " .. p.title, words)
        for k, s in ipairs(bk.repl.guide.sections(p.text)) do
            local here = holds(s.text, words)
            found = found or here
            if k > 1 and here then places[#places + 1] = s.title end
        end
        if found then
            local more = #places > SECTIONS and ", ..." or ""
            lines[#lines + 1] = ('help "%s": %s%s'):format(p.name, p.title, #places > 0
                and " (" .. table.concat(places, "; ", 1, math.min(#places, SECTIONS)) .. more .. ")" or "")
        end
    end
    return lines
end

-- " (did you mean bk.bea.word?)" for a name that is near one with help, its path or the end of it; else "".
local function meant(x)
    local paths = {}
    for name in pairs(bk.repl.guide.titles()) do paths[name] = name end
    help.each_name(function(path)
        paths[path:match("[%w_]+$") or path] = path
        paths[path] = path
    end)
    local near = bk.repl.names.near(x, paths)
    return near and (" (did you mean %s?)"):format(paths[near]) or ""
end

local function member_names(x)
    local names = {}
    for name in pairs(x) do
        if type(name) == "string" and not name:find("^_") then names[#names + 1] = name end
    end
    table.sort(names)
    return names
end

-- The names in a table, in lines as wide as text may be.
function help.members(x)
    local names, lines, width = member_names(x), {}, wrap.width()
    wrap.fill(lines, table.concat(names, " "), width, "", "")
    return table.concat(lines, "\n")
end

-- What a docstring says first: a sentence, or of a long one what stands before a colon.
local function gist(text)
    local LONG, SHORT = 150, 14
    text = entry.parts(text).text:gsub("%s*\n%s*", " ")
    local sentence = text
    for stop in text:gmatch("()[.;]%f[%s\0]") do -- in no parenthesis, and after a word
        local before = text:sub(1, stop - 1)
        if select(2, before:gsub("[(]", "")) == select(2, before:gsub("[)]", "")) and before:find("[%w)%]}]$") then
            sentence = text:sub(1, stop)
            break
        end
    end
    local head = #sentence > LONG and sentence:match("^(" .. ("."):rep(SHORT) .. ".-):%s") or sentence
    return (head:gsub("[:;]$", ""))
end

-- Each name in a room, and the gist of it.
local function gists(path, width)
    local room, rows, lines = room_of(path), {}, {}
    for _, name in ipairs(member_names(room)) do
        local text = rooms[path .. "." .. name] or written(room[name])
        rows[#rows + 1] = { name, text and gist(text) or "" }
    end
    wrap.table(lines, rows, width, { 24 }, "")
    return table.concat(lines, "\n")
end

function help.page(x)
    if x == nil then return 'no docstring for nil; help "bk.NAME" finds names that are near' end
    local width, path = wrap.width(), type(x) == "string" and rooms[x] and x or help.room(x)
    if path then
        local inside = path == "bk" and help.members(bk) or gists(path, width)
        return page_of(rooms[path], nil, width) .. "\n\nIn it:\n" .. inside
    end
    local value = x
    if type(x) == "string" then value = documented(x) end
    if value ~= nil and docs[value] then return page_of(docs[value], option_lists[value], width) end
    if type(x) == "string" then
        if x == "guides" then return bk.repl.guide.list() end
        local page, found, of = bk.repl.guide.page(x), search(x)
        if page and #found == 0 then return page end
        if page then return page .. "\n\nFound under the same word:\n" .. table.concat(found, "\n") end
        local guides = table.concat(in_guides(x), "\n")
        if #found == 0 and guides == "" then return ("nothing is documented under %q%s"):format(x, meant(x)) end
        if #found == 0 then return "In the guides:\n" .. guides end
        local one = #found == 1 and docs[of]
        local text = one and page_of(one, option_lists[of], width) or table.concat(found, "\n")
        return text .. (guides ~= "" and "\n\nIn the guides:\n" .. guides or "")
    end
    local methods = type(x) == "userdata" and help.methods(x)
    if methods then return tostring(x):match("^[^\n]*") .. "\n\nIts methods:\n" .. help.members(methods) end
    return ("no docstring for this %s"):format(type(x))
end

return help

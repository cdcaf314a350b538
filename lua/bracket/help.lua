-- help.lua - bk.help: docstrings by value, by path, or by words.
local bk = ...
local docs = bk.internal.docs

local help = {}

-- The documented text of a value or path, and the path where one is known.
function help.text(x)
    if x == nil then return nil end
    local text = docs[x]
    if not text and type(x) == "string" then
        text = bk.repl.rooms[x]
        if not text and x:match("^[%a_][%w_.]*$") then
            local value = { bk = bk }
            for name in x:gmatch("[^.]+") do
                if type(value) ~= "table" then return nil end
                value = value[name]
            end
            text = value ~= nil and type(value) ~= "string" and help.text(value) or nil
        end
    end
    if text then return text end
    for path, room_text in pairs(bk.repl.rooms) do
        local room = path == "bk" and bk or bk[path:match("^bk%.(.*)")]
        if rawequal(room, x) then return room_text, path end
    end
    local meta = debug and debug.getmetatable(x)
    if type(x) ~= "string" and type(meta) == "table" then return docs[meta] end
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
            visit(inner, value, docs[value] or docs[inner] or bk.repl.rooms[inner])
            if type(value) == "table" and bk.repl.rooms[inner] then room(inner, value) end
        end
    end
    visit("bk", bk, bk.repl.rooms.bk)
    room("bk", bk)
end

-- Lines "signature" of every docstring that holds all the words.
function help.search(words)
    local found, seen = {}, {}
    local function consider(text, label)
        local haystack = (label .. " " .. text):lower()
        for word in words:lower():gmatch("%S+") do
            if not haystack:find(word, 1, true) then return end
        end
        local line = text:match("^[^\n]*")
        if not seen[line] then
            seen[line] = true
            found[#found + 1] = line
        end
    end
    help.walk(function(path, _, text) if text then consider(text, path) end end)
    for key, text in pairs(docs) do consider(text, type(key) == "string" and key or "") end
    table.sort(found)
    return found
end

local function members(x)
    local names = {}
    for name in pairs(x) do
        if type(name) == "string" and not name:find("^_") then names[#names + 1] = name end
    end
    table.sort(names)
    return table.concat(names, " ")
end

function help.page(x)
    local text, path = help.text(x)
    if text then
        text = text:gsub("%s+$", "")
        if type(x) == "string" and bk.repl.rooms[x] then path = x end
        if path then text = text .. "\n\nIn it: " .. members(path == "bk" and bk or bk[path:match("^bk%.(.*)")]) end
        return text
    end
    if type(x) == "string" then
        local found = help.search(x)
        if #found == 0 then return ("nothing is documented under %q"):format(x) end
        return table.concat(found, "\n")
    end
    return ("no docstring for this %s"):format(type(x))
end

bk.internal.help = help

return bk.doc(function(x)
    if x == nil then x = "bk" end
    print(help.page(x))
end, [[
bk.help([x])

Prints the docstring of a function or table, of the path a string names ("bk.lie"), or, for other strings, the first
lines of every docstring that holds all its words. Without an argument: the module's rooms. In the REPL it is also help(x) and ?x.]])

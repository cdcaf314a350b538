-- complete.lua - what may stand at the cursor. No user code is run (names.lua).
local bk = ...
local next, ipairs, pairs = next, ipairs, pairs
local match, sub, find, sort = string.match, string.sub, string.find, table.sort
local folder = bk.internal.folder
local names, options_of = bk.repl.names, bk.repl.help.options
local keywords = bk.repl.keywords

local function home() return os.getenv("HOME") or "~" end

-- Names a folder's entries that begin with the text inside an open string; folders end in /. expand: ~/ becomes the
-- home folder, since Lua's own functions know no ~.
local function files(text, found, expand)
    local dir, leaf = match(text, "^(.*/)([^/]*)$")
    local path = (dir or "."):gsub("^~/", home() .. "/")
    local shown = expand and path or dir or ""
    local entries = folder(path)
    leaf = leaf or text
    if not dir then shown = "" end
    for i = 1, #entries do
        local name = entries[i]
        if sub(name, 1, #leaf) == leaf and (sub(name, 1, 1) ~= "." or sub(leaf, 1, 1) == ".") then
            found[shown .. name] = true
        end
    end
    if text == "~" then found["~/"] = true end
end

-- Guides, documented paths and methods that begin with prefix: what help takes as a name.
local function help_names(prefix, found)
    for name in pairs(bk.repl.guide.titles()) do
        if sub(name, 1, #prefix) == prefix then found[name] = true end
    end
    if sub("guides", 1, #prefix) == prefix then found.guides = true end
    if prefix ~= "" then
        bk.repl.help.each_name(function(name) if sub(name, 1, #prefix) == prefix then found[name] = true end end)
    end
end

-- The text between the innermost open brace and the end of line, and what stands before the brace; or nil.
local function open_brace(line)
    local depth = 0
    for i = #line, 1, -1 do
        local c = sub(line, i, i)
        if c == "}" then depth = depth + 1
        elseif c == "{" then
            if depth == 0 then return sub(line, i + 1), sub(line, 1, i - 1) end
            depth = depth - 1
        end
    end
end

-- What stands in the table itself, without the tables and calls in it.
local function flat(text)
    local once
    repeat
        once = text
        text = text:gsub("%b{}", " "):gsub("%b()", " "):gsub('%b""', " "):gsub("%b''", " ")
    until text == once
    return text
end

-- The options that begin with prefix, where the cursor stands in the table of a call that declares them.
local function options(line, prefix, found)
    local inside, before = open_brace(line)
    if not inside then return false end
    local plain = flat(inside)
    if not find(plain, "^%s*[%w_]*$") and not find(plain, "[,;]%s*[%w_]*$") then return false end
    local path = match(before, "([%a_][%w_.:]*)%s*$") or match(flat(before), "([%a_][%w_.:]*)%s*%([^()]*$")
    local list = path and options_of(names.at(path))
    for _, o in ipairs(list or {}) do
        if sub(o.name, 1, #prefix) == prefix and not find(plain, "%f[%w_]" .. o.name .. "%s*=") then
            found[o.name .. " = "] = true
        end
    end
    return next(found) ~= nil
end

-- Is the end of the text inside a string? Then the text since its quote, and what stands before it.
local function open_string(line)
    local quote, start
    local i = 1
    while i <= #line do
        local c = sub(line, i, i)
        if c == "\n" then quote = nil
        elseif quote then
            if c == "\\" then i = i + 1 elseif c == quote then quote = nil end
        elseif c == '"' or c == "'" then quote, start = c, i + 1
        elseif c == "-" and sub(line, i, i + 1) == "--" then
            i = find(line, "\n", i, true) or #line
        end
        i = i + 1
    end
    if quote then return sub(line, start), sub(line, 1, start - 2) end
end

-- The path to the value whose call ends the text: "bk.ones" of "x = bk.ones{2}".
local function called(text)
    for _, pair in ipairs{ "%b()", "%b{}" } do
        local path = match(text, "([%a_][%w_.:%[%]]*)%s*" .. pair .. "$")
        if path then return path end
    end
end

-- The path at the end of line: names, dots and colons, and indices in brackets.
local function path_at_end(line)
    local start = #line + 1
    while start > 1 do
        local c = sub(line, start - 1, start - 1)
        local open = c == "]" and match(sub(line, 1, start - 1), "()%[[^%[%]]*%]$")
        if open then start = open elseif find(c, "[%w_.:]") then start = start - 1 else break end
    end
    return sub(line, start)
end

-- Words that begin with the path at the end of line; the bytes they replace.
local function paths(line, found)
    local path = path_at_end(line)
    local owner, separator, prefix = match(path, "^(.-)([.:]?)([%w_]*)$")
    if separator == "" then
        prefix = match(line, "[%w_]*$")
        if find(line, "[.:%]\"']" .. prefix .. "$") then return 0 end
        if options(line, prefix, found) then return #prefix end
        names.collect(_G, prefix, false, found)
        if prefix ~= "" then
            for word in next, keywords do if sub(word, 1, #prefix) == prefix then found[word] = true end end
        end
        return #prefix
    end
    local value = names.at(owner)
    if value == nil and separator == ":" then -- what a call returns
        local call = called(sub(line, 1, #line - #prefix - 1))
        names.of_result(call and names.at(call), prefix, found)
    else
        names.collect(value, prefix, separator == ":", found)
    end
    return #prefix
end

-- ":se" and what follows a command.
local function command(line, found)
    local start, name = match(line, "^%s*():(%a*)$")
    if start then
        for known in pairs(bk.repl.commands) do
            if sub(known, 1, #name) == name then found[":" .. known] = true end
        end
        return #line - start + 1
    end
    local known, rest = match(line, "^%s*:(%a+)%s+(.*)$")
    local row = bk.repl.commands[known]
    if not row then return nil end
    if row.takes == "file" then
        files(rest, found)
        return #rest
    elseif row.takes == "setting" then
        if find(rest, "%s") then return 0 end
        for _, o in ipairs(options_of(bk.print_options)) do
            if sub(o.name, 1, #rest) == rest then found[o.name .. " "] = true end
        end
        return #rest
    end
    return paths(rest, found)
end

-- line up to the cursor -> sorted candidates (each replaces the last n bytes), n
return function(line)
    local found, replaced = {}, nil
    local question = match(line, "^%s*%?%??%s*(.*)$")
    if question then
        if not find(question, ".", 1, true) then help_names(question, found) end
        replaced = #question
        if next(found) == nil or not find(question, ":", 1, true) then
            local n = paths(question, found)
            if next(found) == nil or find(question, "[.:]") then replaced = n end
        end
    elseif find(line, "^%s*:%a") or find(line, "^%s*:$") then
        replaced = command(line, found)
    else
        local text, before = open_string(line)
        if text and find(before, "help%s*%(?%s*$") then
            help_names(text, found)
            replaced = #text
        elseif text then
            files(text, found, true)
            replaced = #text
        else
            replaced = paths(line, found)
        end
    end
    local list = {}
    for name in next, found do list[#list + 1] = name end
    sort(list)
    return list, replaced or 0
end

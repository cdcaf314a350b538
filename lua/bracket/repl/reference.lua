-- reference.lua - the docstrings as files: a reference page, definitions for editors, a man page, completion for
-- shells, and the guides (make docs).
local bk = ...
local docs, help = bk.internal.docs, bk.repl.help
local NO_OPTIONS = {}

local function write(path, text)
    local f = assert(io.open(path, "w"))
    assert(f:write(text))
    assert(f:close())
end

-- Documented paths in order, { path, value, text }, and methods of objects, { signature, function, text }, which no
-- path leads to. What has no docstring is left to the test that finds it.
local function entries()
    local list, methods, seen = {}, {}, {}
    help.walk(function(path, value, text)
        if text then
            list[#list + 1] = { path, value, text }
            seen[value] = true
        end
    end)
    for key, text in pairs(docs) do
        if not seen[key] and type(key) == "function" and text:find("^%a+:") then
            methods[#methods + 1] = { text:match("^[^\n]*"), key, text }
        end
    end
    table.sort(methods, function(a, b) return a[3] < b[3] end)
    return list, methods
end

-- A text's first line and the rest, without the list of options, which is written from the data.
local function parts(text)
    local signature, rest = text:match("^([^\n]*)\n*(.*)$")
    return signature, (rest:gsub("\n\nOptions:\n  .*$", ""):gsub("%s+$", ""))
end

local function options_of(value)
    return value ~= nil and help.options(value) or NO_OPTIONS
end

-- ---- the page ----

local function contents()
    local out = { 'The guides, which `help "NAME"` shows too:', "" }
    for _, p in ipairs(bk.repl.guide.pages()) do
        out[#out + 1] = ("- [%s](guide/%s.md)"):format(p.title, p.name)
    end
    return table.concat(out, "\n")
end

local function cell(text) return (text:gsub("|", "\\|"):gsub("\n", " ")) end

local function markdown(list, methods)
    local out = { "# Reference", "", "bracket " .. bk.version .. ". Made from the docstrings by `make docs`.", "",
        contents(), "" }
    local function add(e)
        local signature, rest = parts(e[3])
        out[#out + 1] = (bk.repl.rooms[e[1]] and "## `" or "### `") .. signature .. "`"
        out[#out + 1] = ""
        if rest ~= "" then out[#out + 1], out[#out + 2] = rest, "" end
        local options = options_of(e[2])
        if #options == 0 then return end
        out[#out + 1] = "| option | is | default | |\n|---|---|---|---|"
        for _, o in ipairs(options) do
            out[#out + 1] = ("| `%s` | %s | %s | %s |"):format(o.name, cell(o.wanted), o.required and "(required)"
                or cell(o.default or ""), cell(o.doc))
        end
        out[#out + 1] = ""
    end
    for _, e in ipairs(list) do add(e) end
    out[#out + 1], out[#out + 2] = "## Methods of objects", ""
    for _, e in ipairs(methods) do add(e) end
    return table.concat(out, "\n")
end

-- ---- definitions for editors (LuaCATS) ----

-- "t:sum([dim [, {keep = false}]])" -> "t:sum", { {"dim", true}, {"options", true} }: names, and which may be left out.
local function parse(signature)
    local callee, open = signature:match("^([%a_][%w_.:]*)%s*([({])")
    if not callee then return nil end
    local inner = signature:match(open == "(" and "%b()" or "%b{}", #callee + 1)
    if not inner then return callee, { { "options", false } } end -- goes on in the next line
    if open == "{" then return callee, { { inner:match("^{([%a_]+)}$") or "options", false } } end
    local params, used, optional, depth, piece = {}, {}, 0, 0, ""
    local function finish()
        local text = piece:match("^%s*(.-)%s*$"):gsub("θ", "theta")
        local name = text:sub(1, 1) == "{" and "options" or text:match("^%.%.%.$") or text:match("^[%a_][%w_]*")
        if name then
            used[name] = (used[name] or 0) + 1
            params[#params + 1] = { used[name] > 1 and name .. used[name] or name, optional > 0 }
        end
        piece = ""
    end
    for c in inner:sub(2, -2):gmatch(utf8.charpattern) do
        if c == "{" or c == "(" then depth = depth + 1 end
        if c == "}" or c == ")" then depth = depth - 1 end
        if depth > 0 or not c:find("[%[%],]") then
            piece = piece .. c
        else
            finish()
            optional = optional + (c == "[" and 1 or c == "]" and -1 or 0)
        end
    end
    finish()
    return callee, params
end

local CLASS = { t = "tensor", f = "func" } -- a docstring's name for an object -> its class; others have their own name

-- Class -> its methods, { signature, function, text } in order.
local function classes_of(methods)
    local classes = { tensor = {} }
    for _, e in ipairs(methods) do
        local object = e[1]:match("^%a+")
        if object ~= "t" then
            object = CLASS[object] or object
            classes[object] = classes[object] or {}
            table.insert(classes[object], e)
        end
    end
    for name, method in pairs(help.methods(bk.ones { 1 })) do -- operations are documented under bk as well
        local text = docs[method]
        local signature = text:match("^[^\n]*%f[%a](%a:" .. name .. "[({][^\n]*)")
        table.insert(classes.tensor, { signature or "t:" .. name .. "(...)", method, text })
    end
    table.sort(classes.tensor, function(a, b) return a[1] < b[1] end)
    return classes
end

-- The editor's type of what is wanted in words.
local function type_of(wanted)
    if wanted:find('^"') then return (wanted:gsub(", ", "|"):gsub(" or ", "|")) end
    local types = {}
    for part in (wanted .. " or "):gmatch("(.-) or ") do
        local word = part:match("^a?n? ?(.*)$")
        types[#types + 1] = word:find("^whole number") and "integer" or word:find("number") and "number"
            or word:find("^true or false") and "boolean" or word:find("^string") and "string"
            or word:find("^table") and "table" or word:find("^function") and "function"
            or word:find("^tensor") and "bracket.tensor" or "any"
    end
    return table.concat(types, "|")
end

local function definitions(list, methods)
    local out, classes = { "---@meta bracket", "" }, classes_of(methods)
    -- The class of a call's options, written before the function.
    local function options_class(callee, options)
        local class = "bracket.options." .. callee:gsub("^bk%.", ""):gsub(":", ".")
        out[#out + 1] = "---@class " .. class
        for _, o in ipairs(options) do
            local name = bk.repl.keywords[o.name] and ('["%s"]'):format(o.name) or o.name
            out[#out + 1] = ("---@field %s%s %s %s"):format(name, o.required and not o.by_place and "" or "?",
                type_of(o.wanted), o.doc)
        end
        out[#out + 1] = ""
        return class
    end
    local function add(text, callee, params, returned, value)
        local options = options_of(value)
        local class = #options > 0 and options_class(callee, options)
        for line in (text .. "\n"):gmatch("([^\n]*)\n") do out[#out + 1] = "---" .. line end
        local names = {}
        for _, p in ipairs(params) do
            names[#names + 1] = p[1]
            out[#out + 1] = ("---@param %s%s %s"):format(p[1], p[2] and p[1] ~= "..." and "?" or "",
                p[1] == "options" and class or "any")
        end
        out[#out + 1] = "---@return " .. (returned or "any ...")
        out[#out + 1] = ("function %s(%s) end\n"):format(callee, table.concat(names, ", "))
    end
    local function returned(path, signature) -- the class of what a constructor makes, where the docstring says it
        local class = signature:match("%-> (%a+)")
        if not classes[class] then class = path:match("^bk%.([%a_]+)$") or path:match("^bk%.bea%.([%a_]+)$") end
        return classes[class] and "bracket." .. class or nil
    end
    local functions = {} -- { text, path, params, class }, written after the classes they return
    for _, e in ipairs(list) do
        local path, value, text = e[1], e[2], e[3]
        local callee, params = parse((parts(text)))
        if bk.repl.rooms[path] then
            functions[#functions + 1] = { text, path }
        elseif type(value) == "function" or (getmetatable(value) or {}).__call then
            local class = callee and returned(path, (parts(text)))
            if callee and callee:find("^t:") then
                class = "bracket.tensor"
                table.insert(params, 1, { "t", false })
            end
            functions[#functions + 1] = { text, path, params or { { "...", false } }, class, value }
        elseif type(value) == "number" then
            functions[#functions + 1] = { text, path, number = value }
        end
    end
    local names = {}
    for name in pairs(classes) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
        out[#out + 1] = ("---@class bracket.%s\nlocal %s = {}\n"):format(name, name)
        for _, e in ipairs(classes[name]) do
            local callee, params = parse(e[1])
            local method = callee:match("[%w_]+$")
            local class = name == "tensor" and bk[method] and "bracket.tensor" or returned("", e[1])
            add(e[3], name .. ":" .. method, params, class, e[2])
        end
    end
    for _, f in ipairs(functions) do
        if f.number then
            out[#out + 1] = "---" .. f[1]:gsub("\n", "\n---") .. ("\n%s = %d\n"):format(f[2], f.number)
        elseif f[3] then
            add(f[1], f[2], f[3], f[4], f[5])
        else
            for line in (f[1] .. "\n"):gmatch("([^\n]*)\n") do out[#out + 1] = "---" .. line end
            out[#out + 1] = "---@class " .. f[2]:gsub("^bk", "bracket")
            out[#out + 1] = (f[2] == "bk" and "local bk" or f[2]) .. " = {}\n"
        end
    end
    out[#out + 1] = "return bk\n"
    return table.concat(out, "\n")
end

return function(folder)
    local list, methods = entries()
    write(folder .. "/reference.md", markdown(list, methods))
    write(folder .. "/bracket.lua", definitions(list, methods))
    local program = bk.command._program
    write(folder .. "/bracket.1", program.man(list, bk.repl.session.keys()))
    write(folder .. "/bracket.bash", program.completion.bash())
    write(folder .. "/_bracket", program.completion.zsh())
    bk.internal.make_folder(folder .. "/guide")
    for _, p in ipairs(bk.repl.guide.pages()) do write(("%s/guide/%s.md"):format(folder, p.name), p.text) end
end

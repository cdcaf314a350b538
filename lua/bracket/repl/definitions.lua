-- definitions.lua - the public names for editors: a file of LuaCATS annotations, read by Lua's language servers.
local bk = ...
local docs, help = bk.internal.docs, bk.repl.help
local NO_OPTIONS = {}

local function options_of(value)
    return value ~= nil and help.options(value) or NO_OPTIONS
end

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

-- ---- types ----

local CLASS = { t = "tensor", f = "func" } -- a docstring's name for an object -> its class; others have their own name

-- What is no method: class -> fields.
local FIELDS = {
    tensor = { "[integer] bracket.tensor" },
    model = { "n_params integer", "n_buffers integer", "layers table[]", "buffers table[]" },
    loss = { "name string", "class_ids boolean" },
    run = { "theta bracket.tensor", "history table<string, number[]>", "accuracy table<integer, number[]>",
        "metrics table<string, number>" },
}
local OPERATORS = { "add", "sub", "mul", "div", "pow" }
-- Parameters' types, by their names.
local PARAMETERS = { t = "bracket.tensor|number", u = "bracket.tensor|number", theta = "bracket.tensor",
    v = "bracket.tensor", path = "string", dir = "string", n = "integer", dtype = '"float64"|"float32"|"int64"',
    model = "bracket.model", dim = "integer|integer[]", k = "integer", sizes = "integer[]" }
local WORDS = { number = "number", integer = "integer", boolean = "boolean", string = "string", text = "string",
    list = "table", vector = "bracket.tensor", matrix = "bracket.tensor", gradient = "bracket.tensor",
    values = "bracket.tensor", field = "fun(theta: bracket.tensor): bracket.tensor", r = "bracket.run",
    p = "bracket.protocol", W = "any", L = "bracket.tensor", X = "bracket.tensor" }

-- The editor's type of what is wanted in words.
local function type_of(wanted)
    if wanted:find('^"') then return (wanted:gsub(", ", "|"):gsub(" or ", "|")) end
    local types = {}
    for part in (wanted .. " or "):gmatch("(.-) or ") do
        local word = part:match("^a?n? ?(.*)$")
        types[#types + 1] = word:find("^whole number") and "integer" or word:find("number") and "number"
            or word:find("^true or false") and "boolean" or word:find("^string") and "string"
            or (word:find("^table") or word:find("^list")) and "table" or word:find("^function") and "function"
            or word:find("^tensor") and "bracket.tensor" or "any"
    end
    return table.concat(types, "|")
end

-- "{ measured, predicted }" as a type with these fields, or nil.
local function table_type(text)
    local inner = text:match("^{(.*)}$")
    if not inner then return nil end
    local fields = {}
    for name in (inner .. ","):gmatch("%s*([^,]-)%s*,") do
        if not name:find("^[%a_][%w_]*$") then return nil end
        fields[#fields + 1] = name .. ": any"
    end
    return "{ " .. table.concat(fields, ", ") .. " }"
end

-- ---- the file ----

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

-- What a function returns, as far as its signature or its name says.
local function returned(classes, path, signature)
    local said = signature:match("%-> (.*)$") or ""
    local word = said:match("^%a+")
    if word and classes[word] then return "bracket." .. word end
    local class = path:match("^bk%.([%a_]+)$") or path:match("^bk%.bea%.([%a_]+)$")
    if classes[class] then return "bracket." .. class end
    if said:find(",") and not said:find("^{") then
        return word and WORDS[word] and WORDS[word] .. ", any ..." or "any ..."
    end
    return word and WORDS[word] or table_type(said)
end

local function add_comment(out, text)
    for line in (text .. "\n"):gmatch("([^\n]*)\n") do out[#out + 1] = "---" .. line end
end

-- The class of a call's options, written before the function.
local function add_options(out, callee, options)
    local class = "bracket.options." .. callee:gsub("^bk%.", ""):gsub(":", ".")
    out[#out + 1] = "---@class " .. class
    local place = 0
    for _, o in ipairs(options) do
        local name = bk.repl.keywords[o.name] and ('["%s"]'):format(o.name) or o.name
        out[#out + 1] = ("---@field %s%s %s %s"):format(name, o.required and not o.by_place and "" or "?",
            type_of(o.wanted), o.doc)
        if o.by_place then
            place = place + 1
            out[#out + 1] = ("---@field [%d]? %s %s"):format(place, type_of(o.wanted), o.name)
        end
    end
    out[#out + 1] = ""
    return class
end

-- f: text, callee, params, returned (nil: unknown), and value, the function.
local function add_function(out, f)
    local options = options_of(f.value)
    local class = #options > 0 and add_options(out, f.callee, options)
    add_comment(out, f.text)
    local names = {}
    for _, p in ipairs(f.params) do
        names[#names + 1] = p[1]
        local kind = p[1] == "options" and (class or "table") or PARAMETERS[p[1]] or "any"
        out[#out + 1] = ("---@param %s%s %s"):format(p[1], p[2] and p[1] ~= "..." and "?" or "", kind)
    end
    out[#out + 1] = "---@return " .. (f.returned or "any ...")
    out[#out + 1] = ("function %s(%s) end\n"):format(f.callee, table.concat(names, ", "))
end

local function add_class(out, classes, name)
    out[#out + 1] = "---@class bracket." .. name
    for _, f in ipairs(FIELDS[name] or {}) do out[#out + 1] = "---@field " .. f end
    if name == "tensor" then
        for _, o in ipairs(OPERATORS) do out[#out + 1] = ("---@operator %s(any): bracket.tensor"):format(o) end
        out[#out + 1] = "---@operator unm: bracket.tensor"
    elseif name == "func" or name == "loss" then
        out[#out + 1] = "---@operator call(...): any"
    end
    out[#out + 1] = ("local %s = {}\n"):format(name)
    for _, e in ipairs(classes[name] or {}) do
        local callee, params = parse(e[1])
        local method = callee:match("[%w_]+$")
        local of_tensor = name == "tensor" and bk[method]
        add_function(out, { text = e[3], callee = name .. ":" .. method, params = params, value = e[2],
            returned = of_tensor and "bracket.tensor" or returned(classes, "", e[1]) })
    end
end

-- A public name that is a room, a function, what can be called, or a number.
local function add_name(out, classes, path, value, text)
    if bk.repl.rooms[path] then
        add_comment(out, text)
        out[#out + 1] = "---@class " .. path:gsub("^bk", "bracket")
        out[#out + 1] = (path == "bk" and "local bk" or path) .. " = {}\n"
    elseif type(value) == "function" or (getmetatable(value) or {}).__call then
        local signature = text:match("^[^\n]*")
        local callee, params = parse(signature)
        local class = callee and returned(classes, path, signature)
        if callee and callee:find("^t:") then
            class = "bracket.tensor" .. (signature:find("%-> .*,") and ", any ..." or "")
            table.insert(params, 1, { "t", false })
        end
        add_function(out, { text = text, callee = path, params = params or { { "...", false } }, returned = class,
            value = value })
    elseif type(value) == "number" then
        add_comment(out, text)
        out[#out + 1] = ("%s = %d\n"):format(path, value)
    end
end

return function(list, methods)
    local out, classes, names = { "---@meta bracket", "" }, classes_of(methods), { "run" }
    for name in pairs(classes) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do add_class(out, classes, name) end
    for _, e in ipairs(list) do add_name(out, classes, e[1], e[2], e[3]) end
    out[#out + 1] = "return bk\n"
    return table.concat(out, "\n")
end

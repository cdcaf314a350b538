-- define.lua - bk.define: a public function whose options are data. The check of a call, help, the reference,
-- completion inside a call and the editor's fields are made from them.
local bk = ...
local check, wanted, show, refuse = bk._options.check, bk._options.wanted, bk._options.show, bk._options.refuse
local fits, hint = bk._options.fits, bk.internal.hint
local texts, option_lists = bk.internal.docs, bk.internal.options
local WIDEST = 110 -- of a signature

local function default_text(o)
    if o.required then return nil end
    if o.says then return o.says end
    return o.default ~= nil and (type(o.default) == "string" and ("%q"):format(o.default) or tostring(o.default)) or nil
end

-- "bk.schedule.cosine{ lr, final = 0 [, steps] } -> rate"
local function signature(d)
    local parts = {}
    if d.options.items then parts[1] = d.options.items end
    for _, o in ipairs(d.options) do
        local default = not o.says and default_text(o)
        parts[#parts + 1] = o.required and o[1] or default and o[1] .. " = " .. default or "[" .. o[1] .. "]"
    end
    local inner = #parts > 0 and "{ " .. table.concat(parts, ", ") .. " }" or "{}"
    local arguments = table.concat(d.arguments or {}, ", ")
    local needed = false
    for _, o in ipairs(d.options) do needed = needed or o.required end
    local function call(options)
        if arguments == "" then return d.name .. options end
        return ("%s(%s%s)"):format(d.name, arguments, needed and ", " .. options or " [, " .. options .. "]")
    end
    local returns = d.returns and " -> " .. d.returns or ""
    local text = call(inner) .. returns
    return #text <= WIDEST and text or call("{ ... }") .. returns
end

local SECTIONS = { { "errors", "Errors: " }, { "formula", "Formula: " }, { "source", "Source: " },
    { "example", "Example:\n  " } }
local FIELDS = { name = "string", call = "function", options = "table", arguments = "table", returns = "string",
    doc = "string", errors = "string", formula = "string", source = "string", example = "string" }
local FIELD_NAMES = {}
for name in pairs(FIELDS) do FIELD_NAMES[#FIELD_NAMES + 1] = name end
table.sort(FIELD_NAMES)

local OPTION_FIELDS = { default = "any", required = "boolean", by_place = "boolean", low = "number", high = "number",
    below = "number", says = "string", doc = "string" }
local OPTION_NAMES = { "below", "by_place", "default", "doc", "high", "low", "required", "says" }

-- An option that could not be what it says: `where` names it.
local function check_option(where, o)
    for field, value in pairs(o) do
        local kind = OPTION_FIELDS[field]
        if not kind and field ~= 1 and field ~= 2 then
            refuse("%s: unknown field %s%s; the fields are %s", where, tostring(field),
                hint(tostring(field), OPTION_NAMES), table.concat(OPTION_NAMES, ", "))
        elseif kind and kind ~= "any" and type(value) ~= kind then
            refuse("%s: %s: expected a %s, got %s", where, field, kind, show(value))
        end
    end
    local known, text = pcall(wanted, o)
    if not known then
        local types = bk._options.types
        refuse("%s: unknown type %s%s; the types are %s", where, tostring(o[2]), hint(tostring(o[2]), types),
            table.concat(types, ", "))
    end
    if o.low and (o.high or o.below) and o.low > (o.high or o.below) then
        refuse("%s: nothing is from %g to %g", where, o.low, o.high or o.below)
    end
    if o.default ~= nil then
        if o.required then refuse("%s: required, and has a default, %s", where, show(o.default)) end
        if not fits(o, o.default) then refuse("%s: default: expected %s, got %s", where, text, show(o.default)) end
    end
    return text
end

-- What would be passed over behind the options.
local function refuse_extra(name, place, arguments, i, returned)
    if arguments[i] == nil then return end
    if returned and bk.is_tensor(arguments[i]) then
        refuse(returned == "field" and "%s: returns a field, of theta: %s(...)(theta)"
            or "%s: returns a function: %s(...)(...)", name, name)
    end
    local object = name:find(":", 1, true) and 1 or 0
    refuse("%s: expected at most %d argument%s, got %d, one of them %s", name, place - object,
        place - object == 1 and "" or "s", arguments.n - object, show(arguments[i]))
end

local function define(d)
    if type(d) ~= "table" then refuse("bk.define: expected a table, got %s", show(d)) end
    local where = type(d.name) == "string" and "bk.define: " .. d.name or "bk.define"
    for field, value in pairs(d) do
        local kind = FIELDS[field]
        if not kind then
            refuse("%s: unknown field %s%s; the fields are %s", where, tostring(field),
                hint(tostring(field), FIELD_NAMES), table.concat(FIELD_NAMES, ", "))
        elseif type(value) ~= kind then
            refuse("%s: %s: expected a %s, got %s", where, field, kind, show(value))
        end
    end
    for _, field in ipairs { "name", "call", "options", "doc" } do
        if d[field] == nil then refuse("%s: %s is missing", where, field) end
    end
    local list, seen = {}, {}
    for i, o in ipairs(d.options) do
        if type(o) ~= "table" or type(o[1]) ~= "string" then
            refuse("bk.define: %s: options: %s: expected { name, type, ... }, got %s", d.name, i, show(o))
        end
        if seen[o[1]] then refuse("bk.define: %s: option %s: declared twice", d.name, o[1]) end
        seen[o[1]] = true
        local text = check_option(("bk.define: %s: option %s"):format(d.name, o[1]), o)
        list[i] = { name = o[1], wanted = text, default = default_text(o), required = o.required, doc = o.doc or "",
            by_place = o.by_place }
    end
    local text = { signature(d), "", d.doc }
    for _, section in ipairs(SECTIONS) do
        local said = d[section[1]]
        if said and section[1] == "example" then said = said:gsub("\n", "\n  ") end
        if said then text[#text + 1] = "\n" .. section[2] .. said end
    end
    local name, call, options = d.name, d.call, d.options
    local returned = (d.returns or ""):match("^function") or (d.returns or ""):match("^field")
    local place = #(d.arguments or {}) + (name:find(":", 1, true) and 2 or 1)
    local function f(...)
        if place == 1 and select("#", ...) <= 1 then return call(check(name, (...), options)) end
        local arguments = table.pack(...)
        for i = place + 1, arguments.n do refuse_extra(name, place, arguments, i, returned) end
        arguments[place] = check(name, arguments[place], options)
        return call(table.unpack(arguments, 1, math.max(arguments.n, place)))
    end
    texts[f], option_lists[f] = table.concat(text, "\n"), list
    return f
end

define = bk.internal.public(define, [[
bk.define{ name, call, options, doc [, arguments, returns, errors, formula, source, example] } -> function

A public function whose options are data: call(options), with the options checked and the defaults filled in, in a
table of its own. help, the reference page, completion inside a call and the editor's definitions are made from the same
lines.

    bk.mine = bk.define{ name = "bk.mine", doc = "Scales x.", arguments = {"x"}, returns = "x times scale",
        options = { { "scale", "number", default = 1, doc = "what x is multiplied by" } },
        call = function(x, o) return x * o.scale end }

options: a list of { name, type, default =, required = true, by_place = true, low =, high =, below =, says =, doc = }.
type: any, number, integer, count (>= 1), positive, callable, boolean, string, table, list (of nothing else), tensor or
object, several joined by "|", or a list of strings to choose from; says: the default in words, where it is no value.
With options.items = "what they are" the table may hold a list as well. arguments: the names of what stands before the
options; of a method (name = "class:method") the object is not counted. example: inputs of the session, each behind
"> ", and what they show; the tests run it.
Errors: a field of another name or type, also of an option; a default that is not what the option may be.]])
return define

-- format.lua - a value as the REPL prints it: tables to a limited depth and length, cycles marked; documented
-- functions by their first line, the module's rooms by what is in them.
local bk = ...
local docs, help = bk.internal.docs, bk.repl.help
local DEPTH, ITEMS, WIDTH = 4, 40, 100

local type, tostring, next, rawlen, rawget = type, tostring, next, rawlen, rawget
local getmetatable, math_type = getmetatable, math.type

local keywords = bk.repl.keywords

local function number(x)
    if x ~= x then return "nan" end -- some processors' has a sign
    if math_type(x) == "integer" or x == math.huge or x == -math.huge then return tostring(x) end
    local short = ("%.14g"):format(x)
    if tonumber(short) ~= x then short = ("%.17g"):format(x) end
    return short:find("[.eEn]") and short or short .. ".0"
end

local function quoted(s)
    if #s > 1000 then s = s:sub(1, 1000) .. "..." end
    return (('"%s"'):format(s:gsub('[%c"\\]', function(c)
        local named = { ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ['"'] = '\\"', ["\\"] = "\\\\" }
        return named[c] or ("\\x%02x"):format(c:byte())
    end)))
end

local function key_order(a, b)
    local ta, tb = type(a), type(b)
    if ta ~= tb then return ta == "number" or (tb ~= "number" and ta < tb) end
    if ta == "number" or ta == "string" then return a < b end
    return tostring(a) < tostring(b)
end

-- "function bk.lie(X, Y)": the signature, as far as its line goes.
local function function_text(f)
    local text = docs[f]
    return text and "function " .. text:match("^[^\n]*") or tostring(f)
end

local value_text

local function table_text(t, depth, open)
    local meta = debug and debug.getmetatable(t) or getmetatable(t)
    local own = type(meta) == "table" and not rawget(meta, "shown_as_table")
    if own and (rawget(meta, "__tostring") or rawget(meta, "__name")) then return tostring(t) end
    local room = help.room(t)
    if room then return depth == DEPTH and room .. ":\n" .. help.members(t) or room end
    if open[t] then return "<cycle>" end
    if next(t) == nil then return "{}" end
    if depth == 0 then return "{...}" end
    open[t] = true
    local parts, multiline, n = {}, false, rawlen(t)
    for i = 1, n < ITEMS and n or ITEMS do parts[i] = value_text(rawget(t, i), depth - 1, open) end
    if n > ITEMS then parts[#parts + 1] = ("... (%d in all)"):format(n) end
    local keys, more = {}, 0
    for k in next, t do
        if not (math_type(k) == "integer" and k >= 1 and k <= n) then keys[#keys + 1] = k end
    end
    table.sort(keys, key_order)
    for i, k in ipairs(keys) do
        if i > ITEMS then more = #keys - ITEMS break end
        local name = type(k) == "string" and k:match("^[%a_][%w_]*$") and not keywords[k] and k
            or "[" .. value_text(k, 1, open) .. "]"
        parts[#parts + 1] = name .. " = " .. value_text(rawget(t, k), depth - 1, open)
    end
    if more > 0 then parts[#parts + 1] = ("... (%d more)"):format(more) end
    open[t] = nil
    local width = 0
    for _, part in ipairs(parts) do
        width = width + #part + 2
        multiline = multiline or part:find("\n", 1, true) ~= nil
    end
    if not multiline and width < WIDTH then return "{ " .. table.concat(parts, ", ") .. " }" end
    for i, part in ipairs(parts) do parts[i] = "  " .. part:gsub("\n", "\n  ") end
    return "{\n" .. table.concat(parts, ",\n") .. "\n}"
end

function value_text(x, depth, open)
    local kind = type(x)
    if kind == "string" then return quoted(x) end
    if kind == "number" then return number(x) end
    if kind == "table" then return table_text(x, depth, open) end
    if kind == "function" then return function_text(x) end
    return tostring(x)
end

-- depth: of tables within tables; the session's unless told.
return function(x, depth)
    if type(x) == "string" then return x end
    return value_text(x, depth or DEPTH, {})
end

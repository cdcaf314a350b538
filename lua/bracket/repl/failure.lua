-- failure.lua - an error of an input: its message with what was probably meant, its traceback, and the locals of every
-- frame, kept for :debug until the next error.
local bk = ...
local names = bk.repl.names
local type, getinfo, getlocal, getupvalue = type, debug.getinfo, debug.getlocal, debug.getupvalue
local OWN = "bracket/repl/" -- frames of the session itself end a traceback
local MOST = 50 -- frames that are kept

local failure = {} -- failure.last: { message, frames }

-- Errors of an input: message, and text, the message with its traceback.
local Failure = {}
Failure.__tostring = function(self) return self.text end

-- An error of the input itself: it has no traceback.
function failure.refuse(message) error(setmetatable({ message = message, text = message }, Failure), 0) end

-- ---- what was probably meant ----

local function line_of(source, n, input)
    if source == "=stdin" then
        for line in (input .. "\n"):gmatch("([^\n]*)\n") do
            n = n - 1
            if n == 0 then return line end
        end
    end
    local f = source:sub(1, 1) == "@" and io.open(source:sub(2))
    if not f then return nil end
    for line in f:lines() do
        n = n - 1
        if n == 0 then
            f:close()
            return line
        end
    end
    f:close()
end

local function meant_global(name, frame)
    local inside, found = {}, {}
    names.collect(bk, "", false, inside)
    if inside[name] then return "bk." .. name end
    for key in next, _G do if type(key) == "string" then found[key] = true end end
    for key in next, frame.values do found[key] = true end
    return names.near(name, found)
end

-- name as a field or method of what stands before it in the line.
local function meant_member(name, frame, input, method)
    local line = line_of(frame.source, frame.line, input)
    for path, separator in (line or ""):gmatch("([%a_][%w_.:%[%]\"']*)([.:])" .. name .. "%f[^%w_]") do
        local owner = names.at(path, function(root) return frame.values[root] end)
        local found = {}
        if owner ~= nil then names.collect(owner, "", separator == ":", found) end
        local near = names.near(name, found)
        if near then return (separator == ":" and ":" or path .. ".") .. near end
    end
    if not method then return nil end
    local found = {} -- of what a call returns, or of a literal
    names.collect("", "", true, found)
    bk.repl.help.each_name(function(known) found[known:match(":([%w_]+)$") or ""] = true end)
    local near = not found[name] and names.near(name, found) -- else it is called on something else
    return near and ":" .. near
end

-- What a message about a nil value is probably about: "theta", "bk.lie", ":norm"; or nil.
local function meant(message, frame, input)
    local kind, name = message:match("a nil value %((%a+) '([%w_]+)'%)")
    if kind == "global" then return meant_global(name, frame) end
    if kind == "field" or kind == "method" then return meant_member(name, frame, input, kind == "method") end
end

-- The path "bk.lei" or "thta" names nothing: what does, or nil.
function failure.meant_path(path)
    local owner, name = path:match("^(.*)[.:]([%a_][%w_]*)$")
    if not owner then return meant_global(path, { values = {} }) end
    local value, found = names.at(owner), {}
    if type(value) ~= "table" then return nil end
    names.collect(value, "", false, found)
    local near = names.near(name, found)
    return near and owner .. "." .. near
end

-- What a script's message "FILE:LINE: ... a nil value (field 'wrod')" is probably about, with blanks around it, or "".
function failure.meant_in_script(message)
    local file, line = message:match("^(.-):(%d+): [^\n]*a nil value")
    if not file then return "" end
    local head, near = message:match("^[^\n]*"), nil
    local function look(source, input)
        near = near or meant(head, { source = source, line = tonumber(line), values = { bk = bk } }, input)
    end
    if file == "(command line)" then
        for k, text in next, arg do
            local code = arg[k - 1] == "-e" and text or text:match("^%-e(.+)")
            if code then look("=stdin", code) end
        end
    else
        look("@" .. file, "")
    end
    return near and ("; did you mean %s?"):format(near) or ""
end

-- ---- the frames ----

local function frame_at(level)
    local info = getinfo(level, "Slnf")
    if not info then return nil end
    local frame = { source = info.source, line = info.currentline, name = info.name, what = info.what,
        place = info.short_src, first = info.linedefined, list = {}, values = {} }
    local function add(name, value)
        if name:find("^%(") or name == "_ENV" or name == "" then return end
        if frame.values[name] == nil then frame.list[#frame.list + 1] = name end
        frame.values[name] = value
    end
    if info.what == "C" then return frame end
    for i = 1, 200 do
        local name, value = getupvalue(info.func, i)
        if not name then break end
        if type(value) ~= "function" then add(name, value) else frame.values[name] = value end
    end
    for i = 1, 200 do
        local name, value = getlocal(level, i)
        if not name then break end
        add(name, value)
    end
    return frame
end

local function stack(level)
    local frames = {}
    for k = level, level + MOST - 1 do
        local frame = frame_at(k + 2) -- counted from here, not from the caller
        if not frame or frame.place:find(OWN, 1, true) then break end
        if frame.what ~= "C" then frames[#frames + 1] = frame end
    end
    return frames
end

-- Without the frames of the session.
local function traceback(text, level)
    local trace = debug.traceback("", level + 1):gsub("^\n", "")
    local kept = {}
    for line in trace:gmatch("[^\n]+") do
        if line:find(OWN, 1, true) then break end
        kept[#kept + 1] = line
    end
    if kept[#kept] and kept[#kept]:find("^%s*%[C%]: in function 'xpcall'$") then kept[#kept] = nil end
    if kept[#kept] then kept[#kept] = kept[#kept]:gsub("in local 'f'$", "in main chunk") end
    return #kept > 1 and text .. "\n" .. table.concat(kept, "\n") or text
end

-- The message handler of an input.
function failure.handler(input)
    return function(message)
        if getmetatable(message) == Failure then return message end
        if type(message) ~= "string" then
            local meta = debug.getmetatable(message)
            if type(meta) == "table" and meta.__tostring then
                local said = tostring(message)
                return setmetatable({ message = said, text = said }, Failure)
            end
            message = ("(error object is a %s value)"):format(type(message))
        end
        message = message:gsub("^[^\n]*" .. OWN .. "[%w_]+%.lua:%d+: ", "")
        local text = message
        if text:find("interrupted$") or text:find("interrupted after step %d+ of %d+$") then
            failure.last = nil
            if not text:find("interrupted$") then text = text .. "; p:run{} goes on" end
        else
            local frames = stack(2)
            failure.last = { message = message, frames = frames }
            local near = frames[1] and meant(message, frames[1], input)
            if near then text = ("%s; did you mean %s?"):format(text, near) end
        end
        return setmetatable({ message = text, text = traceback(text, 2) }, Failure)
    end
end

-- ---- :debug ----

local function brief(value)
    if bk.is_tensor(value) then
        return value:ndim() > 0 and tostring(value):match("^[^\n]*") or tostring(value)
    end
    local text = bk.repl.format(value, 1)
    if type(value) == "string" then text = ("%q"):format(value):gsub("\\\n", "\\n") end
    text = text:gsub("%s*\n%s*", " ")
    return #text > 100 and text:sub(1, 97) .. "..." or text
end

local function title(k, frame)
    local name = frame.what == "main" and "main chunk" or frame.name and ("function '%s'"):format(frame.name)
        or ("function <%s:%d>"):format(frame.place, frame.first)
    return ("%d  %s:%d: in %s"):format(k, frame.place, frame.line, name)
end

local function show(k, frame)
    print(title(k, frame))
    for _, name in ipairs(frame.list) do print(("     %s = %s"):format(name, brief(frame.values[name]))) end
end

-- :debug, :debug 2, :debug 2 x:norm()
function failure.debug(text, evaluate)
    local last = failure.last
    if not last then failure.refuse(":debug: there was no error whose frames are kept") end
    local k, expression = text:match("^(%d+)%s*(.*)$")
    if text ~= "" and not k then failure.refuse(":debug: expected the number of a frame, got " .. text) end
    if not k then
        print(last.message)
        if #last.frames == 0 then print("no frames of Lua") end
        for i, frame in ipairs(last.frames) do show(i, frame) end
        return
    end
    local frame = last.frames[tonumber(k)]
    if not frame then failure.refuse((":debug: there are %d frames, not %s"):format(#last.frames, k)) end
    if expression == "" then return show(tonumber(k), frame) end
    evaluate(expression, setmetatable({}, { __newindex = frame.values, __index = function(_, name)
        local value = frame.values[name]
        if value == nil then value = _G[name] end
        return value
    end }))
end

return failure

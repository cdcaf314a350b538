-- Texts in files: reading them, and what may stand in JSON.
local bk = ...
local text_file = {}

local ABSENT = { [2] = true, [20] = true } -- ENOENT, ENOTDIR

-- The whole text, or nil, why not, and whether it is because there is no such file.
function text_file.read(path)
    bk.internal.check_path(path)
    local f <close>, why, number = io.open(path, "rb")
    if not f then return nil, why, ABSENT[number] or false end
    local text, problem = f:read("a") -- a folder opens, but does not read
    if text then return text end
    return nil, ("%s: %s"):format(path, problem), false
end

-- The time, as JSON's readers expect it.
function text_file.stamp() return os.date("!%Y-%m-%dT%H:%M:%SZ") end

-- JSON holds UTF-8 only: other bytes are written as \xHH.
function text_file.readable(text)
    return utf8.len(text) and text or text:gsub("[\x80-\xff]", function(c) return ("\\x%02x"):format(c:byte()) end)
end

return text_file

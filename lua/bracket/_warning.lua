-- A warning: on stderr by the program, by Lua's warn elsewhere, where a host decides what becomes of it.
local bk = ...
return function(...)
    local text = string.format(...)
    if bk.internal.message then bk.internal.message("warning: " .. text) else warn(text) end
end

-- A table that print shows as the session does.
local bk = ...
local readable = { shown_as_table = true }
function readable.__tostring(t) return bk.repl.format(t) end
return function(t) return setmetatable(t, readable) end

-- The entries of a folder that a reader was given, folders with a slash behind; an error that says why it has none.
local bk = ...
local refuse, misread, show = bk._options.refuse, bk._options.misread, bk._options.show

return function(where, dir)
    if type(dir) ~= "string" or dir == "" then
        refuse("%s: dir: expected the name of a folder, got %s", where, dir == nil and "nothing" or show(dir))
    end
    local entries, why = bk.internal.folder(dir, where)
    if why then misread("%s: dir: expected a folder, got %s: %s", where, dir, why) end
    return entries
end

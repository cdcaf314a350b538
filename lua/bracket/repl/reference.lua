-- reference.lua - the docstrings as files: a reference page with the guides, definitions for editors, a man page,
-- completion for shells (make docs).
local bk = ...
local docs, help = bk.internal.docs, bk.repl.help

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

return function(folder)
    local list, methods = entries()
    write(folder .. "/reference.html", bk.repl.page(list, methods))
    write(folder .. "/bracket.lua", bk.repl.definitions(list, methods))
    local program = bk.command._program
    write(folder .. "/bracket.1", program.man(list, bk.repl.session.keys()))
    write(folder .. "/bracket.bash", program.completion.bash())
    write(folder .. "/_bracket", program.completion.zsh())
end

-- help.lua - bk.help: prints what repl/help.lua finds.
local bk = ...
return bk.doc(function(...)
    local x = ...
    if select("#", ...) == 0 then x = "bk" end
    print(bk.repl.help.page(x))
end, [[
bk.help([x]) -> nothing

Prints the docstring of a function or table, of the name a string holds ("bk.lie", "model:init"), or, for other
strings, the first lines of every docstring that holds all its words, and the guides that have them in a section; of an
object, its methods. Without an argument: the module's names. In the REPL it is also help(x) and ?x. help "guides" lists
the guides, help "tutorial" shows one.]])

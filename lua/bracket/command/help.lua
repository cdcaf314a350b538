-- bracket help [WORD...]: what help(WORD) shows in the session.
local bk = ...
local command_line = bk.command._command_line

return command_line.define{
    name = "help",
    arguments = "[NAME or WORD...]",
    doc = "what help(NAME) shows in a session: of a function or method (bk.lie, model:init), a guide (tutorial; guides "
        .. "lists them), or all that holds the words; without any, the module's names.",
    options = {},
    prepare = function(plain) return table.concat(plain, " ") end,
    call = function(what)
        local page = bk.repl.help.page(what == "" and "bk" or what)
        local nothing = page:find("^nothing is documented") ~= nil
        io[nothing and "stderr" or "stdout"]:write(page, "\n")
        return nothing and 1 or 0
    end,
}

-- define(record, text): a record of bk.record with its docstring, whose first line is: record "NAME" -> columns. Called
-- by hand it says what it was to be given; its own memory may then be left out.
local bk = ...
local function checked(name, value)
    return function(state, memory)
        bk.record._of_run(state, name)
        if memory ~= nil and type(memory) ~= "table" then
            bk._options.refuse("%s: memory: expected a table, got %s", name, bk._options.show(memory))
        end
        return value(state, memory or {})
    end
end

return function(record, text)
    local name = text:match('^record "([%w_]+)"')
    if not name then
        bk._options.refuse("bk.record: the docstring's first line: expected record \"NAME\" -> columns, got %q",
            text:match("^[^\n]*"))
    end
    name = "bk.record." .. name
    if type(record) == "function" then return bk.doc(checked(name, record), text) end
    record.value = checked(name, record.value)
    return bk.doc(record, text)
end

-- json.lua - any text is JSON or is refused with a reason; what was read is written and read again as the same.
local internal = require "bracket".internal

return function(text)
    local value, wrong = internal.from_json(text)
    if value == nil then
        assert(type(wrong) == "string" and #wrong > 0, "refused without a reason")
        return
    end
    local written, again = pcall(internal.to_json, value)
    if not written then
        assert(again:find("100 deep", 1, true) or again:find("key", 1, true), again)
        return
    end
    local back = internal.from_json(again)
    assert(back ~= nil and internal.to_json(back) == again, "written and read again it is another: " .. again)
end

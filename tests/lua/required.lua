-- required.lua - the options of a maker that have to be given, each this number, and those of `also` that it has: for
-- what tries every maker there is.
return function(make, value, also)
    local options = {}
    for _, o in ipairs(require "bracket".internal.options[make] or {}) do
        options[o.name] = also and also[o.name] or o.required and (o.name == "lr" and 0.1 or value) or nil
    end
    return options
end

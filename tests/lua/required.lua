-- required.lua - the options of a maker that have to be given, each this number: for what tries every maker there is.
return function(make, value)
    local options = {}
    for _, o in ipairs(require "bracket".internal.options[make] or {}) do
        options[o.name] = o.required and (o.name == "lr" and 0.1 or value) or nil
    end
    return options
end

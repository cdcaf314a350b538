-- A run's state as a schedule sees it that has some of the steps: fields, functions by name, are its own; all else is
-- the run's, and cannot be set there either.
return function(state, fields)
    return setmetatable({}, {
        __index = function(_, name)
            if fields[name] then return fields[name]() end
            return state[name]
        end,
        __newindex = function(_, name, value) state[name] = value end,
        __pairs = function()
            local all = {}
            for name, value in pairs(state) do all[name] = value end
            for name, value in pairs(fields) do all[name] = value() end
            return next, all
        end,
    })
end

-- The option `names` of model:state_dict and model:load_state_dict: what a file calls the model's parts. A list names
-- the layers that have tensors, in their order; a table has the file's name = the model's, of a layer or one tensor.
local bk = ...
local refuse, show = bk._options.refuse, bk._options.show

-- The layers that have tensors, as a list of { place = "2.0", kind = "linear" }.
local function layers_of(tensors)
    local list, seen = {}, {}
    for _, t in ipairs(tensors) do
        if not seen[t.place] then
            seen[t.place] = true
            list[#list + 1] = { place = t.place, kind = t.kind }
        end
    end
    return list
end

local function in_words(layers)
    local words = {}
    for k, l in ipairs(layers) do words[k] = ("%s (%s)"):format(l.place, l.kind) end
    return table.concat(words, ", ")
end

local function from_list(where, names, layers)
    if #names ~= #layers then
        refuse("%s: names: expected %d, of %s, got %d", where, #layers, in_words(layers), #names)
    end
    local called = {}
    for k, name in ipairs(names) do
        if type(name) ~= "string" then
            refuse("%s: names: entry %d: expected a string, what the file calls %s (%s), got %s", where, k,
                layers[k].place, layers[k].kind, show(name))
        end
        called[layers[k].place] = name
    end
    return called
end

local function from_table(where, names, tensors, layers)
    local known, called = {}, {}
    for _, t in ipairs(tensors) do
        local place = t.name
        while place do
            known[place] = true
            place = place:match("^(.*)%.[^.]*$")
        end
    end
    for name, ours in pairs(names) do
        if type(name) ~= "string" or type(ours) ~= "string" then
            refuse('%s: names: expected a list, or a table { conv1 = "0" } of the file\'s names, got %s = %s', where,
                show(name), show(ours))
        end
        if not known[ours] then
            refuse("%s: names: %s = %s: the model has no %s; it has %s", where, name, show(ours), show(ours),
                in_words(layers))
        end
        if called[ours] then
            local one, other = called[ours], name
            if other < one then one, other = other, one end
            refuse("%s: names: %s and %s are both %s", where, show(one), show(other), show(ours))
        end
        called[ours] = name
    end
    return called
end

-- What `called` makes of a name: the longest part in front that is in it is replaced; "" leaves the rest.
local function renamed(called, name)
    local place, rest = name, ""
    while place do
        if called[place] then
            return called[place] == "" and rest:sub(2) or called[place] .. rest
        end
        local shorter = place:match("^(.*)%.[^.]*$")
        rest = shorter and place:sub(#shorter + 1) .. rest
        place = shorter
    end
    return name
end

-- Gives every tensor, { name, place, kind }, the name it has in the file; its own stays in t.ours.
local function rename(where, names, tensors)
    local layers = layers_of(tensors)
    local called = #names > 0 and from_list(where, bk._options.list(where, "names", names,
        "a list or a table of names, not both"), layers) or from_table(where, names, tensors, layers)
    local taken = {}
    for _, t in ipairs(tensors) do
        t.ours, t.name = t.name, renamed(called, t.name)
        if taken[t.name] then
            refuse("%s: names: %s and %s would both be %s", where, taken[t.name], t.ours, show(t.name))
        end
        taken[t.name] = t.ours
    end
end

return { rename = rename, layers = function(tensors) return in_words(layers_of(tensors)) end }

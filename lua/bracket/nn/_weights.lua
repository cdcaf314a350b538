-- model:state_dict and model:load_state_dict. A layout is a list of the tensors that a file has: { name, shape, turned,
-- parts = { { of = block, first, rows }, ... } }: these rows of the tensor are the first ones of that block of theta,
-- which is the sum of its parts. Without `of` they are nobody's, and 0. A parameter of no dimension is one row.
local bk = ...
local refuse = bk._options.refuse
local LAYOUT, DTYPE = { "layout", { "torch" } }, { "dtype", { "float64", "float32" } }
local BUFFERS, NAMES = { "buffers", "tensor" }, { "names", "table" }

local shape_text = bk._options.shape_text

-- The blocks of parameters, then of buffers, with the name that their layer's place gives them.
local function blocks(model)
    local list = {}
    local function add(from, buffers)
        for _, b in ipairs(from) do
            list[#list + 1] = { block = b, buffers = buffers, part = b.part, rows = b.shape[1] or 1,
                place = b.path:gsub("%d+", function(n) return ("%d"):format(n - 1) end) }
        end
    end
    add(model.layers, false)
    add(model.buffers, true)
    return list
end

local function size_of(shape)
    local n = 1
    for _, s in ipairs(shape) do n = n * s end
    return n
end

local function add_part(list, by_name, part_name, b, first, rows, of, turned)
    local name = b.place .. "." .. part_name
    local t = by_name[name]
    if not t then
        t = { name = name, place = b.place, kind = b.block.kind, turned = turned, single = #b.block.shape == 0,
            shape = table.move(b.block.shape, 1, #b.block.shape, 1, {}), parts = {} }
        t.shape[1] = 0
        list[#list + 1], by_name[name] = t, t
    end
    t.shape[1] = math.max(t.shape[1], of)
    t.parts[#t.parts + 1] = { of = b, first = first, rows = rows }
end

local function layout_of(where, model, options)
    local list, by_name = {}, {}
    for _, b in ipairs(blocks(model)) do
        local torch = options.layout and b.block.torch or {}
        for _, part in ipairs(torch) do
            add_part(list, by_name, part.name, b, part.first, part.rows, part.of, b.block.turned)
        end
        if #torch == 0 then
            add_part(list, by_name, b.part, b, 1, b.rows, b.rows, options.layout and b.block.turned)
        end
    end
    for _, t in ipairs(list) do
        if t.turned then t.shape = { t.shape[2], t.shape[1] } end
        table.sort(t.parts, function(p, q) return p.first < q.first end)
        local parts, place = {}, 1
        local function fill(to)
            if to > place then parts[#parts + 1] = { first = place, rows = to - place } end
        end
        for _, part in ipairs(t.parts) do
            fill(part.first)
            parts[#parts + 1], place = part, part.first + part.rows
        end
        fill((t.turned and t.shape[2] or t.shape[1]) + 1)
        t.parts, t.rows = parts, t.turned and t.shape[2] or t.shape[1]
        if t.single and t.rows == 1 then t.shape = {} end
    end
    if options.names then bk.nn._names.rename(where, options.names, list) end
    return list
end

local function state_dict(model, theta, options)
    local where = "model:state_dict"
    options = bk._options.check(where, options, { LAYOUT, NAMES, BUFFERS })
    if not bk.is_tensor(theta) or theta:ndim() ~= 1 or theta:size(1) ~= model.n_params then
        refuse("%s: theta: expected (%d), got %s", where, model.n_params,
            bk.is_tensor(theta) and shape_text(theta) or tostring(theta))
    end
    local buffers = options.buffers or model:init_buffers{ dtype = theta:dtype() }
    if buffers:ndim() ~= 1 or buffers:size(1) ~= model.n_buffers then
        refuse("%s: buffers: expected (%d), got %s", where, model.n_buffers, shape_text(buffers))
    end
    local out, given = {}, {}
    for _, t in ipairs(layout_of(where, model, options)) do
        local pieces = {}
        for k, part in ipairs(t.parts) do
            local b = part.of and part.of.block
            local size = size_of(t.shape) // t.rows * part.rows
            -- of parts that add up the first has the value
            pieces[k] = (not b or given[b]) and bk.zeros({ size }, { dtype = theta:dtype() })
                or (part.of.buffers and buffers or theta):narrow(1, b.first, size)
            if b then given[b] = true end
        end
        local whole = #pieces == 1 and pieces[1] or bk.concat(pieces, 1)
        local shape = t.turned and { t.shape[2], t.shape[1] } or t.shape
        whole = whole:reshape(shape)
        out[t.name] = (t.turned and whole:transpose() or whole):clone()
    end
    return out
end

-- One error about every name that is missing, left over or of another shape.
local function check(where, list, given, names)
    local wrong, known = {}, {}
    for _, t in ipairs(list) do
        local v = given[t.name]
        known[t.name] = true
        if v == nil then
            wrong[#wrong + 1] = ("missing %s %s%s"):format(t.name, shape_text(t.shape),
                t.ours and t.ours ~= t.name and ", the model's " .. t.ours or "")
        elseif not bk.is_tensor(v) then
            wrong[#wrong + 1] = ("%s: expected a tensor %s, got %s"):format(t.name, shape_text(t.shape),
                bk._options.show(v))
        elseif shape_text(v) ~= shape_text(t.shape) then
            wrong[#wrong + 1] = ("%s: expected %s, got %s"):format(t.name, shape_text(t.shape), shape_text(v))
        else
            for _, part in ipairs(t.parts) do
                if not part.of and v:narrow(t.turned and 2 or 1, part.first, part.rows):norm() > 0 then
                    wrong[#wrong + 1] = ("%s: expected 0 in rows %d to %d, which the model does not have"):format(
                        t.name, part.first, part.first + part.rows - 1)
                end
            end
        end
    end
    local extra = {}
    for name, v in pairs(given) do
        -- how many batches a norm has seen is no part of what it computes
        if not known[name] and not (type(name) == "string" and name:find("%.num_batches_tracked$")
            and known[name:gsub("num_batches_tracked$", "running_mean")]) then
            extra[#extra + 1] = ("nothing takes %s%s"):format(tostring(name),
                bk.is_tensor(v) and " " .. shape_text(v) or "")
        end
    end
    table.sort(extra)
    local others = #extra > 0 and #wrong > 0 and not names
    table.move(extra, 1, #extra, #wrong + 1, wrong)
    if #wrong > 0 then
        refuse("%s: %d name%s not fit:\n  %s%s", where, #wrong, #wrong == 1 and " does" or "s do",
            table.concat(wrong, "\n  "), not others and "" or
            "\nwhere the names alone differ, names = {...} has what the file calls " .. bk.nn._names.layers(list))
    end
end

local function load_state_dict(model, given, options)
    local where = "model:load_state_dict"
    options = bk._options.check(where, options, { LAYOUT, NAMES, DTYPE })
    if type(given) == "string" then given = bk.load_safetensors(given) end
    if type(given) ~= "table" then
        refuse("%s: expected a table of tensors or a path, got %s", where, bk._options.show(given))
    end
    local list = layout_of(where, model, options)
    check(where, list, given, options.names)
    local dtype = options.dtype or "float32"
    for _, t in ipairs(list) do
        if not options.dtype and given[t.name]:dtype() == "float64" then dtype = "float64" end
    end
    local sums = {}
    for _, t in ipairs(list) do
        local v = given[t.name]:to(dtype)
        if t.turned then v = v:transpose() end
        local wide = size_of(t.shape) // t.rows
        v = v:reshape{ -1 }
        for _, part in ipairs(t.parts) do
            local b = part.of and part.of.block
            local rows = v:narrow(1, (part.first - 1) * wide + 1, part.rows * wide)
            local short = b and size_of(b.shape) - part.rows * wide or 0
            if short > 0 then rows = bk.concat({ rows, bk.zeros({ short }, { dtype = dtype }) }, 1) end
            if b then sums[b] = sums[b] and sums[b] + rows or rows end
        end
    end
    local function joined(list)
        local parts = {}
        for k, b in ipairs(list) do parts[k] = sums[b] end
        return #parts > 0 and bk.concat(parts, 1) or bk.zeros({ 0 }, { dtype = dtype })
    end
    return joined(model.layers), model.n_buffers > 0 and joined(model.buffers) or nil
end

-- PyTorch's parameters in the order in which its modules register them: a transformer its norms last.
local function registered(model, where)
    local list, norms, place = {}, {}, nil
    local function flush()
        table.move(norms, 1, #norms, #list + 1, list)
        norms = {}
    end
    for _, t in ipairs(layout_of(where, model, { layout = "torch" })) do
        if t.place ~= place then flush() end
        place = t.place
        local late = t.kind == "transformer" and t.name:find("%.norm[12]%.%a+$", #place)
        table.insert(late and norms or list, t)
    end
    flush()
    return list
end

-- Of a model what PyTorch's parameters_to_vector gives of its parameters, as a function vector -> theta, float64; and
-- how long that vector is: biases that PyTorch has twice count twice.
local function from_torch_vector(where, model)
    local list, size, given = registered(model, where), 0, {}
    for _, t in ipairs(list) do
        local buffer = false
        for _, part in ipairs(t.parts) do buffer = buffer or part.of and part.of.buffers end
        if buffer then
            given[t.name] = bk.zeros(t.shape)
        else
            t.at, t.size = size + 1, size_of(t.shape)
            size = size + t.size
        end
    end
    return function(v)
        for _, t in ipairs(list) do
            if t.at then given[t.name] = v:narrow(1, t.at, t.size):reshape(t.shape) end
        end
        return (load_state_dict(model, given, { layout = "torch", dtype = "float64" }))
    end, size
end

return { state_dict = state_dict, load_state_dict = load_state_dict, from_torch_vector = from_torch_vector }

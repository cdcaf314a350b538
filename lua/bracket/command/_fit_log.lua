-- Where bracket fit finds what it fits: the trajectory in a run's folder or in files of others, and the losses in a Lua
-- file. log(dir) -> { rows = list of vectors, steps, lr, config }.
local bk = ...
local run_folder = bk._run_folder
local fit_log = {}

local ENDINGS = { ".safetensors", ".npy", ".csv", ".csv.gz" }

local function exists(path)
    local f = io.open(path, "rb")
    if f then f:close() end
    return f ~= nil
end

-- Rows that are read when they are asked for: a checkpoint a row.
local function checkpoints(dir, steps)
    local function load(step)
        local saved, why = bk._checkpoint.load(run_folder.checkpoint_path(dir, step))
        return saved or error(why, 0)
    end
    local rows = setmetatable({}, { __len = function() return #steps end,
        __index = function(_, k) return steps[k] and load(steps[k]).theta or nil end })
    local log = { rows = rows, steps = steps, config = run_folder.object(dir, "config") }
    if type(log.config.lr) ~= "number" then -- a rate that changes stands in every step's checkpoint
        log.lr = {}
        for k = 2, #steps do
            if steps[k] ~= steps[k - 1] + 1 then
                error(("%s: the rate changes: expected a checkpoint of every step, got %d after %d"):format(dir,
                    steps[k], steps[k - 1]), 0)
            end
            log.lr[k - 1] = load(steps[k]).lr
        end
    end
    return log
end

local function list(t) return t and t:totable() end

local function file(path)
    if path:find("%.npy$") then return { rows = bk.load_npy(path) } end
    if path:find("%.csv$") or path:find("%.csv%.gz$") then return { rows = bk.data.csv(path) } end
    local t = bk.load_safetensors(path)
    if not t.theta then error(path .. ": expected a tensor theta (rows, parameters), got none", 0) end
    return { rows = t.theta, steps = list(t.step), lr = list(t.lr) }
end

-- A run's folder, a folder with trajectory.npy, .csv or .safetensors, or such a file by its own name.
function fit_log.read(path)
    for _, ending in ipairs(ENDINGS) do
        if path:sub(-#ending) == ending then return file(path) end
    end
    local _, why = bk.internal.folder(path)
    if why then
        error(("fit: DIR: expected a folder, or a file that ends in .npy, .csv or .safetensors, got %s: %s"):format(path,
            why), 0)
    end
    for _, ending in ipairs(ENDINGS) do
        local name = path .. "/trajectory" .. ending
        if exists(name) then return file(name) end
    end
    local steps = run_folder.checkpoints(path)
    if #steps == 0 then
        error(path .. ": expected trajectory.safetensors, .npy or .csv, or a run's checkpoints (checkpoint_every = 1, "
            .. "keep = 1000), got neither", 0)
    end
    return checkpoints(path, steps)
end

-- The run's tasks have to be those of the file: else its losses are others.
local function check_tasks(path, config, tasks)
    for i, t in ipairs(config.tasks or {}) do
        local own = tasks[i]
        local digest = t.digest and t.digest.train
        if not own or digest and (digest.x ~= bk.internal.digest(own.train.x)
                or digest.y ~= bk.internal.digest(own.train.y)) then
            error(("%s: task %d: its training data are not those of the run"):format(path, i), 0)
        end
    end
end

local function of_tasks(path, given, config)
    if type(given.model) ~= "userdata" or type(given.tasks) ~= "table" then
        error(("%s: expected model = a model and tasks = a list of tasks, got %s and %s"):format(path,
            bk._options.show(given.model), bk._options.show(given.tasks)), 0)
    end
    local tasks = bk._problem.new(given.model, given.tasks, config.dtype or "float64", "full", 1).tasks
    check_tasks(path, config, tasks)
    local losses = {}
    for i, t in ipairs(tasks) do
        local loss = t.shared.loss or error(("%s: task %d: expected a loss, got a field"):format(path, i), 0)
        local x, y = t.train.x, t.train.y
        if x:dtype() ~= "int64" then x = x:to("float64") end
        if y:dtype() ~= "int64" then y = y:to("float64") end
        losses[i] = function(theta) return loss(theta, x, y) end
    end
    return losses
end

-- The losses that a Lua file returns: one, a list of them, or { model =, tasks = } as a protocol takes them; and the
-- model, where there is one.
function fit_log.losses(path, config)
    local chunk, why = loadfile(path)
    if not chunk then error(why, 0) end
    local outer = arg
    _G.arg = { [0] = path } -- what the file asks of its arguments are not this command's
    local ok, given = pcall(chunk)
    _G.arg = outer
    if not ok then error(given, 0) end
    local meta = getmetatable(given)
    if type(given) == "function" or type(meta) == "table" and meta.__call then return { given } end
    if type(given) ~= "table" or #given == 0 and not (given.model and given.tasks) then
        error(("%s: expected it to return a loss, a list of losses, or { model =, tasks = }, got %s"):format(path,
            bk._options.show(given)), 0)
    end
    if #given > 0 then return table.move(given, 1, #given, 1, {}) end
    return of_tasks(path, given, config), given.model
end

-- The log with its rows as the model has theta, from rows as PyTorch has its parameters.
function fit_log.from_torch(path, log, model)
    if log.config then error(path .. ": --layout torch: a run's checkpoints are in bracket's layout", 0) end
    local convert, size = bk.nn._weights.from_torch_vector("bracket fit", model)
    local rows, n = log.rows, #log.rows
    if rows:ndim() ~= 2 or rows:size(2) ~= size then
        error(("%s: expected (rows, %d), the model's parameters as PyTorch has them, got %s"):format(path, size,
            bk._options.shape_text(rows)), 0)
    end
    log.rows = setmetatable({}, { __len = function() return n end,
        __index = function(_, k) return k >= 1 and k <= n and convert(rows[k]) or nil end })
    return log
end

local SAME = { joint = true, cyclic = true, palindromic = true, random = true }

-- The order of a run's config, as bk.bea.fit takes it; nil where it has none. One task has one order only.
function fit_log.order(config, tasks)
    if not config.order then return nil end
    if tasks == 1 then return "joint" end
    if SAME[config.order] then return config.order end
    if config.word then return config.word end
    error(("the run's order is %s: expected joint, cyclic, palindromic, random or a list of tasks; --order tells "
        .. "another"):format(config.order), 0)
end

-- The rows at the ends of rounds.
function fit_log.whole_rounds(log, round)
    local steps = log.steps
    if not steps or round == 1 or log.lr then return log.rows, steps end
    local places, kept = {}, {}
    for k, step in ipairs(steps) do
        if step % round == 0 then
            places[#places + 1], kept[#kept + 1] = k, step
        end
    end
    local rows = log.rows
    return setmetatable({}, { __len = function() return #places end,
        __index = function(_, k) return places[k] and rows[places[k]] or nil end }), kept
end

return fit_log

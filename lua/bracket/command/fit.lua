-- bracket fit DIR...: the terms of the modified equation from logged trajectories.
local bk = ...
local command_line, fit_log = bk.command._command_line, bk.command._fit_log
local misused = command_line.misused

local LARGE = 0.1 -- the residual of a fit that says little: of gradient steps it is 1e-6 and less

local function number(options, name, least) -- least: nil for any
    local text = options[name]
    if not text then return nil end
    local value = math.tointeger(tonumber(text))
    if not value or least and value < least then
        misused("--%s: expected a whole number%s, got %q", name, least and " >= " .. least or "", text)
    end
    return value
end

local function order_of(text)
    if not text or text:find("^%a+$") then return text end
    local word = {}
    for part in (text .. ","):gmatch("([^,]*),") do
        word[#word + 1] = math.tointeger(tonumber(part)) or misused("--order: expected a name or tasks 1,2,2,1, got %q",
            text)
    end
    return word
end

local function line(name, v, told)
    print(("%-10s%14.6g   [%.6g, %.6g]   %s"):format(name, v.value, v.low, v.high, told))
end

local function show(r, runs)
    print(("%d run%s, %d intervals; a round is %s"):format(runs, runs == 1 and "" or "s", r.intervals,
        type(r.order) == "table" and "tasks " .. table.concat(r.order, ",") or r.order == "random"
        and "every task once" or "a step"))
    print(("%-10s%14s   95 %% interval"):format("", "value"))
    line("rate", r.rate, "along the gradient, a round")
    line("flatness", r.flatness, ("gradient steps: rate/4 = %.6g"):format(r.flatness.expected))
    if r.conflict then
        line("conflict", r.conflict, ("gradient steps: rate/2 = %.6g"):format(r.conflict.expected))
    end
    local m = r.momentum.value
    line("momentum", r.momentum, m > 1 and ("(1 + b)/(1 - b) for b = %.4g"):format((m - 1) / (m + 1)) or "1 without")
    print(("residual  %14.3g   of the squared changes"):format(r.residual))
    if not (r.residual <= LARGE) then
        io.stderr:write(("bracket fit: residual %.3g: these losses do not explain the steps, and the values above mean "
            .. "little. Theta may lie in another order (--layout torch), the losses or data be others, --order or "
            .. "--every wrong, momentum be in its transient (--skip), or the steps not follow full gradients\n"):format(
            r.residual))
    end
end

-- The results of a call, whose error names no place in the library, and the option in place of the function's.
local function called(f, ...)
    local result = table.pack(pcall(f, ...))
    if result[1] then return table.unpack(result, 2, result.n) end
    local text = tostring(result[2]):gsub("^[^\n:]*bracket/[%w_/]+%.lua:%d+: ", "")
    error(text:gsub("^bk%.bea%.fit: (%l+):", function(name)
        return ("fit: %s:"):format(name == "trajectory" and "DIR" or name == "losses" and "--loss" or "--" .. name)
    end), 0)
end

local function fit(paths, o)
    local logs = {}
    for k, path in ipairs(paths) do logs[k] = called(fit_log.read, path) end
    local config = logs[1].config or {}
    local losses, model = called(fit_log.losses, o.loss, config)
    if o.layout then
        if not model then
            error(("%s: --layout torch: expected it to return { model =, tasks = }, got losses without a model"):format(
                o.loss), 0)
        end
        for k, log in ipairs(logs) do logs[k] = called(fit_log.from_torch, paths[k], log, model) end
    end
    local order = o.order or fit_log.order(config, #losses) or "joint"
    local round = order == "joint" and 1 or order == "palindromic" and 2 * #losses or type(order) == "table" and #order
        or #losses
    local runs, steps, lr = {}, nil, nil
    for k, log in ipairs(logs) do
        runs[k], steps = fit_log.whole_rounds(log, round)
        lr = log.lr
        if k > 1 and (#runs[k] ~= #runs[1] or lr) then
            error(("%s: expected %d rows and one rate, as %s has"):format(paths[k], #runs[1], paths[1]), 0)
        end
    end
    local r = called(bk.bea.fit, { losses = losses, trajectory = #runs == 1 and runs[1] or runs, order = order,
        every = o.every, steps = not o.every and steps or nil, lr = lr, skip = o.skip, degree = o.degree,
        resamples = o.resamples, seed = o.seed })
    show(r, #runs)
end

return command_line.define{
    name = "fit",
    arguments = "DIR...",
    doc = "the terms of the modified equation, from logged trajectories alone (bk.bea.fit): the rate, flatness (h/4 "
        .. "for gradient steps of rate h), conflict (h/2) and momentum's factor (1 + b)/(1 - b), each with its 95 % "
        .. "interval. DIR is a run's folder with its checkpoints (checkpoint_every = 1, keep = 1000), or holds "
        .. "trajectory.safetensors (theta (rows, parameters), and step and lr where they are not 1, 2, ... and "
        .. "constant), trajectory.npy or trajectory.csv (rows, parameters); or is such a file. Several are fitted "
        .. "together. A row is theta as the losses take it: of { model =, tasks = } layer after layer, weight then "
        .. "bias, a linear weight (in, out), unless --layout says otherwise. A large residual (1: nothing of the "
        .. "changes is explained) is said on stderr.",
    options = {
        { "loss", "FILE",
            doc = "a Lua file that returns a loss, a list of losses (one a task), or { model =, tasks = }" },
        { "layout", "torch",
            doc = "rows are PyTorch's parameters_to_vector(module.parameters()), a linear weight (out, in), of a "
                .. "module whose layers stand in the model's order; FILE returns { model =, tasks = }" },
        { "order", "ORDER",
            doc = "of tasks: joint, cyclic, palindromic, random, or a list 1,2,2,1 (default: the run's, or joint)" },
        { "every", "N", doc = "steps between rows, where the log does not tell (default: a round)" },
        { "skip", "N", doc = "rows at the beginning to leave out: momentum's transient" },
        { "degree", "N", doc = "2, 3 or 4: of the last terms in the rate (default 4)" },
        { "resamples", "N", doc = "samples for the intervals (default 1000)" },
        { "seed", "N", doc = "of what is drawn (default 0)" },
    },
    prepare = function(plain, options)
        if #plain == 0 then misused("expected DIR..., got nothing") end
        if not options.loss then misused("--loss: missing; expected FILE") end
        if options.layout and options.layout ~= "torch" then
            misused("--layout: expected torch, got %q", options.layout)
        end
        local o = { loss = options.loss, layout = options.layout, order = order_of(options.order),
            every = number(options, "every", 1), skip = number(options, "skip", 0),
            degree = number(options, "degree", 2), resamples = number(options, "resamples", 1),
            seed = number(options, "seed") }
        if o.degree and o.degree > 4 then misused("--degree: expected 2, 3 or 4, got %q", options.degree) end
        return plain, o
    end,
    call = fit,
}

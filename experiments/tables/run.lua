-- The field's own tables: settings whose scripts are public, at full protocol (--full true --data DIR) or reduced. See
-- README.md.
local bk = require "bracket"
local here = arg[0]:match("^.*/") or ""
local experiment = dofile(here .. "../common.lua")
local say = experiment.say
local o = experiment.options(arg, { settings = "all", full = false, seeds = 5, rows = "all" })

local began = os.time()
local settings = assert(loadfile(here .. "settings.lua"))(experiment)

local function file(dir, split)
    local ok, d = pcall(bk.data.mnist, dir, { split = split })
    return ok and { x = d.x:reshape{ #d.y, 784 }, y = d.y, n = #d.y, size = 784, shape = { 28, 28 }, classes = 10 }
end

-- n examples to train and m to test: MNIST's two files, or one of them divided, or generated digits. nil and why where
-- there are not as many; fewer to test do, if there are 1000.
local function data(n, m)
    local dir = o.data ~= "" and o.data or os.getenv("BRACKET_DATA") or ""
    if dir == "" and o.full then return nil, "needs MNIST: --data DIR" end
    if dir == "" then return experiment.data(o, n, m) end
    local train, test = file(dir, "train"), file(dir, "test")
    if train and test then return experiment.first(train, n), experiment.first(test, m), "MNIST" end
    local all = train or test
    if not all then return nil, "no MNIST in " .. dir end
    if all.n < n + math.min(m, 1000) then
        return nil, ("needs %d training images, %s has %d in all"):format(n, dir, all.n)
    end
    return experiment.first(all, n), experiment.rows(all, (function()
        local list = {}
        for k = n + 1, math.min(all.n, n + m) do list[#list + 1] = k end
        return list
    end)()), "MNIST's test images, divided"
end

local function listed(list, name)
    return list == "all" or ("," .. list .. ","):find("," .. name .. ",", 1, true) ~= nil
end

local function study(setting)
    local size = o.full and setting.full or setting.reduced
    if o.quick then
        size = {}
        for name, value in pairs(setting.reduced) do size[name] = value end
        size.tasks, size.train, size.test = size.tasks and 2, 200, 100
        size.epochs, size.steps = size.epochs and 1, size.steps and 5
    end
    say("\n%s: %s", setting.name, setting.title)
    -- as many as the tasks draw from, where they draw: each task has examples of its own
    local wanted = setting.full.tasks and not o.full and 3 * size.train or size.train
    local train, test, source = data(wanted, size.test)
    if not train then
        say("  not run: %s", test)
        return
    end
    test.size, test.shape, test.classes = 784, { 28, 28 }, 10
    say("  %s, %s; %s: %d examples a %s, %d to test", setting.source, o.full and "full protocol" or "reduced", source,
        size.train, size.tasks and "task" or "run", test.n)
    say("  %-18s%20s%20s%12s%10s", "", "average accuracy", "forgetting", o.full and "published" or "(published)",
        "seconds")
    for _, row in ipairs(setting.rows) do
        if listed(o.rows, row[1]) then
            local accuracy, forgetting, start = {}, {}, os.clock()
            for seed = o.seed, o.seed + (o.quick and 1 or o.seeds) - 1 do
                local options = row.options(size)
                options.model, options.tasks = setting.model(size), setting.tasks(size, train, test, seed)
                options.seed, options.dtype = seed, "float32"
                local m = bk.protocol(options):run{}.metrics
                accuracy[#accuracy + 1], forgetting[#forgetting + 1] = m.average_accuracy, m.forgetting
            end
            local a, f = bk.metric.interval(accuracy), bk.metric.interval(forgetting)
            local half = a.n > 1 and ("± %-7.4f"):format(a.half) or (" "):rep(9)
            local other = f.n > 1 and ("± %-7.4f"):format(f.half) or (" "):rep(9)
            say("  %-18s%10.4f %s%10.4f %s%12s%10.1f", row[1], a.mean, half, f.mean, other,
                row.published and (o.full and "%.2f" or "(%.2f)"):format(row.published) or "-",
                (os.clock() - start) / a.n)
        end
    end
end

say("The field's tables  (%d seeds, 95 %% intervals by Student's t; seconds of processor time a run)",
    o.quick and 1 or o.seeds)
if not o.full then say("Reduced: (published) is of the full protocol on MNIST, no number to meet") end
for _, setting in ipairs(settings) do
    if listed(o.settings, setting.name) then study(setting) end
end
say("\n%d s", experiment.clock(began))

-- The field's own tables: settings whose scripts are public, at full protocol (--full true --data DIR) or reduced. See
-- README.md.
local bk = require "bracket"
local here = arg[0]:match("^.*/") or ""
local experiment = dofile(here .. "../common.lua")
local say = experiment.say
local o = experiment.options(arg, { settings = "all", full = false, seeds = 5, rows = "all" }, { seeds = 1 })
if o.full and o.quick then error("--full, --quick: expected one of them", 0) end

local began = os.time()
local settings = assert(loadfile(here .. "settings.lua"))(experiment)

local function file(dir, split)
    local ok, d = pcall(bk.data.mnist, dir, { split = split })
    return ok and { x = d.x:reshape{ #d.y, 784 }, y = d.y, n = #d.y, size = 784, shape = { 28, 28 }, classes = 10 }
end

-- Up to n examples to draw those of tasks from, `least` or more, and m to test: MNIST's two files, or one of them
-- divided, or generated digits. nil and why where there are not as many; 1000 to test do.
local function data(n, least, m)
    local dir = o.data ~= "" and o.data or os.getenv("BRACKET_DATA") or ""
    if dir == "" and o.full then return nil, "needs MNIST: --data DIR" end
    if dir == "" then return experiment.data(o, n, m) end
    local train, test = file(dir, "train"), file(dir, "test")
    if train and test then return experiment.first(train, n), experiment.first(test, m), "MNIST" end
    local all = train or test
    if not all then return nil, "no MNIST in " .. dir end
    local tested = math.min(m, math.max(1000, all.n - n))
    if all.n < least + tested then
        return nil, ("needs %d training images, %s has %d in all"):format(least, dir, all.n)
    end
    local list = {}
    for k = all.n - tested + 1, all.n do list[#list + 1] = k end
    return experiment.first(all, math.min(n, all.n - tested)), experiment.rows(all, list),
        "one file of MNIST's, divided"
end

local function listed(list, name)
    return list == "all" or ("," .. list .. ","):find("," .. name .. ",", 1, true) ~= nil
end

-- What was published for a row, at full protocol.
local function published(row)
    local value = row.published or row.remembered
    return value and (o.full and "%s%g" or "(%s%g)"):format(row.remembered and "~" or "", value) or "-"
end

local function study(setting)
    local size = o.full and setting.full or setting.reduced
    if o.quick then
        size = {}
        for name, value in pairs(setting.reduced) do size[name] = value end
        size.tasks, size.train, size.test = size.tasks and 2, 200, 100
        size.epochs, size.steps, size.samples = size.epochs and 1, size.steps and 5, size.samples and 10
    end
    say("\n%s: %s", setting.name, setting.title)
    -- where tasks draw examples of their own, from more than one has
    local wanted = o.full and 60000 or setting.full.tasks and 3 * size.train or size.train
    local train, test, source = data(wanted, size.train, size.test)
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
            for seed = o.seed, o.seed + o.seeds - 1 do
                local options = row.options(size)
                options.model, options.tasks = setting.model(size), setting.tasks(size, train, test, seed)
                options.seed, options.dtype = seed, "float32"
                local m = bk.protocol(options):run{}.metrics
                accuracy[#accuracy + 1], forgetting[#forgetting + 1] = m.average_accuracy, m.forgetting
            end
            local a, f = bk.metric.interval(accuracy), bk.metric.interval(forgetting)
            local half, other = experiment.number("± %-7.4f", a.half), experiment.number("± %-7.4f", f.half)
            say("  %-18s%10.4f %s%10.4f %s%12s%10.1f", row[1], a.mean, half, f.mean, other,
                published(row), (os.clock() - start) / a.n)
        end
    end
end

-- What is named has to be there.
local function check(name, list, known)
    for one in list:gmatch("[^,]+") do experiment.one_of(name, one, known) end
end
local setting_names, row_names = { "all" }, { "all" }
for _, setting in ipairs(settings) do
    setting_names[#setting_names + 1] = setting.name
    for _, row in ipairs(setting.rows) do row_names[#row_names + 1] = row[1] end
end
check("settings", o.settings, setting_names)
check("rows", o.rows, row_names)

say("The field's tables  (%d seeds, 95 %% intervals by Student's t; seconds of processor time a run)", o.seeds)
say("~: as remembered from the paper, not checked")
if not o.full then say("Reduced: (published) is of the full protocol on MNIST, no number to meet") end
for _, setting in ipairs(settings) do
    if listed(o.settings, setting.name) then study(setting) end
end
say("\n%d s", experiment.clock(began))

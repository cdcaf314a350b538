-- bracket plot DIR... COLUMN: recorded columns over the step: a curve a group of runs, its mean and 95 % band.
local bk = ...
local command_line, run_view, table_text = bk.command._command_line, bk.command._run_view, bk._table_text
local colours = bk._plot._colours
local misused = command_line.misused
local LABELLED = 18 -- curves that a key has room for
local POINTS = 1000 -- of a curve

local function matching(names, wanted)
    local list = {}
    for _, name in ipairs(names) do
        if name == wanted then return { name } end
        local after = name:sub(#wanted + 1, #wanted + 1)
        if name:sub(1, #wanted) == wanted and (after:find("[._]") or wanted:find("[._]$")) then
            list[#list + 1] = name
        end
    end
    return list
end

-- A group's mean and band over the step, of so many of its points; nil where there is nothing.
local function band(group, name, label)
    local s = run_view.series("plot", group, name)
    if not s then return nil end
    local stride = math.ceil(#s.x / POINTS)
    local series = { x = {}, y = {}, low = {}, high = {}, label = label, style = #s.x > 60 and "lines" or nil }
    local interval = false
    for k = 1, #s.x do
        if k % stride == 0 or k == 1 or k == #s.x then
            local n = #series.x + 1
            series.x[n], series.y[n], series.low[n], series.high[n] = s.x[k], s.mean[k], s.low[k], s.high[k]
            interval = interval or s.n[k] > 1
        end
    end
    if not interval then series.low, series.high = nil, nil end
    return series
end

-- The columns that some run has and `wanted` names.
local function columns_of(runs, wanted)
    local every, asked, names, lacking = {}, {}, {}, {}
    for _, run in ipairs(runs) do
        local own = matching(run.names, wanted)
        for _, name in ipairs(run.names) do every[name] = true end
        for _, name in ipairs(own) do asked[name] = true end
        if #own == 0 then lacking[#lacking + 1] = run.dir end
    end
    for name in pairs(asked) do names[#names + 1] = name end
    table.sort(names, table_text.natural)
    if #names > 0 then
        if #lacking > 3 then lacking = { table.concat(lacking, ", ", 1, 3), ("%d more"):format(#lacking - 3) } end
        if #lacking > 0 then
            io.stderr:write("bracket plot: no column ", wanted, " in ", table.concat(lacking, ", "), ": left out\n")
        end
        return names
    end
    if runs[1] and runs[1].metrics[wanted] then
        error(("plot: COLUMN: %s is a final number, not a column over the steps: runs compare shows it")
            :format(wanted), 0)
    end
    local known = table_text.sorted(every)
    error(("plot: COLUMN: expected %s, got %q%s"):format(#known > 0 and "one of " .. table.concat(known, ", ")
        or "a recorded column, of which there is none", wanted, bk.internal.hint(wanted, known)), 0)
end

-- The figure's curves, and how many of its looks are used before those of single runs.
local function add_group(figure, group, names, several, options)
    for _, name in ipairs(names) do
        local n = ("%d of %d finished"):format(#group.finished, #group.runs)
        local words = {}
        if several then words[1] = group.label end
        if #names > 1 then words[#words + 1] = name end
        local label = table.concat(words, " ")
        if #group.runs > 1 then label = (label == "" and "mean" or label) .. " (" .. n .. ")" end
        if label == "" then label = run_view.labels(group.runs)[1] end
        local series = band(group, name, label)
        if series then
            figure[#figure + 1] = series
            local colour = colours.look(#figure).colour
            for _, run in ipairs(options.runs and #group.runs > 1 and group.runs or {}) do
                local line = run.columns[name] and run_view.curve(run.columns, name, nil, options)
                if line then
                    line.style, line.thin, line.colour = "lines", true, colour
                    figure.single[#figure.single + 1] = line
                end
            end
        end
    end
end

local function has_a_place(figure, options)
    for _, s in ipairs(figure) do
        for k, v in ipairs(s.y) do
            if v - v == 0 and not (options.logy and v <= 0) and not (options.logx and s.x[k] <= 0) then return true end
        end
    end
    return false
end

local function draw(plain, wanted, options)
    local found, problems = run_view.load_all("plot", run_view.runs("plot", plain))
    if options.where then found = options.where("plot", found) end
    if #found == 0 and #problems == 0 then error("plot: --where: it holds for none of the runs", 0) end
    local runs = {}
    for _, run in ipairs(found) do -- rows that are damaged hide no other run's
        local ok, why = pcall(function() run.columns, run.names = run_view.columns("plot", run.dir) end)
        table.insert(ok and runs or problems, ok and run or why)
    end
    if #problems > 0 and #runs == 0 then error(table.concat(problems, "\n"), 0) end
    local names = columns_of(runs, wanted)
    local groups = run_view.groups("plot", runs, options.by)
    local figure = { title = wanted, xlabel = "step", out = options.out, logx = options.logx, logy = options.logy,
        single = {} }
    for _, group in ipairs(groups) do add_group(figure, group, names, #groups > 1, options) end
    if not has_a_place(figure, options) then
        error(("plot: %s: no recorded number is finite%s"):format(wanted, (options.logx or options.logy)
            and " and positive" or ""), 0)
    end
    figure.key = "below"
    if #figure > LABELLED then
        figure.key = false
        io.stderr:write(("bracket plot: %d curves: more than %d are not labelled\n"):format(#figure, LABELLED))
    end
    table.move(figure.single, 1, #figure.single, #figure + 1, figure)
    figure.single = nil
    bk.plot(figure)
    if options.out then print(options.out) end
    for _, group in ipairs(#runs > 1 and groups or {}) do
        local label = group.label ~= "" and group.label or "all"
        print(label .. ": " .. run_view.group_note(group))
    end
    if #problems > 0 then error(table.concat(problems, "\n"), 0) end
end

return command_line.define{
    name = "plot",
    arguments = "DIR... COLUMN",
    doc = "COLUMN over the step, on the terminal or to a file: of a run its curve, of several the mean and the 95 % band "
        .. "(Student's t over the runs) of each group of runs that differ in nothing but the seed. A folder of runs "
        .. "stands for all of them; a name that is no column for those it begins: accuracy_ for accuracy_1, ...",
    options = {
        { "out", "FILE", doc = "a file that ends in .png, .svg or .pdf" },
        { "where", "EXPR", doc = "of the runs for which it holds: 'lr < 0.1 and status == \"finished\"'" },
        { "group-by", "NAME,NAME,...", doc = "pools runs that agree in these, whatever else differs" },
        { "runs", "flag", doc = "single runs too, as thin lines" },
        { "logx", "flag", doc = "a logarithmic axis" },
        { "logy", "flag", doc = "a logarithmic axis" },
    },
    prepare = function(plain, options)
        if #plain < 2 then
            misused("expected DIR... COLUMN, got %s", plain[1] and ("only %q"):format(plain[1]) or "nothing")
        end
        options.where = options.where and command_line.where(options, "where")
        options.by = command_line.names(options, "group-by")
        return plain, table.remove(plain), options
    end,
    call = draw,
}

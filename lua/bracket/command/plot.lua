-- bracket plot DIR... COLUMN: recorded columns over the step, a curve a run.
local bk = ...
local command_line, run_view, table_text = bk.command._command_line, bk.command._run_view, bk.command._table_text

local USAGE = [[
usage: bracket plot DIR... COLUMN [--out FILE.png|FILE.svg] [--logx] [--logy]
       COLUMN over the step, a curve a run, on the terminal or to FILE; a folder of runs stands for all of them.
       A name that is no column stands for those it begins: accuracy_ for accuracy_1, accuracy_2, ...
]]

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

local function draw(plain, wanted, options)
    local runs, every, lists, drawn = {}, {}, {}, 0
    for k, dir in ipairs(run_view.runs("plot", plain)) do
        runs[k] = { dir = dir }
        runs[k].columns, runs[k].names = run_view.columns("plot", dir)
        for _, name in ipairs(runs[k].names) do every[name] = true end
        lists[k] = matching(runs[k].names, wanted)
        drawn = drawn + math.min(1, #lists[k])
    end
    if drawn == 0 then
        local names = {}
        for name in pairs(every) do names[#names + 1] = name end
        table.sort(names, table_text.natural)
        error(string.format("plot: COLUMN: expected %s, got %q", #names > 0 and "one of " .. table.concat(names, ", ")
            or "a recorded column, of which there is none", wanted), 0)
    end
    local labels, figure = run_view.labels(runs), { title = wanted, xlabel = "step", out = options.out,
        logx = options.logx, logy = options.logy, key = "below" }
    for k, run in ipairs(runs) do
        if #lists[k] == 0 then io.stderr:write("bracket plot: ", run.dir, " has no column ", wanted, ": left out\n") end
        for _, name in ipairs(lists[k]) do
            local label = #lists[k] == 1 and labels[k] or drawn == 1 and name or labels[k] .. " " .. name
            figure[#figure + 1] = run_view.curve(run.columns, name, label, options)
        end
    end
    if #figure == 0 then
        error(string.format("plot: %s: no recorded number is finite%s", wanted, (options.logx or options.logy)
            and " and positive" or ""), 0)
    end
    if #figure > run_view.LABELLED then
        figure.key = false
        io.stderr:write(string.format("bracket plot: %d curves: more than %d are not labelled\n", #figure,
            run_view.LABELLED))
    end
    bk.plot(figure)
    if options.out then print(options.out) end
end

return command_line.command("plot", USAGE, { out = "FILE.png or FILE.svg", logx = "flag", logy = "flag" },
    function(plain, options)
        if #plain < 2 then
            command_line.misused("expected DIR... COLUMN, got %s", plain[1] and ("only %q"):format(plain[1])
                or "nothing")
        end
        return plain, table.remove(plain), options
    end, draw)

-- bracket runs list|show|compare: what runs left on disk, as text.
local bk = ...
local command_line, run_view, table_text = bk.command._command_line, bk.command._run_view, bk.command._table_text

local USAGE = [[
usage: bracket runs list [DIR...]       a line for every run in the folders (default: runs)
       bracket runs show DIR...         everything about a run
       bracket runs compare DIR DIR...  what differs between runs, and their results; a folder of runs stands for them
]]

local function print_sections(sections)
    for k, s in ipairs(sections) do
        if k > 1 then print() end
        print(s.title)
        print(#s.rows > 0 and (table_text.aligned(s, 2, table_text.width(80))) or "  " .. s.none)
        if s.note then print("  " .. s.note) end
    end
end

local function list(dirs)
    local runs, problems = {}, {}
    if #dirs > 0 or bk.internal.folder("runs")[1] then -- without a DIR, no folder is no mistake
        runs, problems = run_view.read("runs list", #dirs > 0 and dirs or { "runs" }, { inner = true })
    end
    if #runs + #problems == 0 then print("no runs in " .. (#dirs > 0 and table.concat(dirs, ", ") or "runs")) end
    if #runs > 0 then print((table_text.aligned(run_view.overview(runs), 0, table_text.width(nil), true))) end
    if #problems > 0 then error(table.concat(problems, "\n"), 0) end
end

local function show(dir)
    local found = run_view.runs("runs show", { dir })
    if #found > 1 or found[1] ~= dir:gsub("(.)/+$", "%1") then
        error(string.format("runs show: DIR: expected a run folder, got %s, which holds runs: %s%s", dir, found[1],
            #found > 1 and ", ..." or ""), 0)
    end
    local run = run_view.load("runs show", found[1])
    print(table_text.text(run.dir) .. "\n")
    print_sections(run_view.sections("runs show", run))
end

local function compare(dirs)
    local runs, problems = run_view.read("runs compare", dirs, { entries = true })
    if #runs + #problems < 2 then error("runs compare: expected two or more runs, got one: " .. runs[1].dir, 0) end
    if #runs > 1 then print_sections(run_view.comparison("runs compare", runs)) end
    if #problems > 0 then error(table.concat(problems, "\n"), 0) end
end

return command_line.command("runs", USAGE, {}, function(plain)
    local what = table.remove(plain, 1)
    if what == "list" then return list, plain end
    if what == "show" then
        if #plain == 0 then command_line.misused("show: expected DIR..., got nothing") end
        return function(dirs)
            for k, dir in ipairs(dirs) do
                if k > 1 then print() end
                show(dir)
            end
        end, plain
    elseif what == "compare" then
        if #plain == 0 then command_line.misused("compare: expected DIR DIR..., got nothing") end
        return compare, plain
    end
    command_line.misused("expected list, show or compare, got %s", what and ("%q"):format(what) or "nothing")
end, function(action, argument) action(argument) end)

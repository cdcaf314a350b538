-- bracket runs list|show|compare|tag|untag|rm: what runs left on disk, as text.
local bk = ...
local command_line, run_view, table_text = bk.command._command_line, bk.command._run_view, bk._table_text
local query, run_folder, results = bk._run_query, bk._run_folder, bk.command._run_results
local misused, text = command_line.misused, table_text.text

local function print_sections(sections)
    for k, s in ipairs(sections) do
        if k > 1 then print() end
        print(s.title)
        print(#s.rows > 0 and (table_text.aligned(s, 2, table_text.width(80))) or "  " .. (s.none or "none"))
        if s.note then print("  " .. s.note) end
    end
end

local function raise(problems)
    if #problems > 0 then error(table.concat(problems, "\n"), 0) end
end

local function one_form(options)
    if options.csv and options.json then misused("--csv or --json, not both") end
end

local function some_dirs(plain)
    if #plain == 0 then misused("expected DIR..., got nothing") end
    return plain
end

-- ---- list ----

local function csv(rows)
    for _, row in ipairs(rows) do
        local cells = {}
        for c = 1, rows.n do
            local cell = row[c] == nil and "" or type(row[c]) == "string" and row[c] or text(row[c])
            cells[c] = table_text.csv(cell)
        end
        io.write(table.concat(cells, ","), "\n")
    end
end

-- What a file of runs holds unless told: who it is, its arguments, its results.
local function every_column(runs)
    local names, taken = { "run", "status", "step", "total", "seed", "started", "seconds" }, {}
    for _, of in ipairs{ "arguments", "metrics" } do
        local all = {}
        for _, run in ipairs(runs) do
            local value = query.value(run, of) -- a text, of a list that holds more than texts
            for name in pairs(type(value) == "table" and value or {}) do
                all[name] = type(name) == "string" and true or nil
            end
        end
        all.seed, all.out = nil, nil
        for _, name in ipairs(table_text.sorted(all)) do
            names[#names + 1] = (query.is_own(name) or taken[name]) and of .. "." .. name or name
        end
        for name in pairs(all) do taken[name] = true end
    end
    names[#names + 1] = "loss"
    return names
end

local function json(rows)
    local lines = {}
    for k, row in ipairs(rows) do lines[k] = bk.internal.to_json(row, 0, true) end
    print("[" .. table.concat(lines, ",\n ") .. "]")
end

local function print_json(runs, names)
    local readable, rows = bk._text_file.readable, {}
    for k, run in ipairs(runs) do
        local row = {}
        for _, name in ipairs(names or {}) do
            local value = query.value(run, name)
            row[name] = type(value) == "string" and readable(value) or value
        end
        if not names then
            row = bk._run_list.row(run)
            row.name, row.dir = readable(row.name), readable(row.dir)
            row.metrics = setmetatable(row.metrics or {}, {}) -- an object, empty too
        end
        rows[k] = row
    end
    json(rows)
end

local function list(dirs, o)
    local runs, problems = {}, {}
    local plain = not (o.where_text or o.sort or o.columns or o.csv or o.json)
    if #dirs > 0 or bk.internal.folder("runs")[1] then -- without a DIR, no folder is no mistake
        runs, problems = run_view.read("runs list", #dirs > 0 and dirs or { "runs" }, { inner = true,
            config = not plain, recorded = not plain })
    end
    local n = #runs
    runs = o.where("runs list", runs)
    if o.sort then query.sort("runs list", runs, o.sort) end
    if o.columns then query.check("runs list", "--columns", o.columns, runs) end
    if o.json then
        print_json(runs, o.columns)
    elseif o.csv then
        local names = o.columns or every_column(runs)
        local rows = { names, n = #names }
        for k, run in ipairs(runs) do
            rows[k + 1] = {}
            for c, name in ipairs(names) do rows[k + 1][c] = query.value(run, name) end
        end
        csv(rows)
    elseif #runs > 0 then
        local section = o.columns and run_view.chosen(runs, o.columns) or run_view.overview(runs)
        local lines, left_out = table_text.aligned(section, 0, table_text.width(nil), true)
        print(lines)
        if #left_out > 0 then
            print(("(no room for %s: --columns says which to show)"):format(table.concat(left_out, ", ")))
        end
    else
        local where = #dirs > 0 and table.concat(dirs, ", ") or "runs"
        if #problems == 0 then
            print(n == 0 and "no runs in " .. where or ("none of %d runs in %s"):format(n, where))
        end
    end
    raise(problems)
end

-- ---- show, compare ----

local function show(dir)
    local found = run_view.runs("runs show", { dir })
    if #found > 1 or found[1] ~= dir:gsub("(.)/+$", "%1") then
        error(string.format("runs show: DIR: expected a run folder, got %s, which holds runs: %s%s", dir, found[1],
            #found > 1 and ", ..." or ""), 0)
    end
    local run = run_view.load("runs show", found[1])
    print(text(run.dir) .. "\n")
    print_sections(run_view.sections("runs show", run))
end

-- A row for each group and result.
local function print_results(runs, o)
    local groups = run_view.groups("runs compare", runs, o.by)
    local baseline = results.baseline("runs compare", groups, runs, o.baseline)
    local rows, columns = results.rows(groups, runs, baseline)
    if o.json then return json(rows) end
    local lines = { columns, n = #columns }
    for k, row in ipairs(rows) do
        lines[k + 1] = {}
        for c, name in ipairs(columns) do lines[k + 1][c] = row[name] end
    end
    csv(lines)
end

local function compare(dirs, o)
    local narrowed = o.narrowed
    local runs, problems = run_view.read("runs compare", dirs, { entries = true, config = narrowed,
        recorded = narrowed })
    local n = #runs + #problems
    runs = o.where("runs compare", runs)
    if #runs + #problems < 2 then
        raise(problems)
        error(("runs compare: expected two or more runs, got %s"):format(#runs < n and ("%d of %d"):format(#runs, n)
            or "one: " .. runs[1].dir), 0)
    end
    if o.csv or o.json then
        print_results(runs, o)
    elseif #runs > 1 then
        print_sections(run_view.comparison("runs compare", runs, o.by, o.baseline))
    end
    raise(problems)
end

-- ---- tag, untag, rm ----

local function chosen(command, dirs, where)
    local runs, problems = run_view.read(command, dirs, { config = where ~= nil, recorded = where ~= nil })
    return where and where(command, runs) or runs, problems
end

local function plural(n) return ("%d run%s"):format(n, n == 1 and "" or "s") end

-- DIR... and at the end the tags, with commas between.
local function tags_of(plain, options)
    local last = table.remove(plain)
    if #plain == 0 then misused("expected DIR... TAG, got %s", last and ("only %q"):format(last) or "nothing") end
    local tags = query.names(last)
    for _, tag in ipairs(tags) do
        if not tag:find("^[%w_.-\x80-\xff]+$") or not utf8.len(tag) then
            misused("TAG: expected words of letters, digits and _.-, got %q", last)
        end
    end
    return plain, tags, command_line.where(options, "where")
end

local function tag(dirs, tags, where, off)
    local command, changed = off and "runs untag" or "runs tag", 0
    local runs, problems = chosen(command, dirs, where)
    for _, run in ipairs(runs) do
        local has, now = {}, {}
        for _, one in ipairs(run.tags) do has[text(one)] = true end
        for _, one in ipairs(tags) do has[one] = not off or nil end
        for name in pairs(has) do now[#now + 1] = name end
        table.sort(now, table_text.natural)
        if table.concat(now, ",") ~= table.concat(run.tags, ",") then
            local ok, why = run_folder.set_tags(run.dir, now)
            changed = changed + (ok and 1 or 0)
            problems[#problems + 1] = not ok and command .. ": " .. why or nil
        end
    end
    print(("%s of %s %s %s"):format(plural(changed), #runs, off and "without" or "with", table.concat(tags, ", ")))
    raise(problems)
end

-- What is to be removed, by how it ended: "12 runs (10 finished, 2 failed)".
local function summary(runs)
    local n, parts = {}, {}
    for _, run in ipairs(runs) do
        local status = text(run.status.status)
        n[status] = (n[status] or 0) + 1
    end
    for _, status in ipairs(table_text.sorted(n)) do parts[#parts + 1] = n[status] .. " " .. status end
    return ("%s (%s)"):format(plural(#runs), table.concat(parts, ", "))
end

local function remove(dirs, where, o)
    local runs, problems = chosen("runs rm", dirs, where)
    if not where then -- what cannot be read can be removed
        local known = {}
        for _, run in ipairs(runs) do known[run.dir] = true end
        for _, dir in ipairs(run_view.runs("runs rm", dirs)) do
            if not known[dir] then runs[#runs + 1] = { dir = dir, status = { status = "unreadable" } } end
        end
        problems = {}
    end
    if #runs == 0 then
        print "no run is removed"
        return raise(problems)
    end
    for k, run in ipairs(runs) do
        if k <= 10 or o["dry-run"] then print("  " .. text(run.dir)) end
    end
    if #runs > 10 and not o["dry-run"] then print(("  and %d more"):format(#runs - 10)) end
    if o["dry-run"] then
        print(summary(runs) .. " would be removed")
        return raise(problems)
    end
    if not o.yes then
        io.write("remove ", summary(runs), "? [y/N] ")
        io.flush()
        local answer = io.read("l") or ""
        if not answer:lower():find("^%s*y") then
            print "no run is removed"
            return 1
        end
    end
    local removed = 0
    for _, run in ipairs(runs) do
        local ok, why = run_folder.remove(run.dir)
        removed = removed + (ok and 1 or 0)
        if ok and why then print(("%s stays, for what is not the run's: %s"):format(text(run.dir), why)) end
        if not ok then problems[#problems + 1] = "runs rm: " .. run.dir .. ": " .. why end
    end
    print(plural(removed) .. " removed")
    raise(problems)
end

-- ---- the command ----

local WHERE = { "where", "EXPR", doc = "those for which it holds: 'lr < 0.1 and status == \"finished\"', in Lua. A "
    .. "name is the run's own (name, status, step, seed, tags, accuracy, loss, ...), or else an argument's, an option's, a "
    .. "metric's, a recorded column's (the last row); arguments.NAME, config.NAME, metrics.NAME, recorded.NAME tell "
    .. "them apart" }

return command_line.define{
    name = "runs",
    doc = "what runs left on disk",
    verbs = {
        { name = "list", arguments = "[DIR...]", doc = "a line for every run in the folders (default: runs)",
            options = { WHERE,
                { "sort", "NAME", doc = "by a value; -NAME: the greatest first; several with commas between" },
                { "columns", "NAME,NAME,...", doc = "what is shown of each, in place of the usual" },
                { "csv", "flag", doc = "as CSV, every digit, all arguments and metrics unless --columns is given" },
                { "json", "flag", doc = "as a JSON list, with all there is unless --columns is given" } },
            prepare = function(plain, options)
                one_form(options)
                options.where_text, options.where = options.where, command_line.where(options, "where")
                options.columns = command_line.names(options, "columns")
                return plain, options
            end, call = list },
        { name = "show", arguments = "DIR...", doc = "everything about a run", options = {}, prepare = some_dirs,
            call = function(dirs)
                for k, dir in ipairs(dirs) do
                    if k > 1 then print() end
                    show(dir)
                end
            end },
        { name = "compare", arguments = "DIR...", doc = "what differs between runs, their results, and means over "
            .. "seeds: runs are pooled that agree in every argument and option but seed and out, and differences to "
            .. "one of these groups are taken at the same seeds",
            options = { WHERE,
                { "group-by", "NAME,NAME,...", doc = "pools runs that agree in these, whatever else differs" },
                { "baseline", "EXPR", doc = "the group with which the others are compared, as in --where (default: "
                    .. "the first)" },
                { "csv", "flag", doc = "a line for each group and result as CSV, every digit" },
                { "json", "flag", doc = "the same as a JSON list, with the seeds of the pairs" } },
            prepare = function(plain, options)
                if #plain == 0 then misused("expected DIR DIR..., got nothing") end
                one_form(options)
                return plain, { where = command_line.where(options, "where"),
                    by = command_line.names(options, "group-by"),
                    baseline = options.baseline and command_line.where(options, "baseline"), csv = options.csv,
                    json = options.json, narrowed = options.where ~= nil or options.baseline ~= nil
                        or options.csv or options.json }
            end, call = compare },
        { name = "tag", arguments = "DIR... TAG", doc = "calls runs by a word of yours, or by several with commas "
            .. "between; --where 'tags:find(\"TAG\")' finds them",
            options = { WHERE }, prepare = tags_of, call = tag },
        { name = "untag", arguments = "DIR... TAG", doc = "takes such words back", options = { WHERE },
            prepare = tags_of, call = function(dirs, tags, where) return tag(dirs, tags, where, true) end },
        { name = "rm", arguments = "DIR...", doc = "removes runs, after a question: the files that bracket wrote, and "
            .. "the folder where nothing else is in it. One that a process writes stays",
            options = { WHERE, { "yes", "flag", doc = "does not ask" },
                { "dry-run", "flag", doc = "says what would be removed, and removes nothing" } },
            prepare = function(plain, options)
                return some_dirs(plain), options.where and command_line.where(options, "where"), options
            end, call = remove },
    },
}

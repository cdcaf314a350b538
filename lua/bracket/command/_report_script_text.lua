-- The scripts that made runs, as they were when they ran, and what changed between two of them.
local bk = ...
local run_folder, text_file = bk._run_folder, bk._text_file
local page = bk.command._report_page
local script = {}

-- The text of the script that made the run, or nil.
function script.of(dir) return text_file.read(run_folder.script_path(dir)) end

local function lines_of(text)
    local list = {}
    for line in (text:gsub("\n$", "") .. "\n"):gmatch("([^\n]*)\n") do list[#list + 1] = line end
    return list
end

-- { { " ", "-" or "+", line }, ... }: the longest common subsequence stays. What is too long for it is all new.
local function changes(a, b)
    local first, la, lb = 1, #a, #b
    while first <= la and first <= lb and a[first] == b[first] do first = first + 1 end
    while la >= first and lb >= first and a[la] == b[lb] do la, lb = la - 1, lb - 1 end
    local list, n, m = {}, la - first + 1, lb - first + 1
    for k = 1, first - 1 do list[k] = { " ", a[k] } end
    local best = {}
    local long = n * m > 4000000
    for i = n + 1, 1, -1 do
        best[i] = {}
        for k = m + 1, 1, -1 do
            if long or i > n or k > m then
                best[i][k] = 0
                if long then break end
            elseif a[first + i - 1] == b[first + k - 1] then
                best[i][k] = best[i + 1][k + 1] + 1
            else
                best[i][k] = math.max(best[i + 1][k], best[i][k + 1])
            end
        end
    end
    local i, k = 1, 1
    while i <= n or k <= m do
        if not long and i <= n and k <= m and a[first + i - 1] == b[first + k - 1] then
            list[#list + 1] = { " ", a[first + i - 1] }
            i, k = i + 1, k + 1
        elseif i <= n and (long or k > m or best[i + 1][k] >= best[i][k + 1]) then
            list[#list + 1] = { "-", a[first + i - 1] }
            i = i + 1
        else
            list[#list + 1] = { "+", b[first + k - 1] }
            k = k + 1
        end
    end
    for at = la + 1, #a do list[#list + 1] = { " ", a[at] } end
    return list
end

-- The changed lines with three of those about them, as HTML.
function script.diff(before, after)
    local list, near, lines, gap = changes(lines_of(before), lines_of(after)), {}, {}, false
    for k, change in ipairs(list) do
        for d = -3, change[1] ~= " " and 3 or -4 do near[k + d] = true end
    end
    for k, change in ipairs(list) do
        if near[k] then
            local text = page.escape(change[1] .. " " .. change[2])
            lines[#lines + 1] = change[1] == " " and text
                or ('<span class="%s">%s</span>'):format(change[1] == "+" and "add" or "del", text)
            gap = false
        elseif not gap then
            lines[#lines + 1], gap = "...", true
        end
    end
    return "<pre tabindex=\"0\">" .. table.concat(lines, "\n") .. "</pre>"
end

-- The run that was started last before this one, among those beside it that keep their script: dir, script.
function script.before(run)
    local parent, own = run.dir:match("^(.*)/[^/]+/?$") or ".", run.status.started
    local found, latest
    if type(own) ~= "string" then return nil end
    for _, name in ipairs(bk.internal.folder(parent == "" and "/" or parent)) do
        local dir = parent .. "/" .. name:gsub("/$", "")
        local known, status = pcall(run_folder.object, dir, "status") -- a damaged one is not the run before
        local started = known and name:sub(-1) == "/" and name:sub(1, 1) ~= "." and status.started
        if type(started) == "string" and started < own and (not latest or started > latest) then
            local text = script.of(dir)
            if text then found, latest = { dir, text }, started end
        end
    end
    if found then return found[1], found[2] end
end

-- The sections of a page about these runs: the newest script, and its difference to the one before.
function script.html(runs, id)
    local made, versions = {}, {}
    for _, run in ipairs(runs) do
        local text = script.of(run.dir)
        if text then made[#made + 1] = { text = text, run = run, started = tostring(run.status.started) } end
    end
    if #made == 0 then return nil end
    table.sort(made, function(a, b)
        if a.started ~= b.started then return a.started < b.started end
        return a.run.dir < b.run.dir
    end)
    for _, m in ipairs(made) do
        if not versions[m.text] then
            versions[m.text] = { n = 0, text = m.text, first = m.run }
            versions[#versions + 1] = versions[m.text]
        end
        versions[m.text].n = versions[m.text].n + 1
    end
    local newest, name = made[#made], bk._table_text.text(made[#made].run.config.script)
    local parts = { ('<h2 id="%s">script</h2>'):format(id) }
    local before, of
    if #versions > 1 then
        for k = #made, 1, -1 do
            if made[k].text ~= newest.text then
                before, of = made[k].text, made[k].run.dir
                break
            end
        end
        parts[2] = page.note(("%d scripts made these runs; the newest of them %d"):format(#versions,
            versions[newest.text].n))
    elseif #runs == 1 then
        of, before = script.before(runs[1])
    end
    if before == newest.text then
        parts[#parts + 1] = page.note("as in the last run, " .. of)
    elseif before then
        parts[#parts + 1] = page.note("changed since the last run with another, " .. of)
        parts[#parts + 1] = script.diff(before, newest.text)
    elseif #runs == 1 then
        parts[#parts + 1] = page.note("no run before this one stands beside it")
    end
    parts[#parts + 1] = ("<details><summary>%s, %d lines</summary><pre tabindex=\"0\">%s</pre></details>"):format(
        page.escape(name), #lines_of(newest.text), page.escape(newest.text))
    return table.concat(parts, "\n")
end

return script

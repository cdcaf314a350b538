-- An index of the runs in a folder, DIR/.bracket-runs.sqlite: what the files of each say, so that thousands are listed
-- without opening theirs. The folders are the truth: a run is read again when the time, size or number of one of its
-- files is another than the index says, and what was written a moment ago is not put in. An index that is damaged (its
-- tables have digests), or of another version, is made anew; one that another process writes, or that cannot be
-- written, is done without.
local bk = ...
local internal = bk.internal
local index = {}

local NAME = "/.bracket-runs.sqlite"
local FORM = "3 of bracket " .. bk.version -- of what stands in it: another one is another index
local FEW = 200 -- runs that are read as soon as an index would be
local SETTLED = 2 -- seconds: a file may change twice in an instant, and its time only once
local PARTS = { "config", "entries", "recorded" }

local function is_indexed(path)
    local f <close> = io.open(path, "rb")
    return f ~= nil
end

-- What fails says why; whether another process has the file is what matters.
local function query(db, ...)
    local cells, why, busy = db:query(...)
    if not cells then error({ why = why, busy = busy }, 0) end
    return cells
end

-- The cells of a table, and whether they are what was written. Its digest stands beside it.
local function cells_of(db, name)
    local cells = query(db, ("SELECT * FROM %s ORDER BY id"):format(name))
    local seal = query(db, "SELECT digest FROM seal WHERE name = ?", { name })[1]
    if internal.digest(table.concat(cells, "\0")) ~= seal then error({ why = "damaged" }, 0) end
    return cells
end

local function seal(db, name)
    local cells = query(db, ("SELECT * FROM %s ORDER BY id"):format(name))
    query(db, "INSERT OR REPLACE INTO seal VALUES (?, ?)", { name, internal.digest(table.concat(cells, "\0")) })
end

local function make(db)
    query(db, "PRAGMA synchronous = OFF")
    if #query(db, "SELECT name FROM sqlite_master WHERE name = 'form'") > 0 then
        if query(db, "SELECT text FROM form")[1] ~= FORM then error({ why = "of another version" }, 0) end
        return
    end
    if #query(db, "SELECT name FROM sqlite_master") > 0 then error({ why = "not an index" }, 0) end
    query(db, "BEGIN IMMEDIATE")
    query(db, "CREATE TABLE form(text)")
    query(db, "INSERT INTO form VALUES (?)", { FORM })
    query(db, "CREATE TABLE seal(name PRIMARY KEY, digest)")
    query(db, "CREATE TABLE run(id INTEGER PRIMARY KEY, path, stamp, head)")
    for _, part in ipairs(PARTS) do query(db, ("CREATE TABLE %s(id INTEGER PRIMARY KEY, text)"):format(part)) end
    for _, name in ipairs{ "run", table.unpack(PARTS) } do seal(db, name) end
    query(db, "COMMIT")
end

-- The found runs that the index knows: n -> { head, config, entries, recorded }; and by path where in the cells a run
-- is.
local function known(db, root, found, want)
    local cells, has, of_id, answers = cells_of(db, "run"), {}, {}, {}
    local from = root == "/" and 2 or #root + 2
    for k = 1, #cells, 4 do has[cells[k + 1]] = k end
    for n, at in ipairs(found) do
        local k = has[at.dir:sub(from)]
        if k and cells[k + 2] == at.stamp then
            answers[n] = { head = cells[k + 3] }
            of_id[cells[k]] = answers[n]
        end
    end
    for _, part in ipairs(PARTS) do
        local texts = want[part] and cells_of(db, part) or {}
        for k = 1, #texts, 2 do
            local answer = of_id[texts[k]]
            if answer then answer[part] = texts[k + 1] end
        end
    end
    return answers, has, cells
end

-- Puts in what is new and takes out what is gone. news: { path, stamp, head, config, entries, recorded } each.
local function update(db, has, cells, root, found, news)
    local there, gone, from = {}, {}, root == "/" and 2 or #root + 2
    for _, at in ipairs(found) do there[at.dir:sub(from)] = true end
    for path, k in pairs(has) do
        if not there[path] then gone[#gone + 1] = cells[k] end
    end
    for _, one in ipairs(news) do
        local k = has[one.path]
        gone[#gone + 1] = k and cells[k] or nil
    end
    if #gone == 0 and #news == 0 then return end
    query(db, "BEGIN IMMEDIATE")
    local id = query(db, "SELECT ifnull(max(id), 0) FROM run")[1]
    local rows = { run = {} }
    for _, part in ipairs(PARTS) do rows[part] = {} end
    for n, one in ipairs(news) do
        table.move({ id + n, one.path, one.stamp, one.head }, 1, 4, #rows.run + 1, rows.run)
        for _, part in ipairs(PARTS) do table.move({ id + n, one[part] }, 1, 2, #rows[part] + 1, rows[part]) end
    end
    for name, values in pairs(rows) do
        if #gone > 0 then query(db, ("DELETE FROM %s WHERE id = ?"):format(name), gone) end
        if #values > 0 then
            query(db, ("INSERT INTO %s VALUES (?, ?%s)"):format(name, name == "run" and ", ?, ?" or ""), values)
        end
        seal(db, name)
    end
    query(db, "COMMIT")
end

-- index.read(root, found, want, load): for each of the found runs { dir, stamp, age }, below root, the texts of its
-- head and of the parts that are wanted, as load(at) -> { head, config, entries, recorded } or nil makes them; nil for
-- those that load has to be asked for otherwise. The second result is whether there is an index.
function index.read(root, found, want, load)
    local path = root .. NAME
    if not internal.database or #found < FEW then return {}, false end
    for _ = 1, 2 do
        local fresh = not is_indexed(path)
        local db = internal.database(path)
        if not db then return {}, false end
        local answers
        local ok, problem = pcall(function()
            make(db)
            local has, cells
            answers, has, cells = known(db, root, found, want)
            local news = {}
            for n, at in ipairs(found) do
                local made = not answers[n] and at.age > SETTLED and load(at)
                if made then
                    answers[n] = made
                    made.path, made.stamp = at.dir:sub(root == "/" and 2 or #root + 2), at.stamp
                    if made.settled then news[#news + 1] = made end
                end
            end
            update(db, has, cells, root, found, news)
        end)
        db:close()
        if ok or type(problem) == "table" and (problem.busy or fresh) then return answers or {}, true end
        if type(problem) ~= "table" then error(problem, 0) end
        if answers then pcall(os.remove, path) return answers, true end -- it could be read, but not written
        os.remove(path .. "-journal")
        if not os.remove(path) then return {}, false end
    end
    return {}, false
end

return index

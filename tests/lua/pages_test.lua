-- pages_test.lua - what the pages show is what happens: every fenced block of the READMEs and guides is run in a
-- scratch folder and its output compared, or carries the reason why not. tests/README.md has the conventions.
local bk = require "bracket"
local lu = require "luaunit"
local files = require "files"
local read, write = files.read, files.write
local shown = require "shown"
local lines_of, blocks_of, exchanges, compare = shown.lines_of, shown.blocks_of, shown.exchanges, shown.compare
local same_line, same_lines = shown.same_line, shown.same_lines
local BUILD = os.getenv("BRACKET_BUILD") or "build"

local function capture(command)
    local p <close> = assert(io.popen(command))
    return p:read("a")
end

local root = capture("pwd"):match("^[^\n]+")
local build = BUILD:find("^/") and BUILD or root .. "/" .. BUILD

-- ---- running ----

local HOST = "Name: bracket\nDescription: the build\nVersion: 0\nCflags: -I%s/src %s\nLibs: -L%s -lbracket %s\n"

local function scratch_folder(page)
    local folder = os.tmpname()
    os.remove(folder)
    assert(os.execute(("mkdir -p %s/.bin"):format(folder)))
    assert(os.execute(("ln -s %s/bracket %s/.bin/bracket"):format(build, folder)))
    if not page:find("/guide/") then -- commands of the tree's own, as `make run`
        for _, name in ipairs { "Makefile", "README.md", "src", "lua", "tests", "experiments", "build" } do
            assert(os.execute(("ln -s %s/%s %s/%s"):format(root, name, folder, name)))
        end
    end
    local lua = capture("for p in lua5.4 lua-5.4 lua54 lua; do pkg-config --exists $p && echo $p && break; done"):match("%S+")
    local sanitizer = read(build .. "/flags"):match("%-fsanitize=%S+") or "" -- a host of such a library has it too
    write(folder .. "/.bin/bracket.pc", HOST:format(root, capture("pkg-config --cflags " .. lua):gsub("\n", ""), build,
        capture("pkg-config --libs " .. lua):gsub("\n", " ") .. sanitizer))
    return folder
end

local function inside(folder, command) -- processor time is limited, so that a busy core ends nothing
    return ("cd %s && ulimit -t 200 && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL PATH=%s/.bin:$PATH PKG_CONFIG_PATH=%s/.bin "
        .. "LD_LIBRARY_PATH=%s NO_COLOR=1 %s"):format(folder, folder, folder, build, command)
end

local function run_sessions(page, folder, list)
    local inputs = {}
    for i, e in ipairs(list) do inputs[i] = ("%q"):format(e.input) end
    write(folder .. "/.bin/inputs.lua", "return {" .. table.concat(inputs, ",\n") .. "}")
    write(folder .. "/.bin/session.lua", shown.session)
    local at, output = 1, capture(inside(folder, "bracket .bin/session.lua .bin/inputs.lua 2>&1"))
    for i, e in ipairs(list) do
        local from, to = output:find("\1" .. i .. "\n", at, true)
        lu.assertNotNil(from, ("%s:%d: the session ended:\n%s"):format(page, e.line, output:sub(at)))
        compare(("%s:%d: > %s"):format(page, e.line, e.input), e.output, lines_of(output:sub(at, from - 1)))
        at = to + 1
    end
end

local function run_command(page, folder, command, want, line)
    write(folder .. "/.bin/command", command .. "\n")
    local output = capture(inside(folder, "sh .bin/command 2>&1; echo \"\1$?\""))
    local text, status = output:match("^(.*)\1(%d+)\n$")
    if not want then
        lu.assertEquals(status, "0", ("%s:%d: %s\n%s"):format(page, line, command, text))
    else
        compare(("%s:%d: $ %s"):format(page, line, command), want, lines_of(text))
    end
end

-- What a script prints stands in it, after `-->`.
local function run_script(page, folder, block)
    local want = {}
    for _, line in ipairs(block.lines) do
        local shown = line:match("%-%->%s*(.*)$")
        if shown then want[#want + 1] = shown end
    end
    write(folder .. "/.bin/script.lua", block.text)
    compare(("%s:%d"):format(page, block.line), want, lines_of(capture(inside(folder, "bracket .bin/script.lua 2>&1"))))
end

-- A script that takes arguments runs without them too, where nothing but the page's files is, and with --out if it has
-- that; the others are run on the page as they stand.
local function run_alone(page, beside, file)
    local defaults = file.text:match("bk%.arguments(%b{})")
    if not defaults then return end
    local folder = scratch_folder(page)
    local ok, problem = pcall(function()
        for _, f in ipairs(beside) do write(folder .. "/" .. f.name, f.text) end
        run_command(page, folder, "bracket " .. file.name, nil, file.line)
        if defaults:find("out =") then
            local command = ("bracket %s --out other && ls other/status.json"):format(file.name)
            run_command(page, folder, command, nil, file.line)
        end
    end)
    os.execute("rm -rf " .. folder)
    if not ok then error(problem, 0) end
end

-- The name that a block's first line gives its file: `-- train.lua`, `/* host.c */`, `# job.sh`.
local function name_of(block)
    local first = block.lines[1] or ""
    return first:match("^%-%- ([%w_./-]+%.%a+)$") or first:match("^/%* ([%w_./-]+%.%a+) %*/$")
        or first:match("^# ([%w_./-]+%.%a+)$")
end

local function kind_of(block)
    if block.file then return "file" end
    if block.text:find("^> ") then return "session" end
    if block.text:find("^%$ ") or block.language == "sh" and not name_of(block) then return "commands" end
    if name_of(block) then return "named" end
    if block.language == "lua" then return "script" end
    if block.language == "text" then return "text" end
end

local run, left = 0, {} -- over all pages: how many blocks, and those that are not run

local function check_page(page)
    local blocks, open = blocks_of(read(page) .. "\n")
    lu.assertFalse(open, page .. ": the last fence is open")
    local folder, session, named, commands = scratch_folder(page), {}, {}, {}
    local ok, problem = pcall(function()
        for _, block in ipairs(blocks) do
            local kind = kind_of(block)
            if block.untested then
                left[#left + 1] = ("%s:%d: %s"):format(page, block.line, block.untested)
            elseif block.text:find("%$ make ") and build ~= root .. "/build" then
                left[#left + 1] = ("%s:%d: make is for the plain build"):format(page, block.line)
            elseif kind == "text" then
                lu.assertNil(block.text:find("bk%."), ("%s:%d: code is not text"):format(page, block.line))
            else
                run = run + 1
                lu.assertNotNil(kind, ("%s:%d: a block of no kind: see tests/README.md"):format(page, block.line))
                if kind == "file" then
                    lu.assertEquals(block.text, read(block.file), ("%s:%d"):format(page, block.line))
                elseif kind == "session" then
                    local list, stray = exchanges(block, "> ", ">> ")
                    lu.assertNotNil(list, ("%s:%s: a line before the first input"):format(page, stray))
                    for _, e in ipairs(list) do
                        session[#session + 1] = e
                        commands[#commands + 1] = e.input
                    end
                elseif kind == "named" then
                    named[#named + 1] = { name = name_of(block), line = block.line, text = block.text }
                    write(folder .. "/" .. name_of(block), block.text)
                elseif kind == "script" then
                    run_script(page, folder, block)
                elseif block.text:find("^%$ ") then
                    for _, e in ipairs(exchanges(block, "$ ", "> ")) do
                        commands[#commands + 1] = e.input
                        run_command(page, folder, e.input, e.output, e.line)
                    end
                else
                    commands[#commands + 1] = block.text
                    run_command(page, folder, block.text, nil, block.line)
                end
            end
        end
        if #session > 0 then run_sessions(page, folder, session) end
        local used = table.concat(commands, "\n")
        for _, n in ipairs(named) do
            lu.assertStrContains(used, n.name, false, ("%s:%d: nothing on the page runs it"):format(page, n.line))
            if n.name:find("%.lua$") then run_alone(page, named, n) end
        end
    end)
    os.execute("rm -rf " .. folder)
    if not ok then error(problem, 0) end
end

TestPages = {}

local pages = lines_of(capture("ls README.md */README.md tests/bench/README.md lua/bracket/guide/*.md 2>/dev/null"))
for _, page in ipairs(pages) do
    TestPages["test_" .. page:gsub("%W", "_")] = function() check_page(page) end
end

function TestPages.test_zz_what_is_not_run_says_why()
    print(("%d blocks run on %d pages, %d not:"):format(run, #pages, #left))
    for _, line in ipairs(left) do print("  " .. line) end
    lu.assertTrue(run > 0)
end

-- ---- the guides in the program ----

TestGuides = {}

local page_of = bk.repl.help.page

function TestGuides.test_help_lists_and_shows_every_guide()
    local list, n = page_of "guides", 0
    for _, path in ipairs(pages) do
        local name = path:match("/guide/([%w_]+)%.md$")
        if name then
            n = n + 1
            local title = read(path):match("^# ([^\n]+)\n")
            lu.assertNotNil(title, path .. " begins with no title")
            lu.assertStrContains(list, "  " .. name .. " ")
            lu.assertStrContains(page_of(name), title)
            lu.assertStrContains(page_of((name:gsub("_", " "))), title)
        end
    end
    lu.assertTrue(n > 0)
    lu.assertStrContains(page_of "no such guide at all", "nothing is documented under")
    lu.assertStrContains(page_of "fifteen sweep", 'help "tutorial"')
    -- a word that a guide alone has: which page, and which sections of it
    lu.assertEquals(page_of "requeue", 'In the guides:\nhelp "cluster": On a cluster (mpirun, srun and job arrays)')
    lu.assertStrContains(page_of "focal", 'help "loss": A loss of your own (')
    lu.assertStrContains(page_of "weights pytorch",
        '\n\nIn the guides:\nhelp "your_own_problem": Your own problem (Weights from PyTorch, and back)')
    lu.assertEquals(capture(build .. "/bracket help requeue >/dev/null; echo $?"), "0\n")
    for _, p in ipairs(bk.repl.guide.pages()) do -- no line is lost, code is no heading
        local whole, titles = "", 0
        for _, s in ipairs(bk.repl.guide.sections(p.text)) do
            whole, titles = whole .. s.text, titles + 1
            lu.assertNil(s.title:find("SBATCH"))
        end
        lu.assertEquals(whole:gsub("%s+$", ""), p.text:gsub("%s+$", ""))
    end
    lu.assertStrContains(page_of "embedding", "bk.nn.embedding")
end

function TestGuides.test_paragraphs_are_filled_and_code_is_kept()
    local text = "# Title\n\nOne two three\nfour [five](x.md).\n\n- a bb ccc dddd\n\n```lua\nlocal x =   1 -- long long\n```\n"
    lu.assertEquals(bk.repl.guide.wrap(text, 12), "Title\n\nOne two\nthree four\nfive.\n\n- a bb ccc\n  dddd\n\n"
        .. "    local x =   1 -- long long")
    for _, p in ipairs(bk.repl.guide.pages()) do
        for line in bk.repl.guide.wrap(p.text, 60):gmatch("[^\n]+") do
            if not line:find("^    ") and not line:find("^|") then lu.assertTrue(utf8.len(line) <= 60, line) end
        end
    end
end

function TestGuides.test_a_page_of_ones_own_is_found()
    local folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir -p " .. folder .. "/bracket/guide"))
    write(folder .. "/bracket/guide/mine.md", "# My page\n\nText.\n")
    local out = capture(("BRACKET_LUA=%s %s/bracket -e 'bk.help \"guides\" bk.help \"mine\" print(rawget(bk, \"guide\"))'")
        :format(folder, build))
    lu.assertStrContains(out, "My page\n\nText.\n")
    lu.assertStrContains(out, "\nnil\n")
    lu.assertStrContains(out, "  mine ")
    lu.assertStrContains(out, "  tutorial ")
    os.execute("rm -rf " .. folder)
end

-- ---- the comparison itself can fail ----

TestComparison = {}

function TestComparison.test_numbers()
    lu.assertTrue(same_line("a 1.50 b", "a  1.504 b"))
    lu.assertTrue(same_line("x 1.23456789012", "x 1.23456789999"))
    lu.assertTrue(same_line("3e-05", "3.4e-05"))
    for _, pair in ipairs { { "1.50", "1.52" }, { "12", "13" }, { "1.50 a", "1.50 b" }, { "-1.5", "1.5" },
        { "1.5", "1.5 2" }, { "1234567", "1234568" }, { "2e-05", "2e-06" }, { "0.0", "nan" } } do
        lu.assertFalse(same_line(pair[1], pair[2]), pair[1])
    end
end

function TestComparison.test_lines()
    lu.assertTrue(same_lines({ "a", "...", "b" }, { "a", "x", "y", "b" }))
    lu.assertTrue(same_lines({ "a", "..." }, { "a" }))
    lu.assertFalse(same_lines({ "a", "...", "b" }, { "a", "x" }))
    lu.assertFalse(same_lines({ "a" }, { "a", "b" }))
    lu.assertFalse(same_lines({ "a", "b" }, { "a" }))
end

function TestComparison.test_a_wrong_page_fails()
    local path = os.tmpname()
    for _, text in ipairs { "```\n> 1 + 1\n3\n```\n", "```lua\nprint(1) --> 2\n```\n", "```lua\nprint(1)\n```\n",
        "```sh\nfalse\n```\n", "```\n$ echo a\nb\n```\n", "```\nx = 1\n```\n", "```lua\n-- a.lua\nprint(1)\n```\n",
        "```\n> 1\n1\n", "<!-- file: README.md -->\n```\nx\n```\n", "```text\nbk.x\n```\n" } do
        write(path, text)
        lu.assertFalse(pcall(check_page, path), text)
    end
    write(path, "```\n> 1 + 1\n2\n> x = {1,\n>> 2}\n> #x\n2\n```\n```lua\nprint(1) --> 1\n```\n"
        .. "```\n$ echo a\na\n```\n")
    check_page(path)
    os.remove(path)
    run, left = 0, {}
end

-- The program's options and exit statuses, the loader, and that every public name is documented.
local lu = require "luaunit"
local build = os.getenv("BRACKET_BUILD") or "build"
local program = build .. "/bracket"

local function run(arguments, variables)
    local p = io.popen(("%s %s %s 2>&1; echo \"status $?\""):format(variables or "", program, arguments))
    local text = p:read("a")
    p:close()
    local output, status = text:match("^(.*)status (%d+)\n$")
    return output, tonumber(status)
end

TestProgram = {}

function TestProgram:test_a_script_gets_its_arguments()
    local path = os.tmpname()
    local f = assert(io.open(path, "w"))
    f:write("print(arg[0] == ..., #arg, ...) print(arg[-1])")
    f:close()
    local output, status = run(path .. " a b")
    os.remove(path)
    lu.assertEquals(status, 0)
    lu.assertEquals(output, "false\t2\ta\tb\n" .. program .. "\n")
end

function TestProgram:test_e_and_l_run_in_order()
    lu.assertEquals(run([[-e 'x = 1' -l s=string -e 'print(x, s == string)']]), "1\ttrue\n")
    lu.assertEquals(run([[-l bracket -e 'print(bracket == require "bracket")']]), "true\n")
end

-- Where the address space has no room for OpenBLAS's buffers its threads ask for them without end, and an end of the
-- program that waited for them would not come.
function TestProgram:test_too_little_address_space()
    if build ~= "build" then lu.skip("sanitizers and emulators take more than there is") end
    local p = io.popen(("{ ulimit -v 150000; timeout 100 %s -e 'print(1)'; echo \"status $?\"; } 2>&1"):format(program))
    local text = p:read("a")
    p:close()
    lu.assertStrContains(text, "while starting: the limit on the address space (ulimit -v), 146 MB, has no room for "
        .. "OpenBLAS's buffers")
    lu.assertStrContains(text, "status 1\n")
end

function TestProgram:test_standard_input_is_a_script()
    lu.assertEquals(run([[- a < /dev/null]]), "")
    local p = io.popen("echo 'print(...)' | " .. program .. " - a b")
    lu.assertEquals(p:read("a"), "a\tb\n")
    p:close()
    p = io.popen("echo 'print(...)' | " .. program .. " -- 2>&1")
    lu.assertEquals(p:read("a"), "\n")
    p:close()
end

function TestProgram:test_errors_exit_1_with_a_traceback()
    local output, status = run([[-e 'error("boom")']])
    lu.assertEquals(status, 1)
    lu.assertStrContains(output, "boom")
    lu.assertStrContains(output, "stack traceback")
    local p = io.popen(program .. " -e 'print(1)' 2>&1 >/dev/full; echo \"status $?\"")
    lu.assertStrContains(p:read("a"), "standard output could not be written\nstatus 1")
    p:close()
    output, status = run("/nonexistent.lua")
    lu.assertEquals(status, 1)
    lu.assertStrContains(output, "/nonexistent.lua")
end

-- What the library raises deep below the call at fault has the place of the script's line; what has a place, keeps it.
function TestProgram:test_errors_of_the_library_name_the_scripts_line()
    local path = os.tmpname()
    local function first_line(text)
        local f <close> = assert(io.open(path, "w"))
        f:write("local bk = require 'bracket'\n", text)
        f:close()
        return (run(path, "BRACKET_LUA="):match("^[^\n]*")) -- of the program's own files, as users have them
    end
    local at = "bracket: " .. path .. ":2: "
    lu.assertStrContains(first_line "bk.tasks.split{ data = 3 }", at .. "bk.tasks.split: ")
    lu.assertStrContains(first_line "bk.tasks.split{ data = { x = 3 } }", at .. "bk.tasks.split: data: expected ")
    lu.assertStrContains(first_line "bk.plot{ { y = { 1, 2 }, error = 3 } }", at .. "bk.plot: ")
    lu.assertEquals(first_line "bk.order.planned{ target = 'x' }",
        at .. 'bk.order.planned: target: expected "average", a task or a table { x =, y = }, got "x"')
    local run_of = "bk.protocol{ model = bk.nn.mlp{ 4, 1 }, tasks = bk.tasks.regression{ n = 1, examples = 4 }, "
        .. "lr = 0.1, steps = 1, interventions = { { before_step = function(state) %s end } } }:run{}"
    lu.assertEquals(first_line(run_of:format "error 'mine'"), at .. "mine")
    lu.assertEquals(first_line(run_of:format "error('without a place', 0)"), at .. "without a place")
    lu.assertEquals(first_line "error('without a place', 0)", "bracket: without a place")
    os.remove(path)
end

function TestProgram:test_usage_errors_exit_2()
    for _, bad in ipairs { "--nosuch", "-x", "-e", "--threads 0", "--threads many", "--threads" } do
        local output, status = run(bad)
        lu.assertEquals(status, 2, bad)
        lu.assertStrContains(output, "usage:")
    end
end

function TestProgram:test_version_help_and_environment()
    lu.assertStrContains(run("--version"), "bracket " .. bk.version)
    lu.assertStrContains(run("--help"), "--threads")
    local p = io.popen("LUA_INIT='print(1)' " .. program .. " -e 'print(2)'; LUA_INIT='print(1)' " .. program
        .. " -E -e 'print(2)'")
    lu.assertEquals(p:read("a"), "1\n2\n2\n")
    p:close()
end

function TestProgram:test_files_beside_the_program()
    local output, status = run("-e 'print(1)'", "BRACKET_LUA=nowhere")
    lu.assertEquals({ output, status },
        { "bracket: while starting: BRACKET_LUA: expected a folder, got nowhere: No such file or directory\n", 1 })
    local folder = os.tmpname()
    os.remove(folder)
    local in_it = ("mkdir -p %s/room && echo 'return 5' > %s/room/five.lua && cd %s &&"):format(folder, folder, folder)
    local there = program:find("^/") and program or io.popen("pwd"):read("l") .. "/" .. program
    local p <close> = io.popen(([[%s BRACKET_LUA=. %s -e 'print(bk.room.five)
        os.execute("cd / && %s -e \"print(bk.room.five)\"")'; rm -r %s]]):format(in_it, there, there, folder))
    lu.assertEquals(p:read("a"), "5\n5\n")
end

-- Of a file of the library that is wrong the message names it, not who came across it; a name that is taken is told.
function TestProgram:test_files_of_the_library_that_are_wrong()
    local folder = os.tmpname()
    os.remove(folder)
    local function first_line(file, text, arguments)
        os.execute(("mkdir -p %s/bracket/%s"):format(folder, file:match("^(.-)[^/]*$")))
        if text then
            local f <close> = assert(io.open(folder .. "/bracket/" .. file, "w"))
            f:write(text)
        end
        local output = run(arguments or "-e 'print(bk.schedule.mine)'", "BRACKET_LUA=" .. folder)
        os.execute("rm -r " .. folder)
        return (output:match("^[^\n]*"):gsub("^bracket: ", ""))
    end
    local mine = "schedule/mine.lua"
    lu.assertStrContains(first_line(mine, "local bk = ...\nreturn bk.define{ name = 'bk.schedule.mine', retruns = 'x',\n"
        .. "    doc = 'd', options = {}, call = print }"), "bracket/schedule/mine.lua:2: bk.define: bk.schedule.mine: "
        .. "unknown field retruns (did you mean returns?)")
    lu.assertStrContains(first_line(mine, "local bk = ...\nlocal f = bk.grad(3)\nreturn f"),
        "bracket/schedule/mine.lua:2: bk.grad: ")
    lu.assertStrContains(first_line("command/mine.lua", "local bk = ...\nreturn bk.command._command_line.define{\n"
        .. "    name = 'mine', arguments = '', doc = 'd', optons = {}, prepare = print, call = print }", "mine"),
        "bracket/command/mine.lua: bracket mine: unknown option optons (did you mean options?)")
    lu.assertEquals(first_line("command/mine.lua", "return { call = print }", "mine"),
        "bracket/command/mine.lua: expected a function of the arguments, got table")
    local plot = "-e 'bk.plot{ { y = { 1, 2 } } }'"
    lu.assertStrContains(first_line("_plot/mine.lua", "return { styles = { 'mine' }, doc = 'd', options = {} }", plot),
        "bracket/_plot/mine.lua: prepare is missing")
    lu.assertStrContains(first_line("_plot/mine.lua", "return { styles = { 'bars' }, doc = 'd', options = {}, "
        .. "prepare = print, place = print, draw = print }", plot),
        "bracket/_plot/mine.lua: style bars is another mark's")
    lu.assertEquals(first_line("nn/linear.lua", "return 1"),
        "while starting: bracket/nn/linear.lua: bk.nn.linear is there in C, which would hide the file")
    lu.assertEquals(first_line("tanh.lua", "return 1"),
        "while starting: bracket/tanh.lua: bk.tanh is there in C, which would hide the file")
    lu.assertEquals(first_line "tanh/",
        "while starting: bracket/tanh/: bk.tanh is there in C, which the folder would hide")
end

function TestProgram:test_help_is_a_command()
    lu.assertStrContains(run("help bk.lie"), "bk.lie(X, Y) -> field")
    lu.assertStrContains(run("help model:init"), "model:init")
    lu.assertStrContains(run("help tutorial"), "From a first bracket")
    lu.assertStrContains(run("help hessian vector"), "bk.hvp")
    lu.assertStrContains(run("help rng"):match("^[^\n]*"), "bk.rng(") -- names before mere mentions
    lu.assertStrContains(run("help"), "In it:")
    local output, status = run("help bk.lei")
    lu.assertEquals(status, 1)
    lu.assertStrContains(output, "did you mean bk.lie")
end

function TestProgram:test_what_was_meant_on_the_command_line()
    lu.assertStrContains(run([[-e 'x = 1' -e 'bk.intervention.eww{}']]), "did you mean bk.intervention.ewc?")
    lu.assertStrContains(run([['-ebk.nn.lineer{ 1, 2 }']]), "did you mean bk.nn.linear?")
end

function TestProgram:test_warnings_are_off_until_W()
    lu.assertEquals(run([[-e 'warn("x")']]), "")
    lu.assertEquals(run([[-W -e 'warn("x")']]), "Lua warning: x\n")
end

function TestProgram:test_a_script_that_never_ran_has_no_traceback()
    lu.assertEquals(run("nosuch.lua"), "bracket: cannot open nosuch.lua: No such file or directory\n")
    lu.assertStrContains(run([[-e 'local x = = 1']]), "unexpected symbol near '='\n")
    lu.assertNotStrContains(run([[-e 'local x = = 1']]), "traceback")
    lu.assertStrContains(run([[-e 'error "boom"']]), "in main chunk")
end

function TestProgram:test_threads_sets_the_workers()
    lu.assertEquals(run([[--threads 3 -e 'print(bk.threads())']]), "3\n")
    lu.assertEquals(run([[--threads=2 -e 'print(bk.threads())']]), "2\n")
end

function TestProgram:test_starts_in_under_15_ms()
    lu.skipIf(build ~= "build", "a sanitizer's start takes longer than ours")
    local best = math.huge -- of processor time: the others' work on the machine is no part of it
    for _ = 1, 30 do
        if best < 0.015 then break end
        local p <close> = io.popen(([[bash -c 'TIMEFORMAT="%%3U %%3S"; time %s -e ""' 2>&1]]):format(program))
        local user, system = p:read("n", "n")
        best = math.min(best, user + system)
    end
    lu.assertTrue(best < 0.015, best)
end

-- ---- what `make docs` writes ----

TestDocs = {}

function TestDocs:setUp()
    self.folder = os.tmpname()
    os.remove(self.folder)
    assert(os.execute("mkdir -p " .. self.folder))
    bk.repl.reference(self.folder)
    self.texts = {}
    for _, name in ipairs { "reference.html", "bracket.lua", "bracket.1" } do
        local f <close> = assert(io.open(self.folder .. "/" .. name))
        self.texts[name] = f:read("a")
    end
end

function TestDocs:tearDown() os.execute("rm -rf " .. self.folder) end

function TestDocs:test_every_docstring_is_on_the_page_and_in_the_man_page()
    bk.repl.help.walk(function(path, _, text)
        if not text then return end
        local signature = text:match("^[^\n]*")
        local escaped = bk.repl.markup.escape(signature)
        if not bk.repl.rooms[path] then
            lu.assertStrContains(self.texts["reference.html"], "<code>" .. escaped .. "</code>", false, path)
        end
        lu.assertStrContains(self.texts["bracket.1"], ".B " .. signature:gsub("\\", "\\e"):gsub("%-", "\\-"), false,
            path)
    end)
    lu.assertStrContains(self.texts["reference.html"], '<article id="model-init">')
    lu.assertNotStrContains(self.texts["reference.html"], "gather(out")
end

-- One file that asks for nothing: links lead to what is in it, an entry has its example and every option its row.
function TestDocs:test_the_page_is_whole()
    local page, ids, n = self.texts["reference.html"], {}, 0
    for id in page:gmatch(' id="([^"]*)"') do
        lu.assertNil(ids[id], id)
        ids[id] = true
    end
    for to in page:gmatch('href="([^"]*)"') do
        n = n + 1
        lu.assertTrue(to:sub(1, 1) == "#" and ids[to:sub(2)] ~= nil, to)
    end
    lu.assertTrue(n > 500)
    for _, part in ipairs{ " src=", "url(", "@import", "http:", "fetch(" } do
        lu.assertNotStrContains(page:gsub("<pre.-</pre>", ""):gsub("<article id=\"guide.-</article>", ""), part)
    end
    bk.repl.help.walk(function(path, value) -- example_test.lua asks for the example of each
        if type(value) ~= "function" then return end
        local entry = page:match('<article id="' .. path:gsub("%.", "%%.") .. '">.-</article>')
        lu.assertNotNil(entry, path)
        for _, o in ipairs(bk.repl.help.options(value) or {}) do
            lu.assertStrContains(entry, "<tr><td><code>" .. o.name .. "</code></td>", false, path)
        end
    end)
    local entry = page:match('<article id="bk%.schedule%.cosine">.-</article>')
    for _, part in ipairs{ "<dt>Formula</dt>", "<dt>Source</dt>", "<td>required</td>", "<code>the run&#39;s</code>" } do
        lu.assertStrContains(entry:gsub("'", "&#39;"), part)
    end
end

function TestDocs:test_guides_are_on_the_page_as_HTML()
    local html = bk.repl.markup.html("Some `x < y` and **bold** [words](tutorial.md).\n\n- one\n  more\n- two\n\n"
        .. "| a | b |\n|---|---|\n| 1 | `2` |\n\n    indented\n\n```\n> 1 < 2\n```\n# Head bk.lie", 3,
        function(name) return name == "bk.lie" and "bk.lie" or nil end)
    lu.assertEquals(html, [[
<p>Some <code>x &lt; y</code> and <strong>bold</strong> <a href="#guide-tutorial">words</a>.</p>
<ul>
<li>one more</li>
<li>two</li>
</ul>
<div class="wide"><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td><code>2</code></td></tr></table></div>
<pre tabindex="0"><code>indented</code></pre>
<pre tabindex="0"><code>&gt; 1 &lt; 2</code></pre>
<h3>Head <a href="#bk.lie">bk.lie</a></h3>]])
    for _, p in ipairs(bk.repl.guide.pages()) do
        lu.assertStrContains(self.texts["reference.html"], '<article id="guide-' .. p.name .. '">')
    end
end

function TestDocs:test_the_man_page_has_no_warnings()
    if not os.execute("command -v man >/dev/null 2>&1") then lu.skip("man is not here") end
    local p = io.popen(("LC_ALL=C.UTF-8 MANWIDTH=200 man --warnings -l %s/bracket.1 2>&1 >/dev/null"):format(self.folder))
    lu.assertEquals(p:read("a"), "")
    p:close()
end

-- As Lua the definitions are a module whose names are the public ones; their tags are LuaCATS's.
function TestDocs:test_the_definitions_define_every_name_and_method()
    local text = self.texts["bracket.lua"]
    local defined = assert(load(text, "=bracket.lua"))()
    bk.repl.help.walk(function(path, value)
        local at = defined
        for name in path:gmatch("%.([%w_]+)") do at = at[name] end
        local kind = (type(value) == "table" or type(value) == "number") and type(value) or "function"
        if path ~= "bk.version" then lu.assertEquals(type(at), kind, path) end
    end)
    for name in pairs(bk.repl.help.methods(bk.ones { 1 })) do
        lu.assertStrContains(text, "function tensor:" .. name .. "(")
    end
    lu.assertStrContains(text,
        "---@param dim? integer|integer[]\n---@param options? bracket.options.tensor.sum\n---@return bracket.tensor\nfunction tensor:sum(dim, options) end")
    lu.assertStrContains(text, "---@return bracket.model\nfunction bk.nn.mlp(options) end")
    lu.assertStrContains(text, "---@field n_params integer\n")
    lu.assertStrContains(text, "---@operator add(any): bracket.tensor\n")
    local classes = {} -- every class that is spoken of is defined
    for class in text:gmatch("%-%-%-@class ([%w_.]+)") do classes[class] = true end
    for line in text:gmatch("%-%-%-@[^\n]*") do
        for class in line:gmatch("%f[%w]bracket%.[%w_.]*[%w_]") do lu.assertTrue(classes[class], line) end
    end
    for tag in text:gmatch("\n%-%-%-@(%a+)") do
        lu.assertTrue(({ class = true, field = true, param = true, ["return"] = true, operator = true })[tag], tag)
    end
end

TestModule = {}

-- What lua5.4 prints of it; (a sanitizer's library, if the module is built with one, has to be there before it is).
local function stock_lua(arguments)
    local p = io.popen(([[sanitizer=$(ldd %s/bracket.so | sed -n 's/.* => \(.*san\.so[^ ]*\) .*/\1/p' | head -n 1)
        LD_PRELOAD=$sanitizer LUA_CPATH='%s/?.so' lua5.4 %s 2>&1]]):format(build, build, arguments))
    local text = p:read("a")
    p:close()
    return text
end

function TestModule:test_stock_lua_loads_the_module()
    lu.assertEquals(stock_lua("-e 'bk = require \"bracket\" print(bk.tensor{1, 2}:sum():item())'"), "3.0\n")
end

-- What tells how far it is, too.
function TestModule:test_stock_lua_runs_the_suites()
    for _, suite in ipairs { "protocol", "spectrum", "reshuffled", "hooks" } do
        lu.assertStrContains(stock_lua("tests/run.lua " .. suite), " passed, 0 failed\n", false, suite)
    end
end

function TestModule:test_files_are_fields_and_loaded_once()
    lu.assertEquals(bk.schedule.cosine, bk.schedule.cosine)
    local found = false
    for name in pairs(bk.schedule) do found = found or name == "cosine" end
    lu.assertTrue(found)
    lu.assertNil(bk.schedule.nosuch)
    lu.assertNil(bk["../init"])
end

function TestModule:test_every_public_name_has_a_docstring()
    local missing = {}
    bk.repl.help.walk(function(path, value, text)
        if path ~= "bk.version" and (not text or #text < 10) then missing[#missing + 1] = path end
    end)
    lu.assertEquals(table.concat(missing, " "), "")
end

function TestModule:test_every_tensor_method_has_a_docstring()
    local _, methods = debug.getupvalue(debug.getmetatable(bk.ones { 1 }).__index, 1)
    local missing = {}
    for name, method in pairs(methods) do
        if not bk.internal.docs[method] then missing[#missing + 1] = name end
    end
    lu.assertEquals(table.concat(missing, " "), "")
end

-- alloc_test runs tests/c/calls.lua with failing allocations: every documented function and method is in it, and
-- nothing that is not.
function TestModule:test_every_public_name_has_a_call_for_the_allocation_test()
    local folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir -p " .. folder))
    local calls, failed = assert(loadfile("tests/c/calls.lua"))(folder), {}
    for name, call in pairs(calls) do
        local ok, why = pcall(call)
        if not ok then failed[#failed + 1] = name .. ": " .. tostring(why) end
    end
    os.execute("rm -rf " .. folder)
    lu.assertEquals(table.concat(failed, "\n"), "", "these need a call of their own in tests/c/calls.lua, or another")
    local help = bk.repl.help
    local public, seen, missing = { ["operators of tensors"] = true, coroutines = true }, {}, {}
    help.walk(function(path, value, text)
        if text then seen[value] = true end
        if type(value) ~= "string" and not bk.repl.rooms[path] then public[path] = true end
    end)
    for key, text in pairs(bk.internal.docs) do
        local method = type(key) == "function" and not seen[key] and text:match("^%a+:[%a_]+")
        if method then public[method] = true end
    end
    for name in pairs(public) do if not calls[name] then missing[#missing + 1] = name end end
    lu.assertEquals(table.concat(missing, " "), "", "tests/c/calls.lua has no use of these")
    for name in pairs(calls) do lu.assertTrue(public[name], name) end
end

function TestModule:test_a_docstring_ends_with_its_value()
    local function count()
        collectgarbage()
        collectgarbage()
        local n = 0
        for _ in pairs(bk.internal.docs) do n = n + 1 end
        return n
    end
    local before = count()
    for _ = 1, 10 do bk.doc(function() end, "f()\n\nA text.") end
    lu.assertEquals(count(), before)
end

function TestModule:test_doc_rejects_misuse()
    lu.assertErrorMsgContains("bk.doc: text", bk.doc, print, 3)
    lu.assertErrorMsgContains("bk.doc: value", bk.doc, nil, "x")
end

-- The REPL on a pseudo-terminal (tests/c/pty.c types and reads).
local bk = require "bracket"
local lu = require "luaunit"
local files = require "files"
local read, write = files.read, files.write
local build = os.getenv("BRACKET_BUILD") or "build"
local pty, program = build .. "/tests/pty", build .. "/bracket"

local home
-- What may stand at the end of line.
local function candidates(line) return table.concat((bk.repl.complete(line)), "|") end

-- Runs the script; returns the times of its expects, in ms, and whatever else the driver printed.
local function drive(script, environment, options)
    write(home .. "/script", "expect 5000 > \n" .. script)
    local p = io.popen(("env -u NO_COLOR HOME=%s XDG_STATE_HOME=%s/state XDG_CONFIG_HOME=%s/config TERM=xterm %s %s %s %s < %s/script 2>&1")
        :format(home, home, home, environment or "", pty, program, options or "", home))
    local text = p:read("a")
    local ok = p:close()
    lu.assertTrue(ok, text)
    local times = {}
    for line in text:gmatch("[^\n]+") do times[#times + 1] = tonumber(line) end
    table.remove(times, 1)
    return times, text
end

TestRepl = {}

function TestRepl:setUp()
    home = os.tmpname()
    os.remove(home)
    assert(os.execute("mkdir -p " .. home .. "/config/bracket"))
end

function TestRepl:tearDown()
    files.remove(home)
end

function TestRepl:test_expressions_print_and_underscore_is_the_last_value()
    drive("send 40+2\\r\nexpect 2000 \\r\\n42\\r\\n\nsend _*2\\r\nexpect 2000 \\r\\n84\\r\\n\n")
end

function TestRepl:test_UTF_8_is_typed_and_recalled_in_any_locale()
    for _, locale in ipairs { "LC_ALL=C", "LC_ALL=C.UTF-8" } do
        drive("send #'\\xCE\\xB8\\xC3\\xA9' + 10\\r\nexpect 2000 \\r\\n14\\r\\n\nexpect 2000 > \nsend \\e[A\\r\nexpect 2000 \\r\\n14\\r\\n\n"
            .. "expect 2000 > \nsend #'\\xCE\\xB8\\x7F' + 20\\r\nexpect 2000 \\r\\n20\\r\\n\n", locale)
    end
end

function TestRepl:test_a_signal_that_another_thread_took_ends_the_wait()
    drive("send coro\nexpect 2000 coro\nsleep 100\ninterrupt\nexpect 2000 ^C\nexpect 2000 > \n")
end

function TestRepl:test_a_tab_lists_what_is_possible()
    drive("send coroutine.\\t\nexpect 2000 close\nexpect 2000 isyieldable\nexpect 2000 yield\nexpect 2000 coroutine.\n"
        .. "send running() and 6 * 7\\r\nexpect 2000 \\r\\n42\\r\\n\n")
end

function TestRepl:test_a_word_is_deleted_forwards()
    drive("send 20 + hundred + 22\\eb\\eb\\ed0\\r\nexpect 2000 \\r\\n42\\r\\n\n")
end

function TestRepl:test_keys_work_after_a_suspension()
    drive("send coro\nexpect 2000 coro\nsuspend\nexpect 2000 coro\nsend \\t\nexpect 2000 utine\nsend \\x03\nexpect 2000 > \n")
end

function TestRepl:test_ctrl_c_ends_a_read()
    drive("send io.read()\\r\nsleep 100\nsend \\x03\nexpect 1000 interrupted\nexpect 1000 > \nsend 5 + 5\\r\nexpect 2000 \\r\\n10\\r\\n\n")
end

function TestRepl:test_a_trailing_semicolon_silences()
    drive("send 1234+1;\\r\nnone 300 1235\nsend _\\r\nexpect 2000 \\r\\n1235\\r\\n\n")
end

function TestRepl:test_a_long_run_shows_its_progress_on_a_terminal_alone()
    local code = [[local x = bk.rng(1):normal{ 64, 20 }
        bk.protocol{ model = bk.nn.mlp{ 20, 64, 20 }, tasks = { { loss = "mse", x = x, y = x } }, lr = 0.01,
            steps = 20000,
            batch = 32 }:run{}
        print("ran")]]
    write(home .. "/run.lua", "local bk = require 'bracket'\n" .. code)
    drive("send dofile '" .. home .. "/run.lua'\\r\nexpect 5000 step \nexpect 30000 \\e[Kran\\r\\n\n")
    local p = io.popen(program .. " " .. home .. "/run.lua 2>&1")
    lu.assertEquals(p:read("a"), "ran\n")
    p:close()
end

function TestRepl:test_unfinished_input_continues()
    drive("send for i = 1, 2 do\\r\nexpect 2000 >> \nsend print(i * 11)\\r\nexpect 2000 >> \nsend end\\r\nexpect 2000 \\r\\n11\\r\\n22\n")
end

function TestRepl:test_a_pasted_block_is_one_input()
    drive("send \\e[200~local a = 5\\nlocal b = a + 2\\nprint(a * b)\\n\\e[201~\nnone 200 35\nsend \\r\nexpect 2000 \\r\\n35\\r\\n\n")
    lu.assertStrContains(read(home .. "/state/bracket/history"), "local\\040a\\040=\\0405\\012local")
end

function TestRepl:test_history_is_kept_private_and_searched()
    drive("send 7*6\\r\nexpect 2000 42\nsend 'other'\\r\nexpect 2000 \\r\\nother\nexpect 2000 > \nsend \\x04\nexit 3000\n")
    local p = io.popen("ls -l " .. home .. "/state/bracket/history")
    lu.assertStrContains(p:read("a"), "-rw-------")
    p:close()
    drive("send \\x127*\nexpect 2000 7*6\nsend \\r\nexpect 2000 \\r\\n42\\r\\n\n")
    drive("send \\e[A\\r\nexpect 2000 \\r\\n42\\r\\n\n")
end

local UP, DOWN, LEFT = "\\e[A", "\\e[B", "\\e[D"

function TestRepl:test_up_searches_by_prefix_and_down_comes_back()
    drive("send alpha = 11\\r\nexpect 2000 > \nsend beta = 22\\r\nexpect 2000 > \nsend alpha2 = 33\\r\nexpect 2000 > \n"
        .. "send al" .. UP .. "\nrows 2000 > beta = 22|> alpha2 = 33|> alpha2 = 33\n"
        .. "send " .. UP .. "\nrows 2000 > alpha2 = 33|> alpha = 11\nsend " .. DOWN .. DOWN .. "\n"
        .. "rows 2000 > alpha2 = 33|> al\n"
        .. "send \\x15" .. UP .. UP .. "\nrows 2000 > alpha2 = 33|> beta = 22\n" -- without a prefix: one by one
        .. "send \\x15_ENV.be" .. LEFT .. LEFT .. UP .. "\nsend ta\\r\nexpect 2000 \\r\\nnil\\r\\n\n") -- none begins so
end

function TestRepl:test_the_cursor_moves_in_a_recalled_block()
    drive("send \\e[200~a = 1\\nbcd = 22\\nef = 3\\e[201~\\r\nrows 2000 > a = 1|bcd = 22|ef = 3|>\nsend 5\\r\nrows 2000 ef = 3|> 5|5|>\n"
        .. "send " .. UP .. UP .. "\nrows 2000 5|> a = 1|bcd = 22|ef = 3\n"
        .. "send " .. UP .. "1\nrows 2000 > a = 1|bcd = 122|ef = 3\nsend " .. DOWN .. "5\n"
        .. "rows 2000 > a = 1|bcd = 122|ef = 35\n"
        .. "send \\r\nexpect 2000 > \nsend bcd + ef\\r\nexpect 2000 \\r\\n157\\r\\n\n")
end

function TestRepl:test_ctrl_c_in_a_block_leaves_a_clean_screen()
    drive("send \\e[200~a = 1\\nbcd = 22\\nef = 3\\e[201~" .. UP .. UP .. "!\n"
        .. "rows 2000 > a = 1!|bcd = 22|ef = 3\nsend \\x03\n"
        .. "rows 2000 > a = 1!|bcd = 22|ef = 3^C|>\nsend 6*7\\r\nrows 2000 ef = 3^C|> 6*7|42|>\n")
end

function TestRepl:test_an_unfinished_input_comes_back_with_up()
    drive("send for i = 1, 2 do\\r\nexpect 2000 >> \nsend print(i * 11)\\r\nexpect 2000 >> \nsend e" .. UP .. "\n"
        .. "rows 2000 > for i = 1, 2 do|print(i * 11)|e\nsend " .. LEFT .. "2\n"
        .. "rows 2000 > for i = 1, 2 do|print(i * 112)|e\n"
        .. "send " .. DOWN .. "nd\\r\nexpect 2000 \\r\\n112\\r\\n224\n")
end

function TestRepl:test_ctrl_left_and_right_move_by_words()
    drive("send bk.alpha.beta_1 + 2\\e[1;5D\\e[1;5D\\e[1;5DX\nrows 2000 > bk.Xalpha.beta_1 + 2\n"
        .. "send \\e[1;5C\\e[1;5CY\nrows 2000 > bk.Xalpha.beta_1Y + 2\nsend \\x17\nrows 2000 > bk.Xalpha. + 2\n"
        .. "send \\x03\nexpect 2000 > \nsend #'\\xCE\\xB8 x'\\e[1;5D\\e[1;5Dab\\r\nexpect 2000 \\r\\n6\\r\\n\n")
end

function TestRepl:test_alt_enter_makes_a_line_and_home_and_end_keep_to_it()
    drive("send x = 5\\e\\rprint(x)\\e[Hy = 1; \\e[F -- z\nrows 2000 > x = 5|y = 1; print(x) -- z\nsend \\r\nexpect 2000 \\r\\n5\\r\\n\n")
end

function TestRepl:test_a_resized_window_is_laid_out_anew()
    drive("send local s = 'abcdefghijklmnopqrstuvwxyz'\nsize 20\nsleep 100\nsend  .. 'q'\n"
        .. "expect 2000 > local s = 'abcdefg\nsize 120\nsend ; print(#s)\\r\nexpect 2000 \\r\\n27\\r\\n\n")
end

function TestRepl:test_sessions_share_the_history_without_loss()
    local other = ([[sh -c 'printf "expect 5000 > \nsend first_%s = 1\\r\nexpect 2000 > \nsend 2\\r\nexpect 2000 2" | %s %s >/dev/null']])
    os.execute(("mkdir -p %s/state"):format(home))
    drive("send mine = 3\\r\nexpect 2000 > \nsend os.execute [[" .. other:format("other", pty, program) .. "]]\\r\n"
        .. "expect 9000 true\nexpect 2000 > \nsend late = 4\\r\nexpect 2000 > \nsend first" .. UP .. "\nrows 2000 > first_other = 1\n")
    local kept = read(home .. "/state/bracket/history")
    for _, name in ipairs{ "mine", "first_other", "late" } do lu.assertStrContains(kept, name .. "\\040=") end
    drive("send fi" .. UP .. "\nrows 2000 > first_other = 1\n")
end

function TestRepl:test_a_damaged_or_long_history_is_kept_short()
    os.execute(("mkdir -p %s/state/bracket"):format(home))
    local lines = { "_HiStOrY_V2_" }
    for i = 1, 11000 do lines[#lines + 1] = "x" .. i .. "\\040=\\0401" end
    write(home .. "/state/bracket/history", table.concat(lines, "\n") .. "\nhalf\\040a")
    drive("send x109" .. UP .. "\nrows 2000 > x10999 = 1\nsend \\x03\nexpect 2000 > \nsend 'new'\\r\n"
        .. "expect 2000 \\r\\nnew\n")
    local kept = read(home .. "/state/bracket/history")
    lu.assertTrue(#kept < 5010 * 20)
    lu.assertStrContains(kept, "\n'new'\n")
end

function TestRepl:test_init_file_runs_unless_E()
    write(home .. "/config/bracket/init.lua", "fromfile = 'initialised'")
    drive("send fromfile\\r\nexpect 2000 \\r\\ninitialised\n")
    drive("send fromfile\\r\nexpect 2000 \\r\\nnil\n", nil, "-E")
end

function TestRepl:test_LUA_INIT_is_honoured()
    drive("send marker\\r\nexpect 2000 \\r\\n99\\r\n", "LUA_INIT='marker = 1' LUA_INIT_5_4='marker = 99'")
    drive("send marker\\r\nexpect 2000 \\r\\n98\\r\n", "LUA_INIT='marker = 98'")
end

function TestRepl:test_tab_completes_globals_fields_methods_files_and_indents()
    drive("send coro\\t\nexpect 2000 utine\nsend .wr\\t\nexpect 2000 ap\nsend \\x03\nexpect 2000 > \n"
        .. "send bk.schedule.const\\t\nexpect 2000 ant\nsend \\x03\nexpect 2000 > \n"
        .. "send t = bk.zeros{2}\\r\nexpect 2000 > \nsend t:tota\\t\nexpect 2000 ble\nsend \\x03\nexpect 2000 > \n"
        .. "send s = 'x'\\r\nexpect 2000 > \nsend s:rever\\t\nexpect 2000 se\nsend \\x03\nexpect 2000 > \n"
        .. "send io.open '" .. home .. "/conf\\t\nexpect 2000 ig/\nsend \\x03\nexpect 2000 > \n"
        .. "send s = [[\\r\nexpect 2000 >> \nsend \\tx]]\\r\nexpect 2000 > \nsend #s .. '!'\\r\nexpect 2000 \\r\\n5!\n")
end

function TestRepl:test_tab_completes_the_options_of_a_call()
    drive("send bk.schedule.cosine{ fi\\t\nexpect 2000 nal = \nsend 0, l\\t\nexpect 2000 r = \nsend \\x03\nexpect 2000 > \n"
        .. "send bk.nn.mlp{3, act\\t\nexpect 2000 ivation = \nsend \\x03\nexpect 2000 > \n"
        .. "send bk.plot{ {y = {1}}, tit\\t\nexpect 2000 le = \nsend \\x03\nexpect 2000 > \n")
    lu.assertEquals(candidates "bk.schedule.linear{ lr = 1, ", "final = |steps = ") -- those that are not there yet
    lu.assertEquals(candidates "bk.schedule.linear{ lr = bk.schedule.linea", "linear") -- a value, not a name
    lu.assertEquals(candidates "bk.schedule.linear(fi", "")
    lu.assertEquals(candidates "nosuch{ fi", "")
end

function TestRepl:test_options_complete_past_tables_calls_and_lines()
    lu.assertEquals(candidates "bk.schedule.linear{ lr = f(1, { 2 }), fi", "final = ")
    lu.assertEquals(candidates "x = bk.schedule.linear{\n    lr = 1,\n    fi", "final = ")
    lu.assertEquals(candidates "bk.landscape(L, theta, { siz", "size = ")
    lu.assertEquals(candidates "-- don't\nbk.schedule.linear{ fi", "final = ")
    drive("send bk.schedule.linear{\\r\nexpect 2000 >> \nsend lr = 1, fi\\t\nrows 2000 > bk.schedule.linear{|>> lr = 1, final =\n")
end

function TestRepl:test_tab_completes_elements_and_what_calls_return()
    drive("send xs = { { alpha = { beta_1 = 1 } }, bk.ones{2, 2}, ['a b'] = { gamma = 2 } }\\r\nexpect 2000 > \n"
        .. "send xs[1].al\\t.be\\t\nrows 2000 > xs[1].alpha.beta_1\nsend \\x15xs[2][1]:tota\\t\nrows 2000 > xs[2][1]:totable\n"
        .. "send \\x15xs['a b'].g\\t\nrows 2000 > xs['a b'].gamma\nsend \\x15bk.ones{2}:resh\\t\nrows 2000 > bk.ones{2}:reshape\n")
    lu.assertEquals(candidates "xs[1", "") -- no name
    lu.assertEquals(candidates "f(x[1]):nosuch", "")
end

function TestRepl:test_tab_completes_commands_settings_and_help_names()
    drive("send :rel\\t\nrows 2000 > :reload\nsend \\x15:set pre\\t\nrows 2000 > :set precision\n"
        .. "send \\x15:time bk.schedule.const\\t\nrows 2000 > :time bk.schedule.constant\n"
        .. "send \\x15help 'tuto\\t\nrows 2000 > help 'tutorial\nsend \\x15help('model:init_b\\t\nrows 2000 > help('model:init_buffers\n"
        .. "send \\x15?tuto\\t\nrows 2000 > ?tutorial\nsend \\x15??bk.schedule.const\\t\nrows 2000 > ??bk.schedule.constant\n"
        .. "send \\x15?model:init_b\\t\nrows 2000 > ?model:init_buffers\n"
        .. "send \\x15:load ~/conf\\t\nrows 2000 > :load ~/config/\nsend \\x15x = '~/conf\\t\nrows 2000 > x = '" .. home .. "/config/\n")
end

function TestRepl:test_a_local_that_has_ended_is_told()
    drive("send local q, r = 5\\r\nexpect 2000 > \nsend r\\r\nexpect 2000 nil (a local ends with its input)\n"
        .. "send local function f() end\\r\nexpect 2000 > \nsend f\\r\nexpect 2000 nil (a local ends with its input)\n")
end

function TestRepl:test_unknown_names_bring_what_was_meant()
    drive("send theta = 5\\r\nexpect 2000 > \nsend print(thta.x)\\r\nexpect 2000 did you mean theta?\nsend thta\\r\nexpect 2000 nil (did you mean theta?)\n"
        .. "send bk.lei(1)\\r\nexpect 2000 did you mean bk.lie?\nsend bk.bea.wrod\\r\nexpect 2000 nil (did you mean bk.bea.word?)\n"
        .. "send grad(1)\\r\nexpect 2000 did you mean bk.grad?\nsend bk.ones{2}:nrm()\\r\nexpect 2000 (did you mean norm?)\n"
        .. "send w = bk.bea.word{ {function(t) return t end, 0.1} }\\r\nexpect 2000 > \nsend w:trem(1)\\r\nexpect 2000 did you mean :term?\n"
        .. "send ('x'):uper()\\r\nexpect 2000 did you mean :upper?\nsend bk.nn.mlp{2, 1}:inti{}\\r\nexpect 2000 (did you mean init?)\n"
        .. "send local function f(alpha) return alhpa.x end f(1)\\r\nexpect 2000 did you mean alpha?\n"
        .. "send :tmie 1\\r\nexpect 2000 did you mean :time?\nsend zzqqx\\r\nexpect 2000 \\r\\nnil\\r\\n\n")
    write(home .. "/s.lua", "local t = { width = 1 }\n\nprint(t.wdith.x)\n")
    drive("send dofile '" .. home .. "/s.lua'\\r\nexpect 2000 s.lua:3: \nexpect 500 did you mean t.width?\n")
end

function TestRepl:test_source_of_functions()
    drive("send f = 1; function f(x)\\r\nexpect 2000 >> \nsend return x + 71\\r\nexpect 2000 >> \nsend end\\r\nexpect 2000 > \n"
        .. "send g = function(y) return y * 5 end\\r\nexpect 2000 > \nsend ??f\\r\nexpect 2000 x + 71\\r\\nend\\r\\n\n"
        .. "send ??g\\r\nexpect 2000 -- stdin:1\nexpect 500 y * 5\nsend ??bk.schedule.cosine\\r\nexpect 2000 bracket/schedule/cosine.lua\nexpect 500 math.cos(\n"
        .. "send ??bk.grad\\r\nexpect 2000 bk.grad(\nexpect 2000 written in C\nsend ??nosuch\\r\nexpect 2000 names no value\n")
end

function TestRepl:test_debug_shows_the_locals_up_the_stack()
    drive("send function f(a) local loc = a * 2; error('boom') end\\r\nexpect 2000 > \nsend function g(x) local y = f(x + 1) return y end\\r\nexpect 2000 > \n"
        .. "send local r = g(4)\\r\nexpect 2000 in function 'g'\nexpect 2000 > \nsend :debug\\r\nexpect 2000 1  stdin:1: in function 'f'\nexpect 500 a = 5\nexpect 500 loc = 10\n"
        .. "expect 500 2  stdin:1: in function 'g'\nexpect 500 x = 4\nexpect 500 3  stdin:1: in main chunk\n"
        .. "send :debug 1 loc * 100 + a\\r\nexpect 2000 \\r\\n1005\\r\\n\nsend :debug 9\\r\nexpect 2000 there are 3 frames\n"
        .. "send x = = 1\\r\nexpect 2000 unexpected\nsend :debug 2\\r\nexpect 2000 x = 4\n") -- what never ran has no frames
    drive("send :debug\\r\nexpect 2000 there was no error\n")
end

function TestRepl:test_load_and_reload()
    write(home .. "/mine.lua", "loaded = (loaded or 0) + 1\n")
    write(home .. "/mymod.lua", "return { f = function() return 'old' end, gone = 1 }\n")
    drive("send :load ~/mine.lua\\r\nexpect 2000 > \nsend :reload\\r\nexpect 2000 > \nsend 'x' .. loaded\\r\nexpect 2000 \\r\\nx2\\r\\n\n"
        .. "send :load ~/nosuch.lua\\r\nexpect 2000 nosuch.lua: No such file\nnone 100 traceback\n"
        .. "send package.path = '" .. home .. "/?.lua'; m = require 'mymod'; f = m\\r\nexpect 2000 > \n"
        .. "send io.open('"
        .. home .. "/mymod.lua', 'w'):write [[return { f = function() return 'new' end }]]:close()\\r\nexpect 2000 > \n"
        .. "send :reload mymod\\r\nexpect 2000 > \nsend f.f() .. tostring(f.gone) .. tostring(f == require 'mymod')\\r\nexpect 2000 newniltrue\n"
        .. "send :reload other\\r\nexpect 2000 no module other\n")
end

function TestRepl:test_set_says_how_tensors_print()
    drive("send t = bk.arange(1, 13) / 3\\r\nexpect 2000 > \nsend t\\r\nexpect 2000 ... \nsend :set threshold 100\\r\nexpect 2000 > \n"
        .. "send :set precision 3\\r\nexpect 2000 > \nsend :set width 30\\r\nexpect 2000 > \n"
        .. "send t\\r\nexpect 2000 (12)\\r\\n[0.333 0.667     1  1.33  1.67\\r\\n     2  2.33  2.67     3  3.33\\r\\n  3.67     4]\n"
        .. "send :set\\r\nexpect 2000 precision  3 \nsend :set precison 4\\r\nexpect 2000 did you mean precision?\n"
        .. "send :set width x\\r\nexpect 2000 expected a whole number\nsend :set width 3\\r\nexpect 2000 :set width: expected an integer from 20\n")
end

function TestRepl:test_help_is_wrapped_to_the_terminal_with_options_as_a_table()
    drive("size 62\nsleep 100\nsend ?bk.schedule.cosine\\r\nrows 3000 option  is              default|lr      a finite        (required)  the first rate|"
        .. "        number|final   a finite        0           the last rate, and that|        number                      of every step after it|"
        .. "steps   a whole number  the run's   the steps it takes|        >= 1||"
        .. "Formula: final + (lr - final)/2 (1 + cos(pi (step - 1)/(steps|  - 1)))||"
        .. "Source: Loshchilov & Hutter 2017||Example:|"
        .. "  > rate = bk.schedule.cosine{ lr = 1, final = 0, steps = 5 }|  > rate(1), rate(3), rate(5)|  1.0|  0.5|  0.0|>\n")
    local page = bk.repl.help.page
    lu.assertStrContains(page('record "conflict"'), "The conflict term. Joint:") -- as lists of what is found write it
    bk.repl.help.walk(function(path)
        for line in page(path):gmatch("[^\n]+") do
            if not line:find("^  ") then lu.assertTrue(utf8.len(line) <= 100, path .. ": " .. line) end
        end
    end)
end

function TestRepl:test_who_timeit_and_the_shell()
    drive("send mine = bk.ones{2, 3}\\r\nexpect 2000 > \nsend :who\\r\nexpect 2000 mine  tensor float64 (2,3)\nnone 100 print\n"
        .. "send :timeit mine:sum()\\r\nexpect 9000 s a call (least of \nsend !printf '%d' 77\\r\nexpect 2000 \\r\\n77\n")
end

function TestRepl:test_completion_runs_no_user_code()
    drive("send trap = setmetatable({}, {__index = function() ran = true end, __pairs = function() ran = true end})\\r\nexpect 2000 > \n"
        .. "send trap.fie\\t\\t\nnone 200 error\nsend \\x03\nexpect 2000 > \nsend tostring(ran) .. '!'\\r\nexpect 2000 \\r\\nnil!\n")
end

function TestRepl:test_tables_print_to_a_depth_with_cycles_marked()
    drive("send c = {1, two = {3}}; c.me = c\\r\nexpect 2000 > \nsend c\\r\nexpect 2000 { 1, me = <cycle>, two = { 3 } }\n"
        .. "send {{{{{1}}}}}\\r\nexpect 2000 {...}\n")
end

function TestRepl:test_what_a_chunk_returns_prints_too()
    drive("send return 6*7, 'x'\\r\nexpect 2000 \\r\\n42\\r\\nx\\r\nsend for i = 1, 2 do end return 5 + i0()\\r\nexpect 2000 i0\n"
        .. "send =9*9\\r\nexpect 2000 \\r\\n81\\r\n")
end

function TestRepl:test_tensors_print_dtype_and_shape()
    drive("send bk.zeros{3, 400}\\r\nexpect 2000 float64 (3,400)\nexpect 2000 ...\n")
end

function TestRepl:test_it_says_what_it_is_once()
    drive("none 200 bracket 0\n", nil, "-v -i")
    write(home .. "/script", "expect 3000 bracket " .. bk.version .. "\nexpect 2000 help()\nexpect 2000 > \n")
    lu.assertTrue(os.execute(("HOME=%s %s %s < %s/script > %s/log"):format(home, pty, program, home, home)))
end

function TestRepl:test_functions_print_their_signature_and_rooms_their_names()
    drive("send bk.grad\\r\nexpect 2000 \\r\\nfunction bk.grad(f)\nsend bk.optim\\r\nexpect 2000 bk.optim:\\r\\nadam adamw\n"
        .. "send {bk.nn}\\r\nexpect 2000 { bk.nn }\nsend {print}\\r\nexpect 2000 { function: \n")
end

function TestRepl:test_help_of_objects_and_methods()
    drive("send t = bk.ones{2}\\r\nexpect 2000 > \nsend ?t\\r\nexpect 2000 Its methods:\nexpect 500 matmul\n"
        .. "send ?t:sum\\r\nexpect 2000 \\r\\nt:sum(\nsend ?t.sum\\r\nexpect 2000 \\r\\nt:sum(\n"
        .. "send ?model:init\\r\nexpect 2000 \\r\\nmodel:init{\nsend ?print\\r\nexpect 2000 no docstring for this function\n"
        .. "send ?bk.schedule\\r\nexpect 2000 one_cycle\nsend ?os.exit(3)\\r\nexpect 2000 nothing is documented under\n")
end

function TestRepl:test_help_by_value_question_mark_and_words()
    drive("send help(bk.lie)\\r\nexpect 2000 \\r\\nbk.lie(\nsend ?bk.grad\\r\nexpect 2000 \\r\\nbk.grad(\n"
        .. "send help 'hessian'\\r\nexpect 3000 \\r\\nbk.hessian(\nsend help 'nosuchwordanywhere'\\r\nexpect 2000 nothing is documented\n"
        .. "send help 'bracket_i_j_layer_l'\\r\nexpect 3000 Example:\n") -- the only entry
end

-- Of a name that is not set: not the page of all there is, as if nothing had been asked.
function TestRepl:test_help_of_nil()
    drive("send help(bk.lei)\\r\nexpect 2000 \\r\\nno docstring for nil\nsend help('bk.lei')\\r\nexpect 2000 did you mean bk.lie?\n"
        .. "send help()\\r\nexpect 2000 In it:\n")
end

function TestRepl:test_another_letter_is_no_name_meant()
    drive("send L = 1;\\r\nexpect 2000 > \nsend r\\r\nexpect 2000 \\r\\nnil\\r\\n\nsend l\\r\nexpect 2000 did you mean L?\n")
end

function TestRepl:test_time_and_type()
    drive("send :time 1 + 2\\r\nexpect 2000 \\r\\n3\\r\\n\nexpect 2000 processor time\n"
        .. "send :type bk.zeros{2, 3}\\r\nexpect 2000 tensor float64 (2,3)\nsend :type 1.5\\r\nexpect 2000 \\r\\nfloat\n"
        .. "send :nosuch\\r\nexpect 2000 no command :nosuch\n")
end

function TestRepl:test_errors_have_a_traceback_and_leave_the_session()
    drive("send kept = 5\\r\nexpect 2000 > \nsend function f() error('boom') end\\r\nexpect 2000 > \nsend local y = f()\\r\nexpect 2000 boom\n"
        .. "expect 2000 stack traceback\nexpect 500 in main chunk\nnone 100 session.lua\nsend kept + 1\\r\nexpect 2000 \\r\\n6\\r\\n\n")
end

function TestRepl:test_input_that_is_no_Lua_gets_one_line()
    drive("send x = = 2\\r\nexpect 2000 stdin:1: unexpected symbol near '='\nnone 200 traceback\nsend :nosuch\\r\nexpect 2000 no command :nosuch\n"
        .. "none 200 traceback\n")
end

function TestRepl:test_colour_only_without_NO_COLOR()
    drive("send error('boom')\\r\nexpect 2000 \\e[31m\n")
    drive("send error('boom')\\r\nnone 400 \\e[31m\n", "NO_COLOR=1")
end

function TestRepl:test_ctrl_d_leaves_with_status_0()
    local _, text = drive("send \\x04\nexit 3000\n")
    lu.assertStrContains(text, "exit 0")
end

-- Ctrl-C stops a run between two steps, and p:run{} goes on from there, with a folder or without: the end is that of a
-- run without it, the hooks have run once a step.
local function goes_on_after_ctrl_c(out, said)
    write(home .. "/p.lua", [[
local bk, calls = require "bracket", 0
local x, y = bk.rng(1):normal{ 100, 20 }, bk.rng(2):integers({ 100 }, 3)
local function make(slow) return bk.protocol{ model = bk.nn.mlp{ 20, 8, 3 }, order = "cyclic", lr = 0.05, steps = 400,
    batch = 10, record = { every = 50, "loss" }, tasks = { { x = x, y = y }, { x = -x, y = y } }, interventions = { {
    name = "slow", before_step = function(state, memory)
        memory.n = (memory.n or 0) + 1
        calls = calls + (slow and 1 or 0)
        if slow and memory.n == 20 then print "going" end
        local until_ = bk.clock() + (slow and memory.n >= 20 and pause or 0) -- the run lasts until it is interrupted
        while bk.clock() < until_ do end
    end } } } end
want, p, pause = make(false):run{ progress = false }, make(true), 0.05
function told() local r = p.result
    return tostring(r.theta == want.theta and #r.history.loss == #want.history.loss) .. " " .. calls end
]])
    drive(("send dofile '%s/p.lua'\\r\nexpect 30000 > \nsend p:run{progress = false%s} print 'over'\\r\n"
        .. "expect 30000 going\nsend \\x03\nexpect 30000 %s\nexpect 30000 > \n"
        .. "send pause, at = 0, p.current.step < 400 and 'early' or 'late'; print('step ' .. at)\\r\nexpect 30000 step early\n"
        .. "expect 30000 > \nsend r = p:run{progress = false}\\r\nexpect 30000 > \n"
        .. "send 'same ' .. told()\\r\nexpect 30000 same true 400\n"):format(home, out, said))
end

function TestRepl:test_an_interrupted_run_goes_on()
    goes_on_after_ctrl_c("", " of 400; p:run{} goes on")
    goes_on_after_ctrl_c((", out = '%s/run'"):format(home), "stopped by SIGINT after step")
end

local function interrupted_within(limit, setup, input)
    local times = drive(setup .. "send print('go' .. 1) " .. input
        .. "\\r\nexpect 2000 \\r\\ngo1\nsleep 200\nsend \\x03\nexpect 3000 interrupted\nexpect 3000 > \n"
        .. "send 'alive' .. 1\\r\nexpect 2000 \\r\\nalive1\\r\\n\n")
    local n = #times
    lu.assertTrue(times[n - 2] + times[n - 1] < limit, ("%s: %.0f ms"):format(input, times[n - 2] + times[n - 1]))
end

function TestRepl:test_ctrl_c_stops_lua_within_100_ms()
    interrupted_within(100, "", "while true do end")
end

function TestRepl:test_ctrl_c_stops_a_coroutine_within_100_ms()
    interrupted_within(100, "", "coroutine.wrap(function() while true do end end)()")
    interrupted_within(100, "",
        "print(coroutine.resume(coroutine.create(function() coroutine.wrap(function() while true do end end)() end)))")
end

-- Lua's own library has no place at which it could be stopped: what runs ends with the call, and :help says so.
function TestRepl:test_ctrl_c_waits_for_a_long_find_and_help_says_so()
    drive("send :help\\r\nexpect 2000 string.find\nexpect 2000 > \n"
        .. "send s, p = ('a'):rep(20), ('a?'):rep(20) .. ('a'):rep(20)\\r\nexpect 2000 > \n"
        .. "send print('go' .. 1) while true do s:find(p) end\\r\nexpect 2000 \\r\\ngo1\nsleep 100\nsend \\x03\n"
        .. "expect 5000 interrupted\nexpect 2000 > \nsend 'alive' .. 1\\r\nexpect 2000 \\r\\nalive1\\r\\n\n")
end

function TestRepl:test_ctrl_c_stops_a_script_that_catches_errors()
    interrupted_within(200, "", "while true do pcall(function() while true do end end) end")
end

function TestRepl:test_ctrl_c_stops_a_large_matmul_within_100_ms()
    interrupted_within(100, "send A = bk.ones{6000, 6000};\\r\nexpect 9000 > \n", "A:matmul(A)")
end

function TestRepl:test_ctrl_c_stops_large_matmuls_on_several_threads_within_100_ms()
    interrupted_within(100, "send bk.threads(2); A, B = bk.ones{6000, 6000}, bk.zeros{6000, 6000};\\r\nexpect 9000 > \n"
        .. "send f = bk.compile(function(a, b) return a:matmul(a), b:matmul(b) end);\\r\nexpect 2000 > \n", "f(A, B)")
end

function TestRepl:test_ctrl_c_stops_a_long_flow_within_100_ms()
    interrupted_within(100, "",
        "bk.flow(function(t) return -t end, bk.ones{50}, {time = 1, method = 'rk4', steps = 1000000000})")
end

function TestRepl:test_ctrl_c_stops_a_large_hessian_within_100_ms()
    interrupted_within(100, "send m = bk.nn.mlp{20, 50, 50, 5}\\r\nexpect 2000 > \n"
        .. "send L = bk.loss.mse(m, bk.ones{2000, 20}, bk.ones{2000, 5})\\r\nexpect 2000 > \n"
        .. "send theta = m:init{seed = 1}; bk.grad(L)(theta);\\r\nexpect 2000 > \n", "bk.hessian(L)(theta)")
end

function TestRepl:test_ctrl_c_at_the_prompt_drops_the_line()
    drive("send garbage that is not lua\\x03\nexpect 2000 ^C\nexpect 2000 > \nsend 1+1\\r\nexpect 2000 \\r\\n2\\r\\n\n")
end

function TestRepl:test_many_random_interrupts_leak_nothing()
    local script = { "send A = bk.ones{1500, 1500}\\r\nexpect 5000 > \n",
        "send function matmul() while true do local B = A:matmul(A) end end\\r\nexpect 5000 > \n",
        "send function lua() while true do local t = {} end end\\r\nexpect 5000 > \n",
        "send function routine() coroutine.wrap(lua)() end\\r\nexpect 5000 > \n",
        "send function flow() bk.flow(function(t) return -t end, bk.ones{50}, {method = 'rk4', steps = 1e9}) end\\r\nexpect 5000 > \n",
        "send function model() while true do bk.nn.mlp{2, 3, 1}:init{} end end\\r\nexpect 5000 > \n",
        "send collectgarbage() collectgarbage() before = bk.memory()\\r\nexpect 5000 > \n" }
    math.randomseed(3)
    local kinds = { "matmul", "lua", "routine", "flow", "model" }
    for k = 1, 200 do
        -- (A busy session may still be reading the line, or stop before the terminal shows ^C.)
        script[#script + 1] = ("send %s()\\r\nsleep %d\nsend \\x03\nexpect 3000 \\n> \n"):format(
            kinds[k % #kinds + 1], math.random(2, 30))
    end
    script[#script + 1] = "send collectgarbage() collectgarbage() print('grown', bk.memory() - before < 200000)\\r\nexpect 5000 grown\\ttrue\n"
    drive(table.concat(script))
end

function TestRepl:test_without_a_terminal_standard_input_is_a_script()
    local p = io.popen("printf 'x = 20\\nprint(x + 1)\\nx' | " .. program .. " 2>&1; echo status $?")
    local text = p:read("a")
    p:close()
    lu.assertStrContains(text, "near <eof>")
    lu.assertStrContains(text, "status 1")
    p = io.popen("printf 'x = 20\\nprint(x + 1)' | " .. program .. " 2>&1; echo status $?")
    text = p:read("a")
    p:close()
    lu.assertEquals(text, "21\nstatus 0\n")
end

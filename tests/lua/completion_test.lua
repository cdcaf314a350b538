-- Completion in bash and zsh and the man page, made from the rows of options and commands; real shells on a
-- pseudo-terminal (tests/c/pty.c types and reads).
local lu = require "luaunit"
local bk = require "bracket"
local build = os.getenv("BRACKET_BUILD") or "build"
local pty = build .. "/tests/pty"
local program = bk.command._program

TestCompletion = {}

function TestCompletion:setUp()
    self.dir = os.tmpname()
    os.remove(self.dir)
    bk.internal.make_folder(self.dir .. "/site")
    bk.internal.make_folder(self.dir .. "/here/sweep one")
    local function write(path, text)
        local f <close> = assert(io.open(self.dir .. path, "w"))
        assert(f:write(text))
    end
    write("/site/bracket.bash", program.completion.bash())
    write("/site/_bracket", program.completion.zsh())
    write("/here/train.lua", "")
    write("/here/configs.jsonl", "")
    self.write = write
end

function TestCompletion:tearDown() os.execute("rm -rf '" .. self.dir .. "'") end

-- Every one of { typed, what the line is after Tab } in a shell that was made ready by the lines of `first`.
function TestCompletion:typed(shell, first, cases)
    if not os.execute("test -x " .. pty) then lu.skip("pty is not built: make test-programs") end
    local keys = {}
    for _, line in ipairs(first) do keys[#keys + 1] = "send " .. line .. "\\r" end
    keys[#keys + 1] = "send echo rea''dy\\r"
    keys[#keys + 1] = "expect 20000 ready"
    for _, case in ipairs(cases) do
        keys[#keys + 1] = "send " .. case[1] .. "\\t"
        keys[#keys + 1] = "expect 20000 " .. case[2]
        keys[#keys + 1] = "send \\x15" -- the line goes
    end
    keys[#keys + 1] = "send exit\\r"
    keys[#keys + 1] = "exit 20000"
    self.write("/keys", table.concat(keys, "\n") .. "\n")
    local p = io.popen(("cd '%s/here' && HOME=%s %s < ../keys 2>&1"):format(self.dir, self.dir,
        (pty:sub(1, 1) == "/" and pty or os.getenv "PWD" .. "/" .. pty) .. " " .. shell))
    local output = p:read("a")
    lu.assertTrue(p:close() == true, output)
end

local CASES = {
    { "bracket ru", "bracket runs " },
    { "bracket runs l", "bracket runs list " },
    { "bracket runs list --wh", "bracket runs list --where" },
    { "bracket --thr", "bracket --threads" },
    { "bracket --threads 2 runs comp", "bracket --threads 2 runs compare " },
    { "bracket runs compare --gro", "bracket runs compare --group-by" },
    { "bracket runs list sw", "bracket runs list sweep\\\\ one/" },
    { "bracket sweep tr", "bracket sweep train.lua" },
    { "bracket sweep train.lua --dr", "bracket sweep train.lua --dry-run" },
    { "bracket sweep train.lua --list con", "bracket sweep train.lua --list configs.jsonl" },
    { "bracket tr", "bracket train.lua" },
}

function TestCompletion:test_in_bash()
    if not os.execute("command -v bash >/dev/null") then lu.skip("bash is not here") end
    self:typed("bash --norc --noprofile -i", { "PS1='> '", "bind 'set enable-bracketed-paste off'",
        "source ../site/bracket.bash" }, CASES)
end

function TestCompletion:test_in_zsh()
    if not os.execute("command -v zsh >/dev/null") then lu.skip("zsh is not here") end
    self:typed("zsh -f -i", { "PS1='> '", "unsetopt beep list_beep prompt_sp; fpath=(../site $fpath)",
        "zle_highlight=(none); autoload -U compinit; compinit -u -D" }, CASES)
end

-- What a command declares is in each of them.
function TestCompletion:test_every_option_is_everywhere()
    local bash, zsh = program.completion.bash(), program.completion.zsh()
    local man, usage = program.man({}, "keys"), program.usage()
    for _, row in ipairs(program.commands()) do
        lu.assertStrContains(usage, "\n  " .. row.name)
        for _, of in ipairs(row.verbs or { row }) do
            for _, o in ipairs(of.options) do
                lu.assertStrContains(bash, "--" .. o[1])
                lu.assertStrContains(zsh, "--" .. o[1])
                lu.assertStrContains(man, "\\-\\-" .. o[1]:gsub("%-", "\\-"))
                lu.assertStrContains(bk._usage.of(row, of ~= row and of or nil), "--" .. o[1])
            end
        end
    end
    for _, o in ipairs(program.OPTIONS) do lu.assertStrContains(usage, "\n  " .. o[1]) end
end

function TestCompletion:test_the_man_page_is_one()
    if not os.execute("command -v man >/dev/null") then lu.skip("man is not here") end
    self.write("/bracket.1", program.man({ { "bk.x", nil, "bk.x(y)\n.dots at the start\n'quotes" } }, "Tab"))
    local p = io.popen(("MANWIDTH=80 LC_ALL=C man --warnings -l %s/bracket.1 2>&1"):format(self.dir))
    local text = p:read("a")
    p:close()
    lu.assertNotStrContains(text, ": warning")
    lu.assertStrContains(text, "--group-by NAME,NAME")
    lu.assertEquals(select(2, text:gsub("a page of HTML", "")), 1) -- what a command does is said once
    lu.assertStrContains(text, ".dots at the start")
end

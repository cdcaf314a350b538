-- example_test.lua - every public function and method has an example (bk.repl.examples), and it shows what happens:
-- each is run in a session of its own, in a scratch folder.
local bk = require "bracket"
local lu = require "luaunit"
local files = require "files"
local write = files.write
local shown = require "shown"
local examples = bk.repl.examples
local BUILD = os.getenv("BRACKET_BUILD") or "build"

TestExamples = {}

-- name -> docstring of all that is to have one: functions and what is called like one, and methods.
local function public()
    local names, seen = {}, {}
    bk.repl.help.walk(function(path, value, text)
        if not text then return end
        seen[value] = true
        if type(value) == "function" or (getmetatable(value) or {}).__call then names[path] = text end
    end)
    for value, text in pairs(bk.internal.docs) do
        local method = type(value) == "function" and not seen[value] and text:match("^%a+:[%a_]+")
        if method then names[method] = text end
    end
    return names
end

function TestExamples.test_every_public_name_has_an_example()
    local missing = {}
    for name, text in pairs(public()) do
        if not examples.of(name, text) then missing[#missing + 1] = name end
    end
    table.sort(missing)
    lu.assertEquals(table.concat(missing, " "), "", "a docstring's Example:, or lua/bracket/example")
end

function TestExamples.test_every_example_is_of_a_public_name()
    local names = public()
    examples.each(function(name) lu.assertNotNil(names[name], name) end)
end

local RUN = [==[
local list, run = dofile(arg[1]), bk.repl.session.run
help = bk.help
local given = {}
for name in pairs(_G) do given[name] = true end
for i, inputs in ipairs(list) do
    for name in pairs(_G) do if not given[name] then _G[name] = nil end end
    for k, input in ipairs(inputs) do
        local ok, message = pcall(run, input)
        if not ok then print(message.message) end
        print(("\1%d %d"):format(i, k))
    end
end
]==]

function TestExamples.test_examples_show_what_happens()
    local list, code = {}, {}
    for name, text in pairs(public()) do
        local example = examples.of(name, text)
        if example then list[#list + 1] = { name = name, text = example } end
    end
    table.sort(list, function(a, b) return a.name < b.name end)
    for i, e in ipairs(list) do
        e.exchanges = shown.exchanges({ lines = shown.lines_of(e.text), line = 1 }, "> ", ">> ")
        lu.assertNotNil(e.exchanges, e.name .. ": a line before the first input")
        local inputs = {}
        for k, x in ipairs(e.exchanges) do inputs[k] = ("%q"):format(x.input) end
        code[i] = "{" .. table.concat(inputs, ",\n") .. "}"
    end
    local folder = files.folder()
    write(folder .. "/list.lua", "return {" .. table.concat(code, ",\n") .. "}")
    write(folder .. "/run.lua", "bk = require 'bracket'\n" .. RUN)
    local root = BUILD:find("^/") and "" or assert(io.popen("pwd")):read("l") .. "/"
    local p = assert(io.popen(("cd %s && NO_COLOR=1 %s%s/bracket run.lua list.lua 2>&1"):format(folder, root, BUILD)))
    local output, at = p:read("a"), 1
    p:close()
    os.execute("rm -rf " .. folder)
    local faults = {}
    for i, e in ipairs(list) do
        for k, x in ipairs(e.exchanges) do
            local from, to = output:find(("\1%d %d\n"):format(i, k), at, true)
            lu.assertNotNil(from, ("%s: > %s: the session ended:\n%s"):format(e.name, x.input, output:sub(at)))
            faults[#faults + 1] = shown.difference(("%s: > %s"):format(e.name, x.input), x.output,
                shown.lines_of(output:sub(at, from - 1)))
            at = to + 1
        end
    end
    lu.assertEquals(table.concat(faults, "\n\n"), "")
end

-- shown.lua - what a page shows against what comes: fenced blocks, inputs with their output, and the comparison.
-- tests/README.md has the conventions.
local lu = require "luaunit"
local shown = {}

function shown.lines_of(text)
    local lines = {}
    for line in (text:gsub("%s+$", "") .. "\n"):gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
    return #lines == 1 and lines[1] == "" and {} or lines
end

-- ---- a page's blocks ----

-- { language, text, line, untested = reason, file = path }: the last two from a comment in the line before the fence.
function shown.blocks_of(text)
    local blocks, block, before, n = {}, nil, "", 0
    for line in text:gmatch("([^\n]*)\n") do
        n = n + 1
        local language = line:match("^%s*```%s*(.*)$")
        if language and not block then
            block = { language = language, line = n + 1, lines = {},
                untested = before:match("^<!%-%- untested: (.+) %-%->$"),
                file = before:match("^<!%-%- file: (.+) %-%->$") }
        elseif language then
            block.text = table.concat(block.lines, "\n") .. "\n"
            blocks[#blocks + 1], block = block, nil
        elseif block then
            block.lines[#block.lines + 1] = line
        end
        before = line
    end
    return blocks, block ~= nil
end

-- Lines after a mark, with those that continue them, and the output below each: { input, output, line }.
function shown.exchanges(block, mark, more)
    local list = {}
    for i, line in ipairs(block.lines) do
        local e = list[#list]
        if line:sub(1, #mark) == mark then
            list[#list + 1] = { input = line:sub(#mark + 1), output = {}, line = block.line + i - 1 }
        elseif e and #e.output == 0 and line:sub(1, #more) == more then
            e.input = e.input .. "\n" .. line:sub(#more + 1)
        elseif e then
            table.insert(e.output, line)
        elseif line:find("%S") then
            return nil, block.line + i - 1
        end
    end
    return list
end

-- ---- comparing ----

-- Numbers agree to the printed digits (one unit of the last), and in no more than the first six: others come from the
-- machine's BLAS. Integers are exact.
local function same_number(want, got)
    if want == got then return true end
    if not want:find("[.eE]") then return false end
    local x, y = tonumber(want), tonumber(got)
    if not x or not y then return false end
    local decimals = want:match("%.(%d*)") or ""
    local unit = 10.0 ^ ((tonumber(want:match("[eE]([-+]?%d+)")) or 0) - #decimals)
    return math.abs(x - y) <= math.max(1.001 * unit, 1e-6 * math.abs(x))
end

-- A line as its words and numbers.
local function pieces(line)
    local list, at = {}, 1
    line = line:gsub("%s+", " "):gsub(" $", "")
    while at <= #line do
        local from, to = line:find("%-?%d+%.?%d*", at)
        if not from then break end
        local _, exponent = line:find("^[eE][-+]?%d+", to + 1)
        to = exponent or to
        list[#list + 1] = line:sub(at, from - 1)
        list[#list + 1] = line:sub(from, to)
        at = to + 1
    end
    list[#list + 1] = line:sub(at)
    return list
end

function shown.same_line(want, got)
    local a, b = pieces(want), pieces(got)
    if #a ~= #b then return false end
    for i = 1, #a do
        if i % 2 == 1 and a[i] ~= b[i] or i % 2 == 0 and not same_number(a[i], b[i]) then return false end
    end
    return true
end

-- `...` on a line of its own stands for any lines, none too.
function shown.same_lines(want, got, i, j)
    i, j = i or 1, j or 1
    while i <= #want do
        if want[i]:find("^%s*%.%.%.%s*$") then
            for k = j, #got + 1 do
                if shown.same_lines(want, got, i + 1, k) then return true end
            end
            return false
        end
        if j > #got or not shown.same_line(want[i], got[j]) then return false end
        i, j = i + 1, j + 1
    end
    return j > #got
end

local function trimmed(lines)
    while #lines > 0 and not lines[#lines]:find("%S") do lines[#lines] = nil end
    return lines
end

-- nil where they are the same.
function shown.difference(where, want, got)
    want, got = trimmed(want), trimmed(got)
    return not shown.same_lines(want, got) and ("%s: the page shows\n%s\nand what comes is\n%s"):format(where,
        table.concat(want, "\n"), table.concat(got, "\n")) or nil
end

function shown.compare(where, want, got)
    local difference = shown.difference(where, want, got)
    if difference then lu.fail(difference) end
end

-- What the session does with inputs, one after another; an error is its message.
shown.session = [==[
local inputs, run = dofile(arg[1]), bk.repl.session.run
help = bk.help
for i, input in ipairs(inputs) do
    local ok, message = pcall(run, input)
    if not ok then print(message.message) end
    print("\1" .. i)
end
]==]

return shown

-- define_test.lua - bk.define: options as data; and every public function that declares them.
local bk = require "bracket"
local lu = require "luaunit"

local fails = lu.assertErrorMsgContains

local scale = bk.define{ name = "mine.scale", doc = "Scales x.", arguments = { "x" }, returns = "x times scale",
    formula = "x scale", source = "nobody 2026", example = "> mine.scale(2, { mode = 'up' })\n2",
    options = {
        { "scale", "number", default = 1, doc = "what x is multiplied by" },
        { "mode", { "up", "down" }, required = true, doc = "which way" },
        { "share", "number", says = "none", low = 0, below = 1, doc = "a part" },
        { "callback", "callable|boolean", doc = "told of it" },
    },
    call = function(x, o) return o.mode == "up" and x * o.scale or x / o.scale, o end }

TestDefine = {}

function TestDefine.test_a_call_is_checked_and_defaults_are_filled_in()
    local given = { mode = "down", scale = 2 }
    local value, o = scale(6, given)
    lu.assertEquals(value, 3.0)
    fails('mine.scale: expected at most 2 arguments, got 3, one of them "more"', scale, 6, given, "more")
    lu.assertEquals(o, { mode = "down", scale = 2 })
    lu.assertFalse(rawequal(o, given)) -- the caller's table stays what it was
    lu.assertEquals(select(2, scale(6, { mode = "up" })).scale, 1)
    fails("mine.scale: mode: missing; expected \"up\" or \"down\"", scale, 1)
    fails("mine.scale: mode: expected \"up\" or \"down\", got \"upp\"", scale, 1, { mode = "upp" })
    fails("mine.scale: unknown option sclae (did you mean scale?); the options are callback, mode, scale, share", scale, 1,
        { mode = "up", sclae = 2 })
    fails("mine.scale: share: expected a finite number >= 0 and < 1, got 1", scale, 1, { mode = "up", share = 1 })
    fails("mine.scale: callback: expected a function or true or false, got 3", scale, 1, { mode = "up", callback = 3 })
    fails("mine.scale: scale: expected a finite number, got inf", scale, 1, { mode = "up", scale = 1 / 0 })
    fails("mine.scale: expected named options, got 7 without a name", scale, 1, { 7, mode = "up" })
    fails("mine.scale: options: expected a table, got \"up\"", scale, 1, "up")
    local _, message = pcall(function() scale(1, {}) end)
    lu.assertStrContains(message, "define_test.lua:") -- the place is the caller's
end

function TestDefine.test_help_shows_all_of_it()
    lu.assertEquals(bk.repl.help.text(scale), [[
mine.scale(x, { scale = 1, mode, [share], [callback] }) -> x times scale

Scales x.

Options:
  scale: a finite number (1): what x is multiplied by
  mode: "up" or "down", required: which way
  share: a finite number >= 0 and < 1 (none): a part
  callback: a function or true or false: told of it

Formula: x scale

Source: nobody 2026

Example:
  > mine.scale(2, { mode = 'up' })
  2]])
end

function TestDefine.test_values_by_place_and_lists()
    local f = bk.define{ name = "f", doc = "d", call = function(o) return o end,
        options = { { "rows", "count", required = true, by_place = true },
            { "columns", "count", default = 7, by_place = true } } }
    lu.assertEquals(f{ 3 }, { rows = 3, columns = 7 })
    lu.assertEquals(f{ 3, 4 }, { rows = 3, columns = 4 })
    lu.assertEquals(f{ columns = 2, rows = 1 }, { rows = 1, columns = 2 })
    fails("f: rows: given twice, by place and by name", f, { 3, rows = 3 })
    fails("f: expected 2 values without a name, got more", f, { 3, 4, 5 })
    fails("f: rows: missing", f, {})
    local list = bk.define{ name = "g", doc = "d", call = function(o) return o end, options = { items = "numbers",
        { "last", "boolean", default = true } } }
    lu.assertEquals(list{ 5, 6 }, { 5, 6, last = true })
end

function TestDefine.test_a_method()
    local class = {}
    class.__index = class
    class.add = bk.define{ name = "class:add", doc = "d", options = { { "n", "number", default = 1 } },
        call = function(self, o) return self.value + o.n end }
    local object = setmetatable({ value = 4 }, class)
    lu.assertEquals(object:add{ n = 3 }, 7)
    lu.assertEquals(object:add(), 5)
    fails("class:add: unknown option m", object.add, object, { m = 1 })
end

function TestDefine.test_what_is_wrong_with_a_definition()
    fails("bk.define: f: call is missing", bk.define, { name = "f", options = {}, doc = "d" })
    fails("bk.define: name is missing", bk.define, { call = print, options = {}, doc = "d" })
    fails("bk.define: unknown field colour; the fields are arguments, call", bk.define, { colour = "red" })
    fails("bk.define: f: unknown field retruns (did you mean returns?); the fields are", bk.define, { name = "f",
        retruns = "x", options = {}, call = print, doc = "d" })
    fails("bk.define: f: doc: expected a string, got 3", bk.define, { name = "f", options = {}, call = print, doc = 3 })
    fails("bk.define: f: option x: unknown type numbr (did you mean number?); the types are any, boolean, callable",
        bk.define, { name = "f", doc = "d", call = print, options = { { "x", "numbr" } } })
    fails("bk.define: f: options: 1: expected { name, type, ... }, got 7", bk.define, { name = "f", doc = "d",
        call = print, options = { 7 } })
    fails("bk.define: expected a table, got nil", bk.define)
    local function declared(option, ...)
        return { name = "f", doc = "d", call = print, options = { option, ... } }
    end
    for text, d in pairs {
        ["option x: unknown field hihg (did you mean high?); the fields are below, by_place"] =
            declared{ "x", "number", hihg = 1 },
        ["option x: unknown field 3"] = declared{ "x", "number", 0.1 },
        ['option x: required: expected a boolean, got "yes"'] = declared{ "x", "number", required = "yes" },
        ["option x: required, and has a default, 1"] = declared{ "x", "number", required = true, default = 1 },
        ["option x: default: expected a finite number from 0 to 1, got 2"] =
            declared{ "x", "number", low = 0, high = 1, default = 2 },
        ['option x: default: expected "a" or "b", got "c"'] = declared{ "x", { "a", "b" }, default = "c" },
        ["option x: nothing is from 1 to 0"] = declared{ "x", "number", low = 1, high = 0 },
        ["option x: declared twice"] = declared({ "x", "number" }, { "x", "string" }),
    } do
        fails("bk.define: f: " .. text, bk.define, d)
    end
    local below = bk.define{ name = "f", doc = "d", options = { { "x", "number", below = 3 } },
        call = function(o) return o.x end }
    lu.assertEquals(below{ x = 2 }, 2)
    fails("f: x: expected a finite number < 3, got 3", below, { x = 3 })
end

-- Every option of every public function: something is said of it, and another type is refused under its name.
function TestDefine.test_every_option_is_documented_and_checked()
    local n = 0
    bk.repl.help.walk(function(path, value)
        for _, o in ipairs(bk.repl.help.options(value) or {}) do
            n = n + 1
            lu.assertTrue(#o.doc > 0, path .. ": " .. o.name)
            lu.assertTrue(#o.wanted > 0, path .. ": " .. o.name)
        end
    end)
    lu.assertTrue(n > 100)
end

-- ---- the form of an entry ----

TestEntry = {}

-- Calls visit(name, docstring, value) with every public name that is no room, and every method.
local function each_entry(visit)
    local seen = {}
    bk.repl.help.walk(function(path, value)
        local text = value ~= nil and bk.internal.docs[value]
        if text and not bk.repl.rooms[path] then
            seen[value] = true
            visit(path, text, value)
        end
    end)
    for key, text in pairs(bk.internal.docs) do
        if not seen[key] and text:find("^[%a_]+:") then visit(text:match("^[%a_]+:[%a_]+"), text, key) end
    end
end

-- Signature, text, options, what is labelled, example: one form, whoever wrote the docstring.
function TestEntry.test_every_public_name_has_the_form()
    local n, place, faults = 0, {}, {}
    for k, label in ipairs(bk.repl.entry.LABELS) do place[label] = k end
    each_entry(function(name, text, value)
        n = n + 1
        local parts = bk.repl.entry.parts(text)
        local function holds(what, is)
            faults[#faults + 1] = not is and ("%s: %s:\n%s"):format(name, what, text) or nil
        end
        holds("the signature gives the name", bk.repl.help.name(text) == name)
        holds("what a call returns", not parts.signature:find("[({]") or parts.signature:find(" %-> %S") ~= nil)
        holds("a text that ends as a sentence or with code", parts.text:find("[.:)]$")
            or parts.text:find("\n  [^\n]*$"))
        for _, label in ipairs(bk.repl.entry.LABELS) do
            holds(label .. " begins a line", not parts.text:find(label .. ": ", 1, true)
                or not parts.text:find("%f[%w]" .. label .. ": "))
        end
        local last = 0
        for _, l in ipairs(parts.labelled) do
            holds(l[1] .. " once, and not empty", place[l[1]] > last and l[2]:find("%S"))
            last = place[l[1]]
        end
        for _, o in ipairs(bk.repl.help.options(value) or {}) do
            holds("option " .. o.name .. ": what it is, and what for", o.wanted ~= "" and o.doc ~= "")
        end
        holds("an example of the session", (bk.repl.examples.of(name, text) or ""):find("^> ") ~= nil)
    end)
    lu.assertEquals(table.concat(faults, "\n\n"), "")
    lu.assertTrue(n > 300, n)
end

function TestEntry.test_help_keeps_the_order()
    local page = bk.repl.help.page(bk.bea.game)
    local last = 0
    for _, text in ipairs{ "bk.bea.game{", "\n\nTwo or more players", "option ", "\nMethods: word", "\nErrors: players",
        "\nSource: Rosca", "\nExample:\n  > " } do
        local at = page:find(text, 1, true)
        lu.assertTrue(at ~= nil and at > last, text .. "\nin\n" .. page)
        last = at
    end
end

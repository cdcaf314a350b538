-- page.lua - the reference as one HTML file: contents, search, an entry a name, the guides beside it. It asks for
-- nothing from elsewhere.
local bk = ...
local help, examples, markup, rooms = bk.repl.help, bk.repl.examples, bk.repl.markup, bk.repl.rooms
local escape, anchor = markup.escape, markup.anchor

-- Sections in the order of a reader's way; one that is not here comes before the last.
local ORDER = { "bk", "tensor", "arithmetic", "random", "functions", "bk.linalg", "bk.nn", "bk.loss", "bk.optim",
    "bk.bea", "bk.data", "bk.tasks", "protocol", "bk.order", "bk.schedule", "bk.intervention", "bk.record", "bk.metric",
    "bk.measure", "bk.statistics", "bk.stream", "rest" }

local STYLE = [[
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --quiet: #535b64; --line: #d4d9de; --code: #f3f5f7;
  --link: #0a58a6; --mark: #fff3c4; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --ink: #e4e7ea; --quiet: #a4adb6; --line: #373e45;
  --code: #1f2429; --link: #86bcff; --mark: #4a3d10; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif;
  display: grid; grid-template-columns: 19rem minmax(0, 1fr); }
aside { position: sticky; top: 0; height: 100vh; overflow-y: auto; padding: 1rem; border-right: 1px solid var(--line);
  font-size: .9rem; }
main { padding: 1rem 2rem 4rem; max-width: 58rem; }
a { color: var(--link); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 1rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h3 a { color: inherit; }
h4 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
article { margin: 0 0 2rem; padding-top: .5rem; }
article:target > h3 { background: var(--mark); }
code, pre { font-family: ui-monospace, monospace; font-size: .88rem; }
code { overflow-wrap: anywhere; }
pre { background: var(--code); padding: .6rem .8rem; border-radius: 4px; overflow-x: auto; line-height: 1.4; }
pre code { overflow-wrap: normal; }
.signature { white-space: pre-wrap; border-left: 3px solid var(--link); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .92rem; }
caption { text-align: left; color: var(--quiet); }
td > code { overflow-wrap: normal; white-space: nowrap; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .3rem 1rem; margin: .8rem 0; }
dt { color: var(--quiet); }
dd { margin: 0; }
label, .quiet { color: var(--quiet); }
input { font: inherit; width: 100%; padding: .4rem .6rem; margin: .3rem 0 .8rem; color: inherit;
  background: var(--code); border: 1px solid var(--quiet); border-radius: 4px; }
aside ul, aside ol { list-style: none; margin: 0; padding: 0 0 .4rem .9rem; }
aside li { padding: .1rem 0; overflow-wrap: anywhere; }
aside li a { display: inline-block; min-height: 1.5rem; }
summary { cursor: pointer; padding: .15rem 0; }
@media (max-width: 52rem) {
  body { display: block; }
  aside { position: static; height: auto; max-height: 70vh; border-right: 0; border-bottom: 1px solid var(--line); }
  main { padding: 1rem; }
  dl { grid-template-columns: 1fr; }
  .options thead { position: absolute; clip-path: inset(50%); }
  .options tr { display: block; border-bottom: 1px solid var(--line); padding: .3rem 0; }
  .options td { display: inline; border: 0; padding: 0 .4rem 0 0; }
  .options td:last-child { display: block; }
  td > code { white-space: normal; }
}
@media print { aside { display: none; } body { display: block; } }
]]

-- Finds names first, then texts; / goes to the field, Enter to the first that is found, Escape back to the contents.
local SCRIPT = [[
(function () {
  "use strict";
  var field = document.getElementById("search"), results = document.getElementById("results"),
    said = document.getElementById("said"), contents = document.getElementById("contents"),
    entries = Array.prototype.map.call(document.querySelectorAll("article"), function (a) {
      var h = a.querySelector("h3"), p = a.querySelector("p");
      return { id: a.id, name: h.textContent, low: h.textContent.toLowerCase(), text: a.textContent.toLowerCase(),
        line: p ? p.textContent : "" };
    });
  function rank(e, words) {
    var all = words.every(function (w) { return e.text.indexOf(w) >= 0; });
    if (!all) return 0;
    var w = words.join(" ");
    if (e.low === w || e.low === "bk." + w) return 5;
    if (e.low.split(/[.:]/).pop().indexOf(w) === 0) return 4;
    if (e.low.indexOf(w) >= 0) return 3;
    return words.every(function (x) { return e.low.indexOf(x) >= 0; }) ? 2 : 1;
  }
  function show() {
    var words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    results.textContent = "";
    contents.hidden = words.length > 0;
    if (!words.length) { said.textContent = ""; return; }
    var found = entries.map(function (e, i) { return { e: e, r: rank(e, words), i: i }; })
      .filter(function (f) { return f.r > 0; }).sort(function (a, b) { return b.r - a.r || a.i - b.i; });
    said.textContent = found.length === 0 ? "nothing found" : found.length + " found";
    found.slice(0, 60).forEach(function (f) {
      var li = document.createElement("li"), a = document.createElement("a"), line = document.createElement("div");
      a.href = "#" + f.e.id;
      a.textContent = f.e.name;
      line.className = "quiet";
      line.textContent = f.e.line.length > 90 ? f.e.line.slice(0, 87) + "..." : f.e.line;
      li.appendChild(a);
      li.appendChild(line);
      results.appendChild(li);
    });
  }
  field.addEventListener("input", show);
  field.addEventListener("keydown", function (event) {
    if (event.key === "Escape") { field.value = ""; show(); }
    if (event.key === "Enter" && results.firstChild) results.querySelector("a").click();
  });
  document.addEventListener("keydown", function (event) {
    if (event.key === "/" && document.activeElement !== field) { event.preventDefault(); field.focus(); }
  });
}());
]]

-- ---- what there is ----

-- Sections, { key, title, about, entries } in order; an entry is { name, value, text }.
local function sections(list, methods)
    local by_key, order, made_in, page_of = {}, {}, { t = "tensor" }, {}
    local function section(key)
        if not by_key[key] then
            by_key[key] = { key = key, title = key, entries = {} }
            order[#order + 1] = by_key[key]
        end
        return by_key[key]
    end
    for _, page in ipairs(bk.internal.names("example")) do
        for name in bk.example[page]:gmatch("\n## ([%w_.:]+)") do page_of[name] = page end
    end
    local function home(path) -- of what lies at that path
        local room = path:match("^(bk%.[%w_]+)%.") or rooms[path] and path
        return room or page_of[path] or "rest"
    end
    for _, e in ipairs(list) do
        local path, value, text = e[1], e[2], e[3]
        local key = home(path)
        if rooms[path] then
            section(key).about = text:match("^[^\n]*\n*(.*)$")
        elseif path ~= "bk" then
            table.insert(section(key).entries, { name = path, value = value, text = text })
            local class = text:match("^[^\n]*%-> (%a+)")
            if class and not made_in[class] then made_in[class] = key end
        end
    end
    for _, e in ipairs(list) do made_in[e[1]:match("[%w_]+$")] = made_in[e[1]:match("[%w_]+$")] or home(e[1]) end
    made_in.f = "functions"
    for _, e in ipairs(methods) do
        local name = e[3]:match("^[%a_]+:[%a_]+")
        local key = made_in[name:match("^[^:]+")] or "rest"
        table.insert(section(key).entries, { name = name, value = e[2], text = e[3] })
    end
    for _, s in ipairs(order) do
        local page = not s.key:find(".", 1, true) and s.key ~= "bk" and bk.example[s.key]
        if page then s.title = page:match("^# ([^\n]*)") end
    end
    local place = {}
    for i, key in ipairs(ORDER) do place[key] = i end
    table.sort(order, function(a, b)
        local x, y = place[a.key] or #ORDER - 0.5, place[b.key] or #ORDER - 0.5
        if x ~= y then return x < y end
        return a.key < b.key
    end)
    return order
end

-- ---- as HTML ----

local function options_table(list)
    local out = { '<div class="wide"><table class="options"><caption>Options</caption><thead><tr>' }
    for _, name in ipairs{ "name", "is", "default", "meaning" } do
        out[#out + 1] = ('<th scope="col">%s</th>'):format(name)
    end
    out[#out + 1] = "</tr></thead><tbody>"
    for _, o in ipairs(list) do
        out[#out + 1] = ("<tr><td><code>%s</code></td><td>%s</td><td>%s</td><td>%s</td></tr>"):format(escape(o.name),
            escape(o.wanted), o.required and "required"
            or o.default and "<code>" .. escape(o.default) .. "</code>" or "", escape(o.doc))
    end
    out[#out + 1] = "</tbody></table></div>"
    return table.concat(out, "\n")
end

local function entry(e, link)
    local example = examples.of(e.name, e.text)
    local parts = bk.repl.entry.parts(help.recorded(e.value, e.text))
    local function linked(name) return name ~= e.name and link(name) or nil end
    local id = anchor(e.name)
    local out = { ('<article id="%s">\n<h3><a href="#%s">%s</a></h3>'):format(id, id, escape(e.name)),
        '<pre class="signature"><code>' .. escape(parts.signature) .. "</code></pre>",
        markup.docstring(parts.text, linked) }
    local options = help.options(e.value)
    if options and #options > 0 then out[#out + 1] = options_table(options) end
    if #parts.labelled > 0 then
        out[#out + 1] = "<dl>"
        for _, l in ipairs(parts.labelled) do
            out[#out + 1] = ("<dt>%s</dt><dd>%s</dd>"):format(l[1], markup.inline(l[2]:gsub("\n", " "), linked))
        end
        out[#out + 1] = "</dl>"
    end
    if example then out[#out + 1] = "<h4>Example</h4>\n" .. markup.code{ example } end
    out[#out + 1] = "</article>"
    return table.concat(out, "\n")
end

-- The page, of documented paths { path, value, text } and methods { signature, function, text }.
return function(list, methods)
    local all, known = sections(list, methods), {}
    for _, s in ipairs(all) do
        for _, e in ipairs(s.entries) do known[e.name] = anchor(e.name) end
        if s.about then known[s.key] = anchor("room " .. s.key) end
    end
    local function link(name) return known[name] end
    local nav, main = {}, {}
    local guides = bk.repl.guide.pages()
    table.sort(guides, function(a, b) -- the tutorial is the first
        if (a.name == "tutorial") ~= (b.name == "tutorial") then return a.name == "tutorial" end
        return a.name < b.name
    end)
    nav[#nav + 1] = "<details open><summary>Guides</summary><ul>"
    main[#main + 1] = '<h2 id="guides">Guides</h2>'
    for _, g in ipairs(guides) do
        nav[#nav + 1] = ('<li><a href="#guide-%s">%s</a></li>'):format(g.name, escape(g.title))
        main[#main + 1] = ('<article id="guide-%s">\n<h3><a href="#guide-%s">%s</a></h3>\n%s\n</article>'):format(g.name,
            g.name, escape(g.title), markup.html(g.text:gsub("^#[^\n]*\n", ""), 3, link))
    end
    nav[#nav + 1] = "</ul></details>"
    for _, s in ipairs(all) do
        local id = anchor("room " .. s.key)
        main[#main + 1] = ('<h2 id="%s">%s</h2>'):format(id, escape(s.title))
        if s.about then main[#main + 1] = "<p>" .. markup.inline(s.about, link) .. "</p>" end
        local open, close = "<details><summary>%s</summary><ul>", "</ul></details>"
        if #s.entries == 0 then open, close = ('<p><a href="#%s">%%s</a></p>'):format(id), "" end
        nav[#nav + 1] = open:format(escape(s.title))
        for _, e in ipairs(s.entries) do
            nav[#nav + 1] = ('<li><a href="#%s">%s</a></li>'):format(anchor(e.name), escape(e.name))
            main[#main + 1] = entry(e, link)
        end
        nav[#nav + 1] = close
    end
    return table.concat({ '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">', "<title>bracket: reference</title>",
        "<style>\n" .. STYLE .. "</style>", "</head>\n<body>", "<aside>\n<h1>bracket " .. bk.version .. "</h1>",
        '<label for="search">Search (press /)</label><input id="search" type="search" autocomplete="off">',
        '<div id="said" role="status" class="quiet"></div><ol id="results"></ol>',
        '<nav id="contents" aria-label="Contents">', table.concat(nav, "\n"), "</nav>\n</aside>", "<main>",
        "<p>Made from the docstrings. Examples are inputs of the session, where <code>bk</code> is there; a script begins "
        .. 'with <code>local bk = require "bracket"</code>.</p>', table.concat(main, "\n"), "</main>",
        "<script>\n" .. SCRIPT .. "</script>\n</body>\n</html>\n" }, "\n")
end

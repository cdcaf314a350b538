-- report_test.lua - a report's page in a browser without a window: it is used there as its reader would, by a script
-- of the test's, and asks for nothing. Where no Chromium is installed these tests are skipped, and say so.
local bk = require "bracket"
local lu = require "luaunit"
local files = require "files"
local read = files.read
local internal = bk.internal

TestReportPage = {}

local browser
for _, name in ipairs { "chromium", "chromium-browser", "google-chrome" } do
    if not browser and os.execute("command -v " .. name .. " >/dev/null 2>&1") then browser = name end
end

local program = (os.getenv("BRACKET_BUILD") or "build") .. "/bracket"

-- Runs of two rates and of `seeds` seeds each, with so many steps; the second rate's second seed failed.
local function make(root, seeds, steps)
    for k = 1, 2 * seeds do
        local seed, lr = (k - 1) % seeds + 1, k <= seeds and 0.1 or 0.5
        local dir = ("%s/lr=%g,seed=%d"):format(root, lr, seed)
        internal.make_folder(dir)
        local failed = k == seeds + 2
        internal.write_file(dir .. "/config.json", internal.to_json { lr = lr, seed = seed, script = "train.lua",
            model = "mlp", arguments = { lr = lr, seed = seed } })
        internal.write_file(dir .. "/env.json", internal.to_json { threads = 1 })
        internal.write_file(dir .. "/status.json", internal.to_json { status = failed and "failed" or "finished",
            message = failed and "no space left" or nil, step = steps, total = steps,
            started = "2025-01-02T03:04:05Z", updated = "2025-01-02T03:05:06Z",
            accuracy = { { 0.1, 0.2 }, { 0.9, 0.3 }, { 0.8, 0.95 } }, learned = { 1, 2 },
            metrics = { average_accuracy = 0.5 + k / 100 } })
        local lines = {}
        for step = 0, steps, 5 do
            local row = { step = step, loss = math.exp(-step / 40) / lr + seed / 10, lr = lr,
                task = step > steps / 2 and 2 or 1 }
            for c = 1, 8 do row["loss_" .. c] = row.loss * (1 + c / 10) end
            lines[#lines + 1] = internal.to_json(row) .. "\n"
        end
        internal.write_file(dir .. "/metrics.jsonl", table.concat(lines))
    end
end

-- Figures of values that rounding alone tells apart, as means of equal ones are: ticks without an end froze the page.
local TICKS = [==[
const html = require("fs").readFileSync(process.argv[2], "utf8");
const ticks = html.match(/function linear\(a[\s\S]*?(?=\/\/ ---- figures)/)[0];
const range = html.match(/Figure\.prototype\.range = function \(\) \{[\s\S]*?\n\};/)[0];
const make = new Function("data", "number", "singles", "hidden",
    "function Figure() {}" + ticks + range + "; return { linear, logarithmic, Figure };");
const page = make({ xs: [[0, 1, 2]], groups: [] }, Number.isFinite, false, {});
let n = 0;
for (const at of [17 / 24, -7e5, 3e-9, 1e20, 0]) for (let e = -53; e < -20; e++) for (const log of [false, true]) {
    if (log && at <= 0) continue;
    const f = new page.Figure();
    f.d = { series: [{ x: 0, m: [at, at * (1 + 2 ** e), at] }], runs: [] };
    f.visible = () => true;
    f.log = log;
    const r = f.range(), places = (log ? page.logarithmic(r[2], r[3]) : page.linear(r[2], r[3], 4)).map(t => t[0]);
    const own = places.length > 1 && places.length < 13 && new Set(places).size === places.length;
    if (!(r[2] < at || at === 0) || !(r[3] > r[2]) || !own) throw new Error([at, e, log, r, places].join(" "));
    n++;
}
page.linear(1, 1 + 2 ** -52, 4);
console.log("ticks", n);]==]

function TestReportPage:test_ticks_end()
    if not os.execute("command -v node >/dev/null 2>&1") then lu.skip("no node is here: ticks were not made") end
    make(self.root, 1, 5)
    self:report()
    internal.write_file(self.root .. "/ticks.js", TICKS)
    local p = io.popen(("timeout 20 node '%s/ticks.js' '%s/report.html' 2>&1"):format(self.root, self.root))
    local output = p:read("a")
    p:close()
    lu.assertStrContains(output, "ticks 264")
end

function TestReportPage:setUp()
    self.root = files.folder()
end

function TestReportPage:tearDown() files.remove(self.root) end

function TestReportPage:report()
    assert(os.execute(("'%s' report '%s' >/dev/null"):format(program, self.root)))
    return read(self.root .. "/report.html")
end

-- What `script` makes of the page, at a width of so many pixels: an object that it calls out. The browser has a folder
-- of its own, and no network is there but the one of this machine.
function TestReportPage:use(script, width)
    if not browser then lu.skip("no chromium is here: the page was not looked at in a browser") end
    local text = self:report()
    local inside = '<script>window.addEventListener("load", function () { var out = {}; try {' .. script
        .. '} catch (e) { out.error = String(e); } var p = document.createElement("pre"); p.id = "said";'
        .. 'p.textContent = JSON.stringify(out); document.body.appendChild(p); });</script></body>'
    local path = self.root .. "/used.html"
    internal.write_file(path, (text:gsub("</body>", function() return inside end)))
    local p = io.popen(("HOME='%s' timeout 100 %s --headless --no-sandbox --disable-gpu --user-data-dir='%s/browser' "
        .. "--window-size=%d,900 --dump-dom 'file://%s' 2>/dev/null"):format(self.root, browser, self.root,
        width or 1200, path))
    local page = p:read("a")
    p:close()
    local said = page:match('<pre id="said">(.-)</pre>')
    if not said then lu.skip(browser .. " does not start here") end
    local out = internal.from_json((said:gsub("&lt;", "<"):gsub("&gt;", ">"):gsub("&amp;", "&")))
    lu.assertNil(out.error)
    return out
end

function TestReportPage:test_hover_keys_toggle_logarithm_and_zoom()
    make(self.root, 3, 100)
    local out = self:use [[
        var plot = document.querySelector("figure .plot"), box = plot.getBoundingClientRect();
        function move(type, share) {
            plot.dispatchEvent(new PointerEvent(type, { clientX: box.left + box.width * share, clientY: box.top + 50,
                pointerType: "mouse", bubbles: true }));
        }
        function means() { return document.querySelectorAll("figure path.mean").length; }
        out.figures = document.querySelectorAll("figure svg").length;
        out.bands = plot.querySelectorAll("path.band").length;
        move("pointermove", 0.5);
        out.tip = plot.querySelector(".tip").innerText;
        move("pointerleave", 0.5);
        out.gone = !plot.querySelector(".tip");
        plot.focus();
        plot.dispatchEvent(new KeyboardEvent("keydown", { key: "Home", bubbles: true }));
        plot.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
        out.said = document.querySelector("figure [aria-live]").textContent;
        var buttons = document.querySelectorAll("#groups button");
        out.labels = Array.from(buttons).map(function (b) { return b.textContent; });
        out.before = means();
        buttons[0].click();
        out.after = means();
        out.pressed = buttons[0].getAttribute("aria-pressed");
        buttons[0].click();
        document.getElementById("singles").click();
        out.singles = plot.querySelectorAll("path.single").length;
        var log = document.querySelector("figure .tools button");
        out.log = log.getAttribute("aria-pressed");
        function ticks() {
            return Array.from(plot.querySelectorAll("text")).map(function (t) { return t.textContent; });
        }
        out.log_ticks = ticks();
        log.click();
        out.ticks = ticks();
        move("pointerdown", 0.3);
        move("pointerup", 0.6);
        out.zoomed = ticks();
        document.querySelectorAll("figure .tools button")[1].click();
        out.whole = ticks();
        var details = document.querySelector("figure details");
        details.open = true;
        details.dispatchEvent(new Event("toggle"));
        out.rows = details.querySelectorAll("tbody tr").length;
        var theme = getComputedStyle(document.body).backgroundColor;
        document.getElementById("theme").click();
        out.theme = theme !== getComputedStyle(document.body).backgroundColor;
        out.requests = performance.getEntriesByType("resource").map(function (r) { return r.name; });]]
    lu.assertEquals(out.figures, 11)
    lu.assertEquals(out.bands, 2)
    lu.assertStrContains(out.tip, "lr = 0.1: ")
    lu.assertStrContains(out.tip, "n = 3")
    lu.assertTrue(out.gone)
    lu.assertStrContains(out.said, "step 5; lr = 0.1")
    lu.assertEquals(out.labels, { "lr = 0.1 (3 of 3 finished)", "lr = 0.5 (2 of 3 finished; failed: seed 2)" })
    lu.assertEquals({ out.before, out.after, out.pressed }, { 22, 11, "false" })
    lu.assertEquals(out.singles, 6)
    lu.assertEquals(out.log, "true")
    lu.assertNotEquals(out.log_ticks, out.ticks)
    lu.assertNotEquals(out.zoomed, out.ticks)
    lu.assertEquals(out.whole, out.ticks)
    lu.assertEquals(out.rows, 21)
    lu.assertTrue(out.theme)
    lu.assertEquals(out.requests, {})
end

function TestReportPage:test_tables_are_sorted_and_filtered()
    make(self.root, 6, 10)
    local out = self:use [[
        var table = document.getElementById("runs-table"), heads = table.tHead.rows[0].cells, c = 0;
        Array.from(heads).forEach(function (h, k) { if (h.textContent === "accuracy") c = k; });
        function first() { return table.tBodies[0].rows[0].cells[c].textContent; }
        heads[c].querySelector("button").click();
        out.least = first();
        out.sort = heads[c].getAttribute("aria-sort");
        heads[c].querySelector("button").click();
        out.greatest = first();
        var input = document.querySelector("input[data-table=runs-table]");
        input.value = "failed";
        input.dispatchEvent(new Event("input"));
        out.shown = Array.from(table.tBodies[0].rows).filter(function (r) { return !r.hidden; }).length;
        out.count = input.parentNode.parentNode.querySelector("output").textContent;]]
    lu.assertEquals({ out.least, out.sort, out.greatest }, { "0.5100", "ascending", "0.6200" })
    lu.assertEquals({ out.shown, out.count }, { 1, "1 of 12" })
end

-- Of text and controls: the contrast with what is behind them, light and dark, is that of WCAG AA.
local CONTRAST = [[
    function parts(c) { return c.match(/[\d.]+/g).map(Number); }
    function light(c) {
        return parts(c).slice(0, 3).map(function (v) {
            v /= 255;
            return v <= 0.04045 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4);
        }).reduce(function (sum, v, k) { return sum + v * [0.2126, 0.7152, 0.0722][k]; }, 0);
    }
    function contrast(a, b) { a = light(a); b = light(b); return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }
    function behind(e) {
        for (; e; e = e.parentElement) {
            var c = getComputedStyle(e).backgroundColor, p = parts(c);
            if (p.length < 4 || p[3] > 0) return c;
        }
    }
    function least() {
        var worst = [99, ""];
        document.querySelectorAll("body *").forEach(function (e) {
            var own = Array.from(e.childNodes).some(function (n) { return n.nodeType === 3 && n.data.trim(); });
            var style = getComputedStyle(e), inside = e.closest("svg");
            if (!own || !e.getClientRects().length || e.matches(".hatch, script, .sr")) return;
            var r = contrast(inside ? style.fill : style.color, behind(e));
            if (r < worst[0]) worst = [r, e.tagName + " " + e.className + " " + e.textContent.slice(0, 30)];
        });
        return worst;
    }
    function curves() {
        var worst = 99, back = getComputedStyle(document.body).backgroundColor;
        for (var k = 0; k < 9; k++) {
            var e = document.createElement("span");
            e.style.color = "var(--c" + k + ")";
            document.body.appendChild(e);
            worst = Math.min(worst, contrast(getComputedStyle(e).color, back));
            e.remove();
        }
        return worst;
    }]]

function TestReportPage:test_contrast_light_and_dark()
    make(self.root, 2, 10)
    local out = self:use(CONTRAST .. [[
        document.documentElement.dataset.theme = "light";
        out.light = least();
        out.light_curves = curves();
        document.documentElement.dataset.theme = "dark";
        out.dark = least();
        out.dark_curves = curves();]])
    for _, name in ipairs { "light", "dark" } do
        lu.assertTrue(out[name][1] >= 4.5, name .. ": " .. out[name][1] .. " of " .. out[name][2])
        lu.assertTrue(out[name .. "_curves"] >= 3, name)
    end
end

-- A telephone shows one column, and the page does not move sideways; at 1200 pixels there are two.
function TestReportPage:test_columns_by_width()
    make(self.root, 2, 10)
    local script = [[
        var boxes = Array.from(document.querySelectorAll(".figures figure")).slice(0, 2);
        document.body.style.width = WIDTH; // windows are no narrower than 500
        out.beside = boxes[0].getBoundingClientRect().top === boxes[1].getBoundingClientRect().top;
        var most = 0;
        document.querySelectorAll("header *, nav *, main *").forEach(function (e) { // what does not scroll by itself
            var fixed = e.matches(".wide") || !e.closest(".wide, pre, .sr, .tip, .plot");
            if (fixed && e.getClientRects().length) most = Math.max(most, e.getBoundingClientRect().right);
        });
        document.querySelectorAll("figure").forEach(function (f) {
            var marks = f.querySelectorAll("svg text[text-anchor=middle]");
            var title = f.querySelector("strong").textContent;
            if (title === "task") out.path = f.querySelector("path.mean").getAttribute("d");
            out.ticks = Math.min(out.ticks || 99, marks.length - 1);
        });
        out.over = most - document.body.getBoundingClientRect().right;
        out.keys = Array.from(document.querySelectorAll(".plot, .wide")).every(function (e) {
            return e.tabIndex === 0;
        });]]
    local wide = self:use((script:gsub("WIDTH", '"1200px"')), 1200)
    lu.assertTrue(wide.beside and wide.keys)
    local narrow = self:use((script:gsub("WIDTH", '"390px"')), 500)
    lu.assertFalse(narrow.beside)
    lu.assertTrue(narrow.over <= 0, narrow.over)
    lu.assertTrue(narrow.ticks >= 3, narrow.ticks)
    lu.assertStrMatches(narrow.path, "M[%d.]+,[%d.]+V[%d.]+H[%d.]+") -- a task is a step, not a slope
end

function TestReportPage:test_three_hundred_runs_stay_below_two_megabytes()
    make(self.root, 150, 500)
    local text = self:report()
    lu.assertTrue(#text < 2000000, #text)
    lu.assertStrContains(text, ": 300 runs</title>")
    lu.assertStrContains(text, '"note":"149 of 150 finished; failed: seed 2"')
end

function TestReportPage:test_a_run_that_goes_on_shows_its_step()
    internal.make_folder(self.root .. "/r")
    make(self.root .. "/r", 1, 10)
    local dir = self.root .. "/r/lr=0.1,seed=1"
    internal.write_file(dir .. "/status.json", internal.to_json { status = "running", step = 30, total = 120,
        started = "2025-01-02T03:04:05Z", updated = "2025-01-02T03:05:06Z" })
    local mine = bk._claim.take(bk._run_folder.lock_path(dir)) -- as its process would hold it
    local text = self:report()
    mine:release()
    lu.assertStrContains(text, '<progress value="30" max="120">30 of 120</progress>')
    lu.assertStrContains(text, "step 30 of 120, as of 2025-01-02T03:05:06Z")
end

-- The script inside a report's page: curves drawn from the page's own numbers, their values under the pointer or the
-- arrow keys, groups on and off, logarithmic axes, zoom; tables sorted and filtered; light and dark. It asks for
-- nothing from anywhere.
return [[
"use strict";
(function () {
var data = JSON.parse(document.getElementById("data").textContent), SVG = "http://www.w3.org/2000/svg";
var DASHES = ["", "8 4", "2 3", "9 3 2 3", "14 3"], OWN = [0, 0, 0, 4, 1, 1, 2, 2, 3], hidden = {}, singles = false;
function make(name, attributes, inside) {
    var e = name === "svg" || /^(path|line|text|g|rect|circle)$/.test(name) ? document.createElementNS(SVG, name)
        : document.createElement(name);
    for (var k in attributes || {}) e.setAttribute(k, attributes[k]);
    if (inside !== undefined) e.textContent = inside;
    return e;
}
data.figures.forEach(function (f) { f.series.forEach(function (s) { // one number of runs, or a list of them
    if (typeof s.n === "number") s.n = data.xs[s.x].map(function () { return this; }, s.n).map(Number);
}); });
function colour(k) { return "var(--c" + k % 9 + ")"; }
function dashes(k) { return DASHES[(OWN[k % 9] + Math.floor(k / 9)) % 5]; }
function show(v) {
    if (v === null || v === undefined || isNaN(v)) return "nan";
    if (v === 0 || Number.isInteger(v) && Math.abs(v) < 1e6) return String(v);
    var a = Math.abs(v);
    return a < 1e-3 || a >= 1e6 ? v.toExponential(3) : a < 1 ? v.toFixed(4) : String(+v.toPrecision(5));
}
function number(v) { return v !== null && v !== undefined && isFinite(v); }

// ---- ticks ----
function linear(a, b, n) {
    var raw = (b - a) / n, p = Math.pow(10, Math.floor(Math.log10(raw))), list = [];
    var step = [1, 2, 2.5, 5, 10].map(function (m) { return m * p; }).find(function (s) { return s >= raw * 0.999; });
    // where the step is lost beside its multiples, k + 1 is k
    for (var k = Math.ceil(a / step - 1e-9); k <= b / step + 1e-9 && list.length < 4 * n; k++) {
        var v = +(k * step).toPrecision(12);
        list.push([v, show2(v)]);
    }
    return list;
}
function show2(v) {
    var a = Math.abs(v);
    return v !== 0 && (a < 1e-3 || a >= 1e5) ? v.toExponential().replace("+", "") : String(v);
}
function logarithmic(a, b) {
    var list = [], lo = Math.ceil(Math.log10(a) - 1e-9), hi = Math.floor(Math.log10(b) + 1e-9), k;
    if (hi - lo >= 1) {
        var step = Math.ceil((hi - lo + 1) / 7);
        for (k = lo; k <= hi; k += step) list.push([Math.pow(10, k), k < -3 || k > 3 ? "1e" + k : String(+("1e" + k))]);
        return list;
    }
    for (k = lo - 1; k <= hi + 1; k++) [1, 2, 5].forEach(function (m) {
        var v = +(m + "e" + k);
        if (v >= a && v <= b) list.push([v, show2(v)]);
    });
    return list.length > 1 ? list : linear(a, b, 4);
}

// ---- figures ----
var figures = [];
function Figure(box) {
    this.d = data.figures[+box.dataset.fig];
    this.box = box;
    this.plot = box.querySelector(".plot");
    this.log = this.d.log;
    this.zoom = null;
    this.at = null;
    this.said = make("div", { "aria-live": "polite", "class": "sr" });
    box.appendChild(this.said);
    var f = this, tools = box.querySelector(".tools");
    this.logButton = make("button", { type: "button", "aria-pressed": String(!!this.log) }, "log");
    this.logButton.onclick = function () { f.log = !f.log; f.draw(); };
    this.back = make("button", { type: "button", hidden: "" }, "whole");
    this.back.onclick = function () { f.zoom = null; f.draw(); f.plot.focus(); };
    tools.appendChild(this.logButton);
    tools.appendChild(this.back);
    this.listen();
    this.numbers();
    if (!data.groups.length && this.d.series.length > 1) legend(box.querySelector(".legend"), this.d.series, this);
    this.own = {};
}
Figure.prototype.key = function (s) { return data.groups.length ? s.g : s.label; };
Figure.prototype.visible = function (s) { return !(data.groups.length ? hidden : this.own)[this.key(s)]; };
Figure.prototype.range = function () {
    var x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity, log = this.log, f = this, z = this.zoom;
    function reach(x, v) {
        if (!number(v) || log && v <= 0 || z && (x < z[0] || x > z[1])) return;
        y0 = Math.min(y0, v);
        y1 = Math.max(y1, v);
    }
    function all(s, lists) {
        var xs = data.xs[s.x];
        for (var i = 0; i < xs.length; i++) {
            x0 = Math.min(x0, xs[i]);
            x1 = Math.max(x1, xs[i]);
            lists.forEach(function (l) { if (l) reach(xs[i], l[i]); });
        }
    }
    this.d.series.forEach(function (s) { if (f.visible(s)) all(s, [s.m, s.l, s.h]); });
    if (singles) this.d.runs.forEach(function (s) { if (f.visible(s)) all(s, [s.y]); });
    if (z) { x0 = z[0]; x1 = z[1]; }
    if (!(x0 <= x1)) { x0 = 0; x1 = 1; }
    if (x0 === x1) { x0 -= 0.5; x1 += 0.5; }
    if (!(y0 <= y1)) { y0 = log ? 0.1 : 0; y1 = 1; }
    // what differs by less than labels say is one value: means of equal numbers differ by rounding
    var level = y1 - y0 <= 1e-10 * Math.max(Math.abs(y0), Math.abs(y1));
    if (log) {
        var a = Math.log10(y0), b = Math.log10(y1), r = level ? 0.2 : 0.05 * (b - a);
        return [x0, x1, Math.pow(10, a - r), Math.pow(10, b + r)];
    }
    var room = level ? Math.abs(y0) * 0.1 || 0.5 : 0.05 * (y1 - y0);
    return [x0, x1, y0 - room, y1 + room];
};
Figure.prototype.draw = function () {
    var W = Math.max(280, this.plot.clientWidth || 600), H = Math.round(Math.min(300, Math.max(210, W * 0.55)));
    var r = this.range(), L = 58, R = 18, T = 8, B = 36, f = this, log = this.log;
    function X(v) { return L + (v - r[0]) / (r[1] - r[0]) * (W - L - R); }
    function Y(v) {
        var t = log ? (Math.log(v) - Math.log(r[2])) / (Math.log(r[3]) - Math.log(r[2])) : (v - r[2]) / (r[3] - r[2]);
        return H - B - t * (H - B - T);
    }
    this.map = { X: X, Y: Y, W: W, H: H, L: L, R: R, T: T, B: B, r: r };
    var svg = make("svg", { viewBox: "0 0 " + W + " " + H, "aria-hidden": "true" });
    (log ? logarithmic(r[2], r[3]) : linear(r[2], r[3], 6)).forEach(function (t) {
        var y = Y(t[0]);
        svg.appendChild(make("line", { x1: L, x2: W - R, y1: y, y2: y, "class": "grid" }));
        svg.appendChild(make("text", { x: L - 6, y: y + 4, "text-anchor": "end" }, t[1]));
    });
    linear(r[0], r[1], Math.max(4, Math.floor(W / 90))).forEach(function (t) {
        var x = X(t[0]);
        svg.appendChild(make("line", { x1: x, x2: x, y1: T, y2: H - B, "class": "grid" }));
        svg.appendChild(make("text", { x: x, y: H - B + 16, "text-anchor": "middle" }, t[1]));
    });
    svg.appendChild(make("text", { x: (L + W - R) / 2, y: H - 4, "text-anchor": "middle", "class": "soft" }, "step"));
    svg.appendChild(make("path", { d: "M" + L + "," + T + "V" + (H - B) + "H" + (W - R), "class": "axis" }));
    function inside(x, v) { return number(v) && !(log && v <= 0) && x >= r[0] && x <= r[1]; }
    var stepped = this.d.title === "task"; // there is nothing between two tasks
    function path(xs, list) {
        var d = "", pen = false, n = 0;
        for (var i = 0; i < xs.length; i++) {
            if (inside(xs[i], list[i])) {
                var px = X(xs[i]).toFixed(1), py = Y(list[i]).toFixed(1);
                d += !pen ? "M" + px + "," + py : stepped ? "V" + py + "H" + px : "L" + px + "," + py;
                pen = true;
                n++;
            } else pen = false;
        }
        return n === 1 ? d + "h0.01" : d;
    }
    (this.d.marks || []).forEach(function (x) {
        if (x >= r[0] && x <= r[1]) svg.appendChild(make("line", { x1: X(x), x2: X(x), y1: T, y2: H - B,
            stroke: "var(--edge)", "stroke-dasharray": "4 4" }));
    });
    var series = this.d.series.filter(function (s) { return f.visible(s); });
    series.forEach(function (s) {
        if (!s.l) return;
        var xs = data.xs[s.x], up = [], down = [], parts = [];
        function close() {
            if (up.length > 1) parts.push("M" + up.join("L") + "L" + down.reverse().join("L") + "Z");
            up = [];
            down = [];
        }
        for (var i = 0; i < xs.length; i++) {
            var low = s.l[i];
            if (log && number(low) && low <= 0) low = r[2];
            if (inside(xs[i], s.h[i]) && number(low)) {
                up.push(X(xs[i]).toFixed(1) + "," + Y(s.h[i]).toFixed(1));
                down.push(X(xs[i]).toFixed(1) + "," + Y(low).toFixed(1));
            } else close();
        }
        close();
        svg.appendChild(make("path", { d: parts.join(""), fill: colour(s.c), "fill-opacity": 0.2, "class": "band" }));
    });
    if (singles) this.d.runs.forEach(function (s) {
        if (f.visible(s)) svg.appendChild(make("path", { d: path(data.xs[s.x], s.y), stroke: colour(s.c), fill: "none",
            "stroke-width": 0.7, "stroke-opacity": 0.7, "class": "single" }));
    });
    series.forEach(function (s) {
        var one = data.xs[s.x].length === 1;
        svg.appendChild(make("path", { d: path(data.xs[s.x], s.m), stroke: colour(s.c), fill: "none", "class": "mean",
            "stroke-width": one ? 6 : 2, "stroke-linecap": "round", "stroke-dasharray": dashes(s.c) }));
    });
    this.cursor = make("g");
    svg.appendChild(this.cursor);
    this.plot.replaceChildren(svg);
    this.logButton.setAttribute("aria-pressed", String(!!log));
    this.back.hidden = !this.zoom;
    this.at = null;
};
// The nearest recorded step of the visible curves.
Figure.prototype.nearest = function (value) {
    var best = null, f = this, r = this.map.r;
    this.d.series.forEach(function (s) {
        if (f.visible(s)) data.xs[s.x].forEach(function (x) {
            if (x >= r[0] && x <= r[1] && (best === null || Math.abs(x - value) < Math.abs(best - value))) best = x;
        });
    });
    return best;
};
Figure.prototype.point = function (x, speak) {
    var m = this.map, f = this, rows = [], said = "step " + x;
    if (x === null || !m) return;
    this.at = x;
    this.cursor.replaceChildren(make("line", { x1: m.X(x), x2: m.X(x), y1: m.T, y2: m.H - m.B, stroke: "var(--fg)" }));
    this.d.series.forEach(function (s) {
        var i = f.visible(s) ? data.xs[s.x].indexOf(x) : -1;
        if (i < 0 || !number(s.m[i])) return;
        if (!(f.log && s.m[i] <= 0)) f.cursor.appendChild(make("circle", { cx: m.X(x), cy: m.Y(s.m[i]), r: 3.5,
            fill: colour(s.c) }));
        var text = show(s.m[i]);
        if (s.l && number(s.l[i])) text += "  [" + show(s.l[i]) + ", " + show(s.h[i]) + "]";
        if (s.n) text += "  n = " + s.n[i];
        rows.push([s.m[i], s.c, s.label, text]);
        said += "; " + s.label + " " + text;
    });
    rows.sort(function (a, b) { return b[0] - a[0]; });
    var tip = make("div", { "class": "tip" });
    tip.appendChild(make("b", {}, "step " + x));
    rows.slice(0, 14).forEach(function (row) {
        var line = make("div"), mark = make("i");
        mark.style.background = colour(row[1]);
        line.appendChild(mark);
        line.appendChild(document.createTextNode((row[2] ? row[2] + ": " : "") + row[3]));
        tip.appendChild(line);
    });
    if (rows.length > 14) tip.appendChild(make("div", {}, "and " + (rows.length - 14) + " more"));
    var old = this.plot.querySelector(".tip"), scale = this.plot.clientWidth / m.W || 1;
    if (old) old.remove();
    this.plot.appendChild(tip);
    var left = m.X(x) * scale, wide = this.plot.clientWidth;
    tip.style.top = "4px";
    tip.style.left = Math.max(0, left + 12 + tip.offsetWidth < wide ? left + 12 : left - 12 - tip.offsetWidth) + "px";
    if (speak) this.said.textContent = said;
};
Figure.prototype.leave = function () {
    var tip = this.plot.querySelector(".tip");
    if (tip) tip.remove();
    if (this.cursor) this.cursor.replaceChildren();
    this.at = null;
};
Figure.prototype.zoomed = function (a, b) {
    if (b - a > 0) { this.zoom = [a, b]; this.draw(); }
};
Figure.prototype.listen = function () {
    var f = this, plot = this.plot, from = null;
    function value(e) {
        var m = f.map, box = plot.getBoundingClientRect(), x = (e.clientX - box.left) * m.W / box.width;
        return Math.min(m.r[1], Math.max(m.r[0], m.r[0] + (x - m.L) / (m.W - m.L - m.R) * (m.r[1] - m.r[0])));
    }
    plot.addEventListener("pointermove", function (e) {
        f.point(f.nearest(value(e)));
        if (from === null) return;
        var m = f.map, a = m.X(from), b = m.X(value(e));
        f.cursor.appendChild(make("rect", { x: Math.min(a, b), y: m.T, width: Math.abs(b - a), height: m.H - m.T - m.B,
            fill: "var(--fg)", "fill-opacity": 0.12 }));
    });
    plot.addEventListener("pointerdown", function (e) { if (e.pointerType === "mouse") from = value(e); });
    plot.addEventListener("pointerup", function (e) {
        var a = from, b = from === null ? null : value(e);
        from = null;
        if (a !== null && Math.abs(f.map.X(a) - f.map.X(b)) > 8) f.zoomed(Math.min(a, b), Math.max(a, b));
    });
    plot.addEventListener("pointerleave", function () { from = null; f.leave(); });
    plot.addEventListener("dblclick", function () { f.zoom = null; f.draw(); });
    plot.addEventListener("blur", function () { f.leave(); });
    plot.addEventListener("keydown", function (e) {
        var r = f.map.r, steps = [], k;
        if (e.ctrlKey || e.altKey || e.metaKey) return;
        f.d.series.forEach(function (s) {
            if (f.visible(s)) data.xs[s.x].forEach(function (x) { if (x >= r[0] && x <= r[1]) steps.push(x); });
        });
        steps = Array.from(new Set(steps)).sort(function (a, b) { return a - b; });
        k = f.at === null ? -1 : steps.indexOf(f.at);
        if (e.key === "ArrowRight") f.point(steps[Math.min(steps.length - 1, k + 1)], true);
        else if (e.key === "ArrowLeft") f.point(steps[k < 0 ? steps.length - 1 : Math.max(0, k - 1)], true);
        else if (e.key === "Home") f.point(steps[0], true);
        else if (e.key === "End") f.point(steps[steps.length - 1], true);
        else if (e.key === "l") { f.log = !f.log; f.draw(); }
        else if (e.key === "+" || e.key === "=") {
            var c = f.at === null ? (r[0] + r[1]) / 2 : f.at, w = (r[1] - r[0]) / 4;
            f.zoomed(Math.max(r[0], c - w), Math.min(r[1], c + w));
        } else if (e.key === "-" || e.key === "0" || e.key === "Escape") { f.zoom = null; f.draw(); }
        else return;
        e.preventDefault();
    });
};
// The same as a table, made when it is asked for.
Figure.prototype.numbers = function () {
    var f = this, details = this.box.querySelector("details"), done = false;
    details.addEventListener("toggle", function () {
        if (done || !details.open) return;
        done = true;
        var wide = make("div", { "class": "wide", tabindex: 0, role: "region",
            "aria-label": "numbers of " + f.d.title });
        var table = make("table"), head = make("tr"), body = make("tbody"), steps = [];
        head.appendChild(make("th", { scope: "col" }, "step"));
        f.d.series.forEach(function (s) {
            head.appendChild(make("th", { scope: "col" }, s.label || f.d.title));
            steps = steps.concat(data.xs[s.x]);
        });
        Array.from(new Set(steps)).sort(function (a, b) { return a - b; }).forEach(function (x) {
            var row = make("tr");
            row.appendChild(make("th", { scope: "row", "class": "n" }, show2(x)));
            f.d.series.forEach(function (s) {
                var i = data.xs[s.x].indexOf(x), text = i < 0 ? "" : show(s.m[i]);
                if (i >= 0 && s.l && number(s.l[i])) text += " [" + show(s.l[i]) + ", " + show(s.h[i]) + "]";
                row.appendChild(make("td", { "class": "n" }, text));
            });
            body.appendChild(row);
        });
        var top = make("thead");
        top.appendChild(head);
        table.appendChild(top);
        table.appendChild(body);
        wide.appendChild(table);
        details.appendChild(wide);
    });
};

// ---- what is shown ----
function redraw() { figures.forEach(function (f) { f.draw(); }); }
function legend(list, items, figure) {
    if (!list) return;
    items.forEach(function (s, k) {
        var item = make("li"), b = make("button", { type: "button", "aria-pressed": "true" });
        var svg = make("svg", { width: 26, height: 10, "aria-hidden": "true" }), c = figure ? s.c : k;
        svg.appendChild(make("line", { x1: 1, x2: 25, y1: 5, y2: 5, stroke: colour(c), "stroke-width": 2.5,
            "stroke-dasharray": dashes(c) }));
        b.appendChild(svg);
        b.appendChild(make("span", {}, figure ? s.label : (s.label || "all runs") + " (" + s.note + ")"));
        b.onclick = function () {
            var set = figure ? figure.own : hidden, key = figure ? figure.key(s) : k;
            set[key] = !set[key];
            b.setAttribute("aria-pressed", String(!set[key]));
            if (figure) figure.draw(); else redraw();
        };
        item.appendChild(b);
        list.appendChild(item);
    });
}
legend(document.getElementById("groups"), data.groups, null);
var single = document.getElementById("singles");
if (single) single.onclick = function () {
    singles = !singles;
    single.setAttribute("aria-pressed", String(singles));
    redraw();
};
document.querySelectorAll("figure[data-fig]").forEach(function (box) { figures.push(new Figure(box)); });
redraw();
var last = window.innerWidth;
window.addEventListener("resize", function () {
    if (window.innerWidth !== last) { last = window.innerWidth; redraw(); }
});
document.querySelectorAll("details").forEach(function (d) { d.addEventListener("toggle", function () {
    if (d.open) figures.forEach(function (f) { if (d !== f.box && d.contains(f.box)) f.draw(); });
}); });
var theme = document.getElementById("theme");
theme.hidden = false;
theme.onclick = function () {
    var root = document.documentElement, now = root.dataset.theme;
    if (!now) now = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    root.dataset.theme = now === "dark" ? "light" : "dark";
};

// ---- tables ----
function value_of(text) {
    var t = text.trim(), m = /^(-?[\d.]+(?:e[+-]?\d+)?)(?:\s*(?:\/|of)\s*\d+)?$/i.exec(t);
    return m ? +m[1] : null;
}
document.querySelectorAll("table.sort").forEach(function (table) {
    var body = table.tBodies[0], heads = table.tHead.rows[0].cells;
    Array.from(heads).forEach(function (th, c) {
        var b = make("button", { type: "button" }, th.textContent);
        th.replaceChildren(b);
        b.onclick = function () {
            var up = th.getAttribute("aria-sort") !== "ascending";
            Array.from(heads).forEach(function (h) { h.removeAttribute("aria-sort"); });
            th.setAttribute("aria-sort", up ? "ascending" : "descending");
            Array.from(body.rows).map(function (row) {
                var text = row.cells[c] ? row.cells[c].textContent : "";
                return { row: row, text: text, n: value_of(text) };
            }).sort(function (a, b) {
                var order = a.n !== null && b.n !== null ? a.n - b.n : a.n !== null ? -1 : b.n !== null ? 1
                    : a.text.localeCompare(b.text, "en", { numeric: true });
                return a.text === "-" || b.text === "-" ? (a.text === "-") - (b.text === "-") : up ? order : -order;
            }).forEach(function (r) { body.appendChild(r.row); });
        };
    });
    var input = document.querySelector("input[data-table='" + table.id + "']");
    if (!input) return;
    input.parentNode.parentNode.hidden = false;
    var count = input.parentNode.parentNode.querySelector("output");
    input.oninput = function () {
        var words = input.value.toLowerCase().split(/\s+/), n = 0;
        Array.from(body.rows).forEach(function (row) {
            var text = row.textContent.toLowerCase(), fits = words.every(function (w) { return text.indexOf(w) >= 0; });
            row.hidden = !fits;
            n += fits ? 1 : 0;
        });
        count.textContent = input.value ? n + " of " + body.rows.length : "";
    };
});
})();
]]

-- The curves of a report: their numbers as JSON for the page's script, thinned so that the page stays small, and the
-- figures' places in the page, each with its data in words.
local bk = ...
local table_text, page = bk._table_text, bk.command._report_page
local escape, number = page.escape, table_text.number
local BYTES = 7 -- of a number
local MEANS, SINGLES = 500000, 600000 -- bytes that curves of groups, and of single runs, may take
local FEWEST = 12 -- points of a single run that are worth drawing

local curves = {}
curves.__index = curves

-- ---- JSON ----

local function quoted(text)
    return '"' .. page.clean(text):gsub('[%c"\\<]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function list_of(values)
    local parts = {}
    for k = 1, #values do
        local v = values[k]
        parts[k] = v - v == 0 and ("%.4g"):format(v) or "null"
    end
    return "[" .. table.concat(parts, ",") .. "]"
end

local function steps_of(values)
    local parts = {}
    for k = 1, #values do parts[k] = ("%.15g"):format(values[k]) end
    return "[" .. table.concat(parts, ",") .. "]"
end

-- ---- thinning ----

-- At most about `most` of the places 1..n, the first and the last among them.
local function kept(n, most)
    local stride, list = math.max(1, math.ceil(n / most)), {}
    for k = 1, n do
        if (k - 1) % stride == 0 or k == n then list[#list + 1] = k end
    end
    return list, stride > 1
end

local function at(list, places)
    local out = {}
    for k, place in ipairs(places) do out[k] = list[place] end
    return out
end

-- curves.new(groups, n_series, n_single): groups { { label, note }, ... }, or none of a single run; how many curves
-- will come, which share the room there is.
function curves.new(groups, n_series, n_single)
    local self = setmetatable({ xs = {}, n_xs = 0, texts = {}, groups = {} }, curves)
    for k, g in ipairs(groups) do
        self.groups[k] = ('{"label":%s,"note":%s}'):format(quoted(g.label), quoted(g.note))
    end
    self.most = math.max(30, math.min(400, MEANS // (BYTES * 3 * math.max(1, n_series))))
    self.most_single = math.min(200, SINGLES // (BYTES * math.max(1, n_single)))
    self.has_single = n_single > 0 and self.most_single >= FEWEST
    self.too_many = n_single > 0 and not self.has_single
    return self
end

-- The number, from 0, of a list of steps.
function curves:steps(x)
    local text = steps_of(x)
    if not self.xs[text] then
        self.n_xs = self.n_xs + 1
        self.xs[text], self.xs[self.n_xs] = self.n_xs - 1, text
    end
    return self.xs[text]
end

-- Losses, and what spans more than two decades, are drawn on a logarithmic axis where all is positive.
local function is_logarithmic(name, series)
    local low, high = math.huge, -math.huge
    for _, s in ipairs(series) do
        for _, v in ipairs(s.mean) do
            if v - v == 0 then low, high = math.min(low, v), math.max(high, v) end
        end
    end
    return low > 0 and high > low and (name:find("loss") ~= nil and high > 3 * low or high > 100 * low)
end

-- A curve in words: where it begins and ends, and its least and greatest value.
local function described(s)
    local first, last, low, high
    for k, v in ipairs(s.mean) do
        if v - v == 0 then
            first, last = first or k, k
            low, high = math.min(low or v, v), math.max(high or v, v)
        end
    end
    return ("%s%s at step %s, %s at step %s, between %s and %s"):format(s.label ~= "" and s.label .. ": " or "",
        number(s.mean[first]), number(s.x[first]), number(s.mean[last]), number(s.x[last]), number(low), number(high))
end

local function is_constant(list)
    for k = 2, #list do if list[k] ~= list[1] then return false end end
    return true
end

-- A figure of curves: series { { x, mean, low, high, n, label, colour, group }, ... }, colour and group counted from
-- 1; single { { x, y, colour, group }, ... }; marks: steps where the task changes. Returns the figure's HTML.
function curves:figure(title, series, single, marks)
    if #series == 0 then return page.note(title .. ": no finite number") end
    local parts, words, thinned = {}, {}, false
    for k, s in ipairs(series) do
        local places, some = kept(#s.x, self.most)
        thinned = thinned or some
        local text = ('{"c":%d,"g":%d,"label":%s,"x":%d,"m":%s'):format(s.colour - 1, (s.group or 1) - 1,
            quoted(s.label), self:steps(at(s.x, places)), list_of(at(s.mean, places)))
        local n = s.n and at(s.n, places)
        local banded = n and not (is_constant(n) and n[1] == 1)
        if banded then
            text = ('%s,"l":%s,"h":%s,"n":%s'):format(text, list_of(at(s.low, places)), list_of(at(s.high, places)),
                is_constant(n) and n[1] or list_of(n))
        end
        parts[k] = text .. "}"
        if k <= 9 then words[k] = described(s) end
    end
    if #series > 9 then words[10] = ("and %d more"):format(#series - 9) end
    local lines = {}
    for _, s in ipairs(self.has_single and single or {}) do
        local places = kept(#s.x, self.most_single)
        lines[#lines + 1] = ('{"c":%d,"g":%d,"x":%d,"y":%s}'):format(s.colour - 1, s.group - 1,
            self:steps(at(s.x, places)), list_of(at(s.y, places)))
    end
    self.texts[#self.texts + 1] = ('{"title":%s,"log":%s,"marks":%s,"series":[%s],"runs":[%s]}'):format(quoted(title),
        tostring(is_logarithmic(title, series)), steps_of(marks or {}), table.concat(parts, ","),
        table.concat(lines, ","))
    return ('<figure data-fig="%d"><figcaption><strong>%s</strong><span class="tools"></span></figcaption>\n'
        .. '<ul class="legend"></ul><div class="plot" tabindex="0" role="group" aria-roledescription="figure" '
        .. 'aria-label="%s over the step. %s. Arrow keys read the values, + and - zoom, l changes the axis.">'
        .. '</div>%s\n<details><summary>numbers of %s</summary></details></figure>'):format(#self.texts - 1,
        escape(title), escape(title), escape(table.concat(words, "; ")), thinned
        and page.note(("drawn with some %d of their points"):format(self.most)) or "", escape(title))
end

function curves:json()
    return ('{"groups":[%s],"xs":[%s],"figures":[%s]}'):format(table.concat(self.groups, ","),
        table.concat(self.xs, ","), table.concat(self.texts, ",\n"))
end

return curves

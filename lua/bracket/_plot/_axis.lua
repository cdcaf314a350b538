-- An axis: what it has to reach, its ends, its ticks. Ends are those of the data with a little room, on a logarithmic
-- axis too; bars stand on zero, and a map fills its axes.
local bk = ...
local values = bk._plot._values
local fail, number = values.fail, values.number

local axis = {}
axis.__index = axis

function axis.new(name, log, given, ticks, place)
    given = values.pair(given, place .. name .. "range")
    if log and given and given[1] <= 0 then
        fail("%s%srange: expected numbers > 0 on a logarithmic axis, got %g", place, name, given[1])
    end
    return setmetatable({ name = name, log = log, given = given, ticks = ticks, place = place, low = math.huge,
        high = -math.huge, names = {}, places = {}, n_places = 0 }, axis)
end

-- Whether a value has a place on the axis.
function axis:fits(v) return v - v == 0 and not (self.log and v <= 0) end

function axis:reach(v)
    if not self:fits(v) then return end
    self.low, self.high = math.min(self.low, v), math.max(self.high, v)
end

-- A place of a point that is worth a tick where there are few.
function axis:mark(v)
    if self:fits(v) and not self.places[v] and self.n_places < 20 then
        self.places[v], self.n_places = true, self.n_places + 1
    end
end

-- The place of a name: 1, 2, ... in the order of their coming.
function axis:named(name)
    if not self.names[name] then
        self.names[#self.names + 1] = name
        self.names[name] = #self.names
    end
    return self.names[name]
end

-- The ends. floor: where what stands on zero ends, on a logarithmic axis.
function axis:settle()
    if self.from then return self.from, self.to end
    local low, high = self.low, self.high
    local a, b, level = low, high, values.is_level(low, high)
    if self.log then
        a, b = math.log(low, 10), math.log(high, 10)
        local room = level and 0.3 or 0.04 * (b - a)
        if self.stands then a = a - math.max(room, 0.3) end -- the least bar is seen
        a, b = self.tight and a or a - room, self.tight and b or b + room
        a, b = math.max(10.0 ^ a, 5e-324), math.min(10.0 ^ b, 1.79e308) -- room there may be none
    else
        local room = level and math.max(math.abs(a) * 0.1, 1e-300) or 0.04 * (b - a)
        if a == b and a == 0 then room = 0.5 end
        if not self.tight then
            a = self.stands and low >= 0 and 0 or a - room
            b = self.stands and high <= 0 and 0 or b + room
            if a == b then b = 1 end
            if not values.finite(b - a) then a, b = math.min(low, 0), math.max(high, 0) end
        end
    end
    if self.given then a, b = self.given[1], self.given[2] end
    values.check_span(a, b, self.place .. self.name)
    self.from, self.to = a, b
    return a, b
end

-- 0..1 from end to end.
function axis:share(v)
    local a, b = self:settle()
    if self.log then return (math.log(v) - math.log(a)) / (math.log(b) - math.log(a)) end
    return (v - a) / (b - a)
end

-- ---- ticks ----

local function power_label(k, dumb) return dumb and ("1e%d"):format(k) or ("10^{%d}"):format(k) end

-- Digits that tell ticks between low and high apart.
local function digits_of(low, high)
    local most, step = math.max(math.abs(low), math.abs(high)), (high - low) / 10
    if not (step > 0 and most / step < 1e15) then return 6 end
    return math.max(6, math.floor(math.log(most / step, 10)) + 2)
end

local function plain_label(v, dumb, digits)
    local text = ("%." .. (digits or 6) .. "g"):format(v)
    local digits, power = text:match("^(.-)e([+-]%d+)$")
    if not digits or dumb then return text end
    return (digits == "1" and "" or digits .. "×") .. "10^{" .. math.tointeger(tonumber(power)) .. "}"
end

local function log_ticks(low, high, dumb)
    local a, b = math.log(low, 10), math.log(high, 10)
    local first, last, list = math.ceil(a - 1e-9), math.floor(b + 1e-9), {}
    if last - first >= 1 then
        local step = (last - first) // 8 + 1
        for k = first - 1, last do
            if k >= first and (k - first) % step == 0 then list[#list + 1] = { 10.0 ^ k, power_label(k, dumb) } end
            for m = 2, step == 1 and 9 or 1 do
                local v = m * 10.0 ^ k
                if v >= low and v <= high then list[#list + 1] = { v, false } end
            end
        end
        return list
    end
    for _, leads in ipairs { { 1, 2, 5 }, { 1, 2, 3, 4, 5, 7 } } do -- less than two decades
        list = {}
        for k = math.floor(a), math.ceil(b) do
            for _, m in ipairs(leads) do
                local v = tonumber(("%de%d"):format(m, k))
                if v >= low and v <= high then list[#list + 1] = { v, plain_label(v, dumb) } end
            end
        end
        if #list >= 3 then return list end
    end
    local step = values.round_step((high - low) / 4)
    list = {}
    for k = math.ceil(low / step), math.floor(high / step) do
        local v = tonumber(("%.15g"):format(k * step))
        list[#list + 1] = { v, plain_label(v, dumb, digits_of(low, high)) }
    end
    return list
end

local function given_ticks(self, dumb)
    local list = {}
    for k, tick in ipairs(self.ticks) do
        if type(tick) == "number" then
            list[k] = { tick, plain_label(tick, dumb) }
        elseif type(tick) == "string" then
            list[k] = { self.cells and self.cells[k] or k, tick, true }
        else
            fail("%s%sticks: entry %d: expected a number or a name, got %s", self.place, self.name, k,
                bk._options.show(tick))
        end
    end
    if self.cells and type(self.ticks[1]) == "string" and #self.ticks ~= #self.cells then
        fail("%s%sticks: expected %d names, one for each %s, got %d", self.place, self.name, #self.cells,
            self.name == "x" and "column" or "row", #self.ticks)
    end
    return list
end

-- { { place, label or false, is a name }, ... }; nil: gnuplot's own choice.
function axis:tick_list(dumb)
    local low, high = self:settle()
    if type(self.ticks) == "table" then return given_ticks(self, dumb) end
    if #self.names > 0 then
        local list = {}
        for k, name in ipairs(self.names) do list[k] = { k, name, true } end
        return list
    end
    if self.whole then -- numbers of rows or columns
        local list, n = {}, self.cells and #self.cells or 1
        local step = n <= 12 and 1 or math.tointeger(values.round_step(n / 8))
        for k = step, n, step do list[#list + 1] = { self.cells[k], tostring(k) } end
        return list
    end
    if self.log then
        if self.n_places >= 2 and self.n_places <= 6 and self.name == "x" then -- a few rates: themselves
            local list, last = {}, nil
            for v in pairs(self.places) do list[#list + 1] = { v, plain_label(v, dumb) } end
            table.sort(list, function(p, q) return p[1] < q[1] end)
            local apart = true
            for _, tick in ipairs(list) do
                apart = apart and (not last or self:share(tick[1]) - self:share(last) > 0.1)
                last = tick[1]
            end
            if apart then return list end
        end
        return log_ticks(low, high, dumb)
    end
end

local shortened = bk._table_text.shortened

-- How many letters of a label are seen: of 10^{3} three.
local function letters_of(tick)
    return utf8.len(tick[3] and tick[2] or (tick[2]:gsub("[%^{}]", ""))) or #tick[2]
end

-- The ticks, in whatever order they are given, without the labels that are nearer than `apart` of the axis's length to
-- one before them; and whether all are kept.
function axis:thin(list, apart)
    local taken, kept, all = {}, {}, true
    for k, tick in ipairs(list) do
        local at, near = tick[2] and self:share(tick[1]), false
        for _, other in ipairs(at and taken or {}) do near = near or math.abs(at - other) < apart end
        taken[#taken + 1] = not near and at or nil
        kept[k], all = near and { tick[1], "" } or tick, all and not near
    end
    return kept, all
end

-- The ticks, names no longer than `most` or what they have room for along x; how many letters the longest has, and
-- whether there are names. Nil: none.
function axis:labels(dumb, along, most)
    local list, longest, named = self.ticks ~= false and self:tick_list(dumb) or nil, 0, false
    if self.name == "x" then most = math.max(most, along // #(list or { 1 }) - 1) end
    for k, tick in ipairs(list or {}) do
        if tick[3] then
            list[k], named = { tick[1], shortened(tick[2], math.max(4, math.floor(most))), true }, true
        end
        longest = math.max(longest, tick[2] and letters_of(list[k]) or 0)
    end
    return list, longest, named
end

-- How many letters high the names below x are where they have to be turned: 0 where there is room for them along it.
function axis:depth(along, most)
    local list, longest, named = self:labels(false, along, most)
    return named and select(2, self:thin(list, (longest + 1) / along)) and 0 or named and longest or 0
end

local TURNS = { { 35, math.sin(math.rad(35)) }, { 90, 1 } } -- in degrees, and how far apart lines of text then are

-- The lines that set the axis. along, lines: the letters and the lines of text that have room along it; most: the
-- letters of a name. Labels that would lie on each other are turned where they are names below x, else left out.
function axis:lines(script, quote, dumb, along, lines, most)
    local low, high = self:settle()
    if self.reversed then low, high = high, low end
    script[#script + 1] = ("set %srange [%s:%s] noextend"):format(self.name, number(low), number(high))
    script[#script + 1] = self.log and ("set logscale %s 10"):format(self.name) or nil
    script[#script + 1] = ("set format %s '%%.%d%s'"):format(self.name, digits_of(low, high), dumb and "g" or "h")
    if self.ticks == false then
        script[#script + 1] = ("unset %stics"):format(self.name)
        return
    end
    local list, longest, named = self:labels(dumb, along, most)
    local entries, look = {}, "nomirror"
    local away = (self.stands or self.cells or #self.names > 0) and " out" or ""
    if not list then
        script[#script + 1] = ("set %stics autofreq %s%s"):format(self.name, look, away)
        return
    end
    local kept, all = self:thin(list, self.name == "x" and (longest + 1) / along or 1 / lines)
    for _, turn in ipairs(not all and named and self.name == "x" and not dumb and TURNS or {}) do
        if not all then
            kept, all = self:thin(list, 1 / lines / turn[2])
            look = ("nomirror rotate by -%d"):format(turn[1])
        end
    end
    for k, tick in ipairs(kept) do
        entries[k] = tick[2] and quote(tick[2]) .. " " .. number(tick[1]) or "'' " .. number(tick[1]) .. " 1"
    end
    if named then look = look .. " noenhanced" end
    script[#script + 1] = ("set %stics %s%s (%s)"):format(self.name, look, away, table.concat(entries, ", "))
end

return axis

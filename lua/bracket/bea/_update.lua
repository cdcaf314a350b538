-- An optimizer's update as a function that can be traced: what bk.bea.optimizer and bk.bea.order_gap rest on. Nothing
-- here knows an optimizer by name: all is read off the formula.
local bk = ...
local refuse = bk._options.refuse
local update = {}
update.__index = update

-- Steps so late that every correction for the start (1 - beta^t) has reached its limit.
local LATE = 1e15
update.late = LATE

local function field_formula(optimizer) return optimizer.formula end

local function has_formula(optimizer)
    local ok, formula = pcall(field_formula, optimizer)
    return ok and type(formula) == "function"
end

-- What went wrong was no answer to the question: it goes on up.
local function pass_on(message)
    if tostring(message):find("memory") or tostring(message):find("interrupt") then error(message, 0) end
end

function update.new(optimizer, where)
    if not has_formula(optimizer) then
        refuse("%s: optimizer: expected one of bk.optim, such as bk.optim.adam{}, or bk.optim.custom, got %s", where,
            bk._options.show(optimizer))
    end
    local f, names = optimizer:formula()
    return setmetatable({ f = f, names = names, n = #names, optimizer = optimizer, where = where }, update)
end

-- step, { new state } at theta, the gradient g, before step t (a number), with the state s (a list of vectors).
function update:call(theta, g, t, s)
    local results = table.pack(self.f(theta, g, bk.tensor(t), table.unpack(s, 1, self.n)))
    local step, state = nil, {}
    for i = 0, self.n do
        local v = results[1 + i]:to(theta:dtype())
        if v:ndim() == 0 and i > 0 then v = v:broadcast_to(theta:shape()) end
        local got, wanted = bk._options.shape_text(v), bk._options.shape_text(theta)
        if got ~= wanted then
            refuse("%s: optimizer: %s of %s: expected theta's shape %s, got %s", self.where,
                i == 0 and "step" or "state " .. self.names[i], tostring(self.optimizer.name), wanted, got)
        end
        if i == 0 then step = v else state[i] = v end
    end
    return step, state
end

function update:rest(theta)
    local s = {}
    for i = 1, self.n do s[i] = theta * 0 end
    return s
end

-- The derivative of step and state along tangents ds of the state (a list with holes) and, where they are given, of
-- theta and g.
function update:along(theta, g, t, s, ds, dtheta, dg)
    local from, direction = { theta, g }, { dtheta or theta * 0, dg or g * 0 }
    for i = 1, self.n do from[2 + i], direction[2 + i] = s[i], ds[i] or s[i] * 0 end
    local both = table.pack(bk.jvp(function(at, slope, ...)
        local step, state = self:call(at, slope, t, { ... })
        return step, table.unpack(state)
    end, from, direction))
    return both[self.n + 2], table.move(both, self.n + 3, 2 * self.n + 2, 1, {})
end

-- A state that is exactly 0 is moved off it by less than matters: there the root of a mean of squares has no
-- derivative, and a weight whose gradient is 0 for every example (a dead pixel's) would make 0/0 of 0.
function update.off_zero(s)
    local moved = {}
    for i, v in ipairs(s) do moved[i] = v + v:eq(0) * (v:dtype() == "float32" and 1e-20 or 1e-100) end
    return moved
end

-- The field that f stands for, as bk.lie has it: of a loss its gradient.
function update.field(f, where, name)
    local ok, compiled = pcall(bk.compile, f)
    if not ok then pass_on(compiled) end
    if not ok then
        refuse("%s: %s: expected a loss or a field, a function of theta, got %s", where, name, bk._options.show(f))
    end
    local gradient, known = bk.grad(compiled), bk.internal.is_field(compiled)
    return function(theta)
        if not bk.is_tensor(theta) then
            refuse("%s: theta: expected a tensor, got %s", where, bk._options.show(theta))
        end
        local y = compiled(theta)
        if y:ndim() == 0 and not known then return gradient(theta) end
        local got, wanted = bk._options.shape_text(y), bk._options.shape_text(theta)
        if got ~= wanted then
            refuse("%s: %s: expected a loss (a 0-d tensor) or a field of theta's shape %s, got %s", where, name, wanted,
                got)
        end
        return y
    end, compiled
end

-- The decay of an optimizer whose step is g + decay theta, without a state; nil of any other.
function update.gradient_step(optimizer)
    local u = has_formula(optimizer) and update.new(optimizer, "")
    if not u or u.n > 0 then return nil end
    local rng, decay = bk.rng(1), optimizer.weight_decay or 0
    local theta, direction = rng:normal { 5 }, rng:normal { 5 }
    for _, t in ipairs { 1, LATE } do
        for _, size in ipairs { 1, 1e-6, 1e6, 1e12 } do -- what clips shows only where it does
            local g = direction * size
            local fits, step = pcall(u.call, u, theta, g, t, {})
            if not fits then pass_on(step) end
            local off = fits and (step - (g + theta * decay)):abs():max():item()
            if not fits or not (off <= 1e-14 * math.max(1, size)) then return nil end
        end
    end
    return decay
end

local function largest(v) return v:abs():max():item() end

-- The states in an order in which each depends on those before it. feeds[i][k]: state i depends on state k.
local function in_turn(self, feeds)
    local turn, placed = {}, {}
    while #turn < self.n do
        local ready
        for i = 1, self.n do
            local free = not placed[i]
            for k in pairs(feeds[i]) do free = free and placed[k] end
            ready = ready or free and i
        end
        if not ready then
            local left = {}
            for i, name in ipairs(self.names) do left[#left + 1] = not placed[i] and name or nil end
            refuse("%s: optimizer: states %s of %s: expected averages of which each depends on those before it alone, "
                .. "got a circle", self.where, table.concat(left, ", "), tostring(self.optimizer.name))
        end
        placed[ready] = true
        turn[#turn + 1] = ready
    end
    return turn
end

-- Finds self.beta, by state, and self.turn, the states in an order in which each depends on those before it. Each has
-- to be an average, s <- beta s + r with r of theta, g and the states before it: then its derivative by itself is beta
-- wherever it is taken. Probed along a few steps, the gradients' sizes rising and falling, for a maximum or a switch
-- shows only on one side.
function update:analyse(probe)
    local rng = bk.rng(1)
    local function draw() return rng:normal(probe:shape()):to(probe:dtype()) end
    local tolerance = probe:dtype() == "float32" and 1e-4 or 1e-10
    local what = tostring(self.optimizer.name)
    local function no_average(i, got)
        refuse("%s: optimizer: state %s of %s: expected an average, s <- beta s + (1 - beta) q with a fixed beta, "
            .. "-1 < beta < 1, got %s", self.where, self.names[i], what, got)
    end
    local s, beta, feeds = self:rest(probe), {}, {}
    for i = 1, self.n do feeds[i] = {} end
    for _, size in ipairs { 1, 0.5, 4, 0.02, 1 } do
        local theta, g = probe + draw() * 0.1, draw() * size
        local step, after = self:call(theta, g, LATE, s)
        local later, after_later = self:call(theta, g, 2 * LATE, s)
        for i = 0, self.n do
            local now, then_ = i == 0 and step or after[i], i == 0 and later or after_later[i]
            if largest(now - then_) > tolerance * largest(now) then
                refuse("%s: optimizer: %s of %s: expected a formula that settles as o.t grows, got one that goes on "
                    .. "changing with it", self.where, i == 0 and "step" or "state " .. self.names[i], what)
            end
        end
        for i = 1, self.n do
            local _, along_ones = self:along(theta, g, LATE, s, { [i] = s[i] * 0 + 1 })
            local v = draw()
            local _, along = self:along(theta, g, LATE, s, { [i] = v })
            local own = along_ones[i]:reshape { -1 }[1]:item()
            if not (largest(along[i] - v * own) <= tolerance * largest(v)) then
                no_average(i, "a derivative by itself that differs from place to place")
            end
            if not (math.abs(own) < 1) then no_average(i, ("beta = %g"):format(own)) end
            if beta[i] and math.abs(beta[i] - own) > tolerance then no_average(i, "a beta that changes") end
            beta[i] = own
            for k = 1, self.n do
                if k ~= i and not (largest(along[k]) == 0) then feeds[k][i] = true end
            end
        end
        s = after
    end
    self.beta, self.turn, self.feeds = beta, in_turn(self, feeds), feeds
end

return update

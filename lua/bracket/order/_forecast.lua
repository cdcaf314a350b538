-- What the end of an order will be worth, learned from orders that were tried. The value v_i of a judged set (a task's,
-- or a target's, which counts as learned before all of them) is taken as
--     v_i = c_i + a(age_i) + sum over j after i of r^age_j S_ij + sum over j before i of r^age_j Q_ij
-- age_j the number of tasks after j, S and Q symmetric: pair scores, with forgetting that is geometric. Found by ridge
-- regression over all sets of all orders.
local bk = ...
local forecast = {}
forecast.__index = forecast
local RATE, RIDGE = 0.6, 0.3

-- n tasks; sets: the task of every judged set, n + 1 for one of none of them.
function forecast.new(n, sets)
    local self = setmetatable({ n = n, sets = sets, rows = {}, values = {}, pair = {}, weight = {} }, forecast)
    local count = 0
    for i = 1, n + 1 do
        self.pair[i] = self.pair[i] or {}
        for j = i + 1, n + 1 do
            self.pair[j] = self.pair[j] or {}
            count = count + 1
            self.pair[i][j], self.pair[j][i] = count, count
        end
    end
    for age = 0, n do self.weight[age] = RATE ^ age end
    self.pairs, self.width = count, 2 * (n + 1) + 2 * count
    return self
end

local function ages(order)
    local n, age = #order, {}
    for k, i in ipairs(order) do age[i] = n - k end
    age[n + 1] = n
    return age
end

-- An order whose sets ended at these values.
function forecast:add(order, values)
    local n, age = self.n, ages(order)
    for k, i in ipairs(self.sets) do
        local row = {}
        for c = 1, self.width do row[c] = 0.0 end
        row[i], row[n + 1 + age[i] + 1] = 1.0, 1.0
        for j = 1, n do
            if j ~= i then
                local place = 2 * (n + 1) + self.pair[i][j] + (age[j] < age[i] and 0 or self.pairs)
                row[place] = self.weight[age[j]]
            end
        end
        self.rows[#self.rows + 1], self.values[#self.values + 1] = row, values[k]
    end
end

-- The scores, from what was added; none before.
function forecast:fit()
    local m, mean = #self.values, bk.statistics.mean(self.values)
    if m == 0 then return end
    local y = {}
    for k, v in ipairs(self.values) do y[k] = v - mean end
    local X, target = bk.tensor(self.rows), bk.tensor(y):reshape{ m, 1 }
    local beta
    if m < self.width then
        beta = X:transpose():matmul(bk.linalg.solve(X:matmul(X:transpose()) + bk.eye(m) * RIDGE, target))
    else
        beta = bk.linalg.solve(X:transpose():matmul(X) + bk.eye(self.width) * RIDGE, X:transpose():matmul(target))
    end
    beta = beta:reshape{ self.width }:totable()
    local after, before, first = {}, {}, 2 * (self.n + 1) -- scores[i][j]
    for _, i in ipairs(self.sets) do
        after[i], before[i] = {}, {}
        for j = 1, self.n do
            if j ~= i then
                after[i][j] = beta[first + self.pair[i][j]]
                before[i][j] = beta[first + self.pairs + self.pair[i][j]]
            end
        end
    end
    self.after, self.before, self.late = after, before, { table.unpack(beta, self.n + 2, first) } -- late[age + 1]
end

-- The predicted sum of the values, less what no order changes.
function forecast:value(order)
    local age, sum, weight = ages(order), 0, self.weight
    if not self.after then return sum end
    for _, i in ipairs(self.sets) do
        local after, before, mine = self.after[i], self.before[i], age[i]
        sum = sum + self.late[mine + 1]
        for j = 1, self.n do
            if j ~= i then sum = sum + weight[age[j]] * (age[j] < mine and after[j] or before[j]) end
        end
    end
    return sum
end

return forecast

-- What the end of an order will be worth, learned from orders that were tried: a Gaussian process over what each task
-- has left when training ends,
--     u_i = RATE^(tasks after i)      cov(v(o), v(o')) = s² exp(-|u(o) - u(o')|² / 2 l²)
-- l² the mean of |u - mean u|² over all orders, s² and the mean as likely as can be. (Rasmussen & Williams
-- 2006, algorithm 2.1; expected improvement: Jones, Schonlau & Welch 1998, equation 15.)
local bk = ...
local forecast = {}
forecast.__index = forecast
local RATE, NOISE = 0.7, 0.01 -- NOISE: a value's variance that u does not explain, in s²

function forecast.new(n)
    local self = setmetatable({ left = {}, rows = {}, values = {} }, forecast)
    local sum, squares = 0, 0
    for age = 0, n - 1 do
        self.left[n - age] = RATE ^ age
        sum, squares = sum + RATE ^ age, squares + RATE ^ (2 * age)
    end
    self.unit = n > 1 and math.sqrt(squares - sum * sum / n) or 1
    return self
end

function forecast:row(order)
    local u = {}
    for place, i in ipairs(order) do u[i] = self.left[place] / self.unit end
    return u
end

function forecast:add(order, value)
    self.rows[#self.rows + 1], self.values[#self.values + 1] = self:row(order), value
end

-- (#a, #b) correlations of the rows a and b.
local function correlation(a, b)
    local function norms(x, dim) return (x * x):sum(2):reshape(dim) end
    local m, k = a:shape()[1], b:shape()[1]
    return (a:matmul(b:transpose()) - norms(a, { m, 1 }) / 2 - norms(b, { 1, k }) / 2):exp()
end

-- How far each of these orders is expected to fall below the lowest value there is: numbers >= 0, in the values' unit.
-- Mean and variance of the process are the likeliest ones (Jones, equations 5 and 6).
function forecast:improvement(orders)
    local rows, count = {}, #self.values
    for k, order in ipairs(orders) do rows[k] = self:row(order) end
    local tried, values = bk.tensor(self.rows), bk.tensor(self.values)
    local between, cross = correlation(tried, tried) + bk.eye(count) * NOISE, correlation(tried, bk.tensor(rows))
    local weight = bk.linalg.solve(between, bk.ones{ count })
    local mean = weight:dot(values):item() / weight:sum():item()
    local residual = values - mean
    local s2 = math.max(residual:dot(bk.linalg.solve(between, residual)):item() / count, 1e-300)
    local solved = bk.linalg.solve(between, cross) -- (tried, orders)
    local below = values:min() - mean - residual:matmul(solved)
    local sd = (s2 * (1 + NOISE - (cross * solved):sum(1))):sqrt()
    local z = below / sd
    local share, density = (-z / math.sqrt(2)):erfc() / 2, (-z * z / 2):exp() / math.sqrt(2 * math.pi)
    return (below * share + sd * density):totable()
end

return forecast

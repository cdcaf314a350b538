-- What effects of order are computed from: of each loss (or field) the field F it steps against, its derivative along
-- v, DF v, and the adjoint of that. of(where, list, losses_only); a loss stands for its gradient.
local bk = ...
local refuse = bk._options.refuse
local directions = {}
local BLOCK = 8

-- theta in float64: effects of second order drown in float32.
function directions.point(where, theta)
    if not bk.is_tensor(theta) then
        refuse("%s: theta: expected a tensor, got %s", where, bk._options.show(theta))
    end
    if theta:dtype() == "int64" then refuse("%s: theta: expected floating point, got int64", where) end
    return theta:to("float64")
end

-- Kept functions of one loss or field. What it is shows when it is first called.
local function direction(f, where, losses_only)
    local d, made = {}, nil
    local function make(theta)
        if made then return made end
        local y = f(theta)
        if not bk.is_tensor(y) then refuse("%s: expected a tensor, got %s", where, bk._options.show(y)) end
        local shape, like = y:shape(), theta:shape()
        if #shape == 0 and not bk.internal.is_field(f) then
            local hvp = bk.hvp(f)
            made = { field = bk.grad(f), along = hvp, adjoint = hvp }
        else
            local same = not losses_only and #shape == #like
            for k = 1, #shape do same = same and shape[k] == like[k] end
            if not same then
                refuse("%s: expected a 0-d tensor%s, got (%s)", where, losses_only and "" or " or one of theta's shape",
                    table.concat(shape, ","))
            end
            made = { field = f,
                along = bk.compile(function(t, v) return select(2, bk.jvp(f, { t }, { v })) end),
                adjoint = bk.compile(function(t, p) return (select(2, bk.vjp(f, t))(p)) end) }
        end
        return made
    end
    function d.field(theta) return make(theta).field(theta) end
    function d.along(theta, v) return make(theta).along(theta, v) end
    function d.adjoint(theta, p) return make(theta).adjoint(theta, p) end
    return d
end

function directions.of(where, list, losses_only)
    bk._options.list(where, "losses", list, "a list of two or more")
    if #list < 2 then refuse("%s: losses: expected a list of two or more, got %d", where, #list) end
    local d = {}
    for k, f in ipairs(list) do
        if not pcall(bk.compile, f) then
            refuse("%s: losses: entry %d: expected a function of theta, got %s", where, k, bk._options.show(f))
        end
        d[k] = direction(f, ("%s: losses: entry %d"):format(where, k), losses_only)
    end
    return d
end

function directions.fields(d, theta)
    local g = {}
    for k, f in ipairs(d) do g[k] = f.field(theta) end
    return g
end

-- Vectors of theta's shape as the rows of a matrix (m, P).
function directions.rows(list)
    return bk.stack(list):reshape{ #list, -1 }
end

-- (m, m): <z, [g_i, g_j]> = <H_j z, g_i> - <H_i z, g_j>, by m products; rows: the fields g as a matrix. A few products
-- at a time: they stay in the cache until they are multiplied.
function directions.pairs(d, theta, rows, z)
    local columns = {}
    for first = 1, #d, BLOCK do
        local u = {}
        for k = first, math.min(first + BLOCK - 1, #d) do u[#u + 1] = d[k].adjoint(theta, z) end
        columns[#columns + 1] = rows:matmul(directions.rows(u):transpose())
    end
    local inner = bk.concat(columns, 2)
    return inner - inner:transpose()
end

return directions

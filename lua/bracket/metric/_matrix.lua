-- What the metrics are given: an accuracy matrix { {...}, ... } as nested tables or a tensor, row k after the k-th
-- task, and the order the tasks were learned in. matrix(where, a, order) -> rows, number of rows, order[k] (default k).
local bk = ...
local show = bk._options.show
return function(where, a, order, level)
    level = level or 3
    if bk.is_tensor(a) and a:ndim() == 2 then a = a:totable() end
    local length = bk._options.length
    local width = type(a) == "table" and length(a) and type(a[1]) == "table" and length(a[1]) or 0
    if width == 0 then error(where .. ": expected an accuracy matrix { {...}, ... }, a row after each task", level) end
    for k = a[0] and 0 or 1, #a do
        for i = 1, width do
            if type(a[k]) ~= "table" or type(a[k][i]) ~= "number" then
                error(string.format("%s: row %d, column %d: expected a number, got %s", where, k, i,
                    type(a[k]) == "table" and show(a[k][i]) or "a row that is " .. show(a[k])), level)
            end
        end
    end
    if order and not (type(order) == "table" and (length(order) or 0) >= #a) then
        error(string.format("%s: order: expected a list of the %d tasks learned", where, #a), level)
    end
    return a, #a, function(k)
        local i = order and order[k] or k
        if not a[1][i] then
            error(string.format("%s: task %s of %d: the matrix has %d columns", where, show(i), #a, width), level + 1)
        end
        return i
    end
end

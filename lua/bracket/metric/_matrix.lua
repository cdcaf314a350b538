-- What the metrics are given: an accuracy matrix { {...}, ... } as nested tables or a tensor, row k after the k-th
-- task, and the order the tasks were learned in. matrix(where, a, order) -> rows, number of rows, order[k] (default k).
local bk = ...
local refuse, show = bk._options.refuse, bk._options.show
return function(where, a, order)
    if bk.is_tensor(a) and a:ndim() == 2 then a = a:totable() end
    local length = bk._options.length
    local width = type(a) == "table" and length(a) and type(a[1]) == "table" and length(a[1]) or 0
    if width == 0 then refuse("%s: expected an accuracy matrix { {...}, ... }, a row after each task", where) end
    for k = a[0] and 0 or 1, #a do
        local n = type(a[k]) == "table" and length(a[k])
        if n and n > width then refuse("%s: row %d: expected %d numbers as in row 1, got %d", where, k, width, n) end
        for i = 1, width do
            if type(a[k]) ~= "table" or type(a[k][i]) ~= "number" then
                refuse("%s: row %d, column %d: expected a number, got %s", where, k, i,
                    type(a[k]) == "table" and show(a[k][i]) or "a row that is " .. show(a[k]))
            end
        end
    end
    if order and not (type(order) == "table" and (length(order) or 0) >= #a) then
        refuse("%s: order: expected a list of the %d tasks learned", where, #a)
    end
    return a, #a, function(k)
        local i = order and order[k] or k
        if not a[1][i] then
            refuse("%s: task %s of %d: the matrix has %d columns", where, show(i), #a, width)
        end
        return i
    end
end

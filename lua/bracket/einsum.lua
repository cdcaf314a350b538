-- bk.einsum: a specification read once into permutations, sums and matrix products.
local bk = ...
local show = bk._options.show

local function fail(format, ...) bk._options.refuse("bk.einsum: " .. format, ...) end

local function has(letters, letter) return letters:find(letter, 1, true) ~= nil end

-- The letters for which keep(letter), in order.
local function filter(letters, keep)
    return (letters:gsub(".", function(letter) return keep(letter) and letter or "" end))
end

-- "ij,jk->ik" as its operands' letters and the result's. Without an arrow the result has the letters that stand once,
-- in the alphabet's order.
local function parse(spec, count)
    if type(spec) ~= "string" then fail("spec: expected a string such as \"ij,jk->ik\", got %s", show(spec)) end
    local left, right = spec:gsub("%s", ""):match("^([%a,]*)%->(%a*)$")
    left = left or spec:gsub("%s", ""):match("^[%a,]*$")
    if not left then fail("spec: expected letters, commas and one ->, such as \"ij,jk->ik\", got %q", spec) end
    local operands = {}
    for letters in (left .. ","):gmatch("(%a*),") do operands[#operands + 1] = letters end
    if #operands ~= count then fail("spec: %q names %d tensors, got %d", spec, #operands, count) end
    local all = table.concat(operands)
    if not right then
        local once = {}
        for letter in all:gmatch "%a" do
            if select(2, all:gsub(letter, "")) == 1 then once[#once + 1] = letter end
        end
        table.sort(once)
        right = table.concat(once)
    end
    for letter in right:gmatch "%a" do
        if not has(all, letter) then fail("spec: %s of the result stands in no tensor of %q", letter, spec) end
        local _, times = right:gsub(letter, "")
        if times > 1 then fail("spec: %s stands twice in the result of %q", letter, spec) end
    end
    return operands, right
end

local function sizes_of(operands, tensors)
    local size, from = {}, {}
    for k, letters in ipairs(operands) do
        if not bk.is_tensor(tensors[k]) then fail("tensor %d: expected a tensor, got %s", k, show(tensors[k])) end
        local shape = tensors[k]:shape()
        if #shape ~= #letters then
            fail("tensor %d: expected %d dimensions for %q, got (%s)", k, #letters, letters, table.concat(shape, ","))
        end
        for i, n in ipairs(shape) do
            local letter = letters:sub(i, i)
            size[letter], from[letter] = size[letter] or n, from[letter] or k
            if size[letter] ~= n then
                fail("tensor %d: %s: expected size %d as in tensor %d, got %d", k, letter, size[letter], from[letter],
                    n)
            end
        end
    end
    return size
end

-- A term { t, letters }: its dimensions in another order.
local function arranged(term, letters)
    if term.letters == letters then return term.t end
    local axes = {}
    for i = 1, #letters do axes[i] = term.letters:find(letters:sub(i, i), 1, true) end
    return term.t:permute(axes)
end

-- A letter that stands twice takes the diagonal of its dimensions.
local function diagonals(term, size)
    for letter in term.letters:gmatch "%a" do
        while select(2, term.letters:gsub(letter, "")) > 1 do
            local rest, n = {}, size[letter]
            local at = term.letters:find(letter, 1, true)
            local again = term.letters:find(letter, at + 1, true)
            local axes, shape = { at, again }, { n * n }
            for i = 1, #term.letters do
                if i ~= at and i ~= again then
                    axes[#axes + 1], rest[#rest + 1] = i, term.letters:sub(i, i)
                    shape[#shape + 1] = size[term.letters:sub(i, i)]
                end
            end
            local places = bk.arange(n) * (n + 1) + 1
            term = { t = term.t:permute(axes):reshape(shape):gather(places:to "int64"),
                letters = letter .. table.concat(rest) }
        end
    end
    return term
end

-- Sums over the letters that nobody else needs.
local function summed(term, needed)
    local dims = {}
    for i = 1, #term.letters do
        if not has(needed, term.letters:sub(i, i)) then dims[#dims + 1] = i end
    end
    if #dims == 0 then return term end
    return { t = term.t:sum(dims), letters = filter(term.letters, function(l) return has(needed, l) end) }
end

local function product(size, ...)
    local shape = {}
    for _, letters in ipairs { ... } do
        for letter in letters:gmatch "%a" do shape[#shape + 1] = size[letter] end
    end
    return shape
end
local function count(size, letters)
    local n = 1
    for letter in letters:gmatch "%a" do n = n * size[letter] end
    return n
end

-- Two terms as one matrix product for every place of the letters that both have and somebody needs.
local function contracted(a, b, needed, size)
    local shared = filter(a.letters, function(l) return has(b.letters, l) and has(needed, l) end)
    local inner = filter(a.letters, function(l) return has(b.letters, l) and not has(needed, l) end)
    local rows = filter(a.letters, function(l) return not has(b.letters, l) end)
    local columns = filter(b.letters, function(l) return not has(a.letters, l) end)
    local n, m, k, p = count(size, shared), count(size, rows), count(size, inner), count(size, columns)
    local left, right = arranged(a, shared .. rows .. inner), arranged(b, shared .. inner .. columns)
    local t
    if inner == "" then
        t = left:reshape { n, m, 1 } * right:reshape { n, 1, p }
    elseif n == 1 then
        t = left:reshape { m, k }:matmul(right:reshape { k, p })
    else
        t = left:reshape { n, m, k }:matmul(right:reshape { n, k, p })
    end
    return { t = t:reshape(product(size, shared, rows, columns)), letters = shared .. rows .. columns }
end

-- The letters of the result and of every term but these two.
local function needed_beside(terms, result, i, j)
    local letters = { result }
    for k, term in ipairs(terms) do
        if k ~= i and k ~= j then letters[#letters + 1] = term.letters end
    end
    return table.concat(letters)
end

-- The pair whose product is smallest.
local function next_pair(terms, result, size)
    local best, first, second = math.huge, 1, 2
    for i = 1, #terms do
        for j = i + 1, #terms do
            local needed = needed_beside(terms, result, i, j)
            local both = terms[i].letters
                .. filter(terms[j].letters, function(l) return not has(terms[i].letters, l) end)
            local n = count(size, filter(both, function(l) return has(needed, l) end))
            if n < best then best, first, second = n, i, j end
        end
    end
    return first, second
end

return bk.doc(function(spec, ...)
    local tensors = table.pack(...)
    if tensors.n == 0 then fail("expected a specification and at least one tensor, got no tensor") end
    local operands, result = parse(spec, tensors.n)
    local size, terms = sizes_of(operands, tensors), {}
    for k, letters in ipairs(operands) do terms[k] = diagonals({ t = tensors[k], letters = letters }, size) end
    for k in ipairs(terms) do terms[k] = summed(terms[k], needed_beside(terms, result, k)) end
    while #terms > 1 do
        local i, j = next_pair(terms, result, size)
        local needed = needed_beside(terms, result, i, j)
        local b = table.remove(terms, j)
        terms[i] = contracted(terms[i], b, needed, size)
    end
    return arranged(terms[1], result)
end, [[
bk.einsum(spec, t, u, ...) -> tensor
Products summed over indices, in Einstein's notation: each tensor's dimensions have letters, and what the result does
not have is summed. "ij,jk->ik" is a matrix product, "bij,bjk->bik" one for every b, "ii->" a trace, "ii->i" a diagonal,
"i,j->ij" an outer product, "ij->ji" a transpose; without an arrow the result has the letters that stand once, in the
alphabet's order.

Permutations, sums and matrix products, two tensors at a time, those with the smallest product first; differentiable,
and works while tracing. A product that is a matrix product, "i,i->" too, takes int64 as float64.

Errors: a letter with two sizes, a specification that does not fit the tensors.

Source: Einstein 1916; the notation is NumPy's, without the ellipsis.]])

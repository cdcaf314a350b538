-- Letters that no font of this machine has. gnuplot's PNG and PDF would have a box with the letter's number in their
-- place, larger than the figure; here they have a small one.
local LETTER, BOX = "[\xc2-\xf4][\x80-\xbf]+", "□" -- one beyond ASCII

-- Takes those that some font has from the table of letters and their numbers, as fontconfig tells: "20-7e a0 ..." a
-- font. Nil where it cannot be asked.
local function take_known(letters)
    local p, any = io.popen("fc-list --format '%{charset}\\n' 2>/dev/null"), nil
    for line in p:lines() do
        any = true
        for from, to in line:gmatch("(%x+)%-?(%x*)") do
            local low, high = tonumber(from, 16), tonumber(to ~= "" and to or from, 16)
            for letter, n in pairs(letters) do
                if n >= low and n <= high then letters[letter] = nil end
            end
        end
        if not next(letters) then break end
    end
    p:close()
    return any
end

-- The text with boxes for what is missing, and what that is, in order.
return function(text)
    local missing, list = {}, {}
    for letter in text:gmatch(LETTER) do missing[letter] = utf8.codepoint(letter) end
    if not next(missing) then return text, list end
    missing[BOX] = utf8.codepoint(BOX)
    if not take_known(missing) then return text, list end
    local box = missing[BOX] and "?" or BOX
    for letter in pairs(missing) do list[#list + 1] = text:find(letter, 1, true) and letter or nil end
    table.sort(list)
    return text:gsub(LETTER, function(letter) return missing[letter] and box end), list
end

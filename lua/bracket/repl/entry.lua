-- entry.lua - the one form of an entry: what a docstring says, in parts, and these in the order in which help, the
-- reference and the editor show them: signature, text, options, then what is labelled, then an example.
local bk = ...
local entry = {}

entry.LABELS = { "Shapes", "Returns", "Methods", "Errors", "Formula", "Source" }
local is_label = {}
for place, label in ipairs(entry.LABELS) do is_label[label] = place end

-- The docstring of a name: { signature, text, labelled = { { label, text }, ... }, example or nil }. A label begins a
-- line, and what it labels ends with the paragraph or at the next label.
function entry.parts(docstring)
    local before, example = bk.repl.examples.split(docstring)
    local signature, rest = before:match("^([^\n]*)\n*(.*)$")
    local text, labelled, current = {}, {}, nil
    for line in (rest:gsub("%s+$", "") .. "\n"):gmatch("([^\n]*)\n") do
        local label, words = line:match("^(%u%l+): (.*)$")
        if is_label[label] then
            current = { label, words }
            labelled[#labelled + 1] = current
        elseif line == "" then
            if not current then text[#text + 1] = "" end
            current = nil
        elseif current then
            current[2] = current[2] .. "\n" .. line
        else
            text[#text + 1] = line
        end
    end
    table.sort(labelled, function(a, b) return is_label[a[1]] < is_label[b[1]] end)
    return { signature = signature, text = (table.concat(text, "\n"):gsub("%s+$", "")), labelled = labelled,
        example = example }
end

-- As one text, the paragraphs with blank lines between; options: lines in place of a table, or "".
function entry.text(parts, options)
    local out = { parts.signature }
    if parts.text ~= "" then out[#out + 1] = parts.text end
    if options and options ~= "" then out[#out + 1] = options end
    for _, l in ipairs(parts.labelled) do out[#out + 1] = l[1] .. ": " .. l[2] end
    if parts.example then out[#out + 1] = "Example:\n  " .. parts.example:gsub("\n", "\n  ") end
    return table.concat(out, "\n\n")
end

return entry

-- The looks of series and of heat maps. Each of the nine looks is told from the others without colour: by its dashes,
-- or by how dark it is; all are seen on white (3 to 1 at least). After the ninth they begin again with the next dashes.
local colours = {}

local LOOKS = { -- colour, dashes, gnuplot's point
    { "#1f5fa8", 1, 7 }, { "#d96a0f", 1, 5 }, { "#1a1a1a", 1, 9 }, { "#8c1d40", 5, 13 }, { "#009270", 2, 11 },
    { "#6b5b00", 2, 6 }, { "#c9589b", 3, 4 }, { "#5b3a1e", 3, 8 }, { "#6e6e6e", 4, 12 },
}
local DASHES = { "solid", "(8,4)", "(2,3)", "(9,3,2,3)", "(14,3)" }

function colours.look(k)
    local look, turn = LOOKS[(k - 1) % #LOOKS + 1], (k - 1) // #LOOKS
    return { colour = look[1], dashes = DASHES[(look[2] - 1 + turn) % #DASHES + 1],
        point = LOOKS[(k - 1 + turn) % #LOOKS + 1][3] }
end
colours.dashed = DASHES[2]

-- viridis, which grows lighter from end to end; blue through white to a red that is lighter than the blue.
local MAPS = {
    sequential = { "#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b",
        "#fde725" },
    diverging = { "#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#e8775a",
        "#d6453d", "#b2182b" },
}
colours.NAN, colours.NAN_LINES = "#c4c4c4", "#7a7a7a"

local function parts(colour)
    return tonumber(colour:sub(2, 3), 16), tonumber(colour:sub(4, 5), 16), tonumber(colour:sub(6, 7), 16)
end

-- gnuplot's definition of a map.
function colours.palette(name)
    local map, steps = MAPS[name], {}
    for k, colour in ipairs(map) do steps[k] = ("%.4f '%s'"):format((k - 1) / (#map - 1), colour) end
    return "set palette maxcolors 128 defined (" .. table.concat(steps, ", ") .. ")"
end

-- The map's colour at place 0..1 as red, green, blue.
local function mixed(name, place)
    local map = MAPS[name]
    local at = 1 + math.max(0, math.min(1, place)) * (#map - 1)
    local k = math.min(math.floor(at), #map - 1)
    local a, b = { parts(map[k]) }, { parts(map[k + 1]) }
    for c = 1, 3 do a[c] = a[c] + (b[c] - a[c]) * (at - k) end
    return a
end

function colours.at(name, place)
    local c = mixed(name, place)
    return ("#%02x%02x%02x"):format(math.floor(c[1] + 0.5), math.floor(c[2] + 0.5), math.floor(c[3] + 0.5))
end

-- Whether black text is read better than white on the map's colour there: by the contrast of both with it.
function colours.is_light(name, place)
    local light = 0
    for c, weight in ipairs { 0.2126, 0.7152, 0.0722 } do
        local v = mixed(name, place)[c] / 255
        light = light + weight * (v <= 0.04045 and v / 12.92 or ((v + 0.055) / 1.055) ^ 2.4)
    end
    return light > 0.18
end

return colours

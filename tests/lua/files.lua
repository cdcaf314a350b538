-- files.lua - files, folders and commands, for the suites.
local files = {}

function files.read(path) -- nil where there is none
    local f <close> = io.open(path, "rb")
    return f and f:read("a")
end

function files.write(path, text)
    local f <close> = assert(io.open(path, "wb"))
    assert(f:write(text))
end

-- A new folder, for files.remove.
function files.folder()
    local path = os.tmpname()
    os.remove(path)
    require "bracket".internal.make_folder(path)
    return path
end

function files.remove(path) os.execute("rm -rf '" .. path .. "'") end

-- What a command prints, on stdout and stderr, and its exit status.
function files.output_of(command)
    local p <close> = io.popen(("{ %s; } 2>&1; echo \"status $?\""):format(command))
    local output, status = p:read("a"):match("^(.*)status (%d+)\n$")
    return output, tonumber(status)
end

return files

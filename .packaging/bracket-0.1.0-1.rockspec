-- luarocks --lua-version=5.4 make .packaging/bracket-0.1.0-1.rockspec: the module for stock Lua 5.4.
rockspec_format = "3.0"
package = "bracket"
version = "0.1.0-1"
source = { url = "file://bracket-0.1.0.tar.gz" } -- made by `make dist`
description = {
    summary = "Exact modified losses and Lie brackets of training protocols",
    detailed = "Gradients, Hessian-vector products and brackets of any order, modified losses and flows of "
        .. "multitask and continual training, verified against the discrete steps.",
    license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua >= 5.4, < 5.5" }
external_dependencies = { OPENBLAS = { library = "openblas" }, ZLIB = { header = "zlib.h" }, JANSSON = { header = "jansson.h" },
    PNG = { header = "png.h" }, JPEG = { header = "jpeglib.h" } }
build = {
    type = "command",
    build_command = "make libraries && make -j2 B=build/rocks build/rocks/bracket.so",
    install = { lib = { bracket = "build/rocks/bracket.so" } },
}

"""arrays.py - a host in Python: ctypes and nothing else. Its memory goes in without a copy, a gradient comes out."""
import ctypes
import os
from array import array
from ctypes import c_char_p, c_int, c_int64, c_void_p

ctypes.CDLL(os.environ.get("LUA_LIBRARY", "liblua5.4.so.0"), ctypes.RTLD_GLOBAL)  # the host's Lua
lib = ctypes.CDLL(os.path.join(os.environ.get("BRACKET_BUILD", "build"), "libbracket.so"))


class View(ctypes.Structure):  # bk_view
    _fields_ = [("data", c_void_p), ("dtype", c_int), ("ndim", c_int), ("shape", c_int64 * 8), ("strides", c_int64 * 8)]


lib.bk_open.restype, lib.bk_error.restype = c_void_p, c_char_p
env = c_void_p(lib.bk_open(None))


def check(status):
    if status:
        raise RuntimeError(lib.bk_error(env).decode())


x = array("d", [1, 2, 3, 4, 5, 6])
address, _ = x.buffer_info()
check(lib.bk_set_tensor(env, b"x", 0, 2, (c_int64 * 2)(2, 3), c_void_p(address)))
check(lib.bk_dostring(env, b"g = bk.grad(function(t) return (t ^ 3):sum() end)(x)", None))
view = View()
check(lib.bk_get_tensor(env, b"g", ctypes.byref(view)))
assert list(view.shape[: view.ndim]) == [2, 3]
assert list((ctypes.c_double * 6).from_address(view.data)) == [3 * t * t for t in x]
try:
    check(lib.bk_dostring(env, b"bk.ones{2}:reshape(3)", b"chunk"))
    raise AssertionError("a wrong shape went through")
except RuntimeError as e:
    assert "reshape" in str(e)
lib.bk_close(env)
print("1 passed, 0 failed")

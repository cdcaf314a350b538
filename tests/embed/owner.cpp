// owner.cpp - a host in C++17: the environment and its failures as an object and an exception, a tensor as a view of
// what it holds, and a function of the host's that scripts call.
#include "bracket.h"
#include <cmath>
#include <cstdio>
#include <lua.hpp>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

class environment {
    std::unique_ptr<bk_env, decltype(&bk_close)> env;

    void check(bk_status status) {
        if (status) throw failure(status, bk_error(env.get()));
    }

public:
    struct failure : std::runtime_error {
        bk_status status;
        failure(bk_status s, const char *text) : std::runtime_error(text), status(s) {}
    };

    explicit environment(const bk_options &options = {}) : env(bk_open(&options), bk_close) {
        if (!env) throw std::bad_alloc();
    }
    void run(const std::string &chunk) { check(bk_dostring(env.get(), chunk.c_str(), "host")); }
    void lend(const char *name, std::vector<double> &v) { // v must outlive what scripts make of it
        const int64_t n = static_cast<int64_t>(v.size());
        check(bk_set_tensor(env.get(), name, BK_FLOAT64, 1, &n, v.data()));
    }
    std::optional<bk_view> look(const char *name) {
        bk_view view;
        return bk_get_tensor(env.get(), name, &view) ? std::nullopt : std::optional(view);
    }
    void offer(const char *name, lua_CFunction f) { lua_register(bk_lua(env.get()), name, f); }
};

static int passed, failed;

static void check(bool ok, const char *what) {
    ok ? passed++ : failed++;
    if (!ok) std::printf("FAILED: %s\n", what);
}

int main() {
    std::vector<double> x{ 0.5, -1, 2 };
    environment host;
    host.lend("x", x);
    host.offer("half", [](lua_State *L) { return lua_pushnumber(L, luaL_checknumber(L, 1) / 2), 1; });
    host.run("h = bk.hvp(function(t) return t:exp():sum() * half(1) end)(x, bk.ones{3})");
    const auto h = host.look("h");
    bool right = h && h->ndim == 1 && h->shape[0] == 3;
    for (int i = 0; right && i < 3; i++)
        right = std::fabs(static_cast<const double *>(h->data)[i * h->strides[0]] - std::exp(x[i]) / 2) < 1e-15;
    check(right, "a Hessian-vector product with the host's function in the loss");
    check(!host.look("nothing"), "no such tensor");
    try {
        host.run("bk.ones{2} .. bk.ones{3}");
        check(false, "a failure is an exception");
    } catch (const environment::failure &e) {
        check(e.status == BK_ERUNTIME && e.what()[0], e.what());
    }
    try {
        environment small({ 64 << 20, 1000000, 1, nullptr, 1 });
        small.run("while true do end");
        check(false, "the step limit holds");
    } catch (const environment::failure &e) {
        check(e.status == BK_ELIMIT, e.what());
    }
    host.run("x = nil");
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

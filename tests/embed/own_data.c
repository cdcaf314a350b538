/* own_data.c - a host that owns its data: hands arrays over without a copy, runs a protocol of two tasks,
 * and reads theta back. */
#include "bracket.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static int passed, failed;

static void check(int ok, const char *what) {
    if (ok)
        passed++;
    else {
        failed++;
        printf("FAILED: %s\n", what);
    }
}

static const char script[] =
    "local model = bk.nn.mlp{2, 3, 1, activation = 'tanh'}\n"
    "local tasks = { { x = x, y = y, loss = 'mse' }, { x = x, y = -y, loss = 'mse' } }\n"
    "local p = bk.protocol{ model = model, tasks = tasks, order = 'cyclic', lr = 0.05, steps = 40, batch = 'full',\n"
    "    interventions = { bk.intervention.conflict{ strength = 0 } }, record = { every = 40, 'loss' }, seed = 1 }\n"
    "local r = p:run{ theta = model:init{seed = 1} }\n"
    "local loss = r.history.loss\n"
    "after = bk.tensor{loss[#loss] - loss[1]}\n"
    "theta = r.theta\n";

int main(void) {
    double x[8][2], y[8][1];
    const int64_t x_shape[] = { 8, 2 }, y_shape[] = { 8, 1 };
    for (int i = 0; i < 8; i++) {
        x[i][0] = cos(i);
        x[i][1] = sin(2.0 * i);
        y[i][0] = x[i][0] * x[i][1] + 1;
    }
    bk_env *env = bk_open(NULL);
    check(env != NULL, "bk_open");
    check(bk_set_tensor(env, "x", BK_FLOAT64, 2, x_shape, x) == BK_OK, bk_error(env));
    check(bk_set_tensor(env, "y", BK_FLOAT64, 2, y_shape, y) == BK_OK, bk_error(env));
    bk_view view;
    check(bk_get_tensor(env, "x", &view) == BK_OK && view.data == (void *)x,
          "the script sees the host's memory itself");
    check(view.ndim == 2 && view.shape[0] == 8 && view.strides[0] == 2 && view.dtype == BK_FLOAT64,
          "shape and strides");
    check(bk_dostring(env, script, "protocol") == BK_OK, bk_error(env));
    check(bk_get_tensor(env, "theta", &view) == BK_OK && view.ndim == 1 && view.shape[0] == 13, "theta comes back");
    const double *theta = view.data;
    int finite = theta != NULL;
    for (int i = 0; theta && i < 13; i++) finite = finite && isfinite(theta[i * view.strides[0]]);
    check(finite, "theta is finite");
    check(bk_get_tensor(env, "after", &view) == BK_OK && *(double *)view.data < -1e-3, "the sum of the losses fell");
    x[0][0] = 42;
    check(bk_dostring(env, "assert(x[1][1]:item() == 42)", NULL) == BK_OK, "a change by the host is seen");
    double a[] = { 1, 2, 3 };
    const int64_t a_shape[] = { 3 };
    check(bk_set_tensor(env, "a", BK_FLOAT64, 1, a_shape, a) == BK_OK, bk_error(env));
    static const char functions[] =
        "f = { bk.grad(function(t) return (t * a:sum()):sum() end), bk.grad(function(t) return (t * a):sum() end),\n"
        "    bk.compile(function(t) return t * (a * 2):square() end), bk.grad(function(t) return (t * a[1]):sum() end) }";
    check(bk_dostring(env, functions, "functions") == BK_OK, bk_error(env));
    for (int k = 0; k < 2; k++) {
        const char *want = k ? "{ 105, 100, 40000, 100 }" : "{ 6, 1, 4, 1 }";
        char text[300];
        snprintf(text, sizeof text,
                 "for i, w in ipairs%s do local g = f[i](bk.ones{3})[1]:item() assert(g == w, i .. ': ' .. g) end", want);
        check(bk_dostring(env, text, "compiled") == BK_OK, bk_error(env));
        a[0] = 100;
    }
    check(bk_get_tensor(env, "nosuch", &view) == BK_EINVAL && strstr(bk_error(env), "nosuch"),
          "an unknown global is named");
    check(bk_set_tensor(env, "z", BK_FLOAT64, 9, x_shape, x) == BK_EINVAL, "nine dimensions are refused");
    bk_close(env);
    x[0][0] = 1; /* still the host's */
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

/* dlopen.c - a plug-in host: libbracket.so opened at run time with RTLD_LOCAL, nothing but its public names seen.
 * The library must leave the process as it was: signal handlers, locale, standard output. */
#include "src/bracket.h"
#include <dlfcn.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;

static void check(int ok, const char *what) {
    if (ok) passed++;
    else {
        failed++;
        printf("FAILED: %s\n", what);
    }
}

/* As dlsym's page has it: ISO C knows no conversion from an object's address to a function's. */
#define LOAD(name)                                                                                                     \
    __typeof__(&name) name##_;                                                                                         \
    *(void **)&name##_ = dlsym(library, #name)

int main(void) {
    const char *build = getenv("BRACKET_BUILD");
    char path[4096];
    snprintf(path, sizeof path, "%s/libbracket.so", build ? build : "build");
    if (path[0] != '/') { /* a name with a slash is not searched for */
        char with_dot[4096 + 2];
        snprintf(with_dot, sizeof with_dot, "./%s", path);
        memcpy(path, with_dot, sizeof path - 1);
    }
    struct sigaction before, after;
    sigaction(SIGINT, NULL, &before);
    char *locale = strdup(setlocale(LC_ALL, NULL));
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        printf("%s\n0 passed, 1 failed\n", dlerror());
        return 1;
    }
    LOAD(bk_open);
    LOAD(bk_close);
    LOAD(bk_dostring);
    LOAD(bk_error);
    LOAD(bk_get_tensor);
    check(bk_open_ && bk_close_ && bk_dostring_ && bk_error_ && bk_get_tensor_, "the public names are there");
    check(!dlsym(library, "mem_alloc") && !dlsym(library, "bind_ctx"), "and no others");
    bk_env *env = bk_open_(NULL);
    check(env != NULL, "bk_open");
    bk_view view;
    check(bk_dostring_(env, "g = bk.grad(function(t) return (t * t):sum() end)(bk.tensor{1, 2, 3})", NULL) == BK_OK,
          bk_error_(env));
    check(bk_get_tensor_(env, "g", &view) == BK_OK && ((double *)view.data)[2] == 6, "a gradient comes out");
    check(bk_dostring_(env, "error('told')", "chunk") == BK_ERUNTIME && strstr(bk_error_(env), "told") &&
              strstr(bk_error_(env), "traceback"), "an error has a text and a traceback");
    bk_close_(env);
    sigaction(SIGINT, NULL, &after);
    check(before.sa_handler == after.sa_handler, "the signal handler is the host's");
    check(strcmp(locale, setlocale(LC_ALL, NULL)) == 0, "the locale is the host's");
    free(locale);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

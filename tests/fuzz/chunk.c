/* chunk.c - chunks of Lua against a restricted environment with a limit of memory and of steps: whatever they do, the
 * call ends with a status and a message, the next call works, and no file appears outside the folder that is theirs. */
#include "fuzz.h"
#include <dirent.h>

static bk_env *env;
static char inside[300], outside[300];

static void reopen(void) {
    const char *folders[] = { inside, NULL };
    bk_close(env);
    env = bk_open(&(bk_options){ .memory_limit = 48 << 20, .step_limit = 20000, .restricted = 1, .folders = folders });
    PROMISE(env, "bk_open");
}

static int entries(const char *path) {
    DIR *d = opendir(path);
    int n = 0;
    if (!d) abort();
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static unsigned count;
    if (!env) {
        fuzz_silence();
        snprintf(inside, sizeof inside, "%s/outside/inside", fuzz_root());
        snprintf(outside, sizeof outside, "%s/outside", fuzz_root());
        if (mkdir(outside, 0700) || mkdir(inside, 0700) || chdir(outside)) abort();
    }
    if (count++ % 64 == 0) reopen();
    char *chunk = malloc(n + 1);
    if (!chunk) abort();
    memcpy(chunk, data, n);
    chunk[n] = 0;
    const bk_status status = bk_dostring(env, chunk, "chunk");
    free(chunk);
    PROMISE(status >= BK_OK && status <= BK_EUNSUPPORTED, "status %d", (int)status);
    PROMISE(!status == !bk_error(env)[0], "status %d with the message '%s'", (int)status, bk_error(env));
    PROMISE(status != BK_EINTERRUPTED, "interrupted by nobody");
    PROMISE(status == BK_ENOMEM || bk_dostring(env, "local x <const> = 1", NULL) == BK_OK, "after it: %s", bk_error(env));
    if (status == BK_ENOMEM) reopen();
    if (count % 64 == 0) PROMISE(entries(outside) == 3 /* . .. inside */, "files were written outside");
    return 0;
}

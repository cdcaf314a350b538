/* delays.c - preloaded, it puts a random wait before and after every write, fsync and rename: a kill then finds a
 * program in the middle of saving far more often. DELAY_US: the longest wait. */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void wait_some(void) {
    static unsigned state;
    const char *most = getenv("DELAY_US");
    if (!state) state = (unsigned)getpid() * 2654435761u | 1;
    state = state * 1664525u + 1013904223u;
    const long us = most ? (long)(state >> 8) % (atol(most) + 1) : 0;
    nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL);
}

#define DELAYED(type, name, parameters, ...)                                                                           \
    type name parameters {                                                                                             \
        type(*real) parameters = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                          \
        wait_some();                                                                                                   \
        const type result = real(__VA_ARGS__);                                                                         \
        wait_some();                                                                                                   \
        return result;                                                                                                 \
    }
DELAYED(ssize_t, write, (int fd, const void *data, size_t bytes), fd, data, bytes)
DELAYED(ssize_t, pwrite, (int fd, const void *data, size_t bytes, off_t at), fd, data, bytes, at)
DELAYED(int, fsync, (int fd), fd)
DELAYED(int, rename, (const char *from, const char *to), from, to)

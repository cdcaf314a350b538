/* fuzz.h - what the harnesses share: a folder of their own, files in it, and the end when a promise is broken. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include "../../src/bracket.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char fuzz_folder[200];

static inline void fuzz_clean(void) {
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", fuzz_folder);
    if (system(command)) return;
}

/* In memory where that is mounted: some thousand files a second. */
static inline const char *fuzz_root(void) {
    if (fuzz_folder[0]) return fuzz_folder;
    snprintf(fuzz_folder, sizeof fuzz_folder, "%s/bracket-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(fuzz_folder)) abort();
    atexit(fuzz_clean);
    return fuzz_folder;
}

static inline void fuzz_write(const char *path, const uint8_t *data, size_t n) {
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, n) != (ssize_t)n) abort();
    close(fd);
}

/* What a script prints is nobody's. */
static inline void fuzz_silence(void) {
    const int null = open("/dev/null", O_WRONLY);
    if (null < 0 || dup2(null, 1) < 0) abort();
    close(null);
}

/* A broken promise ends the process, which is what makes it a finding. */
#define PROMISE(holds, ...) \
    do { \
        if (!(holds)) { \
            fprintf(stderr, "BROKEN: " __VA_ARGS__); \
            fputc('\n', stderr); \
            abort(); \
        } \
    } while (0)

#endif

/* check.h - what a test program counts and says of its checks. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#include <setjmp.h>
/* Lua leaves stacks by a function of glibc that ThreadSanitizer does not know: what was left would count as running, for
 * ever, in gigabytes of stacks. The program's function of that name goes before glibc's, and jumps by one that it knows. */
__attribute__((visibility("default"))) void __longjmp_chk(jmp_buf to, int value);
void __longjmp_chk(jmp_buf to, int value) {
    longjmp(to, value);
}
#endif

static int passed, failed;

static void check(bool ok, const char *what, const char *detail) {
    if (ok)
        passed++;
    else {
        failed++;
        printf("FAILED: %s: %s\n", what, detail);
    }
}

/* Bytes of this process: its address space, or what of it is in memory. 0 where the system does not say. */
enum memory_kind { MAPPED, RESIDENT };

static inline size_t memory_now(enum memory_kind kind) {
    long pages[2] = { 0, 0 };
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    if (fscanf(f, "%ld %ld", &pages[MAPPED], &pages[RESIDENT]) != 2) pages[kind] = 0;
    fclose(f);
    return (size_t)pages[kind] * (size_t)sysconf(_SC_PAGESIZE);
}

#endif

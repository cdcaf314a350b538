/* check.h - what a test program counts and says of its checks. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <stdbool.h>
#include <stdio.h>

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

#endif

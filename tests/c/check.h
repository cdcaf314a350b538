/* check.h - what a test program counts and says of its checks. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <stdbool.h>
#include <stdio.h>

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

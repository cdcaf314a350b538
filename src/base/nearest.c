/* nearest.c - which of the names that are known a mistyped one most likely means. */
#include "nearest.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Letters to put in, take out, change or swap with the next between a and b, capitals as small ones; more than most:
 * most + 1. */
static int edits(const char *a, const char *b, int most) {
    enum { LONGEST = 40 };
    int n = (int)strlen(a), m = (int)strlen(b);
    if (n > LONGEST || m > LONGEST || abs(n - m) > most) return most + 1;
    int d[LONGEST + 1][LONGEST + 1];
    char x[LONGEST + 1], y[LONGEST + 1];
    for (int i = 0; i <= n; i++) x[i] = (char)tolower((unsigned char)a[i]);
    for (int j = 0; j <= m; j++) y[j] = (char)tolower((unsigned char)b[j]);
    for (int i = 0; i <= n; i++)
        for (int j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            int best = d[i - 1][j - 1] + (x[i - 1] != y[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            bool swapped = i > 1 && j > 1 && x[i - 1] == y[j - 2] && x[i - 2] == y[j - 1];
            if (swapped && d[i - 2][j - 2] + 1 < best) best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

const char *name_nearest(const char *name, const char *const *known) {
    const char *best = NULL;
    const size_t n_letters = strlen(name); /* another letter is another name; more edits are another word */
    int fewest = n_letters < 2 ? 0 : n_letters < 5 ? 1 : n_letters < 8 ? 2 : 3;
    for (; *known; known++) {
        bool begins = n_letters >= 3 && strncmp(*known, name, n_letters) == 0;
        int n = begins ? 1 : edits(name, *known, fewest);
        if (n <= fewest && (!best || n < fewest)) best = *known, fewest = n;
    }
    return best;
}

name_hint name_meant(const char *name, const char *const *known) {
    name_hint hint = { "" };
    const char *near = name_nearest(name, known);
    if (near) snprintf(hint.text, sizeof hint.text, " (did you mean %.60s?)", near);
    return hint;
}

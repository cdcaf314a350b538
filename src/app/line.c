/* line.c - the line on a terminal that says how far long work is: what reports it (ctx_tell) names the user's function.
 * The first one that begins has the line until it is done; what it calls is silent. Work of less than a second shows
 * nothing. */
#include "../base/clock.h"
#include "app.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const double QUIET = 1, BETWEEN = 0.2, GONE = 5; /* seconds; after GONE without a word an error ended the work */

static pthread_t owner;
static bool given_away, drawn;
static char current[64];
static int64_t first, last;
static double began, heard, shown;

void line_clear(void) {
    if (drawn) fputs("\r\033[K", stderr);
    drawn = false;
    *current = 0;
}

void line_tell(const char *what, int64_t done, int64_t all) {
    if (given_away || !pthread_equal(pthread_self(), owner)) return;
    const double t = clock_seconds();
    const bool mine = strncmp(what, current, sizeof current - 1) == 0;
    if (*current && !mine && t - heard < GONE) return;
    if (!mine || done < last) { /* it begins */
        line_clear();
        snprintf(current, sizeof current, "%s", what);
        first = done;
        began = t;
        shown = 0;
    }
    last = done;
    heard = t;
    if (done >= all) {
        line_clear();
        return;
    }
    if (t - began < QUIET || t - shown < BETWEEN || done == first) return;
    const long left = (long)((double)(all - done) * (t - began) / (double)(done - first));
    fprintf(stderr, "\r%s %lld/%lld  %ld:%02ld left\033[K", current, (long long)done, (long long)all, left / 60,
            left % 60);
    fflush(stderr);
    shown = t;
    drawn = true;
}

static int give(lua_State *L) { /* line(true): something else has the line; line(false): no more */
    line_clear();
    given_away = lua_toboolean(L, 1);
    return 0;
}

void line_push(lua_State *L) {
    owner = pthread_self();
    lua_pushcfunction(L, give);
}

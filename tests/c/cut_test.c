/* cut_test.c - the cheapest cut of small random networks, against a look at all of them. */
#include "../../src/base/ctx.h"
#include "../../src/compile/cut.h"
#include "../../src/ops/ops.h"
#include "check.h"

enum { MOST = 9, ARCS = 24 };

typedef struct line {
    int from, to;
    int64_t room;
} line;

static unsigned state = 1;
static int below(int n) {
    state = state * 1664525u + 1013904223u;
    return (int)(state >> 8) % n;
}

static int64_t through(int n, const line *lines, unsigned after) {
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        if (!(after >> lines[i].from & 1) && after >> lines[i].to & 1) sum += lines[i].room;
    return sum;
}

int main(void) {
    ctx *c = ctx_new(1);
    graph *g = ops_graph(c);
    network w;
    bool after[MOST];
    check(network_new(g, MOST, &w), "network_new", "failed");
    for (int round = 0; round < 3000; round++) {
        line lines[ARCS];
        const int n = 2 + below(MOST - 1), arcs = below(ARCS + 1);
        network_clear(&w);
        for (int i = 0; i < arcs; i++) { /* often of one size: there are several cheapest cuts then */
            lines[i] = (line){ below(n), below(n), below(8) ? 1 + below(round % 3 ? 2 : 50) : CUT_NEVER };
            check(network_add(&w, lines[i].from, lines[i].to, lines[i].room), "network_add", "failed");
        }
        network_cut(&w, after);
        unsigned got = 0;
        for (int i = 0; i < n; i++) got |= (unsigned)after[i] << i;
        int64_t least = INT64_MAX;
        unsigned nearest = ~0u; /* what every cheapest cut has beyond it */
        for (unsigned s = 0; s < 1u << n; s++) {
            if (s >> CUT_SOURCE & 1 || !(s >> CUT_SINK & 1)) continue;
            const int64_t sum = through(arcs, lines, s);
            if (sum < least) least = sum, nearest = s;
            else if (sum == least) nearest &= s;
        }
        if (least < CUT_NEVER) check(got == nearest, "the cheapest cut", "another one");
    }
    graph_free(g);
    ctx_release(c);
    printf("cut: %d passed, %d failed\n", passed, failed);
    return failed != 0;
}

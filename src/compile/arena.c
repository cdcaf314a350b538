/* arena.c - first fit by address among the buffers alive at the same time, in several orders, of which the one that
 * needs the least is taken, and that again with what lies highest first. What was placed at a buffer's turns is found
 * in a few lists of spans, which become one where memory is full: no look at every buffer placed before. */
#include "arena.h"

#include <stdlib.h>
#include <string.h>

typedef struct span {
    size_t start, end;
} span;

typedef struct spans { /* addresses in use: in order, with gaps between them */
    span *v;
    int n, room;
} spans;

/* A range of turns in a tree that halves them. A buffer is noted at the largest ranges it lives through. */
typedef struct range {
    spans through; /* of the buffers noted here */
    spans any;     /* ... and of those noted in its parts */
} range;

typedef struct visit { /* a range with turns at which the buffer in hand lives */
    range *at;
    bool inside;        /* all its turns are: what meets the buffer there is in any; else in through and its parts */
    int from;           /* spans before this one are below the address reached */
    size_t clear_until; /* from the address reached on, no byte below this is in use */
} visit;

enum { MOST_VISITS = 4 * 32 }; /* at most four ranges of a size */

/* Notes start to end, one with the spans it touches. */
static bool spans_add(graph *g, spans *s, size_t start, size_t end) {
    int low = 0, high = s->n;
    while (low < high) { /* the first that ends at start or later */
        int mid = low + (high - low) / 2;
        if (s->v[mid].end < start)
            low = mid + 1;
        else
            high = mid;
    }
    for (high = low; high < s->n && s->v[high].start <= end; high++) {
        if (s->v[high].start < start) start = s->v[high].start;
        if (s->v[high].end > end) end = s->v[high].end;
    }
    if (high == low && s->n == s->room) {
        int room = s->room ? 2 * s->room : 4;
        span *v = graph_alloc(g, sizeof *v * (size_t)room);
        if (!v) return false;
        if (s->n) memcpy(v, s->v, sizeof *v * (size_t)s->n);
        s->v = v;
        s->room = room;
    }
    if (high != low + 1) memmove(&s->v[low + 1], &s->v[high], sizeof *s->v * (size_t)(s->n - high));
    s->n += low + 1 - high;
    s->v[low] = (span){ start, end };
    return true;
}

/* The first address from at on with bytes free in the range visited. */
static size_t visit_fit(visit *to, size_t at, size_t bytes) {
    const spans *s = to->inside ? &to->at->any : &to->at->through;
    int low = to->from, high = low, ahead = 1;
    while (high < s->n && s->v[high].end <= at) low = high + 1, high += ahead, ahead *= 2;
    if (high > s->n) high = s->n;
    while (low < high) {
        int mid = low + (high - low) / 2;
        if (s->v[mid].end <= at)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < s->n && s->v[low].start < at + bytes; low++) at = s->v[low].end;
    to->from = low;
    to->clear_until = low < s->n ? s->v[low].start : SIZE_MAX;
    return at;
}

/* Range i of the tree, turns low to high, and its parts 2i and 2i + 1, as far as they meet turns first to last. */
static int visit_ranges(range *tree, int i, int low, int high, int first, int last, visit *to, int n) {
    if (last < low || high < first) return n;
    bool inside = first <= low && high <= last;
    to[n++] = (visit){ &tree[i], inside, 0, 0 };
    if (inside) return n;
    int mid = low + (high - low) / 2;
    n = visit_ranges(tree, 2 * i, low, mid, first, last, to, n);
    return visit_ranges(tree, 2 * i + 1, mid + 1, high, first, last, to, n);
}

/* Orders: those of the fullest turns first, the most bytes first, or bytes^w times the turns they are there for. */
static int fullest_first(const void *a, const void *b) {
    const arena_item *x = a, *y = b;
    if (x->crowd != y->crowd) return x->crowd < y->crowd ? 1 : -1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return (x->tag > y->tag) - (x->tag < y->tag);
}
static int compare(const arena_item *x, const arena_item *y, int w) {
    double u = x->last - x->first + 1, v = y->last - y->first + 1;
    for (int i = 0; i < w; i++) u *= (double)x->bytes, v *= (double)y->bytes;
    if (w >= 0 && u != v) return u < v ? 1 : -1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return (x->tag > y->tag) - (x->tag < y->tag);
}
static int larger_first(const void *a, const void *b) {
    return compare(a, b, -1);
}
static int longer_first(const void *a, const void *b) {
    return compare(a, b, 0);
}
static int more_first(const void *a, const void *b) {
    return compare(a, b, 1);
}
static int large_then_long(const void *a, const void *b) {
    return compare(a, b, 2);
}

/* The items one by one, in their order. */
static bool place_all(graph *g, int n, arena_item *items, int turns, size_t *bytes) {
    int leaves = 1;
    while (leaves < turns) leaves *= 2;
    range *tree = graph_alloc(g, sizeof *tree * 2 * (size_t)leaves);
    if (!tree) return false;
    memset(tree, 0, sizeof *tree * 2 * (size_t)leaves);
    *bytes = 0;
    for (int i = 0; i < n; i++) {
        arena_item *x = &items[i];
        const size_t room = mem_aligned(x->bytes);
        size_t at = x->tag < 0 ? x->offset : 0, before;
        visit met[MOST_VISITS];
        int n_met = visit_ranges(tree, 1, 0, leaves - 1, x->first, x->last, met, 0);
        do {
            before = at;
            for (int k = 0; k < n_met; k++)
                if (x->tag >= 0 && at + room > met[k].clear_until) at = visit_fit(&met[k], at, room);
        } while (at != before && x->tag >= 0);
        for (int k = 0; k < n_met && room; k++) {
            if (!spans_add(g, &met[k].at->any, at, at + room)) return false;
            if (met[k].inside && !spans_add(g, &met[k].at->through, at, at + room)) return false;
        }
        x->offset = at;
        if (at + room > *bytes) *bytes = at + room;
    }
    return true;
}

static int earliest_first(const void *a, const void *b) {
    const arena_item *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

/* Adds to live what those that lie at their offset take in each turn: they stay to the end, and may overlap. */
static bool count_fixed(graph *g, int n, const arena_item *items, size_t *live) {
    spans taken = { 0 };
    size_t before = 0;
    arena_item *fixed = graph_alloc(g, sizeof *fixed * (size_t)n + 1);
    if (!fixed) return false;
    if (n) memcpy(fixed, items, sizeof *fixed * (size_t)n);
    qsort(fixed, (size_t)n, sizeof *fixed, earliest_first);
    for (int i = 0; i < n; i++) {
        size_t now = 0;
        if (!spans_add(g, &taken, fixed[i].offset, fixed[i].offset + fixed[i].bytes)) return false;
        for (int k = 0; k < taken.n; k++) now += taken.v[k].end - taken.v[k].start;
        live[fixed[i].first] += now - before;
        before = now;
    }
    return true;
}

/* The most that is there at once: no places need less. And, by item, the most that is there while it is. */
static bool most_at_once(graph *g, int n, int fixed, arena_item *items, int turns, size_t *most) {
    int leaves = 1;
    while (leaves < turns + 1) leaves *= 2;
    size_t *tree = graph_alloc(g, sizeof *tree * 2 * (size_t)leaves), *live = tree ? tree + leaves : NULL;
    if (!tree) return false;
    memset(tree, 0, sizeof *tree * 2 * (size_t)leaves);
    if (!count_fixed(g, fixed, items, live)) return false;
    for (int i = fixed; i < n; i++) {
        if (items[i].last < items[i].first) continue;
        live[items[i].first] += items[i].bytes;
        live[items[i].last + 1] -= items[i].bytes;
    }
    for (int i = 1; i < turns; i++) live[i] += live[i - 1];
    for (int i = turns; i < leaves; i++) live[i] = 0;
    for (int i = leaves - 1; i; i--) tree[i] = tree[2 * i] > tree[2 * i + 1] ? tree[2 * i] : tree[2 * i + 1];
    *most = tree[1];
    for (int i = 0; i < n; i++) { /* the most of a range, from the leaves up */
        items[i].crowd = 0;
        if (items[i].last < items[i].first) continue;
        for (int a = items[i].first + leaves, z = items[i].last + leaves + 1; a < z; a /= 2, z /= 2) {
            if (a % 2 && tree[a] > items[i].crowd) items[i].crowd = tree[a];
            if (a % 2) a++;
            if (z % 2 && tree[--z] > items[i].crowd) items[i].crowd = tree[z];
        }
    }
    return true;
}

/* Moves the one that ends highest to the front. */
static void highest_first(int n, arena_item *items) {
    int top = 0;
    for (int i = 1; i < n; i++)
        if (items[i].offset + items[i].bytes > items[top].offset + items[top].bytes) top = i;
    const arena_item x = items[top];
    memmove(items + 1, items, sizeof x * (size_t)top);
    items[0] = x;
}

bool arena_place(graph *g, int n, arena_item *items, int turns, size_t *bytes) {
    enum { PATIENCE = 16 }; /* places that need no less, before the search ends */
    static int (*const orders[])(const void *, const void *) = { large_then_long, fullest_first, larger_first,
                                                                 more_first, longer_first };
    const size_t size = sizeof *items * (size_t)n;
    arena_item *tried = graph_alloc(g, size + 1);
    size_t most;
    int fixed = 0;
    while (fixed < n && items[fixed].tag < 0) fixed++;
    if (!tried || !most_at_once(g, n, fixed, items, turns, &most)) return false;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        size_t needs;
        if (n) memcpy(tried, items, size);
        if (n > fixed) qsort(tried + fixed, (size_t)(n - fixed), sizeof *tried, orders[i]);
        if (!place_all(g, n, tried, turns, &needs)) return false;
        if (i && needs >= *bytes) continue;
        *bytes = needs;
        if (n) memcpy(items, tried, size);
        if (needs - needs / 64 <= most) return true;
    }
    if (n) memcpy(tried, items, size);
    for (int since = 0; since < PATIENCE && n > fixed; since++) {
        size_t needs;
        highest_first(n - fixed, tried + fixed);
        if (!place_all(g, n, tried, turns, &needs)) return false;
        if (needs >= *bytes) continue;
        *bytes = needs;
        memcpy(items, tried, size);
        if (needs - needs / 64 <= most) return true;
        since = -1;
    }
    return true;
}

/* recompute.c - computes values again where they are used late, instead of keeping them while other things need the
 * memory: cheap ones, where the cheapest cut says what is kept, or any, the fewest operations a byte first. A copy of a
 * node has the node's bits: only the place and the time of its buffer change. */
#include "builder.h"
#include "cut.h"
#include "simplify.h"

#include <limits.h>
#include <math.h>

enum { MOST_TAKEN = 64 };
enum { WORTH = 32 }; /* operations that a byte is worth at first */

typedef struct reads { /* of a node: places of the order, ascending, each once */
    int *at, n, room;
} reads;

typedef struct change { /* to take back: n is copied, is read, or has a buffer */
    const node *n;
    enum { COPIED, READ, HELD } what;
    int place; /* what `from` was, or the read that was added; of HELD nothing */
} change;

typedef struct spot { /* of the network */
    node *n;
    int asked;    /* the first place beyond the peak that reads it; INT_MAX: none does */
    int arc;      /* from the source to it, ... */
    int64_t room; /* ... with so much room */
} spot;

typedef struct recomputing {
    builder *b;
    bool any, products; /* not what is cheap alone; large products too */
    int *pos;    /* by id: place of its unit */
    int *from;   /* by id: copies serve readers at this place and later; INT_MAX: none is made */
    bool *kept;  /* by id: a result, or seen as one */
    bool *spent; /* by id: a copy of it lowered nothing */
    bool *held;  /* by id: has a buffer of its own in the arena, or is to have one */
    int *own;    /* by buffer: nodes in it */
    double *price; /* by id: see cost_of */
    reads *reads;
    node **values; /* that may be copied and have a buffer of their own, in their order */
    int n_values;
    int *mark, marks; /* by id: the last copy in which it was looked at */
    node *taken[MOST_TAKEN]; /* by the copy in hand, ... */
    int n_taken;
    double cost, bound; /* ... which takes so many operations, and may take so many ... */
    size_t extra; /* ... and keeps so much else */
    change *log;
    int n_log, log_room;
    size_t *more; /* by place: bytes more in use than at the place before, not yet in b->use */
    network w;
    int *spot; /* by id: in the network, from 1; 0: not there */
    spot *spots;
    int n_spots;
    int *at;     /* by id: the first place beyond the peak that asks for it, itself or by a copy; INT_MAX: none does */
    bool *fixed; /* by id: it is kept */
    double rate; /* operations that a byte is worth by now */
    node **image, **late; /* by id: in the new graph */
} recomputing;

static bool in_arena(const recomputing *r, const node *n) {
    const int x = made_in(r->b, n);
    return x >= 0 && r->b->buffers[x].slot < 0 && r->own[x] == 1;
}

static size_t bytes_of(const node *n) {
    return mem_aligned(node_bytes(n));
}

/* Cheap: what a pass that waits for memory computes in that time. */
static bool cheap(const node *n) {
    static const bool is[VEC_OPS] = {
        [VEC_ABS] = true,     [VEC_ADD] = true,    [VEC_AXPY] = true,        [VEC_MAXIMUM] = true, [VEC_MINIMUM] = true,
        [VEC_MUL] = true,     [VEC_MULADD] = true, [VEC_MULSCALE] = true,    [VEC_MUL3] = true,    [VEC_OFFSET] = true,
        [VEC_RELU] = true,    [VEC_SCALE] = true,  [VEC_RELU_MASK] = true,   [VEC_RELU_SUM] = true, [VEC_SQUARE] = true,
        [VEC_STEP] = true,    [VEC_SUB] = true,    [VEC_SQUARE_RSUB] = true, [VEC_WHERE] = true,   [VEC_SIGN] = true,
        [VEC_TANH_GRAD] = true, [VEC_SIGMOID_GRAD] = true,
    };
    return is_pass(n) && is[n->op->vec] && n->count > 1;
}

/* Many products that take little more than reading what they read, as attention's of a head. */
static bool small_products(const node *n) {
    enum { SMALL = 16 }; /* operations a byte */
    const bool product = n->op == &op_matmul || n->op == &op_matmul_part;
    return product && n->ndim > 2 && node_flops(n) <= SMALL * (double)bytes_of(n);
}

static bool may_copy(const recomputing *r, const node *n) {
    if (!r->any) return cheap(n);
    if (!r->products && node_flops(n) > 0 && !small_products(n)) return false;
    return n->op != &op_rank_sum && n->op != &op_rank_copy; /* every rank takes part in a sum, once */
}

/* Floating-point operations, or what takes their time, of computing n in a pass that is there anyway, or by itself. */
static double cost_of(const node *n) {
    enum { EXPONENTIAL = 6 };
    if (is_pass(n)) return ELEMENT_COST * (double)n->count * (cheap(n) ? 0.5 : 4);
    int64_t most = n->count;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k]->count > most) most = n->in[k]->count;
    const bool slow = n->op == &op_softmax || n->op == &op_log_softmax || n->op == &op_logsumexp;
    return node_flops(n) + ELEMENT_COST * (double)most * (slow ? EXPONENTIAL : 1);
}

static bool read_at(recomputing *r, const node *a, int s) {
    reads *d = &r->reads[a->id];
    int i = d->n;
    while (i && d->at[i - 1] > s) i--;
    if (i && d->at[i - 1] == s) return false;
    if (d->n == d->room) {
        int *at = graph_alloc(r->b->g, sizeof *at * (size_t)(2 * d->n + 2));
        if (!at) return false;
        d->room = 2 * d->n + 2;
        if (d->n) memcpy(at, d->at, sizeof *at * (size_t)d->n);
        d->at = at;
    }
    memmove(d->at + i + 1, d->at + i, sizeof *d->at * (size_t)(d->n - i));
    d->at[i] = s;
    d->n++;
    return true;
}

static bool survey(recomputing *r) {
    builder *b = r->b;
    graph *g = b->g;
    r->pos = make(g, sizeof(int), b->count);
    r->from = make(g, sizeof(int), b->count);
    r->kept = make(g, sizeof(bool), b->count);
    r->spent = make(g, sizeof(bool), b->count);
    r->mark = make(g, sizeof(int), b->count);
    r->reads = make(g, sizeof *r->reads, b->count);
    r->values = make(g, sizeof *r->values, b->n);
    r->held = make(g, sizeof(bool), b->count);
    r->more = make(g, sizeof *r->more, b->n_order + 1);
    r->own = make(g, sizeof(int), b->n_buffers);
    r->price = make(g, sizeof *r->price, b->count);
    int *place = make(g, sizeof(int), b->n_units);
    if (graph_failed(g)) return false;
    for (int s = 0; s < b->n_order; s++) place[b->order[s]] = s;
    for (int i = 0; i < b->n; i++) {
        const node *n = b->sorted[i];
        r->from[n->id] = INT_MAX;
        r->price[n->id] = cost_of(n);
        r->pos[n->id] = b->group[n->id] < 0 ? -1 : place[b->group[n->id]];
        if (b->group[n->id] >= 0 && made_in(b, n) >= 0) r->own[b->root[n->id]]++;
    }
    for (int k = 0; k < b->n_out; k++) r->kept[builder_maker(b, b->outs[k])->id] = true;
    for (int s = 0; s < b->n_order; s++) {
        const unit *u = &b->units[b->order[s]];
        for (int i = 0; i < u->n; i++)
            for (int k = 0; k < u->nodes[i]->n_in; k++) {
                const node *a = builder_maker(b, u->nodes[i]->in[k]);
                if (b->group[a->id] >= 0) read_at(r, a, s);
            }
    }
    for (int s = 0; s < b->n_order; s++)
        for (int i = 0; i < b->units[b->order[s]].n; i++) {
            node *n = b->units[b->order[s]].nodes[i];
            r->held[n->id] = in_arena(r, n);
            if (!r->kept[n->id] && may_copy(r, n) && r->held[n->id]) r->values[r->n_values++] = n;
        }
    return !graph_failed(g);
}

/* ---- what a copy takes ---- */

static int last_read(const recomputing *r, const node *n, int before) { /* its own place where nobody does */
    const reads *d = &r->reads[n->id];
    int i = d->n;
    while (i && d->at[i - 1] >= before) i--;
    return i ? d->at[i - 1] : r->pos[n->id];
}

/* Whether n can be computed again at a place, where memory is short at `peak` before it, with what is there then. */
static bool reachable(recomputing *r, node *n, int peak, int at, size_t room, int depth) {
    enum { DEEP = 24 };
    const builder *b = r->b;
    if (depth > DEEP || r->n_taken == MOST_TAKEN) return false;
    r->taken[r->n_taken++] = n;
    r->mark[n->id] = r->marks;
    if ((r->cost += r->price[n->id]) > r->bound) return false;
    for (int k = 0; k < n->n_in; k++) {
        node *a = builder_maker(b, n->in[k]);
        if (b->group[a->id] < 0 || r->mark[a->id] == r->marks || r->kept[a->id]) continue;
        if (r->from[a->id] <= at && (r->from[a->id] > peak || last_read(r, a, INT_MAX) > peak)) continue;
        if (made_in(b, a) >= 0 && r->from[a->id] > at) {
            if (b->buffers[b->root[a->id]].slot >= 0) continue;
            const int last = last_read(r, a, r->from[a->id]);
            if (last >= at || last > peak) continue;
            if (bytes_of(a) * 16 <= room) {
                r->extra += bytes_of(a);
                continue;
            }
        }
        if (r->from[a->id] <= at || !may_copy(r, a)) return false;
        if (!reachable(r, a, peak, at, room, depth + 1)) return false;
    }
    return true;
}

static bool copy_reachable(recomputing *r, node *n, int peak, int at, double bound) {
    r->marks++;
    r->n_taken = 0;
    r->cost = 0;
    r->bound = bound;
    r->extra = 0;
    return reachable(r, n, peak, at, bytes_of(n), 0);
}

/* Adds bytes to what is in use while n, or its copy, is there, once settled. */
static void charge(recomputing *r, const node *n, size_t bytes) {
    if (!r->held[n->id] || r->kept[n->id]) return;
    const int from = r->from[n->id], last = last_read(r, n, from);
    if (from == INT_MAX || last > r->pos[n->id]) { /* else only its copy has a buffer */
        r->more[r->pos[n->id]] += bytes;
        r->more[last + 1] -= bytes;
    }
    if (from == INT_MAX) return;
    r->more[from] += bytes;
    r->more[last_read(r, n, INT_MAX) + 1] -= bytes;
}

static void settle(recomputing *r) {
    size_t more = 0;
    for (int s = 0; s < r->b->n_order; s++) r->b->use[s].live += more += r->more[s];
    memset(r->more, 0, sizeof *r->more * (size_t)(r->b->n_order + 1));
}

/* n is copied at a place, read at one, or held. false: it was read there anyway. */
static bool note(recomputing *r, const node *n, int what, int place) {
    bool is_new = true;
    if (r->n_log == r->log_room) {
        change *log = make(r->b->g, sizeof *log, 2 * r->log_room + MOST_TAKEN);
        if (!log) return false;
        r->log_room = 2 * r->log_room + MOST_TAKEN;
        if (r->n_log) memcpy(log, r->log, sizeof *log * (size_t)r->n_log);
        r->log = log;
    }
    charge(r, n, -bytes_of(n));
    r->log[r->n_log] = (change){ n, what, what == COPIED ? r->from[n->id] : place };
    if (what == COPIED) r->from[n->id] = place;
    if (what == HELD) r->held[n->id] = true;
    if (what == READ) is_new = read_at(r, n, place);
    r->n_log += is_new;
    charge(r, n, bytes_of(n));
    return is_new;
}

static void take_back(recomputing *r) {
    while (r->n_log) {
        const change *c = &r->log[--r->n_log];
        reads *d = &r->reads[c->n->id];
        charge(r, c->n, -bytes_of(c->n));
        if (c->what == COPIED) r->from[c->n->id] = c->place;
        if (c->what == HELD) r->held[c->n->id] = false;
        if (c->what == READ) {
            int i = 0;
            while (d->at[i] != c->place) i++;
            memmove(d->at + i, d->at + i + 1, sizeof *d->at * (size_t)(--d->n - i));
        }
        charge(r, c->n, bytes_of(c->n));
    }
    settle(r);
}

/* Notes the copy in hand. */
static void take(recomputing *r, int at) {
    r->n_log = 0;
    for (int j = 0; j < r->n_taken; j++) {
        note(r, r->taken[j], COPIED, at);
        for (int k = 0; k < r->taken[j]->n_in; k++) {
            const node *a = builder_maker(r->b, r->taken[j]->in[k]);
            if (r->b->group[a->id] >= 0) note(r, a, READ, at);
        }
    }
    settle(r);
}

static int peak_of(const builder *b) {
    int peak = 0;
    for (int s = 1; s < b->n_order; s++)
        if (b->use[s].live > b->use[peak].live) peak = s;
    return peak;
}

/* The place of n's first reader after the peak, where n waits for it at the peak; 0: it does not. */
static int waits(const recomputing *r, const node *n, int peak) {
    const reads *d = &r->reads[n->id];
    int before = r->pos[n->id], i = 0;
    if (before >= peak) return 0;
    while (i < d->n && d->at[i] < peak) before = d->at[i++];
    if (i == d->n || d->at[i] == peak || d->at[i] >= r->from[n->id] || before >= r->from[n->id]) return 0;
    return d->at[i];
}

/* What reading or writing n in a pass takes. */
static double traffic(const node *n) {
    enum { LARGE = 1 << 20, SLOWER = 3 }; /* beyond the L2 it waits for memory */
    return ELEMENT_COST / 2 * (double)n->count * (bytes_of(n) > LARGE ? SLOWER : 1);
}

/* What a pass of its own costs that a copy needs whose reader there is no pass over its elements. */
static double own_pass(const recomputing *r, const node *n, int at) {
    const node *reader = r->b->units[r->b->order[at]].nodes[0];
    const bool joins = is_pass(reader) && shape_equal(n->ndim, n->shape, reader->ndim, reader->shape);
    return is_pass(n) && !joins ? 2 * traffic(n) : 0;
}

/* Bytes at the peak, waited for until `at`, for an operation of computing n again there; 0: it cannot be, or not for
 * more than `least` and with `left`. r->cost is what it takes. */
static double rate_of(recomputing *r, node *n, int peak, int at, double least, double left) {
    const double bytes = (double)bytes_of(n), bound = fmin(least > 0 ? bytes / least : INFINITY, left);
    if (r->price[n->id] > bound) return 0;
    const double own = own_pass(r, n, at);
    if (!copy_reachable(r, n, peak, at, bound - own)) return 0;
    r->cost += own;
    return r->extra < bytes_of(n) ? (bytes - (double)r->extra) / r->cost : 0;
}

/* Copies n where it is waited for at the peak, if that lowers it. */
static bool copy(recomputing *r, node *n, int peak, int at) {
    const builder *b = r->b;
    const size_t live = b->use[peak].live;
    take(r, at);
    if (b->use[peak].live < live && b->use[peak_of(b)].live <= live) return true;
    take_back(r);
    r->spent[n->id] = true;
    return false;
}

typedef struct candidate {
    node *n;
    double rate;
} candidate;

static double part_of(const builder *b, double part) { /* of the program's time */
    double all = 0;
    for (int i = 0; i < b->n_units; i++) all += unit_cost(&b->units[i]);
    return part * all;
}

/* Picks what to copy, most bytes at the peak for the cost first, until no more than `goal` is in use at once or nothing
 * more lowers it for what is left of a part of the program's time. In a large program a look at all values finds
 * several. */
static int choose(recomputing *r, size_t goal, double part) {
    const builder *b = r->b;
    enum { MOST_FOUND = 64, VALUES = 256, MOST_LOOKS = 1 << 22, MOST = 1 << 14 };
    static const double ALIKE = 0.75;
    const int look = r->n_values < VALUES ? 1 : r->n_values < MOST_FOUND * VALUES ? r->n_values / VALUES : MOST_FOUND;
    int n = 0;
    double left = part_of(b, part);
    for (int64_t looks = 0; n < MOST && looks < MOST_LOOKS && !graph_failed(b->g); looks += r->n_values) {
        int peak = peak_of(b), found = 0;
        candidate best[MOST_FOUND];
        if (b->use[peak].live <= goal) break;
        for (int i = 0; i < r->n_values && r->pos[r->values[i]->id] < peak; i++) {
            node *v = r->values[i];
            const int at = r->spent[v->id] ? 0 : waits(r, v, peak);
            if (!at) continue;
            const double alike = found ? ALIKE * best[0].rate : 0, last = found == look ? best[look - 1].rate : 0;
            const double least = alike > last ? alike : last, rate = rate_of(r, v, peak, at, least, left);
            if (rate <= least) continue;
            int k = found < look ? found++ : look - 1;
            for (; k && best[k - 1].rate < rate; k--) best[k] = best[k - 1];
            best[k] = (candidate){ v, rate };
        }
        if (!found) break;
        for (int k = 0; k < found && n < MOST; k++) { /* the first as it was found, the others as they are by now */
            peak = peak_of(b);
            const int at = waits(r, best[k].n, peak);
            if (b->use[peak].live <= goal) break;
            if (!at || rate_of(r, best[k].n, peak, at, ALIKE * best[0].rate, left) <= 0) continue;
            const double cost = r->cost;
            if (!copy(r, best[k].n, peak, at)) continue;
            left -= cost;
            n++;
        }
    }
    return n;
}

/* ---- what is cheap ----
 *
 * What is read beyond the peak and made by then is kept, or computed again from other things that are: of four
 * products of two values these two are enough. The fewest bytes to keep are the cheapest cut between what is made and
 * what is read, as He & Yu 2023 choose what a gradient keeps; but at the peak of any program. */

static bool again(const recomputing *r, const node *n) {
    return may_copy(r, n) && !r->kept[n->id] && r->from[n->id] == INT_MAX && !r->fixed[n->id];
}

/* The first place beyond the peak where n itself is read, not the copy that it has by then; INT_MAX: none. */
static int asked_at(const recomputing *r, const node *n, int peak) {
    const reads *d = &r->reads[n->id];
    int low = 0, high = d->n;
    while (low < high) {
        const int mid = low + (high - low) / 2;
        if (d->at[mid] <= peak)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == d->n || (r->from[n->id] > peak && d->at[low] >= r->from[n->id])) return INT_MAX;
    return d->at[low];
}

static int spot_of(recomputing *r, node *n, int asked) {
    if (!r->spot[n->id]) {
        r->spots[r->n_spots++] = (spot){ .n = n, .asked = asked };
        r->spot[n->id] = r->n_spots;
    }
    return r->spot[n->id];
}

/* Of the two nodes of a spot: n as it is found by a copy of it, and as it is read. */
static int made(int i) {
    return 2 * i;
}
static int seen(int i) {
    return 2 * i + 1;
}

/* What keeping n beyond the peak takes: next to nothing where it is there anyway, little where it is read there. */
static int64_t keeping(const recomputing *r, const node *n, int peak) {
    const int x = r->b->root[n->id];
    if (r->kept[n->id] || (x >= 0 && r->b->buffers[x].slot >= 0)) return 1;
    return 1 + (int64_t)bytes_of(n) / (asked_at(r, n, peak - 1) == peak ? 16 : 1);
}

static double copying(const recomputing *r, const node *n, int at) {
    return r->price[n->id] + (at < INT_MAX ? own_pass(r, n, at) : 0);
}

/* The network at a peak, but for what copies take: see cheapest. */
static bool lay_network(recomputing *r, int peak) {
    const builder *b = r->b;
    network *w = &r->w;
    r->n_spots = 0;
    for (int i = 0; i < b->n; i++) {
        node *n = b->sorted[i];
        const bool before = b->group[n->id] >= 0 && r->pos[n->id] <= peak;
        const int asked = before ? asked_at(r, n, peak) : INT_MAX;
        r->spot[n->id] = 0;
        r->at[n->id] = INT_MAX;
        if (asked < INT_MAX) spot_of(r, n, asked);
    }
    network_clear(w);
    for (int i = 0; i < r->n_spots; i++) {
        node *n = r->spots[i].n;
        network_add(w, made(i + 1), seen(i + 1), keeping(r, n, peak));
        if (r->spots[i].asked < INT_MAX) network_add(w, seen(i + 1), CUT_SINK, CUT_NEVER);
        r->spots[i].arc = w->n_arcs;
        network_add(w, CUT_SOURCE, made(i + 1), 0);
        for (int k = 0; k < n->n_in && again(r, n); k++) {
            node *a = builder_maker(b, n->in[k]);
            if (b->group[a->id] >= 0) network_add(w, seen(spot_of(r, a, INT_MAX)), made(i + 1), CUT_NEVER);
        }
    }
    return !graph_failed(b->g);
}

/* The cheapest cut, where `rate` operations are worth a byte, no more than before, and what is fixed is not computed
 * again: what is made `after` it is. Room is only added, so the flow so far goes on. */
static void cheapest(recomputing *r, double rate, bool *after) {
    for (int i = 0; i < r->n_spots; i++) {
        spot *s = &r->spots[i];
        const int64_t room = again(r, s->n) ? 1 + (int64_t)(copying(r, s->n, s->asked) / rate) : CUT_NEVER;
        r->w.arcs[s->arc].room += room - s->room;
        s->room = room;
        r->at[s->n->id] = s->asked;
    }
    network_cut(&r->w, after);
}

static bool beyond(const recomputing *r, const node *n, const bool *after) {
    return r->spot[n->id] && after[made(r->spot[n->id])];
}

/* Where each copy is to be made: at its first reader's. Whether one would wait long for its own readers, because
 * another copy asks for it sooner: that one is fixed instead, to be kept. */
static bool fix(recomputing *r, int peak, const bool *after) {
    enum { LONG = 8, SMALL = 64 };
    const builder *b = r->b;
    bool any = false;
    for (int i = b->n - 1; i >= 0; i--) {
        const node *n = b->sorted[i];
        if (!beyond(r, n, after)) continue;
        const int own = asked_at(r, n, peak);
        if (own < INT_MAX && own - r->at[n->id] > LONG && bytes_of(n) > SMALL) {
            any = r->fixed[n->id] = true;
            continue;
        }
        for (int k = 0; k < n->n_in; k++) {
            const node *a = builder_maker(b, n->in[k]);
            if (r->at[n->id] < r->at[a->id]) r->at[a->id] = r->at[n->id];
        }
    }
    return any;
}

/* Notes the copies; what they cost, less what is no longer written and read. */
static double copy_beyond(recomputing *r, int peak, const bool *after) {
    builder *b = r->b;
    double cost = 0;
    r->n_log = 0;
    for (int i = b->n - 1; i >= 0; i--) {
        const node *n = b->sorted[i];
        if (!beyond(r, n, after)) continue;
        const int at = r->at[n->id];
        const reads *d = &r->reads[n->id];
        const double own = own_pass(r, n, at);
        bool early = false;
        cost += r->price[n->id] + own;
        for (int k = 0; k < d->n && r->held[n->id]; k++) {
            if (d->at[k] > peak && own == 0) cost -= traffic(n);
            if (d->at[k] <= peak && d->at[k] != r->pos[n->id]) early = true;
        }
        if (!early && r->held[n->id]) cost -= traffic(n);
        note(r, n, COPIED, at);
        for (int k = 0; k < n->n_in; k++) {
            const node *a = builder_maker(b, n->in[k]);
            if (b->group[a->id] < 0) continue;
            const bool stays = !beyond(r, a, after);
            if (stays && !r->held[a->id] && note(r, a, HELD, 0)) cost += traffic(a);
            if (note(r, a, READ, at) && stays) cost += traffic(a);
        }
    }
    settle(r);
    return cost;
}

/* Copies what the cut says, if that takes no more than is left, else what one says where a byte is worth less, as it is
 * for the next cuts. Whether that is anything. */
static bool cut(recomputing *r, int peak, double *left, bool *after) {
    enum { TRIES = 24 };
    const builder *b = r->b;
    double rate = r->rate;
    memset(r->fixed, 0, (size_t)b->count);
    if (!lay_network(r, peak)) return false;
    for (int i = 0; i < TRIES; i++) {
        cheapest(r, rate, after);
        if (fix(r, peak, after)) continue;
        const double cost = copy_beyond(r, peak, after);
        if (cost <= *left) {
            r->rate = rate;
            *left -= fmax(cost, 0);
            return r->n_log > 0;
        }
        take_back(r);
        rate *= 0.75;
    }
    return false;
}

/* Cuts at the peak, then where the peak is by then, as long as that lowers it. The first cut stays in any case: what it
 * is worth is seen when the copies have an order of their own. How many. */
static int cuts(recomputing *r, double part) {
    enum { MOST = 32, LITTLE = 256 };
    builder *b = r->b;
    double left = part_of(b, part);
    bool *after = make(b->g, sizeof *after, 2 * (int64_t)b->n + 2);
    r->spot = make(b->g, sizeof *r->spot, b->count);
    r->spots = make(b->g, sizeof *r->spots, b->n);
    r->at = make(b->g, sizeof *r->at, b->count);
    r->fixed = make(b->g, sizeof *r->fixed, b->count);
    if (graph_failed(b->g) || !network_new(b->g, 2 * b->n + 2, &r->w)) return 0;
    for (int n = 0; n < MOST; n++) {
        const int peak = peak_of(b);
        const size_t live = b->use[peak].live;
        if (!cut(r, peak, &left, after)) return n;
        if (b->use[peak].live >= live || (n && b->use[peak_of(b)].live >= live)) {
            take_back(r);
            return n;
        }
        if (b->use[peak_of(b)].live >= live - live / LITTLE) return n + 1;
    }
    return MOST;
}

/* ---- the graph with copies ---- */

static node *late_of(recomputing *r, node *a, int at);

/* What a reader at place `at` finds for a: the copy, where it is late. */
static node *operand(recomputing *r, node *a, int at) {
    const node *m = builder_maker(r->b, a);
    return r->from[m->id] <= at ? late_of(r, a, at) : r->image[a->id];
}

/* The copy of a, or a as it is seen of one. */
static node *late_of(recomputing *r, node *a, int at) {
    if (r->late[a->id]) return r->late[a->id];
    node *in[3] = { NULL }, **many = a->n_in <= 3 ? in : make(r->b->g, sizeof *many, a->n_in);
    const node *m = builder_maker(r->b, a);
    for (int k = 0; k < a->n_in && many; k++)
        many[k] = a == m ? operand(r, a->in[k], r->from[a->id]) : operand(r, a->in[k], at);
    return many ? r->late[a->id] = graph_copy(r->b->g, a, many, true) : NULL;
}

static bool rebuild(recomputing *r, node **outs) {
    builder *b = r->b;
    r->image = make(b->g, sizeof *r->image, b->count);
    r->late = make(b->g, sizeof *r->late, b->count);
    if (!r->image || !r->late) return false;
    for (int i = 0; i < b->n; i++) {
        node *n = b->sorted[i], **in = make(b->g, sizeof *in, n->n_in);
        if (!in) return false;
        bool moved = false;
        for (int k = 0; k < n->n_in; k++) {
            in[k] = b->group[n->id] < 0 ? r->image[n->in[k]->id] : operand(r, n->in[k], r->pos[n->id]);
            if (!in[k]) return false;
            moved = moved || in[k] != n->in[k];
        }
        if (!(r->image[n->id] = moved ? graph_copy(b->g, n, in, n->late) : n)) return false;
    }
    for (int k = 0; k < b->n_out; k++) outs[k] = r->image[b->outs[k]->id];
    const int count = graph_count(b->g);
    if (!(b->rank = make(b->g, sizeof *b->rank, count))) return false;
    for (int i = 0; i < count; i++) b->rank[i] = -1;
    for (int i = 0; i < b->n; i++) b->rank[r->image[b->sorted[i]->id]->id] = r->pos[b->sorted[i]->id];
    return true;
}

bool recompute(builder *b, bool any, size_t goal, double part, node **outs, int *copies) {
    recomputing r = { .b = b, .any = any, .products = part == INFINITY, .rate = WORTH };
    order_use *use = b->use;
    *copies = 0;
    if (!(b->use = make(b->g, sizeof *use, b->n_order)) || !survey(&r)) return false;
    if (b->n_order) memcpy(b->use, use, sizeof *use * (size_t)b->n_order);
    *copies = any ? choose(&r, goal, part) : cuts(&r, part);
    b->use = use;
    return !graph_failed(b->g) && (!*copies || rebuild(&r, outs));
}

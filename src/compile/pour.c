/* pour.c - a result that is poured: given away piece by piece as it is made, so that an optimizer moves a weight while
 * its gradient is near, and the gradient as a whole is nowhere. And the other side: programs that take pieces. */
#include "builder.h"
#include "program.h"

#include <stdlib.h>

enum { LOSS = 0, GRADIENT = 1 }; /* results, as training names them */
enum { THETA = 0 };              /* the argument whose elements are read before */
enum { TAKES_PLACES = 64 };

typedef struct span { /* of a slot's memory, in bytes */
    size_t from, to;
} span;

static span span_of(const plan *p, int pointer, size_t bytes) {
    const size_t from = p->places[pointer].offset;
    return (span){ from, from + bytes };
}

static bool meet(span a, span b) {
    return a.from < b.to && b.from < a.to;
}

/* A slot, and what is done with every span of it that a step reads, or writes. */
typedef struct teller {
    plan *p;
    int slot;
    bool writes;
    void (*fn)(void *arg, int at, span x);
    void *arg;
} teller;

static void tell(const teller *t, int at, int pointer, size_t bytes) {
    if (t->p->places[pointer].slot == t->slot && bytes) t->fn(t->arg, at, span_of(t->p, pointer, bytes));
}

/* The parts of a concatenation that lie in their place are neither read nor written. */
static bool in_place(const plan *p, const step *s, int k, size_t at) {
    const place *part = &p->places[s->in[k]], *whole = &p->places[s->out];
    const bool joined = s->n->op == &op_concat && shape_count((int)s->n->ints[0], s->n->shape) == 1;
    return joined && part->slot == whole->slot && part->offset == whole->offset + at;
}

static size_t view_bytes(const fuse_view *v, size_t size) {
    int64_t last = 1;
    for (int i = 0; i < v->ndim; i++) last += (v->shape[i] - 1) * v->strides[i];
    return (size_t)last * size;
}

static void tell_pass(const teller *t, int i) {
    const fuse_pass *f = t->p->steps[i].pass;
    const size_t size = dtype_size(f->dtype), bytes = (size_t)f->count * size;
    for (int q = 0; q < f->n_ops; q++) {
        const fuse_op *op = &f->ops[q];
        for (int k = 0; k < 3 && !t->writes; k++)
            if (op->in[k].kind == SOURCE_MEMORY) tell(t, i, op->in[k].at, bytes);
        if (t->writes && op->fn && op->out.kind == SOURCE_MEMORY) tell(t, i, op->out.at, bytes);
    }
    for (int k = 0; k < f->n_folds && t->writes; k++)
        tell(t, i, f->folds[k].pointer, (size_t)f->folds[k].places * size);
    for (int k = 0; k < f->n_views && !t->writes; k++) tell(t, i, f->views[k].pointer, view_bytes(&f->views[k], size));
    for (int k = 0; k < f->n_fills && !t->writes; k++)
        if (f->fills[k].pointer >= 0) tell(t, i, f->fills[k].pointer, size);
}

static void tell_concat(const teller *t, int i) {
    const step *s = &t->p->steps[i];
    size_t at = 0;
    const bool rows = shape_count((int)s->n->ints[0], s->n->shape) == 1; /* else its parts are cut */
    for (int k = 0; k < s->n_in; k++) {
        const size_t bytes = node_bytes(s->n->in[k]);
        const span whole = span_of(t->p, s->out, node_bytes(s->n)), part = { whole.from + at, whole.from + at + bytes };
        at += bytes;
        if (in_place(t->p, s, k, at - bytes) || !bytes) continue;
        if (!t->writes) tell(t, i, s->in[k], bytes);
        else if (t->p->places[s->out].slot == t->slot) t->fn(t->arg, i, rows ? part : whole);
    }
}

static void tell_step(const teller *t, int i) {
    const step *s = &t->p->steps[i];
    if (s->pass) {
        tell_pass(t, i);
    } else if (!s->n) {
        tell(t, i, t->writes ? s->out : s->in[0], s->copy_bytes);
    } else if (s->n->op == &op_concat) {
        tell_concat(t, i);
    } else if (t->writes) {
        tell(t, i, s->out, node_bytes(s->n));
    } else
        for (int k = 0; k < s->n_in; k++) tell(t, i, s->in[k], node_bytes(s->n->in[k]));
}

static void tell_all(plan *p, int steps, int slot, bool writes, void (*fn)(void *arg, int at, span x), void *arg) {
    const teller t = { p, slot, writes, fn, arg };
    for (int i = 0; i < steps; i++) tell_step(&t, i);
}

/* ---- the pieces ---- */

static int argument_slot(const plan *p, int k) {
    return 1 + p->n_consts + k;
}

static int result_slot(const plan *p, int k) {
    return 1 + p->n_consts + p->n_in + k;
}

static size_t element_size(const plan *p) {
    return dtype_size(p->pieces.dtype);
}

static span span_of_piece(const plan *p, const piece *x) {
    const size_t size = element_size(p);
    return (span){ (size_t)x->first * size, (size_t)(x->first + x->count) * size };
}

static void count_span(void *n, int at, span x) {
    (void)at, (void)x;
    ++*(int *)n;
}

static void add_piece(void *arg, int at, span x) {
    plan *p = arg;
    const int64_t size = (int64_t)element_size(p), first = (int64_t)x.from / size;
    p->pieces.v[p->pieces.n++] = (piece){ first, (int64_t)x.to / size - first, at, at, 1 };
}

/* Step i reads elements of the argument that is overwritten: the piece waits. */
static void wait_for(void *arg, int i, span x) {
    plan *p = arg;
    for (int k = 0; k < p->pieces.n; k++) {
        piece *y = &p->pieces.v[k];
        if (!meet(x, span_of_piece(p, y))) continue;
        if (i >= y->made) y->rows = 0;
        if (i > y->after) y->after = i;
    }
}

/* Step i reads of the result itself: that has to be there as a whole. */
static void keep(void *arg, int i, span x) {
    plan *p = arg;
    (void)i;
    for (int k = 0; k < p->pieces.n; k++)
        if (meet(x, span_of_piece(p, &p->pieces.v[k]))) p->pieces.v[k].rows = 0;
}

static void note_step(void *last, int i, span x) {
    (void)x;
    *(int *)last = i;
}

static int by_place(const void *a, const void *b) {
    const piece *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

static int by_time(const void *a, const void *b) {
    const piece *x = a, *y = b;
    return x->after != y->after ? (x->after > y->after) - (x->after < y->after) : by_place(a, b);
}

/* The step after which giving may begin: the loss is there, no later step can fail, and what is left, which nothing
 * stops any more, is short. */
static int beginning(plan *p) {
    const double unstopped = 1 << 30;
    double left = 0;
    int loss = p->n_steps - 1, last = p->n_steps - 1;
    tell_all(p, p->n_steps, result_slot(p, LOSS), true, note_step, &loss);
    for (; last > 0 && (left += p->steps[last].cost) <= unstopped; last--)
        if (p->steps[last].n && p->steps[last].n->op->explain) break;
    return loss > last ? loss : last;
}

/* How many rows at a time: a portion stays near. 0: it is given as a whole. */
static int64_t rows_of(const plan *p, const piece *x) {
    enum { PORTION_BYTES = 192 << 10, ROWS = 84, FEWEST = 48 }; /* each portion packs the other operand anew */
    const step *s = &p->steps[x->made];
    const node *n = s->n;
    if (!n || n->count != x->count || s->room_rows || !gives_rows(n)) return 0;
    int64_t rows = PORTION_BYTES / (n->shape[1] * (int64_t)element_size(p));
    if (rows >= ROWS) rows = rows / ROWS * ROWS;
    return rows >= FEWEST && n->shape[0] >= 2 * rows ? rows : 0;
}

/* Neighbours that are given at the same time become one. */
static void join_pieces(piece_list *x) {
    int n = 0;
    for (int k = 0; k < x->n; k++) {
        piece *last = &x->v[n - (n > 0)], *at = &x->v[k];
        const bool joins = n > 0 && !last->rows && !at->rows && last->after == at->after &&
                           last->first + last->count == at->first;
        if (joins) last->count += at->count;
        else x->v[n++] = *at;
    }
    x->n = n;
}

bool plan_pour(plan *p, const node *outs) {
    const int slot = result_slot(p, GRADIENT);
    piece_list *x = &p->pieces;
    if (x->v) return true;
    int n = 0;
    tell_all(p, p->n_steps, slot, true, count_span, &n);
    piece *pieces = make(p->own, sizeof *pieces, n + 1);
    if (!pieces) return false;
    *x = (piece_list){ outs[GRADIENT].dtype, outs[LOSS].dtype, 0, pieces };
    tell_all(p, p->n_steps, slot, true, add_piece, p);
    qsort(pieces, (size_t)x->n, sizeof *pieces, by_place);
    int64_t end = 0;
    const int64_t count = outs[GRADIENT].count;
    bool once = true;
    for (int k = 0; k < x->n; k++) {
        once = once && pieces[k].first == end;
        end = pieces[k].first + pieces[k].count;
    }
    if (!once || end != count) { /* some of it is written twice, or in no step */
        x->n = 1;
        pieces[0] = (piece){ 0, count, p->n_steps - 1, p->n_steps - 1, 0 };
    }
    tell_all(p, p->n_steps, argument_slot(p, THETA), false, wait_for, p);
    tell_all(p, p->n_steps, slot, false, keep, p);
    const int begin = beginning(p);
    for (int k = 0; k < x->n; k++) {
        piece *y = &pieces[k];
        if (begin > y->after) y->after = begin;
        y->rows = y->rows && begin < y->made ? rows_of(p, y) : 0;
    }
    qsort(pieces, (size_t)x->n, sizeof *pieces, by_time);
    join_pieces(x);
    return true;
}

/* ---- giving ---- */

/* Whether the taker, asked before the first piece, wants any. */
static bool wanted(plan *p, pour_run *x) {
    if (!x->asked) {
        x->asked = true;
        const void *first = p->bases[result_slot(p, LOSS)];
        const bool single = p->pieces.of_loss == BK_FLOAT32;
        x->gives = x->taker->begin(x->taker->arg, single ? (double)*(const float *)first : *(const double *)first);
        if (x->gives) atomic_store(&p->c->begun, 1);
    }
    return x->gives;
}

typedef struct giving { /* one piece */
    plan *p;
    const plan_taker *taker;
    const piece *x;
    const void *const *in;
    char *at;
} giving;

static void give_range(void *arg, int share, int64_t first, int64_t end) {
    const giving *g = arg;
    (void)share;
    g->taker->take(g->taker->arg, g->x->first + first, end - first, g->at + (size_t)first * element_size(g->p));
}

static void give_rows(void *arg, int share, int64_t first, int64_t end) {
    const giving *g = arg;
    const node *n = g->p->steps[g->x->made].n;
    const int64_t columns = n->shape[1];
    char *room = g->at + (size_t)(first * columns) * element_size(g->p); /* all portions of a thread, one by one */
    (void)share;
    for (int64_t row = first; row < end; row += g->x->rows) {
        const int64_t rows = end - row < g->x->rows ? end - row : g->x->rows;
        n->op->run_rows(n, room, g->in, row, rows);
        g->taker->take(g->taker->arg, g->x->first + row * columns, rows * columns, room);
    }
}

bool pour_step(plan *p, pour_run *x, int i) {
    const void *in[FEW_OPERANDS];
    const step *s = &p->steps[i];
    const piece *y = &p->pieces.v[x->next], *end = p->pieces.v + p->pieces.n;
    while (y < end && y->after == i && !y->rows) y++;
    if (y == end || y->after != i || !wanted(p, x)) return false;
    for (int k = 0; k < s->n_in; k++) in[k] = p->pointers[s->in[k]];
    giving g = { p, x->taker, y, in, p->pointers[s->out] };
    const int shares = s->cost >= THREAD_WORTH ? ctx_threads(p->c) : 1;
    ctx_ranges(p->c, s->n->shape[0], shares, 0, give_rows, &g);
    x->given = y;
    return true;
}

void pour_after(plan *p, pour_run *x, int i) {
    for (; x->next < p->pieces.n && p->pieces.v[x->next].after <= i; x->next++) {
        const piece *y = &p->pieces.v[x->next];
        if (y == x->given || !wanted(p, x)) continue;
        giving g = { p, x->taker, y, NULL, p->bases[result_slot(p, GRADIENT)] + (size_t)y->first * element_size(p) };
        ctx_ranges(p->c, y->count, op_shares(y->count), 0, give_range, &g);
    }
}

/* ---- programs that take pieces ---- */

bool plan_takes(plan *p, int input, unsigned early) {
    const int last = p->n_steps - 1;
    int met = 0;
    if (last < 0 || !p->steps[last].pass || !fuse_has_parts(p->steps[last].pass) || p->n_places > TAKES_PLACES)
        return false;
    for (int k = 0; k < p->n_in; k++)
        if (!(early >> k & 1)) tell_all(p, last, argument_slot(p, k), false, count_span, &met);
    for (int k = 0; k < p->n_out; k++) tell_all(p, last, result_slot(p, k), true, count_span, &met);
    const fuse_pass *f = p->steps[last].pass;
    p->takes = argument_slot(p, input);
    for (int i = 0; i < f->n_fills; i++) /* one element of the input, which may be in another piece */
        met += f->fills[i].pointer >= 0 && p->places[f->fills[i].pointer].slot == p->takes;
    return met == 0;
}

void plan_take(const plan *p, int64_t first, int64_t count, const void *at) {
    char *pointers[TAKES_PLACES];
    const fuse_pass *f = p->steps[p->n_steps - 1].pass;
    const uintptr_t whole = (uintptr_t)at - (size_t)first * dtype_size(f->dtype); /* where it would begin */
    for (int i = 0; i < p->n_places; i++)
        pointers[i] = p->places[i].slot == p->takes ? (char *)(whole + p->places[i].offset) : p->pointers[i];
    fuse_run_part(f, pointers, first, count);
}

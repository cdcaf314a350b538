/* replay.c - runs a program: nothing is allocated or looked up in a step. Threads share the steps of a turn, or, where
 * those would leave some waiting, each step by itself; the bits are the same either way. */
#include "program.h"
#include "../base/clock.h"
#include "../tensor/gemm.h"

#include <string.h>

/* Whether threads share the work of one step. */
static bool splits(const step *s, int threads) {
    return threads > 1 && (s->pass ? s->cost >= THREAD_WORTH : s->shared);
}

bool gives_rows(const node *n) {
    const void *in[FEW_OPERANDS];
    if (!n->op->run_rows || n->ndim != 2 || n->n_in > FEW_OPERANDS) return false;
    for (int k = 0; k < n->n_in; k++) in[k] = n;
    return n->op->run_rows(n, NULL, in, 0, 0);
}

typedef struct overwriting {
    ctx *c;
    const step *s;
    const void *const *in;
    char *out, *room;
    int64_t rows; /* of room, for a thread */
} overwriting;

static void overwrite_rows(void *arg, int share, int64_t first, int64_t end) {
    const overwriting *x = arg;
    const node *n = x->s->n;
    const size_t row = (size_t)n->shape[1] * dtype_size(n->dtype);
    char *room = x->room + (size_t)share * (size_t)x->rows * row;
    for (int64_t i = first; i < end && !ctx_poll(x->c, NULL); i += x->rows) {
        const int64_t rows = end - i < x->rows ? end - i : x->rows;
        n->op->run_rows(n, room, x->in, i, rows);
        memcpy(x->out + (size_t)i * row, room, (size_t)rows * row);
    }
}

/* A product over its operand: some rows are made beside it, and then lie where nobody needs what was there. */
static bk_status run_over(plan *p, const step *s, const void *const *in, bool shared) {
    enum { FEWEST = 84 };
    const int64_t most = s->room_rows / FEWEST, threads = shared ? ctx_threads(p->c) : 1;
    const int64_t shares = threads < most ? threads : most < 1 ? 1 : most;
    overwriting x = { p->c, s, in, p->pointers[s->out], p->pointers[s->room], s->room_rows / shares };
    return ctx_ranges(p->c, s->n->shape[0], (int)shares, 0, overwrite_rows, &x);
}

size_t plan_scratch(const plan *p, int threads) {
    size_t most = 0;
    for (int i = 0; i < p->n_steps; i++) {
        const step *s = &p->steps[i];
        if (!s->scratch) continue;
        const size_t own = s->scratch + (threads > 1 ? s->scratch_at : 0);
        const size_t split = !splits(s, threads) ? 0
                             : s->pass           ? fuse_scratch(s->pass, threads)
                                                 : s->n->op->scratch(s->n, threads);
        if (own > most) most = own;
        if (split > most) most = split;
    }
    return most;
}

static bk_status step_run(plan *p, const step *s, err *e) {
    const bool shared = splits(s, ctx_threads(p->c)); /* it has all of the scratch */
    char *scratch = p->scratch && p->threads > 1 && !shared ? p->scratch + s->scratch_at : p->scratch;
    if (s->pass) {
        if (p->in_place && s == &p->steps[p->n_steps - 1])
            fuse_run_whole(p->c, s->pass, p->pointers, scratch, shared);
        else if (fuse_run(p->c, s->pass, p->pointers, scratch, shared))
            return err_set(e, BK_EINTERRUPTED, "interrupted");
        return BK_OK;
    }
    if (!s->n) {
        if (ctx_copy(p->c, p->pointers[s->out], p->pointers[s->in[0]], s->copy_bytes))
            return err_set(e, BK_EINTERRUPTED, "interrupted");
        return BK_OK;
    }
    const void *few[FEW_OPERANDS], **in = s->many ? s->many : few;
    for (int k = 0; k < s->n_in; k++) in[k] = p->pointers[s->in[k]];
    bk_status status = s->room_rows ? run_over(p, s, in, shared)
                                    : s->n->op->run(p->c, s->n, p->pointers[s->out], in, scratch);
    if (status == BK_ERUNTIME && s->n->op->explain)
        status = s->n->op->explain(p->c, s->n, p->pointers[s->out], in, scratch, e);
    if (status == BK_EINTERRUPTED) return err_set(e, status, "interrupted");
    if (status && s->n->op->explain) return status;
    if (status) return err_set(e, status, "bk.%s: failed (status %d)", op_title(s->n->op), status);
    return BK_OK;
}

typedef struct turn {
    plan *p;
    const step *first;
    err failures[PLAN_TOGETHER];
    atomic_int failed;
} turn;

static void turn_item(void *arg, int64_t i) {
    turn *t = arg;
    if (step_run(t->p, &t->first[i], &t->failures[i])) atomic_store(&t->failed, 1);
}

/* Independent steps, spread over the threads. */
static bk_status at_once(plan *p, const step *first, int n, err *e) {
    turn t = { .p = p, .first = first };
    ctx_parallel(p->c, n, turn_item, &t);
    for (int i = 0; atomic_load(&t.failed) && i < n; i++)
        if (t.failures[i].status) return err_set(e, t.failures[i].status, "%s", t.failures[i].text);
    return BK_OK;
}

/* How many of the next n independent steps to run at once: as many as leave the threads, each taking the next step when
 * it is done with one, ending at about the same time; all where one cannot be shared. Else 1: sharing a step leaves
 * fewer of them waiting, but each packs what it reads. */
static int steps_at_once(const step *first, int n, int threads) {
    double busy[PLAN_TOGETHER] = { 0 }, longest = 0, sum = 0;
    int best = 1;
    for (int i = 0; i < n; i++)
        if (!first[i].shared) return n;
    for (int i = 0; i < n && threads <= n; i++) {
        int k = 0;
        for (int t = 1; t < threads; t++)
            if (busy[t] < busy[k]) k = t;
        busy[k] += first[i].cost;
        if (busy[k] > longest) longest = busy[k];
        sum += first[i].cost;
        if (longest * threads <= 1.05 * sum) best = i + 1;
    }
    return best;
}

static bk_status run(plan *p, const void *const *in, void *const *out, int n_steps, pour_run *pours, err *e) {
    int first = 1 + p->n_consts;
    if (p->threads != ctx_threads(p->c)) p->scratch_bytes = plan_scratch(p, p->threads = ctx_threads(p->c));
    if (p->scratch_bytes && !(p->scratch = mem_block_alloc(p->c, p->scratch_bytes)))
        return err_nomem(e, p->scratch_bytes);
    for (int i = 0; i < p->n_in; i++) p->bases[first + i] = (char *)(uintptr_t)in[i];
    for (int i = 0; i < p->n_out; i++) p->bases[first + p->n_in + i] = out[i];
    for (int i = 0; i < p->n_places; i++)
        if (p->places[i].slot >= first) p->pointers[i] = p->bases[p->places[i].slot] + p->places[i].offset;
    p->in_place = false;
    for (int i = 0; i < p->n_in; i++)
        for (int k = 0; k < p->n_out; k++) p->in_place = p->in_place || in[i] == out[k];
    bk_status s = BK_OK;
    gemm_enter();
    const int threads = p->profile ? 1 : ctx_threads(p->c);
    int end = 0; /* of the turn */
    for (int i = 0; i < n_steps && !s; i++) {
        step *at = &p->steps[i];
        s = ctx_poll(p->c, e);
        if (s) break;
        if (p->told_as) ctx_tell(p->c, p->told_as, i, p->n_steps);
        if (at->together) end = i + at->together; /* a turn begins */
        const int most = (end < n_steps ? end : n_steps) - i;
        const int n = threads > 1 && most > 1 ? steps_at_once(at, most, threads) : 1;
        double start = p->profile ? clock_seconds() : 0;
        if (n > 1) s = at_once(p, at, n, e);
        else if (!pours || !pour_step(p, pours, i)) s = step_run(p, at, e);
        if (p->profile) {
            at->seconds += clock_seconds() - start;
            at->runs++;
        }
        i += n - 1;
        if (pours && !s) pour_after(p, pours, i);
    }
    if (pours) atomic_store(&p->c->begun, 0);
    gemm_leave();
    mem_block_free(p->c, p->scratch, p->scratch_bytes);
    p->scratch = NULL;
    if (p->told_as) ctx_tell(p->c, p->told_as, p->n_steps, p->n_steps);
    return s;
}

bk_status plan_run(plan *p, const void *const *in, void *const *out, err *e) {
    return run(p, in, out, p->n_steps, NULL, e);
}

bk_status plan_run_poured(plan *p, const void *const *in, void *const *out, const plan_taker *taker, err *e) {
    pour_run x = { .taker = taker };
    return run(p, in, out, p->n_steps, &x, e);
}

bk_status plan_run_early(plan *p, const void *const *in, void *const *out, err *e) {
    return run(p, in, out, p->n_steps - 1, NULL, e);
}

/* ---- outputs over inputs ---- */

static bool in_slot(const place *places, const fuse_source *s, int slot) {
    return s->kind == SOURCE_MEMORY && places[s->at].slot == slot;
}

/* Otherwise than element by element. */
static bool pass_reads_early(const fuse_pass *f, const place *places, int slot) {
    for (int i = 0; i < f->n_views; i++)
        if (places[f->views[i].pointer].slot == slot) return true;
    for (int i = 0; i < f->n_fills; i++)
        if (f->fills[i].pointer >= 0 && places[f->fills[i].pointer].slot == slot) return true;
    return false;
}

static bool step_writes(const plan *p, const step *s, int slot) {
    if (!s->pass) return p->places[s->out].slot == slot;
    for (int i = 0; i < s->pass->n_ops; i++)
        if (in_slot(p->places, &s->pass->ops[i].out, slot)) return true;
    return false;
}

/* A pass may write over what it reads element by element, when no operation after the writing one reads it. */
static bool pass_overwrites(const plan *p, const fuse_pass *f, int from, int to) {
    if (pass_reads_early(f, p->places, from)) return false;
    bool written = false;
    for (int i = 0; i < f->n_ops; i++) {
        for (int k = 0; k < 3; k++)
            if (written && in_slot(p->places, &f->ops[i].in[k], from)) return false;
        written = written || in_slot(p->places, &f->ops[i].out, to);
    }
    return true;
}

/* Only the last step does, alone in its turn and not interrupted: a run that fails or is interrupted has overwritten
 * nothing. */
bool plan_overwrites(const plan *p, int input, int output) {
    const int from = 1 + p->n_consts + input, to = 1 + p->n_consts + p->n_in + output, last = p->n_steps - 1;
    if (last < 0 || !p->steps[last].pass || p->steps[last].together != 1) return false;
    for (int i = 0; i < last; i++)
        if (step_writes(p, &p->steps[i], to)) return false;
    return step_writes(p, &p->steps[last], to) && pass_overwrites(p, p->steps[last].pass, from, to);
}

plan_stats plan_info(const plan *p) {
    plan_stats s = p->stats;
    const int threads = ctx_threads(p->c);
    s.arena_bytes = p->arena_bytes + (p->threads == threads ? p->scratch_bytes : plan_scratch(p, threads));
    return s;
}
void plan_tells(plan *p, const char *what) {
    p->told_as = what;
}

void plan_profile(plan *p, bool on) {
    p->profile = on;
    for (int i = 0; i < p->n_steps && on; i++) p->steps[i].seconds = 0, p->steps[i].runs = 0;
}

plan_step plan_step_at(const plan *p, int i) {
    const step *s = &p->steps[i];
    plan_step out = { .flops = s->flops, .seconds = s->seconds, .runs = s->runs };
    if (s->pass) {
        out.kernel = "fused";
        out.operations = s->pass->n_ops;
        out.ndim = 1;
        out.shape[0] = s->pass->count;
    } else if (s->n) {
        out.kernel = s->n->op->name;
        out.operations = 1;
        out.ndim = s->n->ndim;
        memcpy(out.shape, s->n->shape, sizeof out.shape);
    } else {
        out.kernel = "copy";
        out.ndim = 1;
        out.shape[0] = (int64_t)s->copy_bytes;
    }
    return out;
}

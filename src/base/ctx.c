/* ctx.c - counted allocation, the interrupt flag and the worker threads. */
#include "ctx.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK_ALIGN = 64, HUGE_PAGE = 2 << 20 };
static const size_t CACHE_LIMIT = (size_t)256 << 20;

struct mem_block {
    mem_block *next;
};

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    pthread_t *threads;
    int capacity, n;             /* threads besides the caller: asked for, had */
    pid_t process;               /* the one they run in: a forked child has none of them */
    _Atomic uint64_t generation; /* of the work handed out */
    atomic_int busy;
    bool quit;
    work_fn fn;
    void *arg;
    int64_t items;
    _Atomic int64_t next;
};

/* ---- accounting ---- */

static bool mem_admit(ctx *c, size_t bytes) {
    int64_t countdown = atomic_load_explicit(&c->fail_at, memory_order_relaxed);
    if (countdown >= 0) {
        if (countdown == 0) {
            if (!c->fail_on) atomic_store(&c->fail_at, -1);
            return false;
        }
        atomic_store(&c->fail_at, countdown - 1);
    }
    size_t used = atomic_fetch_add(&c->used, bytes) + bytes;
    if (c->limit && used > c->limit) {
        atomic_fetch_sub(&c->used, bytes);
        return false;
    }
    size_t peak = atomic_load_explicit(&c->peak, memory_order_relaxed);
    while (used > peak && !atomic_compare_exchange_weak(&c->peak, &peak, used)) {}
    return true;
}

static void mem_dismiss(ctx *c, size_t bytes) {
    atomic_fetch_sub(&c->used, bytes);
}

/* What malloc takes of the system for so many: a word in front, in pieces of 16. Small objects would pass the limit by
 * a third else. */
static size_t footprint(size_t bytes) {
    return bytes == 0 ? 0 : bytes <= 24 ? 32 : (bytes + 8 + 15) & ~(size_t)15;
}

void *mem_realloc(ctx *c, void *p, size_t old_bytes, size_t new_bytes) {
    const size_t before = p ? footprint(old_bytes) : 0, after = footprint(new_bytes);
    if (new_bytes == 0) {
        free(p);
        mem_dismiss(c, before);
        return NULL;
    }
    if (new_bytes > SIZE_MAX / 4 || (after > before && !mem_admit(c, after - before))) return NULL;
    void *q = realloc(p, new_bytes);
    if (!q) {
        if (after > before) mem_dismiss(c, after - before);
        return NULL;
    }
    if (after < before) mem_dismiss(c, before - after);
    return q;
}

enum { FRONT = 16 };

void *mem_sized_alloc(ctx *c, size_t bytes) {
    unsigned char *p = bytes < SIZE_MAX - FRONT ? mem_alloc(c, bytes + FRONT) : NULL;
    if (!p) return NULL;
    memcpy(p, &bytes, sizeof bytes);
    return p + FRONT;
}

void mem_sized_free(ctx *c, void *block) {
    if (!block) return;
    unsigned char *p = (unsigned char *)block - FRONT;
    size_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    mem_free(c, p, bytes + FRONT);
}

bool mem_reserve(ctx *c, size_t bytes) {
    return !c->shut && mem_admit(c, bytes);
}

void mem_unreserve(ctx *c, size_t bytes) {
    mem_dismiss(c, bytes);
}

void ctx_shut(ctx *c) {
    c->shut = true;
}

void *mem_alloc(ctx *c, size_t bytes) {
    return c->shut ? NULL : mem_realloc(c, NULL, 0, bytes ? bytes : 1);
}

void *mem_zalloc(ctx *c, size_t bytes) {
    void *p = mem_alloc(c, bytes);
    if (p) memset(p, 0, bytes ? bytes : 1);
    return p;
}

void mem_free(ctx *c, void *p, size_t bytes) {
    if (p) mem_realloc(c, p, bytes ? bytes : 1, 0);
}

/* ---- aligned blocks ---- */

/* The size a block really has, an eighth of a power of two at most more, so that freed blocks fit again; *kind
 * numbers the sizes. */
static size_t block_round(size_t bytes, int *kind) {
    if (bytes < BLOCK_ALIGN) bytes = BLOCK_ALIGN;
    size_t step = BLOCK_ALIGN;
    *kind = 0;
    for (; step * 16 < bytes; step *= 2) *kind += 16;
    *kind += (int)((bytes + step - 1) / step - 1);
    return (bytes + step - 1) / step * step;
}

/* Under a limit large blocks are pages of their own: what malloc keeps between those in use, a workspace's place of
 * some megabytes, would be held past the limit. */
enum { PAGES = 1 << 17 };

static bool in_pages(const ctx *c, size_t bytes) {
    return c->limit && bytes >= PAGES;
}

/* Large ones lie in huge pages, where the system has them: a product goes down the rows of its operands, and every row
 * of a wide matrix is another small page. */
static void *block_new(const ctx *c, size_t bytes) {
    if (in_pages(c, bytes)) {
        void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return pages == MAP_FAILED ? NULL : pages;
    }
#ifdef MADV_HUGEPAGE
    void *p;
    if (bytes >= HUGE_PAGE) {
        if (posix_memalign(&p, HUGE_PAGE, bytes)) return NULL;
        madvise(p, bytes, MADV_HUGEPAGE); /* advice: it may be refused */
        return p;
    }
#endif
    return aligned_alloc(BLOCK_ALIGN, bytes);
}

void *mem_block_alloc(ctx *c, size_t bytes) {
    int kind;
    if (c->shut || bytes > SIZE_MAX / 4) return NULL;
    bytes = block_round(bytes, &kind);
    if (!mem_admit(c, bytes + BLOCK_ALIGN)) { /* what lies between aligned blocks counts too */
        mem_block_flush(c);
        return NULL;
    }
    mem_block *kept = c->freed[kind];
    if (kept) {
        c->freed[kind] = kept->next;
        c->cached -= bytes;
        return kept;
    }
    void *p = block_new(c, bytes);
    if (!p) {
        mem_block_flush(c);
        p = block_new(c, bytes);
    }
    if (!p) mem_dismiss(c, bytes + BLOCK_ALIGN);
    return p;
}

void mem_block_free(ctx *c, void *p, size_t bytes) {
    int kind;
    if (!p) return;
    bytes = block_round(bytes, &kind);
    mem_dismiss(c, bytes + BLOCK_ALIGN);
    if (in_pages(c, bytes)) {
        munmap(p, bytes);
        return;
    }
    if (c->limit || c->cached + bytes > CACHE_LIMIT) {
        free(p);
        return;
    }
    mem_block *b = p;
    b->next = c->freed[kind];
    c->freed[kind] = b;
    c->cached += bytes;
}

void mem_block_flush(ctx *c) {
    for (int i = 0; i < BLOCK_CLASSES && c->cached; i++)
        while (c->freed[i]) {
            mem_block *next = c->freed[i]->next;
            free(c->freed[i]);
            c->freed[i] = next;
        }
    c->cached = 0;
}

/* ---- workers ---- */

/* This thread is at its share of some work: it hands out none of its own. */
static _Thread_local bool sharing;

static void work_drain(workers *w, work_fn fn, void *arg, int64_t items) {
    sharing = true;
    for (int64_t i; (i = atomic_fetch_add(&w->next, 1)) < items;) fn(arg, i);
    sharing = false;
}

/* Work comes in bursts tens of microseconds apart, less than a sleeper takes to wake: look a while before sleeping. */
enum { SPINS = 3000 };

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void *worker_main(void *self) {
    workers *w = self;
    uint64_t seen = 0;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        if (!w->quit && w->generation == seen) {
            pthread_mutex_unlock(&w->lock);
            for (int i = 0; i < SPINS && atomic_load_explicit(&w->generation, memory_order_relaxed) == seen; i++)
                relax();
            pthread_mutex_lock(&w->lock);
        }
        while (!w->quit && w->generation == seen) pthread_cond_wait(&w->wake, &w->lock);
        if (w->quit) break;
        seen = w->generation;
        work_fn fn = w->fn;
        void *arg = w->arg;
        int64_t items = w->items;
        pthread_mutex_unlock(&w->lock);
        work_drain(w, fn, arg, items);
        pthread_mutex_lock(&w->lock);
        if (--w->busy == 0) pthread_cond_signal(&w->done);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static bool workers_live(const workers *w) {
    return w->process == getpid();
}

static void workers_free(ctx *c, workers *w) {
    if (workers_live(w)) {
        pthread_mutex_lock(&w->lock);
        w->quit = true;
        pthread_cond_broadcast(&w->wake);
        pthread_mutex_unlock(&w->lock);
        for (int i = 0; i < w->n; i++) pthread_join(w->threads[i], NULL);
        pthread_mutex_destroy(&w->lock);
        pthread_cond_destroy(&w->wake);
        pthread_cond_destroy(&w->done);
    }
    mem_free(c, w->threads, sizeof *w->threads * (size_t)w->capacity);
    mem_free(c, w, sizeof *w);
}

/* Fewer threads where the system refuses. Signals are the host's threads' business: a worker takes none. */
static void workers_start(workers *w) {
    sigset_t every, before;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    pthread_cond_init(&w->done, NULL);
    w->process = getpid();
    w->n = 0;
    w->busy = 0;
    w->generation = 0; /* of a forked process: what the workers of the other one did is not theirs */
    w->quit = false;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    while (w->n < w->capacity && pthread_create(&w->threads[w->n], NULL, worker_main, w) == 0) w->n++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int ctx_threads(const ctx *c) {
    return c->pool && !sharing ? c->pool->capacity + 1 : 1;
}

bk_status ctx_set_threads(ctx *c, int threads, err *e) {
    if (threads < 1 || threads > 256) return err_set(e, BK_EINVAL, "bk.threads: expected 1..256, got %d", threads);
    if (threads == ctx_threads(c)) return BK_OK;
    workers *w = NULL;
    if (threads > 1) {
        w = mem_zalloc(c, sizeof *w);
        if (!w) return err_nomem(e, sizeof *w);
        w->threads = mem_alloc(c, sizeof *w->threads * (size_t)(threads - 1));
        if (!w->threads) {
            mem_free(c, w, sizeof *w);
            return err_nomem(e, sizeof *w->threads * (size_t)(threads - 1));
        }
        w->capacity = threads - 1;
        workers_start(w);
        if (w->n < threads - 1) {
            const int started = w->n;
            workers_free(c, w);
            return err_set(e, BK_EUNSUPPORTED, "bk.threads: the system refused to start %d threads: %d could be had",
                           threads, started + 1);
        }
    }
    if (c->pool) workers_free(c, c->pool);
    c->pool = w;
    return BK_OK;
}

void ctx_parallel(ctx *c, int64_t n, work_fn fn, void *arg) {
    workers *w = c->pool;
    if (w && n > 1 && !sharing && !workers_live(w)) workers_start(w); /* in a forked child: anew */
    if (!w || !w->n || n < 2 || sharing) {
        for (int64_t i = 0; i < n; i++) fn(arg, i);
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->fn = fn;
    w->arg = arg;
    w->items = n;
    atomic_store(&w->next, 0);
    w->busy = w->n;
    w->generation++;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    work_drain(w, fn, arg, n);
    for (int i = 0; i < SPINS && atomic_load_explicit(&w->busy, memory_order_acquire); i++) relax();
    pthread_mutex_lock(&w->lock);
    while (w->busy) pthread_cond_wait(&w->done, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

typedef struct ranges {
    ctx *c;
    int64_t n, shares, piece;
    range_fn fn;
    void *arg;
    atomic_bool stopped;
} ranges;

static void run_range(void *arg, int64_t i) {
    ranges *r = arg;
    const int64_t end = (i + 1) * r->n / r->shares;
    for (int64_t first = i * r->n / r->shares; first < end; first += r->piece) {
        r->fn(r->arg, (int)i, first, end - first < r->piece ? end : first + r->piece);
        if (ctx_poll(r->c, NULL)) {
            atomic_store_explicit(&r->stopped, true, memory_order_relaxed);
            return;
        }
    }
}

bk_status ctx_ranges(ctx *c, int64_t n, int most, double work, range_fn fn, void *arg) {
    const int threads = ctx_threads(c), shares = threads < most ? threads : most;
    const double piece = work > POLL_WORK ? (double)n * POLL_WORK / work : (double)n;
    ranges r = { c, n, shares < n ? shares : n, piece < 1 ? 1 : (int64_t)piece, fn, arg, false };
    ctx_parallel(c, r.shares, run_range, &r);
    return r.stopped ? BK_EINTERRUPTED : BK_OK;
}

bk_status ctx_copy_long(ctx *c, void *to, const void *from, size_t bytes) {
    enum { PIECE = 8 * POLL_WORK };
    for (; bytes > PIECE; bytes -= PIECE, to = (char *)to + PIECE, from = (const char *)from + PIECE) {
        memcpy(to, from, PIECE);
        if (ctx_poll(c, NULL)) return BK_EINTERRUPTED;
    }
    memcpy(to, from, bytes);
    return BK_OK;
}

/* ---- the context ---- */

ctx *ctx_new(int threads) {
    ctx *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    atomic_store(&c->fail_at, -1);
    atomic_store(&c->refs, 1);
    if (threads > 1 && ctx_set_threads(c, threads, NULL)) {
        free(c);
        return NULL;
    }
    return c;
}

void ctx_retain(ctx *c) {
    atomic_fetch_add(&c->refs, 1);
}

void ctx_release(ctx *c) {
    if (!c || atomic_fetch_sub(&c->refs, 1) > 1) return;
    if (c->pool) workers_free(c, c->pool);
    mem_block_flush(c);
    free(c);
}

void ctx_note_poll(ctx *c) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    const int64_t now = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    if (now - c->polled > c->unpolled) c->unpolled = now - c->polled;
    c->polled = now;
}

bk_status ctx_poll(ctx *c, err *e) {
    if (c->polled) ctx_note_poll(c);
    if (!atomic_load_explicit(&c->interrupted, memory_order_relaxed)) return BK_OK;
    if (atomic_load(&c->held) || atomic_load(&c->begun)) return BK_OK;
    return err_set(e, BK_EINTERRUPTED, "interrupted");
}

void ctx_tell(const ctx *c, const char *what, int64_t done, int64_t all) {
    if (c->told) c->told(what, done, all);
}

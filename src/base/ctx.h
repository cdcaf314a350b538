/* ctx.h - what every room below bind/ is handed first: memory, the interrupt flag
 * and the worker threads of one environment. Nothing of an environment is global, so those in
 * different threads never meet. What is the process's stands there once: the count of OpenBLAS's users and its
 * buffers (tensor/gemm.c), what the processor and OpenBLAS answered (tensor/vec.c, gemm.c), the number of the next
 * graph (graph/graph.c), MPI (ranks/ranks.c); and a thread's, whether it is at a share of work (ctx.c).
 *
 * Memory: every byte the library allocates passes here, is counted with what the system's
 * allocator adds to it, respects the limit, and can be made to fail (tests). Tensor data is 64-byte aligned; its freed
 * blocks are kept for reuse, the last one first: it may still be in the caches, and returning a large
 * one to the system costs a page fault per 4 KiB at the next step. With a limit they go back, since
 * kept ones would be held past it. */
#ifndef BASE_CTX_H
#define BASE_CTX_H

#include "err.h"
#include <stdatomic.h>
#include <string.h>

typedef struct workers workers;
typedef struct mem_block mem_block;

enum { BLOCK_CLASSES = 1024 };

typedef struct ctx {
    _Atomic size_t used;      /* bytes now in use */
    _Atomic size_t peak;      /* its maximum so far */
    size_t limit;             /* 0: none; set before the first block */
    size_t cached;            /* bytes in the lists of freed blocks */
    mem_block *freed[BLOCK_CLASSES]; /* blocks kept for reuse, by size */
    _Atomic int64_t fail_at;  /* allocation countdown for tests: the one that reaches 0 fails; <0: off */
    bool fail_on;             /* ... and every later one too */
    bool shut;                /* what is not there yet is not given out any more */
    atomic_int interrupted;   /* polled by kernels and loops */
    atomic_int held;          /* an interrupt waits: what is being done is to be done whole */
    atomic_int begun;         /* likewise, whoever asks: a step has begun to write over what it reads */
    atomic_int refs;
    int64_t polled, unpolled; /* tests: processor time at the last poll, 0: off; the longest between two; ns */
    workers *pool;
    struct folders *folders;  /* path.h: files outside are out of reach; NULL: none is */
    void (*told)(const char *what, int64_t done, int64_t all); /* shows how far long work is; NULL: nobody looks */
} ctx;

ctx *ctx_new(int threads); /* NULL when memory is short or the threads cannot be had; one reference */
void ctx_retain(ctx *c);
void ctx_release(ctx *c);  /* the last release joins the workers and frees all */

/* Small objects. mem_realloc(c, NULL, 0, n) allocates, mem_realloc(c, p, n, 0) frees and returns NULL.
 * Sizes are passed back at free, so no header is kept. NULL on failure. */
void *mem_realloc(ctx *c, void *p, size_t old_bytes, size_t new_bytes);
void *mem_alloc(ctx *c, size_t bytes);        /* not cleared */
void *mem_zalloc(ctx *c, size_t bytes);       /* cleared */
void mem_free(ctx *c, void *p, size_t bytes); /* p may be NULL */

/* The same with the size kept in front, for libraries that take an allocator. */
void *mem_sized_alloc(ctx *c, size_t bytes);
void mem_sized_free(ctx *c, void *p);

/* Counts what a library that takes no allocator is going to use; false: past the limit. */
bool mem_reserve(ctx *c, size_t bytes);
void mem_unreserve(ctx *c, size_t bytes);

/* From here on mem_alloc, mem_zalloc and mem_block_alloc fail: whoever would own what they gave is not asked to free
 * it. Lua is, and its memory comes of mem_realloc. */
void ctx_shut(ctx *c);

/* Aligned blocks for tensor data and arenas, not cleared. */
void *mem_block_alloc(ctx *c, size_t bytes);
void mem_block_free(ctx *c, void *p, size_t bytes);
void mem_block_flush(ctx *c); /* gives the kept blocks back to the system */
/* So many bytes, and those up to where the next may begin that is aligned as blocks are: a cache line's, 64. */
static inline size_t mem_aligned(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

void ctx_note_poll(ctx *c); /* while c->polled is on */
/* BK_EINTERRUPTED when an interrupt is pending (left pending: the binding clears it), else BK_OK. From any thread. */
bk_status ctx_poll(ctx *c, err *e);
/* So much of long work is done; `what` is the name of the user's function. Cheap; done = all ends it. */
void ctx_tell(const ctx *c, const char *what, int64_t done, int64_t all);

/* Worker threads. The number of threads never changes a result: callers cut their work
 * at sizes that depend on the problem only. */
int ctx_threads(const ctx *c); /* to share work now: 1 inside a share */
bk_status ctx_set_threads(ctx *c, int threads, err *e); /* 1..256; BK_EUNSUPPORTED: the system refuses them */
typedef void (*work_fn)(void *arg, int64_t item);
/* Calls fn(arg, 0..n-1), spread over the workers and the calling thread; returns when all are done. Inside a share all
 * of it runs on that thread. */
void ctx_parallel(ctx *c, int64_t n, work_fn fn, void *arg);
/* 0..n-1 cut in as many even ranges as there are threads, `most` at most, and these in pieces of POLL_WORK where
 * `work`, the elements that all of it touches, is more: calls fn(arg, share, first, end) for each, share counting from
 * 0; for none when n is 0. What fn makes of an item must not depend on where the cuts fall. `most` 1: in order, by this
 * thread. BK_EINTERRUPTED, and what is left is not done, once there is an interrupt; an fn that sees it itself may just
 * return. */
enum { POLL_WORK = 1 << 17 }; /* under a millisecond */
typedef void (*range_fn)(void *arg, int share, int64_t first, int64_t end);
bk_status ctx_ranges(ctx *c, int64_t n, int most, double work, range_fn fn, void *arg);
/* For a loop that looks after every POLL_WORK elements: whether it is to stop, `work` more being done since. */
static inline bool ctx_stops(ctx *c, int64_t *since, int64_t work) {
    if ((*since += work) < POLL_WORK) return false;
    *since = 0;
    return ctx_poll(c, NULL) != BK_OK;
}
/* memcpy of any size, polled. */
bk_status ctx_copy_long(ctx *c, void *to, const void *from, size_t bytes);
static inline bk_status ctx_copy(ctx *c, void *to, const void *from, size_t bytes) {
    if (bytes > 8 * POLL_WORK) return ctx_copy_long(c, to, from, bytes);
    memcpy(to, from, bytes);
    return BK_OK;
}

#endif

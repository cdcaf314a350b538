/* fuse.h - elementwise groups: which nodes run together in one pass over blocks, and the pass. */
#ifndef COMPILE_FUSE_H
#define COMPILE_FUSE_H

#include "../graph/graph.h"

enum { FUSE_BLOCK_BYTES = 4096 };

/* How a micro-op reaches an operand. */
typedef enum source_kind { SOURCE_NONE, SOURCE_TEMP, SOURCE_MEMORY } source_kind;
typedef struct fuse_source {
    source_kind kind;
    int at; /* temp number, or place in the pass's pointer table */
} fuse_source;

typedef struct fuse_op {
    vec_fn fn;
    fuse_source in[3], out;
    double x;
    int fold; /* fn NULL: its place among the folds */
    bool slow; /* it computes for long */
    int more; /* operations after it that are done with it: fuse_join */
} fuse_op;

/* A sum of what the pass makes, which need not be stored: runs of neighbouring elements are summed block by block, and
 * the runs in the end. Axes that are left, of which one step is a run; a step of 0 is of one that is summed. Or rows
 * that are as long as the result: bands of blocks are summed each for itself, and the bands in the end. */
typedef struct fuse_fold {
    int64_t run, places; /* elements of a run; of the result */
    bool rows;
    int ndim, pointer;   /* where the result is */
    int64_t shape[BK_MAX_DIMS], steps[BK_MAX_DIMS];
} fuse_fold;

/* An operand that is not laid out as the pass runs: copied into a temp block by block, or once where every
 * block reads the same. */
typedef struct fuse_view {
    int pointer, temp, ndim;
    bool once;
    int64_t shape[BK_MAX_DIMS], strides[BK_MAX_DIMS]; /* collapsed; strides in elements, 0 where broadcast */
} fuse_view;

typedef struct fuse_pass {
    bk_dtype dtype;
    int64_t count, block; /* elements: in all, at a time */
    int64_t band; /* of sums of rows: so many elements, whole blocks; 0: the pass has none */
    int n_ops, n_views, n_fills, n_temps, n_folds;
    fuse_op *ops;
    fuse_fold *folds;
    fuse_view *views;
    struct {
        int temp, pointer;
        double x;
    } * fills; /* scalars: pointer < 0: x, else *pointer */
} fuse_pass;

/* scratch: fuse_scratch(p, 1) bytes, 64-byte aligned; shared by c's threads, as many as these need. The bits are the
 * same at any number of them. */
bk_status fuse_run(ctx *c, const fuse_pass *p, char *const *pointers, char *scratch, bool shared);
void fuse_run_whole(ctx *c, const fuse_pass *p, char *const *pointers, char *scratch, bool shared); /* unpolled */
size_t fuse_scratch(const fuse_pass *p, int threads);

/* Elements first .. first + count - 1 alone, by this thread, on its stack and unpolled: of a pass without sums and
 * views, and with few temporaries. */
bool fuse_has_parts(const fuse_pass *p);
void fuse_run_part(const fuse_pass *p, char *const *pointers, int64_t first, int64_t count);

/* Whether an operation computes for longer than its operands take to come. */
bool fuse_is_slow(vec_op op);

/* Finds operations of a pass that one kernel does in one go, to the same bits: the step of Adam. */
void fuse_join(fuse_pass *p);

/* Sets the block from the views: a whole number of rows where a row is repeated, so that it is laid out once; and the
 * band. */
void fuse_set_block(fuse_pass *p);

/* The fold that is the sum over the axes of the mask of elements of that shape, without its pointer. */
fuse_fold fuse_fold_of(int ndim, const int64_t *shape, int64_t mask);

/* Whether a pass should take that sum as it goes by: runs or rows are long, and rows many. */
bool fuse_fold_pays(const fuse_fold *f, int64_t count);

#endif

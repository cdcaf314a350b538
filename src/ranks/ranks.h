/* ranks.h - the processes that mpirun or srun started as one program: which one this is, and what they do together.
 * Built with MPI (make MPI=1) it is the only place that knows MPI; without, or started alone, there is one rank.
 *
 * Every function here is called by all ranks, in the same order. Sums are taken in a tree over the ranks, which depends
 * on their number alone: the same bits on every rank, in every run. Where one rank fails, dies or ends early, the
 * others' calls fail with BK_ERUNTIME instead of waiting for it. */
#ifndef RANKS_RANKS_H
#define RANKS_RANKS_H

#include "../tensor/tensor.h"

/* Joins the other ranks, once in a process: before it this is rank 0 of 1. Fails where a launcher started several ranks
 * that cannot join. */
bk_status ranks_open(err *e);
int ranks_rank(void); /* from 0 */
int ranks_size(void);
const char *ranks_library(void); /* "MPICH Version: ..."; NULL: built without MPI */

/* out[i] = the sum over ranks of in[i]; out may be in. An error on all of them where shape, dtype or number, which
 * tells this sum from others, differ between ranks. */
bk_status ranks_sum(ctx *c, bk_dtype dtype, int ndim, const int64_t *shape, int number, const void *in, void *out,
                    err *e);
/* Every rank's bytes, one rank after the other, in out. */
bk_status ranks_gather(ctx *c, size_t bytes, const void *in, void *out, err *e);
/* data of rank `from` to all; an error where from or bytes differ. */
bk_status ranks_broadcast(ctx *c, int from, size_t bytes, void *data, err *e);

/* This rank failed: what the others do next with it fails, and says why. BK_OK where all of them failed here. */
bk_status ranks_fail(ctx *c, const char *text, err *e);
/* At the end of a process: waits for the others, where it ends well; failed: tells them. Nothing is called after. */
void ranks_close(bool failed);

#endif

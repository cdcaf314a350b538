/* ranks.c - ranks over MPI. Data moves by MPI's own non-blocking collectives and is summed here, since MPI leaves the
 * order of a sum to its library. While it waits a rank looks for the notes of others that failed or ended, for
 * interrupts, and whether the ranks on its machine live. MPI is the process's, and so is the state here. */
#include "ranks.h"
#include "../base/clock.h"
#include "../tensor/vec.h"
#include "launcher.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MOST = 600 };

typedef struct place {
    bool open, started; /* asked for; MPI was initialised here */
    int rank, size;
    int64_t calls;              /* that this rank has begun */
    char problem[TEXT_MOST];    /* why the ranks can do nothing together any more; "": they can */
} place;

static place here = { .size = 1 };

int ranks_rank(void) {
    return here.rank;
}
int ranks_size(void) {
    return here.size;
}

static int launched(void) {
    int rank;
    return launcher_size(&rank);
}

#ifdef BRACKET_MPI

#include <errno.h>
#include <mpi.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

/* What a rank that goes no further says to each of the others. */
typedef struct note {
    int64_t calls; /* that it took part in */
    char text[TEXT_MOST];
} note;

/* What every call begins with: ranks that are not at the same one must not mix their data. */
typedef struct header {
    int64_t call, bytes, shape[BK_MAX_DIMS]; /* bytes, unless there is a shape */
    int32_t kind, dtype, ndim;
    int32_t number; /* of a sum in its program; the rank that a broadcast is from */
} header;
enum { KIND_SUM, KIND_GATHER, KIND_BROADCAST, KIND_FAIL, KIND_END };

enum {
    SMALL = 200,      /* bytes that go with the header */
    MEDIUM = 16384,   /* bytes that every rank sends to every other */
    CHUNK = 1 << 22,  /* bytes of a sum in one go */
    SPINS = 4000,     /* before a waiting rank leaves its core to others, some 200 us ... */
    NAP = 50000,      /* ... for so many ns at a time */
    SILENCE = 1800,   /* seconds without an answer after which the others are taken for dead */
    LAST_WORDS = 10,  /* seconds that a failed rank leaves rank 0 to save what there is */
};

static MPI_Comm data_comm, note_comm;
static MPI_Request note_request;
static note note_in, note_out;
static bool noted; /* note_in holds one */
static bool *near; /* by rank: on this machine ... */
static pid_t *ids; /* ... with this process */
/* What arrives: headers, a call's bytes of every rank, a chunk's rows. Kept, since MPI may write there late. */
static char *met, *came, *rows;

const char *ranks_library(void) {
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int n = 0;
    if (!*text && MPI_Get_library_version(text, &n) != MPI_SUCCESS) strcpy(text, "MPI");
    text[strcspn(text, "\n,")] = 0;
    for (char *at = text; (at = strchr(at, '\t'));) *at = ' ';
    return text;
}

static void send_note(int64_t calls, const char *text) {
    note_out.calls = calls;
    snprintf(note_out.text, sizeof note_out.text, "%s", text);
    for (int r = 0; r < here.size; r++) {
        MPI_Request sent;
        if (r == here.rank || MPI_Isend(&note_out, sizeof note_out, MPI_BYTE, r, 0, note_comm, &sent) != MPI_SUCCESS)
            continue;
        int done = 0; /* small enough to leave at once; a dead rank takes none */
        for (double end = clock_seconds() + 0.2; !done && clock_seconds() < end;)
            if (MPI_Test(&sent, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) break;
    }
}

/* From now on every call fails. */
static bk_status break_off(err *e, const char *format, ...) {
    va_list list;
    va_start(list, format);
    if (!*here.problem) {
        vsnprintf(here.problem, sizeof here.problem, format, list);
        char text[TEXT_MOST];
        snprintf(text, sizeof text, "rank %d stopped: %.500s", here.rank, here.problem);
        if (!noted) send_note(here.calls - 1, text);
    }
    va_end(list);
    return err_set(e, BK_ERUNTIME, "bk.mpi: %s", here.problem);
}

static void look_for_notes(void) {
    int there = 0;
    if (!noted && MPI_Test(&note_request, &there, MPI_STATUS_IGNORE) == MPI_SUCCESS) noted = there;
}

/* Waits for what a call of all ranks has under way. */
static bk_status wait_for(ctx *c, MPI_Request *request, err *e) {
    double began = 0;
    for (int64_t turn = 0;; turn++) {
        int done = 0;
        if (MPI_Test(request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS)
            return break_off(e, "a rank cannot be reached any more");
        if (done) return BK_OK;
        if (turn < SPINS) continue;
        if (turn % 16 == 0) {
            look_for_notes();
            if (noted && note_in.calls < here.calls) return break_off(e, "%s", note_in.text);
            err interrupted = { 0 };
            if (c && ctx_poll(c, &interrupted)) {
                break_off(NULL, "it was interrupted");
                return err_set(e, interrupted.status, "%s", interrupted.text);
            }
        }
        if (turn % 1024 == 0) {
            for (int r = 0; r < here.size; r++)
                if (near[r] && kill(ids[r], 0) != 0 && errno == ESRCH)
                    return break_off(e, "rank %d (process %ld) is gone", r, (long)ids[r]);
            if (began == 0) began = clock_seconds();
            if (clock_seconds() - began > SILENCE)
                return break_off(e, "a rank has not answered for %d seconds", (int)SILENCE);
        }
        /* a rank that sleeps gives its core away, and gets it back sooner on a busy machine than one that yields it */
        nanosleep(&(struct timespec){ .tv_nsec = NAP }, NULL);
    }
}

static bk_status unreachable(err *e) {
    return break_off(e, "a rank cannot be reached any more");
}

/* Every rank's bytes into out, one after the other. */
static bk_status all_to_all(ctx *c, size_t bytes, const void *in, void *out, err *e) {
    MPI_Request request;
    if (MPI_Iallgather(in, (int)bytes, MPI_BYTE, out, (int)bytes, MPI_BYTE, data_comm, &request) != MPI_SUCCESS)
        return unreachable(e);
    return wait_for(c, &request, e);
}

/* What a rank is at, for the message that others are not. */
static const char *what_of(const header *h, char *text, size_t size) {
    shape_buf shape;
    const char *kind = h->kind == KIND_FAIL ? "an error" : "its end";
    char which[40] = "";
    if (h->kind == KIND_SUM) {
        if (h->number) snprintf(which, sizeof which, " (sum %d of a function)", (int)h->number + 1);
        snprintf(text, size, "a sum of %s %s%s", dtype_name((bk_dtype)h->dtype), shape_text(h->ndim, h->shape, &shape),
                 which);
    } else if (h->kind == KIND_BROADCAST)
        snprintf(text, size, "a broadcast of %lld bytes from rank %d", (long long)h->bytes, (int)h->number);
    else if (h->kind == KIND_GATHER)
        snprintf(text, size, "a gather of %lld bytes (a barrier, or a protocol's)", (long long)h->bytes);
    else
        snprintf(text, size, "%s", kind);
    return text;
}

/* The ranks are at different calls: this one at mine, rank r at other. */
static bk_status apart(const header *mine, int r, const header *other, err *e) {
    char here_is[160], there_is[160];
    return break_off(e, "the ranks do different things: at their call %lld rank %d has %s, rank %d %s",
                     (long long)mine->call, here.rank, what_of(mine, here_is, sizeof here_is), r,
                     what_of(other, there_is, sizeof there_is));
}

/* Begins a call: all ranks have to be at the same one. The bytes of every rank, at most MEDIUM, are then in `came`. */
static bk_status meet(ctx *c, header what, size_t bytes, const void *in, err *e) {
    if (*here.problem) return err_set(e, BK_ERUNTIME, "bk.mpi: %s", here.problem);
    struct {
        header h;
        char bytes[SMALL];
    } mine = { what, { 0 } }, other;
    const int kind = what.kind;
    mine.h.call = ++here.calls;
    const bool with = bytes <= SMALL;
    if (with && bytes) memcpy(mine.bytes, in, bytes);
    bk_status s = all_to_all(c, sizeof mine, &mine, met, e);
    for (int r = 0; r < here.size && !s; r++) {
        memcpy(&other, met + (size_t)r * sizeof other, sizeof other);
        if (other.h.kind == KIND_FAIL && kind != KIND_FAIL) s = break_off(e, "rank %d failed: %s", r, other.bytes);
        else if (other.h.kind == KIND_END && kind != KIND_END) s = break_off(e, "rank %d has ended", r);
        else if (memcmp(&other.h, &mine.h, sizeof mine.h) != 0)
            s = apart(&mine.h, r, &other.h, e);
        else if (with && bytes) memcpy(came + (size_t)r * bytes, other.bytes, bytes);
    }
    return s || with ? s : all_to_all(c, bytes, in, came, e);
}

/* Rows of n elements, one a rank: their sum in the first. */
static void sum_rows(bk_dtype dtype, int64_t n, char *first) {
    const vec_fn add = vec_get(VEC_ADD, dtype);
    const size_t apart = (size_t)n * dtype_size(dtype);
    for (int step = 1; step < here.size; step *= 2)
        for (int r = 0; r + step < here.size; r += 2 * step) {
            char *a = first + (size_t)r * apart, *b = first + (size_t)(r + step) * apart;
            add(n, a, a, b, NULL, 0);
        }
}

/* A share of n elements for each rank, cut at multiples of 8. */
static int64_t share_first(int64_t n, int rank) {
    const int64_t each = (n / here.size + 8) / 8 * 8;
    return rank * each < n ? rank * each : n;
}

/* Each rank gets its share of what every rank has, sums it, and hands the sum to all. */
static bk_status sum_chunk(ctx *c, bk_dtype dtype, int64_t n, const char *in, char *out, int *at, err *e) {
    const size_t size = dtype_size(dtype);
    int *sent = at, *sent_at = at + here.size, *got = at + 2 * here.size, *got_at = at + 3 * here.size;
    const int mine = (int)((size_t)(share_first(n, here.rank + 1) - share_first(n, here.rank)) * size);
    for (int r = 0; r < here.size; r++) {
        sent_at[r] = (int)((size_t)share_first(n, r) * size);
        sent[r] = (int)((size_t)share_first(n, r + 1) * size) - sent_at[r];
        got[r] = mine;
        got_at[r] = r * mine;
    }
    MPI_Request request;
    if (MPI_Ialltoallv(in, sent, sent_at, MPI_BYTE, rows, got, got_at, MPI_BYTE, data_comm, &request) != MPI_SUCCESS)
        return unreachable(e);
    bk_status s = wait_for(c, &request, e);
    if (s) return s;
    sum_rows(dtype, mine / (int64_t)size, rows);
    if (MPI_Iallgatherv(rows, mine, MPI_BYTE, out, sent, sent_at, MPI_BYTE, data_comm, &request) != MPI_SUCCESS)
        return unreachable(e);
    return wait_for(c, &request, e);
}

bk_status ranks_sum(ctx *c, bk_dtype dtype, int ndim, const int64_t *shape, int number, const void *in, void *out,
                    err *e) {
    const int64_t n = shape_count(ndim, shape);
    const size_t bytes = (size_t)n * dtype_size(dtype);
    header h = { .kind = KIND_SUM, .dtype = dtype, .ndim = ndim, .number = number };
    if (here.size == 1) {
        if (out != in && n) memcpy(out, in, bytes);
        return BK_OK;
    }
    const bool whole = bytes <= MEDIUM;
    if (ndim) memcpy(h.shape, shape, sizeof *shape * (size_t)ndim);
    bk_status s = meet(c, h, whole ? bytes : 0, in, e);
    if (s) return s;
    if (whole) {
        sum_rows(dtype, n, came);
        if (n) memcpy(out, came, bytes);
        return BK_OK;
    }
    int *at = mem_alloc(c, sizeof *at * 4 * (size_t)here.size);
    if (!at) {
        break_off(NULL, "rank %d is out of memory", here.rank);
        return err_nomem(e, sizeof *at * 4 * (size_t)here.size);
    }
    const int64_t most = CHUNK / (int64_t)dtype_size(dtype);
    for (int64_t first = 0; first < n && !s; first += most) {
        const size_t from = (size_t)first * dtype_size(dtype);
        const int64_t count = n - first < most ? n - first : most;
        s = sum_chunk(c, dtype, count, (const char *)in + from, (char *)out + from, at, e);
    }
    mem_free(c, at, sizeof *at * 4 * (size_t)here.size);
    return s;
}

bk_status ranks_gather(ctx *c, size_t bytes, const void *in, void *out, err *e) {
    for (size_t done = 0; done < bytes; done += MEDIUM) {
        const size_t n = bytes - done < MEDIUM ? bytes - done : MEDIUM;
        if (here.size == 1) {
            memcpy((char *)out + done, (const char *)in + done, n);
            continue;
        }
        bk_status s = meet(c, (header){ .kind = KIND_GATHER, .bytes = (int64_t)n }, n, (const char *)in + done, e);
        if (s) return s;
        for (int r = 0; r < here.size; r++) memcpy((char *)out + (size_t)r * bytes + done, came + (size_t)r * n, n);
    }
    return BK_OK;
}

bk_status ranks_broadcast(ctx *c, int from, size_t bytes, void *data, err *e) {
    if (here.size == 1) return BK_OK;
    const header h = { .kind = KIND_BROADCAST, .bytes = (int64_t)bytes, .number = from };
    bk_status s = meet(c, h, 0, NULL, e);
    for (size_t done = 0; done < bytes && !s; done += CHUNK) {
        const size_t n = bytes - done < CHUNK ? bytes - done : CHUNK;
        MPI_Request request;
        if (MPI_Ibcast((char *)data + done, (int)n, MPI_BYTE, from, data_comm, &request) != MPI_SUCCESS)
            return unreachable(e);
        s = wait_for(c, &request, e);
    }
    return s;
}

/* Which ranks are on this machine, and their processes. */
static bool find_neighbours(void) {
    MPI_Comm machine;
    const size_t n = (size_t)here.size;
    int count = 0, *list = calloc(n, sizeof *list);
    pid_t *listed = calloc(n, sizeof *listed), me = getpid();
    near = calloc(n, sizeof *near);
    ids = calloc(n, sizeof *ids);
    bool ok = list && listed && near && ids &&
              MPI_Comm_split_type(data_comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine) == MPI_SUCCESS;
    if (ok) {
        MPI_Comm_size(machine, &count);
        ok = MPI_Allgather(&here.rank, 1, MPI_INT, list, 1, MPI_INT, machine) == MPI_SUCCESS &&
             MPI_Allgather(&me, sizeof me, MPI_BYTE, listed, sizeof me, MPI_BYTE, machine) == MPI_SUCCESS;
        for (int i = 0; i < count && ok; i++) {
            near[list[i]] = list[i] != here.rank;
            ids[list[i]] = listed[i];
        }
        MPI_Comm_free(&machine);
    }
    free(list);
    free(listed);
    return ok;
}

static bk_status join(err *e) {
    int ready = 0, level;
    MPI_Initialized(&ready);
    if (!ready && !launcher_started()) return BK_OK; /* alone */
    if (!ready) {
        if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level) != MPI_SUCCESS)
            return err_set(e, BK_ERUNTIME, "bk.mpi: MPI cannot be started");
        here.started = true;
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size == 1 && launched() > 1)
        return err_set(e, BK_ERUNTIME,
                       "bk.mpi: started as one of %d ranks, which %s does not join: srun needs --mpi=pmi2 (or pmix), "
                       "mpirun that of the same MPI", launched(), ranks_library());
    if (size == 1) return BK_OK;
    here.rank = rank;
    here.size = size;
    met = malloc((size_t)size * (sizeof(header) + SMALL));
    came = malloc((size_t)size * MEDIUM);
    rows = malloc(CHUNK + (size_t)size * 16 * sizeof(double)); /* shares are cut at multiples of 8 elements */
    if (!met || !came || !rows) return err_nomem(e, CHUNK);
    const bool ok = MPI_Comm_dup(MPI_COMM_WORLD, &data_comm) == MPI_SUCCESS &&
                    MPI_Comm_dup(MPI_COMM_WORLD, &note_comm) == MPI_SUCCESS && find_neighbours() &&
                    MPI_Irecv(&note_in, sizeof note_in, MPI_BYTE, MPI_ANY_SOURCE, 0, note_comm, &note_request) ==
                        MPI_SUCCESS;
    return ok ? BK_OK : err_set(e, BK_ERUNTIME, "bk.mpi: the ranks cannot reach each other");
}

bk_status ranks_fail(ctx *c, const char *text, err *e) {
    char line[SMALL] = { 0 };
    if (here.size == 1) return BK_OK;
    snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "\n"), text);
    return meet(c, (header){ .kind = KIND_FAIL }, SMALL, line, e);
}

/* MPI's own end waits for every rank, for ever: it is left out where one failed. Rank 0 then ends first, for the
 * launcher ends the rest with the first that ends so. */
void ranks_close(bool failed) {
    if (here.size > 1 && !failed) meet(NULL, (header){ .kind = KIND_END }, 0, NULL, NULL);
    if (failed) ranks_fail(NULL, "its program ended with an error", NULL);
    if (!*here.problem) {
        if (here.size > 1 && MPI_Cancel(&note_request) == MPI_SUCCESS) MPI_Wait(&note_request, MPI_STATUS_IGNORE);
        if (here.started) MPI_Finalize();
    } else if (here.rank > 0)
        for (double end = clock_seconds() + LAST_WORDS; clock_seconds() < end && !(near[0] && kill(ids[0], 0) != 0);)
            nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
}

#else /* one rank */

const char *ranks_library(void) {
    return NULL;
}

static bk_status join(err *e) {
    if (launched() <= 1) return BK_OK;
    return err_set(e, BK_EUNSUPPORTED, "bk.mpi: started as one of %d ranks, but built without MPI: make MPI=1",
                   launched());
}

bk_status ranks_sum(ctx *c, bk_dtype dtype, int ndim, const int64_t *shape, int number, const void *in, void *out,
                    err *e) {
    const int64_t n = shape_count(ndim, shape);
    (void)c, (void)number, (void)e;
    if (out != in && n) memcpy(out, in, (size_t)n * dtype_size(dtype));
    return BK_OK;
}
bk_status ranks_gather(ctx *c, size_t bytes, const void *in, void *out, err *e) {
    (void)c, (void)e;
    if (bytes) memcpy(out, in, bytes);
    return BK_OK;
}
bk_status ranks_broadcast(ctx *c, int from, size_t bytes, void *data, err *e) {
    (void)c, (void)from, (void)bytes, (void)data, (void)e;
    return BK_OK;
}
bk_status ranks_fail(ctx *c, const char *text, err *e) {
    (void)c, (void)text, (void)e;
    return BK_OK;
}
void ranks_close(bool failed) {
    (void)failed;
}

#endif

bk_status ranks_open(err *e) {
    if (here.open) return BK_OK;
    bk_status s = join(e);
    here.open = s == BK_OK;
    return s;
}

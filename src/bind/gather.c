/* gather.c - bk.internal.gather: rows of a tensor written into a batch buffer that is kept and reused.
 * The one place where a tensor that Lua holds is changed in place: the buffers are private to a
 * protocol, which leaves them to whoever has read them. Nothing is allocated here. */
#include "bind.h"
#include <string.h>

/* A row-major tensor with a first axis, or a Lua error. */
static const tensor *check_rows(lua_State *L, int index, const char *argument) {
    const tensor *t = bind_check_tensor(L, index, "gather", argument);
    if (t->ndim < 1 || !tensor_contiguous(t)) {
        luaL_error(L, "gather: %s: expected a row-major tensor of 1 or more dimensions", argument);
    }
    return t;
}

static int64_t row_size(const tensor *t) {
    int64_t n = 1;
    for (int i = 1; i < t->ndim; i++) n *= t->shape[i];
    return n;
}

static void prefetch(const char *p, size_t bytes) {
    for (size_t k = 0; k < bytes; k += 64) __builtin_prefetch(p + k);
}

/* gather(out, at, source, index, first, count): rows index[first..first+count-1] of source go to rows at..at+count-1 of
 * out; all count from 1. */
static int gather(lua_State *L) {
    const tensor *out = check_rows(L, 1, "out");
    int64_t at = luaL_checkinteger(L, 2);
    const tensor *source = check_rows(L, 3, "source");
    const tensor *index = check_rows(L, 4, "index");
    int64_t first = luaL_checkinteger(L, 5), count = luaL_checkinteger(L, 6);
    if (index->dtype != BK_INT64 || index->ndim != 1) {
        return luaL_error(L, "gather: index: expected an int64 tensor of 1 dimension");
    }
    if (out->store == index->store || out->store == source->store) /* what was checked would change underway */
        return luaL_error(L, "gather: out: expected memory of its own, got that of source or index");
    int64_t rows = source->shape[0], row = row_size(source);
    if (out->dtype != source->dtype || row_size(out) != row) {
        return luaL_error(L, "gather: out: expected %s rows of %I elements as source, got %s rows of %I",
                          dtype_name(source->dtype), (lua_Integer)row, dtype_name(out->dtype),
                          (lua_Integer)row_size(out));
    }
    if (count < 0 || first < 1 || first - 1 > index->shape[0] - count) {
        return luaL_error(L, "gather: first, count: %I..%I is outside the index's 1..%I", (lua_Integer)first,
                          (lua_Integer)(first + count - 1), (lua_Integer)index->shape[0]);
    }
    if (at < 1 || at - 1 > out->shape[0] - count) {
        return luaL_error(L, "gather: at: rows %I..%I are outside out's 1..%I", (lua_Integer)at,
                          (lua_Integer)(at + count - 1), (lua_Integer)out->shape[0]);
    }
    size_t bytes = (size_t)row * dtype_size(source->dtype);
    char *to = (char *)tensor_data(out) + (size_t)(at - 1) * bytes;
    const char *from = tensor_data(source);
    const int64_t *id = (const int64_t *)tensor_data(index) + (first - 1);
    for (int64_t i = 0; i < count; i++) {
        if (id[i] < 1 || id[i] > rows)
            return luaL_error(L, "gather: index: %I is outside 1..%I", (lua_Integer)id[i], (lua_Integer)rows);
    }
    for (int64_t i = 0; i < count; i++) { /* rows lie anywhere in memory: the one after the next is asked for */
        if (i + 2 < count) prefetch(from + (size_t)(id[i + 2] - 1) * bytes, bytes);
        memcpy(to + (size_t)i * bytes, from + (size_t)(id[i] - 1) * bytes, bytes);
    }
    return 0;
}

static const bind_row rows[] = {
    { "gather", gather, NULL },
    { NULL, NULL, NULL },
};

void bind_gather(lua_State *L) {
    bind_rows(L, rows);
}

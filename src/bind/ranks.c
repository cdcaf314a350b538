/* ranks.c - bk.internal.ranks: the ranks as lua/bracket/mpi.lua and protocols use them. A restricted environment is
 * alone. */
#include "../ranks/launcher.h"
#include "../ranks/ranks.h"
#include "args.h"
#include "env.h"
#include "tensor_value.h"

#include <string.h>

/* Raises e as it stands: no place in lua/bracket says more. */
static void check(lua_State *L, bk_status s, const err *e) {
    bk_env *env = env_of(L);
    if (!s) return;
    if (env) env_raised(env, e);
    if (env && s == BK_EINTERRUPTED) env_delivered(L, env);
    lua_pushstring(L, e->text);
    lua_error(L);
}

/* open(): rank, size, the MPI library's name or nil */
static int ranks_open_(lua_State *L) {
    err e = { 0 };
    if (!env_restricted(L)) check(L, ranks_open(&e), &e);
    lua_pushinteger(L, env_restricted(L) ? 0 : ranks_rank());
    lua_pushinteger(L, env_restricted(L) ? 1 : ranks_size());
    lua_pushstring(L, ranks_library());
    return 3;
}

/* launched(): this rank and how many the launcher started, by what it says, whether or not they join */
static int ranks_launched_(lua_State *L) {
    int rank;
    const int size = launcher_size(&rank);
    lua_pushinteger(L, rank);
    lua_pushinteger(L, size);
    return 2;
}

static bool build_sum(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)c, (void)n_in;
    return (out[0] = g_rank_sum(g, in[0])) != NULL;
}
static bool build_copy(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)c, (void)n_in;
    return (out[0] = g_rank_copy(g, in[0])) != NULL;
}

static int ranks_sum_(lua_State *L) { /* sum(t), traced or not */
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.mpi", "t");
    return bind_tensor_apply(L, &(op_call){ .name = "bk.mpi.sum", .build = build_sum, .n_out = 1 }, 1, &t);
}

static int ranks_reduce_(lua_State *L) { /* reduce(t): sum(t), of numbers */
    const tensor *t = &bind_tensor_concrete(L, 1, "bk.mpi.allreduce", "value")->value;
    tensor *sum = bind_tensor_push_new(L, t->dtype, t->ndim, t->shape, "bk.mpi.allreduce"), row_major;
    err e = { 0 };
    check(L, tensor_contiguous_as(t, t->dtype, &row_major, &e), &e);
    bk_status s =
        ranks_sum(bind_ctx(L), t->dtype, t->ndim, t->shape, 0, tensor_data(&row_major), tensor_data(sum), &e);
    tensor_release(&row_major);
    check(L, s, &e);
    return 1;
}

static int ranks_copy_(lua_State *L) { /* copy(t): what all ranks have, inside a function that is summed */
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.mpi", "t");
    return bind_tensor_apply(L, &(op_call){ .name = "bk.mpi.sum", .build = build_copy, .n_out = 1 }, 1, &t);
}

static int ranks_gather_(lua_State *L) { /* gather(text): the texts of all ranks, a list; all as long as this one */
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    const size_t size = (size_t)ranks_size();
    char *all = lua_newuserdatauv(L, size * n + 1, 0);
    err e = { 0 };
    check(L, ranks_gather(bind_ctx(L), n, text, all, &e), &e);
    lua_createtable(L, (int)size, 0);
    for (size_t r = 0; r < size; r++) {
        lua_pushlstring(L, all + r * n, n);
        lua_rawseti(L, -2, (lua_Integer)r + 1);
    }
    return 1;
}

/* broadcast(value, from): a text, or a tensor that has its shape on every rank */
static int ranks_broadcast_(lua_State *L) {
    const int from = (int)args_integer(L, 2, "bk.mpi.broadcast", "from", 0, ranks_size() - 1);
    err e = { 0 };
    ctx *c = bind_ctx(L);
    const tensor *t = bind_test_tensor(L, 1);
    if (t) {
        tensor *copy = bind_tensor_push_new(L, t->dtype, t->ndim, t->shape, "bk.mpi.broadcast");
        const size_t bytes = (size_t)tensor_count(t) * dtype_size(t->dtype);
        tensor row_major;
        check(L, tensor_contiguous_as(t, t->dtype, &row_major, &e), &e);
        if (bytes) memcpy(tensor_data(copy), tensor_data(&row_major), bytes);
        tensor_release(&row_major);
        check(L, ranks_broadcast(c, from, bytes, tensor_data(copy), &e), &e);
        return 1;
    }
    size_t n;
    const char *text = luaL_optlstring(L, 1, "", &n);
    int64_t length = (int64_t)n;
    check(L, ranks_broadcast(c, from, sizeof length, &length, &e), &e);
    char *all = lua_newuserdatauv(L, (size_t)length + 1, 0);
    if (ranks_rank() == from) memcpy(all, text, n);
    check(L, ranks_broadcast(c, from, (size_t)length, all, &e), &e);
    lua_pushlstring(L, all, (size_t)length);
    return 1;
}

static int ranks_fail_(lua_State *L) { /* fail(text): this rank failed; an error where not all of them did */
    err e = { 0 };
    check(L, ranks_fail(bind_ctx(L), luaL_checkstring(L, 1), &e), &e);
    return 0;
}

void bind_ranks_internal(lua_State *L) {
    static const bind_row rows[] = {
        { "open", ranks_open_, NULL },     { "sum", ranks_sum_, NULL },
        { "reduce", ranks_reduce_, NULL }, { "copy", ranks_copy_, NULL },
        { "gather", ranks_gather_, NULL }, { "launched", ranks_launched_, NULL },
        { "fail", ranks_fail_, NULL },     { "broadcast", ranks_broadcast_, NULL },
        { NULL, NULL, NULL },
    };
    lua_newtable(L);
    bind_rows(L, rows);
    lua_setfield(L, -2, "ranks");
}

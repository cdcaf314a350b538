/* tensor_value.c - the tensor userdata: state of the binding, values in and out, and the one path on which every
 * operation runs (bind_tensor_apply). Invariant: a traced tensor's graph is touched only while its trace is under way,
 * which is known from the state's list of live traces and never from the tensor's own pointer. */
#include "tensor_value.h"
#include "args.h"
#include <string.h>

static const char STATE_KEY = 0; /* its address is the registry key */

bind_state *bind_state_of(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &STATE_KEY);
    bind_state *st = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return st;
}

static int state_gc(lua_State *L) {
    bind_state *st = lua_touserdata(L, 1);
    for (int i = 0; i <= EAGER_SLOTS; i++) {
        plan_free(st->slots[i].p);
        st->slots[i].p = NULL;
    }
    return 0;
}

void bind_state_new(lua_State *L) {
    bind_state *st = lua_newuserdatauv(L, sizeof *st, 0);
    memset(st, 0, sizeof *st);
    st->c = bind_ctx(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    st->main = lua_tothread(L, -1);
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, state_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &STATE_KEY);
}

/* ---- memory and the collector ---- */

static int no_op(lua_State *L) {
    (void)L;
    return 0;
}

/* Lua calls a finalizer once: one that finds no room for its call loses what it owns. So none is called without. What
 * was finalized goes with the next collection: it would pass for living, and the more of it the later the next one. */
static void collect(lua_State *L) {
    lua_pushcfunction(L, no_op);
    if (lua_pcall(L, 0, 0, 0) == LUA_OK) {
        lua_gc(L, LUA_GCCOLLECT);
        lua_gc(L, LUA_GCCOLLECT);
    } else {
        lua_pop(L, 1);
    }
}

void bind_collect(lua_State *L) {
    bind_state *st = bind_state_of(L);
    collect(L);
    mem_block_flush(st->c);
    st->live_bytes = atomic_load(&st->c->used);
    st->live_heap = (size_t)lua_gc(L, LUA_GCCOUNT) << 10;
}

/* Lua sees a userdata of 200 bytes where a tensor may hold 200 MB, or a function a compiled plan. So a full collection
 * whenever what came since the last one outweighs a few times what Lua's own heap held then: going over that heap costs
 * about a tenth of filling the data. It is before what is to come, where that is known: results that nobody holds any
 * more are written again, in memory the caches still know. */
void bind_account(lua_State *L, size_t coming) {
    bind_state *st = bind_state_of(L);
    size_t used = atomic_load_explicit(&st->c->used, memory_order_relaxed) + coming;
    if (used < st->live_bytes) st->live_bytes = used;
    size_t fresh = used - st->live_bytes, bound = (size_t)1 << 20;
    if (fresh < bound) return;
    size_t heap = (size_t)lua_gc(L, LUA_GCCOUNT) << 10;
    if (heap < st->live_heap || st->live_heap == 0) st->live_heap = heap;
    if (bound < 8 * st->live_heap) bound = 8 * st->live_heap;
    if (st->c->limit && bound > st->c->limit / 4) bound = st->c->limit / 4;
    if (fresh < bound) return;
    collect(L);
    st->live_bytes = atomic_load(&st->c->used) + coming;
    st->live_heap = (size_t)lua_gc(L, LUA_GCCOUNT) << 10;
}

/* ---- values in and out ---- */

lua_tensor *bind_tensor_push_empty(lua_State *L) {
    lua_tensor *u = lua_newuserdatauv(L, sizeof *u, 0);
    memset(u, 0, sizeof *u);
    luaL_setmetatable(L, BIND_TENSOR);
    return u;
}

static int push_empty_protected(lua_State *L) {
    bind_tensor_push_empty(L);
    return 1;
}

void bind_push_tensor(lua_State *L, tensor *t) {
    if (!lua_checkstack(L, 8)) {
        tensor_release(t);
        luaL_error(L, "too many values on the Lua stack");
    }
    lua_pushcfunction(L, push_empty_protected);
    if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
        tensor_release(t);
        lua_error(L);
    }
    lua_tensor *u = lua_touserdata(L, -1);
    u->value = *t;
    t->store = NULL;
    bind_account(L, 0);
}

void bind_tensor_push_view(lua_State *L, const tensor *view) {
    lua_tensor *u = bind_tensor_push_empty(L);
    u->value = *view;
    tensor_retain(&u->value);
}

void bind_tensor_push_node(lua_State *L, graph *g, node *n) {
    lua_tensor *u = bind_tensor_push_empty(L);
    u->g = g;
    u->n = n;
    u->trace = graph_id(g);
}

tensor *bind_tensor_push_new(lua_State *L, bk_dtype dtype, int ndim, const int64_t *shape, const char *fname) {
    bind_state *st = bind_state_of(L);
    lua_tensor *u = bind_tensor_push_empty(L);
    err e = { 0 };
    if (tensor_new(st->c, dtype, ndim, shape, &u->value, &e) == BK_ENOMEM) {
        bind_collect(L);
        err_clear(&e);
        tensor_new(st->c, dtype, ndim, shape, &u->value, &e);
    }
    if (e.status) {
        err_prefix(&e, fname);
        bind_raise(L, &e);
    }
    bind_account(L, 0);
    return &u->value;
}

void bind_tensor_push_scalar(lua_State *L, double x) {
    tensor *t = bind_tensor_push_new(L, BK_FLOAT64, 0, NULL, "bk.tensor");
    *(double *)tensor_data(t) = x;
}

bool bind_tensor_live(const bind_state *st, const lua_tensor *t) {
    if (!t->g) return true;
    for (const bind_live *l = st->live; l; l = l->outer)
        if (l->g == t->g && graph_id(l->g) == t->trace) return true;
    return false;
}

lua_tensor *bind_tensor_arg(lua_State *L, int index, const char *fname, const char *argument) {
    lua_tensor *t = bind_tensor_test(L, index);
    if (!t) args_fail(L, index, fname, argument, "a tensor");
    if (t->g && !bind_tensor_live(bind_state_of(L), t))
        args_error(L, fname,
                   "%s: this tensor belongs to a trace that is over; return values from the traced function "
                   "instead of storing them",
                   argument);
    return t;
}

lua_tensor *bind_tensor_concrete(lua_State *L, int index, const char *fname, const char *argument) {
    lua_tensor *t = bind_tensor_arg(L, index, fname, argument);
    if (t->g)
        args_error(L, fname,
                   "not while tracing: the function is being turned into a graph, and this tensor has no "
                   "value yet (a choice by value is bk.where; a fixed number comes in as a Lua number)");
    return t;
}

const tensor *bind_check_tensor(lua_State *L, int index, const char *fname, const char *argument) {
    return &bind_tensor_concrete(L, index, fname, argument)->value;
}

int bind_tensor_ndim(const lua_tensor *t) {
    return t->g ? t->n->ndim : t->value.ndim;
}
const int64_t *bind_tensor_shape(const lua_tensor *t) {
    return t->g ? t->n->shape : t->value.shape;
}
bk_dtype bind_tensor_dtype(const lua_tensor *t) {
    return t->g ? t->n->dtype : t->value.dtype;
}

/* ---- the one path of every operation ---- */

/* Raises e in the call's name: what a call is made of, sub of add and log_softmax of logsumexp, has its own. */
static int raise_in_name(lua_State *L, const op_call *call, err *e) {
    const size_t n = strcspn(e->text, ": ");
    if (e->status == BK_EINTERRUPTED || strncmp(call->name, "bk.", 3) != 0) return bind_raise(L, e);
    if (strncmp(e->text, "bk.", 3) == 0 && e->text[n] == ':')
        memmove(e->text, e->text + n + 2, strlen(e->text + n) - 1);
    err_prefix(e, call->name);
    return bind_raise(L, e);
}

static int apply_traced(lua_State *L, graph *g, const op_call *call, int n_in, lua_tensor *const *in) {
    const bool failed = graph_failed(g);
    node *out[CALL_RESULTS] = { NULL };
    node **v = graph_alloc(g, sizeof *v * (size_t)(n_in ? n_in : 1));
    for (int i = 0; v && i < n_in; i++) v[i] = in[i]->g ? in[i]->n : graph_const(g, &in[i]->value);
    err e = { 0 };
    if (v && !graph_failed(g)) call->build(g, call, n_in, v, out);
    if (failed) graph_status(g, &e), bind_raise(L, &e); /* an earlier call, whose error was caught */
    if (graph_status(g, &e)) raise_in_name(L, call, &e);
    for (int i = 0; i < call->n_out; i++) bind_tensor_push_node(L, g, out[i]);
    return call->n_out;
}

static bk_status eager_compile(bind_state *st, const op_call *call, int n_in, lua_tensor *const *in, eager_slot *s,
                               err *e) {
    graph *g = ops_graph(st->c);
    if (!g) return err_nomem(e, sizeof(node));
    node *out[CALL_RESULTS] = { NULL };
    node **v = graph_alloc(g, sizeof *v * (size_t)(n_in ? n_in : 1));
    for (int i = 0; v && i < n_in; i++)
        v[i] = graph_input(g, in[i]->value.dtype, in[i]->value.ndim, in[i]->value.shape);
    if (v && !graph_failed(g)) call->build(g, call, n_in, v, out);
    bk_status status = graph_status(g, e);
    if (!status) status = plan_new(g, n_in, v, call->n_out, out, NULL, &s->p, e);
    for (int i = 0; !status && i < call->n_out; i++) s->out[i] = *out[i];
    s->n_out = call->n_out;
    graph_free(g);
    return status;
}

static int eager_key(const op_call *call, int n_in, lua_tensor *const *in, uint64_t *key) {
    int n = 0, need = 6 + call->n_ints + n_in;
    for (int i = 0; i < n_in; i++) need += in[i]->value.ndim;
    if (need > EAGER_KEY) return 0;
    key[n++] = (uint64_t)(uintptr_t)call->build; /* a function's address as a number: POSIX has it so */
    key[n++] = (uint64_t)(uintptr_t)call->what;
    key[n++] = (uint64_t)call->n_ints << 32 | (uint64_t)n_in;
    memcpy(&key[n++], &call->x, sizeof call->x);
    for (int i = 0; i < call->n_ints; i++) key[n++] = (uint64_t)call->ints[i];
    for (int i = 0; i < n_in; i++) {
        const tensor *t = &in[i]->value;
        key[n++] = (uint64_t)t->dtype << 8 | (uint64_t)t->ndim;
        for (int d = 0; d < t->ndim; d++) key[n++] = (uint64_t)t->shape[d];
    }
    return n;
}

static eager_slot *eager_find(bind_state *st, const uint64_t *key, int n) {
    uint64_t h = 0;
    for (int i = 0; i < n; i++) {
        h = (h ^ key[i]) * 0x9E3779B97F4A7C15u;
        h ^= h >> 32;
    }
    return &st->slots[n ? h % EAGER_SLOTS : EAGER_SLOTS];
}

enum { APPLY_FEW = 4 };

static bk_status apply_run(bind_state *st, eager_slot *s, int n_in, lua_tensor *const *in, tensor *held,
                           const void **data, lua_tensor *const *out, err *e) {
    bk_status status = BK_OK;
    void *room[CALL_RESULTS];
    int n_held = 0;
    for (int i = 0; !status && i < n_in; i++, n_held++) {
        held[i].store = NULL;
        status = tensor_contiguous_as(&in[i]->value, in[i]->value.dtype, &held[i], e);
        if (!status) data[i] = tensor_data(&held[i]);
    }
    for (int i = 0; !status && i < s->n_out; i++) {
        status = tensor_new(st->c, s->out[i].dtype, s->out[i].ndim, s->out[i].shape, &out[i]->value, e);
        if (!status) room[i] = tensor_data(&out[i]->value);
    }
    if (!status) status = plan_run(s->p, data, room, e);
    for (int i = 0; i < n_held; i++) tensor_release(&held[i]);
    if (status)
        for (int i = 0; i < s->n_out; i++) tensor_release(&out[i]->value);
    return status;
}

int bind_tensor_apply(lua_State *L, const op_call *call, int n_in, lua_tensor *const *in) {
    bind_state *st = bind_state_of(L);
    graph *g = NULL;
    luaL_checkstack(L, 8, call->name);
    for (int i = 0; i < n_in; i++) {
        if (!in[i]->g) continue;
        if (g && g != in[i]->g) return args_error(L, call->name, "the operands belong to two different traces");
        g = in[i]->g;
    }
    for (int i = 0; i < n_in && !g && st->live; i++) /* the host may change it before the next call */
        if (in[i]->value.store->borrowed) g = st->live->g;
    if (g) return apply_traced(L, g, call, n_in, in);

    tensor few_held[APPLY_FEW], *held = few_held;
    const void *few_data[APPLY_FEW], **data = few_data;
    lua_tensor *out[CALL_RESULTS] = { NULL };
    int scratch = 0;
    if (n_in > APPLY_FEW) { /* below the results, removed at the end */
        held = lua_newuserdatauv(L, (sizeof *held + sizeof *data) * (size_t)n_in, 0);
        data = (const void **)(held + n_in);
        scratch = lua_gettop(L);
    }
    for (int i = 0; i < call->n_out; i++) out[i] = bind_tensor_push_empty(L);

    uint64_t key[EAGER_KEY];
    int n_key = eager_key(call, n_in, in, key);
    eager_slot *s = eager_find(st, key, n_key);
    err e = { 0 };
    for (int attempt = 0; attempt < 2; attempt++) {
        bk_status status = BK_OK;
        err_clear(&e);
        if (!s->p || !n_key || s->n_key != n_key || memcmp(s->key, key, sizeof *key * (size_t)n_key)) {
            plan_free(s->p);
            s->p = NULL;
            s->n_key = 0;
            status = eager_compile(st, call, n_in, in, s, &e);
            if (!status) {
                s->n_key = n_key;
                memcpy(s->key, key, sizeof *key * (size_t)n_key);
            }
        }
        if (!status) status = apply_run(st, s, n_in, in, held, data, out, &e);
        if (s->p && (!n_key || plan_info(s->p).arena_bytes > (size_t)1 << 20)) {
            plan_free(s->p); /* large arenas are not kept */
            s->p = NULL;
        }
        if (status != BK_ENOMEM || attempt) break;
        bind_collect(L);
    }
    if (e.status) raise_in_name(L, call, &e);
    bind_account(L, 0);
    if (scratch) lua_remove(L, scratch);
    return call->n_out;
}

/* func_value.c - see func_value.h: tracing, the userdata, transforms, arguments that are no tensors. A traced Lua
 * function finds its Lua value through a weak table by number; the userdata holds the value, so cycles through upvalues
 * stay collectable. Should C keep the func longer than the userdata lives, the userdata's finalizer moves the value to
 * a strong table until the func is released. */
#include "func_lua.h"
#include "args.h"
#include "func_watch.h"
#include <string.h>

enum { UV_BASE = 1, UV_OTHER, UV_VARIANTS, UVS = 3, VARIANTS_KEPT = 16 };

/* addresses as registry keys; their tables exist before any of them is used from below */
static const char RECORDS = 0, IDS = 0, STRONG = 0, WRAPPED = 0, TRANSFORMS = 0, RAISED = 0, WATCHED_KEY = 0;

typedef struct lua_fn {
    func base;
    bind_state *st;
    lua_Integer id;
    bool strong;
    graph_source *source; /* what its function reads from outside: the record's list `watch` */
    int watched;          /* -1: no list yet */
} lua_fn;

/* ---- tracing ---- */

bind_trace bind_enter(lua_State *L) {
    bind_state *st = bind_state_of(L);
    bind_trace at = { st->running };
    st->running = L;
    st->raised = false;
    return at;
}

void bind_leave(lua_State *L, const bind_trace *at, bk_status status, const err *e) {
    bind_state *st = bind_state_of(L);
    st->running = at->before;
    if (status == BK_OK) return;
    if (st->raised) { /* the Lua function's own error value, with its position */
        st->raised = false;
        lua_rawgetp(L, LUA_REGISTRYINDEX, &RAISED);
        lua_pushboolean(L, 0);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &RAISED);
        lua_error(L);
    }
    err copy = { status, "failed" };
    bind_raise(L, e && e->status ? e : &copy);
}

typedef struct trace_job {
    lua_fn *f;
    graph *g;
    int n_in;
    node *const *in;
    node_list *out;
} trace_job;

static void push_record(lua_State *L, lua_fn *f) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, f->strong ? &STRONG : &RECORDS);
    lua_rawgeti(L, -1, f->id);
    lua_remove(L, -2);
    if (!lua_isnil(L, -1)) return;
    /* The userdata is dead and its finalizer has not run: weak values are cleared before that, weak keys after it. */
    lua_rawgetp(L, LUA_REGISTRYINDEX, &IDS);
    lua_replace(L, -2);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        if (lua_tointeger(L, -1) == f->id) {
            lua_pop(L, 1);
            lua_remove(L, -2);
            return;
        }
    lua_pushnil(L);
    lua_remove(L, -2);
}

/* ---- what it reads from outside ---- */

/* Called before a plan is used again: what has changed since the function was traced makes a new generation. */
static uint64_t source_look(graph_source *s) {
    lua_fn *f = s->owner;
    bind_state *st = f->st;
    lua_State *L = st->running ? st->running : st->main;
    if (f->watched <= 0 || st->live || !lua_checkstack(L, 12)) return s->generation;
    const int top = lua_gettop(L);
    push_record(L, f);
    if (lua_istable(L, -1)) {
        lua_rawgetp(L, -1, &WATCHED_KEY);
        if (!bind_watch_holds(L, top + 2, f->watched)) {
            s->generation++;
            f->watched = -1;
        }
    }
    lua_settop(L, top);
    return s->generation;
}

static void source_free(graph_source *s) {
    ctx *c = s->owner;
    mem_free(c, s, sizeof *s);
    ctx_release(c);
}

/* Pushes the values of the record at 2 and the nodes in the places that mask gives them, further nodes behind; how
 * many. */
static int push_arguments(lua_State *L, const trace_job *job, const char *mask) {
    const int n_mask = (int)strlen(mask);
    int n = 0, taken = 0;
    luaL_checkstack(L, n_mask + job->n_in + 8, "too many arguments");
    for (; n < n_mask || taken < job->n_in; n++) {
        if (n < n_mask && mask[n] == 's')
            lua_rawgeti(L, 2, n + 1);
        else if (taken < job->n_in)
            bind_tensor_push_node(L, job->g, job->in[taken++]);
        else
            return luaL_error(L, "expected more tensors than %d", job->n_in);
    }
    return n;
}

/* Result i, from 1, of the function at `where`, at index. */
static node *result_node(lua_State *L, const trace_job *job, const lua_Debug *where, int i, int index) {
    lua_tensor *t = bind_tensor_test(L, index);
    if (lua_type(L, index) == LUA_TNUMBER) {
        bk_dtype d = job->n_in && job->in[0]->dtype == BK_FLOAT32 ? BK_FLOAT32 : BK_FLOAT64;
        return g_full(job->g, d, 0, NULL, lua_tonumber(L, index));
    }
    if (t && !t->g) return graph_const(job->g, &t->value);
    if (t && t->g == job->g && bind_tensor_live(job->f->st, t)) return t->n;
    const char *why = " belongs to another trace";
    if (!t) why = lua_pushfstring(L, ": expected a tensor, got %s", args_got(L, index));
    lua_pushfstring(L, "%s:%d: result %d of this function%s", where->short_src, where->linedefined, i, why);
    bind_raise_placed(L, BK_EINVAL);
    return NULL;
}

/* Protected: calls the function on nodes and collects what it returns. */
static int trace_body(lua_State *L) {
    trace_job *job = lua_touserdata(L, 1);
    push_record(L, job->f); /* 2 */
    if (!lua_istable(L, 2)) return luaL_error(L, "the Lua function of this func is gone");
    lua_getfield(L, 2, "f");
    const char *mask = lua_getfield(L, 2, "mask") == LUA_TSTRING ? lua_tostring(L, -1) : "";
    lua_insert(L, 3); /* mask 3, function 4 */
    const int n_args = push_arguments(L, job, mask);
    lua_Debug where = { 0 };
    lua_pushvalue(L, 4);
    if (lua_isfunction(L, -1))
        lua_getinfo(L, ">S", &where);
    else {
        lua_pop(L, 1);
        strcpy(where.short_src, "callable");
    }
    const bool first = job->f->watched < 0;
    int watched = 0;
    if (first) {
        watched = bind_watch_push(L, 4, 2, (int)strlen(mask));
        lua_rawsetp(L, 2, &WATCHED_KEY);
    }
    lua_call(L, n_args, LUA_MULTRET);
    if (first) { /* what tracing set is no change: a counter, a cache */
        lua_rawgetp(L, 2, &WATCHED_KEY);
        job->f->watched = bind_watch_settle(L, lua_gettop(L), watched);
        lua_pop(L, 1);
    }
    int n_out = lua_gettop(L) - 3;
    if (n_out == 0) {
        lua_pushfstring(L, "%s:%d: this function returned nothing; expected a tensor", where.short_src,
                        where.linedefined);
        return bind_raise_placed(L, BK_EINVAL);
    }
    node **v = graph_alloc(job->g, sizeof *v * (size_t)n_out);
    if (!v) return luaL_error(L, "out of memory");
    for (int i = 0; i < n_out; i++) v[i] = result_node(L, job, &where, i + 1, 4 + i);
    job->out->n = n_out;
    job->out->v = v;
    return 0;
}

static bool lua_fn_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    lua_fn *f = (lua_fn *)self;
    bind_state *st = f->st;
    lua_State *L = st->running ? st->running : st->main;
    bind_live live = { g, st->live };
    graph_depends(g, f->source);
    trace_job job = { f, g, n_in, in, out };
    if (!lua_checkstack(L, 8)) {
        graph_fail(g, BK_ENOMEM, "too many nested calls");
        return false;
    }
    st->live = &live;
    lua_pushcfunction(L, trace_body);
    lua_pushlightuserdata(L, &job);
    int rc = lua_pcall(L, 1, 0, 0);
    st->live = live.outer;
    if (rc == LUA_OK) return !graph_failed(g);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error value that is no string";
    graph_fail(g, rc == LUA_ERRMEM ? BK_ENOMEM : BK_ERUNTIME, "%s", text);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &RAISED); /* the key exists: allocates nothing */
    st->raised = true;
    return false;
}

static void lua_fn_destroy(func *self) {
    lua_fn *f = (lua_fn *)self;
    if (f->source) { /* plans may hold it still: it changes no more */
        f->source->look = NULL;
        f->source->owner = self->c;
        source_release(f->source);
    }
    lua_State *L = f->st->main;
    if (!lua_checkstack(L, 4)) return;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &STRONG);
    lua_pushnil(L);
    lua_rawseti(L, -2, f->id);
    lua_pop(L, 1);
}

static const func_class lua_fn_class = { "Lua function", lua_fn_build, lua_fn_destroy };

void bind_push_traced(lua_State *L, const func *f) {
    if (f->cls != &lua_fn_class) {
        lua_pushnil(L);
        return;
    }
    push_record(L, (lua_fn *)f);
    if (!lua_istable(L, -1)) return;
    lua_getfield(L, -1, "f");
    lua_remove(L, -2);
}

/* ---- the userdata ---- */

static lua_func *push_empty(lua_State *L, func_kind kind) {
    lua_func *u = lua_newuserdatauv(L, sizeof *u, UVS);
    *u = (lua_func){ .kind = kind };
    luaL_setmetatable(L, BIND_FUNC);
    return u;
}

static int push_empty_protected(lua_State *L) {
    push_empty(L, KIND_NATIVE);
    return 1;
}

void bind_push_func(lua_State *L, func *f) {
    if (!f) luaL_error(L, "out of memory");
    if (!lua_checkstack(L, 8)) {
        func_release(f);
        luaL_error(L, "too many values on the Lua stack");
    }
    lua_pushcfunction(L, push_empty_protected);
    if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
        func_release(f);
        lua_error(L);
    }
    ((lua_func *)lua_touserdata(L, -1))->f = f;
}

void bind_push_func_over(lua_State *L, func *f, int index) {
    index = lua_absindex(L, index);
    bind_push_func(L, f);
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, UV_BASE);
}

static lua_func *test(lua_State *L, int index) {
    lua_func *u = luaL_testudata(L, index, BIND_FUNC);
    return u && u->f ? u : NULL;
}

func *bind_test_func(lua_State *L, int index) {
    lua_func *u = test(L, index);
    return u ? u->f : NULL;
}

static int m_gc(lua_State *L) {
    lua_func *u = luaL_testudata(L, 1, BIND_FUNC);
    if (!u || !u->f) return 0;
    func *f = u->f;
    u->f = NULL;
    if (u->kind == KIND_LUA && atomic_load(&f->refs) > 1) {
        lua_fn *fn = (lua_fn *)f;
        lua_rawgetp(L, LUA_REGISTRYINDEX, &STRONG);
        lua_getiuservalue(L, 1, UV_BASE);
        lua_rawseti(L, -2, fn->id);
        fn->strong = true;
    }
    func_release(f);
    return 0;
}

/* A new traced function over the record on top of the stack, which stays below it. */
static void push_lua_fn(lua_State *L) {
    bind_state *st = bind_state_of(L);
    int record = lua_gettop(L);
    lua_func *u = push_empty(L, KIND_LUA);
    lua_pushvalue(L, record);
    lua_setiuservalue(L, -2, UV_BASE);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &RECORDS);
    lua_Integer id = (lua_Integer)++st->serial;
    lua_pushvalue(L, record);
    lua_rawseti(L, -2, id);
    lua_pop(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &IDS);
    lua_pushvalue(L, record);
    lua_pushinteger(L, id);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    err e = { 0 };
    lua_fn *f = func_new(st->c, &lua_fn_class, sizeof *f, &e);
    if (!f) bind_raise(L, &e);
    f->st = st;
    f->id = id;
    f->watched = -1;
    u->f = &f->base;
    graph_source *source = mem_zalloc(st->c, sizeof *source);
    if (!source) {
        err_nomem(&e, sizeof *source);
        bind_raise(L, &e);
    }
    ctx_retain(st->c);
    *source = (graph_source){ .look = source_look, .free = source_free, .owner = f };
    atomic_init(&source->refs, 1);
    f->source = source;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &STRONG);
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, id); /* its place, for a finalizer must not allocate */
    lua_pop(L, 1);
}

static bool callable(lua_State *L, int index) {
    if (lua_isfunction(L, index)) return true;
    if (!luaL_getmetafield(L, index, "__call")) return false;
    lua_pop(L, 1);
    return true;
}

func *bind_check_func(lua_State *L, int index, const char *fname, const char *argument) {
    index = lua_absindex(L, index);
    lua_func *u = test(L, index);
    if (u) return u->f;
    if (!callable(L, index)) args_fail(L, index, fname, argument, "a function of tensors");
    lua_rawgetp(L, LUA_REGISTRYINDEX, &WRAPPED);
    lua_pushvalue(L, index);
    if (lua_rawget(L, -2) != LUA_TUSERDATA) {
        lua_pop(L, 1);
        lua_createtable(L, 0, 1);
        lua_pushvalue(L, index);
        lua_setfield(L, -2, "f");
        push_lua_fn(L);
        lua_remove(L, -2);
        lua_pushvalue(L, index);
        lua_pushvalue(L, -2);
        lua_rawset(L, -4);
    }
    lua_replace(L, index);
    lua_pop(L, 1);
    return test(L, index)->f;
}

/* ---- transforms, one per operand ---- */

static func *make(func_kind kind, func *f, func *other, const func_how *how, err *e) {
    switch (kind) {
    case KIND_GRAD:
        return func_grad(f, e);
    case KIND_VALUE_AND_GRAD:
        return func_value_and_grad(f, e);
    case KIND_HVP:
        return func_hvp(f, e);
    case KIND_HESSIAN:
        return func_hessian(f, e);
    case KIND_VMAP:
        return func_vmap(f, how->n, how->axes, e);
    case KIND_JVP:
        return func_jvp(f, e);
    case KIND_VJP:
        return func_vjp(f, how->n, e);
    case KIND_LIE:
        return func_lie(f, other, e);
    case KIND_COMPILE:
        return func_compile(f, (size_t)how->memory, e);
    default:
        err_set(e, BK_EINVAL, "not a transform");
        return NULL;
    }
}

/* table[key], a table with weak keys made when missing; replaces the table on top */
static void weak_subtable(lua_State *L, int key) {
    lua_pushvalue(L, key);
    if (lua_rawget(L, -2) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        bind_weak(L, "k");
        lua_pushvalue(L, key);
        lua_pushvalue(L, -2);
        lua_rawset(L, -4);
    }
    lua_remove(L, -2);
}

void bind_func_transform(lua_State *L, func_kind kind, int index, int second, const func_how *how) {
    static const func_how nothing;
    char key[2 + FUNC_ARGUMENTS + sizeof how->memory] = { (char)kind };
    if (!how) how = &nothing;
    key[1] = (char)how->n;
    memcpy(key + 2, how->axes, sizeof how->axes);
    memcpy(key + 2 + FUNC_ARGUMENTS, &how->memory, sizeof how->memory);
    index = lua_absindex(L, index);
    luaL_checkstack(L, 12, "func");
    lua_pushlstring(L, key, sizeof key);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &TRANSFORMS);
    weak_subtable(L, lua_gettop(L) - 1);
    lua_remove(L, -2);
    if (kind == KIND_LIE) weak_subtable(L, second);
    lua_pushvalue(L, index);
    if (lua_rawget(L, -2) == LUA_TUSERDATA) {
        lua_remove(L, -2);
        return;
    }
    lua_pop(L, 1);
    lua_func *u = push_empty(L, kind);
    u->how = *how;
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, UV_BASE);
    if (kind == KIND_LIE) {
        lua_pushvalue(L, second);
        lua_setiuservalue(L, -2, UV_OTHER);
    }
    err e = { 0 };
    u->f = make(kind, test(L, index)->f, kind == KIND_LIE ? test(L, second)->f : NULL, how, &e);
    if (!u->f) bind_raise(L, &e);
    lua_pushvalue(L, index);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
    lua_remove(L, -2);
}

/* Pushes the table, with weak keys, that holds under the func at `last` what was made of it and of the list before. */
static void push_kept(lua_State *L, const char *name, int funcs) {
    const lua_Integer n = (lua_Integer)lua_rawlen(L, funcs);
    luaL_checkstack(L, 12, "func");
    lua_pushfstring(L, "%s of %I", name, n);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &TRANSFORMS);
    weak_subtable(L, lua_gettop(L) - 1);
    lua_remove(L, -2);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, funcs, i);
        lua_insert(L, -2);
        weak_subtable(L, lua_gettop(L) - 1);
        lua_remove(L, -2);
    }
}

func *bind_func_kept(lua_State *L, const char *name, int funcs, int last) {
    push_kept(L, name, funcs);
    lua_pushvalue(L, last);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    lua_func *u = test(L, -1);
    if (u) return u->f;
    lua_pop(L, 1);
    return NULL;
}

void bind_func_keep(lua_State *L, const char *name, int funcs, int last) {
    const int value = lua_gettop(L);
    push_kept(L, name, funcs);
    lua_pushvalue(L, last);
    lua_pushvalue(L, value);
    lua_rawset(L, -3);
    lua_settop(L, value);
}

/* ---- arguments that are no tensors ---- */

/* Whether every function below this one is traced Lua, which alone can take other values. */
static bool takes_values(lua_State *L, int index) {
    lua_func *u = test(L, index);
    if (u->kind == KIND_LUA) return true;
    if (u->kind == KIND_NATIVE) return false;
    lua_getiuservalue(L, index, UV_BASE);
    bool ok = test(L, -1) && takes_values(L, lua_gettop(L));
    lua_pop(L, 1);
    if (ok && u->kind == KIND_LIE) {
        lua_getiuservalue(L, index, UV_OTHER);
        ok = test(L, -1) && takes_values(L, lua_gettop(L));
        lua_pop(L, 1);
    }
    return ok;
}

static bool same_variant(lua_State *L, int a, int b, const char *mask) {
    lua_getfield(L, a, "mask");
    bool same = strcmp(lua_tostring(L, -1), mask) == 0;
    lua_pop(L, 1);
    for (int i = 0; same && mask[i]; i++) {
        if (mask[i] != 's') continue;
        lua_rawgeti(L, a, i + 1);
        lua_rawgeti(L, b, i + 1);
        same = lua_rawequal(L, -1, -2) && lua_isinteger(L, -1) == lua_isinteger(L, -2);
        lua_pop(L, 2);
    }
    return same;
}

/* The axes given for tensors; the others' say nothing: values that are no tensors serve every place. */
static func_how axes_of_tensors(const func_how *all, const char *mask) {
    func_how how = { 0 };
    for (int i = 0; i < all->n && mask[i]; i++)
        if (mask[i] == 't') how.axes[how.n++] = all->axes[i];
    return how;
}

/* Pushes the variant that `list` keeps for `given`, or nothing. */
static bool push_kept_variant(lua_State *L, int list, int given, const char *mask) {
    for (lua_Integer i = (lua_Integer)lua_rawlen(L, list); i >= 1; i--) {
        lua_rawgeti(L, list, i);
        lua_getfield(L, -1, "given");
        const bool same = same_variant(L, lua_gettop(L), given, mask);
        lua_pop(L, 1);
        if (same) lua_getfield(L, -1, "func");
        lua_remove(L, same ? -2 : -1);
        if (same) return true;
    }
    return false;
}

/* Keeps the func on top for `given`; the oldest makes room. */
static void keep_variant(lua_State *L, int list, int given) {
    const int variant = lua_gettop(L);
    lua_Integer n = (lua_Integer)lua_rawlen(L, list);
    for (lua_Integer i = 1; i < n && n >= VARIANTS_KEPT; i++) {
        lua_rawgeti(L, list, i + 1);
        lua_rawseti(L, list, i);
    }
    if (n >= VARIANTS_KEPT) n--;
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, given);
    lua_setfield(L, -2, "given");
    lua_pushvalue(L, variant);
    lua_setfield(L, -2, "func");
    lua_rawseti(L, list, n + 1);
}

/* Pushes a func of the same Lua function, with the values in their places. */
static void push_lua_variant(lua_State *L, int index, int given, const char *mask) {
    lua_createtable(L, (int)strlen(mask), 2);
    for (int i = 0; mask[i]; i++) {
        if (mask[i] != 's') continue;
        lua_rawgeti(L, given, i + 1);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushstring(L, mask);
    lua_setfield(L, -2, "mask");
    lua_getiuservalue(L, index, UV_BASE);
    lua_getfield(L, -1, "f");
    lua_setfield(L, -3, "f");
    lua_pop(L, 1);
    push_lua_fn(L);
    lua_remove(L, -2);
}

/* Of what an hvp (θ, v, rest) is given, pushes what its function (θ, rest) is. */
static void push_without_direction(lua_State *L, int given, const char *mask) {
    lua_newtable(L);
    lua_pushfstring(L, "%c%s", mask[0], mask[1] ? mask + 2 : "");
    lua_setfield(L, -2, "mask");
    for (int i = 2; mask[1] && mask[i]; i++) {
        lua_rawgeti(L, given, i + 1);
        lua_rawseti(L, -2, i);
    }
}

static void push_variant(lua_State *L, int index, int given);

/* Pushes the same transform of its functions' variants. */
static void push_transform_variant(lua_State *L, int index, int given, const char *mask) {
    const lua_func *u = test(L, index);
    const int top = lua_gettop(L);
    if (u->kind == KIND_HVP) {
        push_without_direction(L, given, mask);
        given = lua_gettop(L);
    }
    lua_getiuservalue(L, index, UV_BASE);
    push_variant(L, lua_gettop(L), given);
    const int inner = lua_gettop(L);
    if (u->kind == KIND_LIE) {
        lua_getiuservalue(L, index, UV_OTHER);
        push_variant(L, lua_gettop(L), given);
    }
    const func_how how = u->kind == KIND_VMAP ? axes_of_tensors(&u->how, mask) : u->how;
    bind_func_transform(L, u->kind, inner, lua_gettop(L), &how);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

/* Pushes the variant of the func userdata at index for the values in table `given` ({mask = "tst", [2] = v}). */
static void push_variant(lua_State *L, int index, int given) {
    luaL_checkstack(L, 16, "func");
    lua_getfield(L, given, "mask");
    const char *mask = lua_tostring(L, -1); /* kept by `given` */
    lua_pop(L, 1);
    if (lua_getiuservalue(L, index, UV_VARIANTS) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, index, UV_VARIANTS);
    }
    const int list = lua_gettop(L);
    if (!push_kept_variant(L, list, given, mask)) {
        if (test(L, index)->kind == KIND_LUA) push_lua_variant(L, index, given, mask);
        else push_transform_variant(L, index, given, mask);
        keep_variant(L, list, given);
    }
    lua_remove(L, list);
}

/* Pushes the values from first to last that are no tensors by their places, with the mask that says which those are. */
static void push_given(lua_State *L, int first, int last) {
    luaL_Buffer b;
    lua_createtable(L, last - first + 1, 1);
    luaL_buffinit(L, &b);
    for (int i = first; i <= last; i++) luaL_addchar(&b, bind_tensor_test(L, i) ? 't' : 's');
    luaL_pushresult(&b);
    lua_setfield(L, -2, "mask");
    for (int i = first; i <= last; i++) {
        if (bind_tensor_test(L, i)) continue;
        lua_pushvalue(L, i);
        lua_rawseti(L, -2, i - first + 1);
    }
}

int bind_func_specialise(lua_State *L, int index, int first, int last, const char *fname) {
    index = lua_absindex(L, index);
    while (last >= first && lua_isnil(L, last)) last--; /* f(θ, nil) is f(θ) */
    lua_settop(L, last);
    bool values = takes_values(L, index), any = false, mapped = false;
    lua_func *u = test(L, index);
    for (int i = first; i <= last; i++) mapped = mapped || lua_type(L, i) == LUA_TNUMBER || bind_tensor_test(L, i);
    for (int i = first; i <= last; i++) {
        bool number = lua_type(L, i) == LUA_TNUMBER;
        if (number && (!values || i == first || (u->kind == KIND_HVP && i == first + 1))) {
            bind_tensor_push_scalar(L, lua_tonumber(L, i));
            lua_replace(L, i);
        } else if (!bind_tensor_test(L, i)) {
            any = true;
            const bool direction = u->kind == KIND_HVP && i == first + 1;
            const bool varied = direction || /* or θ, or what alone could be mapped */
                                (i == first && u->kind != KIND_LUA && (u->kind != KIND_VMAP || !mapped));
            if (!values || varied) {
                const char *argument = lua_pushfstring(L, "argument %d", i - first + 1);
                args_fail(L, i, fname, argument, "a tensor");
            }
        }
    }
    if (!any) return last - first + 1;
    push_given(L, first, last);
    push_variant(L, index, lua_gettop(L));
    lua_replace(L, index);
    lua_settop(L, last);
    int kept = first;
    for (int i = first; i <= last; i++)
        if (bind_tensor_test(L, i)) {
            lua_pushvalue(L, i);
            lua_replace(L, kept++);
        }
    lua_settop(L, kept - 1);
    return kept - first;
}

static const char *name_of(const lua_func *u) {
    return u->f ? u->f->cls->name : "func";
}

static int m_tostring(lua_State *L) {
    lua_func *u = luaL_checkudata(L, 1, BIND_FUNC);
    lua_pushfstring(L, "func %s", name_of(u));
    if (u->kind >= KIND_GRAD && u->kind < KINDS) {
        lua_getiuservalue(L, 1, UV_BASE);
        luaL_tolstring(L, -1, NULL);
        lua_pushfstring(L, "%s of %s", lua_tostring(L, 2), lua_tostring(L, -1));
    }
    return 1;
}

static void registry_table(lua_State *L, const void *key, const char *mode) {
    lua_newtable(L);
    if (mode) bind_weak(L, mode);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void bind_func_open_class(lua_State *L) {
    registry_table(L, &RECORDS, "v");
    registry_table(L, &IDS, "k");
    registry_table(L, &STRONG, NULL);
    registry_table(L, &WRAPPED, "k");
    registry_table(L, &TRANSFORMS, NULL);
    lua_pushboolean(L, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &RAISED);
    luaL_newmetatable(L, BIND_FUNC);
    args_fixed(L, "func");
    bind_finalizer(L, m_gc, "a func: see bk.grad");
    lua_pushcfunction(L, m_tostring);
    lua_setfield(L, -2, "__tostring");
}

/* env_test.c - the environment under pressure: open and close, limits, restricted mode, interrupts, and what the
 * library leaves alone. Failing allocations are alloc_test's. */
#include "check.h"
#include "src/bind/env.h"
#include <locale.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- open and close ---- */

static void test_open_close(int cycles) {
    char text[100];
    size_t before = 0;
    for (int i = 0; i < cycles; i++) {
        if (i == cycles / 10) before = memory_now(RESIDENT);
        bk_env *env = bk_open(NULL);
        if (!env) {
            check(false, "bk_open", "NULL");
            return;
        }
        if (i % 100 == 0 && bk_dostring(env, "t = bk.ones{100} t = (t * t):sum()", NULL))
            check(false, "use", bk_error(env));
        bk_close(env);
    }
    malloc_trim(0);
    size_t after = memory_now(RESIDENT);
    snprintf(text, sizeof text, "%zu to %zu bytes", before, after);
#ifdef __SANITIZE_ADDRESS__
    before = after; /* it keeps freed memory aside; its own leak check stands in */
#endif
    check(after < before + (2u << 20), "memory is flat over open and close", text);
}

/* ---- limits ---- */

static void test_open_failing(void) { /* through the limit: the context is not there before bk_open */
    bool bad = false, opened = false;
    for (size_t limit = 100; limit < (16u << 20) && !bad && !opened; limit += limit / 50 + 64) {
        bk_env *env = bk_open(&(bk_options){ .memory_limit = limit });
        opened = env != NULL;
        bk_close(env);
    }
    check(opened, "bk_open under a memory limit gives NULL until it suffices", "it never did");
}

static void test_limits(void) {
    bk_env *env = bk_open(&(bk_options){ .memory_limit = 32u << 20 });
    bk_status s = bk_dostring(env, "local t = {} for i = 1, 1e9 do t[i] = {i} end", NULL);
    check(s == BK_ENOMEM, "Lua objects meet the memory limit", bk_error(env));
    s = bk_dostring(env, "local t = bk.zeros{3000, 3000}", NULL);
    check(s == BK_ENOMEM, "tensors meet the memory limit", bk_error(env));
    check(bk_dostring(env, "assert(bk.ones{4}:sum():item() == 4)", NULL) == BK_OK, "the environment works on",
          bk_error(env));
    s = bk_dostring(env, "for k = 1, 40 do local t = bk.zeros{10000 * k} end", NULL);
    check(s == BK_OK, "tensors one after another", bk_error(env));
    check(env_ctx(env)->used + env_ctx(env)->cached <= 32u << 20, "blocks kept for reuse count too", "");
    bk_close(env);

    env = bk_open(&(bk_options){ .step_limit = 1000000 });
    check(bk_dostring(env, "for i = 1, 1000 do end", NULL) == BK_OK, "a short script is under the step limit",
          bk_error(env));
    check(bk_dostring(env, "while true do end", NULL) == BK_ELIMIT, "the step limit ends a loop", bk_error(env));
    check(bk_dostring(env, "while true do pcall(function() while true do end end) end", NULL) == BK_ELIMIT,
          "pcall does not hold it off", bk_error(env));
    check(bk_dostring(env, "coroutine.wrap(function() while true do end end)()", NULL) == BK_ELIMIT, "nor a coroutine",
          bk_error(env));
    check(bk_dostring(env, "for i = 1, 1000 do end", NULL) == BK_OK, "the next run counts from 0", bk_error(env));
    bk_close(env);
}

/* Which line of the script: of the loop itself, and of the call of what loops in the library's own Lua. */
static void test_stopped_at(void) {
    static const char *const script[] = {
        "local a = 1\nwhile true do a = a + 1 end",
        "local function f(a)\nwhile true do a = a + 1 end end\n\nf(1)",
        "local a = 1\nlocal d = bk.data.glyphs{n = 1000000, seed = a}\nprint(d)",
    };
    bk_env *env = bk_open(&(bk_options){ .step_limit = 30000 });
    for (size_t i = 0; i < sizeof script / sizeof *script; i++) {
        const char *begins = "host.lua:2: step limit of 30000 ";
        check(bk_dostring(env, script[i], "@host.lua") == BK_ELIMIT, "it is stopped", bk_error(env));
        check(strncmp(bk_error(env), begins, strlen(begins)) == 0, script[i], bk_error(env));
    }
    bk_close(env);
    for (uint64_t limit = 20; limit < 2000; limit *= 3) { /* while files of the library load */
        env = bk_open(&(bk_options){ .step_limit = limit });
        bk_dostring(env, "local a = 1\nlocal p = bk.protocol\nwhile p do end", "@host.lua");
        check(strncmp(bk_error(env), "host.lua:", 9) == 0, "stopped as it loads", bk_error(env));
        bk_close(env);
    }
}

/* ---- batches ---- */
static int64_t allocations_of(bk_env *env, const char *chunk) {
    ctx *c = env_ctx(env);
    const int64_t many = INT64_C(1) << 40;
    atomic_store(&c->fail_at, many);
    bk_status s = bk_dostring(env, chunk, "batches");
    int64_t left = atomic_load(&c->fail_at);
    atomic_store(&c->fail_at, -1);
    return s == BK_OK ? many - left : -1;
}

/* Batches are gathered into buffers that stay: a hundred of one epoch take no allocation more than one. */
static void test_batches(void) {
    bk_env *env = bk_open(NULL);
    bk_status s = bk_dostring(env, "local p = bk.protocol{ model = bk.nn.mlp{6, 3}, lr = 0.1, batch = 4, tasks = { { "
                                   "x = bk.ones{2000, 6}, y = bk.zeros({2000}, {dtype = 'int64'}) } } } "
                                   "problem = p.problem problem:start(1) collectgarbage('stop') "
                                   "function batches(n) for _ = 1, n do problem:next(1) end end", NULL);
    check(s == BK_OK, "a protocol's batches", bk_error(env));
    allocations_of(env, "batches(1)"); /* the epoch's permutation, and what Lua makes at a first call */
    int64_t one = allocations_of(env, "batches(001)"), hundred = allocations_of(env, "batches(100)");
    char text[80];
    snprintf(text, sizeof text, "1 batch: %lld allocations, 100: %lld", (long long)one, (long long)hundred);
    check(one >= 0 && one == hundred, "batches are gathered without allocation", text);
    int64_t epoch = allocations_of(env, "batches(500)"); /* a new permutation: the count does count */
    check(epoch > hundred, "a new epoch allocates its permutation", text);
    bk_close(env);
}

/* ---- restricted mode ---- */

static void write_file(const char *dir, const char *name, const char *text, size_t n) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (f) fwrite(text, 1, n, f), fclose(f);
}

static bool file_there(const char *dir, const char *name) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

typedef struct swap {
    char folder[200], link[200], at[200];
    atomic_bool over;
} swap;

static void *swap_on(void *self) { /* what is a folder now is a link outside next */
    swap *s = self;
    for (bool link = false; !atomic_load(&s->over); link = !link) {
        const char *from = link ? s->link : s->folder;
        rename(from, s->at);
        for (int i = 0; i < 200; i++) atomic_load(&s->over);
        rename(s->at, from);
    }
    return NULL;
}

/* A folder of the script is replaced by a link while its files are opened: what is read and written stays inside. */
static void test_race(const char *in, const char *out) {
    swap s = { .over = false };
    char text[1200];
    pthread_t thread;
    snprintf(s.folder, sizeof s.folder, "%s/one", in);
    snprintf(s.link, sizeof s.link, "%s/two", in);
    snprintf(s.at, sizeof s.at, "%s/now", in);
    snprintf(text, sizeof text, "mkdir %s %s/secret && ln -s %s %s && echo 5,5 > %s/t.csv", s.folder, out, out, s.link,
             s.folder);
    check(system(text) == 0, "a folder and a link", text);
    const char *folders[] = { in, NULL };
    bk_env *env = bk_open(&(bk_options){ .restricted = 1, .folders = folders });
    pthread_create(&thread, NULL, swap_on, &s);
    snprintf(text, sizeof text,
             "local read, PATH = 0, '%s'\n"
             "for i = 1, 4000 do\n"
             "    local ok, t = pcall(bk.data.csv, PATH .. '/t.csv')\n"
             "    if ok then read = read + 1 assert(t:sum():item() == 10, 'a file outside was read') end\n"
             "    pcall(bk.internal.write_file, PATH .. '/x.npy', 'x', true)\n"
             "    pcall(bk.internal.append_file, PATH .. '/x.npy', 'x', 0)\n"
             "    for _, f in ipairs{ bk.internal.look, bk.internal.folder } do\n"
             "        local found, list = pcall(f, PATH, {})\n"
             "        assert(not found or not table.concat(list, ' '):find('secret'), 'a folder outside was listed') end\n"
             "end",
             s.at);
    check(bk_dostring(env, text, "race") == BK_OK, "a race for a link outside", bk_error(env));
    atomic_store(&s.over, true);
    pthread_join(thread, NULL);
    bk_close(env);
}

/* As every other error about a file does. */
static void test_refusals_name_the_function(bk_env *env) {
    static const char *const named[][2] = {
        { "bk.load_npy('/etc/passwd')", "bk.load_npy" },
        { "bk.load_npz('/etc/passwd')", "bk.load_npz" },
        { "bk.load_safetensors('/etc/passwd')", "bk.load_safetensors" },
        { "bk.data.csv('/etc/passwd')", "bk.data.csv" },
        { "bk.data.mnist('/etc')", "bk.data.mnist" },
        { "bk.data.images('/etc')", "bk.data.images" },
        { "bk.data.cifar('/etc')", "bk.data.cifar" },
        { "bk.ones{3}:save('/etc/x.npy')", "tensor:save" },
        { "bk.save_json('/etc/x', {})", "bk.save_json" },
        { "bk.load_json('/etc/x')", "bk.load_json" },
        { "bk.save_csv('/etc/x', { a = { 1 } })", "bk.save_csv" },
        { "bk.save_safetensors('/etc/x', {})", "bk.save_safetensors" },
        { "loadfile('/etc/passwd')", "loadfile" },
        { "dofile('/etc/passwd')", "dofile" },
        { "require 'socket'", "require" },
    };
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        char begins[100];
        snprintf(begins, sizeof begins, "host:1: %s: restricted: ", named[i][1]);
        bk_dostring(env, named[i][0], "@host");
        check(strncmp(bk_error(env), begins, strlen(begins)) == 0, named[i][0], bk_error(env));
    }
}

static void test_restricted(void) {
    /* Each must run; IN is the folder given, OUT one that is not, with the same files in it. */
    static const char *const allowed[] = {
        "assert(not io and not os and not package and not debug)",
        "assert(require 'bracket' == bk and require 'string' == string)",
        "bk.ones{3}:save(IN .. '/a.npy') assert(bk.load_npy(IN .. '/a.npy'):sum():item() == 3)",
        "bk.ones{3}:save(IN .. '/sub/../b.npy') assert(bk.load_npy(IN .. '/b.npy'):count() == 3)",
        "assert(loadfile(IN .. '/ok.lua'))() assert(dofile(IN .. '/ok.lua') == 7)",
        "assert(bk.data.csv(IN .. '/t.csv'):count() == 2)",
        "assert(load('return 7')() == 7 and load(function() return nil end))",
        "assert(#bk.internal.folder(IN) > 0)",
        /* where links lead is not told */
        "local all = table.concat(bk.internal.folder(IN), ' ') .. ' '\n"
        "assert(all:find('away ') and not all:find('away/') and all:find('sub/'), all)\n"
        "assert(table.concat(bk.internal.look(IN, {}), ' '):find('sub') and\n"
        "    not table.concat(bk.internal.look(IN, {}), ' '):find('away'))",
        "assert(bk.help and bk.protocol and bk.plot and bk.data.mnist and bk.record.loss)",
        "bk.protocol{ model = bk.nn.mlp{ 64, 3, 10 }, lr = 0.1, steps = 3, batch = 5, tasks = bk.tasks.permuted{\n"
        "    data = bk.data.glyphs{ n = 20, size = 8 }, n = 2 } }:run{ progress = true }",
        "assert(select(2, pcall(bk.plot, { { y = { 1, 2 } } })):find('plot: needs io and os'))",
    };
    /* Each must raise, or return nothing, and say why. */
    static const char *const refused[] = {
        "bk.ones{3}:save(OUT .. '/x.npy')",
        "bk.ones{3}:save(IN .. '/../x.npy')",
        "bk.ones{3}:save(IN .. '/..')",
        "bk.ones{3}:save(IN .. 'x.npy')", /* a longer name than the folder's */
        "bk.ones{3}:save('bracket-relative.npy')",
        "bk.ones{3}:save(IN .. '/dangling.npy')", /* a link to a file outside that is not there yet */
        "bk.ones{3}:save(IN .. '/away/x.npy')",   /* through a link to a folder outside */
        "bk.load_npy(IN .. '/away/t.csv')",
        "bk.load_npy(IN .. '/link.csv')",
        "bk.load_npy(IN .. '/packed.npy')", /* packed.npy.gz is a link to a file outside */
        "bk.data.csv(IN .. '/packed')",
        "bk.data.csv(IN .. '/packed.gz')",
        "bk.load_npy(IN .. '/../' .. OUT:match('[^/]+$') .. '/x')",
        "bk.load_safetensors(OUT .. '/x')",
        "bk.save_safetensors(OUT .. '/x.npy', {})",
        "bk.internal.write_file(OUT .. '/x.npy', 'x')",
        "bk.internal.append_file(IN .. '/link.csv', 'x', 0)",
        "bk.internal.make_folder(OUT .. '/x.npy')",
        "bk.internal.make_folder(IN .. '/away/x.npy')",
        "bk.internal.lock(IN .. '/away/x.npy')",
        "bk.internal.lock_held(OUT .. '/ok.lua')",
        "bk.internal.file_age('/etc/passwd')",
        "bk.threads(2)",
        "setmetatable({}, { __gc = print })",
        "bk.load_npy('/etc/passwd')",
        "bk.load_npz('/etc/passwd')",
        "bk.data.idx('/etc/passwd')",
        "bk.data.csv('/etc/passwd')",
        "bk.data.csv(IN .. '/link.csv')",
        "bk.data.cifar_batch('/etc/passwd')",
        "bk.data.mnist('/etc')",
        "bk.internal.folder('/etc')",
        "loadfile('/etc/passwd')",
        "loadfile(IN .. '/away/ok.lua')",
        "dofile(OUT .. '/ok.lua')",
        "dofile(IN .. '/sub/../../' .. OUT:match('[^/]+$') .. '/ok.lua')",
        "require 'socket'",
        "require(IN .. '/bracket.so')",
    };
    static const char *const harmless[] = {
        /* without a message of their own */
        "assert(not string.dump and not ('').dump)",
        "assert(not load('\\27Lua', 'x', 'b'))",
        "assert(not load(function() return '\\27Lua' end, 'x', 'b'))",
        "assert(not loadfile(IN .. '/code.luac'))",
        "assert(not loadfile(IN .. '/code.luac', 'b'))",
        "assert(not pcall(dofile, IN .. '/code.luac'))",
        "assert(not pcall(loadfile) and not pcall(dofile))", /* standard input */
        /* nobody writes to the pipe: who waited for it would hang */
        "for _, f in ipairs{ loadfile, bk.load_npy, bk.data.csv, bk.data.idx, bk.internal.lock,\n"
        "    bk.load_safetensors } do local ok, a, b = pcall(f, IN .. '/pipe')\n"
        "    assert((b or a):find('is a pipe or a device') or (b or a):find('cannot be written'), b or a) end",
        "assert(not pcall(dofile, IN .. '/pipe'))",
        "local _, m = pcall(bk.internal.make_folder, IN .. '/new/../../' .. OUT:match('[^/]+$') .. '/x.npy/y')\n"
        "assert(m:find('restricted: '), m)",
        "local _, m = loadfile(IN .. '/none.lua') assert(m:find('No such file'), m)",
        "bk.internal.make_folder(IN .. '/new/er') bk.ones{3}:save(IN .. '/new/er/a.npy')\n"
        "assert(bk.internal.folder(IN .. '/new')[1]:find('^[.er]+/'))",
        "assert(not pcall(bk.plot, { { y = { 1, 2 } }, out = OUT .. '/x.svg' }))",
        "assert(not pcall(bk.plot, { { y = { 1, 2 } } }))",
        "local _, m = pcall(bk.runs, IN) assert(m:find('bk.runs: needs io and os'), m)",
        "assert(not pcall(function() return bk.repl.reference(OUT) end))",
    };
    char in[] = "/tmp/bracket-in-XXXXXX", out[] = "/tmp/bracket-out-XXXXXX", text[400], link[100], code[1000];
    if (!mkdtemp(in) || !mkdtemp(out)) return;
    lua_State *compiler = luaL_newstate();
    luaL_openlibs(compiler);
    size_t n = 0;
    if (luaL_dostring(compiler, "return string.dump(function() return 7 end)") == LUA_OK) {
        const char *bytes = lua_tolstring(compiler, -1, &n);
        memcpy(code, bytes, n = n < sizeof code ? n : sizeof code);
    }
    lua_close(compiler);
    const char *dirs[] = { in, out };
    for (int i = 0; i < 2; i++) {
        write_file(dirs[i], "ok.lua", "return 7", 8);
        write_file(dirs[i], "t.csv", "1,2\n", 4);
        write_file(dirs[i], "code.luac", code, n);
    }
    snprintf(text, sizeof text,
             "mkfifo %s/pipe && ln -s %s/t.csv %s/packed.gz && ln -s %s/t.csv %s/packed.npy.gz", in, out, in, out, in);
    check(system(text) == 0, "a pipe, and links to what seems packed", text);
    snprintf(text, sizeof text,
             "mkdir %s/sub && ln -s %s %s/away && ln -s %s/t.csv %s/link.csv && ln -s %s/new.npy %s/dangling.npy", in,
             out, in, out, in, out, in);
    check(system(text) == 0, "links are made", text);

    const char *folders[] = { in, "/nonexistent/folder", NULL };
    bk_env *env = bk_open(&(bk_options){ .restricted = 1, .folders = folders });
    check(env != NULL, "bk_open restricted", "NULL");
    snprintf(text, sizeof text, "IN, OUT = '%s', '%s'", in, out);
    bk_dostring(env, text, NULL);
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        check(bk_dostring(env, allowed[i], NULL) == BK_OK, allowed[i], bk_error(env));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        check(bk_dostring(env, refused[i], NULL) == BK_ERUNTIME && strstr(bk_error(env), "restricted: "), refused[i],
              bk_error(env));
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        check(bk_dostring(env, harmless[i], NULL) == BK_OK, harmless[i], bk_error(env));
    test_refusals_name_the_function(env);
    bk_close(env);
    test_race(in, out);
    check(!file_there(out, "x.npy") && !file_there(out, "new.npy") && !file_there(out, "x.svg") &&
              !file_there(out, "reference.html"),
          "nothing was written outside", out);

    env = bk_open(&(bk_options){ .restricted = 1 });
    check(bk_dostring(env, "loadfile('/tmp/x')", NULL) == BK_ERUNTIME && strstr(bk_error(env), "restricted: "),
          "without folders no file may be used", bk_error(env));
    bk_close(env);
    snprintf(link, sizeof link, "rm -rf '%s' '%s'", in, out);
    check(system(link) == 0, "the folders are removed", link);
}

/* What a script may do to the library's own functions and objects while they are in use. With a memory limit what is
 * freed goes back to the system. */
static void test_meddling(void) {
    static const char *const scripts[] = {
        /* results are written over tensors alone, over one once, and over none that a call under way may be reading */
        "local double = bk.compile(function(t) return t * 2 end)\n"
        "for _, kept in ipairs{ 1, 'x', {}, bk.rng(1), bk.nn.mlp{ 2, 2 }, bk.nn.tanh(), double, print } do\n"
        "    assert(bk.internal.call_over(double, { kept }, bk.ones{3}):sum():item() == 6) end",
        "local x, f = bk.ones{3}, bk.compile(function(t) return t * 2, bk.concat{ t, t } end)\n"
        "local a, b = bk.internal.call_over(f, { x, x }, bk.ones{3})\n"
        "assert(a:sum():item() == 6 and b:sum():item() == 6)",
        "local x = bk.ones{300000} local kept, twice = { x }, bk.compile(function(t) return bk.concat{ t, t } end)\n"
        "local f = bk.compile(function(t) bk.internal.call_over(twice, kept, bk.ones{3}) return t * 2 end)\n"
        "assert(f(x):sum():item() == 600000 and x:count() == 300000)",
        /* places that were looked at stay what they were */
        "local out = bk.ones({ 8 }, { dtype = 'int64' }) local far = out * (1 << 50)\n"
        "for _, index in ipairs{ out, out:narrow(1, 1, 7) } do\n"
        "    local ok, m = pcall(bk.internal.gather, out, 2, far, index, 1, 7)\n"
        "    assert(not ok and m:find('gather: out: expected memory of its own'), m) end\n"
        "assert(not pcall(bk.internal.gather, out, 2, out, bk.ones({ 8 }, { dtype = 'int64' }), 1, 7))",
        "local places = bk.tensor({ 1, 2 }, { dtype = 'int64' })\n"
        "local f = bk.compile(function(t) return t:gather(places), t:embedding(places) end) f(bk.ones{ 4, 4 })\n"
        "bk.internal.gather(places, 1, bk.tensor({ 1 << 50, 1 << 51 }, { dtype = 'int64' }), places:clone(), 1, 2)\n"
        "local ok, m = pcall(f, bk.ones{ 4, 4 }) assert(not ok and m:find('out of range'), m)",
        /* nobody frees what a call uses */
        "local function own(p) return p.train and 1 or 2 end\n"
        "local function loss(t) return t:sum() end\n"
        "for _, o in ipairs{ bk.ones{3}, bk.grad(loss), bk.nn.mlp{ 2, 2 }, bk.nn.layer{ forward = own },\n"
        "    bk.optim.adam{}, bk.bea.word{ { loss, 0.1 } }, bk.rng(1), bk.loss.mse } do\n"
        "    local meta = getmetatable(o) assert(type(meta) == 'string' or not meta.__gc, tostring(o)) end",
        "local one, o = bk.ones{3}, nil\n"
        "for what, given in pairs{ step = { one, one, 0.1 }, reset = {}, restore = { one } } do\n"
        "    o = bk.optim.custom{ state = { 'm' }, update = function(g, s)\n"
        "        o[what](o, table.unpack(given)) return g, s end }\n"
        "    local ok, m = pcall(o.step, o, one, one, 0.1)\n"
        "    assert(not ok and m:find('optimizer:' .. what .. ': optimizer: expected one that is not at a step'), m)\n"
        "    assert(o:reset() == o) end",
    };
    bk_env *env = bk_open(&(bk_options){ .restricted = 1, .memory_limit = 64u << 20 });
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
        check(bk_dostring(env, scripts[i], "meddling") == BK_OK, scripts[i], bk_error(env));
    bk_close(env);
}

/* ---- interrupts ---- */

static void *interrupt_soon(void *env) {
    usleep(30000);
    bk_interrupt(env);
    return NULL;
}

static void test_interrupt(const char *chunk) {
    bk_env *env = bk_open(NULL);
    pthread_t thread;
    bk_interrupt(env); /* without a running script: no effect */
    check(bk_dostring(env, "x = 1", NULL) == BK_OK, "an interrupt before a script is forgotten", bk_error(env));
    pthread_create(&thread, NULL, interrupt_soon, env);
    bk_status s = bk_dostring(env, chunk, NULL);
    pthread_join(thread, NULL);
    check(s == BK_EINTERRUPTED, chunk, bk_error(env));
    check(bk_dostring(env, "assert(x == 1 and bk.ones{3}:sum():item() == 3)", NULL) == BK_OK,
          "the environment works on", bk_error(env));
    bk_close(env);
}

/* One interrupt at a random moment from another thread, into coroutines, protected calls, deep stacks and collections:
 * every run must end by it, soon, and memory must stay as it was. */
typedef struct storm {
    bk_env *env;
    atomic_bool begun;
    unsigned delay; /* spins */
} storm;

static atomic_bool *script_begun;

static int begun(lua_State *L) {
    (void)L;
    atomic_store(script_begun, true);
    return 0;
}

static void *interrupt_once(void *self) {
    storm *s = self;
    while (!atomic_load(&s->begun)) {}
    for (unsigned i = 0; i < s->delay; i++) atomic_load(&s->begun);
    bk_interrupt(s->env);
    return NULL;
}

static void test_random_interrupts(int runs) {
    static const char script[] = "local clock, from = os.clock, os.clock()\n"
                                 "local function deep(n) if n == 0 then return 0 end return 1 + deep(n - 1) end\n"
                                 "begun()\n"
                                 "while true do\n"
                                 "    local next_value = coroutine.wrap(function()\n"
                                 "        while true do\n"
                                 "            local ok, message = pcall(deep, 50)\n"
                                 "            if not ok then error(message, 0) end\n"
                                 "            coroutine.yield({})\n"
                                 "        end\n"
                                 "    end)\n"
                                 "    for i = 1, 10 do next_value() end\n"
                                 "    collectgarbage('step')\n"
                                 "    for i = 1, 1000 do end\n"
                                 "    assert(clock() - from < 2, 'the interrupt was lost')\n"
                                 "end\n";
    char text[300] = "";
    int ended = 0;
    unsigned seed = 1;
    storm s = { .env = bk_open(NULL) };
    script_begun = &s.begun;
    lua_register(bk_lua(s.env), "begun", begun);
    bk_dostring(s.env, "collectgarbage() collectgarbage()", NULL);
    size_t before = atomic_load(&env_ctx(s.env)->used);
    for (int i = 0; i < runs; i++) {
        pthread_t thread;
        atomic_store(&s.begun, false);
        s.delay = (seed = seed * 1103515245 + 12345) >> 15;
        if (pthread_create(&thread, NULL, interrupt_once, &s)) break;
        bk_status status = bk_dostring(s.env, script, "storm");
        pthread_join(thread, NULL);
        if (status == BK_EINTERRUPTED)
            ended++;
        else
            snprintf(text, sizeof text, "run %d: %.200s", i, bk_error(s.env));
    }
    check(ended == runs, "random interrupts from another thread", text);
    bk_dostring(s.env, "collectgarbage() collectgarbage()", NULL);
    size_t after = atomic_load(&env_ctx(s.env)->used);
    snprintf(text, sizeof text, "%zu to %zu bytes", before, after);
    check(after < before + 10000, "they leave nothing behind", text);
    bk_close(s.env);
}

/* ---- what the library leaves alone ---- */

int openblas_get_num_threads(void);
void openblas_set_num_threads(int n);

enum { SIGNALS = 31 };

static void handlers(void (*out[SIGNALS])(int)) {
    for (int i = 0; i < SIGNALS; i++) {
        struct sigaction now = { 0 };
        sigaction(i + 1, NULL, &now);
        out[i] = now.sa_handler;
    }
}

/* Runs, errors, warnings, limits and interrupts, with standard output and error going to a file that must stay empty.
 */
static void test_leaves_alone(void) {
    static const char *const chunks[] = {
        "local a = bk.ones{600, 600} a:matmul(a) bk.grad(function(t) return (t * t):sum() end)(a)",
        "error('told')",
        "error({})",
        "error(nil)",
        "warn('@on') warn('heard by nobody')",
        "setmetatable({}, { __gc = function() error('in a finalizer') end }) collectgarbage()",
        "coroutine.wrap(function() error('inside') end)()",
        "bk.ones{2, 3}:matmul(bk.ones{4, 2})",
        "bk.nn.mlp{1, 1}:forward()",
        "bk.zeros{1000000, 1000000}",
        "while true do end", /* to the step limit */
        "x = = 1",
        "bk.load_npy('/nonexistent')",
        "pcall(bk.plot, { { y = { 1 } }, out = '/nonexistent/f.svg' })",
    };
    void (*before[SIGNALS])(int), (*after[SIGNALS])(int);
    sigset_t mask_before, mask_after;
    int out = dup(1), error = dup(2), blas = openblas_get_num_threads();
    FILE *f = tmpfile();
    if (!f) return;
    char *locale = strdup(setlocale(LC_ALL, NULL));
    handlers(before);
    sigprocmask(SIG_BLOCK, NULL, &mask_before);
    openblas_set_num_threads(2);
    fflush(stdout);
    dup2(fileno(f), 1);
    dup2(fileno(f), 2);
    int threads_kept = 1;
    bk_env *env = bk_open(&(bk_options){ .threads = 2, .step_limit = 10000000, .memory_limit = 64u << 20 });
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        bk_dostring(env, chunks[i], NULL);
        threads_kept &= openblas_get_num_threads() == 2;
    }
    bk_dofile(env, "/nonexistent.lua", 0, NULL);
    bk_close(env);
    bk_close(bk_open(&(bk_options){ .memory_limit = 1000 }));
    fflush(stdout);
    fflush(stderr);
    dup2(out, 1);
    dup2(error, 2);
    close(out);
    close(error);
    check(lseek(fileno(f), 0, SEEK_END) == 0, "nothing is printed", "something was");
    fclose(f);
    check(threads_kept, "OpenBLAS keeps the host's number of threads", "changed");
    openblas_set_num_threads(blas);
    handlers(after);
    check(memcmp(before, after, sizeof before) == 0, "signal handlers are the host's", "changed");
    sigprocmask(SIG_BLOCK, NULL, &mask_after);
    bool masks = true;
    for (int i = 1; i <= SIGNALS; i++) masks &= sigismember(&mask_before, i) == sigismember(&mask_after, i);
    check(masks, "so is the signal mask", "changed");
    check(strcmp(locale, setlocale(LC_ALL, NULL)) == 0, "so is the locale", setlocale(LC_ALL, NULL));
    free(locale);
}

/* status_of(f) -> true; or false, what bk_error() says, the status's name */
static int status_of(lua_State *L) {
    static const char *const names[] = { "BK_OK",         "BK_EINVAL", "BK_ENOMEM",   "BK_EIO",
                                         "BK_EINTERRUPTED", "BK_ELIMIT", "BK_ERUNTIME", "BK_EUNSUPPORTED" };
    bk_env *env = lua_touserdata(L, lua_upvalueindex(1));
    lua_setglobal(L, "of_status_of");
    const bk_status status = bk_dostring(env, "of_status_of()", "status_of");
    const char *said = bk_error(env), *end = strstr(said, "\nstack traceback");
    lua_pushboolean(L, status == BK_OK);
    lua_pushlstring(L, said, end ? (size_t)(end - said) : strlen(said));
    lua_pushstring(L, names[status]);
    return 3;
}

/* Every public function with odd arguments: what is refused is a wrong argument to the host too. */
static void test_odd_arguments(void) {
    bk_env *env = bk_open(NULL);
    lua_State *L = bk_lua(env);
    lua_pushlightuserdata(L, env);
    lua_pushcclosure(L, status_of, 1);
    lua_setglobal(L, "status_of");
    char folder[] = "/tmp/bracket-odd-XXXXXX", command[80];
    char *args[] = { mkdtemp(folder) };
    check(bk_dofile(env, "tests/lua/odd.lua", 1, args) == BK_OK, "odd arguments are refused with a status",
          bk_error(env));
    bk_close(env);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    check(system(command) == 0, "the folder is removed", command);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* a crash still shows what came before it */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ /* a cycle takes five times as long */
    const int cycles = 1000;
#else
    const int cycles = 10000;
#endif
    test_open_close(argc > 1 ? atoi(argv[1]) : cycles);
    test_open_failing();
    test_limits();
    test_stopped_at();
    test_batches();
    test_restricted();
    test_meddling();
    test_leaves_alone();
    test_odd_arguments();
    test_interrupt("while true do end");
    test_interrupt("coroutine.wrap(function() while true do end end)()");
    test_interrupt("while true do pcall(function() while true do end end) end");
    test_interrupt("local a = bk.ones{2000, 2000} while true do local b = a:matmul(a) end");
    test_random_interrupts(500);
    bk_env *env = bk_open(NULL);
    check(bk_dostring(env, "bk.zeros{-1}", NULL) == BK_EINVAL, "a wrong argument's status comes out", bk_error(env));
    check(bk_dostring(env, "pcall(bk.zeros, {-1}) error('another')", NULL) == BK_ERUNTIME,
          "but not that of one that was caught", bk_error(env));
    check(bk_dostring(env, "bk.grad(function(t) return bk.zeros{-1} end)(bk.ones{2})", NULL) == BK_EINVAL,
          "that of one in a traced function too", bk_error(env));
    char *argv_wrong[] = { "--lr", "fast" };
    FILE *script = fopen("build/tests/arguments.lua", "w");
    if (script) fputs("bk.arguments{ lr = 0.1 }", script), fclose(script);
    check(bk_dofile(env, "build/tests/arguments.lua", 2, argv_wrong) == BK_EINVAL, "so is a script's",
          bk_error(env));
    check(bk_dostring(env, "bk.ones{2, 3}:matmul(bk.ones{4, 2})", NULL) == BK_EINVAL, "a binding's status comes out",
          bk_error(env));
    check(bk_dofile(env, "/nonexistent/file.lua", 0, NULL) == BK_EIO, "a missing file is BK_EIO", bk_error(env));
    check(!bk_open(&(bk_options){ .threads = 300 }), "300 threads are refused", "");
    check(!bk_open(&(bk_options){ .threads = -1 }), "-1 threads are refused", "");
    bk_close(NULL);
    bk_interrupt(NULL);
    check(!bk_lua(NULL) && strcmp(bk_error(NULL), "") == 0, "NULL has no state and no error", "");
    bk_view view;
    check(bk_dostring(NULL, "", NULL) == BK_EINVAL && bk_dofile(NULL, "", 0, NULL) == BK_EINVAL &&
              bk_set_tensor(NULL, "x", BK_FLOAT64, 0, NULL, &view) == BK_EINVAL &&
              bk_get_tensor(NULL, "x", &view) == BK_EINVAL,
          "calls on NULL are BK_EINVAL", "");
    check(bk_dofile(env, NULL, 0, NULL) == BK_EINVAL && bk_dofile(env, "x", -1, NULL) == BK_EINVAL &&
              bk_dofile(env, "x", 1, NULL) == BK_EINVAL && bk_set_tensor(env, NULL, BK_FLOAT64, 0, NULL, &view) &&
              bk_set_tensor(env, "x", (bk_dtype)7, 0, NULL, &view) &&
              bk_set_tensor(env, "x", BK_INT64, 1, NULL, &view) && bk_set_tensor(env, "x", BK_INT64, 0, NULL, NULL) &&
              bk_set_tensor(env, "x", BK_FLOAT64, 0, NULL, (char *)&view + 4) == BK_EINVAL &&
              bk_set_tensor(env, "x", BK_FLOAT32, 0, NULL, (char *)&view + 4) == BK_OK &&
              bk_get_tensor(env, NULL, &view) && bk_get_tensor(env, "x", NULL) == BK_EINVAL && *bk_error(env),
          "wrong arguments are BK_EINVAL", bk_error(env));
    check(bk_dostring(env, "", NULL) == BK_OK && strcmp(bk_error(env), "") == 0, "success clears the error",
          bk_error(env));
    check(bk_dostring(env, NULL, NULL) == BK_EINVAL && bk_dostring(env, "x = ", NULL) == BK_ERUNTIME,
          "NULL and bad syntax", "");
    static const char resumes[] = "coroutine.wrap(function() end)() for k = 1, 1000 do end";
    bool unharmed = luaL_dostring(bk_lua(env), resumes) == LUA_OK;
    bk_interrupt(env);
    check(unharmed && luaL_dostring(bk_lua(env), resumes) == LUA_OK, "the host's own calls are not interrupted", "");
    check(lua_gettop(bk_lua(env)) == 0, "nothing is left on the stack", "");
    bk_close(env);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

/* files.c - what runs leave on disk: named tensors, JSON, whole files and folders. */
#include "../data/json_text.h"
#include "../data/safetensors.h"
#include "../base/path.h"
#include "../data/sink.h"
#include "../data/source.h"
#include "../tensor/vec.h"
#include "args.h"
#include "env.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ---- values of C that a Lua error must not leak: each in a userdata of its own ---- */

static int release_json(lua_State *L) {
    json_tree_free(lua_touserdata(L, 1));
    return 0;
}

static json_tree *new_json(lua_State *L) {
    json_tree *t = lua_newuserdatauv(L, sizeof *t, 0);
    *t = (json_tree){ .c = bind_ctx(L) };
    if (luaL_newmetatable(L, "bracket.json")) {
        lua_pushcfunction(L, release_json);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return t;
}

/* ---- safetensors ---- */

/* The string at index, kept by its table. */
static char *plain_text(lua_State *L, int index, const char *what) {
    const char *fname = "bk.save_safetensors";
    if (lua_type(L, index) != LUA_TSTRING) args_fail(L, index, fname, what, "a string");
    if (strlen(lua_tostring(L, index)) != lua_rawlen(L, index)) args_error(L, fname, "%s: contains a zero byte", what);
    return (char *)(uintptr_t)lua_tostring(L, index);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in sorted order: equal tables give equal files. Pushes an array of them, which the table keeps. */
static char **sorted_names(lua_State *L, int table, const char *what, int *n) {
    *n = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        plain_text(L, -2, what);
        ++*n;
    }
    char **names = lua_newuserdatauv(L, sizeof *names * (size_t)(*n + 1), 0);
    int i = 0;
    for (lua_pushnil(L); i < *n && lua_next(L, table); lua_pop(L, 1))
        names[i++] = (char *)(uintptr_t)lua_tostring(L, -2);
    qsort(names, (size_t)*n, sizeof *names, compare_names);
    return names;
}

static int save_safetensors(lua_State *L) {
    const char *fname = "bk.save_safetensors", *path = args_path(L, 1, fname);
    args_table(L, 2, fname, "tensors");
    if (lua_isnoneornil(L, 3)) {
        lua_settop(L, 2);
        lua_newtable(L);
    }
    args_table(L, 3, fname, "metadata");
    lua_settop(L, 3);
    safetensors s = { .c = bind_ctx(L) };
    char **names = sorted_names(L, 2, "tensors: name", &s.n), **keys = sorted_names(L, 3, "metadata: name", &s.n_texts);
    s.tensors = lua_newuserdatauv(L, sizeof *s.tensors * (size_t)(s.n + 1), 0);
    s.texts = lua_newuserdatauv(L, sizeof *s.texts * (size_t)(s.n_texts + 1), 0);
    for (int i = 0; i < s.n; i++) {
        lua_getfield(L, 2, names[i]);
        s.tensors[i] = (named_tensor){ names[i], *bind_check_tensor(L, -1, fname, names[i]) };
        lua_pop(L, 1);
    }
    for (int i = 0; i < s.n_texts; i++) {
        lua_getfield(L, 3, keys[i]);
        s.texts[i] = (named_text){ keys[i], plain_text(L, -1, keys[i]) };
        lua_pop(L, 1);
    }
    err e = { 0 };
    if (safetensors_write(s.c, path, &s, &e)) {
        if (e.status != BK_EINTERRUPTED) err_prefix(&e, fname);
        return bind_raise(L, &e);
    }
    return 0;
}

/* ---- JSON ---- */

enum { DEPTH = 100 };

/* Counts what the value at the top takes, before it is made. */
static void count_json(lua_State *L, json_tree *t, int index, size_t own) {
    err e = { 0 };
    if (lua_type(L, index) == LUA_TSTRING) own += JSON_TEXT + lua_rawlen(L, index);
    if (lua_type(L, index) == LUA_TTABLE) own += JSON_TABLE;
    if (json_tree_count(t, own, &e)) bind_raise(L, &e);
}

/* The value at the top as JSON; tables are filled by fill_json after they hang where they belong. */
static json_t *shallow_json(lua_State *L) {
    size_t n;
    const char *text;
    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN:
        return json_boolean(lua_toboolean(L, -1));
    case LUA_TNUMBER:
        if (lua_isinteger(L, -1)) return json_integer(lua_tointeger(L, -1));
        return isfinite(lua_tonumber(L, -1)) ? json_real(lua_tonumber(L, -1)) : json_null();
    case LUA_TSTRING:
        text = lua_tolstring(L, -1, &n);
        return json_stringn(text, n);
    case LUA_TTABLE: {
        const lua_Integer border = (lua_Integer)lua_rawlen(L, -1);
        lua_Integer entries = 0;
        bool list = true; /* 1, 2, ... border and nothing else */
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), entries++)
            list = list && lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= border;
        const bool named = entries == 0 && lua_getmetatable(L, -1); /* an empty object is told from a list so */
        if (named) lua_pop(L, 1);
        return list && entries == border && !named ? json_array() : json_object();
    }
    default:
        return NULL;
    }
}

/* Pushes nothing; the value is at the top. */
static json_t *checked_json(lua_State *L, json_tree *t, int depth) {
    count_json(L, t, -1, JSON_ENTRY);
    json_t *value = shallow_json(L);
    if (depth > DEPTH) {
        json_decref(value);
        args_error(L, "json", "tables within tables, %d deep", DEPTH);
    }
    if (!value)
        args_error(L, "json", "expected numbers, strings in UTF-8, booleans and tables, got %s", args_got(L, -1));
    return value;
}

static int no_memory(lua_State *L) {
    err e = { 0 };
    err_set(&e, BK_ENOMEM, "json: out of memory");
    return bind_raise(L, &e);
}

static void fill_json(lua_State *L, json_tree *t, json_t *to, int depth) {
    bind_poll_now(L);
    luaL_checkstack(L, 6, "json");
    if (json_is_array(to))
        for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL || (lua_pop(L, 1), 0); i++) {
            json_t *value = checked_json(L, t, depth);
            if (json_array_append_new(to, value)) no_memory(L);
            fill_json(L, t, value, depth + 1);
            lua_pop(L, 1);
        }
    else if (json_is_object(to))
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING)
                args_error(L, "json", "keys: expected strings, or 1, 2, ... without a gap, got %s", args_got(L, -2));
            if (strlen(lua_tostring(L, -2)) != lua_rawlen(L, -2)) args_error(L, "json", "a key contains a zero byte");
            count_json(L, t, -2, JSON_KEY);
            json_t *value = checked_json(L, t, depth);
            if (json_object_set_new(to, lua_tostring(L, -2), value)) args_error(L, "json", "a key is not UTF-8");
            fill_json(L, t, value, depth + 1);
        }
}

enum { SHORT = 15, EXACT = 17 }; /* digits that people write, and that every float64 comes back from */

/* The number, which is n characters of JSON, in fewer digits where it comes back from these; how many characters, 0: it
 * does not. By Jansson, for a host's locale may write a comma. */
static size_t shorter_number(const char *text, size_t n, char *out, size_t room) {
    json_t *number = json_loadb(text, n, JSON_DECODE_ANY, NULL), *back = NULL;
    const size_t used =
        number ? json_dumpb(number, out, room, JSON_ENCODE_ANY | JSON_REAL_PRECISION(SHORT)) : 0;
    if (used && used <= room) back = json_loadb(out, used, JSON_DECODE_ANY, NULL);
    const bool same = back && json_equal(number, back);
    json_decref(back);
    json_decref(number);
    return same ? used : 0;
}

/* Adds the text of JSON with its fractions in fewer digits: 0.05. */
static void add_shorter(luaL_Buffer *b, const char *text, const char *end) {
    bool quoted = false;
    for (const char *p = text; p < end;) {
        const size_t digits = quoted || !strchr("-0123456789", *p) ? 0 : strspn(p, "-+.0123456789eE");
        if (digits) {
            char number[40];
            const size_t n = shorter_number(p, digits, number, sizeof number);
            luaL_addlstring(b, n ? number : p, n ? n : digits);
            p += digits;
        } else {
            if (*p == '\\') luaL_addchar(b, *p++);
            else if (*p == '"') quoted = !quoted;
            luaL_addchar(b, *p++);
        }
    }
}

/* to_json(value [, indent [, short]]): keys sorted; a number that is not finite becomes null. Every bit is kept; short:
 * for people, with as few digits as that takes. */
static int to_json(lua_State *L) {
    const size_t indent = (size_t)luaL_optinteger(L, 2, 0);
    const bool brief = lua_toboolean(L, 3);
    luaL_Buffer b;
    lua_settop(L, 1);
    json_tree *t = new_json(L);
    lua_pushvalue(L, 1);
    t->root = checked_json(L, t, 0);
    fill_json(L, t, t->root, 1);
    const size_t how = JSON_SORT_KEYS | JSON_ENCODE_ANY | JSON_REAL_PRECISION(EXACT) | JSON_INDENT(indent);
    char shorter[1024], *text = shorter; /* than most: a row of a run, which is then formatted once */
    const size_t n = json_dumpb(t->root, text, sizeof shorter, how);
    if (n == 0) return no_memory(L);
    if (n >= sizeof shorter) {
        text = lua_newuserdatauv(L, n + 1, 0);
        if (json_dumpb(t->root, text, n, how) != n) return no_memory(L);
    }
    text[n] = 0;
    json_tree_free(t);
    luaL_buffinit(L, &b);
    if (brief) add_shorter(&b, text, text + n);
    else luaL_addlstring(&b, text, n);
    luaL_pushresult(&b);
    return 1;
}

static void push_json(lua_State *L, const json_t *value) {
    luaL_checkstack(L, 6, "json");
    switch (json_typeof(value)) {
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(L, json_is_true(value));
        break;
    case JSON_INTEGER:
        lua_pushinteger(L, json_integer_value(value));
        break;
    case JSON_REAL:
        lua_pushnumber(L, json_real_value(value));
        break;
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(value), json_string_length(value));
        break;
    case JSON_ARRAY:
        lua_createtable(L, (int)json_array_size(value), 0);
        for (size_t i = 0; i < json_array_size(value); i++) {
            push_json(L, json_array_get(value, i));
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        break;
    case JSON_OBJECT: {
        const char *key;
        json_t *member, *object = (json_t *)(uintptr_t)value;
        lua_createtable(L, 0, (int)json_object_size(value));
        json_object_foreach(object, key, member) {
            push_json(L, member);
            lua_setfield(L, -2, key);
        }
        break;
    }
    default:
        lua_pushnumber(L, (lua_Number)NAN);
    }
}

enum { AS_IT_IS = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL };

static int from_json(lua_State *L) { /* from_json(text): the value, null as nan; or nil and what is wrong */
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    err e = { 0 };
    json_tree *t = new_json(L);
    json_text_read(t->c, text, n, AS_IT_IS, t, &e);
    if (e.status == BK_EIO) {
        lua_pushnil(L);
        lua_pushstring(L, e.text);
        return 2;
    }
    if (e.status) return bind_raise(L, &e);
    push_json(L, t->root);
    json_tree_free(t);
    return 1;
}

static bk_status read_json(json_tree *t, const char *path, err *e) {
    source s = { 0 };
    bytes all = { 0 };
    bk_status status = source_open(t->c, path, &s, e);
    if (!status) status = source_read_all(&s, &all, e);
    if (!status) {
        status = json_text_read(t->c, (const char *)all.data, all.count, AS_IT_IS, t, e);
        if (status == BK_EIO) err_prefix(e, s.path);
    }
    source_close(&s);
    bytes_free(t->c, &all);
    return status;
}

static int load_json(lua_State *L) {
    const char *fname = "bk.load_json", *path = args_path(L, 1, fname);
    args_end(L, 1, lua_gettop(L), false, fname);
    err e = { 0 };
    json_tree *t = new_json(L);
    if (read_json(t, path, &e)) {
        if (e.status != BK_EINTERRUPTED) err_prefix(&e, fname);
        return bind_raise(L, &e);
    }
    push_json(L, t->root);
    json_tree_free(t);
    return 1;
}

/* ---- files ---- */

/* write_file(path, text [, quick [, fname]]): whole or not at all; quick: not waiting for the disk; fname: the function
 * that errors name */
static int write_file(lua_State *L) {
    const char *fname = luaL_optstring(L, 4, NULL), *path = args_path(L, 1, fname ? fname : "write_file");
    size_t n;
    const char *text = luaL_checklstring(L, 2, &n);
    err e = { 0 };
    sink s;
    bk_status status = sink_open(bind_ctx(L), path, &s, &e);
    s.quick = lua_toboolean(L, 3);
    if (!status) status = sink_write(&s, text, n, &e);
    if (!sink_close(&s, status, &e)) return 0;
    if (fname && e.status != BK_EINTERRUPTED) err_prefix(&e, fname);
    return bind_raise(L, &e);
}

/* append_file(path, text, at, last): behind the first `at` bytes of a file, made where there is none; what stood there
 * is gone. last: it is on the disk when this returns. */
static int append_file(lua_State *L) {
    const char *path = args_path(L, 1, "append_file");
    size_t n;
    const char *text = luaL_checklstring(L, 2, &n);
    const off_t at = (off_t)luaL_checkinteger(L, 3);
    err e = { 0 };
    const int fd = path_open(bind_ctx(L), path, O_WRONLY | O_CREAT, &e);
    if (fd < 0) return bind_raise_file(L, path, "cannot be written", errno);
    int why = ftruncate(fd, at) != 0 || lseek(fd, at, SEEK_SET) < 0 ? errno : 0;
    while (n > 0 && !why) {
        const ssize_t done = write(fd, text, n);
        if (done < 0 && errno != EINTR) why = errno;
        if (done > 0) text += done, n -= (size_t)done;
    }
    if (!why && lua_toboolean(L, 4) && fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP) why = errno;
    if (close(fd) != 0 && !why) why = errno;
    return why ? bind_raise_file(L, path, "cannot be written", why) : 0;
}

/* FNV-1a's step over words: one to one in h and in the word, so that words that differ in one place never agree */
static inline uint64_t mixed(uint64_t h, uint64_t word) {
    h = (h ^ word) * VEC_MIX_FACTOR;
    return h ^ h >> 32;
}

static uint64_t mixed_bytes(uint64_t h, const char *p, size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = 0;
        memcpy(&word, p + i, n - i < 8 ? n - i : 8);
        h = mixed(h, word);
    }
    return h;
}

/* The same over lanes, since a step waits for the one before it: of every VEC_MIX_LANES words each is one lane's. */
static uint64_t mixed_lanes(uint64_t h, const char *p, size_t n) {
    uint64_t lane[VEC_MIX_LANES];
    for (int j = 0; j < VEC_MIX_LANES; j++) lane[j] = mixed(h, (uint64_t)j);
    const size_t whole = n / sizeof lane * sizeof lane;
    vec_mix((int64_t)(n / sizeof lane), p, lane);
    return mixed_bytes(mixed_bytes(h, (const char *)lane, sizeof lane), p + whole, n - whole);
}

/* digest(tensor or string): 16 hex digits that tell values apart, whatever the strides */
static int digest(lua_State *L) {
    uint64_t h = 0xcbf29ce484222325u;
    tensor whole = { 0 };
    size_t n;
    const char *p = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &n) : NULL;
    if (p) {
        h = mixed_bytes((h ^ n) * 0x100000001b3u, p, n);
    } else {
        const tensor *t = bind_check_tensor(L, 1, "digest", "value");
        err e = { 0 };
        if (tensor_contiguous_as(t, t->dtype, &whole, &e)) return bind_raise(L, &e);
        n = (size_t)tensor_count(t) * dtype_size(t->dtype);
        h ^= (uint64_t)t->dtype + 1;
        for (int d = 0; d < t->ndim; d++) h = (h ^ (uint64_t)t->shape[d]) * 0x100000001b3u;
        h = mixed_lanes((h ^ n) * 0x100000001b3u, tensor_data(&whole), n);
        tensor_release(&whole);
    }
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)h);
    lua_pushstring(L, text);
    return 1;
}

/* Whether there is a folder at the path, made if it was not; else errno. */
static bool folder_at(ctx *c, const char *path, err *e) {
    path_place p;
    struct stat st;
    if (path_find(c, path, &p, e)) return false;
    const int why = mkdirat(p.dir, p.name, 0777) == 0 ? 0 : errno;
    const bool there = fstatat(p.dir, p.name, &st, p.flags ? AT_SYMLINK_NOFOLLOW : 0) == 0 && S_ISDIR(st.st_mode);
    path_leave(&p);
    errno = why;
    return there;
}

/* make_folder(path [, what errors begin with]): it and those above it, where missing */
static int make_folder(lua_State *L) {
    size_t n; /* the path may lie in folders to be made, so it is checked part by part */
    const char *fname = "make_folder", *where = luaL_optstring(L, 2, ""), *path = args_string(L, 1, fname, "path");
    err e = { 0 };
    lua_tolstring(L, 1, &n);
    if (strlen(path) != n) return args_error(L, fname, "path: contains a zero byte");
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i]) continue;
        lua_pushlstring(L, path, i);
        const char *part = lua_tostring(L, -1);
        const bool known = folder_at(bind_ctx(L), part, NULL) || errno == EEXIST;
        if (!known && !(env_restricted(L) && errno == EACCES)) { /* those above are as they are */
            const int why = errno;
            return bind_raise_file(L, lua_pushfstring(L, "%s%s", where, part), "cannot be made", why);
        }
        lua_pop(L, 1);
    }
    if (!folder_at(bind_ctx(L), path, &e)) {
        err_set(&e, BK_EIO, "%s%s: is not a folder", where, path);
        return bind_raise(L, &e);
    }
    return 0;
}

static int internal_system(lua_State *L) { /* system(): { system, host, processors, vector } */
    struct utsname u;
    lua_createtable(L, 0, 4);
    if (uname(&u) == 0) {
        lua_pushfstring(L, "%s %s %s", u.sysname, u.release, u.machine);
        lua_setfield(L, -2, "system");
        if (!env_restricted(L)) {
            lua_pushstring(L, u.nodename);
            lua_setfield(L, -2, "host");
        }
    }
    lua_pushinteger(L, sysconf(_SC_NPROCESSORS_ONLN));
    lua_setfield(L, -2, "processors");
    lua_pushstring(L, vec_level());
    lua_setfield(L, -2, "vector");
    return 1;
}

static int internal_columns(lua_State *L) { /* columns(): of the terminal, 80 where there is none; and whether one is */
    struct winsize w;
    const bool terminal = ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0;
    lua_pushinteger(L, terminal && w.ws_col ? w.ws_col : 80);
    lua_pushboolean(L, terminal);
    return 2;
}

void bind_files(lua_State *L) {
    static const bind_row rows[] = {
        { "save_safetensors", save_safetensors,
          "bk.save_safetensors(path, {name = tensor, ...} [, {name = text, ...}]) -> nothing\nNamed tensors, and "
          "texts as metadata, in one file in the safetensors format, which appears whole or not at all." },
        { "load_json", load_json,
          "bk.load_json(path) -> value\nWhat a JSON file holds, plain or gzip: a number (whole ones as integers), "
          "string, boolean, or a table, arrays from 1, objects by name. null is nan, as bk.save_json writes what is "
          "not finite. Nested lists of numbers go into bk.tensor.\n\nErrors: name the file, and the line of what is no "
          "JSON, a name that stands twice in an object among it." },
        { NULL, NULL, NULL },
    };
    bind_rows(L, rows);
}

void bind_files_internal(lua_State *L) {
    static const bind_row rows[] = { { "to_json", to_json, NULL },         { "from_json", from_json, NULL },
                                     { "write_file", write_file, NULL },   { "make_folder", make_folder, NULL },
                                     { "append_file", append_file, NULL }, { "digest", digest, NULL },
                                     { "system", internal_system, NULL },  { "columns", internal_columns, NULL },
                                     { NULL, NULL, NULL } };
    bind_rows(L, rows);
}

/* look.c - a look at a folder that opens none of its files: which folders are in it, and whether files of given names
 * have changed; and the order of names with numbers in them. What lua/bracket/_run_folder.lua finds runs by. */
#include "../base/path.h"
#include "args.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { NAMES_MOST = 32, HEX_BYTES = 17, NUMBER_BYTES = 64 };

typedef struct folder {
    DIR *dir;
    const char *names[NAMES_MOST];
    int n, links;  /* path_links */
    unsigned seen; /* a bit a name */
} folder;

/* The digits and a blank; printf takes ten times as long, and a look at thousands of folders most of its time. */
static void add_hex(luaL_Buffer *b, uint64_t x) {
    char text[HEX_BYTES], *p = text + sizeof text;
    *--p = ' ';
    do *--p = "0123456789abcdef"[x & 15];
    while (x >>= 4);
    luaL_addlstring(b, p, (size_t)(text + sizeof text - p));
}

static int read_entries(lua_State *L) { /* folders, folder */
    folder *f = lua_touserdata(L, 2);
    lua_Integer n = 0;
    lua_newtable(L); /* 3: the names that are links */
    for (struct dirent *d; (d = readdir(f->dir));) {
        if (d->d_name[0] == '.') continue;
        for (int i = 0; i < f->n; i++)
            if (strcmp(d->d_name, f->names[i]) == 0) f->seen |= 1u << i;
        struct stat st;
        const bool unsure = d->d_type == DT_UNKNOWN || d->d_type == DT_LNK;
        if (d->d_type != DT_DIR &&
            (!unsure || fstatat(dirfd(f->dir), d->d_name, &st, f->links) != 0 || !S_ISDIR(st.st_mode)))
            continue;
        lua_pushstring(L, d->d_name);
        if (d->d_type != DT_DIR) {
            lua_pushvalue(L, -1);
            lua_pushboolean(L, fstatat(dirfd(f->dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode));
            lua_rawset(L, 3);
        }
        lua_rawseti(L, 1, ++n);
    }
    luaL_Buffer b;
    double newest = 0;
    struct timespec now;
    luaL_buffinit(L, &b);
    for (int i = 0; i < f->n; i++) {
        struct stat st;
        if (!(f->seen & 1u << i) || fstatat(dirfd(f->dir), f->names[i], &st, f->links) != 0 || S_ISDIR(st.st_mode))
            continue;
        const uint64_t says[] = { (uint64_t)i, (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec,
                                  (uint64_t)st.st_mtim.tv_nsec, (uint64_t)st.st_ino };
        for (size_t k = 0; k < sizeof says / sizeof *says; k++) add_hex(&b, says[k]);
        const double changed = (double)st.st_mtim.tv_sec + 1e-9 * (double)st.st_mtim.tv_nsec;
        if (changed > newest) newest = changed;
    }
    luaL_pushresult(&b);
    clock_gettime(CLOCK_REALTIME, &now);
    lua_pushnumber(L, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec - newest);
    struct stat own;
    lua_pushnil(L);
    if (fstat(dirfd(f->dir), &own) == 0) {
        lua_pop(L, 1);
        lua_pushfstring(L, "%I:%I", (LUAI_UACINT)own.st_dev, (LUAI_UACINT)own.st_ino);
    }
    lua_pushvalue(L, 3);
    return 4;
}

/* look(path, names): the folders in it, but for hidden ones; of the files of these names a text that changes when one
 * of them does, "" where there is none; how many seconds ago one did; a text that tells the folder from all others,
 * whatever it is called; which of the names are symbolic links. An unreadable folder has nothing in it. */
static int look(lua_State *L) {
    const char *path = args_path(L, 1, "look");
    folder f = { .links = path_links(bind_ctx(L)) };
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    for (f.n = 0; lua_rawgeti(L, 2, f.n + 1) == LUA_TSTRING; f.n++) {
        if (f.n == NAMES_MOST) return luaL_error(L, "look: more than %d names", NAMES_MOST);
        f.names[f.n] = lua_tostring(L, -1); /* the table keeps it */
        lua_pop(L, 1);
    }
    lua_settop(L, 2);
    lua_newtable(L);
    f.dir = path_open_folder(bind_ctx(L), path);
    if (!f.dir) {
        lua_pushliteral(L, "");
        return 2;
    }
    lua_pushcfunction(L, read_entries);
    lua_pushvalue(L, 3);
    lua_pushlightuserdata(L, &f);
    const int rc = lua_pcall(L, 2, 4, 0);
    closedir(f.dir);
    return rc == LUA_OK ? 5 : lua_error(L);
}

/* ---- names in the order of the numbers in them ---- */

/* Hex digits that sort as the number does. */
static void add_number(luaL_Buffer *b, double x) {
    uint64_t bits;
    char text[20];
    memcpy(&bits, &x, sizeof bits);
    const bool negative = bits >> 63;
    const int n = snprintf(text, sizeof text, "%c%016llx", negative ? 'n' : 'p',
                           (unsigned long long)(negative ? ~bits : bits));
    luaL_addlstring(b, text, (size_t)n);
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* The end of the number that begins at p, a digit. After a letter or a point it is one of several, as in accuracy.1.10,
 * else it may have a fraction and an exponent. */
static const char *end_of_number(const char *text, const char *p) {
    const bool counts = p > text && (isalnum((unsigned char)p[-1]) || p[-1] == '.' || p[-1] == '_');
    while (is_digit(*p)) p++;
    if (counts) return p;
    if (*p == '.' && is_digit(p[1]))
        while (is_digit(*++p)) {}
    const char *e = p;
    if (*e == 'e' || *e == 'E') e += e[1] == '-' || e[1] == '+' ? 2 : 1;
    if (e == p || !is_digit(*e)) return p;
    while (is_digit(*e)) e++;
    return isalnum((unsigned char)*e) || *e == '_' ? p : e;
}

/* natural_key(text): a text that sorts as the numbers in it do: 2 before 10, 0.05 before 0.1, lr=1e-3 before lr=0.01 */
static int natural_key(lua_State *L) {
    const char *text = luaL_checkstring(L, 1), *p = text;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    while (*p) {
        const bool minus = *p == '-' && is_digit(p[1]) && (p == text || strchr("=, (", p[-1]));
        if (!minus && !is_digit(*p)) {
            luaL_addchar(&b, *p++);
            continue;
        }
        char number[NUMBER_BYTES] = { 0 }; /* alone: strtod would read on */
        const char *end = end_of_number(text, p + minus);
        memcpy(number, p, end - p < NUMBER_BYTES ? (size_t)(end - p) : NUMBER_BYTES - 1);
        add_number(&b, strtod(number, NULL));
        p = end;
    }
    luaL_pushresult(&b);
    return 1;
}

void bind_look_internal(lua_State *L) {
    static const bind_row rows[] = { { "look", look, NULL },
                                     { "natural_key", natural_key, NULL },
                                     { NULL, NULL, NULL } };
    bind_rows(L, rows);
}

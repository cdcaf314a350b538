/* rooms.c - the files of lua/bracket as tables that load them when first named. lua/bracket/NAME.lua is bk.NAME and
 * lua/bracket/ROOM/NAME.lua is bk.ROOM.NAME: the chunk is called with bk and returns the value. A page, NAME.md, is its
 * text. With BRACKET_LUA=DIR, files there come before those in the library. */
#include "../base/path.h"
#include "args.h"
#include "embed.h"
#include "env.h"
#include "rooms.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OVERRIDE "bracket.override" /* the folder that holds `bracket/`'s files, or absent */
#define LOADING "bracket.loading"
#define ROOMS "bracket.rooms"     /* table -> room name */
#define PRIVATE "bracket.private" /* path -> value of the files whose names begin with _ */

/* ---- files ---- */

static bool plain_name(const char *s) {
    return *s && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == strlen(s);
}

static const embed_file *find_embedded(const char *path) {
    for (const embed_file *f = embed_files; f->path; f++)
        if (strcmp(f->path, path) == 0) return f;
    return NULL;
}

static int read_whole(lua_State *L) { /* path, FILE: the file's text */
    FILE *f = lua_touserdata(L, 2);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    bind_add_file(&b, f);
    luaL_pushresult(&b);
    return 1;
}

/* Pushes the text of bracket/REST in the override, or nothing. */
static bool push_override(lua_State *L, const char *rest) {
    const int top = lua_gettop(L);
    if (lua_getfield(L, LUA_REGISTRYINDEX, OVERRIDE) == LUA_TSTRING) {
        const char *path = lua_pushfstring(L, "%s/%s", lua_tostring(L, -1), rest);
        lua_pushcfunction(L, read_whole);
        lua_pushvalue(L, -2);
        FILE *f = fopen(path, "rb");
        if (f) {
            lua_pushlightuserdata(L, f);
            int rc = lua_pcall(L, 2, 1, 0);
            fclose(f);
            if (rc != LUA_OK) lua_error(L);
            lua_replace(L, top + 1);
            lua_settop(L, top + 1);
            return true;
        }
    }
    lua_settop(L, top);
    return false;
}

/* Pushes the chunk of bracket/REST, which has this name wherever it comes from, or nothing. */
static bool push_chunk(lua_State *L, const char *rest) {
    const int top = lua_gettop(L);
    const char *name = lua_pushfstring(L, "@bracket/%s", rest), *text = NULL;
    const embed_file *f = NULL;
    size_t size = 0;
    if (push_override(L, rest)) text = lua_tolstring(L, -1, &size);
    else if ((f = find_embedded(name + 1))) text = (const char *)f->bytes, size = f->size;
    if (text) {
        if (luaL_loadbufferx(L, text, size, name, "t") != LUA_OK) lua_error(L);
        lua_replace(L, top + 1);
    }
    lua_settop(L, text ? top + 1 : top);
    return text != NULL;
}

/* Pushes the text of the page bracket/REST, or nothing. */
static bool push_page(lua_State *L, const char *rest) {
    if (push_override(L, rest)) return true;
    const embed_file *f = find_embedded(lua_pushfstring(L, "bracket/%s", rest));
    lua_pop(L, 1);
    if (f) lua_pushlstring(L, (const char *)f->bytes, f->size);
    return f != NULL;
}

static void add_path(lua_State *L, int names, int folders, const char *room, const char *rest) {
    size_t n = strlen(room);
    if (n) {
        if (strncmp(rest, room, n) != 0 || rest[n] != '/') return;
        rest += n + 1;
    }
    if (*rest == '_') return;
    const char *slash = strchr(rest, '/'), *dot = strrchr(rest, '.');
    if (slash && folders && !n) {
        lua_pushlstring(L, rest, (size_t)(slash - rest));
        lua_pushboolean(L, 1);
        lua_rawset(L, folders);
    } else if (!slash && dot && (strcmp(dot, ".lua") == 0 || strcmp(dot, ".md") == 0)) {
        lua_pushlstring(L, rest, (size_t)(dot - rest));
        lua_pushboolean(L, 1);
        lua_rawset(L, names);
    }
}

typedef struct listing {
    DIR *dir;
    bool slashes; /* behind the names of folders */
    int links;    /* path_links */
} listing;

static int list_folder(lua_State *L) { /* names, listing */
    listing *l = lua_touserdata(L, 2);
    struct stat st;
    for (struct dirent *d; (d = readdir(l->dir));) {
        if (l->slashes && fstatat(dirfd(l->dir), d->d_name, &st, l->links) == 0 && S_ISDIR(st.st_mode))
            lua_pushfstring(L, "%s/", d->d_name);
        else
            lua_pushstring(L, d->d_name);
        lua_rawseti(L, 1, (lua_Integer)lua_rawlen(L, 1) + 1);
    }
    return 0;
}

/* The entries of a folder as an array; none and false, with errno, where it cannot be read. */
static bool push_folder(lua_State *L, const char *path, bool slashes) {
    lua_newtable(L);
    listing l = { path_open_folder(bind_ctx(L), path), slashes, path_links(bind_ctx(L)) };
    if (!l.dir) return false;
    lua_pushcfunction(L, list_folder);
    lua_pushvalue(L, -2);
    lua_pushlightuserdata(L, &l);
    int rc = lua_pcall(L, 2, 0, 0);
    closedir(l.dir);
    if (rc != LUA_OK) lua_error(L);
    return true;
}

void room_list(lua_State *L, int names, int folders, const char *room) {
    for (const embed_file *f = embed_files; f->path; f++)
        add_path(L, names, folders, room, f->path + strlen("bracket/"));
    if (lua_getfield(L, LUA_REGISTRYINDEX, OVERRIDE) == LUA_TSTRING) {
        const char *base = lua_tostring(L, -1);
        push_folder(L, *room ? lua_pushfstring(L, "%s/%s", base, room) : base, false);
        int entries = lua_gettop(L);
        for (lua_Integer i = 1; lua_rawgeti(L, entries, i) == LUA_TSTRING; i++) {
            const char *entry = lua_tostring(L, -1);
            bool folder = plain_name(entry); /* a name without a dot */
            const char *rest = folder ? lua_pushfstring(L, "%s/", entry) : entry;
            if (*room) rest = lua_pushfstring(L, "%s/%s", room, rest);
            add_path(L, names, folders, room, rest);
            lua_settop(L, entries);
        }
    }
    lua_settop(L, folders ? folders : names);
}

/* ---- rooms: tables whose missing fields are files ---- */

static const char *push_path(lua_State *L, const char *room, const char *name, const char *ending) {
    return lua_pushfstring(L, "%s%s%s%s", room, *room ? "/" : "", name, ending);
}

static int room_index(lua_State *L) { /* table, key; upvalues: room, hidden rooms or nil, the table itself */
    if (lua_type(L, 2) != LUA_TSTRING || !plain_name(lua_tostring(L, 2))) return 0;
    lua_settop(L, 2);
    const char *room = lua_tostring(L, lua_upvalueindex(1)), *name = lua_tostring(L, 2);
    if (lua_istable(L, lua_upvalueindex(2))) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL) return 1;
        lua_settop(L, 2);
    }
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LOADING);
    push_path(L, room, name, ".lua"); /* 3 loading, 4 path */
    bool private = *name == '_';
    if (private) {
        luaL_getsubtable(L, LUA_REGISTRYINDEX, PRIVATE);
        if (lua_getfield(L, -1, lua_tostring(L, 4)) != LUA_TNIL) return 1;
        lua_settop(L, 4);
    }
    if (!push_chunk(L, lua_tostring(L, 4))) return push_page(L, push_path(L, room, name, ".md"));
    lua_pushvalue(L, 4);
    if (lua_rawget(L, 3) != LUA_TNIL)
        return luaL_error(L, "bracket/%s: loads itself: it needs its own value while loading", lua_tostring(L, 4));
    lua_pop(L, 1);
    lua_pushvalue(L, 4);
    bind_push_loader(L);
    lua_insert(L, -2);
    lua_getfield(L, LUA_REGISTRYINDEX, ROOM_MODULE);
    lua_pushvalue(L, 4); /* last: what fails from here on is caught, and it is loading no more */
    lua_pushboolean(L, 1);
    lua_rawset(L, 3);
    int rc = lua_pcall(L, 2, 1, 0);
    lua_pushvalue(L, 4);
    lua_pushnil(L);
    lua_rawset(L, 3);
    if (rc != LUA_OK) return lua_error(L);
    if (lua_isnil(L, -1)) return luaL_error(L, "bracket/%s returns no value", lua_tostring(L, 4));
    if (private) {
        luaL_getsubtable(L, LUA_REGISTRYINDEX, PRIVATE);
        lua_pushvalue(L, 4);
        lua_pushvalue(L, -3);
        lua_rawset(L, -3);
        lua_pop(L, 1);
        return 1;
    }
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, lua_upvalueindex(3));
    return 1;
}

static int room_pairs(lua_State *L) { /* loads every file of the room, then lists */
    lua_settop(L, 1);
    const char *room = lua_tostring(L, lua_upvalueindex(1));
    lua_newtable(L);
    room_list(L, 2, 0, room);
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_gettable(L, 1);
        lua_pop(L, 1);
    }
    lua_getglobal(L, "next");
    lua_pushvalue(L, 1);
    return 2;
}

/* What C made goes before a file of its name, which nobody would ever read. */
static void refuse_hidden(lua_State *L, int t, const char *room) {
    lua_pushnil(L);
    if (!lua_next(L, t)) return;
    lua_settop(L, t);
    lua_newtable(L);
    room_list(L, t + 1, 0, room);
    lua_pushnil(L);
    while (lua_next(L, t + 1)) {
        lua_settop(L, t + 2); /* the name */
        lua_pushvalue(L, t + 2);
        if (lua_rawget(L, t) != LUA_TNIL) {
            push_path(L, room, lua_tostring(L, t + 2), "");
            luaL_gsub(L, lua_tostring(L, -1), "/", ".");
            luaL_error(L, "bracket/%s.lua: bk.%s is there in C, which would hide the file", lua_tostring(L, -2),
                       lua_tostring(L, -1));
        }
        lua_settop(L, t + 2);
    }
    lua_settop(L, t);
}

void room_make(lua_State *L, const char *room, int hidden) {
    int t = lua_gettop(L);
    refuse_hidden(L, t, room);
    if (!lua_getmetatable(L, t)) lua_createtable(L, 0, 2);
    lua_pushstring(L, room);
    if (hidden)
        lua_pushvalue(L, hidden);
    else
        lua_pushnil(L);
    lua_pushvalue(L, t);
    lua_pushcclosure(L, room_index, 3);
    lua_setfield(L, -2, "__index");
    lua_pushstring(L, room);
    lua_pushcclosure(L, room_pairs, 1);
    lua_setfield(L, -2, "__pairs");
    lua_setmetatable(L, t);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, ROOMS);
    lua_pushvalue(L, t);
    lua_pushstring(L, room);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static bool is_folder(const char *path) {
    DIR *d = opendir(path);
    if (d) closedir(d);
    return d != NULL;
}

void room_find_override(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    bool ignore = lua_toboolean(L, -1) || env_restricted(L);
    lua_pop(L, 1);
    const char *dir = ignore ? NULL : getenv("BRACKET_LUA");
    if (!dir || !*dir) return;
    const char *inner = lua_pushfstring(L, "%s/bracket", dir);
    const bool outer = is_folder(inner); /* lua/ or lua/bracket */
    if (!outer && !is_folder(dir)) luaL_error(L, "BRACKET_LUA: expected a folder, got %s: %s", dir, strerror(errno));
    lua_pushstring(L, outer ? inner : dir);
    lua_setfield(L, LUA_REGISTRYINDEX, OVERRIDE);
    lua_pop(L, 1);
}

/* ---- what lua/bracket itself asks ---- */

static int internal_names(lua_State *L) { /* names(room): what its files are, in no order, loading none */
    const char *room = luaL_optstring(L, 1, "");
    lua_settop(L, 1);
    lua_newtable(L);
    room_list(L, 2, 0, room);
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, 3, (lua_Integer)lua_rawlen(L, 3) + 1);
    }
    return 1;
}

static int internal_room(lua_State *L) { /* room(t): the name of the room that the table is, or nil */
    luaL_checkany(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, ROOMS);
    lua_pushvalue(L, 1);
    lua_rawget(L, -2);
    return 1;
}

/* folder(path): its entries, folders with a slash behind; none, and why, where it cannot be read */
static int internal_folder(lua_State *L) {
    if (push_folder(L, args_path(L, 1, luaL_optstring(L, 2, "folder")), true)) return 1;
    lua_pushstring(L, strerror(errno));
    return 2;
}

static int internal_source(lua_State *L) { /* source(path): the text of a file in the library, or nil */
    const embed_file *f = find_embedded(luaL_checkstring(L, 1));
    if (f) lua_pushlstring(L, (const char *)f->bytes, f->size);
    return f != NULL;
}

const bind_row *room_rows(void) {
    static const bind_row rows[] = {
        { "names", internal_names, NULL },
        { "room", internal_room, NULL },
        { "folder", internal_folder, NULL },
        { "source", internal_source, NULL },
        { NULL, NULL, NULL },
    };
    return rows;
}

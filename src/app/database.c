/* database.c - a file of SQLite's as flat lists of cells: what lua/bracket/_run_index.lua keeps its index in. Only the
 * program has it. Nothing here waits for another process, and no failure is an error of Lua's: an index can be done
 * without. */
#include "app.h"

#include <sqlite3.h>

static const char KIND[] = "bracket.database";

typedef struct database {
    sqlite3 *db;
    sqlite3_stmt *running; /* left by an error of Lua's in the middle of a query */
} database;

static int fails(lua_State *L, const database *d, int rc) { /* nil, what is wrong, whether another has the file */
    lua_pushnil(L);
    lua_pushstring(L, d->db ? sqlite3_errmsg(d->db) : sqlite3_errstr(rc));
    lua_pushboolean(L, (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED);
    return 3;
}

static void finalize(database *d) {
    sqlite3_finalize(d->running);
    d->running = NULL;
}

static int database_close(lua_State *L) {
    database *d = luaL_checkudata(L, 1, KIND);
    finalize(d);
    sqlite3_close(d->db);
    d->db = NULL;
    return 0;
}

static int bind(lua_State *L, sqlite3_stmt *s, int place, int index) {
    size_t n;
    if (lua_isinteger(L, index)) return sqlite3_bind_int64(s, place, lua_tointeger(L, index));
    const char *text = lua_tolstring(L, index, &n);
    return text ? sqlite3_bind_blob64(s, place, text, n, SQLITE_TRANSIENT) : sqlite3_bind_null(s, place);
}

static void push_cell(lua_State *L, sqlite3_stmt *s, int column) {
    if (sqlite3_column_type(s, column) == SQLITE_INTEGER)
        lua_pushinteger(L, sqlite3_column_int64(s, column));
    else {
        const void *bytes = sqlite3_column_blob(s, column);
        lua_pushlstring(L, bytes ? bytes : "", (size_t)sqlite3_column_bytes(s, column));
    }
}

/* db:query(sql [, values]): the cells of all rows, one after the other. Where there are values, the statement runs once
 * for as many of them as it has places. */
static int database_query(lua_State *L) {
    database *d = luaL_checkudata(L, 1, KIND);
    const char *sql = luaL_checkstring(L, 2);
    const lua_Integer given = lua_istable(L, 3) ? luaL_len(L, 3) : 0;
    lua_Integer used = 0, n = 0;
    if (!d->db) return fails(L, d, SQLITE_MISUSE);
    finalize(d);
    lua_settop(L, 3);
    lua_newtable(L);
    int rc = sqlite3_prepare_v2(d->db, sql, -1, &d->running, NULL);
    const int places = rc == SQLITE_OK ? sqlite3_bind_parameter_count(d->running) : 0;
    do {
        for (int i = 1; rc == SQLITE_OK && i <= places; i++) {
            lua_rawgeti(L, 3, ++used);
            rc = bind(L, d->running, i, -1);
            lua_pop(L, 1);
        }
        while (rc == SQLITE_OK && (rc = sqlite3_step(d->running)) == SQLITE_ROW) {
            for (int c = 0; c < sqlite3_column_count(d->running); c++) {
                push_cell(L, d->running, c);
                lua_rawseti(L, 4, ++n);
            }
            rc = SQLITE_OK;
        }
        if (rc == SQLITE_DONE) rc = sqlite3_reset(d->running);
    } while (rc == SQLITE_OK && places > 0 && used + places <= given);
    if (rc != SQLITE_OK) {
        const int values = fails(L, d, rc);
        finalize(d);
        return values;
    }
    finalize(d);
    return 1;
}

static int database_open(lua_State *L) { /* database(path): made where it is missing; nil and what is wrong */
    const char *path = luaL_checkstring(L, 1);
    database *d = lua_newuserdatauv(L, sizeof *d, 0);
    *d = (database){ 0 };
    luaL_setmetatable(L, KIND);
    int rc = sqlite3_open_v2(path, &d->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    if (rc != SQLITE_OK) {
        sqlite3_close(d->db);
        d->db = NULL;
        rc = sqlite3_open_v2(path, &d->db, SQLITE_OPEN_READONLY, NULL);
    }
    if (rc != SQLITE_OK) return fails(L, d, rc);
    lua_settop(L, 2);
    return 1;
}

void database_push(lua_State *L) {
    static const luaL_Reg methods[] = {
        { "query", database_query }, { "close", database_close }, { "__gc", database_close }, { NULL, NULL }
    };
    if (luaL_newmetatable(L, KIND)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
    lua_pushcfunction(L, database_open);
}

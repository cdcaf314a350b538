/* main.c - the program: lua(1)'s options with lua(1)'s meaning, and --help, --version, --threads; commands, which stand
 * in a script's place: lua/bracket/command/NAME.lua returns a function of an array of arguments.
 * Exit status 0; 1 after an error, whose message and traceback go to stderr; 2 for usage; 75 when a signal stopped a
 * run after its checkpoint; 130 after Ctrl-C; a command's own. */
#include "../bind/args.h"
#include "../bind/bind.h"
#include "../ranks/ranks.h"
#include "app.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct options {
    int argc;
    char **argv;
    int script;  /* index of the script in argv; argc: none */
    int options; /* options end before this index */
    bool interactive, version, no_environment, warnings, executes, help;
    int threads;
    int status; /* what a command returned */
    bool interrupted;
    const char *problem, *what; /* of a usage error */
} options;

static bool usage(options *o, const char *problem, const char *what) {
    o->problem = problem;
    o->what = what;
    return false;
}

/* False with what is wrong in o. */
static bool read_options(options *o) {
    int i = 1;
    for (; i < o->argc; i++) {
        const char *a = o->argv[i];
        if (a[0] != '-' || a[1] == 0) break; /* a script, or - */
        if (strcmp(a, "--") == 0) {
            i++;
            break;
        }
        if (strcmp(a, "--help") == 0)
            o->help = true;
        else if (strcmp(a, "--version") == 0)
            o->version = o->executes = true;
        else if (strcmp(a, "--threads") == 0 || strncmp(a, "--threads=", 10) == 0) {
            const char *value = a[9] ? a + 10 : ++i < o->argc ? o->argv[i] : "";
            char *end;
            long n = strtol(value, &end, 10);
            if (end == value || *end || n < 1 || n > 256) return usage(o, "--threads: expected 1..256, got", value);
            o->threads = (int)n;
        } else if (strcmp(a, "-i") == 0)
            o->interactive = true;
        else if (strcmp(a, "-v") == 0)
            o->version = o->executes = true;
        else if (strcmp(a, "-E") == 0)
            o->no_environment = true;
        else if (strcmp(a, "-W") == 0)
            o->warnings = true;
        else if (a[1] == 'e' || a[1] == 'l') {
            o->executes |= a[1] == 'e';
            if (a[2] == 0 && (++i >= o->argc || o->argv[i][0] == '-')) return usage(o, "an argument is needed by", a);
        } else
            return usage(o, "unrecognized option", a);
    }
    o->options = i;
    o->script = i;
    return true;
}

/* ---- parts of a run, each a protected C function that takes the options ---- */

static void warn_off(void *L, const char *text, int more);
static void warn_on(void *L, const char *text, int more);
static void warn_more(void *L, const char *text, int more);

static bool warn_control(lua_State *L, const char *text, int more) {
    if (more || *text != '@') return false;
    if (strcmp(text, "@off") == 0)
        lua_setwarnf(L, warn_off, L);
    else if (strcmp(text, "@on") == 0)
        lua_setwarnf(L, warn_on, L);
    return true;
}

static void warn_off(void *L, const char *text, int more) {
    warn_control(L, text, more);
}

static void warn_more(void *L, const char *text, int more) {
    fputs(text, stderr);
    if (more)
        lua_setwarnf(L, warn_more, L);
    else {
        fputs("\n", stderr);
        lua_setwarnf(L, warn_on, L);
    }
}

static void warn_on(void *L, const char *text, int more) {
    if (warn_control(L, text, more)) return;
    fputs("Lua warning: ", stderr);
    warn_more(L, text, more);
}

static int left = -1; /* the exit status that a script asked for */

/* leave(status): ends the script, whose usage it showed, without a message. */
static int leave(lua_State *L) {
    left = (int)luaL_checkinteger(L, 1);
    lua_newtable(L); /* a table: no traceback is added */
    return lua_error(L);
}

static int message(lua_State *L) {
    app_message(luaL_checkstring(L, 1));
    return 0;
}

static int set_arguments(lua_State *L) {
    const options *o = lua_touserdata(L, 1);
    int zero = o->script < o->argc ? o->script : 0; /* arg[0] is the script, or the program */
    lua_newtable(L);
    for (int i = 0; i < o->argc; i++) {
        lua_pushstring(L, o->argv[i]);
        lua_rawseti(L, -2, i - zero);
    }
    lua_setglobal(L, "arg");
    lua_setwarnf(L, warn_off, L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE); /* only the program shows progress unasked */
    lua_getfield(L, -1, "bracket");
    lua_getfield(L, -1, "internal");
    if (isatty(STDERR_FILENO)) bind_ctx(L)->told = line_tell;
    lua_pushboolean(L, isatty(STDERR_FILENO));
    lua_setfield(L, -2, "on_terminal");
    line_push(L);
    lua_setfield(L, -2, "line");
    lua_pushstring(L, o->argc > 0 ? o->argv[0] : "bracket"); /* with no slash in it, as PATH says: jobs_push's start */
    lua_setfield(L, -2, "program");
    jobs_push(L);
    lua_setfield(L, -2, "jobs");
    database_push(L);
    lua_setfield(L, -2, "database");
    stop_push(L);
    lua_setfield(L, -2, "signals");
    lua_pushcfunction(L, message);
    lua_setfield(L, -2, "message");
    if (o->script < o->argc) {
        lua_pushcfunction(L, leave);
        lua_setfield(L, -2, "leave");
    }
    return 0;
}

static int run_init(lua_State *L) {
    const char *name = "=LUA_INIT_5_4", *init = getenv(name + 1);
    if (!init) init = getenv((name = "=LUA_INIT") + 1);
    if (!init) return 0;
    if ((init[0] == '@' ? luaL_loadfile(L, init + 1) : luaL_loadbuffer(L, init, strlen(init), name)) != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 0);
    return 0;
}

static int run_library(lua_State *L, const char *text) {
    const char *equal = strchr(text, '=');
    lua_getglobal(L, "require");
    lua_pushstring(L, equal ? equal + 1 : text);
    lua_call(L, 1, 1);
    if (equal)
        lua_pushlstring(L, text, (size_t)(equal - text));
    else {
        const char *mark = strchr(text, '-'); /* name-version goes into global name */
        lua_pushlstring(L, text, mark ? (size_t)(mark - text) : strlen(text));
    }
    lua_insert(L, -2);
    lua_pushglobaltable(L);
    lua_insert(L, -3);
    lua_settable(L, -3);
    return 0;
}

static int run_options(lua_State *L) {
    const options *o = lua_touserdata(L, 1);
    for (int i = 1; i < o->options; i++) {
        const char *a = o->argv[i];
        if (strcmp(a, "--threads") == 0)
            i++;
        else if (strcmp(a, "-W") == 0)
            lua_warning(L, "@on", 0);
        else if (a[0] == '-' && (a[1] == 'e' || a[1] == 'l')) {
            const char *value = a[2] ? a + 2 : o->argv[++i];
            if (a[1] == 'l')
                run_library(L, value);
            else {
                if (luaL_loadbuffer(L, value, strlen(value), "=(command line)") != LUA_OK) return lua_error(L);
                lua_call(L, 0, 0);
            }
        }
    }
    return 0;
}

/* ---- commands ---- */

static int show_usage(lua_State *L) { /* lua/bracket/command/_program.lua has the options and the commands */
    const options *o = lua_touserdata(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "bracket");
    lua_getfield(L, -1, "command");
    lua_getfield(L, -1, "_program");
    lua_getfield(L, -1, "usage");
    lua_call(L, 0, 1);
    fputs(luaL_checkstring(L, -1), o->problem ? stderr : stdout);
    return 0;
}

static int error_text(lua_State *L) { /* a command's error: { text } */
    lua_rawgeti(L, 1, 1);
    return 1;
}

/* Errors of level 0, which name no place in Lua, are meant for the command's user: no traceback. env_call's handler
 * adds none to what is no string. */
static int command_error(lua_State *L) {
    lua_settop(L, 1);
    if (lua_type(L, 1) != LUA_TSTRING) return 1;
    const char *text = lua_tostring(L, 1);
    bool placed = false;
    lua_Debug frame;
    for (int level = 1; !placed && lua_getstack(L, level, &frame); level++) {
        luaL_where(L, level);
        const char *where = lua_tostring(L, -1);
        placed = *where && strncmp(text, where, strlen(where)) == 0;
        lua_pop(L, 1);
    }
    lua_createtable(L, 1, 0);
    if (placed)
        luaL_traceback(L, L, text, 1);
    else
        lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, error_text);
    lua_setfield(L, -2, "__tostring");
    lua_setmetatable(L, -2);
    return 1;
}

/* The function on top of the stack, a command, is called with the arguments behind its name. */
static int run_command(lua_State *L, options *o) {
    int command = lua_gettop(L);
    lua_pushcfunction(L, command_error);
    lua_pushvalue(L, command);
    lua_createtable(L, o->argc - o->script - 1, 0);
    for (int i = o->script + 1; i < o->argc; i++) {
        lua_pushstring(L, o->argv[i]);
        lua_rawseti(L, -2, i - o->script);
    }
    if (lua_pcall(L, 1, 1, command + 1) != LUA_OK) return lua_error(L);
    int known;
    lua_Integer status = lua_tointegerx(L, -1, &known);
    if (!known && !lua_isnil(L, -1))
        return luaL_error(L, "command %s: expected an exit status, got %s", o->argv[o->script], args_got(L, -1));
    o->status = status < 0 || status > 255 ? 1 : (int)status;
    return 0;
}

/* The command of that name, or nil, comes to the top. */
static bool push_command(lua_State *L, const char *name) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (*name == '_' || lua_getfield(L, -1, "bracket") != LUA_TTABLE ||
        lua_getfield(L, -1, "command") != LUA_TTABLE || lua_getfield(L, -1, name) == LUA_TNIL) return false;
    if (!lua_isfunction(L, -1))
        luaL_error(L, "bracket/command/%s.lua: expected a function of the arguments, got %s", name, args_got(L, -1));
    return true;
}

/* bk.ROOM.MODULE.FUNCTION(text), a text. */
static void push_hint(lua_State *L, const char *room, const char *module, const char *function, const char *text) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "bracket");
    lua_getfield(L, -1, room);
    lua_getfield(L, -1, module);
    lua_getfield(L, -1, function);
    lua_pushstring(L, text);
    lua_call(L, 1, 1);
    lua_replace(L, -5);
    lua_settop(L, -4);
}

static int script_hint(lua_State *L) {
    push_hint(L, "repl", "failure", "meant_in_script", lua_tostring(L, 1));
    return 1;
}

static int run_script(lua_State *L) {
    options *o = lua_touserdata(L, 1);
    const char *path = o->script < o->argc ? o->argv[o->script] : "-";
    bool literal = o->script < o->argc && o->script > 1 && strcmp(o->argv[o->script - 1], "--") == 0;
    bool standard_input = !literal && strcmp(path, "-") == 0;
    if (!literal && o->script < o->argc && push_command(L, path)) return run_command(L, o);
    const int loaded = luaL_loadfile(L, standard_input ? NULL : path);
    if (loaded == LUA_ERRFILE) {
        push_hint(L, "command", "_program", "meant", path);
        lua_concat(L, 2);
    }
    if (loaded != LUA_OK) return lua_error(L);
    if (lua_getglobal(L, "arg") != LUA_TTABLE) return luaL_error(L, "'arg' is not a table");
    int args = lua_gettop(L), n = o->script < o->argc ? (int)luaL_len(L, args) : 0;
    luaL_checkstack(L, n + 3, "too many arguments to script");
    lua_pushvalue(L, args - 1);
    for (int i = 1; i <= n; i++) lua_rawgeti(L, args, i);
    lua_call(L, n, 0);
    return 0;
}

static bool run(bk_env *env, lua_CFunction part, options *o) {
    lua_State *L = bk_lua(env);
    lua_pushcfunction(L, part);
    lua_pushlightuserdata(L, o);
    app_watch(env, true);
    bk_status status = env_call(env, 1, 0);
    app_watch(NULL, false);
    if (status == BK_OK) return true;
    if (left >= 0) return false;
    o->interrupted |= status == BK_EINTERRUPTED;
    fflush(stdout);
    const char *text = bk_error(env), *trace = strstr(text, "\nstack traceback:");
    const bool told = app_stopped || (trace && strcmp(trace, "\nstack traceback:\n\t[C]: in ?") == 0);
    const char *hint = NULL;
    if (strstr(text, "a nil value")) {
        lua_pushcfunction(L, script_hint);
        lua_pushstring(L, text);
        hint = lua_pcall(L, 1, 1, 0) == LUA_OK ? lua_tostring(L, -1) : NULL;
    }
    /* what never ran has no frames to tell of */
    fprintf(stderr, "bracket: %.*s%s%s\n", trace ? (int)(trace - text) : (int)strlen(text), text, hint ? hint : "",
            trace && !told ? trace : "");
    fflush(stderr);
    return false;
}

/* What the exit status is, whatever else was the matter: a signal's. */
static int signal_status(const options *o) {
    return app_stopped == SIGINT || (o->interrupted && !app_stopped) ? 130 : app_stopped ? 75 : 0;
}

/* However a rank ends, os.exit among the ways, the others hear of it. All of them end after a signal. */
static void end_ranks(int status, void *unused) {
    (void)unused;
    ranks_close(status != 0 && !app_stopped);
}

/* Programs that this one starts may run in another folder. */
static void make_sources_absolute(void) {
    const char *dir = getenv("BRACKET_LUA");
    char *whole = dir && *dir && *dir != '/' ? realpath(dir, NULL) : NULL;
    if (whole) setenv("BRACKET_LUA", whole, 1);
    free(whole);
}

int main(int argc, char **argv) {
    options o = { .argc = argc, .argv = argv, .threads = 1 };
    int status = 0;
    const bool told = read_options(&o) && !o.help;
    if (o.problem) fprintf(stderr, "bracket: %s '%s'\n", o.problem, o.what);
#ifdef __GLIBC__
    if (!o.problem) on_exit(end_ranks, NULL);
#endif
    if (told && o.version && !o.interactive) printf("bracket %s  %s\n", BK_VERSION, LUA_RELEASE);
    bk_options settings = { .threads = o.threads };
    err e = { 0 };
    make_sources_absolute();
    bk_env *env = env_open(&settings, o.no_environment, &e);
    if (!env) {
        err_prefix(&e, "while starting");
        app_message(e.text);
        fflush(NULL);
        _exit(1); /* exit() waits for OpenBLAS's threads, which may never get what they need */
    }
    if (!told) {
        const bool shown = run(env, show_usage, &o);
        bk_close(env);
        return o.problem ? 2 : shown && fflush(stdout) == 0 ? 0 : 1;
    }
    bool script = o.script < o.argc;
    bool ok = run(env, set_arguments, &o) && (o.no_environment || run(env, run_init, &o)) && run(env, run_options, &o);
    if (ok && script) {
        ok = run(env, run_script, &o) || o.interactive;
        status = o.status;
    }
    if (ok && (o.interactive || (!script && !o.executes))) {
        if (isatty(STDIN_FILENO) || o.interactive) {
            status = repl_run(env, o.no_environment);
            o.interrupted = false;
        } else
            ok = run(env, run_script, &o);
    }
    bk_close(env);
    if ((fflush(stdout) == EOF || ferror(stdout)) && ok) {
        app_message("standard output could not be written");
        ok = false;
    }
    status = signal_status(&o) ? signal_status(&o) : ok ? status : left >= 0 ? left : 1;
#ifndef __GLIBC__
    end_ranks(status, NULL);
#endif
    return status;
}

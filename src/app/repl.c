/* repl.c - the interactive session on a terminal: its lines, and what becomes of them in
 * lua/bracket/repl/session.lua. An error or Ctrl-C ends the input, never the session. */
#include "repl.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *prompt(EditLine *el) {
    static char first[] = "> ", more[] = ">> ";
    return session_of(el)->continued ? more : first;
}

/* ---- evaluation ---- */

static void report(session *s) { /* on stderr */
    fflush(stdout);
    fprintf(stderr, s->colour ? "\033[31m%s\033[0m\n" : "%s\n", bk_error(s->env));
    fflush(stderr);
}

/* Pushes bk.repl.session[name]. */
static int push_session(lua_State *L) {
    const char *name = lua_touserdata(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "bracket");
    lua_getfield(L, -1, "repl");
    lua_getfield(L, -1, "session");
    lua_getfield(L, -1, name);
    return 1;
}

/* A Ctrl-C that came after the line was read and before the call had begun: the hook was not there to see it. */
static int call_unless_interrupted(lua_State *L) { /* function, text */
    if (app_interrupted) return luaL_error(L, "interrupted");
    lua_pushstring(L, lua_touserdata(L, 2));
    lua_replace(L, 2);
    lua_call(L, 1, LUA_MULTRET);
    return lua_gettop(L);
}

static bk_status call_session(session *s, const char *name, const char *text, int results) {
    lua_State *L = bk_lua(s->env);
    lua_pushcfunction(L, push_session);
    lua_pushlightuserdata(L, (void *)(uintptr_t)name);
    bk_status status = env_call(s->env, 1, 1);
    if (status) return status;
    lua_pushcfunction(L, call_unless_interrupted);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, (void *)(uintptr_t)text);
    return env_call(s->env, 2, results);
}

static bool incomplete(session *s) {
    lua_State *L = bk_lua(s->env);
    if (call_session(s, "incomplete", s->text, 1)) return false;
    bool more = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return more;
}

static void drop_text(session *s) {
    free(s->text);
    s->text = NULL;
    s->length = 0;
    s->continued = false;
}

static void take_line(session *s, const char *line, size_t n) {
    char *longer = realloc(s->text, s->length + n + 1);
    if (!longer) {
        app_message("out of memory: the input is dropped");
        drop_text(s);
        return;
    }
    s->text = longer;
    memcpy(s->text + s->length, line, n);
    s->text[s->length += n] = 0;
    if (strspn(s->text, " \t\r\n") == s->length)
        drop_text(s);
    else if (incomplete(s))
        s->continued = true;
    else {
        history_add(s, s->text);
        if (call_session(s, "run", s->text, 0)) report(s);
        fflush(stdout);
        drop_text(s);
    }
}

static int set_up(lua_State *L) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "bracket");
    lua_pushvalue(L, -1);
    lua_setglobal(L, "bk");
    lua_getfield(L, -1, "help");
    lua_setglobal(L, "help");
    lua_getfield(L, -1, "repl");
    lua_getfield(L, -1, "session"); /* loaded before anything else is set: :who knows the globals by that */
    return 0;
}

static int run_file(lua_State *L) {
    if (luaL_loadfile(L, lua_touserdata(L, 1)) != LUA_OK) return lua_error(L);
    lua_call(L, 0, 0);
    return 0;
}

static void start(session *s, bool no_environment) {
    lua_State *L = bk_lua(s->env);
    char init[4096];
    lua_pushcfunction(L, set_up);
    if (env_call(s->env, 0, 0)) report(s);
    if (no_environment || !history_user_path(init, sizeof init, "XDG_CONFIG_HOME", ".config", "init.lua") ||
        access(init, R_OK))
        return;
    lua_pushcfunction(L, run_file);
    lua_pushlightuserdata(L, init);
    if (env_call(s->env, 1, 0)) report(s);
}

static bool editor_open(session *s) {
    s->el = el_init("bracket", stdin, stdout, stderr);
    s->history = history_init();
    if (!s->el || !s->history) return false;
    el_set(s->el, EL_CLIENTDATA, s);
    el_set(s->el, EL_PROMPT, prompt);
    el_set(s->el, EL_SIGNAL, 0);
    el_set(s->el, EL_EDITOR, "emacs");
    el_set(s->el, EL_HIST, history, s->history);
    if (!s->terminal) return true;
    el_set(s->el, EL_GETCFN, terminal_read);
    keys_bind(s);
    return true;
}

int repl_run(bk_env *env, bool no_environment) {
    session s = { .env = env, .terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) };
    const char *no_colour = getenv("NO_COLOR");
    s.colour = isatty(STDERR_FILENO) && !(no_colour && *no_colour);
    setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8"); /* no locale set: the names in docstrings are UTF-8 */
    int status = 1;
    if (!editor_open(&s)) {
        app_message("out of memory while opening the editor");
        goto done;
    }
    history_open(&s);
    app_watch(env, false);
    terminal_watch(true);
    printf("bracket %s, %s. help() explains, Ctrl-D leaves.\n", BK_VERSION, LUA_RELEASE);
    start(&s, no_environment);
    for (;;) {
        if (s.terminal) terminal_on(s.el); /* before the prompt shows: el_gets alone sets the keys up after it */
        int n = 0;
        app_interrupted = 0;
        app_stopped = 0;
        const char *line = el_gets(s.el, &n);
        if (s.terminal) terminal_off();
        keys_drop(&s);
        if (line && n > 0)
            take_line(&s, line, (size_t)n);
        else if (app_interrupted) {
            fputs("^C\n", stdout);
            drop_text(&s);
            el_reset(s.el);
        } else
            break;
    }
    app_watch(NULL, false);
    terminal_watch(false);
    if (s.terminal) putchar('\n');
    status = 0;
done:
    drop_text(&s);
    keys_drop(&s);
    if (s.history) history_end(s.history);
    if (s.el) el_end(s.el);
    return status;
}

/* repl.c - a session in the terminal: expressions print themselves, statements run, errors leave the session. */
#include "app.h"

#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>



static const char *prompt_now = "> ";
static char *prompt(EditLine *el) {
    (void)el;
    return (char *)(uintptr_t)prompt_now;
}

/* Compiles text as an expression that prints itself, else as a statement: 0, or LUA_OK's opposite with the message on top. */
static bool incomplete(lua_State *L, const char *text) {
    lua_pushfstring(L, "return %s", text);
    bool open = false;
    if (luaL_loadbufferx(L, lua_tostring(L, -1), strlen(lua_tostring(L, -1)), "=stdin", "t")) {
        lua_settop(L, 0);
        if (luaL_loadbufferx(L, text, strlen(text), "=stdin", "t")) {
            const char *m = lua_tostring(L, -1);
            size_t n = m ? strlen(m) : 0;
            open = n > 5 && strcmp(m + n - 5, "<eof>") == 0;
        }
    }
    lua_settop(L, 0);
    return open;
}

static bool expression(lua_State *L, const char *text) {
    lua_pushfstring(L, "return %s", text);
    bool yes = luaL_loadbufferx(L, lua_tostring(L, -1), strlen(lua_tostring(L, -1)), "=stdin", "t") == 0;
    lua_settop(L, 0);
    return yes;
}

static void evaluate(bk_env *env, char *text) {
    lua_State *L = bk_lua(env);
    size_t n = strlen(text);
    while (n && strchr(" \t\r\n", text[n - 1])) text[--n] = 0;
    bool silent = n && text[n - 1] == ';';
    bk_status s;
    char *chunk = NULL;
    if (text[0] == '?' && asprintf(&chunk, "bk.help(%s)", text + 1) > 0) s = bk_dostring(env, chunk, "=stdin");
    else if (!silent && expression(L, text) &&
             asprintf(&chunk, "local r = table.pack(%s) if r.n > 0 then _ = r[1] print(table.unpack(r, 1, r.n)) end", text) > 0)
        s = bk_dostring(env, chunk, "=stdin");
    else s = bk_dostring(env, text, "=stdin");
    free(chunk);
    if (s) fprintf(stderr, "%s\n", bk_error(env));
}

int repl_run(bk_env *env, bool no_environment) {
    (void)no_environment;
    setlocale(LC_CTYPE, "");
    EditLine *el = el_init("bracket", stdin, stdout, stderr);
    History *history_ = history_init();
    HistEvent event;
    if (!el || !history_) return 1;
    history(history_, &event, H_SETSIZE, 2000);
    el_set(el, EL_PROMPT, prompt);
    el_set(el, EL_EDITOR, "emacs");
    el_set(el, EL_HIST, history, history_);
    el_set(el, EL_SIGNAL, 0);
    bk_dostring(env, "help = bk.repl.help", "=repl");
    printf("bracket " BK_VERSION "  help(bk.lie) explains, Ctrl-D leaves\n");
    char *text = NULL;
    int n;
    const char *line;
    while ((line = el_gets(el, &n)) && n > 0) {
        size_t old = text ? strlen(text) : 0;
        char *longer = realloc(text, old + (size_t)n + 1);
        if (!longer) break;
        text = longer;
        memcpy(text + old, line, (size_t)n);
        text[old + (size_t)n] = 0;
        if (text[0] != '?' && incomplete(bk_lua(env), text)) {
            prompt_now = ">> ";
            continue;
        }
        if (strspn(text, " \t\n") < strlen(text)) {
            history(history_, &event, H_ENTER, text);
            evaluate(env, text);
        }
        free(text);
        text = NULL;
        prompt_now = "> ";
    }
    putchar('\n');
    free(text);
    history_end(history_);
    el_end(el);
    return 0;
}

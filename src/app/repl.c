/* repl.c - the interactive session on a terminal: lines, history, paste and keys by libedit,
 * evaluation by lua/bracket/repl/session.lua. An error or Ctrl-C ends the input, never the session. */
#include "app.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_SIZE = 5000 };

typedef struct session {
    bk_env *env;
    EditLine *el;
    History *history;
    char history_path[4096]; /* "": none */
    bool terminal, colour, continued;
    char *text; /* the input so far: lines that are not yet a chunk */
    size_t length;
} session;

static session *session_of(EditLine *el) {
    void *s = NULL;
    el_get(el, EL_CLIENTDATA, &s);
    return s;
}

/* ---- keys ---- */

static char *prompt(EditLine *el) {
    static char first[] = "> ", more[] = ">> ";
    return session_of(el)->continued ? more : first;
}

static volatile sig_atomic_t disturbed; /* the window has another size, or the session comes back from Ctrl-Z */

static void on_disturbance(int signal_number) {
    disturbed = 1;
    app_pass_on(signal_number);
}

static void watch_terminal(void (*handler)(int)) {
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
    sigemptyset(&action.sa_mask);
    sigaction(SIGWINCH, &action, NULL);
    sigaction(SIGCONT, &action, NULL);
}

/* Keys one by one, pasted blocks marked, and the line as wide as the window. */
static void terminal_on(EditLine *el) {
    disturbed = 0;
    fputs("\033[?2004h", stdout);
    fflush(stdout);
    el_resize(el);
    el_set(el, EL_PREP_TERM, 0); /* it believes its own record of the mode, which a shell may have changed */
    el_set(el, EL_PREP_TERM, 1);
}

/* False after Ctrl-C. Signals are let through during the wait alone, so that none slips in between the look at its flag
 * and the wait. */
static bool wait_for_input(EditLine *el) {
    sigset_t watched, before;
    sigemptyset(&watched);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGWINCH);
    sigaddset(&watched, SIGCONT);
    for (;;) {
        sigprocmask(SIG_BLOCK, &watched, &before);
        fd_set set;
        FD_ZERO(&set);
        FD_SET(STDIN_FILENO, &set);
        if (!app_interrupted && !disturbed) pselect(STDIN_FILENO + 1, &set, NULL, NULL, NULL, &before);
        sigprocmask(SIG_SETMASK, &before, NULL);
        if (app_interrupted || !disturbed) return !app_interrupted;
        terminal_on(el);
        el_set(el, EL_REFRESH);
    }
}

/* libedit's own reader swallows the first EINTR; this one hands Ctrl-C over as the end of the line. */
static int read_char(EditLine *el, wchar_t *out) {
    mbstate_t state = { 0 };
    for (;;) {
        char byte;
        if (!wait_for_input(el)) return -1;
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n == 0) return 0;
        if (n < 0) {
            if (errno != EINTR) return -1;
            continue;
        }
        size_t used = mbrtowc(out, &byte, 1, &state);
        if (used == (size_t)-2) continue; /* more bytes of this character */
        if (used == (size_t)-1) {
            memset(&state, 0, sizeof state);
            *out = L'?';
        } else if (used == 0)
            *out = 0;
        return 1;
    }
}

/* ESC [ 200 ~ text ESC [ 201 ~: the pasted text goes into the line as it is, newlines too, as one input. */
static unsigned char key_paste(EditLine *el, int key) {
    static const char end[] = "\033[201~";
    (void)key;
    size_t used = 0, size = 4096;
    char *text = malloc(size);
    bool complete = false;
    while (text && !complete) {
        char c[MB_LEN_MAX];
        wchar_t wide;
        mbstate_t state = { 0 };
        if (read_char(el, &wide) != 1) break;
        size_t n = wcrtomb(c, wide, &state);
        if (n == (size_t)-1) continue;
        if (used + n + 1 > size) {
            char *larger = realloc(text, size *= 2);
            if (!larger) break;
            text = larger;
        }
        memcpy(text + used, c, n);
        used += n;
        complete = used >= sizeof end - 1 && memcmp(text + used - (sizeof end - 1), end, sizeof end - 1) == 0;
    }
    if (!text) return CC_ERROR;
    if (complete) used -= sizeof end - 1;
    for (size_t i = 0; i < used; i++)
        if (text[i] == '\r') text[i] = '\n';
    while (used && text[used - 1] == '\n') used--; /* Enter stays the user's */
    text[used] = 0;
    bool ok = used == 0 || el_insertstr(el, text) == 0;
    free(text);
    return ok ? CC_REFRESH : CC_ERROR;
}

static void show_candidates(lua_State *L, int list, int n) {
    struct winsize w;
    size_t widest = 0, columns = ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, list, i);
        size_t length = strlen(lua_tostring(L, -1));
        if (length > widest) widest = length;
        lua_pop(L, 1);
    }
    int per_row = (int)(columns / (widest + 2)), shown = n < 200 ? n : 200;
    if (per_row < 1) per_row = 1;
    putchar('\n');
    for (int i = 1; i <= shown; i++) {
        lua_rawgeti(L, list, i);
        bool last = i % per_row == 0 || i == shown;
        printf("%-*s%s", last ? 0 : (int)widest + 2, lua_tostring(L, -1), last ? "\n" : "");
        lua_pop(L, 1);
    }
    if (shown < n) printf("... and %d more\n", n - shown);
    fflush(stdout);
}

static unsigned char key_complete(EditLine *el, int key) {
    session *s = session_of(el);
    const LineInfo *line = el_line(el);
    (void)key;
    const char *start = line->cursor;
    while (start > line->buffer && start[-1] != '\n') start--;
    if (strspn(start, " \t") >= (size_t)(line->cursor - start)) /* nothing before the cursor: indent */
        return el_insertstr(el, "    ") == 0 ? CC_REFRESH : CC_ERROR;
    lua_State *L = bk_lua(s->env);
    int top = lua_gettop(L);
    size_t replaced = complete_push(L, line->buffer, (size_t)(line->cursor - line->buffer));
    unsigned char result = CC_ERROR;
    int list = top + 1, n = lua_istable(L, list) ? (int)lua_rawlen(L, list) : 0;
    if (n > 0) { /* the longest common beginning */
        lua_rawgeti(L, list, 1);
        char *common = strdup(lua_tostring(L, -1));
        for (int i = 2; common && i <= n; i++) {
            lua_rawgeti(L, list, i);
            const char *other = lua_tostring(L, -1);
            size_t k = 0;
            while (common[k] && common[k] == other[k]) k++;
            common[k] = 0;
            lua_pop(L, 1);
        }
        if (common && strlen(common) > replaced)
            result = el_insertstr(el, common + replaced) == 0 ? CC_REFRESH : CC_ERROR;
        else if (common && n > 1) {
            show_candidates(L, list, n);
            result = CC_REDISPLAY;
        }
        free(common);
    }
    lua_settop(L, top);
    return result;
}

/* ---- history and the init file ---- */

static bool user_path(char *out, size_t size, const char *variable, const char *below_home, const char *leaf) {
    const char *base = getenv(variable), *home = getenv("HOME");
    int n = -1;
    if (base && base[0] == '/')
        n = snprintf(out, size, "%s/bracket/%s", base, leaf);
    else if (home && *home)
        n = snprintf(out, size, "%s/%s/bracket/%s", home, below_home, leaf);
    if (n > 0 && (size_t)n < size) return true;
    out[0] = 0;
    return false;
}

static void make_folders(const char *path) {
    char part[4096];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        mkdir(part, 0700); /* one that exists already is what is wanted */
    }
}

static void history_open(session *s) {
    HistEvent event;
    history(s->history, &event, H_SETSIZE, HISTORY_SIZE);
    history(s->history, &event, H_SETUNIQUE, 1);
    if (!s->terminal ||
        !user_path(s->history_path, sizeof s->history_path, "XDG_STATE_HOME", ".local/state", "history"))
        return;
    make_folders(s->history_path);
    int fd = open(s->history_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        s->history_path[0] = 0;
        return;
    }
    fchmod(fd, 0600);
    close(fd);
    history(s->history, &event, H_LOAD, s->history_path);
}

/* Written after each input: a session that is killed loses nothing. */
static void history_add(session *s, const char *text) {
    HistEvent event;
    char *copy = strdup(text);
    if (!copy) return;
    size_t n = strlen(copy);
    while (n && copy[n - 1] == '\n') copy[--n] = 0;
    if (n) history(s->history, &event, H_ENTER, copy);
    free(copy);
    if (n && s->history_path[0]) history(s->history, &event, H_SAVE, s->history_path);
}

/* ---- evaluation ---- */

/* Takes tail off the end of the first n bytes of text; false when it is not there. */
static bool take_off(const char *text, size_t *n, const char *tail) {
    size_t k = strlen(tail);
    if (*n < k || memcmp(text + *n - k, tail, k) != 0) return false;
    *n -= k;
    return true;
}

/* Message and traceback on stderr, without the frames of the REPL itself; the input is its local function f. */
static void report(session *s) {
    static const char place[] = "bracket/repl/session.lua:";
    const char *text = bk_error(s->env), *chunk = "";
    if (strncmp(text, place, strlen(place)) == 0) { /* the input itself was interrupted */
        const char *message = strstr(text + strlen(place), ": ");
        if (message) text = message + 2;
    }
    size_t n = strlen(text);
    const char *own = strstr(text, place);
    if (own) {
        while (own > text && *own != '\n') own--;
        n = (size_t)(own - text);
        take_off(text, &n, "\nstack traceback:");
        if (take_off(text, &n, "in local 'f'")) chunk = "in main chunk";
    }
    fflush(stdout);
    fprintf(stderr, s->colour ? "\033[31m%.*s%s\033[0m\n" : "%.*s%s\n", (int)n, text, chunk);
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
    if (no_environment || !user_path(init, sizeof init, "XDG_CONFIG_HOME", ".config", "init.lua") || access(init, R_OK))
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
    el_set(s->el, EL_GETCFN, read_char);
    el_set(s->el, EL_ADDFN, "bracket-complete", "Complete the word before the cursor, or indent", key_complete);
    el_set(s->el, EL_ADDFN, "bracket-paste", "Take a pasted block", key_paste);
    el_source(s->el, NULL);
    el_set(s->el, EL_BIND, "^I", "bracket-complete", NULL);
    el_set(s->el, EL_BIND, "\033[200~", "bracket-paste", NULL);
    el_set(s->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
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
    watch_terminal(on_disturbance);
    printf("bracket %s, %s. help() explains, Ctrl-D leaves.\n", BK_VERSION, LUA_RELEASE);
    start(&s, no_environment);
    for (;;) {
        if (s.terminal) terminal_on(s.el); /* before the prompt shows: el_gets alone sets the keys up after it */
        int n = 0;
        app_interrupted = 0;
        app_stopped = 0;
        const char *line = el_gets(s.el, &n);
        if (s.terminal) {
            fputs("\033[?2004l", stdout);
            fflush(stdout);
        }
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
    watch_terminal(SIG_DFL);
    if (s.terminal) putchar('\n');
    status = 0;
done:
    drop_text(&s);
    if (s.history) history_end(s.history);
    if (s.el) el_end(s.el);
    return status;
}

/* terminal.c - the terminal of a session: keys one by one, signals that come while it waits for one, and the places
 * of its input on the screen, which libedit keeps to itself. */
#include "repl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <unistd.h>
#include <wchar.h>

session *session_of(EditLine *el) {
    void *s = NULL;
    el_get(el, EL_CLIENTDATA, &s);
    return s;
}

static volatile sig_atomic_t disturbed; /* the window has another size, or the session comes back from Ctrl-Z */
static volatile sig_atomic_t resized;

static void on_disturbance(int signal_number) {
    if (signal_number == SIGWINCH) resized = 1;
    disturbed = 1;
    app_pass_on(signal_number);
}

void terminal_watch(bool on) {
    struct sigaction action = { .sa_handler = on ? on_disturbance : SIG_DFL, .sa_flags = SA_RESTART };
    sigemptyset(&action.sa_mask);
    sigaction(SIGWINCH, &action, NULL);
    sigaction(SIGCONT, &action, NULL);
}

/* Keys one by one, pasted blocks marked, and the line as wide as the window. */
void terminal_on(EditLine *el) {
    disturbed = resized = 0;
    fputs("\033[?2004h", stdout);
    fflush(stdout);
    el_resize(el);
    el_set(el, EL_PREP_TERM, 0); /* it believes its own record of the mode, which a shell may have changed */
    el_set(el, EL_PREP_TERM, 1);
}

void terminal_off(void) {
    fputs("\033[?2004l", stdout);
    fflush(stdout);
}

int terminal_columns(void) {
    struct winsize w;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
}

/* ---- places ---- */

typedef struct place {
    int row, column;
} place;

/* Where the cursor stands after that text, as libedit lays it out: a full row goes on in the next one. */
static place after(place p, const wchar_t *text, const wchar_t *end, int columns) {
    for (; text < end; text++) {
        int width = *text == L'\t' ? 8 - p.column % 8 : wcwidth(*text);
        if (width < 0) width = 2; /* ^X */
        if (*text == L'\n' || p.column + width > columns) {
            p.row++;
            p.column = 0;
        }
        if (*text != L'\n') p.column += width;
        if (p.column >= columns) {
            p.row++;
            p.column = 0;
        }
    }
    return p;
}

static int prompt_columns(const session *s) {
    return s->continued ? 3 : 2;
}

/* Rows of what stands on the screen above the input: the lines of an unfinished chunk. */
static int rows_above(const session *s, int columns) {
    place p = { 0, 2 };
    mbstate_t state = { 0 };
    for (const char *c = s->text, *end = s->text + s->length; s->text && c < end;) {
        wchar_t wide;
        size_t n = mbrtowc(&wide, c, (size_t)(end - c), &state);
        if (n == 0 || n > (size_t)(end - c)) {
            wide = L'?';
            n = 1;
        }
        p = after(p, &wide, &wide + 1, columns);
        if (wide == L'\n') p.column = 3;
        c += n;
    }
    return p.row;
}

static void up_and_clear(int rows) {
    if (rows) printf("\033[%dA", rows);
    fputs("\r\033[J", stdout);
    fflush(stdout);
}

static int rows_before(EditLine *el, int columns) { /* of the line that is being edited, before the cursor */
    const LineInfoW *line = el_wline(el);
    return after((place){ 0, prompt_columns(session_of(el)) }, line->buffer, line->cursor, columns).row;
}

void terminal_to_top(EditLine *el) {
    const int columns = terminal_columns();
    up_and_clear(rows_before(el, columns) + rows_above(session_of(el), columns));
}

/* After Ctrl-C in the middle of a block: what comes next stands below all of it. */
static void to_end(EditLine *el) {
    const int columns = terminal_columns();
    const LineInfoW *line = el_wline(el);
    const place from = after((place){ 0, prompt_columns(session_of(el)) }, line->buffer, line->cursor, columns);
    const place to = after(from, line->cursor, line->lastchar, columns);
    if (to.row > from.row) printf("\033[%dB", to.row - from.row);
    if (line->lastchar > line->cursor) printf("\033[%dG", to.column + 1);
    fflush(stdout);
}

/* ---- keys ---- */

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
        if (app_interrupted) to_end(el);
        if (app_interrupted || !disturbed) return !app_interrupted;
        if (resized) up_and_clear(rows_before(el, terminal_columns())); /* the terminal has laid it out anew */
        terminal_on(el);
        el_set(el, EL_REFRESH);
    }
}

/* libedit's own reader swallows the first EINTR; this one hands Ctrl-C over as the end of the line. */
int terminal_read(EditLine *el, wchar_t *out) {
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

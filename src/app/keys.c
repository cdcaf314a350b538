/* keys.c - what keys do: completion, pasted blocks, words, and movement in a block and through the history. A line with
 * newlines in it is a block: it was pasted or recalled, or the lines above the prompt were fetched back with Up. */
#include "repl.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

/* ---- pasted blocks ---- */

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
        if (terminal_read(el, &wide) != 1) break;
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

static unsigned char key_newline(EditLine *el, int key) {
    (void)key;
    return el_insertstr(el, "\n") == 0 ? CC_REFRESH : CC_ERROR;
}

/* ---- completion ---- */

static void show_candidates(lua_State *L, int list, int n) {
    size_t widest = 0, columns = (size_t)terminal_columns();
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

/* The longest common beginning of the list's strings, or NULL. */
static char *common_beginning(lua_State *L, int list, int n) {
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
    return common;
}

/* The candidates may begin otherwise than what they replace: ~/ becomes the home folder. */
static unsigned char complete_line(EditLine *el, lua_State *L, const char *line, size_t cursor) {
    const size_t replaced = complete_push(L, line, cursor);
    const int list = lua_gettop(L), n = lua_istable(L, list) ? (int)lua_rawlen(L, list) : 0;
    char *common = n > 0 ? common_beginning(L, list, n) : NULL;
    unsigned char result = CC_ERROR;
    if (!common) return CC_ERROR;
    const char *word = line + cursor - replaced;
    const bool same = strncmp(common, word, replaced) == 0;
    if (same && strlen(common) > replaced)
        result = el_insertstr(el, common + replaced) == 0 ? CC_REFRESH : CC_ERROR;
    else if (!same && *common) {
        size_t characters = 0;
        for (const char *c = word; c < line + cursor; c++) characters += (*c & 0xC0) != 0x80;
        el_deletestr(el, (int)characters);
        result = el_insertstr(el, common) == 0 ? CC_REFRESH : CC_ERROR;
    } else if (n > 1) {
        show_candidates(L, list, n);
        result = CC_REDISPLAY;
    }
    free(common);
    return result;
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
    const int top = lua_gettop(L);
    const size_t before = (size_t)(line->cursor - line->buffer);
    char *whole = malloc(s->length + before + 1); /* a call's table may have begun in a line above */
    if (!whole) return CC_ERROR;
    if (s->length) memcpy(whole, s->text, s->length);
    memcpy(whole + s->length, line->buffer, before);
    whole[s->length + before] = 0;
    const unsigned char result = complete_line(el, L, whole, s->length + before);
    free(whole);
    lua_settop(L, top);
    return result;
}

/* ---- words: letters, digits and _ ---- */

static bool in_word(wchar_t c) {
    return c == L'_' || iswalnum((wint_t)c);
}

static int to_word_start(const LineInfoW *line) { /* characters from the cursor back */
    const wchar_t *c = line->cursor;
    while (c > line->buffer && !in_word(c[-1])) c--;
    while (c > line->buffer && in_word(c[-1])) c--;
    return (int)(line->cursor - c);
}

static int to_word_end(const LineInfoW *line) {
    const wchar_t *c = line->cursor;
    while (c < line->lastchar && !in_word(*c)) c++;
    while (c < line->lastchar && in_word(*c)) c++;
    return (int)(c - line->cursor);
}

static unsigned char key_previous_word(EditLine *el, int key) {
    (void)key;
    el_cursor(el, -to_word_start(el_wline(el)));
    return CC_CURSOR;
}

static unsigned char key_next_word(EditLine *el, int key) {
    (void)key;
    el_cursor(el, to_word_end(el_wline(el)));
    return CC_CURSOR;
}

static unsigned char key_delete_previous_word(EditLine *el, int key) {
    (void)key;
    const int n = to_word_start(el_wline(el));
    if (n) el_deletestr(el, n);
    return n ? CC_REFRESH : CC_ERROR;
}

static unsigned char key_delete_next_word(EditLine *el, int key) {
    (void)key;
    const int n = to_word_end(el_wline(el));
    el_cursor(el, n);
    if (n) el_deletestr(el, n);
    return n ? CC_REFRESH : CC_ERROR;
}

/* ---- lines of a block ---- */

static const wchar_t *line_start(const LineInfoW *line, const wchar_t *at) {
    while (at > line->buffer && at[-1] != L'\n') at--;
    return at;
}

static const wchar_t *line_end(const LineInfoW *line, const wchar_t *at) {
    while (at < line->lastchar && *at != L'\n') at++;
    return at;
}

static unsigned char key_line_start(EditLine *el, int key) {
    const LineInfoW *line = el_wline(el);
    (void)key;
    el_cursor(el, (int)(line_start(line, line->cursor) - line->cursor));
    return CC_CURSOR;
}

static unsigned char key_line_end(EditLine *el, int key) {
    const LineInfoW *line = el_wline(el);
    (void)key;
    el_cursor(el, (int)(line_end(line, line->cursor) - line->cursor));
    return CC_CURSOR;
}

/* To the line above or below in the column that the first such move left. False: there is none. */
static bool move_line(session *s, bool up) {
    const LineInfoW *line = el_wline(s->el);
    const wchar_t *start = line_start(line, line->cursor), *end = line_end(line, line->cursor), *target;
    const int at = (int)(line->cursor - line->buffer);
    if (up ? start == line->buffer : end == line->lastchar) return false;
    if (s->at != at || s->column < 0) s->column = (int)(line->cursor - start);
    target = up ? line_start(line, start - 1) : end + 1;
    const int length = (int)(line_end(line, target) - target);
    target += s->column < length ? s->column : length;
    s->at = (int)(target - line->buffer);
    el_cursor(s->el, s->at - at);
    return true;
}

/* ---- the history ---- */

void keys_drop(session *s) {
    free(s->typed);
    free(s->shown);
    s->typed = s->shown = NULL;
    s->place = 0;
    s->column = s->at = -1;
}

static char *line_text(EditLine *el, bool to_cursor) {
    const LineInfo *line = el_line(el);
    return strndup(line->buffer, (size_t)((to_cursor ? line->cursor : line->lastchar) - line->buffer));
}

static void replace_line(EditLine *el, const char *text) {
    const LineInfoW *line = el_wline(el);
    const int n = (int)(line->lastchar - line->buffer);
    el_cursor(el, (int)(line->lastchar - line->cursor));
    if (n) el_deletestr(el, n);
    if (*text) el_insertstr(el, text);
}

/* Puts the next entry that begins with what stood before the cursor into the line; past the newest, what was typed. */
static unsigned char search_history(session *s, bool up) {
    HistEvent event;
    char *now = line_text(s->el, false);
    if (!now || !s->shown || strcmp(now, s->shown) != 0) { /* typed since */
        keys_drop(s);
        if (!up || !now) {
            free(now);
            return CC_ERROR;
        }
        char *beginning = line_text(s->el, true);
        s->prefix = beginning ? strlen(beginning) : 0;
        free(beginning);
        s->typed = now;
        now = strdup(now);
    }
    int place = 0, found = 0;
    char *text = NULL;
    for (int rc = history(s->history, &event, H_FIRST); now && rc >= 0; rc = history(s->history, &event, H_NEXT)) {
        place++;
        if (up ? place <= s->place : place >= s->place) {
            if (up) continue;
            break;
        }
        if (strncmp(event.str, s->typed, s->prefix) != 0 || strcmp(event.str, now) == 0) continue;
        free(text);
        text = strdup(event.str);
        found = place;
        if (up) break;
    }
    free(now);
    if (!text && !up && s->place > 0) text = strdup(s->typed);
    if (!text) return CC_ERROR;
    s->place = found;
    replace_line(s->el, text);
    free(s->shown);
    s->shown = text;
    s->column = -1;
    return CC_REFRESH;
}

/* The lines above the prompt, an unfinished chunk, come back into the line. */
static unsigned char take_back(session *s) {
    terminal_to_top(s->el);
    const LineInfoW *line = el_wline(s->el);
    el_cursor(s->el, -(int)(line->cursor - line->buffer));
    el_insertstr(s->el, s->text);
    el_cursor(s->el, -1); /* to the end of the last of them */
    free(s->text);
    s->text = NULL;
    s->length = 0;
    s->continued = false;
    el_set(s->el, EL_REFRESH);
    return CC_NORM;
}

static unsigned char key_up(EditLine *el, int key) {
    session *s = session_of(el);
    (void)key;
    if (move_line(s, true)) return CC_CURSOR;
    return s->continued ? take_back(s) : search_history(s, true);
}

static unsigned char key_down(EditLine *el, int key) {
    session *s = session_of(el);
    (void)key;
    return move_line(s, false) ? CC_CURSOR : s->continued ? CC_ERROR : search_history(s, false);
}

/* ---- which key does what ---- */

void keys_bind(session *s) {
    static const struct {
        const char *name, *doc;
        unsigned char (*function)(EditLine *, int);
        const char *keys[6];
    } keys[] = {
        { "bracket-up", "The line above, or the entry before", key_up, { "\033[A", "\033OA", "^P" } },
        { "bracket-down", "The line below, or the entry after", key_down, { "\033[B", "\033OB", "^N" } },
        { "bracket-previous-word",
          "To the start of a word",
          key_previous_word,
          { "\033[1;5D", "\033[1;3D", "\033Od", "\033b" } },
        { "bracket-next-word", "To the end of a word", key_next_word, { "\033[1;5C", "\033[1;3C", "\033Oc", "\033f" } },
        { "bracket-delete-previous-word",
          "Delete to the start of a word",
          key_delete_previous_word,
          { "\033\177", "\033^H", "^W" } },
        { "bracket-delete-next-word", "Delete to the end of a word", key_delete_next_word, { "\033d", "\033[3;5~" } },
        { "bracket-line-start", "To the start of the line", key_line_start, { "^A", "\033[H", "\033OH", "\033[1~" } },
        { "bracket-line-end", "To the end of the line", key_line_end, { "^E", "\033[F", "\033OF", "\033[4~" } },
        { "bracket-newline", "A new line in the block", key_newline, { "\033^M", "\033^J" } },
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        el_set(s->el, EL_ADDFN, keys[i].name, keys[i].doc, keys[i].function);
        for (int k = 0; k < 6 && keys[i].keys[k]; k++) el_set(s->el, EL_BIND, keys[i].keys[k], keys[i].name, NULL);
    }
    el_set(s->el, EL_BIND, "\033[3~", "ed-delete-next-char", NULL);
    el_set(s->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(s->el, EL_ADDFN, "bracket-complete", "Complete the word before the cursor, or indent", key_complete);
    el_set(s->el, EL_ADDFN, "bracket-paste", "Take a pasted block", key_paste);
    el_source(s->el, NULL); /* ~/.editrc may say otherwise, but for these two */
    el_set(s->el, EL_BIND, "^I", "bracket-complete", NULL);
    el_set(s->el, EL_BIND, "\033[200~", "bracket-paste", NULL);
}

/* repl.h - the session on a terminal, as the files that read its lines share it. */
#ifndef APP_REPL_H
#define APP_REPL_H

#include "app.h"
#include <histedit.h>

typedef struct session {
    bk_env *env;
    EditLine *el;
    History *history;
    char history_path[4096]; /* "": none */
    bool terminal, colour, continued;
    char *text; /* the input so far: lines that are not yet a chunk */
    size_t length;
    /* keys.c's, from key to key */
    char *typed, *shown; /* what stood there before Up, and what Up or Down put in its place */
    size_t prefix;       /* bytes of typed that an entry begins with */
    int place;           /* of the entry that is shown, from 1, the newest; 0: none */
    int column, at;      /* where Up and Down keep to in a block; the cursor they left */
} session;

session *session_of(EditLine *el);

/* terminal.c: keys one by one, the window, and where the cursor stands in it. */
void terminal_watch(bool on); /* a resized window, and the return from Ctrl-Z */
void terminal_on(EditLine *el);
void terminal_off(void);
int terminal_read(EditLine *el, wchar_t *out); /* libedit's EL_GETCFN: 1, 0 at the end, -1 after Ctrl-C */
int terminal_columns(void);
void terminal_to_top(EditLine *el); /* the cursor to the first column of the input, and nothing below it */

/* history.c: what was typed, in one file for all sessions. */
void history_open(session *s);
void history_add(session *s, const char *text);
/* $VARIABLE/bracket/LEAF, or ~/BELOW_HOME/bracket/LEAF; false: out is "". */
bool history_user_path(char *out, size_t size, const char *variable, const char *below_home, const char *leaf);

/* keys.c: what keys do. */
void keys_bind(session *s);
void keys_drop(session *s); /* a new line begins */

#endif

/* json_text.c - counts what a text of JSON will take, then has Jansson read it. */
#include "json_text.h"

#include <string.h>

enum { START = 1 << 13, POLL = 64, STRETCH = 1 << 16 };

/* What reading the text may take, at most. */
static bk_status cost_of(ctx *c, const char *text, size_t n, size_t *out, err *e) {
    size_t cost = START, longest = 0, from = 0;
    bool quoted = false;
    for (size_t i = 0, next = 0; i < n; i++) {
        const char x = text[i];
        if (i >= next) {
            const bk_status status = ctx_poll(c, e);
            if (status) return status;
            next = i + STRETCH;
        }
        if (quoted && x == '\\')
            i++;
        else if (x == '"') {
            if (quoted && i - from > longest) longest = i - from;
            if (quoted) cost += JSON_TEXT + (i - from);
            quoted = !quoted;
            from = i;
        } else if (!quoted)
            cost += x == '{' || x == '[' ? JSON_TABLE + JSON_ENTRY : x == ',' ? JSON_ENTRY : x == ':' ? JSON_KEY : 0;
    }
    if (quoted) longest = n - from;
    *out = cost + 4 * longest; /* the token being read, and it grows by halves */
    return BK_OK;
}

typedef struct feed {
    ctx *c;
    const char *at;
    size_t left, calls;
    bool stopped;
} feed;

static size_t next_piece(void *to, size_t most, void *self) {
    feed *f = self;
    if (f->calls++ % POLL == 0 && ctx_poll(f->c, NULL)) {
        f->stopped = true;
        return (size_t)-1;
    }
    const size_t n = f->left < most ? f->left : most;
    memcpy(to, f->at, n);
    f->at += n;
    f->left -= n;
    return n;
}

bk_status json_text_read(ctx *c, const char *text, size_t n, size_t flags, json_tree *out, err *e) {
    json_error_t problem;
    feed f = { .c = c, .at = text, .left = n };
    *out = (json_tree){ .c = c };
    size_t cost = 0;
    bk_status status = cost_of(c, text, n, &cost, e);
    if (!status) status = json_tree_count(out, cost, e);
    if (status) return status;
    out->root = json_load_callback(next_piece, &f, flags, &problem);
    if (f.stopped) return ctx_poll(c, e);
    if (!out->root && json_error_code(&problem) == json_error_out_of_memory) return err_nomem(e, n);
    return out->root ? BK_OK : err_set(e, BK_EIO, "line %d: %s", problem.line, problem.text);
}

bk_status json_tree_count(json_tree *t, size_t bytes, err *e) {
    if (!mem_reserve(t->c, bytes)) return err_nomem(e, bytes);
    t->reserved += bytes;
    return BK_OK;
}

void json_tree_free(json_tree *t) {
    json_decref(t->root);
    if (t->c) mem_unreserve(t->c, t->reserved);
    *t = (json_tree){ .c = t->c };
}

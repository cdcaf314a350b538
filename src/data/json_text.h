/* json_text.h - JSON read by Jansson. Jansson takes no allocator of one environment, only one of the whole process,
 * which is the host's: what a text can make it use is counted before it is read, until the value is freed. */
#ifndef DATA_JSON_TEXT_H
#define DATA_JSON_TEXT_H

#include "../base/ctx.h"
#include <jansson.h>

/* Of a value in memory, to count it: an object's or array's own, one more entry of it, and what text takes. */
enum { JSON_TABLE = 320, JSON_ENTRY = 64, JSON_KEY = 160, JSON_TEXT = 64 };

typedef struct json_tree {
    ctx *c;
    json_t *root;
    size_t reserved;
} json_tree;

/* With Jansson's flags. BK_EIO for what is no JSON: "line 3: ...". The tree is freed also after a failure; until then
 * it has reserved what reading the text may take at most. */
bk_status json_text_read(ctx *c, const char *text, size_t n, size_t flags, json_tree *out, err *e);
bk_status json_tree_count(json_tree *t, size_t bytes, err *e); /* for a tree that is built */
void json_tree_free(json_tree *t);

#endif

/* value.c - trees of values. */
#include "value.h"

#include <string.h>

static char *keep(ctx *c, const char *text, size_t n) {
    char *copy = mem_alloc(c, n + 1);
    if (copy) memcpy(copy, text, n), copy[n] = 0;
    return copy;
}

value *value_add(value *table, const char *key, value_kind kind, err *e) {
    value *v = mem_zalloc(table->c, sizeof *v);
    if (v && key && !(v->key = keep(table->c, key, strlen(key)))) {
        mem_free(table->c, v, sizeof *v);
        v = NULL;
    }
    if (!v) {
        err_nomem(e, sizeof *v);
        return NULL;
    }
    v->c = table->c;
    v->kind = kind;
    if (table->last)
        table->last->next = v;
    else
        table->first = v;
    return table->last = v;
}

bk_status value_add_tensor(value *table, const char *key, tensor *t, err *e) {
    value *v = value_add(table, key, VALUE_TENSOR, e);
    if (v)
        v->tensor = *t;
    else
        tensor_release(t);
    *t = (tensor){ 0 };
    return v ? BK_OK : BK_ENOMEM;
}

bk_status value_add_text(value *table, const char *key, const char *text, size_t n, err *e) {
    value *v = value_add(table, key, VALUE_TEXT, e);
    if (v && !(v->text = keep(table->c, text, n))) return err_nomem(e, n);
    return v ? BK_OK : BK_ENOMEM;
}

bk_status value_add_count(value *table, const char *key, int64_t count, err *e) {
    value *v = value_add(table, key, VALUE_COUNT, e);
    if (v) v->count = count;
    return v ? BK_OK : BK_ENOMEM;
}

const value *value_at(const value *table, const char *key) {
    for (const value *v = table->first; v; v = v->next)
        if (v->key && strcmp(v->key, key) == 0) return v;
    return NULL;
}

/* As deep as the tree, which readers and options keep shallow. */
void value_free(value *v) {
    for (value *child = v->first, *next; child; child = next) {
        next = child->next;
        value_free(child);
        mem_free(v->c, child, sizeof *child);
    }
    tensor_release(&v->tensor);
    if (v->text) mem_free(v->c, v->text, strlen(v->text) + 1);
    if (v->key) mem_free(v->c, v->key, strlen(v->key) + 1);
    *v = (value){ .c = v->c };
}

/* place.c - where a program's values lie: in the memory of arguments, results and constants, in each other's, or in the
 * arena. */
#include "arena.h"
#include "builder.h"
#include "program.h"

#include <stdint.h>

/* A node that is another's memory seen differently: reshape, or a slice without gaps. */
bool is_alias(const node *n, size_t *shift) {
    *shift = 0;
    if (n->op == &op_reshape) return true;
    if (n->op != &op_slice) return false;
    const node *a = n->in[0];
    int64_t strides[BK_MAX_DIMS], at = 0;
    shape_strides(a->ndim, a->shape, strides);
    bool inside = false; /* after the first axis of size > 1, every axis must be whole */
    for (int i = 0; i < a->ndim; i++) {
        if (inside && n->shape[i] != a->shape[i]) return false;
        if (n->shape[i] > 1) inside = true;
        at += n->ints[i] * strides[i];
    }
    *shift = (size_t)at * dtype_size(n->dtype);
    return true;
}

static int new_buffer(builder *b, int slot, size_t bytes) {
    b->buffers[b->n_buffers] = (buffer){
        .slot = slot, .bytes = bytes, .first = INT32_MAX, .last = -1, .reader = -1, .over = -1
    };
    return b->n_buffers++;
}

/* Arguments, and constants, which the plan holds. */
static bool place_leaves(builder *b) {
    plan *p = b->p;
    int n_consts = 0;
    for (int i = 0; i < b->n; i++)
        n_consts += b->sorted[i]->op == &op_const || (b->sorted[i]->op == &op_full && b->stored[b->sorted[i]->id]);
    p->consts = make(p->own, sizeof *p->consts, n_consts);
    if (!p->consts) return false;
    for (int i = 0; i < b->n_in; i++) b->root[b->inputs[i]->id] = new_buffer(b, 1 + n_consts + i, 0);
    for (int i = 0; i < b->n; i++) {
        const node *n = b->sorted[i];
        tensor *t = &p->consts[p->n_consts];
        err e = { 0 };
        if (n->op == &op_input && b->root[n->id] < 0)
            return graph_fail(b->g, BK_ERUNTIME, "plan: the function uses a tensor of another trace");
        if (n->op == &op_const) {
            tensor_contiguous_as(n->value, n->dtype, t, &e);
        } else if (n->op == &op_full && b->stored[n->id]) {
            if (!tensor_new(p->c, n->dtype, n->ndim, n->shape, t, &e))
                vec_get(VEC_FILL, n->dtype)(n->count, tensor_data(t), NULL, NULL, NULL, n->x);
        } else {
            continue;
        }
        if (e.status) return graph_fail(b->g, e.status, "%s", e.text);
        b->root[n->id] = new_buffer(b, 1 + p->n_consts++, 0);
    }
    return true;
}

/* Whether its parts lie one after the other, each without gaps. */
static bool parts_are_whole(const node *cat) {
    for (int i = 0; i < cat->ints[0]; i++)
        if (cat->shape[i] != 1) return false;
    return true;
}

/* Parts of a concatenation are computed in their place. */
static void place_parts(builder *b, const node *cat) {
    if (!parts_are_whole(cat)) return;
    size_t at = b->shift[cat->id];
    for (int k = 0; k < cat->n_in; at += node_bytes(cat->in[k++])) {
        const node *part = reshaped(cat->in[k]);
        if (b->group[part->id] < 0 || b->root[part->id] >= 0 || part->dtype != cat->dtype) continue;
        b->root[part->id] = b->root[cat->id];
        b->shift[part->id] = at;
        b->stored[part->id] = true;
    }
}

bool place_nodes(builder *b) {
    size_t shift;
    b->buffers = make(b->g, sizeof *b->buffers, 2 * (int64_t)b->n + b->n_in + b->n_out + 1); /* unused arguments too */
    if (!b->buffers) return false;
    for (int i = 0; i < b->count; i++) b->root[i] = -1;
    if (!place_leaves(b)) return false;
    /* results lie in the caller's memory; a node that is two results is copied to the second */
    for (int k = 0; k < b->n_out; k++) {
        const node *n = reshaped(b->outs[k]);
        if (b->root[n->id] < 0 && b->group[n->id] >= 0 && !is_alias(n, &shift))
            b->root[n->id] = new_buffer(b, 1 + b->p->n_consts + b->n_in + k, node_bytes(n));
    }
    for (int i = b->n - 1; i >= 0; i--) { /* users first, so that parts know their whole */
        const node *n = b->sorted[i];
        if (b->group[n->id] >= 0 && b->stored[n->id] && b->root[n->id] < 0)
            b->root[n->id] = new_buffer(b, -1, node_bytes(n));
        if (n->op == &op_concat) place_parts(b, n);
    }
    for (int i = 0; i < b->n; i++) { /* aliases, inputs first */
        const node *n = b->sorted[i];
        if (b->root[n->id] >= 0 || !is_alias(n, &shift)) continue;
        b->root[n->id] = b->root[n->in[0]->id];
        b->shift[n->id] = b->shift[n->in[0]->id] + shift;
    }
    return true;
}

/* A pass may: where it reads otherwise than element by element, its buffer is `moved`. A product may by rows. */
bool writes_over(const builder *b, const unit *u, const node *n, int k) {
    if (is_pass(u->nodes[0])) return true;
    if (!b->by_rows || !n->op->row_by_row || !n->op->row_by_row(n, k) || !gives_rows(n)) return false;
    for (int j = 0; j < n->n_in; j++)
        if (j != k && b->root[n->in[j]->id] == b->root[n->in[k]->id]) return false;
    return node_bytes(n) == node_bytes(n->in[k]);
}

/* Half of them: the other operand is packed twice. */
int64_t rows_beside(const node *n) {
    return (n->shape[0] + 1) / 2;
}

static void lives(builder *b, const node *n, int at) {
    if (b->root[n->id] < 0) return;
    buffer *x = &b->buffers[b->root[n->id]];
    if (at < x->first) x->first = at;
    if (at > x->last) x->last = at;
}

void lifetimes(builder *b) {
    for (int s = 0; s < b->n_order; s++) {
        const unit *u = &b->units[b->order[s]];
        for (int i = 0; i < u->n; i++) {
            lives(b, u->nodes[i], b->turn[s]);
            for (int k = 0; k < u->nodes[i]->n_in; k++) lives(b, under(b, u->nodes[i]->in[k]), b->turn[s]);
        }
    }
    for (int k = 0; k < b->n_out; k++) lives(b, b->outs[k], b->n_turns);
}

/* Whether buffer y, which the i-th node of the s-th unit writes first of all, is laid over one of m's operands, or that
 * over y: nobody else of its last turn reads that buffer, and the pass reads it as it lies, up to the i-th node. */
static bool share_place(builder *b, int s, int i, const node *m, int out) {
    const unit *u = &b->units[b->order[s]];
    buffer *y = &b->buffers[out];
    for (int k = 0; k < m->n_in; k++) {
        const int in = b->root[m->in[k]->id];
        if (in < 0 || in == out || !writes_over(b, u, m, k)) continue;
        buffer *x = &b->buffers[in], *base = x; /* what it is laid over itself */
        if (x->slot >= 0 || x->last != b->turn[s] || x->bytes != y->bytes) continue;
        if (x->readers != 1 || x->last_read > i || x->moved) continue;
        while (y->slot >= 0 && base->over >= 0) base = &b->buffers[base->over];
        if (y->slot >= 0 && base->slot >= 0) continue;
        if (y->slot < 0) y->over = in;
        else base->over = out; /* they are made where the result is to lie */
        x->readers = 0; /* taken */
        return true;
    }
    return false;
}

/* Room for the rows of n that are not written over its operand yet. */
static void lay_beside(builder *b, const node *n, int turn) {
    const int at = new_buffer(b, -1, (size_t)(rows_beside(n) * n->shape[1]) * dtype_size(n->dtype));
    b->buffers[at].first = b->buffers[at].last = turn;
    b->room[n->id] = at;
}

/* The results of a pass, or of products by rows, take the places of operands that die in them; those of a pass may give
 * them theirs. */
void write_in_place(builder *b) {
    for (int s = 0; s < b->n_order; s++) {
        const unit *u = &b->units[b->order[s]];
        for (int i = 0; i < u->n; i++)
            for (int k = 0; k < u->nodes[i]->n_in; k++) {
                const node *a = u->nodes[i]->in[k], *from = under(b, u->nodes[i]->in[k]);
                if (b->root[from->id] < 0) continue;
                buffer *x = &b->buffers[b->root[from->id]];
                if (x->last != b->turn[s]) continue;
                x->readers += x->reader != s;
                x->reader = s;
                x->last_read = i;
                x->moved = x->moved || b->absorbed[a->id] || b->shift[from->id];
            }
    }
    for (int s = 0; s < b->n_order; s++) {
        const unit *u = &b->units[b->order[s]];
        const bool pass = is_pass(u->nodes[0]);
        for (int i = 0; i < u->n; i++) {
            const int out = made_in(b, u->nodes[i]);
            if (out < 0 || b->shift[u->nodes[i]->id]) continue;
            const buffer *y = &b->buffers[out];
            if ((y->slot >= 0 && (b->over || !pass)) || y->over >= 0 || y->first != b->turn[s]) continue;
            const int from = y->slot >= 0 ? 0 : i; /* a result also from what earlier nodes read */
            bool shares = false;
            for (int j = i; j >= from && !shares; j--) shares = share_place(b, s, i, u->nodes[j], out);
            if (shares && !pass) lay_beside(b, u->nodes[i], b->turn[s]);
        }
    }
    for (int i = 0; i < b->count; i++) {
        int y = b->root[i], x = y;
        while (x >= 0 && b->buffers[x].over >= 0) x = b->buffers[x].over;
        if (x == y) continue;
        if (b->buffers[y].last > b->buffers[x].last) b->buffers[x].last = b->buffers[y].last;
        b->root[i] = x;
        while (y != x) { /* long chains are walked once */
            int next = b->buffers[y].over;
            b->buffers[y].over = x;
            y = next;
        }
    }
}

enum { WALL = 128 }; /* behind the last whole 64 bytes of an output: what is placed takes whole ones, and lies in none
                      * or one of them */

/* Where the output's memory begins, in one address space with the arena, which lies behind all of them. -1: that of
 * small ones, and of those that may not be aligned as what would lie there, is not worked in. */
static int64_t room_of(const builder *b, int k, size_t *end) {
    enum { WORTH = 1 << 12 };
    const size_t bytes = node_bytes(b->outs[k]), at = *end;
    if (b->over || bytes < WORTH || dtype_size(b->outs[k]->dtype) < b->widest) return -1;
    *end += bytes / 64 * 64 + WALL;
    return (int64_t)at;
}

/* Adds what is in the memory of outputs: their nodes, from when they are made, and what is only copied there, in the
 * end. */
static void hold_outputs(const builder *b, const int64_t *room, arena_item *items, int *n) {
    const int first = 1 + b->p->n_consts + b->n_in;
    for (int k = 0; k < b->n_out; k++) {
        if (room[k] < 0) continue;
        const size_t bytes = node_bytes(b->outs[k]), at = (size_t)room[k];
        items[(*n)++] = (arena_item){ bytes, b->n_turns, b->n_turns, -1, at, 0 };
        items[(*n)++] = (arena_item){ WALL, 0, b->n_turns, -1, at + bytes / 64 * 64, 0 };
    }
    for (int s = 0; s < b->n_order; s++) {
        const unit *u = &b->units[b->order[s]];
        for (int i = 0; i < u->n; i++) {
            const node *m = u->nodes[i];
            const int x = made_in(b, m), slot = x >= 0 ? b->buffers[x].slot : -1;
            if (slot < first || room[slot - first] < 0) continue;
            const size_t from = b->shift[m->id] / 64 * 64, to = b->shift[m->id] + node_bytes(m);
            items[(*n)++] = (arena_item){ to - from, b->turn[s], b->n_turns, -1, (size_t)room[slot - first] + from, 0 };
        }
    }
}

bool place_buffers(builder *b) {
    int n = 0;
    size_t begin = 0, end;
    arena_item *items = make(b->g, sizeof *items, b->n_buffers + b->n + 2 * (int64_t)b->n_out);
    int64_t *room = make(b->g, sizeof *room, b->n_out);
    if (!items || !room) return false;
    for (int i = 0; i < b->n; i++) {
        const int x = b->root[b->sorted[i]->id];
        const size_t size = dtype_size(b->sorted[i]->dtype);
        if (x >= 0 && b->buffers[x].slot < 0 && size > b->widest) b->widest = size;
    }
    for (int k = 0; k < b->n_out; k++) room[k] = room_of(b, k, &begin);
    hold_outputs(b, room, items, &n);
    for (int i = 0; i < b->n_buffers; i++) {
        const buffer *x = &b->buffers[i];
        if (x->slot < 0 && x->over < 0) items[n++] = (arena_item){ x->bytes, x->first, x->last, i, 0, 0 };
    }
    if (!arena_place(b->g, n, items, b->n_turns + 1, &end)) return false; /* results outlive all turns */
    b->p->arena_bytes = end > begin ? end - begin : 0;
    for (int i = 0; i < n; i++) {
        const int at = items[i].tag;
        if (at < 0) continue;
        size_t offset = items[i].offset;
        int slot = SLOT_ARENA;
        for (int k = 0; k < b->n_out && offset < begin; k++)
            if (room[k] >= 0 && (size_t)room[k] <= items[i].offset)
                slot = 1 + b->p->n_consts + b->n_in + k, offset = items[i].offset - (size_t)room[k];
        b->buffers[at].slot = slot;
        b->buffers[at].offset = items[i].offset < begin ? offset : offset - begin;
    }
    return true;
}

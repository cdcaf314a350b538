/* products.c - products of a batch read operands that are other tensors seen differently (an attention's heads in its
 * layer's activations) where they lie, write results that only become such a view where that lies, and add to one
 * another there: neither a permutation, nor a sum, nor a concatenation of what nobody else reads takes a pass of its
 * own. */
#include "lower.h"
#include "../ops/ops.h"

#include <string.h>

enum { DEPTH = 32 }; /* the most operations between a product and what it reads, or what is made of it */

typedef struct placing {
    graph *g;
    node **image; /* by place: what stands for the node */
    int *uses;    /* by place */
    bool *read;   /* by place: only products of a batch read it, as it is or seen differently again */
    int *made;    /* by place: of how many products alone it is made that nobody else reads; 0: of others */
    int *depth;   /* by place: of what is made of products, how far they are */
} placing;

typedef struct view { /* of a tensor's memory */
    int ndim;
    int64_t shape[BK_MAX_DIMS], strides[BK_MAX_DIMS], first;
} view;

typedef struct found { /* the products that make a value */
    int count;
    matmul_part part[MATMUL_PARTS];
    node *in[2 * MATMUL_PARTS];
} found;

static bool is_product(const node *n) {
    return n->op == &op_matmul_part || (n->op == &op_matmul && n->ndim > 2);
}

static view whole(const node *n) {
    view v = { .ndim = n->ndim };
    memcpy(v.shape, n->shape, sizeof v.shape);
    shape_strides(n->ndim, n->shape, v.strides);
    return v;
}

/* The same elements in another shape: axes parted, or joined where they follow one another. */
static bool reshaped_view(view *v, int ndim, const int64_t *shape) {
    view from = *v;
    from.ndim = shape_collapse(from.ndim, from.shape, from.strides);
    int k = from.ndim - 1;
    int64_t left = from.shape[k], step = from.strides[k]; /* of axis k */
    for (int i = ndim - 1; i >= 0; i--) {
        v->shape[i] = shape[i];
        v->strides[i] = step;
        if (shape[i] == 1) continue;
        if (left == 1 && k > 0) left = from.shape[--k], v->strides[i] = step = from.strides[k];
        if (left % shape[i]) return false;
        left /= shape[i];
        step *= shape[i];
    }
    v->ndim = ndim;
    return k == 0 && left == 1;
}

/* Where n's elements lie in the memory of what it is a view of, *of. */
static view view_of(const placing *p, node *n, node **of, int depth) {
    view v;
    *of = n;
    if (n->count == 0 || n->n_in == 0 || depth == DEPTH) return whole(n);
    if (n->op != &op_reshape && !p->read[n->place]) return whole(n);
    if (n->op == &op_reshape) {
        v = view_of(p, n->in[0], of, depth + 1);
        if (reshaped_view(&v, n->ndim, n->shape)) return v;
    } else if (n->op == &op_permute) {
        const view from = view_of(p, n->in[0], of, depth + 1);
        v = from;
        for (int i = 0; i < n->ndim; i++) v.shape[i] = n->shape[i], v.strides[i] = from.strides[n->ints[i]];
        return v;
    } else if (n->op == &op_slice) {
        v = view_of(p, n->in[0], of, depth + 1);
        for (int i = 0; i < n->ndim; i++) v.shape[i] = n->shape[i], v.first += n->ints[i] * v.strides[i];
        return v;
    } else if (n->op == &op_broadcast_to) {
        const view from = view_of(p, n->in[0], of, depth + 1);
        const int more = n->ndim - from.ndim;
        v = from;
        v.ndim = n->ndim;
        for (int i = 0; i < n->ndim; i++) {
            v.shape[i] = n->shape[i];
            v.strides[i] = i < more || from.shape[i - more] != n->shape[i] ? 0 : from.strides[i - more];
        }
        return v;
    }
    *of = n;
    return whole(n);
}

/* The matrices of a view: where they lie, and whether as columns. false: neither rows nor columns are in one piece. */
static bool matrices(const view *v, matmul_lies *x, bool *turned) {
    const int d = v->ndim;
    const int64_t rows = v->shape[d - 2], columns = v->shape[d - 1];
    int64_t down = v->strides[d - 2], along = v->strides[d - 1];
    if (columns == 1) along = 1;
    if (rows == 1 && along == 1) down = columns;
    *turned = along != 1;
    if (*turned && rows == 1) down = 1;
    x->first = v->first;
    x->row = *turned ? along : down;
    return (!*turned || down == 1) && x->row >= (*turned ? rows : columns);
}

/* The axes of a batch, as few as they are in all three. */
static bool batch_axes(int ndim, const view *a, const view *b, const view *c, matmul_part *part) {
    int n = 0;
    int64_t size[BK_MAX_DIMS], step[3][BK_MAX_DIMS];
    const view *const views[3] = { a, b, c };
    for (int i = 0; i < ndim; i++) {
        if (c->shape[i] == 1) continue;
        bool joined = n > 0;
        for (int k = 0; k < 3; k++)
            joined = joined && step[k][n - 1] == views[k]->strides[i] * c->shape[i];
        if (!joined) size[n++] = 1;
        size[n - 1] *= c->shape[i];
        for (int k = 0; k < 3; k++) step[k][n - 1] = views[k]->strides[i];
    }
    if (n > GEMM_AXES) return false;
    for (int i = 0; i < GEMM_AXES; i++) {
        const int from = i - (GEMM_AXES - n);
        part->size[i] = from < 0 ? 1 : size[from];
        part->a.step[i] = from < 0 ? 0 : step[0][from];
        part->b.step[i] = from < 0 ? 0 : step[1][from];
        part->c.step[i] = from < 0 ? 0 : step[2][from];
    }
    return true;
}

/* n, a product as its operations say, with a result that lies as `out` says. */
static bool lay_product(placing *p, const node *n, const view *out, found *f) {
    if (f->count == MATMUL_PARTS) return false;
    matmul_part part = n->op == &op_matmul ? matmul_part_of(n) : matmul_part_at(n, 0);
    view operands[2];
    node *of[2];
    bool turned;
    matmul_lies *const lies[2] = { &part.a, &part.b };
    int64_t *const flags[2] = { &part.ta, &part.tb };
    for (int k = 0; k < 2; k++) {
        operands[k] = view_of(p, n->in[k], &of[k], 0);
        const bool triangle = k == 0 && part.triangle == GEMM_LOWER_A; /* of A as it is stored */
        if (!matrices(&operands[k], lies[k], &turned) || (turned && triangle)) {
            operands[k] = whole(n->in[k]);
            of[k] = n->in[k];
            if (!matrices(&operands[k], lies[k], &turned)) return false;
        }
        if (turned) *flags[k] = !*flags[k];
    }
    if (!matrices(out, &part.c, &turned) || turned) return false;
    if (!batch_axes(n->ndim - 2, &operands[0], &operands[1], out, &part)) return false;
    f->part[f->count] = part;
    for (int k = 0; k < 2; k++) f->in[2 * f->count + k] = p->image[of[k]->place];
    f->count++;
    return true;
}

static bool lay(placing *p, const node *n, const view *out, found *f);

/* x n */
static bool lay_scaled(placing *p, const node *n, double x, const view *out, found *f) {
    int i = f->count;
    if (!lay(p, n, out, f)) return false;
    for (; i < f->count; i++) f->part[i].factor *= x;
    return true;
}

/* What lies above a triangle of C is cleared in the end: it adds to the same triangle alone. */
static bool may_add(const matmul_part *to, const matmul_part *x) {
    if (x->triangle != GEMM_LOWER_C) return true;
    return to->triangle == GEMM_LOWER_C && to->m == x->m && to->n == x->n && !memcmp(&to->c, &x->c, sizeof x->c) &&
           !memcmp(to->size, x->size, sizeof x->size);
}

/* x a + b, the products of one of them added to the other's. */
static bool lay_sum(placing *p, const node *n, const view *out, found *f) {
    const int first = f->count;
    if (!lay_scaled(p, n->in[0], n->op == &op_axpy ? n->x : 1, out, f)) return false;
    const int second = f->count;
    if (!lay(p, n->in[1], out, f)) return false;
    for (int i = second; i < f->count; i++) {
        for (int k = first; k < second; k++)
            if (!may_add(&f->part[k], &f->part[i])) return false;
        f->part[i].adds = 1;
    }
    return true;
}

/* What is in n's operand lies in its result's view so. */
static view turned_back(const node *permute, const view *out) {
    view v = *out;
    for (int i = 0; i < permute->ndim; i++) {
        v.shape[permute->ints[i]] = out->shape[i];
        v.strides[permute->ints[i]] = out->strides[i];
    }
    return v;
}

/* n, which is made of products, as these writing where `out` says, or false. */
static bool lay(placing *p, const node *n, const view *out, found *f) {
    view v = *out;
    if (is_product(n)) return lay_product(p, n, out, f);
    if (n->op == &op_add || n->op == &op_axpy) return lay_sum(p, n, out, f);
    if (n->op == &op_scale) return lay_scaled(p, n->in[0], n->x, out, f);
    if (n->op == &op_reshape)
        return reshaped_view(&v, n->in[0]->ndim, n->in[0]->shape) && lay(p, n->in[0], &v, f);
    if (n->op == &op_permute) {
        v = turned_back(n, out);
        return lay(p, n->in[0], &v, f);
    }
    const int axis = (int)n->ints[0];
    for (int k = 0; k < n->n_in; v.first += v.shape[axis] * v.strides[axis], k++) {
        v.shape[axis] = n->in[k]->shape[axis];
        if (!lay(p, n->in[k], &v, f)) return false;
    }
    return true;
}

static bool forms_view(const node *n) {
    return n->op == &op_reshape || n->op == &op_permute || n->op == &op_slice || n->op == &op_broadcast_to;
}

/* Of how many products n is made, if of them alone and not from afar: see made. */
static int products_in(const placing *p, const node *n) {
    const bool joins = n->op == &op_add || n->op == &op_axpy || n->op == &op_scale || n->op == &op_reshape ||
                       n->op == &op_permute || n->op == &op_concat;
    int sum = 0, *depth = &p->depth[n->place];
    *depth = 0;
    if (is_product(n)) return 1;
    for (int k = 0; k < n->n_in && joins; k++) {
        const int at = n->in[k]->place, own = p->uses[at] == 1 ? p->made[at] : 0;
        if (p->depth[at] >= *depth) *depth = p->depth[at] + 1;
        if (!own || *depth > DEPTH || (sum += own) > MATMUL_PARTS) return 0;
    }
    return sum;
}

/* What stands for n, or NULL: itself on what stands for its operands. */
static node *placed(placing *p, const node *n) {
    const bool sum = n->op == &op_add || n->op == &op_axpy;
    if (n->count == 0 || !p->made[n->place] || !(sum || n->op == &op_permute || is_product(n))) return NULL;
    found f = { 0 };
    view out = whole(n);
    bool better = false;
    if (n->op == &op_permute) {
        out = turned_back(n, &out);
        better = lay(p, n->in[0], &out, &f);
    } else if (sum)
        better = lay_sum(p, n, &out, &f);
    else if (lay_product(p, n, &out, &f))
        for (int k = 0; k < 2; k++) better = better || f.in[k] != p->image[n->in[k]->place];
    return better ? g_matmul_part(p->g, n->ndim, n->shape, f.count, f.part, f.in) : NULL;
}

bool place_products(graph *g, int n_out, node **outs) {
    int n;
    node **sorted = graph_sorted(g, n_out, outs, &n);
    placing p = { g, graph_alloc(g, sizeof(node *) * (size_t)n), graph_alloc(g, sizeof(int) * (size_t)n),
                  graph_alloc(g, sizeof(bool) * (size_t)n), graph_alloc(g, sizeof(int) * (size_t)n),
                  graph_alloc(g, sizeof(int) * (size_t)n) };
    if (!sorted || !p.image || !p.uses || !p.read || !p.made || !p.depth) return false;
    memset(p.uses, 0, sizeof(int) * (size_t)n);
    bool any = false;
    for (int i = 0; i < n; i++) {
        any = any || is_product(sorted[i]);
        p.read[i] = forms_view(sorted[i]);
        for (int k = 0; k < sorted[i]->n_in; k++) p.uses[sorted[i]->in[k]->place]++;
    }
    if (!any) return true;
    for (int k = 0; k < n_out; k++) {
        p.uses[outs[k]->place]++;
        p.read[outs[k]->place] = false;
    }
    for (int i = n - 1; i >= 0; i--) /* users first */
        for (int k = 0; k < sorted[i]->n_in; k++)
            if (!is_product(sorted[i]) && !p.read[i]) p.read[sorted[i]->in[k]->place] = false;
    for (int i = 0; i < n; i++) {
        node *m = sorted[i];
        p.made[i] = products_in(&p, m);
        node *better = placed(&p, m);
        if (!(p.image[i] = better ? better : on_images(g, m, p.image))) return false;
    }
    for (int k = 0; k < n_out; k++) outs[k] = p.image[outs[k]->place];
    return true;
}

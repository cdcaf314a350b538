/* ops.c - graphs of these operations: what differentiation asks of them; and building a row from what a caller gave. */
#include "ops.h"
#include "../tensor/vec.h"

#include <stdlib.h>
#include <string.h>

graph *ops_graph(ctx *c) {
    static const graph_basis basis = { .add = g_add, .full = g_full, .broadcast = g_broadcast };
    return graph_new(c, &basis);
}

const op_arg op_args_unary[] = { { ARG_OPERAND, "t" }, { ARG_END } };
const op_arg op_args_binary[] = {
    { ARG_OPERAND, "t", .called = "left operand" },
    { ARG_OPERAND, "u", .called = "right operand" },
    { ARG_END },
};
const op_arg op_args_along[] = { { ARG_TENSOR, "t" }, { ARG_DIM, "dim", .absent = "" }, { ARG_END } };

/* Tensors among the arguments; -1: any number. */
static int tensors_among(const op_arg *a) {
    int n = 0;
    for (; a->kind; a++) {
        if (a->kind == ARG_PARTS) return -1;
        n += a->kind == ARG_TENSOR || a->kind == ARG_OPERAND || a->kind == ARG_SEED;
    }
    return n;
}

/* Whether what an argument is where it is left out can be read as a number, or names another. */
static bool absent_reads(const op_arg *all, const op_arg *a) {
    char *end = NULL;
    if (!a->absent || !*a->absent || (a->kind != ARG_NUMBER && a->kind != ARG_INTEGER)) return true;
    for (; all->kind; all++)
        if (all != a && strcmp(all->name, a->absent) == 0) return true;
    if (a->kind == ARG_NUMBER) (void)strtod(a->absent, &end);
    else (void)strtoll(a->absent, &end, 10);
    return !*end;
}

const char *op_row_fault(const op_row *r, const char *name) {
    if (!r->name || strcmp(r->name, name)) return ".name is not NAME of op_NAME";
    if (r->kind == OP_LEAF) return ".kind is missing";
    if (!r->formula || !r->formula[0]) return ".formula is missing";
    if (r->args && (!r->doc || !r->doc[0])) return ".doc is missing";
    if (r->args && r->arity >= 0 && tensors_among(r->args) != r->arity)
        return ".arity is not the number of tensors in .args";
    for (const op_arg *a = r->args; a && a->kind; a++) {
        if (!absent_reads(r->args, a)) return "the default of an argument in .args is no number";
        if (a->option && (!a->doc || !*a->doc)) return "an option in .args has no doc";
    }
    if (r->kind == OP_COMPOSITE) return !r->args ? ".args is missing" : !r->build ? ".build is missing" : NULL;
    if (!r->jvp) return ".jvp is missing (op_no_jvp: it has none)";
    if (!r->transpose) return ".transpose is missing (op_no_transpose: it is not linear)";
    if (!r->vmap) return ".vmap is missing";
    if (r->kind == OP_KERNEL) return !r->run ? ".run is missing" : r->vec ? ".vec stands beside .run" : NULL;
    if (r->run) return ".run stands beside .kind = OP_ELEMENTWISE, which runs .vec";
    if (!r->vec) return ".vec is missing";
    if (vec_operands(r->vec) >= 0 && vec_operands(r->vec) != r->arity)
        return ".arity is not what its kernel's line says";
    if (r->args && r->dtypes == OP_ANY && !vec_get(r->vec, BK_INT64) && (!r->simplify || r->simplify == op_fold))
        return ".dtypes = OP_ANY, but its kernel is REAL";
    return NULL;
}

node *op_build(graph *g, const op_row *op, const op_value *v, node **second) {
    if (op->build) return op->build(g, v, second);
    if (op->arity == 2) return op_binary(g, op, v[0].t, v[1].t);
    return op_unary(g, op, v[0].t, 0);
}

schedule.o: src/compile/schedule.c src/compile/builder.h \
 src/compile/order.h src/compile/../graph/graph.h \
 src/compile/../graph/../tensor/tensor.h \
 src/compile/../graph/../tensor/../base/ctx.h \
 src/compile/../graph/../tensor/../base/err.h \
 src/compile/../graph/../tensor/../base/../bracket.h \
 src/compile/../graph/../tensor/vec.h \
 src/compile/../graph/../tensor/../bracket.h build/gen/vec_rows.h \
 src/compile/plan.h src/compile/simplify.h src/compile/../ops/ops.h \
 src/compile/../ops/../graph/graph.h build/gen/op_rows.h \
 src/compile/program.h src/compile/fuse.h
src/compile/builder.h:
src/compile/order.h:
src/compile/../graph/graph.h:
src/compile/../graph/../tensor/tensor.h:
src/compile/../graph/../tensor/../base/ctx.h:
src/compile/../graph/../tensor/../base/err.h:
src/compile/../graph/../tensor/../base/../bracket.h:
src/compile/../graph/../tensor/vec.h:
src/compile/../graph/../tensor/../bracket.h:
build/gen/vec_rows.h:
src/compile/plan.h:
src/compile/simplify.h:
src/compile/../ops/ops.h:
src/compile/../ops/../graph/graph.h:
build/gen/op_rows.h:
src/compile/program.h:
src/compile/fuse.h:

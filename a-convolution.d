convolution.o: src/ops/convolution.c src/ops/ops.h \
 src/ops/../graph/graph.h src/ops/../graph/../tensor/tensor.h \
 src/ops/../graph/../tensor/../base/ctx.h \
 src/ops/../graph/../tensor/../base/err.h \
 src/ops/../graph/../tensor/../base/../bracket.h \
 src/ops/../graph/../tensor/vec.h src/ops/../graph/../tensor/../bracket.h \
 build/gen/vec_rows.h build/gen/op_rows.h src/ops/../tensor/conv.h \
 src/ops/../tensor/../base/ctx.h
src/ops/ops.h:
src/ops/../graph/graph.h:
src/ops/../graph/../tensor/tensor.h:
src/ops/../graph/../tensor/../base/ctx.h:
src/ops/../graph/../tensor/../base/err.h:
src/ops/../graph/../tensor/../base/../bracket.h:
src/ops/../graph/../tensor/vec.h:
src/ops/../graph/../tensor/../bracket.h:
build/gen/vec_rows.h:
build/gen/op_rows.h:
src/ops/../tensor/conv.h:
src/ops/../tensor/../base/ctx.h:

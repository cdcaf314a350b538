conv.o: src/tensor/conv.c src/tensor/conv.h src/tensor/../base/ctx.h \
 src/tensor/../base/err.h src/tensor/../base/../bracket.h \
 src/tensor/gemm.h src/tensor/tensor.h src/tensor/vec.h \
 src/tensor/../bracket.h build/gen/vec_rows.h src/tensor/winograd.h \
 src/tensor/conv.c src/tensor/conv_lanes.inc
src/tensor/conv.h:
src/tensor/../base/ctx.h:
src/tensor/../base/err.h:
src/tensor/../base/../bracket.h:
src/tensor/gemm.h:
src/tensor/tensor.h:
src/tensor/vec.h:
src/tensor/../bracket.h:
build/gen/vec_rows.h:
src/tensor/winograd.h:
src/tensor/conv.c:
src/tensor/conv_lanes.inc:

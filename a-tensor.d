tensor.o: src/tensor/tensor.c src/tensor/tensor.h \
 src/tensor/../base/ctx.h src/tensor/../base/err.h \
 src/tensor/../base/../bracket.h
src/tensor/tensor.h:
src/tensor/../base/ctx.h:
src/tensor/../base/err.h:
src/tensor/../base/../bracket.h:

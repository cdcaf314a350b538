ctx.o: src/base/ctx.c src/base/ctx.h src/base/err.h src/base/../bracket.h
src/base/ctx.h:
src/base/err.h:
src/base/../bracket.h:

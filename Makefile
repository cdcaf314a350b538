# bracket: build, test, measure, install. Everything built goes to build/ (build/asan with SANITIZE=1, build/tsan with
# SANITIZE=thread, build/fuzz with fuzz, build/coverage with coverage). MPI=1: with MPI. Further targets:
# tests/checks.mk (sanitizers, coverage, other processors), tests/fuzz/fuzz.mk, .packaging/package.mk (releases).
#   make deps      installs what is missing (apt, dnf or brew)       make test     runs every test
#   make all       program, libraries, module                        make lint     arrows between rooms, form of C and Lua
#   make run       the main job; ARGS=... for its options            make docs     reference page, editor definitions, man page
#   make bench     the benchmark lines; ARGS=...                     make install  PREFIX, DESTDIR; uninstall takes it back
# A step is one short line; V=1 shows the commands.
.SUFFIXES:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
ifeq ($(origin CC),default)
CC := cc
endif
ifeq ($(origin CXX),default)
CXX := c++
endif
PREFIX ?= /usr/local
DESTDIR ?=
ARGS ?=
PKG_CONFIG ?= pkg-config
JOBS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
PARALLEL = $(if $(findstring jobserver,$(MAKEFLAGS))$(filter -j%,$(MAKEFLAGS)),,-j$(JOBS))
VERSION := $(shell sed -n 's/^\#define BK_VERSION "\(.*\)"/\1/p' src/bracket.h)
SOMAJOR := 0
# Of a cross compiler's kin the one that it runs itself, as `cc -print-prog-name` says.
tool = $(shell $(CC) -print-prog-name=$(1) 2>/dev/null)

# $(call step,WORD,what) before a recipe's commands: what the line says.
ifdef V
Q :=
step = @:
else
Q := @
step = @printf '  %-8s %s\n' '$(1)' '$(2)'
endif

# ---- what the machine has ----
LUA_NAMES := lua5.4 lua-5.4 lua54 lua
LUA_PC := $(firstword $(foreach p,$(LUA_NAMES),$(shell $(PKG_CONFIG) --atleast-version=5.4 --max-version=5.4.99 $(p) 2>/dev/null && echo $(p))))
LIB_PCS := openblas libedit sqlite3 zlib jansson libpng libjpeg
ALL_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(LUA_PC) $(LIB_PCS) 2>/dev/null)
LUA_LIBS := $(shell $(PKG_CONFIG) --libs $(LUA_PC) 2>/dev/null)
# MPI=1 joins the processes that mpirun or srun starts. One object knows it: the rest is the same either way.
MPI_PC := $(firstword $(foreach p,mpich ompi-c,$(shell $(PKG_CONFIG) --exists $(p) 2>/dev/null && echo $(p))))
MPI_CFLAGS := -DBRACKET_MPI $(if $(MPI_PC),$(shell $(PKG_CONFIG) --cflags-only-I $(MPI_PC)))
MPI_LIBS := $(if $(MPI_PC),$(shell $(PKG_CONFIG) --libs-only-L --libs-only-l $(MPI_PC)))
ifdef MPI
RANKS_CFLAGS := $(MPI_CFLAGS)
LINK_LIBS = $(CORE_LIBS) $(MPI_LIBS)
else
LINK_LIBS = $(CORE_LIBS)
endif
CORE_LIBS := $(shell $(PKG_CONFIG) --libs openblas zlib jansson libpng libjpeg 2>/dev/null) -lm -ldl -pthread
APP_LIBS := $(shell $(PKG_CONFIG) --libs libedit sqlite3 2>/dev/null)

# ---- flags ----
OPT ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wno-missing-field-initializers -Werror=implicit-function-declaration
ifeq ($(SANITIZE),thread)
B := build/tsan
SAN := -fsanitize=thread -fno-omit-frame-pointer
else ifeq ($(SANITIZE),fuzz)
B := build/fuzz
SAN := -fsanitize=address,undefined,fuzzer-no-link -fno-omit-frame-pointer -fno-sanitize-recover=undefined
else ifeq ($(SANITIZE),coverage)
B := build/coverage
SAN := --coverage
OPT := -O0 -g
else ifdef SANITIZE
B := build/asan
SAN := -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
else
B := build
SAN :=
endif
CFLAGS_ALL = -std=c11 -D_GNU_SOURCE -I. -I$(B) $(OPT) $(WARN) $(SAN) -fPIC -fvisibility=hidden -pthread -MMD -MP $(ALL_CFLAGS) $(CFLAGS)
# Kernels written as plain loops are worth -O3; nothing else gains from it. (private: or $(B)/flags would change with it)
$(foreach f,vec conv winograd pool,$(B)/obj/tensor/$f.o): private CFLAGS_ALL += -O3
$(B)/obj/ranks/ranks.o: private CFLAGS_ALL += $(RANKS_CFLAGS)

ifeq ($(SANITIZE),fuzz) # clang takes many minutes for its tiles; `make asan` looks there
$(B)/obj/tensor/gemm_kernel.o: private SAN :=
endif

# ---- what there is to build ----
# Rows: every `const KIND_row KIND_NAME = {` at the start of a line becomes part of the table KIND_rows: nothing is
# registered by hand. A kind is declared by its header, which includes gen/KIND_rows.h.
ROW_op := src/ops/ops.h
ROW_optim := src/optim/optim.h
ROW_layer := src/model/model.h
ROW_loss := src/model/loss.h
ROW_format := src/data/format.h
ROW_KINDS := op optim layer loss format
ROWS_SRC := $(sort $(foreach k,$(ROW_KINDS),$(wildcard $(dir $(ROW_$(k)))*.c)))
# Kernels: every KERNEL(NAME, ..., REAL(NAME, ... or one of their kin at the start of a line. A file of REAL ones alone
# is not read for int64.
KERNELS_SRC := $(sort $(wildcard src/tensor/kernels/*.inc))
GEN_HEADERS := $(ROW_KINDS:%=$(B)/gen/%_rows.h) $(B)/gen/vec_rows.h $(B)/gen/vec_kernels.h
.SECONDARY: $(GEN_HEADERS) $(ROW_KINDS:%=$(B)/gen/%_rows.c)
ROW_NAMES = $$(sed -nE -e 's/^const $(1)_row ($(1)_[A-Za-z0-9_]*) *= *[{].*/\1/p' $(ROW_MACRO_$(1)) $(ROWS_SRC))
# Operations of one variable are declared by these macros of ops.h; builders are `node *g_NAME(...) {` likewise.
ROW_MACRO_op = -e 's/^OP_(UNARY|COMPOSED)[(]([a-z0-9_]*),.*/op_\2/p'
BUILDERS = sed -nE 's/^OP_(UNARY|COMPOSED)[(]([a-z0-9_]*),.*/node *g_\2(graph *g, node *a);/p' $(ROWS_SRC); \
  awk '/^node \*g_/ { on = 1 } on { line = $$0; if (sub(/ *\{.*/, ";", line)) on = 0; print line }' $(ROWS_SRC)

LIB_SRC := $(filter-out src/app/%,$(wildcard src/*/*.c))
APP_SRC := $(wildcard src/app/*.c)
LIB_OBJ := $(LIB_SRC:src/%.c=$(B)/obj/%.o) $(B)/obj/gen/embed.o $(ROW_KINDS:%=$(B)/obj/gen/%_rows.o)
APP_OBJ := $(APP_SRC:src/%.c=$(B)/obj/%.o)
LUA_SRC := $(shell find lua/bracket -name '*.lua' -o -name '*.md' 2>/dev/null | LC_ALL=C sort)
ARTIFACTS := $(B)/bracket $(B)/libbracket.a $(B)/libbracket.so $(B)/bracket.so $(B)/bracket.pc
C_TESTS := $(patsubst tests/c/%.c,$(B)/tests/%,$(wildcard tests/c/*_test.c))
C_TOOLS := $(patsubst tests/c/%.c,$(B)/tests/%,$(wildcard tests/c/pty.c))
EMBED_TESTS := $(patsubst tests/embed/%.c,$(B)/embed/%,$(wildcard tests/embed/*.c))
# Hosts in other languages, where those are there. (Python would have to be told of a sanitizer's library.)
EMBED_TESTS += $(if $(shell command -v $(firstword $(CXX))),$(patsubst tests/embed/%.cpp,$(B)/embed/%,$(wildcard tests/embed/*.cpp)))
EMBED_TESTS += $(if $(SAN),,$(if $(shell command -v python3),$(patsubst tests/embed/%.py,$(B)/embed/%.py,$(wildcard tests/embed/*.py))))

.PHONY: all artifacts libraries test-programs deps deps-checks run test bench lint format clean install uninstall docs FORCE

# A second make reads the machine again after `deps`, and builds in parallel. Beside it nothing else may: with
# `make -j2 all test-programs` two would write the same files.
all: libraries
	@$(MAKE) $(PARALLEL) artifacts
ifneq ($(filter all,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif

ifneq ($(filter deps,$(MAKECMDGOALS)),)
libraries: | deps
endif

artifacts: $(ARTIFACTS)

define INSTALL_HINT
make deps   (Debian: apt-get install $(1))
endef

libraries:
	@command -v $(PKG_CONFIG) >/dev/null || { echo "missing: pkg-config. Install it with: $(call INSTALL_HINT,pkg-config)" >&2; exit 1; }
	@command -v $(firstword $(CC)) >/dev/null || { echo "missing: a C compiler ($(CC)). Install it with: $(call INSTALL_HINT,gcc)" >&2; exit 1; }
	@for p in $(LUA_NAMES); do $(PKG_CONFIG) --atleast-version=5.4 --max-version=5.4.99 $$p 2>/dev/null && exit 0; done; \
	  echo "missing: Lua 5.4 (pkg-config names tried: $(LUA_NAMES)). Install it with: $(call INSTALL_HINT,liblua5.4-dev lua5.4)" >&2; exit 1
	@for p in openblas:OpenBLAS:libopenblas-pthread-dev libedit:libedit:libedit-dev sqlite3:SQLite:libsqlite3-dev \
	  zlib:zlib:zlib1g-dev jansson:Jansson:libjansson-dev libpng:libpng:libpng-dev libjpeg:libjpeg-turbo:libjpeg62-turbo-dev; do \
	  of=$${p#*:}; $(PKG_CONFIG) --exists $${p%%:*} || { echo "missing: $${of%:*}. Install it with: $(call INSTALL_HINT,$${p##*:})" >&2; exit 1; }; done
	@[ -z "$(MPI)" ] || [ -n "$(MPI_PC)" ] || { echo "missing: MPI. Install it with: apt-get install mpich libmpich-dev" >&2; exit 1; }

# Recompile everything when compiler or flags change.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CFLAGS_ALL) $(LDFLAGS) $(LUA_LIBS) $(CORE_LIBS)' | cmp -s - $@ || echo '$(CC) $(CFLAGS_ALL) $(LDFLAGS) $(LUA_LIBS) $(CORE_LIBS)' > $@

$(B)/ranks.flags: FORCE
	@mkdir -p $(@D)
	@echo '$(RANKS_CFLAGS)' | cmp -s - $@ || echo '$(RANKS_CFLAGS)' > $@
$(B)/obj/ranks/ranks.o: $(B)/ranks.flags

# The folder it was built in is no part of the objects: two folders give the same bytes.
NO_FOLDER := -ffile-prefix-map=$(CURDIR)=.
define COMPILE
	@mkdir -p $(@D)
	$(call step,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(NO_FOLDER) -c $< -o $@
endef

$(B)/obj/gen/%.o: $(B)/gen/%.c $(B)/flags | $(GEN_HEADERS)
	$(COMPILE)

$(B)/obj/%.o: src/%.c $(B)/flags | $(GEN_HEADERS)
	$(COMPILE)

# ---- generated sources ----

# lua/bracket as bytes: a list of path and contents. The list file makes an added or removed file count.
$(B)/gen/lua.list: FORCE
	@mkdir -p $(@D)
	@echo '$(LUA_SRC)' | cmp -s - $@ || echo '$(LUA_SRC)' > $@

$(B)/gen/embed.c: $(LUA_SRC) $(B)/gen/lua.list src/bind/embed.h Makefile
	@{ echo '/* Generated from lua/bracket: do not edit. */'; echo '#include "src/bind/embed.h"'; \
	  n=0; for f in $(LUA_SRC); do n=$$((n+1)); echo "static const unsigned char file_$$n[] = {"; \
	    od -An -v -tu1 "$$f" | sed 's/  */,/g; s/^,//; s/$$/,/'; echo '0};'; done; \
	  echo 'const embed_file embed_files[] = {'; \
	  n=0; for f in $(LUA_SRC); do n=$$((n+1)); \
	    echo "    { \"$${f#lua/}\", file_$$n, sizeof file_$$n - 1 },"; done; \
	  echo '    { 0, 0, 0 },'; echo '};'; } > $@

$(B)/gen/rows.list: FORCE
	@mkdir -p $(@D)
	@echo '$(ROWS_SRC)' | cmp -s - $@ || echo '$(ROWS_SRC)' > $@

$(B)/gen/kernels.list: FORCE
	@mkdir -p $(@D)
	@echo '$(KERNELS_SRC)' | cmp -s - $@ || echo '$(KERNELS_SRC)' > $@

$(B)/gen/vec_rows.h: $(KERNELS_SRC) $(B)/gen/kernels.list Makefile
	@{ echo '/* Generated: do not edit. */'; \
	  sed -nE 's/^(KERNEL|REAL)[_A-Z]*[(]([a-z0-9_]+)(, *([0-9]+))?.*/\1 \2 \4/p' $(KERNELS_SRC) | \
	  awk '{ printf "VEC_ROW%s(%s, %s, %s)\n", $$1 == "REAL" ? "_REAL" : "", $$2, toupper($$2), $$3 == "" ? -1 : $$3 }'; } > $@.new
	@cmp -s $@.new $@ || cp $@.new $@

# The functions of all files are declared first, so that any may call any, but for those that only some types have: for
# these, files that define functions come before those of mere KERNEL and REAL lines.
$(B)/gen/vec_kernels.h: $(KERNELS_SRC) $(B)/gen/kernels.list Makefile
	@{ echo '/* Generated: do not edit. */'; echo '#if TYPE != 1'; \
	  awk '/^#if/ { d++ } /^#endif/ { d-- } !d && /^INL .*[)] [{]/ { sub(/ [{].*/, ";"); print }' $(KERNELS_SRC); \
	  echo '#endif'; \
	  for f in $$(grep -l '^INL ' $(KERNELS_SRC)) $$(grep -L '^INL ' $(KERNELS_SRC)); do \
	  if grep -q '^KERNEL' $$f; then echo "#include \"$$f\""; \
	  else printf '#if TYPE != 1\n#include "%s"\n#endif\n' $$f; fi; done; } > $@.new
	@cmp -s $@.new $@ || cp $@.new $@

# Rewritten only when a row comes or goes: whoever includes it would be compiled anew.
$(B)/gen/%_rows.h: $(ROWS_SRC) $(B)/gen/rows.list
	@{ echo '/* Generated: do not edit. */'; printf 'extern const $*_row %s;\n' $(call ROW_NAMES,$*); \
	  $(if $(filter op,$*),$(BUILDERS);) } > $@.new
	@cmp -s $@.new $@ || cp $@.new $@

$(B)/gen/%_rows.c: $(B)/gen/%_rows.h Makefile
	@{ echo '/* Generated: do not edit. */'; echo '#include "$(ROW_$*)"'; echo 'const $*_row *const $*_rows[] = {'; \
	  printf '    &%s,\n' $(call ROW_NAMES,$*); echo '    0,'; echo '};'; \
	  echo 'const char *const $*_row_names[] = {'; printf '    "%s",\n' $(call ROW_NAMES,$*) | sed 's/"$*_/"/'; \
	  echo '    0,'; echo '};'; } > $@

# ---- link ----
$(B)/bracket: $(LIB_OBJ) $(APP_OBJ)
	$(call step,LINK,$@)
	$(Q)$(CC) $(SAN) $(OPT) -rdynamic $^ -o $@ $(LDFLAGS) $(LUA_LIBS) $(APP_LIBS) $(LINK_LIBS)

# One object whose only global symbols are the public ones.
$(B)/libbracket.a: $(LIB_OBJ)
	$(call step,AR,$@)
	$(Q)$(call tool,ld) -r $^ -o $(B)/obj/libbracket.o
	$(Q)$(call tool,objcopy) --localize-hidden $(B)/obj/libbracket.o
	@rm -f $@
	$(Q)$(call tool,ar) rcsD $@ $(B)/obj/libbracket.o

# Neither holds Lua: the host's lua_* are used.
$(B)/libbracket.so: $(LIB_OBJ) src/bracket.map
	$(call step,LINK,$@)
	$(Q)$(CC) $(SAN) $(OPT) -shared -Wl,-soname,libbracket.so.$(SOMAJOR) -Wl,--version-script,src/bracket.map $(LIB_OBJ) -o $@ $(LDFLAGS) $(LINK_LIBS)
	@ln -sf libbracket.so $(B)/libbracket.so.$(SOMAJOR)

$(B)/bracket.so: $(LIB_OBJ) src/bracket.map
	$(call step,LINK,$@)
	$(Q)$(CC) $(SAN) $(OPT) -shared -Wl,--version-script,src/bracket.map $(LIB_OBJ) -o $@ $(LDFLAGS) $(LINK_LIBS)

$(B)/bracket.pc: Makefile src/bracket.h $(B)/flags
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR:$(PREFIX)/%=$${prefix}/%)' 'includedir=$${prefix}/include' '' 'Name: bracket' \
	  'Description: exact modified losses and brackets of training protocols, in Lua' 'Version: $(VERSION)' \
	  'Requires: $(LUA_PC)' 'Cflags: -I$${includedir}' 'Libs: -L$${libdir} -lbracket' 'Libs.private: $(LINK_LIBS)' > $@

# ---- run, test, measure ----
run: all
	@$(B)/bracket experiments/order_check/run.lua $(ARGS)

$(B)/tests/%: tests/c/%.c $(LIB_OBJ)
	@mkdir -p $(@D)
	$(call step,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $< $(LIB_OBJ) -o $@ $(LDFLAGS) $(WRAPPED) $(LUA_LIBS) $(LINK_LIBS) -lutil

# The program with MPI, for the tests of ranks where mpirun is installed: all but one object is the same.
ifneq ($(MPI_PC),)
RANKS_PROGRAM := $(B)/tests/bracket-mpi
$(B)/obj/mpi/%.o: src/ranks/%.c $(B)/flags | $(GEN_HEADERS)
	$(COMPILE)
$(B)/obj/mpi/ranks.o: private CFLAGS_ALL += $(MPI_CFLAGS)
$(RANKS_PROGRAM): $(filter-out $(B)/obj/ranks/ranks.o,$(LIB_OBJ)) $(B)/obj/mpi/ranks.o $(APP_OBJ)
	@mkdir -p $(@D)
	$(call step,LINK,$@)
	$(Q)$(CC) $(SAN) $(OPT) -rdynamic $^ -o $@ $(LDFLAGS) $(LUA_LIBS) $(APP_LIBS) $(CORE_LIBS) $(MPI_LIBS)
endif

# alloc_test sees the library's own calls of the allocator.
$(B)/tests/alloc_test: private WRAPPED := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=free

# The dlopen host knows neither library nor header at link time.
$(B)/embed/dlopen: tests/embed/dlopen.c $(B)/libbracket.so
	@mkdir -p $(@D)
	$(call step,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $< -o $@ $(LDFLAGS_HOST) -Wl,--no-as-needed $(LUA_LIBS) -ldl

$(B)/embed/%: tests/embed/%.c $(B)/libbracket.a
	@mkdir -p $(@D)
	$(call step,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -Isrc $< $(B)/libbracket.a -o $@ $(LDFLAGS_HOST) $(LUA_LIBS) $(LINK_LIBS)

$(B)/embed/%: tests/embed/%.cpp $(B)/libbracket.a
	@mkdir -p $(@D)
	$(call step,LINK,$@)
	$(Q)$(CXX) -std=c++17 $(OPT) -Wall -Wextra -Wno-missing-field-initializers $(SAN) -Isrc $(ALL_CFLAGS) $(CXXFLAGS) $< $(B)/libbracket.a -o $@ $(LDFLAGS_HOST) $(LUA_LIBS) $(LINK_LIBS)

$(B)/embed/%.py: tests/embed/%.py $(B)/libbracket.so
	@mkdir -p $(@D)
	@{ echo '#!/usr/bin/env python3'; cat $<; } > $@ && chmod +x $@

test-programs: $(C_TESTS) $(C_TOOLS) $(EMBED_TESTS) $(RANKS_PROGRAM)

# Each program's last line is `N passed, N failed`; a crash counts as one failure.
test: all
	@$(MAKE) $(PARALLEL) test-programs fuzz-programs
	@passed=0; failed=0; mkdir -p $(B)/logs; \
	one() { name=$$1; shift; echo "== $$name"; "$$@" > $(B)/logs/$$name.log 2>&1; rc=$$?; \
	  line=$$(grep -aE '^[0-9]+ passed, [0-9]+ failed' $(B)/logs/$$name.log | tail -n 1); \
	  p=$$(echo "$${line:-0}" | sed 's/ .*//'); f=$$(echo "$$line" | sed -n 's/.*, \([0-9]*\) failed.*/\1/p'); f=$${f:-0}; \
	  if [ -z "$$line" ]; then if [ $$rc -eq 0 ]; then p=1; else f=1; fi; fi; \
	  if [ $$rc -ne 0 ] && [ $$f -eq 0 ]; then f=1; fi; \
	  if [ $$f -ne 0 ]; then grep -aE '^FAIL' $(B)/logs/$$name.log || tail -n 60 $(B)/logs/$$name.log; \
	    echo "   exit status $$rc; all it printed: $(B)/logs/$$name.log"; fi; \
	  passed=$$((passed+p)); failed=$$((failed+f)); }; \
	for t in $(C_TESTS) $(EMBED_TESTS); do one $$(basename $$t) env BRACKET_BUILD=$(B) $$t; done; \
	one fuzz-replay $(MAKE) fuzz-replay; \
	one lua env BRACKET_BUILD=$(B) $(B)/bracket tests/run.lua $(ARGS); \
	echo "$$passed passed, $$failed failed"; [ $$failed -eq 0 ]

bench: all
	@$(B)/bracket tests/bench/compare.lua $(ARGS)

docs: all
	@mkdir -p $(B)/docs
	@$(B)/bracket -e 'bk.repl.reference("$(B)/docs")'

# ---- set-up ----
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
APT := gcc libc6-dev make binutils pkg-config lua5.4 liblua5.4-dev libopenblas-pthread-dev libedit-dev libsqlite3-dev zlib1g-dev libjansson-dev libpng-dev libjpeg62-turbo-dev lua-unit gnuplot-nox
ifdef MPI
APT += mpich libmpich-dev
endif
DNF := gcc make binutils pkgconf-pkg-config lua lua-devel openblas-devel libedit-devel sqlite-devel zlib-devel jansson-devel libpng-devel libjpeg-turbo-devel gnuplot
BREW := pkg-config lua@5.4 openblas libedit sqlite zlib jansson libpng jpeg-turbo gnuplot
# deps: what users need. deps-checks: what .ci/run needs besides (Debian).
APT_CHECKS := clang libclang-rt-14-dev musl-tools abigail-tools g++ python3-minimal
deps deps-checks:
	@if command -v apt-get >/dev/null; then \
	  missing=; for p in $(if $(filter deps,$@),$(APT),$(APT_CHECKS)); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$p"; done; \
	  if [ -z "$$missing" ]; then echo "$@: nothing is missing"; else \
	    $(SUDO) apt-get update -q && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -q -y --no-install-recommends $$missing; fi; \
	elif [ $@ = deps-checks ]; then echo "deps-checks: install $(APT_CHECKS), as they are called here" >&2; \
	elif command -v dnf >/dev/null; then $(SUDO) dnf install -y $(DNF); $(SUDO) dnf install -y lua-luaunit || echo "deps: install luaunit for Lua 5.4 to run the tests"; \
	elif command -v brew >/dev/null; then brew install $(BREW); \
	else echo "deps: no apt-get, dnf or brew here; install Lua 5.4, OpenBLAS, libedit, SQLite, zlib, Jansson, libpng, libjpeg-turbo (headers too), LuaUnit and gnuplot" >&2; exit 1; fi

# ---- checks ----
lint: all
	@$(B)/bracket tests/lint.lua $(B)/obj

format:
	clang-format -i src/*.h src/*/*.[ch] tests/*/*.c

clean:
	rm -rf build

# ---- install ----
# LIBDIR and LUA_CDIR: where a system keeps its libraries and its modules of Lua in C, where it is not PREFIX/lib.
LIBDIR ?= $(PREFIX)/lib
LUA_CDIR ?= $(LIBDIR)/lua/5.4
BIN := $(DESTDIR)$(PREFIX)/bin
LIB := $(DESTDIR)$(LIBDIR)
MODULES := $(DESTDIR)$(LUA_CDIR)
INCLUDE := $(DESTDIR)$(PREFIX)/include
MAN := $(DESTDIR)$(PREFIX)/share/man/man1
SHARE := $(DESTDIR)$(PREFIX)/share/bracket
BASH_COMPLETION := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH_COMPLETION := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
install: all docs
	@$(MAKE) -B $(B)/bracket.pc >/dev/null
	install -d $(BIN) $(LIB)/pkgconfig $(MODULES) $(INCLUDE) $(MAN) $(SHARE) $(BASH_COMPLETION) $(ZSH_COMPLETION)
	install -m 755 $(B)/bracket $(BIN)/bracket
	install -m 644 $(B)/libbracket.a $(LIB)/libbracket.a
	install -m 755 $(B)/libbracket.so $(LIB)/libbracket.so.$(VERSION)
	ln -sf libbracket.so.$(VERSION) $(LIB)/libbracket.so.$(SOMAJOR)
	ln -sf libbracket.so.$(SOMAJOR) $(LIB)/libbracket.so
	install -m 755 $(B)/bracket.so $(MODULES)/bracket.so
	install -m 644 $(B)/bracket.pc $(LIB)/pkgconfig/bracket.pc
	install -m 644 src/bracket.h $(INCLUDE)/bracket.h
	install -m 644 $(B)/docs/bracket.1 $(MAN)/bracket.1
	install -m 644 $(B)/docs/bracket.bash $(BASH_COMPLETION)/bracket
	install -m 644 $(B)/docs/_bracket $(ZSH_COMPLETION)/_bracket
	install -m 644 $(B)/docs/bracket.lua $(B)/docs/reference.html $(SHARE)/

uninstall:
	rm -f $(BIN)/bracket $(LIB)/libbracket.a $(LIB)/libbracket.so $(LIB)/libbracket.so.$(SOMAJOR) $(LIB)/libbracket.so.$(VERSION) \
	  $(MODULES)/bracket.so $(LIB)/pkgconfig/bracket.pc $(INCLUDE)/bracket.h $(MAN)/bracket.1 $(BASH_COMPLETION)/bracket \
	  $(ZSH_COMPLETION)/_bracket
	rm -rf $(SHARE)

# ---- other checks, fuzzing, releases ----
include tests/checks.mk tests/fuzz/fuzz.mk
-include .packaging/package.mk

FORCE:
-include $(LIB_OBJ:.o=.d) $(APP_OBJ:.o=.d)

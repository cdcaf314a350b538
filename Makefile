# bracket: build, test, measure, install. Everything built goes to build/ (build/asan with SANITIZE=1,
# build/tsan with SANITIZE=thread: threads, with the stock Lua and OpenBLAS, which are not built for it).
#   make deps      installs what is missing (apt, dnf or brew)       make test     runs every test
#   make all       program, libraries, module                        make lint     checks the layers' arrows
#   make run       the main job; ARGS=... for its options            make docs     reference page, editor definitions, man page
#   make bench     the benchmark lines; ARGS=...                     make install  PREFIX, DESTDIR; uninstall takes it back
.SUFFIXES:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
ifeq ($(origin CC),default)
CC := cc
endif
PREFIX ?= /usr/local
DESTDIR ?=
ARGS ?=
PKG_CONFIG ?= pkg-config
JOBS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
VERSION := $(shell sed -n 's/^\#define BK_VERSION "\(.*\)"/\1/p' src/bracket.h)
SOMAJOR := 0

# ---- what the machine has ----
LUA_NAMES := lua5.4 lua-5.4 lua54 lua
LUA_PC := $(firstword $(foreach p,$(LUA_NAMES),$(shell $(PKG_CONFIG) --atleast-version=5.4 --max-version=5.4.99 $(p) 2>/dev/null && echo $(p))))
LIB_PCS := openblas libedit zlib jansson
ALL_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(LUA_PC) $(LIB_PCS) 2>/dev/null)
LUA_LIBS := $(shell $(PKG_CONFIG) --libs $(LUA_PC) 2>/dev/null)
CORE_LIBS := $(shell $(PKG_CONFIG) --libs openblas zlib jansson 2>/dev/null) -lm -ldl -pthread
EDIT_LIBS := $(shell $(PKG_CONFIG) --libs libedit 2>/dev/null)

# ---- flags ----
OPT ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes
ifeq ($(SANITIZE),thread)
B := build/tsan
SAN := -fsanitize=thread -fno-omit-frame-pointer
else ifdef SANITIZE
B := build/asan
SAN := -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
else
B ?= build
SAN :=
endif
CFLAGS_ALL = -std=c11 -D_GNU_SOURCE -I. $(OPT) $(WARN) $(SAN) -fPIC -fvisibility=hidden -pthread -MMD -MP $(ALL_CFLAGS) $(CFLAGS)
# Kernels written as plain loops are worth -O3; nothing else gains from it.
$(B)/obj/tensor/vec.o $(B)/obj/tensor/conv.o: CFLAGS_ALL += -O3

# ---- what there is to build ----
LIB_SRC := $(filter-out src/app/%,$(wildcard src/*/*.c))
APP_SRC := $(wildcard src/app/*.c)
LIB_OBJ := $(LIB_SRC:src/%.c=$(B)/obj/%.o) $(B)/obj/gen/embed.o $(B)/obj/gen/op_rows.o $(B)/obj/gen/optim_rows.o
APP_OBJ := $(APP_SRC:src/%.c=$(B)/obj/%.o)
LUA_SRC := $(shell find lua/bracket -name '*.lua' 2>/dev/null | LC_ALL=C sort)
ROWS_SRC := $(wildcard src/ops/*.c src/optim/*.c)
ARTIFACTS := $(B)/bracket $(B)/libbracket.a $(B)/libbracket.so $(B)/bracket.so $(B)/bracket.pc
C_TESTS := $(patsubst tests/c/%.c,$(B)/tests/%,$(wildcard tests/c/*_test.c))
C_TOOLS := $(patsubst tests/c/%.c,$(B)/tests/%,$(wildcard tests/c/pty.c))
EMBED_TESTS := $(patsubst tests/embed/%.c,$(B)/embed/%,$(wildcard tests/embed/*.c))

.PHONY: all artifacts libraries test-programs deps run test bench lint format clean install uninstall docs FORCE

# A second make reads the machine again after `deps`, and builds in parallel.
all: libraries
	@$(MAKE) -j$(JOBS) artifacts

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
	@$(PKG_CONFIG) --exists openblas || { echo "missing: OpenBLAS. Install it with: $(call INSTALL_HINT,libopenblas-pthread-dev)" >&2; exit 1; }
	@$(PKG_CONFIG) --exists libedit || { echo "missing: libedit. Install it with: $(call INSTALL_HINT,libedit-dev)" >&2; exit 1; }
	@$(PKG_CONFIG) --exists jansson || { echo "missing: Jansson. Install it with: $(call INSTALL_HINT,libjansson-dev)" >&2; exit 1; }
	@$(PKG_CONFIG) --exists zlib || { echo "missing: zlib. Install it with: $(call INSTALL_HINT,zlib1g-dev)" >&2; exit 1; }

# Recompile everything when compiler or flags change.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CFLAGS_ALL) $(LDFLAGS) $(LUA_LIBS) $(CORE_LIBS)' | cmp -s - $@ || echo '$(CC) $(CFLAGS_ALL) $(LDFLAGS) $(LUA_LIBS) $(CORE_LIBS)' > $@

$(B)/obj/gen/%.o: $(B)/gen/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c $< -o $@

$(B)/obj/%.o: src/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c $< -o $@

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

# Every `const op_row op_NAME = {` in src/ops, and every `const optim_row optim_NAME = {` in src/optim: nothing is
# registered by hand. $(call ROWS,prefix,header,sources) prints the list, NULL-ended.
define ROWS
{ echo '/* Generated from src/$(3): do not edit. */'; echo '#include "src/$(2)"'; \
	  names=$$(cat src/$(3)/*.c | sed -n 's/^const $(1)_row \($(1)_[A-Za-z0-9_]*\) *= *{.*/\1/p'); \
	  for n in $$names; do echo "extern const $(1)_row $$n;"; done; \
	  echo 'const $(1)_row *const $(1)_rows[] = {'; for n in $$names; do echo "    &$$n,"; done; \
	  echo '    0,'; echo '};'; }
endef

$(B)/gen/rows.list: FORCE
	@mkdir -p $(@D)
	@echo '$(ROWS_SRC)' | cmp -s - $@ || echo '$(ROWS_SRC)' > $@

$(B)/gen/op_rows.c: $(ROWS_SRC) $(B)/gen/rows.list Makefile
	@$(call ROWS,op,graph/graph.h,ops) > $@

$(B)/gen/optim_rows.c: $(ROWS_SRC) $(B)/gen/rows.list Makefile
	@$(call ROWS,optim,optim/optim.h,optim) > $@

# ---- link ----
$(B)/bracket: $(LIB_OBJ) $(APP_OBJ)
	$(CC) $(SAN) $(OPT) -rdynamic $^ -o $@ $(LDFLAGS) $(LUA_LIBS) $(EDIT_LIBS) $(CORE_LIBS)

# One object whose only global symbols are the public ones.
$(B)/libbracket.a: $(LIB_OBJ)
	ld -r $^ -o $(B)/obj/libbracket.o
	objcopy --localize-hidden $(B)/obj/libbracket.o
	@rm -f $@
	ar rcs $@ $(B)/obj/libbracket.o

$(B)/gen/symbols.map: Makefile
	@mkdir -p $(@D)
	@echo '{ global: bk_*; luaopen_bracket; local: *; };' > $@

# Neither holds Lua: the host's lua_* are used.
$(B)/libbracket.so: $(LIB_OBJ) $(B)/gen/symbols.map
	$(CC) $(SAN) $(OPT) -shared -Wl,-soname,libbracket.so.$(SOMAJOR) -Wl,--version-script,$(B)/gen/symbols.map $(LIB_OBJ) -o $@ $(LDFLAGS) $(CORE_LIBS)
	@ln -sf libbracket.so $(B)/libbracket.so.$(SOMAJOR)

$(B)/bracket.so: $(LIB_OBJ) $(B)/gen/symbols.map
	$(CC) $(SAN) $(OPT) -shared -Wl,--version-script,$(B)/gen/symbols.map $(LIB_OBJ) -o $@ $(LDFLAGS) $(CORE_LIBS)

$(B)/bracket.pc: Makefile src/bracket.h $(B)/flags
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' 'Name: bracket' \
	  'Description: exact modified losses and brackets of training protocols, in Lua' 'Version: $(VERSION)' \
	  'Requires: $(LUA_PC)' 'Cflags: -I$${includedir}' 'Libs: -L$${libdir} -lbracket' 'Libs.private: $(CORE_LIBS)' > $@

# ---- run, test, measure ----
run: all
	@$(B)/bracket experiments/order_check/run.lua $(ARGS)

$(B)/tests/%: tests/c/%.c $(LIB_OBJ)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $< $(LIB_OBJ) -o $@ $(LDFLAGS) $(LUA_LIBS) $(CORE_LIBS) -lutil

# alloc_test sees the library's own calls of the allocator.
$(B)/tests/alloc_test: LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=free

# The dlopen host knows neither library nor header at link time.
$(B)/embed/dlopen: tests/embed/dlopen.c $(B)/libbracket.so
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $< -o $@ $(LDFLAGS_HOST) -Wl,--no-as-needed $(LUA_LIBS) -ldl

$(B)/embed/%: tests/embed/%.c $(B)/libbracket.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -Isrc $< $(B)/libbracket.a -o $@ $(LDFLAGS_HOST) $(LUA_LIBS) $(CORE_LIBS)

test-programs: $(C_TESTS) $(C_TOOLS) $(EMBED_TESTS)

# Each program's last line is `N passed, N failed`; a crash counts as one failure.
test: all
	@$(MAKE) -j$(JOBS) test-programs
	@passed=0; failed=0; mkdir -p $(B)/logs; \
	one() { name=$$1; shift; echo "== $$name"; "$$@" > $(B)/logs/$$name.log 2>&1; rc=$$?; \
	  line=$$(grep -E '^[0-9]+ passed, [0-9]+ failed' $(B)/logs/$$name.log | tail -n 1); \
	  p=$$(echo "$${line:-0}" | sed 's/ .*//'); f=$$(echo "$$line" | sed -n 's/.*, \([0-9]*\) failed.*/\1/p'); f=$${f:-0}; \
	  if [ -z "$$line" ]; then if [ $$rc -eq 0 ]; then p=1; else f=1; fi; fi; \
	  if [ $$rc -ne 0 ] && [ $$f -eq 0 ]; then f=1; fi; \
	  if [ $$f -ne 0 ]; then tail -n 60 $(B)/logs/$$name.log; echo "   exit status $$rc"; fi; \
	  passed=$$((passed+p)); failed=$$((failed+f)); }; \
	for t in $(C_TESTS) $(EMBED_TESTS); do one $$(basename $$t) env BRACKET_BUILD=$(B) $$t; done; \
	one lua env BRACKET_BUILD=$(B) $(B)/bracket tests/run.lua $(ARGS); \
	echo "$$passed passed, $$failed failed"; [ $$failed -eq 0 ]

bench: all
	@$(B)/bracket tests/bench/compare.lua $(ARGS)

docs: all
	@mkdir -p $(B)/docs
	@$(B)/bracket -e 'bk.repl.reference("$(B)/docs")'

# ---- set-up ----
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
APT := gcc libc6-dev make binutils pkg-config lua5.4 liblua5.4-dev libopenblas-pthread-dev libedit-dev zlib1g-dev libjansson-dev lua-unit gnuplot-nox
DNF := gcc make binutils pkgconf-pkg-config lua lua-devel openblas-devel libedit-devel zlib-devel jansson-devel gnuplot
BREW := pkg-config lua@5.4 openblas libedit zlib jansson gnuplot
deps:
	@if command -v apt-get >/dev/null; then \
	  missing=; for p in $(APT); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$p"; done; \
	  if [ -z "$$missing" ]; then echo "deps: nothing is missing"; else \
	    $(SUDO) apt-get update -q && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -q -y --no-install-recommends $$missing; fi; \
	elif command -v dnf >/dev/null; then $(SUDO) dnf install -y $(DNF); $(SUDO) dnf install -y lua-luaunit || echo "deps: install luaunit for Lua 5.4 to run the tests"; \
	elif command -v brew >/dev/null; then brew install $(BREW); \
	else echo "deps: no apt-get, dnf or brew here; install Lua 5.4, OpenBLAS, libedit, zlib, Jansson (headers too), LuaUnit and gnuplot" >&2; exit 1; fi

# ---- checks ----
# base <- tensor <- graph <- ops, model, bea, optim <- bind <- app; data needs tensor only.
lint:
	@bad=0; allow() { room=$$1; shift; ok="$$room $$*"; \
	  for f in src/$$room/*.[ch]; do [ -e "$$f" ] || continue; \
	    for inc in $$(sed -n 's/^ *# *include *"\([^"]*\)".*/\1/p' $$f); do \
	      case $$inc in ../bracket.h|src/bracket.h) continue;; ../*/*) to=$${inc#../}; to=$${to%%/*};; src/*/*) to=$${inc#src/}; to=$${to%%/*};; *) continue;; esac; \
	      case " $$ok " in *" $$to "*) ;; *) echo "$$f: $$room must not know $$to ($$inc)"; bad=1;; esac; done; done; }; \
	allow base; allow tensor base; allow graph base tensor; allow data base tensor; \
	for r in ops model optim; do allow $$r base tensor graph ops; done; allow model base tensor graph ops; allow bea base tensor graph ops model; \
	allow bind base tensor graph ops model bea optim data; allow app base tensor graph ops model bea optim data bind; \
	for f in src/*/*.[ch]; do case $$f in src/bind/*|src/app/*) ;; *) \
	  grep -nE '^ *# *include *[<"](lua|lauxlib|lualib)\.h' $$f /dev/null && { echo "$$f: lua.h belongs to src/bind and src/app"; bad=1; }; \
	  grep -nE '\b(exit|abort|printf|puts|perror|assert|fprintf) *\(' $$f /dev/null | grep -v snprintf | grep -vE ':[0-9]+: *(/?\*|//)' && { echo "$$f: the library neither prints nor exits"; bad=1; }; esac; \
	  [ $$f = src/tensor/gemm.c ] || { grep -n 'cblas' $$f /dev/null | grep '# *include' && { echo "$$f: cblas belongs to src/tensor/gemm.c"; bad=1; }; }; \
	  LC_ALL=C.UTF-8 grep -nE '^.{121,}' $$f /dev/null | sed 's/\(:[0-9]*:\).*/\1 longer than 120/' | grep . && bad=1; \
	done; \
	for f in $$(find lua experiments tests -name '*.lua'); do luac5.4 -p $$f 2>/dev/null || lua5.4 -e "assert(loadfile('$$f'))" || bad=1; done; \
	[ $$bad -eq 0 ] && echo "lint: clean"

format:
	clang-format -i src/*.h src/*/*.[ch] tests/*/*.c

clean:
	rm -rf build

# ---- install ----
LIBDIR := $(DESTDIR)$(PREFIX)/lib
install: all docs
	@$(MAKE) -B $(B)/bracket.pc >/dev/null
	install -d $(DESTDIR)$(PREFIX)/bin $(LIBDIR)/pkgconfig $(LIBDIR)/lua/5.4 $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bracket
	install -m 755 $(B)/bracket $(DESTDIR)$(PREFIX)/bin/bracket
	install -m 644 $(B)/libbracket.a $(LIBDIR)/libbracket.a
	install -m 755 $(B)/libbracket.so $(LIBDIR)/libbracket.so.$(VERSION)
	ln -sf libbracket.so.$(VERSION) $(LIBDIR)/libbracket.so.$(SOMAJOR)
	ln -sf libbracket.so.$(SOMAJOR) $(LIBDIR)/libbracket.so
	install -m 755 $(B)/bracket.so $(LIBDIR)/lua/5.4/bracket.so
	install -m 644 $(B)/bracket.pc $(LIBDIR)/pkgconfig/bracket.pc
	install -m 644 src/bracket.h $(DESTDIR)$(PREFIX)/include/bracket.h
	install -m 644 $(B)/docs/bracket.1 $(DESTDIR)$(PREFIX)/share/man/man1/bracket.1
	install -m 644 $(B)/docs/bracket.lua $(B)/docs/reference.md $(DESTDIR)$(PREFIX)/share/bracket/

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/bracket $(LIBDIR)/libbracket.a $(LIBDIR)/libbracket.so $(LIBDIR)/libbracket.so.$(SOMAJOR) \
	  $(LIBDIR)/libbracket.so.$(VERSION) $(LIBDIR)/lua/5.4/bracket.so $(LIBDIR)/pkgconfig/bracket.pc \
	  $(DESTDIR)$(PREFIX)/include/bracket.h $(DESTDIR)$(PREFIX)/share/man/man1/bracket.1
	rm -rf $(DESTDIR)$(PREFIX)/share/bracket

FORCE:
-include $(LIB_OBJ:.o=.d) $(APP_OBJ:.o=.d)

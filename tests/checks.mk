# checks.mk - the tests under other eyes and on other processors. Each closes with `N passed, N failed`.
#   make asan        every test, with AddressSanitizer and UBSan          make pedantic   gcc, clang, musl: C11 -pedantic, no warning
#   make tsan        C tests and hosts, with ThreadSanitizer              make levels     the tests without AVX-512, without AVX2
#   make valgrind    Lua suites under memcheck; SUITES="tensor func"      make arm64      cross build, and the tests under qemu
#   make coverage    lines of src (gcov) and of lua/ that the tests run   make nehalem    C tests under qemu without any AVX
.PHONY: asan tsan valgrind coverage pedantic levels nehalem arm64 arm64-root one-by-one
need = @command -v $(1) >/dev/null || { echo '$@: needs $(1) (Debian: apt-get install $(2))' >&2; exit 1; }

# (Some tests ask for more memory than there can be.)
asan:
	@ASAN_OPTIONS=allocator_may_return_null=1:$(ASAN_OPTIONS) \
	  LSAN_OPTIONS=suppressions=$(CURDIR)/tests/lsan.supp:print_suppressions=0:$(LSAN_OPTIONS) $(MAKE) SANITIZE=1 test

# One after the other, `RUN` before each: programs of C_TESTS and EMBED_TESTS, and suites. EMULATED=1: the program that
# suites start is a script with the same `RUN`; C tests find that in BRACKET_EMULATED, and that times mean nothing.
SUITES ?=
RUN ?=
EMULATED ?=
one-by-one: test-programs $(if $(SUITES),all)
	@$(if $(EMULATED),rm -rf $(B)/emulated; mkdir $(B)/emulated; ln -s $(abspath $(B))/* $(B)/emulated; cd $(B)/emulated; \
	  rm -f bracket emulated; printf '#!/bin/sh\nexec $(RUN) $(abspath $(B))/bracket "$$@"\n' > bracket; chmod +x bracket)
	@passed=0; failed=0; mkdir -p $(B)/logs; \
	for t in $(RUN_TESTS) $(SUITES); do name=$$(basename $$t); \
	  if [ -x $$t ]; then set -- $$t; else set -- $(B)/bracket tests/run.lua $$t; fi; \
	  BRACKET_BUILD=$(B)$(if $(EMULATED),/emulated BRACKET_EMULATED='$(RUN)') $(RUN) "$$@" > $(B)/logs/$$name.log 2>&1; rc=$$?; \
	  line=$$(grep -aE '^[0-9]+ passed, [0-9]+ failed' $(B)/logs/$$name.log | tail -n 1); \
	  printf '  %-20s %s\n' $$name "$${line:-exit status $$rc}"; \
	  if [ $$rc -eq 0 ]; then passed=$$((passed + 1)); else failed=$$((failed + 1)); tail -n 40 $(B)/logs/$$name.log; fi; \
	done; echo "$$passed passed, $$failed failed"; [ $$failed -eq 0 ]

# Lua and OpenBLAS are the system's and know nothing of it: neither runs threads of its own here. Memory that fails on
# purpose, and forks, are not its matter.
tsan:
	@TSAN_OPTIONS=suppressions=tests/tsan.supp:report_signal_unsafe=0 $(MAKE) SANITIZE=thread one-by-one \
	  RUN_TESTS='$$(filter-out %/alloc_test,$$(C_TESTS)) $$(EMBED_TESTS)'

# What takes minutes by itself is left out: memcheck takes thirty times as long. It shows programs a processor without
# AVX-512, so that nothing needs to be lowered; a kernel of OpenBLAS that the environment names would end them.
VALGRIND_SUITES ?= tensor func nn optim linalg random sort arguments define hooks mode data images weights
valgrind:
	$(call need,valgrind,valgrind)
	@env -u OPENBLAS_CORETYPE $(MAKE) one-by-one SUITES='$(or $(SUITES),$(VALGRIND_SUITES))' RUN_TESTS= \
	  RUN='valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite'

# Where MPI is there, the one source that is compiled twice counts as it is with MPI: gcovr cannot add the two up.
coverage:
	$(call need,gcovr,gcovr)
	$(call need,luac5.4,lua5.4)
	@rm -rf build/coverage/lua; $(MAKE) SANITIZE=coverage BRACKET_COVERAGE=build/coverage/lua test
	@gcovr -r . -f src/ $(if $(MPI_PC),--exclude-directories '.*/obj/ranks') build/coverage/obj | tee build/coverage/src.txt | tail -n 6
	@build/coverage/bracket tests/coverage.lua build/coverage/lua | tee build/coverage/lua.txt | tail -n 3
	@echo 'by file: build/coverage/src.txt, build/coverage/lua.txt'

# Hosts' compilers: the syntax alone, so that it takes seconds. musl has none of the libraries: its own headers, and theirs.
MUSL := $(shell command -v musl-gcc)
STRICT = -std=c11 -pedantic -Werror -D_GNU_SOURCE -I. -I$(B) $(WARN) $(ALL_CFLAGS) -fsyntax-only
pedantic: all
	@for f in $(LIB_SRC) $(APP_SRC) $(wildcard tests/embed/*.c); do echo $$f; done > $(B)/sources
	@passed=0; failed=0; for cc in gcc clang $(MUSL); do command -v $$cc >/dev/null || continue; more=; \
	  case $$cc in *musl*) more='-idirafter /usr/include -idirafter /usr/include/$(shell gcc -print-multiarch)' ;; esac; \
	  if xargs -P $(JOBS) -n 16 $$cc $(STRICT) -Isrc $$more < $(B)/sources; \
	  then passed=$$((passed + 1)); echo "  $$(basename $$cc): C11, no warning"; else failed=$$((failed + 1)); fi; done; \
	  echo "$$passed passed, $$failed failed"; [ $$failed -eq 0 ]

# The vectors' choice lowered, of bracket and of OpenBLAS; the second level is tried whatever the first gave.
levels: all test-programs
	@failed=0; for level in avx2:Haswell portable:Nehalem; do \
	  BRACKET_VEC=$${level%:*} OPENBLAS_CORETYPE=$${level#*:} $(MAKE) test ARGS='$(ARGS)' || failed=1; done; exit $$failed

# An instruction of AVX ends a program there. qemu-user has no seccomp, which sandbox is about.
EMULATED_TESTS = $(filter-out %/alloc_test %/env_test %/poll_test,$(C_TESTS)) $(filter-out %.py %/sandbox,$(EMBED_TESTS))
nehalem:
	$(call need,qemu-x86_64,qemu-user)
	@env -u OPENBLAS_CORETYPE $(MAKE) one-by-one EMULATED=1 RUN='qemu-x86_64 -cpu Nehalem' RUN_TESTS='$$(EMULATED_TESTS)' SUITES='$(SUITES)'

# ---- arm64: Debian's packages unpacked into a folder, its cross compiler, qemu for what is run ----
ARM := build/arm64
ARM_ROOT := $(ARM)/root
ARM_LIB := $(abspath $(ARM_ROOT))/usr/lib/aarch64-linux-gnu
ARM_PACKAGES := libc6-dev,libgcc-12-dev,liblua5.4-dev,libopenblas-pthread-dev,libedit-dev,libsqlite3-dev,zlib1g-dev,libjansson-dev,libpng-dev,libjpeg62-turbo-dev
arm64-root: $(ARM_ROOT)/ready
$(ARM_ROOT)/ready:
	$(call need,debootstrap,debootstrap)
	@rm -rf $(ARM_ROOT) && mkdir -p $(ARM_ROOT)
	$(SUDO) debootstrap --foreign --arch=arm64 --variant=minbase --include=$(ARM_PACKAGES) bookworm $(ARM_ROOT) $(MIRROR) > $(ARM)/root.log
	@for deb in $(ARM_ROOT)/var/cache/apt/archives/*.deb; do $(SUDO) dpkg -x $$deb $(ARM_ROOT); done
	@cd $(ARM_ROOT) && find usr/lib/aarch64-linux-gnu -maxdepth 1 -type l | while read -r link; do \
	  case $$(readlink $$link) in /*) ln -sfn "$(abspath $(ARM_ROOT))$$(readlink $$link)" $$link ;; esac; done
	@ln -sf openblas-pthread/libopenblas.so.0 $(ARM_ROOT)/usr/lib/aarch64-linux-gnu/libopenblas.so.0
	@touch $@

# (liblua's header is chosen by the multiarch triplet; OpenBLAS's folder is an alternative that was never set up.)
ARM_MAKE = PKG_CONFIG_LIBDIR=$(ARM_LIB)/pkgconfig:$(ARM_LIB)/openblas-pthread/pkgconfig:$(abspath $(ARM_ROOT))/usr/share/pkgconfig \
  PKG_CONFIG_SYSROOT_DIR=$(abspath $(ARM_ROOT)) QEMU_LD_PREFIX=$(abspath $(ARM_ROOT)) \
  $(MAKE) B=$(ARM) CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++ CFLAGS='--sysroot=$(abspath $(ARM_ROOT))' CXXFLAGS='--sysroot=$(abspath $(ARM_ROOT))' \
  LDFLAGS='--sysroot=$(abspath $(ARM_ROOT))' LDFLAGS_HOST='--sysroot=$(abspath $(ARM_ROOT))'
ARM_SUITES ?= tensor func bea nn optim linalg data
arm64: arm64-root
	$(call need,aarch64-linux-gnu-gcc,gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
	$(call need,qemu-aarch64,qemu-user)
	@env -u OPENBLAS_CORETYPE $(ARM_MAKE) one-by-one EMULATED=1 RUN=qemu-aarch64 RUN_TESTS='$$(EMULATED_TESTS)' SUITES='$(or $(SUITES),$(ARM_SUITES))'

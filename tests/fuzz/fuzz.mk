# fuzz.mk - harnesses of tests/fuzz, under libFuzzer (clang) or each over its seeds (tests, any compiler).
#   make fuzz SECONDS=n      n seconds together, over all of them or FUZZ="npy json"; ends with how often each ran
#   make fuzz-replay         every seed once
FUZZ_FORMATS := npy npz safetensors idx csv cifar_batch image
FUZZ_SCRIPTS := $(patsubst tests/fuzz/%.lua,%,$(wildcard tests/fuzz/*.lua))
FUZZ ?= $(FUZZ_FORMATS) $(FUZZ_SCRIPTS) chunk graph
SECONDS ?= 120
CLANG ?= clang
FUZZER ?= tests/fuzz/replay.c
FUZZ_PROGRAMS = $(FUZZ:%=$(B)/harness/%)
.PHONY: fuzz fuzz-programs fuzz-replay
fuzz-programs: $(FUZZ_PROGRAMS)

# $(call HARNESS,source,defines)
define HARNESS
	@mkdir -p $(@D)
	$(call step,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(2) $(1) $(FUZZER) $(LIB_OBJ) -o $@ $(LDFLAGS) $(LUA_LIBS) $(LINK_LIBS)
endef
$(FUZZ_FORMATS:%=$(B)/harness/%): $(B)/harness/%: tests/fuzz/format.c tests/fuzz/fuzz.h tests/fuzz/replay.c $(LIB_OBJ)
	$(call HARNESS,$<,-DFORMAT=format_$*)
$(FUZZ_SCRIPTS:%=$(B)/harness/%): $(B)/harness/%: tests/fuzz/script.c tests/fuzz/%.lua tests/fuzz/fuzz.h tests/fuzz/replay.c $(LIB_OBJ)
	$(call HARNESS,$<,-DNAME=$*)
$(B)/harness/chunk $(B)/harness/graph: $(B)/harness/%: tests/fuzz/%.c tests/fuzz/fuzz.h tests/fuzz/replay.c $(LIB_OBJ)
	$(call HARNESS,$<,)

fuzz-replay: fuzz-programs
	@passed=0; for f in $(FUZZ); do $(B)/harness/$$f $(CURDIR)/tests/fuzz/seeds/$$f/* > $(B)/harness/$$f.log 2>&1 || \
	  { tail -n 30 $(B)/harness/$$f.log; echo "$$f: the last input named above breaks a promise"; echo "$$passed passed, 1 failed"; exit 1; }; \
	  passed=$$((passed + $$(ls tests/fuzz/seeds/$$f | wc -l))); done; echo "$$passed passed, 0 failed"

# In turn, so that one run's figures do not depend on the others'. What is found stays in build/fuzz/found, and is an
# error; new inputs that reach new code stay in build/fuzz/corpus.
fuzz:
	@command -v $(firstword $(CLANG)) >/dev/null || { echo 'fuzz: needs clang (Debian: apt-get install clang libclang-rt-14-dev)' >&2; exit 1; }
	@$(MAKE) -j$(JOBS) CC='$(CLANG)' SANITIZE=fuzz FUZZER=-fsanitize=fuzzer FUZZ='$(FUZZ)' fuzz-programs
	@sh tests/fuzz/run build/fuzz/harness $(SECONDS) $(FUZZ)

# fuzz.mk - harnesses of tests/fuzz, under libFuzzer (clang) or each over its seeds (tests, any compiler).
#   make fuzz SECONDS=n      n seconds together, over all of them or FUZZ="npy json"; ends with how often each ran
#   make fuzz-replay         every seed once
FUZZ_FORMATS := npy npz safetensors idx csv cifar_batch image
FUZZ_SCRIPTS := $(patsubst tests/fuzz/%.lua,%,$(wildcard tests/fuzz/*.lua))
FUZZ ?= $(FUZZ_FORMATS) $(FUZZ_SCRIPTS) chunk graph
SECONDS ?= 120
CLANG ?= clang
FUZZER ?= tests/fuzz/replay.c
FUZZ_PROGRAMS = $(FUZZ:%=$(B)/fuzz/%)
.PHONY: fuzz fuzz-programs fuzz-replay
fuzz-programs: $(FUZZ_PROGRAMS)

# $(call HARNESS,source,defines)
define HARNESS
	@mkdir -p $(@D)
	$(call step,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(2) $(1) $(FUZZER) $(LIB_OBJ) -o $@ $(LDFLAGS) $(LUA_LIBS) $(CORE_LIBS)
endef
$(FUZZ_FORMATS:%=$(B)/fuzz/%): $(B)/fuzz/%: tests/fuzz/format.c tests/fuzz/fuzz.h tests/fuzz/replay.c $(LIB_OBJ)
	$(call HARNESS,$<,-DFORMAT=format_$*)
$(FUZZ_SCRIPTS:%=$(B)/fuzz/%): $(B)/fuzz/%: tests/fuzz/script.c tests/fuzz/%.lua tests/fuzz/fuzz.h tests/fuzz/replay.c $(LIB_OBJ)
	$(call HARNESS,$<,-DNAME=$*)
$(B)/fuzz/chunk $(B)/fuzz/graph: $(B)/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h tests/fuzz/replay.c $(LIB_OBJ)
	$(call HARNESS,$<,)

fuzz-replay: fuzz-programs
	@for f in $(FUZZ); do $(B)/fuzz/$$f $(CURDIR)/tests/fuzz/seeds/$$f/* 2> $(B)/fuzz/$$f.log || { tail -n 30 $(B)/fuzz/$$f.log; exit 1; }; \
	  printf '%-12s ' $$f; tail -n 1 $(B)/fuzz/$$f.log; done

# In turn, so that one run's figures do not depend on the others'. What is found stays in build/fuzz/found, and is an
# error; new inputs that reach new code stay in build/fuzz/corpus.
fuzz:
	@command -v $(firstword $(CLANG)) >/dev/null || { echo 'fuzz: needs clang (Debian: apt-get install clang libclang-rt-14-dev)' >&2; exit 1; }
	@$(MAKE) -j$(JOBS) CC='$(CLANG)' SANITIZE=fuzz FUZZER=-fsanitize=fuzzer FUZZ='$(FUZZ)' fuzz-programs
	@sh tests/fuzz/run build/fuzz/fuzz $(SECONDS) $(FUZZ)

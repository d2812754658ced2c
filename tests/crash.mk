# Failing calls, power cuts, kills: tests/crash. The driver is the whole command-line
# program with tests/crash/shim.c before libc. Its end is no end of the process, so here it
# closes what it opened.
CRASH := $(D)/tests/crash-driver
$(D)/tests/crash/sluice.o: $(D)/cli/sluice_main.o $(D)/cli/cli_run.o tests/crash.mk
	@mkdir -p $(@D)
	ld -r -o $@ $(filter %.o,$^)
	objcopy --redefine-sym main=sluice_main --redefine-sym exit=sluice_exit \
	    --redefine-sym svc_leave=svc_close $@
$(CRASH): $(patsubst %.c,$(D)/%.o,$(sort $(wildcard tests/crash/*.c))) $(D)/tests/crash/sluice.o $(call libs_of,$(SLUICE_MODULES))
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -rdynamic -o $@ $^ $(STATIC_LIBS)

# $(call crash_part,NAME,COMMAND): a program for tests/run
crash_part = printf '\#!/bin/sh\nexec %s\n' "$(2)" >$(D)/tests/crash-$(1).sh;
crash_run = @$(foreach p,$(1),$(call crash_part,$(p),$(crash_$(p)))) \
    SLUICE_BIN=$(abspath $(D)/bin) SLUICE_LIBEXEC=$(abspath $(D)/bin) \
    SLUICE_TOOLS=$(abspath $(D)/tests/tools) tests/run $(patsubst %,$(D)/tests/crash-%.sh,$(1))
SEED ?= 1
FAULT_S ?= 0
CRASH_S ?= 600
SOAK_S ?= 600
N ?= 10000
crash_calls = sh tests/crash/calls.sh $(D)/bin/sluice $(CRASH)
crash_flips = sh tests/crash/flips.sh 300 $(SEED)
crash_full = sh tests/crash/full.sh
crash_fast-fault = $(CRASH) fault --fast --seconds 7 --seed $(SEED)
crash_fast-states = $(CRASH) states --fast --seconds 7 --seed $(SEED)
crash_fast-bits = $(CRASH) bits --fast --seconds 3 --seed $(SEED)
crash_fault = $(CRASH) fault --seconds $(FAULT_S) --seed $(SEED)
crash_short-storm = sh tests/crash/crowd.sh storm 20
crash_short-soak = sh tests/crash/crowd.sh soak 20
crash_states = $(CRASH) states --seconds $(CRASH_S) --seed $(SEED)
crash_bits = $(CRASH) bits --seed $(SEED)
crash_storm = sh tests/crash/crowd.sh storm 60
crash_soak = sh tests/crash/crowd.sh soak $(SOAK_S)

check-fault-fast: $(PROGRAMS) $(CRASH) $(TFS_MODEL) $(FLIPS) ## a slice of the next two, for make check
	$(call crash_run,calls full flips fast-fault fast-states fast-bits)
check-fault: $(PROGRAMS) $(CRASH) ## each call fails once, and for good; a short storm and soak [FAULT_S=300] [SEED=1]
	$(call crash_run,calls full fault short-storm short-soak)
check-crash: $(PROGRAMS) $(CRASH) ## power cuts, flipped bits, kill -9, soak [CRASH_S=600] [SOAK_S=600] [SEED=1]
	$(call crash_run,states bits storm soak)
# Always in the debug flavour: in others no call can be made to fail.
flips: ## flips under readers and a TF Serving, calls failing, kill -9: a table [N=10000] [SEED=1]
	$(MAKE) -s B=debug all $(TFS_MODEL:$(D)/%=$(O)/debug/%) $(FLIPS:$(D)/%=$(O)/debug/%)
	SLUICE_BIN=$(abspath $(O)/debug/bin) SLUICE_TOOLS=$(abspath $(O)/debug/tests/tools) sh tests/crash/flips.sh $(N) $(SEED)
.PHONY: check-fault-fast check-fault check-crash flips

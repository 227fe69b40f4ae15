# `make help` lists what there is to make. Go and make are all that is needed
# to start with.

STATICCHECK_VERSION := v0.8.2

# How long each fuzz target runs.
FUZZTIME ?= 30s

# Arguments for `make run`: make run ARGS='--listen :7007 -- cat'
ARGS ?=

# Arguments for `make bench`: make bench BENCH='--short --json results.json'
BENCH ?=

# Arguments for `make bench-check`: make bench-check BENCH_CHECK='--attempts 5'
BENCH_CHECK ?=

# Where `make build` puts the programs, and `make install` finds them.
BIN ?= bin

# Where `make install` puts them, all below DESTDIR if that is set. systemd reads
# units, sysusers.d and tmpfiles.d in /usr/local/lib and /usr/lib.
prefix     ?= /usr/local
bindir     ?= $(prefix)/bin
libdir     ?= $(prefix)/lib
sysconfdir ?= /etc
docdir     ?= $(prefix)/share/doc/preforkd
mandir     ?= $(prefix)/share/man

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/preforkd/preforkd/ipc.Version=$(VERSION)

# The race detector needs a C compiler that finds the C library's headers.
CGO_WORKS = echo '\#include <stdlib.h>' | $${CC:-gcc} -E -o /dev/null - 2>/dev/null

.DEFAULT_GOAL := build
.PHONY: help build run test test-tools race systemd-test fuzz lint bench bench-check bench-tools microbench man install uninstall clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# -buildvcs=false: the version is given, and a checkout that belongs to another
# user would fail the build.
build: ## Build all programs into bin/
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

run: build ## Build, then serve in the foreground (echo on 127.0.0.1:7007, or as ARGS says)
	@exec $(BIN)/preforkd serve $(ARGS)

# The packages whose tests boot a machine. They have the processors for
# themselves: a boot that is starved is not worth waiting for.
BOOTS := cmd/preforkd-bench/nspawn cmd/preforkd-bench/unit deploy/rig

# What a package's tests may take on a slow machine. None takes a third of it.
TEST_TIMEOUT := 15m

# -count=1: the tests run programs, whose changes the test cache does not see.
test: test-tools ## Run all tests, with the race detector where it works
	@if $(CGO_WORKS); then export CGO_ENABLED=1; race=-race; fi; \
	rest=$$(go list ./... | grep -v $(addprefix -e '/,$(addsuffix $$',$(BOOTS)))) || exit 1; \
	set -x; \
	go test $$race -count=1 -timeout $(TEST_TIMEOUT) $$rest && \
	go test $$race -count=1 -timeout $(TEST_TIMEOUT) -p 1 $(addprefix ./,$(BOOTS))

# The programs that tests talk to and run. As root on Debian they are installed;
# elsewhere the tests that miss one are skipped and say so.
test-tools:
	@missing=; need() { command -v "$$1" >/dev/null || missing="$$missing $$2"; }; \
	need nc netcat-openbsd; need socat socat; need git git; need strace strace; \
	need tcpserver ucspi-tcp; need prlimit util-linux; \
	need haproxy haproxy; need ip iproute2; need curl curl; need promtool prometheus; \
	need man man-db; need groff groff; \
	need systemctl systemd; need systemd-nspawn systemd-container; \
	$(CGO_WORKS) || missing="$$missing gcc libc6-dev"; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get -q update && apt-get -qy install --no-install-recommends $$missing && exit 0; \
	fi; \
	echo "make test: not installed:$$missing; tests that need them will be skipped" >&2

race: ## Run the short tests with the race detector
	CGO_ENABLED=1 go test -race -short ./...

systemd-test: test-tools ## Boot a real systemd and try the units in it (as root)
	go test -count=1 -v ./deploy/...

fuzz: ## Run every fuzz target for FUZZTIME
	@dirs=$$(go list -f '{{.Dir}}' ./...) || exit 1; for dir in $$dirs; do \
		for target in $$(cat "$$dir"/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p'); do \
			echo "$$target in $${dir#$(CURDIR)/}"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir" || exit 1; \
		done; \
	done

lint: ## Check formatting, go vet, staticcheck
	@unformatted=$$(gofmt -l .) && [ -z "$$unformatted" ] || { echo "not formatted by gofmt:" $$unformatted >&2; exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION) ./...

# As root on Debian the other servers are installed; elsewhere those that are
# missing are named and left out.
bench: bench-tools ## Compare with other servers, side by side (BENCH='--short' for the short form)
	cmd/preforkd-bench/install.sh $$($(BIN)/preforkd-bench list --packages)
	$(BIN)/preforkd-bench --preforkd $(BIN)/preforkd $(BENCH)

# Under three minutes. It compares counts with recorded numbers, and times with
# baselines in the same run; no other server takes part.
bench-check: bench-tools ## Fail when preforkd does more for a connection than was recorded
	cmd/preforkd-bench/install.sh gcc libc6-dev strace
	@mkdir -p $(BIN)/bench
	$(BIN)/preforkd-bench check --preforkd $(BIN)/preforkd --json $(BIN)/bench/check.json $(BENCH_CHECK)

bench-tools: build
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/preforkd-bench

microbench: ## Run the Go benchmarks of single parts
	go test -run '^$$' -bench . -benchmem ./...

# The pages are the same whenever they are made of the same commit.
man: build ## Write the manual pages into bin/man
	rm -rf $(BIN)/man
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null)} $(BIN)/preforkd manual $(BIN)/man

# The files of deploy say where everything is under the default directories.
place = sed -e 's,/usr/local/bin/,$(bindir)/,g' -e 's,/usr/local/share/doc/preforkd,$(docdir),g' \
	-e 's,/etc/preforkd/,$(sysconfdir)/preforkd/,g'
units     = preforkd.service preforkd.socket
documents = README.md LICENSE
drop_ins  = $(notdir $(wildcard deploy/drop-in/*.conf))
etc = $(DESTDIR)$(sysconfdir)/preforkd
doc = $(DESTDIR)$(docdir)
lib = $(DESTDIR)$(libdir)
man = $(DESTDIR)$(mandir)
# Where shells look for what completes the arguments of a program.
bash = $(DESTDIR)$(prefix)/share/bash-completion/completions
fish = $(DESTDIR)$(prefix)/share/fish/vendor_completions.d
zsh  = $(DESTDIR)$(prefix)/share/zsh/site-functions

# A configuration that is there already stays as it is.
install: build man ## Install programs, units, example configuration (DESTDIR, prefix)
	install -d $(DESTDIR)$(bindir) $(lib)/preforkd $(lib)/systemd/system $(lib)/sysusers.d $(lib)/tmpfiles.d $(etc) $(doc)/drop-in
	install -m 755 $(BIN)/preforkd $(DESTDIR)$(bindir)/preforkd
	install -m 755 $(BIN)/preforkd-worker $(lib)/preforkd/preforkd-worker
	for unit in $(units); do $(place) deploy/$$unit >$(lib)/systemd/system/$$unit && chmod 644 $(lib)/systemd/system/$$unit || exit 1; done
	install -m 644 deploy/preforkd.sysusers $(lib)/sysusers.d/preforkd.conf
	install -m 644 deploy/preforkd.tmpfiles $(lib)/tmpfiles.d/preforkd.conf
	install -m 644 deploy/preforkd.toml $(doc)/preforkd.toml
	[ -e $(etc)/preforkd.toml ] || install -m 644 deploy/preforkd.toml $(etc)/preforkd.toml
	install -m 644 $(documents) $(doc)
	cd deploy/drop-in && install -m 644 $(drop_ins) $(abspath $(doc))/drop-in
	install -m 644 deploy/grafana/preforkd.json $(doc)/grafana.json
	install -d $(man)/man1 $(man)/man5 $(bash) $(fish) $(zsh)
	install -m 644 $(BIN)/man/*.1 $(man)/man1
	install -m 644 $(BIN)/man/*.5 $(man)/man5
	$(BIN)/preforkd completion bash >$(bash)/preforkd && chmod 644 $(bash)/preforkd
	$(BIN)/preforkd completion fish >$(fish)/preforkd.fish && chmod 644 $(fish)/preforkd.fish
	$(BIN)/preforkd completion zsh >$(zsh)/_preforkd && chmod 644 $(zsh)/_preforkd

# Of what was installed, only a configuration that has been changed stays.
uninstall: ## Remove what `make install` has placed (DESTDIR, prefix)
	rm -f $(DESTDIR)$(bindir)/preforkd $(addprefix $(lib)/systemd/system/,$(units))
	rm -f $(lib)/sysusers.d/preforkd.conf $(lib)/tmpfiles.d/preforkd.conf
	! cmp -s deploy/preforkd.toml $(etc)/preforkd.toml || rm -f $(etc)/preforkd.toml
	rm -rf $(lib)/preforkd $(doc)
	rm -f $(man)/man1/preforkd.1 $(man)/man1/preforkd-*.1 $(man)/man5/preforkd.toml.5
	rm -f $(bash)/preforkd $(fish)/preforkd.fish $(zsh)/_preforkd
	[ ! -d $(etc) ] || rmdir --ignore-fail-on-non-empty $(etc)

clean: ## Remove what was built
	rm -rf bin dist

# `make help` lists the targets. Building needs Go as go.mod names it, and the
# network once, for the modules. An older Go, from 1.21 on, fetches a newer one.

STATICCHECK_VERSION := v0.8.2

# How long each fuzz target runs.
FUZZTIME ?= 30s

# Arguments for `make run`: make run ARGS='--listen :7007 -- cat'
ARGS ?=

# Arguments for `make bench`: make bench BENCH='--short --json results.json'
BENCH ?=

# Arguments for `make bench-check`: make bench-check BENCH_CHECK='--attempts 5'
BENCH_CHECK ?=

# How many times `make upgrade-test` goes to the next version and back.
ROUNDS ?= 100

# Arguments of `go test` for `make machine-test`: make machine-test MACHINE_TEST='-run TestBox'
MACHINE_TEST ?=

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

.DEFAULT_GOAL := build
.PHONY: help build run test test-tools test-bins race systemd-test machine-test fuzz lint bench bench-check bench-tools upgrade-test microbench man install uninstall clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# -buildvcs=false: the version is given, and a checkout that belongs to another
# user would fail the build.
GOBUILD  = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN)/
products = ./cmd/preforkd ./cmd/preforkd-worker

# What tests and benchmarks need beside these two they build by themselves.
build: ## Build preforkd and preforkd-worker into bin/
	$(GOBUILD) $(products)

run: build ## Build, then serve in the foreground (echo on 127.0.0.1:7007, or as ARGS says)
	@exec $(BIN)/preforkd serve $(ARGS)

test: test-tools ## Run all tests, with the race detector where it works
	@.ci/test

# The programs that tests talk to and run. As root on Debian they are installed,
# and it is said before what that is; elsewhere the tests that miss one are skipped
# and say so.
test-tools:
	@.ci/tools

# `make test` does this by itself. For tests of single packages:
#   make test-bins && PREFORKD_TESTBIN=$$PWD/bin/test go test ./cmd/...
test-bins: ## Build the programs that tests run, once for all packages
	go run ./cmd/internal/testbins $(abspath $(BIN))/test

race: ## Run the short tests with the race detector
	CGO_ENABLED=1 go test -race -short ./...

systemd-test: test-tools ## Boot a real systemd and try the units in it (as root)
	go test -count=1 -v ./deploy/...

# The packages are those whose tests import the rig, and the rig. The first time, two
# minutes go into a root file system, which is kept in the user's cache.
machine-test: ## Boot a whole machine in qemu and run the tests that need one (as root)
	.ci/install debootstrap qemu-system-x86 e2fsprogs
	PATH="$$PATH:/usr/sbin:/sbin" PREFORKD_TEST_MACHINE=1 go test -count=1 -v -p 1 -timeout 60m $(MACHINE_TEST) \
		$$(go list -f '{{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}}' ./... | sed -n '/\/deploy\/machinetest/s/ .*//p')

# The long forms of what `make test` has in short: it takes hours.
upgrade-test: test-tools test-bins ## Upgrade a master under load, ROUNDS times, and with each of its system calls failing (as root)
	PREFORKD_TESTBIN=$(abspath $(BIN))/test PREFORKD_TEST_UPGRADE_ROUNDS=$(ROUNDS) \
		go test -count=1 -v -timeout 24h -run 'Upgrade' ./cmd/preforkd

# A target that fails does not keep the others from running; nor does a check of
# lint.
fuzz: ## Run every fuzz target for FUZZTIME
	@failed=; dirs=$$(go list -f '{{.Dir}}' ./...) || exit 1; for dir in $$dirs; do \
		for target in $$(cat "$$dir"/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p'); do \
			echo "$$target in $${dir#$(CURDIR)/}"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir" || failed="$$failed $$target"; \
		done; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

lint: ## Check formatting, go vet, staticcheck
	@failed=; check() { echo "$$*"; "$$@" || failed="$$failed, $$*"; }; \
	unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "not formatted by gofmt:" $$unformatted >&2; failed=', gofmt'; }; \
	check go vet ./...; \
	check go -C deploy/grafana/promql vet ./...; \
	check go run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION) ./...; \
	[ -z "$$failed" ] || { echo "failed: $${failed#, }" >&2; exit 1; }

# As root on Debian the other servers are installed; elsewhere those that are
# missing are named and left out.
bench: bench-tools ## Compare with other servers, side by side (BENCH='--short' for the short form)
	.ci/install $$($(BIN)/preforkd-bench list --packages)
	$(BIN)/preforkd-bench --preforkd $(BIN)/preforkd $(BENCH)

# Under three minutes. It compares counts with recorded numbers, and times with
# baselines in the same run; no other server takes part.
bench-check: bench-tools ## Fail when preforkd does more for a connection than was recorded
	.ci/install gcc libc6-dev strace
	@mkdir -p $(BIN)/bench
	$(BIN)/preforkd-bench check --preforkd $(BIN)/preforkd --json $(BIN)/bench/check.json $(BENCH_CHECK)

bench-tools: build
	$(GOBUILD) ./cmd/preforkd-bench

microbench: ## Run the Go benchmarks of single parts
	go test -run '^$$' -bench . -benchmem ./...

# Everything that is made of the texts of the commands: manual pages, and what
# shells complete by. Pages of the same commit are the same, whenever they are
# made. The tool runs on this machine, also when GOOS or GOARCH name another one.
man: ## Write the manual pages and the shell completion into bin/man
	rm -rf $(BIN)/man
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null)} GOOS= GOARCH= CGO_ENABLED=0 \
		go run -tags manual -buildvcs=false -ldflags '$(LDFLAGS)' ./cmd/preforkd $(BIN)/man

# What is installed is made again when a source is newer, and only then: after
# `make build man`, `sudo make install` needs no Go.
sources := $(shell find cmd master worker ipc -name '*.go' ! -name '*_test.go') go.mod go.sum
made     = $(BIN)/preforkd $(BIN)/preforkd-worker
$(made) &: $(sources)
	$(GOBUILD) $(products)
	touch $(made)
$(BIN)/man/preforkd.1: $(sources)
	$(MAKE) man

# The files of deploy say where everything is under the default directories.
place = sed -e 's,/usr/local/bin/,$(bindir)/,g' -e 's,/usr/local/share/doc/preforkd,$(docdir),g' \
	-e 's,/etc/preforkd/,$(sysconfdir)/preforkd/,g'
units     = preforkd.service preforkd.socket
documents = README.md $(wildcard deploy/doc/*.md)
pictures  = $(wildcard deploy/doc/*.svg)
# Documents link to files of the tree. What is installed is linked to where it
# is then, and sources to where they are published.
published = https://github.com/preforkd/preforkd/blob/main
linked    = sed -e 's,](deploy/doc/,](,g' -e 's,](deploy/,](../,g' -e 's,](\.\./\.\./,](,g' \
	-e 's,](\(cmd\|master\|worker\|ipc\|deploy\)\([/)]\),]($(published)/\1\2,g' \
	-e 's,](\.\./\(preforkd\.s[a-z]*\)),]($(libdir)/systemd/system/\1),g' \
	-e 's,](\.\./grafana/preforkd\.json),](grafana.json),g' -e 's,](\.\./,](,g'
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
install: $(made) $(BIN)/man/preforkd.1 ## Install programs, units, manual, example configuration (DESTDIR, prefix)
	install -d $(DESTDIR)$(bindir) $(lib)/preforkd $(lib)/systemd/system $(lib)/sysusers.d $(lib)/tmpfiles.d $(etc) $(doc)/drop-in $(doc)/box
	install -m 755 $(BIN)/preforkd $(DESTDIR)$(bindir)/preforkd
	install -m 755 $(BIN)/preforkd-worker $(lib)/preforkd/preforkd-worker
	for unit in $(units); do $(place) deploy/$$unit >$(lib)/systemd/system/$$unit && chmod 644 $(lib)/systemd/system/$$unit || exit 1; done
	install -m 644 deploy/preforkd.sysusers $(lib)/sysusers.d/preforkd.conf
	install -m 644 deploy/preforkd.tmpfiles $(lib)/tmpfiles.d/preforkd.conf
	install -m 644 deploy/preforkd.toml $(doc)/preforkd.toml
	[ -e $(etc)/preforkd.toml ] || install -m 644 deploy/preforkd.toml $(etc)/preforkd.toml
	for file in $(documents); do $(linked) $$file >$(doc)/$${file##*/} && chmod 644 $(doc)/$${file##*/} || exit 1; done
	install -m 644 LICENSE $(pictures) $(doc)
	for file in $(drop_ins); do $(place) deploy/drop-in/$$file >$(doc)/drop-in/$$file && chmod 644 $(doc)/drop-in/$$file || exit 1; done
	install -m 644 deploy/box/*.toml $(doc)/box
	install -m 644 deploy/grafana/preforkd.json $(doc)/grafana.json
	install -d $(man)/man1 $(man)/man5 $(bash) $(fish) $(zsh)
	install -m 644 $(BIN)/man/*.1 $(man)/man1
	install -m 644 $(BIN)/man/*.5 $(man)/man5
	install -m 644 $(BIN)/man/completion/preforkd.bash $(bash)/preforkd
	install -m 644 $(BIN)/man/completion/preforkd.fish $(fish)/preforkd.fish
	install -m 644 $(BIN)/man/completion/preforkd.zsh $(zsh)/_preforkd

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

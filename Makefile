# `make help` lists what there is to make. Go and make are all that is needed
# to start with.

STATICCHECK_VERSION := v0.8.2

# How long each fuzz target runs.
FUZZTIME ?= 30s

# Arguments for `make run`: make run ARGS='--listen :7007 -- cat'
ARGS ?=

# Arguments for `make bench`: make bench BENCH='--short --json results.json'
BENCH ?=

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/preforkd/preforkd/ipc.Version=$(VERSION)

# The race detector needs a C compiler that finds the C library's headers.
CGO_WORKS = echo '\#include <stdlib.h>' | $${CC:-gcc} -E -o /dev/null - 2>/dev/null

.DEFAULT_GOAL := build
.PHONY: help build run test test-tools race fuzz lint bench microbench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# -buildvcs=false: the version is given, and a checkout that belongs to another
# user would fail the build.
build: ## Build all programs into bin/
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

run: build ## Build, then serve in the foreground (echo on 127.0.0.1:7007, or as ARGS says)
	@exec bin/preforkd serve $(ARGS)

# -count=1: the tests run programs, whose changes the test cache does not see.
test: test-tools ## Run all tests, with the race detector where it works
	@if $(CGO_WORKS); then set -x; CGO_ENABLED=1 go test -race -count=1 ./...; \
	else set -x; go test -count=1 ./...; fi

# The programs that tests talk to and run. As root on Debian they are installed;
# elsewhere the tests that miss one are skipped and say so.
test-tools:
	@missing=; need() { command -v "$$1" >/dev/null || missing="$$missing $$2"; }; \
	need nc netcat-openbsd; need socat socat; need git git; need strace strace; \
	need tcpserver ucspi-tcp; need prlimit util-linux; \
	need haproxy haproxy; need ip iproute2; need curl curl; \
	$(CGO_WORKS) || missing="$$missing gcc libc6-dev"; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get -q update && apt-get -qy install --no-install-recommends $$missing && exit 0; \
	fi; \
	echo "make test: not installed:$$missing; tests that need them will be skipped" >&2

race: ## Run the short tests with the race detector
	CGO_ENABLED=1 go test -race -short ./...

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

# As root on Debian the other servers are installed first; elsewhere those that
# are missing are named and left out.
bench: build ## Compare with other servers, side by side (BENCH='--short' for the short form)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then bin/preforkd-bench install; fi
	bin/preforkd-bench --preforkd bin/preforkd $(BENCH)

microbench: ## Run the Go benchmarks of single parts
	go test -run '^$$' -bench . -benchmem ./...

clean: ## Remove what was built
	rm -rf bin dist

# Everything that is run on Keepscope: one target a gate, and `make test` is all
# of what continuous integration runs. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

FUZZTIME    ?= 30s
SOAKTIME    ?= 20m
TESTFLAGS   ?= -race -timeout 30m
COVER_FLOOR ?= 75
BENCH       ?= .
BENCH_DIR   ?= build/bench
BENCH_SCALE ?= 1
ROUNDS      ?= 3

TOOLS := build/tools

# What visits the page of `keepscope run` with Chromium, as its tests do.
BROWSER := $(TOOLS)/node_modules/playwright-core $(TOOLS)/node_modules/axe-core

# What the compiler optimises by, also in `go install`: see `make profile`.
PROFILE := cmd/keepscope/default.pgo
BENCH_FILES := $(foreach kind,small bulk churn open,$(BENCH_DIR)/$(kind).pcap)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build build/keepscope
	@deploy/tools/packages.sh build
	go build -trimpath -ldflags '-X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o build/keepscope ./cmd/keepscope

.PHONY: demo
demo: build ## report on servers and clients with good and bad habits, captured live on loopback
	build/keepscope demo

.PHONY: test
test: packages format vet modules generated lint cover unit ## everything that continuous integration runs

.PHONY: packages
packages: ## install the Debian packages that are missing
	@deploy/tools/packages.sh test

.PHONY: format
format: ## check that gofmt has nothing to change
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "gofmt -w these:" $$files; exit 1; fi

.PHONY: vet
vet: packages ## go vet
	go vet -pgo=off ./...

.PHONY: modules
modules: ## check that go.mod and go.sum are tidy and what was downloaded is genuine
	go mod tidy -diff
	go mod verify
	cd deploy/tools && go mod tidy -diff
	cd dashboards/promqlcheck && go mod tidy -diff
	cd deploy/validate && go mod tidy -diff

.PHONY: generated
generated: packages ## check that generated files are what their generators write
	@deploy/tools/generated.sh

.PHONY: lint
lint: packages $(TOOLS)/golangci-lint ## golangci-lint, with staticcheck
	$(TOOLS)/golangci-lint run

# The stages and views that start no goroutine and share nothing: the race detector
# has nothing to find there and takes ten times as long, so their tests count coverage
# instead. What analyzer does is tested by analyzer/run.
CONCURRENT = analyzer $(sort $(patsubst %/,%,$(dir $(shell \
	grep -rlE --include='*.go' --exclude='*_test.go' '^\s*go [a-z]|"sync' sniffer reassembly analyzer exporter))))
SEQUENTIAL = $(filter-out $(CONCURRENT:%=$(MODULE)/%) %/privilegestest,$(shell go list ./sniffer/... ./reassembly ./analyzer/... ./exporter/...))
MODULE = github.com/keepscope/keepscope

.PHONY: unit
unit: packages deploy-packages deploy-tools $(BROWSER) $(TOOLS)/gotestsum ## all other Go tests, with the race detector; fuzz targets run their seeds
	$(TOOLS)/gotestsum --format pkgname --format-hide-empty-pkg -- -pgo=off $(TESTFLAGS) $(filter-out $(SEQUENTIAL),$(shell go list ./...))

.PHONY: cover
cover: packages ## tests of what starts no goroutine; fails where a package's cover less than COVER_FLOOR percent of it
	go test -pgo=off -cover $(SEQUENTIAL) | awk '{ print } match($$0, /coverage: [0-9.]+/) && substr($$0, RSTART + 10) + 0 < $(COVER_FLOOR) { low = low " " $$2 } \
		END { if (low) { print "tests cover less than $(COVER_FLOOR) % of" low; exit 1 } }'

.PHONY: fuzz
fuzz: packages ## every fuzz target for FUZZTIME (30s) each
	@deploy/tools/fuzz.sh $(FUZZTIME)

.PHONY: soak
soak: packages ## the tests named TestSoak, for SOAKTIME (20m)
	@go test -list '^TestSoak' ./... | grep '^TestSoak' >/dev/null || { echo "no test is named TestSoak"; exit 1; }
	KEEPSCOPE_SOAK=$(SOAKTIME) go test -count=1 -timeout 0 -v -run '^TestSoak' ./...

.PHONY: bench
bench: packages ## Go benchmarks, then captures-bench
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...
	$(MAKE) captures-bench

.PHONY: captures-bench
captures-bench: packages build build/traffic $(BENCH_FILES) ## whole files against cat, gopacket and tshark (root; makes 4 GB in BENCH_DIR)
	build/traffic yardstick -rounds $(ROUNDS) -keepscope build/keepscope $(BENCH_FILES)

.PHONY: profile
profile: $(filter-out %/bulk.pcap,$(BENCH_FILES)) $(PROFILE_FILES) ## renew what the compiler optimises by, with PROFILE_FILES (HTTP/2, TLS) (root; makes 3 GB in BENCH_DIR)
	KEEPSCOPE_PCAP='$(shell realpath -m $^ cmd/keepscope/demo.pcapng.zst | paste -sd:)' go test -trimpath -run '^$$' -bench '^BenchmarkRead$$' -benchtime 16x \
		-o /tmp/keepscope.test -cpuprofile $(PROFILE) ./cmd/keepscope
	rm /tmp/keepscope.test

.PHONY: build/traffic
build/traffic:
	go build -o $@ ./cmd/traffic

$(BENCH_DIR)/%.pcap: | build/traffic
	mkdir -p $(@D)
	build/traffic -kind $* -scale $(BENCH_SCALE) -out $@

$(TOOLS)/node_modules/playwright-core: ; npm install --no-fund --no-audit --prefix $(TOOLS) playwright-core@1.65.1
$(TOOLS)/node_modules/axe-core: ; npm install --no-fund --no-audit --prefix $(TOOLS) axe-core@4.14.1

$(TOOLS)/%: deploy/tools/go.mod deploy/tools/go.sum
	cd deploy/tools && go build -o $(CURDIR)/$@ $$(go list tool | grep '/$*$$')

include deploy/deploy.mk

.PHONY: clean
clean: ## remove what was built
	rm -rf build

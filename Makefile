# Copyright The Fleetview Authors
# SPDX-License-Identifier: Apache-2.0

# Every target installs what it needs below .tools, without root. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# ocb follows the Collector it builds. mdatagen's version is in internal/tools/go.mod: it cannot be
# installed by version, because its go.mod has replace directives.
OCB_VERSION           := v0.155.0
GOLANGCI_LINT_VERSION := v2.15.0
# The servers that stand in for AWS. fauxqs's version is in internal/localaws/fauxqs/package.json.
VERSITYGW_VERSION     := v1.8.0

# The supervisors that our collector is tested under. Each has a module of its own, because go install
# refuses them too. It is made by `go get -tool` of the program at its version; `go mod tidy` would want
# what the program's tests import, and not all of that can be had.
SUPERVISOR_VERSIONS ?= v0.149.0 v0.158.0

TOOLS         := $(CURDIR)/.tools
OCB           := $(TOOLS)/bin/builder
GOLANGCI_LINT := $(TOOLS)/bin/golangci-lint
MDATAGEN      := $(TOOLS)/bin/mdatagen
FAUXQS        := $(TOOLS)/fauxqs
SUPERVISORS   := $(SUPERVISOR_VERSIONS:%=$(TOOLS)/bin/opampsupervisor-%)
AXE           := $(TOOLS)/axe
INTEROP_JS    := $(TOOLS)/interop

# A stamp names the version, so that another version is another target.
OCB_STAMP           := $(TOOLS)/builder-$(OCB_VERSION).stamp
GOLANGCI_LINT_STAMP := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION).stamp
VERSITYGW_STAMP     := $(TOOLS)/versitygw-$(VERSITYGW_VERSION).stamp

DIST      := build
BIN       := bin/otelcol-fleetview
DEMO_S3   := bin/demo-s3
TEST_DIST := build-e2e
TEST_BIN  := bin/otelcol-fleetview-e2e
PEER_DIST := build-peer
PEER_BIN  := bin/otelcol-peer
OPAMP_GO  := bin/interop-opamp-go

# One setting for all that is compiled without the race detector (the distribution, lint, e2e):
# the build cache then serves each from the others.
GO_STATIC := CGO_ENABLED=0 GOFLAGS="$(strip $(GOFLAGS) -trimpath)"
GO_LINK   := $(GO_STATIC) go build -mod=mod -buildvcs=false -ldflags="-s -w"

# The race detector needs a C compiler. Go turns cgo off by itself where there is none.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

# BENCH and PKG narrow what is run: make bench BENCH=StatusChanged PKG=./internal/componenthealth
BENCH ?= .
PKG   ?= ./...

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## build the distribution and start it on testdata/fleetview.yaml: page on http://127.0.0.1:4321
	exec $(BIN) --config testdata/fleetview.yaml

.PHONY: demo-s3
demo-s3: build $(VERSITYGW_STAMP) $(DEMO_S3) ## replay a day of telemetry from a bucket on this machine: progress on http://127.0.0.1:4321
	exec $(DEMO_S3) -tools $(TOOLS) -collector $(BIN) -config testdata/demo-s3.yaml

.PHONY: build
build: $(DIST)/.generated ## build bin/otelcol-fleetview with ocb
	@mkdir -p bin
	cd $(DIST) && $(GO_LINK) -o $(CURDIR)/$(BIN) .

.PHONY: build-e2e
build-e2e: $(TEST_DIST)/.generated
	@mkdir -p bin
	cd $(TEST_DIST) && $(GO_LINK) -o $(CURDIR)/$(TEST_BIN) .

# ocb writes the program and resolves its modules; go build then compiles only what changed.
$(DIST)/.generated: builder-config.yaml go.mod go.sum $(OCB_STAMP)
	$(OCB) --config builder-config.yaml --skip-compilation
	@touch $@

# The same manifest and what the tests alone need, see the script.
$(TEST_DIST)/.generated: internal/e2e/builder-config.sh builder-config.yaml go.mod go.sum $(OCB_STAMP)
	@mkdir -p $(TEST_DIST)
	internal/e2e/builder-config.sh builder-config.yaml > $(TEST_DIST)/builder-config.yaml
	$(OCB) --config $(TEST_DIST)/builder-config.yaml --skip-compilation
	@touch $@

.PHONY: $(DEMO_S3)
$(DEMO_S3):
	@mkdir -p bin
	$(GO_STATIC) go build -o $@ ./internal/s3demo

$(PEER_DIST)/.generated: internal/e2e/peer-config.sh builder-config.yaml $(OCB_STAMP)
	@mkdir -p $(PEER_DIST)
	internal/e2e/peer-config.sh builder-config.yaml > $(PEER_DIST)/builder-config.yaml
	$(OCB) --config $(PEER_DIST)/builder-config.yaml --skip-compilation
	@touch $@

.PHONY: test
test: ## unit and in-process integration tests; needs Go alone
	@$(if $(RACE),:,echo "no C compiler: running without the race detector")
	go test $(RACE) $(TEST_FLAGS) $(PKG)

.PHONY: e2e
e2e: build build-e2e localaws $(DEMO_S3) $(SUPERVISORS) $(AXE)/.installed ## the built binary against real servers, supervisors and a real browser; needs npm and chromium
	@internal/e2e/chromium.sh > /dev/null
	CHROMIUM="$$(internal/e2e/chromium.sh)" SUPERVISORS="$(SUPERVISORS)" $(GO_STATIC) go test -tags e2e -count=1 -parallel 8 -timeout 15m ./internal/e2e $(E2E_FLAGS)

.PHONY: peer
peer: $(PEER_DIST)/.generated $(SUPERVISORS) ## contrib's opamp extension in the tests under a supervisor; what fails is what differs
	@mkdir -p bin
	cd $(PEER_DIST) && $(GO_LINK) -o $(CURDIR)/$(PEER_BIN) .
	FLEETVIEW_BINARY=$(CURDIR)/$(PEER_BIN) SUPERVISORS="$(SUPERVISORS)" $(GO_STATIC) go test -tags e2e -count=1 -parallel 8 -v \
		-run 'Supervisor|Orphan' ./internal/e2e $(E2E_FLAGS) | grep -E -- '--- (PASS|FAIL)' || true

$(PEER_BIN): $(PEER_DIST)/.generated
	@mkdir -p bin
	cd $(PEER_DIST) && $(GO_LINK) -o $(CURDIR)/$@ .

.PHONY: $(OPAMP_GO)
$(OPAMP_GO):
	@mkdir -p bin
	$(GO_STATIC) go -C internal/interop build -o $(CURDIR)/$@ .

.PHONY: interop
interop: build $(PEER_BIN) $(OPAMP_GO) $(INTEROP_JS)/.installed ## agents and a server of others against ours, straight and through the gateway; needs node, npm and chromium
	@internal/e2e/chromium.sh > /dev/null
	CHROMIUM="$$(internal/e2e/chromium.sh)" $(GO_STATIC) go test -tags e2e,interop -count=1 -parallel 8 -timeout 10m -run Interop ./internal/e2e $(INTEROP_FLAGS)

.PHONY: lint
lint: $(GOLANGCI_LINT_STAMP) ## go vet, linters and formatting
	$(GO_STATIC) $(GOLANGCI_LINT) fmt --diff
	$(GO_STATIC) $(GOLANGCI_LINT) run

.PHONY: fmt
fmt: $(GOLANGCI_LINT_STAMP) ## format all Go code
	$(GOLANGCI_LINT) fmt

.PHONY: bench
bench: ## benchmarks; BENCH and PKG narrow them
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG)

.PHONY: generate
generate: $(MDATAGEN) ## regenerate what mdatagen makes of each component's metadata.yaml
	@find $(wildcard extension receiver) -name metadata.yaml | sort | while read -r metadata; do \
		echo "mdatagen $$metadata"; \
		(cd "$$(dirname "$$metadata")" && $(MDATAGEN) metadata.yaml); \
	done

.PHONY: tidy
tidy: ## go mod tidy in all modules
	go mod tidy
	go -C internal/tools mod tidy
	go -C internal/interop mod tidy

.PHONY: tools
tools: $(OCB_STAMP) $(GOLANGCI_LINT_STAMP) $(MDATAGEN) $(SUPERVISORS) ## install ocb, golangci-lint, mdatagen and the supervisors into .tools/bin

$(OCB_STAMP):
	GOBIN=$(TOOLS)/bin go install go.opentelemetry.io/collector/cmd/builder@$(OCB_VERSION)
	@rm -f $(TOOLS)/builder-*.stamp && touch $@

$(GOLANGCI_LINT_STAMP):
	GOBIN=$(TOOLS)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	@rm -f $(TOOLS)/golangci-lint-*.stamp && touch $@

$(MDATAGEN): internal/tools/go.mod internal/tools/go.sum
	go -C internal/tools build -o $@ go.opentelemetry.io/collector/cmd/mdatagen
	@touch $@

.PHONY: localaws
localaws: $(VERSITYGW_STAMP) $(FAUXQS)/.installed ## install the servers that stand in for AWS in tests: versitygw and fauxqs; needs npm

$(VERSITYGW_STAMP):
	GOBIN=$(TOOLS)/bin $(GO_STATIC) go install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW_VERSION)
	@rm -f $(TOOLS)/versitygw-*.stamp && touch $@

# fauxqs needs a Node.js of 22.5 or newer: one comes with it for Linux, elsewhere it is the one on
# the PATH. No package may run a script.
$(FAUXQS)/.installed: $(wildcard internal/localaws/fauxqs/*)
	@command -v npm > /dev/null || { echo "fauxqs is installed with npm: install it (Debian: apt-get install -y npm)" >&2; exit 1; }
	@mkdir -p $(FAUXQS) && cp $^ $(FAUXQS)/
	cd $(FAUXQS) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(TOOLS)/bin/opampsupervisor-%: internal/tools/opampsupervisor-%/go.mod internal/tools/opampsupervisor-%/go.sum
	$(GO_STATIC) go -C $(<D) build -buildvcs=false -ldflags="-s -w" -o $@ \
		github.com/open-telemetry/opentelemetry-collector-contrib/cmd/opampsupervisor
	@touch $@

# What finds barriers in a page. Its version is in internal/e2e/axe/package.json.
$(AXE)/.installed: $(wildcard internal/e2e/axe/*)
	@command -v npm > /dev/null || { echo "axe-core is installed with npm: install it (Debian: apt-get install -y npm)" >&2; exit 1; }
	@mkdir -p $(AXE) && cp $^ $(AXE)/
	cd $(AXE) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Agents in JavaScript and what they are made of, by a lock file.
$(INTEROP_JS)/.installed: $(wildcard internal/interop/js/*)
	@command -v node npm > /dev/null || { echo "agents in JavaScript need Node.js and npm: install them (Debian: apt-get install -y nodejs npm)" >&2; exit 1; }
	@mkdir -p $(INTEROP_JS) && cp $^ $(INTEROP_JS)/
	cd $(INTEROP_JS) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: clean
clean: ## remove what make built, the tools too
	rm -rf bin build build-e2e build-peer .tools

# otelcol-witness. `make` lists the targets.
SHELL := /bin/bash
TOOLS := $(CURDIR)/.tools
export PATH := $(TOOLS):$(PATH)
export CGO_ENABLED ?= 0
GOLANGCI_LINT_VERSION := v2.6.0
BINARY := bin/otelcol-witness
# Executions of each fuzz target, not seconds: a deadline can end go test -fuzz with an error of its own.
FUZZTIME ?= 20000x

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: build
build: ## Build bin/otelcol-witness
	go build -trimpath -ldflags '-s -w' -o $(BINARY) ./otelcol-dev

# The capabilities that the ebpf receiver needs, as bits of CapEff: CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON.
CAPABILITIES = $$((0x$$(awk '/^CapEff:/ {print $$2}' /proc/self/status 2>/dev/null || echo 0)))

.PHONY: run
run: build ## Replay a real capture, watch this host if allowed to, and serve the evidence until Ctrl-C
	@echo "API      http://$${WITNESS_API_ENDPOINT:-localhost:8686}/api/v1/findings"
	@echo "OpenAPI  http://$${WITNESS_API_ENDPOINT:-localhost:8686}/api/v1/openapi.json"
	@echo "health   http://$${WITNESS_HEALTH_ENDPOINT:-localhost:13133}"
	@echo "metrics  http://localhost:8888/metrics"
	@held=$(CAPABILITIES); missing=; \
	if [ $$((held >> 21 & 1)) = 0 ]; then \
	  [ $$((held >> 39 & 1)) = 1 ] || missing="$$missing CAP_BPF"; [ $$((held >> 38 & 1)) = 1 ] || missing="$$missing CAP_PERFMON"; \
	fi; \
	if [ -z "$$missing" ]; then \
	  echo "This host is watched by eBPF, beside the replay."; \
	  TETRAGON_EXPORT_FILE=$${TETRAGON_EXPORT_FILE:-testdata/tetragon/linger.export.jsonl.gz} WITNESS_FINDINGS=$${WITNESS_FINDINGS:-testdata/findings} \
	  exec $(BINARY) --config config/local.yaml --config "yaml:receivers::tetragon::file::replay: true" --config "yaml:processors::hot_symbol::flush_interval: 1s"; \
	else \
	  echo "This host is not watched, only the capture is replayed: this takes$$missing."; \
	  exec $(BINARY) --config config/replay.yaml; \
	fi

.PHONY: demo
demo: build ## Call a vulnerable function of a server on loopback, and show the evidence (as root)
	@go run ./demo

.PHONY: test
test: ## Run all tests with the race detector; the long ones of the storage without it
	CGO_ENABLED=1 go test -race -count=1 $$(go list ./... | grep -v /storage/sqlite$$)
	CGO_ENABLED=1 go test -race -count=1 -short ./storage/sqlite -run "Moments|UnderWrites|GetThrough|Remembered|Writer|Group|Fold"
	go test -count=1 ./storage/sqlite
	cd internal/leaks && go test -count=1 .

.PHONY: e2e
e2e: build ## Run the end-to-end tests against the built binary
	go test -count=1 -tags e2e ./e2e/...

.PHONY: test-kernel
test-kernel: ## Run the eBPF receiver's tests on Linux 6.1 in a virtual machine (minutes; needs qemu and Debian's kernel package)
	@receiver/ebpfreceiver/internal/kerneltest/run

.PHONY: lint
lint: $(TOOLS)/golangci-lint ## Run go vet, gofmt and golangci-lint
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w"; exit 1; }
	go vet -tags e2e ./...
	golangci-lint run

.PHONY: generate
generate: $(TOOLS)/mdatagen $(TOOLS)/builder ## Write all generated files
	go generate ./...
	builder --config builder-config.yaml --skip-get-modules --skip-compilation
	gofmt -w otelcol-dev

# Sizes of make bench: distinct witnesses and events of the processor, events of the pipeline, runs of each; and for storage
# and API the witnesses, findings and hosts stored, observations written a second meanwhile, and answers of each question.
export BENCH_WITNESSES ?= 1000,100000,1000000
BENCH_EVENTS ?= 1000000
export BENCH_STREAM ?= 200000
BENCH_COUNT ?= 1
export WITNESS_BENCH_WITNESSES ?= 1000000
export WITNESS_BENCH_FINDINGS ?= 40000
export WITNESS_BENCH_HOSTS ?= 2000
export WITNESS_BENCH_RATE ?= 2000
BENCH_ANSWERS ?= 400

.PHONY: bench
bench: ## Measure what docs/performance.md lists (compare runs with benchstat)
	cd internal/comparison && go test -run '^$$' -bench . -benchtime $(BENCH_EVENTS)x -cpu 1 -count $(BENCH_COUNT) -timeout 0 .
	go test -run '^$$' -bench . -benchtime 1x -count $(BENCH_COUNT) -timeout 0 ./e2e/throughput
	go test -run '^$$' -bench . -benchmem -count $(BENCH_COUNT) -timeout 0 ./storage/sqlite
	go test -run '^$$' -bench BenchmarkAPI -benchtime $(BENCH_ANSWERS)x -count $(BENCH_COUNT) -timeout 0 ./extension/witnessqueryextension
	go test -run '^$$' -bench Samples -benchmem -count $(BENCH_COUNT) -timeout 0 ./internal/symbol
	go test -run '^$$' -bench . -count $(BENCH_COUNT) -timeout 0 ./receiver/ebpfreceiver/internal/bpf ./receiver/ebpfreceiver

.PHONY: bench-parts
bench-parts: ## Measure the parts, package by package
	go test -run '^$$' -bench . -benchmem $$(go list ./... | grep -v /e2e/throughput)

# FuzzOperations makes a request to a whole server each time: a fifth is as long as the others.
.PHONY: fuzz
fuzz: ## Run each fuzz target FUZZTIME times
	@go list -f '{{.Dir}}' ./... | while read -r dir; do \
	  grep -hoE '^func (Fuzz[A-Za-z0-9_]+)' "$$dir"/*_test.go 2>/dev/null | awk '{print $$2}' | while read -r target; do \
	    times=$(FUZZTIME); [ "$$target" != FuzzOperations ] || times=$$(($${times%x} / 5))x; \
	    echo "$$dir $$target"; (cd "$$dir" && go test -run '^$$' -fuzz "^$$target$$" -fuzztime $$times -fuzzminimizetime 20x .) || exit 1; \
	  done || exit 1; \
	done

.PHONY: clean
clean: ## Remove what was built and the replay's data
	rm -rf bin .tools data

$(TOOLS)/builder $(TOOLS)/mdatagen: internal/tools/go.mod internal/tools/go.sum
	cd internal/tools && go build -o $(TOOLS)/ go.opentelemetry.io/collector/cmd/builder go.opentelemetry.io/collector/cmd/mdatagen
	@touch $(TOOLS)/builder $(TOOLS)/mdatagen

$(TOOLS)/golangci-lint:
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)

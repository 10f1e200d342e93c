# Orlop. `make demo` shows it on a real cluster on this machine; `make test` proves it there.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.0.0-dev)
NODES   ?= 3
LAB     ?= orlop
LDFLAGS = -ldflags "-s -w -X main.version=$(VERSION)"
# All but the race detector builds alike, the lab's Kubernetes included, so that nothing that they share is compiled twice.
export CGO_ENABLED = 0
export GOFLAGS := $(GOFLAGS) -trimpath
TEST_FLAGS ?=
BENCH_FLAGS ?=
# The Go cryptographic module by which the unit tests are built, and what is tested with nothing else allowed.
FIPS_MODULE   ?= v1.26.0
FIPS_PACKAGES ?= ./internal/seal ./internal/registry
# Of these, as many run at once as there are processors: those that take longest come first.
E2E_PACKAGES ?= ./operator ./jobs ./docs ./...
# What is linted and tidied; hack/tools and test/lab/tools only name programs.
MODULES = . hack/manifests hack/release hack/tools/codegen test/lab test/e2e test/chart
CONTROLLER_GEN = go tool -modfile=hack/tools/codegen/go.mod controller-gen

.DEFAULT_GOAL := help
.PHONY: help build generate docs newcomer manifests images release setup test test-unit test-release test-fips test-chart test-lab test-e2e lint verify bench demo \
	cluster-up cluster-down clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the binaries into bin/
	@mkdir -p bin
	go build $(LDFLAGS) -o bin/ ./cmd/...

generate: ## what is made from api/ and from the chart: deep copies, the kinds' schemas, config/, and what docs makes
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt paths=./api/...
	$(CONTROLLER_GEN) crd:generateEmbeddedObjectMeta=true paths=./api/... output:crd:dir=charts/orlop/files/crds
	cd hack/tools/codegen && go run ./trim ../../../charts/orlop/files/crds/orlop.dev_node*.yaml
	cd hack/manifests && go run . --kustomize ../../config
	@$(MAKE) --no-print-directory docs

docs: ## what is made of docs/: the references of commands, API, metrics and alert rules
	go test ./internal/reference -count=1 -run TestReferences -update
	cd hack/manifests && go run . --rules --out ../../docs/reference/alerts.yaml
	go run ./hack/metrics docs/reference/metrics.md

manifests: ## render the chart into dist/install.yaml, with VALUES=file if values are to be others
	@mkdir -p dist
	cd hack/manifests && go run . --version $(VERSION) $(if $(VALUES),--values $(abspath $(VALUES))) --out ../../dist/install.yaml

images: build ## write the images of the nodes, the controller and the tools as archives into dist/
	@mkdir -p dist
	cd test/lab/tools/crictl && go build -ldflags "-s -w" -o ../../../../bin/crictl sigs.k8s.io/cri-tools/cmd/crictl
	go run ./hack/image --archive dist/orlop-node.tar --tag ghcr.io/orlop-dev/orlop-node:$(VERSION) bin/orlop-node
	go run ./hack/image --roots --archive dist/orlop-controller.tar --tag ghcr.io/orlop-dev/orlop-controller:$(VERSION) bin/orlop-controller
	go run ./hack/image --archive dist/orlop-tools.tar --tag ghcr.io/orlop-dev/orlop-tools:$(VERSION) bin/orlop-node bin/crictl

release: ## all that is handed out, into dist/release: VERSION=v0.1.0, RELEASE_FLAGS="--platforms linux/amd64 --lean"
	cd hack/release && go run . $(if $(filter command environment,$(firstword $(origin VERSION))),--version $(VERSION)) $(RELEASE_FLAGS)

setup: ## install what tests and the lab need (Debian, as root)
	@hack/setup

test: ## build and pass every test, those on the real cluster too
	@for part in test-unit test-fips test-release test-lab test-chart test-e2e; do \
		echo "== make $$part ($$(date +%T))"; $(MAKE) --no-print-directory $$part || exit 1; \
	done; echo "== every test passed ($$(date +%T))"

test-unit: setup ## the tests that need no cluster, with the race detector and Go's FIPS 140-3 module
	CGO_ENABLED=1 GOFIPS140=$(FIPS_MODULE) go vet -race ./...
	CGO_ENABLED=1 GOFIPS140=$(FIPS_MODULE) go test -race -timeout 30m $(TEST_FLAGS) ./...

test-release: setup ## a release for one platform: the same bytes elsewhere, and what krew, Helm and SPDX say of it
	cd hack/release && go vet ./... && go test -count=1 -timeout 30m $(TEST_FLAGS) ./...

test-fips: setup ## what encrypts, with Go's FIPS 140-3 module and nothing else allowed
	CGO_ENABLED=1 GOFIPS140=$(FIPS_MODULE) GODEBUG=fips140=only go test -race -count=1 $(TEST_FLAGS) $(FIPS_PACKAGES)

test-chart: setup ## the chart: what it renders, and what Helm and a real API server make of it
	cd test/chart && go vet ./... && go test -count=1 -timeout 30m $(TEST_FLAGS) ./...

test-lab: setup ## the lab's own tests: a real cluster is started and taken apart
	cd test/lab && go vet ./... && go test -count=1 -timeout 30m $(TEST_FLAGS) ./...

test-e2e: setup build ## Orlop on real runtimes and on a real cluster
	cd test/e2e && go vet ./... && go test -count=1 -timeout 40m $(TEST_FLAGS) $(E2E_PACKAGES)

lint: ## golangci-lint with .golangci.yaml, in every module
	@linter=$$(go tool -modfile=hack/tools/go.mod -n golangci-lint) || exit 1; for module in $(MODULES); do \
		echo "golangci-lint run ./... # in $$module"; (cd $$module && $$linter run --allow-serial-runners --config $(CURDIR)/.golangci.yaml ./...) || exit 1; \
	done

verify: ## what is generated, formatting, tidy modules, lint: fails on a difference
	@$(MAKE) --no-print-directory generate
	git diff --exit-code -- api charts config docs
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	@for module in $(MODULES); do echo "go mod tidy -diff # in $$module"; (cd $$module && go mod tidy -diff) || exit 1; done
	@$(MAKE) --no-print-directory lint

newcomer: setup build ## do docs/quickstart.md on a real cluster, and tell how long each step takes
	cd test/e2e && go test ./docs -count=1 -v -run 'TestPages/docs/quickstart.md'

bench: setup build ## measure Orlop against crictl and raw CRI, in the lab; some 25 minutes (BENCH_FLAGS="-only cache,hollow -quick")
	cd test/e2e && go run ./bench $(BENCH_FLAGS)

demo: setup build ## start a real cluster on this machine, and show Orlop on it
	cd test/e2e && go run ./demo -nodes $(NODES) -name $(LAB) -version $(VERSION)

cluster-up: setup ## start the lab: a real cluster of NODES=3 on this machine
	cd test/lab && go run ./cmd/lab up --nodes $(NODES) --name $(LAB)

cluster-down: ## stop the lab, and leave nothing behind
	cd test/lab && go run ./cmd/lab down --name $(LAB)

clean: ## remove what was built here
	rm -rf bin dist

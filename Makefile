# The way in. `make` alone explains.

KUBECTL := $(CURDIR)/target/tools/bin/kubectl
HELM := $(CURDIR)/target/tools/bin/helm
ETCD := $(CURDIR)/target/tools/bin/etcd
PYTHON := $(CURDIR)/target/tools/python/bin/python
NODE_MODULES := $(CURDIR)/target/tools/node/node_modules
CORACLE := target/release/coracle
# Only a KUBECONFIG that is said on the command line counts: one in the environment may be anything.
GIVEN := $(if $(findstring command line,$(origin KUBECONFIG)),$(KUBECONFIG))
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help run build test unit fuzz conformance mutate lint bench

help:
	@echo "make run          start a control plane with three simulated nodes, in ./coracle-data; Ctrl-C ends it"
	@echo "make test         all tests: each crate's own, then conformance against the release binary"
	@echo "make fuzz         bad input for every decoder and patch, for longer than the tests do; FUZZ=100000 says how many of each"
	@echo "make conformance  the black-box suite alone; KUBECONFIG=FILE tries that cluster instead, CASES='walk bad_input' some cases"
	@echo "                  E2E_TEST=FILE runs Kubernetes' own conformance tests: SUBSET=api|hollow|full, ONLY='part of a name', RECORD=1"
	@echo "                  keeps the results, SERVER='--store=memory' are more flags of the server, COMPONENTS=1 starts each component as a"
	@echo "                  process; docs/CONFORMANCE.md has the rest"
	@echo "make mutate       objects changed at random to the server of KUBECONFIG=FILE and to an upstream one, REFERENCE=FILE: where their"
	@echo "                  answers differ; OBJECTS=2000, SEED=1 says which changes, CASES='pods services' which topics"
	@echo "make lint         formatting, clippy, and the licences and sources of what is depended on"
	@echo "make bench        figures as a table; REFERENCE=KUBECONFIG does the same work on another server beside it"
	@echo
	@echo "Needed: a Rust toolchain. What else is missing is installed: by apt a C compiler, Python and Node.js; kubectl and Helm, if there"
	@echo "are none, etcd, and the Python and Node clients under target/tools. Ports: run takes 6443, everything else free ones on loopback."

build:
	@set-up/tools compiler
	cargo build --release --locked -p coracle

# kubectl is for the one who runs it; the server needs none.
run: build
	@set-up/tools kubectl || true
	@exec $(CORACLE) server --data-dir ./coracle-data --bind-address 127.0.0.1 --secure-port 6443 --hollow-nodes 3 --store embedded

test: unit conformance

unit:
	@set-up/tools compiler etcd
ifeq ($(NEXTEST),)
	cargo test --workspace --locked
else
	cargo nextest run --workspace --locked --no-tests=pass
endif

# Readers of what clients send, on input that nobody meant.
fuzz:
	PROPTEST_CASES=$(or $(FUZZ),10000) cargo test --locked -p coracle-apiserver --lib bad_input

# Against a cluster of your own when KUBECONFIG is given on the command line, else against clusters that the suite starts.
conformance: $(if $(GIVEN),,build)
	@set-up/tools compiler kubectl helm python node etcd
	cargo build --locked -p coracle-conformance
	@target/debug/coracle-conformance --kubectl $(KUBECTL) --helm $(HELM) --python $(PYTHON) \
	  --node-modules $(NODE_MODULES) --etcd $(ETCD) \
	  $(if $(GIVEN),--kubeconfig $(KUBECONFIG),--start $(CORACLE)) \
	  $(if $(E2E_TEST),upstream --e2e-test $(E2E_TEST) --subset $(or $(SUBSET),api) $(if $(ONLY),--only '$(ONLY)') \
	    $(if $(RECORD),--record) $(if $(COMPONENTS),--components) $(foreach flag,$(SERVER),--server-flag=$(flag)),$(CASES))

mutate:
	@set-up/tools compiler
	cargo build --locked -p coracle-conformance
	@target/debug/coracle-conformance --kubeconfig $(or $(GIVEN),$(error say KUBECONFIG=FILE)) mutate \
	  --reference $(or $(REFERENCE),$(error say REFERENCE=FILE)) --objects $(or $(OBJECTS),2000) --seed $(or $(SEED),1) $(CASES)

lint:
	@set-up/tools compiler
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@set-up/tools deny
	PATH="$$PATH:$(CURDIR)/target/tools/bin" cargo deny --workspace check --hide-inclusion-graph licenses bans sources

bench: build
	@set-up/tools etcd
	cargo run --release --locked -p coracle-bench -- --etcd $(ETCD) $(if $(REFERENCE),--reference $(REFERENCE)) $(BENCH)

# Callwright: every target does its own set-up. `make` alone lists the targets.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CLIENTS ?= .venv-clients
STAMP := $(VENV)/.installed
KEEP ?=
FULL ?=
TARGETS ?=
CLUSTER := ../shared/kube/cluster/cluster
CLUSTER_TESTS ?= tests/cluster
NODES ?= 2
BUILDER ?=

.PHONY: help setup demo test test-clients test-faults test-slow test-cluster lint typecheck verify bench fuzz crd lock images kind-up clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make the virtual environment from the lock

$(STAMP): locks/cpu.txt locks/demo.txt pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed; set PYTHON="'
	command -v gcc >/dev/null || { apt-get update -q && apt-get install -y -q gcc; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-deps -r locks/cpu.txt -r locks/demo.txt
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # halves the start of every process that imports vLLM
	touch $@

demo: $(STAMP) ## From conversations to a served tool call (KEEP=1 leaves it serving, FULL=1 trains for an hour)
	$(BIN)/callwright demo $(if $(FULL),--full) $(if $(KEEP),--keep)

test: $(STAMP) ## All tests, the end-to-end run included, by two processes beside each other
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-clients: $(STAMP) $(CLIENTS)/.installed ## The sidecar with real clients, and a model that is trained and served: docs/clients.md
	CALLWRIGHT_CLIENTS=1 $(CLIENTS)/bin/python -m pytest --timeout 900 tests/clients $(ARGS)

test-faults: $(STAMP) ## What hostile clients, documents, networks and lost nodes can do; prints a table of figures
	CALLWRIGHT_SLOW=1 $(BIN)/python -m pytest tests/faults tests/trainer/test_trainer_faults.py $(ARGS)

test-slow: $(STAMP) ## The tests that `make test` leaves out for their time
	CALLWRIGHT_SLOW=1 $(BIN)/python -m pytest -m slow $(ARGS)

test-cluster: $(STAMP) ## On a real cluster (CALLWRIGHT_KUBECONFIG, or one that is brought up, as root): the quick start, failures, upgrades
	$(if $(CALLWRIGHT_KUBECONFIG),,tests/cluster/up $(NODES))
	$(if $(CALLWRIGHT_KUBECONFIG),,$(CLUSTER) run env CALLWRIGHT_KUBECONFIG=/var/tmp/cluster/admin.kubeconfig CALLWRIGHT_NODE_LINK=tests/cluster/node-link) $(BIN)/python -m pytest -s $(CLUSTER_TESTS) $(ARGS)

$(CLIENTS)/.installed: locks/clients.txt locks/clients-openai2.txt locks/clients-roleplay.txt pyproject.toml tests/clients/node/package-lock.json
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install -q --no-deps -r locks/clients.txt
	$(CLIENTS)/bin/pip install -q --no-deps --no-build-isolation -e .
	for other in openai2 roleplay; do \
	  $(PYTHON) -m venv $(CLIENTS)/$$other && \
	  $(CLIENTS)/$$other/bin/pip install -q --no-compile --no-deps -r locks/clients-$$other.txt || exit; \
	done
	if command -v npm >/dev/null; then npm ci --silent --prefix tests/clients/node; fi
	touch $@

lint: $(STAMP) ## Style, the import law between the rooms, shell scripts, the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/shellcheck .ci/run docker/build locks/compile k8s/kind-up tests/cluster/up tests/cluster/node-link
	$(BIN)/hadolint docker/Dockerfile tests/cluster/store.Dockerfile

typecheck: $(STAMP) ## Types, strictly
	$(BIN)/mypy

verify: lint typecheck test ## What CI runs

bench: $(STAMP) ## Speed against a peer in the same run, into bench/results (alone on the machine, please)
	for script in bench/*.py; do $(BIN)/python $$script || exit; done

fuzz: $(STAMP) ## Throw random text at every dialect's parser for a minute
	$(BIN)/python tests/dialects/fuzz.py --seconds 60

crd: $(STAMP) ## Write what the spec and the charts' values say anew: CRD, schemas, reference, READMEs' tables
	$(BIN)/callwright crd --write

lock: $(STAMP) ## Resolve the locks anew
	$(BIN)/pip install -q uv
	UV_FIND_LINKS="$$PIP_FIND_LINKS" bash locks/compile $(BIN)/uv

images: ## Build every image (Docker with buildx; BUILDER=buildah or podman); TARGETS=cpu for machines without an accelerator
	REVISION=$$(git rev-parse HEAD) $(if $(BUILDER),docker/build $(BUILDER),docker buildx bake -f docker/docker-bake.hcl) $(TARGETS)

kind-up: ## A kind cluster with KubeRay, an object store, the charts, and the quick start served (needs Docker, kind, helm, kubectl)
	k8s/kind-up

clean: ## Remove the environment, caches and what the demo made
	rm -rf $(VENV) $(CLIENTS) tests/clients/node/node_modules .callwright build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis services/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

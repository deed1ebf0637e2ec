# Everything that a contributor runs. The first target creates .venv from the locked, hashed
# requirements; a machine needs no more than python3 (with venv), make and git.

PYTHON ?= python3
SEEDS ?= 200
SEED ?= 1
DIR ?=
MINUTES ?= 30

BIN := .venv/bin
READY := .venv/.ready
QUIET := --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.PHONY: help demo test check bench simulate replay planted-bugs soak docs lock

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

demo: $(READY) ## Index real files through a topic, with 3 nodes and 8 workers, while things die (DIR=path)
	$(BIN)/python examples/index_files/main.py $(if $(DIR),--dir "$(DIR)")

test: check ## Check, then run every test
	$(BIN)/python -m pytest -n 2 tests --ignore=tests/integration --ignore=tests/system --ignore=tests/documentation
	$(BIN)/python -m pytest tests/integration tests/system tests/documentation

check: $(READY) ## Lint, format, types, import rules and house rules; no test of behaviour
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture

bench: $(READY) ## Compare with etcd, Redis, PostgreSQL and NATS; prints RATIO lines and writes JSON
	$(BIN)/python benchmarks/run.py

simulate: $(READY) ## Run whole clusters in virtual time from SEEDS=200 seeds, with faults
	$(BIN)/python -m synaxis.simulation run --seeds $(SEEDS)

replay: $(READY) ## Run one seed again, with its trace: SEED=17 (locks), q17 (queues), c17 (caches), v17 (volatile)
	$(BIN)/python -m synaxis.simulation replay --seed $(SEED)

planted-bugs: $(READY) ## Prove that the simulator finds each planted bug, and at which seed
	$(BIN)/python -m synaxis.simulation planted-bugs

soak: $(READY) ## Simulate fresh seeds for MINUTES=30
	$(BIN)/python -m synaxis.simulation soak --minutes $(MINUTES)

docs: $(READY) ## Regenerate docs/settings.md and .env.example, then run every documented example
	$(BIN)/python -m synaxis.config.reference
	$(BIN)/python -m pytest -q tests/documentation

lock: $(READY) ## Resolve the requirements anew into requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --group dev \
	  --extra redis pyproject.toml -o requirements-dev.lock --upgrade
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	  --extra redis pyproject.toml -o requirements.lock -c requirements-dev.lock

# Made again when the lock or the metadata change. --no-build-isolation: the build backend is
# locked too, so nothing is resolved at install time.
$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Synaxis needs Python 3.11 or newer; $(PYTHON) is older or missing. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot create virtual environments. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Creating .venv (once) ..."; $(PYTHON) -m venv .venv; }
	@echo "Installing the locked requirements ..."
	@$(BIN)/python -m pip install $(QUIET) --require-hashes -r requirements-dev.lock
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install $(QUIET) --no-deps --no-build-isolation -e .
	@touch $@

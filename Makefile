# `make` alone lists what there is. Everything a target needs is put into .venv by `make setup`, which every target calls first;
# nothing outside this folder and the user's cache folder (~/.cache/staged-rollout, for a Prometheus binary) is changed.

PYTHON ?=
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
CODE   := flags stages orchestrator tests $(wildcard examples benchmarks)
PYTEST ?= $(BIN)/pytest
ARGS   ?=
WORKERS ?= 4# of pytest; many tests wait for processes, so more than there are processors
SEEDS  ?= 2000
FROM   ?= 0
N      ?= 100

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint types bench simulate kill-migrations format lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything the other targets need (quick when it is there)
	@echo "$(VENV) is ready: $$($(BIN)/python --version), $(BIN)/rollout"

demo: $(STAMP) ## watch a good release go through and a bad one come back by itself (under 4 minutes)
	@$(BIN)/python -m examples.demo $(ARGS)

test: $(STAMP) ## run the whole test suite (ARGS="-k word" for a part)
	@$(BIN)/python -m compileall -q $(CODE)# hundreds of processes are started, also where Python is told to keep no bytecode
	@$(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP) ## check style, formatting and the layering contracts
	@$(BIN)/ruff check $(CODE) .ci/provide/node .ci/provide/prometheus
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/lint-imports --no-logo

types: $(STAMP) ## check types (mypy, strict)
	@$(BIN)/mypy $(CODE)

bench: $(STAMP) ## run every benchmark, ours and the peers' alternately
	@$(BIN)/python -m benchmarks all $(ARGS)

simulate: $(STAMP) ## run SEEDS=n simulated rollouts, beginning with seed FROM=m
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM) $(ARGS)

kill-migrations: $(STAMP) ## kill the controller at N=100 random moments of migration plans
	@$(BIN)/python -m tests.migrations.kill --times $(N) $(ARGS)

format: $(STAMP) ## format the code and apply the safe fixes of the linter
	@$(BIN)/ruff check --fix-only $(CODE)
	@$(BIN)/ruff format $(CODE)

lock: $(STAMP) ## resolve the dependencies of pyproject.toml again, newest versions, into requirements.lock
	@cd $(CURDIR) && $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --group dev \
	    --generate-hashes --no-annotate --no-header \
	    --output-file requirements.lock pyproject.toml
	@echo "requirements.lock is written; \`make setup\` installs it"

$(STAMP): pyproject.toml requirements.lock .ci/setup
	@.ci/setup $(VENV) $(PYTHON)
	@touch $@

# `make` alone lists what there is. Everything a target needs is put into .venv by `make setup`, which every target calls first;
# nothing outside this folder and the user's cache folder (~/.cache/staged-rollout, for Prometheus and the control plane of Kubernetes) is changed.

PYTHON ?=
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
CODE   := flags stages orchestrator tests $(wildcard examples benchmarks)
PYTEST ?= $(BIN)/pytest
ARGS   ?=
WORKERS ?= 5# of pytest; many tests wait for processes, so more than there are processors
SEEDS  ?= 2000
FROM   ?= 0
STORE  ?= sqlite
N      ?= 100
times  = $(if $(filter command environment,$(word 1,$(origin N))),$(N),$(1))# N where somebody said one

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup page demo cluster test lint types bench rehearse seeds simulate mutants kill-migrations failpoints kill failover power-cuts takeover month hostile fuzz audit manifests reference wheel wheel-check format lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# where Node.js or its packages are not to be had (1), people go on with pages that have no script; continuous integration does not
PAGE   := .ci/provide/page
UNLESS := || { [ $$? -eq 1 ] && [ "$$CI" != true ]; }

setup: $(STAMP) ## make .venv with everything the other targets need (quick when it is there)
	@$(PAGE) >/dev/null $(UNLESS)
	@echo "$(VENV) is ready: $$($(BIN)/python --version), $(BIN)/rollout"

page: $(STAMP) ## build the pages of the controller (quick when nothing changed)
	@$(PAGE)

demo: $(STAMP) ## watch a good release go through and a bad one come back by itself (under 4 minutes)
	@$(PAGE) >/dev/null $(UNLESS)
	@$(BIN)/python -m examples.demo $(ARGS)

cluster: $(STAMP) ## run a real control plane of Kubernetes to try things on (built the first time)
	@$(BIN)/python -m tests.support.cluster

test: $(STAMP) ## run the whole test suite (ARGS="-k word" for a part)
	@# hundreds of processes are started, also where Python is told to keep no bytecode
	@$(BIN)/python -m compileall -q $(CODE)
	@$(PAGE) >/dev/null $(UNLESS)
	@$(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP) ## check style, formatting and the layering contracts
	@$(BIN)/ruff check $(CODE) .ci/provide
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/lint-imports --no-logo

types: $(STAMP) ## check types (mypy and tsc, strict)
	@$(BIN)/mypy $(CODE)
	@$(PAGE) --check $(UNLESS)

bench: $(STAMP) ## run benchmarks (BENCH="scale breach", or all), ours and the peers' alternately, into benchmarks/results
	@$(BIN)/python -m benchmarks $(or $(BENCH),all) --into benchmarks/results $(ARGS)

rehearse: $(STAMP) ## rehearse every example, a plan with everything in it and 40 drawn ones, in every scenario
	@$(PYTEST) -n 2 tests/rehearse/whole.py $(ARGS)

seeds: $(STAMP) ## walk the plans of real teams through their worlds, forward, back, under every trigger and kill -9 (TEAM=name for one)
	@$(BIN)/python -m tests.teams $(TEAM) $(ARGS)

simulate: $(STAMP) ## run SEEDS=n simulated rollouts, beginning with seed FROM=m
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM) $(ARGS)

mutants: $(STAMP) ## put each deliberate bug into the code and see the simulation catch it
	@$(PYTEST) -v -n 2 tests/simulation/test_mutants.py $(ARGS)

kill-migrations: $(STAMP) ## kill the controller at N=100 random moments of migration plans
	@$(BIN)/python -m tests.migrations.kill --times $(N) $(ARGS)

failpoints: $(STAMP) ## kill the controller at each named place of its code, N=20 times each, and check every promise
	@$(BIN)/python -m tests.faults.points --times $(call times,20) $(ARGS)

kill: $(STAMP) ## kill -9 at N=1000 random moments (STORE=postgresql: three controllers on one store), and check every promise
	@$(BIN)/python -m tests.faults.kill --times $(call times,1000) --store $(STORE) $(ARGS)

failover: $(STAMP) ## restart and replace the PostgreSQL of three controllers N=20 times, also by one that comes back
	@$(BIN)/python -m tests.faults.failover --times $(call times,20) $(ARGS)

power-cuts: $(STAMP) ## cut the power N=200 times under the SQLite store, and look for what was acknowledged
	@$(BIN)/python -m tests.faults.power --times $(call times,200) $(ARGS)

takeover: $(STAMP) ## measure how long runs stand still when their controller dies or freezes
	@$(BIN)/python -m benchmarks takeover $(ARGS)

month: $(STAMP) ## live through a month of runs in virtual time, and see that memory stays flat
	@$(BIN)/python -m tests.faults.month $(ARGS)

hostile: $(STAMP) ## write docs/hostile.md, what is answered to hostile input, from its table
	@$(BIN)/python -m tests.hostile

fuzz: $(STAMP) ## N=10000 made-up requests to every route of the server, and as many made-up plans
	@$(BIN)/python -m tests.fuzz --times $(call times,10000) $(ARGS)

audit: $(STAMP) ## write docs/sbom.cdx.json, and ask what is known against the locked packages (ends with 3 if that can't be asked)
	@$(BIN)/python -m tests.supply

manifests: $(STAMP) ## make the custom resource definitions in manifests/base from the models again
	@$(BIN)/python -m orchestrator.crd manifests/base

reference: $(STAMP) ## make docs/reference from the models again
	@$(BIN)/python -m tests.docs

wheel: $(STAMP) ## build what is installed elsewhere, the package and the flags alone, into dist/
	@$(PAGE) >/dev/null $(UNLESS)
	@$(BIN)/python -m tests.wheel --build-only

wheel-check: $(STAMP) ## build the wheels, install each into an empty environment, and run what is installed
	@$(PAGE) >/dev/null $(UNLESS)
	@$(BIN)/python -m tests.wheel

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

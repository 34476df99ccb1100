# `make help` lists the targets. `make demo` and `make test` need nothing but Python 3.11, make, git and a C compiler.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements/gateway.txt requirements/engine.txt requirements/unlearn.txt requirements/dev.txt
STAMP := $(VENV)/.complete
HOME_DIR ?= .airlock
# Where nothing may be cached, each of the hundreds of processes compiles the code anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fmt lint types imports lock dashboards rules schemas sbom licences audit-deps bench-unlearn bench-gateway chaos clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

setup: $(STAMP) ## Make the virtual environment from the hash locks

$(STAMP): $(LOCKS)
	@$(PYTHON) requirements/install.py $(VENV) $(LOCKS)

demo: ## Run the main job end to end and serve both doors (CHECK=1: check them, stop, print JSON)
	@started=$$(date +%s) && $(MAKE) --no-print-directory --silent setup && \
	exec $(BIN)/airlock --home $(HOME_DIR) demo --setup-seconds $$(($$(date +%s) - started)) \
	  $(if $(CHECK),--check) $(if $(METHOD),--method $(METHOD))

test: setup ## Pass every check and test, as CI does
	@$(MAKE) --no-print-directory --jobs 2 --output-sync types lint imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not timed and not real_engine" --numprocesses 3 --dist loadfile --no-loadscope-reorder
	$(BIN)/pytest -m "timed or real_engine" tests/deploy tests/gateway tests/e2e

check: test ## The same as test

fmt: setup ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Check types (mypy, strict)
	$(BIN)/mypy gateway models deploy unlearn migrations tests requirements

imports: setup ## Check the architecture's import contracts
	$(BIN)/lint-imports

lock: setup ## Resolve requirements/*.in into hash locks again
	$(BIN)/python requirements/lock.py

dashboards: setup ## Write Grafana's dashboards from deploy/grafana/*.py
	$(BIN)/python -m deploy.grafana.build

rules: setup ## Write the Prometheus operator's rules from deploy/prometheus/rules
	$(BIN)/python -m deploy.prometheus.operator

schemas: setup ## Export the JSON Schemas of the registry's documents
	$(BIN)/python -m models.schemas docs/schemas

sbom: setup ## Write the bill of materials of each plane (CycloneDX) to dist/
	@$(BIN)/python requirements/bom.py sbom dist

licences: setup ## List the licences of everything that is installed; fails on one that is not allowed
	@$(BIN)/python requirements/bom.py licences

audit-deps: setup ## Ask the public database for known holes in what is locked (needs the network)
	@for lock in requirements/*.txt deploy/*.txt; do echo $$lock; \
	  $(BIN)/uv tool run pip-audit==2.10.1 --vulnerability-service osv --strict --disable-pip --require-hashes \
	    --requirement $$lock || exit 1; done

bench-unlearn: setup ## Measure the unlearning engine against a plain implementation
	@$(BIN)/python -m tests.benchmarks.unlearn --home $(HOME_DIR)

bench-gateway: setup ## Measure the gateway beside other routers (a few minutes; peers are installed under .cache)
	@$(BIN)/python -m tests.benchmarks.gateway

chaos: setup ## Break each part of a whole installation in turn under load (15 minutes; SOAK=1800: a calm after it)
	@test -e $(HOME_DIR)/demo.json || $(BIN)/airlock --home $(HOME_DIR) demo --check
	@$(BIN)/python -m tests.chaos --home $(HOME_DIR) $(if $(SOAK),--soak $(SOAK)) $(if $(REPORT),--report $(REPORT))

clean: ## Remove the environment, caches and the demo's state
	rm -rf $(VENV) $(HOME_DIR) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

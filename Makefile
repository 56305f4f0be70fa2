# Everything from a fresh machine: `make quickstart` runs the main job, `make test` runs the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SANDBOX ?= bubblewrap
INSTALLED := $(VENV)/.installed

.PHONY: quickstart test check bench docs install system clean

quickstart: install system  ## collect, score, select, train, evaluate, twice round, on this machine
	$(BIN)/rft run quickstart sandbox.use=$(SANDBOX)

test: install system  ## lint, types and tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

check: install  ## lint, types and the quick tests only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not process" -x

bench: install system  ## every performance claim, side by side in one run, and the comparison of arms (hours)
	$(BIN)/python -m benchmarks
	$(BIN)/rft run compare

docs: install  ## the tables in the docs that are made from the code
	$(BIN)/python -m tests.make_docs

install: $(INSTALLED)

# torch first and by itself: another package's range would pull a build with gigabytes of CUDA libraries.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	DS_BUILD_OPS=0 $(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Sandboxes need bubblewrap, and the agents' repositories need git. Installed where that is allowed, named where not.
system:
	@missing=; for tool in bwrap git; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	packages=$$(echo $$missing | sed 's/bwrap/bubblewrap/'); \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing$$missing"; apt-get update -qq && apt-get install -y -qq $$packages >/dev/null; \
	else echo "missing:$$missing; install the package(s) $$packages, or run: make $(MAKECMDGOALS) SANDBOX=local"; fi

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Everything from a fresh machine: `make quickstart` runs the main job, `make test` runs the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SANDBOX ?= bubblewrap
JOBS ?= 2
INSTALLED := $(VENV)/.installed

.PHONY: quickstart test check bench docs install system clean

quickstart: system  ## collect, score, select, train, evaluate, twice round, on this machine
	$(BIN)/rft run quickstart sandbox.use=$(SANDBOX)

test: system  ## lint, types and tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: install  ## lint, types and the quick tests only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow and not process" -x

bench: system  ## every performance claim, side by side in one run, and the comparison of arms (hours)
	$(BIN)/python -m benchmarks
	$(BIN)/rft run compare

docs: install  ## recipes/REFERENCE.md, made from the code
	$(BIN)/python -m rft.view.reference

install: $(INSTALLED)

# torch first and by itself: another package's range would pull a build with gigabytes of CUDA libraries.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	DS_BUILD_OPS=0 $(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Sandboxes need bubblewrap, and the agents' repositories need git. Installed where that is allowed, named where not.
system: install
	@$(BIN)/python -m rft.sandboxes.probe --install || echo "or run: make $(MAKECMDGOALS) SANDBOX=local"

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

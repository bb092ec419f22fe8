# Two commands do everything on a fresh Debian 12 machine: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check lint install system-packages lock bench-cutoff bench-policy crash races soak prove clean

demo: install
	@$(BIN)/python -m orchestrator demo

test: install check
	@.ci/tests

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-cutoff: install
	@$(BIN)/python -m benchmarks.cutoff

bench-policy: install
	@$(BIN)/python -m benchmarks.policy

crash: install
	@$(BIN)/python -m benchmarks.crash

races: install
	@$(BIN)/python -m benchmarks.races

soak: install
	@$(BIN)/python -m benchmarks.soak

prove: install
	$(BIN)/python -m benchmarks.prove

install: system-packages $(VENV)/.installed

system-packages:
	@.ci/system-packages

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock:
	$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --extra postgresql --extra dev --extra bench -o requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

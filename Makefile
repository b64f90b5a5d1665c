# Everything runs from a virtual environment with the pinned dependencies, made on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Where `make run` serves.
PORT ?= 8000
# Tests wait for the database more than they compute; beyond four processes one server is the limit.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))

.PHONY: run test coverage check lint types bench fuzz interop clean lock format

run: $(STAMP)
	$(BIN)/wallet demo --port $(PORT)

check: lint types test

test: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

# Apart from `test`: measuring which lines ran takes half as long again.
coverage: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz --minutes 10

interop: $(STAMP)
	$(BIN)/python -m tests.interop.run

bench: $(STAMP)
	$(BIN)/python -m benchmarks.ledger
	$(BIN)/python -m benchmarks.payments
	$(BIN)/python -m benchmarks.purchases_http
	$(BIN)/python -m benchmarks.programme
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m benchmarks.home_screen
	$(BIN)/python -m benchmarks.push
	$(BIN)/python -m benchmarks.lateness
	$(BIN)/python -m benchmarks.due
	$(BIN)/python -m benchmarks.goals
	$(BIN)/python -m benchmarks.refusals
	$(BIN)/python -m benchmarks.subscriptions

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Hashes of every file of every platform; no index address, so that it installs from whatever the machine uses.
# The second one is the first without tests and embedded server, for the image.
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet
lock:
	$(LOCK) --all-extras --output-file requirements.lock
	$(LOCK) --extra build --constraint requirements.lock --output-file requirements.runtime.lock
	! grep --line-number --fixed-strings '://' requirements.lock requirements.runtime.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* dist
	find api domain notifications tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12")'
	@# Not by python: a Debian without python3-venv leaves one that has no pip.
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@# The lock is whole: without --no-deps an old pip looks for `coverage[toml]` beside the pinned coverage.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# make demo: from a fresh clone to the report.   make test: lint, types, tests.   make test-long: the largest sweeps in full.
# make setup: the set-up alone.   make docs: serve the documentation.   make site: build it into site/.
# make commands: docs/commands.md anew.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# Strict editable mode links files one by one, so a new file asks for another installation.
SOURCES := $(shell git ls-files -co --exclude-standard -- '*.py' '*.c' '*.toml' '*.j2' '*.txt' py.typed 2>/dev/null | sort | tr '\n' ' ')
STAMP := .venv/.installed-$(shell { cat pyproject.toml constraints.txt Makefile; echo '$(SOURCES)'; } | cksum | cut -d' ' -f1)

# The cores are shared out by files, so that what a file prepares is made once.
PYTEST_ARGS ?= -n logical --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-long setup check types docs site commands map

setup: $(STAMP)-test
	@$(BIN)/spikeproof lava status >/dev/null 2>&1 || $(BIN)/spikeproof lava install || \
	    echo "going on without Lava; its tests are skipped (with SPIKEPROOF_REQUIRE_LAVA=1 they fail)"
	@$(BIN)/spikeproof lava status --netx >/dev/null 2>&1 || $(BIN)/spikeproof lava install --netx || \
	    echo "going on without lava-dl's netx; its tests are skipped (with SPIKEPROOF_REQUIRE_LAVA=1 they fail)"

demo: $(STAMP)
	@$(BIN)/spikeproof lava status >/dev/null 2>&1 || $(BIN)/spikeproof lava install || echo "going on without Lava"
	$(BIN)/spikeproof demo

test: setup check
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-long: setup
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m long

docs: setup
	$(BIN)/zensical serve

site: setup
	$(BIN)/zensical build --strict --clean

commands: setup
	$(BIN)/typer spikeproof.cli utils docs --name spikeproof --title 'Command line' --output docs/commands.md

# The map of the tree in CONTRIBUTING.md, from the first sentence of every file.
map: setup
	$(BIN)/python tests/map_of_tree.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory types

# Tests take from the package's modules what those themselves only import.
types:
	$(BIN)/mypy -p spikeproof
	$(BIN)/mypy --implicit-reexport --no-warn-unused-ignores tests

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python found; install Python 3.11 or newer, or say make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is too old; install Python 3.11 or newer, or say make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv

$(STAMP): .venv/bin/python
	@echo "installing spikeproof into .venv (a few minutes the first time)"
	$(PIP) --editable '.[all]' --config-settings editable_mode=strict
	@rm -f .venv/.installed-*; touch $@

$(STAMP)-test: $(STAMP)
	$(PIP) --editable '.[all,test]' --config-settings editable_mode=strict
	$(PIP) --no-deps neurobench norse sinabs spikingjelly
	@touch $@

# The two commands that matter: `make demo` and `make test`. Both install what they need into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PROTOS := $(wildcard protos/headwater_wire/v1/*.proto)
ARGS   ?=

.PHONY: help demo test check format protos bench fuzz clean

help: ## say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 12) else "Headwater needs Python 3.11 or 3.12 here (the training runtime has no newer wheels): make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(STAMP)

demo: $(STAMP) ## train on handwritten digits across five agents and roll the result out (ARGS="--rounds 5 --keep")
	$(BIN)/headwater demo $(ARGS)

test: $(STAMP) ## the whole suite (ARGS="-k broker")
	$(BIN)/pytest -n auto $(ARGS)

check: $(STAMP) ## ruff, mypy, import rules, generated stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python protos/generate.py --check

format: $(STAMP) ## format and fix what ruff can
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

protos: $(STAMP) ## regenerate the stubs
	$(BIN)/python protos/generate.py

bench: $(STAMP) ## every bench, each with its ratio
	$(BIN)/python -m benches $(ARGS)

fuzz: $(STAMP) ## a million inputs against the MQTT codec
	$(BIN)/python -m tests.fuzz_mqtt $(ARGS)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

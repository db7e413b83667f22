# The two commands that matter: `make demo` and `make test`. Both install what they need into .venv.
# the first of these that runs and is of a version the suite is run on
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ARGS   ?=
NATIVE_TESTS := $(addprefix tests/agent/training/,test_engines.py test_native_engine.py test_confined_worker.py test_resume.py)

.PHONY: help install demo test long parity light native test-aarch64 check format protos bench storm bench-training fuzz fuzz-import step-ca durability simulate clean

help: ## say what each target does
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Headwater is developed on Python 3.11 or 3.12, and found neither: install one, or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1; }
	@echo 'installing into $(VENV): a minute or two, once'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(STAMP)

demo: $(STAMP) ## train on handwritten digits across five agents and roll the result out (ARGS="--rounds 5 --keep")
	$(BIN)/headwater demo $(ARGS)

test: $(STAMP) ## the suite, in five minutes (ARGS="-k broker")
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m "not long" $(ARGS)

long: $(STAMP) ## whole fleets with bad links, bad data, kills and a storm, and samples of simulate and durability
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m long $(shell grep -rl --include='test_*.py' pytest.mark.long tests) $(ARGS)

parity: .venv-parity/.installed ## the compiler against PyTorch
	.venv-parity/bin/pytest -n auto tests/parity $(ARGS)

.venv-parity/.installed: pyproject.toml constraints.txt
	@echo 'installing PyTorch into .venv-parity: some minutes, once'
	$(PYTHON) -m venv --clear .venv-parity
	.venv-parity/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,parity]'
	@touch $@

light: .venv-parity/.installed ## nine whole networks, up to VGG-19: about 7 GB, and ten minutes or more
	LIGHT=all .venv-parity/bin/pytest tests/parity/test_light.py $(ARGS)

native: .venv-native/.installed ## the engines, on ONNX Runtime's training build
	.venv-native/bin/pytest $(NATIVE_TESTS) $(ARGS)

.venv-native/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-native
	grep -v '^onnx' constraints.txt > .venv-native/constraints.txt
	.venv-native/bin/pip install --quiet --disable-pip-version-check -c .venv-native/constraints.txt \
		-e '.[native]' hypothesis pytest pytest-asyncio pytest-timeout
	@touch $@

test-aarch64: $(STAMP) ## the worker's steps here and on an emulated aarch64, compared (the first run fetches 135 MB)
	$(BIN)/python -m tests.aarch64 $(ARGS)

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

storm: $(STAMP) ## 2,000 agents come back at once after a restart of the control plane (ARGS="--agents 500")
	$(BIN)/python -m benches storm $(ARGS)

bench-training: .venv-parity/.installed ## a training step against PyTorch's, and against what else trains ONNX graphs
	.venv-parity/bin/python -m benches training
	.venv-parity/bin/python -m benches.others

fuzz: $(STAMP) ## a million inputs against all that reads a stranger's bytes, and the HTTP API against its schema (ARGS="broker --seed 2")
	$(BIN)/python -m tests.fuzz $(ARGS)

fuzz-import: $(STAMP) ## a minute of random and hostile models against the importer
	$(BIN)/python -m tests.fuzz_import $(ARGS)

step-ca: $(STAMP) ## certificates from a real step-ca, built of Debian's golang-github-smallstep-certificates-dev
	@command -v go >/dev/null && test -d /usr/share/gocode/src/github.com/smallstep/certificates || { \
		echo "It needs Debian's packages: apt-get install golang-go golang-github-smallstep-certificates-dev"; exit 1; }
	GO111MODULE=off GOPATH=/usr/share/gocode go build -o .step-ca/step-ca tests/step_ca/main.go
	STEP_CA=.step-ca/step-ca $(BIN)/pytest tests/step_ca $(ARGS)

durability: $(STAMP) ## death, and a disk's refusal, at every durable call of a task and a round: about an hour
	$(BIN)/python -m tests.durability $(ARGS)
	LARGE=1 $(BIN)/pytest -q tests/system/test_large_merge.py

SEEDS  ?= 1000
FROM   ?= 0
AGENTS ?= 0
simulate: $(STAMP) ## so many simulated histories of a fleet, each decided by a seed (SEEDS=10000 FROM=0 AGENTS=1000)
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM) --agents $(AGENTS)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .venv-parity .venv-native .aarch64 .step-ca .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

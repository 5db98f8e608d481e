# Every target that needs the environment makes it first; a second time it is already there.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

.PHONY: help setup demo demo-text train browser test test-slow test-cluster docs docs-serve pictures bench parity campaign check format lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY)  ## create .venv with the pinned versions of requirements.lock

# The first Python >= 3.11 that runs; PYTHON=... names another.
$(READY): requirements.lock pyproject.toml
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  for python in $${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$${found:-}" ]; then echo "error: no Python >= 3.11 found; name one with PYTHON=/path/to/python" >&2; exit 1; fi; \
	  echo "creating $(VENV) with $$found"; \
	  "$$found" -m venv --clear $(VENV) || { echo "error: $$found cannot make environments (Debian: apt install python3-venv)" >&2; exit 1; }; \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@echo "installing the versions of requirements.lock"
	@$(BIN)/python -m uv pip install --quiet --python $(BIN)/python -r requirements.lock
	@$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: setup  ## the main job on the embedded digits: teacher, student, comparison
	@$(BIN)/python train.py $(ARGS)

demo-text: setup  ## a job on texts: docstrings of installed packages, told apart by package
	@$(BIN)/python tools/demo_text.py outputs/demo-text
	@$(BIN)/python train.py data=text data.root=outputs/demo-text/docstrings.jsonl data.max_length=32 \
	  teacher=bert_tiny teacher.layers=3 teacher.tokenizer=outputs/demo-text/tokenizer teacher.recipe.max_epochs=8 \
	  model=bert_tiny model.layers=1 model.width=64 optimizer.lr=0.002 trainer.max_epochs=8 $(ARGS)

train: setup  ## python train.py with ARGS="model=resnet18 kd.T=4"
	@$(BIN)/python train.py $(ARGS)

browser:  ## Debian's Chromium for the test of the pages, where it is missing and may be installed
	@.ci/install-chromium

test: setup  ## the tests that take a moment each: minutes in all
	@$(BIN)/python -m pytest -m "not slow and not cluster" $(ARGS)

test-slow: setup  ## the others: whole runs from the command line, real data, other processes
	@$(BIN)/python -m pytest -m "slow and not cluster" $(ARGS)

test-cluster: setup  ## sweeps on a real Ray cluster and a real Slurm (Debian's, where it may be installed), on this machine
	@.ci/install-slurm
	@$(BIN)/python -m pytest -m cluster -n 0 $(ARGS)

docs: setup  ## the documentation site in site/html; a link that leads nowhere ends it
	@PYTHONPATH=tools $(BIN)/python -m docs_site build

docs-serve: setup  ## the same on this machine, built anew when a page changes
	@PYTHONPATH=tools $(BIN)/python -m docs_site serve

pictures: setup browser  ## those of README and docs anew: minutes; ARGS="closing-table" for one of closing-table, report, sweep
	@$(BIN)/python tools/screenshots.py $(ARGS)

bench: setup  ## speed beside torchdistill and a bare loop: writes docs/benchmarks.md; ARGS="only=live,cached rounds=3"
	@$(BIN)/python -m uv pip install --quiet --python $(BIN)/python -c requirements.lock -e ".[bench]"
	@$(BIN)/python -m benchmarks $(ARGS)

# BASE: a commit; else where this branch left origin/main, or the commit before the last one.
parity: setup  ## whether this tree computes what BASE=<commit> does, bit for bit: ARGS="--only run,resume --jobs 2"
	@if [ -n "$${BASE:-}" ]; then base=$$(git rev-parse --verify "$$BASE^{commit}"); \
	else base=$$(git merge-base origin/main HEAD 2>/dev/null || git rev-parse HEAD); fi; \
	if [ -z "$${BASE:-}" ] && [ "$$base" = "$$(git rev-parse HEAD)" ]; then base=$$(git rev-parse HEAD~1); fi; \
	place=$$(mktemp -d); \
	trap 'git worktree remove --force "$$place/base" 2>/dev/null || true; rm -rf "$$place"' EXIT; \
	git worktree add --quiet --detach "$$place/base" "$$base"; \
	echo "recording $$base, then the current tree"; \
	$(BIN)/python tools/parity.py record "$$place/base.json" --root "$$place/base" $(ARGS); \
	$(BIN)/python tools/parity.py record "$$place/current.json" $(ARGS); \
	$(BIN)/python tools/parity.py compare "$$place/base.json" "$$place/current.json"

# Every campaign takes an hour or more: ARGS="kills --kills 20", ARGS="views".
campaign: setup  ## kills, failed writes, damaged files, mutated commands, processes and workers: docs/reliability.md; ARGS="kills --kills 20"
	@PYTHONPATH=tools $(BIN)/python -m campaign $(ARGS)

check: setup  ## format, lint, layers, types, the documentation site, all tests: what CI runs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory docs
	@$(MAKE) --no-print-directory test test-slow

format: setup  ## format the code and fix what lint can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: setup  ## resolve the versions of requirements.lock anew
	@$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --extra dev --upgrade \
	  --no-emit-index-url --no-annotate --no-header pyproject.toml -o requirements.lock

clean:  ## remove .venv and caches; outputs/ and data/ stay
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist site .cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# `make run` serves a real local model, `make test` is the whole test run, `make check` what must hold before a commit.
# Python >= 3.11 with venv is enough to begin with: uv is fetched into .tools/ when the machine has none.

UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
PYTHON ?= python3
# For `make run`: more flags for the gateway. For the rest: more flags for pytest or the benchmark.
ARGS ?=
ROUNDS ?= 10

.PHONY: run test check format bench docs e2e soak wheel

run: $(UV)
	$(UV) run --extra local tollway models pull smollm2
	$(UV) run --extra local tollway --model local/smollm2 $(ARGS)

test: $(UV)
	$(UV) sync --all-extras --quiet
	$(UV) run --no-sync pytest -m "not (e2e and slow)" --cov --cov-report=term:skip-covered $(ARGS)

check: $(UV)
	$(UV) sync --all-extras --quiet
	$(UV) run --no-sync ruff format --check
	$(UV) run --no-sync ruff check
	$(UV) run --no-sync mypy
	$(UV) run --no-sync lint-imports

format: $(UV)
	$(UV) run ruff format
	$(UV) run ruff check --fix

bench: $(UV)
	$(UV) run python bench/bench.py $(ARGS)

docs: $(UV)
	$(UV) run python scripts/make_provider_docs.py $(ARGS)

e2e: $(UV)
	$(UV) sync --all-extras --quiet
	$(UV) run --no-sync pytest -m e2e tests/e2e $(ARGS)

# The slow tests (killed processes, restarts, faults), again and again.
soak: $(UV)
	$(UV) sync --all-extras --quiet
	for round in $$(seq $(ROUNDS)); do $(UV) run --no-sync pytest -q -x -m "slow and not e2e" $(ARGS) || exit 1; done

# The wheel as a person installs it, held to its bounds in packages and megabytes.
wheel: $(UV)
	$(UV) run python scripts/check_install.py

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet uv

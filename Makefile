# `make run` serves a real local model, `make test` is the whole test run, `make check` what must hold before a commit.
# Python >= 3.11 with venv is enough to begin with: uv is fetched into .tools/ when the machine has none.

UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
PYTHON ?= python3
# For `make run`: more flags for the gateway. For the rest: more flags for pytest or the benchmark.
ARGS ?=
ROUNDS ?= 10

.PHONY: run test check format bench pairs docs e2e soak wheel ui ui-check screenshots compiled test-compiled wheel-compiled

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

# The same for a request in each API in front of each: `make pairs ARGS="--talk tools"`.
pairs: $(UV)
	$(UV) run python bench/pairs.py $(ARGS)

docs: $(UV)
	$(UV) run python scripts/make_provider_docs.py $(ARGS)

e2e: $(UV)
	$(UV) sync --all-extras --quiet
	$(UV) run --no-sync pytest -m e2e $(ARGS)

# The slow tests (killed processes, restarts, faults), again and again.
soak: $(UV)
	$(UV) sync --all-extras --quiet
	for round in $$(seq $(ROUNDS)); do $(UV) run --no-sync pytest -q -x -m "slow and not e2e" $(ARGS) || exit 1; done

# The wheel as a person installs it, held to its bounds in packages and megabytes.
wheel: $(UV)
	$(UV) run python scripts/check_install.py

# What every call passes, as machine code: this checkout runs it from then on, until one of those sources changes.
# With the machine's C compiler, else with one from the package index.
COMPILER := $(shell command -v cc || command -v gcc || command -v clang)
COMPILE = $(UV) run --no-sync --with setuptools $(if $(COMPILER),,--with ziglang)
compiled: $(UV)
	$(COMPILE) python hatch_compile.py $(ARGS)

# The tests against it, but for those that put another method into one of its classes.
test-compiled: compiled
	TOLLWAY_COMPILED=1 $(UV) run --no-sync pytest -m "not (e2e and slow)" $(ARGS)

# A wheel for this platform and Python, in dist/.
wheel-compiled: compiled
	TOLLWAY_COMPILE=1 $(UV) build --wheel

# The dashboard, built where it changed; `make run` does it, too. ARGS=--again builds it in any case.
ui: $(UV)
	$(UV) run --no-sync python hatch_build.py $(ARGS)

# The dashboard's types against the gateway's own schema.
ui-check: $(UV)
	$(UV) run python scripts/check_ui.py

# The pictures in docs/dashboard.md, drawn anew.
screenshots: $(UV)
	$(UV) run pytest -q tests/ui/pictures.py

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet uv

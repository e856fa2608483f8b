# failoverd: every command that a fresh machine with Python 3.11+ and make needs.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-real lint docs lock kafka vast-cli crash-matrix chaos-matrix soak recovery replicas fuzz clean

# The runtime alone: enough for `make demo`.
.venv/.runtime: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("failoverd needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Call make with PYTHON=python3.12, say.") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP_INSTALL) --require-hashes -r requirements.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation --no-index -e .
	@touch $@

# The runtime with everything that tests and linters need.
.venv/.dev: .venv/.runtime requirements-dev.lock
	$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

.PHONY: .venv
.venv: .venv/.dev

demo: .venv/.runtime
	$(BIN)/failoverd demo $(DEMO)

# Everything but tests/real in two processes (each with servers of its own), or what TESTS names in one.
test: lint
	$(BIN)/python -m pytest $(or $(TESTS),-n $(WORKERS) --dist loadfile --ignore=tests/real)

# Daemons, broker and database as real processes: all of them, or one situation by REAL=s5, or one module by REAL=s9_clock.
test-real: .venv/.dev
	$(BIN)/python -m pytest $(if $(REAL),tests/real/test_$(REAL)_*.py,tests/real)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Writes docs/reference from the code; a test holds the pages to it.
docs: .venv/.dev
	$(BIN)/python -m tests.documents.generate

# A local Apache Kafka (KRaft, one node) from Maven artifacts; needs Java 17+ and mvn.
kafka: .venv/.dev
	$(BIN)/python -m tests.servers.kafka $(KAFKA)

# Vast's official command-line client against the simulated provider, in a virtual environment of its own.
vast-cli: .venv/.dev
	$(BIN)/python -m tests.vast_cli.check

# Kills the daemon at every boundary of every strategy, restarts it, and compares the ends, on both stores.
crash-matrix: .venv/.dev
	$(BIN)/python -m tests.crash.matrix $(MATRIX)

# Every way in which a call of the provider's goes wrong, at every call of every strategy; CHAOS="--story cpu_standby" is less.
chaos-matrix: .venv/.dev
	$(BIN)/python -m tests.chaos.matrix $(CHAOS)

# A hundred failovers on one daemon: does each come to its end, and does the process grow?
soak: .venv/.dev
	$(BIN)/python -m benchmarks.soak $(SOAK)

# A machine with 1 GB in 20,000 files on a dead host comes back over real SSH and restic out of a real bucket.
recovery: .venv/.dev
	$(BIN)/python -m tests.recovery_stage $(RECOVERY)

# Schemathesis against the API of a whole daemon, by its own document: 2,000 cases and more; FUZZ="--examples 20 --cases 0" is less.
fuzz: .venv/.dev
	$(BIN)/python -m tests.fuzz $(FUZZ)

# Three replicas, 3,000 machines, a replica killed or added every 20 s while 100 machines die; about 20 minutes.
replicas: .venv/.dev
	$(BIN)/python -m benchmarks.replicas $(REPLICAS)

# Rewrites the hash-pinned locks from pyproject.toml; the locks name no index.
lock: .venv/.lock-tool
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml --group build -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml --group build --group test --group lint -o requirements-dev.lock

.venv/.lock-tool: .venv/.runtime
	$(PIP_INSTALL) 'uv>=0.9'
	@touch $@

clean:
	rm -rf .venv .cache build dist .pytest_cache .mypy_cache .ruff_cache

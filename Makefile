# `make` alone lists what there is. Everything is installed inside this folder: .venv, .venv313, devtools/node_modules,
# devtools/browser/node_modules, devtools/clients/node_modules, devtools/console/node_modules.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# For `make run`; 0 is a free port.
PORT ?= 7071
HOOK_PORT ?= 0
BLOB_PORT ?= 0
QUEUE_PORT ?= 0
TABLE_PORT ?= 0
WIRE ?= v1
# For `make fuzz`.
SECONDS ?= 60
TARGETS ?= envelope header sealed message invitation document
DATA ?=

# For `make smoke`: where the service is, without /api. The operator's key is in the environment, as OPERATOR.
SMOKE_URL ?=

# What the app runs on where it is deployed.
PACKAGE_PYTHON ?= 3.13

# Interpreters: found by devtools/find-python where none is given.
PYTHON ?=
PYTHON313 ?=
# For pytest, the benchmark and `uv lock`.
ARGS ?=

UV := .venv/bin/uv
IN_VENV := .venv/bin/python -m
# The project says what it runs on; another Python is not downloaded.
export UV_PYTHON_DOWNLOADS ?= never
# Set where another environment is active, and then warned about.
unexport VIRTUAL_ENV
# Where it is set, every process compiles all that it imports: two thirds of what a short one costs.
unexport PYTHONDONTWRITEBYTECODE

# pytest in several processes, unless a file or a single test is named, or ARGS says how many (-n) or to do without.
ALONE := $(findstring .py,$(ARGS))$(findstring no:xdist,$(ARGS))$(filter -n% --numprocesses% --pdb,$(ARGS))
# A busy machine may fail a test that waits for something. CI runs it again, and pytest's result names it.
AGAIN := $(if $(CI),--reruns 2 --reruns-delay 1 -r aR)
PYTEST := $(IN_VENV) pytest $(if $(ALONE),,--numprocesses auto --dist worksteal) $(AGAIN)

.PHONY: help run check test interop fuzz lint format console bench siege soak install package smoke lock requirements check-requirements clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-20s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  make run takes PORT=$(PORT), HOOK_PORT, BLOB_PORT, QUEUE_PORT, TABLE_PORT (0: a free one), WIRE=v1|v2,"
	@echo "  and DATA=folder to keep the stored data, which is otherwise gone at the end."
	@echo "  make test takes ARGS=..., for example ARGS='-k webhook'."

run: install ## The service on this machine, with two tenants and a message from one to the other; Ctrl-C ends it
	@$(IN_VENV) devtools.demo --port $(PORT) --hook-port $(HOOK_PORT) --blob-port $(BLOB_PORT) \
		--queue-port $(QUEUE_PORT) --table-port $(TABLE_PORT) --wire $(WIRE) $(if $(DATA),--data '$(DATA)')

check: lint install .venv313/.installed ## Before every commit: lint, and the unit and contract tests
	@$(PYTEST) -q tests/unit tests/contract $(ARGS)

test: install .venv313/.installed ## The whole test suite, against a storage emulator that it starts itself
	@$(PYTEST) $(ARGS)

interop: install ## The service against other people's agents, which are installed under PEERS_HOME (~/.cache/didcomm-peers)
	@$(IN_VENV) devtools.peers
	@$(IN_VENV) pytest -m interop tests/interop $(AGAIN) $(ARGS)

fuzz: install ## Strangers' bytes, mutated until something breaks; SECONDS=60 for each target, TARGETS="envelope message"
	@$(IN_VENV) tests.fuzz --help >/dev/null || { echo "atheris comes for Linux on x86-64 only" >&2; exit 1; }
	@for target in $(TARGETS); do \
		echo "Fuzzing $$target for $(SECONDS) s ..."; \
		$(IN_VENV) tests.fuzz $$target --seconds $(SECONDS) 2>&1 | grep -v "^INFO\|^WARNING" || true; \
	done; \
	if [ -n "$$(ls tests/fuzz/found 2>/dev/null)" ]; then echo "Found:" && ls tests/fuzz/found && exit 1; fi

lint: .venv/.installed ## Style, format, types, and who may import whom
	@$(IN_VENV) ruff check .
	@$(IN_VENV) ruff format --check .
	@$(IN_VENV) mypy
	@.venv/bin/lint-imports --no-logo

format: .venv/.installed ## Put the code into the format that `make lint` asks for
	@$(IN_VENV) ruff check --fix .
	@$(IN_VENV) ruff format .

console: .venv/.installed ## Build the console's script (devtools/console/src) into tntcore/api/console
	@$(IN_VENV) devtools.console

bench: install ## Messages per second, latency, CPU and storage calls per message
	@$(IN_VENV) devtools.bench $(ARGS)

siege: install ## What an honest tenant notices of attacks on the service; ARGS="--attack junk --seconds 12"
	@$(IN_VENV) devtools.siege $(ARGS)

soak: install ## 20,000 messages with faults all along, or ARGS="--minutes 10": is any lost or doubled, does memory grow?
	@$(IN_VENV) devtools.soak $(ARGS)

install: .venv/.installed ## Only install, as the other targets do where it is needed
	@$(IN_VENV) devtools.azurite --install-only

package: .venv/.installed ## What is deployed, in dist/: the service and its packages for PACKAGE_PYTHON on Linux
	@$(IN_VENV) devtools.package --python $(PACKAGE_PYTHON)

smoke: .venv/.installed ## Whether the service at SMOKE_URL works: two tenants, a message, both deleted; OPERATOR is its key
	@$(IN_VENV) devtools.smoke '$(SMOKE_URL)'

lock: .venv/.installed ## Bring uv.lock and requirements.txt up to pyproject.toml; ARGS=--upgrade takes newer releases
	@$(UV) lock $(ARGS)
	@$(IN_VENV) devtools.requirements

requirements: .venv/.installed ## Export requirements.txt from uv.lock
	@$(IN_VENV) devtools.requirements

check-requirements: .venv/.installed ## Fail if uv.lock or requirements.txt is stale
	@$(UV) lock --check --quiet
	@$(IN_VENV) devtools.requirements --check

clean: ## Remove all that was installed or kept here, the master keys and data of `make run` included
	rm -rf .venv .venv313 .local dist devtools/node_modules devtools/.local devtools/browser/node_modules devtools/browser/.local devtools/clients/node_modules devtools/clients/.local devtools/console/node_modules devtools/console/.local .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis

# uv comes out of its own lock entry, by pip, and then looks after the environment it is in.
.venv/bin/uv:
	@python="$(PYTHON)"; [ -n "$$python" ] || python=$$(devtools/find-python 3.11 3.12 3.13) || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed and was not found: install one, or name it with PYTHON=path" >&2; exit 1; }; \
	echo "Making .venv with $$python, and installing uv into it ..."; \
	"$$python" -m venv --clear .venv && \
	.venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check \
		"uv==$$(sed -n '/^name = "uv"$$/{n;s/version = "\(.*\)"/\1/p;}' uv.lock)"

.venv/.installed: pyproject.toml uv.lock | .venv/bin/uv
	@echo "Installing what uv.lock names into .venv ..."
	@$(UV) sync --frozen
	@touch $@

# Microsoft's worker library needs Python 3.13; the tests ask it whether it takes function_app.py.
.venv313/.installed: pyproject.toml uv.lock | .venv/.installed
	@python="$(PYTHON313)"; if [ -n "$$python" ] || python=$$(devtools/find-python 3.13); then \
		echo "Making .venv313 with $$python ..."; \
		UV_PROJECT_ENVIRONMENT=.venv313 $(UV) sync --frozen --python "$$python" && touch $@; \
	elif [ -n "$(CI)" ]; then \
		echo "Python 3.13 is needed and was not found: install one, or name it with PYTHON313=path" >&2; exit 1; \
	else \
		echo "No Python 3.13 here, so the check of function_app.py by Microsoft's worker is left out."; \
	fi

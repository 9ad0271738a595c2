# Proofsheet. `make` prints the targets; each one installs what it needs into .venv and is quick when that is done.

# It may lie elsewhere, but its name stays: pyright is told the name by pyproject.toml, and here only the folder.
VENV     ?= .venv
BIN      := $(VENV)/bin
OLDEST   := 3.11
SELFIE   ?=
STYLE    ?= corporate
N        ?= 4
ARGS     ?=
export SELFIE STYLE N

# The first interpreter on PATH that runs and is new enough; PYTHON=... names one.
PYTHON   ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$name -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(OLDEST)".split("."))))' 2>/dev/null \
	&& command -v $$name && break; done)

.DEFAULT_GOAL := help
.PHONY: help demo serve test check fix

help: ## print this list
	@awk -F ' ## ' '/^[a-z]+:.* ## / { sub(/:.*/, "", $$1); printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.cpu ## one selfie in, portraits out: [SELFIE=path] [STYLE=corporate] [N=4]; writes out/
	@$(BIN)/python scripts/demo.py --style "$$STYLE" --images "$$N" $${SELFIE:+--selfie "$$SELFIE"}

serve: $(VENV)/.cpu ## run the service on port 8000 until Ctrl-C; ARGS='--port 9000' adds flags
	@$(BIN)/proofsheet serve $(ARGS)

# By file, since a file's tests share what is slow to start; more processes than four would only load torch more often.
# In the order of their names: the one test that takes longest is alone in its file, and would come last by itself.
# Many tests start processes of ours, which compile all their modules where nobody may write what is compiled.
test: $(VENV)/.dev ## run every test; ARGS='-k engine' adds pytest flags
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.dev ## formatting, lint and types, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --venvpath $(dir $(VENV))

fix: $(VENV)/.dev ## what ruff can put right by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Proofsheet needs Python $(OLDEST) or newer, and PATH has none." \
		"Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# One stamp for each set of extras: made again when the project file or the pins change. A terminal sees pip's progress.
# What `alone` names is installed without what it depends on; pyproject.toml says why.
$(VENV)/.cpu: extras := cpu
$(VENV)/.dev: extras := cpu,dev,insightface,load,train
$(VENV)/.dev: alone := insightface
$(VENV)/.cpu $(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing .[$(extras)] into $(VENV) (minutes the first time: torch is large)"
	@test -t 1 || quiet=-q; install="$(BIN)/python -m pip install --disable-pip-version-check $$quiet -c constraints.txt"; \
		$$install -e '.[$(extras)]' $(if $(alone),&& $$install --no-deps $(alone))
	@touch $@

# Every verb that a person needs. `make help` lists them.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv/bin
SANDBOX := $(VENV)/python services/hub/emulation/sandbox.py --
PYTEST := $(SANDBOX) $(VENV)/python -m pytest
export PORT

.DEFAULT_GOAL := help
.PHONY: help python setup run test test-code test-browser lint fmt docs bench screenshots clean

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: python ## Install what the lab needs into this checkout
	@$(PYTHON) tools/setup.py

python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON). Install Python 3.11 or newer (Debian, Ubuntu:" \
	"sudo apt-get install python3 python3-venv), or name the one you have: make PYTHON=python3.12 ..." >&2; exit 1; }

run: setup ## Serve the lab on this machine: http://127.0.0.1:8000 (PORT=... for another port)
	@exec $(VENV)/python services/hub/emulation/run.py

test: python ## Check and test everything, in the browser too (ARGS=... for a part: make test ARGS="services/hub -k switch")
	@$(PYTHON) tools/setup.py --browser
	@$(MAKE) --no-print-directory lint
ifdef ARGS
	$(PYTEST) $(ARGS)
else
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target --keep-going test-code test-browser
endif

# Two sandboxes side by side: the emulated people of one are not those of the other.
test-code:
	$(PYTEST) libs services

test-browser:
	$(PYTEST) e2e

lint: setup ## Format, rules, types, direction of imports, templates
	$(VENV)/ruff format --check --quiet .
	$(VENV)/ruff check --quiet .
	$(VENV)/mypy --no-error-summary
	$(VENV)/lint-imports --no-cache
	$(VENV)/djlint --quiet --configuration pyproject.toml --lint services/hub/src/learning_lab/templates

fmt: setup ## Format the code
	$(VENV)/ruff check --fix --quiet .
	$(VENV)/ruff format --quiet .

docs: setup ## Write the pages of the documentation that are made from the code
	@$(VENV)/python tools/settings_reference.py

bench: setup ## Measure against plain JupyterHub (ARGS=... for one of them)
	LAB_EXTRA_USERS=200 $(SANDBOX) $(VENV)/python bench/run.py $(ARGS)

screenshots: ## Take the pictures of the documentation anew, in the browser tests
	@LAB_SCREENSHOTS=1 $(MAKE) --no-print-directory test ARGS="e2e -k everybody_sees"

clean: ## Remove what was installed and made in this checkout
	rm -rf .venv .tools node_modules test-results .pytest_cache .mypy_cache .ruff_cache .hypothesis

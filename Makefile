# Every command that you need. `make help` lists them.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv/bin
# Where the emulated company already exists (make shell), no sandbox is needed.
SANDBOX := $(if $(wildcard /s/alice),,$(VENV)/python services/hub/emulation/sandbox.py --)
PYTEST := $(SANDBOX) $(VENV)/python -m pytest
export PORT

.DEFAULT_GOAL := help
.PHONY: help python setup run up cluster down shell test test-hub test-library test-browser e2e lint fmt docs bench bench-starts bench-live screenshots clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: python ## Install what the lab needs into this checkout
	@$(PYTHON) tools/setup.py

python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON). Install Python 3.11 or newer (Debian, Ubuntu:" \
	"sudo apt-get install python3 python3-venv), or name the one you have: make PYTHON=python3.12 ..." >&2; exit 1; }

run: setup ## Serve the lab on this machine: http://lab.localhost:8000 (PORT=... for another port)
	@exec $(VENV)/python services/hub/emulation/run.py

up: setup ## Serve the lab on Kubernetes on this machine (kind): Docker, cluster, images and all (PORT=...)
	@exec $(VENV)/python kind/up.py up

cluster: setup ## Make that cluster without the lab, for `tilt up`
	@exec $(VENV)/python kind/up.py cluster

down: setup ## Remove that cluster and everything in it
	@exec $(VENV)/python kind/up.py down

shell: setup ## Open a Python development system with the emulated accounts and this checkout in it
	@exec $(VENV)/python kind/up.py shell $(ARGS)

test: python ## Run all checks and tests, including browser tests (ARGS=... for some: make test ARGS="services/hub -k switch")
	@$(PYTHON) tools/setup.py --browser
	@$(MAKE) --no-print-directory lint
ifdef ARGS
	$(PYTEST) $(ARGS)
else
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target --keep-going test-hub test-library test-browser
endif

# Two at a time, each in a sandbox of its own: the emulated people of one are not those of another.
test-hub:
	$(PYTEST) services/hub

test-library:
	$(PYTEST) libs services/image_updater kind

test-browser:
	$(PYTEST) e2e

e2e: python ## Bring up the lab on kind, then run the browser tests and the cluster-failure tests against it
	@$(PYTHON) tools/setup.py --browser
	@$(VENV)/python kind/up.py up
	$(VENV)/python -m pytest k8s services/hub/tests/attacks e2e --base-url http://127.0.0.1:$(PORT) $(ARGS)

lint: setup ## Check formatting, lint rules, types, import contracts and templates
	$(VENV)/ruff format --check --quiet .
	$(VENV)/ruff check --quiet .
	$(VENV)/mypy --no-error-summary
	$(VENV)/lint-imports --no-cache
	$(VENV)/djlint --quiet --configuration pyproject.toml --lint services/hub/src/learning_lab/pages/templates

fmt: setup ## Format the code
	$(VENV)/ruff check --fix --quiet .
	$(VENV)/ruff format --quiet .

docs: setup ## Generate the documentation pages that are made from the code
	@$(VENV)/python tools/settings_reference.py

bench: setup ## Measure against plain JupyterHub (ARGS=... for some of it: make bench ARGS="menu start --repeats 3")
	LAB_EXTRA_USERS=200 $(SANDBOX) $(VENV)/python bench/measure.py $(ARGS)

bench-starts: setup ## The part of `bench` from the click to JupyterLab
	LAB_EXTRA_USERS=200 $(SANDBOX) $(VENV)/python bench/measure.py start class_of_thirty jupyterlab $(ARGS)

bench-live: setup ## Measure live updates against a new image and a new pod, on the cluster of `make up`
	$(VENV)/python bench/measure.py live $(ARGS)

screenshots: ## Retake the documentation's screenshots, in the browser tests
	@LAB_SCREENSHOTS=1 $(MAKE) --no-print-directory test ARGS="e2e -k everybody_sees"

clean: ## Remove everything that was installed or generated in this checkout
	rm -rf .venv .tools node_modules test-results .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Everything from a fresh clone: needs git, make and Python >= 3.11. PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
VENV := .venv
LIVE := .venv-live
FOCUS := .venv-focus
FOCUS_PYTHON ?= python3.12
CHAOS ?= all
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo test check format lint types imports unit chaos live stories vllm live-engine cluster focus lock clean

demo: $(READY) ## the main job on embedded defaults: an emulated fleet, measured in money and scaled
	@$(BIN)/pennyweight demo

test: check ## one green: format, lint, types, imports and all tests but the live ones

check: lint types imports unit

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

unit: $(READY)
	$(BIN)/pytest -n auto --dist worksteal -m "not live"

chaos: $(READY) ## every cell of the matrix of faults; CHAOS=20: one in twenty, CHAOS=3/20: others (docs/decisions/0010-chaos.md)
	PENNYWEIGHT_CHAOS=$(CHAOS) $(BIN)/pytest -n auto --dist worksteal -q tests/chaos

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

live: stories vllm ## what takes longest, on clocks that nobody can turn

stories: $(READY) ## daemons that are killed while others stand by
	$(BIN)/pytest -m live $$(grep -rlF mark.live tests --include='test_*.py' | grep -v ^tests/live/)

vllm: $(READY) live-engine ## real vLLM processes with a tiny model, on the CPU
	PENNYWEIGHT_LIVE_PYTHON=$(CURDIR)/$(LIVE)/bin/python $(BIN)/pytest -m live tests/live

live-engine: $(LIVE)/ready

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Pennyweight needs Python 3.11 or newer; found $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# torch has no hash here: its CPU build differs from platform to platform. Everything else is locked.
$(LIVE)/ready: requirements-live.lock
	@echo "Setting up $(LIVE) with vLLM for the CPU (once, about 1.5 GB) ..."
	@$(PYTHON) -m venv $(LIVE)
	@$(LIVE)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(LIVE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-live.lock
	@touch $@

cluster: $(READY) ## on a real API server: PENNYWEIGHT_CLUSTER_BINARIES=FOLDER (docs/kubernetes.md)
	@test -n "$$PENNYWEIGHT_CLUSTER_BINARIES" || { echo "Name the folder with etcd, kube-apiserver, kube-controller-manager and kube-scheduler: PENNYWEIGHT_CLUSTER_BINARIES=FOLDER make cluster"; exit 1; }
	$(BIN)/pytest -m cluster

focus: $(READY) $(FOCUS)/ready ## FOCUS exports through the official validator, which needs Python 3.12
	PENNYWEIGHT_FOCUS_PYTHON=$(CURDIR)/$(FOCUS)/bin/python $(BIN)/pytest -m focus tests/report

# Apart from requirements.lock: the validator pins NumPy 1.26, and with it an older pyarrow.
$(FOCUS)/ready: requirements-focus.lock
	@echo "Setting up $(FOCUS) with the FOCUS validator (once, about 600 MB) ..."
	@$(FOCUS_PYTHON) -m venv $(FOCUS)
	@$(FOCUS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-focus.lock
	@touch $@

COMPILE := $(BIN)/uv pip compile --universal --generate-hashes --no-header --no-annotate --output-file
EXTRAS := --extra aws --extra keda --extra kubernetes --extra nvml --extra postgres

lock: $(READY) ## resolve again after pyproject.toml changed
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) requirements.lock --group dev --extra backtest $(EXTRAS) pyproject.toml
	$(COMPILE) deploy/container/requirements.lock $(EXTRAS) pyproject.toml
	echo "setuptools>=77" | $(COMPILE) deploy/container/build.lock --python-version 3.12 -

clean:
	rm -rf $(VENV) $(LIVE) $(FOCUS) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# Needs make and Python 3.11 or newer; everything else is installed into $(VENV) on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Two cores are plenty for the tests; a thread pool per process on top of them only gets in the way.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test slow check acceptance bench gpu docs wheel constraints clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.installed  ## the whole story on phantom scans, into ./demo
	$(BIN)/gansweep demo --out demo

test: $(VENV)/.installed-dev  ## every test but the slow and the long ones, on all cores
	$(BIN)/python -m pytest -n auto --dist loadscope --no-loadscope-reorder -m "not slow and not acceptance" $(ARGS)

slow: $(VENV)/.installed-dev  ## whole sweeps, browsers and other costly runs
	$(BIN)/python -m pytest -m "slow and not acceptance" $(ARGS)

check: $(VENV)/.installed-dev  ## style, types, which way imports go, and licences
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/licences.py

acceptance: $(VENV)/.installed-dev  ## the long runs of the whole product
	$(BIN)/python -m pytest -m acceptance --timeout=3600 $(ARGS)

# These take hours, or folders of one's own: run them by hand.
BY_HAND := $(addprefix benchmarks/,founding_ablation.py fuzz_ingest.py ingest_real.py oracle_share.py reliability.py search_stores.py)

bench: $(VENV)/.installed-dev  ## every figure the README quotes
	@for file in $(filter-out $(BY_HAND),$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

# $(PYTHON) itself, without $(VENV): it needs torch, numpy, pydantic and safetensors alone, and no network.
gpu:  ## every figure of a GPU in at most 8 minutes, into ./gpu-report; tiny on a CPU
	PYTHONPATH=platform:. $(PYTHON) -m benchmarks.gpu $(ARGS)

docs: $(VENV)/.installed-dev  ## the documentation as a site, in ./site; a broken link is an error
	$(BIN)/mkdocs build --strict --quiet

wheel: $(VENV)/.installed-dev  ## dist/: the wheel and its constraints, which cluster.yaml installs
	rm -rf dist
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	cp constraints.txt dist/
	$(BIN)/python .ci/licences.py --sbom dist/gansweep.cdx.json

constraints: $(VENV)/.installed-dev  ## constraints.txt from what $(VENV) holds
	{ sed -n '/^#/p' constraints.txt; $(PIP) freeze --all --exclude-editable --exclude gansweep --exclude pip \
	  | sed 's/+cpu$$//; s/+cu[0-9]*$$//'; } > $(VENV)/constraints.txt && mv $(VENV)/constraints.txt constraints.txt

clean:
	rm -rf demo dist build site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "gansweep needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One command installs everything, so that pip chooses torch once, under the constraints.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing gansweep into $(VENV); the first time takes a few minutes."
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

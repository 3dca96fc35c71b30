# Two commands are all the set-up there is: make demo, make test. Each makes the virtual environment itself.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export HF_HUB_OFFLINE ?= 1

.PHONY: help demo test test-all lint docs mini clean
help:
	@echo "make demo      make mammograms and paint a lesion into a real one; writes a page to open"
	@echo "make test      the quick tests"
	@echo "make test-all  the slow tests: kills, servers, browsers, trainings"
	@echo "make lint      ruff, mypy, the floors, the docs"
	@echo "make docs      build the documentation into site/"
	@echo "make mini      train the embedded models anew, from DATA (CDD-CESM) in RUNS; days on a processor"
	@echo "make clean     remove the virtual environment and what was built"

demo: $(STAMP)
	$(BIN)/mam-e demo --out mam-e-demo --force

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow; code=$$?; \
	if [ $$code -eq 5 ]; then echo "make test-all: NO SLOW TEST EXISTS YET"; else exit $$code; fi

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks examples recipes
	$(BIN)/ruff format --check src tests benchmarks examples recipes
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict --quiet

docs: $(STAMP)
	$(BIN)/mkdocs build --strict

RUNS ?= mini-runs
mini: $(STAMP)
	@[ -n "$(DATA)" ] || { echo "make mini: say where CDD-CESM lies: make mini DATA=FOLDER [RUNS=$(RUNS)]"; exit 2; }
	PATH="$(abspath $(BIN)):$$PATH" recipes/mini/make.sh "$(RUNS)" "$(DATA)"

clean:
	rm -rf $(VENV) site dist mam-e-demo

$(STAMP): pyproject.toml constraints.txt
	@python=""; for candidate in "$(PYTHON)" python3.11 python3.12 python3.13 python3; do \
	  if [ -n "$$candidate" ] && "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	  then python="$$candidate"; break; fi; done; \
	if [ -z "$$python" ]; then echo "make: needs Python 3.11, 3.12 or 3.13 (set PYTHON=/path/to/python)"; exit 2; fi; \
	[ -x $(BIN)/python ] || "$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev,assess,studio,cluster,pacs,sources,openvino]'
	@touch $(STAMP)

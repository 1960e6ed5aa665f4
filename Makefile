# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint figures mutants clean

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tips_med needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[figures]'
	touch $@

$(VENV)/.tests: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[tips,test,dev]'
	.ci/install-debian-packages
	touch $@

demo: $(STAMP)  ## ask the bundled scan two questions
	$(BIN)/tips-med ground sample "mass in the left lung" "ground-glass opacity left lung" --out out/demo

test: $(VENV)/.tests  ## everything: lint, types, layers, spelling, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/pyright
	$(BIN)/pytest

lint: $(VENV)/.tests
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

figures: $(STAMP)  ## the pictures of the documentation
	$(BIN)/python -m benchmarks.figures

mutants: $(VENV)/.tests  ## whether the tests notice when the code is wrong: docs/mutation.md
	$(BIN)/python -m pip install --quiet --constraint constraints.txt mutmut==3.8.1
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.mutants

clean:
	rm -rf $(VENV) mutants out build dist

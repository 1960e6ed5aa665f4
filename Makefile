# Three commands do everything: `make demo`, `make test` and `make docs`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint docs dist sbom figures mutants clean

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tips_med needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[figures]'
	touch $@

$(VENV)/.tests: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[tips,test,dev,docs]'
	$(BIN)/python -m pip install --quiet --no-deps napari-voxtell==0.2.0 # VoxTell's own client, without napari and Qt
	.ci/install-debian-packages
	touch $@

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

demo: $(STAMP)  ## ask the bundled scan two questions
	$(BIN)/tips-med ground sample "mass in the left lung" "ground-glass opacity left lung" --out out/demo

test: $(VENV)/.tests  ## everything: lint, types, layers, spelling, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/pyright
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 8 --dist loadfile

lint: $(VENV)/.tests
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.docs  ## the site, in out/site; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --doctree-dir out/doctrees docs out/site
	@echo "open out/site/index.html"

dist: $(VENV)/.tests  ## sdist and wheel, in dist: docs/releasing.md
	$(BIN)/python -m build --no-isolation

sbom: $(VENV)/.tests  ## what .venv is made of, with licences, in out/sbom.cdx.json
	$(BIN)/python .ci/sbom.py $(BIN)/python out/sbom.cdx.json

figures: $(STAMP)  ## the pictures of the documentation
	$(BIN)/python -m benchmarks.figures

mutants: $(VENV)/.tests  ## whether the tests notice when the code is wrong: docs/mutation.md
	$(BIN)/python -m pip install --quiet --constraint constraints.txt mutmut==3.8.1
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.mutants

clean:
	rm -rf $(VENV) mutants out build dist

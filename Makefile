PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
BENCH := .venv-bench/.installed
COLAB := .venv-colab/.installed
OLDEST := .venv-min/.installed
# a notebook's kernel may take so many seconds of the processor, on a busy machine, and 1 GB
NBVAL := -m pytest -p tests.kernels --seconds 120 --nbval-lax --nbval-current-env --nbval-cell-timeout=300 notebooks
OLD := problems rules run eigenpairs flows trace_alignment view panel machine quiz

.DEFAULT_GOAL := help
.PHONY: help lab app test lint unit notebooks colab oldest wheel browser soak verify bench book pictures clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/'

lab: $(STAMP) ## set up .venv and open the tutorial in JupyterLab
	$(BIN)/samviz lab

app: $(STAMP) ## serve the lab alone, as a web page without code
	$(BIN)/samviz app

test: export SAMVIZ_BOOK = $(CURDIR)/build/book
test: lint book unit notebooks browser ## set up .venv and run everything

lint: $(STAMP) ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(STAMP) ## unit tests and doctests
	$(BIN)/python -m pytest -m "not browser and not install"

notebooks: $(STAMP) ## run every notebook from top to bottom
	SAMVIZ_LITE=0 $(BIN)/python $(NBVAL)

colab: $(COLAB) ## run every notebook on what Colab ships
	SAMVIZ_LITE=0 .venv-colab/bin/python $(NBVAL)

oldest: $(OLDEST) ## run every notebook, and tests that need no peers, on the oldest versions (Python below 3.13)
	SAMVIZ_LITE=1 .venv-min/bin/python $(NBVAL)
	.venv-min/bin/python -m pytest $(OLD:%=tests/test_%.py)

wheel: $(STAMP) ## install the wheel into a new environment and run what a new user runs
	$(BIN)/python -m pytest -m install tests/install

browser: $(STAMP) ## drive the lab in a real browser
	$(BIN)/python -m pytest -m browser tests/browser

soak: $(STAMP) ## play two labs for ten minutes in a real browser
	SAMVIZ_SOAK_SECONDS=600 $(BIN)/python -m pytest -m browser -s tests/browser/test_soak.py

verify: $(STAMP) ## run every claim in full and write report.html
	$(BIN)/samviz verify --report report.html

bench: $(BENCH) ## set up .venv-bench, measure samviz against its peers, write the table in README
	.venv-bench/bin/python -m benchmarks

book: $(STAMP) ## build the offline HTML book in build/book
	$(BIN)/python notebooks/book/build.py build/book

pictures: $(STAMP) ## write the notebooks from their scripts, with static pictures
	$(BIN)/python notebooks/render.py

clean: ## remove every .venv and every cache
	rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find samviz tests notebooks benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): PACKAGES = -c constraints.txt -e ".[lab,test]"
$(BENCH): PACKAGES = -c constraints.txt -c benchmarks/constraints.txt -e ".[bench]" kaleido
$(BENCH): benchmarks/constraints.txt
$(COLAB): PACKAGES = -c constraints-colab.txt -e . nbval pytest pytest-timeout psutil
$(COLAB): constraints-colab.txt
$(OLDEST): PACKAGES = -c constraints-min.txt -e ".[lab]" hypothesis nbval psutil pytest pytest-timeout pyyaml threadpoolctl
$(OLDEST): constraints-min.txt

# Made anew only when what they are made from has changed.
$(STAMP) $(BENCH) $(COLAB) $(OLDEST): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "samviz needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install $(PACKAGES)
	touch $@

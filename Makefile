PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
BENCH := .venv-bench/.installed

.DEFAULT_GOAL := help
.PHONY: help lab app test lint unit notebooks browser soak verify bench book pictures clean

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
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=120 notebooks

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

clean: ## remove .venv, .venv-bench and every cache
	rm -rf .venv .venv-bench build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find samviz tests notebooks benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): PACKAGES = -e ".[lab,test]"
$(BENCH): PACKAGES = -c benchmarks/constraints.txt -e ".[bench]" kaleido
$(BENCH): benchmarks/constraints.txt

# Made anew only when what they are made from has changed.
$(STAMP) $(BENCH): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "samviz needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -c constraints.txt $(PACKAGES)
	touch $@

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help lab test lint unit notebooks browser verify pictures clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/'

lab: $(STAMP) ## set up .venv and open the tutorial in JupyterLab
	$(BIN)/samviz lab

test: lint unit notebooks browser ## set up .venv and run everything

lint: $(STAMP) ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(STAMP) ## unit tests and doctests
	$(BIN)/python -m pytest -m "not browser"

notebooks: $(STAMP) ## run every notebook from top to bottom
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=120 notebooks

browser: $(STAMP) ## drive the lab in a real browser
	$(BIN)/python -m pytest -m browser tests/browser

verify: $(STAMP) ## run every claim in full and write report.html
	$(BIN)/samviz verify --report report.html

pictures: $(STAMP) ## write the notebooks from their scripts, with static pictures
	$(BIN)/python notebooks/render.py

clean: ## remove .venv and every cache
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find samviz tests notebooks -name __pycache__ -prune -exec rm -rf {} +

# Made anew only when what it is made from has changed.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "samviz needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt -e ".[lab,test]"
	touch $@
